package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// bench is one benchmark.
type bench struct {
	config   benchConfig
	plan     benchPlan
	servers  []*benchServer // one, or the nodes of a cluster
	server   *benchServer   // the first of them
	http     *wallethttp.Client
	dir      string // the server's directory; empty if the server runs elsewhere
	progress io.Writer
	report   benchReport

	elsewhere int // how many nodes on from the one that a call would go to it goes

	made       benchRange               // the transfers that were answered
	exceptions map[uint64]wallet.Result // those of them that were not applied
}

// runBench runs a benchmark, prints its result, and returns an error if there is
// none or if it shows that something was lost or refused.
func runBench(ctx context.Context, c benchConfig, stdout, stderr io.Writer) (err error) {
	b := &bench{config: c, progress: stderr, exceptions: map[uint64]wallet.Result{}}
	seed := c.seed
	if seed == 0 {
		seed = 1 + rand.Uint64N(maxBenchSeed)
	}
	if b.plan, err = c.plan(seed); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(ctx); err != nil {
		return err
	}
	if err := b.execute(ctx); err != nil {
		return b.explain(ctx, err)
	}
	if err := b.print(stdout); err != nil {
		return err
	}
	return b.report.verdict()
}

// explain adds to the error of a run that the server has ended, if it has, and
// the end of its log.
func (b *bench) explain(ctx context.Context, err error) error {
	if !b.server.own() || ctx.Err() != nil {
		return err
	}
	const soon = time.Second // connections break a moment before the process has ended
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	ended := make(chan *benchServer, len(b.servers))
	for _, s := range b.servers {
		go func() {
			select {
			case <-s.exited:
				ended <- s
			case <-ctx.Done():
			}
		}()
	}
	select {
	case s := <-ended:
		return fmt.Errorf("%w; the server has ended%s", err, s.log.quote())
	case <-ctx.Done():
		return err
	}
}

// open starts the server, or takes the running one.
func (b *bench) open(ctx context.Context) (err error) {
	c := &b.config
	if c.addr != "" {
		if b.server, err = runningServer(c); err != nil {
			return err
		}
		b.servers = []*benchServer{b.server}
		return b.connect()
	}
	c.credentials = credentials{timeout: c.timeout} // nobody needs a key for a server of our own
	parent := c.data
	if parent == "" {
		parent = os.TempDir()
	}
	dir, err := os.MkdirTemp(parent, "maru-bench-*")
	if err != nil {
		return failed(fmt.Errorf("make a directory for the server: %w", err), "name an existing directory with --data")
	}
	b.dir = dir
	b.report.Machine = describeMachine(dir)
	if kind := b.report.Machine.FileSystem; volatileFS(kind) && c.data == "" {
		return failed(fmt.Errorf("%s is on %s, which keeps nothing: an fsync there costs nothing", parent, kind),
			"name a directory on a disk with --data")
	}
	if c.clustered() {
		b.servers, err = startBenchCluster(ctx, dir, c)
	} else {
		b.servers = make([]*benchServer, 1)
		b.servers[0], err = startBenchServer(ctx, dir, c.profile, "server", c.serveFlags)
	}
	if err != nil {
		b.servers = nil // they were stopped
		return err
	}
	b.server = b.servers[0]
	return b.connect()
}

// connect makes the HTTP client for the server's present address.
func (b *bench) connect() (err error) {
	if b.http != nil {
		b.http.Close()
	}
	b.http, err = wallethttp.NewClient(b.server.url, &wallethttp.ClientOptions{
		APIKey: b.config.key,
		Tenant: wallet.Tenant(b.config.tenant),
		TLS:    b.server.httpTLS,
		// The plan says which server gets what.
		NoFollow: true,
	})
	return err
}

// close ends the server, if it is the benchmark's, and removes its directory.
func (b *bench) close() error {
	stopServers(b.servers)
	if b.dir == "" {
		return nil
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return fmt.Errorf("remove the server's directory: %w", err)
	}
	return nil
}

// execute runs the phases.
func (b *bench) execute(ctx context.Context) error {
	b.describe()
	start := time.Now()
	if err := b.phase(ctx, "setup", b.setup); err != nil {
		return err
	}
	b.report.SetupSeconds = round(time.Since(start).Seconds(), 3)
	stop := func() error { return nil }
	if b.config.profile != "" {
		var err error
		if stop, err = startProfiles(b.config.profile + "/load"); err != nil {
			return err
		}
	}
	err := b.phase(ctx, "run", b.measure)
	if err = errors.Join(err, stop()); err != nil {
		return err
	}
	if b.config.recovery {
		if err := b.recover(ctx); err != nil {
			return err
		}
	}
	return b.phase(ctx, "check", b.check)
}

