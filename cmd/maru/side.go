package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"maru.example/cluster"
	"maru.example/internal/sqldb"
	"maru.example/internal/telemetry"
	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/walletsql"
)

// sideName is the database beside the log, unless --store names one.
const sideName = "side.db"

// sideRetry is for how long a database that was away is not asked again for its tables.
const sideRetry = time.Second

// side is the database beside the log, for what is no command: it is found by several keys, and
// changed and deleted in place.
type side struct {
	file   string // of SQLite, "" with PostgreSQL
	shared bool   // other nodes have it too
	data   string // the node's directory
	place  string // as it is noted there
	had    string // what was noted there at the start, "": nothing
	begins bool   // a database that is nobody's may take the place of the one that was noted
	// claim makes sure that the database belongs to the wallet; nil: of whichever it is.
	claim func(ctx context.Context, store *walletsql.Store) error
	// known says whether the wallet is known for which it is claimed; nil: it need not be.
	known func() bool

	opened atomic.Pointer[sqldb.DB] // for the metrics
	turn   chan struct{}            // who has put something into it may use the rest
	db     *sqldb.DB                // nil until it was opened
	store  *walletsql.Store
	failed error // why there is no store
	tried  time.Time
}

// registerSide registers the flags of what is beside the log.
func (o *serveOptions) registerSide(f *pflag.FlagSet) {
	f.StringVar(&o.store, "store", "", "`URL` of the PostgreSQL database for what is not in the log, such as personal data, which the nodes of a cluster share, or side.db for a file in --data (default, where no other was in use)")
	f.BoolVar(&o.personal, "personal", true, "keep personal data of accounts, beside the log")
	f.StringVar(&o.personalKey, "personal-key", "", "`file` of the master key that seals the keys of personal data, made if it is not there; the nodes of a cluster have the same (default: personal.key in --data)")
	f.BoolVar(&o.webhookHTTP, "webhook-http", false, "allow webhooks at http addresses of other hosts: who listens on the way reads and may change what they are told")
	f.BoolVar(&o.webhookPublicOnly, "webhook-public-only", false, "refuse webhooks in private networks and on this machine, where tenants are not to reach")
}

// hintStore says what a store's URL is.
const hintStore = "it is like postgres://user@host/database?sslmode=verify-full&sslrootcert=FILE; the password can be in MARU_STORE, or in ~/.pgpass"

// storeError says what to do about a store that cannot be used.
func storeError(err error) error {
	hint := sqldb.Hint(err)
	if hint == "" {
		hint = hintStore
	}
	return failed(fmt.Errorf("the store: %w", err), hint)
}

// openSide checks the configuration of the side database, also against the one that the node had before. It is opened by what needs it.
func openSide(o *serveOptions) (*side, error) {
	file := filepath.Join(o.data, sideName)
	had, err := readStoreNote(o.data)
	if err != nil {
		return nil, err
	}
	s := &side{data: o.data, had: had, turn: make(chan struct{}, 1)}
	switch {
	case o.store == "" && had != "" && had != sideName:
		return nil, failed(fmt.Errorf("personal data and webhooks of %s are in the database %s, and --store does not name it", o.data, had),
			"give it with --store, or in MARU_STORE, with user and password; to go on without what is there: `maru wallet take-store --data "+o.data+" --store "+sideName+"`")
	case o.store == "", o.store == sideName:
		s.file, s.place = file, sideName
		return s, nil
	}
	db, err := sqldb.OpenPostgres(o.store, nil)
	if err == nil {
		s.place, err = sqldb.Place(o.store)
	}
	if err != nil {
		hint := sqldb.Hint(err)
		if hint == "" {
			hint = hintStore
		}
		return nil, usageError(hint, "--store: %w", err)
	}
	if fileIsThere(file) {
		return nil, errors.Join(db.Close(), failed(fmt.Errorf("%s has what this node kept before it had --store, where no erasure would reach it", file),
			"`maru wallet move-store --data "+o.data+" --to URL` moves it into the database; if nothing of it is needed, remove the file"))
	}
	s.db, s.shared = db, true
	s.opened.Store(db)
	return s, nil
}

// expects says that there is a database of this node's wallet, which one that is nobody's is not. A file in the directory that is gone is taken for
// removed.
func (s *side) expects() bool { return s.had != "" && s.had != sideName && !s.begins }

// note notes that the database is the one that the node has.
func (s *side) note() error {
	if s.had == s.place {
		return nil
	}
	err := writeStoreNote(s.data, s.place)
	if err == nil {
		s.had = s.place
	}
	return err
}

// written says whether something may have been written to the database before, as far as can be known yet.
func (s *side) written() bool {
	if s.known != nil && !s.known() {
		return false
	}
	return s.shared || fileIsThere(s.file)
}

// ready returns the wallet's tables. Where they are not up to date it sees to that, and opens the
// database if it is a file. An error that wraps sqldb.ErrUnavailable will pass.
func (s *side) ready(ctx context.Context) (*walletsql.Store, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done(): // another opens it
		return nil, fmt.Errorf("%w: its tables are not ready yet: %w", sqldb.ErrUnavailable, ctx.Err())
	}
	if s.store != nil {
		return s.store, nil
	}
	if s.failed != nil && time.Since(s.tried) < sideRetry {
		return nil, s.failed
	}
	s.store, s.failed = s.open(ctx)
	s.tried = time.Now()
	return s.store, s.failed
}

