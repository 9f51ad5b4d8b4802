package walletgrpc

import (
	"context"
	"fmt"
	"sync"

	"maru.example/wallet"
)

// Transfers makes up to wallet.MaxBatch transfers in one batch and appends one
// result each to dst. Calls from several goroutines are under way at once, up to InFlight.
func (c *Client) Transfers(ctx context.Context, dst []wallet.Result, ts []wallet.HandleTransfer) ([]wallet.Result, error) {
	if len(ts) == 0 || len(ts) > wallet.MaxBatch {
		return dst, wallet.ErrBatchSize
	}
	st, err := c.takeStream(ctx)
	if err != nil {
		return dst, err
	}
	return c.start(st, c.follower.route(), transfersOf(len(ts), func(i int) *wallet.HandleTransfer { return &ts[i] })).Wait(ctx, dst)
}

// Sequence sends batches of transfers that are decided in the order in which
// they were started, many of them under way at once; in a wallet of several
// partitions those that one of them pays are. It is safe for concurrent use, and
// there may be several, and other calls beside them.
//
// It is bound to one stream, beside those to leaders. When that breaks, every batch
// that it had no answer to fails, and every later one: a batch is decided only if
// all batches before it were. To go on, send everything from the first batch without
// an answer on, in order, by another Sequence: what had been applied is not applied
// again.
type Sequence struct {
	client  *Client
	stream  *clientStream
	leaders []*clientStream // by partition
}

// Sequence returns a sequence on the present stream, or on one that it opens. It
// waits a little for the streams to leaders.
func (c *Client) Sequence(ctx context.Context) (*Sequence, error) {
	st, err := c.stream(ctx)
	if err != nil {
		return nil, err
	}
	c.follower.settle(ctx)
	return &Sequence{client: c, stream: st, leaders: c.follower.route()}, nil
}

// Start sends up to wallet.MaxBatch transfers behind those that were started
// before. It copies ts. While as many batches are under way as the client's
// InFlight it waits for room; its error says that the batch was not sent.
func (s *Sequence) Start(ctx context.Context, ts []wallet.HandleTransfer) (*Pending, error) {
	if len(ts) == 0 || len(ts) > wallet.MaxBatch {
		return nil, wallet.ErrBatchSize
	}
	return s.start(ctx, transfersOf(len(ts), func(i int) *wallet.HandleTransfer { return &ts[i] }))
}

// StartTransactions is Start for up to wallet.MaxBatch transactions, of MaxMessageBytes in
// all, that are valid. Payers are the handles of the accounts of their first postings, one
// each: in the order of these partitions they are among the transfers.
func (s *Sequence) StartTransactions(ctx context.Context, ts []*wallet.Transaction, payers []wallet.Handle) (*Pending, error) {
	if len(ts) == 0 || len(ts) > wallet.MaxBatch || len(payers) != len(ts) {
		return nil, wallet.ErrBatchSize
	}
	return s.start(ctx, batch{
		wallet.KindTransactions, len(ts), func(i int) wallet.Handle { return payers[i] },
		func(dst []byte, i int) []byte { return wallet.AppendTransaction(dst, ts[i]) },
	})
}

// start sends a batch.
func (s *Sequence) start(ctx context.Context, b batch) (*Pending, error) {
	if err := s.client.take(ctx); err != nil {
		return nil, err
	}
	leads := s.leaders
	if s.stream.failed() != nil { // so does this batch then
		leads = nil
	}
	return s.client.start(s.stream, leads, b), nil
}

// Pending is a batch of a [Sequence] that was started.
type Pending struct {
	client *Client
	done   chan struct{} // closed with the answer

	mu      sync.Mutex
	left    int    // requests that are not answered
	results []byte // one each
	err     error
}

// Wait waits for the answer and appends one result for each transfer to dst. An
// error means that the outcome is unknown. If it is that of ctx, the batch stays
// under way, and Wait can be called again.
func (p *Pending) Wait(ctx context.Context, dst []wallet.Result) ([]wallet.Result, error) {
	if err := p.wait(ctx); err != nil {
		return dst, err
	}
	for _, r := range p.results {
		dst = append(dst, wallet.Result(r))
	}
	return dst, nil
}

func (p *Pending) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("outcome unknown: %w", ctx.Err())
	}
}

// answered takes the answer to one of the requests: take puts the results where they
// belong. The last one gives the token back.
func (p *Pending) answered(err error, take func()) {
	p.mu.Lock()
	if err != nil {
		p.err = err
	} else {
		take()
	}
	p.left--
	last := p.left == 0
	p.mu.Unlock()
	if last {
		p.client.give()
		close(p.done)
	}
}

// ask sends a request on a stream. The caller has taken a token, which the answer
// gives back.
func (c *Client) ask(st *clientStream, message []byte) *Pending {
	p := &Pending{client: c, done: make(chan struct{}), left: 1}
	st.start(message, func(results []byte, err error) {
		p.answered(err, func() { p.results = append(p.results, results...) })
	})
	return p
}

// messages recycles the messages of full batches.
var messages = sync.Pool{New: func() any {
	b := make([]byte, 0, requestBytes+wallet.HeaderBytes+wallet.MaxBatch*wallet.RecordBytes)
	return &b
}}
