package rsmraft

import (
	"time"

	"maru.example/rsm"
	"maru.example/wal"
)

// Metrics describes a replica since it was opened.
type Metrics struct {
	rsm.ReplicaMetrics
	QueueBytes int64  // proposals that wait or are under way now
	Refused    uint64 // proposals answered with rsm.ErrBusy
	Elections  uint64 // changes of leader that this replica has seen
	// Latency is how long the proposals took that came to this replica, from
	// callers or from replicas that sent them on, until they were committed and
	// answered. One clock is read for all that make up an entry, which therefore count as
	// long as the first of them.
	Latency Latencies
	// RecentLatency is that of the last 10 to 20 seconds.
	RecentLatency Latencies
	// Recovery is how long it took until the entries of the last run were
	// applied; RecoveredBatches how many batches they held.
	Recovery         time.Duration
	RecoveredBatches uint64
}

// Metrics returns counters and gauges.
func (g *Group) Metrics() Metrics {
	bytes, refused := g.queue.Stats()
	return Metrics{
		ReplicaMetrics: g.replica.Metrics(), QueueBytes: bytes, Refused: refused, Elections: g.elections.Load(),
		Latency: g.latency.load(), RecentLatency: g.latency.recent(),
		Recovery: time.Duration(g.recovery.took.Load()), RecoveredBatches: g.recovery.batches.Load(),
	}
}

// HostMetrics describes a node since it was opened.
type HostMetrics struct {
	FreeBytes int64 // on the disk, when last looked at
	// RefusesProposals says that this is less than the reserve, RefusesEntries that
	// it is less than half of it: replicas fall behind.
	RefusesProposals bool
	RefusesEntries   bool
	Log              wal.Metrics
}

// Metrics returns counters and gauges.
func (h *Host) Metrics() HostMetrics {
	s := shortage(h.shortage.Load())
	return HostMetrics{FreeBytes: h.free.Load(), RefusesProposals: s >= noProposals, RefusesEntries: s == noEntries, Log: h.log.Metrics()}
}
