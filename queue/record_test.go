package queue

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestRecords makes records and reads them.
func TestRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 300))
		var want []record
		var p []byte
		for i := range rapid.IntRange(0, 5).Draw(t, "records") {
			r := record{Record: Record{
				OffsetDelta:    int32(i) + rapid.Int32Range(0, math.MaxInt32-5).Draw(t, "offset"),
				TimestampDelta: rapid.Int64().Draw(t, "time"),
				Key:            some.Draw(t, "key"), Value: some.Draw(t, "value"),
			}}
			for range rapid.IntRange(0, 3).Draw(t, "headers") {
				r.Headers = append(r.Headers, Header{rapid.StringN(0, 20, 100).Draw(t, "name"), some.Draw(t, "header")})
			}
			p = AppendRecord(p, &r.Record, r.Headers...)
			want = append(want, r)
		}
		got, err := readRecords(p, int32(len(want)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, compareRecords); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for _, count := range []int{len(want) - 1, len(want) + 1} {
			if _, err := readRecords(p, int32(count)); count >= 0 && !errors.Is(err, ErrRecord) {
				t.Errorf("%d records read as %d: %v", len(want), count, err)
			}
		}
	})
}

// TestBadRecords reads bytes that are no records.
func TestBadRecords(t *testing.T) {
	whole := AppendRecord(nil, &Record{OffsetDelta: 1, Key: []byte("k"), Value: []byte("v")}, Header{"h", []byte("x")})
	tests := map[string][]byte{
		"nothing":                      {},
		"a length alone":               {20},
		"a negative length":            {1, 0, 0, 0, 0, 0, 0},
		"a length without end":         bytes.Repeat([]byte{0xff}, 12),
		"a key longer than the record": {12, 0, 0, 0, 100, 1, 0},
		"a key of minus two bytes":     {12, 0, 0, 0, 3, 1, 0},
		"more headers than bytes":      {12, 0, 0, 0, 1, 1, 126},
		"a negative number of headers": {12, 0, 0, 0, 1, 1, 1},
		"a header without a name":      {16, 0, 0, 0, 1, 1, 2, 1, 1},
		"bytes after the headers":      {14, 0, 0, 0, 1, 1, 0, 9},
		"an offset before the batch's": {12, 0, 0, 1, 1, 1, 0},
		"an offset that is too large":  {20, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x20, 1, 1, 0},
	}
	for n := range whole {
		if _, err := readRecords(whole[:n], 1); !errors.Is(err, ErrRecord) {
			t.Errorf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := readRecords(p, 1); !errors.Is(err, ErrRecord) {
				t.Errorf("got %v and %v, want ErrRecord", got, err)
			}
		})
	}
}

// FuzzBatch takes any bytes apart. What is read as records makes the same records again.
func FuzzBatch(f *testing.F) {
	for _, packing := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		f.Add([]byte(golden(f, packing)))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		b, rest, err := CutBatch(p)
		if err != nil {
			return
		}
		if len(b)+len(rest) != len(p) {
			t.Fatalf("%d bytes became %d and %d", len(p), len(b), len(rest))
		}
		if b.Check() == nil && b.LastOffset()-b.BaseOffset() != Offset(b.Count()-1) {
			t.Errorf("offsets %d to %d for %d records", b.BaseOffset(), b.LastOffset(), b.Count())
		}
		got, err := readRecords(b.Packed(), b.Count())
		if err != nil {
			return
		}
		var again []byte
		for i := range got {
			again = AppendRecord(again, &got[i].Record, got[i].Headers...)
		}
		// Numbers may have been written longer than they need be.
		once, err := readRecords(again, b.Count())
		if diff := cmp.Diff(got, once, compareRecords); err != nil || diff != "" {
			t.Errorf("%v (-first +again):\n%s", err, diff)
		}
	})
}
