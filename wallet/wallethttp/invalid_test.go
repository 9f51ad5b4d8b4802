package wallethttp_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/httpd"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// A refused request and where it is wrong: places by what must be said of each.
type refused struct {
	name   string
	method string // default POST
	path   string
	body   string
	status int
	code   string
	places map[string]string
}

func (e *refused) run(t *testing.T, h http.Handler) {
	t.Helper()
	method := e.method
	if method == "" {
		method = http.MethodPost
	}
	got := ask(t, h, method, e.path, e.body)
	var p wallethttp.Problem
	if err := json.Unmarshal([]byte(got.body), &p); err != nil {
		t.Fatalf("%v in %s", err, got.body)
	}
	if got.status != e.status || p.Status != e.status || p.Code != e.code || p.Title != http.StatusText(e.status) || p.Detail == "" {
		t.Errorf("got %d %s, want %d %s", got.status, got.body, e.status, e.code)
	}
	places := make(map[string]string)
	for _, f := range p.Errors {
		place := f.Pointer + f.Parameter
		if places[place] = f.Detail; strings.Contains(f.Detail, e.places[place]) {
			places[place] = e.places[place]
		}
	}
	if diff := cmp.Diff(e.places, places); diff != "" && len(e.places)+len(places) > 0 {
		t.Errorf("places (-want +got):\n%s", diff)
	}
}

// with returns a good transfer with a part replaced.
func with(old, replacement string) string {
	body := transferBody("a", "b", "10.50", id("1"))
	if !strings.Contains(body, old) {
		panic(old)
	}
	return strings.Replace(body, old, replacement, 1)
}

