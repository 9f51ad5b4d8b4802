package walletgrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"maru.example/wallet"
)

// ErrClosed says that the client was closed.
var ErrClosed = errors.New("walletgrpc: client closed")

// ClientOptions are the settings of a client; nil means all defaults.
type ClientOptions struct {
	APIKey string        // default: none
	Tenant wallet.Tenant // default: the key's, or wallet.DefaultTenant
	// Protocol is how money gets to accounts of other partitions; default: as the
	// cluster has it.
	Protocol wallet.Protocol
	TLS      *tls.Config // default: plain text
	InFlight int         // batches under way at once, 1 to MaxInFlight; default 8
	// NoFollow keeps the client at the addresses that it was given. By default it
	// sends transfers to the leaders of the partitions that pay once it knows them.
	NoFollow bool
}

// Client sends commands in batches over one stream. It is safe for concurrent
// use. An error of a call that was sent means that its outcome is unknown:
// transfers and openings can be repeated. A client whose stream broke opens
// another at the next call.
//
// Calls from several goroutines may overtake each other. Whose batches must be
// decided in order waits for each, or uses a [Sequence].
//
// Of the nodes of a cluster a client may be given several: when a stream cannot be
// opened at one, it tries the next. The node tells it which nodes lead the
// partitions. The client opens streams to these too, and sends each transfer that
// names its accounts by handles to the leader of the partition that pays; a batch is
// divided, and its results are put together. What a leader does not answer, for
// whatever reason or for some seconds, is sent again to the node that the client was
// given. Nothing is done twice by that, but the result may be marked as repeated.
//
// What a server said when it refused or ended a stream is the text of the error;
// [status.Code] tells which of the statuses of docs/format/stream.md it is.
type Client struct {
	given []*grpc.ClientConn
	first atomic.Int32    // of those, which to open a stream at
	life  context.Context // of the streams; it ends with Close
	end   context.CancelFunc
	room  chan struct{} // a token for each batch under way
	batch batcher
	opens chan struct{} // has a token while a call opens a stream
	close func() error  // does it once

	follower *follower // nil: it does not follow

	mu      sync.Mutex
	current *clientStream
	closed  bool
}

// MaxAddresses is how many nodes a Client can be given.
const MaxAddresses = 16

// connectPatience is the time for a connection to one address.
const connectPatience = 5 * time.Second

// Dial connects to a server's stream at host:port, or to one of several nodes of a
// cluster: up to MaxAddresses, with commas between them.
func Dial(ctx context.Context, addresses string, o *ClientOptions) (*Client, error) {
	var opt ClientOptions
	if o != nil {
		opt = *o
	}
	if opt.InFlight <= 0 {
		opt.InFlight = 8
	}
	list := strings.Split(addresses, ",")
	if len(list) > MaxAddresses {
		return nil, fmt.Errorf("dial: %d addresses, and %d at the most", len(list), MaxAddresses)
	}
	connect := connector(opt.TLS)
	var given []*grpc.ClientConn
	for i, addr := range list {
		list[i] = strings.TrimSpace(addr)
		conn, err := connect(list[i])
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", addr, err)
		}
		given = append(given, conn)
	}
	md := metadata.MD{}
	if opt.APIKey != "" {
		md.Set("authorization", "Bearer "+opt.APIKey)
	}
	if opt.Tenant != "" {
		md.Set("maru-tenant", string(opt.Tenant))
	}
	if opt.Protocol != wallet.NoProtocol {
		md.Set(protocolKey, opt.Protocol.String())
	}
	life, end := context.WithCancel(metadata.NewOutgoingContext(context.WithoutCancel(ctx), md))
	c := &Client{
		given: given, life: life, end: end,
		room: make(chan struct{}, min(opt.InFlight, MaxInFlight)), opens: make(chan struct{}, 1),
	}
	c.batch.client = c
	c.close = sync.OnceValue(c.shutdown)
	if !opt.NoFollow {
		c.follower = newFollower(c, connect, list)
	}
	if _, err := c.stream(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("dial %s: %w", addresses, err), c.Close())
	}
	return c, nil
}

