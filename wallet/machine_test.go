package wallet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
)

var jpy = money.MustParseCurrency("JPY")

// do applies one command and returns its code.
func do(tb testing.TB, m *Machine, kind Kind, cmd []byte) Code {
	tb.Helper()
	out := m.Apply(nil, rsm.Batch{Time: 7, Data: append(AppendHeader(nil, Header{Kind: kind, Count: 1}), cmd...)})
	return Code(out[0])
}

func openAccount(tb testing.TB, m *Machine, id AccountID, c money.Currency, smallest money.Amount) {
	tb.Helper()
	if code := do(tb, m, KindOpenAccounts, AppendAccount(nil, &NewAccount{id, c, smallest})); code != Applied {
		tb.Fatalf("open %s: %v", id, code)
	}
}

func txid(n uint64) (id TransactionID) {
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

// TestTransferCodes has one line for each way a transfer can end.
func TestTransferCodes(t *testing.T) {
	m := NewMachine(nil)
	openAccount(t, m, "bank", usd, Unlimited)
	openAccount(t, m, "alice", usd, 0)
	openAccount(t, m, "credit", usd, -100)
	openAccount(t, m, "frozen", usd, Unlimited)
	openAccount(t, m, "closed", usd, Unlimited)
	openAccount(t, m, "yen", jpy, Unlimited)
	openAccount(t, m, "low", usd, Unlimited)
	openAccount(t, m, "high", usd, 0)
	do(t, m, KindSetStatus, AppendStatus(nil, "frozen", Frozen))
	do(t, m, KindSetStatus, AppendStatus(nil, "closed", Closed))
	for i, tt := range []struct {
		name     string
		from, to AccountID
		amount   money.Amount
		currency money.Currency
		want     Code
	}{
		{"from the bank", "bank", "alice", 100, usd, Applied},
		{"all of it", "alice", "bank", 100, usd, Applied},
		{"one more", "alice", "bank", 1, usd, InsufficientFunds},
		{"credit line", "credit", "bank", 100, usd, Applied},
		{"below the line", "credit", "bank", 1, usd, InsufficientFunds},
		{"zero", "bank", "alice", 0, usd, AmountNotPositive},
		{"negative", "bank", "alice", -1, usd, AmountNotPositive},
		{"the smallest number", "bank", "alice", math.MinInt64, usd, AmountNotPositive},
		{"same account", "bank", "bank", 1, usd, SameAccount},
		{"same unknown account", "nobody", "nobody", 1, usd, SameAccount},
		{"unknown payer", "nobody", "alice", 1, usd, UnknownAccount},
		{"unknown payee", "bank", "nobody", 1, usd, UnknownAccount},
		{"frozen payer", "frozen", "alice", 1, usd, AccountFrozen},
		{"frozen payee", "bank", "frozen", 1, usd, AccountFrozen},
		{"closed payer", "closed", "alice", 1, usd, AccountClosed},
		{"closed payee", "bank", "closed", 1, usd, AccountClosed},
		{"frozen and closed", "frozen", "closed", 1, usd, AccountClosed},
		{"payee without the currency", "bank", "yen", 1, usd, CurrencyNotHeld},
		{"payer without the currency", "yen", "bank", 1, usd, CurrencyNotHeld},
		{"neither has the currency", "bank", "alice", 1, jpy, CurrencyNotHeld},
		{"the largest number", "low", "high", math.MaxInt64, usd, Applied},
		{"payee would overflow", "bank", "high", 1, usd, Overflow},
		{"payer's last", "low", "alice", 1, usd, Applied},
		{"payer would overflow", "low", "alice", 1, usd, Overflow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := Transfer{txid(uint64(i + 1)), tt.from, tt.to, tt.amount, tt.currency}
			before := describeAccounts(m)
			if got := do(t, m, KindTransfersByName, AppendTransfer(nil, &v)); got != tt.want {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			if after := describeAccounts(m); tt.want != Applied && after != before {
				t.Errorf("a refused transfer changed accounts: %s", cmp.Diff(before, after))
			}
			again := Result(m.Apply(nil, rsm.Batch{Data: AppendTransfer(AppendHeader(nil, Header{Kind: KindTransfersByName, Count: 1}), &v)})[0])
			if again.Code() != tt.want || !again.Repeated() {
				t.Errorf("again: got %v, repeated %v", again.Code(), again.Repeated())
			}
			v.Amount++
			if got := do(t, m, KindTransfersByName, AppendTransfer(nil, &v)); got != IDReused {
				t.Errorf("other amount: got %v", got)
			}
		})
	}
}

func describeAccounts(m *Machine) string {
	accounts, _, _ := strings.Cut(describe(m), "0 default")
	return accounts
}

// TestSameTransferByEitherWay checks that a transfer is the same by names and by handles,
// and that one refused for an account that was unknown stays refused when it is opened.
func TestSameTransferByEitherWay(t *testing.T) {
	m := NewMachine(nil)
	openAccount(t, m, "a", usd, Unlimited)
	openAccount(t, m, "b", usd, 0)
	named := Transfer{txid(1), "a", "b", 5, usd}
	handled := HandleTransfer{txid(1), 1, 2, 5, usd}
	if got := do(t, m, KindTransfers, AppendHandleTransfer(nil, &handled)); got != Applied {
		t.Fatalf("by handle: %v", got)
	}
	if got := Result(do(t, m, KindTransfersByName, AppendTransfer(nil, &named))); got != Result(Applied)|repeated {
		t.Errorf("by name: got %v", got)
	}
	named = Transfer{txid(2), "a", "later", 5, usd}
	if got := do(t, m, KindTransfersByName, AppendTransfer(nil, &named)); got != UnknownAccount {
		t.Fatalf("unknown: got %v", got)
	}
	openAccount(t, m, "later", usd, 0)
	if got := Result(do(t, m, KindTransfersByName, AppendTransfer(nil, &named))); got != Result(UnknownAccount)|repeated {
		t.Errorf("after it was opened, by name: got %v", got)
	}
	if got := Result(do(t, m, KindTransfers, AppendHandleTransfer(nil, &HandleTransfer{txid(2), 1, 3, 5, usd}))); got != Result(UnknownAccount)|repeated {
		t.Errorf("after it was opened, by handle: got %v", got)
	}
}

func TestMalformedCommandsMoveNothing(t *testing.T) {
	m := NewMachine(nil)
	openAccount(t, m, "a", usd, Unlimited)
	openAccount(t, m, "b", usd, 0)
	good := AppendHandleTransfer(nil, &HandleTransfer{txid(1), 1, 2, 5, usd})
	before := describe(m)
	for at := 42; at < RecordBytes; at++ {
		bad := bytes.Clone(good)
		bad[at] = 1
		if got := do(t, m, KindTransfers, bad); got != Malformed {
			t.Errorf("reserved byte %d: got %v", at, got)
		}
	}
	for name, batch := range map[string][]byte{
		"empty":           nil,
		"no commands":     AppendHeader(nil, Header{Kind: KindTransfers}),
		"cut short":       append(AppendHeader(nil, Header{Kind: KindTransfers, Count: 1}), good[:63]...),
		"one too many":    append(AppendHeader(nil, Header{Kind: KindTransfers, Count: 2}), good...),
		"too long":        append(append(AppendHeader(nil, Header{Kind: KindTransfers, Count: 1}), good...), 0),
		"unknown kind":    append(AppendHeader(nil, Header{Kind: 99, Count: 1}), good...),
		"look-up":         append(AppendHeader(nil, Header{Kind: KindLookup, Count: 1}), 1, 'a'),
		"unknown version": append([]byte{9, 1, 0, 0, 1, 0, 0, 0}, good...),
		"no id":           append(AppendHeader(nil, Header{Kind: KindTransfers, Count: 1}), make([]byte, 64)...),
		"no currency":     AppendAccount(AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: 1}), &NewAccount{ID: "c"}),
		"no name":         AppendAccount(AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: 1}), &NewAccount{Currency: usd}),
		"two dots":        AppendAccount(AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: 1}), &NewAccount{ID: "..", Currency: usd}),
		"bad name":        AppendAccount(AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: 1}), &NewAccount{ID: "a b", Currency: usd}),
		"bad status":      AppendStatus(AppendHeader(nil, Header{Kind: KindSetStatus, Count: 1}), "a", 9),
		"bad asset":       AppendAsset(AppendHeader(nil, Header{Kind: KindCreateAssets, Count: 1}), "asset-1.2", 2),
		"long asset":      AppendAsset(AppendHeader(nil, Header{Kind: KindCreateAssets, Count: 1}), strings.Repeat("A", 33), 2),
		"sixteen digits":  AppendAsset(AppendHeader(nil, Header{Kind: KindCreateAssets, Count: 1}), "A", 16),
		"bad tenant":      AppendName(AppendHeader(nil, Header{Kind: KindCreateTenants, Count: 1}), "/"),
	} {
		if got := Code(m.Apply(nil, rsm.Batch{Data: batch})[0]); got != Malformed {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if got := Code(m.Apply(nil, rsm.Batch{Data: append(AppendHeader(nil, Header{Kind: KindTransfers, Tenant: 5, Count: 1}), good...)})[0]); got != UnknownTenant {
		t.Errorf("tenant 5: got %v", got)
	}
	if diff := cmp.Diff(before, describe(m)); diff != "" {
		t.Errorf("state changed: %s", diff)
	}
}

func TestTenantsAreApart(t *testing.T) {
	m := NewMachine(nil)
	openAccount(t, m, "a", usd, Unlimited)
	openAccount(t, m, "b", usd, 0)
	do(t, m, KindCreateTenants, AppendName(nil, "other"))
	in := func(kind Kind, cmd []byte) []byte {
		return m.Apply(nil, rsm.Batch{Data: append(AppendHeader(nil, Header{kind, 1, 1}), cmd...)})
	}
	if got := Code(in(KindTransfers, AppendHandleTransfer(nil, &HandleTransfer{txid(1), 1, 2, 5, usd}))[0]); got != UnknownAccount {
		t.Errorf("handles of another tenant: got %v", got)
	}
	if got := ParseOpened(in(KindOpenAccounts, AppendAccount(nil, &NewAccount{"a", jpy, 0}))); got != (Opened{Handle: 3, Code: Applied}) {
		t.Errorf("the same id in another tenant: got %v", got)
	}
	if got := do(t, m, KindTransfers, AppendHandleTransfer(nil, &HandleTransfer{txid(1), 1, 2, 5, usd})); got != Applied {
		t.Errorf("a transaction id that another tenant used: got %v", got)
	}
}

// TestOpenAgain opens an account that exists: it is there once, and a closed one
// does not come back.
func TestOpenAgain(t *testing.T) {
	m := NewMachine(nil)
	open := func(c money.Currency, smallest money.Amount) Opened {
		t.Helper()
		batch := AppendAccount(AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: 1}), &NewAccount{"a", c, smallest})
		return ParseOpened(m.Apply(nil, rsm.Batch{Data: batch}))
	}
	if got, want := open(usd, -5), (Opened{Handle: 1, Code: Applied}); got != want {
		t.Errorf("for the first time: got %v, want %v", got, want)
	}
	for _, step := range []struct {
		name   string
		status Status
		open   Opened // with the same content
		other  Code   // with other content
	}{
		{"open", Open, Opened{Handle: 1, Code: Applied, Before: true}, AccountExists},
		{"frozen", Frozen, Opened{Handle: 1, Code: Applied, Before: true}, AccountExists},
		{"closed", Closed, Opened{Code: AccountClosed}, AccountClosed},
	} {
		do(t, m, KindSetStatus, AppendStatus(nil, "a", step.status))
		if got := open(usd, -5); got != step.open {
			t.Errorf("%s: got %v, want %v", step.name, got, step.open)
		}
		if got := open(usd, 0).Code; got != step.other {
			t.Errorf("%s, other limit: got %v, want %v", step.name, got, step.other)
		}
		if got := open(jpy, -5).Code; got != step.other {
			t.Errorf("%s, other currency: got %v, want %v", step.name, got, step.other)
		}
	}
}

