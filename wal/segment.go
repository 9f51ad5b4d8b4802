package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"

	"maru.example/vfs"
)

const (
	segmentMagic      = "MaruWAL\n"
	formatVersion     = 1
	segmentHeaderSize = 64
	suffix            = ".wal"
	nameDigits        = 20    // those of the largest index
	newName           = "new" // of a segment until its header is durable
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

// create makes the segment's file. It gets its name when its header is durable:
// a file with the name of a segment and a bad header is damaged.
func (l *Log) create(s *segment) (vfs.File, error) {
	header := s.appendHeader(nil, l.id)
	f, err := l.fs.Open(l.path(newName), vfs.Create)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(header, 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fs.Rename(l.path(newName), l.path(s.name))
	}
	if err == nil {
		err = l.fs.SyncDir(l.dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.metrics.Bytes += segmentHeaderSize
	l.metrics.Syncs++
	return f, nil
}

// corrupt returns an ErrCorrupt that says where and why.
func corrupt(name string, off int64, why string) error {
	return fmt.Errorf("%w: segment %s at offset %d: %s", ErrCorrupt, name, off, why)
}
