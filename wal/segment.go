package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"

	"maru.example/vfs"
)

const (
	segmentMagic      = "MaruWAL\n"
	formatVersion     = 1
	segmentHeaderSize = 64
	suffix            = ".wal"
	nameDigits        = 20    // those of the largest index
	newName           = "new" // of a file until its content is durable
	lockName          = "wal.lock"
	pointEvery        = 256 << 10
)

// logID tells logs apart. All segments of a log have the same.
type logID [16]byte

func newLogID() (id logID) {
	_, _ = rand.Read(id[:]) // never fails: it ends the program
	return id
}

// segment is what is known of a segment file. Log.mu guards what changes.
type segment struct {
	name  string
	first Index
	gen   uint32 // no frame has a lower one
	seed  uint32 // of the frames' checksums

	next   Index   // that the following segment begins with; 0 in the last one
	end    int64   // of the durable frames; where a segment was not scanned, its size
	size   int64   // of the file
	points []point // some frames, in order
}

// point is where a frame is: readers need not begin at the segment's start.
type point struct {
	off   uint32
	count uint32 // records before it in the segment
}

func newSegment(id logID, first Index, gen uint32) *segment {
	var p [len(id) + 8]byte
	copy(p[:], id[:])
	binary.LittleEndian.PutUint64(p[len(id):], uint64(first))
	return &segment{
		name: segmentName(first), first: first, gen: gen, seed: crc32.Checksum(p[:], castagnoli),
		end: segmentHeaderSize, size: segmentHeaderSize,
	}
}

func segmentName(first Index) string {
	return fmt.Sprintf("%0*d%s", nameDigits, uint64(first), suffix)
}

// parseName returns the first index that a segment's name says; false for the
// name of another file.
func parseName(name string) (Index, bool) {
	if len(name) != nameDigits+len(suffix) {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:nameDigits], 10, 64)
	return Index(n), err == nil && n > 0 && segmentName(Index(n)) == name
}

// note remembers the frame at off, if the last one that is remembered is far.
func (s *segment) note(off int64, index Index) {
	last := int64(segmentHeaderSize)
	if n := len(s.points); n > 0 {
		last = int64(s.points[n-1].off)
	}
	if off-last >= pointEvery {
		s.points = append(s.points, point{off: uint32(off), count: uint32(index - s.first)})
	}
}

// cut forgets what is at off and after it.
func (s *segment) cut(off int64) {
	s.next, s.end, s.size = 0, off, off
	for n := len(s.points); n > 0 && int64(s.points[n-1].off) >= off; n-- {
		s.points = s.points[:n-1]
	}
}

// near returns a frame that is not after the index, and its index.
func (s *segment) near(index Index) (int64, Index) {
	off, at := int64(segmentHeaderSize), s.first
	for _, p := range s.points {
		if s.first+Index(p.count) > index {
			break
		}
		off, at = int64(p.off), s.first+Index(p.count)
	}
	return off, at
}

// appendHeader appends the segment's header.
func (s *segment) appendHeader(dst []byte, id logID) []byte {
	var p [segmentHeaderSize]byte
	le := binary.LittleEndian
	copy(p[:], segmentMagic)
	le.PutUint32(p[8:], formatVersion)
	le.PutUint32(p[12:], s.gen)
	copy(p[16:], id[:])
	le.PutUint64(p[32:], uint64(s.first))
	le.PutUint32(p[60:], crc32.Checksum(p[:60], castagnoli))
	return append(dst, p[:]...)
}

// readSegment reads the header of the segment file.
func readSegment(f vfs.File, name string) (*segment, logID, error) {
	var id logID
	p := make([]byte, segmentHeaderSize)
	if _, err := f.ReadAt(p, 0); errors.Is(err, io.EOF) {
		return nil, id, corrupt(name, 0, "the header is cut off")
	} else if err != nil {
		return nil, id, err
	}
	le := binary.LittleEndian
	if string(p[:8]) != segmentMagic || le.Uint32(p[60:]) != crc32.Checksum(p[:60], castagnoli) {
		return nil, id, corrupt(name, 0, "the header is damaged")
	}
	if v := le.Uint32(p[8:]); v != formatVersion {
		return nil, id, fmt.Errorf("segment %s: %w: %d", name, ErrVersion, v)
	}
	copy(id[:], p[16:])
	s := newSegment(id, Index(le.Uint64(p[32:])), le.Uint32(p[12:]))
	if s.name != name {
		return nil, id, corrupt(name, 0, "the header is that of "+s.name)
	}
	size, err := f.Size()
	if err != nil {
		return nil, id, err
	}
	s.size = size
	s.end = size
	return s, id, nil
}

// prepare creates the file of the next segment, unless it is there: to begin the
// segment takes no file descriptor then.
func (l *Log) prepare() error {
	if l.spare != nil {
		return nil
	}
	f, err := l.fs.Open(l.path(newName), vfs.Create)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare = f
	return nil
}

// create makes the segment's file out of the spare one.
func (l *Log) create(s *segment) (vfs.File, error) {
	f, err := l.publishFile(s.appendHeader(nil, l.id), s.name)
	if err != nil {
		return nil, fmt.Errorf("begin segment %s: %w", s.name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.metrics.Bytes += segmentHeaderSize
	l.metrics.Syncs++
	return f, nil
}

// publishFile makes a file with the content out of the spare one. It gets its
// name when the content is durable: a file with the name of a segment and a bad
// header is damaged.
func (l *Log) publishFile(content []byte, name string) (vfs.File, error) {
	if err := l.prepare(); err != nil {
		return nil, err
	}
	f := l.spare
	if _, err := f.WriteAt(content, 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if err := l.fs.Rename(l.path(newName), l.path(name)); err != nil {
		return nil, err
	}
	if err := l.folder.Sync(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare = nil
	return f, nil
}

// named returns an error of the open file with the name that the segment has: a
// file knows the one by which it was created.
func (l *Log) named(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: p.Op, Path: l.path(l.active.name), Err: p.Err}
	}
	return err
}

// corrupt returns an ErrCorrupt that says where and why.
func corrupt(name string, off int64, why string) error {
	return fmt.Errorf("%w: segment %s at offset %d: %s", ErrCorrupt, name, off, why)
}
