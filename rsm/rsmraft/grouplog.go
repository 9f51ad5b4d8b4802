package rsmraft

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/rsm"
	"maru.example/wal"
)

// groupLog is a group's part of the host's log: an index over it, and a cache of
// the newest entries. It is the [raft.Storage] of the group and belongs to the
// group's loop.
type groupLog struct {
	log   *wal.Log
	group GroupID

	start rsm.State // the entries begin after it: of a snapshot that is kept
	snap  rsm.State // the newest snapshot on the disk, with which a follower that is far behind begins
	refs  []wal.Index
	terms []termRun
	time  int64 // of the newest entry

	hard    hardState
	written hardState // of hard, what is durable

	wanted func()    // a snapshot is, as there is none
	stored wal.Index // the last record that was noted
	begin  wal.Index // the record that says that the group begins here
	whole  bool      // the log may not be cut: there are no two snapshots yet
	void   bool      // in recovery: the entries that follow were never committed

	members func() *pb.ConfState // at present
	removed bool                 // in recovery: the last record says that the replica was removed
	damage  error                // in recovery: the first that was found since
	gap     bool                 // in recovery: that is that entries are missing
	former  uint64               // in recovery: the term in which a replica that was removed acted last

	cache      []*pb.Entry // the newest entries, without gaps
	cacheBytes int64
	maxCache   int64
	applied    uint64 // entries up to it are cached only as far as maxCache goes

	reader entryReader
}

// termRun says that the entries from first on have the term.
type termRun struct {
	first, term uint64
}

// hardState is what a replica may not forget; the zero value is that of one that
// never had any.
type hardState struct {
	term, vote, commit uint64
}

func (h hardState) proto() *pb.HardState {
	if h == (hardState{}) {
		return nil
	}
	return &pb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}
}

var _ raft.Storage = (*groupLog)(nil)

func (l *groupLog) firstIndex() uint64 { return uint64(l.start.Index) + 1 }
func (l *groupLog) lastIndex() uint64  { return uint64(l.start.Index) + uint64(len(l.refs)) }

// InitialState implements raft.Storage.
func (l *groupLog) InitialState() (*pb.HardState, *pb.ConfState, error) {
	conf, err := decodeConf(l.start.Conf)
	if err != nil {
		return nil, nil, err
	}
	return l.hard.proto(), conf, nil
}

// FirstIndex implements raft.Storage.
func (l *groupLog) FirstIndex() (uint64, error) { return l.firstIndex(), nil }

// LastIndex implements raft.Storage.
func (l *groupLog) LastIndex() (uint64, error) { return l.lastIndex(), nil }

// Term implements raft.Storage.
func (l *groupLog) Term(i uint64) (uint64, error) {
	switch {
	case i == uint64(l.start.Index):
		return l.start.Term, nil
	case i < l.firstIndex():
		return 0, raft.ErrCompacted
	case i > l.lastIndex():
		return 0, raft.ErrUnavailable
	}
	for _, run := range slices.Backward(l.terms) {
		if run.first <= i {
			return run.term, nil
		}
	}
	panic(fmt.Sprintf("rsmraft: entry %d of group %d has no term", i, l.group))
}

// Snapshot implements raft.Storage. The data is empty: the file is sent beside
// the message.
func (l *groupLog) Snapshot() (*pb.Snapshot, error) {
	conf, err := decodeConf(l.snap.Conf)
	if err != nil {
		return nil, err
	}
	if l.snap.Index == 0 || !hasMembers(conf, l.members()) {
		// It has none, of a group that began here; or one from before there were
		// some of the members, which could not begin with it.
		l.wanted()
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	index := uint64(l.snap.Index)
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: &index, Term: &l.snap.Term, ConfState: conf}}, nil
}

// Entries implements raft.Storage.
func (l *groupLog) Entries(lo, hi, maxBytes uint64) ([]*pb.Entry, error) {
	switch {
	case lo < l.firstIndex():
		return nil, raft.ErrCompacted
	case hi > l.lastIndex()+1:
		return nil, raft.ErrUnavailable
	}
	var out []*pb.Entry
	size := uint64(0)
	for i := lo; i < hi; i++ {
		e, err := l.entry(i)
		if err != nil {
			return nil, fmt.Errorf("rsmraft: read entry %d of group %d: %w", i, l.group, err)
		}
		if size += entrySize(e); size > maxBytes && len(out) > 0 {
			break
		}
		out = append(out, e)
	}
	return out, nil
}

// entrySize is about what an entry takes in a message.
func entrySize(e *pb.Entry) uint64 { return uint64(len(e.GetData())) + 32 }

// entry returns an entry from the cache or the log.
func (l *groupLog) entry(i uint64) (*pb.Entry, error) {
	if n := uint64(len(l.cache)); n > 0 {
		if first := l.cache[0].GetIndex(); i >= first {
			return l.cache[i-first], nil
		}
	}
	r, err := l.readEntry(i)
	if err != nil {
		return nil, err
	}
	return r.entry(slices.Clone(r.data)), nil
}

