package wallet

import "maru.example/money"

// maxExpired is how many holds a batch ends at the most before its commands: a batch's
// worth of work. Others that have expired hold nothing any more, whatever their rows
// say: whoever looks at one, or at its balance, ends it first, or passes over it.
const maxExpired = MaxBatch

// expire begins a batch at a time: the holds that have expired end first.
func (m *Machine) expire(now int64) {
	m.holds.now = max(m.holds.now, now)
	if len(m.holds.due) == 0 {
		return
	}
	ended := 0
	for ; ended < m.options.expired && m.holds.overdue(); ended++ {
		m.finishHold(m.holds.due[0], HoldExpired, TransactionID{})
	}
	if ended > 0 {
		m.dueAgain()
	}
}

// expireOf ends the holds of a balance that have expired and that expire has not come to.
func (m *Machine) expireOf(b held) {
	if !m.holds.overdue() {
		return
	}
	for i := m.holds.sums[b.ref()].first; i != 0; {
		h := m.holds.rows.at(uint64(i - 1))
		row := i - 1
		i = h.next
		if h.expires.reached(m.holds.now) {
			m.finishHold(row, HoldExpired, TransactionID{})
		}
	}
}

// freed says whether a debit that was not affordable is, now that holds which have
// expired are ended.
func (m *Machine) freed(b held, a money.Amount) bool {
	if !m.holds.overdue() {
		return false
	}
	m.expireOf(b)
	return affordable(b.funds, b.amount-a) == Applied
}

// dueAgain tells that another hold may be the next to expire.
func (m *Machine) dueAgain() {
	if m.options.Expires != nil {
		m.options.Expires()
	}
}

// NextExpiry returns when the next open hold expires, as it is between two batches, and
// false if there is none.
func (m *Machine) NextExpiry() (Millis, bool) {
	if len(m.holds.due) == 0 {
		return 0, false
	}
	return m.holds.rows.at(uint64(m.holds.due[0])).expires, true
}

// untilExpiry returns how long after the machine's time the next hold expires, in
// nanoseconds, and false if there is none.
func (m *Machine) untilExpiry() (int64, bool) {
	at, some := m.NextExpiry()
	if !some {
		return 0, false
	}
	return max(0, int64(at)*1e6-m.holds.now), true
}

// overdueOf returns 1 + the row of the first open hold of a balance if there may be some
// that are overdue, else 0.
func (m *Machine) overdueOf(b held) uint32 {
	if !m.holds.overdue() {
		return 0
	}
	return m.holds.sums[b.ref()].first
}

// hasHolds says that an account has open holds, after it has ended those that have
// expired.
func (m *Machine) hasHolds(h Handle, a *account) bool {
	for b, more := m.first(h, a); more; b, more = m.following(b) {
		m.expireOf(b)
		if m.holds.sums[b.ref()].count > 0 {
			return true
		}
	}
	return false
}
