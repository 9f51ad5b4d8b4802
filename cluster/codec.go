package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"maru.example/rsm"
)

// Commands, results and snapshots are JSON in one form alone: what encoding the
// decoded value gives. So nothing unknown, repeated or left over gets in. See
// docs/format/cluster.md.
const (
	formatVersion    = 1
	forcedVersion    = 2        // of what says that a node is forced to leave, and of nothing else
	MaxCommandBytes  = 64 << 10 // of a command: a report of the largest group has the most
	MaxSnapshotBytes = 8 << 20  // of a snapshot: MaxNodes, MaxRemoved and MaxPartitions take less
)

// NewNode is what makes a node one of the cluster, and tells that its addresses
// changed.
type NewNode struct {
	Incarnation ID        `json:"incarnation"`
	Addresses   Addresses `json:"addresses"`
	Replaces    NodeID    `json:"replaces,omitempty"` // a node that leaves as this one comes
}

// Init is what makes a cluster.
type Init struct {
	Cluster    ID      `json:"cluster"`
	Partitions int     `json:"partitions"`
	Config     Config  `json:"config"`
	Node       NewNode `json:"node"` // the first, on which all groups begin
}

// command is what the machine executes: one of its members is set.
type command struct {
	Version   int            `json:"version"`
	Init      *Init          `json:"init,omitempty"`
	Add       *NewNode       `json:"add,omitempty"`
	Remove    *removeCommand `json:"remove,omitempty"`
	Prefer    *preferCommand `json:"prefer,omitempty"`
	Configure *Config        `json:"configure,omitempty"`
	Rebalance *struct{}      `json:"rebalance,omitempty"`
	Report    *reportCommand `json:"report,omitempty"`
}

type removeCommand struct {
	Node  NodeID `json:"node"`
	Force bool   `json:"force,omitempty"`
}

type preferCommand struct {
	Group GroupID `json:"group"`
	Node  NodeID  `json:"node"`
}

type reportCommand struct {
	Group   GroupID `json:"group"`
	Members Members `json:"members"`
}

// result is what the machine answers.
type result struct {
	Code Code   `json:"code"`
	Node NodeID `json:"node,omitempty"` // that was added
}

// snapshot is the content of a snapshot.
type snapshot struct {
	Version int   `json:"version"`
	State   State `json:"state"`
}

var errForm = errors.New("cluster: not in the one form that is written")

// encode returns the JSON of a value of this file.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("cluster: encode %T: %v", v, err)) // strings, numbers and lists of these
	}
	return b
}

// decode reads what encode wrote.
func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("cluster: decode: %w", err)
	}
	if !bytes.Equal(b, encode(v)) {
		return errForm
	}
	return nil
}

// decodeCommand reads a command, which has the right form but may make no sense.
func decodeCommand(b []byte) (*command, error) {
	if len(b) > MaxCommandBytes {
		return nil, fmt.Errorf("cluster: a command of %d bytes", len(b))
	}
	var c command
	if err := decode(b, &c); err != nil {
		return nil, err
	}
	set := 0
	for _, is := range []bool{c.Init != nil, c.Add != nil, c.Remove != nil, c.Prefer != nil, c.Configure != nil, c.Rebalance != nil, c.Report != nil} {
		if is {
			set++
		}
	}
	if c.Version != c.version() || set != 1 {
		return nil, fmt.Errorf("cluster: version %d with %d commands", c.Version, set)
	}
	return &c, nil
}

// version returns the format's version that a command is written in: the first that can say it.
func (c *command) version() int {
	if c.Remove != nil && c.Remove.Force {
		return forcedVersion
	}
	return formatVersion
}

// version returns the format's version that a state is written in: the first that can say it.
func (s *State) version() int {
	if slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Forced }) {
		return forcedVersion
	}
	return formatVersion
}

// readSnapshot reads a state; nothing is the one without a cluster.
func readSnapshot(r io.Reader) (*State, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSnapshotBytes+1))
	if err != nil {
		return nil, fmt.Errorf("cluster: read the snapshot: %w", err)
	}
	if len(b) == 0 {
		return newState(), nil
	}
	if len(b) > MaxSnapshotBytes {
		return nil, fmt.Errorf("cluster: a snapshot of more than %d bytes", MaxSnapshotBytes)
	}
	var s snapshot
	if err := decode(b, &s); err != nil {
		return nil, err
	}
	if s.Version != s.State.version() {
		return nil, fmt.Errorf("cluster: snapshot of version %d, this program reads up to %d", s.Version, forcedVersion)
	}
	return &s.State, s.State.check()
}

// check returns an error if the state is none that the machine can get into.
func (s *State) check() error {
	if s.Cluster == "" {
		if len(s.Nodes)+len(s.Groups) > 0 {
			return errors.New("cluster: nodes without a cluster")
		}
		return nil
	}
	if s.Cluster.Validate() != nil || s.Config.Validate() != nil || len(s.Nodes) == 0 ||
		s.Partitions < 1 || s.Partitions > MaxPartitions || len(s.Groups) != s.Partitions+1 {
		return errors.New("cluster: settings out of range")
	}
	for i, n := range s.Nodes {
		if n.ID == 0 || n.ID >= s.NextNode || i > 0 && n.ID <= s.Nodes[i-1].ID || n.Incarnation.Validate() != nil ||
			n.Addresses.Validate() != nil || n.Status != Active && n.Status != Leaving && n.Status != Removed || n.Replaces >= n.ID || n.Forced && n.Status != Leaving {
			return fmt.Errorf("cluster: node %d is malformed", n.ID)
		}
	}
	active := s.active()
	for i, g := range s.Groups {
		if g.ID != GroupID(i) || len(g.Replicas) == 0 || !s.validMembers(&g.Actual) {
			return fmt.Errorf("cluster: group %d is malformed", i)
		}
		for j, n := range g.Replicas {
			if !slices.Contains(active, n) || slices.Contains(g.Replicas[:j], n) {
				return fmt.Errorf("cluster: group %d has a replica on node %d", i, n)
			}
		}
	}
	return nil
}

// validMembers says whether members may be those of a group.
func (s *State) validMembers(m *Members) bool {
	if len(m.Voters) == 0 || len(m.Voters)+len(m.Learners) > MaxNodes+MaxReplicas {
		return false
	}
	for _, list := range [][]NodeID{m.Voters, m.Learners} {
		for i, n := range list {
			if n == 0 || n >= s.NextNode || i > 0 && n <= list[i-1] {
				return false
			}
		}
	}
	return true
}

// stateSnapshot gives the bytes of a state, which does not change.
type stateSnapshot struct {
	state *State
	bytes []byte
}

var _ rsm.Snapshot = (*stateSnapshot)(nil)

// Next implements rsm.Snapshot.
func (s *stateSnapshot) Next(dst []byte, budget int) (out []byte, more bool) {
	if s.state != nil {
		s.bytes = encode(snapshot{s.state.version(), *s.state})
		s.state = nil
	}
	n := min(budget, len(s.bytes))
	dst = append(dst, s.bytes[:n]...)
	s.bytes = s.bytes[n:]
	return dst, len(s.bytes) > 0
}

// Close implements rsm.Snapshot.
func (s *stateSnapshot) Close() { s.state, s.bytes = nil, nil }