// empty is why a database is not used that is not the one which the node had.
func (s *side) empty() error {
	return fmt.Errorf("%w: that was at %s, and %s is nobody's", wallet.ErrStoreEmpty, s.had, s.place)
}

func (s *side) open(ctx context.Context) (*walletsql.Store, error) {
	if s.expects() && !s.shared && !fileIsThere(s.file) {
		return nil, s.empty()
	}
	if s.db == nil {
		db, err := sqldb.OpenSQLite(s.file, nil)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", s.file, err)
		}
		s.db = db
		s.opened.Store(db)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrateTimeout)
	defer cancel()
	store, err := walletsql.Open(ctx, s.db)
	if err != nil {
		return nil, err
	}
	if s.expects() {
		if kept, err := store.Kept(ctx); err != nil || kept == nil {
			return nil, cmp.Or(err, s.empty())
		}
	}
	if s.claim == nil {
		return store, nil
	}
	if err := s.claim(ctx, store); err != nil {
		return nil, err
	}
	if err := s.note(); err != nil {
		return nil, err
	}
	return store, nil
}

// owner returns the wallet that a node is of, as databases know it; false says that nothing is known yet.
func (n *node) owner() (walletsql.Owner, bool) {
	o := walletsql.Owner{Cluster: string(n.identity.Cluster)}
	if n.identity.Node == firstNode {
		o.Past = string(n.identity.Incarnation)
		return o, true
	}
	s := n.machine.State()
	if s.Cluster == "" {
		return o, false
	}
	if first := s.Node(firstNode); first != nil { // else more were removed since than are remembered
		o.Past = string(first.Incarnation)
	}
	return o, true
}

// firstNode is the one that a cluster begins with.
const firstNode cluster.NodeID = 1

// claimSide claims the database beside the log for the wallet.
func (n *node) claimSide(ctx context.Context, store *walletsql.Store) error {
	o, ok := n.owner()
	if !ok {
		return fmt.Errorf("%w: nothing of the metadata has come here yet", sqldb.ErrUnavailable)
	}
	var restored []rsm.Index
	if n.identity.Founding { // it is served for the first time
		restored = n.identity.Restored
	}
	return store.Claim(ctx, o, restored)
}

// checkSide refuses to begin with the database of another wallet. One that is away is found later.
func (n *node) checkSide(ctx context.Context, o *serveOptions) error {
	if !n.side.written() && !n.side.expects() {
		return nil
	}
	_, err := n.side.ready(ctx)
	switch {
	case errors.Is(err, wallet.ErrStoreEmpty):
		return failed(err, "correct --store, or bring what was there to the new place first (pg_dump, or a copy); to go on without it: `maru wallet take-store --data "+o.data+"`, with --store as here")
	case errors.Is(err, wallet.ErrStoreOfAnother):
		return failed(err, "give this wallet a database of its own with --store, or leave --store out")
	case errors.Is(err, wallet.ErrStoreOfPast):
		return failed(err, "if this directory is what goes on, give it the database: stop the other wallet, then `maru wallet take-store --data "+o.data+"`, with --store as here; else give it another database")
	}
	return nil
}

// migrateTimeout bounds what brings the tables up to date.
const migrateTimeout = time.Minute

func (s *side) close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.db == nil {
		return nil
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close the side database: %w", err)
	}
	return nil
}

// exposeStore adds what the database beside the log counts.
func exposeStore(r *telemetry.Registry, n *node) {
	type m = sqldb.Metrics
	telemetry.Expose(r, "maru_store", func() (m m) {
		if db := n.side.opened.Load(); db != nil {
			m = db.Metrics()
		}
		return m
	},
		telemetry.Gauge("connections", "Open connections to the database of personal data and webhooks.", func(m m) int { return m.Open }),
		telemetry.Gauge("connections_in_use", "Of those, the ones that are in use.", func(m m) int { return m.InUse }),
		telemetry.Counter("waits_total", "Waits for a connection, as all were in use.", func(m m) uint64 { return m.Waits }),
		telemetry.Counter("wait_seconds_total", "Time of those waits.", func(m m) float64 { return m.Waited.Seconds() }),
		telemetry.CounterBy("transactions_total", "Transactions by what became of them; unavailable: the database was away, did not answer in time, or took no writes.", "outcome", func(m m) iter.Seq2[string, uint64] {
			return func(yield func(string, uint64) bool) {
				_ = yield("done", m.Done) && yield("unavailable", m.Unavailable)
			}
		}),
		telemetry.Counter("conflicts_total", "Tries of transactions that others got in the way of, and that were made again.", func(m m) uint64 { return m.Conflicts }),
		telemetry.Counter("transaction_seconds_total", "Time of all transactions, with waits and repetitions.", func(m m) float64 { return m.Took.Seconds() }),
	)
}
