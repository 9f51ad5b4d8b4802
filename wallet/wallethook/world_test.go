package wallethook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

var usd = money.MustParseCurrency("USD")

// part is a partition: a machine, its log of decided entries, and what a naive
// book-keeper knows of its events.
type part struct {
	number   uint16
	machine  *wallet.Machine
	accounts []wallet.AccountID
	handles  map[wallet.AccountID]wallet.Handle
	balances map[wallet.AccountID]money.Amount
	ids      int
	batches  []*rsm.Proposal
	decided  []rsm.DecidedBatch
	events   []happened // of all entries

	mu      sync.Mutex
	entries []rsm.Decided
	first   rsm.Index // that there still is
	leads   bool
	changed chan struct{}
}

// happened is an event as the book-keeper saw it.
type happened struct {
	at      wallet.EventPosition
	kind    wallet.EventKind
	account wallet.AccountID
	before  money.Amount
	after   money.Amount
}

// newPart returns a partition with accounts.
func newPart(number, of uint16, accounts int) *part {
	p := &part{
		number: number, machine: wallet.NewMachine(&wallet.MachineOptions{Partition: number, Partitions: of}), handles: map[wallet.AccountID]wallet.Handle{},
		balances: map[wallet.AccountID]money.Amount{}, first: 1, leads: true, changed: make(chan struct{}),
	}
	for n := 0; len(p.accounts) < accounts; n++ {
		if id := wallet.AccountID(fmt.Sprint("account", n)); wallet.PartitionOf(wallet.DefaultTenant, id, of) == number {
			p.accounts = append(p.accounts, id)
		}
	}
	return p
}

// apply applies a batch as a part of the entry that is being made.
func (p *part) apply(h wallet.Header, body func([]byte) []byte) []byte {
	data := body(wallet.AppendHeader(nil, h))
	results := p.machine.Apply(nil, rsm.Batch{Index: rsm.Index(len(p.entries) + 1), Time: time.Now().UnixNano(), Data: data})
	p.batches = append(p.batches, &rsm.Proposal{Data: data})
	p.decided = append(p.decided, rsm.DecidedBatch{Data: data, Results: results, Effects: bytes.Clone(p.machine.Effects())})
	return results
}

func (p *part) happened(kind wallet.EventKind, id wallet.AccountID, by money.Amount) {
	at := wallet.EventPosition{Index: rsm.Index(len(p.entries) + 1)}
	if n := len(p.events); n > 0 && p.events[n-1].at.Index == at.Index {
		at.Number = p.events[n-1].at.Number + 1
	}
	p.events = append(p.events, happened{at, kind, id, p.balances[id], p.balances[id] + by})
	p.balances[id] += by
}

// open opens an account that can go below zero.
func (p *part) open(id wallet.AccountID) {
	if p.handles[id] != 0 {
		return
	}
	opened := wallet.ParseOpened(p.apply(wallet.Header{Kind: wallet.KindOpenAccounts, Count: 1}, func(b []byte) []byte {
		return wallet.AppendAccount(b, &wallet.NewAccount{ID: id, Currency: usd, Min: wallet.Unlimited})
	}))
	if opened.Code != wallet.Applied {
		panic(opened.Code)
	}
	p.mu.Lock()
	p.handles[id] = opened.Handle
	p.mu.Unlock()
	p.happened(wallet.AccountOpened, id, 0)
}

// transfer moves money; an amount of 0 is refused.
func (p *part) transfer(from, to wallet.AccountID, a money.Amount) {
	p.ids++
	p.open(from)
	p.open(to)
	results := p.apply(wallet.Header{Kind: wallet.KindTransfers, Count: 1}, func(b []byte) []byte {
		return wallet.AppendHandleTransfer(b, &wallet.HandleTransfer{
			ID: wallet.TransactionID{1, byte(p.ids >> 8), byte(p.ids)}, From: p.handles[from], To: p.handles[to], Amount: a, Currency: usd,
		})
	})
	if wallet.Result(results[0]) != wallet.Result(wallet.Applied) {
		p.happened(wallet.TransferFailed, "", 0)
		return
	}
	p.happened(wallet.Debit, from, -a)
	p.happened(wallet.Credit, to, a)
}

// commit ends the entry.
func (p *part) commit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now().UnixNano()
	d := rsm.Decided{Index: rsm.Index(len(p.entries) + 1), Term: 1, Time: now}
	if len(p.batches) > 0 {
		d.Entry, d.Decision = rsm.AppendEntry(nil, now, p.batches), rsm.AppendDecision(nil, p.decided)
	}
	p.entries = append(p.entries, d)
	p.batches, p.decided = nil, nil
	close(p.changed)
	p.changed = make(chan struct{})
}

// cut removes the entries before one.
func (p *part) cut(first rsm.Index) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first = first
}

func (p *part) lead(leads bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leads = leads
}

// partition returns what an engine sees of it.
func (p *part) partition() Partition {
	return Partition{
		Leads: func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.leads
		},
		Open: func(from rsm.Index) (Source, error) { return &source{p, from}, nil },
		Applied: func() rsm.Index {
			p.mu.Lock()
			defer p.mu.Unlock()
			return rsm.Index(len(p.entries))
		},
	}
}

type source struct {
	p    *part
	next rsm.Index
}

func (s *source) Next(ctx context.Context) (rsm.Decided, error) {
	for {
		s.p.mu.Lock()
		first, count, changed := s.p.first, rsm.Index(len(s.p.entries)), s.p.changed
		if s.next >= first && s.next <= count {
			d := s.p.entries[s.next-1]
			s.p.mu.Unlock()
			s.next++
			return d, nil
		}
		s.p.mu.Unlock()
		if s.next < first {
			return rsm.Decided{}, fmt.Errorf("source: %w", &rsm.GapError{At: s.next, Next: s.next + 1}) // as far as it sees
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return rsm.Decided{}, ctx.Err()
		}
	}
}

