package wallethook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"maru.example/rsm"
	"maru.example/wallet"
)

const saveAfter = 256 // messages were delivered: their place is kept

// lane delivers the messages of one webhook about one partition, one after the other.
type lane struct {
	e         *Engine
	webhook   *wallet.Webhook
	number    uint16
	partition *Partition
	marker    *marker // of the partition
	requests  chan struct{}
	cancel    context.CancelFunc
	ended     chan struct{}

	filter   *wallet.WebhookFilter
	state    wallet.WebhookLane // as it will be kept
	attempts []wallet.WebhookAttempt
	worked   time.Duration // looking for events, since the last rest
	dirty    bool          // state or attempts are not kept yet
	moved    int           // messages since they were
	kept     time.Time

	next    atomic.Uint64 // of state: for metrics
	waiting atomic.Int64  // time of the event that is being delivered, 0: none is
}

// errDisabled says that the webhook was disabled by what happened.
var errDisabled = errors.New("wallethook: disabled")

func (e *Engine) begin(ctx context.Context, w *wallet.Webhook, number uint16) *lane {
	ctx, cancel := context.WithCancel(ctx)
	l := &lane{
		e: e, webhook: w, number: number, partition: &e.partitions[number], marker: e.markers[number], requests: e.requests[w.ID],
		cancel: cancel, ended: make(chan struct{}),
	}
	go l.run(ctx)
	return l
}

// run follows the partition until ctx ends. What fails is tried again.
func (l *lane) run(ctx context.Context) {
	defer l.e.change() // it may have to begin again
	l.e.running.Add(1)
	defer l.e.running.Add(-1)
	defer close(l.ended)
	defer l.cancel()
	pause := againAfter
	for ctx.Err() == nil {
		began := l.next.Load()
		err := l.follow(ctx)
		l.waiting.Store(0)
		if l.next.Load() != began {
			pause = againAfter
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errDisabled):
			<-ctx.Done() // the engine will see
			return
		case errors.Is(err, wallet.ErrWebhookBehind), errors.Is(err, errNotYet):
			pause = againAfter // somebody moved the lane, or leads now
		case errors.Is(err, wallet.ErrStoreForked):
			l.marker.say(ctx, err)
		default:
			l.e.o.Logger.WarnContext(ctx, "a webhook does not get on; it tries again",
				"webhook", string(l.webhook.ID), "partition", l.number, "error", err)
		}
		l.wait(ctx, pause)
		pause = min(2*pause, againAtMost)
	}
}

// wait waits for a time, or for ctx.
func (l *lane) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// follow delivers what a source gives, from the place that is kept on.
func (l *lane) follow(ctx context.Context) error {
	ok, err := l.load(ctx)
	if err != nil {
		return err
	}
	if !ok || l.state.GapTo != 0 && !l.found(ctx) {
		<-ctx.Done() // until somebody moves the lane, which makes it anew
		return ctx.Err()
	}
	if _, err := l.marker.recover(ctx, settledUpTo(&l.state)); err != nil {
		return err
	}
	if l.state.Next.Index == 0 {
		if err := l.locate(ctx); err != nil {
			return err
		}
		l.next.Store(uint64(l.state.Next.Index))
	}
	defer l.last(ctx)
	if !l.filter.Possible() {
		return l.skim(ctx)
	}
	source, err := l.partition.Open(l.state.Next.Index)
	if err != nil {
		return err
	}
	err = l.take(ctx, source)
	if gap, ok := errors.AsType[*rsm.GapError](err); ok && gap.Next > gap.At {
		err = l.gap(ctx, gap.Next)
	}
	return errors.Join(err, source.Close())
}

// load reads the lane's place and prepares its filter. It says whether there is such a lane.
func (l *lane) load(ctx context.Context) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	lanes, err := l.e.store.WebhookLanes(ctx, l.webhook.ID)
	if err != nil {
		return false, err
	}
	l.attempts, l.dirty, l.moved, l.kept = nil, false, 0, time.Now()
	for _, v := range lanes {
		if v.Partition == l.number {
			l.state, ok = v, true
		}
	}
	l.next.Store(uint64(l.state.Next.Index))
	tenant, known, err := l.e.wallet.Tenant(ctx, l.webhook.Tenant)
	if err != nil {
		return false, err
	}
	if !known {
		return false, fmt.Errorf("there is no tenant %s", l.webhook.Tenant)
	}
	l.filter, err = wallet.NewWebhookFilter(ctx, l.webhook, tenant, l.number, uint16(len(l.e.partitions)),
		func(ctx context.Context, id wallet.AccountID) (wallet.Handle, error) {
			return l.e.wallet.AccountHandle(ctx, l.webhook.Tenant, id)
		})
	return ok, err
}