// readEntry returns the record of an entry, valid until the next call.
func (l *groupLog) readEntry(i uint64) (record, error) {
	l.reader.log, l.reader.group = l.log, l.group
	return l.reader.entry(l.refs[i-l.firstIndex()], i)
}

// place returns the record of an entry that is durable, 0 if it is not known.
func (l *groupLog) place(i uint64) wal.Index {
	if i < l.firstIndex() || i > l.lastIndex() {
		return 0
	}
	return l.refs[i-l.firstIndex()]
}

func (l *groupLog) closeReader() error { return l.reader.close() }

// add notes an entry that became durable in a record of the host's log. Entries
// that were at its index and after it are void.
func (l *groupLog) add(index, term uint64, at wal.Index) {
	if index < l.firstIndex() || index > l.lastIndex()+1 {
		panic(fmt.Sprintf("rsmraft: entry %d of group %d after %d to %d", index, l.group, l.firstIndex(), l.lastIndex()))
	}
	l.refs = append(l.refs[:index-l.firstIndex()], at)
	l.stored = at
	for len(l.terms) > 0 && l.terms[len(l.terms)-1].first >= index {
		l.terms = l.terms[:len(l.terms)-1]
	}
	if n := len(l.terms); n == 0 || l.terms[n-1].term != term {
		l.terms = append(l.terms, termRun{index, term})
	}
	if n := len(l.cache); n > 0 && index <= l.cache[n-1].GetIndex() {
		l.cutCache(index)
	}
}

// keep puts an entry that was added into the cache.
func (l *groupLog) keep(e *pb.Entry) {
	if n := len(l.cache); n > 0 && l.cache[n-1].GetIndex()+1 != e.GetIndex() {
		l.cutCache(0)
	}
	l.cache = append(l.cache, e)
	l.cacheBytes += int64(entrySize(e))
	l.trim()
}

// cutCache removes the entries from index on.
func (l *groupLog) cutCache(index uint64) {
	keep := len(l.cache)
	for keep > 0 && l.cache[keep-1].GetIndex() >= index {
		keep--
		l.cacheBytes -= int64(entrySize(l.cache[keep]))
	}
	clear(l.cache[keep:])
	l.cache = l.cache[:keep]
}

// setApplied notes how far the entries are applied: those before are needed by
// slow followers only.
func (l *groupLog) setApplied(index uint64) {
	l.applied = index
	l.trim()
}

// trim removes the oldest entries of a cache that is too large.
func (l *groupLog) trim() {
	n := 0
	for n < len(l.cache) && l.cacheBytes > l.maxCache && l.cache[n].GetIndex() <= l.applied {
		l.cacheBytes -= int64(entrySize(l.cache[n]))
		l.cache[n] = nil
		n++
	}
	l.cache = l.cache[n:]
}

// saved notes a new snapshot. Entries before the oldest one that is kept are not
// needed any more.
func (l *groupLog) saved(kept []rsm.State) {
	l.snap = kept[len(kept)-1]
	if len(kept) > 1 {
		l.whole = false
		l.compact(kept[0])
	}
}

// compact forgets the entries up to that of a state.
func (l *groupLog) compact(to rsm.State) {
	if to.Index <= l.start.Index || uint64(to.Index) > l.lastIndex() {
		return
	}
	l.refs = slices.Clone(l.refs[to.Index-l.start.Index:])
	l.start = to
	i := 0
	for i+1 < len(l.terms) && l.terms[i+1].first <= l.firstIndex() {
		i++
	}
	l.terms = l.terms[i:]
	for len(l.cache) > 0 && l.cache[0].GetIndex() < l.firstIndex() {
		l.cacheBytes -= int64(entrySize(l.cache[0]))
		l.cache = l.cache[1:]
	}
}

// restart begins the log anew after a state.
func (l *groupLog) restart(at rsm.State) {
	l.start = at
	l.refs, l.terms, l.void = nil, nil, false
	l.cutCache(0)
}

// encodeConf returns the form in which a configuration is kept with snapshots.
func encodeConf(c *pb.ConfState) []byte {
	b, err := marshal(c)
	if err != nil {
		panic(fmt.Sprintf("rsmraft: encode %v: %v", c, err))
	}
	return b
}

// hasMembers says whether a configuration has all members of another.
func hasMembers(c, other *pb.ConfState) bool {
	for _, ids := range [][]uint64{other.GetVoters(), other.GetLearners(), other.GetLearnersNext()} {
		for _, id := range ids {
			if !slices.Contains(c.GetVoters(), id) && !slices.Contains(c.GetLearners(), id) && !slices.Contains(c.GetLearnersNext(), id) {
				return false
			}
		}
	}
	return true
}

// decodeConf reads a configuration; none is the empty one.
func decodeConf(b []byte) (*pb.ConfState, error) {
	c := &pb.ConfState{}
	if err := unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("rsmraft: configuration: %w: %w", err, wal.ErrCorrupt)
	}
	return c, nil
}
