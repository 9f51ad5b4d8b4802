package walletpebble_test

import (
	"context"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/walletpebble"
)

// opening is the only entry of a log: it opens an account. A feed of a running group is
// another source.
type opening struct{ given bool }

func (o *opening) Next(ctx context.Context) (rsm.Decided, error) {
	if o.given {
		<-ctx.Done()
		return rsm.Decided{}, ctx.Err()
	}
	o.given = true
	data := wallet.AppendHeader(nil, wallet.Header{Kind: wallet.KindOpenAccounts, Count: 1})
	data = wallet.AppendAccount(data, &wallet.NewAccount{ID: "alice", Currency: money.MustParseCurrency("USD")})
	m := wallet.NewMachine(nil)
	results := m.Apply(nil, rsm.Batch{Index: 1, Time: 1, Data: data})
	return rsm.Decided{
		Index: 1, Time: 1, Entry: rsm.AppendEntry(nil, 1, []*rsm.Proposal{{Data: data}}),
		Decision: rsm.AppendDecision(nil, []rsm.DecidedBatch{{Results: results, Effects: m.Effects()}}),
	}, nil
}

func (o *opening) Close() error { return nil }

func Example() {
	store, err := walletpebble.Open("history", &walletpebble.Options{FS: vfs.NewMem()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	err = store.Follow(walletpebble.Partition{Open: func(rsm.Index) (walletpebble.Source, error) { return &opening{}, nil }})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := store.Wait(context.Background(), wallet.HistoryPosition{Index: 1}); err != nil {
		fmt.Println(err)
		return
	}
	alice := wallet.Handle(1)
	now, err := store.BalancesAt(alice, math.MaxInt64)
	fmt.Println(now.Balances, "as of", now.Mark, err)
	// Output: [{USD 0}] as of 0:1 <nil>
}
