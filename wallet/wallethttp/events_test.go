package wallethttp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"maru.example/internal/httpd"
	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// growing is a history whose accounts' lines are given by a test: a in partition 0, b
// and c in partition 1.
type growing struct {
	wallethttp.History

	mu      sync.Mutex
	lines   map[wallet.AccountID][]wallet.Line
	index   map[uint16]rsm.Index
	endless bool      // there is always one more line
	ends    rsm.Index // of the log, in partition 0; if it is behind that of the history
}

func partitionOf(id wallet.AccountID) uint16 {
	if id == "a" {
		return 0
	}
	return 1
}

// add adds an entry with a line of each account.
func (g *growing) add(ids ...wallet.AccountID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, id := range ids {
		p := partitionOf(id)
		if i == 0 {
			g.index[p]++
		}
		at := g.index[p]
		g.lines[id] = append(g.lines[id], wallet.Line{
			LineKey: wallet.LineKey{Time: int64(at) * 1e9, Index: at, Number: uint32(i)}, Kind: wallet.Credit, ID: tid(byte(at)), Currency: usd, Amount: 1, Balance: 1,
		})
	}
}

func (g *growing) HistoryEvents(_ context.Context, r *wallet.EventsRequest) (page wallet.EventPage, code wallet.Code, err error) {
	if g.endless {
		g.add(r.Account)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if lines := g.lines[r.Account]; g.endless && len(lines) > 3 { // what was read is not asked for again
		g.lines[r.Account] = slices.Clone(lines[len(lines)-3:])
	}
	p := partitionOf(r.Account)
	ids := []wallet.AccountID{r.Account}
	if r.Account == "" {
		p, ids = r.Partition, map[uint16][]wallet.AccountID{0: {"a"}, 1: {"b", "c"}}[r.Partition]
	}
	page.Mark.HistoryPosition = wallet.HistoryPosition{Partition: p, Index: g.index[p]}
	page.Mark.Time = int64(g.index[p]) * 1e9
	if end := max(g.index[p], g.ends); r.End {
		page.End = wallet.Behind(int64(end)*1e9, end)
	}
	if len(r.AtLeast) > 0 && r.AtLeast[0].Index > g.index[p] {
		return page, 0, fmt.Errorf("%w: wait", wallet.ErrHistoryBehind)
	}
	var all []wallet.PastEvent
	for _, id := range ids {
		for _, l := range g.lines[id] {
			e := wallet.PastEvent{LineKey: l.LineKey, AccountID: id}
			e.Kind, e.ID, e.Currency, e.Amount, e.Balance = l.Kind, l.ID, l.Currency, l.Amount, l.Balance
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b wallet.PastEvent) int { return a.Compare(b.LineKey) })
	for _, e := range all {
		if e.Compare(r.After) <= 0 || e.Time < r.From {
			continue
		}
		if len(page.Events) == min(r.Limit, 3) { // pages are short
			page.Next = page.Events[len(page.Events)-1].LineKey
			break
		}
		page.Events = append(page.Events, e)
	}
	return page, wallet.Applied, nil
}

// eventReader reads a stream.
type eventReader struct {
	t     *testing.T
	lines *bufio.Scanner
}

func follow(t *testing.T, url, last string) (r *eventReader, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // stop does
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %d %v", resp.StatusCode, resp.Header)
	}
	return &eventReader{t, bufio.NewScanner(resp.Body)}, func() {
		cancel()
		resp.Body.Close()
	}
}

// hello returns the id with which a stream begins.
func (r *eventReader) hello() string {
	r.t.Helper()
	for r.lines.Scan() {
		if id, ok := strings.CutPrefix(r.lines.Text(), "id: "); ok {
			return id
		}
	}
	r.t.Fatal("the stream does not say where it begins")
	return ""
}

// next returns the next event: its id, kind, and "account position".
func (r *eventReader) next() (id, kind, what string) {
	r.t.Helper()
	for r.lines.Scan() {
		name, value, _ := strings.Cut(r.lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			var data struct{ Account, Position, Reason string }
			if err := json.Unmarshal([]byte(value), &data); err != nil {
				r.t.Fatal(err)
			}
			return id, kind, strings.TrimSpace(data.Account + " " + data.Position + data.Reason)
		}
	}
	return "", "", "end"
}

