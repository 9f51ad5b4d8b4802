package walletgrpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"maru.example/wallet"
)

// Transfer makes one transfer. Calls from many goroutines travel together in
// batches: while batches are under way, what arrives fills the next one. When
// it returns an error the outcome is unknown, unless it says that the transfer
// is malformed: make the same transfer again.
func (c *Client) Transfer(ctx context.Context, t wallet.Transfer) (wallet.Result, error) {
	if err := t.Validate(); err != nil {
		return 0, err
	}
	for {
		st, err := c.stream(ctx)
		if err != nil {
			return 0, err
		}
		from, to, err := st.handles(ctx, t.From, t.To)
		if err != nil {
			return 0, err
		}
		if from == 0 || to == 0 { // the machine is to decide by the ids, and to remember them
			results, err := c.call(ctx, wallet.AppendTransfer(request(nil, wallet.KindTransfersByName, 1), &t))
			if err != nil {
				return 0, err
			}
			return wallet.Result(results[0]), nil
		}
		r, err := c.gather(ctx, st, wallet.HandleTransfer{ID: t.ID, From: from, To: to, Amount: t.Amount, Currency: t.Currency})
		if !errors.Is(err, errMoved) {
			return r, err
		}
	}
}

// TransferByHandle is Transfer for a caller that knows the handles.
func (c *Client) TransferByHandle(ctx context.Context, t wallet.HandleTransfer) (wallet.Result, error) {
	return c.gather(ctx, nil, t)
}

// errMoved says that a transfer was not sent, as the stream on which its handles
// were asked for has ended.
var errMoved = errors.New("not sent: the stream has ended")

// gather has a transfer sent with the next batch: on the stream st, or on any
// if it is nil.
func (c *Client) gather(ctx context.Context, st *clientStream, t wallet.HandleTransfer) (wallet.Result, error) {
	w, _ := waiters.Get().(*waiter)
	w.transfer, w.stream = t, st
	c.batch.add(w)
	select {
	case a := <-w.answer:
		waiters.Put(w)
		return a.result, a.err
	case <-ctx.Done():
		if c.batch.leave(w) {
			waiters.Put(w)
			return 0, fmt.Errorf("not sent: %w", ctx.Err())
		}
		return 0, fmt.Errorf("outcome unknown: %w", ctx.Err())
	}
}

// waiter is a call of gather.
type waiter struct {
	transfer wallet.HandleTransfer
	stream   *clientStream // that the handles belong to; nil if they are the caller's
	answer   chan answer   // of size 1: nobody waits for a caller that left
}

type answer struct {
	result wallet.Result
	err    error
}

var waiters = sync.Pool{New: func() any { return &waiter{answer: make(chan answer, 1)} }}

// maxAutoInFlight bounds the batches that are made of single calls: with more
// under way each would be smaller, and cost more.
const maxAutoInFlight = 4

// batcher gathers single transfers into batches. It has a goroutine while
// transfers wait for one.
type batcher struct {
	client *Client

	mu       sync.Mutex
	waiting  []*waiter
	inFlight int
}

// add queues a transfer, and begins to send if less is under way than may be.
func (b *batcher) add(w *waiter) {
	b.mu.Lock()
	b.waiting = append(b.waiting, w)
	begin := b.inFlight < maxAutoInFlight && len(b.waiting) == 1
	if begin {
		b.inFlight++
	}
	b.mu.Unlock()
	if begin {
		go b.send()
	}
}

// leave takes a transfer out of the line, and says false if it was sent.
func (b *batcher) leave(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting, w)
	if i < 0 {
		return false
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	return true
}

// send sends batches until nothing waits.
func (b *batcher) send() {
	for {
		b.mu.Lock()
		n := min(len(b.waiting), wallet.MaxBatch)
		if n == 0 {
			b.inFlight--
			b.mu.Unlock()
			return
		}
		batch := b.waiting[:n:n]
		b.waiting = b.waiting[n:]
		b.mu.Unlock()
		b.sendOne(batch)
	}
}

// sendOne sends a batch and gives each waiter one answer.
func (b *batcher) sendOne(batch []*waiter) {
	c := b.client
	st, err := c.takeStream(c.life)
	if err != nil {
		refuse(batch, err)
		return
	}
	batch = slices.DeleteFunc(batch, func(w *waiter) bool {
		moved := w.stream != nil && w.stream != st
		if moved {
			w.answer <- answer{err: errMoved}
		}
		return moved
	})
	if len(batch) == 0 {
		c.give()
		return
	}
	p := c.start(st, c.follower.route(), transfersOf(len(batch), func(i int) *wallet.HandleTransfer { return &batch[i].transfer }))
	<-p.done
	if p.err != nil {
		refuse(batch, p.err)
		return
	}
	for i, w := range batch {
		w.answer <- answer{result: wallet.Result(p.results[i])}
	}
}

func refuse(batch []*waiter, err error) {
	for _, w := range batch {
		w.answer <- answer{err: err}
	}
}

// maxCached bounds the handles that a stream remembers: some 100 MB.
const maxCached = 1 << 20

// handleCache remembers handles. They never change, but for a server that comes
// back with other data: therefore each stream has its own.
type handleCache struct {
	mu   sync.RWMutex
	byID map[wallet.AccountID]wallet.Handle
}

// handles returns the handles of two accounts, 0 where there is none.
func (st *clientStream) handles(ctx context.Context, from, to wallet.AccountID) (f, t wallet.Handle, err error) {
	st.names.mu.RLock()
	f, t = st.names.byID[from], st.names.byID[to]
	st.names.mu.RUnlock()
	if f != 0 && t != 0 {
		return f, t, nil
	}
	found, err := st.lookup(ctx, []wallet.AccountID{from, to})
	if err != nil {
		return 0, 0, err
	}
	st.names.add(from, found[0])
	st.names.add(to, found[1])
	return found[0], found[1], nil
}

func (n *handleCache) add(id wallet.AccountID, h wallet.Handle) {
	if h == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.byID) >= maxCached || n.byID == nil {
		n.byID = make(map[wallet.AccountID]wallet.Handle)
	}
	n.byID[id] = h
}
