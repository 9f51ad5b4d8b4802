// Package cluster knows which nodes a cluster has, and which of them have a
// replica of which group; and it makes the groups follow that.
//
// What is wanted is decided by a deterministic machine ([Machine]) on a log
// ([maru.example/rsm]): whenever nodes come or go it spreads the replicas evenly
// anew, with as little movement as possible. Its log is group 0, the metadata
// group, of which every node is a member, so that every node has the metadata in
// memory. [Service] is the way in for programs.
//
// What is wanted becomes true step by step. There is no central controller: on each
// node a [Reconciler] looks after the groups that the node leads.
package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Limits of a cluster.
const (
	MaxNodes        = 256     // that are not removed
	MaxRemoved      = 1024    // removed nodes that are remembered
	MaxPartitions   = 1 << 10 // partitions
	MaxReplicas     = 7       // of a partition
	MaxAddressBytes = 259     // of an address: a name, a colon and a port
)

// NodeID names a node, from 1. It is given once: a node that lost its disk comes
// back under another.
type NodeID uint64

// GroupID names a group of replicas. Metadata is the first, partitions follow.
type GroupID uint32

// Metadata is the group that runs the [Machine].
const Metadata GroupID = 0

// ID is a random number of 128 bits that names a cluster, or the disk of a node
// (its incarnation): 32 digits, hexadecimal in lower case.
type ID string

// Status says how far a node is on its way through the cluster.
type Status string

// The statuses of a node.
const (
	Active  Status = "active"  // it may have replicas
	Leaving Status = "leaving" // its replicas are being moved to others
	Removed Status = "removed" // it has none, and never will
)

// Protocol is how money moves between partitions if a transfer does not say. Its
// values are the wallet's.
type Protocol string

// The protocols.
const (
	TCC       Protocol = "tcc"
	Saga      Protocol = "saga"
	TwoPhases Protocol = "2pc"
)

// Addresses say where a node is reached.
type Addresses struct {
	Peer   string `json:"peer"`   // host:port, for other nodes; "" for a node that is alone
	HTTP   string `json:"http"`   // URL such as https://node1:7070, "" if not known
	Stream string `json:"stream"` // host:port, "" if not known
}

// Node is a machine of the cluster.
type Node struct {
	ID          NodeID    `json:"id"`
	Incarnation ID        `json:"incarnation"` // made with the disk's first use
	Addresses   Addresses `json:"addresses"`
	Status      Status    `json:"status"`
	Replaces    NodeID    `json:"replaces,omitempty"` // the node whose place it took, if any
	Forced      bool      `json:"forced,omitempty"`   // it leaves also with what no other node has of the past
}

// Config is what can be changed about a cluster.
type Config struct {
	Replicas int `json:"replicas"` // of each partition, if there are as many nodes; odd, 1 to MaxReplicas
	// MetadataReplicas is how many nodes vote on the metadata, if there are as
	// many: 3 or 5. All others have it without a vote.
	MetadataReplicas int      `json:"metadata_replicas"`
	Protocol         Protocol `json:"protocol"`
}

// DefaultConfig returns the settings of a cluster that nobody has set any for.
func DefaultConfig() Config { return Config{Replicas: 3, MetadataReplicas: 3, Protocol: TCC} }

// Group is the place of a group.
type Group struct {
	ID GroupID `json:"id"`
	// Replicas are the nodes that shall have one, with a vote. The first should
	// lead.
	Replicas []NodeID `json:"replicas"`
	// Actual is what a leader of the group last reported.
	Actual Members `json:"actual"`
}

// Members are those of a group at a point of its log. A leader that comes later
// knows better, and so does one leader later on.
type Members struct {
	Term     uint64   `json:"term"`
	Index    uint64   `json:"index"`              // up to which the group's log was committed
	Voters   []NodeID `json:"voters"`             // in order, as are the learners
	Learners []NodeID `json:"learners,omitempty"` // members without a vote
}

// has says whether a node is a member.
func (m *Members) has(id NodeID) bool {
	return slices.Contains(m.Voters, id) || slices.Contains(m.Learners, id)
}

// before says that o was reported from a later point.
func (m *Members) before(o *Members) bool {
	return cmp.Or(cmp.Compare(m.Term, o.Term), cmp.Compare(m.Index, o.Index)) < 0
}

// State is the metadata. One that was got from a [Machine] or a [Service] is not
// changed.
type State struct {
	Cluster    ID      `json:"cluster"`    // "" until Init
	Revision   uint64  `json:"revision"`   // counts the changes
	Partitions int     `json:"partitions"` // never changes
	Config     Config  `json:"config"`
	NextNode   NodeID  `json:"next_node"`        // the next to be given
	Nodes      []Node  `json:"nodes,omitempty"`  // in the order of their ids
	Groups     []Group `json:"groups,omitempty"` // group i is Groups[i]
}

