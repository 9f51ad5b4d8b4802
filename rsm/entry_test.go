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

// encodeEntry returns the entry that holds the proposals.
func encodeEntry(at int64, data ...string) []byte {
	var proposals []*Proposal
	for _, d := range data {
		proposals = append(proposals, &Proposal{Data: []byte(d)})
	}
	b := AppendEntry(nil, at, proposals)
	if len(b) != EntryBytes(proposals) {
		panic("rsm: EntryBytes is wrong")
	}
	return b
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
	for _, tt := range []struct {
		name string
		in   []string
	}{
		{"one", []string{"a"}},
		{"empty proposal", []string{""}},
		{"several", []string{"a", "", "bc"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := encodeEntry(42, tt.in...)
			got, at := decodeProposals(t, b)
			if diff := cmp.Diff(tt.in, got); diff != "" || at != 42 || EntryTime(b) != 42 {
				t.Errorf("times %d and %d, proposals (-want +got):\n%s", at, EntryTime(b), diff)
			}
		})
	}
}

func TestEntryTimeOfNoEntry(t *testing.T) {
	if got := EntryTime([]byte{1, 2, 3}); got != 0 {
		t.Errorf("got %d, want 0", got)
	}
}

func TestEntryGolden(t *testing.T) {
	golden(t, "entry.hex", encodeEntry(1_700_000_000_000_000_001, "open", "", "transfer"))
}

func TestDecodeEntryRefuses(t *testing.T) {
	good := encodeEntry(42, "abc", "d")
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
	f.Add(encodeEntry(42, "abc", "", "d"))
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, record []byte) {
		e, err := decodeEntry(record)
		if err != nil {
			return
		}
		var again []string
		data := e.data
		for i := range e.count() {
			n := e.length(i)
			again = append(again, string(data[:n]))
			data = data[n:]
		}
		if got := encodeEntry(e.time, again...); !bytes.Equal(got, record) {
			t.Errorf("encodes to %x, want %x", got, record)
		}
	})
}
