package rsmraft

import (
	"errors"
	"fmt"
	"path"

	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/rsm"
	"maru.example/vfs"
	"maru.example/wal"
)

// Seeding makes the directory of a node whose groups begin with states that were decided
// elsewhere, such as those of a backup. This node is the only member of each. There is no node to be
// opened before Finish has returned.
type Seeding struct {
	fs      vfs.FS
	dir     string
	id      NodeID
	runtime *Runtime
	groups  []*Seeded
}

// Seeded is a group that is being seeded. It is for one goroutine.
type Seeded struct {
	id      GroupID
	loop    rsm.Loop
	replica *rsm.Replica
	decided rsm.Decided // the last entry
}

// NewSeeding begins a directory, which must be empty or not be there.
func NewSeeding(fsys vfs.FS, dir string, id NodeID) (*Seeding, error) {
	if err := fsys.MkdirAll(path.Join(dir, groupsName)); err != nil {
		return nil, fmt.Errorf("rsmraft: make the directory %s: %w", dir, err)
	}
	for _, name := range []string{path.Join(dir, groupsName), path.Join(dir, logName)} {
		if names, err := fsys.List(name); err == nil && len(names) > 0 {
			return nil, fmt.Errorf("rsmraft: %s is not empty", name)
		}
	}
	return &Seeding{fs: fsys, dir: dir, id: id, runtime: NewRuntime()}, nil
}

// Group begins a group with a machine in its initial state, before the group's first entry. No record is kept of what the
// machine decides.
func (s *Seeding) Group(id GroupID, m rsm.Keeper) (*Seeded, error) {
	g := &Seeded{id: id, loop: s.runtime.NewLoop("apply")}
	var err error
	g.replica, err = rsm.OpenReplica(groupDir(s.dir, id), m, s.runtime, g.loop, s.runtime.NewLoop("disk"), &rsm.ReplicaOptions{
		FS: s.fs, SnapshotBytes: -1, Decided: func(d *rsm.Decided) error { g.decided = *d; return nil },
	})
	if err != nil {
		return nil, fmt.Errorf("rsmraft: group %d: %w", id, err)
	}
	conf := encodeConf(&pb.ConfState{Voters: []uint64{uint64(s.id)}})
	g.replica.Begin(rsm.State{Index: FirstEntry - 1, Term: 1, Conf: conf})
	s.groups = append(s.groups, g)
	return g, nil
}

// Do calls f where the machine may be looked at, and returns its error.
func (g *Seeded) Do(f func() error) error {
	done := make(chan error, 1)
	g.loop.Post(func() { done <- f() })
	return <-done
}

// Apply lets the machine decide the group's next entry, and returns it with what was decided, if the machine is a
// rsm.Recorder.
func (g *Seeded) Apply(d *rsm.Decided) (decided rsm.Decided, err error) {
	err = g.Do(func() error {
		if next := g.replica.State().Index + 1; d.Index != next {
			return fmt.Errorf("rsmraft: entry %d of group %d where %d is to follow", d.Index, g.id, next)
		}
		err := g.replica.Apply(&rsm.Committed{Index: d.Index, Term: d.Term, Data: d.Entry})
		decided = g.decided
		return err
	})
	return decided, err
}

// Finish makes all durable; the log, without which there is no node, last.
func (s *Seeding) Finish() error {
	var records []wal.Record
	add := func(r *record) { records = append(records, wal.Record{appendRecordHeader(nil, r), r.data}) }
	for _, g := range s.groups {
		saved := make(chan error, 1)
		g.loop.Post(func() { g.replica.Snapshot(func(err error) { saved <- err }) })
		if err := <-saved; err != nil {
			return fmt.Errorf("rsmraft: group %d: %w", g.id, err)
		}
		at := g.replica.State()
		add(&record{kind: recordSnapshot, group: g.id, term: at.Term, index: uint64(at.Index)})
		add(&record{kind: recordHardState, group: g.id, term: at.Term, index: uint64(at.Index)})
	}
	l, err := wal.Open(s.fs, path.Join(s.dir, logName), nil)
	if err != nil {
		return fmt.Errorf("rsmraft: begin the log: %w", err)
	}
	if len(records) > 0 {
		_, err = l.Append(records...)
	}
	return errors.Join(err, l.Close())
}

// Close lets everything go, finished or not.
func (s *Seeding) Close() {
	for _, g := range s.groups {
		_ = g.Do(func() error {
			g.replica.Close()
			return nil
		})
	}
	s.runtime.Close()
}