func TestManyCurrencies(t *testing.T) {
	m := NewMachine(nil)
	openAccount(t, m, "a", usd, 0)
	var last Code
	added := 0
	for _, c := range money.Currencies() {
		if c == usd {
			continue
		}
		if last = do(t, m, KindAddCurrency, AppendAccount(nil, &NewAccount{"a", c, -5})); last != Applied {
			break
		}
		added++
	}
	if last != LimitReached || added != MaxCurrencies-1 {
		t.Errorf("got %v after %d, want %v after %d", last, added, LimitReached, MaxCurrencies-1)
	}
	if n := len(m.account(1).Balances); n != MaxCurrencies {
		t.Errorf("the account holds %d currencies, want %d", n, MaxCurrencies)
	}
}

// TestSnapshotWhileTablesGrow gives a snapshot of tables of many chunks piece
// by piece while transfers and openings go on, and compares it with the state
// at its beginning.
func TestSnapshotWhileTablesGrow(t *testing.T) {
	m := NewMachine(nil)
	openMany(t, m, 3*chunkRows+5)
	r := rand.New(rand.NewPCG(1, 2))
	var ids uint64
	change := func() {
		batch := AppendHeader(nil, Header{Kind: KindTransfers, Count: 700})
		for range 700 {
			ids++
			n := int(m.accounts.len)
			batch = AppendHandleTransfer(batch, &HandleTransfer{txid(ids), Handle(1 + r.IntN(n)), Handle(1 + r.IntN(n)), 1, usd})
		}
		m.Apply(nil, rsm.Batch{Data: batch})
		openAccount(t, m, AccountID(fmt.Sprintf("new-%d", ids)), usd, 0)
		do(t, m, KindAddCurrency, AppendAccount(nil, &NewAccount{AccountID(fmt.Sprintf("acct-%d", 1+r.IntN(chunkRows))), jpy, 0}))
		if ids%3 == 0 {
			do(t, m, KindCreateTenants, AppendName(nil, fmt.Sprintf("t%d", ids)))
		}
	}
	for range 20 {
		change()
	}
	for round := range 3 {
		want := describe(m)
		s := m.Snapshot()
		var image []byte
		for more := true; more; {
			change()
			image, more = s.Next(image, 50_000)
		}
		s.Close()
		restored := NewMachine(nil)
		if err := restored.Restore(bytes.NewReader(image)); err != nil {
			t.Fatal(err)
		}
		if got := describe(restored); got != want {
			t.Fatalf("round %d: the restored state is not the one at the beginning", round)
		}
	}
}

