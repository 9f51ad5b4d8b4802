package cluster

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPlace(t *testing.T) {
	for _, tt := range []struct {
		name   string
		groups [][]NodeID
		nodes  []NodeID
		count  int
		want   [][]NodeID
	}{
		{"one node", [][]NodeID{nil, nil}, []NodeID{1}, 3, [][]NodeID{{1}, {1}}},
		{"a second", [][]NodeID{{1}, {1}}, []NodeID{1, 2}, 3, [][]NodeID{{2, 1}, {1, 2}}},
		{"a third", [][]NodeID{{2, 1}, {1, 2}, {1, 2}}, []NodeID{1, 2, 3}, 3, [][]NodeID{{2, 1, 3}, {3, 1, 2}, {1, 2, 3}}},
		{"all is well", [][]NodeID{{2, 1, 3}, {1, 2, 3}}, []NodeID{1, 2, 3}, 3, [][]NodeID{{2, 1, 3}, {1, 2, 3}}},
		{"a fourth", [][]NodeID{{1, 2, 3}, {2, 3, 1}, {3, 1, 2}, {1, 3, 2}}, []NodeID{1, 2, 3, 4}, 3, [][]NodeID{{4, 2, 3}, {3, 4, 1}, {2, 1, 4}, {1, 3, 2}}},
		{"one goes, one comes", [][]NodeID{{1, 2, 3}, {2, 3, 1}, {3, 1, 2}}, []NodeID{1, 2, 4}, 3, [][]NodeID{{4, 1, 2}, {2, 1, 4}, {1, 2, 4}}},
		{"fewer replicas", [][]NodeID{{1, 2, 3}, {2, 3, 1}, {3, 1, 2}}, []NodeID{1, 2, 3}, 1, [][]NodeID{{1}, {2}, {3}}},
		{"a metadata group of five nodes", [][]NodeID{{1, 2, 3}}, []NodeID{1, 2, 3, 4, 5}, 3, [][]NodeID{{1, 2, 3}}},
		{"its leader goes", [][]NodeID{{1, 2, 3}}, []NodeID{2, 3, 4, 5}, 3, [][]NodeID{{2, 3, 4}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, place(tt.groups, tt.nodes, tt.count)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPlaceProperties changes the nodes of a cluster again and again.
func TestPlaceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := make([][]NodeID, rapid.IntRange(1, 24).Draw(t, "groups"))
		count := rapid.SampledFrom([]int{1, 3, 5}).Draw(t, "count")
		var nodes []NodeID
		next := NodeID(1)
		for range rapid.IntRange(1, 10).Draw(t, "changes") {
			if len(nodes) > 1 {
				gone := rapid.IntRange(0, min(3, len(nodes)-1)).Draw(t, "gone")
				for range gone {
					i := rapid.IntRange(0, len(nodes)-1).Draw(t, "node")
					nodes = slices.Delete(nodes, i, i+1)
				}
			}
			for range rapid.IntRange(0, 4).Draw(t, "new") {
				nodes = append(nodes, next)
				next++
			}
			if len(nodes) == 0 {
				continue
			}
			before := clone(groups)
			groups = place(groups, nodes, count)
			if diff := cmp.Diff(groups, place(before, nodes, count)); diff != "" {
				t.Fatalf("another time it is another:\n%s", diff)
			}
			if again := place(groups, nodes, count); !cmp.Equal(again, groups) {
				t.Fatalf("what is placed well is placed anew: %v, then %v", groups, again)
			}
			checkPlaced(t, before, groups, nodes, count)
		}
	})
}

func clone(groups [][]NodeID) [][]NodeID {
	c := make([][]NodeID, len(groups))
	for i := range groups {
		c[i] = slices.Clone(groups[i])
	}
	return c
}

func checkPlaced(t *rapid.T, before, after [][]NodeID, nodes []NodeID, count int) {
	load, leads := map[NodeID]int{}, map[NodeID]int{}
	moved, size := 0, min(count, len(nodes))
	for g, replicas := range after {
		if len(replicas) != size {
			t.Fatalf("group %d has replicas on %v, want %d", g, replicas, size)
		}
		leads[replicas[0]]++
		for i, n := range replicas {
			if slices.Contains(replicas[:i], n) || !slices.Contains(nodes, n) {
				t.Fatalf("group %d has replicas on %v of %v", g, replicas, nodes)
			}
			load[n]++
			if !slices.Contains(before[g], n) {
				moved++
			}
		}
	}
	even(t, "replicas", nodes, load)
	even(t, "leaders", nodes, leads)
	if len(after) > 5 || len(nodes) > 5 {
		return
	}
	if least := leastMoves(before, nodes, size); moved > least+1 {
		t.Fatalf("%d replicas moved where %d do: %v, then %v on %v", moved, least, before, after, nodes)
	}
}

// leastMoves tries all even placements.
func leastMoves(before [][]NodeID, nodes []NodeID, size int) int {
	best, load := math.MaxInt, make([]int, len(nodes))
	var try func(g, moved int)
	try = func(g, moved int) {
		if moved >= best {
			return
		}
		if g == len(before) {
			if slices.Max(load)-slices.Min(load) <= 1 {
				best = moved
			}
			return
		}
		for set := range 1 << len(nodes) {
			if bits.OnesCount(uint(set)) != size {
				continue
			}
			here := 0
			for i, n := range nodes {
				if set>>i&1 == 1 {
					load[i]++
					if !slices.Contains(before[g], n) {
						here++
					}
				}
			}
			try(g+1, moved+here)
			for i := range nodes {
				load[i] -= set >> i & 1
			}
		}
	}
	try(0, 0)
	return best
}

func even(t *rapid.T, what string, nodes []NodeID, of map[NodeID]int) {
	least, most := of[nodes[0]], 0
	for _, n := range nodes {
		least, most = min(least, of[n]), max(most, of[n])
	}
	if most-least > 1 {
		t.Fatalf("%s are not spread evenly: %v", what, fmt.Sprint(of))
	}
}
