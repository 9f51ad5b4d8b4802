package rsmraft

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"sync/atomic"

	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/rsm"
	"maru.example/wal"
)

// Open recovers a node's groups from dir and starts them. Only one host at a time
// may have dir open: another gets an error that wraps vfs.ErrLocked. Where what
// was acknowledged cannot be had back from dir, the error wraps wal.ErrCorrupt and
// says what is missing.
func Open(dir string, id NodeID, o *Options) (_ *Host, err error) {
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if id == 0 {
		return nil, errors.New("rsmraft: a node has a number, from 1")
	}
	h := &Host{
		id: id, dir: dir, options: options, runtime: options.Runtime,
		groups: map[GroupID]*Group{}, former: map[GroupID]uint64{}, failed: make(chan struct{}), ownsRuntime: o == nil || o.Runtime == nil,
	}
	fsys := options.FS
	if err := fsys.MkdirAll(path.Join(dir, groupsName)); err != nil {
		return nil, fmt.Errorf("rsmraft: make the directory %s: %w", dir, err)
	}
	if h.lock, err = fsys.Lock(path.Join(dir, lockName)); err != nil {
		return nil, fmt.Errorf("rsmraft: lock %s: %w", dir, err)
	}
	h.opened = h.runtime.Elapsed()
	h.ticks, h.writes, h.saves = h.runtime.NewLoop("ticks"), h.runtime.NewLoop("writes"), h.runtime.NewLoop("saves")
	h.calls.init(h)
	if err := h.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("rsmraft: recover %s: %w", dir, err), h.release())
	}
	h.free.Store(1<<63 - 1)
	if err := h.lookAtDisk(); err != nil {
		h.options.Logger.Warn("rsmraft: free space is unknown", "dir", dir, "error", err)
	}
	for _, g := range h.Groups() {
		g.loop.Post(g.begin)
	}
	h.ticked = h.runtime.Elapsed()
	h.ticks.After(options.Tick, h.tick)
	h.ticks.After(diskInterval, h.checkDisk)
	return h, nil
}

// release undoes an Open that failed.
func (h *Host) release() error {
	if h.ownsRuntime {
		h.runtime.(*Runtime).Close()
	}
	var errs []error
	if h.log != nil {
		errs = append(errs, h.log.Close())
	}
	return errors.Join(append(errs, h.lock.Close())...)
}

// replicaParts are a group's parts that exist before it does.
type replicaParts struct {
	loop    rsm.Loop
	replica *rsm.Replica
	group   atomic.Pointer[Group]
}

// openReplica restores the machine of a group.
func (h *Host) openReplica(id GroupID, m rsm.Machine) (*replicaParts, error) {
	p := &replicaParts{loop: h.runtime.NewLoop(fmt.Sprintf("apply %d", id))}
	r, err := rsm.OpenReplica(h.groupDir(id), m, h.runtime, p.loop, h.saves, &rsm.ReplicaOptions{
		FS:            h.options.FS,
		SnapshotBytes: h.options.SnapshotBytes,
		Room:          h.room,
		Logger:        h.options.Logger,
		Failed:        h.fail,
		RecentBytes:   h.options.CacheBytes / 2,
		Answered:      func(bytes int64) { p.group.Load().answered(bytes) },
		Saved: func(kept []rsm.State) {
			g := p.group.Load()
			kept = slices.Clone(kept)
			g.loop.Post(func() { g.saved(kept) })
		},
	})
	if err != nil {
		return nil, fmt.Errorf("group %d: %w", id, err)
	}
	p.replica = r
	return p, nil
}

// recovery is what Open learns from the disk.
type recovery struct {
	h     *Host
	parts map[GroupID]*replicaParts
	logs  map[GroupID]*groupLog
}

