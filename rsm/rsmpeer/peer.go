package rsmpeer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// A peer is what a network has for one peer at one address.
type peer struct {
	Peer
	network *Network
	links   [lanes]*link
	stop    context.CancelFunc

	mu      sync.Mutex
	trouble string     // why there is no connection, as logged
	refusal Refusal    // of the last attempt
	since   time.Time  // the trouble is the same
	level   slog.Level // at which it was logged
}

// report logs why there is no connection, unless it did since the last one. Of
// errors that are no refusals only the first is told: their texts differ.
func (p *peer) report(ctx context.Context, err error) {
	code, trouble := Accepted, err.Error()
	if refused, ok := errors.AsType[*refusedError](err); ok {
		code, trouble = refused.code, refused.text
		p.network.opts.Refused(p.ID, code, trouble)
	}
	p.mu.Lock()
	known := p.trouble != "" && p.refusal == code && (code == Accepted || p.trouble == trouble)
	if !known {
		p.since = time.Now()
	}
	level := slog.LevelWarn
	if code != Accepted {
		level = p.network.opts.level(code, p.since, slog.LevelError)
	}
	known = known && level <= p.level
	p.trouble, p.refusal, p.level = trouble, code, level
	p.mu.Unlock()
	logger := p.network.opts.Logger
	switch {
	case known:
	case code == Accepted:
		logger.WarnContext(ctx, "no connection to a peer; trying on", "peer", p.ID, "addr", p.Addr, "error", err)
	case level < slog.LevelError:
		logger.InfoContext(ctx, "a peer does not know this node yet; trying on", "peer", p.ID, "addr", p.Addr)
	default:
		logger.ErrorContext(ctx, "a peer does not fit this node; trying on", "peer", p.ID, "addr", p.Addr,
			"refusal", code.String(), "reason", trouble)
	}
}

// reportConnected logs a connection for sending.
func (p *peer) reportConnected(ctx context.Context, lane Lane) {
	p.mu.Lock()
	p.trouble, p.refusal = "", Accepted
	p.mu.Unlock()
	p.network.opts.Logger.InfoContext(ctx, "connected to a peer", "peer", p.ID, "addr", p.Addr, "lane", lane.String())
}

func (p *peer) metrics() PeerMetrics {
	m := PeerMetrics{Peer: p.Peer, Raft: p.links[Raft].metrics(), Bulk: p.links[Bulk].metrics()}
	for _, l := range p.links {
		m.Refusals += l.counts.refusals.Load()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m.Refusal, m.Trouble = p.refusal, p.trouble
	return m
}

func (l *link) metrics() LaneMetrics {
	messages, bytes := l.queue.size()
	return LaneMetrics{
		Connected:        l.connected.Load(),
		QueueBytes:       bytes,
		QueueMessages:    messages,
		SentBytes:        l.counts.sentBytes.Load(),
		SentMessages:     l.counts.sentMessages.Load(),
		ReceivedBytes:    l.counts.receivedBytes.Load(),
		ReceivedMessages: l.counts.receivedMessages.Load(),
		Dropped:          l.counts.dropped.Load(),
		Connects:         l.counts.connects.Load(),
		RoundTrip:        time.Duration(l.counts.roundTrip.Load()),
	}
}
