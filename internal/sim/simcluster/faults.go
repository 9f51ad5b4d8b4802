package simcluster

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"maru.example/cluster"
)

// faults lets things go wrong, each kind in some of the worlds.
type faults struct {
	w     *world
	kinds []*faultKind
	pause time.Duration // between two faults, at the most
}

// faultKind is something that can happen to a node.
type faultKind struct {
	name  string
	hurt  func(n *node)
	on    bool
	count int
}

func newFaults(w *world) *faults {
	f := &faults{w: w, pause: []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second}[w.Rand.IntN(3)]}
	f.kinds = []*faultKind{
		{name: "crash", hurt: func(n *node) { n.Process.Kill() }},
		{name: "power cut", hurt: f.powerCut},
		{name: "torn write", hurt: func(n *node) { n.Tear(1 + w.Rand.IntN(40)) }},
		{name: "disk error", hurt: func(n *node) { n.Fail(1 + w.Rand.IntN(40)) }},
		{name: "cut one way", hurt: func(n *node) { w.net.Cut(n.ID, f.other(n), true) }},
		{name: "cut off", hurt: f.isolate},
		{name: "split", hurt: f.split},
		{name: "cut off group", hurt: f.loseGroup},
		{name: "slow disk", hurt: func(n *node) { f.hang(n, 300*time.Millisecond) }},
		{name: "hanging disk", hurt: func(n *node) { f.hang(n, 3*time.Second) }},
		{name: "full disk", hurt: f.fill},
		{name: "slow loop", hurt: f.lag},
		{name: "pause", hurt: f.stopProcess},
		{name: "clock jump", hurt: func(n *node) { n.Process.Skew = w.Between(-time.Hour, time.Hour) }},
		{name: "leader transfer", hurt: f.transferLeaders},
	}
	for _, k := range f.kinds {
		k.on = w.Chance(0.5)
	}
	return f
}

// latest is how late messages may be.
const latest = 8 * time.Second

// start lets things go wrong from now on.
func (f *faults) start() {
	w := f.w
	if w.Chance(0.7) {
		w.net.Drop, w.net.Duplicate, w.net.Reorder = 0.03*w.Rand.Float64(), 0.03*w.Rand.Float64(), 0.1*w.Rand.Float64()
	}
	if w.Chance(0.4) {
		w.net.Late, w.net.Latest = 0.03*w.Rand.Float64(), w.Between(0, latest)
	}
	f.next()
	f.heal()
}

func (f *faults) next() {
	f.w.At(f.w.Between(0, f.pause), func() {
		if f.w.calm {
			return
		}
		f.hurt()
		f.next()
	})
}

// hurt lets one thing go wrong with a node that runs.
func (f *faults) hurt() {
	f.restartEnded()
	running, kind := f.w.running(), f.kinds[f.w.Rand.IntN(len(f.kinds))]
	if len(running) == 0 || !kind.on {
		return
	}
	kind.count++
	n := running[f.w.Rand.IntN(len(running))]
	if l := f.w.leader(cluster.GroupID(f.w.Rand.IntN(f.w.partitions + 1))); l != nil && f.w.Chance(0.5) {
		n = l
	}
	kind.hurt(n)
	f.restartEnded()
}

// heal mends the ways between nodes now and then.
func (f *faults) heal() {
	f.w.At(f.w.Between(500*time.Millisecond, 5*time.Second), func() {
		f.w.net.Mend()
		if !f.w.calm {
			f.heal()
		}
	})
}

// restartEnded starts the nodes again that have failed, in a while.
func (f *faults) restartEnded() {
	for _, n := range f.w.nodes {
		if n.lost || !n.ended() {
			continue
		}
		p := n.Process
		p.Kill() // as a program does whose log failed
		f.w.At(f.w.Between(time.Millisecond, 4*time.Second), func() {
			if n.Process == p && !n.lost {
				n.start()
			}
		})
	}
}

