package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"maru.example/cluster"
	"maru.example/internal/httpd"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wal"
	"maru.example/wallet/walletgrpc"
	"maru.example/wallet/wallethttp"
)

// serveOptions are the flags of `maru serve`.
type serveOptions struct {
	data, http, stream string
	tlsCert, tlsKey    string
	insecurePlaintext  bool
	reserve            byteSize
	snapshot           byteSize
	maxQueue           byteSize
	cutLog, wholeLog   bool   // --cut-log, and --cut-log=false
	archive            string // a place, "none", or "": as before
	archiveSegment     byteSize
	archiveAge         time.Duration
	archiveAnew        []string // what is accepted as lost
	logSegment         byteSize // 0: the log's default
	history            bool
	historyCache       byteSize
	store              string // URL of PostgreSQL, "" for a file
	personal           bool
	webhookHTTP        bool
	webhookPublicOnly  bool
	personalKey        string // file, "" for the one in the data directory
	recentIDs          uint64 // of all partitions
	requestTimeout     time.Duration
	maxConnections     int // of each port
	maxStreams         int
	maxReaders         int // of events
	maxTenantReaders   int // of those, of a tenant
	logLevel           slog.Level
	logFormat          string
	pprof              string            // address, "" for off
	peer               string            // address for other nodes, "" for none
	advertise          cluster.Addresses // where nodes and clients reach it, "" for where it listens
	peerCA             string
	peerCert, peerKey  string
	partitions         int // of a cluster that is made; 0: 1
	json               bool
}

// defaultRecentIDs is how many transaction ids a node keeps in memory, of all partitions.
const defaultRecentIDs = 8 << 20

