package wallet_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
)

var (
	usd = money.MustParseCurrency("USD")
	jpy = money.MustParseCurrency("JPY")
)

// start runs a service on a node.
func start(tb testing.TB, fs vfs.FS) (*wallet.Service, *rsmraft.Group) {
	tb.Helper()
	m := wallet.NewMachine(nil)
	node, err := rsmraft.OpenAlone("data", m, &rsmraft.Options{FS: fs, SnapshotBytes: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = node.Close() })
	return wallet.NewService(node, m), node
}

func id(n int) (id wallet.TransactionID) {
	id[0], id[1], id[15] = byte(n), byte(n>>8), 1
	return id
}

func must(tb testing.TB, code wallet.Code, err error) {
	tb.Helper()
	if err != nil || code != wallet.Applied {
		tb.Fatalf("got %v, %v, want applied", code, err)
	}
}

func mustOpen(tb testing.TB, s *wallet.Service, name wallet.AccountID, smallest money.Amount) {
	tb.Helper()
	o, err := s.OpenAccount(tb.Context(), wallet.DefaultTenant, wallet.NewAccount{ID: name, Currency: usd, Min: smallest})
	must(tb, o.Code, err)
}

// TestLifeOfAnAccount goes through everything that can be done with one, with a
// restart after each step: the first from the log, the next from a snapshot.
func TestLifeOfAnAccount(t *testing.T) {
	fs, ctx, d := vfs.NewMem(), t.Context(), wallet.DefaultTenant
	s, node := start(t, fs)
	steps := []struct {
		name string
		do   func() (wallet.Code, error)
		want wallet.Code
	}{
		{"open the bank", func() (wallet.Code, error) {
			o, err := s.OpenAccount(ctx, d, wallet.NewAccount{ID: "bank", Currency: usd, Min: wallet.Unlimited})
			return o.Code, err
		}, wallet.Applied},
		{"open", func() (wallet.Code, error) {
			o, err := s.OpenAccount(ctx, d, wallet.NewAccount{ID: "alice", Currency: usd})
			return o.Code, err
		}, wallet.Applied},
		{"open with other content", func() (wallet.Code, error) {
			o, err := s.OpenAccount(ctx, d, wallet.NewAccount{ID: "alice", Currency: jpy})
			return o.Code, err
		}, wallet.AccountExists},
		{"overdraw", func() (wallet.Code, error) { return transfer(ctx, s, 1, "alice", "bank", 5) }, wallet.InsufficientFunds},
		{"give credit", func() (wallet.Code, error) { return s.SetLimit(ctx, d, "alice", usd, -10) }, wallet.Applied},
		{"use credit", func() (wallet.Code, error) { return transfer(ctx, s, 2, "alice", "bank", 10) }, wallet.Applied},
		{"the first refusal stands", func() (wallet.Code, error) { return transfer(ctx, s, 1, "alice", "bank", 5) }, wallet.InsufficientFunds},
		{"take credit back", func() (wallet.Code, error) { return s.SetLimit(ctx, d, "alice", usd, 0) }, wallet.Applied},
		{"pay in part", func() (wallet.Code, error) { return transfer(ctx, s, 3, "bank", "alice", 4) }, wallet.Applied},
		{"still below", func() (wallet.Code, error) { return transfer(ctx, s, 4, "alice", "bank", 1) }, wallet.InsufficientFunds},
		{"limit of a currency not held", func() (wallet.Code, error) { return s.SetLimit(ctx, d, "alice", jpy, 0) }, wallet.CurrencyNotHeld},
		{"add a currency", func() (wallet.Code, error) { return s.AddCurrency(ctx, d, "alice", jpy, -7) }, wallet.Applied},
		{"again", func() (wallet.Code, error) { return s.AddCurrency(ctx, d, "alice", jpy, -7) }, wallet.Applied},
		{"again, otherwise", func() (wallet.Code, error) { return s.AddCurrency(ctx, d, "alice", jpy, 0) }, wallet.CurrencyExists},
		{"freeze", func() (wallet.Code, error) { return s.SetStatus(ctx, d, "alice", wallet.Frozen) }, wallet.Applied},
		{"pay while frozen", func() (wallet.Code, error) { return transfer(ctx, s, 5, "bank", "alice", 6) }, wallet.AccountFrozen},
		{"unfreeze", func() (wallet.Code, error) { return s.SetStatus(ctx, d, "alice", wallet.Open) }, wallet.Applied},
		{"close too early", func() (wallet.Code, error) { return s.SetStatus(ctx, d, "alice", wallet.Closed) }, wallet.BalanceNotZero},
		{"pay the rest", func() (wallet.Code, error) { return transfer(ctx, s, 6, "bank", "alice", 6) }, wallet.Applied},
		{"close", func() (wallet.Code, error) { return s.SetStatus(ctx, d, "alice", wallet.Closed) }, wallet.Applied},
		{"open again", func() (wallet.Code, error) { return s.SetStatus(ctx, d, "alice", wallet.Open) }, wallet.AccountClosed},
		{"pay when closed", func() (wallet.Code, error) { return transfer(ctx, s, 7, "bank", "alice", 1) }, wallet.AccountClosed},
		{"limit when closed", func() (wallet.Code, error) { return s.SetLimit(ctx, d, "alice", usd, 0) }, wallet.AccountClosed},
		{"somebody else", func() (wallet.Code, error) { return s.SetStatus(ctx, d, "bob", wallet.Frozen) }, wallet.UnknownAccount},
		{"another tenant", func() (wallet.Code, error) { return s.SetStatus(ctx, "acme", "alice", wallet.Frozen) }, wallet.UnknownTenant},
	}
	for i, step := range steps {
		code, err := step.do()
		if err != nil || code != step.want {
			t.Fatalf("%s: got %v, %v, want %v", step.name, code, err, step.want)
		}
		before, _, err := s.Account(ctx, d, "alice")
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := node.Snapshot(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := node.Close(); err != nil {
			t.Fatal(err)
		}
		s, node = start(t, fs)
		after, _, err := s.Account(ctx, d, "alice")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Fatalf("%s, after a restart (-before +after):\n%s", step.name, diff)
		}
	}
}

