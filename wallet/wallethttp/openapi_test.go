package wallethttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"maru.example/internal/httpd"
	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// exchanged is what went through a handler.
type exchanged struct {
	pattern string
	body    string // of the request
	answer  answer
}

func record(h http.Handler, r *http.Request) exchanged {
	var body bytes.Buffer
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r.Body, &body), r.Body}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return exchanged{r.Pattern, body.String(), answer{w.Code, w.Header(), w.Body.String()}}
}

// scripted is a wallet that answers everything with a code or an error.
type scripted struct {
	code wallet.Code
	err  error
}

func (s scripted) TransferBy(context.Context, wallet.Tenant, wallet.Protocol, wallet.Transfer) (wallet.Result, error) {
	return wallet.Result(s.code), s.err
}

func (s scripted) TransfersBy(_ context.Context, _ wallet.Tenant, _ wallet.Protocol, ts []wallet.Transfer) ([]wallet.Result, error) {
	return slices.Repeat([]wallet.Result{wallet.Result(s.code)}, len(ts)), s.err
}

func (s scripted) Decision(context.Context, wallet.Tenant, wallet.TransactionID) (wallet.Code, error) {
	return s.code, s.err
}

func (s scripted) OpenAccount(context.Context, wallet.Tenant, wallet.NewAccount) (wallet.Opened, error) {
	return wallet.Opened{Handle: 1, Code: s.code, Before: true}, s.err
}

func (s scripted) AddCurrency(context.Context, wallet.Tenant, wallet.AccountID, money.Currency, money.Amount) (wallet.Code, error) {
	return s.code, s.err
}

func (s scripted) SetLimit(context.Context, wallet.Tenant, wallet.AccountID, money.Currency, money.Amount) (wallet.Code, error) {
	return s.code, s.err
}

func (s scripted) SetDailyLimit(context.Context, wallet.Tenant, wallet.AccountID, money.Currency, wallet.DailyLimit) (wallet.Code, error) {
	return s.code, s.err
}

func (s scripted) PlaceHold(context.Context, wallet.Tenant, wallet.NewHold) (wallet.Result, error) {
	return wallet.Result(s.code), s.err
}

func (s scripted) Capture(context.Context, wallet.Tenant, wallet.Capture) (wallet.Result, error) {
	return wallet.Result(s.code), s.err
}

func (s scripted) Release(context.Context, wallet.Tenant, wallet.Release) (wallet.Result, error) {
	return wallet.Result(s.code), s.err
}

func (s scripted) Extend(context.Context, wallet.Tenant, wallet.Extend) (wallet.Result, error) {
	return wallet.Result(s.code), s.err
}

func (s scripted) Hold(_ context.Context, _ wallet.Tenant, id wallet.TransactionID) (wallet.Hold, wallet.Code, error) {
	return wallet.Hold{ID: id, Account: "a", Currency: usd, Amount: 5, Left: 5}, s.code, s.err
}

func (s scripted) Holds(ctx context.Context, tenant wallet.Tenant, _ wallet.AccountID, _ wallet.HoldCursor, _ int) (wallet.HoldList, wallet.Code, error) {
	h, code, err := s.Hold(ctx, tenant, tid(1))
	return wallet.HoldList{Holds: []wallet.Hold{h}, More: true, Next: wallet.HoldCursor{Currency: usd, ID: h.ID}}, code, err
}

func (s scripted) SetStatus(context.Context, wallet.Tenant, wallet.AccountID, wallet.Status) (wallet.Code, error) {
	return s.code, s.err
}

func (s scripted) Account(_ context.Context, _ wallet.Tenant, id wallet.AccountID) (wallet.Account, wallet.Code, error) {
	return wallet.Account{ID: id, Handle: 1, Balances: []wallet.Balance{{Currency: usd}}}, s.code, s.err
}

func (s scripted) AccountStale(ctx context.Context, tenant wallet.Tenant, id wallet.AccountID) (wallet.Account, wallet.Code, time.Duration, error) {
	a, code, err := s.Account(ctx, tenant, id)
	return a, code, 1500 * time.Microsecond, err
}

