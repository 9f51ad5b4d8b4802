package wallethook

import (
	"sync/atomic"
	"time"

	"maru.example/rsm"
	"maru.example/wallet"
)

type counts struct {
	delivered, failed, dead atomic.Uint64
}

// Metrics is what an engine counts.
type Metrics struct {
	Delivered uint64 // messages
	Failed    uint64 // attempts
	Dead      uint64 // messages that were given up
	Forked    int    // partitions of which nothing is sent: see Engine.Forked
	Webhooks  []WebhookMetrics
}

// WebhookMetrics is how far a webhook is behind, in the partitions that this node leads.
type WebhookMetrics struct {
	ID         wallet.WebhookID
	LagEntries uint64        // that are decided and not settled
	Lag        time.Duration // since the oldest event that is not delivered; 0 if none is known
}

// Metrics returns what has been counted since the start, and how far the webhooks are.
func (e *Engine) Metrics() Metrics {
	m := Metrics{Delivered: e.counts.delivered.Load(), Failed: e.counts.failed.Load(), Dead: e.counts.dead.Load(), Forked: len(e.Forked())}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range e.webhooks {
		m.Webhooks = append(m.Webhooks, e.lag(id))
	}
	return m
}

// lag returns how far a webhook is behind.
func (e *Engine) lag(id wallet.WebhookID) WebhookMetrics {
	m := WebhookMetrics{ID: id}
	for i := range e.partitions {
		l := e.lanes[laneID{id, uint16(i)}]
		if l == nil {
			continue
		}
		next, applied := rsm.Index(l.next.Load()), e.partitions[i].Applied()
		if next > 0 && applied >= next {
			m.LagEntries += uint64(applied - next + 1)
		}
		if at := l.waiting.Load(); at != 0 {
			m.Lag = max(m.Lag, time.Since(time.Unix(0, at)))
		}
	}
	return m
}
