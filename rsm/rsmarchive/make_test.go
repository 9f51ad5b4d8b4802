package rsmarchive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/vfs"
)

var of = Chained{Cluster: "test", Group: 1}

// decidedBy returns n entries from an index on, such as a wallet's: mostly transfers of 64
// bytes with 17 bytes of decision each; now and then one without content. The same seed
// gives the same entries, however they are asked for.
func decidedBy(seed uint64, from rsm.Index, n, transfers int) []rsm.Decided {
	all := make([]rsm.Decided, n)
	for i := range all {
		all[i] = decidedAt(seed, from+rsm.Index(i), transfers)
	}
	return all
}

func decidedAt(seed uint64, i rsm.Index, transfers int) rsm.Decided {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	d := rsm.Decided{Index: i, Term: 1 + uint64(i)/10, Time: 1_700_000_000_000_000_000 + int64(i)*1000}
	if r.IntN(10) == 0 {
		return d
	}
	var proposals []*rsm.Proposal
	var batches []rsm.DecidedBatch
	for range 1 + r.IntN(3) {
		n := transfers
		if transfers < 1000 {
			n = r.IntN(transfers + 1)
		}
		data, effects := make([]byte, 0, 64*n+8), make([]byte, 0, 16*n)
		data = binary.LittleEndian.AppendUint64(data, uint64(n))
		for range n {
			data = binary.LittleEndian.AppendUint64(data, r.Uint64())
			data = binary.LittleEndian.AppendUint64(data, r.Uint64())
			data = binary.LittleEndian.AppendUint64(data, 1+r.Uint64N(1_000_000))
			data = binary.LittleEndian.AppendUint64(data, 1+r.Uint64N(1_000_000))
			data = binary.LittleEndian.AppendUint64(data, uint64(100*(1+r.ExpFloat64()*20)))
			data = append(data, make([]byte, 24)...)
			effects = binary.LittleEndian.AppendUint64(effects, r.Uint64N(1_000_000))
			effects = binary.LittleEndian.AppendUint64(effects, r.Uint64N(1_000_000))
		}
		proposals = append(proposals, &rsm.Proposal{Data: data})
		batches = append(batches, rsm.DecidedBatch{Results: make([]byte, n), Effects: effects})
	}
	d.Entry = rsm.AppendEntry(nil, d.Time, proposals)
	d.Decision = rsm.AppendDecision(nil, batches)
	return d
}

// fill archives the entries, and seals all of them.
func fill(t testing.TB, store Store, segment int64, all []rsm.Decided) Position {
	t.Helper()
	w := openWriter(t, store, segment)
	write(t, w, all)
	if err := w.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w.Sealed()
}

func openWriter(t testing.TB, store Store, segment int64) *Writer {
	t.Helper()
	w, err := OpenWriter(t.Context(), store, of, &WriterOptions{SegmentBytes: segment})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// write appends the entries, and seals what gets full.
func write(t testing.TB, w *Writer, all []rsm.Decided) {
	t.Helper()
	for i := range all {
		err := w.Append(&all[i])
		if errors.Is(err, ErrFull) { // by its age
			if err = w.Seal(t.Context()); err == nil {
				err = w.Append(&all[i])
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if w.Full() {
			if err := w.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func openArchive(t testing.TB, store Store) *Archive {
	t.Helper()
	a, err := Open(t.Context(), store, of, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// read returns the entries from..to as Read gives them.
func read(t testing.TB, a *Archive, from, to rsm.Index) ([]rsm.Decided, error) {
	t.Helper()
	var got []rsm.Decided
	err := a.Read(t.Context(), from, to, func(d *rsm.Decided) error {
		got = append(got, *d)
		return nil
	})
	return got, err
}

// wantEntries compares entries.
func wantEntries(t testing.TB, got, want []rsm.Decided) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d entries, want %d", len(got), len(want))
	}
	for i := range got {
		if !same(&got[i], &want[i]) {
			t.Fatalf("entry %d (-want +got):\n%.2000s", want[i].Index, cmp.Diff(want[i], got[i]))
		}
	}
}

// same compares two entries.
func same(a, b *rsm.Decided) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Time == b.Time && bytes.Equal(a.Entry, b.Entry) && bytes.Equal(a.Decision, b.Decision)
}

// verify returns the report.
func verify(t testing.TB, store Store, opts *VerifyOptions) *Report {
	t.Helper()
	r, err := openArchive(t, store).Verify(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// described returns the findings, without their reasons.
func described(r *Report) []string {
	var all []string
	for _, f := range r.Findings {
		all = append(all, fmt.Sprintf("%v %s %d: %d..%d", f.Kind, f.Segment, f.Frame, f.First, f.Last))
	}
	return all
}

func newDir() *Dir { return NewDir(vfs.NewMem(), "archive") }

// objects is a store that a test can change as it likes.
type objects map[string][]byte

func (o objects) Put(_ context.Context, name string, content []byte) error {
	if o[name] != nil {
		return ErrExists
	}
	o[name] = append([]byte(nil), content...)
	return nil
}

func (o objects) Get(_ context.Context, name string, offset, length int64) ([]byte, error) {
	b, ok := o[name]
	if !ok {
		return nil, ErrNotFound
	}
	size := int64(len(b))
	if offset < 0 {
		offset, length = max(0, size+offset), size
	}
	offset = min(offset, size)
	return b[offset:min(size, offset+length)], nil
}

func (o objects) List(_ context.Context, folder string) ([]string, error) {
	d := NewDir(vfs.NewMem(), ".")
	for name := range o {
		if err := d.Put(context.Background(), name, nil); err != nil {
			return nil, err
		}
	}
	return d.List(context.Background(), folder)
}

// failing is a store that fails while broken says so.
type failing struct {
	Store
	broken func() bool
}

var errAway = errors.New("the store is away")

func (f failing) Put(ctx context.Context, name string, content []byte) error {
	if f.broken() {
		return errAway
	}
	return f.Store.Put(ctx, name, content)
}
