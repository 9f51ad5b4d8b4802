package wallethttp_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// asked is a history that notes what it is asked for.
type asked struct {
	scripted
	request *wallet.HistoryRequest
}

func (a *asked) HistoryLines(ctx context.Context, r *wallet.HistoryRequest) (wallet.LinePage, wallet.Code, error) {
	a.request = r
	return a.scripted.HistoryLines(ctx, r)
}

func (a *asked) HistoryBalances(ctx context.Context, r *wallet.HistoryRequest) (wallet.PastBalances, wallet.Code, error) {
	a.request = r
	return a.scripted.HistoryBalances(ctx, r)
}

func (a *asked) HistoryStatement(ctx context.Context, r *wallet.HistoryRequest) (wallet.Statement, wallet.Code, error) {
	a.request = r
	return a.scripted.HistoryStatement(ctx, r)
}

func historyOf(t *testing.T) (*asked, func(path string) answer) {
	t.Helper()
	a := &asked{scripted: scripted{code: wallet.Applied}}
	h := truthful(t, wallethttp.NewHandler(a, &wallethttp.Options{History: a}))
	return a, func(path string) answer { return ask(t, h, "GET", path, "") }
}

// A client asks and hears the same as a program beside the wallet.
func TestHistoryClient(t *testing.T) {
	a := &asked{scripted: scripted{code: wallet.Applied}}
	server := httptest.NewServer(wallethttp.NewHandler(a, &wallethttp.Options{History: a}))
	defer server.Close()
	c, err := wallethttp.NewClient(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := wallet.HistoryRequest{
		Tenant: wallet.DefaultTenant, Account: "a", Counterparty: "b", At: 0, AtLeast: wallet.HistoryPositions{{Partition: 2, Index: 40}, {Index: 7}},
		Lines: wallet.LineQuery{From: 1e18 + 1, To: 2e18, Currency: usd, Direction: wallet.Outgoing, Newest: true, Limit: 5, After: line.LineKey},
	}
	page, code, err := c.HistoryLines(t.Context(), &want)
	if err != nil || code != wallet.Applied {
		t.Fatal(code, err)
	}
	if diff := cmp.Diff(&want, a.request); diff != "" {
		t.Errorf("lines: asked for (-want +got):\n%s", diff)
	}
	seen := line
	seen.Account = 0 // the answer does not repeat it
	reflects := wallet.HistoryMark{HistoryPosition: mark.HistoryPosition, Time: mark.Time}
	if diff := cmp.Diff(wallet.LinePage{Lines: []wallet.Line{seen}, Next: line.LineKey, Mark: reflects}, page); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	past, _, err := c.HistoryBalances(t.Context(), &wallet.HistoryRequest{Account: "a", At: 3e17})
	if diff := cmp.Diff(wallet.PastBalances{Balances: []wallet.PastBalance{{Currency: usd, Amount: 12}}, Mark: reflects}, past); diff != "" || err != nil || a.request.At != 3e17 {
		t.Errorf("balances: %v, asked for %d\n%s", err, a.request.At, diff)
	}
	st, _, err := c.HistoryStatement(t.Context(), &want)
	wantStatement := wallet.Statement{LinePage: wallet.LinePage{Lines: []wallet.Line{seen}, Mark: reflects}, Currency: usd, Opening: 7, Closing: 12, Complete: true}
	if diff := cmp.Diff(wantStatement, st); diff != "" || err != nil {
		t.Errorf("statement: %v\n%s", err, diff)
	}
	turnover, at, _, err := c.HistoryTotals(t.Context(), wallet.DefaultTenant, nil)
	wantTurnover, wantAt, _, _ := a.HistoryTotals(t.Context(), "", nil)
	if diff := cmp.Diff(wantTurnover, turnover); diff != "" || err != nil || at.String() != wantAt.String() {
		t.Errorf("turnover at %v: %v\n%s", at, err, diff)
	}
	found, _, err := c.HistoryTransactions(t.Context(), &wallet.ReferenceRequest{Reference: "order-4711"})
	wantFound, _, _ := a.HistoryTransactions(t.Context(), &wallet.ReferenceRequest{})
	wantFound.Transactions[0].Number = 0 // which is not told
	if diff := cmp.Diff(wantFound, found); diff != "" || err != nil {
		t.Errorf("transactions: %v\n%s", err, diff)
	}
	a.code = wallet.UnknownAccount
	if _, code, err := c.HistoryLines(t.Context(), &want); code != wallet.UnknownAccount || err != nil {
		t.Errorf("got %v, %v", code, err)
	}
}

func TestHistoryParameters(t *testing.T) {
	const account = "/v1/wallet/accounts/a/"
	a, get := historyOf(t)
	for _, path := range []string{
		"transfers?from=yesterday", "transfers?from=1969-12-31T00:00:00Z", "transfers?to=2300-01-01T00:00:00Z", "transfers?limit=0", "transfers?limits=5", "transfers?limit=1001",
		"transfers?cursor=1.2", "transfers?cursor=a.2.3", "transfers?order=oldes", "transfers?direction=both", "transfers?counterparty=a%20b",
		"transfers?currency=USX", "transfers?at_least=7", "transfers?at_least=0:1,", "transfers?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
		"balances?at=", "statement?limit=x", "transfers?limit=1&limit=2",
	} {
		if got := get(account + path); got.status != 422 || !strings.Contains(got.body, "invalid_request") {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
		}
	}
	for _, path := range []string{"transactions", "transactions?reference=", "transactions?reference=a&limit=0", "transactions?reference=a&cursor=1.2.3", "transactions?reference=a&at_least=x", "transactions?reference=" + strings.Repeat("x", 65)} {
		if got := get("/v1/wallet/" + path); got.status != 422 || !strings.Contains(got.body, "invalid_request") {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
		}
	}
	if a.request != nil {
		t.Error("it was asked for")
	}
	got := get(account + "statement?to=2026-01-01T01:00:00%2B01:00")
	if got.status != 200 || a.request.Lines.Currency != usd || a.request.Lines.To != 1767225600e9 {
		t.Errorf("the only currency: got %d %s, asked for %+v", got.status, got.body, a.request)
	}
	if got.header.Get(wallethttp.PositionHeader) != "0:9" {
		t.Errorf("got %v", got.header)
	}
	var statement struct {
		Lines []struct{ Amount, Balance, Counterparty, Position string }
	}
	if err := json.Unmarshal([]byte(got.body), &statement); err != nil || len(statement.Lines) != 1 || statement.Lines[0].Amount != "0.05" || statement.Lines[0].Position != "0:7" {
		t.Errorf("%v: got %s", err, got.body)
	}
}

// Without a history the server says so.
func TestNoHistory(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(scripted{code: wallet.Applied}, nil))
	for _, path := range []string{"accounts/a/transfers", "accounts/a/balances", "accounts/a/statement?currency=USD", "turnover", "transactions?reference=a"} {
		if got := ask(t, h, "GET", "/v1/wallet/"+path, ""); got.status != 410 || !strings.Contains(got.body, "history_unavailable") {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
		}
	}
}

// A write's answer says where it was committed; a refused one was too.
func TestPositionOfWrites(t *testing.T) {
	h, stop := openFaulty(t, vfs.NewMem())
	defer stop()
	last := ""
	for _, amount := range []string{"1", "1", "1000000"} {
		got := ask(t, h, "POST", transferPath, transferBody("a", "b", amount, id(amount[:1])))
		at := got.header.Get(wallethttp.PositionHeader)
		if ps, err := wallet.ParseHistoryPositions(at); err != nil || len(ps) != 1 || at <= last {
			t.Errorf("amount %s: got %d, position %q after %q", amount, got.status, at, last)
		}
		last = at
	}
	if got := ask(t, h, "POST", transferPath, "{"); got.header.Get(wallethttp.PositionHeader) != "" {
		t.Errorf("got %v", got.header)
	}
}

var _ wallethttp.Past = (*wallethttp.Client)(nil)
