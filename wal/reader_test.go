package wal_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"maru.example/vfs"
	"maru.example/wal"
)

// TestReadWhileWritten lets readers follow a log from its first record to its
// last while it is written and cut at its beginning.
func TestReadWhileWritten(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"OS": vfs.OS(), "Mem": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			const total = 1000
			path := dir
			if name == "OS" {
				path = t.TempDir()
			}
			l, err := wal.Open(fs, path, &wal.Options{SegmentBytes: 8 << 10})
			if err != nil {
				t.Fatal(err)
			}
			defer shut(t, l)
			text := func(i wal.Index) string { return fmt.Sprint(i, strings.Repeat("#", int(i%300))) }
			var wait sync.WaitGroup
			for range 3 {
				r, err := l.Reader(1)
				if err != nil {
					t.Fatal(err)
				}
				wait.Go(func() {
					defer func() { _ = r.Close() }()
					for next := wal.Index(1); next <= total; {
						index, p, err := r.Next()
						switch {
						case errors.Is(err, io.EOF):
							if last := l.Last(); last > total {
								t.Errorf("end at %d of %d", next, last)
							}
							runtime.Gosched()
						case errors.Is(err, wal.ErrTruncated) && l.First() > next:
							if err := r.Close(); err != nil {
								t.Error(err)
							}
							for { // the beginning moves
								next = l.First()
								if r, err = l.Reader(next); err == nil {
									break
								}
							}
						case err != nil:
							t.Error(err)
							return
						case index != next || string(p) != text(index):
							t.Errorf("got record %d %q, want %d %q", index, p, next, text(next))
							return
						default:
							next = index + 1
						}
					}
				})
			}
			for i := wal.Index(1); i <= total; i += 4 {
				batch := []wal.Record{record(text(i)), record(text(i + 1)), record(text(i + 2)), record(text(i + 3))}
				if _, err := l.Append(batch...); err != nil {
					t.Error(err)
					break
				}
				if i%501 == 0 {
					if err := l.TruncateBefore(i - 100); err != nil {
						t.Error(err)
					}
				}
			}
			wait.Wait()
		})
	}
}

