package simcluster

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
)

// checkFeeds reads the history of each partition on each of its nodes, from where it
// begins there: every entry has the same decision everywhere, and where a node's
// record ends, another follows, or it is up to date.
func (w *world) checkFeeds() {
	for p := range w.partitions {
		sums, group := map[rsm.Index]uint64{}, rsmraft.GroupID(p+1)
		wanted, _ := w.state().Wanted(cluster.GroupID(group))
		for _, id := range wanted {
			n := w.nodes[id-1]
			w.checkFeed(n, n.host.Group(group), sums)
		}
		if len(sums) == 0 {
			w.failf("no node has a history of partition %d", p)
		}
	}
}

// checkFeed reads the history of a replica.
func (w *world) checkFeed(n *node, g *rsmraft.Group, sums map[rsm.Index]uint64) {
	f, err := g.Feed(1)
	if err != nil {
		w.failf("node %d: %w", n.ID, err)
	}
	now, cancel := context.WithCancel(context.Background())
	cancel() // what is not there is not waited for
	for i, last := rsm.Index(1), g.Metrics().Applied; i <= last; {
		d, err := f.Next(now)
		if gap, ok := errors.AsType[*rsm.GapError](err); ok && gap.Next > i {
			i = gap.Next
			f.Seek(i)
			continue
		}
		if err != nil || d.Index != i {
			w.failf("node %d: the history of group %d at entry %d of %d: %d, %w", n.ID, g.ID(), i, last, d.Index, err)
		}
		sum := decidedSum(&d)
		if known, ok := sums[i]; ok && known != sum {
			w.failf("node %d has another history of group %d at entry %d", n.ID, g.ID(), i)
		}
		sums[i] = sum
		i++
	}
	if err := f.Close(); err != nil {
		w.failf("node %d: %w", n.ID, err)
	}
}

func decidedSum(d *rsm.Decided) uint64 {
	h := fnv.New64a()
	for _, n := range []uint64{d.Term, uint64(d.Time), uint64(len(d.Entry))} {
		h.Write(binary.LittleEndian.AppendUint64(nil, n))
	}
	h.Write(d.Entry)
	h.Write(d.Decision)
	return h.Sum64()
}