func serveEvents(t *testing.T, g *growing, o *wallethttp.Options) (h *wallethttp.Handler, server *httpd.Server, url string) {
	t.Helper()
	if o == nil {
		o = &wallethttp.Options{Cluster: &wallethttp.Cluster{Partitions: 2}}
	}
	o.History = g
	h = wallethttp.NewHandler(scripted{code: wallet.Applied}, o)
	server = httpd.NewServer(h, &httpd.Options{Streams: wallethttp.IsStream})
	listening := httptest.NewUnstartedServer(server.Handler())
	listening.Config.MaxHeaderBytes = httpd.DefaultMaxHeaderBytes
	listening.Start()
	t.Cleanup(listening.Close)
	return h, server, listening.URL + "/v1/wallet/"
}

func newGrowing() *growing {
	return &growing{lines: map[wallet.AccountID][]wallet.Line{}, index: map[uint16]rsm.Index{}}
}

// TestEvents follows accounts of two partitions, goes away, and goes on.
func TestEvents(t *testing.T) {
	g := newGrowing()
	g.add("a")
	_, _, url := serveEvents(t, g, nil)
	r, stop := follow(t, url+"accounts/a/events", "")
	g.add("a")
	if id, kind, what := r.next(); id != "0:2000000000.2.0" || kind != "credit" || what != "a 0:2" {
		t.Fatalf("what is new: got %q %q %q", id, kind, what)
	}
	stop()

	r, stop = follow(t, url+"events?account=a&account=b&account=c&from=1970-01-01T00:00:00Z", "")
	for range 5 {
		g.add("b", "c")
	}
	seen, last := map[string]int{}, ""
	var order []string
	for range 2 + 10 {
		id, _, what := r.next()
		seen[what]++
		last = id
		if what[0] != 'a' {
			order = append(order, what)
		}
	}
	stop()
	if len(seen) != 12 || !slices.Equal(order, []string{"b 1:1", "c 1:1", "b 1:2", "c 1:2", "b 1:3", "c 1:3", "b 1:4", "c 1:4", "b 1:5", "c 1:5"}) {
		t.Errorf("got %v, in partition 1 %v", seen, order)
	}

	g.add("c", "b")
	r, stop = follow(t, url+"events?account=a&account=b&account=c", last)
	defer stop()
	if _, _, what := r.next(); what != "c 1:6" {
		t.Errorf("after %s: got %s", last, what)
	}
}

// TestEventsOfATenant follows everything in two partitions, goes away, and goes on in
// both where it was.
func TestEventsOfATenant(t *testing.T) {
	g := newGrowing()
	g.add("a")
	g.add("b", "c")
	_, _, url := serveEvents(t, g, &wallethttp.Options{Cluster: &wallethttp.Cluster{Partitions: 2}})
	r, stop := follow(t, url+"events?from=1970-01-01T00:00:00Z", "")
	seen, last := map[string]bool{}, ""
	for range 3 {
		id, _, what := r.next()
		seen[what], last = true, id
	}
	stop()
	if !seen["a 0:1"] || !seen["b 1:1"] || !seen["c 1:1"] || last != "0:1000000000.1.0,1:1000000000.1.1" {
		t.Errorf("got %v, the last is %q", seen, last)
	}
	g.add("a")
	g.add("c")
	r, stop = follow(t, url+"events", last)
	defer stop()
	_, _, one := r.next()
	_, _, two := r.next()
	if got := []string{one, two}; !slices.Equal(got, []string{"a 0:2", "c 1:2"}) && !slices.Equal(got, []string{"c 1:2", "a 0:2"}) {
		t.Errorf("after %s: got %q", last, got)
	}
}

