package wallet

import (
	"encoding/binary"
	"fmt"
	"math"

	"maru.example/money"
)

// participant is what the receiving partition knows of a transfer. Its number,
// the paying partition's, is its place in the deque: it is kept until the paying
// partition says that it has finished the transfer and all before it, so that a
// message that comes again, late or out of order finds what was done. 40 bytes.
type participant struct {
	key      key          // of the transfer; zero where the message did not say, as is from
	from     uint32       // 1 + the payer's row there
	amount   money.Amount // 0: of a transaction, whose legs are in crossing.legs
	to       uint32       // row of the account
	currency money.Currency
	state    participantState
	code     Code // of a refusal
}

// participantState is part of the snapshot's format.
type participantState uint8

const (
	stateUnseen   participantState = iota // a later one came first
	stateRefused                          // with a code; with Canceled also if the Cancel came first
	stateTried                            // the payee will be credited or not: the paying side decides
	statePrepared                         // the same, and the payee is locked
	stateCredited
	endState
)

// stateNamed is a bit of the state in snapshots: the id and the payer follow.
const stateNamed = 0x40

// settled says that the receiving side has nothing more to do.
func (s participantState) settled() bool { return s == stateRefused || s == stateCredited }

// participate decides a batch of KindParticipate: messages of a paying partition.
func (m *Machine) participate(dst []byte, h Header, body []byte) []byte {
	from, to := binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[2:])
	low, records := binary.LittleEndian.Uint64(body[4:]), body[messagesPrefix:]
	fault := Undecided
	switch {
	case h.Tenant != 0, to != m.options.Partition:
		fault = Malformed // the message was not meant for this partition: no answer to it
	case from >= m.options.Partitions, from == to:
		fault = WrongPartition
	case !m.forget(&m.crossing.peers[from].in, low):
		fault = Malformed
	}
	if fault != Undecided {
		for range h.Count {
			dst = append(dst, byte(fault))
		}
		return dst
	}
	in := &m.crossing.peers[from].in
	for len(records) > 0 {
		end, _ := m.prefetchMessages(in, records)
		for part := records[:end]; len(part) > 0; m.command++ {
			v := parseMessage(part)
			dst = append(dst, byte(m.answer(from, in, &v)))
			part = part[messageSize(part):]
		}
		records = records[end:]
	}
	return dst
}

// prefetchMessages reads a word of the accounts of a window of messages and
// returns the window's size in bytes.
func (m *Machine) prefetchMessages(in *deque[participant], records []byte) (end int, sum uint64) {
	for i := 0; i < window && end < len(records); i++ {
		v := parseMessage(records[end:])
		row := m.row(v.to)
		if v.to == 0 && v.seq >= in.low && v.seq < in.next {
			row = uint64(in.at(v.seq).to)
		}
		if row < m.accounts.len {
			sum += uint64(m.accounts.at(row).next)
		}
		end += messageSize(records[end:])
	}
	return end, sum
}

// forget drops what the paying partition has finished, below low. It does
// nothing and returns false if that cannot be: one of them has not been settled here.
func (m *Machine) forget(in *deque[participant], low uint64) bool {
	if low > in.next || low == 0 {
		return false
	}
	for n := in.low; n < low; n++ {
		if !in.at(n).state.settled() {
			return false
		}
	}
	for in.low < low {
		in.pop()
	}
	return true
}

// answer does what a message asks for, unless it was done before, and returns
// the same answer each time: Applied or the code of a refusal, which the paying
// side takes for the decision. Forgotten and Malformed are no answers: the first
// is for what the paying side has finished, the second for what it cannot ask.
func (m *Machine) answer(from uint16, in *deque[participant], v *message) Code {
	switch {
	case v.seq < in.low:
		return Forgotten
	case v.seq-in.low >= MaxInFlight:
		return Malformed
	}
	for in.next <= v.seq {
		in.push(participant{})
	}
	p := in.at(v.seq)
	switch v.action {
	case actTry, actPrepare, actCredit:
		if p.state == stateUnseen {
			*p = m.consider(from, v)
		}
		if p.state == stateRefused {
			return p.code
		}
		return Applied
	case actTryLegs, actCreditLegs:
		switch p.state {
		case stateUnseen:
			return m.answerLegs(from, p, v)
		case stateRefused:
			return p.code
		case stateTried, statePrepared, stateCredited, endState:
		}
		return Applied
	case actConfirm:
		return m.confirm(from, v.seq, p)
	case actCancel:
		return m.cancel(from, v.seq, p)
	case noAction, actGiveUp, endAction:
	}
	return Malformed
}

