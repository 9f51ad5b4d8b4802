package wallet

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
)

// eventBooks is what somebody knows of a machine who hears of nothing but its events.
type eventBooks struct {
	accounts map[Handle]*Account
	names    map[string]Handle // by tenant and name
	payments map[string]money.Amount
	holds    map[holdKey]money.Amount // what each has left
	failed   int
}

func newEventBooks() *eventBooks {
	return &eventBooks{accounts: map[Handle]*Account{}, names: map[string]Handle{}, payments: map[string]money.Amount{}, holds: map[holdKey]money.Amount{}}
}

// take applies a batch to the machine and takes up its events.
func (b *eventBooks) take(m *Machine, batch rsm.Batch) []byte {
	results := m.Apply(nil, batch)
	if err := Events(batch.Data, results, m.Effects(), func(e *Event) error { return b.event(e, batch.Time) }); err != nil {
		panic(fmt.Sprintf("events of %x: %v", batch.Data, err))
	}
	return results
}

func (b *eventBooks) event(e *Event, now int64) error {
	named := b.accounts[b.names[fmt.Sprint(e.Tenant, e.Name)]]
	switch e.Kind {
	case AccountOpened:
		if b.accounts[e.Account] != nil {
			return fmt.Errorf("account %x was opened twice", e.Account)
		}
		b.accounts[e.Account] = &Account{
			ID: AccountID(e.Name), Handle: e.Account, OpenedAt: now, Balances: []Balance{{Currency: e.Currency, Min: e.Min}},
		}
		b.names[fmt.Sprint(e.Tenant, e.Name)] = e.Account
	case CurrencyAdded:
		if !slices.ContainsFunc(named.Balances, func(h Balance) bool { return h.Currency == e.Currency }) {
			named.Balances = append(named.Balances, Balance{Currency: e.Currency, Min: e.Min})
		}
	case LimitChanged:
		balanceOf(named, e.Currency).Min = e.Min
	case StatusChanged:
		named.Status = e.Status
	case Debit, Credit, Return:
		h := balanceOf(b.accounts[e.Account], e.Currency)
		if h.Amount += e.Amount; h.Amount != e.Balance || e.Amount == 0 || (e.Kind == Debit) != (e.Amount < 0) {
			return fmt.Errorf("%+v, and the balance was %d before", *e, h.Amount-e.Amount)
		}
		b.payments[fmt.Sprint(e.Tenant, e.ID, e.Account)] += e.Amount
	case TransferFailed:
		b.failed++
	case HoldPlaced, HoldCaptured, HoldReleased, HoldExtended, HoldExpired, HoldRestored:
		return b.hold(e)
	case DailyLimitSet:
		balanceOf(named, e.Currency).Daily.Limit = e.Daily
	case TenantMade, AssetMade, TransactionMade:
	case NoEvent, endEvent:
		return fmt.Errorf("%v", e.Kind)
	}
	return nil
}

// hold takes up what became of a hold.
func (b *eventBooks) hold(e *Event) error {
	h := balanceOf(b.accounts[e.Account], e.Currency)
	change := e.Amount
	switch e.Kind { //nolint:exhaustive // the others give nothing back
	case HoldCaptured, HoldReleased, HoldExpired:
		change = -e.Amount
	case HoldExtended:
		change = 0
	}
	k := holdKey{makeKey(e.Hold[:]), e.Tenant}
	h.Held += change
	b.holds[k] += change
	if h.Held != e.Held || h.Amount != e.Balance || b.holds[k] != e.Left || e.Left < 0 {
		return fmt.Errorf("%+v, and %d of %d was held, of that %d by it", *e, h.Held-change, h.Amount, b.holds[k]-change)
	}
	return nil
}

func balanceOf(a *Account, c money.Currency) *Balance {
	for i := range a.Balances {
		if a.Balances[i].Currency == c {
			return &a.Balances[i]
		}
	}
	return nil
}

// diff compares what is known with the machine.
func (b *eventBooks) diff(m *Machine) string {
	var want, got []Account
	for row := range m.accounts.len {
		a := m.account(m.base + Handle(row) + 1)
		for i := range a.Balances { // what was spent is no event
			a.Balances[i].Daily = Daily{Limit: a.Balances[i].Daily.Limit}
			b, _ := m.hold(a.Handle, m.accounts.at(row), a.Balances[i].Currency)
			a.Balances[i].Held = m.holds.sums[b.ref()].held // with what is overdue
		}
		want = append(want, a)
	}
	for _, h := range slices.Sorted(maps.Keys(b.accounts)) {
		got = append(got, *b.accounts[h])
	}
	return cmp.Diff(want, got)
}

// TestEventsTellThePayer looks at the events of a transfer between partitions: each
// side says whose it is.
func TestEventsTellThePayer(t *testing.T) {
	c := newCouple(t)
	c.begin(1, inQ(2), 5, TCC)
	f := *c.p.crossing.peers[1].out.at(1)
	if got := eventsOf(t, c.p); got != fmt.Sprintf("debit of 1 to %d by -5 to -5: %v", inQ(2), f.key.id()) {
		t.Errorf("at the payer: got %s", got)
	}
	for range 2 { // Try, Confirm
		c.step(1)
	}
	if got := eventsOf(t, c.q); got != fmt.Sprintf("credit of %d to 1 by 5 to 5: %v", inQ(2), f.key.id()) {
		t.Errorf("at the payee: got %s", got)
	}
}

