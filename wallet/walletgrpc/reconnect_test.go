package walletgrpc_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

func TestCloseTwice(t *testing.T) {
	client, _ := start(t, vfs.NewMem(), "data", nil)
	for range 2 {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRevokedKey checks that a stream that is open ends when its key is revoked.
func TestRevokedKey(t *testing.T) {
	first, service := start(t, vfs.NewMem(), "data", nil)
	open(t, first, 2)
	var revoked atomic.Bool
	addr := serve(t, service, &walletgrpc.ServerOptions{
		Authorize: func(context.Context, string, string) (wallet.Tenant, error) {
			if revoked.Load() {
				return "", walletgrpc.ErrUnauthenticated
			}
			return wallet.DefaultTenant, nil
		},
		AuthorizeEvery: time.Millisecond,
	})
	client, err := walletgrpc.Dial(t.Context(), addr, &walletgrpc.ClientOptions{APIKey: "key"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	transfer := func(n uint64) error {
		_, err := client.TransferByHandle(t.Context(), wallet.HandleTransfer{ID: txid(n), From: 1, To: 2, Amount: 1, Currency: usd})
		return err
	}
	if err := transfer(1); err != nil {
		t.Fatal(err)
	}
	revoked.Store(true)
	n := uint64(1)
	for err == nil && t.Context().Err() == nil {
		n++
		err = transfer(n)
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v, want %v", err, codes.Unauthenticated)
	}
	if code, err := service.Decision(t.Context(), wallet.DefaultTenant, txid(n)); err != nil || code != wallet.Undecided {
		t.Errorf("what was refused is %v, %v", code, err)
	}
}

// TestOtherServer checks that a client does not keep handles when another server
// answers at the address, one that has given them to other accounts.
func TestOtherServer(t *testing.T) {
	run := func(addr string, names ...wallet.AccountID) (string, *wallet.Service, func()) {
		machine := wallet.NewMachine(nil)
		node, err := rsmraft.OpenAlone("data", machine, &rsmraft.Options{FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		service := wallet.NewService(node, machine)
		for _, n := range names {
			if _, err := service.OpenAccount(t.Context(), wallet.DefaultTenant, wallet.NewAccount{ID: n, Currency: usd, Min: wallet.Unlimited}); err != nil {
				t.Fatal(err)
			}
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		server := walletgrpc.NewServer(service, nil)
		go func() { _ = server.Serve(l) }()
		return l.Addr().String(), service, func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = server.Shutdown(ctx)
		}
	}
	addr, _, stop := run("127.0.0.1:0", "alice", "bob")
	client, err := walletgrpc.Dial(t.Context(), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	v := wallet.Transfer{ID: txid(1), From: "alice", To: "bob", Amount: 1, Currency: usd}
	if _, err := client.Transfer(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	stop()
	_, service, stop := run(addr, "bob", "alice")
	defer stop()
	v.ID = txid(2)
	for {
		r, err := client.Transfer(t.Context(), v)
		if err != nil && t.Context().Err() == nil {
			continue // until it has noticed the other server
		}
		if err != nil || r.Code() != wallet.Applied {
			t.Fatal(r.Code(), err)
		}
		break
	}
	bob, _, err := service.Account(t.Context(), wallet.DefaultTenant, "bob")
	if err != nil || bob.Balances[0].Amount != 1 {
		t.Errorf("alice paid bob 1; bob has %v, %v", bob.Balances, err)
	}
}
