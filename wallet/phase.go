package wallet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"maru.example/money"
)

// MaxInFlight bounds the transfers from one partition to another that are under
// way: how many numbers the newest is ahead of the oldest that is not finished.
const MaxInFlight = 1 << 17

// Protocol is the way in which a transfer between two partitions is made to
// happen on both sides or on none. The numbers are part of the log's format.
type Protocol uint8

// The protocols.
const (
	NoProtocol Protocol = iota
	// TCC is Try, Confirm or Cancel: the payer is debited, the payee's side says
	// whether it can take the money, and is then told to take it, or not to.
	TCC
	// Saga debits the payer, then credits the payee in one step; if that is
	// refused the payer gets its money back.
	Saga
	// TwoPhase is two-phase commit: both accounts are locked, then debited and
	// credited.
	TwoPhase
	endProtocol
)

// String returns the name that the API shows.
func (p Protocol) String() string {
	switch p {
	case NoProtocol:
		return "none"
	case TCC:
		return "tcc"
	case Saga:
		return "saga"
	case TwoPhase:
		return "2pc"
	case endProtocol:
	}
	return fmt.Sprintf("protocol(%d)", uint8(p))
}

// ErrProtocol says that a text names no Protocol.
var ErrProtocol = errors.New("wallet: a protocol is tcc, saga or 2pc")

// ParseProtocol returns the protocol with a name, or ErrProtocol.
func ParseProtocol(name string) (Protocol, error) {
	for p := NoProtocol + 1; p < endProtocol; p++ {
		if p.String() == name {
			return p, nil
		}
	}
	return NoProtocol, ErrProtocol
}

// Phase is where a transfer between two partitions stands, as its paying
// partition knows it. The numbers are part of the snapshot's format.
type Phase uint8

// The phases. Each but the last has one message that is due until it is answered.
const (
	NoPhase    Phase = iota
	Trying           // TCC: the payer is debited; a Try is due
	Preparing        // TwoPhase: the payer is locked; a Prepare is due
	Crediting        // Saga: the payer is debited; a Credit is due
	Confirming       // the payee's side agreed, the payer has paid for good; a Confirm is due
	Canceling        // given up, the payer has its money; a Cancel is due
	Finished         // on both sides; older ones to the same partition are not
	Waiting          // a participant of a transaction has nothing to do until others have
	endPhase
)

// Phases returns the phases of transfers that are under way.
func Phases() []Phase { return []Phase{Trying, Preparing, Crediting, Confirming, Canceling, Waiting} }

// String returns the name that the API shows.
func (p Phase) String() string {
	switch p {
	case NoPhase:
		return "none"
	case Trying:
		return "trying"
	case Preparing:
		return "preparing"
	case Crediting:
		return "crediting"
	case Confirming:
		return "confirming"
	case Canceling:
		return "canceling"
	case Finished:
		return "finished"
	case Waiting:
		return "waiting"
	case endPhase:
	}
	return fmt.Sprintf("phase(%d)", uint8(p))
}

// action is what a message asks of the receiving partition, and what an answer
// answers. The numbers are part of the log's format.
type action uint8

const (
	noAction      action = iota
	actTry               // can the payee be credited? Then it stays so until Confirm or Cancel
	actPrepare           // the same, and the payee is locked
	actCredit            // credit the payee, if it can be
	actConfirm           // credit what was tried or prepared
	actCancel            // forget what was tried or prepared, and refuse it if it comes later
	actGiveUp            // not a message: the paying partition shall cancel, if it still can
	actTryLegs           // can these accounts be debited and credited? Then they are debited, and that stays so until Confirm or Cancel
	actCreditLegs        // debit and credit these accounts, if they can be
	endAction
)

// due is the message that a transfer in a phase needs to be answered.
func (p Phase) due() action {
	return [endPhase]action{
		Trying: actTry, Preparing: actPrepare, Crediting: actCredit, Confirming: actConfirm, Canceling: actCancel,
	}[p]
}

// flight is a line of the phase status table: a transfer to another partition,
// or a participant of a transaction: see transaction. Its number is its place in the
// deque. 56 bytes.
type flight struct {
	key      key
	amount   money.Amount // 0: of a participant
	began    int64        // nanoseconds since 1970, by the machine's time
	to       Handle
	from     uint32 // row of the account
	currency money.Currency
	tenant   uint16
	protocol Protocol
	phase    Phase
	final    bool   // of a capture: what is left then is released
	hold     uint32 // of a capture: 1 + row of the hold; 0: it is a transfer
}

// peer is what a partition keeps for another one.
type peer struct {
	out deque[flight]      // the transfers to it, by number
	in  deque[participant] // its transfers to here, by its numbers
}

