package main

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"maru.example/cluster"
	"maru.example/internal/sqldb/sqltest"
	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// fiveNodes is a cluster in which a node has most partitions, not all.
type fiveNodes struct {
	*testCluster
	usd  money.Currency
	ids  []wallet.AccountID
	made int
}

// TestFiveNodes asks five nodes, with three replicas of each partition, for events, histories and references, and has a webhook
// delivered, while nodes that read, lead and deliver are killed.
func TestFiveNodes(t *testing.T) {
	var r hookReceiver
	t.Cleanup(r.start())
	f := &fiveNodes{
		testCluster: newTestCluster(t, 5, 3, "--store", sqltest.StartPostgres(t).Database(t), "--personal=false"),
		usd:         money.MustParseCurrency("USD"),
	}
	for i := range 6 {
		id := wallet.AccountID(fmt.Sprint("a", i))
		if _, code, err := f.client(0).OpenAccount(t.Context(), wallet.NewAccount{ID: id, Currency: f.usd, Min: wallet.Unlimited}); err != nil || code != wallet.Applied {
			t.Fatal(code, err)
		}
		f.ids = append(f.ids, id)
	}
	if _, err := f.client(4).CreateWebhook(t.Context(), &wallet.NewWebhook{URL: r.url, Kinds: []wallet.EventKind{wallet.Debit, wallet.Credit}}); err != nil {
		t.Fatal(err)
	}
	reader := &resumingReader{f: f}
	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() { reader.run(ctx) })
	defer reading.Wait()
	defer stop()
	f.wait("the stream begins", func(context.Context) error { return reader.has(0) })
	f.pay(12)
	for range 2 {
		f.kill(f.leaderOf(1, reader.node())) // who reads there goes on elsewhere
		f.pay(12)
		dead := f.leaderOf(2, 0) // who delivers
		if dead == f.gone() {
			dead = (dead + 1) % 5
		}
		f.start(f.gone())
		f.kill(dead)
		f.pay(12)
		f.start(dead)
		f.wait("every group is as it should be", f.asWanted)
	}
	f.wait("the stream has all", func(context.Context) error { return reader.has(2 * f.made) })
	stop()
	reading.Wait()
	reader.check(t)
	f.wait("the webhook has been told of all", func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.inOrder(2 * f.made)
	})
	for node := range f.nodes {
		f.checkPast(node)
	}
}

func (f *fiveNodes) client(node int) *wallethttp.Client { return f.nodes[node].clients.Load().http }

// gone returns the node that was killed and not started again.
func (f *fiveNodes) gone() int {
	for i, n := range f.nodes {
		select {
		case <-n.process.ended:
			return i
		default:
		}
	}
	return -1
}

// leaderOf returns the node that leads a group; or another one, if that is to be killed instead.
func (f *fiveNodes) leaderOf(group cluster.GroupID, instead int) (node int) {
	f.t.Helper()
	if instead > 0 {
		return instead
	}
	f.wait("the group has a leader", func(ctx context.Context) error {
		o, err := f.overview(ctx)
		if err == nil && o.Groups[group].Leader == 0 {
			err = fmt.Errorf("group %+v", o.Groups[group])
		}
		if err == nil {
			node = int(o.Groups[group].Leader) - 1
		}
		return err
	})
	return node
}

// pay makes transactions through any node, within partitions and between them, until each is applied.
func (f *fiveNodes) pay(n int) {
	f.t.Helper()
	for range n {
		from, to := f.ids[f.made%6], f.ids[(f.made+1+f.made/6%5)%6]
		v := &wallet.Transaction{ID: newTransactionID(time.Now()), Reference: fmt.Sprint("order-", f.made/6), Postings: []wallet.Posting{
			{Account: from, Currency: f.usd, Amount: -1}, {Account: to, Currency: f.usd, Amount: 1},
		}}
		try := f.made
		f.wait("a transaction is applied", func(ctx context.Context) error {
			try++
			one, cancel := context.WithTimeout(ctx, clusterTry)
			defer cancel()
			result, err := f.client(try%5).Transact(one, v)
			if err == nil && result.Code() != wallet.Applied {
				err = fmt.Errorf("%v", result.Code())
			}
			return err
		})
		f.made++
	}
}