func newServeCommand() *cobra.Command {
	o := serveOptions{archiveSegment: 64 << 20, archiveAge: defaultArchiveAge, recentIDs: defaultRecentIDs, reserve: 1 << 30, snapshot: 1 << 30, maxQueue: 64 << 20}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the wallet over HTTP and the batch stream",
		Long: `Serve the wallet over HTTP and the batch stream, with all data in one directory.
An empty one becomes a cluster of one node, but not with --peer: a node of several is
made by maru cluster init, add or replace, and without its log it does not start.

It listens on loopback only until there are API keys (see maru key create); beyond
loopback it also wants a certificate. A port of 0 is any free port. The first
interrupt (SIGINT or SIGTERM) stops it gracefully: what is under way is answered.
A second one ends it at once, which loses nothing that was answered. When the disk
or the log fails, it stops taking writes, says why, and ends with status 1.

With --archive what is decided goes, compressed and chained, into immutable segments; the
log that the last two snapshots cover is removed once it is there, unless --cut-log=false.
An archive that is away stops nothing: the log is kept meanwhile.
` + helpLocation,
		Example: `  maru serve
  maru serve --data /var/lib/maru --http 127.0.0.1:8080
  maru serve --data /var/lib/maru --archive s3://audit/maru-1
  maru serve --http 0.0.0.0:7480 --stream 0.0.0.0:7481 --tls-cert cert.pem --tls-key key.pem
  maru serve --http 127.0.0.1:0 --stream 127.0.0.1:0 --json | head -1 | jq -r .http`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.wholeLog = cmd.Flags().Changed("cut-log") && !o.cutLog
			return serve(cmd, &o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", defaultData, "`directory` that holds everything")
	f.StringVar(&o.http, "http", defaultHTTP, "`address` of the HTTP API")
	f.StringVar(&o.stream, "stream", defaultStream, "`address` of the batch stream")
	f.StringVar(&o.tlsCert, "tls-cert", "", "PEM `file` with the certificate chain; read again when it changes")
	f.StringVar(&o.tlsKey, "tls-key", "", "PEM `file` with its key")
	f.BoolVar(&o.insecurePlaintext, "insecure-plaintext", false, "allow API keys in plain text beyond loopback, in a network that encrypts by itself")
	f.Var(&o.reserve, "reserve-bytes", "take no writes with less free disk than this; none goes on until the disk is full and the log fails")
	f.Var(&o.snapshot, "snapshot-bytes", "write a snapshot after this much log, or none for never")
	f.Var(&o.maxQueue, "max-queue-bytes", "writes that may wait; with more, clients are told to try again")
	o.registerSide(f)
	o.registerArchive(f)
	f.Uint64Var(&o.recentIDs, "recent-ids", o.recentIDs, "transaction ids in memory, about, at 31 bytes each; of older ones 2 bytes are in memory, and the rest on the disk")
	f.Var(&o.logSegment, "log-segment-bytes", "size of the log's files, for tests")
	if err := f.MarkHidden("log-segment-bytes"); err != nil {
		panic(err)
	}
	f.BoolVar(&o.cutLog, "cut-log", false, "remove the log that the last two snapshots cover; without an archive, what happened before can then not be audited (default, with an archive: true)")
	o.registerHistory(f)
	f.DurationVar(&o.requestTimeout, "request-timeout", httpd.DefaultRequestTimeout, "`time` after which a request is answered in any case")
	f.IntVar(&o.maxConnections, "max-connections", httpd.DefaultMaxConnections, "open connections of each port; more are refused, and fewer taken if the process may not open as many files")
	f.IntVar(&o.maxStreams, "max-streams", walletgrpc.DefaultMaxStreams, "batch streams at once; each can hold 5 MiB of memory")
	o.registerReaders(f)
	f.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "least `level` of what is logged: debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "`format` of the log on standard error: text or json")
	completeFlag(cmd, "log-level", "debug", "info", "warn", "error")
	completeFlag(cmd, "log-format", "text", "json")
	f.IntVar(&o.partitions, "partitions", 0, "parts of a wallet that is made now, which can be on different nodes; their number never changes, and in more than 215 events are followed by account only (default 1)")
	f.StringVar(&o.peer, "peer", "", "`address` for other nodes of the cluster (default: none)")
	f.StringVar(&o.advertise.Peer, "advertise-peer", "", "`address` that other nodes are told, where it is not that of --peer: behind a proxy, or if that is 0.0.0.0")
	f.StringVar(&o.advertise.HTTP, "advertise-http", "", "`URL` or address of the HTTP API that the cluster is told, where it is not that of --http (default, for 0.0.0.0: the host that other nodes are told)")
	f.StringVar(&o.advertise.Stream, "advertise-stream", "", "`address` of the batch stream that the cluster is told, like --advertise-http")
	f.StringVar(&o.peerCA, "peer-ca", "", "PEM `file` with the authority that issued the certificates of all nodes, and of nothing else")
	f.StringVar(&o.peerCert, "peer-cert", "", "PEM `file` with this node's certificate chain, for other nodes")
	f.StringVar(&o.peerKey, "peer-key", "", "PEM `file` with its key")
	f.StringVar(&o.pprof, "pprof", "", "loopback `address` for Go profiles (default: off)")
	f.BoolVar(&o.json, "json", false, "print one JSON object when it listens: http, stream, data, pid")
	fromEnvironment(cmd, "data", "http", "stream", "tls-cert", "tls-key", "insecure-plaintext", "reserve-bytes", "snapshot-bytes",
		"max-queue-bytes", "recent-ids", "archive", "archive-segment-bytes", "archive-segment-age", "cut-log", "history", "history-cache", "store", "personal", "personal-key", "webhook-http", "webhook-public-only", "request-timeout", "max-connections", "max-streams", "max-event-readers", "max-tenant-event-readers", "log-level", "log-format", "pprof",
		"partitions", "peer", "advertise-peer", "advertise-http", "advertise-stream", "peer-ca", "peer-cert", "peer-key")
	return cmd
}

// registerReaders registers the bounds of streams of events.
func (o *serveOptions) registerReaders(f *pflag.FlagSet) {
	f.IntVar(&o.maxReaders, "max-event-readers", wallethttp.MaxEventReaders, "streams of events (server-sent) at once")
	f.IntVar(&o.maxTenantReaders, "max-tenant-event-readers", wallethttp.MaxTenantEventReaders, "of those, the most of one tenant, so that none takes the places of all")
}

// serve is the life of a server: open the data, listen, serve, stop.
func serve(cmd *cobra.Command, o *serveOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	logger, err := o.logger(cmd)
	if err != nil {
		return err
	}
	takeStandardLog(logger)
	spareProcessors()
	if err := o.limitConnections(logger); err != nil {
		return err
	}
	if err := vfs.OS().MkdirAll(o.data); err != nil {
		return openError(o.data, err)
	}
	security, err := o.security(logger)
	if err != nil {
		return err
	}
	node, err := openNode(cmd.Context(), o, logger)
	if err != nil {
		return err
	}
	s := newServer(o, security, node, logger)
	if err := s.listen(cmd.Context()); err != nil {
		return errors.Join(err, node.close(0))
	}
	if err := s.join(cmd.Context()); err != nil {
		return errors.Join(err, s.stop(stopTimeout))
	}
	if err := s.announce(cmd); err != nil {
		return errors.Join(err, s.stop(stopTimeout))
	}
	return s.run(cmd.Context())
}

// takeStandardLog sends what packages of the standard library log by themselves, such as net/http about receivers of webhooks
// that answer more than they may, to the logger, at the level debug.
func takeStandardLog(logger *slog.Logger) {
	slog.SetLogLoggerLevel(slog.LevelDebug)
	slog.SetDefault(logger)
}

// spareProcessors lets two more threads run Go code than there are processors: one
// that waits for the disk keeps its place until the runtime notices, which takes up to
// some milliseconds, and meanwhile nobody would answer. GOMAXPROCS in the environment
// decides otherwise.
func spareProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	}
}

