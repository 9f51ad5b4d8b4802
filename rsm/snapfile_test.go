package rsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"maru.example/vfs"
	"maru.example/wal"
)

// file returns an open file in memory with the content.
func file(t testing.TB, content []byte) vfs.File {
	t.Helper()
	f, err := vfs.NewMem().Open("/file", vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) > 0 {
		if _, err := f.WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// encodeSnapshot returns the file that holds the parts.
func encodeSnapshot(t testing.TB, at State, parts ...[]byte) []byte {
	t.Helper()
	return encodeKept(t, at, nil, parts...)
}

// encodeKept returns the file of a snapshot that counts on files.
func encodeKept(t testing.TB, at State, files []KeptFile, parts ...[]byte) []byte {
	t.Helper()
	f := file(t, nil)
	w, err := newSnapshotWriter(f, at, files)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if err := w.write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, w.offset)
	if _, err := f.ReadAt(content, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return content
}

// decodeSnapshot returns all that could be read before the error.
func decodeSnapshot(t testing.TB, content []byte) ([]byte, State, error) {
	t.Helper()
	r, err := newSnapshotReader(file(t, content))
	if err != nil {
		return nil, State{}, err
	}
	all, err := io.ReadAll(r)
	return all, r.at, err
}

func TestSnapshotFileRoundTrip(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), (maxChunkBytes+100)/16)
	tests := []struct {
		name  string
		parts [][]byte
	}{
		{name: "nothing"},
		{name: "empty part", parts: [][]byte{{}}},
		{name: "one byte", parts: [][]byte{{7}}},
		{name: "parts", parts: [][]byte{[]byte("ab"), nil, []byte("c")}},
		{name: "larger than a chunk", parts: [][]byte{large, []byte("rest")}},
		{name: "exactly two chunks", parts: [][]byte{make([]byte, 2*maxChunkBytes)}},
	}
	at := State{Index: 1<<63 + 7, Time: 1_700_000_000_000_000_001, Term: 9, Conf: []byte("who takes part")}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, gotAt, err := decodeSnapshot(t, encodeSnapshot(t, at, tt.parts...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(at, gotAt); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			if want := bytes.Join(tt.parts, nil); !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, want %d; or others", len(got), len(want))
			}
		})
	}
}

func TestSnapshotReaderIsAReader(t *testing.T) {
	content := []byte("the content of a snapshot, in two chunks")
	r, err := newSnapshotReader(file(t, encodeSnapshot(t, State{Index: 1}, content[:9], content[9:])))
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(r, content); err != nil {
		t.Error(err)
	}
}

func TestSnapshotFileGolden(t *testing.T) {
	at := State{Index: 0x0102, Time: 1_700_000_000_000_000_001, Term: 3, Conf: []byte("conf")}
	golden(t, "snapshot.hex", encodeSnapshot(t, at, []byte("first chunk"), []byte("second")))
	golden(t, "snapshot-kept.hex", encodeKept(t, at, someFiles, []byte("first chunk"), []byte("second")))
}

var someFiles = []KeptFile{{0x0123456789abcdef, 1 << 40, 7}, {1, 0, 0}}

func TestSnapshotFileKept(t *testing.T) {
	r, err := newSnapshotReader(file(t, encodeKept(t, State{Index: 5, Conf: []byte("c")}, someFiles, []byte("x"))))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(someFiles, r.files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if _, err := newSnapshotWriter(file(t, nil), State{}, make([]KeptFile, MaxKeptFiles+1)); err == nil {
		t.Error("a snapshot counts on too many files")
	}
}

// TestSnapshotFileDamage changes every byte of a file, and cuts it at every
// length: nothing but the true content is ever given, and never without an error.
func TestSnapshotFileDamage(t *testing.T) {
	for _, files := range [][]KeptFile{nil, someFiles} {
		testSnapshotFileDamage(t, files)
	}
}

func testSnapshotFileDamage(t *testing.T, files []KeptFile) {
	content := []byte("some content")
	good := encodeKept(t, State{Index: 5, Time: 6, Term: 7, Conf: []byte("c")}, files, content[:4], content[4:])
	check := func(what string, at int, damaged []byte) {
		got, _, err := decodeSnapshot(t, damaged)
		if err == nil {
			t.Errorf("%s %d: no error", what, at)
		}
		if !bytes.HasPrefix(content, got) {
			t.Errorf("%s %d: gave %q", what, at, got)
		}
		newer := what == "flip" && at >= 8 && at < 12 // the version
		if !newer && !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("%s %d: got %v, want ErrCorrupt", what, at, err)
		}
	}
	for i := range good {
		for bit := range 8 {
			damaged := bytes.Clone(good)
			damaged[i] ^= 1 << bit
			check("flip", i, damaged)
		}
		check("cut", i, good[:i])
	}
	check("append", len(good), append(bytes.Clone(good), 0))
}

