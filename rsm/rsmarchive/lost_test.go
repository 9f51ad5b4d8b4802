package rsmarchive

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"maru.example/rsm"
	"maru.example/vfs"
)

// remembered is what a node knows of its archive.
type remembered struct {
	mu    sync.Mutex
	at    Position
	fails bool
}

func (r *remembered) had() Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *remembered) options() *ArchiverOptions {
	return &ArchiverOptions{
		Had: r.had,
		Durable: func(p Position) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if p.Index > r.at.Index {
				if r.fails {
					return errAway
				}
				r.at = p
			}
			return nil
		},
	}
}

// TestArchiverFindsLess lets an archive lose segments behind the archiver's back, before it begins and while it
// runs, where the history has all entries still and where it has not.
func TestArchiverFindsLess(t *testing.T) {
	const last = 200
	for _, tt := range []struct {
		name    string
		running bool
		lose    func(t *testing.T, fs vfs.FS, names []string) // of the segments
		first   rsm.Index                                     // in the history, afterwards
		lost    string                                        // "": the archive becomes whole again
	}{
		{"emptied, log cut", false, loseAll, 150, "it ends after entry 0, and had all up to %d; the log has not entries 1 to 149 either"},
		{"emptied, log whole", false, loseAll, 1, ""},
		{"one less, log cut", false, loseLast, last, "and had all up to %d"},
		{"one less, log has it", false, loseLast, 100, ""},
		{"emptied while it runs, log cut", true, loseAll, 150, "it ends after entry 0, and had all up to %d; the log has not entries 1 to 149 either"},
		{"one less while it runs, log has it", true, loseLast, 100, ""},
		{"nothing, log cut", false, func(*testing.T, vfs.FS, []string) {}, 150, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := vfs.NewMem()
				store, h, had := NewDir(fs, "archive"), newHistory(last), &remembered{}
				a := start(t, store, h, had.options())
				synctest.Wait()
				end := openArchive(t, store)
				want := had.had()
				tt.lose(t, fs, end.segments)
				h.mu.Lock()
				h.first = tt.first
				h.mu.Unlock()
				if !tt.running {
					a = start(t, store, h, had.options())
				}
				h.grow(50) // without that a segment that is gone is found when it is looked for
				time.Sleep(3 * time.Minute)
				m := a.Metrics()
				if tt.lost == "" {
					if m.LastError != "" || m.Less != nil || m.Missing > 0 || had.had().Index <= want.Index {
						t.Errorf("got %+v, up to %d; want all archived", m, had.had().Index)
					}
					if r := verify(t, store, &VerifyOptions{Expected: []Expected{{Index: want.Index, Link: want.Link, Source: "before"}}}); r.Found > 0 || len(r.Matched) != 1 {
						t.Errorf("found %v, matched %v", described(r), r.Matched)
					}
					return
				}
				if m.Less == nil || m.LastError != fmt.Sprintf("%v: "+tt.lost, ErrLost, want.Index) && tt.first == 150 || had.had() != want {
					t.Errorf("got %+v, had %d; want what is lost up to %d", m, had.had().Index, want.Index)
				}
				if now := openArchive(t, store); now.Segments() >= end.Segments() {
					t.Errorf("%d segments: something was written behind the gap", now.Segments())
				}
			})
		})
	}
}

func loseAll(t *testing.T, fs vfs.FS, names []string) {
	t.Helper()
	for _, name := range names {
		if err := fs.Remove("archive/00000001/" + name); err != nil {
			t.Fatal(err)
		}
	}
}

func loseLast(t *testing.T, fs vfs.FS, names []string) {
	t.Helper()
	loseAll(t, fs, names[len(names)-1:])
}

