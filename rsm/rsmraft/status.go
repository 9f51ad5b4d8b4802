package rsmraft

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"maru.example/rsm"
)

// Status is how a replica of a group stands.
type Status struct {
	Group    GroupID
	Node     NodeID
	Term     uint64
	Leader   NodeID // 0: none is known
	Leads    bool   // this replica does, and what earlier leaders committed is applied
	Commit   rsm.Index
	Applied  rsm.Index // up to Commit
	Voters   []NodeID  // of the configuration that is applied
	Outgoing []NodeID  // of a change under way: voters until it is done
	Learners []NodeID
	Peers    []Peer // what a leader knows of the others
	// Sending are the snapshots on their way to others, by node; Receiving is the
	// one on its way to this replica, nil if there is none.
	Sending   []SnapshotProgress
	Receiving *SnapshotProgress
	// NoMajority says that no leader has been known for longer than elections take: a
	// majority of the replicas is away from this one.
	NoMajority bool
}

// SnapshotProgress is how far a snapshot is on its way from one node to another.
type SnapshotProgress struct {
	Peer  NodeID // to or from which it goes
	Index rsm.Index
	Bytes int64 // that are there, also from a transfer before that was broken off
	Of    int64 // 0: not known yet
}

// Peer is what a leader knows of another replica.
type Peer struct {
	Node    NodeID
	Match   rsm.Index // the last entry that it is known to have
	State   string    // probe, replicate or snapshot
	Active  bool      // it was heard of within one or two election timeouts
	Full    bool      // it takes no entries, as it has no room for them
	Learner bool
}

// Status returns the status as it was when it last changed; of Peers, Commit,
// NoMajority and snapshots, as of the last tick.
func (g *Group) Status() Status {
	s := *g.status.Load()
	s.Applied = min(s.Commit, g.replica.Applied())
	return s
}

// publish makes the status known.
func (g *Group) publish() {
	s := &Status{Group: g.id, Node: g.host.id, Term: g.term, Leader: g.lead, NoMajority: g.missesMajority(), Leads: g.leads && g.settled}
	conf := g.conf()
	s.Voters, s.Outgoing = nodes(conf.GetVoters()), nodes(conf.GetVotersOutgoing())
	s.Learners = nodes(append(slices.Clone(conf.GetLearners()), conf.GetLearnersNext()...))
	if g.raw != nil {
		s.Commit = rsm.Index(g.raw.BasicStatus().GetCommit())
		s.Sending, s.Receiving = g.transfer.progress()
		if g.leads {
			g.raw.WithProgress(func(id uint64, kind raft.ProgressType, p tracker.Progress) {
				_, full := g.full[NodeID(id)]
				s.Peers = append(s.Peers, Peer{
					Node: NodeID(id), Match: rsm.Index(p.Match), State: stateName(p.State), Full: full,
					Active: g.hears(id), Learner: kind == raft.ProgressTypeLearner,
				})
			})
			slices.SortFunc(s.Peers, func(a, b Peer) int { return cmp.Compare(a.Node, b.Node) })
		}
	}
	g.status.Store(s)
}

func stateName(s tracker.StateType) string {
	switch s {
	case tracker.StateProbe:
		return "probe"
	case tracker.StateReplicate:
		return "replicate"
	case tracker.StateSnapshot:
		return "snapshot"
	}
	return fmt.Sprintf("state(%d)", s)
}

func nodes(ids []uint64) []NodeID {
	out := make([]NodeID, len(ids))
	for i, id := range ids {
		out[i] = NodeID(id)
	}
	slices.Sort(out)
	return out
}

// sortedKeys returns the keys of a map in order, so that a simulation goes through
// them in the same order every time.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// raftLogger gives what the library has to say to the log of the program.
type raftLogger struct {
	to    *slog.Logger
	group GroupID
}

var _ raft.Logger = raftLogger{}

func (l raftLogger) say(level slog.Level, format string, v ...any) {
	ctx := context.Background()
	if !l.to.Enabled(ctx, level) {
		return
	}
	if format != "" {
		l.to.Log(ctx, level, "raft", "group", l.group, "text", fmt.Sprintf(format, v...))
		return
	}
	l.to.Log(ctx, level, "raft", "group", l.group, "text", fmt.Sprint(v...))
}

// What the library has to say is for those who look for an error in it; what
// operators want to know the group says itself.

func (l raftLogger) Debug(...any)                {}
func (l raftLogger) Debugf(string, ...any)       {}
func (l raftLogger) Info(v ...any)               { l.say(slog.LevelDebug, "", v...) }
func (l raftLogger) Infof(f string, v ...any)    { l.say(slog.LevelDebug, f, v...) }
func (l raftLogger) Warning(v ...any)            { l.say(slog.LevelDebug, "", v...) }
func (l raftLogger) Warningf(f string, v ...any) { l.say(slog.LevelDebug, f, v...) }
func (l raftLogger) Error(v ...any)              { l.say(slog.LevelError, "", v...) }
func (l raftLogger) Errorf(f string, v ...any)   { l.say(slog.LevelError, f, v...) }
func (l raftLogger) Fatal(v ...any)              { panic(contradiction(fmt.Sprint(v...))) }
func (l raftLogger) Fatalf(f string, v ...any)   { panic(contradiction(fmt.Sprintf(f, v...))) }
func (l raftLogger) Panic(v ...any)              { panic(contradiction(fmt.Sprint(v...))) }
func (l raftLogger) Panicf(f string, v ...any)   { panic(contradiction(fmt.Sprintf(f, v...))) }

// contradiction is what the library panics with when what it is told cannot be true.
type contradiction string

// conf returns the configuration that is applied.
func (g *Group) conf() *pb.ConfState {
	if g.members == nil {
		c, err := decodeConf(g.log.start.Conf)
		if err != nil {
			panic(err) // it was read before
		}
		g.members = c
	}
	return g.members
}
