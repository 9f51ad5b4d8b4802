package wallet

import (
	"fmt"
	"maps"
	"math/big"
	"slices"

	"pgregory.net/rapid"

	"maru.example/money"
)

// modelTx is a transaction as the model knows it: what it does to each balance, and
// what its participants said.
type modelTx struct {
	t        Transaction
	at       uint16
	tenant   uint16
	protocol Protocol
	legs     []modelLeg
	parts    []*modelFlight
	stage    string // asking, confirming, canceling, done
	code     Code
	decision *modelDecision
	of       *modelDecision // what it reverses
}

type modelLeg struct {
	name     AccountID
	account  *modelAccount
	currency money.Currency
	amount   money.Amount
}

// modelDebit is what an account was debited for a transaction.
type modelDebit struct {
	tx   *modelTx
	leg  modelLeg
	at   int64
	back bool // it got that back
}

// post changes the balance of a leg.
func (n *crossModel) post(t *modelTx, l modelLeg) {
	l.account.hold(l.currency).Amount += l.amount
	if l.amount < 0 {
		n.debits = append(n.debits, &modelDebit{tx: t, leg: l, at: n.now})
	}
}

// giveBack returns the debits of legs.
func (n *crossModel) giveBack(t *modelTx, legs []modelLeg) {
	for _, l := range legs {
		if l.amount >= 0 {
			continue
		}
		l.account.hold(l.currency).Amount -= l.amount
		for _, d := range n.debits {
			d.back = d.back || d.tx == t && d.leg == l
		}
	}
}

// in returns the legs in a partition.
func (t *modelTx) in(p uint16) (legs []modelLeg) {
	for _, l := range t.legs {
		if l.account != nil && l.account.Partition == p {
			legs = append(legs, l)
		}
	}
	return legs
}

// holds says that what was promised in the deciding partition stands.
func (t *modelTx) holds() bool {
	return len(t.parts) > 0 && (t.stage == "asking" || t.stage == "canceling" && t.protocol == Saga)
}

func size(a money.Amount) *big.Int { return new(big.Int).Abs(big.NewInt(int64(a))) }

// pendingLegs adds what transactions may still add to a balance.
func (n *crossModel) pendingLegs(sum *big.Int, a *modelAccount, c money.Currency) *big.Int {
	for _, t := range n.txs {
		for _, l := range t.legs {
			if l.account != a || l.currency != c {
				continue
			}
			if a.Partition == t.at && t.holds() {
				sum.Add(sum, size(l.amount))
			}
			for _, f := range t.parts {
				if f.to == a.Partition && f.seen == "tried" {
					sum.Add(sum, size(l.amount))
				}
			}
		}
	}
	return sum
}

// crossedLegs adds the money of transactions between a partition and another one.
func (n *crossModel) crossedLegs(out, in *big.Int, own, peer, tenant uint16, c money.Currency) {
	add := func(to *big.Int, a money.Amount) { to.Add(to, big.NewInt(int64(a))) }
	for _, t := range n.txs {
		if t.tenant != tenant || len(t.parts) == 0 {
			continue
		}
		hub := t.parts[len(t.parts)-1].to
		for _, l := range t.legs {
			if l.currency != c {
				continue
			}
			at := l.account.Partition
			if t.at == own { // what is known here of the leg
				switch {
				case t.stage == "confirming", t.stage == "done" && t.decision.code == Applied:
					if at == peer {
						add(out, l.amount)
					}
				case at == own && t.holds() && l.amount < 0 && hub == peer:
					add(out, -l.amount)
				}
			}
			for _, f := range t.parts {
				if t.at == own && t.stage == "asking" && f.to == at && f.phase == Waiting && f.seen == "tried" && l.amount < 0 {
					if at == peer {
						add(out, l.amount)
					}
					if hub == peer {
						add(out, -l.amount)
					}
				}
				if t.at == peer && f.to == own && at == own && (f.seen == "credited" || f.seen == "tried" && l.amount < 0) {
					add(in, l.amount)
				}
			}
		}
	}
}

func (n *crossModel) transaction(at, tenant uint16, kind Kind, by Protocol, t *Transaction, handles []Handle) Result {
	key := fmt.Sprint(at, tenant, t.ID)
	content := fmt.Sprint("tx", t.Postings, t.Reference, t.Metadata)
	if t.Reverses != nil {
		content += fmt.Sprint(t.Reverses.ID, t.Reverses.Transfer, t.Reverses.Hold != TransactionID{})
	}
	if d := n.decided[key]; d != nil {
		if d.content != content {
			return Result(IDReused)
		}
		return Repeat(d.code)
	}
	v := &modelTx{t: *t, at: at, tenant: tenant, protocol: by, stage: "done"}
	code := n.judgeTx(v, kind, handles)
	if code == WrongPartition || code == AccountLocked || code == TooManyInFlight {
		return Result(code)
	}
	d := &modelDecision{content: content, tenant: tenant, code: code, tx: v}
	v.decision, n.decided[key] = d, d
	if code == Applied || code == Pending {
		n.txs = append(n.txs, v)
	}
	return Result(code)
}