func TestMalformedTransfers(t *testing.T) {
	s := newFunded(t)
	h := truthful(t, wallethttp.NewHandler(s, nil))
	const idForm = "is a UUID"
	for _, e := range []refused{
		{name: "empty", body: " ", status: 400, code: "malformed_json"},
		{name: "not JSON", body: "from=a&to=b", status: 400, code: "malformed_json"},
		{name: "cut", body: with("}", ""), status: 400, code: "malformed_json"},
		{name: "trailing object", body: with("}", "}{}"), status: 400, code: "malformed_json"},
		{name: "trailing comma", body: with("}", ",}"), status: 400, code: "malformed_json"},
		{name: "comment", body: with("{", "{/**/"), status: 400, code: "malformed_json"},
		{name: "not UTF-8", body: with("a", "\xff"), status: 400, code: "malformed_json"},
		{name: "half of a surrogate pair", body: with(`"b"`, `"b\ud800"`), status: 400, code: "malformed_json"},
		{name: "the other half", body: with(`"b"`, `"\uDC00b"`), status: 400, code: "malformed_json"},
		{name: "two first halves", body: with(`"b"`, `"\ud800\ud800"`), status: 400, code: "malformed_json"},
		{name: "half of a pair behind one", body: with(`"b"`, `"\ud83d\ude00\ud83d"`), status: 400, code: "malformed_json"},
		{name: "a pair", body: with(`"b"`, `"\ud83d\ude00"`), status: 422, code: "invalid_request", places: map[string]string{"#/to_account": "1 to 64"}},
		{name: "no escape", body: with(`"b"`, `"\\ud800"`), status: 422, code: "invalid_request", places: map[string]string{"#/to_account": "1 to 64"}},
		{name: "too deep", body: strings.Repeat("[", 4000), status: 400, code: "malformed_json"},
		{name: "null", body: "null", status: 422, code: "invalid_request", places: map[string]string{"#": "not null"}},
		{name: "array", body: "[]", status: 422, code: "invalid_request", places: map[string]string{"#": "not an array"}},
		{name: "empty object", body: "{}", status: 422, code: "invalid_request", places: map[string]string{
			"#/from_account": "is missing", "#/to_account": "is missing", "#/amount": "is missing", "#/currency": "is missing", "#/transaction_id": "is missing",
		}},
		{name: "one missing", body: with(`"currency":"USD",`, ""), status: 422, code: "invalid_request", places: map[string]string{"#/currency": "is missing"}},
		{name: "unknown member", body: with("{", `{"memo":"x",`), status: 422, code: "invalid_request", places: map[string]string{"#/memo": "not known"}},
		{name: "unknown object", body: with("{", `{"a/~b c":{"x":[1,"}",null]},`), status: 422, code: "invalid_request", places: map[string]string{"#/a~1~0b%20c": "not known"}},
		{name: "long unknown name", body: with("{", `{"`+strings.Repeat("x", 1000)+`":1,`), status: 422, code: "invalid_request", places: map[string]string{"#/" + strings.Repeat("x", 64) + "%E2%80%A6": "not known"}},
		{name: "other case", body: with(`"amount"`, `"Amount"`), status: 422, code: "invalid_request", places: map[string]string{"#/Amount": "not known", "#/amount": "is missing"}},
		{name: "twice", body: with("{", `{"amount":"1",`), status: 422, code: "invalid_request", places: map[string]string{"#/amount": "twice"}},
		{name: "number", body: with(`"10.50"`, `10.50`), status: 422, code: "invalid_request", places: map[string]string{"#/amount": "must be a string, not a number"}},
		{name: "null amount", body: with(`"10.50"`, `null`), status: 422, code: "invalid_request", places: map[string]string{"#/amount": "not null"}},
		{name: "boolean", body: with(`"USD"`, `true`), status: 422, code: "invalid_request", places: map[string]string{"#/currency": "not a boolean"}},
		{name: "object", body: with(`"a"`, `{"id":"a"}`), status: 422, code: "invalid_request", places: map[string]string{"#/from_account": "not an object"}},
		{name: "too precise", body: with("10.50", "10.505"), status: 422, code: "invalid_request", places: map[string]string{"#/amount": "decimal places"}},
		{name: "precise for yen", body: with("USD", "JPY"), status: 422, code: "invalid_request", places: map[string]string{"#/amount": "decimal places"}},
		{name: "out of range", body: with("10.50", "92233720368547758.08"), status: 422, code: "invalid_request", places: map[string]string{"#/amount": "out of range"}},
		{name: "exponent", body: with("10.50", "1e3"), status: 422, code: "invalid_request", places: map[string]string{"#/amount": "not a decimal amount"}},
		{name: "comma", body: with("10.50", "10,50"), status: 422, code: "invalid_request", places: map[string]string{"#/amount": "not a decimal amount"}},
		{name: "plus", body: with("10.50", "+1"), status: 422, code: "invalid_request", places: map[string]string{"#/amount": "not a decimal amount"}},
		{name: "empty amount", body: with("10.50", ""), status: 422, code: "invalid_request", places: map[string]string{"#/amount": "not a decimal amount"}},
		{name: "unknown currency", body: with("USD", "ZZZ"), status: 422, code: "invalid_request", places: map[string]string{"#/currency": "unknown currency"}},
		{name: "currency in lower case", body: with("USD", "usd"), status: 422, code: "invalid_request", places: map[string]string{"#/currency": "unknown currency"}},
		{name: "id of wrong length", body: with("0001", "001"), status: 422, code: "invalid_request", places: map[string]string{"#/transaction_id": idForm}},
		{name: "id of wrong digits", body: with("0001", "000g"), status: 422, code: "invalid_request", places: map[string]string{"#/transaction_id": idForm}},
		{name: "id of zeros", body: with(id("1"), "00000000-0000-0000-0000-000000000000"), status: 422, code: "invalid_request", places: map[string]string{"#/transaction_id": idForm}},
		{name: "empty account", body: with(`"a"`, `""`), status: 422, code: "invalid_request", places: map[string]string{"#/from_account": "1 to 64"}},
		{name: "long account", body: with(`"b"`, `"`+strings.Repeat("b", 65)+`"`), status: 422, code: "invalid_request", places: map[string]string{"#/to_account": "1 to 64"}},
		{name: "space in account", body: with(`"b"`, `" b"`), status: 422, code: "invalid_request", places: map[string]string{"#/to_account": "1 to 64"}},
		{name: "escaped control", body: with(`"b"`, `"b\u0000"`), status: 422, code: "invalid_request", places: map[string]string{"#/to_account": "1 to 64"}},
		{name: "unknown protocol", body: with("{", `{"protocol":"3pc",`), status: 422, code: "invalid_request", places: map[string]string{"#/protocol": "tcc, saga or 2pc"}},
		{name: "no protocol", body: with("{", `{"protocol":"none",`), status: 422, code: "invalid_request", places: map[string]string{"#/protocol": "tcc, saga or 2pc"}},
		{name: "protocol in capitals", body: with("{", `{"protocol":"TCC",`), status: 422, code: "invalid_request", places: map[string]string{"#/protocol": "tcc, saga or 2pc"}},
		{name: "empty protocol", body: with("{", `{"protocol":"",`), status: 422, code: "invalid_request", places: map[string]string{"#/protocol": "leave it out"}},
		{name: "null protocol", body: with("{", `{"protocol":null,`), status: 422, code: "invalid_request", places: map[string]string{"#/protocol": "not null"}},
		{name: "protocol twice", body: with("{", `{"protocol":"tcc","protocol":"tcc",`), status: 422, code: "invalid_request", places: map[string]string{"#/protocol": "twice"}},
		{name: "all at once", body: `{"from_account":"?","to_account":"?","amount":"x","currency":"USD","transaction_id":"?"}`, status: 422, code: "invalid_request", places: map[string]string{
			"#/from_account": "", "#/to_account": "", "#/amount": "", "#/transaction_id": "",
		}},
		{name: "too large", body: with("{", "{"+strings.Repeat(" ", wallethttp.MaxTransferBytes)), status: 413, code: "body_too_large"},
	} {
		e.path = transferPath
		t.Run(e.name, func(t *testing.T) { e.run(t, h) })
	}
	nothingMoved(t, s)
}

