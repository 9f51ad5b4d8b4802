package walletgrpc

import (
	"context"
	"fmt"
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
	from, to, err := c.handles(ctx, t.From, t.To)
	if err != nil {
		return 0, err
	}
	if from == 0 || to == 0 { // the machine is to decide by the ids, and to remember them
		message := wallet.AppendTransfer(request(nil, wallet.KindTransfersByName, 1), &t)
		var r wallet.Result
		err := c.call(ctx, message, func(results []byte) { r = wallet.Result(results[0]) })
		return r, err
	}
	return c.TransferByHandle(ctx, wallet.HandleTransfer{ID: t.ID, From: from, To: to, Amount: t.Amount, Currency: t.Currency})
}

// TransferByHandle is Transfer for a caller that knows the handles.
func (c *Client) TransferByHandle(ctx context.Context, t wallet.HandleTransfer) (wallet.Result, error) {
	w, _ := waiters.Get().(*waiter)
	w.transfer = t
	c.batch.add(w)
	select {
	case a := <-w.answer:
		waiters.Put(w)
		return a.result, a.err
	case <-ctx.Done():
		return 0, fmt.Errorf("outcome unknown: %w", ctx.Err())
	}
}

// waiter is a call of TransferByHandle.
type waiter struct {
	transfer wallet.HandleTransfer
	answer   chan answer // of size 1: nobody waits for a caller that left
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

func (b *batcher) sendOne(batch []*waiter) {
	buf, _ := messages.Get().(*[]byte)
	message := request(*buf, wallet.KindTransfers, len(batch))
	for _, w := range batch {
		message = wallet.AppendHandleTransfer(message, &w.transfer)
	}
	err := b.client.call(b.client.life, message, func(results []byte) {
		for i, w := range batch {
			w.answer <- answer{result: wallet.Result(results[i])}
		}
	})
	if err != nil {
		for _, w := range batch {
			w.answer <- answer{err: err}
		}
		return
	}
	*buf = message
	messages.Put(buf)
}

// maxCached bounds the handles that a client remembers: some 100 MB.
const maxCached = 1 << 20

// handleCache remembers handles, which never change.
type handleCache struct {
	mu   sync.RWMutex
	byID map[wallet.AccountID]wallet.Handle
}

// handles returns the handles of two accounts, 0 where there is none.
func (c *Client) handles(ctx context.Context, from, to wallet.AccountID) (f, t wallet.Handle, err error) {
	c.names.mu.RLock()
	f, t = c.names.byID[from], c.names.byID[to]
	c.names.mu.RUnlock()
	if f != 0 && t != 0 {
		return f, t, nil
	}
	found, err := c.Lookup(ctx, []wallet.AccountID{from, to})
	if err != nil {
		return 0, 0, err
	}
	c.names.add(from, found[0])
	c.names.add(to, found[1])
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
