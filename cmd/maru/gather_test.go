package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/wallet"
)

// missing says whether nodes lack something of the past, by what they say.
func (c *testCluster) missing(ctx context.Context) error {
	o, err := c.overview(ctx)
	if err != nil || len(o.Groups) == 0 {
		return fmt.Errorf("a node knows nothing yet: %w", err)
	}
	for _, g := range o.Groups[1:] {
		if len(g.Replicas) < len(c.nodes) {
			return fmt.Errorf("group %d: %d nodes say something", g.ID, len(g.Replicas))
		}
		for _, r := range g.Replicas {
			if !r.Past.Whole() {
				return fmt.Errorf("node %d lacks of group %d %+v", r.Node, g.ID, r.Past)
			}
		}
	}
	return nil
}

// TestPastOfLateNodes lets two nodes join a cluster in which something has happened. They get what was decided before from the
// first. When that is gone, each has everything alone: the history, a backup, and what is verified where it does not run. And it
// gives it to a fourth node.
func TestPastOfLateNodes(t *testing.T) {
	c := newTestCluster(t, 1, 2)
	ctx, eur := t.Context(), money.MustParseCurrency("EUR")
	var ids []wallet.AccountID
	for i := range 4 {
		ids = append(ids, wallet.AccountID(fmt.Sprint("a", i)))
		if _, code, err := c.nodes[0].clients.Load().http.OpenAccount(ctx, wallet.NewAccount{ID: ids[i], Currency: eur, Min: wallet.Unlimited}); err != nil || code != wallet.Applied {
			t.Fatalf("open %s: %v, %v", ids[i], code, err)
		}
	}
	sent := byte(0)
	pay := func(node int) {
		t.Helper()
		for i := range ids {
			sent++
			tr := wallet.Transfer{ID: wallet.TransactionID{9, sent}, From: ids[i], To: ids[(i+1)%4], Amount: money.Amount(1 + i), Currency: eur}
			if o, err := c.nodes[node].clients.Load().http.Transfer(ctx, tr); err != nil || o.Code() != wallet.Applied {
				t.Fatalf("got %+v, %v", o, err)
			}
		}
	}
	pay(0)
	early := time.Now().UnixNano()
	c.join()
	c.join()
	pay(1)
	c.wait("nobody lacks anything", c.missing)
	c.kill(0)
	c.wait("others lead", c.withoutFirst)
	// Now nothing is whole but what was gathered.
	told := func(node int) {
		t.Helper()
		for i, id := range ids {
			want := money.Amount((i+3)%4 - i) // what came in, and went out
			for at, lines := range map[int64]int{early: 2, math.MaxInt64: 4} {
				c.wait("the history is whole", func(context.Context) error {
					got, n, err := c.pastOf(node, id, at, nil)
					if want := want * money.Amount(lines/2); err == nil && (got != want || n != lines) {
						err = fmt.Errorf("node %d, %s: %d after %d lines, want %d after %d", node+1, id, got, n, want, lines)
					}
					return err
				})
			}
		}
	}
	told(1)
	told(2)
	place := filepath.Join(t.TempDir(), "backup")
	c.maru("wallet", "backup", "--to", place, "--addr", c.nodes[2].clients.Load().url)
	if v, err := verifyArchive(t, "--data", "none", "--archive", place); err != nil || len(v.Partitions) != 2 || v.Partitions[0].Entries == 0 {
		t.Errorf("the backup: %+v, %v", v, err)
	}
	c.replace(0, 1)
	c.wait("nobody lacks anything", c.missing)
	told(0)
	c.signal(1, syscall.SIGTERM)
	if err := c.nodes[1].process.wait(); err != nil {
		t.Error(err)
	}
	v, err := verifyArchive(t, "--data", c.nodes[1].data)
	if err != nil {
		t.Fatalf("%+v, %v", v, err)
	}
	for _, p := range v.Partitions {
		if p.FromSnapshot > 0 || p.Head == "" || p.Transfers == 0 {
			t.Errorf("a node that joined: %+v", p)
		}
	}
	if r, err := runReplay(t, c.nodes[1].data); err != nil || r.Different > 0 || r.Partitions[0].FromSnapshot > 0 {
		t.Errorf("replay: %+v, %v", r, err)
	}
	at := time.Unix(0, early).UTC().Format(time.RFC3339Nano)
	if out, _, err := runHere(t, "wallet", "balance", "a0", "--at", at, "--data", c.nodes[1].data); err != nil || !strings.Contains(out, "0.03") {
		t.Errorf("balance: %s, %v", out, err)
	}
	// It has what a checkpoint needs.
	key, checkpoint := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "checkpoint")
	for _, args := range [][]string{{"checkpoint-key", key}, {"checkpoint", "--data", c.nodes[1].data, "--key", key, "--out", checkpoint}} {
		if _, _, err := runHere(t, append([]string{"wallet"}, args...)...); err != nil {
			t.Error(args, err)
		}
	}
	if v, err := verifyArchive(t, "--data", c.nodes[1].data, "--checkpoint", checkpoint, "--public-key", key+".pub"); err != nil || len(v.Partitions[0].Matched) != 1 {
		t.Errorf("against its checkpoint: %+v, %v", v, err)
	}
	// A bit of what is kept is flipped, and the history is to be made anew of it: the node gets it anew.
	past := filepath.Join(c.nodes[1].data, pastName)
	flipByte(t, segments(t, past, 1)[0], 150)
	if v, err = verifyArchive(t, "--data", c.nodes[1].data); err == nil || len(v.Partitions) == 0 {
		t.Fatalf("what is damaged is not found: %+v, %v", v, err)
	}
	if wrong := v.Partitions[0].Wrong; len(wrong) == 0 || len(slices.Compact(slices.Sorted(slices.Values(wrong)))) < len(wrong) {
		t.Errorf("a damage is told never, or twice: %q", wrong)
	}
	if err := os.RemoveAll(filepath.Join(c.nodes[1].data, historyName)); err != nil {
		t.Fatal(err)
	}
	c.start(1)
	c.wait("what was damaged is set aside", func(context.Context) error {
		_, err := os.Stat(filepath.Join(past, rsmarchive.Chained{Group: 1}.Folder()+asideSuffix))
		return err
	})
	c.wait("nobody lacks anything", c.missing)
	told(1)
	c.signal(1, syscall.SIGTERM)
	if err := c.nodes[1].process.wait(); err != nil {
		t.Error(err)
	}
	if v, err = verifyArchive(t, "--data", c.nodes[1].data); err != nil {
		t.Fatalf("%+v, %v", v, err)
	}
	// What is kept is removed: then not everything is here, and verify says so.
	if err := removePast(past, rsmarchive.Chained{Group: 1}); err != nil {
		t.Fatal(err)
	}
	if v, err = verifyArchive(t, "--data", c.nodes[1].data); failureOf(err).status != exitFailed || v.Wrong > 0 || len(v.Partitions[0].Missing) == 0 || len(v.Partitions[1].Missing) > 0 {
		t.Errorf("without it: %+v, %v", v, err)
	}
	if _, err = verifyArchive(t, "--data", c.nodes[1].data, "--partial"); err != nil {
		t.Errorf("--partial: %v", err)
	}
}

