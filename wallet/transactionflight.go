package wallet

import (
	"fmt"
	"slices"
)

// MaxTransactionsInFlight bounds the transactions with accounts in several partitions
// that one of them has under way. In memory and in a snapshot one takes 24 bytes for
// each of its legs.
const MaxTransactionsInFlight = 1 << 14

// transaction is one with accounts in other partitions, which is under way. For each
// of those partitions, its participants, it has a row in the phase status table, which
// says by its phase what is due there, and has the participant's number where the row
// of a transfer has the receiving account.
type transaction struct {
	transactionKey
	began    int64
	protocol Protocol
	stage    stage
	code     Code   // while canceling: the decision
	open     int    // participants whose row is not finished
	legs     []leg  // those here, then those of each participant
	parts    []part // in the order in which a saga goes through them
	reverses reservation
}

// part is a participant of a transaction.
type part struct {
	peer   uint16
	agreed bool   // has answered that it can, and may still be told not to
	seq    uint64 // of the row in the phase status table
}

// stage is where a transaction under way stands. It is part of the snapshot's format.
type stage uint8

const (
	noStage         stage = iota
	stageAsking           // some participant has not agreed
	stageConfirming       // all have agreed
	stageCanceling        // one did not
	endStage
)

// of returns the legs of a participant, of those here for -1.
func (t *transaction) of(participant int) []leg {
	first, end := len(t.legs), len(t.legs)
	for i := range t.legs {
		if int(t.legs[i].part) == participant+1 {
			first, end = min(first, i), i+1
		}
	}
	return t.legs[first:max(first, end)]
}

// hub is the participant through which all money of a transaction is accounted for
// until it is decided: in a saga the last one, which may be credited before.
func (t *transaction) hub() uint16 { return t.parts[len(t.parts)-1].peer }

func (t *transaction) ledger() ledger { return ledger{t.transactionKey, t.hub(), true, t.began} }

// holds says that what was promised to the accounts here stands.
func (t *transaction) holds() bool {
	return t.stage == stageAsking || t.stage == stageCanceling && t.protocol == Saga
}

// turn is the participant whose turn it is in a saga that asks.
func (t *transaction) turn() int {
	return slices.IndexFunc(t.parts, func(p part) bool { return !p.agreed })
}

// beginTransaction debits the accounts here, and enters the transaction into the phase
// status table. What it can refuse was judged before.
func (m *Machine) beginTransaction(d *draft, parts []part, back *reservation) Code {
	if len(m.crossing.transactions) >= MaxTransactionsInFlight {
		return TooManyInFlight
	}
	for _, p := range parts {
		if out := &m.crossing.peers[p.peer].out; out.next-out.low >= MaxInFlight {
			return TooManyInFlight
		}
	}
	t := &transaction{
		transactionKey: transactionKey{d.key, d.tenant}, began: d.began, protocol: d.by, stage: stageAsking,
		open: len(parts), legs: slices.Clone(d.legs), parts: slices.Clone(parts),
		reverses: reservation{back.of, slices.Clone(back.amounts)},
	}
	m.crossing.transactions[t.transactionKey] = t
	m.reserve(&t.reverses)
	m.promise(t.ledger(), t.of(-1))
	for i := range t.parts {
		p := &t.parts[i]
		out := &m.crossing.peers[p.peer].out
		p.seq = out.next
		out.push(flight{key: d.key, tenant: d.tenant, began: d.began, protocol: d.by, to: partHandle(p.peer, i)})
		phase := Trying
		if d.by == Saga {
			if phase = Waiting; i == 0 {
				phase = t.sagaPhase(0)
			}
		}
		m.enter(p.peer, p.seq, out.at(p.seq), phase)
	}
	return Pending
}

// sagaPhase is the phase of the participant whose turn it is: the last one does its
// part for good, as nothing can be refused any more.
func (t *transaction) sagaPhase(i int) Phase {
	if i == len(t.parts)-1 {
		return Crediting
	}
	return Trying
}

// partHandle is what the row of a participant has for the receiving account.
func partHandle(peer uint16, i int) Handle {
	return Handle(peer)<<partitionShift | Handle(i+1)
}

// isPart says that a row is that of a participant of a transaction.
func (f *flight) isPart() bool { return f.amount == 0 }

// participant is the number of the participant that a row is of.
func (f *flight) participant() int { return int(uint32(f.to)) - 1 }

