package rsm

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"maru.example/vfs"
)

// A snapshot is named by the index of the last entry it holds, in 20 digits.
const (
	snapshotSuffix  = ".snap"
	temporarySuffix = ".tmp"
	snapshotDigits  = 20
	snapshotsKept   = 2
)

// snapshotDir is the directory of a replica's snapshots.
type snapshotDir struct {
	fs   vfs.FS
	dir  string
	good []State // of those that are known to be good, oldest first; the replica's loop's
	// installed is the index of the newest snapshot that came from another node.
	installed atomic.Uint64
}

// newest returns the state of the newest good snapshot; its Index is 0 if there
// is none.
func (d *snapshotDir) newest() State {
	if len(d.good) == 0 {
		return State{}
	}
	return d.good[len(d.good)-1]
}

// addGood notes that a snapshot is good. Of these two are kept.
func (d *snapshotDir) addGood(s State) {
	d.good = append(d.good, s)
	d.good = d.good[max(0, len(d.good)-snapshotsKept):]
}

// kept returns the snapshots that are kept when one at i joins them.
func (d *snapshotDir) kept(i Index) []Index {
	kept := []Index{i}
	if newest := d.newest(); newest.Index > 0 {
		kept = append(kept, newest.Index)
	}
	return kept
}

func snapshotFile(i Index) string {
	return fmt.Sprintf("%0*d%s", snapshotDigits, i, snapshotSuffix)
}

// parseSnapshotFile returns the index in the name of a snapshot.
func parseSnapshotFile(name string) (Index, bool) {
	digits, ok := strings.CutSuffix(name, snapshotSuffix)
	if !ok || len(digits) != snapshotDigits {
		return 0, false
	}
	i, err := strconv.ParseUint(digits, 10, 64)
	return Index(i), err == nil
}

// Snapshots returns the indexes of the snapshots in a replica's directory, oldest first,
// whether they are good or not; none if there is no directory.
func Snapshots(fsys vfs.FS, dir string) ([]Index, error) {
	found, err := (&snapshotDir{fs: fsys, dir: dir}).list()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return found, err
}

// list returns the snapshots, oldest first.
func (d *snapshotDir) list() ([]Index, error) {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var found []Index
	for _, name := range names {
		if i, ok := parseSnapshotFile(name); ok {
			found = append(found, i)
		}
	}
	slices.Sort(found)
	return found, nil
}

// create makes the temporary file of a snapshot.
func (d *snapshotDir) create(i Index) (vfs.File, error) {
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
func (d *snapshotDir) discard(i Index) error {
	err := d.fs.Remove(path.Join(d.dir, snapshotFile(i)+temporarySuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the temporary file: %w", err)
	}
	return nil
}

// commit gives the temporary file, which is complete and durable, its name.
func (d *snapshotDir) commit(i Index) error {
	name := path.Join(d.dir, snapshotFile(i))
	if err := d.fs.Rename(name+temporarySuffix, name); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	if err := vfs.SyncDir(d.fs, d.dir); err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	return nil
}

// prune removes all snapshots but those to be kept, and what is left of those
// that were given up. One that came from another node while the last of these was
// written, and is newer, stays.
func (d *snapshotDir) prune(keep []Index) error {
	newest := slices.Max(keep)
	return d.removeIf(func(name string) bool {
		i, ok := parseSnapshotFile(name)
		came := i > newest && uint64(i) == d.installed.Load()
		return !ok || !came && !slices.Contains(keep, i)
	})
}

// clean removes what is left of snapshots that were given up.
func (d *snapshotDir) clean() error {
	return d.removeIf(func(name string) bool {
		return strings.HasSuffix(name, temporarySuffix)
	})
}

// removeParts removes what was received of snapshots that are no newer than one
// at i, and so of no use any more.
func (d *snapshotDir) removeParts(i Index) error {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, name := range names {
		digits, _, _ := strings.Cut(name, "-")
		if !strings.HasSuffix(name, partSuffix) || digits > fmt.Sprintf("%0*d", snapshotDigits, i) {
			continue
		}
		if err := d.fs.Remove(path.Join(d.dir, name)); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
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
