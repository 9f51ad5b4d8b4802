package wallethttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// remembered is a history that has what it is told of transaction ids.
type remembered struct {
	scripted
	found map[wallet.TransactionID]wallet.Found
	err   error
	asked *wallet.FindRequest
}

func (r *remembered) HistoryFind(_ context.Context, q *wallet.FindRequest) (wallet.Found, error) {
	r.asked = q
	return r.found[q.ID], r.err
}

func pair(from, to string, a money.Amount) []wallet.Posting {
	return []wallet.Posting{{Account: wallet.AccountID(from), Amount: -a, Currency: usd}, {Account: wallet.AccountID(to), Amount: a, Currency: usd}}
}

func contentOf(kind wallet.ContentKind, change func(c *wallet.Content)) *wallet.Content {
	c := &wallet.Content{Kind: kind, LineKey: wallet.LineKey{Time: 1e18, Index: 7}}
	change(c)
	return c
}

// TestFound shows what there can be of an id, and lets a client read it again.
func TestFound(t *testing.T) {
	whole := func(c *wallet.Content, reversed ...money.Amount) wallet.Found {
		return wallet.Found{
			Code: wallet.Applied, Partition: 2, Content: c, Reversed: append([]money.Amount{}, reversed...),
			Mark: wallet.HistoryMark{HistoryPosition: wallet.HistoryPosition{Partition: 2, Index: 9}},
		}
	}
	where := `"content":"whole","kind":"%s","time":"2001-09-09T01:46:40Z","position":"2:7"`
	reflects := `,"reflects":"2:9"}`
	legs := `[` + posting("a", "-5.00") + `,` + posting("b", "5.00") + `]`
	for _, v := range []struct {
		name  string
		found wallet.Found
		want  string
	}{
		{
			"transfer", whole(contentOf(wallet.TransferContent, func(c *wallet.Content) { c.Postings = pair("a", "b", 500) })),
			`"status":"applied",` + fmt.Sprintf(where, "transfer") + `,"from_account":"a","to_account":"b","amount":"5.00","currency":"USD","postings":` + legs + `,"reversed":"none","reversed_amount":"0.00"` + reflects,
		},
		{
			"transfer in part", whole(contentOf(wallet.TransferContent, func(c *wallet.Content) { c.Postings = pair("a", "b", 500) }), 200, 200),
			`"status":"applied",` + fmt.Sprintf(where, "transfer") + `,"from_account":"a","to_account":"b","amount":"5.00","currency":"USD","postings":` + legs +
				`,"reversed":"part","reversed_amount":"2.00","reversed_postings":[` + posting("a", "2.00") + `,` + posting("b", "-2.00") + `]` + reflects,
		},
		{
			"capture, all of it", whole(contentOf(wallet.CaptureContent, func(c *wallet.Content) { c.Postings, c.Hold = pair("a", "b", 500), xid("4") }), 500, 500),
			`"status":"applied",` + fmt.Sprintf(where, "capture") + `,"from_account":"a","to_account":"b","amount":"5.00","currency":"USD","postings":` + legs + `,"hold_id":"` + id("4") +
				`","reversed":"whole","reversed_amount":"5.00","reversed_postings":[` + posting("a", "5.00") + `,` + posting("b", "-5.00") + `]` + reflects,
		},
		{
			"transaction", whole(contentOf(wallet.TransactionContent, func(c *wallet.Content) {
				c.Postings, c.Reference, c.Metadata = append(pair("a", "b", 500), pair("a", "b", 100)...), "order", wallet.Metadata{"k": "v"}
			}), 600, 600),
			`"status":"applied",` + fmt.Sprintf(where, "transaction") + `,"postings":[` + posting("a", "-5.00") + `,` + posting("b", "5.00") + `,` + posting("a", "-1.00") + `,` + posting("b", "1.00") +
				`],"reference":"order","metadata":{"k":"v"},"reversed":"whole","reversed_postings":[` + posting("a", "6.00") + `,` + posting("b", "-6.00") + `]` + reflects,
		},
		{
			"reversal", whole(contentOf(wallet.ReversalContent, func(c *wallet.Content) { c.Postings, c.Reverses = pair("a", "b", 500), xid("3") })),
			`"status":"applied",` + fmt.Sprintf(where, "reversal") + `,"postings":` + legs + `,"reverses":"` + id("3") + `"` + reflects,
		},
		{
			"hold", whole(contentOf(wallet.HoldContent, func(c *wallet.Content) {
				c.Account, c.Payee, c.Amount, c.Currency, c.Expires = "a", "b", 500, usd, 1e12+1
			})),
			`"status":"applied",` + fmt.Sprintf(where, "hold") + `,"from_account":"a","to_account":"b","amount":"5.00","currency":"USD","expires_at":"2001-09-09T01:46:40.001Z"` + reflects,
		},
		{
			"release", whole(contentOf(wallet.ReleaseContent, func(c *wallet.Content) { c.Account, c.Hold, c.Amount, c.Currency = "a", xid("4"), 500, usd })),
			`"status":"applied",` + fmt.Sprintf(where, "release") + `,"from_account":"a","amount":"5.00","currency":"USD","hold_id":"` + id("4") + `"` + reflects,
		},
		{
			"extension", whole(contentOf(wallet.ExtensionContent, func(c *wallet.Content) { c.Account, c.Hold, c.Expires = "a", xid("4"), 1e12 })),
			`"status":"applied",` + fmt.Sprintf(where, "extension") + `,"from_account":"a","hold_id":"` + id("4") + `","expires_at":"2001-09-09T01:46:40Z"` + reflects,
		},
		{"refused", wallet.Found{Code: wallet.InsufficientFunds}, `"status":"refused","code":"insufficient_funds","content":"none"}`},
		{"behind", wallet.Found{Code: wallet.Pending, Missing: fmt.Errorf("%w: it is at 0:3", wallet.ErrHistoryBehind)}, `"status":"pending","content":"behind","content_detail":"history behind: it is at 0:3"}`},
		{"gap", wallet.Found{Code: wallet.Applied, Missing: fmt.Errorf("%w: it begins later", wallet.ErrHistoryUnavailable)}, `"status":"applied","content":"unavailable","content_detail":"history unavailable: it begins later"}`},
	} {
		t.Run(v.name, func(t *testing.T) {
			r := &remembered{scripted: scripted{code: wallet.Applied}, found: map[wallet.TransactionID]wallet.Found{xid("1"): v.found}}
			h := truthful(t, wallethttp.NewHandler(r, &wallethttp.Options{History: r}))
			e := exchange{v.name, "GET", transactionsPath + "/" + id("1"), "", 200, `{"transaction_id":"` + id("1") + `",` + v.want}
			e.run(t, h)
			server := httptest.NewServer(h)
			defer server.Close()
			c, err := wallethttp.NewClient(server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got, err := c.HistoryFind(t.Context(), &wallet.FindRequest{ID: xid("1"), AtLeast: wallet.HistoryPositions{{Partition: 2, Index: 9}}})
			want := v.found
			if want.Missing != nil {
				if got.Missing == nil || !errors.Is(want.Missing, errors.Unwrap(got.Missing)) {
					t.Errorf("missing: got %v, want %v", got.Missing, want.Missing)
				}
				want.Missing, got.Missing = nil, nil
			}
			if got.Content == nil || got.Original(xid("1")) == nil {
				want.Reversed = nil // which is not told
			}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("the client: %v (-want +got)\n%s", err, diff)
			}
			if r.asked.AtLeast.String() != "2:9" {
				t.Errorf("asked for %+v", r.asked)
			}
		})
	}
}

