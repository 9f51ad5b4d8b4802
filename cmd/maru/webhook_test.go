package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"maru.example/internal/sqldb/sqltest"
	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethook"
	"maru.example/wallet/wallethttp"
)

// hookCommands are the commands of scripts about webhooks:
//
//	receiver               start a server that takes messages; RECEIVER is its address
//	receiver-answers CODE  let it answer so from now on
//	received REGEXP...     wait until messages have come since the last time that match, in this order
//	hook-id K FILE         set an environment variable to the id of the webhook in a command's --json
func hookCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"receiver": func(ts *testscript.TestScript, _ bool, _ []string) {
			r := ownReceiver(ts)
			ts.Defer(r.start())
			ts.Setenv("RECEIVER", r.url)
		},
		"receiver-answers": func(ts *testscript.TestScript, _ bool, args []string) {
			var code int
			_, err := fmt.Sscan(args[0], &code)
			ts.Check(err)
			ownReceiver(ts).become(code)
		},
		"received": func(ts *testscript.TestScript, _ bool, args []string) {
			for _, pattern := range args {
				ts.Check(ownReceiver(ts).await(regexp.MustCompile(pattern)))
			}
		},
		"hook-id": func(ts *testscript.TestScript, _ bool, args []string) {
			var v struct{ ID string }
			ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &v))
			ts.Setenv(args[0], v.ID)
		},
	}
}

// receiverOfScript is the key of a script's receiver.
type receiverOfScript struct{}

func ownReceiver(ts *testscript.TestScript) *hookReceiver {
	r, _ := ts.Value(receiverOfScript{}).(*hookReceiver)
	return r
}

// hookReceiver is a server that takes messages.
type hookReceiver struct {
	url string

	mu       sync.Mutex
	status   int
	verifier *standardwebhooks.Webhook // nil: signatures are not looked at
	bodies   []string
	seen     int               // of bodies, by await
	ids      []string          // that were answered with success
	told     map[string]string // bodies by id
	reused   []string          // ids of several bodies
	wrong    error
	changed  chan struct{}
}

// start starts the server, and returns what stops it.
func (r *hookReceiver) start() (stop func()) {
	r.status, r.changed, r.told = http.StatusOK, make(chan struct{}), map[string]string{}
	s := httptest.NewServer(r)
	r.url = s.URL
	return s.Close
}

func (r *hookReceiver) become(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

// ServeHTTP implements http.Handler.
func (r *hookReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // it was broken off
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.verifier != nil && r.wrong == nil {
		r.wrong = r.verifier.Verify(body, req.Header)
	}
	r.bodies = append(r.bodies, string(body))
	id := req.Header.Get("Webhook-Id")
	if before, ok := r.told[id]; ok && before != string(body) {
		r.reused = append(r.reused, id)
	}
	r.told[id] = string(body)
	if r.status == http.StatusOK {
		r.ids = append(r.ids, id)
	}
	w.WriteHeader(r.status)
	close(r.changed)
	r.changed = make(chan struct{})
}

const receiveWithin = 30 * time.Second

// await waits for a message that matches, behind those that were waited for.
func (r *hookReceiver) await(pattern *regexp.Regexp) error {
	timeout := time.NewTimer(receiveWithin)
	defer timeout.Stop()
	for {
		r.mu.Lock()
		for r.seen < len(r.bodies) {
			r.seen++
			if pattern.MatchString(r.bodies[r.seen-1]) {
				r.mu.Unlock()
				return nil
			}
		}
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-timeout.C:
			r.mu.Lock()
			defer r.mu.Unlock()
			return fmt.Errorf("no message matches %v; %d came:\n%s", pattern, len(r.bodies), strings.Join(r.bodies, "\n"))
		}
	}
}

// TestWebhooksAfterKills kills the server (SIGKILL) while it delivers: every message comes, in order,
// and signed.
func TestWebhooksAfterKills(t *testing.T) {
	var r hookReceiver
	t.Cleanup(r.start())
	dir := t.TempDir()
	usd := money.MustParseCurrency("USD")
	var client *wallethttp.Client
	start := func() *process {
		p, err := startServer(dir, "--data", dir, "--log-level", "warn")
		if err != nil {
			t.Fatal(err)
		}
		if client, err = wallethttp.NewClient("http://"+p.listens.HTTP, nil); err != nil {
			t.Fatal(err)
		}
		return p
	}
	server := start()
	defer func() { server.kill() }()
	for _, id := range []wallet.AccountID{"mint", "alice"} {
		if _, code, err := client.OpenAccount(t.Context(), wallet.NewAccount{ID: id, Currency: usd, Min: wallet.Unlimited}); err != nil || code != wallet.Applied {
			t.Fatal(code, err)
		}
	}
	hook, err := client.CreateWebhook(t.Context(), &wallet.NewWebhook{URL: r.url, Kinds: []wallet.EventKind{wallet.Debit, wallet.Credit}})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := standardwebhooks.NewWebhook(wallethook.FormatSecret(hook.Secrets[0].Key))
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.verifier = verifier
	r.mu.Unlock()
	const rounds, each = 3, 60
	paid := 0
	for range rounds {
		ts := make([]wallet.Transfer, each)
		for i := range ts {
			paid++
			ts[i] = wallet.Transfer{ID: newTransactionID(time.Now()), From: "mint", To: "alice", Amount: 1, Currency: usd}
		}
		if _, err := client.Transfers(t.Context(), ts); err != nil {
			t.Fatal(err)
		}
		if err := r.await(regexp.MustCompile(fmt.Sprintf(`"credit".*"balance":"%s"`, money.Amount(paid-each/2).Format(usd)))); err != nil {
			t.Fatal(err)
		}
		server.kill() // in the middle of them
		server = start()
	}
	if err := r.await(regexp.MustCompile(fmt.Sprintf(`"credit".*"balance":"%s"`, money.Amount(paid).Format(usd)))); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wrong != nil {
		t.Errorf("a signature: %v", r.wrong)
	}
	r.check(t, 2*paid)
}

