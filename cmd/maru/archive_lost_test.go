package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/wallet"
)

// emptiedArchive empties the archive of a node whose log was cut. It goes on without claiming it, or cutting its log, until
// that is accepted.
func emptiedArchive(t *testing.T, a *archivedTest) {
	mustEmpty(t, a.place)
	note := mustRead(t, filepath.Join(a.data, archivedName))
	a.start(t, a.data, serveOptions{snapshot: 4 << 10})
	var accept []string
	a.until("all of it is said to be lost", func() bool {
		accept = nil
		for _, m := range a.node.archive.metrics() {
			had := a.node.archived.had(m.partition)
			if m.lost() == 0 || m.lost() >= uint64(had.Index) || m.Less.Had != had.Index || m.LastError == "" { // the log has the newest of them
				return false
			}
			accept = append(accept, fmt.Sprintf("%d:%d", m.partition, had.Index))
		}
		return len(accept) == 2
	})
	says := a.node.archive.warnings()
	if len(says) != 2 || !strings.Contains(says[1], "--archive-begin-anew "+accept[1]) {
		t.Errorf("warnings: %q", says)
	}
	first := firstFile(t, a.data, "log/log/*.wal")
	a.busy(30) // it is served
	a.snapshot()
	a.snapshot()
	a.stop()
	if _, err := os.Stat(filepath.Join(a.place, ownerName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was claimed: %v", err)
	}
	if now := mustRead(t, filepath.Join(a.data, archivedName)); now != note {
		t.Errorf("what was archived is forgotten:\n%s", now)
	}
	if now := firstFile(t, a.data, "log/log/*.wal"); now != first {
		t.Errorf("the log begins with %s, and began with %s", now, first)
	}
	a.start(t, a.data, serveOptions{archiveAnew: append(accept, "1:1")}) // the last says nothing
	a.busy(20)
	a.sealed()
	for _, m := range a.node.archive.metrics() {
		if m.Less != nil || m.LastError != "" || m.Missing == 0 {
			t.Errorf("when that was accepted: %+v", m)
		}
	}
	a.stop()
	if _, err := verifyArchive(t, "--data", a.data, "--partial"); err != nil {
		t.Error(err)
	}
}

// unmountedArchive has nothing where the archive was, for a while.
func unmountedArchive(t *testing.T, a *archivedTest) {
	away := a.place + "-away"
	mustRename(t, a.place, away)
	a.start(t, a.data, serveOptions{})
	a.until("it is missed", func() bool { return len(a.node.archive.warnings()) == 2 })
	mustRename(t, away, a.place)
	a.busy(20)
	a.sealed()
	if says := a.node.archive.warnings(); len(says) > 0 {
		t.Errorf("when it is back: %q", says)
	}
	a.stop()
	if _, err := verifyArchive(t, "--data", a.data); err != nil {
		t.Error(err)
	}
}

// otherPlace gives a node whose log was cut another place for its archive, which lacks what was archived before.
func otherPlace(t *testing.T, a *archivedTest) {
	before := a.place
	a.place = filepath.Join(t.TempDir(), "other")
	a.start(t, a.data, serveOptions{archive: a.place})
	a.until("it is missed", func() bool { return len(a.node.archive.warnings()) == 2 })
	for group := 1; group <= 2; group++ { // as an operator would
		folder := fmt.Sprintf("%08d", group)
		if err := os.CopyFS(filepath.Join(a.place, folder), os.DirFS(filepath.Join(before, folder))); err != nil {
			t.Fatal(err)
		}
	}
	a.busy(20)
	a.sealed()
	a.stop()
	if _, err := verifyArchive(t, "--data", a.data); err != nil {
		t.Error(err)
	}
}

// shortLog has an older copy of a log, or a log that lost its end, beside the archive: what it lacks may have been answered.
func shortLog(t *testing.T, a *archivedTest) {
	later := a.copy(t)
	later.start(t, later.data, serveOptions{})
	later.busy(30)
	later.sealed()
	want := later.balances("bank", "a", "b")
	later.stop()
	for _, tt := range []struct{ name, file string }{
		{"the node knows", archivedName},   // of a log that lost its end
		{"the archive knows", archiveName}, // of the copy of a whole directory, but for the archive
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := a.copy(t)
			from, to := filepath.Join(later.data, tt.file), filepath.Join(c.data, tt.file)
			mustEmpty(t, to)
			if tt.file == archivedName {
				mustWrite(t, to, mustRead(t, from))
			} else if err := os.CopyFS(to, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			before, copied := mustRead(t, firstFile(t, c.data, "log/log/*.wal")), c.copy(t) // this process keeps files that it could not use
			_, err := openNode(t.Context(), &serveOptions{data: c.data, reserve: -1, snapshot: -1, maxQueue: 1 << 20}, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), "the log ends too early") || !strings.Contains(failureOf(err).hint, "maru wallet restore --from "+c.data) {
				t.Fatalf("got %v (%s)", err, failureOf(err).hint)
			}
			if now := mustRead(t, firstFile(t, c.data, "log/log/*.wal")); now != before {
				t.Error("something was written")
			}
			data, err := restoreTo(t, copied.data)
			if tt.file == archivedName {
				if err == nil || !strings.Contains(err.Error(), "were archived") || failureOf(err).hint == "" {
					t.Errorf("restored without what was archived: %v", err)
				}
				data, err = restoreTo(t, copied.data, "--archive", later.place)
			}
			if err != nil {
				t.Fatal(err)
			}
			checkRepaired(t, data, want)
		})
	}
}

