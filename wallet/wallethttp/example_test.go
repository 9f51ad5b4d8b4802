package wallethttp_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"maru.example/money"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// A wallet in memory, served and called.
func Example() {
	machine := wallet.NewMachine(nil)
	node, err := rsmraft.OpenAlone("wallet", machine, &rsmraft.Options{FS: vfs.NewMem(), ReserveBytes: -1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	server := httptest.NewServer(wallethttp.NewHandler(wallet.NewService(node, machine), nil))
	defer server.Close()

	ctx := context.Background()
	client, err := wallethttp.NewClient(server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	usd := money.MustParseCurrency("USD")
	for _, a := range []wallet.NewAccount{{ID: "bank", Currency: usd, Min: wallet.Unlimited}, {ID: "alice", Currency: usd}} {
		if _, code, err := client.OpenAccount(ctx, a); err != nil || code != wallet.Applied {
			fmt.Println(code, err)
			return
		}
	}
	payday := wallet.Transfer{ID: wallet.TransactionID{15: 1}, From: "bank", To: "alice", Amount: 10_50, Currency: usd}
	for range 2 {
		result, err := client.Transfer(ctx, payday)
		fmt.Println(result.Code(), result.Repeated(), err)
	}
	alice, _, err := client.Account(ctx, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(alice.Balances[0].Amount.Format(usd))
	// Output:
	// applied false <nil>
	// applied true <nil>
	// 10.50
}
