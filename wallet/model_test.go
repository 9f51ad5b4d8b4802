package wallet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"maru.example/money"
	"maru.example/rsm"
)

// naive is the wallet as one would write it down: maps, strings and no haste.
type naive struct {
	tenants  []string
	accounts map[string]*naiveAccount // by tenant and id
	handles  []string                 // keys of accounts, in the order of opening
	decided  map[string]naiveDecision // by tenant and transaction id
	assets   map[uint16][]Asset       // by tenant
}

type naiveAccount struct {
	id       string
	status   Status
	opened   int64
	openedAs NewAccount
	balances []Balance
}

type naiveDecision struct {
	content string
	code    Code
}

func newNaive() *naive {
	return &naive{tenants: []string{"default"}, accounts: map[string]*naiveAccount{}, decided: map[string]naiveDecision{}, assets: map[uint16][]Asset{}}
}

func (a *naiveAccount) hold(c money.Currency) *Balance {
	for i := range a.balances {
		if a.balances[i].Currency == c {
			return &a.balances[i]
		}
	}
	return nil
}

func (n *naive) open(tenant uint16, now int64, a NewAccount) Opened {
	key := fmt.Sprintf("%d/%s", tenant, a.ID)
	if old := n.accounts[key]; old != nil {
		switch {
		case old.status == Closed:
			return Opened{Code: AccountClosed}
		case old.openedAs != a:
			return Opened{Code: AccountExists}
		}
		return Opened{Handle: Handle(slices.Index(n.handles, key) + 1), Code: Applied, Before: true}
	}
	n.accounts[key] = &naiveAccount{id: string(a.ID), opened: now, openedAs: a, balances: []Balance{{Currency: a.Currency, Min: a.Min}}}
	n.handles = append(n.handles, key)
	return Opened{Handle: Handle(len(n.handles)), Code: Applied}
}

// transfer takes ids of accounts that may not exist.
func (n *naive) transfer(tenant uint16, t Transfer) Result {
	if t.ID == (TransactionID{}) {
		return Result(Malformed)
	}
	key := fmt.Sprintf("%d/%s", tenant, t.ID)
	content := fmt.Sprint(t)
	if d, ok := n.decided[key]; ok {
		if d.content != content {
			return Result(IDReused)
		}
		return Result(d.code) | repeated
	}
	code := n.decide(n.accounts[fmt.Sprintf("%d/%s", tenant, t.From)], n.accounts[fmt.Sprintf("%d/%s", tenant, t.To)], t)
	n.decided[key] = naiveDecision{content, code}
	return Result(code)
}

func (n *naive) decide(from, to *naiveAccount, t Transfer) Code {
	switch {
	case t.Amount <= 0:
		return AmountNotPositive
	case t.From == t.To:
		return SameAccount
	case from == nil || to == nil:
		return UnknownAccount
	case from.status == Closed || to.status == Closed:
		return AccountClosed
	case from.status == Frozen || to.status == Frozen:
		return AccountFrozen
	}
	debit, credit := from.hold(t.Currency), to.hold(t.Currency)
	if debit == nil || credit == nil {
		return CurrencyNotHeld
	}
	underflow := debit.Amount < math.MinInt64+t.Amount
	switch {
	case debit.Min != Unlimited && (underflow || debit.Amount-t.Amount < debit.Min):
		return InsufficientFunds
	case underflow, credit.Amount > math.MaxInt64-t.Amount:
		return Overflow
	}
	debit.Amount -= t.Amount
	credit.Amount += t.Amount
	return Applied
}

func (n *naive) add(a *naiveAccount, c money.Currency, smallest money.Amount) Code {
	switch {
	case a == nil:
		return UnknownAccount
	case a.status == Closed:
		return AccountClosed
	}
	if b := a.hold(c); b != nil {
		if b.Min != smallest {
			return CurrencyExists
		}
		return Applied
	}
	a.balances = append(a.balances, Balance{Currency: c, Min: smallest})
	return Applied
}

func (n *naive) limit(a *naiveAccount, c money.Currency, smallest money.Amount) Code {
	switch {
	case a == nil:
		return UnknownAccount
	case a.status == Closed:
		return AccountClosed
	case a.hold(c) == nil:
		return CurrencyNotHeld
	}
	a.hold(c).Min = smallest
	return Applied
}