// connector returns the function that makes connections. They connect when they are used.
func connector(config *tls.Config) func(addr string) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	pauses := backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	return func(addr string) (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:///"+addr,
			grpc.WithTransportCredentials(creds),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: pauses, MinConnectTimeout: connectPatience}),
			grpc.WithDisableRetry(),
			grpc.WithReadBufferSize(64<<10),
			grpc.WithWriteBufferSize(256<<10),
			grpc.WithInitialWindowSize(1<<20),
			grpc.WithInitialConnWindowSize(4<<20),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(MaxMessageBytes)),
		)
	}
}

// Close closes the connection. Calls under way end with [ErrClosed], their
// outcome unknown: whoever wants the answers waits for them first. A second Close
// does nothing.
func (c *Client) Close() error { return c.close() }

func (c *Client) shutdown() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	for range cap(c.room) { // until every call has its error
		c.room <- struct{}{}
	}
	c.mu.Lock()
	st := c.current
	c.mu.Unlock()
	if st != nil {
		<-st.done
	}
	c.follower.wait()
	var err error
	for _, conn := range c.given {
		err = errors.Join(err, conn.Close())
	}
	return err
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

// open opens a stream, which outlasts ctx; its opening does not. It tries the nodes
// one after the other.
func (c *Client) open(ctx context.Context) (st *clientStream, err error) {
	first := int(c.first.Load())
	for i := range c.given {
		at := (first + i) % len(c.given)
		var header metadata.MD
		if st, header, err = c.openAt(ctx, c.given[at], nil); err == nil {
			c.first.Store(int32(at))
			c.mu.Lock()
			c.current = st
			c.mu.Unlock()
			c.follower.heard(header)
			go st.run()
			return st, nil
		}
		if code := status.Code(err); code != codes.Unavailable && code != codes.ResourceExhausted || ctx.Err() != nil {
			break
		}
	}
	return nil, spoken(err)
}

// openAt opens a stream, which is to be run then, with more metadata, given as keys
// and values. It returns what the server said of it. With a watch it is a leader's.
func (c *Client) openAt(ctx context.Context, conn *grpc.ClientConn, w *watch, md ...string) (*clientStream, metadata.MD, error) {
	life, end := context.WithCancel(metadata.AppendToOutgoingContext(c.life, md...))
	stop := context.AfterFunc(ctx, end)
	g, err := conn.NewStream(life, &streamDesc, "/"+serviceName+"/"+methodName)
	var header metadata.MD
	if err == nil {
		header, err = admitted(g)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return newClientStream(c, g, end, w), header, nil
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

// takeStream takes a token, for a request on the stream that it returns.
func (c *Client) takeStream(ctx context.Context) (*clientStream, error) {
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	st, err := c.stream(ctx)
	if err != nil {
		c.give()
	}
	return st, err
}

// call sends a request and waits for the results.
func (c *Client) call(ctx context.Context, message []byte) ([]byte, error) {
	st, err := c.takeStream(ctx)
	if err != nil {
		return nil, err
	}
	p := c.ask(st, message)
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	return p.results, nil
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
	results, err := c.call(ctx, message)
	return parseOpened(results), err
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
	st, err := c.stream(ctx)
	if err != nil {
		return nil, err
	}
	return st.lookup(ctx, ids)
}

func (st *clientStream) lookup(ctx context.Context, ids []wallet.AccountID) ([]wallet.Handle, error) {
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
	if err := st.client.take(ctx); err != nil {
		return nil, err
	}
	p := st.client.ask(st, message)
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	out := make([]wallet.Handle, 0, len(ids))
	for _, o := range parseOpened(p.results) {
		out = append(out, o.Handle)
	}
	return out, nil
}