// take delivers what a source gives, until it fails.
func (l *lane) take(ctx context.Context, source Source) error {
	for {
		if l.dirty && (l.moved >= saveAfter || time.Since(l.kept) >= l.e.o.SaveEvery) {
			if err := l.save(ctx, nil); err != nil {
				return err
			}
		}
		d, err := l.entry(ctx, source)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded): // it is time to save
			continue
		case err != nil:
			return err
		}
		if err := l.deliverAll(ctx, &d); err != nil {
			return err
		}
	}
}

// entry waits for the next entry: while something is to be kept, not for long.
func (l *lane) entry(ctx context.Context, source Source) (rsm.Decided, error) {
	if !l.dirty {
		return source.Next(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, max(l.e.o.SaveEvery-time.Since(l.kept), 0))
	defer cancel()
	return source.Next(ctx)
}

// wanted is an event of an entry that the webhook wants.
type wanted struct {
	number uint32
	event  wallet.Event
}

// deliverAll delivers the messages about an entry.
func (l *lane) deliverAll(ctx context.Context, d *rsm.Decided) error {
	if d.Index != l.state.Next.Index {
		return fmt.Errorf("the source gave entry %d, not %d", d.Index, l.state.Next.Index)
	}
	began := time.Now()
	var events []wanted
	err := wallet.EntryEvents(d, func(number uint32, e *wallet.Event) error {
		if l.filter.Wants(e) && number >= l.state.Next.Number {
			events = append(events, wanted{number, *e})
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.rest(ctx, time.Since(began))
	for i := range events {
		at := wallet.EventPosition{Index: d.Index, Number: events[i].number}
		if at != l.state.Next {
			l.settled(at)
			l.state.Attempts, l.state.FirstAttempt, l.state.NextAttempt = 0, time.Time{}, time.Time{} // those of what is not wanted any more
		}
		l.waiting.Store(d.Time)
		past, err := l.marker.cover(ctx, at.Index)
		if err != nil {
			return err
		}
		messages := l.filter.Messages(past, l.number, at, d.Time, &events[i].event)
		for j := range messages {
			if err := l.deliver(ctx, &messages[j]); err != nil {
				return err
			}
		}
		at.Number++
		l.settled(at)
	}
	l.waiting.Store(0)
	l.settled(wallet.EventPosition{Index: d.Index + 1})
	return nil
}

// rest waits, while the wallet is busy, so long that what was worked is the lane's part of the
// share of all.
func (l *lane) rest(ctx context.Context, worked time.Duration) {
	if l.worked += worked; l.worked < workedLong {
		return
	}
	if l.e.o.Busy() {
		l.wait(ctx, min(time.Duration(float64(l.worked)*(float64(l.e.running.Load())/share-1)), longestRest))
	}
	l.worked = 0
}

// settled moves the lane behind what was settled.
func (l *lane) settled(next wallet.EventPosition) {
	l.state.Next, l.dirty = next, true
	l.next.Store(uint64(next.Index))
}

// deliver delivers a message, or gives it up after some days.
func (l *lane) deliver(ctx context.Context, m *wallet.WebhookMessage) error {
	data, err := l.e.o.Encode(ctx, l.webhook.Tenant, m)
	if err != nil {
		return fmt.Errorf("message %s: %w", m.ID, err)
	}
	body, err := newBody(m.Kind, time.Unix(0, m.Time), data)
	if err != nil {
		return fmt.Errorf("message %s: %w", m.ID, err)
	}
	for {
		if err := l.due(ctx); err != nil {
			return err
		}
		o, err := l.attempt(ctx, m, body)
		if err != nil {
			return err
		}
		l.note(&o)
		if o.delivered() {
			return nil
		}
		ended, err := l.failed(ctx, m, &o, body)
		if ended || err != nil {
			return err
		}
	}
}

// due waits until the next attempt may be made.
func (l *lane) due(ctx context.Context) error {
	if l.state.Attempts > 0 {
		l.wait(ctx, time.Until(l.state.NextAttempt))
	}
	return ctx.Err()
}

// attempt makes one attempt, when there is a place for it.
func (l *lane) attempt(ctx context.Context, m *wallet.WebhookMessage, body []byte) (outcome, error) {
	select {
	case l.requests <- struct{}{}:
		defer func() { <-l.requests }()
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	}
	o := l.e.send(ctx, l.webhook, m.ID, m.Kind, l.state.Attempts+1, body)
	if !o.delivered() && ctx.Err() != nil {
		return o, ctx.Err() // it was broken off here
	}
	return o, nil
}

// note enters an attempt into the lane.
func (l *lane) note(o *outcome) {
	l.dirty = true
	if l.attempts = append(l.attempts, o.WebhookAttempt); len(l.attempts) > wallet.MaxWebhookAttempts {
		l.attempts = l.attempts[1:]
	}
	s := &l.state
	s.LastError = o.Error
	if o.delivered() {
		l.moved++
		s.LastSuccess, s.FailingSince = o.Time.Add(o.Latency), time.Time{}
		s.Attempts, s.FirstAttempt, s.NextAttempt = 0, time.Time{}, time.Time{}
		return
	}
	if s.Attempts++; s.Attempts == 1 {
		s.FirstAttempt = o.Time
	}
	if s.FailingSince.IsZero() {
		s.FailingSince = o.Time
	}
	s.NextAttempt = o.Time.Add(o.Latency).Add(l.e.pause(s.Attempts, o.retryAfter))
}

// failed keeps what an attempt that failed has changed, and says whether the message was given up.
func (l *lane) failed(ctx context.Context, m *wallet.WebhookMessage, o *outcome, body []byte) (ended bool, err error) {
	now := o.Time.Add(o.Latency)
	var dead *wallet.DeadLetter
	if now.Sub(l.state.FirstAttempt) >= l.e.o.GiveUpAfter && o.Status != http.StatusGone {
		dead = &wallet.DeadLetter{Message: m.ID, Kind: m.Kind, Time: now, Attempts: l.state.Attempts, Error: o.Error, Body: body}
		l.state.Attempts, l.state.FirstAttempt, l.state.NextAttempt = 0, time.Time{}, time.Time{}
	}
	if err := l.save(ctx, dead); err != nil {
		return false, err
	}
	if dead != nil {
		l.e.counts.dead.Add(1)
		l.e.o.Logger.WarnContext(ctx, "a message was given up", "webhook", string(l.webhook.ID), "message", m.ID)
	}
	reason := ""
	if o.Status == http.StatusGone {
		reason = reasonGone
	} else if hopeless, err := l.hopeless(ctx, now); err != nil {
		return false, err
	} else if hopeless {
		reason = reasonFailing
	}
	if reason == "" {
		return dead != nil, nil
	}
	if err := l.e.disable(ctx, l.webhook, reason); err != nil {
		return false, err
	}
	return false, errDisabled
}

// hopeless says that for long there was nothing but failure, in any partition.
func (l *lane) hopeless(ctx context.Context, now time.Time) (bool, error) {
	if now.Sub(l.state.FailingSince) < l.e.o.DisableAfter {
		return false, nil
	}
	lanes, err := l.e.store.WebhookLanes(ctx, l.webhook.ID)
	if err != nil {
		return false, err
	}
	for i := range lanes {
		if v := &lanes[i]; !v.LastSuccess.IsZero() && now.Sub(v.LastSuccess) < l.e.o.DisableAfter {
			return false, nil
		}
	}
	return true, nil
}

// save keeps the lane's state. No lane is kept that is beyond the mark.
func (l *lane) save(ctx context.Context, dead *wallet.DeadLetter) error {
	if _, err := l.marker.cover(ctx, settledUpTo(&l.state)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	if err := l.e.store.SaveWebhook(ctx, l.webhook.ID, &wallet.WebhookProgress{Lane: &l.state, Attempts: l.attempts, Dead: dead}); err != nil {
		return fmt.Errorf("keep the place of webhook %s: %w", l.webhook.ID, err)
	}
	l.attempts, l.dirty, l.moved, l.kept = nil, false, 0, time.Now()
	return nil
}

// settledUpTo returns the last entry of which something was settled.
func settledUpTo(l *wallet.WebhookLane) rsm.Index {
	if l.Next.Number > 0 || l.Next.Index == 0 {
		return l.Next.Index
	}
	return l.Next.Index - 1
}

// last keeps the lane's state when it ends. If that fails, something is delivered again.
func (l *lane) last(ctx context.Context) {
	if l.dirty {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWithin)
		defer cancel()
		if err := l.save(ctx, nil); err != nil {
			l.e.o.Logger.DebugContext(ctx, "the place of a webhook was not kept at its end", "webhook", string(l.webhook.ID), "error", err)
		}
	}
}

// skim moves a lane on in which nothing can be wanted.
func (l *lane) skim(ctx context.Context) error {
	for ctx.Err() == nil {
		if next := l.partition.Applied() + 1; next > l.state.Next.Index {
			l.settled(wallet.EventPosition{Index: next})
			if err := l.save(ctx, nil); err != nil {
				return err
			}
		}
		l.wait(ctx, skimEvery)
	}
	return ctx.Err()
}
