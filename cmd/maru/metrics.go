package main

import (
	"context"
	"iter"
	"time"

	"maru.example/internal/httpd"
	"maru.example/internal/telemetry"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

// metricsTimeout bounds the wait for the machine's metrics.
const metricsTimeout = 5 * time.Second

// exposeMetrics adds what the log and the wallet count to a registry.
func exposeMetrics(r *telemetry.Registry, n *node) {
	exposeLog(r, n)
	exposeGroups(r, n)
	exposePartitions(r, n)
	exposePeers(r, n)
	exposeHistory(r, n)
	exposeArchive(r, n)
	exposeStore(r, n)
	exposePast(r, n)
	telemetry.ExposeErr(r, "maru_wallet", func() (wallet.Metrics, error) {
		ctx, cancel := context.WithTimeout(context.Background(), metricsTimeout)
		defer cancel()
		return n.wallet.Load().Metrics(ctx)
	},
		telemetry.CounterBy("decided_total", "Transfers by decision, with those replayed at the start.", "code", decidedByCode),
		telemetry.Counter("repeated_total", "Of the transfers decided, those answered from memory.", func(m wallet.Metrics) uint64 { return m.Repeated }),
		telemetry.Gauge("accounts", "Accounts of all tenants.", func(m wallet.Metrics) uint64 { return m.Accounts }),
		telemetry.Gauge("balances", "Balances of all accounts.", func(m wallet.Metrics) uint64 { return m.Balances }),
		telemetry.Gauge("transactions", "Transaction ids that are remembered.", func(m wallet.Metrics) uint64 { return m.Transactions }),
		telemetry.Gauge("holds", "Open holds.", func(m wallet.Metrics) uint64 { return m.Holds }),
		telemetry.Gauge("tenants", "Tenants.", func(m wallet.Metrics) uint64 { return m.Tenants }),
		telemetry.Gauge("table_bytes", "Memory of the wallet's tables.", func(m wallet.Metrics) uint64 { return m.TableBytes }),
		telemetry.Gauge("old_ids", "Transaction ids on the disk.", func(m wallet.Metrics) uint64 { return m.Old.IDs }),
		telemetry.Gauge("old_id_files", "Files of transaction ids that are in use.", func(m wallet.Metrics) uint64 { return m.Old.Runs }),
		telemetry.Gauge("old_id_memory_bytes", "Memory for transaction ids on the disk.", func(m wallet.Metrics) uint64 { return m.Old.Bytes }),
		telemetry.Counter("old_id_lookups_total", "Looks at the disk for a transaction id.", func(m wallet.Metrics) uint64 { return m.Old.Lookups }),
		telemetry.Counter("old_id_lookups_vain_total", "Of those, the ones for an id that was never seen.", func(m wallet.Metrics) uint64 { return m.Old.FalsePositives }),
		telemetry.Counter("old_id_pages_total", "Pages that those looks read.", func(m wallet.Metrics) uint64 { return m.Old.PagesRead }),
		telemetry.Counter("old_ids_written_total", "Transaction ids written to the disk, again where files were merged.", func(m wallet.Metrics) uint64 { return m.Old.Written }),
		telemetry.Counter("old_id_failures_total", "Times that writing transaction ids to the disk failed, and is tried again.", func(m wallet.Metrics) uint64 { return m.Old.Failures }),
	)
}

// exposePartitions adds what only the replica of a partition knows.
func exposePartitions(r *telemetry.Registry, n *node) {
	telemetry.Expose(r, "maru_partition", func() []partitionMetrics {
		ctx, cancel := context.WithTimeout(context.Background(), metricsTimeout)
		defer cancel()
		return n.partitions(ctx)
	},
		telemetry.GaugeByTwo("transfers_in_flight", "Transfers to other partitions that are under way, by the phase in which this node's replica of the paying partition has them.",
			[2]string{"partition", "phase"}, transfersByPhase),
	)
}

// decidedByCode gives the transfers by the name of their code.
func decidedByCode(m wallet.Metrics) iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for _, c := range wallet.Codes() {
			if c != wallet.Undecided && !yield(c.String(), m.Decided[c]) {
				return
			}
		}
	}
}

// logMetrics are those of the node's log and, together, of its replicas.
type logMetrics struct {
	rsmraft.Metrics
	rsmraft.HostMetrics
}