// TestFoundRequests asks for ids in ways that are refused.
func TestFoundRequests(t *testing.T) {
	r := &remembered{scripted: scripted{code: wallet.Applied}}
	h := truthful(t, wallethttp.NewHandler(r, &wallethttp.Options{History: r}))
	one := "/v1/wallet/transfers/" + id("1")
	for _, path := range []string{
		one + "?content=maybe", one + "?content=", one + "?at_least=7", one + "?content=false&at_least=0:7", "/v1/wallet/transfers/1",
		"/v1/wallet/transactions/1/reversals", "/v1/wallet/transactions/" + id("1") + "/reversals?limit=0", "/v1/wallet/transactions/" + id("1") + "/reversals?cursor=x",
		"/v1/wallet/transactions/" + id("1") + "/reversals?at_least=x",
	} {
		if got := ask(t, h, "GET", path, ""); got.status != 422 || !strings.Contains(got.body, "invalid_request") {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
		}
	}
	if got := ask(t, h, "GET", one, ""); got.status != 404 || !strings.Contains(got.body, "transaction_not_found") {
		t.Errorf("an unknown id: got %d %s", got.status, got.body)
	}
	r.err = fmt.Errorf("%w: it is at 0:3", wallet.ErrHistoryBehind)
	if got := ask(t, h, "GET", one+"?at_least=0:7", ""); got.status != 504 || !strings.Contains(got.body, "history_behind") {
		t.Errorf("behind: got %d %s", got.status, got.body)
	}
	r.err = fmt.Errorf("%w: it begins later", wallet.ErrHistoryUnavailable)
	if got := ask(t, h, "GET", one+"?at_least=0:7", ""); got.status != 410 || !strings.Contains(got.body, "history_unavailable") {
		t.Errorf("unavailable: got %d %s", got.status, got.body)
	}
	c := newClient(t, h, nil)
	if found, err := c.HistoryFind(t.Context(), &wallet.FindRequest{ID: xid("1")}); err != nil || found.Code != wallet.Applied || !errors.Is(found.Missing, wallet.ErrHistoryUnavailable) {
		t.Errorf("only the decision: got %+v, %v", found, err)
	}
	if code, err := c.Decision(t.Context(), xid("1")); err != nil || code != wallet.Applied || len(r.asked.AtLeast) > 0 {
		t.Errorf("got %v, %v", code, err)
	}
}

