package wallet

import (
	"context"
	"maps"
	"math/big"
	"math/bits"
	"slices"

	"maru.example/money"
)

// Total is the sum over all accounts of a tenant of one currency.
type Total struct {
	Currency money.Currency
	Balances int      // accounts that hold the currency
	Sum      *big.Int // in minor units: with InFlight zero
	Issued   *big.Int // what the balances below zero owe, in minor units: zero or more
	InFlight *big.Int // on the way between partitions, in neither balance
}

// Zero says whether the sum and what is in flight are zero together.
func (t *Total) Zero() bool { return new(big.Int).Add(t.Sum, t.InFlight).Sign() == 0 }

// totalsSlice is how many accounts are added up before transfers go on: about
// a tenth of a millisecond's work.
const totalsSlice = 16384

// Totals adds up every balance of a tenant, in the order of the currencies'
// codes, a slice of the accounts at a time so that transfers go on. settled says
// that nothing was committed meanwhile: only then do the sums describe one
// moment, and are zero.
func (s *Service) Totals(ctx context.Context, tenant Tenant) (totals []Total, settled bool, err error) {
	number, ok, err := s.Tenant(ctx, tenant)
	if err != nil || !ok {
		return nil, false, err
	}
	all := map[money.Currency]*currencySum{}
	settled = true
	for _, p := range s.parts {
		// Each partition's sums are zero by themselves, at any moment.
		one, err := s.addUp(ctx, p, number, all)
		if err != nil {
			return nil, false, err
		}
		settled = settled && one
	}
	for _, c := range slices.Sorted(maps.Keys(all)) {
		t := all[c]
		issued := t.Issued.big()
		totals = append(totals, Total{c, t.Balances, t.Sum.big(), issued.Neg(issued), t.InFlight.big()})
	}
	return totals, settled, nil
}

// currencySum is what a slice of the accounts adds up to in one currency, and what
// their partition has to say of the money in flight.
type currencySum struct {
	Currency              money.Currency
	Balances              int
	Sum, Issued, InFlight int128
}

// addUp adds up a tenant's balances in one partition. Settled says that nothing
// was committed there meanwhile.
func (s *Service) addUp(ctx context.Context, p *Partition, tenant uint16, all map[money.Currency]*currencySum) (settled bool, err error) {
	settled = true
	var began uint64
	for q, more := (query{Subject: aboutTotals, Tenant: tenant}), true; more; {
		f, err := s.query(ctx, p, &q)
		if err != nil {
			return false, err
		}
		if q.Row == 0 {
			began = f.Changes
		}
		settled = f.Changes == began
		for i := range f.Sums {
			one := &f.Sums[i]
			t := all[one.Currency]
			if t == nil {
				t = &currencySum{}
				all[one.Currency] = t
			}
			t.Balances += one.Balances
			t.Sum.plus(one.Sum)
			t.Issued.plus(one.Issued)
			t.InFlight.plus(one.InFlight)
		}
		q.Row, more = f.Row, f.More
	}
	return settled, nil
}

// addUp adds a slice of the accounts from row on and returns where the next begins.
func (m *Machine) addUp(all map[money.Currency]*sums, tenant uint16, row uint64) (next uint64, more bool) {
	for end := min(row+totalsSlice, m.accounts.len); row < end; row++ {
		a := m.accounts.at(row)
		if a.tenant != tenant {
			continue
		}
		add(all, a.currency, a.amount)
		for next := a.next; next != 0; {
			b := m.balances.at(uint64(next - 1))
			add(all, b.currency, b.amount)
			next = b.next
		}
	}
	return row, row < m.accounts.len
}

// sums are the running sums of one currency, in 128 bits.
type sums struct {
	balances    int
	sum, issued int128
}

// int128 is a two's complement number of 128 bits.
type int128 struct{ Hi, Lo uint64 }

func (n *int128) add(a int64) {
	var carry uint64
	n.Lo, carry = bits.Add64(n.Lo, uint64(a), 0)
	n.Hi, _ = bits.Add64(n.Hi, uint64(a>>63), carry)
}

func (n *int128) big() *big.Int {
	v := big.NewInt(int64(n.Hi))
	return v.Add(v.Lsh(v, 64), new(big.Int).SetUint64(n.Lo))
}

func add(all map[money.Currency]*sums, c money.Currency, a money.Amount) {
	t := all[c]
	if t == nil {
		t = new(sums)
		all[c] = t
	}
	t.balances++
	t.sum.add(int64(a))
	if a < 0 {
		t.issued.add(int64(a))
	}
}

func (n *int128) plus(a int128) {
	var carry uint64
	n.Lo, carry = bits.Add64(n.Lo, a.Lo, 0)
	n.Hi, _ = bits.Add64(n.Hi, a.Hi, carry)
}

func (n *int128) minus(a int128) {
	var borrow uint64
	n.Lo, borrow = bits.Sub64(n.Lo, a.Lo, 0)
	n.Hi, _ = bits.Sub64(n.Hi, a.Hi, borrow)
}
