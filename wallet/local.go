package wallet

import (
	"context"
	"sync"

	"maru.example/rsm"
)

// PartitionLog is what a partition of a divided wallet needs of its replicated
// log: rsmraft.Group is one.
type PartitionLog interface {
	Log
	// TrySubmit is Submit where a full queue is answered with rsm.ErrBusy.
	TrySubmit(ctx context.Context, p *rsm.Proposal) error
	// Peek calls fn between two batches with the state as it is here: it may be old.
	Peek(ctx context.Context, fn func()) error
	staleReader
	// ApplyLoop is the loop on which the machine runs.
	ApplyLoop() rsm.Loop
	// OnLeading sets a function that is called on the ApplyLoop when this replica
	// begins, and when it ceases, to lead.
	OnLeading(f func(leads bool))
}

// Partition is one part of a divided wallet, as it is on this node: a machine, the
// log it runs on, and, where that leads, the coordinator of its transfers to other
// partitions.
type Partition struct {
	Machine *Machine
	Log     PartitionLog // set before the first command

	coordinator coordinator
	random      func() uint64

	mu      sync.Mutex
	waiting map[waitKey]*place
}

// NewPartition returns partition number of so many, without a log. Random is where
// the coordinator draws its pauses from.
func NewPartition(number, of uint16, random func() uint64) *Partition {
	p := &Partition{random: random, waiting: map[waitKey]*place{}}
	p.Machine = NewMachine(&MachineOptions{
		Partition: number, Partitions: of,
		Finished: p.finished,
		Due:      func(peer uint16, seq uint64) { p.coordinator.due(peer, seq) },
	})
	return p
}

// NewDividedService returns the service of a wallet of several partitions, in the
// order of their numbers, whose logs are set. Transfers between partitions are
// made by the protocol.
func NewDividedService(parts []*Partition, protocol Protocol) *Service {
	s := newService(parts[0].Log, parts[0].Machine)
	s.parts = parts
	s.SetProtocol(protocol)
	for _, p := range parts {
		p.Log.ApplyLoop().Post(func() {
			p.coordinator.p, p.coordinator.all = p, parts
			p.Log.OnLeading(p.coordinator.lead)
		})
	}
	return s
}

// SetProtocol sets how the transfers between partitions that come from now on are made.
func (s *Service) SetProtocol(p Protocol) { s.protocol.Store(uint32(p)) }
