package wallethttp_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

var usd = money.MustParseCurrency("USD")

// newWallet returns a wallet in memory.
func newWallet(t testing.TB) *wallet.Service {
	t.Helper()
	m := wallet.NewMachine(nil)
	n, err := rsmraft.OpenAlone("wallet", m, &rsmraft.Options{FS: vfs.NewMem(), ReserveBytes: -1, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return wallet.NewService(n, m)
}

// newFunded returns a wallet with the accounts bank (unlimited), a (1,000.00
// USD) and b (0.00 USD).
func newFunded(t testing.TB) *wallet.Service {
	t.Helper()
	s := newWallet(t)
	for _, a := range []wallet.NewAccount{{ID: "bank", Currency: usd, Min: wallet.Unlimited}, {ID: "a", Currency: usd}, {ID: "b", Currency: usd}} {
		if opened, err := s.OpenAccount(t.Context(), wallet.DefaultTenant, a); err != nil || opened.Code != wallet.Applied {
			t.Fatal(opened, err)
		}
	}
	r, err := s.Transfer(t.Context(), wallet.DefaultTenant, wallet.Transfer{ID: wallet.TransactionID{0: 0xff}, From: "bank", To: "a", Amount: 1000_00, Currency: usd})
	if err != nil || r.Code() != wallet.Applied {
		t.Fatal(r, err)
	}
	return s
}

// An exchange is a request and what must be answered. Of the answer's JSON,
// Opened_at and problems' texts are left out.
type exchange struct {
	name   string
	method string // default POST
	path   string
	body   string
	status int
	want   string
}

const transferPath = "/v1/wallet/balance_transfer"

func transferBody(from, to, amount, id string) string {
	return `{"from_account":"` + from + `","to_account":"` + to + `","amount":"` + amount + `","currency":"USD","transaction_id":"` + id + `"}`
}

func batch(transfers ...string) string { return `{"transfers":[` + strings.Join(transfers, ",") + `]}` }

// id returns a transaction id with a number.
func id(n string) string { return "01900000-0000-7000-8000-" + strings.Repeat("0", 12-len(n)) + n }

// An answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request with headers given as names and values.
func ask(t testing.TB, h http.Handler, method, path, body string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// essence returns an answer without the texts that are for people.
func essence(t testing.TB, body string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	delete(v, "opened_at")
	if _, problem := v["title"]; problem {
		for _, text := range []string{"title", "detail", "status", "errors"} {
			delete(v, text)
		}
	}
	return v
}

func (e *exchange) run(t *testing.T, h http.Handler) {
	t.Helper()
	method := e.method
	if method == "" {
		method = http.MethodPost
	}
	got := ask(t, h, method, e.path, e.body)
	if got.status != e.status {
		t.Errorf("%s: got status %d, want %d: %s", e.name, got.status, e.status, got.body)
	}
	if diff := cmp.Diff(essence(t, e.want), essence(t, got.body)); diff != "" {
		t.Errorf("%s (-want +got):\n%s\nbody: %s", e.name, diff, got.body)
	}
}

func TestTransfers(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	for _, e := range []exchange{
		{"moved", "", transferPath, transferBody("a", "b", "10.50", id("1")), 200, `{"status":"success","transaction_id":"` + id("1") + `"}`},
		{"again", "", transferPath, transferBody("a", "b", "10.50", id("1")), 200, `{"status":"success","transaction_id":"` + id("1") + `"}`},
		{"id in upper case", "", transferPath, transferBody("a", "b", "1", strings.ToUpper(id("a"))), 200, `{"status":"success","transaction_id":"` + id("a") + `"}`},
		{"other content", "", transferPath, transferBody("a", "b", "10.51", id("1")), 409, `{"code":"transaction_id_reused","transaction_id":"` + id("1") + `"}`},
		{"too much", "", transferPath, transferBody("b", "a", "11.51", id("2")), 422, `{"code":"insufficient_funds","transaction_id":"` + id("2") + `"}`},
		{"unknown payer", "", transferPath, transferBody("x", "a", "1", id("3")), 404, `{"code":"unknown_account","transaction_id":"` + id("3") + `"}`},
		{"unknown payee", "", transferPath, transferBody("a", "x", "1", id("4")), 404, `{"code":"unknown_account","transaction_id":"` + id("4") + `"}`},
		{"zero", "", transferPath, transferBody("a", "b", "0", id("5")), 422, `{"code":"amount_not_positive","transaction_id":"` + id("5") + `"}`},
		{"negative", "", transferPath, transferBody("a", "b", "-1", id("6")), 422, `{"code":"amount_not_positive","transaction_id":"` + id("6") + `"}`},
		{"to itself", "", transferPath, transferBody("a", "a", "1", id("7")), 422, `{"code":"same_account","transaction_id":"` + id("7") + `"}`},
		{"currency not held", "", transferPath, strings.Replace(transferBody("a", "b", "1", id("8")), "USD", "JPY", 1), 422, `{"code":"currency_not_held","transaction_id":"` + id("8") + `"}`},
		{"too large for a balance", "", transferPath, transferBody("bank", "a", "92233720368547758.07", id("9")), 422, `{"code":"overflow","transaction_id":"` + id("9") + `"}`},
		{"asked: applied", "GET", "/v1/wallet/transfers/" + id("1"), "", 200, `{"transaction_id":"` + id("1") + `","status":"applied","content":"unavailable","content_detail":"history unavailable: the server keeps none"}`},
		{"asked: refused", "GET", "/v1/wallet/transfers/" + id("2"), "", 200, `{"transaction_id":"` + id("2") + `","status":"refused","code":"insufficient_funds","content":"unavailable","content_detail":"history unavailable: the server keeps none"}`},
		{"asked: never seen", "GET", "/v1/wallet/transfers/" + id("99"), "", 404, `{"code":"transaction_not_found","transaction_id":"` + id("99") + `"}`},
		{
			"batch", "", "/v1/wallet/balance_transfers", batch(transferBody("a", "b", "1", id("20")), transferBody("b", "x", "1", id("21")), transferBody("a", "b", "10.50", id("1"))), 200,
			`{"results":[{"transaction_id":"` + id("20") + `","status":"success"},{"transaction_id":"` + id("21") + `","status":"refused","code":"unknown_account"},{"transaction_id":"` + id("1") + `","status":"success","replayed":true}]}`,
		},
		{"balances at the end", "GET", "/v1/wallet/accounts/a", "", 200, `{"id":"a","handle":"2","status":"open","balances":[{"currency":"USD","balance":"987.50","held":"0.00","available":"987.50","min_balance":"0.00"}]}`},
		{"totals", "GET", "/v1/wallet/totals", "", 200, `{"settled":true,"totals":[{"currency":"USD","balances":3,"sum":"0.00","issued":"1000.00","in_flight":"0.00"}]}`},
	} {
		e.run(t, h)
	}
}

func TestReplayedHeader(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	for _, body := range []string{transferBody("a", "b", "1", id("1")), transferBody("b", "a", "99", id("2"))} {
		first := ask(t, h, "POST", transferPath, body)
		again := ask(t, h, "POST", transferPath, body)
		if first.status != again.status || first.body != again.body {
			t.Errorf("got %d %s, then %d %s", first.status, first.body, again.status, again.body)
		}
		if got := first.header.Values(wallethttp.ReplayedHeader); got != nil {
			t.Errorf("first: got %q", got)
		}
		if got := again.header.Values(wallethttp.ReplayedHeader); len(got) != 1 || got[0] != "true" {
			t.Errorf("again: got %q", got)
		}
	}
}

func TestAccounts(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	const accounts = "/v1/wallet/accounts"
	zero := `{"id":"c","handle":"4","status":"open","balances":[{"currency":"USD","balance":"0.00","held":"0.00","available":"0.00","min_balance":"-5.00"}]}`
	two := func(status, first string) string {
		return `{"id":"c","handle":"4","status":"` + status + `","balances":[{"currency":"USD","balance":"0.00","held":"0.00","available":"0.00","min_balance":"` + first + `"},{"currency":"JPY","balance":"0","held":"0","available":"0","min_balance":"unlimited"}]}`
	}
	for _, e := range []exchange{
		{"open", "", accounts, `{"id":"c","currency":"USD","min_balance":"-5"}`, 201, zero},
		{"open again", "", accounts, `{"id":"c","currency":"USD","min_balance":"-5.00"}`, 200, zero},
		{"open with another limit", "", accounts, `{"id":"c","currency":"USD"}`, 409, `{"code":"account_exists"}`},
		{"show", "GET", accounts + "/c", "", 200, zero},
		{"show an unknown one", "GET", accounts + "/x", "", 404, `{"code":"unknown_account"}`},
		{"add a currency", "", accounts + "/c/currencies", `{"currency":"JPY","min_balance":"unlimited"}`, 200, two("open", "-5.00")},
		{"add it again", "", accounts + "/c/currencies", `{"currency":"JPY","min_balance":"unlimited"}`, 200, two("open", "-5.00")},
		{"add it with another limit", "", accounts + "/c/currencies", `{"currency":"JPY"}`, 409, `{"code":"currency_exists"}`},
		{"add to an unknown one", "", accounts + "/x/currencies", `{"currency":"JPY"}`, 404, `{"code":"unknown_account"}`},
		{"set a limit", "PUT", accounts + "/c/limits/USD", `{"min_balance":"-7"}`, 200, two("open", "-7.00")},
		{"limit of a currency not held", "PUT", accounts + "/c/limits/EUR", `{"min_balance":"-7"}`, 422, `{"code":"currency_not_held"}`},
		{"limit of an unknown one", "PUT", accounts + "/x/limits/EUR", `{"min_balance":"-7"}`, 404, `{"code":"unknown_account"}`},
		{"freeze", "", accounts + "/c/freeze", "", 200, two("frozen", "-7.00")},
		{"pay from a frozen one", "", transferPath, transferBody("c", "a", "1", id("1")), 409, `{"code":"account_frozen","transaction_id":"` + id("1") + `"}`},
		{"open a frozen one", "", accounts, `{"id":"c","currency":"USD","min_balance":"-5"}`, 200, two("frozen", "-7.00")},
		{"freeze with a body", "", accounts + "/c/freeze", "{}", 422, `{"code":"invalid_request"}`},
		{"unfreeze", "", accounts + "/c/unfreeze", "", 200, two("open", "-7.00")},
		{"close", "", accounts + "/c/close", "", 200, two("closed", "-7.00")},
		{"close again", "", accounts + "/c/close", "", 200, two("closed", "-7.00")},
		{"freeze a closed one", "", accounts + "/c/freeze", "", 409, `{"code":"account_closed"}`},
		{"pay to a closed one", "", transferPath, transferBody("a", "c", "1", id("2")), 409, `{"code":"account_closed","transaction_id":"` + id("2") + `"}`},
		{"limit of a closed one", "PUT", accounts + "/c/limits/USD", `{"min_balance":"0"}`, 409, `{"code":"account_closed"}`},
		{"close one with money", "", accounts + "/a/close", "", 409, `{"code":"balance_not_zero"}`},
		{"unknown", "", accounts + "/x/close", "", 404, `{"code":"unknown_account"}`},
		{"open a closed one", "", accounts, `{"id":"c","currency":"USD","min_balance":"-5"}`, 409, `{"code":"account_closed"}`},
		{"two dots are no name", "", accounts, `{"id":"..","currency":"USD"}`, 422, `{"code":"invalid_request"}`},
		{"nor in a path", "GET", accounts + "/%2E%2E", "", 422, `{"code":"invalid_request"}`},
		{"three are", "", accounts, `{"id":"...","currency":"USD"}`, 201, `{"id":"...","handle":"5","status":"open","balances":[{"currency":"USD","balance":"0.00","held":"0.00","available":"0.00","min_balance":"0.00"}]}`},
		{"which a path can have", "GET", accounts + "/...", "", 200, `{"id":"...","handle":"5","status":"open","balances":[{"currency":"USD","balance":"0.00","held":"0.00","available":"0.00","min_balance":"0.00"}]}`},
	} {
		e.run(t, h)
	}
	created := ask(t, h, "POST", accounts, `{"id":"new@x:1","currency":"BHD"}`)
	if got := created.header.Get("Location"); got != accounts+"/new@x:1" {
		t.Errorf("got Location %q", got)
	}
	var a struct {
		OpenedAt time.Time `json:"opened_at"`
	}
	if err := json.Unmarshal([]byte(created.body), &a); err != nil || time.Since(a.OpenedAt) > time.Minute || time.Since(a.OpenedAt) < 0 {
		t.Errorf("opened at %v, %v", a.OpenedAt, err)
	}
}

// Of many requests at once that open the same account, one has opened it.
func TestOneRequestCreates(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newWallet(t), nil))
	statuses := make([]int, 50)
	var all sync.WaitGroup
	for i := range statuses {
		all.Go(func() { statuses[i] = ask(t, h, "POST", "/v1/wallet/accounts", `{"id":"a","currency":"USD"}`).status })
	}
	all.Wait()
	slices.Sort(statuses)
	if statuses[49] != http.StatusCreated || statuses[48] != http.StatusOK || statuses[0] != http.StatusOK {
		t.Errorf("got %v, want one 201 and otherwise 200", statuses)
	}
}

// The header that names a tenant is there once, or not at all.
func TestTenantHeader(t *testing.T) {
	h := wallethttp.NewHandler(newFunded(t), nil)
	for _, test := range []struct {
		name   string
		values []string
		status int
	}{
		{"absent", nil, 200},
		{"once", []string{"default"}, 200},
		{"empty", []string{""}, 422},
		{"not a name", []string{"a b"}, 422},
		{"dots", []string{".."}, 422},
		{"twice", []string{"default", "default"}, 422},
		{"empty and not", []string{"", "default"}, 422},
		{"in one line", []string{"default,default"}, 422},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/v1/wallet/accounts/a", nil)
			r.Header[wallethttp.TenantHeader] = test.values
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != test.status {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, test.status)
			}
		})
	}
}

