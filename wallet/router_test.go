package wallet

import (
	"testing"
	"time"

	"maru.example/rsm"
)

// awayLog is the log of a partition that has no leader. It runs what is posted at
// once.
type awayLog struct{ PartitionLog }

func (awayLog) ApplyLoop() rsm.Loop      { return atOnce{} }
func (awayLog) StartRead(fn func(error)) { fn(rsm.ErrNoLeader) }

type atOnce struct{}

func (atOnce) Post(f func()) { f() }
func (atOnce) After(_ time.Duration, f func()) (stop func()) {
	f()
	return func() {}
}

// TestLookUpFailsOnce lets a piece look for accounts in two partitions that have no
// leader: it fails once, so that the batch goes on to wait for its other pieces.
func TestLookUpFailsOnce(t *testing.T) {
	parts := make([]*Partition, 3)
	for i := range parts {
		parts[i] = NewPartition(uint16(i), 3, func() uint64 { return 1 })
		parts[i].Log = awayLog{}
	}
	b := &routed{s: newService(parts, nil), ctx: t.Context(), header: Header{Kind: KindTransfersByName, Count: 3}, left: 2, size: 1}
	b.done = func([]byte, rsm.Position, error) { t.Error("the batch was answered without its other piece") }
	p := &piece{b: b, to: parts[0], kind: KindCrossTransfersByName}
	for _, partition := range []uint16{1, 2} {
		to := local(partition, 3, 0)
		p.commands = append(p.commands, AppendTransfer(nil, &Transfer{ID: TransactionID{1}, From: "a", To: to, Amount: 1, Currency: 1}))
		p.places = append(p.places, len(p.places))
	}
	p.begin(false)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left != 1 || b.err == nil {
		t.Errorf("%d pieces are left with the error %v, want 1 and one", b.left, b.err)
	}
}
