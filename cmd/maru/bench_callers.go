package main

import (
	"context"
	"fmt"

	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

// benchCaller is one closed loop: it makes a call, waits for the answer, and
// makes the next. It is for one goroutine.
type benchCaller interface {
	// prepare makes ready the call for the n transfers that begin with the
	// number first. Its time is not part of the call's latency.
	prepare(first uint64, n int)
	// call makes the call and returns one result for each transfer, valid until
	// the next call. errBenchBusy says that nothing was done.
	call(ctx context.Context) ([]wallet.Result, error)
}

// benchCallers are callers that share what they are connected by.
type benchCallers struct {
	callers []benchCaller
	close   func() error
}

// openCallers connects n callers through an API, to every node if there are several.
func (b *bench) openCallers(ctx context.Context, api benchAPI, n int) (*benchCallers, error) {
	if len(b.servers) > 1 {
		return b.openNodeCallers(ctx, api, n)
	}
	return b.openCallersOf(ctx, b.server, api, n)
}

// openCallersOf connects n callers to one server.
func (b *bench) openCallersOf(ctx context.Context, s *benchServer, api benchAPI, n int) (*benchCallers, error) {
	switch api {
	case benchStream, benchClient:
		return b.openStreamCallers(ctx, s, api, n)
	case benchHTTP:
		return b.openHTTPCallers(ctx, s, n)
	}
	return nil, fmt.Errorf("unknown API %q", api)
}

// openStreamCallers spreads n callers over the streams.
func (b *bench) openStreamCallers(ctx context.Context, s *benchServer, api benchAPI, n int) (*benchCallers, error) {
	streams := min(b.config.connections, n)
	clients := make([]*walletgrpc.Client, 0, streams)
	out := &benchCallers{close: func() error {
		var first error
		for _, c := range clients {
			if err := c.Close(); err != nil && first == nil {
				first = fmt.Errorf("close stream: %w", err)
			}
		}
		return first
	}}
	inFlight := (n + streams - 1) / streams
	if api == benchClient {
		inFlight = 0 // the client's own default, as its users get it
	}
	for range streams {
		c, err := b.dial(ctx, s, inFlight)
		if err != nil {
			_ = out.close() // the error of Dial says more
			return nil, err
		}
		clients = append(clients, c)
	}
	for i := range n {
		c := clients[i%streams]
		if api == benchStream {
			out.callers = append(out.callers, &batchCaller{plan: &b.plan, client: c})
		} else {
			out.callers = append(out.callers, &singleCaller{plan: &b.plan, client: c})
		}
	}
	return out, nil
}

// dial opens a stream to a server.
func (b *bench) dial(ctx context.Context, s *benchServer, inFlight int) (*walletgrpc.Client, error) {
	c, err := walletgrpc.Dial(ctx, s.streamAddr, &walletgrpc.ClientOptions{
		APIKey:   b.config.key,
		Tenant:   wallet.Tenant(b.config.tenant),
		TLS:      s.streamTLS,
		InFlight: inFlight,
		// The plan says which server gets what.
		NoFollow: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open stream to %s: %w", s.streamAddr, err)
	}
	return c, nil
}

// batchCaller sends whole batches through the stream.
type batchCaller struct {
	plan      *benchPlan
	client    *walletgrpc.Client
	transfers []wallet.HandleTransfer
	results   []wallet.Result
}

func (c *batchCaller) prepare(first uint64, n int) {
	if cap(c.transfers) < n {
		c.transfers = make([]wallet.HandleTransfer, n)
	}
	c.transfers = c.transfers[:n]
	c.plan.fill(c.transfers, first)
}

func (c *batchCaller) call(ctx context.Context) ([]wallet.Result, error) {
	var err error
	c.results, err = c.client.Transfers(ctx, c.results[:0], c.transfers)
	return c.results, err
}

// singleCaller makes one transfer at a time through the client package, which
// gathers the transfers of all callers in batches.
type singleCaller struct {
	plan     *benchPlan
	client   *walletgrpc.Client
	transfer wallet.HandleTransfer
	result   [1]wallet.Result
}

func (c *singleCaller) prepare(first uint64, _ int) { c.transfer = c.plan.transfer(first) }

func (c *singleCaller) call(ctx context.Context) ([]wallet.Result, error) {
	var err error
	c.result[0], err = c.client.TransferByHandle(ctx, c.transfer)
	return c.result[:], err
}