// TestEventsAfterAnotherStream goes on with ids that lack a partition: nothing is missing, from the earliest time in the id on.
func TestEventsAfterAnotherStream(t *testing.T) {
	all := []string{"a 0:1", "a 0:2", "a 0:3", "b 1:1", "b 1:2", "b 1:3"}
	for _, v := range []struct {
		name, path, last string
		want             []string
	}{
		{"of one account", "events", "0:2000000000.2.0", []string{"a 0:3", "b 1:2", "b 1:3"}},
		{"of an account of another partition", "accounts/a/events", "1:2000000000.2.0", []string{"a 0:2", "a 0:3"}},
		{"from does not count", "events?from=1970-01-01T00:00:03Z", "0:2000000000.2.0", []string{"a 0:3", "b 1:2", "b 1:3"}},
		{"before the first event of a partition", "events", "0:0.0.4294967295", all},
		{"of the beginning", "events", "1:0.0.0", all},
		{"whole", "events", "0:3000000000.3.0,1:2000000000.2.0", []string{"b 1:3"}},
		{"none", "events?from=1970-01-01T00:00:02Z", "", []string{"a 0:2", "a 0:3", "b 1:2", "b 1:3"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			g := newGrowing()
			for range 3 { // at 1, 2 and 3 s
				g.add("a")
				g.add("b")
			}
			_, _, url := serveEvents(t, g, nil)
			r, stop := follow(t, url+v.path, v.last)
			first := r.hello()
			g.add("a") // the last that are read
			g.add("b")
			ends := 2
			if strings.HasPrefix(v.path, "accounts/") {
				ends = 1
			}
			var got []string
			for ends > 0 {
				_, _, what := r.next()
				if strings.HasSuffix(what, ":4") {
					ends--
					continue
				}
				got = append(got, what)
			}
			stop()
			slices.Sort(got)
			if !slices.Equal(got, v.want) {
				t.Errorf("after %q: got %q", v.last, got)
			}
			again, stop := follow(t, url+v.path, first)
			defer stop()
			if id := again.hello(); id != first {
				t.Errorf("after %q it goes on at %q", first, id)
			}
		})
	}
}

