package walletgrpc

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"maru.example/internal/auth"
	"maru.example/rsm"
	"maru.example/wallet"
)

// Errors of an [Authorize].
var (
	ErrUnauthenticated = auth.ErrUnauthenticated
	ErrForbidden       = auth.ErrForbidden
)

// Authorize returns the tenant that a stream acts for, given its metadata's
// authorization and maru-tenant values ("" if absent). Otherwise the client is
// shown the error's text, with the status PERMISSION_DENIED if it wraps
// [ErrForbidden], and UNAUTHENTICATED if it wraps [ErrUnauthenticated] or neither.
type Authorize func(ctx context.Context, authorization, tenant string) (wallet.Tenant, error)

// ServerOptions are the settings of a server; nil means all defaults.
type ServerOptions struct {
	Authorize   Authorize     // default: everybody, for the tenant named or wallet.DefaultTenant
	TLS         *tls.Config   // default: plain text
	MaxStreams  uint32        // of one connection; default 64
	SendTimeout time.Duration // for a client to take an answer before its stream is ended; default 30 s
	// AuthorizeEvery is how long a stream goes on without a new call of
	// Authorize: its key may be revoked or expire meanwhile. Default 1 s.
	AuthorizeEvery time.Duration
}

// Server serves the stream.
type Server struct {
	service     *wallet.Service
	authorize   Authorize
	sendTimeout time.Duration

	authorizeEvery time.Duration
	grpc           *grpc.Server
	frames         sync.Pool // of *frame
	close          sync.Once
	closing        chan struct{}  // closed by Shutdown
	running        sync.WaitGroup // the goroutines of streams
}

// NewServer returns a server of the service.
func NewServer(s *wallet.Service, o *ServerOptions) *Server {
	var opt ServerOptions
	if o != nil {
		opt = *o
	}
	if opt.Authorize == nil {
		opt.Authorize = func(_ context.Context, _, tenant string) (wallet.Tenant, error) {
			if tenant == "" {
				return wallet.DefaultTenant, nil
			}
			return wallet.Tenant(tenant), nil
		}
	}
	if opt.MaxStreams == 0 {
		opt.MaxStreams = 64
	}
	if opt.SendTimeout == 0 {
		opt.SendTimeout = 30 * time.Second
	}
	if opt.AuthorizeEvery == 0 {
		opt.AuthorizeEvery = time.Second
	}
	server := &Server{authorizeEvery: opt.AuthorizeEvery, service: s, authorize: opt.Authorize, sendTimeout: opt.SendTimeout, closing: make(chan struct{})}
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(raw{}),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxConcurrentStreams(opt.MaxStreams),
		grpc.ReadBufferSize(256 << 10),
		grpc.WriteBufferSize(64 << 10),
		grpc.InitialWindowSize(4 << 20),
		grpc.InitialConnWindowSize(16 << 20),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
	if opt.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(opt.TLS)))
	}
	server.grpc = grpc.NewServer(options...)
	desc := streamDesc
	desc.Handler = func(_ any, stream grpc.ServerStream) error { return server.serve(stream) }
	server.grpc.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{desc},
	}, server)
	return server
}

// Serve accepts connections on l until Shutdown.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Shutdown takes no more requests, answers those under way, and ends the
// streams; at the latest when ctx does.
func (s *Server) Shutdown(ctx context.Context) error {
	s.close.Do(func() { close(s.closing) })
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.grpc.Stop()
		<-done
	}
	s.running.Wait()
	return err
}

// stream is one client's stream.
type stream struct {
	server *Server
	grpc   grpc.ServerStream
	tenant uint16

	admitted time.Time // when the key was last looked at; receive's

	room  chan struct{}   // a token for each request under way
	out   chan response   // answers to be sent: there is room for one for each token
	ended context.Context // of the stream

	stalled chan struct{} // closed when the client does not take its answers
}

type response struct {
	message mem.Buffer
	err     error // ends the stream
}

// frame is a request, from its arrival to its answer.
type frame struct {
	stream   *stream
	message  []byte
	header   wallet.Header
	proposal rsm.Proposal
}

func (s *Server) serve(g grpc.ServerStream) error {
	ctx := g.Context()
	number, err := s.admit(ctx)
	if err != nil {
		return err
	}
	if err := g.SendHeader(nil); err != nil { // so that the client knows that it was let in
		return err
	}
	st := &stream{
		server: s, grpc: g, tenant: number, ended: ctx, admitted: time.Now(),
		room: make(chan struct{}, MaxInFlight), out: make(chan response, MaxInFlight), stalled: make(chan struct{}),
	}
	received, sent := make(chan error, 1), make(chan error, 1)
	s.running.Add(2)
	go func() { defer s.running.Done(); received <- st.receive() }()
	go func() { defer s.running.Done(); sent <- st.send() }()
	// When this returns gRPC ends the stream, and with it the other goroutines.
	select {
	case err := <-sent:
		return err
	case <-st.stalled:
		return st.slow()
	case err := <-received:
		if err != nil {
			return err
		}
	case <-s.closing:
	}
	if err := st.drain(sent); err != nil {
		return err
	}
	select {
	case <-s.closing:
		return status.Error(codes.Unavailable, "the server is closing: what was not answered was not done")
	default:
		return nil
	}
}

