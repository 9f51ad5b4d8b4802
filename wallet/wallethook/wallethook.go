// Package wallethook tells other services over HTTP what happens in a wallet: an
// [Engine] follows the logs of the partitions that this node leads, and posts the events that
// each webhook has chosen to its address, signed as Standard Webhooks has it
// (https://www.standardwebhooks.com), in order, at least once. It holds up neither the wallet nor
// one webhook because of another. DESIGN.md says what was chosen and why.
package wallethook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"maru.example/rsm"
	"maru.example/wallet"
)

// Source gives the decided entries of a partition, in order: rsmraft.Feed is one.
type Source interface {
	// Next waits for the next entry; after the end of ctx it may be called again. Where
	// entries are missing, the error wraps a *rsm.GapError.
	Next(ctx context.Context) (rsm.Decided, error)
	Close() error
}

// Partition is a part of the wallet whose events are told.
type Partition struct {
	// First is the index of the first entry that there can be; default 1.
	First rsm.Index
	// Leads says whether this node leads it now: then it is the one that delivers.
	Leads func() bool
	// Open returns the entries from an index on.
	Open func(from rsm.Index) (Source, error)
	// Applied returns the index of the newest entry that is decided here, 0 if there is
	// no replica.
	Applied func() rsm.Index
}

// Wallet is what an engine asks of the wallet: [wallet.Service] is one.
type Wallet interface {
	Tenant(ctx context.Context, name wallet.Tenant) (number uint16, ok bool, err error)
	AccountHandle(ctx context.Context, tenant wallet.Tenant, id wallet.AccountID) (wallet.Handle, error)
	// Position returns an index that a partition has decided, of all that was acknowledged the last; 0: not known.
	Position(ctx context.Context, partition uint16) (rsm.Index, error)
}

// Store keeps webhooks, and what is known of the logs that they were told of.
type Store interface {
	wallet.WebhookStore
	wallet.WebhookMarks
}

// Encode returns what a message says of an event: the member data of its body.
type Encode func(ctx context.Context, tenant wallet.Tenant, m *wallet.WebhookMessage) (json.RawMessage, error)

// Options are the settings of an engine; nil means all defaults.
type Options struct {
	Encode Encode // default: the event as encoding/json has it
	// Refuse says, with an error that wraps wallet.ErrWebhooksElsewhere, why no webhooks can be made here; nil or no
	// error: they can.
	Refuse func() error
	// AnyHTTP allows http without TLS to other hosts than this one.
	AnyHTTP bool
	// PublicOnly refuses addresses of private networks and of this host.
	PublicOnly bool
	// Transport makes the requests; default: one that refuses addresses by PublicOnly,
	// keeps connections open, and follows neither redirects nor proxies.
	Transport http.RoundTripper
	Timeout   time.Duration // of one attempt; default 10 s
	Backoff   time.Duration // the longest pause after the first failure; default 1 s
	// MaxBackoff is the longest pause after any failure; default 1 h.
	MaxBackoff time.Duration
	// GiveUpAfter is how long after its first attempt a message becomes a dead letter; default 72 h.
	GiveUpAfter time.Duration
	// DisableAfter is how long nothing but failure disables a webhook; default 120 h.
	DisableAfter time.Duration
	// Overlap is for how long the secret before signs too after a rotation; default 24 h.
	Overlap time.Duration
	// PollEvery is how often leaders and the webhooks of other nodes are looked at; default 500 ms.
	PollEvery time.Duration
	// SaveEvery is how often the place of a lane is kept; what was delivered since is
	// delivered again after a crash. Default 500 ms.
	SaveEvery time.Duration
	// Busy says whether the wallet has much to do: then all lanes together look for events in a twentieth of a
	// processor's time only. It is called often, from several goroutines. Default: never.
	Busy func() bool
	// Random returns a time from 0 to below n; default: of the system's randomness.
	Random func(n time.Duration) time.Duration
	Logger *slog.Logger // default: discards
}

const (
	// share of a processor's time in which events are looked for while the wallet is busy.
	share       = 0.05
	workedLong  = 5 * time.Millisecond // is rested for at once
	longestRest = 5 * time.Second
	maxInFlight = 4                      // requests of one webhook at once
	againAfter  = 500 * time.Millisecond // the store or a source failed
	againAtMost = 30 * time.Second
	storeWithin = 10 * time.Second // an operation of the store, of a lane
)

