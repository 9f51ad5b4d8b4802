package wallethttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/internal/httpd"
	"maru.example/wallet"
)

// Limits of streams of events.
const (
	MaxEventAccounts = 16 // that one follows

	maxEventID    = 12 << 10 // bytes of an id, that a reader must be able to send back in a header
	maxPlaceBytes = len("1023:9223372036854775807.18446744073709551615.4294967295,")

	eventPage  = 100                    // of an account or a partition that are read at once, and so wait for a reader
	eventPause = 50 * time.Millisecond  // between two looks at partitions in which nothing was new
	eventRest  = 400 * time.Millisecond // the longest, after some without anything new
	eventSlow  = 5 * time.Second        // for which a write may hold up a reader until it is dropped; its connection is closed after twice that
	eventAlive = 15 * time.Second       // between signs of life
	eventAllow = time.Second            // between two looks whether the reader may still read
	eventAhead = 5 * time.Minute        // by which the time of an id may be ahead of this node's, where it is of what only others have
	lastWords  = 500 * time.Millisecond // for the reason why a stream ends
)

// The reasons for which a stream ends.
const (
	droppedSlow      = "slow_reader"
	droppedClosing   = "closing"
	droppedForbidden = "unauthorized"
)

// EventMetrics counts the streams of events.
type EventMetrics struct {
	Readers       int    // now
	OfOneTenant   int    // now, of the tenant that has the most
	Slow          uint64 // that were dropped since they did not read
	Refused       uint64 // as there were too many
	TenantRefused uint64 // as the tenant had too many
}

// events is a stream for one reader: of each account it reads pages behind a place, at
// the reader's pace. It holds nothing that others wait for.
type events struct {
	s        *server
	q        query
	accounts []wallet.AccountID // none: all of the tenant's
	places   map[uint16]*place  // by partition
	pause    time.Duration      // the next
	w        http.ResponseWriter
	control  *http.ResponseController
	written  time.Time
	allowed  time.Time // when the reader was last known to be allowed to read
}

// place is how far a stream has come in a partition.
type place struct {
	after    wallet.LineKey
	seen     wallet.HistoryPosition // that the history had come to
	accounts []wallet.AccountID     // "": all
}

// IsStream says whether a request is for a stream, which has no end of its own: for
// [httpd.Options].
func IsStream(r *http.Request) bool {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/wallet/")
	account, ok2 := strings.CutSuffix(strings.TrimPrefix(path, "accounts/"), "/events") // an account may be named so
	return r.Method == http.MethodGet && ok && (path == "events" || ok2 && !strings.Contains(account, "/") && strings.HasPrefix(path, "accounts/"))
}

// accountEvents streams what happens to an account.
func (s *server) accountEvents(w http.ResponseWriter, q query) error {
	id, err := q.account()
	if err != nil {
		return err
	}
	return s.streamEvents(w, q, []wallet.AccountID{id})
}

// events streams what happens to several accounts, or to all.
func (s *server) events(w http.ResponseWriter, q query) error {
	all, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return invalidParameter("account", errors.New("cannot be read: the query of the URL is malformed"))
	}
	var accounts []wallet.AccountID
	for _, name := range all["account"] {
		id := wallet.AccountID(name)
		if err := id.Validate(); err != nil {
			return invalidParameter("account", err)
		}
		accounts = append(accounts, id)
	}
	slices.Sort(accounts)
	accounts = slices.Compact(accounts)
	if len(accounts) > MaxEventAccounts {
		return invalidParameter("account", fmt.Errorf("may be there %d times: without it the stream has all accounts", MaxEventAccounts))
	}
	return s.streamEvents(w, q, accounts)
}

// streamEvents serves a stream. An error is one of before it began.
func (s *server) streamEvents(w http.ResponseWriter, q query, accounts []wallet.AccountID) error {
	if err := s.readers.enter(q.tenant); err != nil {
		return err
	}
	defer s.readers.leave(q.tenant)
	e := &events{s: s, q: q, accounts: accounts, places: map[uint16]*place{}, w: w, control: http.NewResponseController(w), allowed: time.Now()}
	if err := e.open(); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_ = e.control.SetReadDeadline(time.Time{}) // there is nothing more to read
	w.WriteHeader(http.StatusOK)
	if reason := e.run(); reason != "" {
		s.o.Logger.InfoContext(q.Context(), "a stream of events ends", "reason", reason, "remote", q.RemoteAddr)
		_ = e.control.SetWriteDeadline(time.Now().Add(lastWords))
		_, _ = fmt.Fprintf(w, "event: dropped\ndata: {\"reason\":%q}\n\n", reason)
		_ = e.control.Flush()
	}
	return nil
}