// drain waits until the requests under way are answered.
func (st *stream) drain(sent <-chan error) error {
	for range MaxInFlight {
		select {
		case st.room <- struct{}{}:
		case err := <-sent:
			return err
		case <-st.stalled:
			return st.slow()
		case <-st.ended.Done():
			return st.ended.Err()
		}
	}
	return nil
}

// admit returns the number of the tenant that the stream acts for.
func (s *Server) admit(ctx context.Context) (uint16, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	first := func(key string) string {
		if v := md.Get(key); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	tenant, err := s.authorize(ctx, first("authorization"), first("maru-tenant"))
	switch {
	case errors.Is(err, ErrForbidden):
		return 0, status.Error(codes.PermissionDenied, err.Error())
	case err != nil:
		return 0, status.Error(codes.Unauthenticated, err.Error())
	}
	number, ok, err := s.service.Tenant(ctx, tenant)
	switch {
	case errors.Is(err, wallet.ErrTenant):
		return 0, status.Error(codes.InvalidArgument, err.Error())
	case err != nil:
		return 0, explain(err)
	case !ok:
		return 0, status.Errorf(codes.NotFound, "%v: %q", wallet.UnknownTenant, tenant)
	}
	return number, nil
}

// stillAdmitted returns why the stream may not go on, if so.
func (st *stream) stillAdmitted() error {
	now := time.Now()
	if now.Sub(st.admitted) < st.server.authorizeEvery {
		return nil
	}
	number, err := st.server.admit(st.ended)
	if err == nil && number != st.tenant {
		err = status.Error(codes.PermissionDenied, "the key is another tenant's now")
	}
	st.admitted = now
	return err
}

// explain turns an error into a status that names what happened.
func explain(err error) error {
	code := codes.Unavailable
	switch {
	case errors.Is(err, rsm.ErrDiskFull):
		code = codes.ResourceExhausted
	case errors.Is(err, rsm.ErrTooLarge):
		code = codes.InvalidArgument
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	return status.Error(code, err.Error())
}

// receive reads requests and submits them, until the client has no more or the
// server closes. Whoever gets a token is answered before the stream ends.
func (st *stream) receive() error {
	for {
		f := st.server.frame(st)
		err := st.grpc.RecvMsg(&f.message)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := st.stillAdmitted(); err != nil {
			return err
		}
		select {
		case st.room <- struct{}{}:
		case <-st.server.closing:
			return nil
		case <-st.ended.Done():
			return st.ended.Err()
		}
		if err := f.submit(); err != nil {
			return err
		}
	}
}

func (s *Server) frame(st *stream) *frame {
	f, ok := s.frames.Get().(*frame)
	if !ok {
		f = new(frame)
		f.proposal.Done = f.done
	}
	f.stream = st
	return f
}

// submit proposes the request.
func (f *frame) submit() error {
	st := f.stream
	if len(f.message) < requestBytes {
		return status.Errorf(codes.InvalidArgument, "a request of %d bytes", len(f.message))
	}
	batch := f.message[requestBytes:]
	h, err := wallet.ValidateRequest(batch)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	f.header = h
	if h.Kind == wallet.KindLookup {
		return f.lookup(batch[wallet.HeaderBytes:])
	}
	wallet.SetTenant(batch, st.tenant)
	f.proposal.Data = batch
	if err := st.server.service.Submit(st.ended, &f.proposal); err != nil {
		return explain(err)
	}
	return nil
}

// lookup answers with the handles of accounts.
func (f *frame) lookup(names []byte) error {
	ids := make([]wallet.AccountID, f.header.Count)
	for i := range ids {
		n := int(names[0])
		ids[i], names = wallet.AccountID(names[1:1+n]), names[1+n:]
	}
	handles, err := f.stream.server.service.Lookup(f.stream.ended, nil, f.stream.tenant, ids)
	if err != nil {
		return explain(err)
	}
	var results []byte
	for _, h := range handles {
		o := wallet.Opened{Handle: h, Code: wallet.Applied}
		if h == 0 {
			o.Code = wallet.UnknownAccount
		}
		results = wallet.AppendOpened(results, o)
	}
	f.done(results, rsm.Position{}, nil)
	return nil
}

// done answers the request. It does not wait: out has room for every token.
func (f *frame) done(results []byte, at rsm.Position, err error) {
	st := f.stream
	if err != nil {
		st.out <- response{err: explain(err)}
		return
	}
	pool := mem.DefaultBufferPool()
	b := pool.Get(responseBytes + len(results))
	*b = append(appendResponse((*b)[:0], binary.LittleEndian.Uint64(f.message), f.header, at), results...)
	f.stream = nil
	st.server.frames.Put(f)
	st.out <- response{message: mem.NewBuffer(b, pool)}
}

// send sends the answers, until one is an error or the client does not take it in time.
func (st *stream) send() error {
	for {
		select {
		case r := <-st.out:
			if r.err != nil {
				return r.err
			}
			slow := time.AfterFunc(st.server.sendTimeout, func() { close(st.stalled) })
			if err := st.grpc.SendMsg(r.message); err != nil {
				return err
			}
			if !slow.Stop() {
				return st.slow()
			}
			<-st.room
		case <-st.ended.Done():
			return st.ended.Err()
		}
	}
}

// slow is the end of a stream whose client takes no answers.
func (st *stream) slow() error {
	return status.Errorf(codes.DeadlineExceeded, "the client took no answer for %v", st.server.sendTimeout)
}