func (h *Host) recover() error {
	r := &recovery{h: h, parts: map[GroupID]*replicaParts{}, logs: map[GroupID]*groupLog{}}
	if err := r.openReplicas(); err != nil {
		return err
	}
	from, reach, err := r.readCheckpoint()
	if err != nil {
		return err
	}
	h.log, err = wal.Open(h.options.FS, path.Join(h.dir, logName), &wal.Options{
		SegmentBytes: h.options.SegmentBytes, VerifyFrom: from, Reach: reach,
		Logger: h.options.Logger, Progress: (&progress{h: h, start: h.opened, last: h.opened}).verified,
	})
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	for _, l := range r.logs {
		l.log = h.log
	}
	if err := r.scan(from); err != nil {
		return err
	}
	for _, id := range sortedKeys(r.logs) {
		l := r.logs[id]
		h.former[id] = max(h.former[id], l.former)
		switch {
		case l.damage != nil:
			return l.damage
		case l.removed:
			if err := h.removeFiles(id); err != nil {
				return fmt.Errorf("group %d was removed: %w", id, err)
			}
			continue
		}
		if l.start.Index == 0 && len(l.refs) == 0 && l.hard == (hardState{}) {
			continue // never began
		}
		r.parts[id].replica.Begin(l.start)
		g, err := newGroup(h, id, l, r.parts[id])
		if err != nil {
			return err
		}
		if err := g.reaches(); err != nil {
			return err
		}
		h.options.Opened(g)
		h.addGroup(g)
	}
	return nil
}

// reaches checks that the log of a group that nobody else has goes as far as it is known to have gone.
func (g *Group) reaches() error {
	if !g.alone() {
		return nil // others have what is missing here
	}
	if want, last := g.host.options.Decided(g.id), rsm.Index(g.log.lastIndex()); want > last {
		return fmt.Errorf("group %d: %w: after entry %d, and entries up to %d were decided here", g.id, ErrShort, last, want)
	}
	return nil
}

// openReplicas restores the groups that have snapshots.
func (r *recovery) openReplicas() error {
	names, err := r.h.options.FS.List(path.Join(r.h.dir, groupsName))
	if err != nil {
		return err
	}
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			continue
		}
		if _, err := r.group(GroupID(n)); err != nil {
			return err
		}
	}
	return nil
}

// group returns the log of a group. What is there of one that this node is to have
// none of may be what others count on, and is not passed over.
func (r *recovery) group(id GroupID) (*groupLog, error) {
	if l, ok := r.logs[id]; ok {
		return l, nil
	}
	m := r.h.options.Machine(id)
	if m == nil {
		return nil, fmt.Errorf("group %d is on the disk, and this node is to have none of it", id)
	}
	p, err := r.h.openReplica(id, m)
	if err != nil {
		return nil, err
	}
	l := newGroupLog(r.h, id, p.replica.State())
	r.parts[id], r.logs[id] = p, l
	return l, nil
}

func newGroupLog(h *Host, id GroupID, at rsm.State) *groupLog {
	return &groupLog{log: h.log, group: id, maxCache: h.options.CacheBytes, whole: true, start: at, snap: at, time: at.Time, applied: uint64(at.Index)}
}

// scan takes up the records of the log from one on.
func (r *recovery) scan(from wal.Index) error {
	log := r.h.log
	return eachRecord(log, max(from, log.First()), func(at wal.Index, rec *record) error {
		l, err := r.group(rec.group)
		if err != nil {
			return err
		}
		l.log = log
		if err := l.recover(rec, at); err != nil && l.damage == nil {
			l.damage = fmt.Errorf("log record %d: group %d: %w", at, rec.group, err)
		}
		return nil
	})
}

// eachRecord calls note with the records that a log has, from one on. Their data is
// valid during the call.
func eachRecord(log *wal.Log, from wal.Index, note func(at wal.Index, r *record) error) (err error) {
	last := log.Last()
	if from > last {
		return nil
	}
	reader, err := log.Reader(from)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	for {
		at, b, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		r, err := decodeRecord(b)
		if err != nil {
			return fmt.Errorf("log record %d: %w", at, err)
		}
		if err := note(at, &r); err != nil {
			return err
		}
		if at == last {
			return nil
		}
	}
}

// recover takes up a record that was found in the log. Where the replica was
// removed, what is missing of its past does not matter.
func (l *groupLog) recover(r *record, at wal.Index) error {
	l.removed = r.kind == recordRemoved
	if l.damage != nil && !l.removed && !l.passes(r) {
		return nil
	}
	switch r.kind {
	case recordBegin:
		l.begin = at
		if l.start.Index == 0 {
			l.restart(rsm.State{Index: rsm.Index(r.index), Term: r.term, Conf: slices.Clone(r.data)})
			l.hard = hardState{term: r.term, commit: r.index}
		}
	case recordEntry, recordConfEntry:
		return l.recoverEntry(r, at)
	case recordHardState:
		l.hard = hardState{r.term, r.vote, r.index}
	case recordSnapshot:
		if r.index > uint64(l.start.Index) {
			return fmt.Errorf("the snapshot at %d is missing or damaged: remove this node and add it anew: %w", r.index, wal.ErrCorrupt)
		}
		l.restart(l.start)
	case recordRemoved:
		// A snapshot that is there and newer is of a replica that was made later:
		// before that, the files of this one were removed.
		l.restart(l.snap)
		l.hard, l.void, l.whole, l.begin, l.damage, l.gap = hardState{}, false, true, 0, nil, false
		l.former = r.term
	}
	return nil
}

