package wallet

import (
	"bytes"
	"encoding/binary"
	"math"

	"maru.example/money"
)

// leg is what a transaction does to a balance: the sum of its postings of an account
// in a currency, which may be zero.
type leg struct {
	account  Handle // 0 if there is none
	amount   money.Amount
	currency money.Currency
	part     uint8 // 0: in the deciding partition; else the participant's number, from 1
}

// net is a leg with the account's id.
type net struct {
	leg
	name []byte
}

// draft is a transaction to be decided.
type draft struct {
	tenant        uint16
	key           key
	began         int64
	own, original content
	by            Protocol // NoProtocol: all accounts are here
	handles       []byte   // of the accounts elsewhere, with a protocol
	nets          []net
	legs          []leg // the nets without their names
}

// transaction decides a command of KindTransactions or KindCrossTransactions.
func (m *Machine) transaction(tenant uint16, now int64, kind Kind, cmd []byte) Result {
	d := draft{tenant: tenant, began: now}
	size := transactionSize(cmd)
	var ok bool
	d.key, d.own, d.original, ok = parseTransaction(cmd[:size])
	if kind == KindCrossTransactions {
		d.by, d.handles = Protocol(cmd[size]), cmd[size+1:]
		ok = ok && (d.by == TCC || d.by == Saga)
	}
	if !ok {
		return m.count(Result(Malformed))
	}
	return m.count(m.transactOnce(&d))
}

// transactOnce is once for transactions.
func (m *Machine) transactOnce(d *draft) Result {
	sum, hash := d.own.fingerprint(), m.tenants[d.tenant].ids.hash(d.key)
	e, free, seen := m.seen(d.tenant, d.key, hash)
	switch {
	case seen && e.fingerprint() != sum:
		return Result(IDReused)
	case seen:
		return Repeat(e.code())
	}
	var nets [MaxPostings]net
	var legs [MaxPostings]leg
	d.nets, d.legs = nets[:0], legs[:0]
	decides, fits := m.netOf(d)
	switch {
	case !decides:
		return Result(WrongPartition)
	case m.fullOfIDs(d.tenant, hash):
		return Result(LimitReached)
	}
	code := Overflow
	if fits {
		code = m.decideTransaction(d)
	}
	if code == AccountLocked || code == TooManyInFlight || code == LimitReached {
		return Result(code)
	}
	m.remember(d.tenant, d.key, hash, sum<<8|uint64(code), free)
	return Result(code)
}

// netOf adds the postings up. It says whether this partition decides them, and
// whether each sum fits 64 bits.
func (m *Machine) netOf(d *draft) (decides, fits bool) {
	t := m.tenants[d.tenant]
	home := d.own.first()
	if d.own.reverses != reversesNothing {
		home = d.original.first() // whose id is known where it was decided
	}
	decides, fits = !m.foreignName(d.tenant, nameHash(home)), true
	rest := d.own.postings
	for i := range d.own.n {
		var p rawPosting
		p, rest = nextPosting(rest)
		if n := netFor(d.nets, &p); n != nil {
			sum := n.amount + p.amount
			fits = fits && (sum > n.amount) == (p.amount > 0)
			n.amount = sum
			continue
		}
		v := net{leg{amount: p.amount, currency: p.currency}, p.name}
		at := partitionOf(t.hash, nameHash(p.name), m.options.Partitions)
		switch {
		case at == m.options.Partition:
			v.account = m.lookup(d.tenant, string(p.name))
		case d.by == NoProtocol:
			decides = false
		default:
			v.account = Handle(binary.LittleEndian.Uint64(d.handles[8*i:]))
			decides = decides && (v.account == 0 || v.account.Partition() == at)
		}
		d.nets = append(d.nets, v)
	}
	for i := range d.nets {
		fits = fits && d.nets[i].amount != math.MinInt64
		d.legs = append(d.legs, d.nets[i].leg)
	}
	return decides, fits
}

// netFor returns the sum that a posting belongs to, or nil.
func netFor(nets []net, p *rawPosting) *net {
	for i := range nets {
		if n := &nets[i]; n.currency == p.currency && bytes.Equal(n.name, p.name) {
			return n
		}
	}
	return nil
}

// decideTransaction carries a transaction out, or begins it, or says why not. The
// order of the checks is part of the rules: a replay must give the same code.
func (m *Machine) decideTransaction(d *draft) Code {
	if !balanced(d.legs) {
		return Unbalanced
	}
	var amounts [MaxPostings]money.Amount
	back := reservation{amounts: amounts[:0]}
	if d.own.reverses != reversesNothing {
		if code := m.judgeReversal(d, &back); code != Applied {
			return code
		}
	}
	for i := range d.legs {
		if h := d.legs[i].account; h<<(64-partitionShift) == 0 {
			return UnknownAccount
		}
	}
	var parts [MaxPostings]part
	divided := m.divide(d, parts[:0])
	here := d.legs[:hereOf(d.legs)]
	if code := m.judgeLegs(d.tenant, here, len(divided) > 0); code != Applied {
		return code
	}
	if len(divided) > 0 {
		return m.beginTransaction(d, divided, &back)
	}
	m.reserve(&back)
	for i := range here {
		l := &here[i]
		if l.amount != 0 {
			m.posted(&ledger{transactionKey: transactionKey{d.key, d.tenant}}, m.balanceOf(l), l, l.amount)
		}
	}
	return Applied
}

