package rsmarchive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
)

var _ Source = (*rsmraft.Feed)(nil)

// history is one that a test has in its hands.
type history struct {
	mu    sync.Mutex
	seed  uint64
	first rsm.Index // what is before it was cut
	last  rsm.Index
	grown chan struct{} // closed when last grows
	fails []error       // what the next calls of Next return
	takes time.Duration // for each entry
	given int
	later time.Duration // than the same entries were once
}

func newHistory(last rsm.Index) *history {
	return &history{seed: 1, first: 1, last: last, grown: make(chan struct{})}
}

func (h *history) grow(n rsm.Index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last += n
	close(h.grown)
	h.grown = make(chan struct{})
}

func (h *history) head() (rsm.Index, int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := decidedAt(h.seed, h.last, 10)
	return h.last, d.Time
}

func (h *history) open(from rsm.Index) (Source, error) { return &source{h, from}, nil }

type source struct {
	history *history
	next    rsm.Index
}

func (s *source) Seek(to rsm.Index) { s.next = to }

func (s *source) Close() error { return nil }

func (s *source) Next(ctx context.Context) (rsm.Decided, error) {
	h := s.history
	for {
		h.mu.Lock()
		if len(h.fails) > 0 {
			err := h.fails[0]
			h.fails = h.fails[1:]
			h.mu.Unlock()
			return rsm.Decided{}, err
		}
		first, last, grown := h.first, h.last, h.grown
		h.mu.Unlock()
		switch {
		case s.next < first:
			gap := &rsm.GapError{At: s.next, Next: first}
			if s.next%2 == 0 {
				gap.Next = s.next + 1 // as where the log was cut and the decisions were not
			}
			return rsm.Decided{}, fmt.Errorf("entry %d: %w", s.next, gap)
		case s.next <= last:
			time.Sleep(h.takes)
			s.next++
			h.mu.Lock()
			h.given++
			h.mu.Unlock()
			d := decidedAt(h.seed, s.next-1, 10)
			d.Time += int64(h.later)
			return d, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return rsm.Decided{}, ctx.Err()
		}
	}
}

// start runs an archiver until the test ends.
func start(t *testing.T, store Store, h *history, opts *ArchiverOptions) *Archiver {
	t.Helper()
	if opts.Writer == nil {
		opts.Writer = &WriterOptions{SegmentBytes: 4 << 10}
	}
	a := NewArchiver(store, of, h.open, opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) && !errors.Is(err, rsm.ErrClosed) {
			t.Errorf("it ended with %v", err)
		}
	})
	return a
}

func TestArchiverFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, h := newDir(), newHistory(100)
		var durable Position
		o := &ArchiverOptions{Head: h.head, Durable: func(p Position) error { durable = p; return nil }}
		a := start(t, store, h, o)
		synctest.Wait()
		h.grow(100)
		synctest.Wait()
		m := a.Metrics()
		if m.Entries != 200 || m.Segments < 5 || m.Sealed < 150 || m.Errors > 0 || m.Missing > 0 {
			t.Errorf("got %+v, want 200 entries in some segments", m)
		}
		if m.LagEntries != uint64(200-m.Sealed) || m.Lag != time.Duration(m.LagEntries)*1000 {
			t.Errorf("lag of %d entries, %v; sealed up to %d of 200", m.LagEntries, m.Lag, m.Sealed)
		}
		end, err := openArchive(t, store).End(t.Context())
		if err != nil || durable != end || durable.Index != m.Sealed {
			t.Errorf("durable %+v, the archive ends at %+v, %v", durable, end, err)
		}
	})
}

// TestArchiverEndsSegmentsByAge archives what is far less than a segment when its period has ended.
func TestArchiverEndsSegmentsByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, h := newDir(), newHistory(100)
		o := &ArchiverOptions{Writer: &WriterOptions{SegmentAge: 40 * time.Microsecond}} // of 40 entries, from 0 and 40 on
		a := start(t, store, h, o)
		synctest.Wait()
		if m := a.Metrics(); m.Segments != 2 || m.Sealed != 79 || m.Entries != 100 || m.LastError != "" {
			t.Errorf("got %+v, want the segments of two periods", m)
		}
		h.grow(20)
		synctest.Wait()
		if m := a.Metrics(); m.Segments != 3 || m.Sealed != 119 {
			t.Errorf("got %+v, want that of another period", m)
		}
		if r := verify(t, store, nil); r.Found > 0 {
			t.Errorf("found %v", described(r))
		}
	})
}

func TestArchiverWaitsForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := newHistory(200), newDir()
		var mu sync.Mutex
		broken := true
		store := failing{dir, func() bool { mu.Lock(); defer mu.Unlock(); return broken }}
		a := start(t, store, h, &ArchiverOptions{})
		time.Sleep(time.Hour)
		m := a.Metrics()
		if m.LastError == "" || m.Errors < 60 || m.Errors > 70 || m.Sealed != 0 {
			t.Errorf("after an hour without the store: %+v; want an error a minute", m)
		}
		if h.given > 50 {
			t.Errorf("%d entries were taken, though the first segment is not stored", h.given)
		}
		mu.Lock()
		broken = false
		mu.Unlock()
		time.Sleep(2 * time.Minute)
		if m := a.Metrics(); m.LastError != "" || m.Entries != 200 || m.Sealed < 150 {
			t.Errorf("after it came back: %+v", m)
		}
		if r := verify(t, dir, nil); r.Found > 0 {
			t.Errorf("found %v", described(r))
		}
	})
}

func TestArchiverMeetsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, h := newDir(), newHistory(100)
		a := start(t, store, h, &ArchiverOptions{})
		synctest.Wait()
		h.mu.Lock()
		h.first, h.last = 151, 151
		h.mu.Unlock()
		h.grow(100)
		time.Sleep(time.Minute)
		if m := a.Metrics(); m.Entries != 201 || m.Missing != 50 {
			t.Errorf("got %+v, want 201 entries and 50 missing", m)
		}
		r := verify(t, store, nil)
		if got := described(r); len(got) != 1 || got[0] != "gap 00000000000000000151.seg -1: 101..150" {
			t.Errorf("got %v, want a gap from 101 to 150", got)
		}
	})
}

func TestArchiverTriesTheHistoryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(50)
		h.fails = []error{errAway, &rsm.GapError{At: 1}, errAway} // nobody knows where the gap ends
		a := start(t, newDir(), h, &ArchiverOptions{})
		time.Sleep(2500 * time.Millisecond)
		if m := a.Metrics(); m.Errors != 2 || m.LastError == "" {
			t.Errorf("after 2.5 s: %+v, want two errors", m)
		}
		time.Sleep(10 * time.Second)
		if m := a.Metrics(); m.Errors != 3 || m.LastError != "" || m.Entries != 50 {
			t.Errorf("later: %+v, want 50 entries", m)
		}
	})
}

func TestArchiverEndsWithItsHistory(t *testing.T) {
	h := newHistory(5)
	h.fails = []error{rsm.ErrClosed}
	err := NewArchiver(newDir(), of, h.open, nil).Run(t.Context())
	if !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("got %v, want %v", err, rsm.ErrClosed)
	}
}

func TestArchiverPausesWhileOthersAreBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(1_000_000)
		h.takes = mostNext
		var mu sync.Mutex
		busy := true
		o := &ArchiverOptions{Writer: &WriterOptions{}, Busy: func() bool { mu.Lock(); defer mu.Unlock(); return busy }}
		a := start(t, newDir(), h, o)
		time.Sleep(10 * time.Second)
		if m := a.Metrics(); m.Entries < 95 || m.Entries > 105 || m.Paused < 9*time.Second {
			t.Errorf("got %d entries of 5 ms in 10 s, and %v of pauses, want 100: a twentieth", m.Entries, m.Paused)
		}
		mu.Lock()
		busy = false
		mu.Unlock()
		before := a.Metrics().Entries
		time.Sleep(3 * time.Second)
		if n := a.Metrics().Entries - before; n < 550 {
			t.Errorf("got %d entries of 5 ms in 3 s without load, want 600", n)
		}
	})
}

func TestArchiverOfAnotherClustersArchive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDir()
		fill(t, store, 0, decidedBy(1, 1, 5, 5))
		a := NewArchiver(store, Chained{"other", 1}, newHistory(5).open, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if m := a.Metrics(); m.LastError == "" || m.Segments > 0 {
			t.Errorf("got %+v, want an error and nothing written", m)
		}
	})
}

// TestArchiverOfAnotherPast has a log that was brought back from an older copy, and went on otherwise.
func TestArchiverOfAnotherPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDir()
		end := fill(t, store, 0, decidedBy(1, 1, 20, 5))
		h := newHistory(10)
		a := start(t, store, h, &ArchiverOptions{})
		time.Sleep(time.Minute)
		if m := a.Metrics(); !strings.Contains(m.LastError, ErrAhead.Error()) || m.Entries > 0 {
			t.Errorf("while the log has not come as far: %+v", m)
		}
		h.mu.Lock()
		h.later = time.Second
		h.mu.Unlock()
		h.grow(20)
		time.Sleep(2 * time.Minute)
		if m := a.Metrics(); !strings.Contains(m.LastError, ErrConflict.Error()) || m.Entries > 0 {
			t.Errorf("got %+v, want a conflict and nothing taken", m)
		}
		if now, err := openArchive(t, store).End(t.Context()); err != nil || now != end {
			t.Errorf("the archive ends at %+v, %v", now, err)
		}
	})
}