// validate refuses settings with which a server cannot run.
func (o *serveOptions) validate() error {
	switch {
	case o.maxQueue <= 0:
		return usageError("writes wait in memory while the disk syncs: 64MiB is the default", "--max-queue-bytes is %s", &o.maxQueue)
	case o.reserve >= 0 && o.reserve < o.leastReserve():
		least := o.leastReserve()
		return usageError(fmt.Sprintf("%s is the least that holds what is written until it is noticed; it grows with --max-queue-bytes", &least),
			"--reserve-bytes is %s, which guards nothing", &o.reserve)
	case o.historyCache <= 0:
		return usageError("64MiB is the default", "--history-cache is %s", &o.historyCache)
	case o.requestTimeout <= 0:
		return usageError("every request ends: 10s is the default", "--request-timeout is %v", o.requestTimeout)
	case o.archiveAge < leastArchiveAge && o.archiveAge != 0:
		return usageError("each is an object in the archive: 6h is the default, 0 never makes one before it is full", "--archive-segment-age is %v, and %v is the least", o.archiveAge, leastArchiveAge)
	case o.maxConnections <= 0:
		return usageError("each client needs one: 4096 is the default", "--max-connections is %d", o.maxConnections)
	case o.maxStreams <= 0:
		return usageError("each client of the stream needs one: 256 is the default", "--max-streams is %d", o.maxStreams)
	case o.maxReaders <= 0 || o.maxTenantReaders <= 0:
		return usageError("each reader of events needs one: 512, and 256 of a tenant, are the defaults", "--max-event-readers is %d, and --max-tenant-event-readers %d", o.maxReaders, o.maxTenantReaders)
	}
	if err := o.validateAdvertised(); err != nil {
		return err
	}
	return o.validatePeerCertificates()
}

// leastReserve returns the least useful reserve.
func (o *serveOptions) leastReserve() byteSize {
	return byteSize(rsmraft.MinReserveBytes(int64(o.maxQueue)))
}

// logger returns the log on standard error.
func (o *serveOptions) logger(cmd *cobra.Command) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: o.logLevel}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), options)), nil
	}
	return nil, usageError("--log-format is text or json", "unknown log format %q", o.logFormat)
}

const hintDecision = "this program has other rules than the one that decided it: run that one; `maru wallet replay` shows the differences"

// openError explains why the data directory cannot be used.
func openError(data string, err error) error {
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return failed(fmt.Errorf("%s is in use by another process", data),
			"stop the other `maru serve`, or give this one a directory of its own with --data")
	case errors.Is(err, rsm.ErrDecision):
		return failed(err, hintDecision)
	case errors.Is(err, wal.ErrCorrupt):
		return failed(err, "no record was changed; bring the file that is damaged or missing back from a copy: what it held was acknowledged")
	case errors.Is(err, os.ErrPermission):
		return failed(err, "--data names a directory that this user can write")
	}
	return failed(fmt.Errorf("open %s: %w", data, err), "--data names a directory on a local disk with room")
}

// nodeOptions returns the settings of the log.
func (o *serveOptions) nodeOptions(logger *slog.Logger, archived bool) *rsmraft.Options {
	var keepers []string
	if o.history {
		keepers = append(keepers, historyName)
	}
	if archived {
		keepers = append(keepers, archiveName)
	}
	return &rsmraft.Options{
		MaxQueueBytes: int64(o.maxQueue),
		SnapshotBytes: atLeastOne(o.snapshot),
		ReserveBytes:  int64(o.reserve),
		CutLog:        o.cutLog || archived && !o.wholeLog,
		Keepers:       keepers,
		SegmentBytes:  int64(o.logSegment),
		Logger:        logger,
	}
}

// atLeastOne returns a size for options in which 0 means the default.
func atLeastOne(b byteSize) int64 {
	if b == 0 {
		return 1
	}
	return int64(b)
}

// logFailure returns the failure of a server whose log failed.
func logFailure(err error) error {
	if errors.Is(err, rsm.ErrDecision) {
		return failed(err, hintDecision)
	}
	if errors.Is(err, wal.ErrCorrupt) {
		return failed(fmt.Errorf("the log failed: %w", err),
			"this node has lost what it had acknowledged: stop it, and give its place to another with `maru cluster replace`")
	}
	return failed(fmt.Errorf("the log failed: %w", err),
		"everything that was answered is kept; see to the disk, then start again: recovery finds what else was written")
}

// stopTimeout bounds a graceful stop beyond the time that a request may take.
const stopTimeout = 10 * time.Second

// failTimeout bounds the stop of a server whose log failed: its clients have
// been answered by the node.
const failTimeout = time.Second

// run serves until ctx ends, the log fails, a listener does, or the node is no part
// of its cluster any more.
func (s *server) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		s.logger.InfoContext(ctx, "stopping: answering what is under way; a second signal ends at once")
		err := s.stop(s.options.requestTimeout + stopTimeout)
		select {
		case <-s.node.host.Load().Failed(): // meanwhile
			return errors.Join(logFailure(s.node.host.Load().Err()), err)
		default:
			return err
		}
	case <-s.node.host.Load().Failed():
		return errors.Join(logFailure(s.node.host.Load().Err()), s.stop(failTimeout))
	case <-s.node.removed:
		return errors.Join(s.node.removedError(), s.stop(stopTimeout))
	case err := <-s.ended:
		return errors.Join(failed(err, "see the log of this process"), s.stop(stopTimeout))
	}
}
