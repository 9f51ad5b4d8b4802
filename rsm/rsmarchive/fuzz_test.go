package rsmarchive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"maru.example/rsm"
)

// seal makes the checksums of a segment's parts right, so that the fuzzer gets behind them.
func seal(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < headerBytes+tailBytes {
		return b
	}
	binary.LittleEndian.PutUint32(b[12:], checksum(b[16:headerBytes]))
	n, err := tailFrames(b)
	if err != nil || n*rowBytes+tailBytes+headerBytes > len(b) {
		return b
	}
	at := len(b) - n*rowBytes - tailBytes
	binary.LittleEndian.PutUint32(b[len(b)-12:], checksum(b[at:len(b)-12]))
	f, err := parseFooter(b)
	if err != nil {
		return b
	}
	for i, r := range f.rows {
		if end := f.end(i); r.offset+4 < end && end <= int64(len(b)) {
			binary.LittleEndian.PutUint32(b[r.offset:], frameSum(b[r.offset:end], r.offset))
		}
	}
	return b
}

// FuzzSegment reads any bytes as an archive's only segment, with and without right checksums.
func FuzzSegment(f *testing.F) {
	store, _ := small(f, 6, 1)
	for _, name := range store.names() {
		f.Add(store[name])
	}
	name := "00000001/" + segmentName(1)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(b)} {
			r := verify(t, objects{name: b}, &VerifyOptions{Each: func(d *rsm.Decided) error {
				if d.Index == 0 {
					t.Error("an entry has index 0")
				}
				return nil
			}})
			if r.Found == 0 && r.Entries == 0 {
				t.Error("a segment without entries has nothing wrong")
			}
			if end, err := openArchive(t, objects{name: b}).End(t.Context()); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Errorf("end %+v, %v", end, err)
			}
		}
	})
}

// FuzzFrame unpacks any bytes as a frame.
func FuzzFrame(f *testing.F) {
	for _, n := range []int{1, 3, 8} {
		p := newPacker()
		for _, d := range decidedBy(uint64(n), 1, n, 2) {
			p.add(&d)
		}
		f.Add(p.pack(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= frameHeaderBytes {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b, frameSum(b, 0))
		}
		u := newUnpacker()
		defer u.close()
		got, err := u.unpack(b, 0)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v, want %v", err, ErrDamaged)
			}
			return
		}
		p := newPacker()
		for i := range got.decided {
			p.add(&got.decided[i])
		}
		again, err := u.unpack(p.pack(nil), 0)
		if err != nil {
			t.Fatal(err)
		}
		wantEntries(t, again.decided, got.decided)
	})
}

// FuzzCheckpoint parses any text as a signed checkpoint, and as one whose signature is good.
func FuzzCheckpoint(f *testing.F) {
	s, v, _, _ := keys(f, 1)
	text, err := testCheckpoint().Text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(s.sign(text))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCheckpoint(b, v); err == nil {
			if again, err := c.Text(); err != nil || !bytes.HasPrefix(b, again) {
				t.Errorf("%q is read as %q, %v", b, again, err)
			}
		}
		c, err := parseText(b)
		if err != nil {
			if !errors.Is(err, ErrCheckpoint) {
				t.Errorf("got %v, want %v", err, ErrCheckpoint)
			}
			return
		}
		if again, err := c.Text(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q is read as %q, %v", b, again, err)
		}
	})
}

// FuzzColumns sorts any bytes into columns and back.
func FuzzColumns(f *testing.F) {
	f.Add([]byte("0123456789"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, stride uint8) {
		n := max(int(stride), 1)
		got := make([]byte, len(b))
		fromColumns(got, toColumns(nil, b, n), n)
		if !bytes.Equal(got, b) {
			t.Errorf("columns of %d: got %x, want %x", n, got, b)
		}
	})
}
