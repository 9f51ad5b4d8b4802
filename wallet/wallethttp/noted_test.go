package wallethttp_test

import (
	"net/http"
	"strings"
	"testing"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// notedBody is a transfer from a to b with notes.
func notedBody(amount, n, notes string) string {
	return strings.TrimSuffix(transferBody("a", "b", amount, id(n)), "}") + "," + notes + "}"
}

// A transfer with a reference or metadata is one like any other: once, compared as a whole, and it can be reversed.
func TestNotedTransfers(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	success := func(n string) string { return `{"status":"success","transaction_id":"` + id(n) + `"}` }
	code := func(c, n string) string { return `{"code":"` + c + `","transaction_id":"` + id(n) + `"}` }
	reversals := func(n string) string { return transactionsPath + "/" + id(n) + "/reversals" }
	of := func(notes string) string {
		return `"transfer":{"from_account":"a","to_account":"b","amount":"10.50","currency":"USD"` + notes + `}`
	}
	const both = `"reference":"order","metadata":{"b":"2","a":"1"}`
	plain := transferBody("a", "b", "1", id("2"))
	same := strings.Replace(notedBody("1", "9", both), `"to_account":"b"`, `"to_account":"a"`, 1)
	for _, e := range []exchange{
		{"made", "", transferPath, notedBody("10.50", "1", both), 200, success("1")},
		{"again, in another order of keys", "", transferPath, notedBody("10.50", "1", `"metadata":{"a":"1","b":"2"},"reference":"order"`), 200, success("1")},
		{"other metadata", "", transferPath, notedBody("10.50", "1", `"reference":"order","metadata":{"a":"1"}`), 409, code("transaction_id_reused", "1")},
		{"other reference", "", transferPath, notedBody("10.50", "1", `"reference":"x","metadata":{"b":"2","a":"1"}`), 409, code("transaction_id_reused", "1")},
		{"other amount", "", transferPath, notedBody("10.51", "1", both), 409, code("transaction_id_reused", "1")},
		{"then plain", "", transferPath, transferBody("a", "b", "10.50", id("1")), 409, code("transaction_id_reused", "1")},
		{"plain", "", transferPath, plain, 200, success("2")},
		{"then with notes", "", transferPath, notedBody("1", "2", both), 409, code("transaction_id_reused", "2")},
		{"no notes are said", "", transferPath, notedBody("1", "2", `"metadata":{}`), 200, success("2")},
		{"too much", "", transferPath, notedBody("5000", "3", both), 422, code("insufficient_funds", "3")},
		{"which stays so", "", transferPath, notedBody("5000", "3", both), 422, code("insufficient_funds", "3")},
		{"zero", "", transferPath, notedBody("0", "4", both), 422, code("amount_not_positive", "4")},
		{"backwards", "", transferPath, notedBody("-1", "4", both), 422, code("amount_not_positive", "4")},
		{"to itself", "", transferPath, same, 422, code("same_account", "9")},
		{"asked", "GET", "/v1/wallet/transfers/" + id("1") + "?content=false", "", 200, `{"transaction_id":"` + id("1") + `","status":"applied"}`},
		{"by saga", "", transferPath, notedBody("1", "5", both+`,"protocol":"saga"`), 200, success("5")},

		{"reversed without its notes", "", reversals("1"), `{"transaction_id":"` + id("20") + `",` + of("") + `}`, 409, code("not_reversible", "20")},
		{"in part", "", reversals("1"), `{"transaction_id":"` + id("21") + `",` + of(","+both) + `,"amount":"0.50"}`, 200, success("21")},
		{"all of it", "", reversals("1"), `{"transaction_id":"` + id("22") + `",` + of(","+both) + `}`, 409, code("over_reversed", "22")},
		{"the rest", "", reversals("1"), `{"transaction_id":"` + id("23") + `",` + of(","+both) + `,"amount":"10.00"}`, 200, success("23")},

		{
			"several", "", "/v1/wallet/balance_transfers",
			batch(transferBody("a", "b", "1", id("30")), notedBody("2", "31", both), notedBody("0", "32", both), notedBody("5000", "33", both), plain, notedBody("2", "31", both), transferBody("b", "a", "3", id("34"))), 200,
			`{"results":[{"transaction_id":"` + id("30") + `","status":"success"},{"transaction_id":"` + id("31") + `","status":"success"},` +
				`{"transaction_id":"` + id("32") + `","status":"refused","code":"amount_not_positive"},{"transaction_id":"` + id("33") + `","status":"refused","code":"insufficient_funds"},` +
				`{"transaction_id":"` + id("2") + `","status":"success","replayed":true},{"transaction_id":"` + id("31") + `","status":"success","replayed":true},{"transaction_id":"` + id("34") + `","status":"success"}]}`,
		},
		{"balances at the end", "GET", "/v1/wallet/accounts/b", "", 200, `{"id":"b","handle":"3","status":"open","balances":[{"currency":"USD","balance":"2.00","held":"0.00","available":"2.00","min_balance":"0.00"}]}`},
	} {
		e.run(t, h)
	}
	if got := ask(t, h, "POST", transferPath, notedBody("10.50", "1", both)); got.header.Get(wallethttp.ReplayedHeader) != "true" {
		t.Errorf("again: got %v", got.header)
	}
}

func TestMalformedNotes(t *testing.T) {
	s := newFunded(t)
	h := truthful(t, wallethttp.NewHandler(s, nil))
	long := strings.Repeat("x", 1025)
	for _, e := range []refused{
		{name: "long reference", body: notedBody("1", "1", `"reference":"`+strings.Repeat("x", 65)+`"`), places: map[string]string{"#/reference": "64 bytes"}},
		{name: "empty reference", body: notedBody("1", "1", `"reference":""`), places: map[string]string{"#/reference": "leave it out"}},
		{name: "large metadata", body: notedBody("1", "1", `"metadata":{"k":"`+long+`"}`), places: map[string]string{"#/metadata": "1024 bytes"}},
		{name: "metadata of numbers", body: notedBody("1", "1", `"metadata":{"k":1}`), places: map[string]string{"#/metadata/k": "not a number"}},
		{name: "two-phase commit", body: notedBody("1", "1", `"reference":"x","protocol":"2pc"`), places: map[string]string{"#/protocol": "not by 2pc"}},
		{
			name: "one of several", path: "/v1/wallet/balance_transfers", body: batch(transferBody("a", "b", "1", id("1")), notedBody("1", "2", `"metadata":{"k":1},"reference":7`)),
			places: map[string]string{"#/transfers/1/metadata/k": "not a number", "#/transfers/1/reference": "not a number"},
		},
		{name: "a capture", path: "/v1/wallet/holds/" + id("1") + "/capture", body: notedBody("1", "2", `"reference":"x"`), places: map[string]string{"#/reference": "not known"}},
	} {
		if e.path == "" {
			e.path = transferPath
		}
		e.status, e.code = 422, "invalid_request"
		t.Run(e.name, func(t *testing.T) { e.run(t, h) })
	}
	nothingMoved(t, s)
	full := notedBody("1", "7", `"metadata":{"k":"`+strings.Repeat(`\u0001`, 1023)+`"}`)
	if got := ask(t, h, "POST", transferPath, full); got.status != http.StatusOK {
		t.Errorf("one of the largest size: got %d %.200s", got.status, got.body)
	}
}

func TestClientNotedTransfers(t *testing.T) {
	c := newClient(t, truthful(t, wallethttp.NewHandler(newFunded(t), nil)), nil)
	tr := wallet.Transfer{ID: tid(1), From: "a", To: "b", Amount: 50, Currency: usd}
	notes := wallet.Notes{Reference: `a "b"`, Metadata: wallet.Metadata{"k": "é"}}
	for _, want := range []wallet.Result{wallet.Result(wallet.Applied), wallet.Repeat(wallet.Applied)} {
		if got, err := c.NotedTransferBy(t.Context(), wallet.Saga, tr, notes); err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	if got, err := c.Transfer(t.Context(), tr); err != nil || got.Code() != wallet.IDReused {
		t.Errorf("plain: got %v, %v", got.Code(), err)
	}
	made, code := tr.Noted(notes)
	if code != wallet.Applied || !made.LikeTransfer() {
		t.Fatal(made, code)
	}
	if got, err := c.Transact(t.Context(), made.Original().ReversePart(tid(2), 20)); err != nil || got.Code() != wallet.Applied {
		t.Errorf("reversed: got %v, %v", got.Code(), err)
	}
}
