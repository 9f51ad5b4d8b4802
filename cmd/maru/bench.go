package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"maru.example/cluster"
	"maru.example/wallet"
)

// benchAPI is the way on which a benchmark's transfers reach the server.
type benchAPI string

// The ways.
const (
	benchStream benchAPI = "stream" // whole batches through the binary stream
	benchClient benchAPI = "client" // one call each, which the client package gathers in batches
	benchHTTP   benchAPI = "http"   // one request each, HTTP and JSON
)

// How much of what was answered is asked for again at the end.
const (
	checkFull   = "full"
	checkSample = "sample"
	checkNone   = "none"
	checkAuto   = "auto" // full up to maxFullCheck transfers, and sample above
)

// maxFullCheck is the most transfers that are all checked by default.
const maxFullCheck = 20_000_000

// benchConfig is what the command line asks for.
type benchConfig struct {
	accounts    uint64
	transfers   uint64        // 0: no limit
	duration    time.Duration // 0: no limit
	clients     int
	connections int
	batch       int
	api         benchAPI
	hot         int
	nodes       int
	partitions  int // 0: not decided yet
	cross       int // per cent
	protocol    string
	route       string
	addr        string // URL of a running server; empty for one of our own
	stream      string // its stream
	credentials        // for it; the timeout is that of each phase
	data        string
	check       string
	profile     string
	seed        uint64
	json        bool
	table       bool
	recovery    bool
	serveFlags  []string
	given       func(flag string) bool // on the command line
}

const benchWalletHelp = `Measure the wallet: open accounts, make transfers between them, check that every
one that was answered is there, and say how fast it was.

Without --addr the server is a process of its own on loopback, on a fresh
directory below --data, which is removed at the end. What follows -- goes to its
"maru serve". Load and server share the machine.

What happens, in this order:
  setup     --accounts accounts are opened and each gets 10,000,000.00 USD from a
            bank account without limit, so that the limit of each is checked in
            every transfer and none is refused. Not timed.
  run       the transfers: between two accounts drawn uniformly, 0.01 to 1.00 USD,
            a new transaction_id each; with --hot P, P per cent of them have the
            same account on one side. The clock runs from the first call to the
            last answer, which comes after the fsync.
  recovery  with --recovery, the server is killed (SIGKILL) and started again.
  check     the sum of all balances is zero; the balances of 1,000 accounts are
            what the transfers make them; and every transfer, made again, is
            answered "applied" as a repetition, which moves nothing.

With --nodes and --partitions the server is a cluster: processes on loopback, each
on a directory of its own, of whose replicas a majority has every answered transfer.
A batch, or 16 calls that follow each other, is paid in one partition and goes to the
node that leads it; with --route any to the nodes in turn. The payees are of the
same partition, but for --cross P per cent of them. The run begins when all replicas
are there and the leaders are spread. The check asks another node than the one that
answered, and waits until no money is in flight.

The APIs:
  stream    --clients closed loops; each sends a batch and waits for its answer
  client    --clients callers of the client package, one transfer a call
  http      --clients callers of POST /v1/wallet/balance_transfer, one transfer a
            request, each on a connection that is kept alive

--json prints one object with these keys, null where a figure is not to be had:
  api accounts transfers clients connections batch hot_percent seed
  nodes partitions cross_percent protocol route
  leader_changes              of partitions, in the run
  seconds                     length of the run
  transfers_per_second        transfers/seconds
  transfers_per_second_min    in the slowest whole second
  transfers_per_second_median in the median second
  latency_of                  "batch" for the stream, "call" otherwise
  p50_ms p99_ms p999_ms max_ms
  results                     answers by code
  busy                        calls that were made again, as the server was full
  errors                      answers other than applied; with 2pc some are account_locked,
                              which fails no run
  fsyncs log_bytes log_bytes_per_transfer   of all nodes together
  snapshots                   written in the run
  snapshot_pause_max_ms       longest hold of the writes for one, setup included
  server_peak_bytes           resident memory, of the whole life of the server; the sum
                              of the nodes' peaks
  server_cpu_seconds_per_million, client_cpu_seconds_per_million
  setup_seconds recovery_seconds
  check                       {mode, transfers, missing, different, balances,
                              balances_wrong, sum_zero, in_flight_zero}
  table                       of --table: [{api, callers, transfers_per_second,
                              p50_ms, p99_ms, p999_ms, max_ms}]
  machine                     {cpu, cores, memory_bytes, kernel, file_system, go, maru}
  command date`

