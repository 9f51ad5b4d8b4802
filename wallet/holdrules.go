package wallet

import (
	"math"

	"maru.example/money"
)

// holdCommand decides a command of KindHolds or KindCrossCaptures, unless its id was
// seen, and remembers the decision as once does.
func (m *Machine) holdCommand(tenant uint16, k Kind, cmd []byte) Result {
	c, ok := parseHold(cmd)
	if !ok || !c.wellFormed(k) {
		return m.count(Result(Malformed))
	}
	key, sum := makeKey(c.id[:]), c.sum()
	hash := m.tenants[tenant].ids.hash(key)
	e, free, seen := m.seen(tenant, key, hash)
	if seen {
		if e.fingerprint() != sum {
			return m.count(Result(IDReused))
		}
		return m.count(Repeat(e.code()))
	}
	if m.foreignHold(tenant, k, &c) {
		return m.count(Result(WrongPartition))
	}
	if m.fullOfIDs(tenant, hash) {
		return m.count(Result(LimitReached))
	}
	var code Code
	switch c.action {
	case holdPlace:
		code = m.placeHold(tenant, &c)
	case holdCapture:
		code = m.captureHold(tenant, &c)
	case holdRelease:
		code = m.releaseHold(tenant, &c)
	case holdExtend:
		code = m.extendHold(tenant, &c)
	case noHoldAction, endHoldAction:
		code = Malformed
	}
	if code == AccountLocked || code == TooManyInFlight || code == LimitReached {
		return m.count(Result(code))
	}
	m.remember(tenant, key, hash, sum<<8|uint64(code), free)
	return m.count(Result(code))
}

// foreignHold says that another partition has to decide a command.
func (m *Machine) foreignHold(tenant uint16, k Kind, c *holdCommand) bool {
	if m.foreignName(tenant, nameHash(c.from)) {
		return true
	}
	if c.action != holdCapture {
		return false
	}
	payee := partitionOf(m.tenants[tenant].hash, nameHash(c.to), m.options.Partitions)
	return (k == KindCrossCaptures) == (payee == m.options.Partition) || c.handle != 0 && c.handle.Partition() != payee
}

// placeHold decides on a new hold. The order of the checks is part of the rules.
func (m *Machine) placeHold(tenant uint16, c *holdCommand) Code {
	from := m.lookup(tenant, string(c.from))
	a := m.get(tenant, from)
	switch {
	case c.amount <= 0:
		return AmountNotPositive
	case !m.mayExpire(c.expires):
		return ExpiryOutOfRange
	case string(c.from) == string(c.to):
		return SameAccount
	case a == nil:
		return UnknownAccount
	case a.status&^limited != Open:
		return barred(a.status)
	}
	b, ok := m.hold(from, a, c.currency)
	if !ok {
		return CurrencyNotHeld
	}
	m.expireOf(b)
	if code := m.mayDebit(a, b, c.amount); code != Applied {
		return code
	}
	s := m.holds.sums[b.ref()]
	switch {
	// What is in flight may come back, and be held again.
	case c.amount > math.MaxInt64-s.held-s.flying, b.floor > 0 && c.amount > math.MaxInt64-b.floor-s.flying:
		return Overflow
	case s.count >= MaxBalanceHolds, len(m.holds.index) >= MaxHolds:
		return LimitReached
	}
	m.noteSpent(a, b, c.amount)
	h := holdRow{
		holdKey: holdKey{makeKey(c.id[:]), tenant}, account: uint32(m.row(from)), balance: b.ref(),
		amount: c.amount, left: c.amount, placed: m.holds.now, expires: c.expires,
		currency: c.currency, state: holdOpen, payeeLen: uint8(len(c.to)),
	}
	copy(h.payee[:], c.to)
	row := m.holds.rows.take(h)
	m.holds.enter(row)
	m.addHeld(b, c.amount)
	m.onHold(HoldPlaced, row, c.amount, c.id)
	m.dueAgain()
	return Held
}

// mayExpire says that a hold may be given an expiry.
func (m *Machine) mayExpire(at Millis) bool {
	return !at.reached(m.holds.now) && at-millisOf(m.holds.now) <= MaxHoldFor
}

// addHeld changes what is held of a balance.
func (m *Machine) addHeld(b held, a money.Amount) {
	s := m.holds.sums[b.ref()]
	s.held += a
	m.holds.setSum(b.ref(), s)
	if b.floor != Unlimited {
		m.touch(b)
		b.floor += a
	}
}

