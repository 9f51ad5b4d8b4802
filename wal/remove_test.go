package wal_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"maru.example/vfs"
	"maru.example/wal"
)

// TestRemove cuts the power at each step of a removal, whatever of it the disk then
// has. What is left opens as a beginning of the log, and can be removed.
func TestRemove(t *testing.T) {
	all := joined(groups)
	for name, closed := range map[string]bool{"closed": true, "crashed": false} {
		t.Run(name, func(t *testing.T) {
			d := makeDisk(t, &wal.Options{SegmentBytes: 150}, closed)
			if len(d) < 4 {
				t.Fatalf("a log of %v has too few segments", d.names())
			}
			left := map[string]bool{}
			for edit := 1; ; edit++ {
				whole := true
				for seed := range uint64(8) {
					mem := d.mem(t)
					fs := vfs.NewFaulty(mem, func(c vfs.Call) vfs.Fault {
						if c.Edit >= edit {
							return vfs.Fault{Err: errPower}
						}
						return vfs.Fault{}
					})
					if err := wal.Remove(fs, dir); err != nil {
						if !errors.Is(err, errPower) {
							t.Fatalf("Remove: %v, want the fault", err)
						}
						whole = false
					}
					mem.Crash(seed)
					// The owner knows of all its records that they were acknowledged.
					l, err := wal.Open(mem, dir, &wal.Options{VerifyFrom: wal.Index(len(all))})
					if err != nil {
						t.Fatalf("edit %d, seed %d: %v", edit, seed, err)
					}
					got, err := readFrom(l, l.First())
					if err != nil || !slices.Equal(got, all[:len(got)]) {
						t.Fatalf("edit %d, seed %d: got %q and %v, want a beginning of %q", edit, seed, got, err, all)
					}
					left[fmt.Sprint(len(got))] = true
					shut(t, l)
					if err := wal.Remove(mem, dir); err != nil {
						t.Fatalf("Remove again: %v", err)
					}
					if names, err := mem.List(dir); err != nil || len(names) != 0 {
						t.Fatalf("after Remove there are %v (%v)", names, err)
					}
				}
				if whole {
					break
				}
			}
			if len(left) < 3 {
				t.Errorf("the removals left logs of %v records, want several", left)
			}
		})
	}
	if err := wal.Remove(vfs.NewMem(), dir); err != nil {
		t.Errorf("Remove of a log that is not there: %v", err)
	}
}