// powerCut ends all nodes at once.
func (f *faults) powerCut(*node) {
	for _, n := range f.w.running() {
		n.Process.Kill()
	}
}

// other returns a node at random.
func (f *faults) other(*node) nodeID { return f.w.nodes[f.w.Rand.IntN(len(f.w.nodes))].ID }

// isolate cuts all ways to and from a node, or one kind of them.
func (f *faults) isolate(n *node) {
	in, out := f.w.Chance(0.7), f.w.Chance(0.7)
	for _, o := range f.w.nodes {
		if o != n {
			f.w.net.Cut(n.ID, o.ID, out)
			f.w.net.Cut(o.ID, n.ID, in)
		}
	}
}

// split cuts the nodes into two parts.
func (f *faults) split(*node) {
	left := map[nodeID]bool{}
	for _, n := range f.w.nodes {
		left[n.ID] = f.w.Chance(0.5)
	}
	for _, n := range f.w.nodes {
		for _, o := range f.w.nodes {
			f.w.net.Cut(n.ID, o.ID, left[n.ID] != left[o.ID])
		}
	}
}

// groupAt is where a message between nodes has the number of its group: see
// docs/format/raft.md.
const groupAt = 4

// loseGroup loses the messages of one group for a while, as if its part of every
// process hung.
func (f *faults) loseGroup(*node) {
	group := uint32(f.w.Rand.IntN(f.w.partitions + 1))
	lose := func(_, _ nodeID, message []byte) bool { return binary.LittleEndian.Uint32(message[groupAt:]) == group }
	f.w.net.Lose = lose
	f.w.At(f.w.Between(0, 4*time.Second), func() { f.w.net.Lose = nil })
}

// hang lets a disk be slow for a while.
func (f *faults) hang(n *node, most time.Duration) {
	n.Hang = f.w.Between(0, most)
	f.w.At(f.w.Between(0, 3*time.Second), func() { n.Hang = 0 })
}

// fill leaves a disk less room than the reserve, or nearly none, for a while.
func (f *faults) fill(n *node) {
	n.Disk.SetFree([]int64{0, 100, 16 << 10, reserve / 2}[f.w.Rand.IntN(4)])
	f.w.At(f.w.Between(0, 4*time.Second), func() { n.Disk.SetFree(math.MaxInt64) })
}

// lag lets some of a process's loops wait for long, as if it had too few processors.
func (f *faults) lag(n *node) {
	n.Lags = []string{"", "group", "apply", "ticks", "saves", "apply 1", "node"}[f.w.Rand.IntN(7)]
	n.Lag = f.w.Between(0, []time.Duration{time.Millisecond, 20 * time.Millisecond, 300 * time.Millisecond}[f.w.Rand.IntN(3)])
	f.w.At(f.w.Between(0, 3*time.Second), func() { n.Lag = 0 })
}

// stopProcess pauses a process.
func (f *faults) stopProcess(n *node) {
	p := n.Process
	p.Pause()
	f.w.At(f.w.Between(0, 4*time.Second), p.Resume)
}

// transferLeaders lets another node lead what a node leads.
func (f *faults) transferLeaders(n *node) {
	to := f.other(n)
	for _, g := range n.host.Groups() {
		g.HandOver(to)
	}
}

// stop ends all that goes wrong, and starts what is down.
func (f *faults) stop() {
	w := f.w
	w.net.Drop, w.net.Duplicate, w.net.Reorder, w.net.Late, w.net.Lose = 0, 0, 0, 0, nil
	w.net.Mend()
	for _, n := range w.nodes {
		if n.lost {
			continue
		}
		n.Calm()
		n.Disk.SetFree(math.MaxInt64)
		if n.ended() {
			n.start()
		}
	}
}

// String says what went wrong how often.
func (f *faults) String() string {
	var all []string
	for _, k := range f.kinds {
		if k.count > 0 {
			all = append(all, fmt.Sprintf("%s %d", k.name, k.count))
		}
	}
	return strings.Join(all, ", ")
}