func (s scripted) InFlight(context.Context, wallet.Tenant, int) (wallet.InFlightList, error) {
	return wallet.InFlightList{Transfers: []wallet.InFlight{{
		ID: tid(1), From: "a", To: 1<<48 + 1, Amount: 5, Currency: usd, Protocol: wallet.TCC, Phase: wallet.Trying,
	}}, More: true, Stale: true}, s.err
}

func (s scripted) CreateTenant(context.Context, wallet.Tenant) (wallet.Code, error) {
	return s.code, s.err
}

func (s scripted) Tenants(context.Context) ([]wallet.Tenant, error) {
	if s.code == wallet.UnknownTenant {
		return []wallet.Tenant{"another"}, s.err
	}
	return []wallet.Tenant{"default"}, s.err
}

func (s scripted) Totals(context.Context, wallet.Tenant) ([]wallet.Total, bool, error) {
	return []wallet.Total{{Currency: usd, Sum: new(big.Int), Issued: new(big.Int), InFlight: new(big.Int)}}, true, s.err
}

func (s scripted) CreateAsset(context.Context, wallet.Tenant, string, int) (money.Currency, wallet.Code, error) {
	return money.Asset(1, 2), s.code, s.err
}

func (s scripted) Assets(context.Context, wallet.Tenant) ([]wallet.Asset, wallet.Code, error) {
	return []wallet.Asset{{Name: "VACHR", Currency: money.Asset(1, 2)}}, s.code, s.err
}

func (scripted) ParseCurrency(_ context.Context, _ wallet.Tenant, text string) (money.Currency, error) {
	return money.ParseCurrency(text)
}

func (scripted) CurrencyName(_ context.Context, _ wallet.Tenant, c money.Currency) string {
	return c.String()
}

// line is what scripted says of the past.
var line = wallet.Line{
	LineKey: wallet.LineKey{Time: 1e18, Index: 7, Number: 1}, Kind: wallet.Credit, Account: 1, Other: 2, OtherAccount: "b", ID: tid(1),
	Currency: usd, Amount: 5, Balance: 12,
}

var mark = wallet.HistoryMark{HistoryPosition: wallet.HistoryPosition{Index: 9}, Time: 2e18, First: 1}

func (s scripted) HistoryLines(context.Context, *wallet.HistoryRequest) (wallet.LinePage, wallet.Code, error) {
	return wallet.LinePage{Lines: []wallet.Line{line}, Next: line.LineKey, Mark: mark}, s.code, s.err
}

func (s scripted) HistoryBalances(context.Context, *wallet.HistoryRequest) (wallet.PastBalances, wallet.Code, error) {
	return wallet.PastBalances{Balances: []wallet.PastBalance{{Currency: usd, Amount: 12}}, Mark: mark}, s.code, s.err
}

func (s scripted) HistoryStatement(context.Context, *wallet.HistoryRequest) (wallet.Statement, wallet.Code, error) {
	return wallet.Statement{LinePage: wallet.LinePage{Lines: []wallet.Line{line}, Mark: mark}, Currency: usd, Opening: 7, Closing: 12, Complete: true}, s.code, s.err
}

func (s scripted) HistoryTotals(context.Context, wallet.Tenant, wallet.HistoryPositions) ([]wallet.CurrencyTurnover, wallet.HistoryPositions, wallet.Code, error) {
	return []wallet.CurrencyTurnover{{
		Currency: usd, Balances: 2, Lines: 4, Issued: wallet.Sum{Hi: math.MaxUint64, Lo: math.MaxUint64 - 11}, Debited: wallet.Sum{Hi: math.MaxUint64, Lo: 0},
	}}, wallet.HistoryPositions{mark.HistoryPosition, {Partition: 1, Index: 4}}, s.code, s.err
}

// referred is a transaction with a reference.
var referred = &wallet.Transaction{
	ID: tid(5), Postings: []wallet.Posting{{Account: "a", Amount: -5, Currency: usd}, {Account: "b", Amount: 5, Currency: usd}}, Reference: "order-4711", Metadata: wallet.Metadata{"shop": "3"},
}

