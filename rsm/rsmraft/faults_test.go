package rsmraft_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"maru.example/rsm/rsmraft"
)

var (
	seeds = flag.Int("seeds", 20, "how many seeds TestFaults tries")
	first = flag.Uint64("seed", 1, "the first of them")
)

// TestFaults runs clusters in a world of faults, and then without any: what was
// acknowledged is there once, in the order of the answers, on every node; what was
// refused is not there; and what clients read and wrote is linearizable. At no
// moment has a term two leaders, or a place in the log two commands.
func TestFaults(t *testing.T) {
	for i := range *seeds {
		seed := *first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { faults(t, seed, 20*time.Second) })
	}
}

// TestFaultsWithoutRoom runs clusters whose disks become nearly full, beside all else.
func TestFaultsWithoutRoom(t *testing.T) {
	for i := range max(1, *seeds/2) {
		seed := *first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { faults(t, seed, 20*time.Second, noRoom) })
	}
}

// noRoom is a disk with less room than the reserve, or than half of it.
var noRoom = harm{"no room", func(tr *trouble, n *node) {
	n.Disk.SetFree(tr.options.ReserveBytes/int64(1+tr.Rand.IntN(2)) - 1)
	tr.At(tr.Between(0, 6*time.Second), n.feed)
}}

// TestSameSeedSameCourse runs the same seed twice: every message is the same, at
// the same time.
func TestSameSeedSameCourse(t *testing.T) {
	if a, b := faults(t, *first, 5*time.Second), faults(t, *first, 5*time.Second); a != b {
		t.Errorf("the traces are %x and %x", a, b)
	}
	if a, b := faults(t, 1, time.Second), faults(t, 2, time.Second); a == b {
		t.Errorf("two seeds have the trace %x", a)
	}
}

// faults runs a world of faults for some time, and returns its trace. It has those
// harms in any case, beside others.
func faults(t *testing.T, seed uint64, d time.Duration, always ...harm) uint64 {
	w := newWorld(t, seed, 0)
	if len(always) > 0 {
		w.options.ReserveBytes = rsmraft.MinReserveBytes(64 << 20)
	}
	w.options.SegmentBytes = 4 << (10 + w.Rand.IntN(5))
	w.options.SnapshotBytes = 1 << (10 + w.Rand.IntN(5))
	w.options.CacheBytes = 1 << (8 + 4*w.Rand.IntN(4))
	w.options.CutLog = w.Chance(0.4)
	for i := range 3 + 2*int(seed%2) {
		w.add(rsmraft.NodeID(i + 1))
	}
	w.grow(1)
	w.watch(1)
	c := &clients{w: w, refused: map[string]error{}}
	c.start()
	tr := newTrouble(c, w.Now()+d)
	tr.harms = append(tr.harms, always...)
	tr.stir()
	w.pass(d)

	w.net.Drop, w.net.Duplicate, w.net.Reorder, w.net.Late = 0, 0, 0, 0
	w.net.Mend()
	c.stopped = true
	for i := range len(w.nodes) {
		n := w.node(i)
		n.Hang, n.refuses = 0, nil
		n.FS.SetRule(nil)
		n.feed()
		n.Process.Resume()
		if n.Process.Dead() || n.host.Err() != nil {
			n.start()
		}
	}
	w.gather(1)
	var last *outcome
	w.run("a last command", func() bool {
		if l := w.leader(1); l != nil && (last == nil || last.done && last.err != nil) {
			last = l.propose(1, "last")
		}
		return last != nil && last.done && last.err == nil
	})
	w.run("all nodes have it", func() bool {
		for i := range len(w.nodes) {
			if l := w.node(i).lists[1]; l == nil || uint64(len(l.Batches)) < last.result {
				return false
			}
		}
		return true
	})
	c.check(last.result)
	return w.Trace()
}

