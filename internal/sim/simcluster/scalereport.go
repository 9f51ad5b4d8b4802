package simcluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"maru.example/cluster"
)

// ScaleReport is what a run of RunScale took, from the first transfer to the end of
// the last one.
type ScaleReport struct {
	Trace     uint64 // two runs with the same took the same course
	Transfers int    // all were answered
	Crossings int    // of those, between partitions
	Rate      float64
	P50, P99  time.Duration // of a batch, from when it is made to its answer
	Nodes     []NodeReport  // in the order of their ids
	Traffic   map[string]Traffic
	Log       uint64                   // bytes of log of all nodes
	Written   uint64                   // with the zeros that fill up blocks
	CPU       map[string]time.Duration // of all nodes, by what for
	Entries   uint64                   // applied, on all replicas
	Batches   uint64                   // in those
	Cores     int                      // of a node
	Shared    bool                     // by all nodes
}

// NodeReport is one node's part.
type NodeReport struct {
	Leads, Replicas int    // of partitions
	Log             uint64 // bytes of records, with their frames
	Written         uint64 // bytes, with the zeros that fill up blocks
	Syncs           uint64
	Sent, Received  uint64 // bytes, from and to other nodes
	Decided         uint64 // commands that its machines applied
	Busy            time.Duration
}

// report returns what was counted. The rate is that of the answers from when a
// quarter of the time in which batches were made has passed to the end of that.
func (l *load) report() *ScaleReport {
	w, t := l.w, &l.tally
	r := &ScaleReport{
		Trace: w.Trace(), Transfers: int(l.made), Crossings: l.crossed, Entries: t.entries, Batches: t.batches,
		Traffic: map[string]Traffic{}, CPU: map[string]time.Duration{}, Cores: l.options.Cores, Shared: l.options.Shared,
	}
	var took []time.Duration
	from, counted := l.began+(l.sentAll-l.began)/4, 0
	for _, b := range l.done {
		took = append(took, b.answered-b.made)
		if b.answered > from && b.answered <= l.sentAll {
			counted += b.count
		}
	}
	slices.Sort(took)
	r.Rate = float64(counted) / (l.sentAll - from).Seconds()
	r.P50, r.P99 = took[len(took)/2], took[len(took)*99/100]
	for k, v := range t.traffic {
		r.Traffic[traffic(k).String()] = v
	}
	for k, v := range t.spent {
		r.CPU[work(k).String()] = v
	}
	state := w.state()
	for i, n := range w.nodes {
		s := t.nodes[n.ID]
		nr := NodeReport{
			Log: n.host.Metrics().Log.Bytes - l.logs[i], Written: s.Written, Syncs: s.Syncs,
			Sent: s.Sent, Received: s.Received, Decided: s.Decided, Busy: n.Process.Cores.Busy,
		}
		for _, g := range state.Groups {
			if g.ID == cluster.Metadata {
				continue
			}
			if w.leader(g.ID) == n {
				nr.Leads++
			}
			if slices.Contains(g.Replicas, cluster.NodeID(n.ID)) {
				nr.Replicas++
			}
		}
		r.Log += nr.Log
		r.Written += nr.Written
		r.Nodes = append(r.Nodes, nr)
	}
	return r
}

// Network returns the bytes that nodes sent to each other.
func (r *ScaleReport) Network() (bytes uint64) {
	for _, t := range r.Traffic {
		bytes += t.Bytes
	}
	return bytes
}

// Busy returns how long processors worked, on all nodes.
func (r *ScaleReport) Busy() (d time.Duration) {
	if r.Shared {
		return r.Nodes[0].Busy
	}
	for _, n := range r.Nodes {
		d += n.Busy
	}
	return d
}

// Skew returns how much more something is on the node that has most of it than on
// the average: 1 if it is the same everywhere.
func (r *ScaleReport) Skew(of func(n *NodeReport) float64) float64 {
	sum, most := 0.0, 0.0
	for i := range r.Nodes {
		v := of(&r.Nodes[i])
		sum += v
		most = max(most, v)
	}
	return most * float64(len(r.Nodes)) / sum
}

// String returns the figures for people.
func (r *ScaleReport) String() string {
	var b strings.Builder
	per := func(v uint64) float64 { return float64(v) / float64(r.Transfers) }
	perNode := func(v uint64) float64 { return per(v) * r.Rate / float64(len(r.Nodes)) / 1e6 }
	all := cmp.Or(r.Cores*len(r.Nodes), 1)
	if r.Shared {
		all = r.Cores
	}
	busy := r.Busy().Seconds() / float64(r.Transfers)
	fmt.Fprintf(&b, "%d transfers, %d between partitions; %.0f a second; a batch takes %v (p50), %v (p99)\n",
		r.Transfers, r.Crossings, r.Rate, r.P50.Round(100*time.Microsecond), r.P99.Round(100*time.Microsecond))
	fmt.Fprintf(&b, "CPU for a million: %.2f s, so %.1f of %d cores\n", busy*1e6, busy*r.Rate, all)
	for k := range endWork {
		fmt.Fprintf(&b, "  %-22s %.2f s\n", k, r.CPU[k.String()].Seconds()/float64(r.Transfers)*1e6)
	}
	fmt.Fprintf(&b, "log: %.1f bytes a transfer on all nodes; %.1f MB/s a node, %.1f MB/s with what fills up blocks\n",
		per(r.Log), perNode(r.Log), perNode(r.Written))
	fmt.Fprintf(&b, "network: %.1f bytes a transfer between nodes; %.1f MB/s a node\n", per(r.Network()), perNode(r.Network()))
	for k := range kinds {
		t := r.Traffic[k.String()]
		fmt.Fprintf(&b, "  %-20s %6.2f bytes and %.4f messages a transfer\n", k, per(t.Bytes), per(t.Messages))
	}
	fmt.Fprintf(&b, "%.4f entries and %.4f batches a transfer on each replica\n", per(r.Entries)/3, per(r.Batches)/3)
	for i, n := range r.Nodes {
		fmt.Fprintf(&b, "node %2d leads %2d of %2d partitions: %.1f MB of log in %d syncs, %.1f MB written; %.1f MB sent, %.1f MB received; %d commands; %.2f s of CPU\n",
			i+1, n.Leads, n.Replicas, mb(n.Log), n.Syncs, mb(n.Written), mb(n.Sent), mb(n.Received), n.Decided, n.Busy.Seconds())
	}
	return b.String()
}

func mb(bytes uint64) float64 { return float64(bytes) / 1e6 }
