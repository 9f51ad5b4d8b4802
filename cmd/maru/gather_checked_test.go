package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
	"maru.example/wallet/walletraft"
)

// TestCheckedPast damages what a node keeps of the past in ways that its size does not show. What was written to since it was
// checked is read at the next start, and so is all if somebody met damage; else it is trusted.
func TestCheckedPast(t *testing.T) {
	tests := []struct {
		name    string
		noted   bool // it was checked before
		touched bool // the time of the file shows that something was written
		met     bool // somebody met the damage
		trusted bool
	}{
		{"never checked", false, false, false, false},
		{"written to since", true, true, false, false},
		{"a bit that flipped, which nobody met", true, false, false, true},
		{"one that somebody met", true, false, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := &node{identity: &identity{Cluster: cluster.ID("0123456789abcdef0123456789abcdef"), Partitions: 1}, logger: slog.New(slog.DiscardHandler)}
			data := t.TempDir()
			start := func() *gatheringWork {
				return &gatheringWork{gatherer: newGatherer(n, data, false), one: &gathering{changed: make(chan struct{})}}
			}
			of := n.identity.chained(0)
			keepPast(t, start(), of)
			segment := segments(t, filepath.Join(data, pastName), 1)[0]
			if tt.noted {
				if err := start().find(t.Context(), 100); err != nil {
					t.Fatal(err)
				}
			}
			was, err := os.Stat(segment)
			if err != nil {
				t.Fatal(err)
			}
			flipByte(t, segment, int(was.Size())/2)
			at := was.ModTime()
			if tt.touched {
				at = at.Add(time.Second)
			}
			if err := os.Chtimes(segment, at, at); err != nil {
				t.Fatal(err)
			}
			w := start()
			w.one.suspect.Store(tt.met)
			switch err := w.find(t.Context(), 100); {
			case tt.trusted:
				if err != nil || w.at.Index != 50 {
					t.Errorf("got entry %d, %v", w.at.Index, err)
				}
			case !errors.Is(err, rsmarchive.ErrDamaged):
				t.Errorf("got entry %d, %v, want the damage", w.at.Index, err)
			default:
				if _, err := os.Stat(checkedName(w.dir, of)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the note is still there: %v", err)
				}
			}
		})
	}
}

// keepPast lets a node keep the entries up to 50.
func keepPast(t *testing.T, g *gatheringWork, of rsmarchive.Chained) {
	t.Helper()
	w := rsmarchive.NewWriter(g.store, of, rsmarchive.Position{Link: of.Origin()}, nil)
	for i := rsm.Index(1); i <= 50; i++ {
		if err := w.Append(&rsm.Decided{Index: i, Term: 1, Time: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestPastOfOnesOwnLog keeps entries that the log has as well, from the first one on: the node lets go of them.
func TestPastOfOnesOwnLog(t *testing.T) {
	g, err := rsmraft.OpenAlone("log", &rsmtest.Recorded{}, &rsmraft.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	n := &node{identity: &identity{Cluster: cluster.ID("0123456789abcdef0123456789abcdef"), Partitions: 1}, logger: slog.New(slog.DiscardHandler)}
	n.logs = []*walletraft.Log{walletraft.NewLog(g.Host, 0, nil)}
	w := &gatheringWork{gatherer: newGatherer(n, t.TempDir(), false), one: &gathering{changed: make(chan struct{})}}
	of := n.identity.chained(0)
	keepPast(t, w, of)
	w.step(t.Context()) // nothing is decided yet: a snapshot may come
	if kept, err := os.ReadDir(w.dir); err != nil || len(kept) == 0 {
		t.Errorf("before anything is decided, it keeps %v, %v", kept, err)
	}
	for i := range 3 {
		if _, _, err := g.Propose(t.Context(), []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	w.step(t.Context())
	if kept, err := os.ReadDir(w.dir); err != nil || len(kept) > 0 {
		t.Errorf("it keeps %v, %v", kept, err)
	}
}
