package walletgrpc

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"maru.example/internal/auth"
	"maru.example/internal/leaders"
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

// Defaults of ServerOptions.
const (
	DefaultMaxStreams     = 256
	DefaultMaxConnStreams = 8
	DefaultSendTimeout    = 30 * time.Second
	DefaultIdleTimeout    = 30 * time.Second
	DefaultAuthorizeEvery = time.Second
)

const (
	// connectTimeout is the time for a connection's handshake.
	connectTimeout = 10 * time.Second
	// partingTime is how long a server that stops waits for its clients to take
	// the end of their streams and to leave.
	partingTime = time.Second
	// streamWindow is how much of a stream may have arrived without being read. Of
	// the connection as a whole gRPC bounds nothing by its window.
	streamWindow = 512 << 10
)

// Cluster is what clients are told of the cluster that a node is part of.
type Cluster struct {
	ID         string // without spaces
	Partitions uint16
	// Leader returns where the stream of the node is that leads a partition, "" if
	// that is this one, or not known. It must not wait.
	Leader func(partition uint16) string
}

// header is what a client is told for which a tenant's stream begins.
func (c *Cluster) header(tenant wallet.Tenant) metadata.MD {
	if c == nil {
		return nil
	}
	md := metadata.MD{clusterKey: {c.ID}}
	var notices []*leaders.Notice
	for p := range c.Partitions {
		address := c.Leader(p)
		if address == "" {
			continue
		}
		i := slices.IndexFunc(notices, func(n *leaders.Notice) bool { return n.Address == address })
		if i < 0 {
			i = len(notices)
			notices = append(notices, &leaders.Notice{Of: c.Partitions, Cluster: c.ID, Tenant: string(tenant), Address: address})
		}
		notices[i].Partitions = append(notices[i].Partitions, p)
	}
	for _, n := range notices {
		md.Append(leaderKey, n.String())
	}
	return md
}

// isMeant refuses a stream that a client sent to the leader of another cluster.
func (c *Cluster) isMeant(ctx context.Context) error {
	for _, id := range metadata.ValueFromIncomingContext(ctx, clusterKey) {
		if c == nil || id != c.ID {
			return status.Error(codes.FailedPrecondition, "this node is not part of the cluster that the stream is for")
		}
	}
	return nil
}

// ServerOptions are the settings of a server; nil means all defaults.
type ServerOptions struct {
	Authorize Authorize   // default: everybody, for the tenant named or wallet.DefaultTenant
	TLS       *tls.Config // default: plain text
	Cluster   *Cluster    // that this node is part of; default: none that clients need to know of
	// MaxStreams is how many streams there may be at once. It bounds the memory:
	// a stream whose client sends and takes no answers holds streamWindow, a
	// request and MaxInFlight answers, which is 5 MiB at the most.
	MaxStreams     int
	MaxConnStreams int // streams of one connection at once; gRPC clients wait with more
	// SendTimeout is the time for a client to take an answer. Then its connection
	// is closed, as nothing less gives the memory back.
	SendTimeout time.Duration
	IdleTimeout time.Duration // after which a connection without a stream is closed
	// AuthorizeEvery is how long a stream goes on without a new call of
	// Authorize: its key may be revoked or expire meanwhile.
	AuthorizeEvery time.Duration
}

func (o *ServerOptions) withDefaults() ServerOptions {
	var d ServerOptions
	if o != nil {
		d = *o
	}
	d.MaxStreams = cmp.Or(d.MaxStreams, DefaultMaxStreams)
	d.MaxConnStreams = cmp.Or(d.MaxConnStreams, DefaultMaxConnStreams)
	d.SendTimeout = cmp.Or(d.SendTimeout, DefaultSendTimeout)
	d.IdleTimeout = cmp.Or(d.IdleTimeout, DefaultIdleTimeout)
	d.AuthorizeEvery = cmp.Or(d.AuthorizeEvery, DefaultAuthorizeEvery)
	if d.Authorize == nil {
		d.Authorize = func(_ context.Context, _, tenant string) (wallet.Tenant, error) {
			if tenant == "" {
				return wallet.DefaultTenant, nil
			}
			return wallet.Tenant(tenant), nil
		}
	}
	return d
}

// Server serves the stream.
type Server struct {
	service *wallet.Service
	o       ServerOptions
	grpc    *grpc.Server
	frames  sync.Pool // of *frame
	places  places
	close   sync.Once
	closing chan struct{}  // closed by Shutdown
	running sync.WaitGroup // the goroutines of streams
}

// NewServer returns a server of the service.
func NewServer(s *wallet.Service, o *ServerOptions) *Server {
	opt := o.withDefaults()
	server := &Server{
		service: s, o: opt, closing: make(chan struct{}),
		places: places{max: opt.MaxStreams, maxEach: opt.MaxConnStreams, conns: make(map[*conn]struct{})},
	}
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(raw{}),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxConcurrentStreams(uint32(opt.MaxConnStreams)), //nolint:gosec // a small number
		grpc.ReadBufferSize(32 << 10),                         // each connection has these two
		grpc.WriteBufferSize(32 << 10),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(16 << 20),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionIdle: opt.IdleTimeout}),
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
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(&listener{l, s}) }

// Shutdown takes no more requests, answers those under way, and ends the
// streams; at the latest when ctx does. Clients have a short time to take what
// they were answered; who has no stream is not waited for.
func (s *Server) Shutdown(ctx context.Context) error {
	s.close.Do(func() { close(s.closing) })
	s.places.close()
	answered, parted := make(chan struct{}), make(chan struct{})
	go func() {
		s.places.streams.Wait()
		close(answered)
	}()
	go func() {
		s.grpc.GracefulStop()
		close(parted)
	}()
	var err error
	select {
	case <-answered:
		err = s.part(ctx, parted)
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.places.disconnect(func(*conn) bool { return true })
	<-parted
	s.running.Wait()
	return err
}

// part waits a little for the clients to leave.
func (s *Server) part(ctx context.Context, parted <-chan struct{}) error {
	patience := time.NewTimer(partingTime)
	defer patience.Stop()
	select {
	case <-parted:
		return nil
	case <-patience.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
