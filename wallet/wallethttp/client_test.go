package wallethttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"maru.example/internal/auth"
	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

var jpy = money.MustParseCurrency("JPY")

// newClient returns a client of a server of h that ends with the test.
func newClient(t testing.TB, h http.Handler, o *wallethttp.ClientOptions) *wallethttp.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := wallethttp.NewClient(s.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// tid returns a transaction id with a number.
func tid(n byte) wallet.TransactionID { return wallet.TransactionID{0: 1, 15: n} }

func TestClientTransfers(t *testing.T) {
	c := newClient(t, truthful(t, wallethttp.NewHandler(newFunded(t), nil)), nil)
	transfer := func(n byte, from, to wallet.AccountID, a money.Amount) wallet.Transfer {
		return wallet.Transfer{ID: tid(n), From: from, To: to, Amount: a, Currency: usd}
	}
	type outcome struct {
		Code     wallet.Code
		Repeated bool
	}
	for _, test := range []struct {
		transfer wallet.Transfer
		want     outcome
	}{
		{transfer(1, "a", "b", 100), outcome{wallet.Applied, false}},
		{transfer(1, "a", "b", 100), outcome{wallet.Applied, true}},
		{transfer(1, "a", "b", 101), outcome{wallet.IDReused, false}},
		{transfer(2, "b", "a", 101), outcome{wallet.InsufficientFunds, false}},
		{transfer(2, "b", "a", 101), outcome{wallet.InsufficientFunds, true}},
		{transfer(3, "a", "x", 1), outcome{wallet.UnknownAccount, false}},
		{transfer(4, "a", "b", -1), outcome{wallet.AmountNotPositive, false}},
	} {
		r, err := c.Transfer(t.Context(), test.transfer)
		if got := (outcome{r.Code(), r.Repeated()}); err != nil || got != test.want {
			t.Errorf("%v: got %v, %v, want %v", test.transfer, got, err, test.want)
		}
	}
	results, err := c.Transfers(t.Context(), []wallet.Transfer{transfer(5, "a", "b", 1), transfer(6, "b", "b", 1), transfer(1, "a", "b", 100), transfer(2, "b", "a", 101)})
	if err != nil {
		t.Fatal(err)
	}
	var got []outcome
	for _, r := range results {
		got = append(got, outcome{r.Code(), r.Repeated()})
	}
	want := []outcome{{wallet.Applied, false}, {wallet.SameAccount, false}, {wallet.Applied, true}, {wallet.InsufficientFunds, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("batch (-want +got):\n%s", diff)
	}
	for n, want := range map[byte]wallet.Code{1: wallet.Applied, 2: wallet.InsufficientFunds, 99: wallet.Undecided} {
		if got, err := c.Decision(t.Context(), tid(n)); err != nil || got != want {
			t.Errorf("decision %d: got %v, %v, want %v", n, got, err, want)
		}
	}
	totals, settled, err := c.Totals(t.Context())
	wantTotals := []wallet.Total{{Currency: usd, Balances: 3, Sum: big.NewInt(0), Issued: big.NewInt(1000_00), InFlight: big.NewInt(0)}}
	if diff := cmp.Diff(wantTotals, totals, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); err != nil || !settled || diff != "" {
		t.Errorf("totals: %v, %v (-want +got):\n%s", settled, err, diff)
	}
}

func TestClientAccounts(t *testing.T) {
	s := newFunded(t)
	c := newClient(t, truthful(t, wallethttp.NewHandler(s, nil)), nil)
	// same says that an answer is the account as the wallet has it.
	same := func(id wallet.AccountID) func(got wallet.Account, code wallet.Code, err error) {
		return func(got wallet.Account, code wallet.Code, err error) {
			t.Helper()
			want, _, _ := s.Account(t.Context(), wallet.DefaultTenant, id)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); code != wallet.Applied || err != nil || diff != "" {
				t.Errorf("%s: %v, %v (-want +got):\n%s", id, code, err, diff)
			}
		}
	}
	refused := func(want wallet.Code) func(got wallet.Account, code wallet.Code, err error) {
		return func(_ wallet.Account, code wallet.Code, err error) {
			t.Helper()
			if code != want || err != nil {
				t.Errorf("got %v, %v, want %v", code, err, want)
			}
		}
	}
	same("a")(c.Account(t.Context(), "a"))
	for _, id := range []wallet.AccountID{"...", "a.b", ":@-_", "2E"} {
		same(id)(c.OpenAccount(t.Context(), wallet.NewAccount{ID: id, Currency: jpy, Min: -5}))
		same(id)(c.AddCurrency(t.Context(), id, usd, wallet.Unlimited))
		same(id)(c.SetLimit(t.Context(), id, usd, -1_50))
		same(id)(c.SetStatus(t.Context(), id, wallet.Frozen))
		same(id)(c.SetStatus(t.Context(), id, wallet.Open))
		same(id)(c.SetStatus(t.Context(), id, wallet.Closed))
		same(id)(c.Account(t.Context(), id))
		refused(wallet.AccountClosed)(c.SetStatus(t.Context(), id, wallet.Open))
	}
	for _, id := range []wallet.AccountID{"", ".", "..", "a/b", "a b"} {
		if _, _, err := c.Account(t.Context(), id); !errors.Is(err, wallet.ErrAccountID) {
			t.Errorf("%q: got %v, want %v", id, err, wallet.ErrAccountID)
		}
	}
	refused(wallet.UnknownAccount)(c.Account(t.Context(), "none"))
	refused(wallet.AccountClosed)(c.OpenAccount(t.Context(), wallet.NewAccount{ID: "a.b", Currency: jpy, Min: -5}))
	refused(wallet.AccountExists)(c.OpenAccount(t.Context(), wallet.NewAccount{ID: "a", Currency: jpy}))
	refused(wallet.CurrencyNotHeld)(c.SetLimit(t.Context(), "a", jpy, 0))
	refused(wallet.BalanceNotZero)(c.SetStatus(t.Context(), "a", wallet.Closed))

	if code, err := c.CreateTenant(t.Context(), "acme"); code != wallet.Applied || err != nil {
		t.Errorf("got %v, %v", code, err)
	}
	if got, err := c.Tenants(t.Context()); err != nil || !cmp.Equal(got, []wallet.Tenant{"default", "acme"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestKeysAndTenants(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	key := func(tenant string, scopes ...auth.Scope) string {
		text, _, err := auth.Create(file, auth.NewKey{Tenant: tenant, Scopes: scopes})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	reader := key("acme", "wallet:read")
	writer := key("acme", "wallet:write")
	admin := key("default", "wallet:read", "wallet:write", "wallet:admin")
	keys, err := auth.Open(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h := truthful(t, wallethttp.NewHandler(newFunded(t), &wallethttp.Options{
		Authorize: func(_ context.Context, authorization, tenant string, need wallethttp.Scope) (wallet.Tenant, error) {
			of, err := keys.Authorize(authorization, tenant, auth.Scope(need))
			return wallet.Tenant(of), err
		},
	}))
	as := func(key string, tenant wallet.Tenant) *wallethttp.Client {
		return newClient(t, h, &wallethttp.ClientOptions{APIKey: key, Tenant: tenant})
	}
	code := func(err error) string {
		if err == nil {
			return ""
		}
		p, ok := errors.AsType[*wallethttp.Problem](err)
		if !ok {
			return err.Error()
		}
		return p.Code
	}
	if _, err := as(admin, "").CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if a, _, err := as(writer, "").OpenAccount(t.Context(), wallet.NewAccount{ID: "a", Currency: jpy}); err != nil || a.Balances[0].Currency != jpy {
		t.Errorf("the key's tenant: got %+v, %v", a, err)
	}
	for _, test := range []struct {
		name, key string
		tenant    wallet.Tenant
		do        func(c *wallethttp.Client) error
		want      string
	}{
		{"no key", "", "", show, "unauthenticated"},
		{"wrong key", "maru_0_0", "", show, "unauthenticated"},
		{"reader reads", reader, "", show, ""},
		{"reader names its tenant", reader, "acme", show, ""},
		{"reader reads another tenant", reader, "default", show, "forbidden"},
		{"reader writes", reader, "", write, "forbidden"},
		{"writer writes", writer, "", write, ""},
		{"writer reads", writer, "", show, "forbidden"},
		{"writer makes a tenant", writer, "", tenant, "forbidden"},
		{"admin reads", admin, "", show, ""},
		{"admin reads another tenant", admin, "acme", show, ""},
		{"admin writes to another tenant", admin, "acme", write, ""},
		{"admin makes a tenant", admin, "", tenant, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := code(test.do(as(test.key, test.tenant))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func show(c *wallethttp.Client) error {
	_, _, err := c.Account(context.Background(), "a")
	return err
}

func write(c *wallethttp.Client) error {
	_, _, err := c.SetStatus(context.Background(), "a", wallet.Frozen)
	return err
}

func tenant(c *wallethttp.Client) error {
	_, err := c.CreateTenant(context.Background(), "globex")
	return err
}

func TestClientProblems(t *testing.T) {
	transfer := func(c *wallethttp.Client) error {
		_, err := c.Transfer(t.Context(), wallet.Transfer{ID: tid(1), From: "a", To: "b", Amount: 1, Currency: usd})
		return err
	}
	for code, want := range map[string]*wallethttp.Problem{
		"busy":      {Status: 429, Code: "busy", TransactionID: tid(1).String(), RetryAfter: time.Second},
		"closing":   {Status: 503, Code: "closing", TransactionID: tid(1).String(), RetryAfter: 5 * time.Second},
		"malformed": {Status: 500, Code: "malformed", TransactionID: tid(1).String()},
	} {
		err := transfer(newClient(t, wallethttp.NewHandler(*causes()[code].wallet, nil), nil))
		got, ok := errors.AsType[*wallethttp.Problem](err)
		if !ok {
			t.Fatalf("%s: got %v", code, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(wallethttp.Problem{}, "Title", "Detail"), cmpopts.IgnoreUnexported(wallethttp.Problem{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", code, diff)
		}
	}
	c := newClient(t, wallethttp.NewHandler(newFunded(t), nil), nil)
	_, err := c.Transfer(t.Context(), wallet.Transfer{ID: tid(1), From: "a b", To: "b", Amount: 1, Currency: usd})
	if got := fmt.Sprint(err); !strings.HasPrefix(got, "invalid_request: the request has errors; nothing was done: #/from_account an account id has 1 to 64") {
		t.Errorf("got %v", err)
	}

	for name, h := range map[string]http.HandlerFunc{
		"a proxy's page": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			io.WriteString(w, "<html>Bad Gateway")
		},
		"a proxy's JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadGateway)
			io.WriteString(w, `{"code":"insufficient_funds"}`)
		},
	} {
		got, ok := errors.AsType[*wallethttp.Problem](transfer(newClient(t, h, nil)))
		if !ok || got.Status != http.StatusBadGateway || got.Code != "" {
			t.Errorf("%s: got %v", name, got)
		}
	}
	for name, answer := range map[string]string{
		"not JSON": "ok", "too few results": `{"results":[]}`, "unknown code": `{"results":[{"status":"refused","code":"new"}]}`,
	} {
		c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) }), nil)
		if got, err := c.Transfers(t.Context(), make([]wallet.Transfer, 1)); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// An answer that makes no sense is an error, never a guess.
func TestClientSenselessAnswers(t *testing.T) {
	const balance = `{"currency":"USD","balance":"1.00","held":"0.00","available":"1.00","min_balance":"0.00"}`
	account := func(handle, status, opened, balance string) string {
		return `{"id":"a","handle":"` + handle + `","status":"` + status + `","opened_at":"` + opened + `","balances":[` + balance + `]}`
	}
	const opened = "2026-01-02T03:04:05.000000006Z"
	show := func(c *wallethttp.Client) error { _, _, err := c.Account(t.Context(), "a"); return err }
	totals := func(c *wallethttp.Client) error { _, _, err := c.Totals(t.Context()); return err }
	decision := func(c *wallethttp.Client) error { _, err := c.Decision(t.Context(), tid(1)); return err }
	for _, test := range []struct {
		name, answer string
		ask          func(c *wallethttp.Client) error
		good         bool
	}{
		{"account", account("1", "open", opened, balance), show, true},
		{"handle", account("-1", "open", opened, balance), show, false},
		{"status", account("1", "dormant", opened, balance), show, false},
		{"time", account("1", "open", "yesterday", balance), show, false},
		{"currency", account("1", "open", opened, strings.Replace(balance, "USD", "US", 1)), show, false},
		{"balance", account("1", "open", opened, strings.Replace(balance, "1.00", "1.001", 1)), show, false},
		{"limit", account("1", "open", opened, strings.Replace(balance, "0.00", "none", 1)), show, false},
		{"totals", `{"totals":[{"currency":"USD","sum":"-0.01","issued":"99999999999999999999.00","in_flight":"0.01"}]}`, totals, true},
		{"sum", `{"totals":[{"currency":"USD","sum":"0","issued":"0.00","in_flight":"0.00"}]}`, totals, false},
		{"issued", `{"totals":[{"currency":"USD","sum":"0.00","issued":"x.00","in_flight":"0.00"}]}`, totals, false},
		{"in flight", `{"totals":[{"currency":"USD","sum":"0.00","issued":"0.00"}]}`, totals, false},
		{"total's currency", `{"totals":[{"currency":"","sum":"0.00","issued":"x.00"}]}`, totals, false},
		{"decision", `{"status":"refused","code":"overflow"}`, decision, true},
		{"decision's code", `{"status":"refused","code":"maybe"}`, decision, false},
		{"cut", `{"status":"appl`, decision, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, test.answer) }), nil)
			if err := test.ask(c); (err == nil) != test.good {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A decision that this program has no name for is never taken for another.
func TestClientUnknownCode(t *testing.T) {
	c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		io.WriteString(w, `{"status":422,"code":"velocity_exceeded"}`)
	}), nil)
	r, err := c.Transfer(t.Context(), wallet.Transfer{Currency: usd})
	if p, ok := errors.AsType[*wallethttp.Problem](err); !ok || p.Code != "velocity_exceeded" || r.Code() != wallet.Undecided {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestClientCallsEnd(t *testing.T) {
	release := make(chan bool)
	c := newClient(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }), &wallethttp.ClientOptions{Timeout: 10 * time.Millisecond})
	defer close(release)
	if _, err := c.Transfer(context.Background(), wallet.Transfer{Currency: usd}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("by the time-out: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Transfer(ctx, wallet.Transfer{Currency: usd}); !errors.Is(err, context.Canceled) {
		t.Errorf("with the context: got %v", err)
	}
}

func TestNewClientRefuses(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:7070", "ftp://x", "http://", "http://a b", "localhost:7070"} {
		if _, err := wallethttp.NewClient(address, nil); err == nil {
			t.Errorf("%q is taken", address)
		}
	}
}

// As many callers at once as there are connections kept make no more of them
// after the first round.
func TestClientKeepsItsConnections(t *testing.T) {
	const callers, rounds = 256, 3
	var made atomic.Int64
	var round sync.WaitGroup
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		round.Done()
		round.Wait() // until all callers of the round are here
		io.WriteString(w, `{"status":"success"}`)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			made.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c, err := wallethttp.NewClient(s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range rounds {
		round.Add(callers)
		var ended sync.WaitGroup
		for range callers {
			ended.Go(func() {
				if _, err := c.Transfer(t.Context(), wallet.Transfer{Currency: usd}); err != nil {
					t.Error(err)
				}
			})
		}
		ended.Wait()
	}
	if got := made.Load(); got != callers {
		t.Errorf("got %d connections for %d callers", got, callers)
	}
}
