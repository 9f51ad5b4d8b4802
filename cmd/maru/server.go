package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"maru.example/cluster/clusterhttp"
	"maru.example/internal/auth"
	"maru.example/internal/httpd"
	"maru.example/internal/telemetry"
	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
	"maru.example/wallet/wallethttp"
)

// security is what protects the server from the network.
type security struct {
	httpd.Security
	keys *auth.Keys // nil: there is no keys file
}

// security reads keys and certificates, and refuses addresses that they do not
// allow before anything else is done.
func (o *serveOptions) security(logger *slog.Logger) (*security, error) {
	s := &security{}
	s.InsecurePlaintext = o.insecurePlaintext
	keys, err := auth.Open(keysFile(o.data), logger)
	switch {
	case err == nil:
		s.keys, s.Keys = keys, true
	case !errors.Is(err, fs.ErrNotExist):
		return nil, failed(err, "correct the file, or remove it and create new keys")
	}
	if (o.tlsCert == "") != (o.tlsKey == "") {
		return nil, usageError("give both, or none", "--tls-cert and --tls-key belong together")
	}
	if o.tlsCert != "" {
		if s.TLS, err = httpd.LoadTLS(o.tlsCert, o.tlsKey, logger); err != nil {
			return nil, usageError("both are PEM files, of the same key", "%w", err)
		}
	}
	for _, addr := range []string{o.http, o.stream} {
		if err := s.Check(addr); err != nil {
			return nil, listenError(addr, err)
		}
	}
	if o.pprof != "" {
		if err := (httpd.Security{}).Check(o.pprof); err != nil {
			return nil, usageError("profiles are for this machine only: --pprof 127.0.0.1:6060", "--pprof %s is not on loopback", o.pprof)
		}
	}
	return s, nil
}

// listenError explains why an address cannot be listened on.
func listenError(addr string, err error) error {
	switch {
	case errors.Is(err, httpd.ErrNotLoopback):
		return usageError("create a key with `maru key create`, or listen on 127.0.0.1",
			"listen on %s: without API keys only this machine may be served", addr)
	case errors.Is(err, httpd.ErrPlaintext):
		return usageError("give a certificate with --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy",
			"listen on %s: API keys must not cross a network in plain text", addr)
	}
	if malformed, ok := errors.AsType[*net.AddrError](err); ok {
		return usageError("an address is host:port, such as 127.0.0.1:7480; port 0 is any free one", "listen on %s: %s", quoted(addr), malformed.Err)
	}
	return failed(fmt.Errorf("listen on %s: %w", addr, err), "is another server there? choose another port, or 0 for any free one")
}

// server is a node and all that listens for it.
type server struct {
	options  *serveOptions
	security *security
	node     *node
	logger   *slog.Logger

	http    *httpd.Server
	stream  *walletgrpc.Server
	metrics *telemetry.Registry

	httpAddr, streamAddr string
	introduced           chan struct{} // closed when the cluster knows where this node is
	stopIntroducing      func()
	listeners            []net.Listener
	running              sync.WaitGroup
	ended                chan error // of a listener that broke
}

func newServer(o *serveOptions, sec *security, node *node, logger *slog.Logger) *server {
	s := &server{options: o, security: sec, node: node, logger: logger, ended: make(chan error, 3)}
	metrics := telemetry.NewRegistry()
	s.metrics = metrics
	exposeMetrics(metrics, node)
	members := clusterhttp.NewHandler(metadata{node.metadata, node}, &clusterhttp.Options{Authorize: sec.authorizeCluster(), Logger: logger})
	handling := &wallethttp.Options{
		MaxEventReaders: o.maxReaders, MaxTenantEventReaders: o.maxTenantReaders,
		History: node.wallet.Load(), Rebuild: node.history.rebuild,
		Authorize: sec.authorizeHTTP(), Version: readBuild().Version, Beside: describeBackup(), Logger: logger,
		Cluster: &wallethttp.Cluster{
			ID: string(node.identity.Cluster), Partitions: uint16(node.identity.Partitions),
			Leader: func(partition uint16) string { return node.leader(partition).HTTP },
		},
	}
	handling.Webhooks = node.webhooks
	if node.personal != nil {
		handling.Personal = node.personal
	}
	accounts := wallethttp.NewHandler(node.wallet.Load(), handling)
	exposeEvents(metrics, accounts)
	exposeWebhooks(metrics, node)
	backups := newBackupHandler(node, sec.authorizeCluster())
	// Each has a ServeMux of its own: to look in a third one costs microseconds a request.
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/cluster"):
			members.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, backupPath):
			backups.ServeHTTP(w, r)
		default:
			accounts.ServeHTTP(w, r)
		}
	})
	s.http = httpd.NewServer(handler, &httpd.Options{
		RequestTimeout: o.requestTimeout,
		Streams:        wallethttp.IsStream,
		Ready:          node.err,
		Warnings:       node.warnings,
		Metrics:        metrics.Handler(),
		Observe:        metrics.HTTPObserver(),
		Local:          !sec.Keys,
		Logger:         logger,
	})
	s.stream = walletgrpc.NewServer(node.wallet.Load(), &walletgrpc.ServerOptions{
		Authorize: sec.authorizeStream(), TLS: sec.TLS.Clone(), MaxStreams: o.maxStreams,
		Cluster: &walletgrpc.Cluster{
			ID: string(node.identity.Cluster), Partitions: uint16(node.identity.Partitions),
			Leader: func(partition uint16) string { return node.leader(partition).Stream },
		},
	})
	return s
}

