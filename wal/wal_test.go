package wal_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"maru.example/vfs"
	"maru.example/wal"
)

const dir = "log"

// small makes segments that a few records fill.
var small = &wal.Options{SegmentBytes: 512}

func open(t testing.TB, fs vfs.FS, o *wal.Options) *wal.Log {
	t.Helper()
	l, err := wal.Open(fs, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func shut(t testing.TB, l *wal.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func record(s string) wal.Record { return wal.Record{[]byte(s)} }

// add appends one record per text, each by itself.
func add(t testing.TB, l *wal.Log, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := l.Append(record(text)); err != nil {
			t.Fatal(err)
		}
	}
}

// numbered returns n texts from the record first on, of different lengths.
func numbered(first, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("%d:%s", first+i, strings.Repeat("x", (first+i)*7%50))
	}
	return texts
}

// texts reads all records that the log holds.
func texts(t testing.TB, l *wal.Log) []string {
	t.Helper()
	got, err := readFrom(l, l.First())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// readFrom reads records to the end of the log and checks their indexes.
func readFrom(l *wal.Log, from wal.Index) (got []string, err error) {
	r, err := l.Reader(from)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for want := from; ; want++ {
		index, p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got, nil
		} else if err != nil {
			return got, err
		}
		if index != want {
			return got, fmt.Errorf("record %d has index %d", want, index)
		}
		got = append(got, string(p))
	}
}

func wantTexts(t testing.TB, l *wal.Log, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, texts(t, l), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if got := int(l.Last() - l.First() + 1); got != len(want) {
		t.Errorf("First %d and Last %d: got %d records, want %d", l.First(), l.Last(), got, len(want))
	}
}

func TestReopen(t *testing.T) {
	for _, o := range []*wal.Options{nil, small, {SegmentBytes: 1}, {First: 1000, SegmentBytes: 200}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			fs := vfs.NewMem()
			want := []string{}
			for i := range 5 {
				l := open(t, fs, o)
				wantTexts(t, l, want)
				more := numbered(i*10, 10)
				add(t, l, more...)
				want = append(want, more...)
				wantTexts(t, l, want)
				shut(t, l)
			}
			l := open(t, fs, o)
			defer shut(t, l)
			wantTexts(t, l, want)
			first := wal.Index(1)
			if o != nil {
				first = max(o.First, 1)
			}
			if got := l.First(); got != first {
				t.Errorf("First: got %d, want %d", got, first)
			}
		})
	}
}

func TestCrash(t *testing.T) {
	for seed := range uint64(50) {
		fs := vfs.NewMem()
		want := []string{}
		for i := range 4 {
			l := open(t, fs, small)
			wantTexts(t, l, want)
			more := numbered(i*10, 10)
			add(t, l, more...)
			want = append(want, more...)
			fs.Crash(seed)
		}
		l := open(t, fs, small)
		wantTexts(t, l, want)
		shut(t, l)
	}
}

func TestTruncate(t *testing.T) {
	all := numbered(1, 40)
	for last := range wal.Index(40) {
		fs := vfs.NewMem()
		l := open(t, fs, small)
		add(t, l, all...)
		if err := l.TruncateAfter(last); err != nil {
			t.Fatal(err)
		}
		wantTexts(t, l, append([]string{}, all[:last]...))
		add(t, l, "new")
		want := append(append([]string{}, all[:last]...), "new")
		wantTexts(t, l, want)
		fs.CrashClean()
		l = open(t, fs, small)
		wantTexts(t, l, want)
		if err := l.TruncateBefore(last + 1); err != nil {
			t.Fatal(err)
		}
		first := l.First()
		if first > last+1 {
			t.Errorf("TruncateBefore(%d): First is %d", last+1, first)
		}
		wantTexts(t, l, want[first-1:])
		fs.CrashClean()
		l = open(t, fs, small)
		wantTexts(t, l, want[first-1:])
		shut(t, l)
	}
}

func TestConcurrentAppends(t *testing.T) {
	const writers, each = 16, 50
	fs := vfs.NewMem()
	l := open(t, fs, &wal.Options{SegmentBytes: 8 << 10})
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for i := range each {
				text := fmt.Sprintf("%d/%d", w, i)
				first, err := l.Append(record(text), record(text+"+"))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := readFrom(l, first); err != nil || got[0] != text || got[1] != text+"+" {
					t.Errorf("records at %d: got %q, %v, want %q and the like", first, got[:min(2, len(got))], err, text)
				}
			}
		})
	}
	wait.Wait()
	if got := l.Last(); got != 2*writers*each {
		t.Errorf("Last: got %d, want %d", got, 2*writers*each)
	}
	shut(t, l)
}
