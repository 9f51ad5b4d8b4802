package simcluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"maru.example/cluster"
	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
)

type nodeID = rsmraft.NodeID

// Limits of a world's cluster.
const (
	leastNodes = 3
	mostNodes  = 6
)

// members adds, replaces and removes nodes.
type members struct {
	w    *world
	busy bool
	made int // incarnations
}

func newMembers(w *world) *members { return &members{w: w} }

// found makes a cluster of some nodes.
func (w *world) found(nodes int) {
	w.boot(1)
	init := fmt.Sprintf(`{"version":1,"init":{"cluster":"%032x","partitions":%d,"config":{"replicas":%d,"metadata_replicas":3,"protocol":"%s"},"node":%s}}`,
		1, w.partitions, w.config.Replicas, w.config.Protocol, w.members.newNode())
	w.Go(func(r *sim.Routine) {
		w.members.command(r, init)
		for range nodes - 1 {
			w.members.add(r, 0)
		}
	})
	w.until("a cluster", func() bool { return len(w.nodes) == nodes && w.members.settled() })
}

// start lets nodes come and go, in some of the worlds.
func (m *members) start() {
	w := m.w
	pause := []time.Duration{300 * time.Millisecond, time.Second, 5 * time.Second, time.Hour}[w.Rand.IntN(4)]
	if len(w.nodes) < leastNodes {
		pause = time.Second
	}
	w.Go(func(r *sim.Routine) {
		for {
			r.Sleep(w.Between(0, pause))
			if w.calm {
				return
			}
			m.busy = true
			m.change(r)
			m.busy = false
		}
	})
}

// newNode returns the JSON of a node with an empty disk.
func (m *members) newNode() string {
	m.made++
	return fmt.Sprintf(`{"incarnation":"%032x","addresses":{"peer":"node%d:7071","http":"","stream":""}}`, m.made, m.made)
}

// change changes something about the cluster.
func (m *members) change(r *sim.Routine) {
	w := m.w
	state := w.state()
	if state == nil {
		return
	}
	active := slices.DeleteFunc(slices.Clone(state.Nodes), func(n cluster.Node) bool { return n.Status != cluster.Active })
	some := active[w.Rand.IntN(len(active))].ID
	what := w.Rand.IntN(8)
	if len(active) < leastNodes {
		what = 0
	}
	switch what {
	case 0, 1:
		if len(active) < mostNodes {
			m.add(r, 0)
		}
	case 2:
		if len(active) > leastNodes {
			m.command(r, fmt.Sprintf(`{"version":1,"remove":{"node":%d}}`, some))
		}
	case 3:
		m.add(r, some)
	case 4:
		if len(active) >= leastNodes && m.asWanted() { // one disk at a time: another could be one too many
			m.lose(some)
			m.add(r, some)
		}
	case 5:
		g := state.Groups[w.Rand.IntN(len(state.Groups))]
		m.command(r, fmt.Sprintf(`{"version":1,"prefer":{"group":%d,"node":%d}}`, g.ID, g.Replicas[w.Rand.IntN(len(g.Replicas))]))
	case 6:
		m.command(r, `{"version":1,"rebalance":{}}`)
	case 7:
		m.command(r, fmt.Sprintf(`{"version":1,"configure":{"replicas":%d,"metadata_replicas":%d,"protocol":"%s"}}`,
			3+2*w.Rand.IntN(2), 3+2*w.Rand.IntN(2), w.config.Protocol))
	}
}

// lose destroys a node with its disk.
func (m *members) lose(id cluster.NodeID) {
	n := m.w.nodes[id-1]
	n.lost = true
	n.Process.Kill()
}

// add adds a node, in place of another one if replaces is not zero.
func (m *members) add(r *sim.Routine, replaces cluster.NodeID) {
	text := m.newNode()
	if replaces != 0 {
		text = text[:len(text)-1] + fmt.Sprintf(`,"replaces":%d}`, replaces)
	}
	var id cluster.NodeID
	answer := m.command(r, `{"version":1,"add":`+text+`}`)
	if replaces != 0 && answer == `{"code":"node_removed"}` {
		return // it left before, which nobody who runs knew yet
	}
	if _, err := fmt.Sscanf(answer, `{"code":"applied","node":%d}`, &id); err != nil {
		m.w.failf("add: %s", answer)
	}
	m.w.boot(id)
}

// command lets the metadata execute a command, again until there is an answer.
func (m *members) command(r *sim.Routine, text string) (answer string) {
	w := m.w
	for {
		if running := w.running(); len(running) > 0 {
			n := running[w.Rand.IntN(len(running))]
			g := n.host.Group(0)
			err := r.Wait(2*time.Second, func(end func(error)) {
				n.Process.Run(func() {
					if err := g.TrySubmit(context.Background(), &rsm.Proposal{Data: []byte(text), Done: func(result []byte, _ rsm.Position, err error) {
						answer = string(result)
						end(err)
					}}); err != nil {
						end(err)
					}
				})
			})
			if err == nil {
				return answer
			}
		}
		r.Sleep(w.Between(0, 200*time.Millisecond))
	}
}

// state returns the metadata of the node that knows most, nil if none knows it.
func (w *world) state() *cluster.State {
	var best *cluster.State
	for _, n := range w.running() {
		if s := n.metadata.State(); s.Cluster != "" && (best == nil || s.Revision > best.Revision) {
			best = s
		}
	}
	return best
}

// settled says that all is as wanted and nothing more will be changed. Nodes that
// were removed are switched off.
func (m *members) settled() bool { return !m.busy && m.asWanted() }

// asWanted says whether the members of all groups are those that the metadata wants.
func (m *members) asWanted() bool {
	w := m.w
	s := w.state()
	if s == nil {
		return false
	}
	for _, g := range s.Groups {
		l := w.leader(g.ID)
		if l == nil {
			return false
		}
		voters, learners := s.Wanted(g.ID)
		status := l.host.Group(rsmraft.GroupID(g.ID)).Status()
		if len(status.Outgoing) > 0 || !same(status.Voters, voters) || !same(status.Learners, learners) ||
			!same(g.Actual.Voters, voters) || !same(g.Actual.Learners, learners) {
			return false
		}
	}
	for _, n := range s.Nodes {
		switch n.Status {
		case cluster.Leaving:
			return false
		case cluster.Removed:
			if w.calm && !w.nodes[n.ID-1].lost {
				m.lose(n.ID)
			}
		case cluster.Active:
		}
	}
	return true
}

// same says whether two sets of nodes are the same.
func same[A, B ~uint64](a []A, b []B) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(id A) bool { return !slices.Contains(b, B(id)) })
}
