package wal

import (
	"errors"
	"fmt"

	"maru.example/vfs"
)

// TruncateBefore forgets records before first, whole segments at a time: some
// of them may still be readable. The last segment always stays. It does not
// hold up Append. An error fails the log.
func (l *Log) TruncateBefore(first Index) error {
	l.cutting.Lock()
	defer l.cutting.Unlock()
	for {
		s, err := l.dropOldest(first)
		if s == nil || err != nil {
			return err
		}
		// One at a time: a crash must not leave a gap.
		err = l.fs.Remove(l.path(s.name))
		if err == nil {
			err = l.folder.Sync()
		}
		if err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.fail(fmt.Errorf("remove segment %s: %w", s.name, err))
			l.changed.Broadcast()
			return l.err
		}
	}
}

// dropOldest takes the oldest segment out of the list if all of its records are
// before first, and another one follows.
func (l *Log) dropOldest(first Index) (*segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	s := l.segments[0]
	if s.next == 0 || s.next > first {
		return nil, nil
	}
	l.segments[0] = nil
	l.segments = l.segments[1:]
	return s, nil
}

// TruncateAfter forgets all records after last, durably. It waits for appends
// under way and holds up others. It returns ErrTruncated if last is before the
// record that precedes First. An error of the disk fails the log: more records
// than asked for may be found when it is opened anew.
func (l *Log) TruncateAfter(last Index) error {
	l.cutting.Lock()
	defer l.cutting.Unlock()
	if !l.hold() {
		return ErrClosed
	}
	some, err := l.forget(last)
	if err != nil || !some {
		l.letGo(nil)
		return err
	}
	l.letGo(l.cutTo(last))
	return l.Err()
}

// forget hides the records after last from readers. It returns false if there
// are none.
func (l *Log) forget(last Index) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return false, l.err
	case last >= l.last:
		return false, nil
	case last+1 < l.segments[0].first:
		return false, fmt.Errorf("%w: cut after %d, but %d is the first", ErrTruncated, last, l.segments[0].first)
	}
	l.cuts = append(l.cuts, last)
	l.last = last
	return true, nil
}

// cutTo removes the records after last from the disk: first the segments that
// hold nothing else, from the newest, so that a crash leaves no gap, and then
// the end of the one that becomes the last.
func (l *Log) cutTo(last Index) error {
	keep := find(l.segments, last+1)
	if l.active != l.segments[keep] {
		if err := l.reopen(keep); err != nil {
			return err
		}
	}
	s := l.active
	c := cursor{file: l.file}
	off, index := s.near(last + 1)
	c.start(s, off, index, s.end)
	if err := c.seek(last + 1); errors.Is(err, errInvalid) {
		return corrupt(s.name, c.pos, fmt.Sprintf("record %d: %v", c.next, err))
	} else if err != nil {
		return err
	}
	if err := l.file.Truncate(c.pos); err != nil {
		return l.named(err)
	}
	if err := l.file.Sync(); err != nil {
		return l.named(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.cut(c.pos)
	// Once more: a reader may meanwhile have read ahead into what is gone now.
	l.cuts = append(l.cuts, last)
	l.filled = s.size
	l.clean = false
	l.gen++ // the frames that were cut can never follow those to come
	l.tail = position{s, c.pos, last + 1}
	return nil
}

// reopen removes the segments after the one that is kept, and appends to that.
func (l *Log) reopen(keep int) error {
	f, err := l.fs.Open(l.path(l.segments[keep].name), vfs.Write)
	if err != nil {
		return err
	}
	old := l.file
	l.file, l.active = f, l.segments[keep]
	if err := old.Close(); err != nil {
		return err
	}
	for i := len(l.segments) - 1; i > keep; i-- {
		name := l.segments[i].name
		err := l.fs.Remove(l.path(name))
		if err == nil {
			err = l.folder.Sync()
		}
		if err != nil {
			return fmt.Errorf("remove segment %s: %w", name, err)
		}
		l.mu.Lock()
		l.segments[i] = nil
		l.segments = l.segments[:i]
		l.mu.Unlock()
	}
	return nil
}