// TestEventData reads what is told of events that change no balance.
func TestEventData(t *testing.T) {
	for _, v := range []struct {
		name string
		e    wallet.PastEvent
		want string
	}{
		{"hold", wallet.PastEvent{AccountID: "a", Event: wallet.Event{
			Kind: wallet.HoldCaptured, ID: tid(2), Hold: tid(1), Amount: 100, Balance: 900, Held: 250, Left: 50, Expires: 1_000, Currency: usd,
		}}, `"hold_id":"01000000-0000-0000-0000-000000000001","held":"2.50","available":"6.50","left":"0.50","expires_at":"1970-01-01T00:00:01Z"`},
		{"limit of the day", wallet.PastEvent{AccountID: "a", Event: wallet.Event{Kind: wallet.DailyLimitSet, Currency: usd, Daily: wallet.DailyLimit{Amount: 500, Count: 3}}}, `"daily_limit":{"amount":"5.00","count":3}`},
		{"transaction", wallet.PastEvent{Event: wallet.Event{Kind: wallet.TransactionMade, ID: referred.ID, Content: wallet.AppendTransaction(nil, referred)}}, `"reference":"order-4711","metadata":{"shop":"3"},"postings":[{"account":"a","amount":"-0.05","currency":"USD"},{`},
		{"frozen", wallet.PastEvent{AccountID: "a", Event: wallet.Event{Kind: wallet.StatusChanged, Status: wallet.Frozen}}, `"status":"frozen"`},
		{"opened", wallet.PastEvent{AccountID: "a", Event: wallet.Event{Kind: wallet.AccountOpened, Currency: usd, Min: -500}}, `"min_balance":"-5.00"`},
		{"asset", wallet.PastEvent{Event: wallet.Event{Kind: wallet.AssetMade, Name: "SHARES"}}, `"name":"SHARES"`},
	} {
		g := &told{scripted: scripted{code: wallet.Applied}, e: v.e}
		server := httptest.NewServer(httpd.NewServer(wallethttp.NewHandler(g, &wallethttp.Options{History: g}), &httpd.Options{Streams: wallethttp.IsStream}).Handler())
		c, err := wallethttp.NewClient(server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		enough := errors.New("enough")
		err = c.Follow(t.Context(), nil, wallethttp.EventsFrom{Time: 1}, func(e *wallethttp.Event) error {
			if e.Name != v.e.Kind.String() || e.Index != 3 || e.Account != v.e.AccountID || !strings.Contains(string(e.Data), v.want) {
				t.Errorf("%s: got %+v: %s", v.name, e, e.Data)
			}
			return enough
		})
		if !errors.Is(err, enough) {
			t.Errorf("%s: got %v", v.name, err)
		}
		c.Close()
		server.CloseClientConnections()
		server.Close()
	}
}

// told is a history with one event.
type told struct {
	scripted
	e wallet.PastEvent
}

func (o *told) HistoryEvents(_ context.Context, r *wallet.EventsRequest) (wallet.EventPage, wallet.Code, error) {
	page := wallet.EventPage{Mark: wallet.HistoryMark{HistoryPosition: wallet.HistoryPosition{Index: 3}, Time: 7}}
	if o.e.LineKey = (wallet.LineKey{Time: 7, Index: 3}); o.e.Compare(r.After) > 0 {
		page.Events = []wallet.PastEvent{o.e}
	}
	return page, wallet.Applied, nil
}

// TestFollow follows by the client.
func TestFollow(t *testing.T) {
	g := newGrowing()
	_, server, url := serveEvents(t, g, nil)
	c, err := wallethttp.NewClient(strings.TrimSuffix(url, "/v1/wallet/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	g.add("b")
	g.add("b", "c")
	var got []string
	err = c.Follow(t.Context(), []wallet.AccountID{"b", "c"}, wallethttp.EventsFrom{Time: 1}, func(e *wallethttp.Event) error {
		got = append(got, fmt.Sprintf("%s %d %d %d %s", e.Account, e.Partition, e.Index, e.Number, e.ID))
		if len(got) == 3 {
			return server.Shutdown(t.Context())
		}
		return nil
	})
	want := []string{"b 1 1 0 1:1000000000.1.0", "b 1 2 0 1:2000000000.2.0", "c 1 2 1 1:2000000000.2.1"}
	if !errors.Is(err, wallethttp.ErrDropped) || !strings.HasSuffix(err.Error(), "closing") || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestEventsRefused asks for what cannot be followed.
func TestEventsRefused(t *testing.T) {
	_, _, url := serveEvents(t, newGrowing(), nil)
	many := "account=" + strings.Join(slices.Collect(func(yield func(string) bool) {
		for i := range wallethttp.MaxEventAccounts + 1 {
			if !yield(fmt.Sprint("x", i)) {
				return
			}
		}
	}), "&account=")
	for _, v := range []struct{ name, path, last, want string }{
		{"too many accounts", "events?" + many, "", "16 times"},
		{"no account's name", "events?account=a%20b", "", `"parameter":"account"`},
		{"no time", "accounts/a/events?from=x", "", `"parameter":"from"`},
		{"no id", "events", "x", `"parameter":"Last-Event-ID"`},
		{"an id without a place", "events", "0:", "must be the id of an event"},
		{"an id with a partition twice", "events", "0:1.1.0,0:2.2.0", "must be the id of an event"},
		{"an id with a partition that is not there", "events", "0:1.1.0,7:1.1.0", "must be the id of an event: there is no partition 7"},
		{"of an account, too", "accounts/a/events", "2:1.1.0", "there is no partition 2"},
		{"an id of no time", "events", "0:9223372036854775807.18446744073709551615.1", "must be the id of an event: 0:9223372036854775807.18446744073709551615.1 is beyond the end, which is 0:0.0.4294967295"},
		{"an id of tomorrow", "accounts/a/events", fmt.Sprintf("0:%d.7000.0", time.Now().Add(24*time.Hour).UnixNano()), "is beyond the end"},
		{"of another partition", "accounts/a/events", "1:9223372036854775807.7.0", "is beyond the end"},
	} {
		if status, body := noStream(t, url+v.path, v.last); status != http.StatusUnprocessableEntity || !strings.Contains(body, v.want) {
			t.Errorf("%s: got %d %s", v.name, status, body)
		}
	}
}

// noStream asks for a stream that does not begin.
func noStream(t *testing.T, url, last string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", last)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return resp.StatusCode, "a stream"
	}
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(content)
}

// TestEventsOfManyPartitions follows all of a tenant in as many partitions as there may be, and goes on with the longest id
// of them; in one more, accounts only.
func TestEventsOfManyPartitions(t *testing.T) {
	const most = 215
	var places []string
	for p := range most {
		places = append(places, fmt.Sprintf("%d:1234567890123456789.18446744073709551615.4294967295", p))
	}
	slices.Sort(places)
	longest := strings.Join(places, ",")
	_, _, url := serveEvents(t, newGrowing(), &wallethttp.Options{Cluster: &wallethttp.Cluster{Partitions: most}})
	r, stop := follow(t, url+"events", longest)
	defer stop()
	if got := r.hello(); got != longest || len(got) > 12<<10 {
		t.Errorf("got %d bytes: %s", len(got), got)
	}

	_, _, url = serveEvents(t, newGrowing(), &wallethttp.Options{Cluster: &wallethttp.Cluster{Partitions: most + 1}})
	if status, body := noStream(t, url+"events", ""); status != http.StatusUnprocessableEntity || !strings.Contains(body, `"account","detail":"must be there: of 216 partitions`) {
		t.Errorf("in one more: got %d %s", status, body)
	}
	r, stop = follow(t, url+"events?account=a&account=b", "")
	defer stop()
	if got := r.hello(); got != "0:0.0.4294967295,1:0.0.4294967295" {
		t.Errorf("of accounts: got %s", got)
	}
}

// endings is told of the ends of streams.
type endings struct {
	slog.Handler
	reasons chan string
}

func (e endings) Enabled(context.Context, slog.Level) bool { return true }

func (e endings) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "reason" {
			e.reasons <- a.Value.String()
		}
		return true
	})
	return nil
}

