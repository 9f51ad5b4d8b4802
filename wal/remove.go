package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"maru.example/vfs"
)

// Remove removes the log in dir, which nobody has open; the directory stays. What a
// crash in the middle leaves can be opened, as a log that ends earlier, and be removed
// again. There need be none.
func Remove(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("wal: remove %s: %w", dir, err)
	}
	// By the names, backwards: the end file comes before the segments, for without it
	// nothing says how far the log came, and of these the newest first, so that no gap is
	// left, nor a log that begins later than its owner knows.
	slices.Sort(names)
	slices.Reverse(names)
	for _, name := range names {
		err := fsys.Remove(path.Join(dir, name))
		if err == nil {
			err = vfs.SyncDir(fsys, dir) // each is durable before the next
		}
		if err != nil {
			return fmt.Errorf("wal: remove %s: %w", path.Join(dir, name), err)
		}
	}
	return nil
}
