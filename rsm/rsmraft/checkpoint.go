package rsmraft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"path"

	"maru.example/rsm"
	"maru.example/vfs"
	"maru.example/wal"
)

// The checkpoint says from which record on the log has to be read at a start, and
// what had been recorded of each group's term and vote before it. See
// docs/format/raft.md.
const (
	checkpointMagic       = "MARUCKPT"
	checkpointVersion     = 1
	checkpointHeaderBytes = 32
	checkpointGroupBytes  = 40
	maxCheckpointGroups   = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkpoint is its content.
type checkpoint struct {
	from   wal.Index
	groups []checkpointGroup
}

// removedSnapshot in place of a snapshot says that the replica was removed: the hard
// state has the term in which it acted last.
const removedSnapshot = rsm.Index(math.MaxUint64)

type checkpointGroup struct {
	id       GroupID
	hard     hardState
	snapshot rsm.Index // without it, or a later one, more of the log has to be read
}

func (c *checkpoint) encode() []byte {
	b := append(make([]byte, 0, checkpointHeaderBytes+checkpointGroupBytes*len(c.groups)), checkpointMagic...)
	b = binary.LittleEndian.AppendUint32(b, checkpointVersion)
	b = binary.LittleEndian.AppendUint32(b, 0) // checksum
	b = binary.LittleEndian.AppendUint64(b, uint64(c.from))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.groups)))
	for _, g := range c.groups {
		b = binary.LittleEndian.AppendUint64(b, uint64(g.id))
		b = binary.LittleEndian.AppendUint64(b, g.hard.term)
		b = binary.LittleEndian.AppendUint64(b, g.hard.vote)
		b = binary.LittleEndian.AppendUint64(b, g.hard.commit)
		b = binary.LittleEndian.AppendUint64(b, uint64(g.snapshot))
	}
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	return b
}

func decodeCheckpoint(b []byte) (*checkpoint, error) {
	if len(b) < checkpointHeaderBytes || string(b[:8]) != checkpointMagic {
		return nil, fmt.Errorf("not a checkpoint: %w", wal.ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != checkpointVersion {
		return nil, fmt.Errorf("%w: checkpoint of version %d, this program reads %d", ErrVersion, v, checkpointVersion)
	}
	n := binary.LittleEndian.Uint64(b[24:])
	if binary.LittleEndian.Uint32(b[12:]) != crc32.Checksum(b[16:], castagnoli) ||
		n > maxCheckpointGroups || uint64(len(b)) != checkpointHeaderBytes+n*checkpointGroupBytes {
		return nil, fmt.Errorf("checkpoint is damaged: %w", wal.ErrCorrupt)
	}
	c := &checkpoint{from: wal.Index(binary.LittleEndian.Uint64(b[16:]))}
	for b = b[checkpointHeaderBytes:]; len(b) > 0; b = b[checkpointGroupBytes:] {
		c.groups = append(c.groups, checkpointGroup{
			id:       GroupID(binary.LittleEndian.Uint64(b)),
			hard:     hardState{binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])},
			snapshot: rsm.Index(binary.LittleEndian.Uint64(b[32:])),
		})
	}
	return c, nil
}

// readCheckpoint returns from where on the log has to be read, and a record that
// it must have reached. Without a usable checkpoint, or where a snapshot that it
// counts on is damaged or missing, it is read from its beginning.
func (r *recovery) readCheckpoint() (from, reach wal.Index, err error) {
	for _, id := range sortedKeys(r.parts) {
		if r.parts[id].replica.State().Index > 0 {
			reach = 1 // what was applied was in the log
		}
	}
	b, err := readFile(r.h.options.FS, path.Join(r.h.dir, checkpointName))
	if errors.Is(err, fs.ErrNotExist) {
		return 1, reach, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read the checkpoint: %w", err)
	}
	c, err := decodeCheckpoint(b)
	if errors.Is(err, wal.ErrCorrupt) {
		r.h.options.Logger.Error("rsmraft: the checkpoint is passed over: the whole log is read", "error", err)
		return 1, reach, nil
	}
	if err != nil {
		return 0, 0, err
	}
	from = c.from
	for _, g := range c.groups {
		if g.snapshot == removedSnapshot {
			r.h.former[g.id] = g.hard.term
			continue
		}
		l, err := r.group(g.id)
		if err != nil {
			return 0, 0, err
		}
		if l.start.Index < g.snapshot {
			from = 1
		}
		l.hard = g.hard
	}
	return from, c.from - 1, nil
}

