package main

import (
	"context"
	"errors"
	"fmt"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
)

// beginAnew accepts what --archive-begin-anew says, where the archive has less than it had. Where it has not, or that cannot
// be known now, it says so, and nothing is accepted: the flag may have been left in a command line.
func (n *node) beginAnew(ctx context.Context, all []string, place location) error {
	if len(all) == 0 {
		return nil
	}
	store, err := place.open()
	if err != nil {
		return err
	}
	gone := func(partition uint16, upTo rsm.Index) bool {
		had := n.archived.had(partition).Index
		if had != upTo {
			n.logger.WarnContext(ctx, "--"+beginAnewFlag+" names another entry than the last that was archived: it accepts nothing, and can be left out", "partition", partition, "entry", upTo, "had_up_to_entry", had)
			return false
		}
		end, err := n.archiveEnd(ctx, store, partition)
		switch {
		case err != nil:
			n.logger.WarnContext(ctx, "--"+beginAnewFlag+" accepts nothing, as it is not known what the archive has: start again with it when the archive can be read", "partition", partition, "archive", place.String(), "error", err)
		case end.Index >= had:
			n.logger.WarnContext(ctx, "--"+beginAnewFlag+" accepts nothing, as the archive has all that it had: leave it out", "partition", partition, "archive", place.String(), "ends_after_entry", end.Index)
		}
		return err == nil && end.Index < had
	}
	if n.gaveUp, err = n.archived.accept(all, gone); err != nil {
		return err
	}
	for _, partition := range n.gaveUp {
		n.logger.WarnContext(ctx, "what the archive lost is given up: it begins anew where it ends, with what the log has", "partition", partition)
	}
	return nil
}

// archiveEnd returns where the archive of a partition ends in a store, if that answers soon.
func (n *node) archiveEnd(ctx context.Context, store rsmarchive.Store, partition uint16) (rsmarchive.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	archive, err := rsmarchive.Open(ctx, store, n.identity.chained(partition), nil)
	if err != nil {
		return rsmarchive.Position{}, err
	}
	return archive.End(ctx)
}

// allFrom returns the entry, at an index or later, from which on all that a partition has decided is here: in the log, or in what is
// kept of before it.
func (n *node) allFrom(ctx context.Context, partition uint16, at rsm.Index) (rsm.Index, error) {
	log, err := n.logFrom(ctx, partition, max(at, rsmraft.FirstEntry))
	if err != nil || log <= max(at, rsmraft.FirstEntry) {
		return at, err
	}
	kept, err := n.gatherer.keeps(partition)(ctx)
	if err != nil {
		return 0, err
	}
	end, err := kept.End(ctx)
	switch {
	case errors.Is(err, rsmarchive.ErrDamaged): // it does not count
		return log, nil
	case err != nil:
		return 0, err
	case kept.Segments() == 0 || kept.Begins() >= log || end.Index+1 < log:
		return log, nil
	}
	return max(at, kept.Begins()), nil
}

// logFrom returns the entry, at an index or later, from which on the log has all. Entries without content may be on record
// longer than the log has those with one.
func (n *node) logFrom(ctx context.Context, partition uint16, at rsm.Index) (_ rsm.Index, err error) {
	g, err := n.logs[partition].Replica()
	if err != nil {
		return 0, err
	}
	f, err := g.Feed(at)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	last, from := g.Applied(), at
	for next := at; next <= last; next++ {
		d, err := f.Next(ctx)
		if gap, ok := errors.AsType[*rsm.GapError](err); ok {
			if gap.Next <= next {
				return last + 1, nil // nobody knows where it ends
			}
			from, next = gap.Next, gap.Next-1
			f.Seek(gap.Next)
			continue
		}
		if err != nil || len(d.Entry) > 0 {
			return from, err
		}
	}
	return from, nil
}

// lost tells the operator what became of the archive.
func (a *archivist) lost(partition uint16, e *rsmarchive.LostError) {
	about := []any{"archive", a.place.String(), "partition", partition, "ends_after_entry", e.After, "had_up_to_entry", e.Had, "lost_entries", e.Entries(), "do", restoreArchive(partition, e)}
	if e.Entries() == 0 {
		a.node.logger.Error("the archive is empty, or not there; the log has all that it had, so nothing is lost; the wallet goes on, nothing is archived, and the log is kept", about...)
		return
	}
	a.node.logger.Error("the archive lost what it had, and the log has it no more; the wallet goes on, nothing is archived, and the log is kept", about...)
}

// restoreArchive says what to do about an archive that has less than it had.
func restoreArchive(partition uint16, e *rsmarchive.LostError) string {
	if e.Entries() == 0 {
		return fmt.Sprintf("bring the archive back, or mount it: it goes on by itself then; or, if it is to be empty, start with --%s %d:%d: it is made again from the log", beginAnewFlag, partition, e.Had)
	}
	return fmt.Sprintf("bring the archive back, mount it, or copy the segments from another node's archive or a backup of it: it goes on by itself then; or accept the loss by starting with --%s %d:%d", beginAnewFlag, partition, e.Had)
}

