package walletgrpc

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"maru.example/wallet"
)

// ErrClosed says that the client was closed.
var ErrClosed = errors.New("walletgrpc: client closed")

// ClientOptions are the settings of a client; nil means all defaults.
type ClientOptions struct {
	APIKey   string        // default: none
	Tenant   wallet.Tenant // default: the key's, or wallet.DefaultTenant
	TLS      *tls.Config   // default: plain text
	InFlight int           // batches under way at once, 1 to MaxInFlight; default 8
}

// Client sends commands in batches over one stream. It is safe for concurrent
// use. An error of a call that was sent means that its outcome is unknown:
// transfers and openings can be repeated. A client whose stream broke opens
// another at the next call.
type Client struct {
	grpc  *grpc.ClientConn
	life  context.Context // of the streams
	end   context.CancelFunc
	room  chan struct{} // a token for each batch under way
	names handleCache
	batch batcher
	opens chan struct{} // has a token while a call opens a stream

	mu      sync.Mutex
	current *clientStream
	closed  bool
}

// Dial connects to a server's stream at host:port.
func Dial(ctx context.Context, addr string, o *ClientOptions) (*Client, error) {
	var opt ClientOptions
	if o != nil {
		opt = *o
	}
	if opt.InFlight <= 0 {
		opt.InFlight = 8
	}
	creds := insecure.NewCredentials()
	if opt.TLS != nil {
		creds = credentials.NewTLS(opt.TLS)
	}
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(creds),
		grpc.WithDisableRetry(),
		grpc.WithReadBufferSize(64<<10),
		grpc.WithWriteBufferSize(256<<10),
		grpc.WithInitialWindowSize(1<<20),
		grpc.WithInitialConnWindowSize(4<<20),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(MaxMessageBytes)),
	)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	md := metadata.MD{}
	if opt.APIKey != "" {
		md.Set("authorization", "Bearer "+opt.APIKey)
	}
	if opt.Tenant != "" {
		md.Set("maru-tenant", string(opt.Tenant))
	}
	life, end := context.WithCancel(metadata.NewOutgoingContext(context.WithoutCancel(ctx), md))
	c := &Client{
		grpc: conn, life: life, end: end,
		room: make(chan struct{}, min(opt.InFlight, MaxInFlight)), opens: make(chan struct{}, 1),
	}
	c.batch.client = c
	if _, err := c.stream(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("dial %s: %w", addr, err), c.Close())
	}
	return c, nil
}

// Close waits for the calls under way and closes the connection.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for range cap(c.room) {
		c.room <- struct{}{}
	}
	c.mu.Lock()
	st := c.current
	c.mu.Unlock()
	c.end()
	if st != nil {
		<-st.done
	}
	return c.grpc.Close()
}

// clientStream is one gRPC stream and the calls that wait for its answers.
type clientStream struct {
	grpc grpc.ClientStream
	done chan struct{} // closed when receive ended

	send sync.Mutex // one SendMsg at a time

	mu    sync.Mutex
	last  uint64
	calls map[uint64]func(results []byte, err error)
	err   error // why the stream ended
}

// stream returns the present stream, or opens one.
func (c *Client) stream(ctx context.Context) (*clientStream, error) {
	if st, err := c.present(); st != nil || err != nil {
		return st, err
	}
	select {
	case c.opens <- struct{}{}:
		defer func() { <-c.opens }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if st, err := c.present(); st != nil || err != nil { // another call has opened it
		return st, err
	}
	return c.open(ctx)
}

// present returns the stream, or nil if there is none that works.
func (c *Client) present() (*clientStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if st := c.current; st != nil && st.failed() == nil {
		return st, nil
	}
	return nil, nil
}

// open opens a stream, which outlasts ctx; its opening does not.
func (c *Client) open(ctx context.Context) (*clientStream, error) {
	life, end := context.WithCancel(c.life)
	stop := context.AfterFunc(ctx, end)
	g, err := c.grpc.NewStream(life, &streamDesc, "/"+serviceName+"/"+methodName)
	if err == nil {
		err = admitted(g)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		end()
		return nil, err
	}
	st := &clientStream{grpc: g, done: make(chan struct{}), calls: make(map[uint64]func([]byte, error))}
	c.mu.Lock()
	c.current = st
	c.mu.Unlock()
	go func() {
		defer end()
		st.receive()
	}()
	return st, nil
}

// admitted waits for the header, which the server sends when it has let the
// client in. A stream that ended before has none, and its reason with the message.
func admitted(g grpc.ClientStream) error {
	md, err := g.Header()
	if err == nil && md == nil {
		err = g.RecvMsg(new([]byte))
	}
	return err
}

func (st *clientStream) failed() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.err
}

// receive gives answers to the calls that wait for them, until the stream ends.
func (st *clientStream) receive() {
	defer close(st.done)
	var buf []byte
	for {
		err := st.grpc.RecvMsg(&buf)
		var id uint64
		var results []byte
		if err == nil {
			id, _, results, err = parseResponse(buf)
		}
		if err != nil {
			st.fail(err)
			return
		}
		st.mu.Lock()
		answer := st.calls[id]
		delete(st.calls, id)
		st.mu.Unlock()
		if answer != nil {
			answer(results, nil)
		}
	}
}

