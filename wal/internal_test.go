package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/vfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testID() (id logID) {
	for i := range id {
		id[i] = byte(0xa0 + i)
	}
	return id
}

// goldenLog writes the log whose bytes docs/format/wal.md explains: an append of
// two records, one of an empty record after a reopening, a close.
func goldenLog(t testing.TB) []byte {
	t.Helper()
	fs := vfs.NewMem()
	o := &Options{SegmentBytes: 64 + 4*48, First: 7}
	for _, call := range [][]Record{{{[]byte("hello"), []byte(" wal")}, {[]byte("12345678")}}, {{}}} {
		l, err := open(fs, "log", o, testID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(call...); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := fs.Open("log/00000000000000000007.wal", vfs.Read)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, size)
	if _, err := f.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestGolden holds the format to the file of the first release.
func TestGolden(t *testing.T) {
	name := filepath.Join("testdata", "v1.wal")
	got := goldenLog(t)
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the format changed (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestVersion(t *testing.T) {
	p := goldenLog(t)
	binary.LittleEndian.PutUint32(p[8:], formatVersion+1)
	binary.LittleEndian.PutUint32(p[60:], crc32.Checksum(p[:60], castagnoli))
	_, err := Open(diskWith(t, p), "log", nil)
	if !errors.Is(err, ErrVersion) {
		t.Errorf("got %v, want %v", err, ErrVersion)
	}
}

// diskWith returns a disk with a log whose only segment is p.
func diskWith(t testing.TB, p []byte) *vfs.Mem {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll("log"); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open("log/00000000000000000007.wal", vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close(), vfs.SyncDir(fs, "log")); err != nil {
		t.Fatal(err)
	}
	return fs
}

// TestStaleFrames puts the bytes that a cut took away back behind the new end,
// as a disk might that lied about a sync: they are not taken for records.
func TestStaleFrames(t *testing.T) {
	fs := vfs.NewMem()
	l, err := open(fs, "log", &Options{First: 7}, testID)
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if _, err := l.Append(Record{[]byte("old data")}); err != nil {
			t.Fatal(err)
		}
	}
	old := make([]byte, 64+6*40)
	if _, err := l.file.ReadAt(old, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.TruncateAfter(8); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(Record{[]byte("new data")}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.file.WriteAt(old[64+3*40:], 64+3*40); err != nil {
		t.Fatal(err)
	}
	if err := l.file.Sync(); err != nil {
		t.Fatal(err)
	}
	fs.CrashClean()
	l, err = Open(fs, "log", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := l.Last(); got != 9 {
		t.Errorf("Last: got %d, want 9", got)
	}
}

// FuzzOpen opens arbitrary bytes as a segment: it must not panic, nor take more
// memory than the bytes justify, and what it accepts it must accept again.
func FuzzOpen(f *testing.F) {
	golden := goldenLog(f)
	f.Add(golden)
	f.Add(golden[:100])
	f.Add(golden[:64])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 1<<16 {
			t.Skip("larger than needed")
		}
		fixHeader(p)
		fs := diskWith(t, p)
		first := fuzzRead(t, fs, len(p))
		if first < 0 {
			return
		}
		fs.CrashClean()
		if again := fuzzRead(t, fs, len(p)); again != first {
			t.Errorf("opened again: got %d records, want %d", again, first)
		}
	})
}

// fixHeader makes the checksum of a segment's header right, so that the fuzzer
// gets behind it.
func fixHeader(p []byte) {
	if len(p) >= segmentHeaderSize {
		binary.LittleEndian.PutUint32(p[60:], crc32.Checksum(p[:60], castagnoli))
	}
}

// fuzzRead returns how many records the log has; -1 if it cannot be opened.
func fuzzRead(t *testing.T, fs vfs.FS, size int) int {
	t.Helper()
	l, err := Open(fs, "log", nil)
	if err != nil {
		return -1
	}
	defer l.Close()
	r, err := l.Reader(l.First())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for {
		_, p, err := r.Next()
		if err != nil {
			break
		}
		if len(p) > size {
			t.Fatalf("a record of %d bytes out of %d", len(p), size)
		}
		n++
	}
	if got := int(l.Last() + 1 - l.First()); got != n {
		t.Fatalf("read %d records, First and Last say %d", n, got)
	}
	return n
}

// FuzzFrame parses arbitrary bytes, and encodes what it parsed again.
func FuzzFrame(f *testing.F) {
	golden := goldenLog(f)
	f.Add(golden[64:112], int64(64))
	f.Add(make([]byte, 32), int64(0))
	seed := newSegment(testID(), 7, 1).seed
	f.Fuzz(func(t *testing.T, p []byte, off int64) {
		if len(p) < frameHeaderSize {
			return
		}
		p = append([]byte(nil), p...)
		for _, fix := range []bool{false, true} {
			if fix {
				binary.LittleEndian.PutUint32(p, headerCRC(p, seed, off))
			}
			h, ok := parseFrame(p, seed, off)
			if !ok {
				continue
			}
			if h.length > MaxRecordBytes || h.group > off {
				t.Fatalf("got %+v at %d", h, off)
			}
			data := p[frameHeaderSize:]
			if h.length > int64(len(data)) {
				continue
			}
			again := appendFrame(nil, h, Record{data[:h.length]}, seed, off)
			if got, ok := parseFrame(again, seed, off); !ok || got.index != h.index || got.length != h.length || got.group != h.group {
				t.Fatalf("encoded again: got %+v, %v, want %+v", got, ok, h)
			}
		}
	})
}