// TestReversalsClient reads a page of reversals.
func TestReversalsClient(t *testing.T) {
	s := scripted{code: wallet.Applied}
	c := newClient(t, truthful(t, wallethttp.NewHandler(s, &wallethttp.Options{History: s})), nil)
	r := &wallet.ReversalsRequest{ID: xid("1"), Limit: 5, After: line.LineKey, AtLeast: wallet.HistoryPositions{mark.HistoryPosition}}
	got, code, err := c.HistoryReversals(t.Context(), r)
	want, _, _ := s.HistoryReversals(t.Context(), r)
	want.Transactions[0].Number, want.Mark.First = 0, 0 // which are not told
	if diff := cmp.Diff(want, got); diff != "" || err != nil || code != wallet.Applied {
		t.Errorf("got %v, %v (-want +got)\n%s", code, err, diff)
	}
	s.code = wallet.Undecided
	c = newClient(t, truthful(t, wallethttp.NewHandler(s, &wallethttp.Options{History: s})), nil)
	if _, code, err := c.HistoryReversals(t.Context(), r); err != nil || code != wallet.Undecided {
		t.Errorf("an unknown id: got %v, %v", code, err)
	}
	plain := truthful(t, wallethttp.NewHandler(s, nil))
	if got := ask(t, plain, "GET", transactionsPath+"/"+id("1")+"/reversals", ""); got.status != 410 || !strings.Contains(got.body, "history_unavailable") {
		t.Errorf("without a history: got %d %s", got.status, got.body)
	}
}

