package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
)

// ErrRecord says that the records of a batch, unpacked, are none. The error that wraps it
// says which of them, and what is wrong with it.
var ErrRecord = errors.New("queue: invalid record")

// Record is one record of a batch, in bytes that others may own.
type Record struct {
	OffsetDelta    int32  // from the batch's BaseOffset
	TimestampDelta int64  // milliseconds from the batch's BaseTimestamp
	Key            []byte // nil: it has none
	Value          []byte // nil: it has none; in a compacted topic the key is deleted

	headers []byte // as they are in the record
	count   int    // of the headers
}

// Header is a name and a value that go with a record.
type Header struct {
	Key   string
	Value []byte // nil: it has none
}

// Records reads the records of a batch of so many, unpacked, in order. The error of the
// last pair wraps ErrRecord. The records are parts of the bytes.
func Records(unpacked []byte, count int32) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		p := unpacked
		for i := range count {
			var r Record
			var err error
			if r, p, err = cutRecord(p); err == nil && r.OffsetDelta < 0 {
				err = fmt.Errorf("%w: its offset is %d before the batch's", ErrRecord, -int64(r.OffsetDelta))
			}
			if err != nil {
				yield(Record{}, fmt.Errorf("record %d of %d: %w", i+1, count, err))
				return
			}
			if !yield(r, nil) {
				return
			}
		}
		if len(p) > 0 {
			yield(Record{}, fmt.Errorf("after %d records: %w: %d bytes more", count, ErrRecord, len(p)))
		}
	}
}

// cutRecord takes the first record from a sequence.
func cutRecord(p []byte) (r Record, rest []byte, err error) {
	d := decoder{p: p}
	n := d.varint()
	body := d.take(n)
	if d.bad {
		return r, nil, fmt.Errorf("%w: it says that it has %d bytes, and there are %d", ErrRecord, n, len(p))
	}
	rest, d = d.p, decoder{p: body}
	d.take(1) // attributes, of which none is known
	r.TimestampDelta = d.varint()
	delta := d.varint()
	r.Key, r.Value = d.bytes(), d.bytes()
	count := d.varint()
	r.headers = d.p
	if count < 0 || count > int64(len(d.p)) { // each has two bytes or more
		d.bad = true
	}
	for i := int64(0); i < count && !d.bad; i++ {
		if n := d.varint(); n < 0 {
			d.bad = true
		} else {
			d.take(n)
		}
		d.bytes()
	}
	r.OffsetDelta, r.count = int32(delta), int(count)
	if d.bad || len(d.p) > 0 || delta != int64(r.OffsetDelta) {
		return Record{}, nil, fmt.Errorf("%w: its fields do not fit its %d bytes", ErrRecord, n)
	}
	return r, rest, nil
}

// Headers gives the record's headers, in order.
func (r *Record) Headers() iter.Seq[Header] {
	return func(yield func(Header) bool) {
		d := decoder{p: r.headers}
		for range r.count {
			key := d.take(d.varint())
			if !yield(Header{Key: string(key), Value: d.bytes()}) {
				return
			}
		}
	}
}

// AppendRecord appends a record with headers, those in it not being looked at.
func AppendRecord(dst []byte, r *Record, headers ...Header) []byte {
	n := 1 + varintBytes(r.TimestampDelta) + varintBytes(int64(r.OffsetDelta)) +
		bytesBytes(r.Key) + bytesBytes(r.Value) + varintBytes(int64(len(headers)))
	for _, h := range headers {
		n += varintBytes(int64(len(h.Key))) + len(h.Key) + bytesBytes(h.Value)
	}
	dst = binary.AppendVarint(dst, int64(n))
	dst = append(dst, 0)
	dst = binary.AppendVarint(dst, r.TimestampDelta)
	dst = binary.AppendVarint(dst, int64(r.OffsetDelta))
	dst = appendBytes(appendBytes(dst, r.Key), r.Value)
	dst = binary.AppendVarint(dst, int64(len(headers)))
	for _, h := range headers {
		dst = binary.AppendVarint(dst, int64(len(h.Key)))
		dst = appendBytes(append(dst, h.Key...), h.Value)
	}
	return dst
}

func appendBytes(dst, p []byte) []byte {
	if p == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(p))), p...)
}

func bytesBytes(p []byte) int {
	if p == nil {
		return 1
	}
	return varintBytes(int64(len(p))) + len(p)
}

func varintBytes(v int64) int {
	n, u := 1, uint64(v)<<1^uint64(v>>63)
	for u >>= 7; u > 0; u >>= 7 {
		n++
	}
	return n
}

// decoder takes fields from bytes. After one that is not there bad is set, and the rest
// is zero.
type decoder struct {
	p   []byte
	bad bool
}

// varint takes a number in the zig-zag form of Protocol Buffers.
func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.p)
	if n <= 0 || d.bad {
		d.bad = true
		return 0
	}
	d.p = d.p[n:]
	return v
}

func (d *decoder) take(n int64) []byte {
	if n < 0 || n > int64(len(d.p)) || n > math.MaxInt32 || d.bad {
		d.bad = true
		return nil
	}
	p := d.p[:n:n]
	d.p = d.p[n:]
	return p
}

// bytes takes bytes with their length before them, -1 for nil.
func (d *decoder) bytes() []byte {
	if n := d.varint(); n >= 0 {
		return d.take(n)
	} else if n < -1 {
		d.bad = true
	}
	return nil
}