func (s scripted) HistoryTransactions(context.Context, *wallet.ReferenceRequest) (wallet.ReferencePage, wallet.Code, error) {
	place := wallet.ReferenceCursor{LineKey: line.LineKey, Partition: 1}
	return wallet.ReferencePage{
		Transactions: []wallet.PastTransaction{{LineKey: line.LineKey, Partition: 1, Content: wallet.AppendTransaction(nil, referred), Code: wallet.Canceled}},
		Next:         place, Reflects: wallet.HistoryPositions{mark.HistoryPosition, {Partition: 1, Index: 4}},
	}, s.code, s.err
}

// foundTransfer is what scripted finds under every id.
var foundTransfer = wallet.Found{
	Code: wallet.Applied, Partition: 1, Reversed: []money.Amount{3, 3}, Mark: wallet.HistoryMark{HistoryPosition: wallet.HistoryPosition{Partition: 1, Index: 9}},
	Content: &wallet.Content{LineKey: wallet.LineKey{Time: 1e18, Index: 7}, Kind: wallet.TransferContent, Postings: []wallet.Posting{
		{Account: "a", Amount: -500, Currency: usd}, {Account: "b", Amount: 500, Currency: usd},
	}},
}

func (s scripted) HistoryFind(context.Context, *wallet.FindRequest) (wallet.Found, error) {
	if s.code == wallet.Undecided || s.code == wallet.UnknownTenant {
		return wallet.Found{Code: s.code}, s.err
	}
	return foundTransfer, s.err
}

func (s scripted) HistoryReversals(context.Context, *wallet.ReversalsRequest) (wallet.TransactionPage, wallet.Code, error) {
	return wallet.TransactionPage{
		Transactions: []wallet.PastTransaction{{LineKey: line.LineKey, Partition: 1, Content: wallet.AppendTransaction(nil, referred), Code: wallet.Applied}}, Next: line.LineKey, Mark: mark,
	}, s.code, s.err
}

func (s scripted) HistoryEvents(context.Context, *wallet.EventsRequest) (wallet.EventPage, wallet.Code, error) {
	return wallet.EventPage{Mark: mark}, s.code, s.err
}

// A cause is what leads to a problem: of the wallet, of the handler's options, or of the request.
type cause struct {
	wallet  *scripted // default: applies everything
	options wallethttp.Options
	request func(r *http.Request)
	local   bool // served as without keys
}

type brokenBody struct{ err error }

func (b brokenBody) Read([]byte) (int, error) { return 0, b.err }

func refuseKey(err error) wallethttp.Options {
	return wallethttp.Options{Authorize: func(context.Context, string, string, wallethttp.Scope) (wallet.Tenant, error) { return "", err }}
}

func body(text string, err error) func(*http.Request) {
	return func(r *http.Request) {
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(text), brokenBody{err}))
	}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// causes returns what leads to each code of a problem.
