package cluster

import (
	"io"
	"reflect"
	"slices"
	"sync/atomic"

	"maru.example/rsm"
)

// Machine decides the metadata, deterministically. Its commands are safe to
// repeat: what is already so is [Applied].
type Machine struct {
	state atomic.Pointer[State] // is replaced as a whole
}

var _ rsm.Machine = (*Machine)(nil)

// NewMachine returns a machine without a cluster.
func NewMachine() *Machine {
	m := &Machine{}
	m.state.Store(newState())
	return m
}

func newState() *State { return &State{NextNode: 1} }

// State returns the metadata as far as this node knows it, which may be behind
// what is committed. It may be called from anywhere and costs nothing.
func (m *Machine) State() *State { return m.state.Load() }

// Apply implements rsm.Machine: a batch is one command.
func (m *Machine) Apply(dst []byte, b rsm.Batch) []byte {
	c, err := decodeCommand(b.Data)
	if err != nil {
		return append(dst, encode(result{Code: Malformed})...)
	}
	before := m.state.Load()
	after := *before
	after.Nodes, after.Groups = slices.Clone(before.Nodes), slices.Clone(before.Groups)
	answer := after.execute(c)
	if answer.Code == Applied && !reflect.DeepEqual(before, &after) {
		after.Revision++
		m.state.Store(&after)
	}
	return append(dst, encode(answer)...)
}

// Snapshot implements rsm.Machine.
func (m *Machine) Snapshot() rsm.Snapshot { return &stateSnapshot{state: m.state.Load()} }

// Restore implements rsm.Machine.
func (m *Machine) Restore(r io.Reader) error {
	s, err := readSnapshot(r)
	if err != nil {
		return err
	}
	m.state.Store(s)
	return nil
}

// execute changes the state, whose nodes and groups are its own; what these refer
// to is not. A state that a refused command changed is thrown away.
func (s *State) execute(c *command) result {
	if s.Cluster == "" && c.Init == nil {
		return result{Code: NotInitialized}
	}
	switch {
	case c.Init != nil:
		return s.init(c.Init)
	case c.Add != nil:
		return s.add(c.Add)
	case c.Remove != nil:
		return result{Code: s.remove(c.Remove)}
	case c.Prefer != nil:
		return result{Code: s.prefer(c.Prefer.Group, c.Prefer.Node)}
	case c.Configure != nil:
		return result{Code: s.configure(c.Configure)}
	case c.Report != nil:
		return result{Code: s.report(c.Report)}
	}
	s.placeAll() // c.Rebalance
	return result{Code: Applied}
}

// init makes the cluster, whose groups begin on one node.
func (s *State) init(c *Init) result {
	switch {
	case c.Cluster.Validate() != nil, c.Config.Validate() != nil, c.Partitions < 1, c.Partitions > MaxPartitions,
		c.Node.Incarnation.Validate() != nil, c.Node.Addresses.Validate() != nil, c.Node.Replaces != 0:
		return result{Code: Malformed}
	case s.Cluster == c.Cluster:
		return result{Code: Applied, Node: 1} // ids of clusters are random
	case s.Cluster != "":
		return result{Code: Initialized}
	}
	s.Cluster, s.Partitions, s.Config, s.NextNode = c.Cluster, c.Partitions, c.Config, 2
	s.Nodes = []Node{{ID: 1, Incarnation: c.Node.Incarnation, Addresses: c.Node.Addresses, Status: Active}}
	s.Groups = make([]Group, c.Partitions+1)
	for i := range s.Groups {
		s.Groups[i] = Group{ID: GroupID(i), Actual: Members{Voters: []NodeID{1}}}
	}
	s.placeAll()
	return result{Code: Applied, Node: 1}
}

// add adds a node, or changes the addresses of one that was added.
func (s *State) add(c *NewNode) result {
	if c.Incarnation.Validate() != nil || c.Addresses.Validate() != nil {
		return result{Code: Malformed}
	}
	known := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Incarnation == c.Incarnation })
	if known >= 0 {
		n := &s.Nodes[known]
		if n.Status != Active {
			return result{Code: NodeRemoved}
		}
		if code := s.checkReplacedBy(n, c.Replaces); code != Applied {
			return result{Code: code}
		}
		if code := s.checkPeer(c.Addresses.Peer, n.ID, 0); code != Applied {
			return result{Code: code}
		}
		n.Addresses = c.Addresses
		return result{Code: Applied, Node: n.ID}
	}
	if c.Replaces != 0 {
		switch old := s.Node(c.Replaces); {
		case old == nil:
			return result{Code: UnknownNode}
		case old.Status != Active:
			return result{Code: NodeRemoved}
		}
	}
	if s.count(func(n *Node) bool { return n.Status != Removed }) >= MaxNodes {
		return result{Code: LimitReached}
	}
	if code := s.checkPeer(c.Addresses.Peer, 0, c.Replaces); code != Applied {
		return result{Code: code}
	}
	id := s.NextNode
	s.NextNode++
	s.Nodes = append(s.Nodes, Node{ID: id, Incarnation: c.Incarnation, Addresses: c.Addresses, Status: Active, Replaces: c.Replaces})
	if replaced := s.Node(c.Replaces); replaced != nil {
		replaced.Status = Leaving
	}
	s.placeAll()
	return result{Code: Applied, Node: id}
}

