package rsm

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"maru.example/vfs"
	"maru.example/wal"
)

// A snapshot is named by the index of the last entry it holds, in 20 digits.
const (
	snapshotSuffix  = ".snap"
	temporarySuffix = ".tmp"
	snapshotDigits  = 20
	snapshotsKept   = 2
)

// snapshotDir is the directory of the snapshots. It is for one goroutine at a
// time: recovery, then one snapshot after the other.
type snapshotDir struct {
	fs   vfs.FS
	dir  string
	good []wal.Index // known to be good, oldest first
}

func snapshotFile(i wal.Index) string {
	return fmt.Sprintf("%0*d%s", snapshotDigits, i, snapshotSuffix)
}

// parseSnapshotFile returns the index in the name of a snapshot.
func parseSnapshotFile(name string) (wal.Index, bool) {
	digits, ok := strings.CutSuffix(name, snapshotSuffix)
	if !ok || len(digits) != snapshotDigits {
		return 0, false
	}
	i, err := strconv.ParseUint(digits, 10, 64)
	return wal.Index(i), err == nil
}

// list returns the snapshots, oldest first.
func (d *snapshotDir) list() ([]wal.Index, error) {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var found []wal.Index
	for _, name := range names {
		if i, ok := parseSnapshotFile(name); ok {
			found = append(found, i)
		}
	}
	slices.Sort(found)
	return found, nil
}

// create makes the temporary file of a snapshot.
func (d *snapshotDir) create(i wal.Index) (vfs.File, error) {
	if err := d.discard(i); err != nil {
		return nil, err
	}
	f, err := d.fs.Open(path.Join(d.dir, snapshotFile(i)+temporarySuffix), vfs.Create)
	if err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	return f, nil
}

// discard removes the temporary file of a snapshot, if there is one.
func (d *snapshotDir) discard(i wal.Index) error {
	err := d.fs.Remove(path.Join(d.dir, snapshotFile(i)+temporarySuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the temporary file: %w", err)
	}
	return nil
}

// commit gives the temporary file, which is complete and durable, its name.
func (d *snapshotDir) commit(i wal.Index) error {
	name := path.Join(d.dir, snapshotFile(i))
	if err := d.fs.Rename(name+temporarySuffix, name); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	if err := vfs.SyncDir(d.fs, d.dir); err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	d.addGood(i)
	return nil
}

// addGood notes that the snapshot is good.
func (d *snapshotDir) addGood(i wal.Index) {
	d.good = append(d.good, i)
	slices.Sort(d.good)
	d.good = slices.Compact(d.good)
}

// prune removes all but the newest two of those that are known to be good, and
// what is left of those that were given up.
func (d *snapshotDir) prune() error {
	d.good = d.good[max(0, len(d.good)-snapshotsKept):]
	keep := make([]string, 0, snapshotsKept)
	for _, i := range d.good {
		keep = append(keep, snapshotFile(i))
	}
	return d.removeIf(func(name string) bool {
		return !slices.Contains(keep, name)
	})
}

// clean removes what is left of snapshots that were given up.
func (d *snapshotDir) clean() error {
	return d.removeIf(func(name string) bool {
		return strings.HasSuffix(name, temporarySuffix)
	})
}

// removeIf removes those of the package's own files that doomed picks.
func (d *snapshotDir) removeIf(doomed func(name string) bool) error {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, name := range names {
		_, own := parseSnapshotFile(strings.TrimSuffix(name, temporarySuffix))
		if !own || !doomed(name) {
			continue
		}
		if err := d.fs.Remove(path.Join(d.dir, name)); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}
