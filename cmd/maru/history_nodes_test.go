package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"maru.example/money"
	"maru.example/wallet"
)

// join adds a node to a cluster that runs, and waits until it has what it should.
func (c *testCluster) join() {
	c.t.Helper()
	i := len(c.nodes)
	n := &testNode{data: filepath.Join(c.dir, fmt.Sprintf("n%d", i+1))}
	c.joins.Lock()
	c.nodes = append(c.nodes, n)
	c.joins.Unlock()
	n.relay = c.relays.open(c.t, i)
	c.maru("cluster", "add", "--data", n.data, "--peer", n.relay.addr(), "--addr", c.nodes[0].clients.Load().url)
	c.start(i)
	c.wait("every group has the replicas and the leader that it should", c.asWanted)
}

// pastOf asks a node for the past of an account until its history has come so far.
func (c *testCluster) pastOf(node int, id wallet.AccountID, at int64, atLeast wallet.HistoryPositions) (balance money.Amount, lines int, err error) {
	c.t.Helper()
	client := c.nodes[node].clients.Load().http
	r := &wallet.HistoryRequest{Account: id, At: at, AtLeast: atLeast, Lines: wallet.LineQuery{Limit: wallet.MaxHistoryLines}}
	if at != math.MaxInt64 {
		r.Lines.To = at + 1
	}
	var past wallet.PastBalances
	c.wait("the history has begun", func(ctx context.Context) error {
		past, _, err = client.HistoryBalances(ctx, r)
		if err == nil && len(past.Balances) == 0 {
			return errors.New("it has nothing yet")
		}
		if err != nil && strings.Contains(err.Error(), "history_behind") {
			return err
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	page, _, err := client.HistoryLines(c.t.Context(), r)
	if err != nil {
		return 0, 0, err
	}
	if len(past.Balances) != 1 || len(page.Lines) > 0 && page.Lines[len(page.Lines)-1].Balance != past.Balances[0].Amount {
		c.t.Errorf("node %d, %s at %d: got %+v, and the lines end with %+v", node+1, id, at, past, page.Lines[max(len(page.Lines)-1, 0):])
	}
	return past.Balances[0].Amount, len(page.Lines), nil
}

// replace puts a new node in the place of one that is gone for good.
func (c *testCluster) replace(i, through int) {
	c.t.Helper()
	n := c.nodes[i] // its clients stay until there are new ones
	n.data, n.relay = n.data+"-new", c.relays.open(c.t, i)
	c.maru("cluster", "replace", fmt.Sprint(i+1), "--data", n.data, "--peer", n.relay.addr(), "--addr", c.nodes[through].clients.Load().url)
	c.start(i)
	c.wait("every group has the replicas and the leader that it should", c.asWanted)
}

// TestHistoryOfLateNodes lets two nodes join a cluster by snapshots, whose log is cut.
// What they have no history of they ask the first node for. When that is gone, they have it by now, or say that they
// have none, where it was cut before they asked; and they answer what happened since.
func TestHistoryOfLateNodes(t *testing.T) {
	c := newTestCluster(t, 1, 2, "--snapshot-bytes", "64KiB", "--cut-log")
	ctx, eur := t.Context(), money.MustParseCurrency("EUR")
	var ids []wallet.AccountID
	for i := range 6 {
		ids = append(ids, wallet.AccountID(fmt.Sprint("a", i)))
		if _, code, err := c.nodes[0].clients.Load().http.OpenAccount(ctx, wallet.NewAccount{ID: ids[i], Currency: eur, Min: wallet.Unlimited}); err != nil || code != wallet.Applied {
			t.Fatalf("open %s: %v, %v", ids[i], code, err)
		}
	}
	sent := uint64(0)
	pay := func(node, n int) {
		t.Helper()
		handles, err := c.nodes[node].clients.Load().stream.Lookup(ctx, ids)
		if err != nil {
			t.Fatal(err)
		}
		var all []wallet.HandleTransfer
		for i := range n {
			sent++
			all = append(all, wallet.HandleTransfer{
				ID: wallet.TransactionID{7, byte(sent >> 16), byte(sent >> 8), byte(sent)}, From: handles[i%6], To: handles[(i+1)%6], Amount: 1 + money.Amount(i%6), Currency: eur,
			})
		}
		results, err := c.nodes[node].clients.Load().stream.Transfers(ctx, nil, all)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Code() != wallet.Applied {
				t.Fatalf("got %v", r.Code())
			}
		}
	}
	pay(0, 60)
	early := time.Now().UnixNano()
	want := map[wallet.AccountID]money.Amount{}
	for _, id := range ids {
		a, _, err := c.nodes[0].clients.Load().http.Account(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		want[id] = a.Balances[0].Amount
	}
	// After a restart the log is not kept for the history any more: it is cut.
	c.signal(0, syscall.SIGTERM)
	if err := c.nodes[0].process.wait(); err != nil {
		t.Fatal(err)
	}
	c.start(0)
	for range 6 {
		pay(0, 3000)
	}
	c.join()
	c.join()
	pay(1, 60)
	c.readsWhatWasWritten(ids, eur)
	for node := range c.nodes {
		for _, id := range ids {
			balance, lines, err := c.pastOf(node, id, early, nil)
			if err != nil || balance != want[id] || lines != 20 {
				t.Errorf("node %d, %s then: got %d after %d lines, %v, want %d", node+1, id, balance, lines, err, want[id])
			}
		}
	}
	c.kill(0)
	c.wait("others lead", c.withoutFirst)
	for _, node := range []int{1, 2} {
		for _, id := range ids {
			a, _, err := c.nodes[node].clients.Load().http.Account(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			balance, _, err := c.pastOf(node, id, early, nil)
			switch {
			case err != nil && strings.Contains(err.Error(), "history_unavailable"):
				t.Logf("node %d, %s then: %v", node+1, id, err)
			case err != nil || balance != want[id]:
				t.Errorf("node %d, %s then: got %d, %v, want %d or history_unavailable", node+1, id, balance, err, want[id])
			}
			c.wait(fmt.Sprintf("the history of node %d has what %s has", node+1, id), func(ctx context.Context) error {
				past, _, err := c.nodes[node].clients.Load().http.HistoryBalances(ctx, &wallet.HistoryRequest{Account: id, At: math.MaxInt64})
				if err == nil && (len(past.Balances) != 1 || past.Balances[0].Amount != a.Balances[0].Amount) {
					err = fmt.Errorf("got %+v, want %d", past, a.Balances[0].Amount)
				}
				return err
			})
		}
	}
}

// readsWhatWasWritten makes transfers, also between partitions, at one node, and asks another for what the payees got.
func (c *testCluster) readsWhatWasWritten(ids []wallet.AccountID, currency money.Currency) {
	c.t.Helper()
	ask := func(id wallet.AccountID, atLeast wallet.HistoryPositions) (past wallet.PastBalances, err error) {
		r := &wallet.HistoryRequest{Account: id, At: math.MaxInt64, AtLeast: atLeast}
		for range 30 { // each of which waits for two seconds
			if past, _, err = c.nodes[2].clients.Load().http.HistoryBalances(c.t.Context(), r); problemOf(err) != "history_behind" {
				break
			}
		}
		return past, err
	}
	if _, err := ask(ids[0], wallet.HistoryPositions{{Partition: 2, Index: 1}}); problemOf(err) != "invalid_request" {
		c.t.Errorf("at least a position of a partition that does not exist: %v", err)
	}
	for i, payee := range ids {
		payer := ids[(i+1)%len(ids)]
		ctx, receipt := wallet.WithReceipt(c.t.Context())
		t := wallet.Transfer{ID: wallet.TransactionID{9, byte(i)}, From: payer, To: payee, Amount: 1000, Currency: currency}
		if r, err := c.nodes[0].clients.Load().http.Transfer(ctx, t); err != nil || r.Code() != wallet.Applied {
			c.t.Fatal(r, err)
		}
		a, _, err := c.nodes[0].clients.Load().http.Account(c.t.Context(), payee)
		if err != nil {
			c.t.Fatal(err)
		}
		past, err := ask(payee, receipt.Positions())
		if err != nil || len(past.Balances) != 1 || past.Balances[0].Amount != a.Balances[0].Amount {
			c.t.Errorf("%s paid %s, committed at %v: another node says %+v, %v, want %d", payer, payee, receipt.Positions(), past, err, a.Balances[0].Amount)
		}
	}
}