// consider decides on a transfer that has come for the first time. The order of
// the checks is part of the rules.
func (m *Machine) consider(from uint16, v *message) participant {
	refuse := func(c Code) participant { return participant{state: stateRefused, code: c} }
	if int(v.tenant) >= len(m.tenants) {
		return refuse(UnknownTenant)
	}
	a := m.get(v.tenant, v.to)
	switch {
	case v.amount <= 0:
		return refuse(AmountNotPositive)
	case a == nil:
		return refuse(UnknownAccount)
	case a.status&^limited != Open:
		return refuse(barred(a.status))
	}
	b, ok := m.hold(v.to, a, v.currency)
	switch {
	case !ok:
		return refuse(CurrencyNotHeld)
	case !b.room(v.amount):
		return refuse(Overflow)
	}
	p := participant{key: v.key, from: v.from, amount: v.amount, to: uint32(m.row(v.to)), currency: v.currency, state: stateTried}
	switch v.action { //nolint:exhaustive // the others do not begin a transfer
	case actPrepare:
		a.status |= locked
		p.state = statePrepared
	case actCredit:
		m.credit(from, &p, a.tenant, b)
		p.state = stateCredited
		return p
	}
	b.pending += v.amount
	return p
}

// room says that a balance can take an amount beside all that is pending.
func (f *funds) room(a money.Amount) bool {
	p := f.pending + a
	return p >= a && f.amount <= math.MaxInt64-p
}

// credit adds the amount, which there is room for, to the payee's balance.
func (m *Machine) credit(from uint16, p *participant, tenant uint16, b held) {
	m.touch(b)
	b.amount += p.amount
	m.crossing.totals.of(from, tenant, p.currency).in.add(int64(p.amount))
	var payer Handle
	if p.from != 0 {
		payer = Handle(from)<<partitionShift + Handle(p.from)
	}
	m.effect(&Event{
		Kind: Credit, Tenant: tenant, Currency: p.currency, Account: m.base + Handle(p.to) + 1, Other: payer,
		ID: p.key.id(), Amount: p.amount, Balance: b.amount,
	})
	p.key, p.from = key{}, 0 // not needed any more
}

func (m *Machine) confirm(from uint16, seq uint64, p *participant) Code {
	switch p.state {
	case stateTried, statePrepared:
		if p.amount == 0 {
			m.endLegs(partKey{from, seq}, true)
			p.state = stateCredited
			break
		}
		b := m.settleTried(p)
		m.credit(from, p, m.accounts.at(uint64(p.to)).tenant, b)
		p.state = stateCredited
	case stateCredited:
	case stateUnseen, stateRefused, endState:
		return Malformed
	}
	return Applied
}

func (m *Machine) cancel(from uint16, seq uint64, p *participant) Code {
	switch p.state {
	case stateTried, statePrepared:
		if p.amount == 0 {
			m.endLegs(partKey{from, seq}, false)
		} else {
			m.settleTried(p)
		}
		*p = participant{state: stateRefused, code: Canceled}
	case stateUnseen:
		*p = participant{state: stateRefused, code: Canceled}
	case stateRefused:
	case stateCredited, endState:
		return Malformed
	}
	return Applied
}

// settleTried ends that an amount is pending, and the lock, and returns the balance.
func (m *Machine) settleTried(p *participant) held {
	h := m.base + Handle(p.to) + 1
	a := m.accounts.at(uint64(p.to))
	b, ok := m.hold(h, a, p.currency)
	if !ok {
		panic(fmt.Sprintf("wallet: account %d does not hold the currency %d that was tried", h, p.currency))
	}
	b.pending -= p.amount
	if p.state == statePrepared {
		a.status &^= locked
	}
	return b
}