func (n *crossModel) judgeTx(v *modelTx, kind Kind, handles []Handle) Code {
	home := func(id AccountID) uint16 { return PartitionOf(n.tenants[v.tenant], id, n.partitions) }
	first := v.t.Postings[0].Account
	if v.t.Reverses != nil {
		first = v.t.Reverses.Postings[0].Account
	}
	if home(first) != v.at {
		return WrongPartition
	}
	for i, p := range v.t.Postings {
		if at := home(p.Account); at != v.at && (kind == KindTransactions || handles[i] != 0 && handles[i].Partition() != at) {
			return WrongPartition
		}
	}
	sums := map[money.Currency]*big.Int{}
	for _, p := range v.t.Postings {
		if sums[p.Currency] == nil {
			sums[p.Currency] = new(big.Int)
		}
		sums[p.Currency].Add(sums[p.Currency], big.NewInt(int64(p.Amount)))
		i := slices.IndexFunc(v.legs, func(l modelLeg) bool { return l.name == p.Account && l.currency == p.Currency })
		if i < 0 {
			v.legs = append(v.legs, modelLeg{p.Account, n.account(v.tenant, p.Account), p.Currency, p.Amount})
			continue
		}
		v.legs[i].amount += p.Amount
	}
	for _, sum := range sums {
		if sum.Sign() != 0 {
			return Unbalanced
		}
	}
	if code := n.judgeReversal(v); code != Applied {
		return code
	}
	if slices.ContainsFunc(v.legs, func(l modelLeg) bool { return l.account == nil }) {
		return UnknownAccount
	}
	peers := map[uint16]bool{}
	for _, l := range v.legs {
		peers[l.account.Partition] = true
	}
	delete(peers, v.at)
	if code := n.judgeLegs(v.in(v.at), len(peers) > 0); code != Applied {
		return code
	}
	return n.beginTx(v)
}

// beginTx makes a transaction whose accounts are here, and begins another.
func (n *crossModel) beginTx(v *modelTx) Code {
	var peers []uint16
	for _, debits := range []bool{true, false} {
		for _, l := range v.legs {
			if p := l.account.Partition; p != v.at && !slices.Contains(peers, p) && (!debits || l.amount < 0) {
				peers = append(peers, p)
			}
		}
	}
	for _, l := range v.in(v.at) {
		if len(peers) == 0 || l.amount < 0 {
			n.post(v, l)
		}
	}
	if len(peers) == 0 {
		return Applied
	}
	v.stage = "asking"
	for i, p := range peers {
		f := &modelFlight{from: v.at, to: p, tenant: v.tenant, tx: v, part: i, phase: Trying, seq: 1}
		for _, g := range n.flights {
			if g.from == f.from && g.to == f.to {
				f.seq = g.seq + 1
			}
		}
		if v.protocol == Saga && i > 0 {
			f.phase = Waiting
		}
		if v.protocol == Saga && len(peers) == 1 {
			f.phase = Crediting
		}
		n.flights, v.parts = append(n.flights, f), append(v.parts, f)
	}
	return Pending
}