func (s *source) Close() error { return nil }

// world is partitions, and the Wallet of an engine.
type world []*part

func newWorld(of uint16, accounts int) world {
	w := make(world, of)
	for i := range w {
		w[i] = newPart(uint16(i), of, accounts)
	}
	return w
}

func (w world) partitions() []Partition {
	all := make([]Partition, len(w))
	for i, p := range w {
		all[i] = p.partition()
	}
	return all
}

func (w world) Tenant(_ context.Context, name wallet.Tenant) (uint16, bool, error) {
	return 0, name == wallet.DefaultTenant, nil
}

func (w world) AccountHandle(_ context.Context, tenant wallet.Tenant, id wallet.AccountID) (wallet.Handle, error) {
	p := w[wallet.PartitionOf(tenant, id, uint16(len(w)))]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handles[id], nil
}

func (w world) Position(_ context.Context, partition uint16) (rsm.Index, error) {
	return w.partitions()[partition].Applied(), nil
}

// got is a request that came to a receiver.
type got struct {
	id     string
	kind   string
	header http.Header
	body   []byte
	at     time.Time
}

// receiver plays a server, by address.
type receiver struct {
	mu     sync.Mutex
	got    []got
	taken  []string                   // ids that were answered with success
	answer func(n int, g *got) answer // nil: 200 at once
}

type answer struct {
	status  int           // 0: 200
	header  http.Header   // may be nil
	latency time.Duration // hours: it hangs
	broken  bool          // the connection is closed
}

// RoundTrip implements http.RoundTripper.
func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	g := got{id: req.Header.Get("Webhook-Id"), header: req.Header, body: body, at: time.Now()}
	g.kind, _, _ = strings.Cut(strings.TrimPrefix(string(body), `{"type":"`), `"`)
	r.mu.Lock()
	r.got = append(r.got, g)
	a := answer{}
	if r.answer != nil {
		a = r.answer(len(r.got), &g)
	}
	r.mu.Unlock()
	select {
	case <-time.After(a.latency):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if a.broken {
		return nil, io.ErrUnexpectedEOF
	}
	if a.status == 0 {
		a.status = http.StatusOK
		r.mu.Lock()
		r.taken = append(r.taken, g.id)
		r.mu.Unlock()
	}
	return &http.Response{
		StatusCode: a.status, Status: fmt.Sprint(a.status, " ", http.StatusText(a.status)), Header: a.header, Body: io.NopCloser(strings.NewReader("")), Request: req,
	}, nil
}

// become lets it answer otherwise.
func (r *receiver) become(answer func(n int, g *got) answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// reset forgets what came.
func (r *receiver) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = nil
}

// all returns what came, in order.
func (r *receiver) all() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// ids returns the ids that came, in order.
func (r *receiver) ids() []string {
	var ids []string
	for _, g := range r.all() {
		ids = append(ids, g.id)
	}
	return ids
}

// receivers are several, by the host of their address.
type receivers map[string]*receiver

// RoundTrip implements http.RoundTripper.
func (rs receivers) RoundTrip(req *http.Request) (*http.Response, error) {
	return rs[req.URL.Host].RoundTrip(req)
}

// crashable is a store that takes time, and stops.
type crashable struct {
	Store
	mu   sync.Mutex
	dead bool
}

var errCrashed = errors.New("crashed")

func (c *crashable) crash(dead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = dead
}

func (c *crashable) alive() error {
	time.Sleep(time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errCrashed
	}
	return nil
}

func (c *crashable) PutWebhook(ctx context.Context, w *wallet.Webhook, lanes []wallet.WebhookLane) error {
	if err := c.alive(); err != nil {
		return err
	}
	return c.Store.PutWebhook(ctx, w, lanes)
}

func (c *crashable) SaveWebhook(ctx context.Context, id wallet.WebhookID, p *wallet.WebhookProgress) error {
	if err := c.alive(); err != nil {
		return err
	}
	return c.Store.SaveWebhook(ctx, id, p)
}

func (c *crashable) MoveWebhookMark(ctx context.Context, partition uint16, from, to wallet.WebhookMark) error {
	if err := c.alive(); err != nil {
		return err
	}
	return c.Store.MoveWebhookMark(ctx, partition, from, to)
}

// expected returns the ids of the messages of a webhook about a partition, in order, by the book-keeper.
func expected(p *part, w *wallet.NewWebhook, from rsm.Index) []string {
	var ids []string
	for _, e := range p.events {
		id := fmt.Sprintf("evt_%d-%d-%d", p.number, e.at.Index, e.at.Number)
		if e.at.Index < from {
			continue
		}
		if slices.Contains(w.Kinds, e.kind) && (len(w.Accounts) == 0 || slices.Contains(w.Accounts, e.account)) {
			ids = append(ids, id)
		}
		for _, t := range w.Thresholds {
			if t.Account != e.account || !e.kind.MovesMoney() {
				continue
			}
			if t.Above && e.before <= t.Amount && e.after > t.Amount {
				ids = append(ids, fmt.Sprintf("%s_balance_above_%d_%d", id, usd, t.Amount))
			}
			if !t.Above && e.before >= t.Amount && e.after < t.Amount {
				ids = append(ids, fmt.Sprintf("%s_balance_below_%d_%d", id, usd, t.Amount))
			}
		}
	}
	return ids
}

// create makes a webhook, or ends the test.
func create(t *testing.T, e *Engine, n *wallet.NewWebhook) wallet.WebhookState {
	t.Helper()
	s, err := e.CreateWebhook(t.Context(), wallet.DefaultTenant, n)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
