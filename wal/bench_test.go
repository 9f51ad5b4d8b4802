package wal_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"

	"maru.example/vfs"
	"maru.example/wal"
)

// BenchmarkAppend appends from one goroutine: each call has a sync of its own.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{128, 4 << 10, 64 << 10, 1 << 20} {
		for _, fs := range []string{"OS", "Mem"} {
			b.Run(fmt.Sprintf("%s/%dB", fs, size), func(b *testing.B) {
				l := benchLog(b, fs)
				records := []wal.Record{{make([]byte, size/2), make([]byte, size-size/2)}}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for n := 0; b.Loop(); n++ {
					if n%128 == 127 && fs == "Mem" { // keeps memory bounded
						if err := l.TruncateBefore(l.Last()); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := l.Append(records...); err != nil {
						b.Fatal(err)
					}
				}
				reportSyncs(b, l)
			})
		}
	}
}

// BenchmarkAppendParallel appends from many goroutines that share syncs.
func BenchmarkAppendParallel(b *testing.B) {
	for _, callers := range []int{16, 256} {
		b.Run(fmt.Sprintf("%dcallers/128B", callers), func(b *testing.B) {
			l := benchLog(b, "OS")
			var failed atomic.Bool
			b.SetBytes(128)
			b.ReportAllocs()
			b.SetParallelism(callers / 2) // times GOMAXPROCS, which is 2 where it was measured
			b.RunParallel(func(p *testing.PB) {
				records := []wal.Record{{make([]byte, 128)}}
				for p.Next() {
					if _, err := l.Append(records...); err != nil {
						failed.Store(true)
						return
					}
				}
			})
			if failed.Load() {
				b.Fatal(l.Err())
			}
			reportSyncs(b, l)
		})
	}
}

// BenchmarkRead reads a log of 256 MiB from the page cache.
func BenchmarkRead(b *testing.B) {
	const total = 256 << 20
	for _, size := range []int{128, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			l := benchLog(b, "OS")
			record := wal.Record{make([]byte, size)}
			batch := make([]wal.Record, (4<<20)/size)
			for i := range batch {
				batch[i] = record
			}
			for range total / (4 << 20) {
				if _, err := l.Append(batch...); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(total)
			b.ReportAllocs()
			for b.Loop() {
				r, err := l.Reader(1)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, _, err = r.Next()
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchLog(b *testing.B, system string) *wal.Log {
	b.Helper()
	var fs vfs.FS = vfs.NewMem()
	path := dir
	if system == "OS" {
		fs, path = vfs.OS(), filepath.Join(b.TempDir(), dir)
	}
	l, err := wal.Open(fs, path, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

func reportSyncs(b *testing.B, l *wal.Log) {
	b.Helper()
	b.ReportMetric(float64(l.Metrics().Syncs)/float64(b.N), "syncs/op")
}