// smallest is a balance's smallest amount, without what is held.
func (m *Machine) smallest(b held) money.Amount {
	if b.floor == Unlimited || len(m.holds.sums) == 0 {
		return b.floor
	}
	return b.floor - m.holds.sums[b.ref()].held
}

// openHold finds the open hold of a command's account, and ends it first if it is
// overdue.
func (m *Machine) openHold(tenant uint16, c *holdCommand) (row uint32, code Code) {
	k := holdKey{makeKey(c.hold[:]), tenant}
	row, ok := m.holds.index[k]
	if ok && m.holds.rows.at(uint64(row)).expires.reached(m.holds.now) {
		m.finishHold(row, HoldExpired, TransactionID{})
		ok = false
	}
	if !ok {
		if e, seen := m.lookupID(tenant, k.key); seen && e.code() == Held {
			return 0, HoldFinished
		}
		return 0, UnknownHold
	}
	h := m.holds.rows.at(uint64(row))
	a := m.accounts.at(uint64(h.account))
	if string(m.arena.get(a.name, a.nameLen)) != string(c.from) || c.currency != 0 && c.currency != h.currency {
		return 0, HoldMismatch
	}
	return row, Applied
}

// captureHold pays out of a hold. The order of the checks is part of the rules.
func (m *Machine) captureHold(tenant uint16, c *holdCommand) Code {
	switch {
	case c.amount <= 0:
		return AmountNotPositive
	case string(c.from) == string(c.to):
		return SameAccount
	}
	row, code := m.openHold(tenant, c)
	if code != Applied {
		return code
	}
	h := m.holds.rows.at(uint64(row))
	if h.payeeLen > 0 && string(h.payee[:h.payeeLen]) != string(c.to) {
		return HoldMismatch
	}
	if c.protocol != NoProtocol {
		return m.beginCapture(tenant, c, row)
	}
	to := m.lookup(tenant, string(c.to))
	payee := m.get(tenant, to)
	if payee == nil {
		return UnknownAccount
	}
	// The payer may be locked: what is held was promised before.
	if s := (m.accounts.at(uint64(h.account)).status&^locked | payee.status) &^ limited; s != Open {
		return barred(s)
	}
	credit, ok := m.hold(to, payee, h.currency)
	debit := m.balanceAt(h.balance)
	switch {
	case !ok:
		return CurrencyNotHeld
	case c.amount > h.left:
		return HoldExceeded
	case debit.amount < math.MinInt64+c.amount, !credit.room(c.amount):
		return Overflow
	}
	m.touch(debit)
	m.touch(credit)
	debit.amount -= c.amount
	credit.amount += c.amount
	h = m.holds.rows.edit(row)
	h.left -= c.amount
	h.captured += c.amount
	m.addHeld(debit, -c.amount)
	m.moved(tenant, &movement{
		key: makeKey(c.id[:]), from: m.base + Handle(h.account) + 1, to: to, amount: c.amount, currency: h.currency,
		fromAfter: debit.amount, toAfter: credit.amount,
	})
	m.onHold(HoldCaptured, row, c.amount, c.id)
	m.endHold(row, c.final, c.id)
	return Applied
}

// beginCapture pays an account of another partition out of a hold, as begin does.
func (m *Machine) beginCapture(tenant uint16, c *holdCommand, row uint32) Code {
	h := m.holds.rows.at(uint64(row))
	if c.handle.Partition() >= m.options.Partitions || c.handle<<(64-partitionShift) == 0 {
		return UnknownAccount
	}
	if s := m.accounts.at(uint64(h.account)).status &^ (locked | limited); s != Open {
		return barred(s)
	}
	debit := m.balanceAt(h.balance)
	out := &m.crossing.peers[c.handle.Partition()].out
	switch {
	case c.amount > h.left:
		return HoldExceeded
	case debit.amount < math.MinInt64+c.amount, c.amount > math.MaxInt64-debit.pending:
		return Overflow
	case out.next-out.low >= MaxInFlight:
		return TooManyInFlight
	}
	m.touch(debit)
	debit.amount -= c.amount
	debit.pending += c.amount
	h = m.holds.rows.edit(row)
	h.left -= c.amount
	m.fly(h, c.amount)
	m.addHeld(debit, -c.amount)
	peer := c.handle.Partition()
	m.crossing.totals.of(peer, tenant, h.currency).out.add(int64(c.amount))
	first := Trying
	if c.protocol == Saga {
		first = Crediting
	}
	f := flight{
		key: makeKey(c.id[:]), amount: c.amount, began: m.holds.now, to: c.handle, from: h.account,
		currency: h.currency, tenant: tenant, protocol: c.protocol, hold: row + 1, final: c.final,
	}
	m.paid(&f, Debit, -c.amount, debit.amount)
	m.onHold(HoldCaptured, row, c.amount, c.id)
	out.push(f)
	m.enter(peer, out.next-1, out.at(out.next-1), first)
	return Pending
}

