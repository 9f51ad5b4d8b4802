package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"maru.example/vfs"
)

// Reader reads records in order. It is for one goroutine. It goes on reading a
// segment that TruncateBefore removes meanwhile, and gets ErrTruncated at its end
// if the next one is gone as well.
type Reader struct {
	log     *Log
	next    Index
	cuts    int // of Log.cuts, those that next is known not to be touched by
	segment *segment
	cursor  cursor // in segment, once that is set
	err     error  // for ever
}

// Reader returns a reader that begins at the record from. It may read while the
// log is written; it sees durable records only. A record that is not there yet
// is waited for by asking again. Reading goes on when the log has failed.
func (l *Log) Reader(from Index) (*Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if first := l.segments[0].first; from < first {
		return nil, fmt.Errorf("%w: %d, the first is %d", ErrTruncated, from, first)
	}
	return &Reader{log: l, next: from, cuts: len(l.cuts)}, nil
}

// Next returns the next record and its index, or io.EOF where the log ends for
// now: a later call may find more. The bytes are valid until the next call. It
// returns ErrTruncated if the record was cut from the log's beginning, or
// TruncateAfter cut it or records that the reader returned; ErrCorrupt if it is
// damaged; ErrClosed if the log or the reader was closed.
func (r *Reader) Next() (Index, []byte, error) {
	if r.err != nil {
		return 0, nil, r.err
	}
	index, record, err := r.read()
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return index, record, err
}

func (r *Reader) read() (Index, []byte, error) {
	for {
		s, limit, err := r.place()
		if err != nil {
			return 0, nil, err
		}
		if s != r.segment {
			err = r.open(s, limit)
		}
		var f frame
		var record []byte
		if err == nil {
			r.cursor.limit = limit
			f, record, err = r.cursor.read()
		}
		// What was read while it was cut is nothing: neither a record nor damage.
		if cut, gone := r.cut(); gone != nil {
			return 0, nil, gone
		} else if cut {
			continue
		}
		switch {
		case errors.Is(err, errInvalid):
			return 0, nil, corrupt(s.name, r.cursor.pos, fmt.Sprintf("record %d: %v", r.cursor.next, err))
		case err != nil:
			return 0, nil, err
		case f.kind == kindRecord:
			r.next++
			return f.index, record, nil
		case f.kind == kindClose:
		}
	}
}

// place returns the segment of the next record and the end of what is durable in it.
func (r *Reader) place() (*segment, int64, error) {
	if _, err := r.cut(); err != nil {
		return nil, 0, err
	}
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, 0, ErrClosed
	case r.next > l.last:
		return nil, 0, io.EOF
	case r.segment != nil && (r.segment.next == 0 || r.next < r.segment.next):
		return r.segment, r.segment.end, nil
	case r.next < l.segments[0].first:
		return nil, 0, fmt.Errorf("%w: %d, the first is %d", ErrTruncated, r.next, l.segments[0].first)
	}
	s := l.segments[find(l.segments, r.next)]
	return s, s.end, nil
}

// cut says whether TruncateAfter was called since it was asked last; the reader
// has then left its segment. The error says that it took away what was read.
func (r *Reader) cut() (bool, error) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.cuts == len(l.cuts) {
		return false, nil
	}
	for _, last := range l.cuts[r.cuts:] {
		if r.next > last+1 {
			return true, fmt.Errorf("%w: the log was cut after %d, the reader was at %d", ErrTruncated, last, r.next)
		}
	}
	r.cuts = len(l.cuts)
	r.segment = nil
	return true, nil
}

// open goes to the next record, which is in s.
func (r *Reader) open(s *segment, limit int64) error {
	r.segment = nil
	if err := r.closeFile(); err != nil {
		return err
	}
	f, err := r.log.fs.Open(r.log.path(s.name), vfs.Read)
	if errors.Is(err, fs.ErrNotExist) && r.log.First() > r.next {
		return fmt.Errorf("%w: %d was removed", ErrTruncated, r.next)
	} else if err != nil {
		return err
	}
	r.log.mu.Lock()
	off, index := s.near(r.next)
	r.log.mu.Unlock()
	r.segment = s
	r.cursor.file = f
	r.cursor.start(s, off, index, limit)
	return r.cursor.seek(r.next)
}

func (r *Reader) closeFile() error {
	f := r.cursor.file
	if f == nil {
		return nil
	}
	r.cursor.file = nil
	return f.Close()
}

// Close releases the reader's file.
func (r *Reader) Close() error {
	r.err = ErrClosed
	return r.closeFile()
}