// checkPast compares what a node says of each account's past, and of references, with what was made.
func (f *fiveNodes) checkPast(node int) {
	f.t.Helper()
	ctx, lines := f.t.Context(), 0
	for _, id := range f.ids {
		a, _, err := f.client(node).Account(ctx, id)
		if err != nil {
			f.t.Fatal(err)
		}
		r := &wallet.HistoryRequest{Account: id, At: math.MaxInt64, Lines: wallet.LineQuery{Currency: f.usd, To: time.Now().UnixNano(), Limit: wallet.MaxHistoryLines}}
		f.wait("the statement ends with the balance", func(ctx context.Context) error {
			s, code, err := f.client(node).HistoryStatement(ctx, r)
			if err == nil && (code != wallet.Applied || s.Opening != 0 || s.Closing != a.Balances[0].Amount) {
				err = fmt.Errorf("node %d, %s: %v, %+v; the balance is %v", node+1, id, code, s, a.Balances[0].Amount)
			}
			if err == nil {
				lines += len(s.Lines)
			}
			return err
		})
	}
	if lines != 2*f.made {
		f.t.Errorf("node %d has %d lines, want %d", node+1, lines, 2*f.made)
	}
	for i := range f.made / 6 {
		page, code, err := f.client(node).HistoryTransactions(ctx, &wallet.ReferenceRequest{Reference: fmt.Sprint("order-", i), Limit: wallet.MaxEvents})
		if err != nil || code != wallet.Applied || len(page.Transactions) != 6 {
			f.t.Errorf("node %d, reference %d: %d transactions, %v, %v, want 6", node+1, i, len(page.Transactions), code, err)
		}
	}
}

// resumingReader follows all events, and goes on at the next node behind the last one that it got when it loses one.
type resumingReader struct {
	f *fiveNodes

	mu     sync.Mutex
	at     int // node
	last   string
	events []wallethttp.Event
}

func (r *resumingReader) node() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *resumingReader) run(ctx context.Context) {
	from := wallethttp.EventsFrom{Time: 1}
	for ctx.Err() == nil {
		_ = r.f.client(r.node()).Follow(ctx, nil, from, func(e *wallethttp.Event) error { // it ends when the node does
			r.mu.Lock()
			defer r.mu.Unlock()
			r.last = e.ID
			r.events = append(r.events, *e)
			return nil
		})
		r.mu.Lock()
		r.at = (r.at + 1) % 5
		if from.After = r.last; from.After != "" {
			from.Time = 0
		}
		r.mu.Unlock()
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
		}
	}
}

// has says whether so many changes of balances have come, at least.
func (r *resumingReader) has(changes int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.changes(); len(r.events) == 0 || n < changes {
		return fmt.Errorf("%d of %d changes", n, changes)
	}
	return nil
}

func (r *resumingReader) changes() (n int) {
	for i := range r.events {
		if name := r.events[i].Name; name == wallet.Debit.String() || name == wallet.Credit.String() {
			n++
		}
	}
	return n
}

// check finds out whether each event came once, and in the order of its partition.
func (r *resumingReader) check(t *testing.T) {
	t.Helper()
	last := map[uint16]wallet.LineKey{}
	for i := range r.events {
		e := &r.events[i]
		if before, ok := last[e.Partition]; ok && before.Compare(e.LineKey) >= 0 {
			t.Errorf("partition %d: %+v came after %+v", e.Partition, e.LineKey, before)
		}
		last[e.Partition] = e.LineKey
	}
	if len(last) != 3 || r.changes() != 2*r.f.made {
		t.Errorf("%d changes in %d partitions, want %d in 3", r.changes(), len(last), 2*r.f.made)
	}
}

// inOrder says whether so many messages came, of any partitions, each one's in their order but for repeats.
func (r *hookReceiver) inOrder(want int) error {
	seen, last := map[string]bool{}, map[int]string{}
	for _, id := range r.ids {
		var past string
		var partition, index, number int
		if _, err := fmt.Sscanf(id, "evt_%8s-%d-%d-%d", &past, &partition, &index, &number); err != nil {
			return err
		}
		if seen[id] {
			continue
		}
		if !before(last[partition], id) {
			return fmt.Errorf("%s came first after %s", id, last[partition])
		}
		seen[id], last[partition] = true, id
	}
	if len(seen) != want {
		return fmt.Errorf("%d messages came, want %d", len(seen), want)
	}
	return nil
}