// balanced says that the legs of each currency add up to zero.
func balanced(legs []leg) bool {
	for i := range legs {
		c, sum, known := legs[i].currency, int128{}, false
		for j := range legs {
			if legs[j].currency == c {
				known = known || j < i
				sum.add(int64(legs[j].amount))
			}
			if known {
				break
			}
		}
		if !known && sum != (int128{}) {
			return false
		}
	}
	return true
}

// hereOf returns how many legs are in the deciding partition; they come first.
func hereOf(legs []leg) int {
	n := 0
	for n < len(legs) && legs[n].part == 0 {
		n++
	}
	return n
}

// divide finds the participants of a transaction: the partitions with debits first,
// in the order in which the postings name them. It sorts the legs by participant.
func (m *Machine) divide(d *draft, parts []part) []part {
	for _, debits := range []bool{true, false} {
		for i := range d.legs {
			l := &d.legs[i]
			peer := l.account.Partition()
			if peer == m.options.Partition || debits && l.amount >= 0 {
				continue
			}
			k := 0
			for k < len(parts) && parts[k].peer != peer {
				k++
			}
			if k == len(parts) {
				parts = append(parts, part{peer: peer})
			}
			l.part = uint8(k + 1)
		}
	}
	for i := range d.legs { // the order of those of a participant stays
		for j := i; j > 0 && d.legs[j].part < d.legs[j-1].part; j-- {
			d.legs[j], d.legs[j-1] = d.legs[j-1], d.legs[j]
		}
	}
	return parts
}

// balanceOf returns the balance of a leg, which judgeLegs has seen.
func (m *Machine) balanceOf(l *leg) held {
	b, ok := m.hold(l.account, m.accounts.at(m.row(l.account)), l.currency)
	if !ok {
		panic("wallet: a leg of a currency that its account does not hold")
	}
	return b
}

// judgeLegs says whether legs of accounts here can be made now; promised: whether
// they may be taken back as well.
func (m *Machine) judgeLegs(tenant uint16, legs []leg, promised bool) Code {
	barring := Open
	for i := range legs {
		a := m.get(tenant, legs[i].account)
		if a == nil {
			return UnknownAccount
		}
		barring |= a.status &^ limited
	}
	if barring != Open {
		return barred(barring)
	}
	for i := range legs {
		l := &legs[i]
		a := m.accounts.at(m.row(l.account))
		b, ok := m.hold(l.account, a, l.currency)
		switch {
		case !ok:
			return CurrencyNotHeld
		case l.amount > 0 && !b.room(l.amount):
			return Overflow
		case l.amount >= 0:
			continue
		}
		if code := m.mayDebit(a, b, -l.amount); code != Applied {
			return code
		}
		if promised && -l.amount > math.MaxInt64-b.pending {
			return Overflow
		}
	}
	return Applied
}

// ledger is where the money that leaves or comes to accounts here for a transaction
// is accounted for: with a peer, as what went out to it, or as what came in from it.
type ledger struct {
	transactionKey
	peer uint16
	out  bool
	when int64 // the machine's time when the accounts were debited
}

// book changes a balance by the amount of a leg, or takes that back.
func (m *Machine) book(at ledger, b held, l *leg, a money.Amount) {
	c := l.currency
	m.posted(&at, b, l, a)
	total := m.crossing.totals.of(at.peer, at.tenant, c)
	if at.out {
		total.out.add(-int64(a))
	} else {
		total.in.add(int64(a))
	}
}

// posted changes a balance by an amount, counts it for the account's limit of the day,
// and notes that.
func (m *Machine) posted(of *ledger, b held, l *leg, a money.Amount) {
	m.touch(b)
	b.amount += a
	kind := Credit
	switch {
	case a < 0:
		kind = Debit
		m.noteSpent(m.accounts.at(m.row(l.account)), b, -a)
	case l.amount < 0:
		kind = Return
		m.unspend(b.ref(), of.when, a, 1)
	}
	m.effect(&Event{
		Kind: kind, Tenant: of.tenant, Currency: l.currency, Account: l.account, ID: of.key.id(), Amount: a, Balance: b.amount,
	})
}

// promise takes the debits of legs, which may come back, and keeps room for the credits.
func (m *Machine) promise(at ledger, legs []leg) {
	for i := range legs {
		l := &legs[i]
		b := m.balanceOf(l)
		if l.amount < 0 {
			m.book(at, b, l, l.amount)
		}
		b.pending += magnitude(l.amount)
	}
}

// keep makes the credits of legs that were promised.
func (m *Machine) keep(at ledger, legs []leg) {
	for i := range legs {
		l := &legs[i]
		b := m.balanceOf(l)
		b.pending -= magnitude(l.amount)
		if l.amount > 0 {
			m.book(at, b, l, l.amount)
		}
	}
}

// takeBack returns the debits of legs that were promised.
func (m *Machine) takeBack(at ledger, legs []leg) {
	for i := range legs {
		l := &legs[i]
		b := m.balanceOf(l)
		b.pending -= magnitude(l.amount)
		if l.amount < 0 {
			m.book(at, b, l, -l.amount)
		}
	}
}

// magnitude is an amount, which is not the smallest number, without its sign.
func magnitude(a money.Amount) money.Amount { return max(a, -a) }
