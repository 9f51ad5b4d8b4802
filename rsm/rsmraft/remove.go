package rsmraft

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"maru.example/rsm"
	"maru.example/vfs"
	"maru.example/wal"
)

// Remove removes this node's replica of a group, from memory and disk. at is a
// point of the group's log, an index that was committed in a term, at which the
// node was no member any more. done is called, on a loop of the host, when the
// removal is durable, or with an error that wraps ErrInUse where nothing was done:
// the replica leads, is at work, or has entries from after that point, so that the
// node may have become a member again. It is not called if the host fails. A
// replica that is not there was removed.
//
// It is made anew when a message for the group comes and Options.Machine has a
// machine for it: that returns nil while the node is to be no member.
func (h *Host) Remove(id GroupID, at Point, done func(error)) {
	g := h.Group(id)
	if g == nil {
		h.saves.Post(func() { done(nil) })
		return
	}
	g.loop.Post(func() { g.remove(at, done) })
}

// Point is an index of a group's log that was committed in a term.
type Point struct {
	Term  uint64
	Index rsm.Index
}

// remove ends the group, says so in the log, and then removes its files: in this
// order, so that after a crash the rest can be done when the log is read.
func (g *Group) remove(at Point, done func(error)) {
	last := g.log.lastIndex()
	term, err := g.log.Term(last)
	switch {
	case g.failed != nil:
		done(g.failed)
		return
	case err != nil:
		done(err)
		return
	case g.leads, g.appends > 0, g.installing, g.transfer.receives != nil:
		done(fmt.Errorf("%w: group %d is at work", ErrInUse, g.id))
		return
	case last > uint64(at.Index) && term >= at.Term:
		// A member again would have the entry that made it one: it is after the
		// point, and of the same term or a later one.
		done(fmt.Errorf("%w: group %d has entry %d of term %d, after %d of term %d", ErrInUse, g.id, last, term, at.Index, at.Term))
		return
	}
	err = fmt.Errorf("%w: %w: group %d", rsm.ErrNoLeader, ErrRemoved, g.id)
	g.queue.Fail(err)
	g.end(err)
	if err := g.log.closeReader(); err != nil {
		g.host.options.Logger.Warn("rsmraft: log not closed", "group", g.id, "error", err)
	}
	term = g.raw.BasicStatus().GetTerm()
	g.host.append(&appendWork{
		group: g,
		heads: []record{{kind: recordRemoved, group: g.id, term: term}},
		then: func(wal.Index) {
			g.apply.Post(func() {
				g.replica.Close()
				forget := func() { g.host.saves.Post(func() { g.host.forget(g, term, done) }) }
				if d := g.replica.Decisions(); d != nil {
					d.Closed(forget)
				} else {
					forget()
				}
			})
		},
	})
}

// forget removes the files of a group that the log says is removed, and then the
// group. It runs on the saves loop, as what else writes there does. A disk that does
// not do it has failed; the next start goes on with it. The term is the one in which
// the replica acted last.
func (h *Host) forget(g *Group, term uint64, done func(error)) {
	if err := h.removeFiles(g.id); err != nil {
		h.fail(fmt.Errorf("rsmraft: remove group %d: %w", g.id, err))
		return
	}
	h.mu.Lock()
	delete(h.groups, g.id)
	h.former[g.id] = term
	h.ordered = slices.DeleteFunc(slices.Clone(h.ordered), func(o *Group) bool { return o == g })
	h.mu.Unlock()
	h.options.Logger.Info("rsmraft: replica removed", "group", g.id)
	done(nil)
}

// afterFormer returns the term with which a replica that is made begins: a later one
// than any that a replica of the group which was removed from here acted in, or 0 if
// there was none. What that one voted for, and acknowledged, counts in its terms;
// the new one has forgotten it. A leader that took it for the old one gives up when
// it hears of the later term.
func (h *Host) afterFormer(id GroupID) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if term := h.former[id]; term > 0 {
		return term + 1
	}
	return 0
}

// removeFiles removes the snapshots and decisions of a group, durably.
func (h *Host) removeFiles(id GroupID) error {
	dir := h.groupDir(id)
	names, err := h.options.FS.List(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("list %s: %w", dir, err)
	}
	if err := rsm.RemoveDecisions(h.options.FS, dir); err != nil {
		return err
	}
	for _, name := range names {
		if name == rsm.DecisionsName {
			continue
		}
		if err := h.options.FS.Remove(path.Join(dir, name)); err != nil {
			return err
		}
	}
	return vfs.SyncDir(h.options.FS, dir)
}