// TestReversalByID reverses what the history has, by nothing but the id.
func TestReversalByID(t *testing.T) {
	s := newFunded(t)
	r := &remembered{found: map[wallet.TransactionID]wallet.Found{}}
	h := truthful(t, wallethttp.NewHandler(s, &wallethttp.Options{History: r}))
	made := func(n string, kind wallet.ContentKind, amount money.Amount) {
		r.found[xid(n)] = wallet.Found{Code: wallet.Applied, Content: contentOf(kind, func(c *wallet.Content) { c.Postings = pair("a", "b", amount) })}
	}
	made("1", wallet.TransferContent, 200)
	made("2", wallet.TransferContent, 200)
	made("3", wallet.TransferContent, 201) // another than was made
	made("4", wallet.ReversalContent, 200)
	made("5", wallet.TransactionContent, 200)
	r.found[xid("6")] = wallet.Found{Code: wallet.Pending, Content: r.found[xid("1")].Content}
	r.found[xid("7")] = wallet.Found{Code: wallet.Applied, Missing: fmt.Errorf("%w: it begins later", wallet.ErrHistoryUnavailable)}
	r.found[xid("8")] = wallet.Found{Code: wallet.Applied, Missing: fmt.Errorf("%w: it is at 0:3", wallet.ErrHistoryBehind)}
	reversals := func(n string) string { return transactionsPath + "/" + id(n) + "/reversals" }
	success := func(n string) string { return `{"status":"success","transaction_id":"` + n + `"}` }
	refused := func(c, n string) string { return `{"code":"` + c + `","transaction_id":"` + n + `"}` }
	given := wallet.ReversalID(xid("1")).String()
	for _, e := range []exchange{
		{"transfer", "", transferPath, transferBody("a", "b", "2.00", id("1")), 200, success(id("1"))},
		{"transfer", "", transferPath, transferBody("a", "b", "2.00", id("2")), 200, success(id("2"))},
		{"transfer", "", transferPath, transferBody("a", "b", "2.00", id("3")), 200, success(id("3"))},
		{"transaction", "", transactionsPath, `{"transaction_id":"` + id("5") + `","postings":[` + posting("a", "-2.00") + "," + posting("b", "2.00") + `]}`, 200, success(id("5"))},
		{"without a body", "", reversals("1"), "", 200, success(given)},
		{"once more", "", reversals("1"), "{}", 200, success(given)},
		{"a second whole one", "", reversals("1"), `{"transaction_id":"` + id("21") + `"}`, 409, refused("over_reversed", id("21"))},
		{"a part", "", reversals("2"), `{"transaction_id":"` + id("22") + `","amount":"0.50"}`, 200, success(id("22"))},
		{"the rest by postings", "", reversals("2"), `{"transaction_id":"` + id("23") + `","postings":[` + posting("a", "1.50") + "," + posting("b", "-1.50") + `],"reference":"r","metadata":{"k":"v"},"protocol":"saga"}`, 200, success(id("23"))},
		{"a history that is wrong", "", reversals("3"), "", 409, refused("not_reversible", wallet.ReversalID(xid("3")).String())},
		{"said, where the history is wrong", "", reversals("3"), `{"transaction_id":"` + id("24") + `","transfer":{"from_account":"a","to_account":"b","amount":"2.00","currency":"USD"}}`, 200, success(id("24"))},
		{"a reversal", "", reversals("4"), "", 409, `{"code":"not_reversible"}`},
		{"part of a transaction", "", reversals("5"), `{"transaction_id":"` + id("25") + `","postings":[` + posting("a", "1.00") + "," + posting("b", "-1.00") + `]}`, 200, success(id("25"))},
		{"the rest of a transaction between two accounts", "", reversals("5"), `{"transaction_id":"` + id("26") + `","amount":"1.00"}`, 200, success(id("26"))},
		{"no amount", "", reversals("2"), `{"transaction_id":"` + id("27") + `","amount":"0.00"}`, 422, `{"code":"invalid_request"}`},
		{"what is pending", "", reversals("6"), "", 409, `{"code":"not_reversible"}`},
		{"what the history lacks", "", reversals("7"), "", 410, `{"code":"history_unavailable"}`},
		{"what it lacks yet", "", reversals("8"), "", 504, `{"code":"history_behind"}`},
	} {
		e.run(t, h)
	}
	streamed := httptest.NewRequest(http.MethodPost, reversals("1"), http.NoBody)
	streamed.ContentLength = -1
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, streamed); w.Code != 200 || w.Header().Get(wallethttp.ReplayedHeader) != "true" {
		t.Errorf("a body of unknown length that is none: got %d %s", w.Code, w.Body)
	}
	streamed = httptest.NewRequest(http.MethodPost, reversals("2"), strings.NewReader(`{"transaction_id":"`+id("22")+`","amount":"0.50"}`))
	streamed.ContentLength = -1
	streamed.Header.Set("Content-Type", "application/json")
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, streamed); w.Code != 200 || w.Header().Get(wallethttp.ReplayedHeader) != "true" {
		t.Errorf("a body of unknown length: got %d %s", w.Code, w.Body)
	}
	for body, says := range map[string]bool{"": true, `{"transaction_id":"` + id("29") + `"}`: false} {
		if got := ask(t, h, "POST", reversals("3"), body); got.status != 409 || strings.Contains(got.body, "give a new transaction_id") != says {
			t.Errorf("refused with %q: got %d %s; that another id helps is to be said: %v", body, got.status, got.body, says)
		}
	}
	r.found[xid("9")] = wallet.Found{}
	if got := ask(t, h, "POST", reversals("9"), ""); got.status != 404 || !strings.Contains(got.body, "transaction_not_found") {
		t.Errorf("an unknown id: got %d %s", got.status, got.body)
	}
	if got := ask(t, h, "POST", reversals("7"), ""); !strings.Contains(got.body, "say in the request what is to be reversed") {
		t.Errorf("what helps is not said: got %s", got.body)
	}
}

// xid is the transaction id that id writes.
func xid(n string) wallet.TransactionID {
	x, err := wallet.ParseTransactionID(id(n))
	if err != nil {
		panic(err)
	}
	return x
}
