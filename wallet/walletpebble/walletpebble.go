// Package walletpebble keeps the history of a wallet in a Pebble store: the lines of
// its accounts by time, what they held at any moment, and sums. A [Store] is one node's
// [wallet.History]; it follows the log of each partition on a goroutine of its own, and
// never holds the wallet up. Nothing in it has to be saved: it can be made of the log at
// any time.
package walletpebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"maru.example/wallet"
)

// Options are the settings of a store; nil means all defaults.
type Options struct {
	// Busy says whether the wallet has much to do: then the store takes only Share of a
	// processor's time. It is called often, from several goroutines. Default: never.
	Busy func() bool
	// Share of the time in which the store may be made longer while the wallet is busy;
	// default 0.05.
	Share float64
	// CacheBytes are of blocks of files that were read, in memory; default 64 MiB. What was written last takes up to 192 MiB beside
	// them, and leaves the rest of that to them as well.
	CacheBytes int64
	Logger     *slog.Logger // default: discards
	// FS is where the store is; default: the operating system's files.
	FS vfs.FS
}

const (
	defaultShare = 0.05
	defaultCache = 64 << 20
	memTable     = 64 << 20
	maxMemTables = 3
	tableBytes   = 8 << 20 // of files in level 0, those of each next one are twice as large: a hundred million lines are in some 150
	blockBytes   = 16 << 10
	indexBytes   = 64 << 10 // of a block of an index
	openTables   = 1000
)

// Store is the history of the partitions that have a replica on a node.
type Store struct {
	db      *pebble.DB
	o       Options
	wiped   atomic.Uint64 // stores of another version, or damaged, that were made anew
	rebuilt atomic.Uint64 // partitions that were begun anew

	reading sync.RWMutex // held by each query while it reads
	gone    bool         // the database is closed

	mu        sync.Mutex
	followers map[uint16]*follower
	closed    bool
}

var errClosed = fmt.Errorf("%w: the store is closed", wallet.ErrHistoryUnavailable)

var _ wallet.History = (*Store)(nil)

