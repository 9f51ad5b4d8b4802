package walletpebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

// Source gives the decided entries of a partition, in order: rsmraft.Feed is one.
type Source interface {
	// Next waits for the next entry. Where entries are missing, the error wraps a
	// *rsm.GapError.
	Next(ctx context.Context) (rsm.Decided, error)
	Close() error
}

// Partition is what a store follows.
type Partition struct {
	Number uint16
	// First is the index of the first entry that there can be; default 1.
	First rsm.Index
	// Open returns the entries from an index on.
	Open func(from rsm.Index) (Source, error)
	// Applied returns the index of the newest entry that is decided here; nil: not known.
	Applied func() rsm.Index
	// Waits says whether an entry is not here, though later ones are, and may come: until then there is nothing to
	// be told, and other nodes' histories may have more; nil: never.
	Waits func(next rsm.Index) bool
	// Keep is told from which entry on a source has to have them after a crash; nil: not
	// wanted.
	Keep func(from rsm.Index)
}

const (
	chunkBytes  = 4 << 20                // of rows, about, that are written together
	readAhead   = 4                      // entries
	againAfter  = 500 * time.Millisecond // a source failed
	againAtMost = 10 * time.Second
	longestRest = 10 * time.Second
	keepEvery   = time.Minute
)

// follower takes up the entries of a partition.
type follower struct {
	s        *Store
	p        Partition
	cancel   context.CancelFunc
	ended    chan struct{}
	anew     chan chan error // Rebuild
	turnover map[turnoverID]*wallet.CurrencyTurnover
	opened   map[openedID]wallet.Handle // in the batch that is being made
	dirty    map[turnoverID]bool        // turnovers that the batch changes
	buffer   []byte
	rows     rows // of the batch that is being made
	kept     time.Time
	captures map[idOf]bool // those of the batch that is being made
	made     idOf          // the transaction that was said last: debits of the same id are its

	mu      sync.Mutex
	mark    wallet.HistoryMark
	changed chan struct{} // closed when mark changes
	behind  time.Time     // since when it has not been at the end; zero: it is
	lines   uint64
	entries uint64
}

type turnoverID struct {
	tenant   uint16
	currency money.Currency
}

type openedID struct {
	tenant uint16
	name   string
}

