package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"maru.example/rsm/rsmarchive"
)

// checkedSuffix is that of a file beside a folder of what is kept. It says which files were in the folder, how large they were
// and when they were written, after all of them had been read and found as they should be: see docs/format/past.md.
const checkedSuffix = ".checked"

// checkedVersion is that of the file's content.
const checkedVersion = 1

func checkedName(dir string, of rsmarchive.Chained) string {
	return filepath.Join(dir, of.Folder()+checkedSuffix)
}

// checkedNow returns what the file has to say of the folder as it is now.
func checkedNow(dir string, of rsmarchive.Chained) ([]byte, error) {
	all, err := os.ReadDir(filepath.Join(dir, of.Folder())) // in the order of the names
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %d\n", of.Cluster, of.Group)
	for _, one := range all {
		info, err := one.Info()
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(sum, "%s %d %d\n", one.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return fmt.Appendf(nil, "%d %x\n", checkedVersion, sum.Sum(nil)), nil
}

// wasChecked says whether what is kept is noted as checked, and nothing has been written since.
func wasChecked(dir string, of rsmarchive.Chained) bool {
	now, err := checkedNow(dir, of)
	if err != nil {
		return false
	}
	then, err := os.ReadFile(checkedName(dir, of))
	return err == nil && bytes.Equal(now, then)
}

// doubt removes the note, so that what is kept is read again.
func doubt(dir string, of rsmarchive.Chained) error {
	if err := os.Remove(checkedName(dir, of)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// noteChecked notes that what is kept is as it should be: it was read, or checked when it was put there. Without the note it
// is read again at the next start.
func (w *gatheringWork) noteChecked(ctx context.Context) {
	if w.noted {
		return
	}
	w.noted = true
	of := w.node.identity.chained(w.partition)
	now, err := checkedNow(w.dir, of)
	if err == nil {
		err = os.WriteFile(checkedName(w.dir, of), now, 0o600)
	}
	if err != nil {
		w.node.logger.DebugContext(ctx, "that what is kept of the past was checked is not noted", "partition", w.partition, "error", err)
	}
}