// TestSlowReader opens a stream and reads nothing of it: it is dropped, with a reason,
// and others are not.
func TestSlowReader(t *testing.T) {
	g := newGrowing()
	g.endless = true
	ended := endings{slog.DiscardHandler, make(chan string, 10)}
	h, _, url := serveEvents(t, g, &wallethttp.Options{EventPatience: 20 * time.Millisecond, Logger: slog.New(ended)})
	_, stop := follow(t, url+"accounts/a/events", "")
	defer stop()
	if reason := <-ended.reasons; reason != "slow_reader" {
		t.Errorf("got %q", reason)
	}
	if m := h.EventMetrics(); m.Slow != 1 {
		t.Errorf("got %+v", m)
	}
}

// TestEventsEndWithTheKey revokes the key of a reader that always has something to read, and of one that has not.
func TestEventsEndWithTheKey(t *testing.T) {
	for _, endless := range []bool{true, false} {
		t.Run(fmt.Sprintf("endless %t", endless), func(t *testing.T) {
			t.Parallel()
			g := newGrowing()
			g.endless = endless
			var revoked atomic.Bool
			_, _, url := serveEvents(t, g, &wallethttp.Options{Authorize: func(context.Context, string, string, wallethttp.Scope) (wallet.Tenant, error) {
				if revoked.Load() {
					return "", wallethttp.ErrUnauthenticated
				}
				return wallet.DefaultTenant, nil
			}})
			r, stop := follow(t, url+"accounts/a/events", "")
			defer stop()
			revoked.Store(true)
			_, kind, what := r.next()
			for kind == "credit" {
				_, kind, what = r.next()
			}
			if kind != "dropped" || what != "unauthorized" {
				t.Errorf("got %q %q", kind, what)
			}
		})
	}
}

// failing is a history that fails once a stream has begun.
type failing struct {
	*growing
	failed atomic.Bool
}

func (f *failing) HistoryEvents(ctx context.Context, r *wallet.EventsRequest) (wallet.EventPage, wallet.Code, error) {
	if f.failed.Swap(true) {
		return wallet.EventPage{}, 0, errors.New("a broken disk")
	}
	return f.growing.HistoryEvents(ctx, r)
}

