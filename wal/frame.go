package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// frameHeaderSize is the length of what precedes a record in a segment. Frames
// begin at multiples of align.
const (
	frameHeaderSize = 32
	align           = 8
)

// castagnoli is computed by the processor.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// kind says what a frame is.
type kind uint32

const (
	kindRecord kind = 1
	kindClose  kind = 2 // the log was closed here; no record
)

// frame is the header of a frame, decoded.
type frame struct {
	kind    kind
	length  int64 // of the record, without padding
	gen     uint32
	index   Index // of the record, or of the one that follows a close marker
	group   int64 // the offset at which the group began that was synced with it
	dataCRC uint32
}

// frameSize returns the length of the frame of a record, with header and padding.
func frameSize(length int64) int64 {
	return frameHeaderSize + (length+align-1)&^(align-1)
}

// appendFrame appends the frame of a record that will be at off in a segment
// with the seed.
func appendFrame(dst []byte, f frame, r Record, seed uint32, off int64) []byte {
	start := len(dst)
	var header [frameHeaderSize]byte
	dst = append(dst, header[:]...)
	for _, part := range r {
		dst = append(dst, part...)
	}
	length := len(dst) - start - frameHeaderSize
	for len(dst)%align != start%align {
		dst = append(dst, 0)
	}
	p := dst[start:]
	le := binary.LittleEndian
	le.PutUint32(p[4:], crc32.Update(0, castagnoli, p[frameHeaderSize:]))
	le.PutUint32(p[8:], uint32(length))
	le.PutUint32(p[12:], f.gen)
	le.PutUint64(p[16:], uint64(f.index))
	le.PutUint32(p[24:], uint32(f.group))
	le.PutUint32(p[28:], uint32(f.kind))
	le.PutUint32(p, headerCRC(p, seed, off))
	return dst
}

// headerCRC returns the checksum of a frame's header. It begins with the seed
// and the offset, so that a frame of another log or segment, or from another
// place in this one, is not valid.
func headerCRC(p []byte, seed uint32, off int64) uint32 {
	return crc32.Update(seed^uint32(off), castagnoli, p[4:frameHeaderSize])
}

// parseFrame decodes the header of the frame at off. It says false if there is none.
func parseFrame(p []byte, seed uint32, off int64) (frame, bool) {
	le := binary.LittleEndian
	if le.Uint32(p) != headerCRC(p, seed, off) {
		return frame{}, false
	}
	f := frame{
		dataCRC: le.Uint32(p[4:]),
		length:  int64(le.Uint32(p[8:])),
		gen:     le.Uint32(p[12:]),
		index:   Index(le.Uint64(p[16:])),
		group:   int64(le.Uint32(p[24:])),
		kind:    kind(le.Uint32(p[28:])),
	}
	ok := f.kind == kindRecord && f.length <= MaxRecordBytes || f.kind == kindClose && f.length == 0
	return f, ok && f.group >= segmentHeaderSize && f.group <= off && f.group%align == 0
}