// newBenchCommand returns "maru bench".
func newBenchCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "bench",
		Short:   "Measure a system on this machine",
		Example: `  maru bench wallet`,
	},
		newBenchWalletCommand(),
		newBenchProfiledCommand(),
	)
}

// newBenchWalletCommand returns "maru bench wallet".
func newBenchWalletCommand() *cobra.Command {
	var c benchConfig
	var api string
	cmd := &cobra.Command{
		Use:   "wallet [flags] [-- flags of maru serve]",
		Short: "Measure the wallet",
		Long:  benchWalletHelp,
		Example: `  maru bench wallet
  maru bench wallet --api http --clients 64 --duration 10s
  maru bench wallet --hot 100 --json | jq .transfers_per_second
  maru bench wallet --nodes 3 --cross 10 --protocol saga
  maru bench wallet --accounts 10000000 --recovery
  maru bench wallet --table
  maru bench wallet --addr http://127.0.0.1:7480 --stream 127.0.0.1:7481
  maru bench wallet --data /mnt/disk -- --snapshot-bytes 256MiB`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.api, c.serveFlags = benchAPI(api), args
			if err := c.complete(); err != nil {
				return err
			}
			return runBench(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.registerRun(cmd, &api)
	c.registerServer(cmd)
	return cmd
}

// registerRun registers the flags that say what is measured.
func (c *benchConfig) registerRun(cmd *cobra.Command, api *string) {
	f := cmd.Flags()
	c.given = f.Changed
	f.Uint64Var(&c.accounts, "accounts", 1_000_000, "open `N` accounts, at least 2")
	f.Uint64Var(&c.transfers, "transfers", 0, "make `N` transfers; if not given 10,000,000 (client 2,000,000, http 300,000), with --duration no limit")
	f.DurationVar(&c.duration, "duration", 0, "end after this `time`; if not given when all transfers are made, with --table 5s for each figure")
	f.StringVar(api, "api", string(benchStream), "`stream`, client or http")
	f.IntVar(&c.clients, "clients", 0, "make `N` calls at once; if not given 4, with several nodes 32 (client 1,024, http 64)")
	f.IntVar(&c.connections, "connections", 1, "let the calls share `N` streams; with http each has a connection of its own")
	f.IntVar(&c.batch, "batch", wallet.MaxBatch, "put `N` transfers in a batch of the stream")
	f.IntVar(&c.hot, "hot", 0, "let `P` per cent of the transfers have the same account on one side")
	f.Uint64Var(&c.seed, "seed", 0, "draw the transfers from this `number`, 1 to 2^53; if not given from a random one. A server takes each once")
	f.IntVar(&c.nodes, "nodes", 1, "start a cluster of `N` servers, 1 to 9")
	f.IntVar(&c.partitions, "partitions", 0, "divide the wallet into `P` partitions; if not given 1, with several nodes 4")
	f.IntVar(&c.cross, "cross", 0, "let `P` per cent of the transfers be between two partitions")
	f.StringVar(&c.protocol, "protocol", string(cluster.TCC), "make those by `tcc`, saga or 2pc")
	f.StringVar(&c.route, "route", string(routeLeader), "send each call to the node that leads the partition that pays (`leader`), or to each node in turn (any)")
	f.BoolVar(&c.table, "table", false, "measure 1, 16, 64, 256 and 1,024 callers of http and client, and print a Markdown table")
	f.BoolVar(&c.recovery, "recovery", false, "kill the server after the run and measure its next start")
	f.StringVar(&c.check, "check", checkAuto, "make all transfers again at the end (`full`), 1,000,000 (sample), none, or auto: full up to 20,000,000")
	f.StringVar(&c.profile, "profile", "", "write CPU and memory profiles of load and server to this `directory`")
	completeFlag(cmd, "api", string(benchStream), string(benchClient), string(benchHTTP))
	completeFlag(cmd, "protocol", string(cluster.TCC), string(cluster.Saga), string(cluster.TwoPhases))
	completeFlag(cmd, "route", string(routeLeader), string(routeAny))
	completeFlag(cmd, "check", checkAuto, checkFull, checkSample, checkNone)
	jsonFlag(cmd, &c.json)
}

// registerServer registers the flags that say against which server.
func (c *benchConfig) registerServer(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.data, "data", "", "put the server's fresh directory in this existing `directory`; if not given in "+os.TempDir())
	f.StringVar(&c.addr, "addr", "", "measure the running server at this `address`: host:port, or a URL such as https://host:port with TLS")
	f.StringVar(&c.stream, "stream", "", "`address` of the running server's stream: host:port, or https://host:port with TLS")
	c.register(cmd, 30*time.Minute)
	f.Lookup("timeout").Usage = "give up when setup, run or check each take longer than this `time`"
}

// complete fills in defaults, which stand for zeros, and refuses what cannot be run.
func (c *benchConfig) complete() error {
	defaults := map[benchAPI]struct {
		transfers uint64
		clients   int
	}{
		benchStream: {10_000_000, 4},
		benchClient: {2_000_000, 1024},
		benchHTTP:   {300_000, 64},
	}
	d, ok := defaults[c.api]
	if !ok {
		return usageError("it is stream, client or http", "unknown API %q", string(c.api))
	}
	for name, zero := range map[string]bool{
		"transfers": c.transfers == 0, "duration": c.duration == 0, "clients": c.clients == 0, "seed": c.seed == 0, "partitions": c.partitions == 0,
	} {
		if zero && c.given(name) {
			return usageError("leave it out for the default", "--%s is 0", name)
		}
	}
	if c.table && c.duration == 0 {
		c.duration = 5 * time.Second
	}
	if c.transfers == 0 && c.duration == 0 {
		c.transfers = d.transfers
	}
	if c.clients == 0 {
		c.clients = d.clients
		if c.nodes > 1 {
			c.clients = max(c.clients, clusterClients)
		}
	}
	if c.partitions == 0 {
		c.partitions = 1
		if c.nodes > 1 {
			c.partitions = clusterPartitions
		}
	}
	if err := c.validate(); err != nil {
		return err
	}
	return c.validateCluster()
}

// clusterPartitions is how many partitions a cluster has by default.
const clusterPartitions = 4

// clusterClients is how many calls there are at once at the least, by default: what
// several disks have to write takes longer to be answered.
const clusterClients = 32

// clustered says whether the servers are to be made a cluster: one of one
// partition is the same without.
func (c *benchConfig) clustered() bool { return c.nodes > 1 || c.partitions > 1 }

// validateCluster refuses clusters that cannot be measured.
func (c *benchConfig) validateCluster() error {
	switch {
	case c.nodes < 1 || c.nodes > maxBenchNodes:
		return usageError("", "--nodes %d: want 1 to %d", c.nodes, maxBenchNodes)
	case c.partitions < 1 || c.partitions > cluster.MaxPartitions:
		return usageError("", "--partitions %d: want 1 to %d", c.partitions, cluster.MaxPartitions)
	case c.cross < 0 || c.cross > 100:
		return usageError("", "--cross %d: want 0 to 100 per cent", c.cross)
	case c.cross > 0 && c.partitions == 1:
		return usageError("give more with --partitions", "--cross %d with one partition", c.cross)
	case c.hot > 0 && c.partitions > 1:
		return usageError("the hot account is of one partition: leave out --partitions and --nodes", "--hot with several partitions")
	case !slices.Contains([]cluster.Protocol{cluster.TCC, cluster.Saga, cluster.TwoPhases}, cluster.Protocol(c.protocol)):
		return usageError("it is tcc, saga or 2pc", "unknown protocol %q", c.protocol)
	case c.route != string(routeLeader) && c.route != string(routeAny):
		return usageError("it is leader or any", "unknown route %q", c.route)
	case c.clustered() && c.addr != "":
		return usageError("leave out --addr and --stream", "--nodes and --partitions are for servers of the benchmark's own")
	case c.clustered() && c.recovery:
		return usageError("leave it out", "--recovery is for one node with one partition")
	}
	return nil
}

// validate refuses what cannot be run.
func (c *benchConfig) validate() error {
	switch {
	case c.accounts < 2 || c.accounts > maxBenchAccounts:
		return usageError("", "--accounts %d: want 2 to %d", c.accounts, uint64(maxBenchAccounts))
	case c.transfers >= benchFunding:
		return usageError("", "--transfers %d is too many", c.transfers)
	case c.seed > maxBenchSeed:
		return usageError("", "--seed %d: want 1 to %d", c.seed, uint64(maxBenchSeed))
	case c.duration < 0:
		return usageError("", "a time below zero")
	case c.clients < 1 || c.clients > maxBenchClients:
		return usageError("", "--clients %d: want 1 to %d", c.clients, maxBenchClients)
	case c.connections < 1 || c.connections > maxBenchClients:
		return usageError("", "--connections %d: want 1 to %d", c.connections, maxBenchClients)
	case c.batch < 1 || c.batch > wallet.MaxBatch:
		return usageError("", "--batch %d: want 1 to %d", c.batch, wallet.MaxBatch)
	case c.hot < 0 || c.hot > 100:
		return usageError("", "--hot %d: want 0 to 100 per cent", c.hot)
	case c.check != checkAuto && c.check != checkFull && c.check != checkSample && c.check != checkNone:
		return usageError("it is full, sample, none or auto", "unknown check %q", c.check)
	case (c.addr == "") != (c.stream == ""):
		return usageError("name both addresses of the running server", "--addr and --stream belong together")
	case c.addr != "" && (c.recovery || c.profile != "" || c.data != "" || len(c.serveFlags) > 0):
		return usageError("leave out --addr and --stream", "--recovery, --profile, --data and flags of maru serve are for a server of the benchmark's own")
	}
	return nil
}

// Limits of a benchmark.
const (
	maxBenchAccounts = 1_000_000_000
	maxBenchClients  = 10_000
	maxBenchSeed     = 1 << 53 // numbers of JSON are exact up to it for every reader
)

// newBenchProfiledCommand returns the hidden "maru bench profiled PREFIX --
// COMMAND", which runs a command of this program, for instance serve, and writes
// profiles of it to PREFIX.cpu.pprof and PREFIX.heap.pprof when it ends.
func newBenchProfiledCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "profiled PREFIX -- COMMAND",
		Short:  "Run a command and write profiles of it",
		Hidden: true,
		Args:   cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			stop, err := startProfiles(args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, stop()) }()
			root := newRootCommand()
			root.SetArgs(args[1:])
			return root.ExecuteContext(cmd.Context())
		},
	}
}

// startProfiles begins a CPU profile in prefix.cpu.pprof. The function that it
// returns ends it and writes the memory profile prefix.heap.pprof.
func startProfiles(prefix string) (stop func() error, err error) {
	cpu, err := os.Create(filepath.Clean(prefix + ".cpu.pprof"))
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		_ = cpu.Close() // nothing was written
		return nil, fmt.Errorf("profile: %w", err)
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(filepath.Clean(prefix + ".heap.pprof"))
		if err != nil {
			return errors.Join(fmt.Errorf("profile: %w", err), cpu.Close())
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(heap, 0), heap.Close(), cpu.Close())
	}, nil
}

// commandLine returns a command line for the report, without the API key.
func commandLine(args []string) string {
	words := []string{filepath.Base(args[0])}
	for i, word := range args[1:] {
		if strings.HasPrefix(word, "--key=") || args[i] == "--key" {
			word = "(key)"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// phase runs one phase under its deadline.
func (b *bench) phase(ctx context.Context, name string, run func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, b.config.timeout,
		fmt.Errorf("it took longer than --timeout %s", b.config.timeout))
	defer cancel()
	if err := run(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