// crossing is all that a partition keeps for transfers between partitions.
type crossing struct {
	peers  []peer // by partition; its own stays empty
	phases [endPhase]uint64
	totals crossTotals

	transactions map[transactionKey]*transaction // those coordinated here
	legs         map[partKey]promised            // of those coordinated elsewhere that were tried
}

func newCrossing(partitions uint16) crossing {
	c := crossing{
		peers: make([]peer, partitions), totals: newCrossTotals(),
		transactions: map[transactionKey]*transaction{}, legs: map[partKey]promised{},
	}
	for i := range c.peers {
		c.peers[i] = peer{newDeque[flight](1), newDeque[participant](1)}
	}
	return c
}

// begin debits or locks the payer of a transfer to another partition, or says
// why not. The order of the checks is part of the rules.
func (m *Machine) begin(tenant uint16, v *movement, from *account) Code {
	switch {
	case v.amount <= 0:
		return AmountNotPositive
	case v.same:
		return SameAccount
	case from == nil || v.to.Partition() >= m.options.Partitions || v.to<<(64-partitionShift) == 0:
		return UnknownAccount
	case from.status&^limited != Open:
		return barred(from.status)
	}
	debit, ok := m.hold(v.from, from, v.currency)
	if !ok {
		return CurrencyNotHeld
	}
	if code := m.mayDebit(from, debit, v.amount); code != Applied {
		return code
	}
	if v.amount > math.MaxInt64-debit.pending {
		return Overflow
	}
	peer := v.to.Partition()
	out := &m.crossing.peers[peer].out
	if out.next-out.low >= MaxInFlight {
		return TooManyInFlight
	}
	f := flight{
		key: v.key, amount: v.amount, began: v.began, to: v.to, from: uint32(m.row(v.from)),
		currency: v.currency, tenant: tenant, protocol: v.protocol,
	}
	var first Phase
	switch v.protocol {
	case TCC:
		first = Trying
	case Saga:
		first = Crediting
	case TwoPhase:
		first = Preparing
		from.status |= locked
	case NoProtocol, endProtocol:
		panic(fmt.Sprintf("wallet: a transfer begins with %v", v.protocol))
	}
	if first != Preparing {
		m.touch(debit)
		debit.amount -= v.amount
		debit.pending += v.amount
		m.crossing.totals.of(peer, tenant, v.currency).out.add(int64(v.amount))
		m.paid(&f, Debit, -v.amount, debit.amount)
	}
	m.noteSpent(from, debit, v.amount)
	out.push(f)
	m.enter(peer, out.next-1, out.at(out.next-1), first)
	return Pending
}

// enter brings a transfer into a phase.
func (m *Machine) enter(peer uint16, seq uint64, f *flight, to Phase) {
	if f.phase != NoPhase {
		m.crossing.phases[f.phase]--
	}
	f.phase = to
	if to == Finished {
		return
	}
	m.crossing.phases[to]++
	if m.options.Due != nil && to != Waiting {
		m.options.Due(peer, seq)
	}
}

// applyAnswers decides a batch of KindPhases: answers of a peer.
func (m *Machine) applyAnswers(dst []byte, h Header, body []byte) []byte {
	own, peer := binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[2:])
	right := h.Tenant == 0 && own == m.options.Partition && own != peer && peer < m.options.Partitions
	records := body[answersPrefix:]
	for len(records) > 0 {
		part := records[:min(len(records), window*answerBytes)]
		if right {
			m.prefetchAnswers(&m.crossing.peers[peer].out, part)
		}
		for i := 0; len(part) > 0; i++ {
			code := WrongPartition
			if right {
				code = m.settle(peer, parseAnswer(part), &m.window[i])
			}
			dst = append(dst, byte(code))
			m.command++
			part = part[answerBytes:]
		}
		records = records[min(len(records), window*answerBytes):]
	}
	return dst
}

// prefetchAnswers hashes the ids of a window's transfers and reads a word of
// what each answer will need.
func (m *Machine) prefetchAnswers(out *deque[flight], records []byte) (sum uint64) {
	for i := 0; len(records) >= answerBytes; i++ {
		if n := parseAnswer(records).seq; n >= out.low && n < out.next {
			f := out.at(n)
			if f.isPart() {
				records = records[answerBytes:]
				continue
			}
			ids := &m.tenants[f.tenant].ids
			m.window[i] = prefetched{f.key, ids.hash(f.key)}
			sum += uint64(ids.touch(m.window[i].hash)) + uint64(m.accounts.at(uint64(f.from)).next)
		}
		records = records[answerBytes:]
	}
	return sum
}

