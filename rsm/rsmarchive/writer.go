package rsmarchive

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"maru.example/rsm"
)

// WriterOptions are the settings of a writer; nil means all defaults.
type WriterOptions struct {
	// SegmentBytes is the content, before compression, after which a segment is cut;
	// default 64 MiB, at most MaxSegmentBytes. All replicas of a group should have the same: then
	// they make the same segments.
	SegmentBytes int64
	// SegmentAge cuts a segment before an entry whose time is of another period than that of the entry before it,
	// where periods of so long follow each other since 1970 UTC. It depends on the entries alone, so that all
	// replicas with the same SegmentAge cut there. The default is never.
	SegmentAge time.Duration
}

// Writer makes the segments of one group. The segment that is being made is in memory,
// compressed; after a restart its entries are to be given again. A writer belongs to one
// goroutine, and is the only one of its group in its store.
type Writer struct {
	store   Store
	of      Chained
	size    int64
	age     int64 // see SegmentAge; 0: none
	chain   *Chain
	packer  *packer
	sealed  Position // after the last segment in the store
	last    string   // that segment's name; "" if there is none, or it is not known
	header  header   // of the open segment
	footer  footer
	file    []byte // the open segment; complete if whole
	whole   bool
	opened  bool // the open segment has a header
	metrics WriterMetrics
}

// WriterMetrics says what a writer did.
type WriterMetrics struct {
	Entries      uint64 // appended
	ContentBytes uint64 // of them, before compression
	Segments     uint64 // sealed
	StoredBytes  uint64 // of them
	Missing      uint64 // entries that were to be had nowhere, before sealed segments
}

// OpenWriter finds where the archive ends, and goes on there. The last segment is read for
// that, but for its entries: if it is damaged the error wraps [ErrDamaged], and
// [ErrConflict] if it is of another cluster or group.
func OpenWriter(ctx context.Context, store Store, of Chained, opts *WriterOptions) (*Writer, error) {
	a, err := Open(ctx, store, of, nil)
	if err != nil {
		return nil, err
	}
	at, err := a.End(ctx)
	if err != nil {
		return nil, err
	}
	w := NewWriter(store, of, at, opts)
	if n := len(a.segments); n > 0 {
		w.last = path.Join(of.Folder(), a.segments[n-1])
	}
	return w, nil
}

// NewWriter goes on after a position, without asking the store whether it ends there.
func NewWriter(store Store, of Chained, at Position, opts *WriterOptions) *Writer {
	if opts == nil {
		opts = &WriterOptions{}
	}
	w := &Writer{store: store, of: of, size: opts.SegmentBytes, age: max(0, int64(opts.SegmentAge)), packer: newPacker(), sealed: at, chain: NewChain(at)}
	if w.size <= 0 {
		w.size = defaultSegmentBytes
	}
	w.size = min(w.size, MaxSegmentBytes)
	return w
}

// Next returns the index of the entry that has to be appended next.
func (w *Writer) Next() rsm.Index { return w.chain.At().Index + 1 }

// Sealed returns the position after the last entry that the store has durably, and with
// it all before.
func (w *Writer) Sealed() Position { return w.sealed }

// Metrics returns what the writer did since it was opened.
func (w *Writer) Metrics() WriterMetrics { return w.metrics }

// Full says that Seal has to be called before the next Append, whatever that brings.
func (w *Writer) Full() bool { return w.whole || w.footer.content >= w.size }

// Missing returns how many entries are missing before the next one, where a gap was noted
// and nothing appended since.
func (w *Writer) Missing() uint64 {
	if w.opened {
		return 0
	}
	return w.header.missing
}

