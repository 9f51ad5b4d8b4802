package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
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

// checkRest is the pause after each entry that is checked while the wallet has much to do.
const checkRest = 20 * time.Millisecond

// check reads all that is kept, up to an entry. Where it says that entries are missing they are.
func (w *gatheringWork) check(ctx context.Context, kept *rsmarchive.Archive, last rsm.Index) error {
	from := kept.Begins()
	for kept.Segments() > 0 && from <= last {
		err := kept.Read(ctx, from, last, func(*rsm.Decided) error {
			if !w.node.followers.busy.Load() {
				return ctx.Err()
			}
			select {
			case <-time.After(checkRest):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		x, found := errors.AsType[*rsmarchive.Finding](err)
		if !found || x.Kind != rsmarchive.Gap || x.Last < from {
			return err
		}
		from = x.Last + 1
	}
	return nil
}

// setAside moves what is kept and damaged out of the way, where somebody may look at it: it is asked for anew. It
// returns the damage.
func (w *gatheringWork) setAside(ctx context.Context, of rsmarchive.Chained, damage error) error {
	folder := filepath.Join(w.dir, of.Folder())
	aside := folder + asideSuffix
	w.node.logger.ErrorContext(ctx, "what is kept of before this node's log is damaged; it is set aside, and asked of the other nodes anew", "partition", w.partition, "set_aside", aside, "error", damage)
	w.at, w.known, w.kept = rsmarchive.Position{}, false, false
	if err := errors.Join(doubt(w.dir, of), os.RemoveAll(aside)); err != nil {
		return errors.Join(damage, err)
	}
	return errors.Join(damage, os.Rename(folder, aside))
}

// asideSuffix is that of a folder with what was damaged.
const asideSuffix = ".damaged"

// suspect has what is kept of a partition looked at again: it was found damaged.
func (g *gatherer) suspect(partition uint16) {
	if one := g.of.get(partition); one != nil {
		one.suspect.Store(true)
	}
}

// removePast removes what is kept of a group's past.
func removePast(dir string, of rsmarchive.Chained) error {
	return errors.Join(doubt(dir, of), os.RemoveAll(filepath.Join(dir, of.Folder())))
}

// letGo removes what is kept of a partition's past where the replica's own record begins with the first entry: what is kept is then
// in the log too.
func (w *gatheringWork) letGo(ctx context.Context, replica *rsmraft.Group) {
	if w.alone {
		return
	}
	of := w.node.identity.chained(w.partition)
	folder := filepath.Join(w.dir, of.Folder())
	_, err := os.Stat(folder)
	if err == nil {
		if err = hasFirst(ctx, replica); err == nil {
			err = removePast(w.dir, of)
		}
	}
	switch {
	case err == nil:
		w.node.logger.InfoContext(ctx, "what was kept of before this node's log is in the log too: it is removed", "partition", w.partition, "removed", folder)
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, rsm.ErrGap): // it may be of use
	default:
		w.node.logger.DebugContext(ctx, "whether the log has what is kept of the past is not known", "partition", w.partition, "error", err)
		return
	}
	w.alone, w.known, w.kept = true, false, false
}

// errNothingYet says that a replica has decided nothing yet.
var errNothingYet = errors.New("nothing is decided yet")

// hasFirst reads the first entries of a replica's log, up to one that is not empty, and so is nowhere but in the log: as the log
// has that one, it has all later ones.
func hasFirst(ctx context.Context, replica *rsmraft.Group) error {
	feed, err := replica.Feed(rsmraft.FirstEntry)
	if err != nil {
		return err
	}
	found := false
	for at := rsmraft.FirstEntry; err == nil && !found && at <= replica.Applied(); at++ {
		var d rsm.Decided
		d, err = feed.Next(ctx)
		found = len(d.Entry) > 0
	}
	if err == nil && !found { // what comes next may be a snapshot, and then what is kept is all there is
		err = errNothingYet
	}
	return errors.Join(err, feed.Close())
}

// givenUp says whether the operator gave up what the archive of a partition lost.
func (n *node) givenUp(partition uint16) bool { return slices.Contains(n.gaveUp, partition) }

// durable returns up to which entry all of a partition is archived, as far as is known here.
func (a *archivist) durable(partition uint16) rsm.Index {
	if one := a.of.get(partition); one != nil {
		return rsm.Index(one.durable.Load())
	}
	return 0
}