// due is the message that a row waits for the answer to.
func (f *flight) due() action {
	a := f.phase.due()
	switch {
	case f.isPart() && a == actTry:
		return actTryLegs
	case f.isPart() && a == actCredit:
		return actCreditLegs
	}
	return a
}

// partMessage completes the message to a participant with its legs.
func (m *Machine) partMessage(v *message, f *flight) {
	t := m.crossing.transactions[transactionKey{f.key, f.tenant}]
	v.tenant, v.key = f.tenant, f.key
	for _, l := range t.of(f.participant()) {
		v.legs = appendLeg(v.legs, &l)
	}
}

// settlePart takes a participant's answer, or the wish to give the transaction up.
func (m *Machine) settlePart(peer uint16, a answer, f *flight) Code {
	switch {
	case f.phase == Finished:
		return Forgotten
	case a.action != actGiveUp && a.action != f.due():
		return Forgotten
	case a.action != actGiveUp && !a.valid():
		return Malformed
	}
	t := m.crossing.transactions[transactionKey{f.key, f.tenant}]
	if a.action == actGiveUp {
		return m.giveUpTransaction(t)
	}
	switch f.phase {
	case Trying, Crediting:
		if a.code == Applied {
			m.agree(t, f.participant())
			break
		}
		m.finishPart(t, f.participant())
		m.cancelTransaction(t, a.code)
	case Confirming, Canceling:
		m.finishPart(t, f.participant())
		m.compensate(t)
	case NoPhase, Preparing, Finished, Waiting, endPhase:
		panic(fmt.Sprintf("wallet: transaction %v is in %v with partition %d", f.key.id(), f.phase, peer))
	}
	if t.open == 0 {
		m.endTransaction(t)
	}
	return Applied
}

// row returns the row of a participant in the phase status table.
func (m *Machine) partRow(t *transaction, i int) *flight {
	return m.crossing.peers[t.parts[i].peer].out.at(t.parts[i].seq)
}

func (m *Machine) enterPart(t *transaction, i int, to Phase) {
	m.enter(t.parts[i].peer, t.parts[i].seq, m.partRow(t, i), to)
}

// finishPart ends what there is to do with a participant.
func (m *Machine) finishPart(t *transaction, i int) {
	m.finish(t.parts[i].peer, t.parts[i].seq, m.partRow(t, i))
	t.open--
}

// agree notes that a participant has agreed: what it debited is now accounted for
// here. The last one to agree decides.
func (m *Machine) agree(t *transaction, i int) {
	t.parts[i].agreed = true
	m.shift(t, i, -1)
	m.enterPart(t, i, Waiting)
	next := t.turn()
	if next < 0 {
		m.confirmTransaction(t)
	} else if t.protocol == Saga {
		m.enterPart(t, next, t.sagaPhase(next))
	}
}

// shift accounts for what a participant debited (sign -1) or is to be credited with
// (sign 1), between the hub and its partition.
func (m *Machine) shift(t *transaction, i, sign int) {
	for _, l := range t.of(i) {
		if int(l.amount>>63)|1 != sign || l.amount == 0 {
			continue
		}
		m.crossing.totals.of(t.hub(), t.tenant, l.currency).out.add(-int64(l.amount))
		m.crossing.totals.of(t.parts[i].peer, t.tenant, l.currency).out.add(int64(l.amount))
	}
}

// unshift undoes a shift of what a participant debited.
func (m *Machine) unshift(t *transaction, i int) {
	for _, l := range t.of(i) {
		if l.amount < 0 {
			m.crossing.totals.of(t.hub(), t.tenant, l.currency).out.add(int64(l.amount))
			m.crossing.totals.of(t.parts[i].peer, t.tenant, l.currency).out.add(-int64(l.amount))
		}
	}
}

// confirmTransaction credits the accounts here, and lets the participants credit
// theirs. The last one of a saga has done so.
func (m *Machine) confirmTransaction(t *transaction) {
	t.stage = stageConfirming
	m.keep(t.ledger(), t.of(-1))
	for i := range t.parts {
		m.shift(t, i, 1)
		if t.protocol == Saga && i == len(t.parts)-1 {
			m.finishPart(t, i)
		} else {
			m.enterPart(t, i, Confirming)
		}
	}
}