// passes says that a record is taken up although damage was found before it. Where
// the log is read from before what this group needs of it, for the sake of another,
// entries may be missing before some that later ones make void: then nothing is.
func (l *groupLog) passes(r *record) bool {
	switch {
	case !l.gap:
		return false
	case r.kind == recordHardState:
		return true
	case r.kind == recordSnapshot && r.index <= uint64(l.start.Index),
		(r.kind == recordEntry || r.kind == recordConfEntry) && r.index <= l.lastIndex()+1:
		l.damage, l.gap = nil, false
		return true
	}
	return false
}

// recoverEntry takes up an entry. Those that the snapshot holds are skipped.
func (l *groupLog) recoverEntry(r *record, at wal.Index) error {
	start := uint64(l.start.Index)
	switch {
	case r.index < start:
		l.refs, l.terms = nil, nil
		return nil
	case r.index == start:
		l.refs, l.terms = nil, nil
		l.void = r.term != l.start.Term // what follows was never committed
		return nil
	case l.void:
		return nil
	case r.index > l.lastIndex()+1:
		l.gap = true
		return fmt.Errorf("entry %d follows %d, those between are missing: %w", r.index, l.lastIndex(), wal.ErrCorrupt)
	}
	l.add(r.index, r.term, at)
	if r.kind == recordEntry {
		l.time = max(l.time, rsm.EntryTime(r.data))
	}
	return nil
}

// Begin makes a group whose only member is this node, if there is none yet.
// Others are added with ChangeMembers.
func (h *Host) Begin(id GroupID) (*Group, error) {
	if g := h.Group(id); g != nil {
		return g, nil
	}
	g, err := h.newReplica(id, func(l *groupLog) {
		conf := encodeConf(&pb.ConfState{Voters: []uint64{uint64(h.id)}})
		l.restart(rsm.State{Index: FirstEntry - 1, Term: 1, Conf: conf})
		l.hard = hardState{term: 1, commit: 1}
	})
	if err != nil || g == nil {
		return nil, err
	}
	g.loop.Post(func() {
		w := &appendWork{group: g, then: func(first wal.Index) {
			g.log.begin, g.log.stored = first, first
			g.begin()
		}}
		w.heads = append(w.heads, record{kind: recordBegin, group: id, term: 1, index: 1, data: g.log.start.Conf})
		h.append(w)
	})
	return g, nil
}

// Replica returns this node's replica of a group; if there is none, one that
// waits for a leader to make this node a member.
func (h *Host) Replica(id GroupID) (*Group, error) {
	if g := h.Group(id); g != nil {
		return g, nil
	}
	g, err := h.newReplica(id, func(*groupLog) {})
	if g != nil {
		g.loop.Post(g.begin)
	}
	return g, err
}

// replicaFor makes an empty replica of a group that another node says this one is
// a member of: it waits for the leader's snapshot.
func (h *Host) replicaFor(id GroupID, from NodeID) *Group {
	g, err := h.newReplica(id, func(*groupLog) {})
	if err != nil {
		h.options.Logger.Error("rsmraft: replica not made", "group", id, "asked_by", from, "error", err)
		return nil
	}
	if g != nil {
		g.loop.Post(g.begin)
	}
	return g
}

// newReplica makes a replica without a log, nil if this node is to have none.
func (h *Host) newReplica(id GroupID, prepare func(*groupLog)) (*Group, error) {
	h.making.Lock()
	defer h.making.Unlock()
	if g := h.Group(id); g != nil {
		return g, nil
	}
	m := h.options.Machine(id)
	if m == nil || h.Err() != nil || h.isClosed() {
		return nil, h.Err()
	}
	p, err := h.openReplica(id, m)
	if err != nil {
		return nil, err
	}
	l := newGroupLog(h, id, p.replica.State())
	l.hard.term = h.afterFormer(id)
	prepare(l)
	p.replica.Begin(l.start)
	g, err := newGroup(h, id, l, p)
	if err != nil {
		return nil, err
	}
	g.noteRoom(h.room())
	h.options.Opened(g)
	if !h.addGroup(g) {
		return nil, rsm.ErrClosed
	}
	return g, nil
}