// withoutFirst says whether nodes other than the first lead all groups.
func (c *testCluster) withoutFirst(ctx context.Context) error {
	o, err := c.overview(ctx)
	if err != nil {
		return err
	}
	for _, g := range o.Groups {
		if g.Leader <= 1 {
			return fmt.Errorf("node %d leads group %d", g.Leader, g.ID)
		}
	}
	return nil
}

// TestPastMessages reads requests and answers as they were written, and no others.
func TestPastMessages(t *testing.T) {
	r := pastRequest{rsmarchive.Position{Index: 7, Term: 3, Time: -5, Link: rsmarchive.Origin("a", 1)}, 12}
	b := r.encode()
	if got, err := parsePastRequest(b); err != nil || got != r || !isPastRequest(b) || len(b) != pastRequestBytes {
		t.Errorf("got %+v, %v, want %+v", got, err, r)
	}
	for name, bad := range map[string][]byte{
		"nothing": nil, "short": b[:len(b)-1], "long": append(bytes.Clone(b), 0), "newer": append([]byte{pastRequestMark, pastRequestVersion + 1}, b[2:]...),
		"nothing asked for": (&pastRequest{r.after, 7}).encode(),
	} {
		if got, err := parsePastRequest(bad); !errors.Is(err, errPastMessage) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, a := range []pastAnswer{{pastEntries, 0, []byte("segment")}, {pastLacks, 9, []byte{}}, {pastLacks, 0, []byte{}}, {pastNotYet, 0, []byte{}}} {
		got, err := parsePastAnswer(a.encode())
		if diff := cmp.Diff(a, got, cmp.AllowUnexported(pastAnswer{})); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	for _, a := range []pastAnswer{{pastEntries, 0, nil}, {pastEntries, 1, []byte("x")}, {pastLacks, 9, []byte("x")}, {pastNotYet, 1, nil}, {0, 0, nil}, {99, 0, nil}} {
		if got, err := parsePastAnswer(a.encode()); !errors.Is(err, errPastMessage) {
			t.Errorf("%+v was taken for %+v: %v", a, got, err)
		}
	}
}

// TestPastGolden writes messages as they were written by the first program that had them.
func TestPastGolden(t *testing.T) {
	r := pastRequest{rsmarchive.Position{Index: 7, Term: 3, Time: 1_796_073_889_000_000_000, Link: rsmarchive.Origin("a", 1)}, 12}
	lacks, late, here := pastAnswer{kind: pastLacks, next: 9}, pastAnswer{kind: pastNotYet}, pastAnswer{kind: pastEntries, segment: []byte("segment")}
	var text strings.Builder
	for _, m := range []struct {
		name string
		b    []byte
	}{{"request", r.encode()}, {"lacks", lacks.encode()}, {"not yet", late.encode()}, {"entries", here.encode()}} {
		fmt.Fprintf(&text, "%s: %x\n", m.name, m.b)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "past.golden"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// FuzzPastMessages never panics, and what it takes it writes again.
func FuzzPastMessages(f *testing.F) {
	f.Add((&pastRequest{rsmarchive.Position{Index: 1}, 2}).encode())
	f.Add((&pastAnswer{pastLacks, 5, nil}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parsePastRequest(b); err == nil {
			if again, err := parsePastRequest(r.encode()); err != nil || again != r {
				t.Errorf("%+v became %+v, %v", r, again, err)
			}
		}
		if a, err := parsePastAnswer(b); err == nil {
			if again, err := parsePastAnswer(a.encode()); err != nil || !cmp.Equal(again, a, cmp.AllowUnexported(pastAnswer{})) {
				t.Errorf("%+v became %+v, %v", a, again, err)
			}
		}
		_, _ = rsmarchive.ReadTaken(t.Context(), rsmarchive.Chained{}, rsmarchive.Position{}, b, func(*rsm.Decided) error { return nil })
	})
}