// settle takes a peer's answer to a message. It returns Applied if the transfer
// has moved on; Forgotten if that was known before; Pending if it cannot be given
// up any more; and Malformed if the answer is none: then the message stays due.
func (m *Machine) settle(peer uint16, a answer, p *prefetched) Code {
	out := &m.crossing.peers[peer].out
	switch {
	case a.seq >= out.next:
		return Malformed
	case a.seq < out.low:
		return Forgotten
	}
	f := out.at(a.seq)
	if f.isPart() {
		return m.settlePart(peer, a, f)
	}
	switch {
	case a.action == actGiveUp:
		return m.giveUp(peer, a.seq, f, p)
	case a.action != f.phase.due():
		return Forgotten
	case !a.valid():
		return Malformed
	}
	switch f.phase {
	case Trying, Crediting:
		m.release(f)
		if a.code != Applied {
			m.giveBack(peer, f)
		} else if f.hold != 0 {
			m.landCapture(f, true)
		}
	case Preparing:
		m.accounts.at(uint64(f.from)).status &^= locked
		if a.code == Applied {
			m.pay(peer, f)
		} else {
			m.uncount(f)
		}
	case Confirming, Canceling, NoPhase, Finished, Waiting, endPhase:
	}
	if a.code == Applied && (f.phase == Trying || f.phase == Preparing) {
		m.enter(peer, a.seq, f, Confirming)
		return Applied
	}
	if f.phase != Canceling {
		m.decide(f, a.code, p)
	}
	m.finish(peer, a.seq, f)
	return Applied
}

// finish ends a transfer, and drops those at the beginning of the table that have ended.
func (m *Machine) finish(peer uint16, seq uint64, f *flight) {
	m.enter(peer, seq, f, Finished)
	for out := &m.crossing.peers[peer].out; out.low < out.next && out.at(out.low).phase == Finished; {
		out.pop()
	}
}

// giveUp cancels a transfer that the receiving side has not agreed to. A saga's
// cannot be: only the receiving side knows whether it was credited.
func (m *Machine) giveUp(peer uint16, seq uint64, f *flight, p *prefetched) Code {
	switch f.phase {
	case Trying:
		m.release(f)
		m.giveBack(peer, f)
	case Preparing:
		m.accounts.at(uint64(f.from)).status &^= locked
		m.uncount(f)
	case Canceling, Finished:
		return Forgotten
	case Crediting, Confirming:
		return Pending
	case NoPhase, Waiting, endPhase:
		panic(fmt.Sprintf("wallet: transfer %d to partition %d is in %v", seq, peer, f.phase))
	}
	m.enter(peer, seq, f, Canceling)
	m.decide(f, Canceled, p)
	return Applied
}

// decide remembers the decision on a transfer whose id is Pending.
func (m *Machine) decide(f *flight, code Code, p *prefetched) {
	e, _ := m.tenants[f.tenant].ids.find(f.key, p.hash)
	e.decide(code)
	m.decided[code]++
	if m.options.Finished != nil {
		m.options.Finished(f.tenant, f.key.id(), code)
	}
}

// payer returns the paying balance of a transfer.
func (m *Machine) payer(f *flight) held {
	h := m.base + Handle(f.from) + 1
	b, ok := m.hold(h, m.accounts.at(uint64(f.from)), f.currency)
	if !ok {
		panic(fmt.Sprintf("wallet: account %d does not hold the currency %d that it paid", h, f.currency))
	}
	return b
}

// release ends that the payer may get its money back.
func (m *Machine) release(f *flight) { m.payer(f).pending -= f.amount }

// giveBack credits the payer with what it was debited.
func (m *Machine) giveBack(peer uint16, f *flight) {
	b := m.payer(f)
	m.touch(b)
	b.amount += f.amount
	m.crossing.totals.of(peer, f.tenant, f.currency).out.add(-int64(f.amount))
	m.paid(f, Return, f.amount, b.amount)
	m.uncount(f)
}

// uncount takes back what a transfer that was not made counted for: the payer's limit of
// the day, or what its hold has left.
func (m *Machine) uncount(f *flight) {
	if f.hold != 0 {
		m.landCapture(f, false)
		return
	}
	m.unspend(m.payer(f).ref(), f.began, f.amount, 1)
}

// pay debits the payer, which was locked until now.
func (m *Machine) pay(peer uint16, f *flight) {
	b := m.payer(f)
	m.touch(b)
	b.amount -= f.amount
	m.crossing.totals.of(peer, f.tenant, f.currency).out.add(int64(f.amount))
	m.paid(f, Debit, -f.amount, b.amount)
}

// paid notes a change of the payer's balance.
func (m *Machine) paid(f *flight, kind EventKind, amount, after money.Amount) {
	m.effect(&Event{
		Kind: kind, Tenant: f.tenant, Currency: f.currency, Account: m.base + Handle(f.from) + 1, Other: f.to,
		ID: f.key.id(), Amount: amount, Balance: after,
	})
}
