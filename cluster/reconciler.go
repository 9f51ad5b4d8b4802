package cluster

import (
	"cmp"
	"errors"
	"log/slog"
	"slices"
	"time"

	"maru.example/rsm"
)

// Host is what a Reconciler needs of the node that it runs on. The functions return
// at once; done is called later, on any loop.
type Host interface {
	// Replicas returns how the node's replicas stand, in the order of the groups.
	Replicas() []Replica
	// StartChange makes the members of a group, which this node leads, those given.
	StartChange(id GroupID, voters, learners []NodeID, done func(error))
	// HandOver asks another voter to lead a group that this node leads.
	HandOver(id GroupID, to NodeID)
	// Remove removes this node's replica of a group, of which it was no member at
	// a committed point of the group's log. It refuses if the replica knows of a
	// later point.
	Remove(id GroupID, term, index uint64, done func(error))
	// Propose proposes a command of the metadata.
	Propose(data []byte, done func(error))
}

// ReconcilerOptions are the settings of a reconciler; nil means all defaults.
type ReconcilerOptions struct {
	// Interval is how often it looks; default 500 ms. The others are multiples.
	Interval time.Duration
	// MaxLag is how many entries a replica may be behind to count as caught up;
	// default 100.
	MaxLag uint64
	// HandOverPause is how long a node leads at least before it hands over to the
	// node that should lead; default 5 s. It doubles with each time that this
	// did not last, up to a hundred times as long.
	HandOverPause time.Duration
	// RemovePause is how long a replica stays that is not wanted; default 10 s.
	RemovePause time.Duration
	// Lacks says whether this node lacks something of what a group decided before its own log begins, which another
	// node may have: as long as it leads, members that go stay without a vote. Default: it never does.
	Lacks  func(GroupID) bool
	Logger *slog.Logger // default: discards
}

// Reconciler makes the groups that its node leads follow the metadata, one step at
// a time, and removes replicas that its node shall not have. There is one on each
// node. It keeps nothing that it needs: any other may go on where it stopped.
type Reconciler struct {
	node    NodeID
	machine *Machine
	host    Host
	loop    rsm.Loop
	options ReconcilerOptions

	// The rest is the loop's.
	stopped bool
	cancel  func()
	now     int // steps
	tasks   map[GroupID]*task
}

// task is what a reconciler remembers of a group.
type task struct {
	term      uint64 // that the rest is about
	since     int    // the node leads
	changing  bool
	reporting int               // until this step no report is made
	seen      Members           // at the step before
	joined    map[NodeID]uint64 // what was committed when a learner was seen first
	unwanted  int               // since when the replica is, plus one
	removing  bool

	handed int // when the leadership was handed over
	tries  int // how often that did not last
}

// NewReconciler returns a reconciler for a node, which does nothing until Start.
// The machine is the node's own.
func NewReconciler(node NodeID, m *Machine, h Host, loop rsm.Loop, o *ReconcilerOptions) *Reconciler {
	r := &Reconciler{node: node, machine: m, host: h, loop: loop, tasks: make(map[GroupID]*task)}
	if o != nil {
		r.options = *o
	}
	r.options.Interval = cmp.Or(r.options.Interval, 500*time.Millisecond)
	r.options.MaxLag = cmp.Or(r.options.MaxLag, 100)
	r.options.HandOverPause = cmp.Or(r.options.HandOverPause, 5*time.Second)
	r.options.RemovePause = cmp.Or(r.options.RemovePause, 10*time.Second)
	if r.options.Lacks == nil {
		r.options.Lacks = func(GroupID) bool { return false }
	}
	if r.options.Logger == nil {
		r.options.Logger = slog.New(slog.DiscardHandler)
	}
	return r
}

// Start begins to look after the groups.
func (r *Reconciler) Start() { r.loop.Post(r.step) }

// Stop ends it; a change under way goes on by itself. done is called when nothing
// more will be begun.
func (r *Reconciler) Stop(done func()) {
	r.loop.Post(func() {
		r.stopped = true
		if r.cancel != nil {
			r.cancel()
		}
		done()
	})
}

// steps returns how many steps a time takes, at least one.
func (r *Reconciler) steps(d time.Duration) int { return max(1, int(d/r.options.Interval)) }

// step looks at every group once.
func (r *Reconciler) step() {
	if r.stopped {
		return
	}
	r.cancel = r.loop.After(r.options.Interval, r.step)
	r.now++
	state := r.machine.State()
	if state.Cluster == "" {
		return
	}
	replicas := r.host.Replicas()
	for i := range replicas {
		t := r.task(&replicas[i])
		if replicas[i].Leads {
			t.unwanted = 0
			r.lead(state, &replicas[i], t)
		} else {
			r.follow(state, &replicas[i], t)
		}
	}
}

// task returns what is remembered of a group in the present term.
func (r *Reconciler) task(replica *Replica) *task {
	t := r.tasks[replica.Group]
	if t == nil {
		t = &task{}
		r.tasks[replica.Group] = t
	}
	if t.joined == nil || t.term != replica.Term {
		t.term, t.since, t.seen, t.joined = replica.Term, r.now, Members{}, map[NodeID]uint64{}
	}
	return t
}

