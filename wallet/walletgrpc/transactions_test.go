package walletgrpc_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"maru.example/money"
	"maru.example/vfs"
	"maru.example/wallet"
)

func TestTransact(t *testing.T) {
	client, _ := start(t, vfs.NewMem(), "data", nil)
	if _, err := client.OpenAccounts(t.Context(), []wallet.NewAccount{
		{ID: "bank", Currency: usd, Min: wallet.Unlimited}, {ID: "alice", Currency: usd}, {ID: "bob", Currency: usd},
	}); err != nil {
		t.Fatal(err)
	}
	postings := func(bank, alice, bob money.Amount) []wallet.Posting {
		return []wallet.Posting{{Account: "bank", Amount: bank, Currency: usd}, {Account: "alice", Amount: alice, Currency: usd}, {Account: "bob", Amount: bob, Currency: usd}}
	}
	first := wallet.Transaction{ID: txid(1), Postings: postings(-10, 6, 4), Reference: "order", Metadata: wallet.Metadata{"k": "v"}}
	results, err := client.Transact(t.Context(), []wallet.Transaction{
		first, first, {ID: txid(2), Postings: postings(1, -7, 6)}, {ID: txid(3), Postings: postings(1, 1, 1)}, *first.Original().Reverse(txid(4)),
	})
	want := []wallet.Result{
		wallet.Result(wallet.Applied), wallet.Repeat(wallet.Applied), wallet.Result(wallet.InsufficientFunds),
		wallet.Result(wallet.Unbalanced), wallet.Result(wallet.Applied),
	}
	if err != nil || !slices.Equal(results, want) {
		t.Errorf("got %v, %v, want %v", results, err, want)
	}
	large := wallet.Transaction{ID: txid(5), Postings: postings(-10, 6, 4), Metadata: wallet.Metadata{"k": strings.Repeat("x", 1000)}}
	for name, ts := range map[string][]wallet.Transaction{
		"none": nil, "too many": make([]wallet.Transaction, wallet.MaxBatch+1), "too large": slices.Repeat([]wallet.Transaction{large}, 2000),
	} {
		if _, err := client.Transact(t.Context(), ts); !errors.Is(err, wallet.ErrBatchSize) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := client.Transact(t.Context(), make([]wallet.Transaction, 1)); !errors.Is(err, wallet.ErrTransactionID) {
		t.Errorf("malformed: got %v", err)
	}
}
