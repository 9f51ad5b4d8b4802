package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"maru.example/internal/sqldb"
	"maru.example/internal/telemetry"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
	"maru.example/wallet/wallethook"
	"maru.example/wallet/wallethttp"
	"maru.example/wallet/walletsql"
)

// errSeveralNodes is why a node does not take webhooks.
var errSeveralNodes = fmt.Errorf("%w: this cluster has several nodes, which need a store that they share: start each with --store postgres://…", wallet.ErrWebhooksElsewhere)

// openWebhooks begins the deliveries of a node.
func openWebhooks(o *serveOptions, n *node) *wallethook.Engine {
	partitions := make([]wallethook.Partition, len(n.logs))
	for i := range n.logs {
		partitions[i] = n.hookPartition(uint16(i))
	}
	return wallethook.New(hookStore{n.side}, n.wallet.Load(), partitions, &wallethook.Options{
		Encode: func(ctx context.Context, tenant wallet.Tenant, m *wallet.WebhookMessage) (json.RawMessage, error) {
			return wallethttp.EventData(ctx, n.wallet.Load(), tenant, m)
		},
		Refuse: func() error {
			if !n.side.shared && !n.alone() {
				return errSeveralNodes
			}
			return nil
		},
		Busy:    n.followers.busy.Load,
		AnyHTTP: o.webhookHTTP, PublicOnly: o.webhookPublicOnly, Logger: n.logger,
	})
}

// hookPartition returns what an engine follows of a log.
func (n *node) hookPartition(number uint16) wallethook.Partition {
	l := n.logs[number]
	return wallethook.Partition{
		First: rsmraft.FirstEntry,
		Leads: func() bool {
			g, err := l.Replica()
			return err == nil && g.Status().Leads
		},
		Open: func(from rsm.Index) (wallethook.Source, error) {
			f, err := n.feed(number, from)
			if err != nil {
				return nil, err
			}
			return f, nil
		},
		Applied: func() rsm.Index {
			g, err := l.Replica()
			if err != nil {
				return 0
			}
			return g.Applied()
		},
	}
}

// hookStore is the side database as it is found by webhooks: not made before there is one.
type hookStore struct{ side *side }

var _ wallethook.Store = hookStore{}

func (s hookStore) ready(ctx context.Context) (*walletsql.Store, error) {
	store, err := s.side.ready(ctx)
	if errors.Is(err, sqldb.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", wallet.ErrStoreUnavailable, err)
	}
	return store, err
}

// Webhooks implements wallet.WebhookStore.
func (s hookStore) Webhooks(ctx context.Context) ([]wallet.Webhook, error) {
	if !s.side.written() {
		return nil, nil
	}
	store, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	return store.Webhooks(ctx)
}

// PutWebhook implements wallet.WebhookStore.
func (s hookStore) PutWebhook(ctx context.Context, w *wallet.Webhook, lanes []wallet.WebhookLane) error {
	store, err := s.ready(ctx)
	if err != nil {
		return err
	}
	return store.PutWebhook(ctx, w, lanes)
}

// DeleteWebhook implements wallet.WebhookStore.
func (s hookStore) DeleteWebhook(ctx context.Context, id wallet.WebhookID) error {
	store, err := s.ready(ctx)
	if err != nil {
		return err
	}
	return store.DeleteWebhook(ctx, id)
}

// WebhookLanes implements wallet.WebhookStore.
func (s hookStore) WebhookLanes(ctx context.Context, id wallet.WebhookID) ([]wallet.WebhookLane, error) {
	store, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	return store.WebhookLanes(ctx, id)
}

// SaveWebhook implements wallet.WebhookStore.
func (s hookStore) SaveWebhook(ctx context.Context, id wallet.WebhookID, p *wallet.WebhookProgress) error {
	store, err := s.ready(ctx)
	if err != nil {
		return err
	}
	return store.SaveWebhook(ctx, id, p)
}

// WebhookAttempts implements wallet.WebhookStore.
func (s hookStore) WebhookAttempts(ctx context.Context, id wallet.WebhookID, limit int) ([]wallet.WebhookAttempt, error) {
	store, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	return store.WebhookAttempts(ctx, id, limit)
}