// open finds out where the accounts are and where the stream begins: behind the last
// event that the reader has, at a time, or with what is new. The id of another stream
// may lack partitions of this one: they begin at the earliest time in it, so that
// the reader may get events again, but misses none. What is new is behind the end of the log, where the history may not be yet.
func (e *events) open() error {
	begin, err := e.q.time("from", -1)
	if err != nil {
		return err
	}
	partitions := e.s.partitions()
	last, err := parseEventID(e.q.Header.Get("Last-Event-ID"), partitions)
	if err != nil {
		return invalidParameter("Last-Event-ID", err)
	}
	if len(last) > 0 {
		begin = math.MaxInt64
		for _, at := range last {
			begin = min(begin, at.Time)
		}
	}
	if most := maxEventID / maxPlaceBytes; len(e.accounts) == 0 && int(partitions) > most {
		return invalidParameter("account", fmt.Errorf("must be there: of %d partitions the id of an event may be too long for a header; without it there may be %d", partitions, most))
	}
	for _, v := range e.followed() {
		page, err := e.page(&place{after: wallet.LineKey{Time: math.MaxInt64}, seen: v.HistoryPosition}, v.account, 1, true)
		if err != nil {
			return err
		}
		partition := page.Mark.Partition
		p := e.places[partition]
		if p == nil {
			if page.End == (wallet.LineKey{}) { // of a node with a program of before
				page.End = wallet.Behind(page.Mark.Time, page.Mark.Index)
			}
			p = &place{after: page.End, seen: page.Mark.HistoryPosition}
			if begin >= 0 {
				p.after, p.seen.Index = wallet.LineKey{Time: begin}, 0 // indexes are from 1
			}
			if at, ok := last[partition]; ok {
				p.after, p.seen.Index = at, 0
			}
			if len(last) > 0 && p.after.Compare(page.End) > 0 && p.after.Time > time.Now().Add(eventAhead).UnixNano() {
				return invalidParameter("Last-Event-ID", fmt.Errorf("%w: %s is beyond the end, which is %s", errEventID, p.in(partition), (&place{after: page.End}).in(partition)))
			}
			e.places[partition] = p
		}
		p.accounts = append(p.accounts, v.account)
	}
	return nil
}

// followed is an account that is followed, or all of a partition.
type followed struct {
	account wallet.AccountID
	wallet.HistoryPosition
}

func (e *events) followed() (all []followed) {
	for _, id := range e.accounts {
		all = append(all, followed{account: id})
	}
	if len(all) > 0 {
		return all
	}
	for n := range e.s.partitions() {
		all = append(all, followed{HistoryPosition: wallet.HistoryPosition{Partition: n}})
	}
	return all
}

// partitions returns how many the wallet has.
func (s *server) partitions() uint16 {
	if s.o.Cluster == nil {
		return 1
	}
	return max(1, s.o.Cluster.Partitions)
}

// page reads events behind a place. Where it is wanted now, it says where the log ends; else it waits for a history that
// has come further than the last time; with several partitions it does not, as there
// may be something in another one.
func (e *events) page(p *place, id wallet.AccountID, limit int, now bool) (wallet.EventPage, error) {
	r := &wallet.EventsRequest{Tenant: e.q.tenant, Account: id, Partition: p.seen.Partition, From: p.after.Time, After: p.after, Limit: limit, End: now}
	if !now && p.seen.Index > 0 && len(e.places) == 1 {
		next := p.seen
		next.Index++
		r.AtLeast = wallet.HistoryPositions{next}
	}
	page, code, err := e.s.o.History.HistoryEvents(e.q.Context(), r)
	return page, decidedAs(code, err)
}

