package rsmarchive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"maru.example/rsm"
)

// Source gives decided entries in order, such as a running replica's feed. It is used by
// one goroutine.
type Source interface {
	// Next waits for the next entry. An error that is an rsm.GapError says that entries are to be had
	// nowhere; one that wraps rsm.ErrClosed that there will be none.
	Next(ctx context.Context) (rsm.Decided, error)
	// Seek goes on with the entry at an index.
	Seek(to rsm.Index)
	Close() error
}

// ArchiverOptions are the settings of an archiver; nil means all defaults.
type ArchiverOptions struct {
	Writer *WriterOptions
	// Durable is told where the archive ends: when that is known, and after each segment.
	// Nothing up to there is needed any more. If it fails it is told again, and nothing more is
	// archived before it has succeeded. The default is none.
	Durable func(Position) error
	// Busy says whether others need the machine now. Then the archiver takes no more than
	// Share of the time; else it takes all that it needs. It should answer no when the disk is
	// nearly full of what is not archived yet. The default is never.
	Busy func() bool
	// Share is a part of 1; default 0.05.
	Share float64
	// Head returns the newest entry that there is, and its time. The default knows of none.
	Head func() (rsm.Index, int64)
	// Had returns up to where the archive is known to have had all, as Durable was told once. One that has
	// less is made whole again from the history. Where that lacks entries that the archive had, the archiver
	// waits, with [ErrLost], until they are there again: it notes no gap over them. The default knows of nothing.
	Had func() Position
	// Claim is asked whenever the archiver begins with the store: whether it is the one that it should be.
	// The default takes any.
	Claim func(context.Context) error
	// Lost is told that the archive has less than it had, and why that stays so; again only if that changes, or
	// something worked meanwhile. The default is nobody.
	Lost func(*LostError)
	// CheckInterval is how often it is looked whether the last segment is still in the store; default 1 minute.
	CheckInterval time.Duration
	// StoreTimeout bounds each call to the store; default 2 minutes.
	StoreTimeout time.Duration
	// RetryMin is the pause after an error, doubled with each up to RetryMax; default 1
	// second and 1 minute.
	RetryMin, RetryMax time.Duration
	// Logger is told when something fails for the first time, and when it works again. The
	// default discards.
	Logger *slog.Logger
	// Elapsed is a clock that never goes back; the default is the process's.
	Elapsed func() time.Duration
}

const (
	defaultShare    = 0.05
	defaultTimeout  = 2 * time.Minute
	defaultRetryMin = time.Second
	defaultRetryMax = time.Minute
	defaultCheck    = time.Minute
	// A pause is taken when this much is owed, and in such pieces, each after asking
	// whether there is still need.
	leastPause = 5 * time.Millisecond
	pausePiece = 100 * time.Millisecond
	// mostNext is what a wait for the next entry counts at most: the most is waiting, not work.
	mostNext = 5 * time.Millisecond
	// aheadAfter is when a history that has not come as far as the archive is said to be behind it.
	aheadAfter = 10 * time.Second
)

// Archiver takes a group's entries from its history to its archive, until it is told to end. It
// needs nobody to be well: a store that cannot be reached is tried again, for ever, and
// what is not in the store yet stays in the log meanwhile.
type Archiver struct {
	store Store
	of    Chained
	open  func(from rsm.Index) (Source, error)
	opts  ArchiverOptions

	owed  time.Duration // pause, for what was done while others were busy
	retry time.Duration // pause after the next error
	told  string        // what is lost, as it was told

	mu      sync.Mutex
	metrics ArchiverMetrics
	earlier WriterMetrics // of the writers before the present one
	sealed  Position
}

// ArchiverMetrics describes an archiver.
type ArchiverMetrics struct {
	WriterMetrics
	Sealed     rsm.Index     // up to which all is in the store
	LagEntries uint64        // behind the newest entry; with those of the open segment
	Lag        time.Duration // between the times of the newest entry and the last in the store
	Paused     time.Duration // because others were busy
	Errors     uint64        // that were met: the store's, and the history's
	LastError  string        // if the last try failed, else empty
	Less       *LostError    // the archive has less than it had, and nothing is archived; else nil
	// Apart is why nothing is archived, if archive and history are not of one past ([ErrConflict]), or the history has
	// not come as far as the archive ([ErrAhead]); else nil.
	Apart error
}