// Node returns a node, nil if it is not known.
func (s *State) Node(id NodeID) *Node {
	i, ok := slices.BinarySearchFunc(s.Nodes, id, func(n Node, id NodeID) int { return cmp.Compare(n.ID, id) })
	if !ok {
		return nil
	}
	return &s.Nodes[i]
}

// Group returns a group, nil if there is none.
func (s *State) Group(id GroupID) *Group {
	if int64(id) >= int64(len(s.Groups)) {
		return nil
	}
	return &s.Groups[id]
}

// Wanted returns the members that a group shall have. Every node that is not
// removed is a member of the metadata group.
func (s *State) Wanted(id GroupID) (voters, learners []NodeID) {
	g := s.Group(id)
	if g == nil {
		return nil, nil
	}
	if id == Metadata {
		for _, n := range s.Nodes {
			if n.Status != Removed && !slices.Contains(g.Replicas, n.ID) {
				learners = append(learners, n.ID)
			}
		}
	}
	return g.Replicas, learners
}

// Hosts returns the nodes to ask for a group: those whose replicas have a vote, as a
// leader last reported, and which shall keep them, if there are any.
func (s *State) Hosts(id GroupID) []NodeID {
	g := s.Group(id)
	if g == nil {
		return nil
	}
	var stay []NodeID
	for _, n := range g.Actual.Voters {
		if slices.Contains(g.Replicas, n) {
			stay = append(stay, n)
		}
	}
	switch {
	case len(stay) > 0:
		return stay
	case len(g.Actual.Voters) > 0:
		return g.Actual.Voters
	}
	return g.Replicas // nothing was reported yet
}

// Wants says whether a node shall be a member of a group.
func (s *State) Wants(node NodeID, id GroupID) bool {
	voters, learners := s.Wanted(id)
	return slices.Contains(voters, node) || slices.Contains(learners, node)
}

// MayHost says whether a node may make a replica of a group that another node
// tells it of: of the metadata always, as that is how it gets to know the rest.
func (s *State) MayHost(node NodeID, id GroupID) bool {
	return id == Metadata || s.Wants(node, id)
}

// active returns the nodes that may have replicas.
func (s *State) active() []NodeID {
	var ids []NodeID
	for _, n := range s.Nodes {
		if n.Status == Active {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// Errors of malformed input: nothing was proposed.
var (
	ErrID        = errors.New("cluster: an id is 32 hexadecimal digits in lower case")
	ErrAddress   = errors.New("cluster: an address is a host and a port, such as node1:7071 or [::1]:7071")
	ErrURL       = errors.New("cluster: an HTTP address is a URL such as https://node1:7070")
	ErrConfig    = errors.New("cluster: replicas are 1, 3, 5 or 7, metadata_replicas 3 or 5, and the protocol is tcc, saga or 2pc")
	ErrPartition = errors.New("cluster: a cluster has 1 to 1024 partitions")
)

// Validate returns ErrID if id is none.
func (id ID) Validate() error {
	if len(id) != 32 || strings.Trim(string(id), "0123456789abcdef") != "" {
		return ErrID
	}
	return nil
}

// Validate returns ErrConfig if a setting is out of its range.
func (c *Config) Validate() error {
	protocol := c.Protocol == TCC || c.Protocol == Saga || c.Protocol == TwoPhases
	if !protocol || c.Replicas < 1 || c.Replicas > MaxReplicas || c.Replicas%2 == 0 || c.MetadataReplicas != 3 && c.MetadataReplicas != 5 {
		return ErrConfig
	}
	return nil
}

// Validate returns an error that wraps ErrAddress or ErrURL if an address is
// malformed. All may be missing.
func (a *Addresses) Validate() error {
	if a.Peer != "" && !validHostPort(a.Peer) {
		return fmt.Errorf("peer: %w", ErrAddress)
	}
	if a.Stream != "" && !validHostPort(a.Stream) {
		return fmt.Errorf("stream: %w", ErrAddress)
	}
	if a.HTTP != "" && !validURL(a.HTTP) {
		return fmt.Errorf("http: %w", ErrURL)
	}
	return nil
}

func validURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > MaxAddressBytes+len("https://") || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	return s == u.Scheme+"://"+u.Host && (validHostPort(u.Host) || validHostPort(u.Host+":80"))
}

// validHostPort says whether s is a port of an IP address or of a name.
func validHostPort(s string) bool {
	i := strings.LastIndexByte(s, ':')
	if i < 1 || len(s) > MaxAddressBytes {
		return false
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || port == 0 || s[i+1] == '0' {
		return false
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		return true
	}
	return strings.Trim(s[:i], nameBytes) == ""
}

// nameBytes are those of host names.
const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