// TestEventsFail has a history that fails: the reader is told, and the log has why.
func TestEventsFail(t *testing.T) {
	var log lockedBuffer
	f := &failing{growing: newGrowing()}
	h := wallethttp.NewHandler(scripted{code: wallet.Applied}, &wallethttp.Options{History: f, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	server := httptest.NewServer(httpd.NewServer(h, &httpd.Options{Streams: wallethttp.IsStream}).Handler())
	defer server.Close()
	r, stop := follow(t, server.URL+"/v1/wallet/accounts/a/events", "")
	defer stop()
	if _, kind, what := r.next(); kind != "dropped" || what != "internal" {
		t.Errorf("got %q %q", kind, what)
	}
	if !strings.Contains(log.String(), "a broken disk") {
		t.Errorf("the log: %s", log.String())
	}
}

// lockedBuffer is written to by several goroutines.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestEventsBeforeTheFirst goes away before there was an event, and goes on where it began.
func TestEventsBeforeTheFirst(t *testing.T) {
	g := newGrowing()
	g.add("a")
	g.add("b")
	_, _, url := serveEvents(t, g, nil)
	r, stop := follow(t, url+"events?account=a&account=b", "")
	place := r.hello()
	stop()
	g.add("a")
	g.add("b")
	r, stop = follow(t, url+"events?account=a&account=b", place)
	defer stop()
	got := []string{}
	for range 2 {
		_, _, what := r.next()
		got = append(got, what)
	}
	slices.Sort(got)
	if want := []string{"a 0:2", "b 1:2"}; !slices.Equal(got, want) {
		t.Errorf("behind %q: got %q", place, got)
	}
}

// TestEventsOfAHistoryBehind begins with what is new while the history has not come to the end of the log: what it takes up of
// before is not new, neither at once nor for who comes again where it began.
func TestEventsOfAHistoryBehind(t *testing.T) {
	g := newGrowing()
	g.add("a")
	g.ends = 5
	_, _, url := serveEvents(t, g, nil)
	one, stop := follow(t, url+"events?account=a", "")
	defer stop()
	place := one.hello()
	again, stop := follow(t, url+"events?account=a", place)
	defer stop()
	all, stop := follow(t, url+"events?account=a&from=1970-01-01T00:00:02Z", "")
	defer stop()
	for range 5 {
		g.add("a")
	}
	for name, v := range map[string]struct {
		*eventReader
		want string
	}{"new": {one, "a 0:6"}, "behind the first place": {again, "a 0:6"}, "from a time": {all, "a 0:2"}} {
		if _, _, what := v.next(); what != v.want {
			t.Errorf("%s, behind %s: got %q, want %q", name, place, what, v.want)
		}
	}
}

// TestEventsAfterWhatOthersHave goes on behind an event that this node has not yet: another node is ahead.
func TestEventsAfterWhatOthersHave(t *testing.T) {
	g := newGrowing()
	g.add("a")
	_, _, url := serveEvents(t, g, nil)
	now := time.Now().UnixNano()
	r, stop := follow(t, url+"accounts/a/events", fmt.Sprintf("0:%d.4.0", now))
	defer stop()
	g.mu.Lock()
	for i := range int64(4) { // the last one is behind it
		at := rsm.Index(2 + i)
		g.lines["a"] = append(g.lines["a"], wallet.Line{LineKey: wallet.LineKey{Time: now + i - 2, Index: at}, Kind: wallet.Credit, ID: tid(byte(at)), Currency: usd, Amount: 1, Balance: 1})
	}
	g.index[0] = rsm.Index(now/1e9 + 1) // its time is behind them
	g.mu.Unlock()
	if _, _, what := r.next(); what != "a 0:5" {
		t.Errorf("got %q", what)
	}
}

// TestIsStream tells streams from what is only named like one.
func TestIsStream(t *testing.T) {
	for path, want := range map[string]bool{
		"/v1/wallet/events": true, "/v1/wallet/accounts/a/events": true, "/v1/wallet/accounts/events/events": true,
		"/v1/wallet/accounts/events": false, "/v1/wallet/transfers/events": false, "/v1/wallet/accounts/a/b/events": false, "/events": false,
	} {
		if got := wallethttp.IsStream(httptest.NewRequest(http.MethodGet, path, nil)); got != want {
			t.Errorf("%s: got %t", path, got)
		}
	}
}

// TestEventsEndWithTheServer stops a server with a reader, who is told.
func TestEventsEndWithTheServer(t *testing.T) {
	_, server, url := serveEvents(t, newGrowing(), nil)
	r, stop := follow(t, url+"accounts/a/events", "")
	defer stop()
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, kind, what := r.next(); kind != "dropped" || what != "closing" {
		t.Errorf("got %q %q", kind, what)
	}
}
