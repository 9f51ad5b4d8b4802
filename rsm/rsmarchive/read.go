package rsmarchive

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sort"
	"sync"

	"maru.example/rsm"
)

// Read calls f with the entries from..to, in order; to 0 means the last in the archive.
// What it gives is checked: the bytes, and that the chain leads from each entry to the
// next. Where something is wrong it ends with a *[Finding], and f has had all before it; if the
// archive ends before to, with one of what is missing. The entries stay as they are after f
// returned. Other errors are the store's, the context's, or f's.
func (a *Archive) Read(ctx context.Context, from, to rsm.Index, f func(*rsm.Decided) error) error {
	from = max(from, 1)
	s := a.scan(from, to)
	s.found = func(x *Finding) error {
		if x.Last != 0 && x.Last < from {
			return nil // it is of no matter here
		}
		return x
	}
	s.give = func(d *rsm.Decided, _ Position) error {
		if d.Index < from || to > 0 && d.Index > to {
			return nil
		}
		return f(d)
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	if at := s.at.Index; at < to || at < from {
		return &Finding{Kind: Missing, Segment: a.after(at), Frame: -1, First: max(from, at+1), Last: to}
	}
	return nil
}

// after returns the name of the first segment that begins after an entry.
func (a *Archive) after(at rsm.Index) string {
	for i, name := range a.segments {
		if first, _ := a.claims(i); first > at {
			return name
		}
	}
	return "(none)"
}

// runBytes is about how much is fetched at once. A frame is fetched whole.
const runBytes = 4 << 20

// run is consecutive frames of a segment, which are fetched and unpacked together.
type run struct {
	segment  *segment
	from, to int           // frames; to is not one of them
	done     chan struct{} // closed by the worker; nil: there is a problem, and nothing to fetch
	// What a worker makes of it.
	frames  []unpacked
	problem error // a *Finding, or the store's
}

// unpacked is a frame, or why there is none.
type unpacked struct {
	frame frame
	links []Link // after each entry
	err   error
}

// scan goes over a part of an archive: one goroutine makes runs, workers fetch and
// unpack them, and the caller's goroutine joins them in their order.
type scan struct {
	archive  *Archive
	from, to rsm.Index // which entries are needed; to 0: all
	found    func(*Finding) error
	give     func(*rsm.Decided, Position) error // an entry, and the position after it
	at       Position                           // up to which all is given or found to be wrong
	known    bool                               // at has a link
	last     rsm.Index                          // for the progress
}

func (a *Archive) scan(from, to rsm.Index) *scan {
	s := &scan{archive: a, from: from, to: to}
	if n := len(a.segments); n > 0 {
		s.last, _ = parseSegmentName(a.segments[n-1])
	}
	return s
}

// run goes over the archive.
func (s *scan) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	a := s.archive
	work := make(chan *run)
	ordered := make(chan *run, a.opts.Workers)
	var goroutines sync.WaitGroup
	defer goroutines.Wait()
	defer cancel()
	first := s.begin()
	goroutines.Go(func() {
		defer close(work)
		defer close(ordered)
		a.makeRuns(ctx, first, s.from, s.to, func(r *run) bool {
			select {
			case ordered <- r:
			case <-ctx.Done():
				return false
			}
			if r.done == nil {
				return true
			}
			select {
			case work <- r:
				return true
			case <-ctx.Done():
				return false
			}
		})
	})
	for range a.opts.Workers {
		goroutines.Go(func() { a.work(ctx, work) })
	}
	for r := range ordered {
		if r.done != nil {
			select {
			case <-r.done:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := s.join(r); err != nil {
			return err
		}
		a.opts.Progress(s.at.Index, max(s.last, s.at.Index))
	}
	return ctx.Err()
}

// begin returns the segment to begin with, and sets what is known before it.
func (s *scan) begin() int {
	segments := s.archive.segments
	i := sort.Search(len(segments), func(i int) bool {
		first, _ := parseSegmentName(segments[i])
		return first > s.from
	}) - 1
	if i > 0 {
		first, _ := parseSegmentName(segments[i])
		s.at.Index = first - 1
		return i
	}
	s.at, s.known = Position{Link: s.archive.of.Origin()}, true
	return 0
}

// makeRuns makes the runs of the segments from i on that have entries from..to, until emit says no.
func (a *Archive) makeRuns(ctx context.Context, i int, from, to rsm.Index, emit func(*run) bool) {
	for ; i < len(a.segments); i++ {
		if first, _ := a.claims(i); to > 0 && first > to {
			return
		}
		s, err := a.segment(ctx, i)
		if err != nil {
			if !emit(&run{problem: err}) {
				return
			}
			continue
		}
		rows := s.footer.rows
		at := max(0, sort.Search(len(rows), func(i int) bool { return rows[i].first > from })-1)
		for at < len(rows) && (to == 0 || rows[at].first <= to) {
			end := at + 1
			for end < len(rows) && s.footer.end(end)-rows[at].offset <= runBytes {
				end++
			}
			if !emit(&run{segment: s, from: at, to: end, done: make(chan struct{})}) {
				return
			}
			at = end
		}
	}
}

// work fetches and unpacks runs.
func (a *Archive) work(ctx context.Context, runs <-chan *run) {
	u := newUnpacker()
	defer u.close()
	for r := range runs {
		r.problem = a.fetch(ctx, u, r)
		close(r.done)
	}
}

// fetch fetches and unpacks a run. The error is the store's, or a *Finding.
func (a *Archive) fetch(ctx context.Context, u *unpacker, r *run) error {
	f := r.segment.footer
	start, end := f.rows[r.from].offset, f.end(r.to-1)
	length := end - start
	last := r.to == len(f.rows)
	if last {
		length += f.size() + 1 // there has to be no more
	}
	name := path.Join(a.of.Folder(), r.segment.name)
	b, err := a.store.Get(ctx, name, start, length)
	if errors.Is(err, ErrNotFound) {
		return &Finding{Kind: Missing, Segment: r.segment.name, Frame: -1, First: f.rows[r.from].first, Last: f.lastOf(r.to - 1), Why: err}
	}
	if err != nil {
		return fmt.Errorf("read segment %s: %w", name, err)
	}
	var odd error
	if want := length; last && int64(len(b)) != want-1 || !last && int64(len(b)) != want {
		odd = fmt.Errorf("%w: segment has not the size that its footer says", ErrDamaged)
	}
	for i := r.from; i < r.to; i++ {
		at := f.rows[i].offset - start
		piece := b[min(at, int64(len(b))):min(f.end(i)-start, int64(len(b)))]
		got := u.check(piece, f, i)
		if got.err == nil && i == r.to-1 {
			got.err = odd
		}
		r.frames = append(r.frames, got)
	}
	return nil
}

// check unpacks a frame and follows its chain.
func (u *unpacker) check(b []byte, f *footer, i int) unpacked {
	fr, err := u.unpack(b, f.rows[i].offset)
	if err != nil {
		return unpacked{err: err}
	}
	d := fr.decided
	if d[0].Index != f.rows[i].first || d[0].Time != f.rows[i].time || d[0].Index+rsm.Index(len(d))-1 != f.lastOf(i) {
		return unpacked{err: fmt.Errorf("%w: footer says otherwise of the frame", ErrDamaged)}
	}
	c := NewChain(Position{Index: d[0].Index - 1, Link: f.rows[i].before, Term: d[0].Term, Time: d[0].Time})
	links := make([]Link, len(d))
	for k := range d {
		if err := c.Append(&d[k]); err != nil {
			return unpacked{err: fmt.Errorf("%w: %w", ErrDamaged, err)}
		}
		links[k] = c.At().Link
	}
	if end := c.At(); end.Link != f.after(i) || i == len(f.rows)-1 && end != f.last {
		return unpacked{err: fmt.Errorf("%w: its chain does not lead to what the footer says", ErrDamaged)}
	}
	return unpacked{frame: fr, links: links}
}

// join takes a run after those before it.
func (s *scan) join(r *run) error {
	if r.problem != nil {
		return s.lost(r.problem)
	}
	if r.from == 0 {
		ok, err := s.enter(r.segment)
		if err != nil || !ok {
			return err
		}
	}
	rows := r.segment.footer.rows
	if rows[r.from].first <= s.at.Index {
		return nil // the segment has no place here, which was said
	}
	if s.at.Index+1 < rows[r.from].first {
		s.at.Index = rows[r.from].first - 1 // reading begins here
	}
	s.at.Link, s.known = rows[r.from].before, true
	for i := range r.frames {
		if err := s.joinFrame(r.segment, r.from+i, &r.frames[i]); err != nil {
			return err
		}
	}
	return nil
}

// lost says that a segment cannot be read, and goes on behind it. Another error than a
// Finding ends the scan.
func (s *scan) lost(problem error) error {
	var x *Finding
	if !errors.As(problem, &x) {
		return problem
	}
	if x.Kind == Inserted {
		return s.found(x)
	}
	if x.First > s.at.Index+1 {
		if err := s.missing(x.Segment, x.First); err != nil {
			return err
		}
	}
	s.at.Index, s.known = max(x.First, x.Last), false
	return s.found(x)
}

// missing says that what should be before the entry first is not there.
func (s *scan) missing(segment string, first rsm.Index) error {
	x := &Finding{Kind: Missing, Segment: segment, Frame: -1, First: s.at.Index + 1, Last: first - 1}
	s.at.Index, s.known = first-1, false
	return s.found(x)
}

// enter checks that a segment continues what was before. It says whether the segment is
// to be read.
func (s *scan) enter(g *segment) (bool, error) {
	h := g.header
	x := &Finding{Segment: g.name, Frame: -1, First: h.first, Last: g.footer.last.Index}
	if h.first <= s.at.Index {
		x.Kind, x.Why = Inserted, fmt.Errorf("%w: the segments before it have entries up to %d", ErrDamaged, s.at.Index)
		return false, s.found(x)
	}
	between := uint64(h.first - 1 - s.at.Index)
	if between > 0 && between == h.missing {
		gap := &Finding{Kind: Gap, Segment: g.name, Frame: -1, First: s.at.Index + 1, Last: h.first - 1}
		s.at.Link, s.at.Index = s.at.Link.Skip(gap.First, gap.Last), gap.Last
		if err := s.found(gap); err != nil {
			return false, err
		}
	} else if between > 0 {
		if err := s.missing(g.name, h.first); err != nil {
			return false, err
		}
	}
	if s.known && (h.before != s.at.Link || h.missing != between) {
		x.Kind, x.Why = Altered, fmt.Errorf("%w: it does not continue the chain of the segment before it: one of the two is not what it was", ErrDamaged)
		return true, s.found(x)
	}
	return true, nil
}

// joinFrame takes a frame after the one before it.
func (s *scan) joinFrame(g *segment, i int, u *unpacked) error {
	f := g.footer
	err := u.err
	if err == nil && (u.frame.decided[0].Term < s.at.Term || u.frame.decided[0].Time < s.at.Time) {
		err = fmt.Errorf("%w: its term or time is less than before", ErrDamaged)
	}
	if err != nil {
		x := &Finding{Kind: Altered, Segment: g.name, Frame: i, First: f.rows[i].first, Last: f.lastOf(i), Why: err}
		s.at.Index, s.at.Link = x.Last, f.after(i)
		return s.found(x)
	}
	for k := range u.frame.decided {
		d := &u.frame.decided[k]
		s.at = Position{Index: d.Index, Term: d.Term, Time: d.Time, Link: u.links[k]}
		if err := s.give(d, s.at); err != nil {
			return err
		}
	}
	return nil
}
