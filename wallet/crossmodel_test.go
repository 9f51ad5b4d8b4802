package wallet

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"

	"maru.example/money"
)

// crossModel is a wallet of several partitions as one would write it down if
// memory and time were free: every transfer is kept for ever with what either
// side knows of it, and what is pending, locked or in flight is found by going
// through all of them.
type crossModel struct {
	partitions uint16
	tenants    []Tenant
	accounts   map[string]*modelAccount // by tenant and id
	flights    []*modelFlight
	txs        []*modelTx
	debits     []*modelDebit
	decided    map[string]*modelDecision // by partition, tenant and transaction id
	announced  map[[2]uint16]uint64      // the largest low that a payee's partition has heard
	now        int64                     // the time of the command that is judged
	holds      []*modelHold
	limits     map[*Balance]*modelLimit
}

type modelAccount struct {
	Partition uint16
	Tenant    uint16
	Handle    Handle
	Status    Status
	Balances  []Balance
}

type modelDecision struct {
	content string
	code    Code
	tenant  uint16
	t       Transfer
	payee   Handle // of a transfer to another partition
	at      int64
	what    string        // "" for a transfer, "capture", or "hold" for what moves nothing
	hold    TransactionID // of a capture
	tx      *modelTx      // nil of a transfer
}

// modelFlight is what both sides know of a transfer.
type modelFlight struct {
	from, to uint16 // partitions
	seq      uint64
	tenant   uint16
	payer    *modelAccount
	toHandle Handle
	amount   money.Amount
	currency money.Currency
	phase    Phase
	decision *modelDecision
	paid     bool
	payee    *modelAccount // as the payee's side knows it
	seen     string        // "", tried, prepared, credited, refused
	refusal  Code
	hold     *modelHold // that it is paid out of
	final    bool
	tx       *modelTx // of a participant of a transaction
	part     int
}

// modelTransfer is a command to begin a transfer, to a partition.
type modelTransfer struct {
	at       uint16
	tenant   uint16
	t        Transfer
	handle   Handle // of the payee, if protocol is one
	byHandle bool
	protocol Protocol
}

func (n *crossModel) account(tenant uint16, id AccountID) *modelAccount {
	return n.accounts[fmt.Sprint(tenant, "/", id)]
}

func (n *crossModel) byHandle(tenant uint16, h Handle) *modelAccount {
	for _, a := range n.accounts {
		if a.Handle == h && a.Tenant == tenant {
			return a
		}
	}
	return nil
}

func (a *modelAccount) hold(c money.Currency) *Balance {
	i := slices.IndexFunc(a.Balances, func(b Balance) bool { return b.Currency == c })
	if i < 0 {
		return nil
	}
	return &a.Balances[i]
}

// pending is what transfers under way may add to a balance.
func (n *crossModel) pending(a *modelAccount, c money.Currency) *big.Int {
	sum := new(big.Int)
	for _, f := range n.flights {
		if f.payer == a && f.currency == c && (f.phase == Trying || f.phase == Crediting) {
			sum.Add(sum, big.NewInt(int64(f.amount)))
		}
		if f.payee == a && f.currency == c && (f.seen == "tried" || f.seen == "prepared") {
			sum.Add(sum, big.NewInt(int64(f.amount)))
		}
	}
	return n.pendingLegs(sum, a, c)
}

func (n *crossModel) locked(a *modelAccount) bool {
	return slices.ContainsFunc(n.flights, func(f *modelFlight) bool {
		return f.payer == a && f.phase == Preparing || f.payee == a && f.seen == "prepared"
	})
}

// barred says why no money may begin to move with an account.
func (n *crossModel) barred(accounts ...*modelAccount) Code {
	for _, s := range []Status{Closed, Frozen} {
		for _, a := range accounts {
			if a.Status == s {
				return map[Status]Code{Closed: AccountClosed, Frozen: AccountFrozen}[s]
			}
		}
	}
	if slices.ContainsFunc(accounts, n.locked) {
		return AccountLocked
	}
	return Applied
}

// room says that a balance may get an amount beside all that is pending.
func (n *crossModel) room(a *modelAccount, b *Balance, amount money.Amount) bool {
	pending := n.pending(a, b.Currency)
	pending.Add(pending, big.NewInt(int64(amount)))
	sum := new(big.Int).Add(pending, big.NewInt(int64(b.Amount)))
	return pending.IsInt64() && sum.IsInt64()
}

func (n *crossModel) debitCode(a *modelAccount, b *Balance, amount money.Amount) Code {
	if !n.withinDay(a, b, amount) {
		return DailyLimitExceeded
	}
	underflow := b.Amount < math.MinInt64+amount
	left := new(big.Int).Sub(big.NewInt(int64(b.Amount)), big.NewInt(int64(amount)))
	left.Sub(left, n.held(a, b.Currency))
	switch {
	case b.Min != Unlimited && left.Cmp(big.NewInt(int64(b.Min))) < 0:
		return InsufficientFunds
	case underflow:
		return Overflow
	}
	return Applied
}

