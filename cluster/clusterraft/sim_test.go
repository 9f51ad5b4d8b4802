package clusterraft_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"maru.example/cluster"
)

var (
	seeds = flag.Int("seeds", 1, "how many seeds the simulations try")
	first = flag.Uint64("seed", 1, "the first of them")
)

func forSeeds(t *testing.T, f func(t *testing.T, seed uint64)) {
	for i := range *seeds {
		seed := *first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { f(t, seed) })
	}
}

// TestGrowAndShrink takes a cluster from one node to five, and back to one that is
// not the first.
func TestGrowAndShrink(t *testing.T) {
	forSeeds(t, func(t *testing.T, seed uint64) {
		w := newWorld(t, seed, 4)
		w.load = true
		w.settle("one node")
		for n := 2; n <= 5; n++ {
			w.add(n, 0)
			if n != 4 { // this one comes with the fifth
				w.settle(fmt.Sprintf("%d nodes", n))
			}
		}
		for n := cluster.NodeID(1); n <= 4; n++ {
			w.remove(n)
			w.settle(fmt.Sprintf("without node %d", n))
			if s := w.state().Node(n).Status; s != cluster.Removed {
				t.Fatalf("node %d is %s", n, s)
			}
			w.run("its replicas are gone", func() bool { return len(w.nodes[n].host.Groups()) == 1 })
			w.nodes[n].Process.Kill()
		}
		if w.acked[1] == 0 {
			t.Error("there was no load")
		}
	})
}

// TestReplaceDeadNode replaces a node that died under load by one with its address.
func TestReplaceDeadNode(t *testing.T) {
	forSeeds(t, func(t *testing.T, seed uint64) {
		w := newWorld(t, seed, 4)
		w.add(2, 0)
		w.add(3, 0)
		w.load = true
		w.settle("three nodes")
		dead := cluster.NodeID(1 + seed%3)
		w.nodes[dead].crash()
		w.run("others lead", func() bool {
			for g := range w.partitions + 1 {
				if w.leader(cluster.GroupID(g)) == nil {
					return false
				}
			}
			return true
		})
		if got := w.add(4, dead).id; got != 4 {
			t.Fatalf("the new node is %d", got)
		}
		w.settle("it is replaced")
		if s := w.state().Node(dead).Status; s != cluster.Removed {
			t.Errorf("the dead node is %s", s)
		}
	})
}

// TestFaults lets nodes come, go and crash while messages are lost.
func TestFaults(t *testing.T) {
	forSeeds(t, func(t *testing.T, seed uint64) {
		w := newWorld(t, seed, 4)
		w.load = true
		w.add(2, 0)
		w.add(3, 0)
		w.settle("three nodes")
		w.net.Drop, w.net.Duplicate, w.net.Reorder = 0.01, 0.01, 0.02
		for round := range 4 {
			switch w.Rand.IntN(3) {
			case 0:
				w.add(10+round, 0)
			case 1:
				nodes := w.state().Nodes
				w.add(10+round, nodes[slices.IndexFunc(nodes, func(n cluster.Node) bool { return n.Status == cluster.Active })].ID)
			case 2:
				w.command(`{"version":1,"rebalance":{}}`)
			}
			for range 4 {
				w.idle(w.Between(0, 4*time.Second))
				n := w.nodes[cluster.NodeID(1+w.Rand.IntN(len(w.nodes)))]
				if n.Process.Dead() {
					continue
				}
				n.crash()
				w.idle(w.Between(0, 3*time.Second))
				n.start()
			}
			w.settle(fmt.Sprintf("round %d", round))
		}
	})
}

// TestLeaders moves a leader, and spreads leaders again.
func TestLeaders(t *testing.T) {
	w := newWorld(t, *first, 6)
	w.add(2, 0)
	w.add(3, 0)
	w.settle("three nodes")
	leads := func() map[cluster.NodeID]int {
		m := map[cluster.NodeID]int{}
		for g := 1; g <= w.partitions; g++ {
			m[w.leader(cluster.GroupID(g)).id]++
		}
		return m
	}
	if got := fmt.Sprint(leads()); got != "map[1:2 2:2 3:2]" {
		t.Errorf("leaders are %s", got)
	}
	for g := 1; g <= w.partitions; g++ {
		w.command(fmt.Sprintf(`{"version":1,"prefer":{"group":%d,"node":3}}`, g))
	}
	w.settle("all lead on node 3")
	if got := fmt.Sprint(leads()); got != "map[3:6]" {
		t.Errorf("leaders are %s", got)
	}
	w.command(`{"version":1,"rebalance":{}}`)
	w.settle("spread again")
	if got := fmt.Sprint(leads()); got != "map[1:2 2:2 3:2]" {
		t.Errorf("leaders are %s", got)
	}
}
