package main

import (
	"iter"
	"strconv"

	"maru.example/cluster"
	"maru.example/internal/telemetry"
	"maru.example/wallet/walletraft"
)

// gatheredPartition says how far a partition's past is here.
type gatheredPartition struct {
	partition uint16
	gathered
}

// states returns those of the replicas that there are.
func (g *gatherer) states() (all []gatheredPartition) {
	for i := range g.node.logs {
		if s, _ := g.state(uint16(i)); s.until > 0 {
			all = append(all, gatheredPartition{uint16(i), s})
		}
	}
	return all
}

// wants says whether other nodes may have something of a group's past that is not here, as far as is known: then they are
// not let go.
func (g *gatherer) wants(id cluster.GroupID) bool {
	if id == cluster.Metadata || g.cut {
		return false
	}
	partition := uint16(id - 1)
	one, replica := g.of.get(partition), g.node.logs[partition]
	if one == nil || one.suspect.Load() {
		return true
	}
	r, err := replica.Replica()
	if err != nil {
		return true
	}
	s, _ := g.state(partition)
	return s.until < r.Recorded() || (s.missing() > 0 || s.err != "") && !s.nobody
}

// show adds to how the cluster stands what this node has of the past.
func (g *gatherer) show(view *cluster.Overview) {
	for _, one := range g.states() {
		past := cluster.PastOverview{Missing: one.missing(), Nowhere: one.nobody, Error: one.err}
		if g.cut {
			past = cluster.PastOverview{Cut: true}
		}
		view.SetPast(cluster.GroupID(walletraft.Group(one.partition)), g.node.identity.Node, past)
	}
}

// exposePast adds what is known of the past.
func exposePast(r *telemetry.Registry, n *node) {
	of := func(value func(*gatheredPartition) float64) func([]gatheredPartition) iter.Seq2[string, float64] {
		return func(all []gatheredPartition) iter.Seq2[string, float64] {
			return labeled(all, func(s *gatheredPartition) string { return strconv.Itoa(int(s.partition)) }, value)
		}
	}
	type s = gatheredPartition
	missing := func(s *s) float64 {
		if n.gatherer.cut {
			return 0 // it is not wanted
		}
		return float64(s.missing())
	}
	telemetry.Expose(r, "maru_past", n.gatherer.states,
		telemetry.GaugeBy("missing_entries", "Entries of before this node's log that are to come from other nodes.", "partition", of(missing)),
		telemetry.GaugeBy("failing", "1 while other nodes do not give them, or have them not; `maru cluster status --json` says why.", "partition", of(func(s *s) float64 { return truth(s.err != "") })),
		telemetry.CounterBy("received_bytes_total", "Bytes of them that other nodes gave since the start.", "partition", of(func(s *s) float64 { return float64(s.bytes) })),
	)
}
