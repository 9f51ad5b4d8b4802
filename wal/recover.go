package wal

import (
	"errors"
	"fmt"
	"slices"

	"maru.example/vfs"
)

// recover takes the lock and brings the log to a state in which all that it
// holds is durable and records can be appended.
func (l *Log) recover(o *Options, newID func() logID) (err error) {
	if err := l.fs.MkdirAll(l.dir); err != nil {
		return err
	}
	if l.lock, err = l.fs.Lock(l.path(lockName)); err != nil {
		return err
	}
	names, err := l.fs.List(l.dir)
	if err != nil {
		return err
	}
	if slices.Contains(names, newName) { // a segment that was not finished
		if err := l.fs.Remove(l.path(newName)); err != nil {
			return err
		}
	}
	// What is seen here may not be durable yet, if a process was killed.
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, ok := parseName(name)
		return !ok
	})
	if len(names) == 0 {
		return l.begin(o.First, newID())
	}
	return l.scan(names, o.VerifyFrom)
}

// begin creates the first segment of a new log.
func (l *Log) begin(first Index, id logID) error {
	l.id, l.gen, l.clean = id, 1, true
	s := newSegment(id, first, l.gen)
	f, err := l.create(s)
	if err != nil {
		return fmt.Errorf("begin segment %s: %w", s.name, err)
	}
	l.segments = []*segment{s}
	l.file, l.active, l.filled = f, s, s.size
	l.last = first - 1
	l.tail = position{s, segmentHeaderSize, first}
	return nil
}

// scan reads the segments, whose names are sorted and so their first indexes.
func (l *Log) scan(names []string, verifyFrom Index) error {
	var c cursor
	for i, name := range names {
		end := i == len(names)-1
		mode := vfs.Read
		if end {
			mode = vfs.Write
		}
		f, err := l.fs.Open(l.path(name), mode)
		if err != nil {
			return err
		}
		s, err := l.join(f, name)
		if err == nil {
			c.file = f
			c.start(s, segmentHeaderSize, s.first, s.size)
		}
		switch {
		case err != nil:
		case end:
			l.file, l.active, l.filled = f, s, s.size
			return l.scanLast(&c, s)
		default:
			s.next, _ = parseName(names[i+1])
			if s.next > verifyFrom {
				err = l.scanSealed(&c, s)
			}
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// join reads the header of a segment and adds it to the log's.
func (l *Log) join(f vfs.File, name string) (*segment, error) {
	s, id, err := readSegment(f, name)
	if err != nil {
		return nil, err
	}
	if len(l.segments) == 0 {
		l.id = id
	}
	if id != l.id {
		return nil, corrupt(name, 0, "it is of another log")
	}
	l.segments = append(l.segments, s)
	l.gen = max(l.gen, s.gen)
	return s, nil
}

// scanFrames reads all frames that are valid and says whether the last one is a
// close marker. The error wraps errInvalid if no frame is where the cursor is then.
func (l *Log) scanFrames(c *cursor, s *segment) (clean bool, err error) {
	clean = true
	for {
		off, index := c.pos, c.next
		f, _, err := c.read()
		if err != nil {
			l.gen = max(l.gen, c.gen)
			s.end = c.pos
			return clean, err
		}
		s.note(off, index)
		clean = f.kind == kindClose
	}
}

// scanSealed reads a segment that another one follows: all of it was durable
// before that was created.
func (l *Log) scanSealed(c *cursor, s *segment) error {
	if _, err := l.scanFrames(c, s); !errors.Is(err, errInvalid) {
		return fmt.Errorf("read segment %s: %w", s.name, err)
	} else if c.next != s.next {
		return corrupt(s.name, c.pos, fmt.Sprintf("record %d: %v; the next segment begins with %d", c.next, err, s.next))
	}
	return nil
}

// scanLast reads the last segment and cuts what a crash left torn at its end.
func (l *Log) scanLast(c *cursor, s *segment) error {
	clean, bad := l.scanFrames(c, s)
	if !errors.Is(bad, errInvalid) {
		return fmt.Errorf("read segment %s: %w", s.name, bad)
	}
	r, err := c.rest()
	if err != nil {
		return fmt.Errorf("read segment %s: %w", s.name, err)
	}
	if r.evidence != 0 {
		return corrupt(s.name, c.pos, fmt.Sprintf("record %d: %v; it was durable before the frame at %d was written", c.next, bad, r.evidence))
	}
	if r.dirty {
		if err := l.file.Truncate(c.pos); err != nil {
			return err
		}
		s.cut(c.pos)
		l.filled = s.size
	}
	if err := l.rewrite(c, s); err != nil {
		return err
	}
	l.clean = clean
	l.gen = max(l.gen, r.gen) + 1
	l.last = c.next - 1
	l.tail = position{s, c.pos, c.next}
	return nil
}

// rewrite writes the last group again, as it is, and syncs it. A process that
// was killed may not have synced it, and after a sync that failed the operating
// system may hold bytes that it will never write, but shows.
func (l *Log) rewrite(c *cursor, s *segment) error {
	for off := c.group; off > 0 && off < s.end; {
		n := min(s.end-off, readAhead)
		p, err := c.bytes(off, n)
		if err != nil {
			return fmt.Errorf("read segment %s: %w", s.name, err)
		}
		if _, err := l.file.WriteAt(p, off); err != nil {
			return err
		}
		off += n
	}
	return l.file.Sync()
}