// Open opens the store in a directory, or makes it. One of another version or that is
// damaged is removed, and made anew: that costs time, and no data.
func Open(dir string, o *Options) (*Store, error) {
	s := &Store{followers: map[uint16]*follower{}}
	if o != nil {
		s.o = *o
	}
	if s.o.Share <= 0 || s.o.Share > 1 {
		s.o.Share = defaultShare
	}
	if s.o.CacheBytes == 0 {
		s.o.CacheBytes = defaultCache
	}
	if s.o.Logger == nil {
		s.o.Logger = slog.New(slog.DiscardHandler)
	}
	if s.o.Busy == nil {
		s.o.Busy = func() bool { return false }
	}
	if s.o.FS == nil {
		s.o.FS = vfs.Default
	}
	err := s.open(dir)
	if err != nil && !errors.Is(err, fs.ErrPermission) { // what the matter is, Pebble does not always say
		s.o.Logger.Warn("the history is of another version or damaged: it is made anew from the log", "directory", dir, "error", err)
		s.wiped.Add(1)
		if err = s.o.FS.RemoveAll(dir); err == nil {
			err = s.open(dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the history in %s: %w", dir, err)
	}
	return s, nil
}

// open opens the database and checks its version.
func (s *Store) open(dir string) error {
	// Pebble takes what memtables have off the cache: without room for them nothing at all would stay in it.
	cache := pebble.NewCache(s.o.CacheBytes + maxMemTables*memTable)
	defer cache.Unref()
	db, err := pebble.Open(dir, s.pebbleOptions(cache))
	if err != nil {
		return err
	}
	key := []byte{keyVersion}
	version, err := get(db, key)
	switch {
	case err != nil:
	case version == nil:
		err = s.begin(db, key)
	case len(version) != 4 || binary.BigEndian.Uint32(version) != formatVersion:
		err = fmt.Errorf("%w: format version %x, this program's is %d", errCorrupt, version, formatVersion)
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	s.db = db
	return nil
}

// begin writes the version into an empty store.
func (s *Store) begin(db *pebble.DB, key []byte) error {
	it, err := db.NewIter(nil)
	if err != nil {
		return err
	}
	if it.First() {
		err = fmt.Errorf("%w: no format version", errCorrupt)
	}
	if err = errors.Join(err, it.Close()); err != nil {
		return err
	}
	if err := db.Set(key, binary.BigEndian.AppendUint32(nil, formatVersion), pebble.NoSync); err != nil {
		return err
	}
	return db.Flush()
}

// pebbleOptions returns settings without a log of Pebble's own: what is lost with the
// process is taken up again. A batch is in one memtable, and these are flushed in
// order, so that data and position are of one moment after any crash.
func (s *Store) pebbleOptions(cache *pebble.Cache) *pebble.Options {
	o := &pebble.Options{
		FS: s.o.FS, DisableWAL: true, Cache: cache, MemTableSize: memTable, MemTableStopWritesThreshold: maxMemTables,
		FormatMajorVersion: pebble.FormatNewest, Logger: logger{s.o.Logger}, MaxOpenFiles: openTables,
		L0CompactionThreshold: 2, L0StopWritesThreshold: 24, LBaseMaxBytes: 64 << 20,
		BlockPropertyCollectors: []func() pebble.BlockPropertyCollector{newLineTimes},
	}
	o.TargetFileSizes[0] = tableBytes
	o.Levels[0].BlockSize, o.Levels[0].IndexBlockSize = blockBytes, indexBytes // the other levels' as well
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	return o
}

// How long Close waits. On a full disk the store tries to write for ever; what is not
// written is made of the log again.
const (
	flushTimeout = 3 * time.Second
	closeTimeout = 20 * time.Second
)

// Close ends all followers and closes the store. It returns an error if that takes too
// long, as it does on a full disk: then the process should end.
func (s *Store) Close() error {
	closed := make(chan error, 1)
	go func() { closed <- s.close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeTimeout):
		return errors.New("walletpebble: the store does not close; what it lacks is made of the log again")
	}
}

func (s *Store) close() error {
	s.mu.Lock()
	s.closed = true
	followers := make([]*follower, 0, len(s.followers))
	for _, f := range s.followers {
		followers = append(followers, f)
	}
	s.mu.Unlock()
	for _, f := range followers {
		f.stop()
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	s.gone = true
	flushed, err := s.db.AsyncFlush()
	if err == nil {
		select {
		case <-flushed:
		case <-time.After(flushTimeout):
			err = errors.New("walletpebble: the store takes too long to write what it has in memory")
		}
	}
	return errors.Join(err, s.db.Close())
}

// get returns the value of a key, nil if there is none.
func get(r pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	value = append([]byte{}, value...)
	return value, closer.Close()
}

// Metrics are a store's figures.
type Metrics struct {
	Bytes      uint64 // on the disk
	Wiped      uint64 // stores that were of another version or damaged, and made anew
	Rebuilt    uint64 // partitions that were begun anew
	Partitions []PartitionMetrics
}

// PartitionMetrics are those of a partition.
type PartitionMetrics struct {
	wallet.HistoryMark
	LagEntries uint64        // that are decided here and not taken up
	Lag        time.Duration // how long the oldest of them has been there, about; 0 if there is none
	Lines      uint64        // since the start
	Entries    uint64        // since the start
}

// Metrics returns the store's figures.
func (s *Store) Metrics() Metrics {
	m := Metrics{Wiped: s.wiped.Load(), Rebuilt: s.rebuilt.Load()}
	s.reading.RLock()
	if !s.gone {
		m.Bytes = s.db.Metrics().DiskSpaceUsage()
	}
	s.reading.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, partition := range slices.Sorted(maps.Keys(s.followers)) {
		m.Partitions = append(m.Partitions, s.followers[partition].metrics())
	}
	return m
}

// logger gives Pebble's errors to the log of the process.
type logger struct{ l *slog.Logger }

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.l.Error("the history's store", "error", fmt.Sprintf(format, args...))
}

func (l logger) Fatalf(format string, args ...any) {
	panic("walletpebble: " + fmt.Sprintf(format, args...))
}

// Wait implements [wallet.History].
func (s *Store) Wait(ctx context.Context, p wallet.HistoryPosition) error {
	f, err := s.follower(p.Partition)
	if err != nil {
		return err
	}
	for {
		mark, changed := f.state()
		if mark.Index >= p.Index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			mark, _ = f.state()
			return fmt.Errorf("%w: it is at %v, %d entries before %v", wallet.ErrHistoryBehind, mark.HistoryPosition, p.Index-mark.Index, p)
		case <-f.ended:
			return fmt.Errorf("%w: partition %d", wallet.ErrHistoryUnavailable, p.Partition)
		}
	}
}

func (s *Store) follower(partition uint16) (*follower, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.followers[partition]
	if f == nil {
		return nil, fmt.Errorf("%w: this node does not follow partition %d", wallet.ErrHistoryUnavailable, partition)
	}
	return f, nil
}