func (n *naive) setStatus(a *naiveAccount, to Status) Code {
	switch {
	case a == nil:
		return UnknownAccount
	case a.status == to:
		return Applied
	case a.status == Closed:
		return AccountClosed
	case to == Closed && slices.ContainsFunc(a.balances, func(b Balance) bool { return b.Amount != 0 }):
		return BalanceNotZero
	}
	a.status = to
	return Applied
}

// pair runs the machine beside the model.
type pair struct {
	disk  *handDisk
	m     *Machine
	model *naive
	books *eventBooks
	now   int64
	open  rsm.Snapshot
	image []byte // of the open snapshot so far
	want  []byte // what the open snapshot's machine must look like
}

var (
	drawName = rapid.Custom(func(t *rapid.T) AccountID {
		return AccountID(fmt.Sprintf("a%d", rapid.IntRange(0, 6).Draw(t, "account")))
	})
	drawCurrency = rapid.SampledFrom([]money.Currency{usd, money.MustParseCurrency("JPY"), money.Asset(0, 15)})
	drawMin      = rapid.SampledFrom([]money.Amount{0, 0, -50, -1, 10, Unlimited, math.MinInt64 + 1, math.MaxInt64})
	drawAmount   = rapid.OneOf(rapid.Int64Range(-2, 100), rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64, math.MaxInt64 - 3}))
)

func (p *pair) apply(kind Kind, tenant uint16, count int, body []byte) []byte {
	p.now++
	return p.books.take(p.m, rsm.Batch{Time: p.now, Data: append(AppendHeader(nil, Header{kind, tenant, count}), body...)})
}

func (p *pair) account(tenant uint16, id AccountID) *naiveAccount {
	return p.model.accounts[fmt.Sprintf("%d/%s", tenant, id)]
}

func (p *pair) tenant(t *rapid.T) uint16 {
	return uint16(rapid.IntRange(0, len(p.model.tenants)-1).Draw(t, "tenant"))
}

func (p *pair) openAccounts(t *rapid.T) {
	tenant := p.tenant(t)
	var body, want []byte
	n := rapid.IntRange(1, 3).Draw(t, "n")
	for range n {
		a := NewAccount{drawName.Draw(t, "id"), drawCurrency.Draw(t, "currency"), drawMin.Draw(t, "min")}
		body = AppendAccount(body, &a)
		want = AppendOpened(want, p.model.open(tenant, p.now+1, a))
	}
	same(t, p.apply(KindOpenAccounts, tenant, n, body), want)
}