// checkReplacedBy says whether a node that is one of the cluster took the place of
// another; 0 is said by one that only tells its addresses.
func (s *State) checkReplacedBy(n *Node, old NodeID) Code {
	switch {
	case old == 0, old == n.Replaces: // which may be forgotten meanwhile
		return Applied
	case s.Node(old) == nil:
		return UnknownNode
	}
	return NodeExists
}

// checkPeer says whether a node, 0 for a new one, may have a peer address. What
// leaves, and what is replaced, does not count.
func (s *State) checkPeer(peer string, of, replaced NodeID) Code {
	for _, n := range s.Nodes {
		switch {
		case n.Status != Active || n.ID == of:
		case peer == "" || n.Addresses.Peer == "" && n.ID != replaced:
			return AddressMissing
		case n.Addresses.Peer == peer && n.ID != replaced:
			return AddressTaken
		}
	}
	return Applied
}

func (s *State) count(is func(*Node) bool) int {
	count := 0
	for i := range s.Nodes {
		if is(&s.Nodes[i]) {
			count++
		}
	}
	return count
}

// remove lets a node leave, or one that leaves already be forced to.
func (s *State) remove(c *removeCommand) Code {
	n := s.Node(c.Node)
	switch {
	case n == nil:
		return UnknownNode
	case n.Status != Active:
		n.Forced = n.Forced || c.Force && n.Status == Leaving
		return Applied
	case s.count(func(n *Node) bool { return n.Status == Active }) == 1:
		return LastNode
	}
	n.Status, n.Forced = Leaving, c.Force
	s.placeAll()
	return Applied
}

// prefer lets one of a group's replicas lead.
func (s *State) prefer(id GroupID, node NodeID) Code {
	g := s.Group(id)
	switch {
	case g == nil:
		return UnknownGroup
	case s.Node(node) == nil:
		return UnknownNode
	case !slices.Contains(g.Replicas, node):
		return NoReplica
	}
	others := slices.DeleteFunc(slices.Clone(g.Replicas), func(n NodeID) bool { return n == node })
	if g.Replicas[0] != node {
		g.Replicas = slices.Insert(others, 0, node)
	}
	return Applied
}

func (s *State) configure(c *Config) Code {
	if c.Validate() != nil {
		return Malformed
	}
	if s.Config != *c {
		s.Config = *c
		s.placeAll()
	}
	return Applied
}

// report notes the members that a group has.
func (s *State) report(c *reportCommand) Code {
	g := s.Group(c.Group)
	switch {
	case g == nil:
		return UnknownGroup
	case !s.validMembers(&c.Members):
		return Malformed
	case reflect.DeepEqual(g.Actual, c.Members):
		return Applied
	case c.Members.before(&g.Actual):
		return Outdated
	}
	g.Actual = c.Members
	s.settle()
	return Applied
}

// placeAll decides anew where replicas shall be. The metadata group is placed by
// itself: it is small, and has a replica everywhere in any case.
func (s *State) placeAll() {
	active := s.active()
	wanted := make([][]NodeID, len(s.Groups))
	for i, g := range s.Groups {
		wanted[i] = g.Replicas
	}
	wanted = append(place(wanted[:1], active, s.Config.MetadataReplicas), place(wanted[1:], active, s.Config.Replicas)...)
	for i := range s.Groups {
		g := &s.Groups[i]
		g.Actual.suspect(g.Replicas, wanted[i])
		g.Replicas = wanted[i]
	}
	s.settle()
}

// suspect puts those replicas among the voters that are not wanted any more: the
// leader may have made them voters since it reported. Its next report tells, also if
// it is from the same point.
func (m *Members) suspect(before, after []NodeID) {
	for _, id := range before {
		if slices.Contains(after, id) || slices.Contains(m.Voters, id) {
			continue
		}
		m.Voters = slices.Sorted(slices.Values(append(slices.Clone(m.Voters), id)))
		m.Learners = slices.DeleteFunc(slices.Clone(m.Learners), func(n NodeID) bool { return n == id })
	}
}

// settle lets nodes be removed that leave and have no replicas any more, but that
// of the metadata: it is how they learn of it. The oldest of too many that are
// removed are forgotten.
func (s *State) settle() {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Status == Leaving && !slices.ContainsFunc(s.Groups, func(g Group) bool {
			return slices.Contains(g.Actual.Voters, n.ID) || g.ID != Metadata && g.Actual.has(n.ID)
		}) {
			n.Status, n.Forced = Removed, false
		}
	}
	forget := s.count(func(n *Node) bool { return n.Status == Removed }) - MaxRemoved
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n Node) bool {
		if n.Status != Removed || forget <= 0 {
			return false
		}
		forget--
		return true
	})
}
