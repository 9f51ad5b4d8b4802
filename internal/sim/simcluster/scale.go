package simcluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"time"

	"maru.example/cluster"
	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// ScaleOptions say what RunScale runs: a cluster in which nothing goes wrong.
type ScaleOptions struct {
	Nodes, Partitions int
	Cores             int  // of each node
	Shared            bool // by all nodes, which have one disk too: processes of one machine
	Protocol          cluster.Protocol
	Cross             int // per cent of the transfers are between two partitions
	Batch             int // transfers in a batch
	Transfers         int // in all
	// Rate is how many transfers a second are sent, whatever becomes of them; 0:
	// Clients send a batch each, and the next one when that is answered.
	Rate    int
	Clients int
}

// RunScale lets the clients of a cluster make transfers, and counts what that takes.
// Unlike in Run what happens takes time: see scalecost.go. A batch is paid in one
// partition, and sent to the node that leads it, as the client package does.
func RunScale(seed uint64, o *ScaleOptions) (report *ScaleReport, err error) {
	w := newScaleWorld(seed, o)
	defer w.End()
	defer func() {
		switch e := recover().(type) {
		case nil:
		case failure:
			err = e.err
		default:
			err = fmt.Errorf("at %v: panic: %v\n%s", w.Now(), e, debug.Stack())
		}
	}()
	w.found(o.Nodes)
	w.until("leaders where they should be", w.spread)
	w.load.openAccounts()
	w.load.run()
	return w.load.report(), nil
}

func newScaleWorld(seed uint64, o *ScaleOptions) *world {
	s := sim.New(seed)
	w := &world{World: s, seed: seed, net: sim.NewNetwork(s), calm: true, partitions: o.Partitions, config: cluster.DefaultConfig()}
	w.config.Protocol = o.Protocol
	w.sizes = sizes{recent: 8 << 20, snapshot: 1 << 40, segment: 64 << 20, queue: 64 << 20, entry: 1 << 20}
	w.pauses = pauses{handOver: 500 * time.Millisecond, remove: 500 * time.Millisecond}
	w.members = newMembers(w)
	w.load = &load{
		w: w, options: *o, disks: map[rsmraft.NodeID]time.Duration{}, tally: tally{last: map[*wallet.Machine]rsm.Index{}},
		accounts: make([][]wallet.Handle, o.Partitions), waiting: make([][]*scaleBatch, o.Partitions), open: make([]int, o.Partitions), flows: map[[2]int][2]string{},
	}
	if o.Shared {
		w.load.shared = w.NewCores(o.Cores)
	}
	w.net.Least, w.net.Most, w.net.Rate = netLeast, netMost, netRate
	w.net.Sent = w.load.sent
	return w
}

// spread says whether each group is led by the node that should lead it.
func (w *world) spread() bool {
	s := w.state()
	for _, g := range s.Groups {
		if l := w.leader(g.ID); l == nil || cluster.NodeID(l.ID) != g.Replicas[0] {
			return false
		}
	}
	return true
}

// Limits of the load.
const (
	accountsEach = 2000 // of a partition
	mostOpen     = 64   // batches of a partition at a time: more would not find room in its queue
)

// load is the clients of a cluster that is measured, and what they see.
type load struct {
	w        *world
	options  ScaleOptions
	shared   *sim.Cores                       // nil: each node has its own
	disks    map[rsmraft.NodeID]time.Duration // until when they write
	tally    tally
	accounts [][]wallet.Handle // by partition
	made     uint64            // transfers
	crossed  int

	waiting [][]*scaleBatch // by partition: for others to be answered
	open    []int           // by partition: batches that were sent and not answered
	sentAll time.Duration   // when the last batch was sent
	began   time.Duration
	logs    []uint64             // of each node then, bytes
	done    []*scaleBatch        // those that were answered
	flows   map[[2]int][2]string // at the end: the money from one partition to another, and back
}

// scaleBatch is a batch of transfers which one partition pays.
type scaleBatch struct {
	partition int
	data      []byte
	count     int
	made      time.Duration
	answered  time.Duration
	then      func() // called at the end
}

// openAccounts opens the accounts.
func (l *load) openAccounts() {
	w := l.w
	names := make([][]byte, w.partitions)
	for i, left := 0, w.partitions; left > 0; i++ {
		id := accountID(i)
		p := wallet.PartitionOf(wallet.DefaultTenant, id, uint16(w.partitions))
		if len(l.accounts[p]) == accountsEach {
			continue
		}
		names[p] = wallet.AppendAccount(names[p], &wallet.NewAccount{ID: id, Currency: usd, Min: wallet.Unlimited})
		if l.accounts[p] = append(l.accounts[p], 0); len(l.accounts[p]) == accountsEach {
			left--
		}
	}
	opened := 0
	for p := range l.accounts {
		data := append(wallet.AppendHeader(nil, wallet.Header{Kind: wallet.KindOpenAccounts, Count: accountsEach}), names[p]...)
		w.Go(func(*sim.Routine) {
			ctx := context.WithValue(context.Background(), deadline{}, w.Now()+patience)
			result, err := w.leader(cluster.GroupID(p+1)).submit(ctx, data)
			if err != nil {
				w.failf("open accounts: %w", err)
			}
			for i := range l.accounts[p] {
				o := wallet.ParseOpened(result[i*wallet.OpenedBytes:])
				if err := answered(o.Code, nil); err != nil {
					w.failf("open accounts: %w", err)
				}
				l.accounts[p][i] = o.Handle
			}
			opened++
		})
	}
	w.until("accounts", func() bool { return opened == w.partitions })
	w.idle(2 * time.Second) // until all replicas have applied that
}

