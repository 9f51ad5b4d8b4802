package rsmraft

import (
	"context"
	"errors"
	"fmt"
	"io"

	"maru.example/rsm"
	"maru.example/wal"
)

// Feed gives the decided entries of a group in order: the newest from memory, what is
// older from the log and the record of decisions, where both are joined. It reads
// beside the group's work, which it does not hold up. It is for one goroutine.
type Feed struct {
	group     *Group
	next      rsm.Index
	decisions *rsm.DecisionReader
	entries   entryReader
}

// FirstEntry is the index of the first entry of a group: the one before stands for
// how the group was made.
const FirstEntry rsm.Index = 2

// ErrNoFeed says that a group's decisions are not recorded: its machine is no rsm.Recorder.
var ErrNoFeed = errors.New("rsmraft: the group's decisions are not on record")

// Feed returns a feed that begins with the entry at an index.
func (g *Group) Feed(from rsm.Index) (*Feed, error) {
	d := g.replica.Decisions()
	if d == nil {
		return nil, fmt.Errorf("%w: group %d", ErrNoFeed, g.id)
	}
	return &Feed{group: g, next: max(from, 1), decisions: d.Reader(), entries: entryReader{log: g.log.log, group: g.id}}, nil
}

// Next waits for the next entry. What it returns is the caller's. The error is an
// rsm.GapError where the entry or its decision is not there any more, or never was;
// it wraps rsm.ErrClosed when the group has ended.
func (f *Feed) Next(ctx context.Context) (rsm.Decided, error) {
	v, whole, err := f.decisions.Next(ctx, f.next)
	if err != nil {
		return rsm.Decided{}, fmt.Errorf("rsmraft: feed of group %d: %w", f.group.id, err)
	}
	if !whole {
		if v.Decided, err = f.entries.join(&v); err != nil {
			return rsm.Decided{}, fmt.Errorf("rsmraft: feed of group %d: entry %d: %w", f.group.id, f.next, err)
		}
	}
	f.next++
	return v.Decided, nil
}

// Seek lets the feed go on with the entry at an index.
func (f *Feed) Seek(to rsm.Index) { f.next = max(to, 1) }

// Close closes what the feed has opened.
func (f *Feed) Close() error { return errors.Join(f.decisions.Close(), f.entries.close()) }

// Applied returns up to which entry the feed has something to give now.
func (g *Group) Applied() rsm.Index { return g.replica.Applied() }

// Recorded returns the entry from which on a feed has all that is decided here: what was before came as
// a snapshot, or was cut. With nothing on record it is the one after the newest.
func (g *Group) Recorded() rsm.Index {
	applied := g.Applied() // before what is on record, which has come as far by then, or skips something
	d := g.replica.Decisions()
	if d == nil {
		return applied + 1
	}
	first, last := d.Since()
	if first == 0 || last < applied {
		return applied + 1
	}
	return first
}

// Newest returns the newest entry that was decided here since the replica was opened, and its time;
// zeros if there is none.
func (g *Group) Newest() (rsm.Index, int64) {
	if d := g.replica.Decisions(); d != nil {
		return d.Newest()
	}
	return 0, 0
}

// entryReader reads records of a group's entries from a host's log.
type entryReader struct {
	log    *wal.Log
	group  GroupID
	reader *wal.Reader
	next   wal.Index // that it gives next
}

// readAhead is how far away in the log the next read may be to go there record
// by record.
const readAhead = 64

// read returns a record, valid until the next call.
func (r *entryReader) read(at wal.Index) (record, error) {
	if r.reader == nil || at < r.next || at > r.next+readAhead {
		if err := r.close(); err != nil {
			return record{}, err
		}
		reader, err := r.log.Reader(at)
		if err != nil {
			return record{}, err
		}
		r.reader, r.next = reader, at
	}
	for {
		i, b, err := r.reader.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return record{}, errors.Join(err, r.close())
		}
		r.next = i + 1
		if i == at {
			return decodeRecord(b)
		}
	}
}

// entry returns the record of an entry, valid until the next call.
func (r *entryReader) entry(at wal.Index, index uint64) (record, error) {
	v, err := r.read(at)
	if err == nil && (v.group != r.group || v.index != index) {
		err = fmt.Errorf("the record is of group %d and index %d: %w", v.group, v.index, wal.ErrCorrupt)
	}
	return v, err
}

// join returns a decision with its entry.
func (r *entryReader) join(v *rsm.DecisionPlace) (rsm.Decided, error) {
	out := v.Decided
	out.Decision = append([]byte(nil), v.Decision...)
	if len(out.Decision) == 0 {
		return out, nil // nothing was to be decided
	}
	e, err := r.entry(wal.Index(v.Place), uint64(v.Index))
	if errors.Is(err, wal.ErrTruncated) {
		return out, &rsm.GapError{At: v.Index, Next: v.Index + 1} // the log begins after it
	}
	if err == nil && e.term != v.Term {
		err = fmt.Errorf("the entry is of term %d, its decision of term %d: %w", e.term, v.Term, wal.ErrCorrupt)
	}
	out.Entry = append([]byte(nil), e.data...)
	return out, err
}

func (r *entryReader) close() error {
	l := r.reader
	if l == nil {
		return nil
	}
	r.reader = nil
	return l.Close()
}
