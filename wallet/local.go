package wallet

import (
	"context"
	"sync"
	"time"

	"maru.example/rsm"
)

// PartitionLog is what a partition of a wallet needs of its replicated log:
// rsmraft.Group is one.
type PartitionLog interface {
	// Propose commits data and returns the machine's result.
	Propose(ctx context.Context, data []byte) ([]byte, rsm.Position, error)
	// Submit proposes without waiting for the result. It waits while the queue is
	// full, until ctx ends.
	Submit(ctx context.Context, p *rsm.Proposal) error
	// TrySubmit is Submit where a full queue is answered with rsm.ErrBusy.
	TrySubmit(ctx context.Context, p *rsm.Proposal) error
	// StartRead calls fn on the ApplyLoop when the machine holds everything that
	// was acknowledged so far; with an error it may be called at once.
	StartRead(fn func(error))
	// StartReadStale calls fn on the ApplyLoop with how old the state may be:
	// everything that was acknowledged longer ago is in it.
	StartReadStale(fn func(age time.Duration, err error))
	// StartPeek calls fn on the ApplyLoop with the state as it is here: it may be old.
	StartPeek(fn func(error))
	// ApplyLoop is the loop on which the machine runs.
	ApplyLoop() rsm.Loop
	// OnLeading sets a function that is called on the ApplyLoop when this replica
	// begins, and when it ceases, to lead.
	OnLeading(f func(leads bool))
}

// Remote reaches the nodes that have a replica of a partition of which this one
// has none.
type Remote interface {
	// Here says whether this node has a replica.
	Here(partition uint16) bool
	// Ask lets the [Service] of such a node Serve a request, and calls done once,
	// on any loop, with the answer and how long it took. With rsm.ErrUnknown it may
	// have been served, or may be yet; with any other error it was not, and will not
	// be. Another node is asked where one may have served a request only if that may
	// be repeated.
	Ask(partition uint16, request []byte, repeat bool, done func(answer []byte, took time.Duration, err error))
}

// everything is the Remote of a node that has all partitions.
type everything struct{}

func (everything) Here(uint16) bool { return true }
func (everything) Ask(_ uint16, _ []byte, _ bool, done func([]byte, time.Duration, error)) {
	done(nil, 0, rsm.ErrNoLeader)
}

// Partition is one part of a wallet, as it is on this node: a machine, the log it
// runs on, and, where that leads, the coordinator of its transfers to other
// partitions.
type Partition struct {
	Machine *Machine
	Log     PartitionLog // set before the first command
	// CancelAfter is how long another partition may be out of reach until transfers
	// to it that it has not agreed to are canceled; default a minute.
	CancelAfter time.Duration

	number      uint16
	remote      Remote
	history     History // nil: this node keeps none
	coordinator coordinator
	clock       holdClock
	random      func() uint64

	mu      sync.Mutex
	waiting map[waitKey]*place
	traced  int // gatherings that are
}

// NewPartition returns partition number of so many, without a log. Random is where
// the coordinator draws its pauses from, and the machine its seeds.
func NewPartition(number, of uint16, random func() uint64) *Partition {
	p := barePartition(number, random)
	p.Machine = NewMachine(&MachineOptions{
		Partition: number, Partitions: of, Random: random,
		Finished: p.finished,
		Due:      func(peer uint16, seq uint64) { p.coordinator.due(peer, seq) },
		Expires:  func() { p.clock.changed() },
	})
	return p
}

func barePartition(number uint16, random func() uint64) *Partition {
	return &Partition{number: number, remote: everything{}, random: random, waiting: map[waitKey]*place{}}
}

// here says whether this node has a replica of the partition.
func (p *Partition) here() bool { return p.remote.Here(p.number) }

// propose commits a batch in the partition, wherever its replicas are, and calls
// done once, on any loop. The result is valid during the call.
func (p *Partition) propose(data []byte, done func(result []byte, at rsm.Position, err error)) {
	if !p.here() {
		p.ask(requestPropose, NoProtocol, data, done)
		return
	}
	p.proposeHere(data, done)
}

// proposeHere is propose where this node has a replica.
func (p *Partition) proposeHere(data []byte, done func(result []byte, at rsm.Position, err error)) {
	if err := p.Log.TrySubmit(context.Background(), &rsm.Proposal{Data: data, Done: done}); err != nil {
		p.Log.ApplyLoop().Post(func() { done(nil, rsm.Position{}, err) })
	}
}

// Tick proposes a command that does nothing, so that an entry with a later time comes into the partition's log. done is
// called once, on any loop, with the entry's index.
func (p *Partition) Tick(now time.Time, done func(rsm.Index, error)) {
	data := appendExpire(AppendHeader(nil, Header{Kind: KindExpire, Count: 1}), Millis(now.UnixMilli()))
	p.proposeHere(data, func(_ []byte, at rsm.Position, err error) { done(at.Index, err) })
}

// ServiceOptions are the settings of a service of several partitions; nil means
// all defaults.
type ServiceOptions struct {
	// Protocol is how transfers between partitions are made; default TCC.
	Protocol Protocol
	// Remote reaches the partitions that are on other nodes only; default: all are
	// here.
	Remote Remote
	// History is this node's; default: it keeps none.
	History History
	// Await calls start, and returns when that, or a loop, has called done, or
	// when ctx has ended, with its error. A simulation has one of its own, as it
	// must not stop to wait; default: waits for a channel.
	Await func(ctx context.Context, start func(done func())) error
}

func await(ctx context.Context, start func(done func())) error {
	ended := make(chan struct{})
	start(func() { close(ended) })
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// NewService returns the service of a wallet of one partition: a machine that
// runs on a log.
func NewService(log PartitionLog, m *Machine) *Service {
	p := barePartition(0, nil)
	p.Machine, p.Log, p.clock.p = m, log, p
	log.ApplyLoop().Post(func() {
		m.options.Expires = p.clock.changed
		log.OnLeading(p.clock.lead)
	})
	return newService([]*Partition{p}, nil)
}

// NewDividedService returns the service of a wallet of several partitions, in the
// order of their numbers, whose logs are set.
func NewDividedService(parts []*Partition, o *ServiceOptions) *Service {
	s := newService(parts, o)
	for _, p := range parts {
		p.Log.ApplyLoop().Post(func() {
			p.coordinator.p, p.coordinator.all, p.clock.p = p, parts, p
			p.Log.OnLeading(p.lead)
		})
	}
	return s
}

// lead is called when the group begins or ceases to lead here.
func (p *Partition) lead(leads bool) {
	p.coordinator.lead(leads)
	p.clock.lead(leads)
}

func newService(parts []*Partition, o *ServiceOptions) *Service {
	s := &Service{parts: parts, await: await, tenants: map[Tenant]uint16{DefaultTenant: 0}, names: []uint64{nameHash(DefaultTenant)}, assets: make(map[Tenant][]Asset)}
	s.SetProtocol(TCC)
	if o == nil {
		return s
	}
	if o.Protocol != NoProtocol {
		s.SetProtocol(o.Protocol)
	}
	if o.Await != nil {
		s.await = o.Await
	}
	if o.History != nil {
		for _, p := range parts {
			p.history = o.History
		}
	}
	if o.Remote != nil {
		for _, p := range parts {
			p.remote = o.Remote
		}
	}
	return s
}

// SetProtocol sets how the transfers between partitions that come from now on are
// made, unless they say so themselves.
func (s *Service) SetProtocol(p Protocol) { s.protocol.Store(uint32(p)) }
