package wallet

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Transact makes a transaction. The same transaction again has the first result again.
func (s *Service) Transact(ctx context.Context, tenant Tenant, t *Transaction) (Result, error) {
	return s.TransactBy(ctx, tenant, NoProtocol, t)
}

// TransactBy is Transact where a transaction with accounts of several partitions is
// made by a protocol, TCC or Saga; ErrTwoPhase for TwoPhase. NoProtocol is the
// wallet's, and TCC where that is TwoPhase.
func (s *Service) TransactBy(ctx context.Context, tenant Tenant, protocol Protocol, t *Transaction) (Result, error) {
	if err := t.Validate(); err != nil {
		return 0, err
	}
	results, err := s.TransactionsBy(ctx, tenant, protocol, []*Transaction{t})
	if err != nil {
		return 0, err
	}
	return results[0], nil
}

// TransactionsBy makes up to MaxBatch transactions, one after the other, each by itself,
// and returns one result each.
func (s *Service) TransactionsBy(ctx context.Context, tenant Tenant, protocol Protocol, ts []*Transaction) ([]Result, error) {
	if len(ts) == 0 || len(ts) > MaxBatch {
		return nil, ErrBatchSize
	}
	if protocol == TwoPhase {
		return nil, ErrTwoPhase
	}
	for i, t := range ts {
		if err := t.Validate(); err != nil {
			return nil, fmt.Errorf("transaction %d: %w", i, err)
		}
	}
	answer, code, err := s.propose(ctx, tenant, protocol, KindTransactions, len(ts), 1, func(b []byte) []byte {
		for _, t := range ts {
			b = AppendTransaction(b, t)
		}
		return b
	})
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(ts))
	for i := range results {
		if results[i] = Result(code); answer != nil { // else of a tenant that does not exist
			results[i] = Result(answer[i])
		}
	}
	return results, nil
}

// placeOfTransaction returns the partition that decides a transaction, and the kind
// that the command is there.
func (s *Service) placeOfTransaction(tenant uint16, cmd []byte) (uint16, Kind) {
	_, own, original, ok := parseTransaction(cmd)
	if !ok {
		return 0, KindTransactions // where it is refused
	}
	home := s.partitionOf(tenant, own.first())
	if own.reverses != reversesNothing {
		home = s.partitionOf(tenant, original.first())
	}
	for rest, n := own.postings, own.n; n > 0; n-- {
		var p rawPosting
		if p, rest = nextPosting(rest); s.partitionOf(tenant, p.name) != home {
			return home, KindCrossTransactions
		}
	}
	return home, KindTransactions
}

// postingPlace is a posting whose account is in another partition than that which
// decides its transaction.
type postingPlace struct {
	command, posting int
	name             []byte
}

// postingsLookUp looks for the accounts of transactions in several partitions at once.
type postingsLookUp struct {
	p       *piece
	handles [][]Handle // each partition's own places

	mu   sync.Mutex
	left int // partitions
}

// lookUpPostings makes the transactions of a piece complete: with what the other
// partitions know of their accounts, which never changes. Then it submits the piece.
func (p *piece) lookUpPostings() {
	p.own()
	l := &postingsLookUp{p: p, handles: make([][]Handle, len(p.commands))}
	places := make([][]postingPlace, len(p.b.s.parts))
	for i, cmd := range p.commands {
		_, own, _, _ := parseTransaction(cmd)
		l.handles[i] = make([]Handle, own.n)
		rest := own.postings
		for k := range own.n {
			var v rawPosting
			v, rest = nextPosting(rest)
			if at := p.b.s.partitionOf(p.b.header.Tenant, v.name); p.b.s.parts[at] != p.to {
				places[at] = append(places[at], postingPlace{i, k, v.name})
			}
		}
	}
	for _, of := range places {
		if len(of) > 0 {
			l.left++
		}
	}
	for at, of := range places {
		if len(of) > 0 {
			l.in(p.b.s.parts[at], of)
		}
	}
}

// in looks for accounts in one partition: first in what this node's replica knows,
// which may be behind.
func (l *postingsLookUp) in(q *Partition, places []postingPlace) {
	if !q.here() {
		l.ask(q, places)
		return
	}
	q.Log.ApplyLoop().Post(func() {
		tenant := l.p.b.header.Tenant
		missing := places
		if int(tenant) < len(q.Machine.tenants) {
			missing = slices.DeleteFunc(slices.Clone(places), func(v postingPlace) bool {
				h := q.Machine.lookup(tenant, string(v.name))
				l.handles[v.command][v.posting] = h
				return h != 0
			})
		}
		if len(missing) == 0 {
			l.ended(nil)
			return
		}
		l.ask(q, missing)
	})
}

// ask looks for accounts in what is certain of a partition.
func (l *postingsLookUp) ask(q *Partition, places []postingPlace) {
	about := &query{Subject: aboutHandles, Tenant: l.p.b.header.Tenant}
	for _, v := range places {
		about.Accounts = append(about.Accounts, AccountID(v.name))
	}
	q.query(about, func(f *finding, err error) {
		if err == nil {
			for i, v := range places {
				l.handles[v.command][v.posting] = f.Handles[i]
			}
		}
		l.ended(err)
	})
}

// ended submits the piece when the last partition has ended. It fails once.
func (l *postingsLookUp) ended(err error) {
	l.mu.Lock()
	l.left--
	left := l.left
	if err != nil {
		l.left = 0
	}
	l.mu.Unlock()
	switch {
	case left < 0:
	case err != nil:
		l.p.failed(err)
	case left == 0:
		by := l.p.b.protocol
		if by == TwoPhase {
			by = TCC
		}
		complete := make([][]byte, len(l.handles))
		for i, cmd := range l.p.commands {
			complete[i] = appendCrossTransaction(nil, cmd, by, l.handles[i])
		}
		l.p.complete = complete
		l.p.submit(false)
	}
}