// nothingMoved checks that a has what it had and that id("1") was not seen.
func nothingMoved(t *testing.T, s *wallet.Service) {
	t.Helper()
	a, _, err := s.Account(t.Context(), wallet.DefaultTenant, "a")
	if err != nil || a.Balances[0].Amount != 1000_00 {
		t.Errorf("money moved: %+v, %v", a, err)
	}
	seen, err := wallet.ParseTransactionID(id("1"))
	if err != nil {
		t.Fatal(err)
	}
	if code, err := s.Decision(t.Context(), wallet.DefaultTenant, seen); err != nil || code != wallet.Undecided {
		t.Errorf("a refused transfer was decided: %v, %v", code, err)
	}
}

func TestMalformedBatches(t *testing.T) {
	s := newFunded(t)
	h := truthful(t, wallethttp.NewHandler(s, nil))
	good := transferBody("a", "b", "1", id("1"))
	many := make([]string, wallethttp.MaxTransfers+1)
	for i := range many {
		many[i] = transferBody("a", "b", "1", id(fmt.Sprint(i+1)))
	}
	allBad := make([]string, wallethttp.MaxTransfers)
	for i := range allBad {
		allBad[i] = "0"
	}
	hundred := make(map[string]string)
	for i := range wallethttp.MaxErrors {
		hundred[fmt.Sprintf("#/transfers/%d", i)] = "not a number"
	}
	for _, e := range []refused{
		{name: "none", body: batch(), status: 422, code: "invalid_request", places: map[string]string{"#/transfers": "1 to 1000"}},
		{name: "too many", body: batch(many...), status: 422, code: "invalid_request", places: map[string]string{"#/transfers": "1 to 1000 transfers, not 1001"}},
		{name: "no list", body: `{}`, status: 422, code: "invalid_request", places: map[string]string{"#/transfers": "is missing"}},
		{name: "null list", body: `{"transfers":null}`, status: 422, code: "invalid_request", places: map[string]string{"#/transfers": "must be an array, not null"}},
		{name: "an object", body: `{"transfers":{}}`, status: 422, code: "invalid_request", places: map[string]string{"#/transfers": "must be an array, not an object"}},
		{name: "list twice", body: `{"transfers":[` + good + `],"transfers":[` + good + `]}`, status: 422, code: "invalid_request", places: map[string]string{"#/transfers": "twice"}},
		{name: "beside the list", body: `{"atomic":true,"transfers":[` + good + `]}`, status: 422, code: "invalid_request", places: map[string]string{"#/atomic": "not known"}},
		{name: "items of wrong kinds", body: batch(good, "null", "[]", `"x"`, good), status: 422, code: "invalid_request", places: map[string]string{
			"#/transfers/1": "not null", "#/transfers/2": "not an array", "#/transfers/3": "not a string",
		}},
		{name: "third is malformed", body: batch(good, good, with("10.50", "0.001"), good), status: 422, code: "invalid_request", places: map[string]string{"#/transfers/2/amount": "decimal places"}},
		{name: "more errors than are listed", body: batch(allBad...), status: 422, code: "invalid_request", places: hundred},
		{name: "unknown protocol", body: `{"protocol":"paxos","transfers":[` + good + `]}`, status: 422, code: "invalid_request", places: map[string]string{"#/protocol": "tcc, saga or 2pc"}},
		{name: "empty protocol", body: `{"transfers":[` + good + `],"protocol":""}`, status: 422, code: "invalid_request", places: map[string]string{"#/protocol": "leave it out"}},
		{name: "protocol of one", body: batch(with("{", `{"protocol":"saga",`), good), status: 422, code: "invalid_request", places: map[string]string{"#/transfers/0/protocol": "not known"}},
		{name: "cut", body: batch(good)[:40], status: 400, code: "malformed_json"},
		{name: "too large", body: batch(good, strings.Repeat(" ", wallethttp.MaxBatchBytes)+good), status: 413, code: "body_too_large"},
	} {
		e.path = "/v1/wallet/balance_transfers"
		t.Run(e.name, func(t *testing.T) { e.run(t, h) })
	}
	nothingMoved(t, s)

	full := ask(t, h, "POST", "/v1/wallet/balance_transfers", batch(many[:wallethttp.MaxTransfers]...))
	if n := strings.Count(full.body, `"success"`); full.status != http.StatusOK || n != 1000 {
		t.Errorf("a full batch: got %d with %d successes: %.200s", full.status, n, full.body)
	}
	long := strings.Repeat("x", wallet.MaxAccountIDBytes)
	for i := range many {
		many[i] = strings.ReplaceAll(transferBody(long, long, "-92233720368547758.08", id(fmt.Sprint(i+1))), ",", ", ")
	}
	if full = ask(t, h, "POST", "/v1/wallet/balance_transfers", batch(many[:wallethttp.MaxTransfers]...)); full.status != http.StatusOK {
		t.Errorf("a full batch of the largest size: got %d %.200s", full.status, full.body)
	}
}

