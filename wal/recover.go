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
	if l.folder, err = l.fs.OpenDir(l.dir); err != nil {
		return err
	}
	names, err := l.fs.List(l.dir)
	if err != nil {
		return err
	}
	if slices.Contains(names, newName) { // a file that was not finished
		if err := l.fs.Remove(l.path(newName)); err != nil {
			return err
		}
	}
	// What is seen here may not be durable yet, if a process was killed.
	if err := l.folder.Sync(); err != nil {
		return err
	}
	ended := slices.Contains(names, endName)
	names = slices.DeleteFunc(names, func(name string) bool {
		_, ok := parseName(name)
		return !ok
	})
	if err := l.load(names, ended, o, newID); err != nil {
		return err
	}
	return l.prepare()
}

// load reads the log of the segments with the names, or begins a new one.
func (l *Log) load(names []string, ended bool, o *Options, newID func() logID) error {
	for _, name := range names {
		if err := l.join(name); err != nil {
			return err
		}
	}
	reach := o.Reach
	if ended {
		last, err := l.loadEnd()
		if err != nil {
			return err
		}
		reach = max(reach, last)
	}
	switch {
	case len(names) > 0:
		if err := l.scan(o, reach, ended); err != nil {
			return err
		}
	case reach >= o.First:
		return fmt.Errorf("%w: there is no segment, but records up to %d were acknowledged: bring the log back from a copy", ErrCorrupt, reach)
	default:
		return l.begin(o.First, newID())
	}
	if !ended {
		return nil
	}
	if err := l.fs.Remove(l.path(endName)); err != nil {
		return err
	}
	return l.folder.Sync()
}

// loadEnd returns the last record that the log had when it was closed, or 0 if
// that cannot be read any more.
func (l *Log) loadEnd() (Index, error) {
	last, id, err := l.readEnd()
	switch {
	case errors.Is(err, errInvalid):
		l.logger.Warn("wal: the end file is damaged: whether segments are missing from the end is not known", "dir", l.dir, "name", endName)
		return 0, nil
	case err != nil:
		return 0, err
	case len(l.segments) > 0 && id != l.id:
		return 0, corrupt(l.segments[0].name, 0, "it is of another log than the file "+endName)
	}
	return last, nil
}

// begin creates the first segment of a new log.
func (l *Log) begin(first Index, id logID) error {
	l.id, l.gen, l.clean = id, 1, true
	s := newSegment(id, first, l.gen)
	f, err := l.create(s)
	if err != nil {
		return err
	}
	l.segments = []*segment{s}
	l.file, l.active, l.filled = f, s, s.size
	l.last = first - 1
	l.tail = position{s, segmentHeaderSize, first}
	return nil
}

// join reads the header of the segment that follows, and adds it to the log's.
func (l *Log) join(name string) error {
	f, err := l.fs.Open(l.path(name), vfs.Read)
	if err != nil {
		return err
	}
	s, id, err := readSegment(f, name)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if n := len(l.segments); n == 0 {
		l.id = id
	} else {
		l.segments[n-1].next = s.first
	}
	if id != l.id {
		return corrupt(name, 0, "it is of another log")
	}
	l.segments = append(l.segments, s)
	l.gen = max(l.gen, s.gen)
	return nil
}

// scan reads the frames of the segments. The log has to reach the record.
func (l *Log) scan(o *Options, reach Index, ended bool) error {
	last := l.segments[len(l.segments)-1]
	scanned := slices.DeleteFunc(slices.Clone(l.segments), func(s *segment) bool {
		return s != last && s.next <= o.VerifyFrom
	})
	done, of := int64(0), int64(0)
	for _, s := range scanned {
		of += s.size
	}
	var c cursor
	for _, s := range scanned[:len(scanned)-1] {
		if err := l.scanSealed(&c, s); err != nil {
			return err
		}
		if done += s.size; o.Progress != nil {
			o.Progress(done, of)
		}
	}
	f, err := l.fs.Open(l.path(last.name), vfs.Write)
	if err != nil {
		return err
	}
	l.file, l.active, l.filled = f, last, last.size
	return l.scanLast(&c, last, reach, ended)
}

// scanFrames reads all frames that are valid and says whether the last one is a
// close marker. The error wraps errInvalid if no frame is where the cursor is then.
func (l *Log) scanFrames(c *cursor, s *segment) (clean bool, err error) {
	c.start(s, segmentHeaderSize, s.first, s.size)
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
	f, err := l.fs.Open(l.path(s.name), vfs.Read)
	if err != nil {
		return err
	}
	c.file = f
	err = l.checkSealed(c, s)
	return errors.Join(err, f.Close())
}

// checkSealed checks that the segment holds all records before the next one.
func (l *Log) checkSealed(c *cursor, s *segment) error {
	_, bad := l.scanFrames(c, s)
	switch {
	case !errors.Is(bad, errInvalid):
		return fmt.Errorf("read segment %s: %w", s.name, bad)
	case c.next == s.next:
		return nil
	}
	r, err := c.rest()
	switch {
	case err != nil:
		return fmt.Errorf("read segment %s: %w", s.name, err)
	case r.size == 0 && c.next < s.next:
		return fmt.Errorf("%w: segment %s is missing, with the records %d to %d: segment %s ends before them, at offset %d, and %s begins after them",
			ErrCorrupt, segmentName(c.next), c.next, s.next-1, s.name, c.pos, segmentName(s.next))
	}
	return corrupt(s.name, c.pos, fmt.Sprintf("record %d: %v; the next segment begins with %d", c.next, bad, s.next))
}

// scanLast reads the last segment and cuts what a crash left torn at its end.
func (l *Log) scanLast(c *cursor, s *segment, reach Index, ended bool) error {
	c.file = l.file
	clean, bad := l.scanFrames(c, s)
	if !errors.Is(bad, errInvalid) {
		return fmt.Errorf("read segment %s: %w", s.name, bad)
	}
	r, err := c.rest()
	switch {
	case err != nil:
		return fmt.Errorf("read segment %s: %w", s.name, err)
	case r.evidence != 0:
		return corrupt(s.name, c.pos, fmt.Sprintf("record %d: %v; it was durable before the frame at %d was written", c.next, bad, r.evidence))
	case c.next <= reach:
		return corrupt(s.name, c.pos, fmt.Sprintf("the log ends here: the records %d to %d are missing, which were acknowledged: bring the log back from a copy", c.next, reach))
	}
	if r.size > 0 {
		if err := l.cutTorn(c, s, r); err != nil {
			return err
		}
	}
	if err := l.rewrite(c, s); err != nil {
		return err
	}
	l.clean = clean
	l.gen = max(l.gen, r.gen) + 1
	l.last = c.next - 1
	l.tail = position{s, c.pos, c.next}
	if !ended {
		l.logger.Warn("wal: the log was not closed in order",
			"dir", l.dir, "segment", s.name, "offset", c.pos, "last_index", uint64(l.last),
			"hint", "after kill -9 or a crash nothing is missing; but damage to the last write, and removed segments at the end, look the same")
	}
	return nil
}

// cutTorn cuts what follows the last frame.
func (l *Log) cutTorn(c *cursor, s *segment, r rest) error {
	l.logger.Warn("wal: cutting a torn write from the end",
		"dir", l.dir, "segment", s.name, "offset", c.pos, "bytes", r.size,
		"hint", "a crash in the midst of a write leaves this, and it was not acknowledged; if there was no crash, something damaged the end of the segment")
	if err := l.file.Truncate(c.pos); err != nil {
		return err
	}
	s.cut(c.pos)
	l.filled = s.size
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