func (n *node) logMetrics() logMetrics {
	host := n.host.Load()
	all := logMetrics{HostMetrics: host.Metrics()}
	for _, g := range host.Groups() {
		m := g.Metrics()
		all.Batches += m.Batches
		all.Entries += m.Entries
		all.Refused += m.Refused
		all.Snapshots += m.Snapshots
		all.SnapshotFailures += m.SnapshotFailures
		all.SnapshotPause = max(all.SnapshotPause, m.SnapshotPause)
		all.SnapshotBytes += m.SnapshotBytes
		all.SnapshotIndex += m.SnapshotIndex
		all.Applied += m.Applied
		all.QueueBytes += m.QueueBytes
		all.Recovery = max(all.Recovery, m.Recovery)
		all.RecoveredBatches += m.RecoveredBatches
	}
	return all
}

func exposeLog(r *telemetry.Registry, n *node) {
	type m = logMetrics
	telemetry.Expose(r, "maru_log", n.logMetrics,
		telemetry.Counter("batches_total", "Batches of commands applied, with those replayed at the start.", func(m m) uint64 { return m.Batches }),
		telemetry.Counter("entries_total", "Entries applied, each of one or more batches.", func(m m) uint64 { return m.Entries }),
		telemetry.Counter("bytes_total", "Bytes written, with frames and headers.", func(m m) uint64 { return m.Log.Bytes }),
		telemetry.Counter("syncs_total", "Syncs to the disk.", func(m m) uint64 { return m.Log.Syncs }),
		telemetry.Counter("refused_total", "Proposals refused as too much was waiting.", func(m m) uint64 { return m.Refused }),
		telemetry.Counter("snapshots_total", "Snapshots written.", func(m m) uint64 { return m.Snapshots }),
		telemetry.Counter("snapshot_failures_total", "Snapshots that could not be written.", func(m m) uint64 { return m.SnapshotFailures }),
		telemetry.Gauge("snapshot_pause_seconds", "Longest time for which a snapshot held up writes.", func(m m) float64 { return m.SnapshotPause.Seconds() }),
		telemetry.Gauge("snapshot_bytes", "Size of the newest snapshot.", func(m m) int64 { return m.SnapshotBytes }),
		telemetry.Gauge("snapshot_index", "Index of the newest snapshot.", func(m m) uint64 { return uint64(m.SnapshotIndex) }),
		telemetry.Gauge("applied_index", "Index of the last entry applied.", func(m m) uint64 { return uint64(m.Applied) }),
		telemetry.Gauge("queue_bytes", "Proposals that wait or are under way.", func(m m) int64 { return m.QueueBytes }),
		telemetry.Gauge("size_bytes", "Size of the log on the disk.", func(m m) int64 { return m.Log.Size }),
		telemetry.Gauge("free_bytes", "Room on the disk.", func(m m) int64 { return m.FreeBytes }),
		telemetry.Gauge("refuses_proposals", "1 while the disk has less room than the reserve: no writes are taken here.", func(m m) float64 { return truth(m.RefusesProposals) }),
		telemetry.Gauge("refuses_entries", "1 while it has less than half of that: replicas here fall behind.", func(m m) float64 { return truth(m.RefusesEntries) }),
		telemetry.Gauge("recovery_seconds", "Time that the last start took to recover.", func(m m) float64 { return m.Recovery.Seconds() }),
		telemetry.Gauge("recovered_batches", "Batches that the last start replayed.", func(m m) uint64 { return m.RecoveredBatches }),
	)
}

// exposeConnections adds the connections of both ports, and the streams.
func exposeConnections(r *telemetry.Registry, http, stream *httpd.Listener, streams *walletgrpc.Server) {
	for prefix, l := range map[string]*httpd.Listener{"maru_http": http, "maru_stream": stream} {
		type m = httpd.ListenerMetrics
		telemetry.Expose(r, prefix, l.Metrics,
			telemetry.Gauge("connections", "Connections that are open.", func(m m) int64 { return m.Open }),
			telemetry.Counter("connections_refused_total", "Connections refused as too many were open.", func(m m) uint64 { return m.Refused }),
		)
	}
	telemetry.Expose(r, "maru_stream", streams.Metrics,
		telemetry.Gauge("streams", "Streams that count against --max-streams.", func(m walletgrpc.Metrics) int { return m.Streams }),
		telemetry.Counter("refused_total", "Streams refused as there were too many.", func(m walletgrpc.Metrics) uint64 { return m.Refused }),
	)
}