// judgeReversal looks at all that was ever done to take the original back.
func (n *crossModel) judgeReversal(v *modelTx) Code {
	o := v.t.Reverses
	if o == nil {
		return Applied
	}
	d := n.decided[fmt.Sprint(v.at, v.tenant, o.ID)]
	switch {
	case d == nil || d.code != Applied:
		return NotReversible
	case o.Hold != TransactionID{}:
		if d.what != "capture" || d.hold != o.Hold || d.t != (Transfer{o.ID, o.Postings[0].Account, o.Postings[1].Account, o.Postings[1].Amount, o.Postings[0].Currency}) {
			return NotReversible
		}
	case o.Transfer && (d.tx != nil || d.content != fmt.Sprint(Transfer{o.ID, o.Postings[0].Account, o.Postings[1].Account, o.Postings[1].Amount, o.Postings[0].Currency})):
		return NotReversible
	case !o.Transfer && (d.tx == nil || d.content != fmt.Sprint("tx", o.Postings, o.Reference, o.Metadata)):
		return NotReversible
	}
	type place struct {
		id AccountID
		c  money.Currency
	}
	left, own := map[place]*big.Int{}, map[place]*big.Int{}
	add := func(to map[place]*big.Int, p place, a money.Amount) {
		if to[p] == nil {
			to[p] = new(big.Int)
		}
		to[p].Add(to[p], big.NewInt(int64(a)))
	}
	for _, p := range o.Postings {
		add(left, place{p.Account, p.Currency}, p.Amount)
	}
	for _, t := range n.txs { // all of its reversals, those under way too
		if t.of == d && (t.stage != "done" || t.decision.code == Applied) {
			for _, l := range t.legs {
				add(left, place{l.name, l.currency}, l.amount)
			}
		}
	}
	for _, l := range v.legs {
		add(own, place{l.name, l.currency}, l.amount)
	}
	for p, a := range own {
		if left[p] == nil || a.Sign() != 0 && a.Sign() != -left[p].Sign() || a.CmpAbs(left[p]) > 0 {
			return OverReversed
		}
	}
	v.of = d
	return Applied
}

// judgeLegs says whether legs in a partition can be made.
func (n *crossModel) judgeLegs(legs []modelLeg, promised bool) Code {
	var accounts []*modelAccount
	for _, l := range legs {
		accounts = append(accounts, l.account)
	}
	if code := n.barred(accounts...); code != Applied {
		return code
	}
	for _, l := range legs {
		b := l.account.hold(l.currency)
		switch {
		case b == nil:
			return CurrencyNotHeld
		case l.amount > 0 && !n.room(l.account, b, l.amount):
			return Overflow
		case l.amount >= 0:
			continue
		}
		if code := n.debitCode(l.account, b, -l.amount); code != Applied {
			return code
		}
		if p := n.pending(l.account, l.currency); promised && !p.Add(p, size(l.amount)).IsInt64() {
			return Overflow
		}
	}
	return Applied
}

// requestLegs is what a participant does with a message.
func (n *crossModel) requestLegs(f *modelFlight, a action) Code {
	legs := f.tx.in(f.to)
	post := func(credits bool) {
		for _, l := range legs {
			if l.amount > 0 == credits {
				n.post(f.tx, l)
			}
		}
	}
	switch {
	case a == actConfirm:
		if f.seen == "tried" {
			post(true)
			f.seen = "credited"
		}
		return Applied
	case a == actCancel:
		if f.seen == "tried" {
			n.giveBack(f.tx, legs)
		}
		if f.seen != "refused" {
			f.seen, f.refusal = "refused", Canceled
		}
		return Applied
	case f.seen == "":
		if f.refusal = n.judgeLegs(legs, a == actTryLegs); f.refusal != Applied {
			f.seen = "refused"
			break
		}
		post(false)
		if f.seen = "tried"; a == actCreditLegs {
			post(true)
			f.seen = "credited"
		}
	}
	if f.seen == "refused" {
		return f.refusal
	}
	return Applied
}

// answerPart is what the deciding partition does with a participant's answer.
func (n *crossModel) answerPart(f *modelFlight, a answer) Code {
	t := f.tx
	due := map[Phase]action{Trying: actTryLegs, Crediting: actCreditLegs, Confirming: actConfirm, Canceling: actCancel}[f.phase]
	switch {
	case f.phase == Finished:
		return Forgotten
	case a.action == actGiveUp && t.stage == "canceling":
		return Forgotten
	case a.action == actGiveUp && (t.stage == "confirming" || slices.ContainsFunc(t.parts, func(g *modelFlight) bool { return g.phase == Crediting })):
		return Pending
	case a.action == actGiveUp:
		n.cancelTx(t, Canceled)
		return Applied
	case a.action != due:
		return Forgotten
	case a.code == Forgotten || a.code == Malformed:
		return Malformed
	case f.phase == Confirming || f.phase == Canceling:
		f.phase = Finished
		n.compensateTx(t)
	case a.code != Applied:
		f.phase = Finished
		n.cancelTx(t, a.code)
	default:
		f.phase = Waiting
		n.agreedTx(f)
	}
	n.endTx(t)
	return Applied
}

func (n *crossModel) agreedTx(f *modelFlight) {
	t := f.tx
	if t.protocol == Saga && f.part < len(t.parts)-1 {
		next := t.parts[f.part+1]
		if next.phase = Trying; f.part+1 == len(t.parts)-1 {
			next.phase = Crediting
		}
		return
	}
	if slices.ContainsFunc(t.parts, func(g *modelFlight) bool { return g.phase != Waiting }) {
		return
	}
	t.stage = "confirming"
	for _, l := range t.in(t.at) {
		if l.amount > 0 {
			n.post(t, l)
		}
	}
	for _, g := range t.parts {
		g.phase = Confirming
	}
	if t.protocol == Saga {
		f.phase = Finished
	}
}

