package rsmarchive

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"maru.example/rsm"
)

// See docs/format/archive.md. All is little-endian; checksums are CRC-32C.
const (
	magic         = "MARUARCH"
	endMagic      = "MARUAEND"
	formatVersion = 1

	headerBytes      = 104
	frameHeaderBytes = 52
	rowBytes         = 56
	tailBytes        = 104

	streams     = 3 // of a frame: heads, entries, decisions
	streamBytes = 12
	// maxStreamBytes bounds what a reader makes room for: a frame takes one entry more
	// when it has nearly enough.
	maxStreamBytes = MaxEntryBytes + frameBytes
	// maxFrames bounds a segment's index, which a reader takes whole.
	maxFrames = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// header begins a segment.
type header struct {
	group   uint64
	first   rsm.Index
	missing uint64 // entries right before first that the archive has not
	origin  Link
	before  Link // of first: after the gap, if there is one
}

func (h *header) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, h.group)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.first))
	dst = binary.LittleEndian.AppendUint64(dst, h.missing)
	dst = append(dst, h.origin[:]...)
	dst = append(dst, h.before[:]...)
	binary.LittleEndian.PutUint32(dst[start+12:], checksum(dst[start+16:]))
	return dst
}

func parseHeader(b []byte) (header, error) {
	if len(b) < headerBytes || string(b[:8]) != magic {
		return header{}, fmt.Errorf("%w: it does not begin as a segment", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return header{}, fmt.Errorf("%w: segment has version %d, this program reads %d", ErrVersion, v, formatVersion)
	}
	if checksum(b[16:headerBytes]) != binary.LittleEndian.Uint32(b[12:]) {
		return header{}, fmt.Errorf("%w: header has a wrong checksum", ErrDamaged)
	}
	return header{
		group:   binary.LittleEndian.Uint64(b[16:]),
		first:   rsm.Index(binary.LittleEndian.Uint64(b[24:])),
		missing: binary.LittleEndian.Uint64(b[32:]),
		origin:  Link(b[40:72]),
		before:  Link(b[72:104]),
	}, nil
}

// row is a frame in the index of a segment.
type row struct {
	offset int64     // in the file
	first  rsm.Index // entry
	time   int64     // of it
	before Link      // of it
}

// footer ends a segment: the index of its frames, and the tail.
type footer struct {
	rows      []row
	start     int64 // of the footer: its offset, where the last frame ends
	entries   uint64
	content   int64 // bytes of heads, entries and decisions
	firstTime int64
	last      Position
}

// size is how many bytes the footer has.
func (f *footer) size() int64 { return int64(len(f.rows))*rowBytes + tailBytes }

// end is where frame i ends in the file.
func (f *footer) end(i int) int64 {
	if i+1 < len(f.rows) {
		return f.rows[i+1].offset
	}
	return f.start
}

// after is the link after frame i.
func (f *footer) after(i int) Link {
	if i+1 < len(f.rows) {
		return f.rows[i+1].before
	}
	return f.last.Link
}

// lastOf is the last entry of frame i.
func (f *footer) lastOf(i int) rsm.Index {
	if i+1 < len(f.rows) {
		return f.rows[i+1].first - 1
	}
	return f.last.Index
}

func (f *footer) append(dst []byte) []byte {
	start := len(dst)
	for _, r := range f.rows {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.offset))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.first))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.time))
		dst = append(dst, r.before[:]...)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.start))
	dst = binary.LittleEndian.AppendUint64(dst, f.entries)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.content))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.firstTime))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.last.Index))
	dst = binary.LittleEndian.AppendUint64(dst, f.last.Term)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.last.Time))
	dst = append(dst, f.last.Link[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(f.rows)))
	dst = binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
	return append(dst, endMagic...)
}

// tailFrames returns how many frames a segment has, whose last bytes these are. They
// are not checked yet.
func tailFrames(b []byte) (int, error) {
	if len(b) < tailBytes || string(b[len(b)-8:]) != endMagic {
		return 0, fmt.Errorf("%w: it does not end as a segment", ErrDamaged)
	}
	n := binary.LittleEndian.Uint32(b[len(b)-16:])
	if n == 0 || n > maxFrames {
		return 0, fmt.Errorf("%w: footer speaks of %d frames", ErrDamaged, n)
	}
	return int(n), nil
}