// needs is what a group needs of the log at a start, as it was at some moment:
// it never needs more later.
type needs struct {
	from, cut wal.Index // with the newest snapshot, and without it
	hard      hardState
	snapshot  rsm.Index // the newest
}

// noteNeeds brings needs up to date.
func (g *Group) noteNeeds() {
	if g.failed != nil {
		return // until it is removed altogether, its last words in the log are needed
	}
	l := g.log
	began := l.snap.Index == 0 && l.start.Index > 0
	if began && l.begin == 0 && g.needs.Load() != nil {
		return // that it did is not durable yet
	}
	end := l.stored + 1
	if g.appends == 0 {
		end = l.log.Last() + 1 // nothing of the group is there that it has not noted
	}
	n := &needs{from: end, cut: end, hard: l.written, snapshot: l.snap.Index}
	if len(l.refs) > 0 {
		n.cut = l.refs[0]
	}
	if l.whole {
		n.cut = 1
	}
	if i := uint64(max(l.snap.Index, l.start.Index)) + 1; i <= l.lastIndex() {
		n.from = l.refs[i-l.firstIndex()]
	}
	if began && l.begin > 0 {
		n.from = l.begin
	}
	g.needs.Store(n)
}

// saved is called when a snapshot became durable.
func (g *Group) saved(kept []rsm.State) {
	if g.failed != nil {
		return
	}
	g.log.saved(kept)
	if d := g.replica.Decisions(); d != nil && g.host.options.CutLog && g.kept == nil {
		d.Cut(kept[0].Index + 1)
	}
	g.savedAt.Store(g.log.log.Metrics().Bytes)
	g.noteNeeds()
	g.host.saves.Post(g.host.writeCheckpoint)
}

// writeCheckpoint notes on the disk from where on the log is needed, and removes
// what comes before if the options say so. It runs on the saves loop.
func (h *Host) writeCheckpoint() {
	c, cut := &checkpoint{from: h.log.Last() + 1}, h.log.Last()+1
	groups := h.Groups()
	for _, g := range groups {
		n := g.needs.Load()
		c.from, cut = min(c.from, n.from), min(cut, n.cut)
		if g.kept != nil {
			cut = min(cut, g.kept.place())
		}
		c.groups = append(c.groups, checkpointGroup{g.id, n.hard, n.snapshot})
	}
	h.mu.Lock()
	for _, id := range sortedKeys(h.former) {
		if term := h.former[id]; term > 0 {
			c.groups = append(c.groups, checkpointGroup{id, hardState{term: term}, removedSnapshot})
		}
	}
	h.mu.Unlock()
	if err := writeFile(h.options.FS, h.dir, checkpointName, c.encode()); err != nil {
		h.options.Logger.Warn("rsmraft: checkpoint not written", "dir", h.dir, "error", err)
		return
	}
	if h.options.CutLog {
		switch err := h.log.TruncateBefore(cut); {
		case errors.Is(err, wal.ErrFailed):
			h.fail(err) // it takes no entry any more
			return
		case err != nil:
			h.options.Logger.Warn("rsmraft: log is not cut", "dir", h.dir, "error", err)
		}
	}
	for _, g := range groups {
		g.loop.Post(g.noteNeeds)
		if g.holdsLog() {
			g.apply.Post(g.letLogGo)
		}
	}
}

// holdsLog says that the log of all groups has grown so much since the last
// snapshot of this one, which is idle, that another is worth its while.
func (g *Group) holdsLog() bool {
	least := g.host.options.SnapshotBytes
	if least < 0 {
		return false
	}
	grown := g.log.log.Metrics().Bytes - g.savedAt.Load()
	return grown > 2*uint64(max(least, g.replica.Metrics().SnapshotBytes))
}

// letLogGo writes a snapshot. Where the newest one holds all there is, the log is
// no longer kept for the case that it is damaged.
func (g *Group) letLogGo() {
	g.replica.Snapshot(func(err error) {
		if err != nil {
			return // was logged
		}
		g.loop.Post(func() {
			if l := g.log; g.failed == nil && l.snap.Index > 0 && uint64(l.snap.Index) == l.lastIndex() {
				l.compact(l.snap)
				l.whole = false
				g.noteNeeds()
			}
		})
	})
}

func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name, vfs.Read)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, checkpointHeaderBytes+maxCheckpointGroups*checkpointGroupBytes))
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// writeFile replaces a file durably.
func writeFile(fsys vfs.FS, dir, name string, content []byte) error {
	temporary := path.Join(dir, name+".tmp")
	if err := fsys.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Open(temporary, vfs.Create)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(temporary, path.Join(dir, name)); err != nil {
		return err
	}
	return vfs.SyncDir(fsys, dir)
}