// run sends events until the reader is gone, and returns why it ends otherwise.
func (e *events) run() (reason string) {
	// The first place has no event: who has to come again before there was one goes on here.
	if err := e.write(fmt.Sprintf(": hello\nid: %s\n\n", e.id())); err != nil {
		return e.ended(err)
	}
	for e.q.Context().Err() == nil {
		some := false
		for partition, p := range e.places {
			happened, err := e.next(p)
			switch {
			case errors.Is(err, wallet.ErrHistoryBehind): // nothing is new
			case err != nil:
				return e.ended(err)
			}
			for i := range happened {
				p.after = happened[i].LineKey
				if err := e.send(partition, &happened[i]); err != nil {
					return e.ended(err)
				}
			}
			some = some || len(happened) > 0
		}
		if some {
			e.pause = 0
			continue
		}
		if err := e.rest(); err != nil {
			return e.ended(err)
		}
	}
	return e.ended(context.Cause(e.q.Context()))
}

// next returns the next events of a place's accounts, in their common order: as far
// as all of them are known.
func (e *events) next(p *place) ([]wallet.PastEvent, error) {
	var all []wallet.PastEvent
	end := wallet.LineKey{Time: 1<<63 - 1}
	seen := p.seen
	for i, id := range p.accounts {
		page, err := e.page(p, id, eventPage, false)
		if err != nil {
			return nil, err
		}
		mark := wallet.Behind(page.Mark.Time, page.Mark.Index)
		if page.Next != (wallet.LineKey{}) {
			mark = page.Next
			page.Mark.Index = 0 // there is more: do not wait
		}
		if mark.Compare(end) < 0 {
			end = mark
		}
		if i == 0 || page.Mark.Index < seen.Index {
			seen = page.Mark.HistoryPosition
		}
		all = append(all, page.Events...)
	}
	p.seen = seen
	all = slices.DeleteFunc(all, func(v wallet.PastEvent) bool { return v.Compare(end) > 0 })
	slices.SortStableFunc(all, func(a, b wallet.PastEvent) int { return a.Compare(b.LineKey) })
	return all, nil
}