func (n *crossModel) cancelTx(t *modelTx, code Code) {
	t.stage, t.code = "canceling", code
	if t.protocol == TCC {
		n.giveBack(t, t.in(t.at))
	}
	asked := slices.IndexFunc(t.parts, func(g *modelFlight) bool { return g.phase != Waiting })
	for i, g := range t.parts {
		if g.phase != Finished && (t.protocol == TCC || i >= asked) {
			g.phase = Canceling
		}
	}
	n.compensateTx(t)
}

// compensateTx goes on with the last participant of a saga that has not been canceled.
func (n *crossModel) compensateTx(t *modelTx) {
	if t.stage != "canceling" || slices.ContainsFunc(t.parts, func(g *modelFlight) bool { return g.phase == Canceling }) {
		return
	}
	for _, g := range slices.Backward(t.parts) {
		if g.phase == Waiting {
			g.phase = Canceling
			return
		}
	}
}

func (n *crossModel) endTx(t *modelTx) {
	if slices.ContainsFunc(t.parts, func(g *modelFlight) bool { return g.phase != Finished }) {
		return
	}
	if t.decision.code = Applied; t.stage == "canceling" {
		t.decision.code = t.code
		if t.protocol == Saga {
			n.giveBack(t, t.in(t.at))
		}
	}
	t.stage = "done"
}

// transactions begins some transactions.
func (w *world) transactions(t *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(t, "n") {
		w.transaction(t)
	}
}

// reversals begins some reversals.
func (w *world) reversals(t *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(t, "n") {
		w.reversal(t)
	}
}

// transaction begins a transaction of up to six postings, of which some do not
// balance, go to the wrong partition, name accounts that there are not, or repeat an id.
func (w *world) transaction(t *rapid.T) {
	tenant := uint16(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "tenant"))
	v := &Transaction{ID: txid(uint64(rapid.IntRange(1, 200).Draw(t, "id")))}
	alone := rapid.IntRange(0, 3).Draw(t, "alone") == 0 // in one partition
	at := w.partition(t, "at")
	names := w.names[tenant]
	if alone {
		names = slices.DeleteFunc(slices.Clone(names), func(id AccountID) bool { return w.model.account(tenant, id).Partition != at })
	}
	if rapid.IntRange(0, 20).Draw(t, "odd") == 0 {
		names = append(slices.Clone(names), "nobody")
	}
	currencies := []money.Currency{usd, usd, usd, jpy}
	amounts := []money.Amount{1, 2, 3, 5, 8, 20, 100, 1 << 61}
	for range rapid.IntRange(1, 3).Draw(t, "pairs") {
		a, c := rapid.SampledFrom(amounts).Draw(t, "amount"), rapid.SampledFrom(currencies).Draw(t, "currency")
		v.Postings = append(v.Postings,
			Posting{rapid.SampledFrom(names).Draw(t, "from"), -a, c}, Posting{rapid.SampledFrom(names).Draw(t, "to"), a, c})
	}
	if rapid.IntRange(0, 30).Draw(t, "unbalanced") == 0 {
		v.Postings[0].Amount--
	}
	if rapid.Bool().Draw(t, "noted") {
		v.Reference, v.Metadata = "order 7", Metadata{"b": "2", "a": "1"}
	}
	w.begin(t, tenant, at, alone, v)
}

// begin gives a transaction to the partition of its first posting, most often.
func (w *world) begin(t *rapid.T, tenant, at uint16, alone bool, v *Transaction) {
	first := v.Postings[0].Account
	if v.Reverses != nil {
		first = v.Reverses.Postings[0].Account
	}
	if rapid.IntRange(0, 20).Draw(t, "astray") > 0 {
		at = PartitionOf(w.model.tenants[tenant], first, uint16(len(w.parts)))
	}
	kind, by := KindCrossTransactions, rapid.SampledFrom([]Protocol{TCC, Saga}).Draw(t, "protocol")
	if alone {
		kind, by = KindTransactions, NoProtocol
	}
	handles := make([]Handle, len(v.Postings))
	for i, p := range v.Postings {
		if a := w.model.account(tenant, p.Account); a != nil {
			handles[i] = a.Handle
		}
	}
	if rapid.IntRange(0, 30).Draw(t, "odd handle") == 0 {
		handles[0] = Handle(w.partition(t, "of"))<<partitionShift | 1
		if p := v.Postings[0].Account; handles[0].Partition() == PartitionOf(w.model.tenants[tenant], p, uint16(len(w.parts))) {
			handles[0] = 0
			if a := w.model.account(tenant, p); a != nil {
				handles[0] = a.Handle
			}
		}
	}
	cmd := AppendTransaction(nil, v)
	if kind == KindCrossTransactions {
		cmd = appendCrossTransaction(nil, cmd, by, handles)
	}
	want := w.model.transaction(at, tenant, kind, by, v, handles)
	same(t, w.apply(at, kind, tenant, 1, cmd), []byte{byte(want)})
}

