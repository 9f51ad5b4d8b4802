package wallet

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"maru.example/rsm"
)

// Receipt takes the positions at which commands were committed.
type Receipt struct {
	mu        sync.Mutex
	positions HistoryPositions
}

type receiptKey struct{}

// WithReceipt returns a context with which a method of [Service] notes in the receipt where
// its commands were committed: who waits for a read model to have come there
// reads what they wrote.
func WithReceipt(ctx context.Context) (context.Context, *Receipt) {
	r := &Receipt{}
	return context.WithValue(ctx, receiptKey{}, r), r
}

// receiptOf returns the receipt that a caller wants, nil for none.
func receiptOf(ctx context.Context) *Receipt {
	r, _ := ctx.Value(receiptKey{}).(*Receipt)
	return r
}

// note notes a position. The last one of a partition counts.
func (r *Receipt) note(partition uint16, at rsm.Index) {
	if r == nil || at == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i, found := slices.BinarySearchFunc(r.positions, partition, func(p HistoryPosition, n uint16) int { return int(p.Partition) - int(n) })
	if found {
		r.positions[i].Index = max(r.positions[i].Index, at)
		return
	}
	r.positions = slices.Insert(r.positions, i, HistoryPosition{partition, at})
}

// NoteReceipt notes positions that a server's answer had in the receipt of a context, if it has one.
func NoteReceipt(ctx context.Context, ps HistoryPositions) {
	r := receiptOf(ctx)
	for _, p := range ps {
		r.note(p.Partition, p.Index)
	}
}

// Position returns the index of the entry that a partition has decided last, of those with commands: everything
// that was acknowledged before is in it. 0: that is not known.
func (s *Service) Position(ctx context.Context, partition uint16) (rsm.Index, error) {
	f, err := s.query(ctx, s.parts[partition], &query{Subject: aboutPosition})
	if err != nil {
		return 0, err
	}
	return f.Index, nil
}

// othersWithin is how long an answer waits for the positions of other partitions.
const othersWithin = time.Second

// noteOthers notes where partitions are that took part in what was applied: what they decided of it was committed before.
// One that does not answer soon is left out.
func (s *Service) noteOthers(ctx context.Context, r *Receipt, asked []uint16) {
	if len(asked) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, othersWithin)
	defer cancel()
	var left atomic.Int32
	left.Store(int32(len(asked)))
	_ = s.await(ctx, func(done func()) { // without them it is a receipt too
		for _, n := range asked {
			s.parts[n].query(&query{Subject: aboutPosition}, func(f *finding, err error) {
				if err == nil {
					r.note(n, f.Index)
				}
				if left.Add(-1) == 0 {
					done()
				}
			})
		}
	})
}

// note notes in the receipt, if there is one, where a piece was committed. Of commands that were applied, and in which
// other partitions took part, these are noted where the coordinator said so to who waited here; else they are to be asked.
func (p *piece) note(result []byte, at rsm.Index, waited *gathering) {
	r := p.b.receipt
	if r == nil {
		return
	}
	r.note(p.to.number, at)
	if !p.crosses() {
		return
	}
	for i := range p.commands {
		if Result(result[i]).Code() != Applied {
			continue
		}
		var known HistoryPositions
		if waited != nil {
			known = waited.places[i].others
		}
		for _, n := range p.others(i) {
			if k := slices.IndexFunc(known, func(at HistoryPosition) bool { return at.Partition == n }); k >= 0 {
				r.note(n, known[k].Index)
			} else {
				p.b.ask(n)
			}
		}
	}
}

// ask lets a partition be asked, when the batch is decided, where it is.
func (b *routed) ask(partition uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.asked, partition) {
		b.asked = append(b.asked, partition)
	}
}

// others returns the partitions that take part in a command of a piece, beside the one that decides it.
func (p *piece) others(i int) (all []uint16) {
	if p.kind != KindCrossTransactions {
		h, name := p.payee(i)
		if name == nil {
			return []uint16{h.Partition()}
		}
		return []uint16{p.b.s.partitionOf(p.b.header.Tenant, name)}
	}
	_, own, _, _ := parseTransaction(p.commands[i])
	for rest, n := own.postings, own.n; n > 0; n-- {
		var v rawPosting
		v, rest = nextPosting(rest)
		if of := p.b.s.partitionOf(p.b.header.Tenant, v.name); of != p.to.number && !slices.Contains(all, of) {
			all = append(all, of)
		}
	}
	return all
}

// Positions returns where commands were committed, by partition; none if nothing was.
func (r *Receipt) Positions() HistoryPositions {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.positions)
}
