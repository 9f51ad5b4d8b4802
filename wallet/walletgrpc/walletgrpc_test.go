package walletgrpc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

func txid(n uint64) (id wallet.TransactionID) {
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

func TestTransfersFromManyGoroutines(t *testing.T) {
	client, service := start(t, vfs.NewMem(), "data", nil)
	open(t, client, 10)
	const callers, each = 32, 50
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := range each {
				v := wallet.Transfer{ID: txid(uint64(1 + i*each + j)), From: "a1", To: "a2", Amount: 1, Currency: usd}
				for _, again := range []bool{false, true} {
					r, err := client.Transfer(t.Context(), v)
					if err != nil || r.Code() != wallet.Applied || r.Repeated() != again {
						t.Errorf("transfer: got %v, repeated %v, %v", r.Code(), r.Repeated(), err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	a, _, err := service.Account(t.Context(), wallet.DefaultTenant, "a2")
	if err != nil || a.Balances[0].Amount != callers*each {
		t.Errorf("balance: got %v, %v, want %d", a.Balances, err, callers*each)
	}
}

func TestBatches(t *testing.T) {
	client, _ := start(t, vfs.NewMem(), "data", nil)
	opened, err := client.OpenAccounts(t.Context(), []wallet.NewAccount{
		{ID: "bank", Currency: usd, Min: wallet.Unlimited}, {ID: "alice", Currency: usd}, {ID: "alice", Currency: usd}, {ID: "bank", Currency: usd},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(opened); got != "[{1 applied false} {2 applied false} {2 applied true} {0 account_exists false}]" {
		t.Errorf("open: got %s", got)
	}
	handles, err := client.Lookup(t.Context(), []wallet.AccountID{"alice", "nobody", "bank"})
	if err != nil || fmt.Sprint(handles) != "[2 0 1]" {
		t.Errorf("look up: got %v, %v", handles, err)
	}
	results, err := client.Transfers(t.Context(), nil, []wallet.HandleTransfer{
		{ID: txid(1), From: 1, To: 2, Amount: 100, Currency: usd},
		{ID: txid(1), From: 1, To: 2, Amount: 100, Currency: usd},
		{ID: txid(2), From: 2, To: 1, Amount: 101, Currency: usd},
		{ID: txid(3), From: 9, To: 1, Amount: 1, Currency: usd},
		{From: 1, To: 2, Amount: 1, Currency: usd},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []wallet.Code{wallet.Applied, wallet.Applied, wallet.InsufficientFunds, wallet.UnknownAccount, wallet.Malformed}
	for i, r := range results {
		if r.Code() != want[i] || r.Repeated() != (i == 1) {
			t.Errorf("transfer %d: got %v, repeated %v, want %v", i, r.Code(), r.Repeated(), want[i])
		}
	}
	// An account that is unknown is refused by its name, and stays so.
	late := wallet.Transfer{ID: txid(9), From: "bank", To: "late", Amount: 1, Currency: usd}
	if r, err := client.Transfer(t.Context(), late); err != nil || r.Code() != wallet.UnknownAccount {
		t.Errorf("unknown payee: got %v, %v", r.Code(), err)
	}
	if _, err := client.OpenAccounts(t.Context(), []wallet.NewAccount{{ID: "late", Currency: usd}}); err != nil {
		t.Fatal(err)
	}
	if r, err := client.Transfer(t.Context(), late); err != nil || r.Code() != wallet.UnknownAccount || !r.Repeated() {
		t.Errorf("again, now that it is open: got %v, %v", r.Code(), err)
	}
}

func TestInputIsCheckedByTheClient(t *testing.T) {
	client, _ := start(t, vfs.NewMem(), "data", nil)
	ctx := t.Context()
	for name, tt := range map[string]struct {
		call func() error
		want error
	}{
		"no transfers": {func() error { _, err := client.Transfers(ctx, nil, nil); return err }, wallet.ErrBatchSize},
		"too many":     {func() error { _, err := client.Transfers(ctx, nil, make([]wallet.HandleTransfer, 8193)); return err }, wallet.ErrBatchSize},
		"bad account": {func() error {
			_, err := client.OpenAccounts(ctx, []wallet.NewAccount{{ID: "a b", Currency: usd}})
			return err
		}, wallet.ErrAccountID},
		"no currency":    {func() error { _, err := client.OpenAccounts(ctx, []wallet.NewAccount{{ID: "a"}}); return err }, wallet.ErrCurrency},
		"look up nobody": {func() error { _, err := client.Lookup(ctx, []wallet.AccountID{""}); return err }, wallet.ErrAccountID},
		"no id": {func() error {
			_, err := client.Transfer(ctx, wallet.Transfer{From: "a", To: "b", Amount: 1, Currency: usd})
			return err
		}, wallet.ErrTransactionID},
	} {
		if err := tt.call(); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

// TestFailedDisk checks that nothing is acknowledged that the disk did not keep,
// and that the client is told why.
func TestFailedDisk(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem(), nil)
	client, _ := start(t, disk, "data", nil)
	open(t, client, 2)
	disk.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpSync {
			return vfs.Fault{Err: errors.New("the disk is gone")}
		}
		return vfs.Fault{}
	})
	for i := range uint64(3) {
		_, err := client.TransferByHandle(t.Context(), wallet.HandleTransfer{ID: txid(i + 1), From: 1, To: 2, Amount: 1, Currency: usd})
		if err == nil || !strings.Contains(err.Error(), "the disk is gone") {
			t.Errorf("transfer %d: got %v", i, err)
		}
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	disk := vfs.NewFaulty(vfs.NewMem(), nil)
	client, _ := start(t, disk, "data", nil)
	open(t, client, 2)
	disk.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpSync {
			return vfs.Fault{Wait: release}
		}
		return vfs.Fault{}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	v := wallet.HandleTransfer{ID: txid(1), From: 1, To: 2, Amount: 1, Currency: usd}
	if _, err := client.TransferByHandle(ctx, v); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one: got %v", err)
	}
	if _, err := client.Transfers(ctx, nil, []wallet.HandleTransfer{v}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("batch: got %v", err)
	}
	close(release)
	r, err := client.TransferByHandle(t.Context(), v)
	if err != nil || r.Code() != wallet.Applied || !r.Repeated() {
		t.Errorf("again: got %v, repeated %v, %v", r.Code(), r.Repeated(), err)
	}
}

func TestTenants(t *testing.T) {
	client, service := start(t, vfs.NewMem(), "data", &walletgrpc.ClientOptions{Tenant: wallet.DefaultTenant})
	open(t, client, 1)
	if _, err := service.CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	addr := serve(t, service, nil)
	acme, err := walletgrpc.Dial(t.Context(), addr, &walletgrpc.ClientOptions{Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := acme.Lookup(t.Context(), []wallet.AccountID{"a1"}); err != nil || h[0] != 0 {
		t.Errorf("another tenant's account: got %v, %v", h, err)
	}
	if err := acme.Close(); err != nil {
		t.Error(err)
	}
	if _, err := acme.Lookup(t.Context(), []wallet.AccountID{"a1"}); !errors.Is(err, walletgrpc.ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}
	for tenant, want := range map[wallet.Tenant]codes.Code{"nobody": codes.NotFound, "a b": codes.InvalidArgument} {
		if _, err := walletgrpc.Dial(t.Context(), addr, &walletgrpc.ClientOptions{Tenant: tenant}); status.Code(err) != want {
			t.Errorf("tenant %q: got %v, want %v", tenant, err, want)
		}
	}
}

// serve runs a server until the test ends.
func serve(t *testing.T, service *wallet.Service, o *walletgrpc.ServerOptions) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := walletgrpc.NewServer(service, o)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // clients that the test left open are cut off
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestAuthorize(t *testing.T) {
	_, service := start(t, vfs.NewMem(), "data", nil)
	addr := serve(t, service, &walletgrpc.ServerOptions{
		Authorize: func(_ context.Context, authorization, _ string) (wallet.Tenant, error) {
			switch authorization {
			case "Bearer right":
				return wallet.DefaultTenant, nil
			case "Bearer reader":
				return "", fmt.Errorf("%w: it only reads", walletgrpc.ErrForbidden)
			case "":
				return "", walletgrpc.ErrUnauthenticated
			}
			return "", errors.New("this key is not known")
		},
	})
	for _, tt := range []struct {
		key  string
		code codes.Code
		text string
	}{
		{"", codes.Unauthenticated, walletgrpc.ErrUnauthenticated.Error()},
		{"wrong", codes.Unauthenticated, "this key is not known"},
		{"reader", codes.PermissionDenied, walletgrpc.ErrForbidden.Error() + ": it only reads"},
	} {
		_, err := walletgrpc.Dial(t.Context(), addr, &walletgrpc.ClientOptions{APIKey: tt.key})
		if want := "dial " + addr + ": " + tt.text; status.Code(err) != tt.code || err.Error() != want {
			t.Errorf("key %q: got %v, %q, want %v, %q", tt.key, status.Code(err), err, tt.code, want)
		}
	}
	client, err := walletgrpc.Dial(t.Context(), addr, &walletgrpc.ClientOptions{APIKey: "right"})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

// rawStream opens a stream that sends what a test makes up.
func rawStream(t *testing.T, addr string) grpc.ClientStream {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s, err := conn.NewStream(metadata.NewOutgoingContext(t.Context(), metadata.MD{}),
		&grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/maru.wallet.v1.Wallet/Batches", grpc.ForceCodecV2(plain{}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plain is the codec of a client written by somebody else.
type plain struct{}

var _ encoding.CodecV2 = plain{}

func (plain) Name() string { return "proto" }
func (plain) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (plain) Unmarshal(b mem.BufferSlice, v any) error {
	*v.(*[]byte) = b.Materialize()
	return nil
}

func TestMalformedMessagesEndTheStream(t *testing.T) {
	client, service := start(t, vfs.NewMem(), "data", nil)
	open(t, client, 2)
	addr := serve(t, service, nil)
	header := func(h wallet.Header) []byte { return wallet.AppendHeader(make([]byte, 8), h) }
	record := wallet.AppendHandleTransfer(nil, &wallet.HandleTransfer{ID: txid(1), From: 1, To: 2, Amount: 1, Currency: usd})
	for name, message := range map[string][]byte{
		"empty":               nil,
		"no batch":            make([]byte, 8),
		"half a record":       append(header(wallet.Header{Kind: wallet.KindTransfers, Count: 1}), record[:32]...),
		"a record and a half": append(append(header(wallet.Header{Kind: wallet.KindTransfers, Count: 1}), record...), record[:32]...),
		"names a tenant":      append(header(wallet.Header{Kind: wallet.KindTransfers, Tenant: 1, Count: 1}), record...),
		"not for the stream":  append(header(wallet.Header{Kind: wallet.KindSetStatus, Count: 1}), 1, 1, 'a'),
		"unknown kind":        append(header(wallet.Header{Kind: 77, Count: 1}), record...),
		"too many":            append(header(wallet.Header{Kind: wallet.KindTransfers, Count: 8193}), record...),
		"unknown currency":    wallet.AppendAccount(header(wallet.Header{Kind: wallet.KindOpenAccounts, Count: 1}), &wallet.NewAccount{ID: "c", Currency: 1}),
	} {
		t.Run(name, func(t *testing.T) {
			s := rawStream(t, addr)
			if err := s.SendMsg(message); err != nil {
				t.Fatal(err)
			}
			var answer []byte
			err := s.RecvMsg(&answer)
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v, want %v", err, codes.InvalidArgument)
			}
		})
	}
	s := rawStream(t, addr)
	if err := s.SendMsg(make([]byte, walletgrpc.MaxMessageBytes+1)); err != nil {
		t.Fatal(err)
	}
	var answer []byte
	if err := s.RecvMsg(&answer); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("oversized: got %v", err)
	}
	if code, err := service.Decision(t.Context(), wallet.DefaultTenant, txid(1)); err != nil || code != wallet.Undecided {
		t.Errorf("a malformed message was carried out: %v, %v", code, err)
	}
}

// TestStreamCutInARecord cuts the connection in the middle of a message.
func TestStreamCutInARecord(t *testing.T) {
	client, service := start(t, vfs.NewMem(), "data", nil)
	open(t, client, 2)
	addr := serve(t, service, nil)
	cut, err := walletgrpc.Dial(t.Context(), cutAfter(t, addr, 100_000), nil) // in a message of 512 KiB
	if err != nil {
		t.Fatal(err)
	}
	ts := make([]wallet.HandleTransfer, wallet.MaxBatch)
	for i := range ts {
		ts[i] = wallet.HandleTransfer{ID: txid(uint64(i + 1)), From: 1, To: 2, Amount: 1, Currency: usd}
	}
	if _, err := cut.Transfers(t.Context(), nil, ts); err == nil {
		t.Error("a batch that was cut was answered")
	}
	_ = cut.Close()
	if code, err := service.Decision(t.Context(), wallet.DefaultTenant, txid(1)); err != nil || code != wallet.Undecided {
		t.Errorf("half a batch was carried out: %v, %v", code, err)
	}
}

// TestShutdownAnswersWhatIsUnderWay shuts the server down under load: every
// transfer was answered, or the client knows that it does not know, and can repeat it.
func TestShutdownAnswersWhatIsUnderWay(t *testing.T) {
	first, service := start(t, vfs.NewMem(), "data", nil)
	open(t, first, 2)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := walletgrpc.NewServer(service, nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	client, err := walletgrpc.Dial(t.Context(), l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan uint64, 1<<20)
	var wg sync.WaitGroup
	begun := make(chan struct{}, 8)
	for i := range uint64(8) {
		wg.Go(func() {
			for j := uint64(0); ; j++ {
				id := i<<32 | j + 1
				_, err := client.TransferByHandle(t.Context(), wallet.HandleTransfer{ID: txid(id), From: 1, To: 2, Amount: 1, Currency: usd})
				if err != nil {
					return
				}
				answered <- id
				if j == 10 {
					begun <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		<-begun
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Errorf("shut down: %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	wg.Wait()
	_ = client.Close()
	close(answered)
	for id := range answered {
		if code, err := service.Decision(t.Context(), wallet.DefaultTenant, txid(id)); err != nil || code != wallet.Applied {
			t.Fatalf("transfer %d was answered, but is %v, %v", id, code, err)
		}
	}
}

func Example() {
	// A wallet on a node; cmd/maru does the same on a real disk.
	machine := wallet.NewMachine(nil)
	node, err := rsmraft.OpenAlone("data", machine, &rsmraft.Options{FS: vfs.NewMem()})
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := walletgrpc.NewServer(wallet.NewService(node, machine), nil)
	go func() { _ = server.Serve(l) }()

	ctx := context.Background()
	client, err := walletgrpc.Dial(ctx, l.Addr().String(), nil)
	if err != nil {
		panic(err)
	}
	_, err = client.OpenAccounts(ctx, []wallet.NewAccount{
		{ID: "bank", Currency: usd, Min: wallet.Unlimited},
		{ID: "alice", Currency: usd},
	})
	if err != nil {
		panic(err)
	}
	id, _ := wallet.ParseTransactionID("01900000-0000-7000-8000-000000000001")
	for range 2 {
		result, err := client.Transfer(ctx, wallet.Transfer{ID: id, From: "bank", To: "alice", Amount: 1999, Currency: usd})
		fmt.Println(result.Code(), result.Repeated(), err)
	}
	_ = client.Close()
	_ = server.Shutdown(ctx)
	_ = node.Close()
	// Output:
	// applied false <nil>
	// applied true <nil>
}