// TestReadWhileCut cuts the end while readers read it: a reader sees one history,
// up to ErrTruncated if what it saw was taken back.
func TestReadWhileCut(t *testing.T) {
	l := open(t, vfs.NewMem(), small)
	defer shut(t, l)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := l.Reader(1)
				if err != nil {
					t.Error(err)
					return
				}
				epoch := -1 // rises from record to record, or stays
				for err == nil {
					var index wal.Index
					var p []byte
					index, p, err = r.Next()
					if err != nil {
						break
					}
					var e, i int
					if _, err := fmt.Sscanf(string(p), "%d/%d", &e, &i); err != nil || wal.Index(i) != index || e < epoch {
						t.Errorf("record %d is %q, after epoch %d", index, p, epoch)
						return
					}
					epoch = e
				}
				if !errors.Is(err, io.EOF) && !errors.Is(err, wal.ErrTruncated) {
					t.Error(err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for epoch := range 200 {
		for l.Last() < 40 {
			add(t, l, fmt.Sprintf("%d/%d", epoch, l.Last()+1))
		}
		if err := l.TruncateAfter(wal.Index(epoch * 7 % 40)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wait.Wait()
}

func TestReader(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, fs, small)
	all := numbered(1, 60)
	add(t, l, all...)
	for from := wal.Index(1); from <= 61; from++ {
		if got, err := readFrom(l, from); err != nil || len(got) != 61-int(from) {
			t.Errorf("from %d: got %d records, %v", from, len(got), err)
		}
	}
	if _, err := l.Reader(0); !errors.Is(err, wal.ErrTruncated) {
		t.Errorf("Reader(0): got %v, want %v", err, wal.ErrTruncated)
	}
	next := func(r *wal.Reader, want string, wantErr error) {
		t.Helper()
		if _, p, err := r.Next(); string(p) != want || !errors.Is(err, wantErr) {
			t.Errorf("Next: got %q, %v, want %q, %v", p, err, want, wantErr)
		}
	}
	from := func(index wal.Index) *wal.Reader {
		t.Helper()
		r, err := l.Reader(index)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	removed, ahead, behind, atCut := from(1), from(62), from(50), from(41)
	next(removed, all[0], nil)
	next(ahead, "", io.EOF)
	next(behind, all[49], nil)

	if err := l.TruncateBefore(30); err != nil {
		t.Fatal(err)
	}
	next(removed, all[1], nil) // its segment is gone, and still there for it
	var err error
	for err == nil {
		_, _, err = removed.Next()
	}
	if !errors.Is(err, wal.ErrTruncated) {
		t.Errorf("at the end of a removed segment: got %v, want %v", err, wal.ErrTruncated)
	}
	if err := l.TruncateAfter(l.First() - 2); !errors.Is(err, wal.ErrTruncated) {
		t.Errorf("TruncateAfter before the first: got %v, want %v", err, wal.ErrTruncated)
	}
	if err := l.TruncateAfter(40); err != nil {
		t.Fatal(err)
	}
	next(behind, "", wal.ErrTruncated)
	next(ahead, "", wal.ErrTruncated)
	next(atCut, "", io.EOF)
	add(t, l, "forty-one")
	next(atCut, "forty-one", nil)
	next(behind, "", wal.ErrTruncated) // for ever

	if err := atCut.Close(); err != nil {
		t.Fatal(err)
	}
	next(atCut, "", wal.ErrClosed)
	r := from(41)
	shut(t, l)
	next(r, "", wal.ErrClosed)
	shut(t, l) // does nothing
	if _, err := l.Reader(41); !errors.Is(err, wal.ErrClosed) {
		t.Errorf("Reader of a closed log: got %v, want %v", err, wal.ErrClosed)
	}
}

// TestSeek reads from the middle of a segment that has index points.
func TestSeek(t *testing.T) {
	const count = 5000
	fs := vfs.NewMem()
	l := open(t, fs, nil)
	pad := strings.Repeat("-", 300)
	for i := 0; i < count; i += 50 {
		batch := make([]wal.Record, 50)
		for j := range batch {
			batch[j] = record(fmt.Sprint(i+j+1, pad))
		}
		if _, err := l.Append(batch...); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for from := wal.Index(1); from <= count; from += 333 {
			got, err := readFrom(l, from)
			if err != nil || len(got) != count+1-int(from) || got[0] != fmt.Sprint(from, pad) {
				t.Errorf("from %d: got %d records, %v", from, len(got), err)
			}
		}
		shut(t, l)
		l = open(t, fs, nil)
	}
	shut(t, l)
}

func TestLimits(t *testing.T) {
	fs := vfs.NewMem()
	for _, bytes := range []int64{-1, wal.MaxSegmentBytes + 1} {
		if _, err := wal.Open(fs, dir, &wal.Options{SegmentBytes: bytes}); err == nil {
			t.Errorf("segments of %d bytes: got no error", bytes)
		}
	}
	l := open(t, fs, nil)
	defer shut(t, l)
	if _, err := wal.Open(fs, dir, nil); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second Open: got %v, want %v", err, vfs.ErrLocked)
	}
	most := make([]byte, wal.MaxRecordBytes)
	for name, test := range map[string]struct {
		records []wal.Record
		err     error
	}{
		"largest record":     {[]wal.Record{{most}}, nil},
		"too large a record": {[]wal.Record{{most, {0}}}, wal.ErrTooLarge},
		"too many records":   {[]wal.Record{{most}, {most}, {most}, {most}}, wal.ErrTooLarge},
		"none":               {nil, nil},
		"an empty one":       {[]wal.Record{nil}, nil},
	} {
		before := l.Last()
		index, err := l.Append(test.records...)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got %v, want %v", name, err, test.err)
		}
		if err == nil && (index != before+1 || l.Last() != before+wal.Index(len(test.records))) {
			t.Errorf("%s: got index %d and Last %d after %d", name, index, l.Last(), before)
		}
		if err != nil && l.Last() != before {
			t.Errorf("%s: Last rose to %d", name, l.Last())
		}
	}
	if err := l.Err(); err != nil {
		t.Errorf("Err: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	l := open(t, vfs.NewMem(), &wal.Options{SegmentBytes: 100})
	defer shut(t, l)
	add(t, l, "one", "two")
	want := wal.Metrics{Records: 2, Bytes: 2 * (64 + 40), Syncs: 4, Size: 2 * (64 + 40)} // a segment each
	if got := l.Metrics(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
