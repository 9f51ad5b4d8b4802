package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"

	"maru.example/internal/telemetry"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
	"maru.example/wallet/walletpebble"
	"maru.example/wallet/walletraft"
)

// historyName is the directory of the history, which can be removed.
const historyName = "history"

// historian lets a node's history follow its replicas.
type historian struct {
	node  *node
	store *walletpebble.Store
}

// registerHistory adds the flags of the history.
func (o *serveOptions) registerHistory(f *pflag.FlagSet) {
	o.historyCache = 64 << 20
	f.BoolVar(&o.history, "history", true, "keep the history of accounts, to be asked for transfers, statements and balances of the past; it is made of the log, and can be removed")
	f.Var(&o.historyCache, "history-cache", "memory for what was read of the history, beside 192MiB for what was written last")
}

func openHistorian(o *serveOptions, n *node) (*historian, error) {
	h := &historian{node: n}
	dir := filepath.Join(o.data, historyName)
	var err error
	options := &walletpebble.Options{Busy: n.followers.busy.Load, CacheBytes: int64(o.historyCache), Logger: n.logger}
	if h.store, err = walletpebble.Open(dir, options); err != nil {
		return nil, failed(err, "the history is made of the log: it can be removed while the server does not run")
	}
	return h, nil
}

// follow implements follower. When the node ends, the store is closed as a whole, which takes so long as it may.
func (h *historian) follow(ctx context.Context, partition uint16) {
	if err := h.store.Follow(h.partition(h.node.logs[partition], partition)); err != nil {
		h.node.logger.ErrorContext(ctx, "what a partition decides is not taken up by the history", "partition", partition, "error", err)
		return
	}
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), errGone) {
		h.store.Leave(partition)
	}
}

// tend implements follower.
func (h *historian) tend() {}

// partition returns what the store follows of a log.
func (h *historian) partition(l *walletraft.Log, number uint16) walletpebble.Partition {
	return walletpebble.Partition{
		Number: number, First: rsmraft.FirstEntry,
		Open: func(from rsm.Index) (walletpebble.Source, error) {
			return h.node.feed(number, from)
		},
		Applied: func() rsm.Index {
			g, err := l.Replica()
			if err != nil {
				return 0
			}
			return g.Applied()
		},
		Waits: func(next rsm.Index) bool { return h.node.gatherer.lacks(number, next) },
		Keep: func(from rsm.Index) {
			g, err := l.Replica()
			if err == nil {
				err = g.Keep(historyName, from)
			}
			if err != nil {
				h.node.logger.Debug("the log is not told what the history needs", "partition", number, "error", err)
			}
		},
	}
}

func (h *historian) rebuild(ctx context.Context) error {
	if h == nil {
		return fmt.Errorf("%w: this server runs with --history=false", wallet.ErrHistoryUnavailable)
	}
	return h.store.Rebuild(ctx)
}

// complete lets the history of a partition begin anew if it begins later than what is here.
func (h *historian) complete(ctx context.Context, partition uint16) (err error) {
	first, err := h.store.Begins(partition)
	if err != nil || first <= rsmraft.FirstEntry {
		return err
	}
	f, err := h.node.localFeed(partition, first-1)
	if err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, pastPatience)
	_, err = f.Next(soon)
	cancel()
	if err = errors.Join(err, f.Close()); err != nil {
		if errors.Is(err, rsm.ErrGap) {
			return nil // nothing is before it
		}
		return err
	}
	h.node.logger.InfoContext(ctx, "what was decided before the history begins is here by now: it is made anew", "partition", partition)
	return h.store.RebuildPartition(ctx, partition)
}

func (h *historian) close() error {
	if h == nil {
		return nil
	}
	if err := h.store.Close(); err != nil {
		return errors.Join(errors.New("close the history"), err)
	}
	return nil
}

// exposeEvents adds the streams of events.
func exposeEvents(r *telemetry.Registry, h *wallethttp.Handler) {
	type m = wallethttp.EventMetrics
	telemetry.Expose(r, "maru_events", h.EventMetrics,
		telemetry.Gauge("readers", "Streams of events that are open.", func(m m) int { return m.Readers }),
		telemetry.Gauge("tenant_readers", "Of the streams that are open, those of the tenant that has the most.", func(m m) int { return m.OfOneTenant }),
		telemetry.Counter("dropped_total", "Streams of events that were dropped since their readers did not read.", func(m m) uint64 { return m.Slow }),
		telemetry.CounterBy("refused_total", "Streams of events refused as too many were open: of all tenants, or of the one that asked.", "limit", func(m m) iter.Seq2[string, uint64] {
			return func(yield func(string, uint64) bool) {
				_ = yield("all", m.Refused) && yield("tenant", m.TenantRefused)
			}
		}),
	)
}

// exposeHistory adds what the history counts.
func exposeHistory(r *telemetry.Registry, n *node) {
	if n.history == nil {
		return
	}
	type m = walletpebble.Metrics
	telemetry.Expose(r, "maru_history", n.history.store.Metrics,
		telemetry.Gauge("size_bytes", "Size of the history on the disk.", func(m m) uint64 { return m.Bytes }),
		telemetry.Counter("wiped_total", "Histories of another version or damaged that were made anew.", func(m m) uint64 { return m.Wiped }),
		telemetry.Counter("rebuilt_total", "Partitions whose history was begun anew.", func(m m) uint64 { return m.Rebuilt }),
		telemetry.GaugeBy("index", "Entry of the partition's log up to which the history goes.", "partition", ofPartition(func(p *walletpebble.PartitionMetrics) float64 { return float64(p.Index) })),
		telemetry.GaugeBy("lag_entries", "Entries that are decided here and not in the history.", "partition", ofPartition(func(p *walletpebble.PartitionMetrics) float64 { return float64(p.LagEntries) })),
		telemetry.GaugeBy("lag_seconds", "For how long the history has not been at the end of the log.", "partition", ofPartition(func(p *walletpebble.PartitionMetrics) float64 { return p.Lag.Seconds() })),
		telemetry.CounterBy("lines_total", "Changes of balances taken up since the start.", "partition", ofPartition(func(p *walletpebble.PartitionMetrics) float64 { return float64(p.Lines) })),
	)
}

func ofPartition(value func(*walletpebble.PartitionMetrics) float64) func(walletpebble.Metrics) iter.Seq2[string, float64] {
	return func(m walletpebble.Metrics) iter.Seq2[string, float64] {
		return labeled(m.Partitions, func(p *walletpebble.PartitionMetrics) string { return strconv.Itoa(int(p.Partition)) }, value)
	}
}