// Follow lets the store take up a partition's entries, until Leave or Close.
func (s *Store) Follow(p Partition) error {
	mark, err := s.markOf(p.Number)
	if err != nil {
		return err
	}
	p.First = max(p.First, 1)
	mark.Index = max(mark.Index, p.First-1) // where nothing can be, nothing is missing
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{
		s: s, p: p, cancel: cancel, ended: make(chan struct{}), anew: make(chan chan error), mark: mark, changed: make(chan struct{}),
		opened: map[openedID]wallet.Handle{}, dirty: map[turnoverID]bool{}, captures: map[idOf]bool{},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.followers[p.Number] != nil {
		cancel()
		return fmt.Errorf("walletpebble: partition %d is followed already, or the store is closed", p.Number)
	}
	s.followers[p.Number] = f
	go f.run(ctx)
	return nil
}

// markOf returns up to where a partition's history goes.
func (s *Store) markOf(partition uint16) (wallet.HistoryMark, error) {
	s.reading.RLock()
	defer s.reading.RUnlock()
	if s.gone {
		return wallet.HistoryMark{}, errClosed
	}
	value, err := get(s.db, partitionKey(nil, keyMark, partition))
	if err != nil {
		return wallet.HistoryMark{}, fmt.Errorf("history of partition %d: %w", partition, err)
	}
	return parseMark(partition, value)
}

// Leave ends following a partition, whose history stays.
func (s *Store) Leave(partition uint16) {
	s.mu.Lock()
	f := s.followers[partition]
	delete(s.followers, partition)
	s.mu.Unlock()
	if f != nil {
		f.stop()
	}
}

// Rebuild removes the history of every partition and begins to make it anew, while the
// wallet and the store go on.
func (s *Store) Rebuild(ctx context.Context) error {
	s.mu.Lock()
	var all []*follower
	for _, f := range s.followers {
		all = append(all, f)
	}
	s.mu.Unlock()
	return anew(ctx, all...)
}

// RebuildPartition is Rebuild of one partition, which has to be followed.
func (s *Store) RebuildPartition(ctx context.Context, partition uint16) error {
	f, err := s.follower(partition)
	if err != nil {
		return err
	}
	return anew(ctx, f)
}

// Begins returns the first entry of which a partition's history tells, 0 or 1 where that is the first that there is. The
// partition has to be followed.
func (s *Store) Begins(partition uint16) (rsm.Index, error) {
	f, err := s.follower(partition)
	if err != nil {
		return 0, err
	}
	mark, _ := f.state()
	return mark.First, nil
}

func anew(ctx context.Context, all ...*follower) error {
	for _, f := range all {
		done := make(chan error, 1)
		select {
		case f.anew <- done:
		case <-f.ended:
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) stop() {
	f.cancel()
	<-f.ended
}

func (f *follower) state() (wallet.HistoryMark, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mark, f.changed
}

func (f *follower) metrics() PartitionMetrics {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := PartitionMetrics{HistoryMark: f.mark, Lines: f.lines, Entries: f.entries}
	if f.p.Applied != nil {
		m.LagEntries = uint64(max(f.p.Applied(), f.mark.Index) - f.mark.Index)
	}
	if m.LagEntries > 0 && f.mark.Time > 0 {
		m.Lag = max(time.Since(time.Unix(0, f.mark.Time)), 0)
		if !f.behind.IsZero() {
			m.Lag = min(m.Lag, time.Since(f.behind))
		}
	}
	return m
}

// run follows the partition until ctx ends. What fails is tried again.
func (f *follower) run(ctx context.Context) {
	defer close(f.ended)
	pause := againAfter
	for ctx.Err() == nil {
		began, _ := f.state()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if now, _ := f.state(); err == nil || now.Index != began.Index {
			pause = againAfter
		}
		if err == nil {
			continue // it is made anew
		}
		f.s.o.Logger.WarnContext(ctx, "the history does not get on; it tries again", "partition", f.p.Number, "error", err)
		select {
		case <-time.After(pause):
		case done := <-f.anew:
			done <- f.restart(1)
		case <-ctx.Done():
		}
		pause = min(2*pause, againAtMost)
	}
}

// fetched is what a source gave.
type fetched struct {
	rsm.Decided
	err error
}

// follow takes up what a source gives, until it fails, or the history is made anew.
func (f *follower) follow(ctx context.Context) error {
	mark, _ := f.state()
	if err := f.loadTurnover(); err != nil {
		return f.damaged(err)
	}
	source, err := f.p.Open(mark.Index + 1)
	if err != nil {
		return err
	}
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	entries := make(chan fetched, readAhead)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		for {
			d, err := source.Next(ctx)
			select {
			case entries <- fetched{d, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	anew, err := f.take(ctx, entries)
	cancel()
	<-reading
	err = errors.Join(err, source.Close())
	gap, missing := errors.AsType[*rsm.GapError](err)
	switch {
	case anew != nil:
		anew <- f.restart(1)
		return nil
	case missing && gap.Next > gap.At:
		return f.skip(outer, gap)
	}
	return f.damaged(err)
}

// skip lets the history begin anew behind a gap. A source may see only the next
// entry of it at a time.
func (f *follower) skip(ctx context.Context, gap *rsm.GapError) error {
	next := gap.Next
	for {
		source, err := f.p.Open(next)
		if err != nil {
			return err
		}
		near, cancel := context.WithTimeout(ctx, againAfter) // there may be no entry behind it yet
		_, err = source.Next(near)
		cancel()
		if err = errors.Join(err, source.Close()); ctx.Err() != nil {
			return ctx.Err()
		}
		further, missing := errors.AsType[*rsm.GapError](err)
		if !missing || further.Next <= next {
			break
		}
		next = further.Next
	}
	f.s.o.Logger.WarnContext(ctx, "entries are not on record: the history begins anew after them", "partition", f.p.Number, "from", next)
	return f.restart(next)
}

// damaged begins anew if an error says that the store cannot be used.
func (f *follower) damaged(err error) error {
	if errors.Is(err, errCorrupt) || errors.Is(err, pebble.ErrCorruption) {
		return errors.Join(err, f.restart(1))
	}
	return err
}

// take writes what comes, in chunks.
func (f *follower) take(ctx context.Context, entries <-chan fetched) (anew chan error, err error) {
	for {
		var first fetched
		select {
		case first = <-entries:
		case anew := <-f.anew:
			return anew, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		default:
			f.idle()
			select {
			case first = <-entries:
			case anew := <-f.anew:
				return anew, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		began := time.Now()
		if err := f.chunk(first, entries); err != nil {
			return nil, err
		}
		f.rest(ctx, time.Since(began))
	}
}

// idle notes that all that there was has been taken up.
func (f *follower) idle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind = time.Time{}
}

// rest waits, while the wallet is busy, so long that the work before is Share of the time.
func (f *follower) rest(ctx context.Context, worked time.Duration) {
	f.keep(ctx)
	if !f.s.o.Busy() {
		return
	}
	pause := time.Duration(float64(worked) * (1/f.s.o.Share - 1))
	select {
	case <-time.After(min(pause, longestRest)):
	case <-ctx.Done():
	}
}

// chunk writes an entry and those that are there behind it, with the position, in one batch.
func (f *follower) chunk(next fetched, entries <-chan fetched) error {
	batch := f.s.db.NewBatch()
	defer func() { _ = batch.Close() }() // it is in memory
	f.begin()
	mark, _ := f.state()
	var lines, count uint64
	for more := true; more && next.err == nil; {
		if next.Index != mark.Index+1 {
			return fmt.Errorf("walletpebble: the source gave entry %d, not %d", next.Index, mark.Index+1)
		}
		n, err := f.entry(batch, &next.Decided)
		if err != nil {
			return err
		}
		lines, count = lines+n, count+1
		mark.Index, mark.Time = next.Index, max(mark.Time, next.Time)
		if mark.Index == mark.First && mark.First > 1 {
			mark.FirstTime = mark.Time
		}
		if more = batch.Len()+f.rows.size() < chunkBytes; more {
			select {
			case next = <-entries:
			default:
				more = false
			}
		}
	}
	if count > 0 {
		if err := f.rows.add(batch, f.p.Number); err != nil {
			return err
		}
		if err := f.write(batch, mark, lines, count); err != nil {
			return err
		}
	}
	return next.err
}

// begin forgets what the batch before was made of.
func (f *follower) begin() {
	clear(f.opened)
	clear(f.dirty)
	clear(f.captures)
	f.rows.reset()
}

// write writes a batch, with the mark and the turnovers that it changes.
func (f *follower) write(batch *pebble.Batch, mark wallet.HistoryMark, lines, count uint64) error {
	for id := range f.dirty {
		f.buffer = turnoverKey(f.buffer[:0], f.p.Number, id.tenant, id.currency)
		if err := batch.Set(f.buffer, appendTurnover(nil, f.turnover[id]), nil); err != nil {
			return err
		}
	}
	if err := batch.Set(partitionKey(nil, keyMark, f.p.Number), appendMark(nil, &mark), nil); err != nil {
		return err
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("write the history of partition %d: %w", f.p.Number, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.behind.IsZero() {
		f.behind = time.Now()
	}
	f.mark, f.lines, f.entries = mark, f.lines+lines, f.entries+count
	close(f.changed)
	f.changed = make(chan struct{})
	return nil
}

// loadTurnover reads the turnovers as they are in the store.
func (f *follower) loadTurnover() error {
	f.turnover = map[turnoverID]*wallet.CurrencyTurnover{}
	return each(f.s.db, partitionKey(nil, keyTurnover, f.p.Number), func(key, value []byte) error {
		t, err := parseTurnover(key, value)
		f.turnover[turnoverID{binary.BigEndian.Uint16(key[3:]), t.Currency}] = &t
		return err
	})
}

// each calls f with what is under a prefix, in order. Key and value are valid during the call.
func each(r pebble.Reader, prefix []byte, f func(key, value []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = f(it.Key(), it.Value())
	}
	return errors.Join(err, it.Error(), it.Close())
}

// restart removes the partition's history, and lets it begin with an entry.
func (f *follower) restart(first rsm.Index) error {
	batch := f.s.db.NewBatch()
	defer func() { _ = batch.Close() }() // it is in memory
	for _, kind := range []byte{keyTurnover, keyName, keyLine, keyNote, keyFeed, keyReference, keyID, keyReversal} {
		prefix := partitionKey(nil, kind, f.p.Number)
		if err := batch.DeleteRange(prefix, after(prefix), nil); err != nil {
			return err
		}
	}
	mark := wallet.HistoryMark{HistoryPosition: wallet.HistoryPosition{Partition: f.p.Number, Index: first - 1}, First: first}
	if first <= f.p.First {
		mark.Index, mark.First = f.p.First-1, 1
	}
	f.turnover, f.dirty = map[turnoverID]*wallet.CurrencyTurnover{}, map[turnoverID]bool{}
	f.s.rebuilt.Add(1)
	return f.write(batch, mark, 0, 0)
}

// keep says, from time to time, up to where the history is safe.
func (f *follower) keep(ctx context.Context) {
	if f.p.Keep == nil || time.Since(f.kept) < keepEvery {
		return
	}
	f.kept = time.Now()
	index, err := f.durable()
	if err == nil {
		f.p.Keep(index + 1)
	}
	if mark, _ := f.state(); err == nil && mark.Index > index {
		_, err = f.s.db.AsyncFlush() // so that the next time there is more to let go
	}
	if err != nil {
		f.s.o.Logger.WarnContext(ctx, "what the history has safely is not known: the log is not cut", "partition", f.p.Number, "error", err)
	}
}

// durable returns up to which entry the history is there after a crash.
func (f *follower) durable() (rsm.Index, error) {
	key := partitionKey(nil, keyMark, f.p.Number)
	it, err := f.s.db.NewIter(&pebble.IterOptions{LowerBound: key, UpperBound: after(key), OnlyReadGuaranteedDurable: true})
	if err != nil {
		return 0, err
	}
	var mark wallet.HistoryMark
	if it.First() {
		mark, err = parseMark(f.p.Number, it.Value())
	}
	return mark.Index, errors.Join(err, it.Error(), it.Close())
}
