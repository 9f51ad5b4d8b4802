package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// archivedTest is a node with an archive, whose segments have a few entries each.
type archivedTest struct {
	*pastTest
	place string
}

func newArchivedTest(t *testing.T, o serveOptions) *archivedTest {
	t.Helper()
	data := t.TempDir()
	a := &archivedTest{place: filepath.Join(data, archiveName)}
	o.archive = a.place
	a.start(t, data, o)
	return a
}

// copy returns a copy of a node that does not run.
func (a *archivedTest) copy(t *testing.T) *archivedTest {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(data, os.DirFS(a.data)); err != nil {
		t.Fatal(err)
	}
	return &archivedTest{&pastTest{t: t, data: data, eur: a.eur, ids: a.ids, runs: a.runs}, filepath.Join(data, archiveName)}
}

func (a *archivedTest) start(t *testing.T, data string, o serveOptions) {
	t.Helper()
	o.archiveSegment, o.logSegment = 1<<10, 1<<10
	var runs byte
	if a.pastTest != nil {
		runs = a.runs + 1
	}
	a.pastTest = newPastTestIn(t, data, o)
	a.runs = runs
}

// until waits for something that is true soon.
func (p *pastTest) until(what string, ok func() bool) {
	p.t.Helper()
	settle(p.t, what, 10*time.Millisecond, func(context.Context) error {
		if !ok() {
			return errors.New("not yet")
		}
		return nil
	})
}

// sealed waits until the archive of each partition has what is decided now, but for a few
// entries of the segment that is being made.
func (a *archivedTest) sealed() {
	a.t.Helper()
	const few = 20
	var want []rsm.Index
	for i := range a.node.logs {
		g, err := a.node.logs[i].Replica()
		if err != nil {
			a.t.Fatal(err)
		}
		want = append(want, max(g.Applied(), few)-few)
	}
	a.until("all is archived", func() bool {
		all := a.node.archive.metrics()
		for i := range all {
			if all[i].Sealed < want[i] {
				return false
			}
		}
		return len(all) == len(want)
	})
}

// busy makes some transfers, within partitions and between them.
func (p *pastTest) busy(n int) {
	p.t.Helper()
	for range n {
		p.pay("bank", "a", 1, wallet.Applied)
		p.pay("bank", "b", 1, wallet.Applied)
	}
}

// cutNode is a node, which does not run, whose log begins after its first entry: what was before is in the archive.
func cutNode(t *testing.T) *archivedTest {
	t.Helper()
	a := newArchivedTest(t, serveOptions{snapshot: 4 << 10}) // group 0, where nothing happens, lets the log go then
	a.live(250)
	a.busy(20)
	a.snapshot()
	a.busy(20)
	a.sealed()
	a.snapshot()
	first := firstFile(t, a.data, "log/log/*.wal")
	a.until("the log is cut", func() bool {
		a.busy(1)
		a.snapshot()
		_, err := os.Stat(first)
		return errors.Is(err, fs.ErrNotExist)
	})
	a.busy(3)
	a.stop()
	return a
}

// TestCutLog makes one such node, and looks at copies of it.
func TestCutLog(t *testing.T) {
	a := cutNode(t)
	for name, test := range map[string]func(*testing.T, *archivedTest){
		"emptied": emptiedArchive, "unmounted": unmountedArchive, "other place": otherPlace, "short log": shortLog, "forked": forkedLog,
		"history": historyOfACutLog, "verify": verifyOfACutLog, "damage": damageOfTheArchive, "not there": whatIsNotThere, "gap": archiveWithAGap, "checkpoint": checkpointOfACutLog,
	} {
		t.Run(name, func(t *testing.T) { test(t, a.copy(t)) })
	}
}