// parseFooter reads the footer from a segment's last bytes, of which there may be more
// than it has.
func parseFooter(b []byte) (*footer, error) {
	n, err := tailFrames(b)
	if err != nil {
		return nil, err
	}
	size := n*rowBytes + tailBytes
	if len(b) < size {
		return nil, fmt.Errorf("%w: footer of %d frames has %d bytes", ErrDamaged, n, len(b))
	}
	b = b[len(b)-size:]
	if checksum(b[:size-12]) != binary.LittleEndian.Uint32(b[size-12:]) {
		return nil, fmt.Errorf("%w: footer has a wrong checksum", ErrDamaged)
	}
	f := &footer{rows: make([]row, n)}
	for i := range f.rows {
		f.rows[i] = row{
			offset: int64(binary.LittleEndian.Uint64(b)),
			first:  rsm.Index(binary.LittleEndian.Uint64(b[8:])),
			time:   int64(binary.LittleEndian.Uint64(b[16:])),
			before: Link(b[24:56]),
		}
		b = b[rowBytes:]
	}
	f.start = int64(binary.LittleEndian.Uint64(b))
	f.entries = binary.LittleEndian.Uint64(b[8:])
	f.content = int64(binary.LittleEndian.Uint64(b[16:]))
	f.firstTime = int64(binary.LittleEndian.Uint64(b[24:]))
	f.last = Position{
		Index: rsm.Index(binary.LittleEndian.Uint64(b[32:])),
		Term:  binary.LittleEndian.Uint64(b[40:]),
		Time:  int64(binary.LittleEndian.Uint64(b[48:])),
		Link:  Link(b[56:88]),
	}
	return f, f.check()
}

// check refuses an index whose frames are not one after the other: a reader relies on it.
func (f *footer) check() error {
	at := row{offset: headerBytes - 1, first: f.rows[0].first - 1}
	for i, r := range f.rows {
		if r.offset <= at.offset || r.first <= at.first || i == 0 && r.offset != headerBytes || r.first == 0 {
			return fmt.Errorf("%w: footer has frame %d at the wrong place", ErrDamaged, i)
		}
		at = r
	}
	first := f.rows[0]
	switch {
	case f.start <= at.offset, f.start > 1<<40, f.last.Index < at.first,
		f.entries != uint64(f.last.Index-first.first)+1, f.firstTime != first.time:
		return fmt.Errorf("%w: footer contradicts itself", ErrDamaged)
	}
	return nil
}

// stream is how a frame holds one of its three streams.
type stream struct {
	packed  int // bytes in the file
	content int // bytes of the stream
	stride  int // of the columns into which it was sorted; 1: was not
}

// frameHeader begins a frame.
type frameHeader struct {
	entries int
	first   rsm.Index
	streams [streams]stream
}

// append appends the header without its checksum.
func (h *frameHeader) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.entries))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.first))
	for _, s := range h.streams {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(s.packed))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(s.content))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(s.stride))
	}
	return dst
}

// frameSum is the checksum of a frame at an offset in its file: it is good there only.
func frameSum(frame []byte, offset int64) uint32 {
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(offset))
	return crc32.Update(checksum(at[:]), castagnoli, frame[4:])
}

// parseFrameHeader checks a frame's checksum and the form of its header.
func parseFrameHeader(frame []byte, offset int64) (frameHeader, error) {
	if len(frame) < frameHeaderBytes || frameSum(frame, offset) != binary.LittleEndian.Uint32(frame) {
		return frameHeader{}, fmt.Errorf("%w: frame has a wrong checksum", ErrDamaged)
	}
	h := frameHeader{
		entries: int(binary.LittleEndian.Uint32(frame[4:])),
		first:   rsm.Index(binary.LittleEndian.Uint64(frame[8:])),
	}
	total := int64(frameHeaderBytes)
	for i := range h.streams {
		b := frame[16+i*streamBytes:]
		s := stream{
			packed:  int(binary.LittleEndian.Uint32(b)),
			content: int(binary.LittleEndian.Uint32(b[4:])),
			stride:  int(binary.LittleEndian.Uint32(b[8:])),
		}
		if s.content > maxStreamBytes || s.stride < 1 || s.stride > maxStride {
			return frameHeader{}, fmt.Errorf("%w: frame has a stream of %d bytes in columns of %d", ErrDamaged, s.content, s.stride)
		}
		total += int64(s.packed)
		h.streams[i] = s
	}
	if total != int64(len(frame)) || h.entries == 0 || int64(h.entries)*headBytes != int64(h.streams[0].content) {
		return frameHeader{}, fmt.Errorf("%w: frame's lengths do not add up", ErrDamaged)
	}
	return h, nil
}