func TestMalformedAccountsAndTenants(t *testing.T) {
	s := newFunded(t)
	h := truthful(t, wallethttp.NewHandler(s, nil))
	const accounts = "/v1/wallet/accounts"
	for _, e := range []refused{
		{name: "no currency", path: accounts, body: `{"id":"c"}`, status: 422, code: "invalid_request", places: map[string]string{"#/currency": "is missing"}},
		{name: "bad id", path: accounts, body: `{"id":"c/d","currency":"USD"}`, status: 422, code: "invalid_request", places: map[string]string{"#/id": "1 to 64"}},
		{name: "bad currency", path: accounts, body: `{"id":"c","currency":"USDX"}`, status: 422, code: "invalid_request", places: map[string]string{"#/currency": "unknown"}},
		{name: "empty limit", path: accounts, body: `{"id":"c","currency":"USD","min_balance":""}`, status: 422, code: "invalid_request", places: map[string]string{"#/min_balance": "leave it out"}},
		{name: "null limit", path: accounts, body: `{"id":"c","currency":"USD","min_balance":null}`, status: 422, code: "invalid_request", places: map[string]string{"#/min_balance": "not null"}},
		{name: "precise limit", path: accounts, body: `{"id":"c","currency":"JPY","min_balance":"0.1"}`, status: 422, code: "invalid_request", places: map[string]string{"#/min_balance": "decimal places"}},
		{name: "limit in words", path: accounts, body: `{"id":"c","currency":"JPY","min_balance":"Unlimited"}`, status: 422, code: "invalid_request", places: map[string]string{"#/min_balance": "not a decimal"}},
		{name: "unknown member", path: accounts, body: `{"id":"c","currency":"USD","owner":"x"}`, status: 422, code: "invalid_request", places: map[string]string{"#/owner": "not known"}},
		{name: "large account", path: accounts, body: `{"id":"c","currency":"USD"` + strings.Repeat(" ", 5000) + `}`, status: 413, code: "body_too_large"},
		{name: "currency of wrong kind", path: accounts + "/a/currencies", body: `{"currency":1}`, status: 422, code: "invalid_request", places: map[string]string{"#/currency": "not a number"}},
		{name: "currency missing", path: accounts + "/a/currencies", body: `{}`, status: 422, code: "invalid_request", places: map[string]string{"#/currency": "is missing"}},
		{name: "limit missing", method: "PUT", path: accounts + "/a/limits/USD", body: `{}`, status: 422, code: "invalid_request", places: map[string]string{"#/min_balance": "is missing"}},
		{name: "limit of a currency in the path", method: "PUT", path: accounts + "/a/limits/usd", body: `{"min_balance":"1"}`, status: 422, code: "invalid_request", places: map[string]string{"currency": "unknown"}},
		{name: "id in the path", method: "GET", path: accounts + "/a%20b", status: 422, code: "invalid_request", places: map[string]string{"id": "1 to 64"}},
		{name: "slash in the path", method: "GET", path: accounts + "/a%2Fb", status: 422, code: "invalid_request", places: map[string]string{"id": "1 to 64"}},
		{name: "id in the path of a change", path: accounts + "/%00/close", status: 422, code: "invalid_request", places: map[string]string{"id": "1 to 64"}},
		{name: "transaction id in the path", method: "GET", path: "/v1/wallet/transfers/1", status: 422, code: "invalid_request", places: map[string]string{"transaction_id": "UUID"}},
		{name: "tenant", path: "/v1/wallet/tenants", body: `{"name":"a b"}`, status: 422, code: "invalid_request", places: map[string]string{"#/name": "1 to 64"}},
		{name: "tenant missing", path: "/v1/wallet/tenants", body: `{}`, status: 422, code: "invalid_request", places: map[string]string{"#/name": "is missing"}},
		{name: "not JSON", path: "/v1/wallet/tenants", body: `name`, status: 400, code: "malformed_json"},
	} {
		t.Run(e.name, func(t *testing.T) { e.run(t, h) })
	}
	if _, code, err := s.Account(t.Context(), wallet.DefaultTenant, "c"); err != nil || code != wallet.UnknownAccount {
		t.Errorf("an account was opened: %v, %v", code, err)
	}
}

