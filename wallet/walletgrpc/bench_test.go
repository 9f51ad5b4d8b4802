package walletgrpc_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"maru.example/money"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

var usd = money.MustParseCurrency("USD")

// start runs a wallet on a node in a directory, with a server and a client of its stream.
func start(tb testing.TB, fs vfs.FS, dir string, o *walletgrpc.ClientOptions) (*walletgrpc.Client, *wallet.Service) {
	tb.Helper()
	m := wallet.NewMachine(nil)
	node, err := rsmraft.OpenAlone(dir, m, &rsmraft.Options{FS: fs})
	if err != nil {
		tb.Fatal(err)
	}
	service := wallet.NewService(node, m)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := walletgrpc.NewServer(service, nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	client, err := walletgrpc.Dial(tb.Context(), l.Addr().String(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Error(err)
		}
		if err := server.Shutdown(tb.Context()); err != nil && tb.Context().Err() == nil {
			tb.Error(err)
		}
		if err := <-served; err != nil {
			tb.Error(err)
		}
		if err := node.Close(); err != nil {
			tb.Error(err)
		}
	})
	return client, service
}

// open opens n accounts without limit, whose handles are 1 to n.
func open(tb testing.TB, c *walletgrpc.Client, n int) {
	tb.Helper()
	for at := 0; at < n; {
		as := make([]wallet.NewAccount, min(wallet.MaxBatch, n-at))
		for i := range as {
			at++
			as[i] = wallet.NewAccount{ID: wallet.AccountID(fmt.Sprintf("a%d", at)), Currency: usd, Min: wallet.Unlimited}
		}
		opened, err := c.OpenAccounts(tb.Context(), as)
		if err != nil {
			tb.Fatal(err)
		}
		for _, o := range opened {
			if o.Code != wallet.Applied {
				tb.Fatalf("open: %v", o.Code)
			}
		}
	}
}

// BenchmarkTransfers sends full batches through the stream, durably, server and
// client in one process.
func BenchmarkTransfers(b *testing.B) {
	const accounts, clients = 1_000_000, 8
	client, _ := start(b, vfs.OS(), b.TempDir(), nil)
	open(b, client, accounts)
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(b.N), uint64(i)))
			ts := make([]wallet.HandleTransfer, wallet.MaxBatch)
			var results []wallet.Result
			for next.Add(wallet.MaxBatch) <= int64(b.N)+wallet.MaxBatch {
				for j := range ts {
					ts[j] = wallet.HandleTransfer{
						From: wallet.Handle(1 + r.IntN(accounts/2)), To: wallet.Handle(1 + accounts/2 + r.IntN(accounts/2)),
						Amount: 1, Currency: usd,
					}
					binary.LittleEndian.PutUint64(ts[j].ID[:], r.Uint64())
					binary.LittleEndian.PutUint64(ts[j].ID[8:], r.Uint64())
				}
				var err error
				if results, err = client.Transfers(b.Context(), results[:0], ts); err != nil {
					b.Error(err)
					return
				}
				for _, r := range results {
					if r.Code() != wallet.Applied {
						b.Errorf("code %v", r.Code())
						return
					}
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "transfers/s")
}