// lead makes the next step for a group that this node leads.
func (r *Reconciler) lead(state *State, replica *Replica, t *task) {
	group := state.Group(replica.Group)
	if group == nil {
		return
	}
	r.report(group, replica, t)
	for _, n := range replica.Learners {
		if _, ok := t.joined[n]; !ok {
			t.joined[n] = replica.Commit
		}
	}
	for _, n := range replica.Voters {
		delete(t.joined, n)
	}
	if t.changing {
		return
	}
	voters, learners := state.Wanted(group.ID)
	p := &planner{
		node: r.node, replica: replica, voters: voters, learners: learners,
		caughtUp: func(p Peer) bool {
			return p.Active && !p.Full && p.Match >= t.joined[p.Node] && p.Match+r.options.MaxLag >= replica.Commit
		},
		stays: func(n NodeID) bool { s := state.Node(n); return s != nil && s.Status == Active },
		needed: func(n NodeID) bool {
			s := state.Node(n)
			return s != nil && s.Status != Removed && !s.Forced && r.options.Lacks(group.ID)
		},
	}
	switch next := p.plan(); next.kind {
	case stepNone:
	case stepChange:
		r.change(replica, next, t)
	case stepHandOver:
		r.handOver(replica, next.to, t)
	}
}

// change begins a change of members.
func (r *Reconciler) change(replica *Replica, next step, t *task) {
	r.options.Logger.Info("cluster: members change", "group", replica.Group, "voters", replica.Voters, "learners", replica.Learners,
		"next_voters", next.voters, "next_learners", next.learners)
	t.changing = true
	r.host.StartChange(replica.Group, next.voters, next.learners, func(err error) {
		r.loop.Post(func() {
			t.changing = false
			if err != nil {
				r.options.Logger.Info("cluster: members did not change, which is tried again", "group", replica.Group, "error", err)
			}
		})
	})
}

// The pause before a leadership is handed over again doubles this often at the
// most, and is forgotten after so many of the longest.
const (
	longestPause = 100
	forgetAfter  = 10
)

// handOver hands the leadership to another, if this is not too soon.
func (r *Reconciler) handOver(replica *Replica, to NodeID, t *task) {
	first := r.steps(r.options.HandOverPause)
	if t.handed > 0 && r.now-t.handed > forgetAfter*longestPause*first {
		t.tries = 0
	}
	if pause := min(first<<min(t.tries, 16), longestPause*first); r.now-max(t.since, t.handed) < pause {
		return
	}
	t.handed = r.now
	t.tries++
	r.options.Logger.Info("cluster: leadership is handed over", "group", replica.Group, "to", to)
	r.host.HandOver(replica.Group, to)
}

// reportPause is how many steps a reconciler waits to see its report in the
// metadata.
const reportPause = 4

// report tells the metadata which members the group has, when these have been the
// same for a step: by then those that are gone got nothing that is not committed.
// While they change, the change may be committed and not be seen yet: the report
// would be from a point that is too late for its members.
func (r *Reconciler) report(group *Group, replica *Replica, t *task) {
	m := Members{Term: replica.Term, Index: replica.Commit, Voters: replica.Voters, Learners: replica.Learners}
	same := t.seen.sameNodes(&m)
	t.seen = m
	if !same || t.changing || len(replica.Outgoing) > 0 || group.Actual.sameNodes(&m) || r.now < t.reporting {
		return
	}
	t.reporting = r.now + reportPause
	r.host.Propose(encode(command{Version: formatVersion, Report: &reportCommand{group.ID, m}}), func(err error) {
		if err != nil {
			r.options.Logger.Debug("cluster: members not reported, which is tried again", "group", group.ID, "error", err)
		}
	})
}

// sameNodes says whether the members are the same, at whatever point.
func (m *Members) sameNodes(o *Members) bool {
	return slices.Equal(m.Voters, o.Voters) && slices.Equal(m.Learners, o.Learners)
}

// follow removes a replica that its node shall not have, and has not as far as the
// group's leader reported.
func (r *Reconciler) follow(state *State, replica *Replica, t *task) {
	group := state.Group(replica.Group)
	if group == nil || state.MayHost(r.node, group.ID) || group.Actual.has(r.node) {
		t.unwanted = 0
		return
	}
	if t.unwanted == 0 {
		t.unwanted = r.now
	}
	if t.removing || r.now-t.unwanted < r.steps(r.options.RemovePause) {
		return
	}
	t.removing, t.unwanted = true, 0
	r.host.Remove(group.ID, group.Actual.Term, group.Actual.Index, func(err error) {
		r.loop.Post(func() {
			t.removing = false
			if err != nil && !errors.Is(err, rsm.ErrClosed) {
				r.options.Logger.Warn("cluster: a replica that is not wanted stays, and is removed later", "group", group.ID, "error", err)
			}
		})
	})
}
