package cluster

import (
	"context"
	"fmt"

	"maru.example/rsm"
)

// Log is what a Service needs of a replicated log: that of the metadata group.
type Log interface {
	// Propose commits data and returns the machine's result.
	Propose(ctx context.Context, data []byte) ([]byte, rsm.Position, error)
	// Read calls fn when the machine holds everything acknowledged so far.
	Read(ctx context.Context, fn func()) error
}

// Service is the metadata for programs. A refusal is a Code. An error says that the
// input was malformed (an Err of this package), that nothing was done or that the
// outcome is unknown, as rsm's errors say, or that ctx ended: then repeat the call.
// It is safe for concurrent use.
type Service struct {
	log     Log
	machine *Machine
}

// NewService returns the service of a machine that runs on a log.
func NewService(log Log, m *Machine) *Service { return &Service{log, m} }

// Init makes a cluster of this node, whose groups have begun on it. The same cluster
// again is Applied.
func (s *Service) Init(ctx context.Context, i Init) (Code, error) {
	if err := i.validate(); err != nil {
		return Undecided, err
	}
	r, err := s.propose(ctx, command{Init: &i})
	return r.Code, err
}

func (i *Init) validate() error {
	if err := i.Cluster.Validate(); err != nil {
		return err
	}
	if i.Partitions < 1 || i.Partitions > MaxPartitions {
		return ErrPartition
	}
	if err := i.Config.Validate(); err != nil {
		return err
	}
	return i.Node.Validate()
}

// Validate returns an error that wraps ErrID, ErrAddress or ErrURL.
func (n *NewNode) Validate() error {
	if err := n.Incarnation.Validate(); err != nil {
		return fmt.Errorf("incarnation: %w", err)
	}
	return n.Addresses.Validate()
}

// AddNode adds a node and returns its id. A node that is known by its incarnation
// keeps its id and gets the addresses that are given: nodes call it when they
// start.
func (s *Service) AddNode(ctx context.Context, n NewNode) (NodeID, Code, error) {
	if err := n.Validate(); err != nil {
		return 0, Undecided, err
	}
	r, err := s.propose(ctx, command{Add: &n})
	return r.Node, r.Code, err
}

// RemoveNode lets a node leave: its replicas move to others, and then it is removed. As long as others lack what it may
// have of the past it stays a member without a vote; force does not wait for that, also of a node that leaves already.
func (s *Service) RemoveNode(ctx context.Context, id NodeID, force bool) (Code, error) {
	r, err := s.propose(ctx, command{Remove: &removeCommand{id, force}})
	return r.Code, err
}

// TransferLeader makes a node the one that should lead a group; the group follows
// soon. It holds until replicas are placed anew.
func (s *Service) TransferLeader(ctx context.Context, id GroupID, to NodeID) (Code, error) {
	r, err := s.propose(ctx, command{Prefer: &preferCommand{id, to}})
	return r.Code, err
}

// Configure changes the settings.
func (s *Service) Configure(ctx context.Context, c Config) (Code, error) {
	if err := c.Validate(); err != nil {
		return Undecided, err
	}
	r, err := s.propose(ctx, command{Configure: &c})
	return r.Code, err
}

// Rebalance spreads replicas and leaders evenly, as is done whenever nodes come or go.
func (s *Service) Rebalance(ctx context.Context) (Code, error) {
	r, err := s.propose(ctx, command{Rebalance: &struct{}{}})
	return r.Code, err
}

// State returns the metadata with everything that was acknowledged so far.
func (s *Service) State(ctx context.Context) (*State, error) {
	var state *State
	err := s.log.Read(ctx, func() { state = s.machine.State() })
	return state, err
}

// Known returns the metadata as far as this node knows it, without asking others.
func (s *Service) Known() *State { return s.machine.State() }

func (s *Service) propose(ctx context.Context, c command) (result, error) {
	c.Version = c.version()
	b, _, err := s.log.Propose(ctx, encode(c))
	if err != nil {
		return result{}, err
	}
	var r result
	if err := decode(b, &r); err != nil {
		panic(fmt.Sprintf("cluster: result %q: %v", b, err))
	}
	return r, nil
}
