package main

import (
	"iter"

	"maru.example/internal/telemetry"
	"maru.example/rsm/rsmraft"
)

// groupMetrics are those of one replica.
type groupMetrics struct {
	rsmraft.Metrics
	rsmraft.Status
}

func (n *node) groupMetrics() []groupMetrics {
	var groups []groupMetrics
	for _, g := range n.host.Load().Groups() {
		groups = append(groups, groupMetrics{g.Metrics(), g.Status()})
	}
	return groups
}

// exposeGroups adds how each replica stands, with the group's number as a label.
func exposeGroups(r *telemetry.Registry, n *node) {
	type m = *groupMetrics
	by := byGroup[float64]
	telemetry.Expose(r, "maru_group", n.groupMetrics,
		telemetry.GaugeBy("leads", "1 where this node leads the group.", "group", by(func(m m) float64 { return truth(m.Leads) })),
		telemetry.GaugeBy("leader", "Node that leads the group, 0 if none is known.", "group", by(func(m m) float64 { return float64(m.Leader) })),
		telemetry.GaugeBy("term", "Term of the group.", "group", by(func(m m) float64 { return float64(m.Term) })),
		telemetry.GaugeBy("commit_index", "Index of the last entry that is committed.", "group", by(func(m m) float64 { return float64(m.Commit) })),
		telemetry.GaugeBy("applied_index", "Index of the last entry that is applied.", "group", by(func(m m) float64 { return float64(m.Applied) })),
		telemetry.GaugeBy("apply_lag_entries", "Entries that are committed and not yet applied here.", "group", by(func(m m) float64 { return float64(m.Commit - m.Applied) })),
		telemetry.GaugeBy("queue_bytes", "Proposals that wait or are under way.", "group", by(func(m m) float64 { return float64(m.QueueBytes) })),
		telemetry.GaugeBy("snapshot_index", "Index of the newest snapshot.", "group", by(func(m m) float64 { return float64(m.SnapshotIndex) })),
		telemetry.CounterBy("leader_changes_total", "Changes of leader that this replica has seen.", "group", by(func(m m) float64 { return float64(m.Elections) })),
		telemetry.HistogramBy("proposal_duration_seconds", "Time from when a proposal came to this replica, from a client or a replica that sent it on, until it was committed and answered.",
			"group", byGroup(proposalDurations)),
		telemetry.GaugeByTwo("match_lag_entries", "Entries that a member is not known to have, where this node leads.", groupAndNode, peerLags),
		telemetry.GaugeByTwo("snapshot_sent_bytes", "How much was sent of a snapshot under way to a member.", groupAndNode, snapshots(sending, transferred)),
		telemetry.GaugeByTwo("snapshot_send_size_bytes", "Size of a snapshot under way to a member.", groupAndNode, snapshots(sending, size)),
		telemetry.GaugeByTwo("snapshot_received_bytes", "How much has come of a snapshot under way to this node from a member.", groupAndNode, snapshots(receiving, transferred)),
		telemetry.GaugeByTwo("snapshot_receive_size_bytes", "Size of a snapshot under way to this node from a member.", groupAndNode, snapshots(receiving, size)),
	)
}

var groupAndNode = [2]string{"group", "node"}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// byGroup gives a value of each group by its number.
func byGroup[V any](value func(m *groupMetrics) V) func([]groupMetrics) iter.Seq2[string, V] {
	return func(groups []groupMetrics) iter.Seq2[string, V] {
		return labeled(groups, func(m *groupMetrics) string { return number(m.Group) }, value)
	}
}

// labeled gives a value of each of several things, with its label.
func labeled[T, V any](all []T, label func(*T) string, value func(*T) V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for i := range all {
			if !yield(label(&all[i]), value(&all[i])) {
				return
			}
		}
	}
}

func proposalDurations(m *groupMetrics) telemetry.Histogram {
	h := telemetry.Histogram{Counts: m.Latency.Counts[:], Sum: m.Latency.Sum.Seconds()}
	for _, bound := range rsmraft.LatencyBounds() {
		h.Bounds = append(h.Bounds, bound.Seconds())
	}
	return h
}

// peerLags gives how far each member is behind.
func peerLags(groups []groupMetrics) iter.Seq2[[2]string, uint64] {
	return func(yield func([2]string, uint64) bool) {
		for i := range groups {
			m := &groups[i]
			for _, p := range m.Peers {
				if !yield([2]string{number(m.Group), number(p.Node)}, uint64(m.Commit-min(m.Commit, p.Match))) {
					return
				}
			}
		}
	}
}

// snapshots gives a value of those that are on their way in one direction.
func snapshots(which func(*groupMetrics) []rsmraft.SnapshotProgress, value func(*rsmraft.SnapshotProgress) int64) func([]groupMetrics) iter.Seq2[[2]string, int64] {
	return func(groups []groupMetrics) iter.Seq2[[2]string, int64] {
		return func(yield func([2]string, int64) bool) {
			for i := range groups {
				for _, s := range which(&groups[i]) {
					if !yield([2]string{number(groups[i].Group), number(s.Peer)}, value(&s)) {
						return
					}
				}
			}
		}
	}
}

func sending(m *groupMetrics) []rsmraft.SnapshotProgress { return m.Sending }

func receiving(m *groupMetrics) []rsmraft.SnapshotProgress {
	if m.Receiving == nil {
		return nil
	}
	return []rsmraft.SnapshotProgress{*m.Receiving}
}

func transferred(s *rsmraft.SnapshotProgress) int64 { return s.Bytes }

func size(s *rsmraft.SnapshotProgress) int64 { return s.Of }