// Append takes the next entry. It does not touch the store. The error wraps [ErrOrder] if it
// is not the next, [ErrFull] if Seal has to be called before, or rsm.ErrTooLarge.
func (w *Writer) Append(d *rsm.Decided) error {
	if w.Full() || w.ends(d.Time) {
		return ErrFull
	}
	if len(d.Entry) > MaxEntryBytes || len(d.Decision) > MaxEntryBytes {
		return fmt.Errorf("archive entry %d of %d bytes, and %d of decision: %w", d.Index, len(d.Entry), len(d.Decision), rsm.ErrTooLarge)
	}
	before := w.chain.At()
	if err := w.chain.Append(d); err != nil {
		return err
	}
	w.begin(before)
	if w.packer.entries == 0 {
		w.footer.rows = append(w.footer.rows, row{offset: int64(len(w.file)), first: d.Index, time: d.Time, before: before.Link})
	}
	w.packer.add(d)
	w.footer.entries++
	w.footer.content += contentBytes(d)
	w.metrics.Entries++
	w.metrics.ContentBytes += uint64(contentBytes(d))
	if w.packer.bytes() >= frameBytes {
		w.file = w.packer.pack(w.file)
	}
	return nil
}

// ends says whether the open segment ends before an entry because of its time.
func (w *Writer) ends(at int64) bool {
	last := w.chain.At().Time // 0: the entries before have none
	return w.opened && w.age > 0 && last > 0 && at/w.age > last/w.age
}

// begin writes the header of the open segment, if it has none.
func (w *Writer) begin(before Position) {
	if w.opened {
		return
	}
	w.opened = true
	w.header.group, w.header.origin = w.of.Group, w.of.Origin()
	w.header.first, w.header.before = before.Index+1, before.Link
	w.file = w.header.append(w.file[:0])
}

// Gap goes on before the entry first: those between are to be had nowhere. What was
// appended before has to be sealed, else the error wraps [ErrFull].
func (w *Writer) Gap(first rsm.Index) error {
	if w.opened {
		return fmt.Errorf("a gap before entry %d: %w", first, ErrFull)
	}
	// A gap that follows another is one with it.
	chain := NewChain(w.sealed)
	if err := chain.Skip(first); err != nil {
		return err
	}
	w.chain = chain
	w.header.missing = uint64(first - 1 - w.sealed.Index)
	return nil
}

// Seal puts the open segment into the store; without entries it does nothing. After an error it
// can be called again; nothing is lost meanwhile. The error wraps [ErrConflict] if the
// store has other entries there.
func (w *Writer) Seal(ctx context.Context) error {
	if !w.opened {
		return nil
	}
	w.finish()
	name := w.of.Segment(w.header.first)
	err := w.store.Put(ctx, name, w.file)
	if errors.Is(err, ErrExists) {
		err = w.compare(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("archive segment %s: %w", name, err)
	}
	w.metrics.Segments++
	w.metrics.Missing += w.header.missing
	w.metrics.StoredBytes += uint64(len(w.file))
	w.sealed, w.last = w.chain.At(), name
	w.header, w.footer = header{}, footer{rows: w.footer.rows[:0]}
	w.whole, w.opened = false, false
	return nil
}

// Present finds out whether the last segment is still in the store; else the error wraps [ErrLost].
func (w *Writer) Present(ctx context.Context) error {
	if w.last == "" {
		return nil
	}
	_, err := w.store.Get(ctx, w.last, 0, headerBytes)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: segment %s", ErrLost, w.last)
	}
	return err
}

// finish makes the file complete.
func (w *Writer) finish() {
	if w.whole {
		return
	}
	if w.packer.entries > 0 {
		w.file = w.packer.pack(w.file)
	}
	w.footer.start = int64(len(w.file))
	w.footer.firstTime = w.footer.rows[0].time
	w.footer.last = w.chain.At()
	w.file = w.footer.append(w.file)
	w.whole = true
}

// compare says whether the store's segment has the entries of the open one. It may be
// compressed otherwise: the links decide. Its frames are checked when they are read.
func (w *Writer) compare(ctx context.Context, name string) error {
	s, err := readSegment(ctx, w.store, name)
	if err != nil {
		return err
	}
	if s.header != w.header || s.footer.last != w.footer.last {
		return fmt.Errorf("%w: it ends after entry %d with the link %v, this one after entry %d with %v",
			ErrConflict, s.footer.last.Index, s.footer.last.Link, w.footer.last.Index, w.footer.last.Link)
	}
	return nil
}