func causes() map[string]cause {
	all := map[string]cause{
		"malformed_json":         {request: body("{", io.EOF)},
		"body_incomplete":        {request: body("{", io.ErrUnexpectedEOF)},
		"body_timeout":           {request: body("{", os.ErrDeadlineExceeded)},
		"body_too_large":         {request: body(strings.Repeat(" ", wallethttp.MaxBatchBytes+1), io.EOF)},
		"unsupported_media_type": {request: header("Content-Type", "text/plain")},
		"invalid_request":        {request: header(wallethttp.TenantHeader, "a b")},
		"unauthenticated":        {options: refuseKey(wallethttp.ErrUnauthenticated)},
		"forbidden":              {options: refuseKey(fmt.Errorf("%w: it is a test", wallethttp.ErrForbidden))},
		"cross_origin":           {local: true, request: header("Sec-Fetch-Site", "cross-site")},
		"wrong_cluster":          {request: header(wallethttp.ClusterHeader, "another")},
		"wrong_host":             {local: true, request: func(r *http.Request) { r.Host = "evil.example" }},
		"transaction_not_found":  {wallet: &scripted{code: wallet.Undecided}},
		"busy":                   {wallet: &scripted{err: fmt.Errorf("propose: %w", rsm.ErrBusy)}},
		"disk_full":              {wallet: &scripted{err: fmt.Errorf("propose: %w", rsm.ErrDiskFull)}},
		"log_failed":             {wallet: &scripted{err: fmt.Errorf("propose: %w", rsm.ErrFailed)}},
		"closing":                {wallet: &scripted{err: fmt.Errorf("propose: %w", rsm.ErrClosed)}},
		"no_leader":              {wallet: &scripted{err: fmt.Errorf("propose: %w", rsm.ErrNoLeader)}},
		"outcome_unknown":        {wallet: &scripted{err: fmt.Errorf("%w: not all was decided: %w", rsm.ErrUnknown, rsm.ErrBusy)}},
		"deadline_exceeded":      {wallet: &scripted{err: fmt.Errorf("propose: %w", context.DeadlineExceeded)}},
		"history_unavailable":    {wallet: &scripted{err: fmt.Errorf("%w: it begins later", wallet.ErrHistoryUnavailable)}},
		"history_behind":         {wallet: &scripted{err: fmt.Errorf("%w: it is at 0:7", wallet.ErrHistoryBehind)}},
		"webhook_not_found":      {wallet: &scripted{err: wallet.ErrNoWebhook}},
		"dead_letter_not_found":  {wallet: &scripted{err: wallet.ErrNoDeadLetter}},
		"webhook_conflict":       {wallet: &scripted{err: fmt.Errorf("save: %w", wallet.ErrWebhookBehind)}},
		"too_many_webhooks":      {wallet: &scripted{err: wallet.ErrTooManyWebhooks}},
		"webhooks_unavailable":   {wallet: &scripted{err: fmt.Errorf("%w: of several nodes", wallet.ErrWebhooksElsewhere)}},
		"too_many_event_readers": {options: wallethttp.Options{MaxTenantEventReaders: -1}},
		"internal":               {wallet: &scripted{err: errors.New("secret detail")}},
	}
	maps.Copy(all, personalCauses())
	for _, c := range wallet.Codes() {
		if c != wallet.Applied && c != wallet.Undecided {
			all[c.String()] = cause{wallet: &scripted{code: c}}
		}
	}
	return all
}

// ask sends a request of an operation to a server on which a cause acts.
func (c *cause) ask(t *testing.T, r *http.Request) answer {
	t.Helper()
	if c.request != nil {
		c.request(r)
	}
	w := scripted{code: wallet.Applied}
	if c.wallet != nil {
		w = *c.wallet
	}
	c.options.Personal, c.options.History, c.options.Webhooks, c.options.Rebuild = w, w, hooks{w.err}, func(context.Context) error { return w.err }
	var h http.Handler = wallethttp.NewHandler(w, &c.options)
	if c.local {
		h = httpd.NewServer(h, &httpd.Options{Local: true}).Handler()
	}
	return record(h, r).answer
}

// newRequest returns a request of an operation, made of the document's examples.
func (d *openAPI) newRequest(t *testing.T, method, path string, op *operationDoc) *http.Request {
	t.Helper()
	for _, p := range op.Parameters {
		if p.In == "path" {
			path = strings.Replace(path, "{"+p.Name+"}", d.example(t, p.Schema).(string), 1)
		}
	}
	var content []byte
	if op.RequestBody != nil {
		var err error
		of := op.RequestBody.Content["application/json"]
		if of.Example == nil {
			of.Example = d.example(t, of.Schema)
		}
		if content, err = json.Marshal(of.Example); err != nil {
			t.Fatal(err)
		}
	}
	switch op.OperationID {
	case "follow-accounts":
		path += "?account=a"
	case "find-transactions":
		path += "?reference=order-4711"
	}
	r := httptest.NewRequest(strings.ToUpper(method), "http://localhost"+path, bytes.NewReader(content))
	if op.streams() { // it ends with its reader
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r = r.WithContext(ctx)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// Every problem that an operation documents can be brought about, and is then
// answered as documented; and its examples are good requests.
func TestEveryDocumentedAnswer(t *testing.T) {
	doc := readDocument(t, wallethttp.NewHandler(scripted{code: wallet.Applied}, nil))
	all, operations := causes(), 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			operations++
			t.Run(op.OperationID, func(t *testing.T) {
				got := (&cause{}).ask(t, doc.newRequest(t, method, path, &op))
				if got.status >= http.StatusMultipleChoices {
					t.Errorf("the example: got %d %s", got.status, got.body)
				}
				for _, err := range doc.checkAnswer(&op, got) {
					t.Errorf("the example's answer: %s", err)
				}
				for code, status := range doc.problems(t, &op) {
					c, ok := all[code]
					if !ok {
						t.Errorf("%s: the test knows no cause", code)
						continue
					}
					got := c.ask(t, doc.newRequest(t, method, path, &op))
					if got.status != status || !strings.Contains(got.body, `"code":"`+code+`"`) || strings.Contains(got.body, "secret") {
						t.Errorf("%s: got %d %s, want %d", code, got.status, got.body, status)
					}
					for _, err := range doc.checkAnswer(&op, got) {
						t.Errorf("%s: %s", code, err)
					}
				}
			})
		}
	}
	if operations != 54 {
		t.Errorf("got %d operations, want 54", operations)
	}
}

