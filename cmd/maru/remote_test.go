package main

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/wallet"
)

// TestMoreNodesThanReplicas uses a cluster of four nodes, of which each has three of
// four partitions: every node takes everything. One dies: the others still do.
func TestMoreNodesThanReplicas(t *testing.T) {
	c := newTestCluster(t, 4, 4)
	o, err := c.overview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range o.Groups[1:] {
		if len(g.Members) != 3 {
			t.Errorf("group %d has %d replicas, want 3", g.ID, len(g.Members))
		}
	}
	eur := money.MustParseCurrency("EUR")
	var ids []wallet.AccountID
	for i := range 8 {
		ids = append(ids, wallet.AccountID(fmt.Sprint("a", i)))
		client := c.nodes[i%4].clients.Load().http
		if _, code, err := client.OpenAccount(t.Context(), wallet.NewAccount{ID: ids[i], Currency: eur, Min: wallet.Unlimited}); err != nil || code != wallet.Applied {
			t.Fatalf("open %s: %v, %v", ids[i], code, err)
		}
	}
	partitions := map[uint16]bool{}
	for _, id := range ids {
		partitions[wallet.PartitionOf("default", id, 4)] = true
	}
	if len(partitions) != 4 {
		t.Fatalf("the accounts are in %d partitions", len(partitions))
	}
	want := map[wallet.AccountID]money.Amount{}
	use := func(round byte, through []int) {
		t.Helper()
		for _, n := range through {
			c.useNode(round, n, ids, eur, want)
		}
	}
	use(1, []int{0, 1, 2, 3})
	c.kill(2)
	c.wait("other nodes lead", func(ctx context.Context) error {
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		for _, g := range o.Groups {
			if g.Leader == 0 || g.Leader == 3 {
				return fmt.Errorf("node %d leads group %d", g.Leader, g.ID)
			}
		}
		return nil
	})
	use(2, []int{0, 1, 3})
}

// useNode makes transfers between all accounts through one node, by name and by
// handle, and reads what they make in all ways.
func (c *testCluster) useNode(round byte, n int, ids []wallet.AccountID, eur money.Currency, want map[wallet.AccountID]money.Amount) {
	t, ctx, clients := c.t, c.t.Context(), c.nodes[n].clients.Load()
	t.Helper()
	handles, err := clients.stream.Lookup(ctx, ids)
	if err != nil || slices.Contains(handles, 0) {
		t.Fatalf("node %d: handles %x, %v", n+1, handles, err)
	}
	var named []wallet.Transfer
	var handled []wallet.HandleTransfer
	for i, from := range ids {
		for j, to := range ids {
			if i == j {
				continue
			}
			id := wallet.TransactionID{round, byte(n), byte(i), byte(j)}
			if (i+j)%2 == 0 {
				named = append(named, wallet.Transfer{ID: id, From: from, To: to, Amount: money.Amount(i + 1), Currency: eur})
			} else {
				handled = append(handled, wallet.HandleTransfer{ID: id, From: handles[i], To: handles[j], Amount: money.Amount(i + 1), Currency: eur})
			}
			want[from] -= money.Amount(i + 1)
			want[to] += money.Amount(i + 1)
		}
	}
	results, err := clients.http.Transfers(ctx, named)
	if bad := slices.IndexFunc(results, notApplied); err != nil || bad >= 0 {
		t.Fatalf("node %d, by name: %v, %v", n+1, results, err)
	}
	if results, err = clients.stream.Transfers(ctx, nil, handled); err != nil || slices.IndexFunc(results, notApplied) >= 0 {
		t.Fatalf("node %d, by handle: %v, %v", n+1, results, err)
	}
	got := map[wallet.AccountID]money.Amount{}
	for _, id := range ids {
		a, _, err := clients.http.Account(ctx, id)
		if err != nil {
			t.Fatalf("node %d: %v", n+1, err)
		}
		got[id] = a.Balances[0].Amount
		if _, code, _, err := clients.http.AccountStale(ctx, id); code != wallet.Applied || err != nil {
			t.Errorf("node %d, stale: %v, %v", n+1, code, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("node %d: balances (-want +got):\n%s", n+1, diff)
	}
	if code, err := clients.http.Decision(ctx, named[0].ID); code != wallet.Applied || err != nil {
		t.Errorf("node %d: decision %v, %v", n+1, code, err)
	}
	totals, settled, err := clients.http.Totals(ctx)
	if err != nil || !settled || len(totals) != 1 || !totals[0].Zero() || totals[0].Balances != len(ids) {
		t.Errorf("node %d: totals %+v, settled %v, %v", n+1, totals, settled, err)
	}
	if list, err := clients.http.InFlight(ctx, 10); err != nil || len(list.Transfers) > 0 || list.Stale {
		t.Errorf("node %d: in flight %+v, %v", n+1, list, err)
	}
}

func notApplied(r wallet.Result) bool { return r.Code() != wallet.Applied }
