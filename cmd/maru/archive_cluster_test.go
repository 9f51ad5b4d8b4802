package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/wallet"
)

// TestArchivesOfCluster has three nodes with an archive each. Under load one is killed, one hands over, and one is lost with
// its archive, and replaced. All archives are the same then, from the first entry on; a backup that is made while a leader is killed,
// and what is restored of it, has everything.
func TestArchivesOfCluster(t *testing.T) {
	b := &bank{
		testCluster: newTestCluster(t, 3, 2, "--archive", filepath.Join("{data}", "archive"), "--archive-segment-bytes", "16KiB", "--log-segment-bytes", "16KiB", "--snapshot-bytes", "32KiB"),
		rand:        rand.New(rand.NewPCG(1, 0)),
		plan:        benchPlan{seed: 1, accounts: crashAccounts, currency: money.MustParseCurrency("EUR")},
	}
	b.populate()
	early := time.Now()
	b.following(true)
	const some = 400 * time.Millisecond
	b.during(1, 1, func() {
		b.let(some)
		b.kill(1)
		b.let(some)
		b.start(1)
		b.wait("the node comes back", b.asWanted)
		b.signal(2, syscall.SIGTERM) // it hands over
		if err := b.nodes[2].process.wait(); err != nil {
			t.Error(err)
		}
		b.start(2)
		b.wait("the node comes back", b.asWanted)
		b.kill(0) // which alone had been there from the beginning
		b.let(some)
		b.replace(0, 1)
		b.wait("the log is cut", b.cut)
	})
	b.following(false)
	b.settle()
	b.check()
	place := filepath.Join(t.TempDir(), "backup")
	b.backUp(place)
	b.wait("all archives are the same", b.sameArchives)
	b.pastOfNew(early)
	for i, n := range b.nodes {
		b.signal(i, syscall.SIGTERM)
		if err := n.process.wait(); err != nil {
			t.Error(err)
		}
	}
	for _, n := range b.nodes {
		archive := filepath.Join(n.data, archiveName)
		for _, args := range [][]string{{"--data", n.data}, {"--data", "none", "--archive", archive}} {
			v, err := verifyArchive(t, args...)
			if err != nil || len(v.Partitions) != 2 {
				t.Errorf("verify %q: %+v, %v", args, v, err)
			}
			for _, p := range v.Partitions {
				if len(p.Wrong) > 0 || p.FromSnapshot > 0 || p.Transfers == 0 {
					t.Errorf("verify %q: %+v", args, p)
				}
			}
		}
	}
	// A node that was stopped before others decided more knows nothing of that.
	if v, err := verifyLater(t, b.nodes[1].data); failureOf(err).status != exitUnchecked || v.Wrong > 0 || !strings.Contains(fmt.Sprint(v.Partitions[0].Unchecked), "another node's may go on") {
		t.Errorf("a later checkpoint: %+v, %v", v, err)
	}
	if _, err := verifyArchive(t, "--data", "none", "--archive", place); err != nil {
		t.Error(err)
	}
	restored, err := restoreTo(t, place)
	if err != nil {
		t.Fatal(err)
	}
	p := newPastTestIn(t, restored, serveOptions{})
	defer p.stop()
	for i, want := range b.balances() {
		id := b.plan.account(uint64(i))
		if got := p.balances(id)[id]; got != want {
			t.Errorf("restored, %s has %v, want %v", id, got, want)
		}
	}
}

// cut says whether the log of the node that was stopped in order begins later than it did. The logs of the others are kept
// for what their histories have not written yet.
func (b *bank) cut(context.Context) error {
	if _, err := os.Stat(filepath.Join(b.nodes[2].data, "log", "log", fmt.Sprintf("%020d.wal", 1))); err == nil {
		return errors.New("it has its first entry")
	}
	return nil
}

// backUp makes a backup while the leaders of a node are killed; what was interrupted is repeated.
func (b *bank) backUp(place string) {
	b.t.Helper()
	leader := 0
	b.wait("who leads is known", func(ctx context.Context) error {
		o, err := b.overview(ctx)
		if err != nil || o.Groups[1].Leader == 0 {
			return fmt.Errorf("no leader: %w", err)
		}
		leader = int(o.Groups[1].Leader) - 1
		return nil
	})
	urls := []string{b.nodes[leader].clients.Load().url, b.nodes[(leader+1)%3].clients.Load().url}
	args := []string{"wallet", "backup", "--to", place, "--addr", strings.Join(urls, ","), "--json"}
	first := make(chan error, 1)
	go func() {
		_, err := command(b.t.Context(), args...).Output()
		first <- err
	}()
	b.let(100 * time.Millisecond)
	b.kill(leader)
	b.t.Logf("the backup that was under way: %v", <-first)
	b.wait("a backup is made", func(ctx context.Context) error {
		out, err := command(ctx, args...).Output()
		var made backedUp
		if err == nil {
			err = json.Unmarshal(out, &made)
		}
		return err
	})
	b.start(leader)
	b.wait("every group has the replicas and the leader that it should", b.asWanted)
}

// pastOfNew asks the node that came last for a balance of before it came.
func (b *bank) pastOfNew(early time.Time) {
	b.t.Helper()
	for i := range uint64(3) {
		id := b.plan.account(i)
		got, _, err := b.pastOf(0, id, early.UnixNano(), nil)
		if err != nil || got != crashFunds {
			b.t.Errorf("the new node says that %s had %v, %v, want %v", id, got, err, money.Amount(crashFunds))
		}
	}
}

// balances returns what the transfers make of each account.
func (b *bank) balances() []money.Amount {
	all := slices.Repeat([]money.Amount{crashFunds}, crashAccounts)
	for _, tr := range b.made {
		if tr.code == wallet.Applied {
			all[tr.from] -= money.Amount(tr.amount)
			all[tr.to] += money.Amount(tr.amount)
		}
	}
	return all
}

// sameArchives compares the segments of all nodes: one may have some more than another, but each is the same.
func (b *bank) sameArchives(context.Context) error {
	var all []map[string][]byte
	for _, n := range b.nodes {
		of := map[string][]byte{}
		root := filepath.Join(n.data, archiveName)
		err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(name, ".seg") {
				of[strings.TrimPrefix(name, root)], err = os.ReadFile(name)
			}
			return err
		})
		if err != nil {
			return err
		}
		all = append(all, of)
	}
	if len(all[0]) < 4 { // two partitions
		return fmt.Errorf("node 1 has %d segments", len(all[0]))
	}
	for i, of := range all {
		for name, content := range all[0] {
			if !bytes.Equal(content, of[name]) {
				return fmt.Errorf("node %d has %d bytes as %s, and node 1 %d; missing or more: %s", i+1, len(of[name]), name, len(content), cmp.Diff(names(all[0]), names(of)))
			}
		}
		if len(of) != len(all[0]) {
			return fmt.Errorf("node %d has %d segments, and node 1 %d", i+1, len(of), len(all[0]))
		}
	}
	return nil
}

func names(of map[string][]byte) (all []string) {
	for name := range of {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
