package walletgrpc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"maru.example/rsm"
	"maru.example/wallet"
)

// stream is one client's stream.
type stream struct {
	server *Server
	grpc   grpc.ServerStream
	tenant uint16
	by     wallet.Protocol // of its transfers to other partitions

	admitted time.Time // when the key was last looked at; receive's

	room  chan struct{}   // a token for each request under way
	out   chan response   // answers to be sent: there is room for one for each token
	ended context.Context // of the stream

	taking  patience
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

func (s *Server) serve(g grpc.ServerStream) (err error) {
	ctx := g.Context()
	if err := s.o.Cluster.isMeant(ctx); err != nil {
		return err
	}
	tenant, number, err := s.admit(ctx)
	if err != nil {
		return err
	}
	by, err := protocolOf(ctx)
	if err != nil {
		return err
	}
	c := connOf(ctx)
	if err := s.places.enter(c); err != nil {
		return err
	}
	defer func() { s.places.leave(c, err != nil && ctx.Err() == nil) }()
	if err := g.SendHeader(s.o.Cluster.header(tenant)); err != nil { // so that the client knows that it was let in
		return err
	}
	st := &stream{
		server: s, grpc: g, tenant: number, by: by, ended: ctx, admitted: time.Now(),
		room: make(chan struct{}, MaxInFlight), out: make(chan response, MaxInFlight), stalled: make(chan struct{}),
	}
	st.taking.start(s.o.SendTimeout, func() {
		close(st.stalled)
		_ = c.Close() // gRPC would keep the stream until its client reads the end of it
	})
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
		return errClosing
	default:
		return nil
	}
}

// drain waits until the requests under way are answered.
func (st *stream) drain(sent <-chan error) error {
	closing := st.server.closing
	for n := 0; n < MaxInFlight; {
		select {
		case st.room <- struct{}{}:
			n++
		case <-closing:
			st.taking.limit(partingTime)
			closing = nil
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

// errClosing ends the streams of a server that stops.
var errClosing = status.Error(codes.Unavailable, "the server is closing: what was not answered was not done")

// admit returns the tenant that the stream acts for, and its number.
func (s *Server) admit(ctx context.Context) (wallet.Tenant, uint16, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	first := func(key string) string {
		if v := md.Get(key); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	tenant, err := s.o.Authorize(ctx, first("authorization"), first("maru-tenant"))
	switch {
	case errors.Is(err, ErrForbidden):
		return "", 0, status.Error(codes.PermissionDenied, err.Error())
	case err != nil:
		return "", 0, status.Error(codes.Unauthenticated, err.Error())
	}
	number, ok, err := s.service.Tenant(ctx, tenant)
	switch {
	case errors.Is(err, wallet.ErrTenant):
		return "", 0, status.Error(codes.InvalidArgument, err.Error())
	case err != nil:
		return "", 0, explain(err)
	case !ok:
		return "", 0, status.Errorf(codes.NotFound, "%v: %q", wallet.UnknownTenant, tenant)
	}
	return tenant, number, nil
}

// protocolOf returns the protocol that the client asks for, NoProtocol if it asks
// for none.
func protocolOf(ctx context.Context) (wallet.Protocol, error) {
	named := metadata.ValueFromIncomingContext(ctx, protocolKey)
	switch len(named) {
	case 0:
		return wallet.NoProtocol, nil
	case 1:
		by, err := wallet.ParseProtocol(named[0])
		if err != nil {
			return by, status.Errorf(codes.InvalidArgument, "%s %q: %v", protocolKey, named[0], err)
		}
		return by, nil
	}
	return wallet.NoProtocol, status.Errorf(codes.InvalidArgument, "%s is there %d times", protocolKey, len(named))
}

// stillAdmitted returns why the stream may not go on, if so.
func (st *stream) stillAdmitted() error {
	now := time.Now()
	if now.Sub(st.admitted) < st.server.o.AuthorizeEvery {
		return nil
	}
	_, number, err := st.server.admit(st.ended)
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
	case errors.Is(err, rsm.ErrUnknown): // also where it holds an error that alone says that nothing was done
		return status.Errorf(code, "the outcome is unknown, repeat what was not answered: %v", err)
	case errors.Is(err, rsm.ErrNoMajority):
		return status.Errorf(code, "nothing was done, `maru cluster status` shows which nodes are away: %v", err)
	case errors.Is(err, rsm.ErrNoLeader):
		return status.Errorf(code, "nothing was done, try again: %v", err)
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
	var f *frame
	arrived := destination(func() *[]byte { // not before: a stream may be silent for long
		f = st.server.frame(st)
		return &f.message
	})
	for {
		err := st.grpc.RecvMsg(arrived)
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
	if err := st.server.service.SubmitBy(st.ended, st.by, &f.proposal); err != nil {
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
			st.taking.begin()
			err := st.grpc.SendMsg(r.message)
			st.taking.end()
			if err != nil {
				return err
			}
			<-st.room
		case <-st.ended.Done():
			return st.ended.Err()
		}
	}
}

// slow is the end of a stream whose client takes no answers.
func (st *stream) slow() error {
	return status.Errorf(codes.DeadlineExceeded, "the client took no answer for %v", st.server.o.SendTimeout)
}

// patience bounds how long each of a number of waits may take.
type patience struct {
	mu      sync.Mutex
	timer   *time.Timer
	most    time.Duration
	waiting bool
}

// start sets what happens, once, when a wait takes too long.
func (p *patience) start(most time.Duration, over func()) {
	p.most = most
	p.timer = time.AfterFunc(most, sync.OnceFunc(over))
	p.timer.Stop()
}

func (p *patience) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = true
	p.timer.Reset(p.most)
}

func (p *patience) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = false
	p.timer.Stop()
}

// limit lets every wait, also one that goes on, take no longer than this.
func (p *patience) limit(most time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = min(p.most, most)
	if p.waiting {
		p.timer.Reset(p.most)
	}
}