// DeadLetters implements wallet.WebhookStore.
func (s hookStore) DeadLetters(ctx context.Context, id wallet.WebhookID, after string, limit int) ([]wallet.DeadLetter, error) {
	store, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	return store.DeadLetters(ctx, id, after, limit)
}

// RemoveDeadLetter implements wallet.WebhookStore.
func (s hookStore) RemoveDeadLetter(ctx context.Context, id wallet.WebhookID, message string) error {
	store, err := s.ready(ctx)
	if err != nil {
		return err
	}
	return store.RemoveDeadLetter(ctx, id, message)
}

// WebhookMark implements wallet.WebhookMarks.
func (s hookStore) WebhookMark(ctx context.Context, partition uint16) (m wallet.WebhookMark, err error) {
	if !s.side.written() {
		return m, nil
	}
	store, err := s.ready(ctx)
	if err != nil {
		return m, err
	}
	return store.WebhookMark(ctx, partition)
}

// MoveWebhookMark implements wallet.WebhookMarks.
func (s hookStore) MoveWebhookMark(ctx context.Context, partition uint16, from, to wallet.WebhookMark) error {
	store, err := s.ready(ctx)
	if err != nil {
		return err
	}
	return store.MoveWebhookMark(ctx, partition, from, to)
}

// checkWithin bounds the question at a start whether the log is the one that the database knows. What cannot be known then, the
// deliveries find out.
const checkWithin = 5 * time.Second

// hintForked says what to do where the database knows another course of the log.
const hintForked = "if another server has this wallet and its database, stop one of the two; if this directory is what goes on, " +
	"stop it and give it the database with `maru wallet take-store`, with --data and --store as here"

// checkWebhooks refuses to begin with a log that is not the one of which webhooks were told: nobody would be told the truth, until
// somebody has decided.
func (n *node) checkWebhooks(ctx context.Context, o *serveOptions) error {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	if err := n.webhooks.Check(ctx); err != nil {
		return failed(err, "if another server has this wallet and its database, stop that; if this directory is what goes on, give it the database: `maru wallet take-store --data "+o.data+"`, with --store as here")
	}
	return nil
}

// warnings says what somebody should see to although the node serves.
func (n *node) warnings() []string {
	all := n.archive.warnings()
	for _, err := range n.webhooks.Forked() {
		all = append(all, fmt.Sprintf("webhooks are told nothing: %v; %s", err, hintForked))
	}
	return all
}

// exposeWebhooks adds what the deliveries count.
func exposeWebhooks(r *telemetry.Registry, n *node) {
	type m = wallethook.Metrics
	telemetry.Expose(r, "maru_webhooks", n.webhooks.Metrics,
		telemetry.CounterBy("attempts_total", "Attempts to deliver a message.", "outcome", func(m m) iter.Seq2[string, uint64] {
			return func(yield func(string, uint64) bool) {
				_ = yield("delivered", m.Delivered) && yield("failed", m.Failed)
			}
		}),
		telemetry.Counter("dead_letters_total", "Messages that were given up.", func(m m) uint64 { return m.Dead }),
		telemetry.Gauge("forked_partitions", "Partitions of which nothing is told, as the database knows another course of their log.", func(m m) int { return m.Forked }),
		telemetry.Gauge("count", "Webhooks of all tenants.", func(m m) int { return len(m.Webhooks) }),
		telemetry.GaugeBy("lag_entries", "Entries that are decided and not settled, of the partitions that this node leads.", "webhook",
			ofWebhook(func(w *wallethook.WebhookMetrics) float64 { return float64(w.LagEntries) })),
		telemetry.GaugeBy("lag_seconds", "Age of the event that is being delivered.", "webhook",
			ofWebhook(func(w *wallethook.WebhookMetrics) float64 { return w.Lag.Seconds() })),
	)
}

func ofWebhook(value func(*wallethook.WebhookMetrics) float64) func(wallethook.Metrics) iter.Seq2[string, float64] {
	return func(m wallethook.Metrics) iter.Seq2[string, float64] {
		return labeled(m.Webhooks, func(w *wallethook.WebhookMetrics) string { return string(w.ID) }, value)
	}
}