// reversal takes something back that was begun, most often applied: all of it, a
// part, or more than it was.
func (w *world) reversal(t *rapid.T) {
	var all []string
	far := rapid.Bool().Draw(t, "far") // between partitions
	for _, key := range slices.Sorted(maps.Keys(w.model.decided)) {
		d := w.model.decided[key]
		named := d.tx != nil || w.model.account(d.tenant, d.t.From) != nil && w.model.account(d.tenant, d.t.To) != nil && d.t.Amount > 0 && d.t.From != d.t.To
		if named && (d.code == Applied || rapid.IntRange(0, 30).Draw(t, "refused") == 0) && (d.tx == nil || d.tx.of == nil) && (!far || d.payee != 0 || d.tx != nil && len(d.tx.parts) > 0) {
			all = append(all, key)
		}
	}
	captures := slices.DeleteFunc(slices.Clone(all), func(key string) bool { return w.model.decided[key].what != "capture" })
	if len(captures) > 0 && rapid.Bool().Draw(t, "a capture") {
		all = captures
	}
	if len(all) == 0 {
		return
	}
	d := w.model.decided[rapid.SampledFrom(all).Draw(t, "original")]
	o := OriginalTransfer(&d.t)
	if d.tx != nil {
		o = d.tx.t.Original()
	}
	if d.what == "capture" {
		switch rapid.IntRange(0, 9).Draw(t, "as") {
		case 0: // a transfer
		case 1:
			o.Hold = txid(uint64(rapid.IntRange(1, 200).Draw(t, "another hold")))
		default:
			o.Hold = d.hold
		}
	}
	id := txid(uint64(rapid.IntRange(1, 200).Draw(t, "id")))
	v := o.Reverse(id)
	switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
	case what < 4 && o.Transfer:
		v = o.ReversePart(id, rapid.SampledFrom([]money.Amount{1, 2, o.Postings[1].Amount}).Draw(t, "part"))
	case what < 4: // a pair, or what does not balance
		i := rapid.IntRange(0, len(v.Postings)/2-1).Draw(t, "pair")
		v.Postings = v.Postings[2*i : 2*i+2]
	case what == 4:
		v.Postings[0].Amount, v.Postings[1].Amount = v.Postings[0].Amount+1, v.Postings[1].Amount-1
	case what == 5:
		o.Reference = "another"
		o.Transfer, o.Hold = false, TransactionID{}
	case what == 6:
		v.Postings[0].Account = rapid.SampledFrom(w.names[d.tenant]).Draw(t, "other")
	}
	if slices.ContainsFunc(v.Postings, func(p Posting) bool { return p.Validate() != nil }) {
		return
	}
	w.begin(t, d.tenant, w.partition(t, "at"), false, v)
}

// checkReversals compares how much of each original was taken back, or is about to be.
func (w *world) checkReversals(t *rapid.T, p uint16) {
	m := w.parts[p].m
	for row := range m.reversals.len {
		v := m.reversals.at(row)
		d := w.model.decided[fmt.Sprint(p, v.tenant, v.key.id())]
		name, currency := AccountID(""), d.t.Currency
		if d.tx != nil {
			name, currency = d.tx.legs[v.leg].name, d.tx.legs[v.leg].currency
		} else {
			name = []AccountID{d.t.From, d.t.To}[v.leg]
		}
		want := new(big.Int)
		for _, tx := range w.model.txs {
			for _, l := range tx.legs {
				if tx.of == d && (tx.stage != "done" || tx.decision.code == Applied) && l.name == name && l.currency == currency {
					want.Add(want, size(l.amount))
				}
			}
		}
		if want.Cmp(big.NewInt(int64(v.amount))) != 0 {
			t.Fatalf("of leg %d of %v, %d is taken back, want %v", v.leg, v.key.id(), v.amount, want)
		}
	}
}