// fly changes what of a hold is under way to other partitions.
func (m *Machine) fly(h *holdRow, a money.Amount) {
	h.flying += a
	s := m.holds.sums[h.balance]
	s.flying += a
	m.holds.setSum(h.balance, s)
}

// landCapture ends the way of a capture to another partition: it is paid for good, or
// the money, which the payer has again, is held again, unless the hold was finished
// meanwhile.
func (m *Machine) landCapture(f *flight, paid bool) {
	row := f.hold - 1
	h := m.holds.rows.edit(row)
	m.fly(h, -f.amount)
	switch {
	case paid:
		h.captured += f.amount
	case h.state == holdOpen:
		h.left += f.amount
		m.addHeld(m.balanceAt(h.balance), f.amount)
		m.onHold(HoldRestored, row, f.amount, f.key.id())
	default:
		m.unspend(h.balance, h.placed, f.amount, 0)
	}
	m.endHold(row, paid && f.final, f.key.id())
	f.hold, f.final = 0, false
}

// endHold finishes a hold that has nothing left, or shall end, and frees the row of
// one that is finished. The id is that of the command that makes it end.
func (m *Machine) endHold(row uint32, final bool, id TransactionID) {
	h := m.holds.rows.at(uint64(row))
	switch {
	case h.state == holdOpen && (final || h.left == 0 && h.flying == 0):
		m.finishHold(row, HoldReleased, id)
	case h.state == holdFinished && h.flying == 0:
		m.freeHold(row)
	}
}

// finishHold gives back what an open hold has left, as it has expired or by a command
// with an id.
func (m *Machine) finishHold(row uint32, as EventKind, id TransactionID) {
	left := m.holds.rows.at(uint64(row)).left
	m.giveLeft(row, left)
	if left > 0 || as == HoldExpired {
		m.onHold(as, row, left, id)
	}
	m.holds.leave(row)
	h := m.holds.rows.edit(row)
	if h.state = holdFinished; h.flying == 0 {
		m.freeHold(row)
	}
}

// giveLeft makes an amount of what a hold has left available.
func (m *Machine) giveLeft(row uint32, a money.Amount) {
	h := m.holds.rows.edit(row)
	h.left -= a
	m.addHeld(m.balanceAt(h.balance), -a)
	m.unspend(h.balance, h.placed, a, 0)
}

// freeHold forgets a hold. One of which nothing was paid counts for nothing in the
// account's limit of the day.
func (m *Machine) freeHold(row uint32) {
	if h := m.holds.rows.at(uint64(row)); h.captured == 0 {
		m.unspend(h.balance, h.placed, 0, 1)
	}
	m.holds.rows.give(row)
}

// releaseHold gives back what a hold has left, or a part of it. That is no movement of
// money: frozen and locked accounts do not hinder it.
func (m *Machine) releaseHold(tenant uint16, c *holdCommand) Code {
	if c.amount < 0 {
		return AmountNotPositive
	}
	row, code := m.openHold(tenant, c)
	if code != Applied {
		return code
	}
	switch h := m.holds.rows.at(uint64(row)); {
	case c.amount > h.left:
		return HoldExceeded
	case c.amount == 0:
		m.finishHold(row, HoldReleased, c.id)
	default:
		m.giveLeft(row, c.amount)
		m.onHold(HoldReleased, row, c.amount, c.id)
		m.endHold(row, false, c.id)
	}
	return Applied
}

// extendHold gives a hold another expiry.
func (m *Machine) extendHold(tenant uint16, c *holdCommand) Code {
	row, code := m.openHold(tenant, c)
	switch {
	case code != Applied:
		return code
	case !m.mayExpire(c.expires):
		return ExpiryOutOfRange
	}
	m.holds.rows.edit(row).expires = c.expires
	m.holds.move(int(m.holds.place[row]))
	m.onHold(HoldExtended, row, 0, c.id)
	m.dueAgain()
	return Applied
}