func (n *crossModel) transfer(v modelTransfer) Result {
	key := fmt.Sprint(v.at, v.tenant, v.t.ID)
	content := fmt.Sprint(v.t)
	if d := n.decided[key]; d != nil {
		if d.content != content {
			return Result(IDReused)
		}
		return Repeat(d.code)
	}
	d := &modelDecision{content: content, tenant: v.tenant, t: v.t, payee: v.handle, at: n.now}
	code, f := n.judge(v)
	if code == WrongPartition || code == AccountLocked || code == TooManyInFlight {
		return Result(code)
	}
	if d.code = code; f != nil {
		f.decision = d
		n.flights = append(n.flights, f)
	}
	n.decided[key] = d
	return Result(code)
}

func (n *crossModel) judge(v modelTransfer) (Code, *modelFlight) {
	home := func(id AccountID) uint16 {
		var h Handle
		if _, err := fmt.Sscanf(string(id), "#%d", &h); err == nil {
			return h.Partition()
		}
		return PartitionOf(n.tenants[v.tenant], id, n.partitions)
	}
	cross := v.protocol != NoProtocol
	away := func(p uint16) bool { return p != v.at && p < n.partitions }
	payer, payee := n.account(v.tenant, v.t.From), n.account(v.tenant, v.t.To)
	switch {
	case away(home(v.t.From)), !cross && away(home(v.t.To)), cross && home(v.t.To) == v.at:
		return WrongPartition, nil
	case cross && !v.byHandle && v.handle != 0 && v.handle.Partition() != home(v.t.To):
		return WrongPartition, nil
	case v.t.Amount <= 0:
		return AmountNotPositive, nil
	case v.t.From == v.t.To:
		return SameAccount, nil
	case payer == nil:
		return UnknownAccount, nil
	case cross:
		return n.begin(v, payer)
	case payee == nil:
		return UnknownAccount, nil
	}
	if code := n.barred(payer, payee); code != Applied {
		return code, nil
	}
	debit, credit := payer.hold(v.t.Currency), payee.hold(v.t.Currency)
	switch {
	case debit == nil:
		return CurrencyNotHeld, nil
	case !n.withinDay(payer, debit, v.t.Amount):
		return DailyLimitExceeded, nil
	case credit == nil:
		return CurrencyNotHeld, nil
	}
	if code := n.debitCode(payer, debit, v.t.Amount); code != Applied {
		return code, nil
	}
	most := n.pending(payee, v.t.Currency)
	if most.Add(most, big.NewInt(int64(credit.Amount))); !most.Add(most, big.NewInt(int64(v.t.Amount))).IsInt64() {
		return Overflow, nil
	}
	debit.Amount -= v.t.Amount
	credit.Amount += v.t.Amount
	return Applied, nil
}

func (n *crossModel) begin(v modelTransfer, payer *modelAccount) (Code, *modelFlight) {
	if v.handle == 0 || v.handle.Partition() >= n.partitions {
		return UnknownAccount, nil
	}
	if code := n.barred(payer); code != Applied {
		return code, nil
	}
	debit := payer.hold(v.t.Currency)
	if debit == nil {
		return CurrencyNotHeld, nil
	}
	if code := n.debitCode(payer, debit, v.t.Amount); code != Applied {
		return code, nil
	}
	if p := n.pending(payer, v.t.Currency); !p.Add(p, big.NewInt(int64(v.t.Amount))).IsInt64() {
		return Overflow, nil
	}
	f := &modelFlight{
		from: v.at, to: v.handle.Partition(), tenant: v.tenant, payer: payer, toHandle: v.handle,
		amount: v.t.Amount, currency: v.t.Currency, phase: map[Protocol]Phase{TCC: Trying, Saga: Crediting, TwoPhase: Preparing}[v.protocol],
	}
	f.seq = n.nextSeq(f.from, f.to)
	if f.phase != Preparing {
		debit.Amount -= v.t.Amount
		f.paid = true
	}
	return Pending, f
}

func (n *crossModel) nextSeq(from, to uint16) uint64 {
	seq := uint64(1)
	for _, g := range n.flights {
		if g.from == from && g.to == to {
			seq = g.seq + 1
		}
	}
	return seq
}

func (n *crossModel) flight(from, to uint16, seq uint64) *modelFlight {
	for _, f := range n.flights {
		if f.from == from && f.to == to && f.seq == seq {
			return f
		}
	}
	return nil
}

// low is the number below which a paying partition has finished all.
func (n *crossModel) low(from, to uint16) uint64 {
	low := uint64(1)
	for _, f := range n.flights {
		if f.from == from && f.to == to {
			if f.phase != Finished {
				return f.seq
			}
			low = f.seq + 1
		}
	}
	return low
}