// warnings says which archives have less than they had.
func (a *archivist) warnings() (all []string) {
	if a == nil {
		return nil
	}
	for _, m := range a.metrics() {
		if m.Less != nil {
			all = append(all, fmt.Sprintf("archive %s, partition %d: %v; %s", a.place, m.partition, m.Less, restoreArchive(m.partition, m.Less)))
		}
	}
	return all
}

// callWitness finds the archive that this node had last, if it is to have another one now, or none: it knows what was decided
// here, also where the whole directory is an older copy.
func (n *node) callWitness(ctx context.Context, data string, now location) {
	if n.identity.Archive == "" || n.identity.Archive == now.from(data) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	var is owner
	var store rsmarchive.Store
	place, err := recordedLocation(data, n.identity.Archive)
	if err == nil {
		store, err = place.open()
	}
	if err == nil {
		is, err = readOwner(ctx, store)
	}
	switch {
	case err == nil && is == n.identity.owner():
		n.witnesses = append(n.witnesses, store)
	case err != nil && !errors.Is(err, rsmarchive.ErrNotFound) && !isForeign(err):
		n.logger.WarnContext(ctx, "the archive that this node had before does not answer: it is not known whether the log is older than that", "archive", n.identity.Archive, "error", err)
	}
}

// decided returns up to which entry a group is known to have decided: by what the node notes of its archive, and by
// the archives themselves, if these answer soon, as the log may be an older copy, and what is noted with it.
func (n *node) decided(ctx context.Context, id rsmraft.GroupID) (last rsm.Index) {
	if id == 0 || int(id) > n.identity.Partitions {
		return 0
	}
	partition := uint16(id - 1)
	ends := []rsmarchive.Position{n.archived.had(partition)}
	for _, store := range n.witnesses {
		if end, err := n.archiveEnd(ctx, store, partition); err == nil { // else the archiver says more
			ends = append(ends, end)
		}
	}
	for _, at := range ends {
		last = max(last, at.Index)
	}
	n.ends[partition] = ends
	return last
}

// shortError says what to do about a log that lost its end, which the archive has.
func (n *node) shortError(data string, err error) error {
	return failed(fmt.Errorf("%w; they are in the archive, and may have been answered", err),
		"bring back the log that was here last; or make a wallet of what archive and log have: `maru wallet restore --from "+data+" --data OTHER`")
}

// hintApart says what to do about a log that has not the entries that are in its archive.
const hintApart = "one of the two is an older copy that went on by itself, and what only the other has may have been answered: bring back the data directory that was archived there last; or, if this one is to count, move that archive away and keep it, and begin another one with --archive"

// agrees refuses a log that has other entries than those that were archived, of the groups of which decided was asked: nobody
// else has them.
func (n *node) agrees(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	for i := range n.logs {
		for _, at := range n.ends[uint16(i)] {
			if err := n.continues(ctx, uint16(i), at); errors.Is(err, rsmarchive.ErrConflict) { // of others the archiver says more
				return failed(fmt.Errorf("partition %d: the log is not the one that was archived: %w", i, err), hintApart)
			}
		}
	}
	return nil
}

// continues is rsmarchive.Continues, with what is here of a partition.
func (n *node) continues(ctx context.Context, partition uint16, at rsmarchive.Position) error {
	if at.Index < rsmraft.FirstEntry {
		return nil
	}
	f, err := n.localFeed(partition, at.Index)
	if err != nil {
		return err
	}
	f.kept = f.kept[:1] // not the archive itself
	return errors.Join(rsmarchive.Continues(ctx, f, at), f.Close())
}

// err says that a log and its archive have two pasts, so that requests should go elsewhere. A log that has not come
// as far as its archive is no such, if others may bring the rest.
func (a *archivist) err() error {
	if a == nil {
		return nil
	}
	for _, m := range a.metrics() {
		if m.Apart == nil || errors.Is(m.Apart, rsmarchive.ErrAhead) && !a.node.soleVoter(m.partition) {
			continue
		}
		return fmt.Errorf("partition %d: log and archive %s are not of one past: %w; %s", m.partition, a.place, m.Apart, hintApart)
	}
	return nil
}

// soleVoter says whether this node is the only voter of a partition.
func (n *node) soleVoter(partition uint16) bool {
	g, err := n.logs[partition].Replica()
	if err != nil {
		return false
	}
	s := g.Status()
	return len(s.Voters) == 1 && rsmraft.NodeID(n.identity.Node) == s.Voters[0] && len(s.Outgoing) == 0
}