// authorizeHTTP returns the check of requests, nil if there are no keys.
func (s *security) authorizeHTTP() wallethttp.Authorize {
	if s.keys == nil {
		return nil
	}
	return func(_ context.Context, authorization, tenant string, need wallethttp.Scope) (wallet.Tenant, error) {
		t, err := s.keys.Authorize(authorization, tenant, auth.Scope(need))
		return wallet.Tenant(t), err
	}
}

// authorizeStream returns the check of streams, nil if there are no keys. A
// stream is for writing.
func (s *security) authorizeStream() walletgrpc.Authorize {
	if s.keys == nil {
		return nil
	}
	return func(_ context.Context, authorization, tenant string) (wallet.Tenant, error) {
		t, err := s.keys.Authorize(authorization, tenant, auth.Scope(wallethttp.WriteScope))
		return wallet.Tenant(t), err
	}
}

// listen opens the listeners and serves them.
func (s *server) listen(ctx context.Context) error {
	o := &httpd.ListenOptions{MaxConnections: s.options.maxConnections, Logger: s.logger}
	api, err := httpd.Listen(ctx, s.options.http, s.security.Security, o)
	if err != nil {
		return listenError(s.options.http, err)
	}
	stream, err := httpd.Listen(ctx, s.options.stream, s.security.Security, o)
	if err != nil {
		return errors.Join(listenError(s.options.stream, err), api.Close())
	}
	if s.options.pprof != "" {
		if err := s.listenProfiles(ctx); err != nil {
			return errors.Join(err, api.Close(), stream.Close())
		}
	}
	exposeConnections(s.metrics, api, stream, s.stream)
	s.httpAddr, s.streamAddr = api.Addr().String(), stream.Addr().String()
	s.serve(func() error { return s.http.Serve(api) })
	s.serve(func() error { return s.stream.Serve(stream) })
	return nil
}

// serve runs a listener until it ends.
func (s *server) serve(run func() error) {
	s.running.Go(func() {
		if err := run(); err != nil {
			s.ended <- err
		}
	})
}

// maxProfilers is how many connections may ask for profiles.
const maxProfilers = 8

// listenProfiles serves /debug/pprof/ on an address of its own.
func (s *server) listenProfiles(ctx context.Context) error {
	l, err := httpd.Listen(ctx, s.options.pprof, httpd.Security{}, &httpd.ListenOptions{MaxConnections: maxProfilers})
	if err != nil {
		return listenError(s.options.pprof, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	profiles := &http.Server{Handler: mux, ReadHeaderTimeout: httpd.DefaultReadHeaderTimeout}
	s.listeners = append(s.listeners, l)
	s.serve(func() error {
		if err := profiles.Serve(l); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	s.logger.InfoContext(ctx, "profiles are served", "url", "http://"+l.Addr().String()+"/debug/pprof/")
	return nil
}

// announcement says where a server listens, for programs.
type announcement struct {
	HTTP   string `json:"http"`           // host:port
	Stream string `json:"stream"`         // host:port
	Peer   string `json:"peer,omitempty"` // host:port, for other nodes
	TLS    bool   `json:"tls"`
	Data   string `json:"data"`
	PID    int    `json:"pid"`
}

// announce says on standard output where the server listens.
func (s *server) announce(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	if s.options.json {
		if !s.security.Keys {
			s.logger.InfoContext(cmd.Context(), "there are no API keys: listening on loopback only and asking nobody for a key")
		}
		return printJSON(out, announcement{s.httpAddr, s.streamAddr, s.node.listensForPeers(), s.security.TLS != nil, s.options.data, os.Getpid()})
	}
	scheme := "http://"
	if s.security.TLS != nil {
		scheme = "https://"
	}
	fmt.Fprintln(out, "maru serves the wallet")
	err := printPairs(out,
		[2]string{"  http", scheme + s.httpAddr + "  (documentation at /docs)"},
		[2]string{"  stream", s.streamAddr},
		[2]string{"  data", s.options.data},
	)
	if !s.security.Keys {
		fmt.Fprintln(out, "There are no API keys, so it listens on loopback only and asks nobody for a key: see `maru key create --help`.")
	}
	return err
}

// stop answers what is under way, within a bound, and closes the log.
func (s *server) stop(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var httpErr, streamErr error
	var both sync.WaitGroup
	both.Go(func() { httpErr = s.http.Shutdown(ctx) })
	both.Go(func() { streamErr = s.stream.Shutdown(ctx) })
	for _, l := range s.listeners {
		_ = l.Close() // nobody waits for a profile
	}
	both.Wait()
	s.running.Wait()
	if s.stopIntroducing != nil {
		s.stopIntroducing()
		<-s.introduced
	}
	err := s.node.close(handOverWithin)
	if httpErr != nil || streamErr != nil {
		s.logger.Warn("clients were cut off: what they were not answered can be asked for, or repeated", "http", httpErr, "stream", streamErr)
	}
	if err != nil && !errors.Is(err, rsm.ErrFailed) {
		return fmt.Errorf("close the data: %w", err)
	}
	s.logger.Info("stopped")
	return nil
}
