package main

import (
	"context"
	"iter"
	"strconv"
	"sync"
	"time"

	"maru.example/cluster"
	"maru.example/cluster/clusterraft"
	"maru.example/wallet"
	"maru.example/wallet/walletraft"
)

// partitionMetrics are those of this node's replica of a partition.
type partitionMetrics struct {
	partition uint16
	wallet.Metrics
}

// partitions returns the metrics of the partitions of which this node has a replica
// that answers in time, in order.
func (n *node) partitions(ctx context.Context) []partitionMetrics {
	all := make([]*partitionMetrics, len(n.parts))
	var asked sync.WaitGroup
	for i, p := range n.parts {
		if _, err := n.logs[i].Replica(); err != nil {
			continue
		}
		asked.Go(func() {
			if m, err := p.Metrics(ctx); err == nil {
				all[i] = &partitionMetrics{uint16(i), m}
			}
		})
	}
	asked.Wait()
	var here []partitionMetrics
	for _, m := range all {
		if m != nil {
			here = append(here, *m)
		}
	}
	return here
}

// transfersByPhase gives the transfers between partitions that are under way, by the
// number of the paying partition and the name of the phase.
func transfersByPhase(all []partitionMetrics) iter.Seq2[[2]string, uint64] {
	return func(yield func([2]string, uint64) bool) {
		for _, m := range all {
			for _, phase := range wallet.Phases() {
				if !yield([2]string{strconv.Itoa(int(m.partition)), phase.String()}, m.InFlight[phase]) {
					return
				}
			}
		}
	}
}

// overviewTimeout bounds the wait for the partitions when the cluster is looked at:
// the rest is known at once.
const overviewTimeout = time.Second

// metadata is the cluster's with what the wallet knows of its groups.
type metadata struct {
	*clusterraft.Service
	node *node
}

// Overview returns how the cluster stands as this node sees it.
func (m metadata) Overview() *cluster.Overview {
	view := m.Service.Overview()
	ctx, cancel := context.WithTimeout(context.Background(), overviewTimeout)
	defer cancel()
	for _, p := range m.node.partitions(ctx) {
		counts := map[string]uint64{}
		for _, phase := range wallet.Phases() {
			if n := p.InFlight[phase]; n > 0 {
				counts[phase.String()] = n
			}
		}
		view.SetInFlight(cluster.GroupID(walletraft.Group(p.partition)), m.node.identity.Node, counts)
	}
	m.node.gatherer.show(view)
	if m.node.archive != nil {
		for _, a := range m.node.archive.metrics() {
			view.SetArchiveLost(cluster.GroupID(walletraft.Group(a.partition)), m.node.identity.Node, a.lost())
		}
	}
	return view
}
