package rsmarchive

import (
	"context"
	"fmt"

	"maru.example/rsm"
)

// Taken is a store that holds one segment, in memory: of a writer that makes it for somebody else, or
// for a reader that got it from somebody else.
type Taken struct {
	Name    string
	Content []byte
}

var _ Store = (*Taken)(nil)

// Put implements Store.
func (s *Taken) Put(_ context.Context, name string, content []byte) error {
	if s.Name != "" {
		return ErrExists
	}
	s.Name, s.Content = name, append([]byte(nil), content...)
	return nil
}

// Get implements Store.
func (s *Taken) Get(_ context.Context, name string, offset, length int64) ([]byte, error) {
	if name != s.Name {
		return nil, ErrNotFound
	}
	size := int64(len(s.Content))
	if offset < 0 {
		offset, length = max(0, size+offset), size
	}
	offset = min(offset, size)
	return s.Content[offset:min(size, offset+length)], nil
}

// List implements Store: nothing needs it.
func (s *Taken) List(context.Context, string) ([]string, error) { return nil, nil }

// Add puts a segment that somebody else made into a store, after the position where its archive ends: when all of
// it has been checked, and that it goes on there. It returns where the archive ends then. The error wraps
// [ErrDamaged], [ErrConflict] or, if another one came there meanwhile, [ErrExists]; or is the store's.
func Add(ctx context.Context, store Store, of Chained, at Position, content []byte) (Position, error) {
	next, err := ReadTaken(ctx, of, at, content, func(*rsm.Decided) error { return nil })
	if err != nil {
		return at, err
	}
	name := of.Segment(at.Index + 1)
	if err := store.Put(ctx, name, content); err != nil {
		return at, fmt.Errorf("segment %s: %w", name, err)
	}
	return next, nil
}

// ReadTaken calls f with the entries of a segment that somebody else made, which goes on after a position, and
// returns where it ends. The entries are valid during the call. The error is f's, or wraps [ErrDamaged] or [ErrConflict].
func ReadTaken(ctx context.Context, of Chained, at Position, content []byte, f func(*rsm.Decided) error) (Position, error) {
	a := of.take(at.Index+1, content)
	s, err := a.segment(ctx, 0)
	if err != nil {
		return at, err
	}
	if s.header.before != at.Link || s.header.missing != 0 {
		return at, fmt.Errorf("%w: the segment does not go on after entry %d", ErrConflict, at.Index)
	}
	if err := a.Read(ctx, at.Index+1, s.footer.last.Index, f); err != nil {
		return at, err
	}
	return s.footer.last, nil
}

// take returns an archive of nothing but a segment that somebody else made.
func (c Chained) take(first rsm.Index, content []byte) *Archive {
	a := &Archive{store: &Taken{c.Segment(first), content}, of: c, segments: []string{segmentName(first)}}
	a.opts.Workers, a.opts.Progress = 1, func(rsm.Index, rsm.Index) {}
	return a
}

// AddBehind is [Add] behind a gap: of the entries from the position's to the one before first nobody has any. The
// segment has to be made after [Position.Skip].
func AddBehind(ctx context.Context, store Store, of Chained, at Position, first rsm.Index, content []byte) (Position, error) {
	a := of.take(first, content)
	s, err := a.segment(ctx, 0)
	if err != nil {
		return at, err
	}
	if s.header.before != at.Skip(first).Link || s.header.missing != 0 {
		return at, fmt.Errorf("%w: the segment does not go on behind a gap from entry %d to %d", ErrConflict, at.Index+1, first-1)
	}
	w := NewWriter(store, of, at, &WriterOptions{SegmentBytes: MaxSegmentBytes})
	if err := w.Gap(first); err != nil {
		return at, err
	}
	if err := a.Read(ctx, first, s.footer.last.Index, w.Append); err != nil {
		return at, err
	}
	return w.chain.At(), w.Seal(ctx)
}
