package wal_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"maru.example/vfs"
	"maru.example/wal"
)

// logged returns options with a logger, and what it was told: the text of each
// line without the time.
func logged(o wal.Options) (*wal.Options, func() []string) {
	var b bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "hint" {
			return slog.Attr{}
		}
		return a
	}}))
	return &o, func() []string { return slices.Collect(strings.Lines(b.String())) }
}

// TestTellsWhatItFinds opens logs that a crash, or damage that may be one, left.
func TestTellsWhatItFinds(t *testing.T) {
	o := wal.Options{SegmentBytes: 4096}
	crashed, closed := makeDisk(t, &o, false), makeDisk(t, &o, true)
	file := crashed.names()[0]
	flip := func(p []byte, at int) []byte {
		p = slices.Clone(p)
		p[at] ^= 1
		return p
	}
	end := len(bytes.TrimRight(crashed[file], "\x00")) // in the last record, or its padding
	const (
		torn    = `level=WARN msg="wal: cutting a torn write from the end" dir=log segment=00000000000000000001.wal offset=`
		unclean = `level=WARN msg="wal: the log was not closed in order" dir=log segment=00000000000000000001.wal offset=`
	)
	for _, tt := range []struct {
		name string
		disk disk
		want []string // what the lines begin with
	}{
		{"closed", closed, nil},
		{"closed, and its end file is damaged", closed.with("end", flip(closed["end"], 20)), []string{`level=WARN msg="wal: the end file is damaged`}},
		{"closed, and its end file is empty", closed.with("end", []byte{}), []string{`level=WARN msg="wal: the end file is damaged`}},
		{"closed, and its end file is gone", closed.with("end", nil), []string{unclean}},
		{"crashed", crashed, []string{unclean}},
		{"crashed, and a bit of the last record flipped", crashed.with(file, flip(crashed[file], end-1)), []string{torn, unclean}},
		{"crashed, and cut off", crashed.with(file, crashed[file][:end-16]), []string{torn, unclean}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, lines := logged(o)
			l := open(t, tt.disk.mem(t), o)
			shut(t, l)
			got := lines()
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %d lines", got, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("got %q, want %q and more", got[i], want)
				}
			}
		})
	}
}

// TestLossAfterClose ends the only segment of a log that was closed at each
// length: it is opened with all that it had, or refused, and then not changed.
func TestLossAfterClose(t *testing.T) {
	o := &wal.Options{SegmentBytes: 4096}
	d := makeDisk(t, o, true)
	file, all := d.names()[0], joined(groups)
	for size := range len(d[file]) {
		fs := d.with(file, d[file][:size]).mem(t)
		before := snapshot(t, fs)
		l, err := wal.Open(fs, dir, o)
		switch {
		case errors.Is(err, wal.ErrCorrupt):
			after := snapshot(t, fs)
			if !slices.Equal(before[file], after[file]) || after["end"] == nil {
				t.Fatalf("%d bytes: the log that was refused changed", size)
			}
		case err != nil:
			t.Fatalf("%d bytes: %v", size, err)
		default:
			wantTexts(t, l, all)
			shut(t, l)
		}
	}
}

// TestReach opens logs that end before, at and behind a record that they held.
func TestReach(t *testing.T) {
	d := makeDisk(t, nil, false)
	last := wal.Index(len(joined(groups)))
	for _, tt := range []struct {
		name  string
		disk  disk
		reach wal.Index
		err   error
	}{
		{"behind it", d, last - 1, nil},
		{"at it", d, last, nil},
		{"before it", d, last + 1, wal.ErrCorrupt},
		{"gone", disk{}, 1, wal.ErrCorrupt},
		{"new", disk{}, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := tt.disk.mem(t)
			l, err := wal.Open(fs, dir, &wal.Options{Reach: tt.reach})
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			if err == nil {
				shut(t, l)
			} else if got := snapshot(t, fs).names(); len(got) != len(tt.disk) {
				t.Errorf("the log that was refused has the segments %q", got)
			}
		})
	}
}

