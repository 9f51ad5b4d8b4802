package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
	"maru.example/wallet/wallethttp"
)

// followed is a cluster of three nodes with one partition, of which the tests use
// the node that leads it.
type followed struct {
	*testCluster
	eur money.Currency
	ids byte
}

func newFollowed(t *testing.T) *followed {
	f := &followed{testCluster: newTestCluster(t, 3, 1), eur: money.MustParseCurrency("EUR")}
	for _, id := range []wallet.AccountID{"a", "b"} {
		_, code, err := f.nodes[0].clients.Load().http.OpenAccount(t.Context(), wallet.NewAccount{ID: id, Currency: f.eur, Min: wallet.Unlimited})
		if err != nil || code != wallet.Applied {
			t.Fatalf("open %s: %v, %v", id, code, err)
		}
	}
	return f
}

// leader returns the number of the node that leads the partition.
func (f *followed) leader() (number int) {
	f.t.Helper()
	f.wait("the partition has a leader", func(ctx context.Context) error {
		o, err := f.overview(ctx)
		if err == nil && o.Groups[1].Leader == 0 {
			err = fmt.Errorf("group %+v", o.Groups[1])
		}
		if err == nil {
			number = int(o.Groups[1].Leader) - 1
		}
		return err
	})
	return number
}

// transfer returns a transfer that was not made yet.
func (f *followed) transfer() wallet.Transfer {
	f.ids++
	return wallet.Transfer{ID: wallet.TransactionID{1, f.ids}, From: "a", To: "b", Amount: 1, Currency: f.eur}
}

// get asks a node.
func (f *followed) get(ctx context.Context, node int, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.nodes[node].clients.Load().url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(r)
}

// count returns the sum of a metric of a node, over the labels that are not named.
func (f *followed) count(node int, name string, labels ...string) (sum float64) {
	f.t.Helper()
	resp, err := f.get(f.t.Context(), node, "/metrics")
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		metric := lines.Text()
		missing := func(label string) bool { return !strings.Contains(metric, label) }
		if !strings.HasPrefix(metric, name+"{") || slices.ContainsFunc(labels, missing) {
			continue
		}
		n, err := strconv.ParseFloat(metric[strings.LastIndexByte(metric, ' ')+1:], 64)
		if err != nil {
			f.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// wantCounts checks what the node that a client was given, and the leader, were asked.
// That is counted after the answer.
func (f *followed) wantCounts(what string, count func() (given, direct float64), wantGiven, wantDirect float64) {
	f.t.Helper()
	var given, direct float64
	f.wait("all "+what+" are counted", func(context.Context) error {
		if given, direct = count(); given+direct < wantGiven+wantDirect {
			return fmt.Errorf("%v and %v", given, direct)
		}
		return nil
	})
	if given != wantGiven || direct != wantDirect {
		f.t.Errorf("%s: the node that was given got %v, and the leader %v; want %v and %v", what, given, direct, wantGiven, wantDirect)
	}
}

// given returns the numbers of the nodes but the leader, which know who that is.
func (f *followed) given() (leader int, others []int) {
	f.t.Helper()
	leader = f.leader()
	for i := range f.nodes {
		if i != leader {
			others = append(others, i)
		}
	}
	f.wait("every node says who leads", func(ctx context.Context) error {
		for _, i := range others {
			resp, err := f.get(ctx, i, "/v1/wallet/accounts/a")
			if err != nil {
				return err
			}
			_ = resp.Body.Close() // only the header is of interest
			if !strings.HasSuffix(resp.Header.Get(wallethttp.LeaderHeader), " "+f.nodes[leader].clients.Load().url) {
				return fmt.Errorf("node %d says %q", i+1, resp.Header)
			}
		}
		return nil
	})
	return leader, others
}

// TestFollowOverHTTP checks that a client that was given another node asks the leader
// from its second request on, and goes on when the leader has gone.
func TestFollowOverHTTP(t *testing.T) {
	f := newFollowed(t)
	leader, others := f.given()
	for node := range f.nodes {
		if got := f.count(node, "maru_peer_connected", `lane="raft"`); got != 2 {
			t.Errorf("node %d says that it is connected to %v others, want 2", node+1, got)
		}
		if f.count(node, "maru_peer_received_bytes_total") == 0 {
			t.Errorf("node %d has heard nothing of others", node+1)
		}
	}
	urls := f.nodes[others[0]].clients.Load().url + "," + f.nodes[others[1]].clients.Load().url
	client, err := wallethttp.NewClient(urls, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	asked := func(node int) float64 {
		return f.count(node, "maru_http_request_duration_seconds_count", `balance_transfer"`)
	}
	pay := func() {
		t.Helper()
		r, err := client.Transfer(t.Context(), f.transfer())
		if err != nil || r.Code() != wallet.Applied {
			t.Errorf("transfer: %v, %v", r.Code(), err)
		}
	}
	for range 10 {
		pay()
	}
	f.wantCounts("requests", func() (float64, float64) { return asked(others[0]), asked(leader) }, 1, 9)
	f.kill(leader)
	for range 3 {
		pay()
	}
	f.kill(others[0])
	_, err = client.Transfer(t.Context(), f.transfer())
	if p, ok := errors.AsType[*wallethttp.Problem](err); !ok || p.Status != http.StatusServiceUnavailable {
		t.Errorf("got %v, want the refusal of the node that is left", err)
	}
}

// TestFollowByStream is the same of the batch stream.
func TestFollowByStream(t *testing.T) {
	f := newFollowed(t)
	leader, others := f.given()
	streams := f.nodes[others[0]].process.listens.Stream + "," + f.nodes[others[1]].process.listens.Stream
	client, err := walletgrpc.Dial(t.Context(), streams, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	handles, err := client.Lookup(t.Context(), []wallet.AccountID{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sequence(t.Context()); err != nil { // which waits for the stream to the leader
		t.Fatal(err)
	}
	pay := func() error {
		v := f.transfer()
		r, err := client.TransferByHandle(t.Context(), wallet.HandleTransfer{ID: v.ID, From: handles[0], To: handles[1], Amount: v.Amount, Currency: v.Currency})
		if err == nil && r.Code() != wallet.Applied {
			err = errors.New(r.Code().String())
		}
		return err
	}
	proposals := func(node int) float64 {
		return f.count(node, "maru_group_proposal_duration_seconds_count", `group="1"`)
	}
	given, direct := proposals(others[0]), proposals(leader)
	for range 10 {
		if err := pay(); err != nil {
			t.Error(err)
		}
	}
	f.wantCounts("proposals", func() (float64, float64) { return proposals(others[0]) - given, proposals(leader) - direct }, 0, 10)
	f.kill(leader)
	for range 3 {
		if err := pay(); err != nil {
			t.Errorf("without the leader: %v", err)
		}
	}
	f.start(leader)
	f.wait("every group is as it should be", f.asWanted)
	f.kill(others[0])
	f.wait("the other node is asked", func(context.Context) error { return pay() })
}
