package wallet

import (
	"cmp"
	"math"

	"maru.example/money"
)

// limited is a bit of an account's status: some balance of it has a daily limit. Like
// locked it is found by the one comparison with Open, and it restricts nothing by itself.
const limited = 0x40

// marks are the bits of a status that are not part of what the account's owner sees.
const marks = locked | limited

const dayNanos = 24 * 3600 * 1e9

// spendTable has the balances with a daily limit.
type spendTable struct {
	rows pool[spendRow]
	of   map[balanceRef]uint32
}

// spendRow is a daily limit, and what counts for it. 64 bytes.
type spendRow struct {
	balance  balanceRef
	account  uint32 // row
	currency money.Currency
	used     bool
	limit    DailyLimit
	since    int64 // the time from which on it counts; what happened at that very time is not given back
	day      int64 // of what was counted, since 1970
	spent    money.Amount
	count    uint32
}

func newSpendTable() spendTable { return spendTable{of: make(map[balanceRef]uint32)} }

// bytes is the memory that the table takes, about.
func (t *spendTable) bytes() uint64 {
	const found = 32 // of the map
	return uint64(len(t.rows.chunks))*chunkRows*64 + uint64(len(t.of))*found
}

func dayOf(ns int64) int64 { return ns / dayNanos }

// today returns what was counted on the day of a time.
func (s *spendRow) today(now int64) (money.Amount, uint32) {
	if s.day != dayOf(now) {
		return 0, 0
	}
	return s.spent, s.count
}

// mayDebit says whether a balance of an open account may be debited by an amount,
// which is more than zero, at the machine's time: Applied, DailyLimitExceeded,
// InsufficientFunds or Overflow. It may end holds that have expired. Whoever debits then
// calls noteSpent.
func (m *Machine) mayDebit(a *account, b held, amount money.Amount) Code {
	if code := m.withinDay(a, b, amount); code != Applied {
		return code
	}
	code := affordable(b.funds, b.amount-amount)
	if code != Applied && m.freed(b, amount) {
		return Applied
	}
	return code
}

// withinDay judges a debit by the account's daily limit only.
func (m *Machine) withinDay(a *account, b held, amount money.Amount) Code {
	if a.status&limited == 0 {
		return Applied
	}
	row, ok := m.spends.of[b.ref()]
	if !ok {
		return Applied
	}
	m.expireOf(b) // which may count for less then
	s := m.spends.rows.at(uint64(row))
	spent, count := s.today(m.holds.now)
	most := cmp.Or(s.limit.Amount, math.MaxInt64)
	if amount > most-spent || s.limit.Count != 0 && count >= s.limit.Count {
		return DailyLimitExceeded
	}
	return Applied
}

// noteSpent counts a debit.
func (m *Machine) noteSpent(a *account, b held, amount money.Amount) {
	if a.status&limited == 0 {
		return
	}
	row, ok := m.spends.of[b.ref()]
	if !ok {
		return
	}
	s := m.spends.rows.edit(row)
	s.spent, s.count = s.today(m.holds.now)
	s.day = dayOf(m.holds.now)
	s.spent += amount
	s.count++
}

// unspend takes back what a debit at a time, in nanoseconds, counted for its day, if that
// is today.
func (m *Machine) unspend(r balanceRef, at int64, amount money.Amount, count uint32) {
	row, ok := m.spends.of[r]
	if !ok {
		return
	}
	if s := m.spends.rows.at(uint64(row)); s.day == dayOf(at) && at > s.since {
		s = m.spends.rows.edit(row)
		s.spent -= amount
		s.count -= count
	}
}

// moveMarked is move with an account on a side that is not just open.
func (m *Machine) moveMarked(v *movement, from, to *account) Code {
	if s := (from.status | to.status) &^ limited; s != Open {
		return barred(s)
	}
	b, ok := m.hold(v.from, from, v.currency)
	if !ok {
		return CurrencyNotHeld
	}
	if code := m.withinDay(from, b, v.amount); code != Applied {
		return code
	}
	code := m.post(v, from, to)
	if code == Applied {
		m.noteSpent(from, b, v.amount)
	}
	return code
}

// setDaily sets the daily limit of an account in a currency, or removes it.
func (m *Machine) setDaily(tenant uint16, cmd []byte) Code {
	name, c, limit := parseDaily(cmd)
	h := m.lookup(tenant, string(name))
	a := m.get(tenant, h)
	switch {
	case limit.Amount < 0:
		return Malformed
	case a == nil:
		return m.missing(tenant, name)
	case a.status&Closed != 0:
		return AccountClosed
	}
	b, ok := m.hold(h, a, c)
	if !ok {
		return CurrencyNotHeld
	}
	row, ok := m.spends.of[b.ref()]
	switch {
	case limit == (DailyLimit{}) && ok:
		m.spends.rows.give(row)
		delete(m.spends.of, b.ref())
		m.markLimited(h, a)
	case limit == (DailyLimit{}):
	case ok:
		m.spends.rows.edit(row).limit = limit
	default:
		m.spends.of[b.ref()] = m.spends.rows.take(spendRow{
			balance: b.ref(), account: uint32(m.row(h)), currency: c, used: true, limit: limit, since: m.holds.now, day: dayOf(m.holds.now),
		})
		a.status |= limited
	}
	return Applied
}

// markLimited sets the bit of an account's status that says whether it has limits.
func (m *Machine) markLimited(h Handle, a *account) {
	a.status &^= limited
	for b, more := m.first(h, a); more; b, more = m.following(b) {
		if _, ok := m.spends.of[b.ref()]; ok {
			a.status |= limited
		}
	}
}

// daily returns the limit of a balance, and what counts for it.
func (m *Machine) daily(b held) Daily {
	row, ok := m.spends.of[b.ref()]
	if !ok {
		return Daily{}
	}
	s := m.spends.rows.at(uint64(row))
	spent, count := s.today(m.holds.now)
	for i := m.overdueOf(b); i != 0; {
		h := m.holds.rows.at(uint64(i - 1))
		if h.expires.reached(m.holds.now) && s.day == dayOf(h.placed) && h.placed > s.since && s.day == dayOf(m.holds.now) {
			spent -= h.left
			if h.captured == 0 && h.flying == 0 {
				count--
			}
		}
		i = h.next
	}
	return Daily{s.limit, spent, count}
}

// first returns an account's first balance, and following the next after one.
func (m *Machine) first(h Handle, a *account) (held, bool) {
	return held{&a.funds, m.row(h), false}, true
}

func (m *Machine) following(b held) (held, bool) {
	next := uint32(0)
	if b.extra {
		next = m.balances.at(b.row).next
	} else {
		next = m.accounts.at(b.row).next
	}
	if next == 0 {
		return held{}, false
	}
	return held{&m.balances.at(uint64(next - 1)).funds, uint64(next - 1), true}, true
}
