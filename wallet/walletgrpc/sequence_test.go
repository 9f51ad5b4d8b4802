package walletgrpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

// cutAfter runs a proxy to a server that cuts its first connection after so many
// bytes from the client.
func cutAfter(t *testing.T, addr string, bytes int64) (proxy string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	pass := func(client net.Conn, bytes int64) {
		server, err := net.Dial("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		go func() { _, _ = io.Copy(client, server) }() // ends with the connections
		_, _ = io.CopyN(server, client, bytes)
		_ = server.Close()
		_ = client.Close()
	}
	go func() {
		for ; ; bytes = 1 << 62 {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go pass(client, bytes)
		}
	}()
	return l.Addr().String()
}

// openChain opens the account 1, without limit, and n others that start at zero.
func openChain(t *testing.T, c *walletgrpc.Client, n int) {
	t.Helper()
	as := []wallet.NewAccount{{ID: "bank", Currency: usd, Min: wallet.Unlimited}}
	for i := range n {
		as = append(as, wallet.NewAccount{ID: wallet.AccountID("link" + string(rune('a'+i))), Currency: usd})
	}
	if _, err := c.OpenAccounts(t.Context(), as); err != nil {
		t.Fatal(err)
	}
}

// chainBatch is the i-th batch of a chain: it passes on what the batch before brought.
func chainBatch(i int) []wallet.HandleTransfer {
	ts := make([]wallet.HandleTransfer, wallet.MaxBatch)
	for j := range ts {
		ts[j] = wallet.HandleTransfer{
			ID:   txid(uint64(i*wallet.MaxBatch + j + 1)),
			From: wallet.Handle(i + 1), To: wallet.Handle(i + 2), Amount: 1, Currency: usd,
		}
	}
	return ts
}

// sendChain starts the batches from first on and returns how many of them were
// answered before the first failure. All results must be "applied".
func sendChain(t *testing.T, c *walletgrpc.Client, first, end int) (answered int, err error) {
	t.Helper()
	seq, err := c.Sequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var started []*walletgrpc.Pending
	for i := first; i < end; i++ {
		p, err := seq.Start(t.Context(), chainBatch(i))
		if err != nil {
			t.Fatal(err)
		}
		started = append(started, p)
	}
	for i, p := range started {
		results, waitErr := p.Wait(t.Context(), nil)
		switch {
		case waitErr != nil && err == nil:
			err = waitErr
		case waitErr == nil && err != nil:
			t.Errorf("batch %d was answered, though one before it was not: %v", first+i, err)
		case waitErr == nil:
			answered++
		}
		for _, r := range results {
			if r.Code() != wallet.Applied {
				t.Fatalf("batch %d: a transfer is %v: it was decided before the batch that brings its money", first+i, r.Code())
			}
		}
	}
	return answered, err
}

func TestSequenceKeepsTheOrder(t *testing.T) {
	const batches = 24
	client, _ := start(t, vfs.NewMem(), "data", nil)
	openChain(t, client, batches)
	if n, err := sendChain(t, client, 0, batches); n != batches || err != nil {
		t.Errorf("%d batches of %d were answered: %v", n, batches, err)
	}
}

// TestSequenceEndsWithItsStream cuts the connection behind some batches: nothing
// overtakes the batches that were lost, though the client has a new stream.
func TestSequenceEndsWithItsStream(t *testing.T) {
	const batches = 12
	first, service := start(t, vfs.NewMem(), "data", nil)
	openChain(t, first, batches)
	client, err := walletgrpc.Dial(t.Context(), cutAfter(t, serve(t, service, nil), 4*wallet.MaxBatch*wallet.RecordBytes), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	lost, err := client.Sequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answered, err := sendChain(t, client, 0, batches)
	if err == nil || answered >= 4 {
		t.Fatalf("%d batches were answered, error %v, want fewer than 4 and an error", answered, err)
	}
	if _, err := client.Lookup(t.Context(), []wallet.AccountID{"bank"}); err != nil {
		t.Errorf("another call, by a new stream: %v", err)
	}
	p, err := lost.Start(t.Context(), chainBatch(batches-1))
	if err == nil {
		_, err = p.Wait(t.Context(), nil)
	}
	if err == nil {
		t.Error("a batch of a sequence whose stream is gone was answered")
	}
	if n, err := sendChain(t, client, answered, batches); n != batches-answered || err != nil {
		t.Errorf("again, from batch %d on: %d were answered, %v", answered, n, err)
	}
}

// TestCloseDoesNotWaitForAServerThatHangs closes a client with more under way
// than the connection takes.
func TestCloseDoesNotWaitForAServerThatHangs(t *testing.T) {
	release := make(chan struct{})
	disk := vfs.NewFaulty(vfs.NewMem(), nil)
	first, service := start(t, disk, "data", nil)
	open(t, first, 2)
	client, err := walletgrpc.Dial(t.Context(), serve(t, service, nil), &walletgrpc.ClientOptions{InFlight: walletgrpc.MaxInFlight})
	if err != nil {
		t.Fatal(err)
	}
	disk.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpSync {
			return vfs.Fault{Wait: release}
		}
		return vfs.Fault{}
	})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	seq, err := client.Sequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var pending []*walletgrpc.Pending
	for range walletgrpc.MaxInFlight {
		p, err := seq.Start(t.Context(), chainBatch(0))
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := seq.Start(ctx, chainBatch(0)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one more than may be under way: got %v", err)
	}
	if _, err := pending[0].Wait(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait until a deadline: got %v", err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	for i, p := range pending {
		if _, err := p.Wait(t.Context(), nil); !errors.Is(err, walletgrpc.ErrClosed) {
			t.Fatalf("batch %d, after Close: got %v, want %v", i, err, walletgrpc.ErrClosed)
		}
	}
	if _, err := seq.Start(t.Context(), chainBatch(0)); !errors.Is(err, walletgrpc.ErrClosed) {
		t.Errorf("start after Close: got %v, want %v", err, walletgrpc.ErrClosed)
	}
}