// TestMissingSegmentIsNamed removes a segment from the middle.
func TestMissingSegmentIsNamed(t *testing.T) {
	o := &wal.Options{SegmentBytes: 150}
	d := makeDisk(t, o, true)
	names := d.names()
	_, err := recovered(t, d.with(names[1], nil), o)
	if !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), "segment "+names[1]+" is missing, with the records ") {
		t.Errorf("got %v, want one that names %s", err, names[1])
	}
}

// TestProgress checks that Open says how much it has read.
func TestProgress(t *testing.T) {
	o := &wal.Options{SegmentBytes: 150}
	d := makeDisk(t, o, true)
	all := int64(0)
	for _, name := range d.names() {
		all += int64(len(d[name]))
	}
	var seen []int64
	o.Progress = func(done, of int64) {
		if of != all {
			t.Errorf("got %d bytes in all, want %d", of, all)
		}
		seen = append(seen, done)
	}
	shut(t, open(t, d.mem(t), o))
	if len(seen) != len(d.names())-1 || !slices.IsSorted(seen) || seen[len(seen)-1] >= all {
		t.Errorf("got %d of %d bytes, want one for each of %d segments but the last", seen, all, len(d.names()))
	}
}

// TestErrorsNameTheSegment fails the sync of a segment that was begun while the
// log was open.
func TestErrorsNameTheSegment(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpWrite} {
		t.Run(op.String(), func(t *testing.T) {
			fs := vfs.NewFaulty(vfs.NewMem(), nil)
			l := open(t, fs, &wal.Options{SegmentBytes: 300})
			add(t, l, numbered(1, 12)...)
			names := snapshot(t, fs).names()
			if len(names) < 2 {
				t.Fatalf("got the segments %q, want more than one", names)
			}
			fs.SetRule(vfs.FailNth(op, fs.Calls(op)+1, nil))
			_, err := l.Append(record("more"))
			if err == nil || !strings.Contains(err.Error(), names[len(names)-1]) || strings.Contains(err.Error(), "new") {
				t.Errorf("got %v, want one that names %s", err, names[len(names)-1])
			}
			shut(t, l)
		})
	}
}

// TestNoDescriptors lets the log run, roll over and be cut while no file can be
// opened, but for the one that it holds in reserve; then it goes on as ever.
func TestNoDescriptors(t *testing.T) {
	errMany := errors.New("too many open files")
	fs := vfs.NewFaulty(vfs.NewMem(), nil)
	o, lines := logged(wal.Options{SegmentBytes: 300})
	l := open(t, fs, o)
	all := numbered(1, 60)
	add(t, l, all[:10]...)
	before := len(snapshot(t, fs).names())
	fs.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpOpen || c.Op == vfs.OpCreate || c.Op == vfs.OpList {
			return vfs.Fault{Err: errMany}
		}
		return vfs.Fault{}
	})
	add(t, l, all[10:40]...)
	if err := l.TruncateBefore(11); err != nil {
		t.Errorf("TruncateBefore: %v", err)
	}
	fs.SetRule(nil)
	first := l.First()
	if first == 1 || first > 11 {
		t.Errorf("First: got %d, want 2 to 11", first)
	}
	removed := before - len(snapshot(t, fs).names()) + 1 // and one was begun
	if removed <= 0 {
		t.Errorf("of %d segments, %d were removed and one begun", before, removed)
	}
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], "a segment grows beyond its size") || !strings.Contains(got[0], errMany.Error()) {
		t.Errorf("it says %q, want one line", got)
	}
	add(t, l, all[40:]...)
	wantTexts(t, l, all[first-1:])
	if got := len(snapshot(t, fs).names()); got < 5 {
		t.Errorf("got %d segments, want more again", got)
	}
	shut(t, l)
	l = open(t, fs, o)
	wantTexts(t, l, all[first-1:])
	shut(t, l)
}
