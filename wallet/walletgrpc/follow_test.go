package walletgrpc_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

// counted is a node of a cluster that counts what it is asked.
type counted struct {
	addr     string
	requests atomic.Int64 // and streams
	hangs    atomic.Bool  // at the next request
}

// serveCounted serves a wallet as a node of a cluster that names the leaders of
// some partitions.
func serveCounted(t *testing.T, service *wallet.Service, cluster *walletgrpc.Cluster) *counted {
	t.Helper()
	n := &counted{}
	n.addr = serve(t, service, &walletgrpc.ServerOptions{
		Cluster:        cluster,
		AuthorizeEvery: time.Nanosecond, // and so at every request
		Authorize: func(ctx context.Context, _, _ string) (wallet.Tenant, error) {
			n.requests.Add(1)
			if n.hangs.Load() {
				<-ctx.Done()
			}
			return wallet.DefaultTenant, nil
		},
	})
	return n
}

// clusterOf returns a cluster of so many partitions, with the leaders of some.
func clusterOf(id string, partitions uint16, leaders map[uint16]string) *walletgrpc.Cluster {
	return &walletgrpc.Cluster{ID: id, Partitions: partitions, Leader: func(p uint16) string { return leaders[p] }}
}

// follow returns a client that has a stream to each leader that it may follow.
func follow(t *testing.T, addr string) *walletgrpc.Client {
	t.Helper()
	c, err := walletgrpc.Dial(t.Context(), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.Sequence(t.Context()); err != nil { // which waits for them
		t.Fatal(err)
	}
	return c
}

// transferTwice makes two batches of transfers, and one by one call each way.
func transferTwice(t *testing.T, c *walletgrpc.Client, first uint64) {
	t.Helper()
	v := wallet.HandleTransfer{ID: txid(first), From: 1, To: 2, Amount: 1, Currency: usd}
	for range 2 {
		results, err := c.Transfers(t.Context(), nil, []wallet.HandleTransfer{v, v})
		if err != nil || results[0].Code() != wallet.Applied || !results[1].Repeated() {
			t.Errorf("batch: got %v, %v", results, err)
		}
	}
	v.ID = txid(first + 1)
	if r, err := c.TransferByHandle(t.Context(), v); err != nil || r.Code() != wallet.Applied {
		t.Errorf("by handle: got %v, %v", r, err)
	}
	byName := wallet.Transfer{ID: txid(first + 2), From: "a1", To: "a2", Amount: 1, Currency: usd}
	if r, err := c.Transfer(t.Context(), byName); err != nil || r.Code() != wallet.Applied {
		t.Errorf("by name: got %v, %v", r, err)
	}
}

func TestClientFollowsTheLeader(t *testing.T) {
	opener, service := start(t, vfs.NewMem(), "data", nil)
	open(t, opener, 2)
	leader := serveCounted(t, service, clusterOf("c", 1, nil))
	given := serveCounted(t, service, clusterOf("c", 1, map[uint16]string{0: leader.addr}))
	c := follow(t, given.addr)
	transferTwice(t, c, 1)
	// A stream each; the given node looks the names up.
	if g, l := given.requests.Load(), leader.requests.Load(); g != 2 || l != 5 {
		t.Errorf("the node that was given got %d requests, the leader %d; want 2 and 5", g, l)
	}

	direct, err := walletgrpc.Dial(t.Context(), given.addr, &walletgrpc.ClientOptions{NoFollow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	transferTwice(t, direct, 11)
	if g, l := given.requests.Load(), leader.requests.Load(); g != 2+6 || l != 5 {
		t.Errorf("told not to follow: the node that was given got %d requests, the leader %d; want 8 and 5", g, l)
	}
}

// TestClientFallsBack checks that leaders that cannot be asked change no answer.
func TestClientFallsBack(t *testing.T) {
	opener, service := start(t, vfs.NewMem(), "data", nil)
	open(t, opener, 2)
	for i, tt := range []struct {
		name   string
		leader func() string
	}{
		{"nobody there", func() string { return "127.0.0.1:1" }},
		{"another cluster", func() string { return serveCounted(t, service, clusterOf("another", 1, nil)).addr }},
		{"no cluster", func() string { return serve(t, service, nil) }},
		{"another key", func() string {
			return serve(t, service, &walletgrpc.ServerOptions{
				Cluster:   clusterOf("c", 1, nil),
				Authorize: func(context.Context, string, string) (wallet.Tenant, error) { return "", walletgrpc.ErrUnauthenticated },
			})
		}},
		{"cut", func() string { return cutAfter(t, serveCounted(t, service, clusterOf("c", 1, nil)).addr, 600) }},
		{"no address", func() string { return "x" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			given := serveCounted(t, service, clusterOf("c", 1, map[uint16]string{0: tt.leader()}))
			transferTwice(t, follow(t, given.addr), uint64(100*(i+1)))
			if got := given.requests.Load(); got < 3 {
				t.Errorf("the node that was given got %d requests", got)
			}
		})
	}
}

func TestLeaderHangs(t *testing.T) {
	opener, service := start(t, vfs.NewMem(), "data", nil)
	open(t, opener, 2)
	leader := serveCounted(t, service, clusterOf("c", 1, nil))
	given := serveCounted(t, service, clusterOf("c", 1, map[uint16]string{0: leader.addr}))
	c := follow(t, given.addr)
	leader.hangs.Store(true)
	transferTwice(t, c, 1)
	if g, l := given.requests.Load(), leader.requests.Load(); g < 6 || l != 2 { // a slow test asks who leads once more
		t.Errorf("the node that was given got %d requests, the leader %d; want 6 or more, and 2", g, l)
	}
}

// TestDividedBatch checks that the results of a batch of which parts go to different
// nodes are in the order of its transfers.
func TestDividedBatch(t *testing.T) {
	service, _ := openDivided(t)
	leader := serveCounted(t, service, clusterOf("c", 2, nil))
	given := serveCounted(t, service, clusterOf("c", 2, map[uint16]string{1: leader.addr}))
	c := follow(t, given.addr)
	const a, b, nobody = 1, 1<<48 + 1, 1<<48 + 99
	kinds := []struct {
		from, to wallet.Handle
		want     wallet.Code
	}{{a, b, wallet.Applied}, {b, a, wallet.Applied}, {b, b, wallet.SameAccount}, {a, nobody, wallet.UnknownAccount}, {nobody, a, wallet.UnknownAccount}}
	var batch []wallet.HandleTransfer
	var want []wallet.Code
	for i := range 1000 {
		k := kinds[i*i%len(kinds)]
		batch = append(batch, wallet.HandleTransfer{ID: txid(uint64(i + 1)), From: k.from, To: k.to, Amount: 1, Currency: usd})
		want = append(want, k.want)
	}
	results, err := c.Transfers(t.Context(), nil, batch)
	if err != nil {
		t.Fatal(err)
	}
	var got []wallet.Code
	for _, r := range results {
		got = append(got, r.Code())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if g, l := given.requests.Load(), leader.requests.Load(); g != 2 || l != 2 {
		t.Errorf("the node that was given got %d requests, the leader %d; want 2 each: a stream, and a part of the batch", g, l)
	}
}

// TestSequenceOutlivesALeader cuts the connection to the leader behind some batches:
// what it did not answer goes to the given node, and nothing overtakes it.
func TestSequenceOutlivesALeader(t *testing.T) {
	const batches = 12
	opener, service := start(t, vfs.NewMem(), "data", nil)
	openChain(t, opener, batches)
	leader := cutAfter(t, serve(t, service, &walletgrpc.ServerOptions{Cluster: clusterOf("c", 1, nil)}), 4*wallet.MaxBatch*wallet.RecordBytes)
	c := follow(t, serve(t, service, &walletgrpc.ServerOptions{Cluster: clusterOf("c", 1, map[uint16]string{0: leader})}))
	if n, err := sendChain(t, c, 0, batches); n != batches || err != nil {
		t.Errorf("%d batches of %d were answered: %v", n, batches, err)
	}
}

func TestClientOfSeveralNodes(t *testing.T) {
	opener, service := start(t, vfs.NewMem(), "data", nil)
	open(t, opener, 2)
	full := serve(t, service, &walletgrpc.ServerOptions{MaxStreams: 1})
	holder, err := walletgrpc.Dial(t.Context(), full, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	cut := cutAfter(t, serve(t, service, nil), 500)
	c, err := walletgrpc.Dial(t.Context(), fmt.Sprintf("127.0.0.1:1, %s,%s,%s", full, cut, serve(t, service, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := uint64(1); n < 20; {
		_, err := c.TransferByHandle(t.Context(), wallet.HandleTransfer{ID: txid(n), From: 1, To: 2, Amount: 1, Currency: usd})
		if err == nil {
			n++
		} else if status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
	}
	refused := serve(t, service, &walletgrpc.ServerOptions{
		Authorize: func(context.Context, string, string) (wallet.Tenant, error) { return "", walletgrpc.ErrUnauthenticated },
	})
	if _, err := walletgrpc.Dial(t.Context(), refused+","+full, nil); status.Code(err) != codes.Unauthenticated {
		t.Errorf("one that refuses the key: got %v", err)
	}
	if _, err := walletgrpc.Dial(t.Context(), "127.0.0.1:1,127.0.0.1:2", nil); status.Code(err) != codes.Unavailable {
		t.Errorf("none is there: got %v", err)
	}
}