// send sends an event.
func (e *events) send(partition uint16, v *wallet.PastEvent) error {
	if err := e.allow(); err != nil {
		return err
	}
	data, err := json.Marshal(e.q.newEvent(partition, v))
	if err != nil {
		return err
	}
	return e.write(fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", e.id(), v.Kind, data))
}

// id names the place of the stream: partition:time.index.number, of several joined by commas.
func (e *events) id() string {
	var texts []string
	for partition, p := range e.places {
		texts = append(texts, p.in(partition))
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

func (p *place) in(partition uint16) string {
	return fmt.Sprintf("%d:%d.%d.%d", partition, p.after.Time, p.after.Index, p.after.Number)
}

var errEventID = errors.New("must be the id of an event")

// parseEventID reads an id of an event; of none, nothing.
func parseEventID(s string, partitions uint16) (map[uint16]wallet.LineKey, error) {
	all := map[uint16]wallet.LineKey{}
	if s == "" {
		return all, nil
	}
	for text := range strings.SplitSeq(s, ",") {
		first, second, _ := strings.Cut(text, ":")
		partition, err := strconv.ParseUint(first, 10, 16)
		k, err2 := parseCursor(second)
		if err != nil || err2 != nil || second == "" {
			return nil, errEventID
		}
		n := uint16(partition)
		if _, twice := all[n]; twice {
			return nil, errEventID
		}
		if n >= partitions {
			return nil, fmt.Errorf("%w: there is no partition %d", errEventID, n)
		}
		all[n] = k
	}
	return all, nil
}

var (
	errSlow = errors.New("the reader did not read")
	errGone = errors.New("the reader is gone")
)

// write sends text. A reader that does not read ends it.
func (e *events) write(text string) error {
	began := time.Now()
	_ = e.control.SetWriteDeadline(began.Add(2 * e.s.o.EventPatience)) // a response without deadlines has no connection that could be slow
	if _, err := e.w.Write([]byte(text)); err != nil {
		return e.late(began, err)
	}
	if err := e.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return e.late(began, err)
	}
	e.written = time.Now()
	if e.written.Sub(began) > e.s.o.EventPatience {
		return errSlow
	}
	return nil
}

// late says whether a write failed as the reader does not read.
func (e *events) late(began time.Time, err error) error {
	if time.Since(began) > e.s.o.EventPatience {
		return errSlow
	}
	return fmt.Errorf("%w: %w", errGone, err)
}

// allow looks, from time to time, whether the reader may still read: also one that always has something to read.
func (e *events) allow() error {
	if time.Since(e.allowed) < eventAllow {
		return nil
	}
	tenant, err := e.s.o.Authorize(e.q.Context(), e.q.Header.Get("Authorization"), e.q.Header.Get(TenantHeader), ReadScope)
	if err == nil && tenant != e.q.tenant {
		err = ErrForbidden // the key is another tenant's now
	}
	e.allowed = time.Now()
	return err
}

// rest waits a little, and gives a sign of life.
func (e *events) rest() error {
	e.pause = min(max(2*e.pause, eventPause), eventRest)
	select {
	case <-time.After(e.pause):
	case <-e.q.Context().Done():
		return context.Cause(e.q.Context())
	}
	if err := e.allow(); err != nil || time.Since(e.written) < eventAlive {
		return err
	}
	return e.write(": alive\n\n")
}

// ended returns the reason that a reader is told, "" if nobody is there to be told.
func (e *events) ended(err error) string {
	switch {
	case errors.Is(err, errSlow):
		e.s.slow.Add(1)
		return droppedSlow
	case errors.Is(err, errGone):
		return ""
	case errors.Is(err, httpd.ErrStopping):
		return droppedClosing
	case errors.Is(err, ErrUnauthenticated), errors.Is(err, ErrForbidden):
		return droppedForbidden
	case e.q.Context().Err() != nil:
		if errors.Is(context.Cause(e.q.Context()), httpd.ErrStopping) {
			return droppedClosing
		}
		return ""
	}
	p := failure(err)
	if p.cause != nil {
		e.s.o.Logger.ErrorContext(e.q.Context(), "a stream of events failed", "error", p.cause)
	}
	return p.Code
}

// eventExample is one event of a stream.
const eventExample = `id: 0:1796048182109212893.6.1
event: credit
data: {"account":"alice","transaction_id":"01900000-0000-7000-8000-000000000001","amount":"2.50","balance":"4.00",…}
`

// eventStream is what a stream sends.
type eventStream string

// Schema describes a stream of events.
func (eventStream) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: "Server-sent events: id is where to go on, of all partitions. Event is debit, credit or return, whose data is an object as " +
		"list-account-transfers has them, with account; or hold_placed, hold_captured, hold_released, hold_extended, hold_expired or hold_restored (a capture that was not done in another " +
		"partition), with hold_id, held and available afterwards, left and expires_at; account_opened, currency_added, limit_changed, daily_limit_set or status_changed; in the stream of all accounts " +
		"also transaction_made, with postings, reference and metadata, and asset_made. The last one may be dropped, with a reason: slow_reader, closing, unauthorized, or a code."}
}

func eventOperations() []operation {
	account := []wallet.Code{wallet.UnknownTenant, wallet.UnknownAccount}
	from := parameter{
		"from", "Begin with what happened at this moment; without it, and without the header Last-Event-ID, with what is new. It does not count with that header.",
		&huma.Schema{Type: huma.TypeString, Format: "date-time"},
	}
	ops := []operation{{
		id: "follow-account", path: "/v1/wallet/accounts/{id}/events",
		summary: "Follow what happens to an account", stream: (*server).accountEvents, parameters: []parameter{from},
	}, {
		id: "follow-accounts", path: "/v1/wallet/events",
		summary: "Follow what happens to several accounts, or to all", stream: (*server).events,
		parameters: []parameter{{"account", "An account; up to 16 times. Without it, all accounts of the tenant: where there are more than " + strconv.Itoa(maxEventID/maxPlaceBytes) + " partitions, it must be there.", &huma.Schema{Type: huma.TypeString}}, from},
	}}
	for i := range ops {
		ops[i].description = "As server-sent events, which go on where Last-Event-ID says. It may be an id of another stream of the same cluster: partitions that it does not name begin at the " +
			"earliest time in it, so that events may come again, but none is missing. A reader that does not read is dropped."
		ops[i].method, ops[i].scope, ops[i].status, ops[i].past, ops[i].codes, ops[i].answer = "GET", ReadScope, 200, true, account, eventStream("")
	}
	return ops
}