func TestContentTypes(t *testing.T) {
	s := newFunded(t)
	h := truthful(t, wallethttp.NewHandler(s, nil))
	for contentType, want := range map[string]int{
		"application/json":                           200,
		"application/json; charset=utf-8":            200,
		"Application/JSON;charset=UTF-8":             200,
		"application/json; charset=utf-16":           415,
		"application/x-www-form-urlencoded":          415,
		"text/plain":                                 415,
		"text/plain; application/json":               415,
		"application/json-seq":                       415,
		"application/vnd.api+json":                   415,
		"application/json, text/plain":               415,
		"multipart/form-data; boundary=x":            415,
		"":                                           415,
		"application/json; charset=utf-8; charset=x": 415,
	} {
		r := httptest.NewRequest(http.MethodPost, transferPath, strings.NewReader(transferBody("a", "b", "1", id("1"))))
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want || want == http.StatusUnsupportedMediaType && !strings.Contains(w.Body.String(), `"unsupported_media_type"`) {
			t.Errorf("%q: got %d %s, want %d", contentType, w.Code, w.Body, want)
		}
	}
}

// What a connection can do wrong, byte by byte.
func TestRawConnections(t *testing.T) {
	s := newFunded(t)
	l, err := httpd.Listen(t.Context(), "127.0.0.1:0", httpd.Security{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httpd.NewServer(wallethttp.NewHandler(s, nil), &httpd.Options{RequestTimeout: 50 * time.Millisecond, MaxBodyBytes: 2 << 10})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	defer func() {
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	body := transferBody("a", "b", "10.50", id("1"))
	head := func(more string) string {
		return "POST " + transferPath + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + more + "\r\n\r\n"
	}
	length := func(n int) string { return head(fmt.Sprintf("Content-Length: %d", n)) }
	for _, test := range []struct {
		name, send string
		half       bool // the client ends its side after sending
		status     int
		code       string // "": net/http itself refuses, in plain text
	}{
		{"slow body", length(len(body)) + body[:20], false, 408, "body_timeout"},
		{"slow, nothing of the body", length(len(body)), false, 408, "body_timeout"},
		{"slow chunk", head("Transfer-Encoding: chunked") + "5\r\n{\"fr", false, 408, "body_timeout"},
		{"cut in the body", length(len(body)) + body[:20], true, 400, "body_incomplete"},
		{"cut in a chunk", head("Transfer-Encoding: chunked") + "ff\r\n" + body[:20], true, 400, "body_incomplete"},
		{"bad chunk length", head("Transfer-Encoding: chunked") + "zz\r\n" + body, false, 400, "body_incomplete"},
		{"length too small", length(20) + body, false, 400, "malformed_json"},
		{"length too large", length(len(body)+1) + body, true, 400, "body_incomplete"},
		{"length far too large", length(1<<40) + body, false, 413, "body_too_large"},
		{"endless chunks", head("Transfer-Encoding: chunked") + strings.Repeat("400\r\n"+strings.Repeat(" ", 1024)+"\r\n", 5), false, 413, "body_too_large"},
		{"no body", length(0), false, 400, "malformed_json"},
		{"negative length", head("Content-Length: -1"), false, 400, ""},
		{"two lengths", head("Content-Length: 1\r\nContent-Length: 2"), false, 400, ""},
		{"cut in the header", head("")[:30], true, 400, ""},
		{"not HTTP", "\x16\x03\x01\x02\x00\x01", true, 400, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, test.send); err != nil {
				t.Fatal(err)
			}
			if test.half {
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var p wallethttp.Problem
			if err := json.NewDecoder(resp.Body).Decode(&p); err != nil && test.code != "" {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status || p.Code != test.code {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, p.Code, test.status, test.code)
			}
		})
	}
	nothingMoved(t, s)
}