// request is what the payee's side does with a message that a paying side sent.
func (n *crossModel) request(from, to uint16, low uint64, v message) Code {
	pair := [2]uint16{from, to}
	n.announced[pair] = max(n.announced[pair], low)
	if v.seq < n.announced[pair] {
		return Forgotten
	}
	f := n.flight(from, to, v.seq)
	if f.tx != nil {
		return n.requestLegs(f, v.action)
	}
	switch v.action {
	case actConfirm:
		if f.seen == "tried" || f.seen == "prepared" {
			f.payee.hold(f.currency).Amount += f.amount
			f.seen = "credited"
		}
		return Applied
	case actCancel:
		if f.seen != "refused" {
			f.seen, f.refusal = "refused", Canceled
		}
		return Applied
	case actTry, actPrepare, actCredit, noAction, actGiveUp, actTryLegs, actCreditLegs, endAction:
	}
	if f.seen == "" {
		n.consider(f, v.action)
	}
	if f.seen == "refused" {
		return f.refusal
	}
	return Applied
}

func (n *crossModel) consider(f *modelFlight, a action) {
	payee := n.byHandle(f.tenant, f.toHandle)
	f.seen = "refused"
	if payee == nil {
		f.refusal = UnknownAccount
		return
	}
	if f.refusal = n.barred(payee); f.refusal != Applied {
		return
	}
	b := payee.hold(f.currency)
	switch {
	case b == nil:
		f.refusal = CurrencyNotHeld
		return
	case !n.room(payee, b, f.amount):
		f.refusal = Overflow
		return
	}
	f.payee, f.refusal = payee, Undecided
	f.seen = map[action]string{actTry: "tried", actPrepare: "prepared", actCredit: "credited"}[a]
	if a == actCredit {
		b.Amount += f.amount
	}
}

// answer is what the paying side does with an answer that a payee's side gave.
func (n *crossModel) answer(from, to uint16, a answer) Code {
	f := n.flight(from, to, a.seq)
	if f.tx != nil {
		return n.answerPart(f, a)
	}
	paid := func() {
		if f.hold != nil {
			f.hold.captured += f.amount
			n.end(f.hold, f.final)
		}
	}
	back := func() {
		if f.paid {
			f.payer.hold(f.currency).Amount += f.amount
			f.paid = false
		}
	}
	switch {
	case f.phase == Finished:
		return Forgotten
	case a.action == actGiveUp && (f.phase == Trying || f.phase == Preparing):
		back()
		f.phase, f.decision.code = Canceling, Canceled
		return Applied
	case a.action == actGiveUp && f.phase != Canceling:
		return Pending
	case a.action == actGiveUp, a.action != f.phase.due():
		return Forgotten
	case a.code == Forgotten || a.code == Malformed:
		return Malformed
	case a.code == Applied && (f.phase == Trying || f.phase == Preparing):
		if f.phase = Confirming; !f.paid {
			f.payer.hold(f.currency).Amount -= f.amount
			f.paid = true
		}
		paid()
		return Applied
	case a.code != Applied:
		back()
	case f.phase == Crediting:
		f.phase = Finished
		paid()
	}
	if f.phase != Canceling {
		f.decision.code = a.code
	}
	f.phase = Finished
	return Applied
}

func (n *crossModel) setStatus(a *modelAccount, to Status) Code {
	switch {
	case a.Status == to:
		return Applied
	case a.Status == Closed:
		return AccountClosed
	case to == Closed && n.locked(a):
		return AccountLocked
	case to == Closed && slices.ContainsFunc(a.Balances, func(b Balance) bool { return n.count(a, b.Currency) > 0 }):
		return HoldsOpen
	case to == Closed && slices.ContainsFunc(a.Balances, func(b Balance) bool {
		return b.Amount != 0 || n.pending(a, b.Currency).Sign() != 0
	}):
		return BalanceNotZero
	}
	a.Status = to
	return Applied
}

// crossed is the money of a tenant that left a partition for another and came from it.
func (n *crossModel) crossed(own, peer, tenant uint16, c money.Currency) (out, in *big.Int) {
	out, in = new(big.Int), new(big.Int)
	for _, f := range n.flights {
		if f.tenant != tenant || f.currency != c {
			continue
		}
		if f.from == own && f.to == peer && f.paid {
			out.Add(out, big.NewInt(int64(f.amount)))
		}
		if f.from == peer && f.to == own && f.seen == "credited" {
			in.Add(in, big.NewInt(int64(f.amount)))
		}
	}
	n.crossedLegs(out, in, own, peer, tenant, c)
	return out, in
}

// sorted returns the accounts in the order of their handles.
func (n *crossModel) sorted() []*modelAccount {
	var all []*modelAccount
	for _, a := range n.accounts {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *modelAccount) int { return cmp.Compare(a.Handle, b.Handle) })
	return all
}
