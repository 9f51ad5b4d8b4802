package rsmarchive

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"

	"maru.example/rsm"
)

// Options are the settings of an archive's reader; nil means all defaults.
type Options struct {
	// Workers is how many goroutines fetch and unpack at a time; default 2. Each needs
	// about 40 MiB.
	Workers int
	// Progress is told, now and then, up to which entry all was read, and which is the
	// last in the archive. It is called by the goroutine that reads. The default is none.
	Progress func(done, of rsm.Index)
}

const defaultWorkers = 2

// Archive reads what is archived of one group. It knows the segments that there were when it
// was opened. It is safe for concurrent use.
type Archive struct {
	store    Store
	of       Chained
	opts     Options
	segments []string // names, by their first entry
	strays   []string // other names in the folder
}

// Open lists the segments of a group. It does not read them.
func Open(ctx context.Context, store Store, of Chained, opts *Options) (*Archive, error) {
	a := &Archive{store: store, of: of}
	if opts != nil {
		a.opts = *opts
	}
	if a.opts.Workers <= 0 {
		a.opts.Workers = defaultWorkers
	}
	if a.opts.Progress == nil {
		a.opts.Progress = func(rsm.Index, rsm.Index) {}
	}
	names, err := store.List(ctx, of.Folder())
	if err != nil {
		return nil, fmt.Errorf("list the archive: %w", err)
	}
	for _, name := range names {
		if _, ok := parseSegmentName(name); ok {
			a.segments = append(a.segments, name)
		} else {
			a.strays = append(a.strays, name)
		}
	}
	slices.Sort(a.segments)
	return a, nil
}

// Begins returns the first entry in the archive, by the name of its first segment; 0: there is none.
func (a *Archive) Begins() rsm.Index {
	if len(a.segments) == 0 {
		return 0
	}
	first, _ := a.claims(0)
	return first
}

// Segments returns how many segments there are.
func (a *Archive) Segments() int { return len(a.segments) }

// End returns the position after the last entry; of an empty archive, before the first. It
// checks the last segment's header and footer. Its errors are those of [OpenWriter].
func (a *Archive) End(ctx context.Context) (Position, error) {
	if len(a.segments) == 0 {
		return Position{Link: a.of.Origin()}, nil
	}
	s, err := a.segment(ctx, len(a.segments)-1)
	if err != nil {
		return Position{}, err
	}
	return s.footer.last, nil
}

// Seek returns an entry before which all have a time less than at, in nanoseconds since 1970 UTC:
// the first of a frame, at most some thousands before the first that has not. It is 0
// if none has that time or a later one.
func (a *Archive) Seek(ctx context.Context, at int64) (rsm.Index, error) {
	var found *segment
	var failed error
	// The first segment whose last time is at or later.
	sort.Search(len(a.segments), func(i int) bool {
		if failed != nil {
			return true
		}
		s, err := a.segment(ctx, i)
		if err != nil {
			failed = err
			return true
		}
		if s.footer.last.Time < at {
			return false
		}
		if found == nil || s.header.first < found.header.first {
			found = s
		}
		return true
	})
	if failed != nil || found == nil {
		return 0, failed
	}
	rows := found.footer.rows
	i := sort.Search(len(rows), func(i int) bool { return rows[i].time >= at })
	return rows[max(i-1, 0)].first, nil
}

// segment is one of the archive's, without its frames.
type segment struct {
	name   string // in its folder
	header header
	footer *footer
}

// tailGuess is how much of a segment's end is read at first: it holds the footer of most.
const tailGuess = 16 << 10

// segment reads and checks header and footer of segment i. The error holds a *Finding if
// the segment is to blame, or is the store's.
func (a *Archive) segment(ctx context.Context, i int) (*segment, error) {
	name := a.segments[i]
	s, err := readSegment(ctx, a.store, path.Join(a.of.Folder(), name))
	first, last := a.claims(i)
	if err == nil && s.header.first != first {
		err = fmt.Errorf("%w: it begins with entry %d, not as it is named", ErrDamaged, s.header.first)
	}
	x := &Finding{Kind: Altered, Segment: name, Frame: -1, First: first, Last: last, Why: err}
	switch {
	case errors.Is(err, ErrDamaged):
		return nil, x
	case errors.Is(err, ErrVersion):
		x.Kind = Unknown
		return nil, x
	case errors.Is(err, ErrNotFound): // it was there when they were listed
		x.Kind = Missing
		return nil, x
	case err != nil:
		return nil, err
	case s.header.group != a.of.Group || s.header.origin != a.of.Origin():
		x.Kind, x.Why = Inserted, fmt.Errorf("%w: it is of another cluster or group", ErrConflict)
		return nil, x
	}
	s.name = name
	return s, nil
}

// claims returns which entries segment i should have, by the names; the last is 0 if nothing says it.
func (a *Archive) claims(i int) (first, last rsm.Index) {
	first, _ = parseSegmentName(a.segments[i])
	if i+1 < len(a.segments) {
		next, _ := parseSegmentName(a.segments[i+1])
		last = next - 1
	}
	return first, last
}

// readSegment reads and checks header and footer of a segment.
func readSegment(ctx context.Context, store Store, name string) (*segment, error) {
	b, err := store.Get(ctx, name, 0, headerBytes)
	if err != nil {
		return nil, fmt.Errorf("read segment %s: %w", name, err)
	}
	s := &segment{name: name}
	if s.header, err = parseHeader(b); err != nil {
		return nil, err
	}
	for size := int64(tailGuess); ; {
		if b, err = store.Get(ctx, name, -size, size); err != nil {
			return nil, fmt.Errorf("read the footer of segment %s: %w", name, err)
		}
		n, err := tailFrames(b)
		if err != nil {
			return nil, err
		}
		if want := int64(n)*rowBytes + tailBytes; want > size {
			size = want
			continue
		}
		break
	}
	if s.footer, err = parseFooter(b); err != nil {
		return nil, err
	}
	if first := s.footer.rows[0]; first.first != s.header.first || first.before != s.header.before {
		return nil, fmt.Errorf("%w: header and footer are of different segments", ErrDamaged)
	}
	return s, nil
}
