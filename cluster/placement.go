package cluster

import (
	"slices"
)

// place returns where the replicas of groups shall be, given where they are to be
// now. Each group gets count nodes, or all if there are fewer, each once, the
// first to lead. It is a function of its arguments' content alone; nodes are
// sorted. Replicas, and leaders, are spread evenly: no node has two more than
// another. Of the replicas on nodes that stay few move for that: step by step
// towards an even spread, which now and then is one more than the fewest possible.
func place(groups [][]NodeID, nodes []NodeID, count int) [][]NodeID {
	p := newPlacer(groups, nodes, min(count, len(nodes)))
	p.shrink()
	p.fill()
	p.balance()
	p.spreadLeaders()
	return p.groups
}

// placer is a placement in the making.
type placer struct {
	nodes  []NodeID
	count  int // replicas of each group
	groups [][]NodeID
	before [][]NodeID     // those replicas that were there and may stay
	load   map[NodeID]int // replicas
	leads  map[NodeID]int // groups that it is the first of
}

func newPlacer(groups [][]NodeID, nodes []NodeID, count int) *placer {
	p := &placer{nodes: nodes, count: count, load: map[NodeID]int{}, leads: map[NodeID]int{}}
	for _, replicas := range groups {
		stay := slices.DeleteFunc(slices.Clone(replicas), func(n NodeID) bool { return !slices.Contains(nodes, n) })
		p.before = append(p.before, slices.Clone(stay))
		p.groups = append(p.groups, stay)
		for _, n := range stay {
			p.load[n]++
		}
	}
	return p
}

// shrink removes replicas of groups that have too many, from the fullest nodes; of
// the equally full, the last in the list.
func (p *placer) shrink() {
	for g, replicas := range p.groups {
		for len(replicas) > p.count {
			worst := len(replicas) - 1
			for i := worst; i >= 0; i-- {
				if p.load[replicas[i]] > p.load[replicas[worst]] {
					worst = i
				}
			}
			p.load[replicas[worst]]--
			replicas = slices.Delete(replicas, worst, worst+1)
		}
		p.groups[g] = replicas
	}
}

// fill gives groups that have too few replicas more of them, on the emptiest nodes.
func (p *placer) fill() {
	for g := range p.groups {
		for len(p.groups[g]) < p.count {
			best := NodeID(0)
			for _, n := range p.nodes {
				if !slices.Contains(p.groups[g], n) && (best == 0 || p.load[n] < p.load[best]) {
					best = n
				}
			}
			p.groups[g] = append(p.groups[g], best)
			p.load[best]++
		}
	}
}

// balance moves replicas, one at a time from a node that has most to one that has
// fewest, until no two differ by more than one. There always is a group that is on
// the one and not on the other.
func (p *placer) balance() {
	for {
		most, least := p.nodes[0], p.nodes[0]
		for _, n := range p.nodes {
			if p.load[n] > p.load[most] {
				most = n
			}
			if p.load[n] < p.load[least] {
				least = n
			}
		}
		if p.load[most]-p.load[least] <= 1 {
			return
		}
		p.move(most, least)
	}
}

// move moves a replica. One that was not there before costs nothing; nor does a
// move back to where one was.
func (p *placer) move(from, to NodeID) {
	best, bestCost := -1, 0
	for g, replicas := range p.groups {
		if !slices.Contains(replicas, from) || slices.Contains(replicas, to) {
			continue
		}
		cost := 2
		if !slices.Contains(p.before[g], from) {
			cost--
		}
		if slices.Contains(p.before[g], to) {
			cost--
		}
		if best < 0 || cost < bestCost {
			best, bestCost = g, cost
		}
	}
	p.groups[best][slices.Index(p.groups[best], from)] = to
	p.load[from]--
	p.load[to]++
}

// spreadLeaders changes which replica is the first, in as few groups as needed.
// An even spread exists where the replicas are spread evenly: were each group to
// give an equal part of its leadership to each of its replicas, the nodes would
// have equal parts, rounded, and whole numbers can do what fractions can (the
// theorem of integral flows).
func (p *placer) spreadLeaders() {
	for g := range p.groups {
		i := p.heir(g)
		p.leads[p.groups[g][i]]++
		p.lead(g, p.groups[g][i])
	}
	for p.shiftLeader() {
	}
}

// heir returns the place of the replica of a group that should lead before the
// leaders are spread: the one that did, or of a group that lost it, the replica
// that leads least.
func (p *placer) heir(g int) int {
	replicas := p.groups[g]
	if len(p.before[g]) > 0 && replicas[0] == p.before[g][0] {
		return 0
	}
	best := 0
	for i, n := range replicas {
		if p.leads[n] < p.leads[replicas[best]] {
			best = i
		}
	}
	return best
}

// lead makes a node the first of a group.
func (p *placer) lead(g int, n NodeID) {
	i := slices.Index(p.groups[g], n)
	p.groups[g] = slices.Insert(slices.Delete(p.groups[g], i, i+1), 0, n)
}

// shiftLeader takes a group from a node that leads two more than another and lets
// the other lead one more, by a shortest chain of groups: each goes to the node that
// gives up the next. It returns false if there is nothing to do.
func (p *placer) shiftLeader() bool {
	for _, from := range p.nodes {
		via := map[NodeID]int{} // the group by which a node was reached
		queue := []NodeID{from}
		for len(queue) > 0 {
			n := queue[0]
			queue = queue[1:]
			if p.leads[n] <= p.leads[from]-2 {
				p.shift(from, n, via)
				return true
			}
			for g, replicas := range p.groups {
				if replicas[0] != n {
					continue
				}
				for _, next := range replicas[1:] {
					if _, ok := via[next]; !ok && next != from {
						via[next] = g
						queue = append(queue, next)
					}
				}
			}
		}
	}
	return false
}

// shift lets the groups of a chain be led by the next node of it.
func (p *placer) shift(from, to NodeID, via map[NodeID]int) {
	p.leads[from]--
	p.leads[to]++
	for n := to; n != from; {
		g := via[n]
		leader := p.groups[g][0]
		p.lead(g, n)
		n = leader
	}
}
