package queue

import (
	"cmp"
	"slices"
)

// RememberedBatches is how many of the newest batches of a producer a partition knows
// again when they come twice: as many as producers of Kafka have under way at the most.
const RememberedBatches = 5

// producers is what a partition knows of the producers with an id that write to it: the
// rules by which each of their batches is kept once, in order, and those of transactions
// (KIP-98, KIP-890).
type producers struct {
	of      map[ProducerID]*producer
	open    []*producer // those with an open transaction, by where it begins
	aborted []AbortedTransaction
	// forgotten is the largest id that was let go of. One that is larger and not known has
	// not written here before.
	forgotten ProducerID
}

func newProducers() producers {
	return producers{of: make(map[ProducerID]*producer), forgotten: NoProducer}
}

// producer is one of them.
type producer struct {
	id          ProducerID
	epoch       ProducerEpoch
	coordinator int32           // the epoch of the coordinator that ended a transaction last
	newest      []appendedBatch // of the epoch, oldest first
	room        [RememberedBatches]appendedBatch
	began       Offset // its open transaction, or noOffset
	heard       Millis // when it wrote last
}

// noOffset stands where there is none.
const noOffset Offset = -1

// appendedBatch is one that is in the log.
type appendedBatch struct {
	first, last Sequence
	base        Offset
}

// AbortedTransaction says which records of a producer a reader of what is committed has
// to pass over: those of its transactional batches between two offsets.
type AbortedTransaction struct {
	Producer ProducerID
	First    Offset // of its first record
	Last     Offset // of the mark that ends it
}

// admit decides on a batch. With DuplicateBatch comes the offset that it has.
func (s *producers) admit(b Batch) (Code, Offset) {
	id := b.ProducerID()
	p := s.of[id]
	switch {
	case id == NoProducer:
		return Appended, noOffset
	case p == nil && id <= s.forgotten: // it may have written long ago, up to any sequence
		return Appended, noOffset
	case p == nil && b.BaseSequence() != 0:
		// Its first batch comes later. Kafka takes this one, and refuses the first.
		return OutOfOrderSequence, noOffset
	case p == nil:
		return Appended, noOffset
	case b.ProducerEpoch() < p.epoch:
		return InvalidProducerEpoch, noOffset
	}
	sequence := Sequence(0)
	if b.ProducerEpoch() == p.epoch {
		if old, ok := p.find(b); ok {
			return DuplicateBatch, old.base
		}
		sequence = p.next()
	}
	switch {
	case b.BaseSequence() != sequence:
		return OutOfOrderSequence, noOffset
	case p.began != noOffset && !b.IsTransactional():
		return InvalidTransactionState, noOffset
	}
	return Appended, noOffset
}

// find returns the batch that is the same.
func (p *producer) find(b Batch) (appendedBatch, bool) {
	for _, old := range p.newest {
		if old.first == b.BaseSequence() && old.last == b.LastSequence() {
			return old, true
		}
	}
	return appendedBatch{}, false
}

// next returns the sequence that is to come.
func (p *producer) next() Sequence {
	if len(p.newest) == 0 {
		return 0
	}
	return p.newest[len(p.newest)-1].last.Add(1)
}

// note takes up a batch that was admitted and appended at an offset.
func (s *producers) note(b Batch, at Offset, now Millis) {
	id := b.ProducerID()
	if id == NoProducer {
		return
	}
	p := s.get(id)
	p.heard = now
	p.enter(b.ProducerEpoch())
	if len(p.newest) == len(p.room) {
		copy(p.newest, p.newest[1:])
		p.newest = p.newest[:len(p.room)-1]
	}
	p.newest = append(p.newest, appendedBatch{b.BaseSequence(), b.LastSequence(), at})
	if b.IsTransactional() && p.began == noOffset {
		p.began = at
		s.open = append(s.open, p)
	}
}

func (s *producers) get(id ProducerID) *producer {
	p := s.of[id]
	if p == nil {
		p = &producer{id: id, epoch: -1, coordinator: -1, began: noOffset}
		p.newest = p.room[:0]
		s.of[id] = p
	}
	return p
}

// enter begins an epoch, in which the sequences begin anew.
func (p *producer) enter(e ProducerEpoch) {
	if e != p.epoch {
		p.epoch, p.newest = e, p.room[:0]
	}
}

// end is the end of a transaction, as its coordinator decided it.
type end struct {
	producer    ProducerID
	epoch       ProducerEpoch
	coordinator int32 // its epoch
	commit      bool
}

// admitEnd decides on the end of a transaction.
func (s *producers) admitEnd(e *end) Code {
	p := s.of[e.producer]
	switch {
	case p == nil:
		return Appended
	case e.coordinator < p.coordinator:
		return TransactionCoordinatorFenced
	case e.epoch < p.epoch:
		return InvalidProducerEpoch
	}
	return Appended
}

// noteEnd takes up an end whose mark was appended at an offset.
func (s *producers) noteEnd(e *end, at Offset, now Millis) {
	p := s.get(e.producer)
	p.heard, p.coordinator = now, e.coordinator
	p.enter(e.epoch)
	if p.began == noOffset {
		return
	}
	if !e.commit {
		s.aborted = append(s.aborted, AbortedTransaction{p.id, p.began, at})
	}
	s.close(p)
}

// close ends the open transaction of a producer.
func (s *producers) close(p *producer) {
	p.began = noOffset
	s.open = slices.DeleteFunc(s.open, func(o *producer) bool { return o == p })
}

// stable returns the offset up to which everything is decided, where the log goes up to
// next: no open transaction has a record before it.
func (s *producers) stable(next Offset) Offset {
	if len(s.open) > 0 {
		return s.open[0].began
	}
	return next
}

// between returns the aborted transactions that have records in [from, to).
func (s *producers) between(from, to Offset) []AbortedTransaction {
	i, _ := slices.BinarySearchFunc(s.aborted, from, func(a AbortedTransaction, from Offset) int { return cmp.Compare(a.Last, from) })
	var some []AbortedTransaction
	for _, a := range s.aborted[i:] {
		if a.First < to {
			some = append(some, a)
		}
	}
	return some
}

// forget lets go of what is of no use any more: producers without an open transaction that
// were not heard of since a time, and aborted transactions that ended before an offset.
func (s *producers) forget(since Millis, before Offset) {
	for id, p := range s.of {
		if p.began == noOffset && p.heard < since {
			s.forgotten = max(s.forgotten, id)
			delete(s.of, id)
		}
	}
	i, _ := slices.BinarySearchFunc(s.aborted, before, func(a AbortedTransaction, at Offset) int { return cmp.Compare(a.Last, at) })
	s.aborted = slices.Delete(s.aborted, 0, i)
}