// problems returns the codes that an operation documents, with their statuses.
func (d *openAPI) problems(t *testing.T, op *operationDoc) map[string]int {
	t.Helper()
	codes := make(map[string]int)
	for status, r := range op.Responses {
		if status < "300" {
			continue
		}
		schema := r.Content["application/problem+json"].Schema
		if schema == nil || len(schema.AllOf) != 2 || schema.AllOf[0].Ref != "#/components/schemas/Problem" {
			t.Fatalf("status %s has no problem: %+v", status, r)
		}
		var n int
		if _, err := fmt.Sscan(status, &n); err != nil {
			t.Fatal(err)
		}
		for _, code := range schema.AllOf[1].Properties["code"].Enum {
			codes[code.(string)] = n
		}
	}
	return codes
}

// The table of statuses, for every code there is.
func TestCodes(t *testing.T) {
	want := map[string]int{
		"unknown_account": 404, "unknown_tenant": 404,
		"account_frozen": 409, "account_closed": 409, "transaction_id_reused": 409, "account_exists": 409, "currency_exists": 409,
		"balance_not_zero": 409, "limit_reached": 409, "asset_exists": 409,
		"currency_not_held": 422, "insufficient_funds": 422, "amount_not_positive": 422, "same_account": 422, "overflow": 422,
		"account_locked": 409, "canceled": 409, "too_many_in_flight": 429,
		"unknown_hold": 404, "hold_finished": 410, "hold_mismatch": 409, "hold_exceeded": 422, "holds_open": 409,
		"expiry_out_of_range": 422, "daily_limit_exceeded": 422, "unbalanced": 422, "not_reversible": 409, "over_reversed": 409,
		"held": 500, "undecided": 500, "malformed": 500, "wrong_partition": 500, "forgotten": 500, // no answers to a transfer that was checked
	}
	got := make(map[string]int)
	for _, code := range wallet.Codes() {
		h := wallethttp.NewHandler(scripted{code: code}, nil)
		a := ask(t, h, "POST", transferPath, transferBody("a", "b", "1", id("1")))
		if code == wallet.Applied {
			if a.status != http.StatusOK {
				t.Errorf("applied: got %d", a.status)
			}
			continue
		}
		if code == wallet.Pending {
			if a.status != http.StatusAccepted || a.body != `{"status":"pending","transaction_id":"`+id("1")+`"}` || a.header.Get("Location") != "/v1/wallet/transfers/"+id("1") {
				t.Errorf("pending: got %d %s %v", a.status, a.body, a.header)
			}
			continue
		}
		var p wallethttp.Problem
		if err := json.Unmarshal([]byte(a.body), &p); err != nil {
			t.Fatal(err)
		}
		if p.Status != a.status || p.Code != code.String() || p.TransactionID != id("1") {
			t.Errorf("%v: got %d %s", code, a.status, a.body)
		}
		got[p.Code] = a.status
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Who asks is told whether there is no leader at the moment, or none to come.
func TestNoMajority(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		status int
		code   string
		detail string
	}{
		"no leader":       {rsm.ErrNoLeader, 503, "no_leader", "there is no leader now"},
		"no majority":     {rsm.ErrNoMajority, 503, "no_leader", "a majority of the replicas is away: `maru cluster status` shows which; nothing was done"},
		"unknown outcome": {fmt.Errorf("%w: %w", rsm.ErrUnknown, rsm.ErrNoMajority), 503, "outcome_unknown", "whether anything was done is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			h := wallethttp.NewHandler(scripted{err: fmt.Errorf("propose: %w: group 1", tt.err)}, nil)
			a := ask(t, h, "POST", transferPath, transferBody("a", "b", "1", id("1")))
			var p wallethttp.Problem
			if err := json.Unmarshal([]byte(a.body), &p); err != nil {
				t.Fatal(err)
			}
			if a.status != tt.status || p.Code != tt.code || !strings.Contains(p.Detail, tt.detail) || a.header.Get("Retry-After") != "1" {
				t.Errorf("got %d %s %v, want %d %s: %s", a.status, a.body, a.header, tt.status, tt.code, tt.detail)
			}
		})
	}
}