// gather makes all nodes voters again, and again if a change that was under way makes
// them something else. A node whose log failed, maybe of a fault of before, is started.
func (w *world) gather(id rsmraft.GroupID) {
	for i := range len(w.nodes) {
		if n := w.node(i); n.host.Err() != nil {
			n.start()
		}
	}
	if l := w.leader(id); l != nil {
		g := l.host.Group(id)
		if s := g.Status(); !slices.Equal(s.Voters, w.ids()) && len(s.Outgoing) == 0 {
			g.StartChange(w.ids(), nil, func(error) {})
		}
	}
	w.At(100*time.Millisecond, func() { w.gather(id) })
}

// trouble does something to nodes and ways at random. Each seed has its own few
// kinds of faults, and more or less of them: where all come together, few things
// get far enough to go wrong (Groce and others, Swarm Testing, 2012).
type trouble struct {
	*world
	clients *clients
	end     time.Duration
	pause   time.Duration // the longest between two faults
	harms   []harm
}

// harm is a kind of fault.
type harm struct {
	name string
	do   func(tr *trouble, n *node)
}

func newTrouble(c *clients, end time.Duration) *trouble {
	w := c.w
	tr := &trouble{world: w, clients: c, end: end, pause: w.Between(100*time.Millisecond, 2*time.Second)}
	var names []string
	for len(tr.harms) == 0 {
		for _, h := range harms {
			if w.Chance(0.5) {
				tr.harms, names = append(tr.harms, h), append(names, h.name)
			}
		}
	}
	for _, p := range []struct {
		of   *float64
		most float64
	}{{&w.net.Drop, 0.1}, {&w.net.Duplicate, 0.1}, {&w.net.Reorder, 0.3}, {&w.net.Late, 0.02}} {
		if w.Chance(0.5) {
			*p.of = p.most * w.Rand.Float64()
		}
	}
	w.net.Latest = 3 * time.Second
	w.t.Logf("every %v at the most: %s; drop %.3f, duplicate %.3f, reorder %.3f, late %.3f", tr.pause, strings.Join(names, ", "),
		w.net.Drop, w.net.Duplicate, w.net.Reorder, w.net.Late)
	return tr
}

// stir goes on until the end.
func (tr *trouble) stir() {
	tr.At(tr.Between(0, tr.pause), func() {
		if tr.over() {
			return
		}
		for i := range len(tr.nodes) {
			if n := tr.node(i); !n.Process.Dead() && n.host.Err() != nil {
				tr.kill(n) // as a program does whose log failed
			}
		}
		n := tr.node(tr.Rand.IntN(len(tr.nodes)))
		if l := tr.leader(1); l != nil && (n.Process.Dead() || tr.Chance(0.3)) {
			n = l
		}
		if !n.Process.Dead() {
			tr.harms[tr.Rand.IntN(len(tr.harms))].do(tr, n)
		}
		tr.stir()
	})
}

// over says that there are to be no more faults.
func (tr *trouble) over() bool { return tr.clients.stopped || tr.Now() >= tr.end }

// soon calls f in a while, which may be a moment, unless the faults are over.
func (tr *trouble) soon(f func()) {
	most := 3 * time.Second
	if tr.Chance(0.5) {
		most = 50 * time.Millisecond
	}
	tr.At(tr.Between(0, most), func() {
		if !tr.over() {
			f()
		}
	})
}

// kill ends a process, which is started again soon.
func (tr *trouble) kill(n *node) {
	n.crash()
	tr.restart(n)
}

// restart starts the node again soon, or as soon as its process is dead.
func (tr *trouble) restart(n *node) {
	tr.soon(func() {
		if n.Process.Dead() {
			n.start()
		}
	})
}

