package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/vfs"
)

// pastStore is where a node keeps what was decided before its log begins.
func pastStore(data string) *rsmarchive.Dir {
	return rsmarchive.NewDir(vfs.OS(), filepath.Join(data, pastName))
}

// keeps returns what is kept of a partition's past, to be read.
func (g *gatherer) keeps(partition uint16) keptPast {
	return func(ctx context.Context) (*rsmarchive.Archive, error) {
		return rsmarchive.Open(ctx, g.store, g.node.identity.chained(partition), nil)
	}
}

// removePast removes what is kept of a group's past.
func removePast(dir string, of rsmarchive.Chained) error {
	err := os.RemoveAll(filepath.Join(dir, of.Folder()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// givenUp says whether the operator gave up what the archive of a partition lost.
func (n *node) givenUp(partition uint16) bool { return slices.Contains(n.gaveUp, partition) }

// durable returns up to which entry all of a partition is archived, as far as is known here.
func (a *archivist) durable(partition uint16) rsm.Index {
	a.mu.Lock()
	defer a.mu.Unlock()
	if one := a.of[partition]; one != nil {
		return rsm.Index(one.durable.Load())
	}
	return 0
}