// eventsOf describes the effects of the last batch, if it was not of transfers by handle.
func eventsOf(t *testing.T, m *Machine) (out string) {
	t.Helper()
	for b := m.Effects(); len(b) > 0; b = b[movementBytes:] {
		e := parseMovement(b)
		out += fmt.Sprintf("%v of %d to %d by %d to %d: %v", e.Kind, e.Account, e.Other, e.Amount, e.Balance, e.ID)
	}
	return out
}

// TestNamelessMessages reads logs and snapshots from before messages had the id and
// the payer of a transfer.
func TestNamelessMessages(t *testing.T) {
	log, err := os.ReadFile("testdata/cross-nameless.golden")
	if err != nil {
		t.Fatal(err)
	}
	var now []byte
	for _, b := range crossSamples()[:2] {
		now = append(now, b...)
	}
	batch := log[len(now):]
	batch = batch[:HeaderBytes+messagesPrefix+3*namelessBytes+2*verdictBytes]
	if h, err := Validate(batch); err != nil || h.Kind != KindParticipate {
		t.Fatalf("got %v, %v", h, err)
	}
	c := newCouple(t)
	SetTenant(batch, 0)
	got := parseMessage(batch[HeaderBytes+messagesPrefix:])
	if diff := cmp.Diff(message{actTry, 8, 3, usd, inQ(2), 1999, key{}, 0, nil}, got, cmp.AllowUnexported(message{}, key{})); diff != "" {
		t.Error(diff)
	}
	image, err := os.ReadFile("testdata/cross-receiving-nameless.golden")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.q.Restore(bytes.NewReader(image)); err != nil {
		t.Fatal(err)
	}
	finishAll(c.q)
	if p := c.q.crossing.peers[0].in; p.next == p.low {
		t.Error("the snapshot had no transfers")
	}
}

// FuzzEvents gives any three parts of a decision: they must be read to the end, or refused.
func FuzzEvents(f *testing.F) {
	m := NewMachine(nil)
	for _, b := range slices.AppendSeq(crossSamples(), maps.Values(samples())) {
		SetTenant(b, 0)
		f.Add(b, m.Apply(nil, rsm.Batch{Data: b}), m.Effects())
	}
	f.Fuzz(func(t *testing.T, batch, results, effects []byte) {
		err := Events(batch, results, effects, func(e *Event) error {
			if e.Kind == NoEvent || e.Kind >= endEvent || e.Kind.String() == "" {
				t.Fatalf("got %+v", e)
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
	})
}

// The two sides of a transaction of two postings are told as of a transfer: also where one is in another partition.
func TestSidesOfTransactions(t *testing.T) {
	ids := TransactionID{1}
	two := &Transaction{ID: ids, Postings: []Posting{{"a", -5, usd}, {"b", 5, usd}}, Reference: "r"}
	three := &Transaction{ID: ids, Postings: []Posting{{"a", -5, usd}, {"b", 4, usd}, {"c", 1, usd}}}
	const a, b, elsewhere = Handle(7), Handle(9), Handle(1)<<partitionShift | 3
	effects := func(accounts ...Handle) []byte {
		m := &Machine{}
		for _, h := range accounts {
			m.effect(&Event{Kind: Debit, Account: h, ID: ids, Amount: -1, Currency: usd})
		}
		return m.effects
	}
	for name, tt := range map[string]struct {
		kind    Kind
		cmd     []byte
		result  Code
		effects []byte
		want    map[Handle]Handle
	}{
		"two here":      {KindTransactions, AppendTransaction(nil, two), Applied, effects(a, b), map[Handle]Handle{a: b, b: a}},
		"three":         {KindTransactions, AppendTransaction(nil, three), Applied, effects(a, b, b+1), map[Handle]Handle{a: 0, b: 0, b + 1: 0}},
		"one elsewhere": {KindCrossTransactions, appendCrossTransaction(nil, AppendTransaction(nil, two), TCC, []Handle{0, elsewhere}), Pending, effects(a), map[Handle]Handle{a: elsewhere}},
		"three, two elsewhere": {
			KindCrossTransactions, appendCrossTransaction(nil, AppendTransaction(nil, three), TCC, []Handle{0, elsewhere, elsewhere + 1}), Pending,
			effects(a),
			map[Handle]Handle{a: 0},
		},
	} {
		got := map[Handle]Handle{}
		batch := append(AppendHeader(nil, Header{Kind: tt.kind, Count: 1}), tt.cmd...)
		err := Events(batch, []byte{byte(tt.result)}, tt.effects, func(e *Event) error {
			if e.Kind.MovesMoney() {
				got[e.Account] = e.Other
			}
			return nil
		})
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}