// harms are the kinds of faults. Messages that are lost, late, doubled and out of
// order are the network's.
var harms = []harm{
	{"kill", (*trouble).kill},
	{"power failure", func(tr *trouble, _ *node) {
		for i := range len(tr.nodes) {
			tr.kill(tr.node(i))
		}
	}},
	{"torn write", func(tr *trouble, n *node) {
		n.Tear(1 + tr.Rand.IntN(40))
		tr.restart(n)
	}},
	{"failing disk", func(tr *trouble, n *node) { n.Fail(1 + tr.Rand.IntN(20)) }},
	{"slow disk", func(tr *trouble, n *node) {
		n.Hang = tr.Between(0, 3*time.Second)
		tr.soon(func() { n.Hang = 0 })
	}},
	{"way cut", func(tr *trouble, n *node) {
		from, to := n.ID, tr.node(tr.Rand.IntN(len(tr.nodes))).ID
		if tr.Chance(0.5) {
			from, to = to, from
		}
		tr.net.Cut(from, to, true)
		tr.soon(func() { tr.net.Cut(from, to, false) })
	}},
	{"node cut off", func(tr *trouble, n *node) {
		n.isolate(true)
		tr.soon(func() { n.isolate(false) })
	}},
	{"halves", func(tr *trouble, _ *node) {
		side := make([]bool, len(tr.nodes)+1)
		for i := range side {
			side[i] = tr.Chance(0.5)
		}
		for from := range tr.nodes {
			for to := range tr.nodes {
				tr.net.Cut(from, to, side[from] != side[to])
			}
		}
		tr.soon(tr.net.Mend)
	}},
	{"clock jump", func(tr *trouble, n *node) { n.Process.Skew = tr.Between(-time.Hour, time.Hour) }},
	{"pause", func(tr *trouble, n *node) {
		p := n.Process
		p.Pause()
		tr.soon(p.Resume)
	}},
	{"members", func(tr *trouble, _ *node) { tr.changeMembers() }},
	{"removal", func(tr *trouble, n *node) { tr.remove(n) }},
	{"leader transfer", func(tr *trouble, n *node) {
		if l := tr.leader(1); l != nil {
			l.host.Group(1).HandOver(n.ID)
		}
	}},
	{"snapshot", func(_ *trouble, n *node) {
		if g := n.host.Group(1); g != nil {
			g.StartSnapshot(func(error) {})
		}
	}},
	{"burst", func(tr *trouble, n *node) { tr.clients.burst(n, tr.Rand.IntN(100)) }},
}

// changeMembers makes nodes at random members or not, whatever state they are in.
// As where a cluster's placement is followed, the leader goes on voting, and one
// voter at the most ceases to, of at least three: see "Members" in DESIGN.md.
func (tr *trouble) changeMembers() {
	l := tr.leader(1)
	if l == nil {
		return
	}
	s := l.host.Group(1).Status()
	leaves := rsmraft.NodeID(0)
	if len(s.Voters) >= 3 && tr.Chance(0.7) {
		leaves = s.Voters[tr.Rand.IntN(len(s.Voters))]
	}
	var voters, learners []rsmraft.NodeID
	for _, id := range tr.ids() {
		stays := slices.Contains(s.Voters, id) && (id != leaves || id == l.ID)
		switch {
		case stays, id != leaves && tr.Chance(0.3):
			voters = append(voters, id)
		case tr.Chance(0.5):
			learners = append(learners, id)
		default:
			continue
		}
		tr.nodes[id].refuses = nil
	}
	l.host.Group(1).StartChange(voters, learners, func(error) {})
}

// remove removes the replica of a node that is no member any more, as the leader
// knows.
func (tr *trouble) remove(n *node) {
	l := tr.leader(1)
	if l == nil || l == n {
		return
	}
	s := l.host.Group(1).Status()
	if slices.Contains(slices.Concat(s.Voters, s.Outgoing, s.Learners), n.ID) {
		return
	}
	n.refuses = map[rsmraft.GroupID]bool{1: true}
	n.host.Remove(1, rsmraft.Point{Term: s.Term, Index: s.Commit}, func(error) {})
}
