package wallet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"maru.example/money"
	"maru.example/vfs"
	"maru.example/wallet"
)

// TestDividedTransactions makes transactions between accounts of four partitions from
// several goroutines, and takes half of them back: the balances are those of the rest.
func TestDividedTransactions(t *testing.T) {
	for _, protocol := range []wallet.Protocol{wallet.TCC, wallet.Saga, wallet.TwoPhase} {
		t.Run(protocol.String(), func(t *testing.T) {
			s, _ := divided(t, vfs.NewMem(), 4, protocol)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			const accounts, callers, each = 12, 4, 20
			name := func(i int) wallet.AccountID { return wallet.AccountID(fmt.Sprint("a", i)) }
			for i := range accounts {
				o, err := s.OpenAccount(ctx, wallet.DefaultTenant, wallet.NewAccount{ID: name(i), Currency: usd, Min: wallet.Unlimited})
				if err != nil || o.Code != wallet.Applied {
					t.Fatalf("open: %v, %v", o.Code, err)
				}
			}
			var mu sync.Mutex
			want := map[wallet.AccountID]money.Amount{}
			apply := func(v *wallet.Transaction) {
				r, err := s.Transact(ctx, wallet.DefaultTenant, v)
				if err != nil || r != wallet.Result(wallet.Applied) {
					t.Errorf("%v: %v, %v", v.ID, r.Code(), err)
				}
				if r, err = s.Transact(ctx, wallet.DefaultTenant, v); err != nil || r != wallet.Repeat(wallet.Applied) {
					t.Errorf("%v again: %v, %v", v.ID, r.Code(), err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, p := range v.Postings {
					want[p.Account] += p.Amount
				}
			}
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(1, uint64(c)))
					for i := range each {
						v := &wallet.Transaction{ID: wallet.TransactionID{1, byte(c), byte(i)}, Reference: fmt.Sprint(i)}
						for range 1 + r.IntN(4) {
							a := money.Amount(1 + r.IntN(100))
							v.Postings = append(v.Postings, wallet.Posting{Account: name(r.IntN(accounts)), Amount: -a, Currency: usd},
								wallet.Posting{Account: name(r.IntN(accounts)), Amount: a, Currency: usd})
						}
						apply(v)
						if i%2 == 0 {
							apply(v.Original().Reverse(wallet.TransactionID{2, byte(c), byte(i)}))
						}
					}
				})
			}
			wg.Wait()
			for i := range accounts {
				if a, _, err := s.Account(ctx, wallet.DefaultTenant, name(i)); err != nil || a.Balances[0].Amount != want[name(i)] {
					t.Errorf("%s: %+v, %v, want %d", name(i), a.Balances, err, want[name(i)])
				}
			}
			totals, settled, err := s.Totals(ctx, wallet.DefaultTenant)
			if err != nil || !settled || len(totals) != 1 || totals[0].Sum.Sign() != 0 || totals[0].InFlight.Sign() != 0 {
				t.Errorf("totals: %+v, %v, %v", totals, settled, err)
			}
		})
	}
}

// TestTransact makes transactions by a Service that are refused before or by a machine,
// and takes a transfer back whose parties are in two partitions.
func TestTransact(t *testing.T) {
	s, _ := divided(t, vfs.NewMem(), 4, wallet.TCC)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, id := range []wallet.AccountID{"a", "b", "c", "d", "e"} {
		if _, err := s.OpenAccount(ctx, wallet.DefaultTenant, wallet.NewAccount{ID: id, Currency: usd, Min: 0}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.OpenAccount(ctx, wallet.DefaultTenant, wallet.NewAccount{ID: "mint", Currency: usd, Min: wallet.Unlimited}); err != nil {
		t.Fatal(err)
	}
	next := byte(0)
	id := func() wallet.TransactionID { next++; return wallet.TransactionID{9, next} }
	postings := func(amounts map[wallet.AccountID]money.Amount) (ps []wallet.Posting) {
		for _, a := range []wallet.AccountID{"mint", "a", "b", "c", "d", "e", "nobody"} {
			if amounts[a] != 0 {
				ps = append(ps, wallet.Posting{Account: a, Amount: amounts[a], Currency: usd})
			}
		}
		return ps
	}
	tr := wallet.Transfer{ID: id(), From: "mint", To: "a", Amount: 50, Currency: usd}
	if r, err := s.Transfer(ctx, wallet.DefaultTenant, tr); err != nil || r.Code() != wallet.Applied {
		t.Fatal(r, err)
	}
	type amounts = map[wallet.AccountID]money.Amount
	o := wallet.OriginalTransfer(&tr)
	for _, tt := range []struct {
		name string
		by   wallet.Protocol
		t    *wallet.Transaction
		want wallet.Code
		err  error
	}{
		{"spread", wallet.NoProtocol, &wallet.Transaction{Postings: postings(amounts{"a": -40, "b": 10, "c": 10, "d": 10, "e": 10})}, wallet.Applied, nil},
		{"collect", wallet.Saga, &wallet.Transaction{Postings: postings(amounts{"b": -10, "c": -10, "d": -10, "e": -10, "a": 40})}, wallet.Applied, nil},
		{"one has too little", wallet.NoProtocol, &wallet.Transaction{Postings: postings(amounts{"a": -20, "b": -1, "c": 21})}, wallet.InsufficientFunds, nil},
		{"one has too little for a saga", wallet.Saga, &wallet.Transaction{Postings: postings(amounts{"a": -20, "b": -1, "c": 21})}, wallet.InsufficientFunds, nil},
		{"unknown", wallet.NoProtocol, &wallet.Transaction{Postings: postings(amounts{"a": -20, "nobody": 20})}, wallet.UnknownAccount, nil},
		{"unbalanced", wallet.NoProtocol, &wallet.Transaction{Postings: postings(amounts{"a": -20, "b": 21})}, wallet.Unbalanced, nil},
		{"two-phase", wallet.TwoPhase, &wallet.Transaction{Postings: postings(amounts{"a": -20, "b": 20})}, 0, wallet.ErrTwoPhase},
		{"malformed", wallet.NoProtocol, &wallet.Transaction{Postings: postings(amounts{"a": -20})}, 0, wallet.ErrPostings},
		{"a part back", wallet.NoProtocol, o.ReversePart(wallet.TransactionID{}, 20), wallet.Applied, nil},
		{"another part back", wallet.Saga, o.ReversePart(wallet.TransactionID{}, 30), wallet.Applied, nil},
		{"too much back", wallet.NoProtocol, o.ReversePart(wallet.TransactionID{}, 1), wallet.OverReversed, nil},
	} {
		tt.t.ID = id()
		r, err := s.TransactBy(ctx, wallet.DefaultTenant, tt.by, tt.t)
		if r.Code() != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %v, %v, want %v, %v", tt.name, r.Code(), err, tt.want, tt.err)
		}
		if code, err := s.Decision(ctx, wallet.DefaultTenant, tt.t.ID); err != nil || code != tt.want {
			t.Errorf("%s: decided: %v, %v", tt.name, code, err)
		}
	}
	if r, err := s.Transact(ctx, "nobody", &wallet.Transaction{ID: id(), Postings: postings(amounts{"a": -20, "b": 20})}); err != nil || r.Code() != wallet.UnknownTenant {
		t.Errorf("unknown tenant: %v, %v", r, err)
	}
}
