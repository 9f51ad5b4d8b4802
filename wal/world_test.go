package wal_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"maru.example/vfs"
	"maru.example/wal"
)

// errPower is what every call gets after the power went.
var errPower = errors.New("no power")

// world is a log on a disk that may fail, and what must be in it.
type world struct {
	tb   testing.TB
	mem  *vfs.Mem
	fs   *vfs.Faulty
	opts wal.Options
	log  *wal.Log // nil while it is not open

	first  wal.Index // of the records that are sure
	sure   []string  // acknowledged
	maybe  []string  // may follow them: an Append failed
	low    int       // sure may be cut to as few: a TruncateAfter failed
	before wal.Index // the highest that TruncateBefore was asked for
}

func newWorld(tb testing.TB, segmentBytes int64) *world {
	tb.Helper()
	mem := vfs.NewMem()
	return &world{tb: tb, mem: mem, fs: vfs.NewFaulty(mem, nil), opts: wal.Options{SegmentBytes: segmentBytes}, first: 1}
}

// failed checks that an error of the log is one that a fault explains, and that
// the log is poisoned.
func (w *world) failed(err error) {
	w.tb.Helper()
	if !errors.Is(err, wal.ErrFailed) || !errors.Is(w.log.Err(), wal.ErrFailed) {
		w.tb.Fatalf("got %v, and Err %v, want %v", err, w.log.Err(), wal.ErrFailed)
	}
	last := w.log.Last()
	if _, err := w.log.Append(record("after a failure")); !errors.Is(err, wal.ErrFailed) {
		w.tb.Fatalf("Append after a failure: got %v, want %v", err, wal.ErrFailed)
	}
	if got := w.log.Last(); got != last {
		w.tb.Fatalf("Last after a failure: got %d, want %d", got, last)
	}
}

func (w *world) append(texts ...string) {
	w.tb.Helper()
	records := make([]wal.Record, len(texts))
	for i, text := range texts {
		half := len(text) / 2
		records[i] = wal.Record{[]byte(text[:half]), nil, []byte(text[half:])}
	}
	want := w.first + wal.Index(len(w.sure))
	index, err := w.log.Append(records...)
	if err != nil {
		w.maybe = texts
		w.failed(err)
		return
	}
	if index != want {
		w.tb.Fatalf("Append: got index %d, want %d", index, want)
	}
	w.sure = append(w.sure, texts...)
}

// truncateAfter keeps so many of the records.
func (w *world) truncateAfter(keep int) {
	w.tb.Helper()
	if err := w.log.TruncateAfter(w.first + wal.Index(keep) - 1); err != nil {
		w.low = keep
		w.failed(err)
		return
	}
	w.sure = w.sure[:keep]
	w.low = keep
}

func (w *world) truncateBefore(index wal.Index) {
	w.tb.Helper()
	w.before = max(w.before, index)
	if err := w.log.TruncateBefore(index); err != nil {
		w.failed(err)
		return
	}
	w.advanceTo(w.log.First())
}

// advanceTo takes it that records before first are gone.
func (w *world) advanceTo(first wal.Index) {
	w.tb.Helper()
	if first < w.first || first > max(w.first, w.before) {
		w.tb.Fatalf("First: got %d, want %d to %d", first, w.first, max(w.first, w.before))
	}
	gone := int(first - w.first)
	w.sure = slices.Clone(w.sure[min(gone, len(w.sure)):])
	w.low = max(0, w.low-gone)
	w.first = first
}

// open opens the log, if it is not, and compares it with what must be there.
func (w *world) open() {
	w.tb.Helper()
	if w.log != nil {
		return
	}
	log, err := wal.Open(w.fs, dir, &w.opts)
	if err != nil {
		if !errors.Is(err, errPower) && !errors.Is(err, vfs.ErrInjected) {
			w.tb.Fatalf("Open: %v\nsure: %q\nmaybe: %q", err, w.sure, w.maybe)
		}
		return
	}
	w.log = log
	w.advanceTo(log.First())
	got := texts(w.tb, log)
	low := min(len(w.sure), w.low)
	want := append(slices.Clone(w.sure), w.maybe...)
	if len(got) < low || len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
		w.tb.Fatalf("opened: got %q\nwant %q\nand perhaps some of %q\nor cut to no less than %d", got, w.sure, w.maybe, low)
	}
	w.sure, w.maybe, w.low = got, nil, len(got)
}

// close closes the log, if it is open.
func (w *world) close() {
	w.tb.Helper()
	if w.log == nil {
		return
	}
	if err := w.log.Close(); err != nil && !errors.Is(err, errPower) && !errors.Is(err, vfs.ErrInjected) {
		w.tb.Fatalf("Close: %v", err)
	}
	w.log = nil
}

// cutPowerAt lets the edit-th call from now that changes the disk fail, after it
// has written keep bytes, or done all if keep is negative, and all later ones.
// Reading goes on: nobody noticed yet.
func (w *world) cutPowerAt(edit, keep int) {
	at := w.fs.Edits() + edit
	off := false
	w.fs.SetRule(func(c vfs.Call) vfs.Fault {
		switch {
		case off && c.Edit > 0:
			return vfs.Fault{Err: errPower}
		case c.Edit == at:
			off = true
			return vfs.Fault{Err: errPower, Keep: max(0, keep), After: keep < 0}
		}
		return vfs.Fault{}
	})
}

// crash cuts the power, now if it was not cut before, and gives it back.
func (w *world) crash(seed uint64) {
	w.tb.Helper()
	w.fs.SetRule(func(vfs.Call) vfs.Fault { return vfs.Fault{Err: errPower} })
	w.close() // can do nothing
	w.mem.Crash(seed)
	w.fs.SetRule(nil)
}

// check compares the open log with what must be there.
func (w *world) check() {
	w.tb.Helper()
	if w.log == nil {
		return
	}
	got := texts(w.tb, w.log)
	if w.log.Err() != nil { // an unfinished cut may show, or not; what failed must not
		skip := min(int(w.log.First()-w.first), len(w.sure))
		if want := w.sure[skip:]; len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			w.tb.Fatalf("failed log: got %q, want a beginning of %q", got, want)
		}
		return
	}
	if diff := cmp.Diff(w.sure, got, cmpopts.EquateEmpty()); diff != "" {
		w.tb.Fatalf("records (-want +got):\n%s", diff)
	}
	if f, l := w.log.First(), w.log.Last(); f != w.first || l+1 != f+wal.Index(len(w.sure)) {
		w.tb.Fatalf("got First %d and Last %d, want %d and %d records", f, l, w.first, len(w.sure))
	}
}