// checkRepaired serves a wallet that was restored of an archive and a log that is shorter: a few transfers are in no segment.
func checkRepaired(t *testing.T, data string, want map[wallet.AccountID]money.Amount) {
	t.Helper()
	r := newPastTestIn(t, data, serveOptions{})
	defer r.stop()
	r.runs = 99
	r.pay("bank", "a", 1, wallet.Applied)
	const few = 20
	for id, amount := range r.balances("a", "b") {
		if amount < want[id]-few || amount > want[id]+1 {
			t.Errorf("%s has %d, and had %d", id, amount, want[id])
		}
	}
}

func mustEmpty(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

func mustRename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestArchiveRecord(t *testing.T) {
	data := t.TempDir()
	r, err := openArchiveRecord(data)
	if err != nil || r.had(0).Index != 0 {
		t.Fatalf("nothing: %v, %v", r, err)
	}
	at := rsmarchive.Position{Index: 7, Term: 2, Time: 1_700_000_000_123_456_789, Link: rsmarchive.Link{1, 2, 3}}
	older := at
	older.Index = 6
	for _, p := range []rsmarchive.Position{at, older, {}} {
		if err := r.remember("archive", 3, p); err != nil {
			t.Fatal(err)
		}
	}
	again, err := openArchiveRecord(data)
	if err != nil || !again.at("archive") {
		t.Fatal(err)
	}
	if diff := cmp.Diff(at, again.had(3)); diff != "" {
		t.Errorf("read again (-was +is)\n%s", diff)
	}
	gone := func(partition uint16, upTo rsm.Index) bool { return again.had(partition).Index == upTo }
	for _, bad := range []string{"", "3", "3:", "3:0", "x:7", "70000:7"} {
		if _, err := again.accept([]string{bad}, gone); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if got, err := again.accept([]string{"3:6", "2:7"}, gone); err != nil || len(got) > 0 || again.had(3) != at {
		t.Errorf("another loss: %v, %v", got, err)
	}
	if got, err := again.accept([]string{"3:7"}, gone); err != nil || len(got) != 1 || again.had(3).Index != 0 {
		t.Errorf("that loss: %v, %v", got, err)
	}
	for name, content := range map[string]string{
		"no JSON": "{", "newer": `{"version": 2}`, "a link that is too short": `{"version":1,"partitions":[{"partition":1,"index":2,"link":"AAAA"}]}`,
	} {
		mustWrite(t, filepath.Join(data, archivedName), content)
		if _, err := openArchiveRecord(data); err == nil || failureOf(err).hint == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func mustRead(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mustWrite(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