// A body of unknown length is found too, and an empty one is none.
func TestUnexpectedBody(t *testing.T) {
	h := wallethttp.NewHandler(newFunded(t), nil)
	for body, status := range map[string]int{"": 200, "{}": 422, " ": 422} {
		r := httptest.NewRequest(http.MethodPost, "/v1/wallet/accounts/a/freeze", io.MultiReader(strings.NewReader(body)))
		if r.ContentLength != -1 {
			t.Fatalf("the length of the body is known: %d", r.ContentLength)
		}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != status {
			t.Errorf("%q: got %d %s, want %d", body, w.Code, w.Body, status)
		}
	}
}

func TestTenantsAreApart(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	open := `{"id":"a","currency":"JPY"}`
	as := func(tenant, method, path, body string, status int, code string) {
		t.Helper()
		var headers []string
		if tenant != "" {
			headers = []string{wallethttp.TenantHeader, tenant}
		}
		got := ask(t, h, method, path, body, headers...)
		if v := essence(t, got.body); got.status != status || code != "" && v["code"] != code {
			t.Errorf("%s %s for %q: got %d %s, want %d %s", method, path, tenant, got.status, got.body, status, code)
		}
	}
	as("acme", "POST", "/v1/wallet/accounts", open, 404, "unknown_tenant")
	as("acme", "GET", "/v1/wallet/accounts/a", "", 404, "unknown_tenant")
	as("acme", "GET", "/v1/wallet/totals", "", 404, "unknown_tenant")
	as("acme", "GET", "/v1/wallet/transfers/"+id("1"), "", 404, "unknown_tenant")
	as("acme", "POST", transferPath, transferBody("a", "b", "1", id("1")), 404, "unknown_tenant")
	as("acme", "POST", "/v1/wallet/balance_transfers", batch(transferBody("a", "b", "1", id("1"))), 404, "unknown_tenant")
	as("acme", "POST", "/v1/wallet/accounts/a/freeze", "", 404, "unknown_tenant")
	as("", "POST", "/v1/wallet/tenants", `{"name":"acme"}`, 200, "")
	as("", "POST", "/v1/wallet/tenants", `{"name":"acme"}`, 200, "")
	as("acme", "POST", "/v1/wallet/accounts", open, 201, "")
	as("acme", "POST", "/v1/wallet/accounts", `{"id":"a","currency":"USD"}`, 409, "account_exists")
	as("", "POST", "/v1/wallet/accounts", `{"id":"a","currency":"USD"}`, 200, "")
	as("default", "GET", "/v1/wallet/accounts/a", "", 200, "")
	as("no/good", "GET", "/v1/wallet/accounts/a", "", 422, "invalid_request")
	if got := ask(t, h, "GET", "/v1/wallet/tenants", ""); got.body != `{"tenants":["default","acme"]}` {
		t.Errorf("got %s", got.body)
	}
	if got := ask(t, h, "GET", "/v1/wallet/totals", "", wallethttp.TenantHeader, "acme"); got.body != `{"settled":true,"totals":[{"currency":"JPY","balances":1,"sum":"0","issued":"0","in_flight":"0"}]}` {
		t.Errorf("got %s", got.body)
	}
}