func (o *Options) setDefaults() {
	setDefault(&o.Timeout, 10*time.Second)
	setDefault(&o.Backoff, time.Second)
	setDefault(&o.MaxBackoff, time.Hour)
	setDefault(&o.GiveUpAfter, 72*time.Hour)
	setDefault(&o.DisableAfter, 120*time.Hour)
	setDefault(&o.Overlap, 24*time.Hour)
	setDefault(&o.PollEvery, 500*time.Millisecond)
	setDefault(&o.SaveEvery, 500*time.Millisecond)
	if o.Random == nil {
		o.Random = randomBelow
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Busy == nil {
		o.Busy = func() bool { return false }
	}
	if o.Encode == nil {
		o.Encode = func(_ context.Context, _ wallet.Tenant, m *wallet.WebhookMessage) (json.RawMessage, error) {
			return json.Marshal(m.Event)
		}
	}
	if o.Refuse == nil {
		o.Refuse = func() error { return nil }
	}
	if o.Transport == nil {
		o.Transport = newTransport(o.PublicOnly)
	}
}

func setDefault(d *time.Duration, to time.Duration) {
	if *d <= 0 {
		*d = to
	}
}

// Engine delivers the messages of all webhooks for the partitions that this node
// leads. It is safe for concurrent use.
type Engine struct {
	o          Options
	store      Store
	wallet     Wallet
	partitions []Partition
	markers    []*marker // of each
	client     *http.Client
	cancel     context.CancelFunc
	changed    chan struct{} // the webhooks, by this node
	ended      chan struct{}
	counts     counts
	running    atomic.Int64 // lanes

	mu       sync.Mutex
	webhooks map[wallet.WebhookID]*wallet.Webhook // as they were read last
	lanes    map[laneID]*lane                     // that run
	requests map[wallet.WebhookID]chan struct{}   // a place each
}

type laneID struct {
	webhook   wallet.WebhookID
	partition uint16
}

// New returns an engine of a wallet's partitions, by their numbers. It is to be closed.
func New(store Store, w Wallet, partitions []Partition, o *Options) *Engine {
	e := &Engine{
		store: store, wallet: w, partitions: partitions, changed: make(chan struct{}, 1), ended: make(chan struct{}),
		webhooks: map[wallet.WebhookID]*wallet.Webhook{}, lanes: map[laneID]*lane{}, requests: map[wallet.WebhookID]chan struct{}{},
	}
	if o != nil {
		e.o = *o
	}
	e.o.setDefaults()
	for i := range partitions {
		partitions[i].First = max(partitions[i].First, 1)
		e.markers = append(e.markers, newMarker(e, uint16(i)))
	}
	e.client = &http.Client{
		Transport:     e.o.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	go e.run(ctx)
	return e
}

// Close ends all deliveries. What is under way is broken off, and delivered again later. The store stays open.
func (e *Engine) Close() {
	e.cancel()
	<-e.ended
	e.client.CloseIdleConnections()
}

// run lets a lane run for each webhook and partition, until ctx ends.
func (e *Engine) run(ctx context.Context) {
	defer close(e.ended)
	tick := time.NewTicker(e.o.PollEvery)
	defer tick.Stop()
	var failed bool
	for ctx.Err() == nil {
		err := e.load(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			e.o.Logger.WarnContext(ctx, "the webhooks cannot be read: those that were known go on", "error", err)
		}
		failed = err != nil
		e.place(ctx)
		select {
		case <-tick.C:
		case <-e.changed:
		case <-ctx.Done():
		}
	}
	e.mu.Lock()
	running := e.lanes
	e.mu.Unlock()
	for _, l := range running {
		<-l.ended
	}
}

// load reads the webhooks.
func (e *Engine) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	all, err := e.store.Webhooks(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.webhooks = make(map[wallet.WebhookID]*wallet.Webhook, len(all))
	for i := range all {
		e.webhooks[all[i].ID] = &all[i]
		if e.requests[all[i].ID] == nil {
			e.requests[all[i].ID] = make(chan struct{}, maxInFlight)
		}
	}
	for id := range e.requests {
		if e.webhooks[id] == nil {
			delete(e.requests, id)
		}
	}
	return nil
}

// place begins the lanes that are to run here, and ends the others.
func (e *Engine) place(ctx context.Context) {
	leads := make([]bool, len(e.partitions))
	for i := range e.partitions {
		leads[i] = e.partitions[i].Leads()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, l := range e.lanes {
		w := e.webhooks[id.webhook]
		if w == nil || !w.Enabled || w.Revision != l.webhook.Revision || !leads[id.partition] {
			l.cancel()
		}
		select {
		case <-l.ended:
			delete(e.lanes, id)
		default:
		}
	}
	for _, w := range e.webhooks {
		for i := range e.partitions {
			id := laneID{w.ID, uint16(i)}
			if w.Enabled && leads[i] && e.lanes[id] == nil {
				e.lanes[id] = e.begin(ctx, w, uint16(i))
			}
		}
	}
}

// change lets the engine look at the webhooks now.
func (e *Engine) change() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// disable ends the deliveries of a webhook for a reason, as it is of a revision.
func (e *Engine) disable(ctx context.Context, w *wallet.Webhook, reason string) error {
	v := *w
	v.Enabled, v.Reason = false, reason
	err := e.store.PutWebhook(ctx, &v, nil)
	if errors.Is(err, wallet.ErrWebhookConflict) || errors.Is(err, wallet.ErrNoWebhook) {
		err = nil // somebody changed it: that counts
	} else if err == nil {
		e.o.Logger.WarnContext(ctx, "a webhook was disabled", "webhook", string(w.ID), "reason", reason)
	}
	e.change()
	if err != nil {
		return fmt.Errorf("disable webhook %s: %w", w.ID, err)
	}
	return nil
}