func transfer(ctx context.Context, s *wallet.Service, n int, from, to wallet.AccountID, amount money.Amount) (wallet.Code, error) {
	r, err := s.Transfer(ctx, wallet.DefaultTenant, wallet.Transfer{ID: id(n), From: from, To: to, Amount: amount, Currency: usd})
	return r.Code(), err
}

func TestDecision(t *testing.T) {
	s, _ := start(t, vfs.NewMem())
	mustOpen(t, s, "bank", wallet.Unlimited)
	mustOpen(t, s, "alice", 0)
	if _, err := s.CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	results, err := s.Transfers(t.Context(), wallet.DefaultTenant, []wallet.Transfer{
		{ID: id(1), From: "bank", To: "alice", Amount: 5, Currency: usd},
		{ID: id(2), From: "alice", To: "bank", Amount: 6, Currency: usd},
		{ID: id(1), From: "bank", To: "alice", Amount: 5, Currency: usd},
		{ID: id(1), From: "bank", To: "alice", Amount: 6, Currency: usd},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprint(r.Code(), r.Repeated()))
	}
	if diff := cmp.Diff([]string{"applied false", "insufficient_funds false", "applied true", "transaction_id_reused false"}, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		tenant wallet.Tenant
		n      int
		want   wallet.Code
	}{
		{"default", 1, wallet.Applied},
		{"default", 2, wallet.InsufficientFunds},
		{"default", 3, wallet.Undecided},
		{"acme", 1, wallet.Undecided},
		{"nobody", 1, wallet.UnknownTenant},
	} {
		if code, err := s.Decision(t.Context(), tt.tenant, id(tt.n)); err != nil || code != tt.want {
			t.Errorf("%s, %d: got %v, %v, want %v", tt.tenant, tt.n, code, err, tt.want)
		}
	}
}

