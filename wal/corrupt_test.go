package wal_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"maru.example/vfs"
	"maru.example/wal"
)

// disk is the content of a log's segment files.
type disk map[string][]byte

func snapshot(t testing.TB, fs vfs.FS) disk {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := disk{}
	for _, name := range names {
		if name == "wal.lock" {
			continue
		}
		f, err := fs.Open(dir+"/"+name, vfs.Read)
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		if d[name], err = io.ReadAll(io.NewSectionReader(f, 0, size)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// mem returns the disk as a file system on which all is durable.
func (d disk) mem(t testing.TB) *vfs.Mem {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, data := range d {
		f, err := fs.Open(dir+"/"+name, vfs.Create)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(vfs.SyncDir(fs, "."), vfs.SyncDir(fs, dir)); err != nil {
		t.Fatal(err)
	}
	return fs
}

// with returns the disk with one file changed; nil removes it.
func (d disk) with(name string, data []byte) disk {
	c := disk{}
	for n, p := range d {
		if n != name {
			c[n] = p
		}
	}
	if data != nil {
		c[name] = data
	}
	return c
}

// names returns those of the segments, in order.
func (d disk) names() []string {
	names := make([]string, 0, len(d))
	for name := range d {
		if strings.HasSuffix(name, ".wal") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// groups are what the logs to be damaged hold: an Append each.
var groups = [][]string{numbered(1, 1), numbered(2, 5), numbered(7, 1), numbered(8, 3), numbered(11, 2)}

func joined(groups [][]string) []string { return slices.Concat(groups...) }

func makeDisk(t testing.TB, o *wal.Options, closed bool) disk {
	t.Helper()
	fs := vfs.NewMem()
	l := open(t, fs, o)
	for _, g := range groups {
		records := make([]wal.Record, len(g))
		for i, text := range g {
			records[i] = record(text)
		}
		if _, err := l.Append(records...); err != nil {
			t.Fatal(err)
		}
	}
	if closed {
		shut(t, l)
	} else {
		fs.CrashClean()
	}
	return snapshot(t, fs)
}

// recovered opens the damaged disk and reads all of it.
func recovered(t testing.TB, d disk, o *wal.Options) ([]string, error) {
	t.Helper()
	l, err := wal.Open(d.mem(t), dir, o)
	if err != nil {
		return nil, err
	}
	defer shut(t, l)
	return readFrom(l, l.First())
}

// TestEveryFlip flips bits of each byte of a log. It must be refused, or not
// matter, or, in a log that was not closed, cost no more than the last group.
func TestEveryFlip(t *testing.T) {
	all := joined(groups)
	sure := len(joined(groups[:len(groups)-1]))
	for name, o := range map[string]*wal.Options{"one segment": {SegmentBytes: 4096}, "many segments": {SegmentBytes: 150}} {
		for _, closed := range []bool{false, true} {
			least, end := sure, "crashed"
			if closed {
				least, end = len(all), "closed"
			}
			t.Run(name+"/"+end, func(t *testing.T) {
				d := makeDisk(t, o, closed)
				refused, cut := 0, 0
				for file, data := range d {
					for i := range data {
						bad := slices.Clone(data)
						bad[i] ^= 1 << (i * 5 % 8)
						got, err := recovered(t, d.with(file, bad), o)
						switch {
						case errors.Is(err, wal.ErrCorrupt):
							refused++
						case err != nil:
							t.Fatalf("%s byte %d: %v", file, i, err)
						case len(got) < least || len(got) > len(all) || !slices.Equal(got, all[:len(got)]):
							t.Fatalf("%s byte %d: got %q, want at least %d of %q", file, i, got, least, all)
						case len(got) < len(all):
							cut++
						}
					}
				}
				if refused == 0 || (cut == 0) != closed {
					t.Errorf("%d flips were refused, %d cost the end", refused, cut)
				}
			})
		}
	}
}

// TestEveryCut ends the last segment at each length. What is left is the
// beginning of the log; a segment without its header is refused.
func TestEveryCut(t *testing.T) {
	o := &wal.Options{SegmentBytes: 4096}
	d := makeDisk(t, o, false)
	file := d.names()[0]
	all := joined(groups)
	for size := range d[file] {
		got, err := recovered(t, d.with(file, d[file][:size]), o)
		switch {
		case size < 64:
			if !errors.Is(err, wal.ErrCorrupt) {
				t.Fatalf("%d bytes: got %v, want %v", size, err, wal.ErrCorrupt)
			}
		case err != nil:
			t.Fatalf("%d bytes: %v", size, err)
		case len(got) > len(all) || !slices.Equal(got, all[:len(got)]):
			t.Fatalf("%d bytes: got %q, want a beginning of %q", size, got, all)
		}
	}
}

func TestDamagedSegments(t *testing.T) {
	o := &wal.Options{SegmentBytes: 150}
	d := makeDisk(t, o, true)
	names := d.names()
	if len(names) < 4 {
		t.Fatalf("got %d segments, too few to be of use", len(names))
	}
	last := names[len(names)-1]
	foreign := makeDisk(t, o, true)
	for name, bad := range map[string]disk{
		"one in the middle is missing": d.with(names[1], nil),
		"the last one is missing":      d.with(last, nil),
		"two at the end are missing":   d.with(last, nil).with(names[len(names)-2], nil),
		"all are missing":              {"end": d["end"]},
		"all are of another log":       foreign.with("end", d["end"]),
		"one in the middle is empty":   d.with(names[1], []byte{}),
		"the last one is empty":        d.with(last, []byte{}),
		"the last one is zeros":        d.with(last, make([]byte, len(d[last]))),
		"two are exchanged":            d.with(names[1], d[names[2]]).with(names[2], d[names[1]]),
		"one is of another log":        d.with(names[1], foreign[names[1]]),
		"the last one is of another":   d.with(last, foreign[last]),
		"one is cut off":               d.with(names[1], d[names[1]][:len(d[names[1]])-8]),
		"one has only its header":      d.with(names[0], d[names[0]][:64]),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := recovered(t, bad, o); !errors.Is(err, wal.ErrCorrupt) {
				t.Errorf("got %v, want %v", err, wal.ErrCorrupt)
			}
		})
	}
}

// TestForeignFrames puts frames of another log, and of another place of this
// one, behind the end: they are no records and no evidence of damage.
func TestForeignFrames(t *testing.T) {
	o := &wal.Options{SegmentBytes: 4096}
	all := joined(groups)
	d, foreign := makeDisk(t, o, false), makeDisk(t, o, false)
	file := d.names()[0]
	end := len(d[file])
	for end > 0 && d[file][end-1] == 0 {
		end--
	}
	end = (end + 7) / 8 * 8
	for name, tail := range map[string][]byte{
		"another log": foreign[file][64:],
		"this log":    d[file][64:end],
	} {
		t.Run(name, func(t *testing.T) {
			got, err := recovered(t, d.with(file, slices.Concat(d[file][:end], tail)), o)
			if err != nil || !slices.Equal(got, all) {
				t.Errorf("got %q, %v, want %q", got, err, all)
			}
		})
	}
}

// TestVerifyFrom leaves damage in an old segment to those who read it.
func TestVerifyFrom(t *testing.T) {
	d := makeDisk(t, &wal.Options{SegmentBytes: 150}, true)
	first := d.names()[0]
	bad := slices.Clone(d[first])
	bad[100] ^= 1
	l := open(t, d.with(first, bad).mem(t), &wal.Options{SegmentBytes: 150, VerifyFrom: 13})
	defer shut(t, l)
	all := joined(groups)
	if got, err := readFrom(l, 10); err != nil || !slices.Equal(got, all[9:]) {
		t.Errorf("after the damage: got %q, %v, want %q", got, err, all[9:])
	}
	if _, err := readFrom(l, 1); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("at the damage: got %v, want %v", err, wal.ErrCorrupt)
	}
}