// run makes the transfers, and waits until all are answered and have ended.
func (l *load) run() {
	w, o := l.w, &l.options
	l.forget()
	l.began = w.Now()
	batches := o.Transfers / o.Batch
	if o.Rate > 0 {
		gap := time.Duration(o.Batch) * time.Second / time.Duration(o.Rate)
		for i := range batches {
			w.At(time.Duration(i)*gap, func() { l.send(l.draw(i), nil) })
		}
	} else {
		next := 0
		var client func()
		client = func() {
			if next < batches {
				next++
				l.send(l.draw(next), client)
			}
		}
		for range o.Clients {
			client()
		}
	}
	w.until("answers", func() bool { return len(l.done) == batches })
	for before := uint64(0); before != l.tally.batches; { // what is confirmed after the answer
		before = l.tally.batches
		w.idle(200 * time.Millisecond)
	}
	l.even()
}

// forget lets the counts begin anew.
func (l *load) forget() {
	clear(l.tally.nodes)
	l.tally.traffic, l.tally.spent = [kinds]Traffic{}, [endWork]time.Duration{}
	l.tally.entries, l.tally.batches = 0, 0
	l.logs = nil
	for _, n := range l.w.nodes {
		n.Process.Cores.Busy = 0
		l.logs = append(l.logs, n.host.Metrics().Log.Bytes)
	}
}

// draw returns the number-th batch.
func (l *load) draw(number int) *scaleBatch {
	w, o := l.w, &l.options
	b := &scaleBatch{partition: number % o.Partitions, count: o.Batch, made: w.Now()}
	b.data = wallet.AppendHeader(make([]byte, 0, wallet.HeaderBytes+o.Batch*wallet.RecordBytes), wallet.Header{Kind: wallet.KindTransfers, Count: o.Batch})
	pick := func(p int) wallet.Handle { return l.accounts[p][w.Rand.IntN(accountsEach)] }
	for range o.Batch {
		l.made++
		to := b.partition
		if o.Partitions > 1 && w.Rand.IntN(100) < o.Cross {
			to = (to + 1 + w.Rand.IntN(o.Partitions-1)) % o.Partitions
			l.crossed++
		}
		t := wallet.HandleTransfer{From: pick(b.partition), To: pick(to), Amount: 1, Currency: usd}
		for t.To == t.From {
			t.To = pick(to)
		}
		binary.BigEndian.PutUint64(t.ID[8:], l.made)
		b.data = wallet.AppendHandleTransfer(b.data, &t)
	}
	return b
}

// send sends a batch, as soon as there is room for it in the queue of its partition.
func (l *load) send(b *scaleBatch, then func()) {
	b.then = then
	l.sentAll = b.made
	if l.shared != nil {
		l.shared.Work(time.Duration(b.count) * costClient)
	}
	if l.open[b.partition] >= mostOpen {
		l.waiting[b.partition] = append(l.waiting[b.partition], b)
		return
	}
	l.submit(b)
}

// submit sends a batch to the node that leads its partition.
func (l *load) submit(b *scaleBatch) {
	w := l.w
	l.open[b.partition]++
	n := w.leader(cluster.GroupID(b.partition + 1))
	if n == nil {
		n = w.nodes[w.Rand.IntN(len(w.nodes))] // it knows whom to wait for
	}
	w.At(w.net.Take(n.ID, len(b.data))+w.Between(netLeast, netMost), func() {
		n.Process.Run(func() {
			if err := n.wallet.Submit(context.Background(), &rsm.Proposal{Data: b.data, Done: func(result []byte, _ rsm.Position, err error) {
				l.answered(b, result, err)
			}}); err != nil {
				w.failf("submit: %w", err)
			}
		})
	})
}

// answered takes the answer to a batch.
func (l *load) answered(b *scaleBatch, result []byte, err error) {
	w := l.w
	if err != nil || len(result) != b.count {
		w.failf("%d results of %d transfers: %w", len(result), b.count, err)
	}
	for _, r := range result {
		// 2PC refuses what meets an account that another transfer has locked.
		if code := wallet.Result(r).Code(); code != wallet.Applied && (code != wallet.AccountLocked || l.options.Protocol != cluster.TwoPhases) {
			w.failf("a transfer is %v", code)
		}
	}
	b.answered, b.data = w.Now()+w.Between(netLeast, netMost), nil
	l.done = append(l.done, b)
	l.open[b.partition]--
	if waiting := l.waiting[b.partition]; len(waiting) > 0 {
		l.waiting[b.partition] = waiting[1:]
		l.submit(waiting[0])
	}
	if b.then != nil {
		w.At(b.answered-w.Now(), b.then)
	}
}

// even checks the books of all replicas: they balance, and all that left a partition has
// arrived in another one.
func (l *load) even() {
	w := l.w
	for _, n := range w.nodes {
		for p, part := range n.parts {
			if n.host.Group(rsmraft.GroupID(p+1)) == nil {
				continue
			}
			flows, err := part.Machine.Audit()
			if err != nil {
				w.failf("node %d: %w", n.ID, err)
			}
			for _, f := range flows {
				key := [2]int{min(p, int(f.Peer)), max(p, int(f.Peer))}
				out, in := f.Out, f.In
				if p > int(f.Peer) {
					out, in = in, out
				}
				known, ok := l.flows[key]
				if now := [2]string{out.String(), in.String()}; ok && known != now {
					w.failf("partitions %v: money that went one way and the other is %v here and %v there", key, known, now)
				} else {
					l.flows[key] = now
				}
			}
		}
	}
}