// cancelTransaction begins to take back what was promised. A saga does so in the
// reverse order, the accounts here last.
func (m *Machine) cancelTransaction(t *transaction, code Code) {
	if t.protocol != Saga {
		m.takeBack(t.ledger(), t.of(-1))
	}
	t.stage, t.code = stageCanceling, code
	for i := range t.parts {
		p := &t.parts[i]
		if p.agreed {
			m.unshift(t, i)
		}
		waits := p.agreed && t.protocol == Saga
		if !waits && p.seq >= m.low(p.peer) && m.partRow(t, i).phase != Finished {
			m.enterPart(t, i, Canceling)
		}
		p.agreed = false
	}
	m.compensate(t)
}

// compensate cancels the next participant of a saga that is canceled, when all after
// it have been.
func (m *Machine) compensate(t *transaction) {
	if t.stage != stageCanceling {
		return
	}
	for i, p := range slices.Backward(t.parts) {
		if p.seq < m.low(p.peer) {
			continue
		}
		switch m.partRow(t, i).phase {
		case Canceling:
			return
		case Waiting:
			m.enterPart(t, i, Canceling)
			return
		case NoPhase, Trying, Preparing, Crediting, Confirming, Finished, endPhase:
		}
	}
}

// giveUpTransaction cancels a transaction unless all have agreed, or the last one of a
// saga may have.
func (m *Machine) giveUpTransaction(t *transaction) Code {
	switch t.stage {
	case stageAsking:
		if t.protocol == Saga && t.turn() == len(t.parts)-1 {
			return Pending
		}
		m.cancelTransaction(t, Canceled)
		return Applied
	case stageConfirming:
		return Pending
	case stageCanceling:
		return Forgotten
	case noStage, endStage:
	}
	panic(fmt.Sprintf("wallet: transaction %v is in stage %d", t.key.id(), t.stage))
}

// endTransaction remembers the decision, when no participant has anything to do.
func (m *Machine) endTransaction(t *transaction) {
	code := Applied
	if t.stage == stageCanceling {
		code = t.code
		if t.holds() {
			m.takeBack(t.ledger(), t.of(-1))
		}
		m.unreserve(&t.reverses)
	}
	delete(m.crossing.transactions, t.transactionKey)
	hash := m.tenants[t.tenant].ids.hash(t.key)
	m.decide(&flight{key: t.key, tenant: t.tenant}, code, &prefetched{t.key, hash})
}

// The participant's side.

// partKey names a transaction that another partition coordinates.
type partKey struct {
	from uint16
	seq  uint64
}

// promised is what was promised to another partition's transaction.
type promised struct {
	key  key   // of the transaction
	when int64 // the machine's time
	legs []leg
}

// answerLegs is answer for a message with legs that has come for the first time.
func (m *Machine) answerLegs(from uint16, p *participant, v *message) Code {
	var room [MaxPostings]leg
	legs := room[:0]
	for b := v.legs; len(b) >= legBytes; b = b[legBytes:] {
		l := parseLeg(b)
		if magnitude(l.amount) < 0 || slices.ContainsFunc(legs, func(o leg) bool { return o.account == l.account && o.currency == l.currency }) {
			return Malformed
		}
		legs = append(legs, l)
	}
	code := UnknownTenant
	if int(v.tenant) < len(m.tenants) {
		code = m.judgeLegs(v.tenant, legs, v.action == actTryLegs)
	}
	if code != Applied {
		*p = participant{state: stateRefused, code: code}
		return code
	}
	at := ledger{transactionKey{v.key, v.tenant}, from, false, m.holds.now}
	if v.action == actTryLegs {
		m.promise(at, legs)
		m.crossing.legs[partKey{from, v.seq}] = promised{v.key, m.holds.now, slices.Clone(legs)}
		*p = participant{state: stateTried}
		return Applied
	}
	for i := range legs {
		if l := &legs[i]; l.amount != 0 {
			m.book(at, m.balanceOf(l), l, l.amount)
		}
	}
	*p = participant{state: stateCredited}
	return Applied
}

// endLegs makes the credits of a transaction that was tried, or returns its debits.
func (m *Machine) endLegs(k partKey, confirmed bool) {
	p := m.crossing.legs[k]
	tenant := m.accounts.at(m.row(p.legs[0].account)).tenant
	at := ledger{transactionKey{p.key, tenant}, k.from, false, p.when}
	if confirmed {
		m.keep(at, p.legs)
	} else {
		m.takeBack(at, p.legs)
	}
	delete(m.crossing.legs, k)
}
