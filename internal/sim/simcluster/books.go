package simcluster

import (
	"encoding/binary"
	"hash/fnv"
	"io"
	"math/big"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// audited is a partition's machine on a node, whose books are looked at after each
// batch.
type audited struct {
	*wallet.Machine
	node      *node
	partition int
	at        position
}

// Restore implements rsm.Machine.
func (a *audited) Restore(r io.Reader) error {
	a.at = position{}
	return a.Machine.Restore(r)
}

// position is a batch of a partition's log.
type position struct {
	index rsm.Index
	batch int // of the entry at index, from 1
}

// Apply implements rsm.Machine.
func (a *audited) Apply(dst []byte, b rsm.Batch) []byte {
	before := len(dst)
	dst = a.Machine.Apply(dst, b)
	if a.at.index != b.Index {
		a.at = position{index: b.Index}
	}
	a.at.batch++
	a.node.w.books.note(a, b, dst[before:])
	return dst
}

// books are what the world knows of the partitions: what each batch was, and what
// it was answered, by the first replica that applied it; and the state after the
// newest one.
type books struct {
	w     *world
	parts []partBooks
}

type partBooks struct {
	batches map[position]uint64 // the sum over a batch and its results
	sums    map[position]uint64 // over the state after some of them
	newest  position
	flows   map[flowKey]wallet.Flow // after the newest
}

type flowKey struct {
	peer, tenant uint16
	currency     uint16
}

func newBooks(w *world) *books {
	b := &books{w: w}
	for range w.partitions {
		b.parts = append(b.parts, partBooks{batches: map[position]uint64{}, sums: map[position]uint64{}, flows: map[flowKey]wallet.Flow{}})
	}
	return b
}

// after says whether p comes after o.
func (p position) after(o position) bool {
	return p.index > o.index || p.index == o.index && p.batch > o.batch
}

// note checks the books of a replica after a batch. All replicas have the same
// batches and results at a position, whatever node they are on and however they got
// there; the books balance at each; and the newest states fit together.
func (b *books) note(a *audited, batch rsm.Batch, result []byte) {
	w, part := b.w, &b.parts[a.partition]
	flows, err := a.Audit()
	if err != nil {
		w.failf("node %d after %+v: %w", a.node.ID, a.at, err)
	}
	if at, some := a.NextExpiry(); some && int64(at)*1e6 <= batch.Time {
		w.failf("node %d after %+v: a hold until %d is open at %d", a.node.ID, a.at, at, batch.Time)
	}
	sum := sumOf(batch, result, a.Effects())
	if known, ok := part.batches[a.at]; ok && known != sum {
		w.failf("node %d has another batch or result at %+v of partition %d than the node that applied it first", a.node.ID, a.at, a.partition)
	}
	part.batches[a.at] = sum
	if a.at.index%sumEvery == 0 {
		b.sum(a)
	}
	if !a.at.after(part.newest) {
		return
	}
	part.newest = a.at
	clear(part.flows)
	for _, f := range flows {
		part.flows[flowKey{f.Peer, f.Tenant, uint16(f.Currency)}] = f
	}
	for _, f := range flows {
		b.compare(uint16(a.partition), f)
	}
	for _, tenant := range w.bank.tenants {
		for _, account := range a.Accounts(tenant) {
			w.bank.held(tenant, account.ID, account.Balances[0].Amount)
		}
	}
}

// sumEvery is how many entries there are from one whose state is compared to the next.
const sumEvery = 32

// sum compares the state of a replica with those of others at its position.
func (b *books) sum(a *audited) {
	part, sum := &b.parts[a.partition], a.Sum()
	if known, ok := part.sums[a.at]; ok && known != sum {
		b.w.failf("node %d has another state at %+v of partition %d than the node that was there first", a.node.ID, a.at, a.partition)
	}
	part.sums[a.at] = sum
}

func sumOf(b rsm.Batch, result, effects []byte) uint64 {
	h := fnv.New64a()
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(b.Time)))
	h.Write(b.Data)
	h.Write(result)
	h.Write(effects)
	return h.Sum64()
}

// compare compares the money from a partition to another one as both know it: none
// arrives that did not leave.
func (b *books) compare(partition uint16, f wallet.Flow) {
	there := b.parts[f.Peer].flows[flowKey{partition, f.Tenant, uint16(f.Currency)}]
	if more(there.In, f.Out) {
		b.w.failf("partition %d was credited %v from partition %d, which paid %v", f.Peer, there.In, partition, f.Out)
	}
	if more(f.In, there.Out) {
		b.w.failf("partition %d was credited %v from partition %d, which paid %v", partition, f.In, f.Peer, there.Out)
	}
}

// more says that a is more than b; nil is zero.
func more(a, b *big.Int) bool {
	switch {
	case a == nil:
		return false
	case b == nil:
		return a.Sign() > 0
	}
	return a.Cmp(b) > 0
}

// even says that no money is on its way between partitions.
func (b *books) even() bool {
	for p := range b.parts {
		for k, f := range b.parts[p].flows {
			there := b.parts[k.peer].flows[flowKey{uint16(p), k.tenant, k.currency}]
			if more(f.Out, there.In) || more(there.In, f.Out) {
				return false
			}
		}
	}
	return true
}

// equal says whether all replicas of each partition have applied the same. Their
// states must be the same then.
func (w *world) equal() bool {
	for p := range w.partitions {
		wanted, _ := w.state().Wanted(cluster.GroupID(p + 1))
		var first *node
		var applied rsm.Index
		for _, id := range wanted {
			n := w.nodes[id-1]
			if n.ended() || n.host.Group(rsmraft.GroupID(p+1)) == nil {
				return false
			}
			at := n.host.Group(rsmraft.GroupID(p + 1)).Metrics().Applied
			switch {
			case at < w.books.parts[p].newest.index, first != nil && at != applied:
				return false
			case first == nil:
				first, applied = n, at
			case n.parts[p].Machine.Sum() != first.parts[p].Machine.Sum():
				w.failf("nodes %d and %d have different states of partition %d", n.ID, first.ID, p)
			}
		}
	}
	return true
}
