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
	// Nothing up to there is needed any more. The default is none.
	Durable func(Position)
	// Busy says whether others need the machine now. Then the archiver takes no more than
	// Share of the time; else it takes all that it needs. It should answer no when the disk is
	// nearly full of what is not archived yet. The default is never.
	Busy func() bool
	// Share is a part of 1; default 0.05.
	Share float64
	// Head returns the newest entry that there is, and its time, for the metrics. The
	// default knows of none.
	Head func() (rsm.Index, int64)
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
	// A pause is taken when this much is owed, and in such pieces, each after asking
	// whether there is still need.
	leastPause = 5 * time.Millisecond
	pausePiece = 100 * time.Millisecond
	// mostNext is what a wait for the next entry counts at most: the most is waiting, not work.
	mostNext = 5 * time.Millisecond
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

	mu      sync.Mutex
	metrics ArchiverMetrics
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
		o.Durable = func(Position) {}
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
	var w *Writer
	err := a.again(ctx, func() (err error) {
		w, err = OpenWriter(ctx, a.store, a.of, a.opts.Writer)
		return err
	})
	if err != nil {
		return err
	}
	a.note(w)
	a.opts.Durable(w.Sealed())
	for {
		err := a.again(ctx, func() error { return a.follow(ctx, w) })
		if err != nil {
			return err
		}
	}
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
	a.mu.Lock()
	first := a.metrics.LastError == ""
	a.metrics.LastError = err.Error()
	a.metrics.Errors++
	a.mu.Unlock()
	if first {
		a.opts.Logger.Warn("archive: it is tried again; what is not archived stays in the log meanwhile", "group", a.of.Group, "error", err)
		a.retry = a.opts.RetryMin
	}
	pause := a.retry
	a.retry = min(2*a.retry, a.opts.RetryMax)
	return pause
}

// works notes that the last try did not fail.
func (a *Archiver) works() {
	a.mu.Lock()
	before := a.metrics.LastError
	a.metrics.LastError = ""
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
	a.metrics.WriterMetrics, a.sealed = w.Metrics(), w.Sealed()
}

// follow takes entries from the history until that fails.
func (a *Archiver) follow(ctx context.Context, w *Writer) (err error) {
	source, err := a.open(w.Next())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := Continues(ctx, source, w.chain.At()); err != nil {
		return err
	}
	for ctx.Err() == nil {
		start := a.opts.Elapsed()
		d, err := source.Next(ctx)
		var gap *rsm.GapError
		if errors.As(err, &gap) && gap.Next > w.Next() {
			if err := a.skip(ctx, w, source, gap.Next); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		next := a.opts.Elapsed()
		missing := w.Missing()
		if err := w.Append(&d); err != nil {
			return err
		}
		if missing > 0 {
			a.opts.Logger.ErrorContext(ctx, "archive: entries are to be had nowhere; the archive says so", "group", a.of.Group, "missing", missing, "before", d.Index)
		}
		if w.Full() {
			if err := a.seal(ctx, w); err != nil {
				return err
			}
		}
		a.note(w)
		if err := a.pause(ctx, min(next-start, mostNext)+a.opts.Elapsed()-next); err != nil {
			return err
		}
	}
	return ctx.Err()
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

// skip goes on with the entry next: those before it are missing.
func (a *Archiver) skip(ctx context.Context, w *Writer, source Source, next rsm.Index) error {
	if err := a.seal(ctx, w); err != nil {
		return err
	}
	source.Seek(next)
	return w.Gap(next)
}

// seal puts the open segment into the store, however often that takes.
func (a *Archiver) seal(ctx context.Context, w *Writer) error {
	if err := a.again(ctx, func() error { return w.Seal(ctx) }); err != nil {
		return err
	}
	a.note(w)
	a.opts.Durable(w.Sealed())
	return nil
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