func same(t *rapid.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// transfers makes a batch by names or by handles, in which ids repeat. Handles
// may be of no account or of another tenant's.
func (p *pair) transfers(t *rapid.T) {
	tenant := p.tenant(t)
	kind := rapid.SampledFrom([]Kind{KindTransfers, KindTransfersByName}).Draw(t, "kind")
	n := rapid.IntRange(1, 150).Draw(t, "n")
	var body, want []byte
	for range n {
		v := Transfer{Amount: money.Amount(drawAmount.Draw(t, "amount")), Currency: drawCurrency.Draw(t, "currency")}
		v.ID[rapid.IntRange(0, 15).Draw(t, "byte")] = byte(rapid.IntRange(0, 40).Draw(t, "id"))
		if kind == KindTransfersByName {
			v.From, v.To = drawName.Draw(t, "from"), drawName.Draw(t, "to")
			body = AppendTransfer(body, &v)
		} else {
			handle := rapid.IntRange(0, len(p.model.handles)+1)
			from, to := Handle(handle.Draw(t, "from")), Handle(handle.Draw(t, "to"))
			v.From, v.To = p.model.name(tenant, from), p.model.name(tenant, to)
			body = AppendHandleTransfer(body, &HandleTransfer{v.ID, from, to, v.Amount, v.Currency})
		}
		want = append(want, byte(p.model.transfer(tenant, v)))
	}
	same(t, p.apply(kind, tenant, n, body), want)
}

// name returns the id of a handle's account, or one that no account can have.
func (n *naive) name(tenant uint16, h Handle) AccountID {
	if h == 0 || int(h) > len(n.handles) {
		return AccountID(fmt.Sprintf("#%d", h))
	}
	var owner uint16
	var id string
	if _, err := fmt.Sscanf(n.handles[h-1], "%d/%s", &owner, &id); err != nil || owner != tenant {
		return AccountID(fmt.Sprintf("#%d", h))
	}
	return AccountID(id)
}

func (p *pair) addCurrency(t *rapid.T) {
	tenant, a := p.tenant(t), NewAccount{drawName.Draw(t, "id"), drawCurrency.Draw(t, "currency"), drawMin.Draw(t, "min")}
	want := p.model.add(p.account(tenant, a.ID), a.Currency, a.Min)
	same(t, p.apply(KindAddCurrency, tenant, 1, AppendAccount(nil, &a)), []byte{byte(want)})
}

func (p *pair) setLimit(t *rapid.T) {
	tenant, a := p.tenant(t), NewAccount{drawName.Draw(t, "id"), drawCurrency.Draw(t, "currency"), drawMin.Draw(t, "min")}
	want := p.model.limit(p.account(tenant, a.ID), a.Currency, a.Min)
	same(t, p.apply(KindSetLimit, tenant, 1, AppendAccount(nil, &a)), []byte{byte(want)})
}

func (p *pair) setStatus(t *rapid.T) {
	tenant, id := p.tenant(t), drawName.Draw(t, "id")
	to := rapid.SampledFrom([]Status{Open, Open, Frozen, Closed}).Draw(t, "status")
	want := p.model.setStatus(p.account(tenant, id), to)
	same(t, p.apply(KindSetStatus, tenant, 1, AppendStatus(nil, id, to)), []byte{byte(want)})
}

func (p *pair) createTenant(t *rapid.T) {
	name := rapid.SampledFrom([]string{"default", "t1", "t2"}).Draw(t, "name")
	n := slices.Index(p.model.tenants, name)
	if n < 0 {
		n = len(p.model.tenants)
		p.model.tenants = append(p.model.tenants, name)
	}
	same(t, p.apply(KindCreateTenants, 0, 1, AppendName(nil, name)), binary.LittleEndian.AppendUint16([]byte{byte(Applied)}, uint16(n)))
}

func (p *pair) createAsset(t *rapid.T) {
	tenant, name, digits := p.tenant(t), rapid.SampledFrom([]string{"VACHR", "AAPL", "@24", "x"}).Draw(t, "name"), rapid.SampledFrom([]int{0, 2, 15}).Draw(t, "digits")
	want := []byte{byte(Applied), 0, 0}
	assets := p.model.assets[tenant]
	switch n := slices.IndexFunc(assets, func(a Asset) bool { return a.Name == name }); {
	case n < 0:
		c := money.Asset(len(assets), digits)
		p.model.assets[tenant] = append(assets, Asset{name, c})
		binary.LittleEndian.PutUint16(want[1:], uint16(c))
	case assets[n].Currency.Digits() == digits:
		binary.LittleEndian.PutUint16(want[1:], uint16(assets[n].Currency))
	default:
		want[0] = byte(AssetExists)
	}
	same(t, p.apply(KindCreateAssets, tenant, 1, AppendAsset(nil, name, digits)), want)
	if got := p.m.query(&query{Subject: aboutAssets, Name: Tenant(p.model.tenants[tenant])}).Assets; !slices.Equal(got, p.model.assets[tenant]) {
		t.Fatalf("assets of tenant %d: got %v, want %v", tenant, got, p.model.assets[tenant])
	}
}

// snapshot begins a snapshot, or goes on with it; a complete one is restored
// and compared with what the machine was when the snapshot began.
func (p *pair) snapshot(t *rapid.T) {
	if p.open == nil {
		p.want = fmt.Append(nil, describe(p.m))
		p.open, p.image = p.m.Snapshot(), nil
		return
	}
	var more bool
	p.image, more = p.open.Next(p.image, rapid.IntRange(1, 2000).Draw(t, "budget"))
	if more {
		return
	}
	p.open.Close()
	p.open = nil
	restored := p.disk.machine(t, &p.m.options)
	if err := restored.Restore(bytes.NewReader(p.image)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(p.want), describe(restored)); diff != "" {
		t.Fatalf("restored state differs (-want +got):\n%s", diff)
	}
}

// restart replaces the machine by one restored from a snapshot of now.
func (p *pair) restart(t *rapid.T) {
	if p.open != nil {
		p.open.Close()
		p.open = nil
	}
	m := p.disk.machine(t, &p.m.options)
	if err := m.Restore(bytes.NewReader(image(p.m))); err != nil {
		t.Fatal(err)
	}
	p.m = m
}

// image is a whole snapshot.
func image(m *Machine) []byte {
	s := m.Snapshot()
	defer s.Close()
	var b []byte
	for more := true; more; {
		b, more = s.Next(b, 1<<16)
	}
	return b
}

// describe writes down all of a machine's state.
func describe(m *Machine) string {
	var b bytes.Buffer
	for h := range Handle(m.accounts.len) {
		a := m.accounts.at(uint64(h))
		fmt.Fprintln(&b, a.tenant, a.openSum, m.account(m.base+h+1), a.status&locked, a.pending)
	}
	for i := range m.balances.len {
		fmt.Fprintln(&b, i, *m.balances.at(i))
	}
	describeCrossing(&b, m)
	describeHolds(&b, m)
	for i, t := range m.tenants {
		fmt.Fprintln(&b, t.assets)
		var ids []string
		for j := range t.ids.segs {
			for k := range t.ids.segs[j].len {
				e := t.ids.segs[j].at(k)
				ids = append(ids, fmt.Sprintf("%016x%016x %014x %v", e.key.a, e.key.b, e.fingerprint(), e.code()))
			}
		}
		ids = append(ids, describeOld(m, uint16(i))...)
		slices.Sort(ids)
		fmt.Fprintln(&b, i, t.name, ids)
	}
	return b.String()
}

func describeCrossing(b *bytes.Buffer, m *Machine) {
	for i := range m.crossing.peers {
		p := &m.crossing.peers[i]
		if p.out.next > 1 || p.in.next > 1 {
			flights := p.out.appendTo(nil)
			for i := range flights {
				if f := &flights[i]; f.hold != 0 {
					fmt.Fprintln(b, "capture", f.key, m.holds.rows.at(uint64(f.hold-1)).key)
					f.hold = 0 // the row is another one after a restart
				}
			}
			fmt.Fprintln(b, "to", i, p.out.low, p.out.next, flights)
			fmt.Fprintln(b, "from", i, p.in.low, p.in.next, p.in.appendTo(nil))
		}
	}
	for _, k := range m.crossing.totals.keys() {
		if v := *m.crossing.totals.all[k]; v != (crossTotal{}) {
			fmt.Fprintln(b, k, v)
		}
	}
	fmt.Fprintln(b, m.crossing.phases)
	var transactions []string
	for _, t := range m.crossing.transactions {
		transactions = append(transactions, fmt.Sprint(*t))
	}
	slices.Sort(transactions)
	fmt.Fprintln(b, transactions)
	for i := range m.reversals.len {
		fmt.Fprintln(b, *m.reversals.at(i))
	}
	fmt.Fprintln(b, m.reversals.rows)
	fmt.Fprintln(b, m.crossing.legs)
}

// check compares accounts with the model's, and adds up the money.
func (p *pair) check(t *rapid.T) {
	if diff := p.books.diff(p.m); diff != "" {
		t.Fatalf("the events do not tell the accounts (-machine +events):\n%s", diff)
	}
	sums := map[string]money.Amount{}
	for i, key := range p.model.handles {
		var tenant uint16
		var id AccountID
		if _, err := fmt.Sscanf(key, "%d/%s", &tenant, &id); err != nil {
			t.Fatal(err)
		}
		a := p.model.accounts[key]
		want := Account{AccountID(a.id), Handle(i + 1), a.status, a.opened, a.balances}
		if diff := cmp.Diff(want, p.m.account(p.m.lookup(tenant, a.id))); diff != "" {
			t.Fatalf("account %s (-want +got):\n%s", key, diff)
		}
		for _, b := range a.balances {
			sums[fmt.Sprint(tenant, b.Currency)] += b.Amount // may wrap around, and back
		}
	}
	for what, sum := range sums {
		if sum != 0 {
			t.Fatalf("the balances of %s add up to %d", what, sum)
		}
	}
}

func TestMachineAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &pair{model: newNaive(), books: newEventBooks(), disk: &handDisk{}}
		o := &MachineOptions{}
		if rapid.Bool().Draw(t, "few recent ids") {
			o.RecentIDs = 20
		}
		p.m = p.disk.machine(t, o)
		for range 3 {
			p.openAccounts(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"":             p.check,
			"open":         p.openAccounts,
			"transfers":    p.transfers,
			"transfers 2":  p.transfers,
			"add currency": p.addCurrency,
			"set limit":    p.setLimit,
			"set status":   p.setStatus,
			"tenant":       p.createTenant,
			"asset":        p.createAsset,
			"snapshot":     p.snapshot,
			"snapshot 2":   p.snapshot,
			"restart":      p.restart,
			"disk":         p.disk.work,
			"disk 2":       p.disk.work,
		})
	})
}