// NewArchiver returns an archiver, which does nothing before Run. It opens the history at the entry that
// the archive lacks, and again after an error.
func NewArchiver(store Store, of Chained, open func(from rsm.Index) (Source, error), opts *ArchiverOptions) *Archiver {
	a := &Archiver{of: of, open: open}
	if opts != nil {
		a.opts = *opts
	}
	o := &a.opts
	if o.Durable == nil {
		o.Durable = func(Position) error { return nil }
	}
	if o.Busy == nil {
		o.Busy = func() bool { return false }
	}
	if o.Share <= 0 || o.Share > 1 {
		o.Share = defaultShare
	}
	if o.Head == nil {
		o.Head = func() (rsm.Index, int64) { return 0, 0 }
	}
	if o.Had == nil {
		o.Had = func() Position { return Position{} }
	}
	if o.Claim == nil {
		o.Claim = func(context.Context) error { return nil }
	}
	if o.Lost == nil {
		o.Lost = func(*LostError) {}
	}
	if o.CheckInterval <= 0 {
		o.CheckInterval = defaultCheck
	}
	if o.StoreTimeout <= 0 {
		o.StoreTimeout = defaultTimeout
	}
	if o.RetryMin <= 0 {
		o.RetryMin = defaultRetryMin
	}
	if o.RetryMax <= 0 {
		o.RetryMax = defaultRetryMax
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Elapsed == nil {
		start := time.Now()                                           //nolint:forbidigo // the default of an Options field
		o.Elapsed = func() time.Duration { return time.Since(start) } //nolint:forbidigo // the default of an Options field
	}
	a.store = timedStore{store, o.StoreTimeout}
	return a
}

// Metrics returns counters and gauges. It may be called at any time.
func (a *Archiver) Metrics() ArchiverMetrics {
	head, at := a.opts.Head()
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.metrics
	m.Sealed = a.sealed.Index
	if head > m.Sealed {
		m.LagEntries = uint64(head - m.Sealed)
	}
	if m.LagEntries > 0 && m.Sealed > 0 {
		m.Lag = max(0, time.Duration(at-a.sealed.Time))
	}
	return m
}

// Run archives until the context ends or the history does; it returns the context's
// error, or rsm.ErrClosed. What failed is tried again. It is called once.
func (a *Archiver) Run(ctx context.Context) error {
	var w *Writer // nil: it is to be opened, or anew
	for {
		err := a.again(ctx, func() (err error) {
			if w == nil {
				w, err = a.begin(ctx)
			}
			if err == nil {
				err = a.follow(ctx, w)
			}
			if errors.Is(err, ErrLost) {
				a.drop(w)
				w = nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
}

// begin finds where the archive ends, and whether that is where it should.
func (a *Archiver) begin(ctx context.Context) (*Writer, error) {
	if err := a.opts.Claim(ctx); err != nil {
		return nil, err
	}
	w, err := OpenWriter(ctx, a.store, a.of, a.opts.Writer)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.sealed = w.Sealed()
	a.mu.Unlock()
	if err := a.known(w.Sealed()); err != nil {
		return nil, err
	}
	if had := a.opts.Had(); w.Sealed().Index < had.Index {
		a.opts.Logger.WarnContext(ctx, "archive: it has less than it had; what the log has of it is archived again", "group", a.of.Group, "ends_after", w.Sealed().Index, "ended_after", had.Index)
	}
	if err := a.opts.Durable(w.Sealed()); err != nil {
		return nil, err
	}
	return w, nil
}

// known compares a position with the one that the archive is known to have had.
func (a *Archiver) known(at Position) error {
	if had := a.opts.Had(); at.Index == had.Index && had.Index > 0 && at.Link != had.Link {
		return fmt.Errorf("%w: after entry %d the chain is %v, and was %v when it was archived", ErrConflict, at.Index, at.Link, had.Link)
	}
	return nil
}

// lost returns what the archive had and lacks, after a position, if a gap begins there.
func (a *Archiver) lost(at Position, gap *rsm.GapError) error {
	had := a.opts.Had()
	if at.Index >= had.Index {
		return nil
	}
	return &LostError{at.Index, had.Index, gap.Next}
}

// drop counts what a writer did that is given up.
func (a *Archiver) drop(w *Writer) {
	if w == nil {
		return
	}
	m := w.Metrics()
	a.earlier.Entries += m.Entries
	a.earlier.ContentBytes += m.ContentBytes
	a.earlier.Segments += m.Segments
	a.earlier.StoredBytes += m.StoredBytes
	a.earlier.Missing += m.Missing
}

// again calls f until it succeeds, with pauses. The error is the context's, or rsm.ErrClosed.
func (a *Archiver) again(ctx context.Context, f func() error) error {
	for {
		err := f()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			return nil
		case errors.Is(err, rsm.ErrClosed):
			return err
		}
		if err := wait(ctx, a.failed(err)); err != nil {
			return err
		}
	}
}

// failed notes an error, and returns how long to wait.
func (a *Archiver) failed(err error) time.Duration {
	lost, isLost := errors.AsType[*LostError](err)
	a.mu.Lock()
	first := a.metrics.LastError == ""
	a.metrics.LastError = err.Error()
	a.metrics.Errors++
	a.metrics.Less, a.metrics.Apart = lost, nil
	if (errors.Is(err, ErrConflict) || errors.Is(err, ErrAhead)) && !errors.Is(err, ErrDamaged) {
		a.metrics.Apart = err
	}
	a.mu.Unlock()
	if first {
		a.retry, a.told = a.opts.RetryMin, ""
	}
	switch {
	case isLost && a.told != err.Error():
		a.opts.Lost(lost)
		a.told = err.Error()
	case !isLost && first:
		a.opts.Logger.Warn("archive: it is tried again; what is not archived stays in the log meanwhile", "group", a.of.Group, "error", err)
	}
	pause := a.retry
	a.retry = min(2*a.retry, a.opts.RetryMax)
	return pause
}

// works notes that the last try did not fail.
func (a *Archiver) works() {
	a.mu.Lock()
	before := a.metrics.LastError
	a.metrics.LastError, a.metrics.Less, a.metrics.Apart = "", nil, nil
	a.mu.Unlock()
	if before != "" {
		a.opts.Logger.Info("archive: it works again", "group", a.of.Group)
	}
}

// note publishes what the writer did.
func (a *Archiver) note(w *Writer) {
	a.works()
	a.mu.Lock()
	defer a.mu.Unlock()
	m, was := w.Metrics(), &a.earlier
	a.metrics.WriterMetrics = WriterMetrics{
		m.Entries + was.Entries, m.ContentBytes + was.ContentBytes, m.Segments + was.Segments, m.StoredBytes + was.StoredBytes, m.Missing + was.Missing,
	}
	a.sealed = w.Sealed()
}

// follow takes entries from the history until that fails.
func (a *Archiver) follow(ctx context.Context, w *Writer) (err error) {
	source, err := a.open(w.Next())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := a.continues(ctx, source, w.chain.At()); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := a.until(ctx, w, source); err != nil {
			return err
		}
		if err := w.Present(ctx); err != nil {
			return err
		}
		a.works()
	}
	return ctx.Err()
}

// until takes entries until it is time to look whether the archive is still there.
func (a *Archiver) until(ctx context.Context, w *Writer, source Source) error {
	check, cancel := context.WithTimeout(ctx, a.opts.CheckInterval)
	defer cancel()
	for check.Err() == nil {
		start := a.opts.Elapsed()
		d, err := source.Next(check)
		var gap *rsm.GapError
		switch {
		case errors.As(err, &gap):
			if err := a.skip(ctx, w, source, gap); err != nil {
				return err
			}
			continue
		case err != nil && check.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		}
		next := a.opts.Elapsed()
		if err := a.take(ctx, w, &d); err != nil {
			return err
		}
		if err := a.pause(ctx, min(next-start, mostNext)+a.opts.Elapsed()-next); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// take archives an entry.
func (a *Archiver) take(ctx context.Context, w *Writer, d *rsm.Decided) error {
	missing := w.Missing()
	err := w.Append(d)
	if errors.Is(err, ErrFull) { // by its age
		if err = a.seal(ctx, w); err == nil {
			err = w.Append(d)
		}
	}
	if err != nil {
		return err
	}
	if missing > 0 {
		a.opts.Logger.ErrorContext(ctx, "archive: entries are to be had nowhere; the archive says so", "group", a.of.Group, "missing", missing, "before", d.Index)
	}
	if err := a.known(w.chain.At()); err != nil {
		return err
	}
	if w.Full() {
		if err := a.seal(ctx, w); err != nil {
			return err
		}
	}
	a.note(w)
	return nil
}

// continues is [Continues], and errs if the history does not come as far as the archive within a time.
func (a *Archiver) continues(ctx context.Context, source Source, at Position) error {
	soon, cancel := context.WithTimeout(ctx, aheadAfter)
	defer cancel()
	err := Continues(soon, source, at)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		head, _ := a.opts.Head()
		return fmt.Errorf("%w: the archive ends with entry %d, and the newest that was decided here is %d", ErrAhead, at.Index, head)
	}
	return err
}

// Continues checks that a history has the entry with which the archive ends, where that can be had. One
// of the same group that was brought back from an older copy may have another by now: what it goes on with
// does not belong behind what is archived. The error wraps [ErrConflict].
func Continues(ctx context.Context, source Source, at Position) error {
	if at.Index == 0 {
		return nil
	}
	source.Seek(at.Index)
	d, err := source.Next(ctx)
	source.Seek(at.Index + 1)
	var gap *rsm.GapError
	switch {
	case errors.As(err, &gap):
		return nil
	case err != nil:
		return err
	case d.Index != at.Index || at.Term != 0 && d.Term != at.Term || at.Time != 0 && d.Time != at.Time:
		return fmt.Errorf("%w: entry %d is of term %d and time %d there, and of %d and %d in the log", ErrConflict, at.Index, at.Term, at.Time, d.Term, d.Time)
	}
	return nil
}

// skip goes on behind a gap in the history: the entries in it are missing. It notes none over
// what was archived before.
func (a *Archiver) skip(ctx context.Context, w *Writer, source Source, gap *rsm.GapError) error {
	if err := a.lost(w.chain.At(), gap); err != nil {
		return err
	}
	if gap.Next <= w.Next() {
		return gap // nobody knows where it ends
	}
	if err := a.seal(ctx, w); err != nil {
		return err
	}
	source.Seek(gap.Next)
	return w.Gap(gap.Next)
}

// seal puts the open segment into the store, however often that takes, if the one before is there.
func (a *Archiver) seal(ctx context.Context, w *Writer) error {
	var lost error
	err := a.again(ctx, func() error {
		err := w.Present(ctx)
		if errors.Is(err, ErrLost) {
			lost = err
			return nil
		}
		if err == nil {
			err = w.Seal(ctx)
		}
		return err
	})
	if err = errors.Join(err, lost); err != nil {
		return err
	}
	a.note(w)
	return a.again(ctx, func() error { return a.opts.Durable(w.Sealed()) })
}

// pause rests after some work while others are busy.
func (a *Archiver) pause(ctx context.Context, worked time.Duration) error {
	if !a.opts.Busy() {
		a.owed = 0
		return nil
	}
	a.owed += time.Duration(float64(worked) * (1/a.opts.Share - 1))
	if a.owed < leastPause {
		return nil
	}
	for a.owed > 0 && a.opts.Busy() {
		piece := min(a.owed, pausePiece)
		if err := wait(ctx, piece); err != nil {
			return err
		}
		a.owed -= piece
		a.mu.Lock()
		a.metrics.Paused += piece
		a.mu.Unlock()
	}
	a.owed = 0
	return nil
}

// wait returns after a time, or when the context ends, with its error.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d) //nolint:forbidigo // a pause of the work itself, which nothing that is kept depends on
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// timedStore bounds each call to a store.
type timedStore struct {
	store Store
	limit time.Duration
}

func (s timedStore) Put(ctx context.Context, name string, content []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	return s.store.Put(ctx, name, content)
}

func (s timedStore) Get(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	return s.store.Get(ctx, name, offset, length)
}

func (s timedStore) List(ctx context.Context, folder string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	return s.store.List(ctx, folder)
}
