package rsm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/wal"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with the hex dump in testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	dump := hex.Dump(got)
	if *update {
		if err := os.WriteFile(file, []byte(dump), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), dump); diff != "" {
		t.Errorf("%s differs: the format changed (-want +got):\n%s", file, diff)
	}
}

// encodeFlush returns the records of one flush.
func encodeFlush(maxEntryBytes int, at int64, proposals ...string) [][]byte {
	f := &flush{time: at}
	for _, p := range proposals {
		f.proposals = append(f.proposals, &Proposal{Data: []byte(p)})
	}
	f.encode(maxEntryBytes)
	var records [][]byte
	for _, r := range f.records {
		records = append(records, bytes.Join(r, nil))
	}
	return records
}

func decodeProposals(t *testing.T, record []byte) (proposals []string, at int64) {
	t.Helper()
	e, err := decodeEntry(record)
	if err != nil {
		t.Fatal(err)
	}
	data := e.data
	for i := range e.count() {
		n := e.length(i)
		proposals = append(proposals, string(data[:n]))
		data = data[n:]
	}
	return proposals, e.time
}

func TestEntryRoundTrip(t *testing.T) {
	tests := []struct {
		name string
		max  int
		in   []string
		want [][]string
	}{
		{name: "one", max: 100, in: []string{"a"}, want: [][]string{{"a"}}},
		{name: "empty proposal", max: 100, in: []string{""}, want: [][]string{{""}}},
		{name: "several", max: 100, in: []string{"a", "", "bc"}, want: [][]string{{"a", "", "bc"}}},
		{name: "closed when reached", max: 26, in: []string{"a", "b", "c"}, want: [][]string{{"a", "b"}, {"c"}}},
		{name: "one byte below", max: 27, in: []string{"a", "b", "c"}, want: [][]string{{"a", "b", "c"}}},
		{name: "each too large", max: 1, in: []string{"a", "", "c"}, want: [][]string{{"a"}, {""}, {"c"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got [][]string
			for _, r := range encodeFlush(tt.max, 42, tt.in...) {
				proposals, at := decodeProposals(t, r)
				if at != 42 {
					t.Errorf("time is %d, want 42", at)
				}
				got = append(got, proposals)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlushCountsRecordBytes(t *testing.T) {
	f := &flush{}
	for _, data := range []string{"abc", "", "de", "fghijk"} {
		f.proposals = append(f.proposals, &Proposal{Data: []byte(data)})
	}
	f.encode(30)
	for i, r := range f.records {
		if got, want := f.entries[i].bytes, int64(len(bytes.Join(r, nil))); got != want {
			t.Errorf("entry %d counts %d bytes, want %d", i, got, want)
		}
	}
}

func TestEntryGolden(t *testing.T) {
	golden(t, "entry.hex", encodeFlush(1000, 1_700_000_000_000_000_001, "open", "", "transfer")[0])
}

func TestLargestEntryFitsRecord(t *testing.T) {
	f := &flush{}
	small := &Proposal{Data: make([]byte, maxEntryOption-entryHeaderBytes-2*entryLengthBytes)}
	f.proposals = []*Proposal{small, {Data: make([]byte, MaxProposalBytes)}}
	f.encode(maxEntryOption)
	if len(f.entries) != 1 {
		t.Fatalf("got %d entries, want 1", len(f.entries))
	}
	if got := f.entries[0].bytes; got > wal.MaxRecordBytes {
		t.Errorf("entry has %d bytes, a record at most %d", got, wal.MaxRecordBytes)
	}
}

func TestDecodeEntryRefuses(t *testing.T) {
	good := encodeFlush(1000, 42, "abc", "d")[0]
	change := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	tests := []struct {
		name    string
		in      []byte
		corrupt bool
	}{
		{name: "nothing", in: nil, corrupt: true},
		{name: "half a header", in: good[:10], corrupt: true},
		{name: "no lengths", in: good[:entryHeaderBytes], corrupt: true},
		{name: "no proposals", in: change(4, 0), corrupt: true},
		{name: "count past the end", in: change(4, 1<<32-1), corrupt: true},
		{name: "length too long", in: change(entryHeaderBytes, 4), corrupt: true},
		{name: "length too short", in: change(entryHeaderBytes, 2), corrupt: true},
		{name: "data missing", in: good[:len(good)-1], corrupt: true},
		{name: "data left", in: append(bytes.Clone(good), 0), corrupt: true},
		{name: "newer version", in: change(0, 2), corrupt: false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decodeEntry(tt.in)
			if err == nil {
				t.Fatal("decoded")
			}
			if got := errors.Is(err, wal.ErrCorrupt); got != tt.corrupt {
				t.Errorf("wraps ErrCorrupt: got %v, want %v: %v", got, tt.corrupt, err)
			}
		})
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(encodeFlush(1000, 42, "abc", "", "d")[0])
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, record []byte) {
		e, err := decodeEntry(record)
		if err != nil {
			return
		}
		again := &flush{time: e.time}
		data := e.data
		for i := range e.count() {
			n := e.length(i)
			again.proposals = append(again.proposals, &Proposal{Data: data[:n]})
			data = data[n:]
		}
		again.encode(len(record))
		if got := bytes.Join(again.records[0], nil); !bytes.Equal(got, record) {
			t.Errorf("encodes to %x, want %x", got, record)
		}
	})
}