func TestEverythingElseIsAProblemToo(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	for _, test := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/", 404, "not_found", ""},
		{"GET", "/v1/wallet", 404, "not_found", ""},
		{"GET", "/v2/wallet/accounts/a", 404, "not_found", ""},
		{"GET", "/v1/wallet/accounts/a/b", 404, "not_found", ""},
		{"GET", transferPath, 405, "method_not_allowed", "POST"},
		{"DELETE", "/v1/wallet/accounts/a", 405, "method_not_allowed", "GET, HEAD"},
		{"POST", "/v1/wallet/totals", 405, "method_not_allowed", "GET, HEAD"},
		{"PATCH", "/v1/wallet/tenants", 405, "method_not_allowed", "GET, HEAD, POST"},
		{"POST", "/openapi.json", 405, "method_not_allowed", "GET, HEAD"},
	} {
		got := ask(t, h, test.method, test.path, "")
		v := essence(t, got.body)
		if got.status != test.status || v["code"] != test.code || got.header.Get("Allow") != test.allow ||
			got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: got %d %v %s", test.method, test.path, got.status, got.header, got.body)
		}
	}
}

func TestDocsNeedNoOtherHost(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	got := ask(t, h, "GET", "/docs", "")
	if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
		t.Errorf("got %d %v", got.status, got.header)
	}
	for _, bad := range []string{"src=", "href=\"http", "href=\"//", "url(", "@import", "<script", "<link", "<img"} {
		if strings.Contains(got.body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, path := range []string{transferPath, "/v1/wallet/accounts/{id}/limits/{currency}", "insufficient_funds"} {
		if !strings.Contains(got.body, path) {
			t.Errorf("the page lacks %q", path)
		}
	}
}
