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

// others returns the numbers of the nodes but one.
func (f *followed) others(but int) (numbers []int) {
	for i := range f.nodes {
		if i != but {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// transfer returns a transfer that was not made yet.
func (f *followed) transfer() wallet.Transfer {
	f.ids++
	return wallet.Transfer{ID: wallet.TransactionID{1, f.ids}, From: "a", To: "b", Amount: 1, Currency: f.eur}
}

// count returns the sum of a metric of a node, over the labels that are not named.
func (f *followed) count(node int, name string, labels ...string) (sum float64) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.nodes[node].clients.Load().url+"/metrics", http.NoBody)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
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

// TestFollowOverHTTP checks that a client that was given another node asks the leader
// from its second request on, and goes on when the leader has gone.
func TestFollowOverHTTP(t *testing.T) {
	f := newFollowed(t)
	leader := f.leader()
	others := f.others(leader)
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
	if given, direct := asked(others[0]), asked(leader); given != 1 || direct != 9 {
		t.Errorf("the node that was given got %v requests, and the leader %v; want 1 and 9", given, direct)
	}
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
