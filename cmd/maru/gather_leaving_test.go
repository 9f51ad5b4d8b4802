package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
	"maru.example/money"
	"maru.example/rsm/rsmarchive"
	"maru.example/wallet"
)

// TestLeavingNodeStaysForItsPast lets a node leave that does not run, while the others have lost what they had got of it. It
// stays a member without a vote until it runs again and they have it; then it is removed.
func TestLeavingNodeStaysForItsPast(t *testing.T) {
	c := newTestCluster(t, 1, 1)
	ctx, eur := t.Context(), money.MustParseCurrency("EUR")
	for i := range 3 {
		if _, code, err := c.nodes[0].clients.Load().http.OpenAccount(ctx, wallet.NewAccount{ID: wallet.AccountID(fmt.Sprint("a", i)), Currency: eur, Min: wallet.Unlimited}); err != nil || code != wallet.Applied {
			t.Fatalf("open: %v, %v", code, err)
		}
	}
	c.join()
	c.join()
	c.wait("nobody lacks anything", c.missing)
	c.kill(0)
	for i := range 2 {
		c.signal(i+1, syscall.SIGTERM)
		if err := c.nodes[i+1].process.wait(); err != nil {
			t.Fatal(err)
		}
		past := filepath.Join(c.nodes[i+1].data, pastName)
		segments(t, past, 1)
		if err := removePast(past, rsmarchive.Chained{Group: 1}); err != nil {
			t.Fatal(err)
		}
	}
	c.start(1)
	c.start(2)
	c.wait("others lead", c.withoutFirst)
	client, err := clusterhttp.NewClient(c.nodes[1].clients.Load().url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	first := func(want cluster.Status, learns bool) {
		t.Helper()
		c.wait("it is as far as it may come", func(ctx context.Context) error {
			o, err := c.overview(ctx)
			if err != nil {
				return err
			}
			g, status := &o.Groups[1], o.Nodes[0].Status
			if status == want && slices.Contains(g.Learners, 1) == learns && !slices.Contains(g.Voters, 1) {
				return nil
			}
			if status == cluster.Removed {
				t.Fatalf("node 1 is removed, with what the others lack: %+v", g.Replicas)
			}
			return fmt.Errorf("node 1 is %s: %+v", status, g)
		})
	}
	c.wait("it is told that node 1 leaves", func(ctx context.Context) error { // no leader may be known there yet
		_, err := client.RemoveNode(ctx, 1, false)
		return err
	})
	first(cluster.Leaving, true)
	c.start(0)
	first(cluster.Removed, false)
	whole := func(ids ...cluster.NodeID) func(context.Context) error {
		return func(ctx context.Context) error {
			o, err := c.overview(ctx)
			if err != nil {
				return err
			}
			for _, id := range ids {
				if r := o.Groups[1].Replica(id); r == nil || !r.Past.Whole() {
					return fmt.Errorf("node %d: %+v", id, r)
				}
			}
			return nil
		}
	}
	c.wait("the others have it", whole(2, 3))
	// What a node lacks, and nobody gives, is put there by hand.
	c.kill(1)
	c.kill(2)
	folder := rsmarchive.Chained{Group: 1}.Folder()
	past := filepath.Join(c.nodes[2].data, pastName)
	if err := removePast(past, rsmarchive.Chained{Group: 1}); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(past, folder), os.DirFS(filepath.Join(c.nodes[1].data, pastName, folder))); err != nil {
		t.Fatal(err)
	}
	c.start(2)
	c.wait("the node takes what was put there", whole(3))
}
