package rsmraft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"slices"

	"maru.example/rsm"
	"maru.example/vfs"
	"maru.example/wal"
)

// ErrNoLog says that there is no log where one is to be read.
var ErrNoLog = errors.New("there is no log")

// HistoryOptions are the settings of a history; nil means all defaults.
type HistoryOptions struct {
	FS vfs.FS // default vfs.OS
	// Progress is called now and then while OpenHistory reads the log, with the bytes
	// that were read and those that will be; default: none.
	Progress func(done, of int64)
	Logger   *slog.Logger // default: discards
}

// History is what the groups of a node have decided, read from its directory while
// no host has it open. It is safe for concurrent use, but for Close.
type History struct {
	fs     vfs.FS
	dir    string
	lock   io.Closer
	logger *slog.Logger // nil: discards
	log    *wal.Log
	groups map[GroupID]*groupHistory
}

// groupHistory is the places of a group's entries in the log.
type groupHistory struct {
	begun  bool
	whole  bool   // it begins with the group
	grown  bool   // there may be, or have been, other members
	conf   []byte // with which it began; nil: it is not in the log
	change uint64 // the newest entry that changes the members, if it was not made void; else it may be
	first  uint64 // the entries begin after it
	refs   []wal.Index
	commit uint64
}

// GroupHistory says what is there of a group.
type GroupHistory struct {
	ID    GroupID
	Whole bool      // it begins with the group's first entry
	First rsm.Index // of the entries
	Last  rsm.Index // of those that are known to be committed; less than First: none is
	// Undecided is how many entries follow that are durable here, and may be committed.
	Undecided int
	Snapshots []rsm.Index // on the disk, oldest first
	// OnlyVoter is the group's at the end of the log, 0 if it has several, or that is not known. What was decided
	// behind the end, that node has written.
	OnlyVoter NodeID
}