// TestStandardLog has a receiver that answers more than it may: net/http's complaint is for who debugs.
func TestStandardLog(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\nbody")
		}
	}()
	r, w := io.Pipe()
	takeStandardLog(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer r.Close() // what comes later goes nowhere
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil || !strings.Contains(line, "level=DEBUG") || !strings.Contains(line, "Unsolicited") {
		t.Errorf("logged %q, %v", line, err)
	}
}

// check finds out whether the messages came in order, repeats aside, and all of them. All are
// of accounts that nobody else changes, so that their positions tell.
func (r *hookReceiver) check(t *testing.T, want int) {
	t.Helper()
	seen := map[string]bool{}
	last := ""
	for _, id := range r.ids {
		if seen[id] {
			continue
		}
		if !before(last, id) {
			t.Errorf("%s came first after %s", id, last)
		}
		seen[id], last = true, id
	}
	if len(seen) != want {
		t.Errorf("%d messages came, want %d", len(seen), want)
	}
	t.Logf("%d requests for %d messages", len(r.ids), len(seen))
}

// before says whether the event of an id is before that of another.
func before(a, b string) bool {
	var p, q struct {
		past                     string
		partition, index, number int
	}
	if a != "" {
		if _, err := fmt.Sscanf(a, "evt_%8s-%d-%d-%d", &p.past, &p.partition, &p.index, &p.number); err != nil {
			return false
		}
	}
	if _, err := fmt.Sscanf(b, "evt_%8s-%d-%d-%d", &q.past, &q.partition, &q.index, &q.number); err != nil {
		return false
	}
	return p.index < q.index || p.index == q.index && p.number < q.number
}

// TestWebhookCluster has three nodes that share a PostgreSQL database. One of them is killed: another
// goes on where it was.
func TestWebhookCluster(t *testing.T) {
	server := sqltest.StartPostgres(t)
	var r hookReceiver
	t.Cleanup(r.start())
	c := newTestCluster(t, 3, 1, "--store", server.Database(t), "--personal=false")
	usd, ctx := money.MustParseCurrency("USD"), t.Context()
	one, two := c.nodes[0].clients.Load().http, c.nodes[1].clients.Load().http
	for _, id := range []wallet.AccountID{"mint", "alice"} {
		if _, code, err := one.OpenAccount(ctx, wallet.NewAccount{ID: id, Currency: usd, Min: wallet.Unlimited}); err != nil || code != wallet.Applied {
			t.Fatal(code, err)
		}
	}
	hook, err := two.CreateWebhook(ctx, &wallet.NewWebhook{URL: r.url, Kinds: []wallet.EventKind{wallet.Credit}, Accounts: []wallet.AccountID{"alice"}})
	if err != nil {
		t.Fatal(err)
	}
	const each = 20
	pay := func(client *wallethttp.Client, total money.Amount) {
		t.Helper()
		for range each {
			transfer := wallet.Transfer{ID: newTransactionID(time.Now()), From: "mint", To: "alice", Amount: 1, Currency: usd}
			c.wait("a transfer is applied", func(ctx context.Context) error {
				result, err := client.Transfer(ctx, transfer)
				if err == nil && result.Code() != wallet.Applied {
					err = fmt.Errorf("%v", result.Code())
				}
				return err
			})
		}
		if err := r.await(regexp.MustCompile(fmt.Sprintf(`"credit".*"balance":"%s"`, total.Format(usd)))); err != nil {
			t.Fatal(err)
		}
	}
	pay(one, each)
	o, err := c.overview(ctx)
	if err != nil {
		t.Fatal(err)
	}
	leader := 0
	for _, g := range o.Groups {
		if g.ID == 1 {
			leader = int(g.Leader) - 1
		}
	}
	c.kill(leader)
	other := c.nodes[(leader+1)%3].clients.Load().http
	pay(other, 2*each)
	r.mu.Lock()
	r.check(t, 2*each)
	r.mu.Unlock()
	for i := range c.nodes {
		if i == leader {
			continue
		}
		resp, err := (&followed{testCluster: c}).get(ctx, i, "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		says, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it was read
		if err != nil || strings.Contains(string(says), "warning") {
			t.Errorf("node %d says %q, %v", i+1, says, err)
		}
	}
	c.wait("the attempts are known to another node", func(ctx context.Context) error {
		attempts, err := other.WebhookAttempts(ctx, hook.ID, each)
		if err == nil && len(attempts) < each {
			err = fmt.Errorf("%d attempts", len(attempts))
		}
		return err
	})
}
