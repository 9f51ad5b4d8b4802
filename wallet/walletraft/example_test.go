package walletraft_test

import (
	"context"
	"fmt"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletraft"
)

// A node runs a wallet of two partitions. Of a cluster of several nodes, the
// members would come from its metadata, and some partitions be elsewhere.
func Example() {
	runtime := rsmraft.NewRuntime()
	idle := runtime.NewLoop("idle")
	var host *rsmraft.Host
	theHost := func() *rsmraft.Host { return host }
	logs, parts := make([]*walletraft.Log, 2), make([]*wallet.Partition, 2)
	for i := range parts {
		logs[i] = walletraft.NewLog(theHost, uint16(i), idle)
		parts[i] = wallet.NewPartition(uint16(i), 2, runtime.Rand)
		parts[i].Log = logs[i]
	}
	var service *wallet.Service
	host, err := rsmraft.Open("node", 1, &rsmraft.Options{
		FS: vfs.NewMem(), ReserveBytes: -1, Runtime: runtime,
		Machine: func(id rsmraft.GroupID) rsm.Machine { return parts[id-1].Machine },
		Opened:  func(g *rsmraft.Group) { logs[g.ID()-1].Opened(g) },
		Serve: func(_ rsmraft.NodeID, _ rsmraft.GroupID, request []byte, reply func([]byte, error)) {
			service.Serve(request, reply)
		},
	})
	for i := 0; err == nil && i < len(parts); i++ {
		_, err = host.Begin(walletraft.Group(uint16(i)))
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	members := func(uint16) []rsmraft.NodeID { return []rsmraft.NodeID{1} }
	service = wallet.NewDividedService(parts, &wallet.ServiceOptions{Remote: walletraft.NewRemote(theHost, members)})

	ctx := context.Background()
	eur, _ := money.ParseCurrency("EUR")
	for _, id := range []wallet.AccountID{"bank", "bob"} {
		o, err := service.OpenAccount(ctx, wallet.DefaultTenant, wallet.NewAccount{ID: id, Currency: eur, Min: wallet.Unlimited})
		fmt.Println(id, "is in partition", o.Handle.Partition(), o.Code, err)
	}
	result, err := service.Transfer(ctx, wallet.DefaultTenant, wallet.Transfer{ID: wallet.TransactionID{1}, From: "bank", To: "bob", Amount: 500, Currency: eur})
	fmt.Println(result.Code(), err)
	fmt.Println(host.Close())
	runtime.Close()
	// Output:
	// bank is in partition 1 applied <nil>
	// bob is in partition 0 applied <nil>
	// applied <nil>
	// <nil>
}