// setup opens the accounts and funds them.
func (b *bench) setup(ctx context.Context) error {
	const opens = 4 // batches under way
	client, err := b.dial(ctx, b.server, opens)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // every answer was received
	if err := b.openBanks(ctx, client); err != nil {
		return err
	}
	b.plan.handles = make([]wallet.Handle, b.plan.accounts)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Uint64
	var workers sync.WaitGroup
	for range opens {
		workers.Go(func() {
			for {
				end := next.Add(wallet.MaxBatch)
				begin := end - wallet.MaxBatch
				if begin >= b.plan.accounts || ctx.Err() != nil {
					return
				}
				if err := b.openAccounts(ctx, client, benchRange{begin, min(end, b.plan.accounts)}); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("open accounts: %w", err)
	}
	return b.fund(ctx)
}

// openBanks opens the accounts that the funds come from.
func (b *bench) openBanks(ctx context.Context, client accountOpener) error {
	banks, err := client.OpenAccounts(ctx, b.plan.newBanks())
	if err != nil {
		return fmt.Errorf("open bank account: %w", err)
	}
	b.plan.banks = nil
	for _, bank := range banks {
		if bank.Code != wallet.Applied {
			return fmt.Errorf("open bank account: %s", bank.Code)
		}
		if bank.Before {
			// The same ids would be transfers that were made already.
			return failed(fmt.Errorf("this server has been measured with the seed %d before", b.plan.seed),
				"leave out --seed, or give another; or measure a fresh server")
		}
		b.plan.banks = append(b.plan.banks, bank.Handle)
	}
	return nil
}

// accountOpener is what openAccounts needs of a client.
type accountOpener interface {
	OpenAccounts(ctx context.Context, as []wallet.NewAccount) ([]wallet.Opened, error)
}

// openAccounts opens a batch of the accounts and keeps their handles.
func (b *bench) openAccounts(ctx context.Context, client accountOpener, r benchRange) error {
	batch := make([]wallet.NewAccount, 0, r.count())
	for i := r.begin; i < r.end; i++ {
		batch = append(batch, wallet.NewAccount{ID: b.plan.account(i), Currency: b.plan.currency})
	}
	opened, err := client.OpenAccounts(ctx, batch)
	if err != nil {
		return err
	}
	for i, o := range opened {
		if o.Code != wallet.Applied {
			return fmt.Errorf("account %s: %s", batch[i].ID, o.Code)
		}
		b.plan.handles[r.begin+uint64(i)] = o.Handle
	}
	return nil
}

// fund gives every account its funds.
func (b *bench) fund(ctx context.Context) error {
	loaded, err := b.load(ctx, benchStream, defaultLoadCallers, &benchLoad{
		numbers: benchRange{benchFunding, benchFunding + b.plan.accounts},
		batch:   wallet.MaxBatch,
	})
	if err != nil {
		return fmt.Errorf("fund accounts: %w", err)
	}
	for _, r := range loaded.exceptions {
		return fmt.Errorf("fund accounts: %s", r.Code())
	}
	return nil
}

// defaultLoadCallers is how many batches are under way where it is not measured.
const defaultLoadCallers = 8

// load runs a load with n callers of an API.
func (b *bench) load(ctx context.Context, api benchAPI, n int, l *benchLoad) (*benchLoaded, error) {
	callers, err := b.openCallers(ctx, api, n)
	if err != nil {
		return nil, err
	}
	loaded, err := l.run(ctx, callers.callers)
	return loaded, errors.Join(err, callers.close())
}

// measure runs the timed transfers.
func (b *bench) measure(ctx context.Context) error {
	before, err := b.usage(ctx)
	if err != nil {
		return err
	}
	termsBefore, err := b.terms(ctx)
	if err != nil {
		return err
	}
	if b.config.table {
		err = b.measureTable(ctx)
	} else {
		err = b.measureOne(ctx)
	}
	if err != nil {
		return err
	}
	after, err := b.usage(ctx)
	if err != nil {
		return err
	}
	termsAfter, err := b.terms(ctx)
	if err != nil {
		return err
	}
	b.report.LeaderChanges = termsAfter - termsBefore
	b.report.setUsage(before, after)
	return nil
}

// measureOne runs the transfers that the configuration names.
func (b *bench) measureOne(ctx context.Context) error {
	loaded, err := b.timed(ctx, b.config.api, b.config.clients)
	if err != nil {
		return err
	}
	b.report.setLoaded(loaded)
	return nil
}

// timed runs the configured number or duration of transfers with n callers.
func (b *bench) timed(ctx context.Context, api benchAPI, n int) (*benchLoaded, error) {
	batch := 1
	if api == benchStream {
		batch = b.config.batch
	}
	numbers := benchRange{b.made.end, benchFunding}
	if b.config.transfers > 0 {
		numbers.end = numbers.begin + b.config.transfers
	}
	loaded, err := b.load(ctx, api, n, &benchLoad{
		numbers:  numbers,
		duration: b.config.duration,
		batch:    batch,
		progress: b.progress,
		name:     fmt.Sprintf("%s %d", api, n),
	})
	if err != nil {
		return nil, err
	}
	b.made.end = loaded.numbers.end
	maps.Copy(b.exceptions, loaded.exceptions)
	return loaded, nil
}

// recover kills the server, as a power cut would end it, and measures how long
// the next start takes until it listens.
func (b *bench) recover(ctx context.Context) error {
	b.server.kill()
	start := time.Now()
	if err := b.server.start(ctx); err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	seconds := round(time.Since(start).Seconds(), 3)
	b.report.RecoverySeconds = &seconds
	return b.connect()
}
