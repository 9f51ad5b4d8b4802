package wallet

import (
	"context"
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
	all, flights := make(map[money.Currency]*sums), make(map[money.Currency]*int128)
	settled = true
	if len(s.parts) == 0 {
		settled, err = addUp(ctx, s.log, s.machine, number, all, flights)
	}
	for _, p := range s.parts {
		// Each partition's sums are zero by themselves, at any moment.
		one, err := addUp(ctx, p.Log, p.Machine, number, all, flights)
		if err != nil {
			return nil, false, err
		}
		settled = settled && one
	}
	if err != nil {
		return nil, false, err
	}
	for c, t := range all {
		issued, flying := t.issued.big(), new(big.Int)
		if f := flights[c]; f != nil {
			flying = f.big()
		}
		totals = append(totals, Total{c, t.balances, t.sum.big(), issued.Neg(issued), flying})
	}
	slices.SortFunc(totals, func(a, b Total) int { return int(a.Currency) - int(b.Currency) })
	return totals, settled, nil
}

// addUp adds up a tenant's balances in one machine, and what it has to say of the
// money in flight. Settled says that nothing was committed there meanwhile.
func addUp(ctx context.Context, log Log, m *Machine, tenant uint16, all map[money.Currency]*sums, flights map[money.Currency]*int128) (settled bool, err error) {
	var begin, end uint64
	for row, more := uint64(0), true; more; {
		err := log.Read(ctx, func() {
			if row == 0 {
				begin = m.changes
				m.inFlightSums(flights, tenant)
			}
			row, more = m.addUp(all, tenant, row)
			end = m.changes
		})
		if err != nil {
			return false, err
		}
	}
	return begin == end, nil
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
type int128 struct{ hi, lo uint64 }

func (n *int128) add(a int64) {
	var carry uint64
	n.lo, carry = bits.Add64(n.lo, uint64(a), 0)
	n.hi, _ = bits.Add64(n.hi, uint64(a>>63), carry)
}

func (n *int128) big() *big.Int {
	v := big.NewInt(int64(n.hi))
	return v.Add(v.Lsh(v, 64), new(big.Int).SetUint64(n.lo))
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
	n.lo, carry = bits.Add64(n.lo, a.lo, 0)
	n.hi, _ = bits.Add64(n.hi, a.hi, carry)
}

func (n *int128) minus(a int128) {
	var borrow uint64
	n.lo, borrow = bits.Sub64(n.lo, a.lo, 0)
	n.hi, _ = bits.Sub64(n.hi, a.hi, borrow)
}