func TestSnapshotFileChunkOrder(t *testing.T) {
	good := encodeSnapshot(t, State{Index: 5}, []byte("aaaa"), []byte("bbbb"))
	const first, size = snapshotHeaderBytes, chunkHeaderBytes + 4
	swapped := bytes.Clone(good)
	copy(swapped[first:], good[first+size:first+2*size])
	copy(swapped[first+size:], good[first:first+size])
	got, _, err := decodeSnapshot(t, swapped)
	if !errors.Is(err, wal.ErrCorrupt) || len(got) > 0 {
		t.Errorf("got %q, %v, want nothing and ErrCorrupt", got, err)
	}
}

func TestSnapshotFileFooterOfAnother(t *testing.T) {
	one := encodeSnapshot(t, State{Index: 5}, []byte("aaaa"))
	two := encodeSnapshot(t, State{Index: 6}, []byte("aaaa"))
	mixed := append(bytes.Clone(one[:len(one)-snapshotFooterBytes]), two[len(two)-snapshotFooterBytes:]...)
	if _, _, err := decodeSnapshot(t, mixed); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

func TestSnapshotFileHugeChunk(t *testing.T) {
	damaged := encodeSnapshot(t, State{Index: 5}, []byte("aaaa"))
	binary.LittleEndian.PutUint32(damaged[snapshotHeaderBytes:], 1<<32-1)
	r, err := newSnapshotReader(file(t, damaged))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if cap(r.chunk) > maxChunkBytes {
		t.Errorf("took %d bytes of memory", cap(r.chunk))
	}
}

func TestSnapshotFileHugeConfiguration(t *testing.T) {
	damaged := encodeSnapshot(t, State{Index: 5}, []byte("aaaa"))
	binary.LittleEndian.PutUint64(damaged[40:], 1<<63)
	if _, err := newSnapshotReader(file(t, damaged)); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

func FuzzSnapshotReader(f *testing.F) {
	f.Add(encodeSnapshot(f, State{Index: 5, Time: 6}, []byte("first"), []byte("second")))
	f.Add(encodeSnapshot(f, State{}))
	f.Add(encodeSnapshot(f, State{Index: 1, Term: 2, Conf: []byte("conf")}, []byte("x")))
	f.Add(encodeKept(f, State{Index: 1, Term: 2, Conf: []byte("conf")}, someFiles, []byte("x")))
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, content []byte) {
		got, at, err := decodeSnapshot(t, content)
		if err != nil {
			return
		}
		r, err := newSnapshotReader(file(t, content))
		if err != nil {
			t.Fatal(err)
		}
		var parts [][]byte // what is good has one encoding, up to the size of the chunks
		for rest := content[r.offset:]; ; {
			n := int(binary.LittleEndian.Uint32(rest))
			if n == 0 {
				break
			}
			parts = append(parts, rest[chunkHeaderBytes:][:n])
			rest = rest[chunkHeaderBytes+n:]
		}
		if !bytes.Equal(got, bytes.Join(parts, nil)) {
			t.Errorf("got %q, want %q", got, parts)
		}
		if again := encodeKept(t, at, r.files, parts...); !bytes.Equal(again, content) {
			t.Errorf("encodes to %x, want %x", again, content)
		}
	})
}