func TestRetryAfterAndAuthenticate(t *testing.T) {
	for code, want := range map[string][2]string{
		"busy": {"1", ""}, "closing": {"5", ""}, "log_failed": {"5", ""}, "no_leader": {"1", ""}, "outcome_unknown": {"1", ""}, "too_many_in_flight": {"1", ""}, "unauthenticated": {"", "Bearer"}, "forbidden": {}, "disk_full": {}, "deadline_exceeded": {},
	} {
		c := causes()[code]
		r := httptest.NewRequest(http.MethodPost, transferPath, strings.NewReader(transferBody("a", "b", "1", id("1"))))
		r.Header.Set("Content-Type", "application/json")
		got := c.ask(t, r)
		if has := [2]string{got.header.Get("Retry-After"), got.header.Get("WWW-Authenticate")}; has != want {
			t.Errorf("%s: got %q, want %q", code, has, want)
		}
	}
}

// The forms of the document are one document.
func TestDocumentForms(t *testing.T) {
	h := wallethttp.NewHandler(scripted{}, &wallethttp.Options{Version: "1.2.3"})
	text := ask(t, h, "GET", "/openapi.json", "")
	yaml := ask(t, h, "GET", "/openapi.yaml", "")
	if yaml.header.Get("Content-Type") != "application/openapi+yaml" || yaml.status != http.StatusOK {
		t.Errorf("got %d %v", yaml.status, yaml.header)
	}
	doc := readDocument(t, h)
	if doc.OpenAPI != "3.1.0" || !strings.Contains(text.body, `"version":"1.2.3"`) || !strings.Contains(yaml.body, "version: 1.2.3") {
		t.Errorf("got version %s of the form: %.300s", doc.OpenAPI, text.body)
	}
	for path := range doc.Paths {
		if !regexp.MustCompile(`(?m)^  "?` + regexp.QuoteMeta(path) + `"?:`).MatchString(yaml.body) {
			t.Errorf("no %s in the YAML", path)
		}
	}
}

func (s scripted) TransactBy(context.Context, wallet.Tenant, wallet.Protocol, *wallet.Transaction) (wallet.Result, error) {
	return wallet.Result(s.code), s.err
}

// TestDocumentOfWhatIsBeside has operations that others serve in the document and on the page.
func TestDocumentOfWhatIsBeside(t *testing.T) {
	h := wallethttp.NewHandler(nil, &wallethttp.Options{Beside: []*huma.Operation{{
		OperationID: "get-more", Method: "GET", Path: "/v1/more", Summary: "More", Responses: map[string]*huma.Response{"200": {Description: "Done."}},
	}}})
	if got := ask(t, h, "GET", "/openapi.json", ""); !strings.Contains(got.body, `"operationId":"get-more"`) || !strings.Contains(got.body, `"/v1/more"`) {
		t.Errorf("the document lacks it: %d", got.status)
	}
	if got := ask(t, h, "GET", "/docs", ""); !strings.Contains(got.body, "GET /v1/more") {
		t.Errorf("the page lacks it: %d", got.status)
	}
}

func (s scripted) TransactionsBy(_ context.Context, _ wallet.Tenant, _ wallet.Protocol, ts []*wallet.Transaction) ([]wallet.Result, error) {
	return slices.Repeat([]wallet.Result{wallet.Result(s.code)}, len(ts)), s.err
}