func TestMalformedInputIsNotProposed(t *testing.T) {
	s, node := start(t, vfs.NewMem())
	ctx, d := t.Context(), wallet.DefaultTenant
	good := wallet.Transfer{ID: id(1), From: "a", To: "b", Amount: 1, Currency: usd}
	with := func(change func(*wallet.Transfer)) func() error {
		v := good
		change(&v)
		return func() error { _, err := s.Transfer(ctx, d, v); return err }
	}
	long := wallet.AccountID(make([]byte, 65))
	for name, tt := range map[string]struct {
		call func() error
		want error
	}{
		"no id":                  {with(func(v *wallet.Transfer) { v.ID = wallet.TransactionID{} }), wallet.ErrTransactionID},
		"no payer":               {with(func(v *wallet.Transfer) { v.From = "" }), wallet.ErrAccountID},
		"a space":                {with(func(v *wallet.Transfer) { v.To = "a b" }), wallet.ErrAccountID},
		"a letter of another":    {with(func(v *wallet.Transfer) { v.To = "é" }), wallet.ErrAccountID},
		"65 characters":          {with(func(v *wallet.Transfer) { v.To = long }), wallet.ErrAccountID},
		"no currency":            {with(func(v *wallet.Transfer) { v.Currency = 0 }), wallet.ErrCurrency},
		"a currency of no land":  {with(func(v *wallet.Transfer) { v.Currency = 1 }), wallet.ErrCurrency},
		"a tenant with a slash":  {func() error { _, err := s.Transfer(ctx, "a/b", good); return err }, wallet.ErrTenant},
		"an empty batch":         {func() error { _, err := s.Transfers(ctx, d, nil); return err }, wallet.ErrBatchSize},
		"a batch too large":      {func() error { _, err := s.Transfers(ctx, d, make([]wallet.Transfer, 8193)); return err }, wallet.ErrBatchSize},
		"one bad of two":         {func() error { _, err := s.Transfers(ctx, d, []wallet.Transfer{good, {}}); return err }, wallet.ErrTransactionID},
		"an account to be shown": {func() error { _, _, err := s.Account(ctx, d, "/"); return err }, wallet.ErrAccountID},
		"a status":               {func() error { _, err := s.SetStatus(ctx, d, "/", wallet.Open); return err }, wallet.ErrAccountID},
		"a limit":                {func() error { _, err := s.SetLimit(ctx, d, "a", 0, 0); return err }, wallet.ErrCurrency},
		"a new tenant":           {func() error { _, err := s.CreateTenant(ctx, ""); return err }, wallet.ErrTenant},
	} {
		if err := tt.call(); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	if n := node.Metrics().Batches; n != 0 {
		t.Errorf("%d proposals, want none", n)
	}
}

func TestTotals(t *testing.T) {
	s, _ := start(t, vfs.NewMem())
	mustOpen(t, s, "bank", wallet.Unlimited)
	mustOpen(t, s, "bank2", wallet.Unlimited)
	mustOpen(t, s, "alice", 0)
	mustOpen(t, s, "bob", 0)
	code, err := s.AddCurrency(t.Context(), wallet.DefaultTenant, "bob", jpy, 0)
	must(t, code, err)
	for i, from := range []wallet.AccountID{"bank", "bank2"} {
		code, err := transfer(t.Context(), s, 1+i, from, []wallet.AccountID{"alice", "bob"}[i], math.MaxInt64)
		must(t, code, err)
	}
	totals, settled, err := s.Totals(t.Context(), wallet.DefaultTenant)
	if err != nil || !settled {
		t.Fatalf("got %v, %v", settled, err)
	}
	got := fmt.Sprint(totals)
	if want := "[{JPY 1 0 0 0} {USD 4 0 18446744073709551614 0}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestReadsSeeWhatWasAnswered checks that an answered transfer is in every
// later read, whoever asks.
func TestReadsSeeWhatWasAnswered(t *testing.T) {
	s, _ := start(t, vfs.NewMem())
	mustOpen(t, s, "bank", wallet.Unlimited)
	var wg sync.WaitGroup
	for i := range 8 {
		name := wallet.AccountID(fmt.Sprintf("a%d", i))
		mustOpen(t, s, name, 0)
		wg.Go(func() {
			for j := range 100 {
				if code, err := transfer(t.Context(), s, 1+i*100+j, "bank", name, 1); err != nil || code != wallet.Applied {
					t.Errorf("transfer: %v, %v", code, err)
				}
				a, _, err := s.Account(t.Context(), wallet.DefaultTenant, name)
				if err != nil || a.Balances[0].Amount != money.Amount(j+1) {
					t.Errorf("balance: got %v, %v, want %d", a.Balances, err, j+1)
				}
			}
		})
	}
	wg.Wait()
	m, err := s.Metrics(t.Context())
	if err != nil || m.Accounts != 9 || m.Transactions != 800 || m.Decided[wallet.Applied] != 800 {
		t.Errorf("metrics: got %+v, %v", m, err)
	}
}

func Example() {
	machine := wallet.NewMachine(nil)
	node, err := rsmraft.OpenAlone("data", machine, &rsmraft.Options{FS: vfs.NewMem()})
	if err != nil {
		panic(err)
	}
	defer func() { _ = node.Close() }()
	service := wallet.NewService(node, machine)

	ctx := context.Background()
	for _, a := range []wallet.NewAccount{
		{ID: "bank", Currency: usd, Min: wallet.Unlimited}, // where money enters and leaves
		{ID: "alice", Currency: usd},
	} {
		if _, err := service.OpenAccount(ctx, wallet.DefaultTenant, a); err != nil {
			panic(err)
		}
	}
	first, _ := wallet.ParseTransactionID("01900000-0000-7000-8000-000000000001")
	second, _ := wallet.ParseTransactionID("01900000-0000-7000-8000-000000000002")
	for _, t := range []wallet.Transfer{
		{ID: first, From: "bank", To: "alice", Amount: 1999, Currency: usd},
		{ID: first, From: "bank", To: "alice", Amount: 1999, Currency: usd}, // again: nothing moves
		{ID: second, From: "alice", To: "bank", Amount: 2000, Currency: usd},
	} {
		result, err := service.Transfer(ctx, wallet.DefaultTenant, t)
		if err != nil {
			panic(err)
		}
		fmt.Println(result.Code())
	}
	alice, _, _ := service.Account(ctx, wallet.DefaultTenant, "alice")
	fmt.Println(alice.Balances[0].Amount.Format(usd), alice.Balances[0].Currency)
	// Output:
	// applied
	// applied
	// insufficient_funds
	// 19.99 USD
}