// TestArchiverGoesOnWhenItIsBack brings back what was lost, while the archiver runs.
func TestArchiverGoesOnWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		store, h, had := NewDir(fs, "archive"), newHistory(200), &remembered{}
		a := start(t, store, h, had.options())
		synctest.Wait()
		away := map[string][]byte{}
		for _, name := range openArchive(t, store).segments {
			content, err := store.Get(t.Context(), "00000001/"+name, 0, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			away[name] = content
			loseAll(t, fs, []string{name})
		}
		h.mu.Lock()
		h.first = 150
		h.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if m := a.Metrics(); m.Less == nil {
			t.Fatalf("got %+v, want what is lost", m)
		}
		for name, content := range away {
			if err := store.Put(t.Context(), "00000001/"+name, content); err != nil {
				t.Fatal(err)
			}
		}
		h.grow(50)
		time.Sleep(2 * time.Minute)
		if m := a.Metrics(); m.LastError != "" || m.Less != nil || m.Missing > 0 {
			t.Errorf("when it is back: %+v", m)
		}
		if r := verify(t, store, nil); r.Found > 0 {
			t.Errorf("found %v", described(r))
		}
	})
}

// TestArchiverKnowsAnotherPast refuses an archive, or a log, that does not have what was archived.
func TestArchiverKnowsAnotherPast(t *testing.T) {
	for _, emptied := range []bool{false, true} {
		t.Run(fmt.Sprint("emptied=", emptied), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := vfs.NewMem()
				store, h, had := NewDir(fs, "archive"), newHistory(200), &remembered{}
				start(t, store, h, had.options())
				synctest.Wait()
				had.mu.Lock()
				had.at.Link[0] ^= 1
				had.mu.Unlock()
				if emptied {
					loseAll(t, fs, openArchive(t, store).segments)
				}
				a := start(t, store, h, had.options())
				time.Sleep(time.Second / 2)
				if m := a.Metrics(); !errors.Is(m.Apart, ErrConflict) || m.Sealed > had.had().Index {
					t.Errorf("got %+v, want that the chain is another", m)
				}
			})
		})
	}
}

// TestLostEntries says of how much is lost, and of what is in the history alone that it is not.
func TestLostEntries(t *testing.T) {
	for _, tt := range []struct {
		LostError
		want uint64
		says string
	}{
		{LostError{40, 100, 0}, 60, "the log has not entries 41 to 100 either"},
		{LostError{40, 100, 120}, 60, "the log has not entries 41 to 100 either"},
		{LostError{40, 100, 61}, 20, "the log has not entries 41 to 60 either"},
		{LostError{40, 100, 41}, 0, "nothing is lost"},
		{LostError{0, 100, 1}, 0, "nothing is lost"},
	} {
		if got, says := tt.Entries(), tt.Error(); got != tt.want || !strings.Contains(says, tt.says) {
			t.Errorf("%+v: %d lost, %q; want %d, and %q", tt.LostError, got, says, tt.want, tt.says)
		}
	}
}

// TestArchiverIsAheadOfItsHistory says so, and goes on when the history has come as far.
func TestArchiverIsAheadOfItsHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDir()
		start(t, store, newHistory(200), &ArchiverOptions{})
		synctest.Wait()
		h := newHistory(100)
		a := start(t, store, h, &ArchiverOptions{Head: h.head})
		time.Sleep(time.Minute)
		if m := a.Metrics(); !errors.Is(m.Apart, ErrAhead) || m.Errors == 0 {
			t.Errorf("got %+v, want that the log ends before the archive", m)
		}
		h.grow(100)
		time.Sleep(2 * time.Minute)
		if m := a.Metrics(); m.LastError != "" || m.Apart != nil {
			t.Errorf("when it has come as far: %+v", m)
		}
	})
}

// TestArchiverRemembersBeforeItGoesOn tells where the archive ends until that is taken.
func TestArchiverRemembersBeforeItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		had := &remembered{fails: true}
		a := start(t, newDir(), newHistory(200), had.options())
		time.Sleep(time.Minute)
		if m := a.Metrics(); had.had().Index > 0 || m.LastError == "" || m.Segments != 1 {
			t.Errorf("told %d, %+v; want one segment, and an error", had.had().Index, m)
		}
		had.mu.Lock()
		had.fails = false
		had.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if m := a.Metrics(); had.had().Index < 150 || m.LastError != "" {
			t.Errorf("told %d, %+v", had.had().Index, m)
		}
		if !errors.Is(&LostError{1, 2, 3}, ErrLost) {
			t.Error("a LostError is no ErrLost")
		}
	})
}
