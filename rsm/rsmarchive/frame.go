package rsmarchive

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"

	"maru.example/rsm"
)

// A frame holds consecutive entries as three streams, each compressed by itself: the
// heads, the entries, the decisions. Records of a fixed size compress better, and faster,
// when a stream is sorted into columns: first the first bytes of all records, then the
// second ones, and so on.

const (
	maxStride   = 256
	sampleBytes = 8 << 10
)

// strides are the columns that are tried for each stream: heads; transfers by handle;
// balances, and movements.
var strides = [streams][]int{{headBytes}, {1, 64}, {1, 16, 60}}

// packer compresses frames. It belongs to one goroutine.
type packer struct {
	encoder *zstd.Encoder
	raw     [streams][]byte // content of the frame that is being made
	entries int
	first   rsm.Index
	columns []byte
	sample  []byte
}

func newPacker() *packer {
	// The options are constants: there is nothing to fail.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		panic("rsmarchive: " + err.Error())
	}
	return &packer{encoder: encoder}
}

// add takes an entry.
func (p *packer) add(d *rsm.Decided) {
	if p.entries == 0 {
		p.first = d.Index
	}
	var head [headBytes]byte
	putHead(head[:], d)
	p.raw[0] = append(p.raw[0], head[:]...)
	p.raw[1] = append(p.raw[1], d.Entry...)
	p.raw[2] = append(p.raw[2], d.Decision...)
	p.entries++
}

func (p *packer) bytes() int { return len(p.raw[0]) + len(p.raw[1]) + len(p.raw[2]) }

// pack appends the frame, which will be at len(dst) in its file, and begins the next.
func (p *packer) pack(dst []byte) []byte {
	start := len(dst)
	h := frameHeader{entries: p.entries, first: p.first}
	dst = append(dst, make([]byte, frameHeaderBytes)...)
	for i, raw := range p.raw {
		stride := p.choose(raw, strides[i])
		from := len(dst)
		dst = p.encoder.EncodeAll(p.sorted(raw, stride), dst)
		h.streams[i] = stream{packed: len(dst) - from, content: len(raw), stride: stride}
		p.raw[i] = raw[:0]
	}
	h.append(dst[:start])
	binary.LittleEndian.PutUint32(dst[start:], frameSum(dst[start:], int64(start)))
	p.entries = 0
	return dst
}

// choose returns the columns in which a piece from the middle of the stream compresses best.
func (p *packer) choose(raw []byte, strides []int) int {
	if len(strides) == 1 || len(raw) == 0 {
		return strides[0]
	}
	piece := raw
	if len(raw) > sampleBytes {
		piece = raw[(len(raw)-sampleBytes)/2:][:sampleBytes]
	}
	best, least := 0, 0
	for _, s := range strides {
		p.sample = p.encoder.EncodeAll(p.sorted(piece, s), p.sample[:0])
		if best == 0 || len(p.sample) < least {
			best, least = s, len(p.sample)
		}
	}
	return best
}

// sorted returns the bytes in columns, valid until the next call.
func (p *packer) sorted(b []byte, stride int) []byte {
	if stride == 1 {
		return b
	}
	p.columns = toColumns(p.columns[:0], b, stride)
	return p.columns
}

// toColumns appends first all bytes that are at 0 in their row of stride bytes, then
// all at 1, and so on; what is left after the last whole row follows as it is.
func toColumns(dst, b []byte, stride int) []byte {
	rows := len(b) / stride
	for c := range stride {
		for at := c; at < rows*stride; at += stride {
			dst = append(dst, b[at])
		}
	}
	return append(dst, b[rows*stride:]...)
}

// fromColumns reverses toColumns, into dst, which is as long as b.
func fromColumns(dst, b []byte, stride int) {
	rows := len(b) / stride
	for c := range stride {
		column := b[c*rows : (c+1)*rows]
		at := c
		for _, v := range column {
			dst[at] = v
			at += stride
		}
	}
	copy(dst[rows*stride:], b[rows*stride:])
}

// unpacker reads frames. It belongs to one goroutine.
type unpacker struct {
	decoder *zstd.Decoder
	columns []byte
}

func newUnpacker() *unpacker {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxStreamBytes), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic("rsmarchive: " + err.Error())
	}
	return &unpacker{decoder: decoder}
}

func (u *unpacker) close() { u.decoder.Close() }

// frame is a frame, unpacked.
type frame struct {
	header  frameHeader
	decided []rsm.Decided
}

// unpack reads the frame that was at an offset in its file. The entries are in memory of
// their own. It checks the form, not the chain.
func (u *unpacker) unpack(b []byte, offset int64) (frame, error) {
	h, err := parseFrameHeader(b, offset)
	if err != nil {
		return frame{}, err
	}
	var content [streams][]byte
	b = b[frameHeaderBytes:]
	for i, s := range h.streams {
		if content[i], err = u.stream(b[:s.packed], s); err != nil {
			return frame{}, err
		}
		b = b[s.packed:]
	}
	return divide(h, content)
}

// stream unpacks one stream.
func (u *unpacker) stream(b []byte, s stream) ([]byte, error) {
	dst := make([]byte, 0, s.content)
	into := dst
	if s.stride > 1 {
		u.columns = slices.Grow(u.columns[:0], s.content)
		into = u.columns[:0:s.content]
	}
	// No more than the capacity is written, whatever the bytes say.
	got, err := u.decoder.DecodeAll(b, into)
	if err != nil || len(got) != s.content {
		return nil, fmt.Errorf("%w: frame does not unpack to %d bytes", ErrDamaged, s.content)
	}
	if s.stride == 1 {
		return got, nil
	}
	dst = dst[:s.content]
	fromColumns(dst, got, s.stride)
	return dst, nil
}

// divide makes entries of a frame's streams.
func divide(h frameHeader, content [streams][]byte) (frame, error) {
	f := frame{header: h, decided: make([]rsm.Decided, h.entries)}
	heads, entries, decisions := content[0], content[1], content[2]
	for i := range f.decided {
		head := heads[i*headBytes:]
		n, m := binary.LittleEndian.Uint32(head[24:]), binary.LittleEndian.Uint32(head[28:])
		if uint64(n) > uint64(len(entries)) || uint64(m) > uint64(len(decisions)) {
			return frame{}, fmt.Errorf("%w: frame's entries are longer than it", ErrDamaged)
		}
		f.decided[i] = rsm.Decided{
			Index: rsm.Index(binary.LittleEndian.Uint64(head)),
			Term:  binary.LittleEndian.Uint64(head[8:]),
			Time:  int64(binary.LittleEndian.Uint64(head[16:])),
			Entry: entries[:n:n], Decision: decisions[:m:m],
		}
		entries, decisions = entries[n:], decisions[m:]
	}
	if len(entries) > 0 || len(decisions) > 0 || f.decided[0].Index != h.first {
		return frame{}, fmt.Errorf("%w: frame's entries do not make up the frame", ErrDamaged)
	}
	return f, nil
}
