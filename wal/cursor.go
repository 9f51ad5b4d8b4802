package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"maru.example/vfs"
)

// readAhead is how much a cursor reads at once, if there is as much.
const readAhead = 256 << 10

// errInvalid says that there is no valid frame where there should be one. The
// error that wraps it says what is wrong.
var errInvalid = errors.New("no valid frame")

// cursor reads the frames of one segment one after the other.
type cursor struct {
	file  vfs.File
	seed  uint32
	limit int64  // nothing is read from here on
	pos   int64  // of the next frame
	next  Index  // its index
	gen   uint32 // of the last frame, or of the segment
	group int64  // that of the last frame; 0 is not known

	buf []byte // holds the file from at on
	at  int64
}

// start puts the cursor before a frame of s.
func (c *cursor) start(s *segment, off int64, index Index, limit int64) {
	c.seed, c.limit, c.pos, c.next, c.gen, c.group = s.seed, limit, off, index, s.gen, 0
	c.buf, c.at = c.buf[:0], 0
}

// bytes returns n bytes at off, valid until the next call. Where there are not
// as many it returns errInvalid.
func (c *cursor) bytes(off, n int64) ([]byte, error) {
	if off+n > c.limit {
		return nil, fmt.Errorf("%w: it is cut off", errInvalid)
	}
	if off < c.at || off+n > c.at+int64(len(c.buf)) {
		size := max(n, min(readAhead, c.limit-off))
		c.buf = slices.Grow(c.buf[:0], int(size))[:size]
		c.at = off
		read, err := c.file.ReadAt(c.buf, off)
		c.buf = c.buf[:read]
		switch {
		case int64(read) >= n:
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: the file is cut off", errInvalid)
		default:
			return nil, err
		}
	}
	return c.buf[off-c.at:][:n], nil
}

// header returns the next frame's header, if it is what must follow the last.
func (c *cursor) header() (frame, error) {
	p, err := c.bytes(c.pos, frameHeaderSize)
	if err != nil {
		return frame{}, err
	}
	f, ok := parseFrame(p, c.seed, c.pos)
	switch {
	case !ok:
		return f, fmt.Errorf("%w: the frame's header is damaged", errInvalid)
	case f.index != c.next:
		return f, fmt.Errorf("%w: it has index %d, want %d", errInvalid, f.index, c.next)
	case f.gen < c.gen:
		return f, fmt.Errorf("%w: it is of generation %d after %d", errInvalid, f.gen, c.gen)
	case f.group != c.pos && c.group != 0 && (f.group != c.group || f.gen != c.gen):
		return f, fmt.Errorf("%w: it is of the group at %d, after the one at %d", errInvalid, f.group, c.group)
	case c.pos+frameSize(f.length) > c.limit:
		return f, fmt.Errorf("%w: the record is cut off", errInvalid)
	}
	return f, nil
}

// pass moves behind f, the next frame.
func (c *cursor) pass(f frame) {
	c.pos += frameSize(f.length)
	c.gen, c.group = f.gen, f.group
	if f.kind == kindRecord {
		c.next++
	}
}

// read returns the next frame and its record, valid until the next call.
func (c *cursor) read() (frame, []byte, error) {
	f, err := c.header()
	if err != nil {
		return f, nil, err
	}
	size := frameSize(f.length)
	p, err := c.bytes(c.pos, size)
	if err != nil {
		return f, nil, err
	}
	p = p[frameHeaderSize:]
	if crc32.Update(0, castagnoli, p) != f.dataCRC {
		return f, nil, fmt.Errorf("%w: the record is damaged", errInvalid)
	}
	c.pass(f)
	return f, p[:f.length], nil
}

// seek moves to the record, by the headers of those before it.
func (c *cursor) seek(index Index) error {
	for c.next < index {
		f, err := c.header()
		if err != nil {
			return err
		}
		c.pass(f)
	}
	return nil
}

// rest is what follows the last valid frame of a log.
type rest struct {
	size     int64  // in bytes, up to the zeros at the end
	gen      uint32 // the highest of its frames
	evidence int64  // a frame of a later sync group than the first bytes; 0 is none
}

// rest examines what follows the cursor, where no valid frame is. A group is
// written when the one before it is durable: if a valid header says that its
// group began after the cursor, the cursor is at bytes that had been durable.
func (c *cursor) rest() (rest, error) {
	var r rest
	at := c.pos
	for off := at; off < c.limit; off += align {
		n := min(frameHeaderSize, c.limit-off)
		p, err := c.bytes(off, n)
		if err != nil {
			return r, err
		}
		if !slices.ContainsFunc(p[:min(n, align)], func(b byte) bool { return b != 0 }) {
			continue
		}
		r.size = off + min(n, align) - at
		if n < frameHeaderSize {
			continue
		}
		f, ok := parseFrame(p, c.seed, off)
		if !ok || f.gen < c.gen || f.index < c.next {
			continue
		}
		r.gen = max(r.gen, f.gen)
		if f.group > at && r.evidence == 0 {
			r.evidence = off
		}
	}
	return r, nil
}