// historyOfACutLog makes the history of what the archive and the log have together.
func historyOfACutLog(t *testing.T, a *archivedTest) {
	a.start(t, a.data, serveOptions{history: true}) // it goes on with the archive that it had
	defer a.stop()
	for _, l := range a.node.logs {
		g, err := l.Replica()
		if err != nil {
			t.Fatal(err)
		}
		f, err := g.Feed(rsmraft.FirstEntry)
		for err == nil {
			_, err = f.Next(t.Context())
		}
		if !errors.Is(err, rsm.ErrGap) {
			t.Fatalf("the log alone: %v, want a gap", err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	whole := func() bool {
		all := a.node.history.store.Metrics().Partitions
		for _, one := range all {
			if one.First != 1 || one.LagEntries > 0 {
				return false
			}
		}
		return len(all) == 2
	}
	a.until("the history is made", whole)
	r := &wallet.HistoryRequest{Tenant: wallet.DefaultTenant, Account: "b", Lines: wallet.LineQuery{To: math.MaxInt64, Currency: a.eur, Limit: wallet.MaxHistoryLines}}
	before, code, err := a.node.wallet.Load().HistoryLines(t.Context(), r)
	if err != nil || code != wallet.Applied || len(before.Lines) < 46 {
		t.Fatalf("%d lines, %v, %v", len(before.Lines), code, err)
	}
	if err := a.node.history.rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.until("the history is made anew", whole)
	after, _, err := a.node.wallet.Load().HistoryLines(t.Context(), r)
	if diff := cmp.Diff(before.Lines, after.Lines); diff != "" || err != nil {
		t.Errorf("after it was rebuilt: %v (-before +after)\n%s", err, diff)
	}
}

// TestArchiveIsAway has no archive for a while: the wallet goes on, and the log is kept.
func TestArchiveIsAway(t *testing.T) {
	a := newArchivedTest(t, serveOptions{})
	a.live(250)
	a.busy(20)
	a.sealed()
	away := a.place + "-away"
	if err := errors.Join(os.Rename(a.place, away), os.WriteFile(a.place, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	a.busy(20)
	a.until("it fails", func() bool {
		all := a.node.archive.metrics()
		return all[0].LastError != "" && all[1].LastError != ""
	})
	a.busy(20)
	a.snapshot()
	if err := errors.Join(os.Remove(a.place), os.Rename(away, a.place)); err != nil {
		t.Fatal(err)
	}
	a.sealed()
	for _, m := range a.node.archive.metrics() {
		if m.LastError != "" || m.Missing > 0 || m.Errors == 0 {
			t.Errorf("afterwards: %+v", m)
		}
	}
	a.stop()
}

// TestArchiveOfAQuietWallet archives what is far less than a segment, when its period has ended, and then nothing more.
func TestArchiveOfAQuietWallet(t *testing.T) {
	data := t.TempDir()
	const age = 200 * time.Millisecond
	p := newPastTestIn(t, data, serveOptions{archive: filepath.Join(data, archiveName), archiveSegment: 64 << 20, archiveAge: age})
	p.live(250)
	var want, after []rsm.Index
	applied := func() (all []rsm.Index) {
		for _, l := range p.node.logs {
			g, err := l.Replica()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, g.Applied())
		}
		return all
	}
	want = applied()
	p.until("all is in segments", func() bool {
		for i, m := range p.node.archive.metrics() {
			if m.Sealed < want[i] {
				return false
			}
		}
		return true
	})
	after = applied()
	ended := time.Now().Add(3 * age)
	p.until("some periods have passed", func() bool { return time.Now().After(ended) })
	for i, index := range applied() {
		if index > after[i]+1 || after[i] > want[i]+2 { // one, if none was on its way
			t.Errorf("partition %d: entry %d, and then %d and %d, with nothing to be archived", i, want[i], after[i], index)
		}
	}
	p.stop()
	if _, err := verifyArchive(t, "--data", data); err != nil {
		t.Error(err)
	}
}

// TestArchiveOfAnother refuses archives that are not the node's.
func TestArchiveOfAnother(t *testing.T) {
	a := newArchivedTest(t, serveOptions{})
	a.live(250)
	a.busy(10)
	a.sealed()
	a.stop()
	unowned := filepath.Join(t.TempDir(), "archive")
	if err := os.CopyFS(unowned, os.DirFS(a.place)); err != nil {
		t.Fatal(err)
	}
	mustRemove(t, filepath.Join(unowned, ownerName))
	for _, tt := range []struct{ name, place, want string }{
		{"of another cluster", a.place, "of cluster "},
		{"whose owner is not known", unowned, "another cluster or group"},
		{"whose owner is damaged", damagedOwner(t), "damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := t.TempDir()
			for range 2 { // also by a directory that has a cluster by now
				_, err := openNode(t.Context(), &serveOptions{data: data, archive: tt.place, partitions: 2, reserve: -1, snapshot: -1, maxQueue: 1 << 20}, slog.New(slog.DiscardHandler))
				if err == nil || !strings.Contains(err.Error(), "is not this node's") || !strings.Contains(err.Error(), tt.want) || failureOf(err).hint == "" {
					t.Fatalf("got %v, want an error with a hint that says %q", err, tt.want)
				}
			}
		})
	}
	t.Run("of the same cluster, on another disk", func(t *testing.T) {
		id, err := loadIdentity(a.data)
		if err != nil {
			t.Fatal(err)
		}
		id.Incarnation = newID()
		n := &node{identity: id, logger: slog.New(slog.DiscardHandler)}
		place, err := parseLocation(a.place)
		if err != nil {
			t.Fatal(err)
		}
		record, err := openArchiveRecord(a.data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openArchivist(t.Context(), n, place, record); !isForeign(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("none", func(t *testing.T) {
		p := newPastTestIn(t, a.data, serveOptions{archive: noArchive})
		if p.node.archive != nil {
			t.Error("it is archived")
		}
		p.stop()
	})
}

func damagedOwner(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, ownerName)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}