// TestMemory holds the tables to what DESIGN.md promises, at every size on the way.
func TestMemory(t *testing.T) {
	m := NewMachine(nil)
	const n = 1_000_000
	worst := 0.0
	ids := &m.tenants[0].ids
	for i := uint64(1); i <= n; i++ {
		k := key{i, i * hash7}
		h := ids.hash(k)
		e, free := ids.find(k, h)
		if e != nil {
			t.Fatalf("id %d is there already", i)
		}
		ids.add(k, h, i<<8|1, free)
		if per := float64(ids.bytes()) / float64(i); i >= n/2 && i%997 == 0 {
			if per > 32 {
				t.Fatalf("of %d, an id takes %.1f bytes, want at most 32", i, per)
			}
			worst = max(worst, per)
		}
	}
	t.Logf("a transaction id takes up to %.1f bytes", worst)
	openMany(t, m, n)
	metrics := m.Metrics()
	per := float64(metrics.TableBytes-ids.bytes()) / n
	t.Logf("an account with an id of 11 characters takes %.1f bytes", per)
	if longest := per + MaxAccountIDBytes - 11; longest > 160 {
		t.Errorf("an account with the longest id takes %.1f bytes, want at most 160", longest)
	}
	for i := uint64(1); i <= n; i++ {
		k := key{i, i * hash7}
		if e, _ := ids.find(k, ids.hash(k)); e == nil || e.meta != i<<8|1 {
			t.Fatalf("id %d is lost", i)
		}
	}
}
