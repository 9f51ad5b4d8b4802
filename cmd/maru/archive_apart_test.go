package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"maru.example/rsm"
)

// opens tries to open a directory, and returns why it is refused; what it logged is in said.
func opens(t *testing.T, data string, o serveOptions) (said string, err error) {
	t.Helper()
	var log bytes.Buffer
	o.data, o.reserve, o.snapshot, o.maxQueue = data, -1, -1, 1<<20
	n, err := openNode(t.Context(), &o, slog.New(slog.NewTextHandler(&log, nil)))
	if err == nil {
		err = n.close(0)
		return log.String(), err
	}
	return log.String(), err
}

// forkedLog serves an older copy of a node, whose archive has what that decided later.
func forkedLog(t *testing.T, a *archivedTest) {
	later := a.copy(t)
	later.start(t, later.data, serveOptions{})
	later.busy(30)
	later.sealed()
	later.stop()
	older := a.copy(t)
	mustEmpty(t, older.place)
	if err := os.CopyFS(older.place, os.DirFS(later.place)); err != nil {
		t.Fatal(err)
	}
	// Without an archive, the one that it had is asked.
	short := older.copy(t)
	if _, err := opens(t, short.data, serveOptions{archive: noArchive}); err == nil || !strings.Contains(err.Error(), "the log ends too early") {
		t.Fatalf("an older copy, with --archive none: got %v", err)
	}

	away := older.place + "-away"
	mustRename(t, older.place, away)
	older.start(t, older.data, serveOptions{archive: noArchive})
	older.busy(60)
	older.stop()
	forked := older.copy(t)
	mustRename(t, away, older.place)
	for _, archive := range []string{"", noArchive} {
		if _, err := opens(t, older.data, serveOptions{archive: archive}); err == nil || !strings.Contains(err.Error(), "the log is not the one that was archived") || failureOf(err).hint != hintApart {
			t.Errorf("--archive %q: got %v (%s)", archive, err, failureOf(err).hint)
		}
	}
	if v, err := verifyArchive(t, "--data", older.data); err == nil || !strings.Contains(fmt.Sprint(v.Partitions), "of the archive is not as in the log") {
		t.Errorf("verify: %+v, %v", v, err)
	}

	// The archive comes back while it is served.
	forked.start(t, forked.data, serveOptions{})
	if err := forked.node.archive.err(); err != nil {
		t.Errorf("without its archive: %v", err)
	}
	mustEmpty(t, forked.place)
	mustRename(t, older.place, forked.place)
	forked.until("it is not ready", func() bool {
		err := forked.node.err()
		return err != nil && strings.Contains(err.Error(), "are not of one past") && strings.Contains(err.Error(), hintApart)
	})
	forked.stop()
}

// TestArchiveSwapped puts an empty directory in the place of the archive while the node runs: its log has all.
func TestArchiveSwapped(t *testing.T) {
	a := newArchivedTest(t, serveOptions{wholeLog: true})
	a.live(250)
	a.busy(20)
	a.sealed()
	away := a.place + "-away"
	mustRename(t, a.place, away)
	if err := os.Mkdir(a.place, 0o700); err != nil {
		t.Fatal(err)
	}
	var anew []string
	a.until("it is missed", func() bool { // when the next segment is full
		a.busy(5)
		return len(a.node.archive.warnings()) == 2
	})
	for i, says := range a.node.archive.warnings() {
		had := a.node.archived.had(uint16(i)).Index
		anew = append(anew, fmt.Sprintf("%d:%d", i, had))
		if !strings.Contains(says, fmt.Sprintf("had all up to %d; the log has all of that still, so nothing is lost", had)) || !strings.Contains(says, "start with --archive-begin-anew "+anew[i]+":") {
			t.Errorf("it says %q", says)
		}
	}
	for _, m := range a.node.archive.metrics() {
		if m.lost() > 0 || m.LastError == "" {
			t.Errorf("%+v", m)
		}
	}
	a.stop()

	// Accepted is what is said only where there is an archive that has less.
	if _, err := opens(t, a.data, serveOptions{archive: noArchive, archiveAnew: anew}); err == nil || failureOf(err).status != exitUsage {
		t.Errorf("without an archive: got %v", err)
	}
	intact := a.copy(t)
	mustEmpty(t, intact.place)
	mustRename(t, filepath.Join(intact.data, filepath.Base(away)), intact.place)
	for _, tt := range []struct{ name, anew, archive, says string }{
		{"an archive that lost nothing", anew[0], "", "the archive has all that it had"},
		{"another entry", "0:1", "", "names another entry"},
		{"no such partition", "7:1", "", "names another entry"},
		{"an archive that cannot be read", anew[1], mustMakeFile(t), "not known what the archive has"},
	} {
		said, err := opens(t, intact.data, serveOptions{archive: tt.archive, archiveAnew: []string{tt.anew}})
		if err != nil || !strings.Contains(said, tt.says) || strings.Contains(said, "given up") {
			t.Errorf("%s: %v, said %s", tt.name, err, said)
		}
		for i := range anew {
			r, err := openArchiveRecord(intact.data)
			if got := fmt.Sprintf("%d:%d", i, r.had(uint16(i)).Index); err != nil || r.had(uint16(i)).Index < had(t, anew[i]) {
				t.Errorf("%s: archived is %s, %v; was %s", tt.name, got, err, anew[i])
			}
		}
	}

	a.start(t, a.data, serveOptions{wholeLog: true, archiveAnew: anew})
	a.sealed()
	for _, m := range a.node.archive.metrics() {
		if m.Less != nil || m.LastError != "" || m.Missing > 0 {
			t.Errorf("when it was to begin anew: %+v", m)
		}
	}
	a.stop()
	if v, err := verifyArchive(t, "--data", a.data); err != nil || v.Partitions[0].Segments == 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// had returns the entry of what --archive-begin-anew says.
func had(t *testing.T, anew string) rsm.Index {
	t.Helper()
	var partition, index uint64
	if _, err := fmt.Sscanf(anew, "%d:%d", &partition, &index); err != nil {
		t.Fatal(err)
	}
	return rsm.Index(index)
}

// mustMakeFile returns the name of a file, in which no archive can be.
func mustMakeFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	mustWrite(t, name, "")
	return name
}