func (st *clientStream) fail(err error) {
	st.mu.Lock()
	st.err = fmt.Errorf("wallet stream: %w", err)
	calls := st.calls
	st.calls = nil
	st.mu.Unlock()
	for _, answer := range calls {
		answer(nil, st.err)
	}
}

// request returns a message with room for the id and a header for count commands.
func request(dst []byte, kind wallet.Kind, count int) []byte {
	dst = append(dst[:0], make([]byte, requestBytes)...)
	return wallet.AppendHeader(dst, wallet.Header{Kind: kind, Count: count})
}

// start sends a request. answer is called once, by the stream's goroutine, and
// must not wait; from then on the message may be used again. It holds a token.
func (c *Client) start(ctx context.Context, message []byte, answer func(results []byte, err error)) {
	st, err := c.stream(ctx)
	if err != nil {
		answer(nil, err)
		return
	}
	st.mu.Lock()
	if st.err != nil {
		st.mu.Unlock()
		answer(nil, st.err)
		return
	}
	st.last++
	id := st.last
	st.calls[id] = answer
	st.mu.Unlock()

	binary.LittleEndian.PutUint64(message, id)
	st.send.Lock()
	// An error ends the stream: receive gets the reason, and answers.
	_ = st.grpc.SendMsg(mem.SliceBuffer(message))
	st.send.Unlock()
}

// take takes a token, and give gives it back.
func (c *Client) take(ctx context.Context) error {
	select {
	case c.room <- struct{}{}:
		return nil
	case <-c.life.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) give() { <-c.room }

// call sends a request and waits for the answer, which parse reads. When ctx
// ends first the message stays in use: parse is not called, and call returns false for reuse.
func (c *Client) call(ctx context.Context, message []byte, parse func(results []byte)) (reuse bool, err error) {
	if err := c.take(ctx); err != nil {
		return true, err
	}
	var mu sync.Mutex
	left := false
	done := make(chan error, 1)
	c.start(ctx, message, func(results []byte, err error) {
		mu.Lock()
		if !left && err == nil {
			parse(results)
		}
		mu.Unlock()
		c.give()
		done <- err
	})
	select {
	case err := <-done:
		return true, err
	case <-ctx.Done():
		mu.Lock()
		left = true
		mu.Unlock()
		return false, fmt.Errorf("outcome unknown: %w", ctx.Err())
	}
}

// messages recycles the messages of full batches.
var messages = sync.Pool{New: func() any {
	b := make([]byte, 0, requestBytes+wallet.HeaderBytes+wallet.MaxBatch*wallet.RecordBytes)
	return &b
}}

// Transfers makes up to wallet.MaxBatch transfers in one batch and appends one
// result each to dst. Calls from several goroutines are under way at once, up to InFlight.
func (c *Client) Transfers(ctx context.Context, dst []wallet.Result, ts []wallet.HandleTransfer) ([]wallet.Result, error) {
	if len(ts) == 0 || len(ts) > wallet.MaxBatch {
		return dst, wallet.ErrBatchSize
	}
	buf, _ := messages.Get().(*[]byte)
	message := request(*buf, wallet.KindTransfers, len(ts))
	for i := range ts {
		message = wallet.AppendHandleTransfer(message, &ts[i])
	}
	var out []wallet.Result
	reuse, err := c.call(ctx, message, func(results []byte) { out = appendResults(dst, results) })
	if reuse {
		*buf = message
		messages.Put(buf)
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

func appendResults(dst []wallet.Result, results []byte) []wallet.Result {
	for _, r := range results {
		dst = append(dst, wallet.Result(r))
	}
	return dst
}

// OpenAccounts opens up to wallet.MaxBatch accounts and returns one answer each.
func (c *Client) OpenAccounts(ctx context.Context, as []wallet.NewAccount) ([]wallet.Opened, error) {
	if len(as) == 0 || len(as) > wallet.MaxBatch {
		return nil, wallet.ErrBatchSize
	}
	message := request(nil, wallet.KindOpenAccounts, len(as))
	for i := range as {
		if err := as[i].Validate(); err != nil {
			return nil, fmt.Errorf("account %d: %w", i, err)
		}
		message = wallet.AppendAccount(message, &as[i])
	}
	var out []wallet.Opened
	_, err := c.call(ctx, message, func(results []byte) { out = parseOpened(results) })
	return out, err
}

func parseOpened(results []byte) []wallet.Opened {
	out := make([]wallet.Opened, 0, len(results)/wallet.OpenedBytes)
	for ; len(results) > 0; results = results[wallet.OpenedBytes:] {
		out = append(out, wallet.ParseOpened(results))
	}
	return out
}

// Lookup returns the handles of up to wallet.MaxBatch accounts, 0 where there is no such account.
func (c *Client) Lookup(ctx context.Context, ids []wallet.AccountID) ([]wallet.Handle, error) {
	if len(ids) == 0 || len(ids) > wallet.MaxBatch {
		return nil, wallet.ErrBatchSize
	}
	message := request(nil, wallet.KindLookup, len(ids))
	for i, id := range ids {
		if err := id.Validate(); err != nil {
			return nil, fmt.Errorf("account %d: %w", i, err)
		}
		message = wallet.AppendName(message, string(id))
	}
	var out []wallet.Handle
	_, err := c.call(ctx, message, func(results []byte) {
		for _, o := range parseOpened(results) {
			out = append(out, o.Handle)
		}
	})
	return out, err
}