// OpenHistory opens the directory of a node that does not run, and reads all of its
// log: what is damaged or missing in it is an error that wraps wal.ErrCorrupt and says
// where. A directory that a host has open gives one that wraps vfs.ErrLocked.
func OpenHistory(dir string, o *HistoryOptions) (_ *History, err error) {
	h := &History{fs: vfs.OS(), dir: dir, groups: map[GroupID]*groupHistory{}}
	options := &wal.Options{}
	if o != nil {
		if o.FS != nil {
			h.fs = o.FS
		}
		options.Progress, options.Logger, h.logger = o.Progress, o.Logger, o.Logger
	}
	if names, err := h.fs.List(path.Join(dir, logName)); len(names) == 0 {
		return nil, errors.Join(fmt.Errorf("rsmraft: %w in %s", ErrNoLog, dir), err)
	}
	if h.lock, err = h.fs.Lock(path.Join(dir, lockName)); err != nil {
		return nil, fmt.Errorf("rsmraft: lock %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	if h.log, err = wal.Open(h.fs, path.Join(dir, logName), options); err != nil {
		return nil, fmt.Errorf("rsmraft: open the log: %w", err)
	}
	if err := h.scan(); err != nil {
		return nil, fmt.Errorf("rsmraft: %s: %w", dir, err)
	}
	return h, nil
}

// Close lets the directory go.
func (h *History) Close() error {
	var errs []error
	if h.log != nil {
		errs = append(errs, h.log.Close())
	}
	return errors.Join(append(errs, h.lock.Close())...)
}

// scan notes the place of each entry that was not made void by a later one.
func (h *History) scan() error {
	return eachRecord(h.log, h.log.First(), func(at wal.Index, r *record) error {
		g := h.groups[r.group]
		if g == nil {
			g = &groupHistory{}
			h.groups[r.group] = g
		}
		if err := g.note(r, at); err != nil {
			return fmt.Errorf("log record %d: group %d: %w", at, r.group, err)
		}
		return nil
	})
}

// note takes up a record.
func (g *groupHistory) note(r *record, at wal.Index) error {
	switch r.kind {
	case recordBegin:
		*g = groupHistory{begun: true, whole: true, first: r.index, commit: r.index, conf: slices.Clone(r.data)}
	case recordSnapshot:
		*g = groupHistory{begun: true, grown: true, first: r.index, commit: r.index}
	case recordRemoved:
		*g = groupHistory{}
	case recordHardState:
		g.commit = max(g.commit, r.index)
	case recordEntry, recordConfEntry:
		return g.noteEntry(r, at)
	}
	return nil
}

// noteEntry takes up an entry, which makes void what was at its index and after.
func (g *groupHistory) noteEntry(r *record, at wal.Index) error {
	if r.kind == recordConfEntry {
		g.grown, g.change = true, r.index
	}
	switch {
	case !g.begun: // what came before was cut
		*g = groupHistory{begun: true, grown: true, first: r.index - 1, commit: g.commit, change: g.change}
	case r.index <= g.first:
		g.refs = g.refs[:0] // of a snapshot that was taken over before it was on record
		return nil
	case r.index > g.last()+1:
		return fmt.Errorf("entry %d follows %d, those between are missing: %w", r.index, g.last(), wal.ErrCorrupt)
	case r.index <= g.commit:
		return fmt.Errorf("entry %d is there twice, and was committed: %w", r.index, wal.ErrCorrupt)
	}
	g.refs = append(g.refs[:r.index-g.first-1], at)
	return nil
}

func (g *groupHistory) last() uint64 { return g.first + uint64(len(g.refs)) }

// decided returns the index up to which the entries are known to be committed. Of a group
// that never had another voter all are that are durable.
func (g *groupHistory) decided() uint64 {
	if !g.grown {
		return g.last()
	}
	return min(g.commit, g.last())
}

// Groups returns what there is, in the order of the groups' numbers.
func (h *History) Groups() ([]GroupHistory, error) {
	var all []GroupHistory
	for _, id := range sortedKeys(h.groups) {
		g := h.groups[id]
		if !g.begun {
			continue
		}
		snapshots, err := rsm.Snapshots(h.fs, groupDir(h.dir, id))
		if err != nil {
			return nil, fmt.Errorf("rsmraft: group %d: %w", id, err)
		}
		decided := g.decided()
		known, err := h.known(id)
		if err != nil {
			return nil, fmt.Errorf("rsmraft: group %d: %w", id, err)
		}
		if n := len(snapshots); n > 0 {
			known = max(known, snapshots[n-1])
		}
		decided = max(decided, min(uint64(known), g.last()))
		voter, err := h.onlyVoter(id, snapshots)
		if err != nil {
			return nil, fmt.Errorf("rsmraft: group %d: %w", id, err)
		}
		all = append(all, GroupHistory{
			ID: id, Whole: g.whole, First: rsm.Index(g.first + 1), Last: rsm.Index(decided),
			Undecided: int(g.last() - decided), Snapshots: snapshots, OnlyVoter: voter,
		})
	}
	return all, nil
}

// onlyVoter returns the one voter that a group has at the end of its log, 0 if there are several: by the newest snapshot that
// can be read, or by how it began, where nothing behind that changes the members.
func (h *History) onlyVoter(id GroupID, snapshots []rsm.Index) (NodeID, error) {
	g := h.groups[id]
	conf, at := g.conf, g.first
	for _, index := range slices.Backward(snapshots) {
		if s, err := rsm.SnapshotState(h.fs, groupDir(h.dir, id), index); err == nil { // else it is found where it is compared
			conf, at = s.Conf, uint64(index)
			break
		}
	}
	if conf == nil || g.change > at {
		return 0, nil
	}
	c, err := decodeConf(conf)
	if err != nil || len(c.GetVoters()) != 1 || len(c.GetVotersOutgoing()) > 0 {
		return 0, err
	}
	return NodeID(c.GetVoters()[0]), nil
}

// known returns the last entry of a group whose decision is on record: it was committed, as
// all are that are in a snapshot.
func (h *History) known(id GroupID) (rsm.Index, error) {
	d, err := rsm.OpenDecisions(h.fs, groupDir(h.dir, id), h.logger)
	if err != nil || d == nil {
		return 0, err
	}
	return d.Last(), d.Close()
}

// RestoreSnapshot restores a machine from a group's snapshot at an index.
func (h *History) RestoreSnapshot(id GroupID, at rsm.Index, m rsm.Machine) (rsm.State, error) {
	s, err := rsm.RestoreSnapshot(h.fs, groupDir(h.dir, id), at, m)
	if err != nil {
		return rsm.State{}, fmt.Errorf("rsmraft: group %d: %w", id, err)
	}
	return s, nil
}

// HistoryReader gives the entries of a group in order, with what is on record of the decisions. It
// is for one goroutine.
type HistoryReader struct {
	log     *groupLog
	next    uint64
	time    int64            // of the entry before
	record  *rsm.DecisionLog // nil: there is none
	reader  *rsm.DecisionReader
	current rsm.Decided
}

// Reader returns a reader that begins with the entry at an index, which has to be one of
// the group's log, or the one behind its end.
func (h *History) Reader(id GroupID, from rsm.Index) (*HistoryReader, error) {
	g := h.groups[id]
	if g == nil || uint64(from) <= g.first || uint64(from) > g.last()+1 {
		return nil, fmt.Errorf("rsmraft: the log of group %d does not go on with entry %d", id, from)
	}
	r := &HistoryReader{log: &groupLog{log: h.log, group: id, refs: g.refs, start: rsm.State{Index: rsm.Index(g.first)}}, next: uint64(from)}
	var err error
	if r.record, err = rsm.OpenDecisions(h.fs, groupDir(h.dir, id), h.logger); err != nil {
		return nil, fmt.Errorf("rsmraft: group %d: %w", id, err)
	}
	if r.record != nil {
		r.reader = r.record.Reader()
	}
	return r, nil
}

// Next returns the next entry, valid until the next call, and io.EOF after the last, committed or not.
// Of one whose decision is not on record, that is empty though the entry is not.
func (r *HistoryReader) Next() (*rsm.Decided, error) {
	if r.next > r.log.lastIndex() {
		return nil, io.EOF
	}
	v, err := r.log.readEntry(r.next)
	if err != nil {
		return nil, fmt.Errorf("rsmraft: group %d: read entry %d: %w", r.log.group, r.next, err)
	}
	d := &r.current
	*d = rsm.Decided{Index: rsm.Index(r.next), Term: v.term}
	if v.kind == recordEntry {
		d.Entry = v.data
	}
	r.time = max(r.time, rsm.EntryTime(d.Entry))
	if err := r.decision(d); err != nil {
		return nil, fmt.Errorf("rsmraft: group %d: %w", r.log.group, err)
	}
	d.Time = r.time
	r.next++
	return d, nil
}

// decision adds what is on record.
func (r *HistoryReader) decision(d *rsm.Decided) error {
	if r.reader == nil {
		return nil
	}
	v, _, err := r.reader.Next(context.Background(), d.Index)
	if errors.Is(err, rsm.ErrGap) {
		return nil
	}
	if err != nil {
		return err
	}
	d.Decision = v.Decision
	r.time = max(r.time, v.Time)
	return nil
}

// Close closes what the reader has opened.
func (r *HistoryReader) Close() error {
	err := r.log.closeReader()
	if r.record != nil {
		err = errors.Join(err, r.reader.Close(), r.record.Close())
	}
	return err
}
