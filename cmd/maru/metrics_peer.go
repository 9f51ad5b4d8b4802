package main

import (
	"iter"
	"time"

	"maru.example/internal/telemetry"
	"maru.example/rsm/rsmpeer"
)

var nodeAndLane = [2]string{"node", "lane"}

// exposePeers adds the connections with the other nodes, if this node has a port for them.
func exposePeers(r *telemetry.Registry, n *node) {
	if n.network == nil {
		return
	}
	type m = rsmpeer.Metrics
	type lane = rsmpeer.LaneMetrics
	telemetry.Expose(r, "maru_peer", n.network.Metrics,
		telemetry.GaugeByTwo("connected", "1 while this node is connected to a peer, to send.", nodeAndLane, byLane(func(l *lane) float64 { return truth(l.Connected) })),
		telemetry.GaugeByTwo("receiving", "1 while a peer is connected to this node, to send.", nodeAndLane, byLane(func(l *lane) float64 { return truth(l.Receiving) })),
		telemetry.GaugeByTwo("queue_bytes", "Messages that wait to be sent.", nodeAndLane, byLane(func(l *lane) int64 { return l.QueueBytes })),
		telemetry.GaugeByTwo("round_trip_seconds", "Time to the answer to the last ping, with what stood before it.", nodeAndLane, byLane(func(l *lane) float64 { return l.RoundTrip.Seconds() })),
		telemetry.CounterByTwo("sent_bytes_total", "Bytes of messages sent.", nodeAndLane, byLane(func(l *lane) uint64 { return l.SentBytes })),
		telemetry.CounterByTwo("received_bytes_total", "Bytes of messages received.", nodeAndLane, byLane(func(l *lane) uint64 { return l.ReceivedBytes })),
		telemetry.CounterByTwo("sent_messages_total", "Messages sent.", nodeAndLane, byLane(func(l *lane) uint64 { return l.SentMessages })),
		telemetry.CounterByTwo("received_messages_total", "Messages received.", nodeAndLane, byLane(func(l *lane) uint64 { return l.ReceivedMessages })),
		telemetry.CounterByTwo("dropped_messages_total", "Messages that were not taken, or were lost with their connection.", nodeAndLane, byLane(func(l *lane) uint64 { return l.Dropped })),
		telemetry.CounterByTwo("connects_total", "Connections made, to send.", nodeAndLane, byLane(func(l *lane) uint64 { return l.Connects })),
		telemetry.CounterBy("refusals_total", "Answers of a peer that refused this node.", "node", refusals),
		telemetry.Counter("refused_total", "Connections of others that this node refused.", func(m m) uint64 { return m.Refused }),
		telemetry.Gauge("certificate_expires_timestamp_seconds", "When this node's certificate for other nodes ends, since 1970; 0 without one.", expires),
	)
}

// byLane gives a value of each lane of each peer.
func byLane[V any](value func(l *rsmpeer.LaneMetrics) V) func(rsmpeer.Metrics) iter.Seq2[[2]string, V] {
	return func(m rsmpeer.Metrics) iter.Seq2[[2]string, V] {
		return func(yield func([2]string, V) bool) {
			for i := range m.Peers {
				p := &m.Peers[i]
				if !yield([2]string{number(p.ID), rsmpeer.Raft.String()}, value(&p.Raft)) ||
					!yield([2]string{number(p.ID), rsmpeer.Bulk.String()}, value(&p.Bulk)) {
					return
				}
			}
		}
	}
}

func refusals(m rsmpeer.Metrics) iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for i := range m.Peers {
			if !yield(number(m.Peers[i].ID), m.Peers[i].Refusals) {
				return
			}
		}
	}
}

func expires(m rsmpeer.Metrics) float64 {
	if m.CertificateExpires.IsZero() {
		return 0
	}
	return float64(m.CertificateExpires.UnixNano()) / float64(time.Second)
}
