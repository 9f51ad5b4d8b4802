package wallethttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

const transactionsPath = "/v1/wallet/transactions"

func posting(account, amount string) string {
	return `{"account":"` + account + `","amount":"` + amount + `","currency":"USD"}`
}

func transactionBody(n string, postings ...string) string {
	return `{"transaction_id":"` + id(n) + `","postings":[` + strings.Join(postings, ",") + `],"reference":"order","metadata":{"b":"2","a":"1"}}`
}

func TestTransactions(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	made := transactionBody("1", posting("a", "-10.50"), posting("b", "10.00"), posting("bank", "0.50"))
	success := func(n string) string { return `{"status":"success","transaction_id":"` + id(n) + `"}` }
	code := func(c, n string) string { return `{"code":"` + c + `","transaction_id":"` + id(n) + `"}` }
	reversals := func(n string) string { return transactionsPath + "/" + id(n) + "/reversals" }
	transfer := `"transfer":{"from_account":"a","to_account":"b","amount":"2.00","currency":"USD"}`
	original := `"transaction":` + strings.Replace(made, `"transaction_id":"`+id("1")+`",`, "", 1)
	for _, e := range []exchange{
		{"made", "", transactionsPath, made, 200, success("1")},
		{"again, in another order of keys", "", transactionsPath, strings.Replace(made, `"b":"2","a":"1"`, `"a":"1","b":"2"`, 1), 200, success("1")},
		{"other metadata", "", transactionsPath, strings.Replace(made, `"a":"1"`, `"a":"2"`, 1), 409, code("transaction_id_reused", "1")},
		{"a transfer with its id", "", transferPath, transferBody("a", "b", "10.50", id("1")), 409, code("transaction_id_reused", "1")},
		{"unbalanced", "", transactionsPath, transactionBody("2", posting("a", "-10.50"), posting("b", "10.00")), 422, code("unbalanced", "2")},
		{"too much", "", transactionsPath, transactionBody("3", posting("b", "-10.01"), posting("a", "10.01")), 422, code("insufficient_funds", "3")},
		{"unknown", "", transactionsPath, transactionBody("4", posting("a", "-1"), posting("x", "1")), 404, code("unknown_account", "4")},
		{"asked", "GET", transactionsPath + "/" + id("1"), "", 200, `{"transaction_id":"` + id("1") + `","status":"applied","content":"unavailable","content_detail":"history unavailable: the server keeps none"}`},
		{"asked as a transfer", "GET", "/v1/wallet/transfers/" + id("3"), "", 200, `{"transaction_id":"` + id("3") + `","status":"refused","code":"insufficient_funds","content":"unavailable","content_detail":"history unavailable: the server keeps none"}`},
		{"asked for nothing", "GET", transactionsPath + "/" + id("9"), "", 404, code("transaction_not_found", "9")},
		{"transfer", "", transferPath, transferBody("a", "b", "2.00", id("20")), 200, success("20")},
		{"part of a transfer", "", reversals("20"), `{"transaction_id":"` + id("21") + `",` + transfer + `,"amount":"0.50"}`, 200, success("21")},
		{"all of it", "", reversals("20"), `{"transaction_id":"` + id("22") + `",` + transfer + `}`, 409, code("over_reversed", "22")},
		{"the rest by postings", "", reversals("20"), `{"transaction_id":"` + id("23") + `",` + transfer + `,"postings":[` + posting("a", "1.50") + "," + posting("b", "-1.50") + `]}`, 200, success("23")},
		{"what was not made", "", reversals("20"), strings.Replace(`{"transaction_id":"`+id("24")+`",`+transfer+`}`, "2.00", "3.00", 1), 409, code("not_reversible", "24")},
		{"a transaction in part", "", reversals("1"), `{"transaction_id":"` + id("25") + `",` + original + `,"postings":[` + posting("b", "-1") + "," + posting("a", "1") + `]}`, 200, success("25")},
		{"a transaction as a whole", "", reversals("1"), `{"transaction_id":"` + id("26") + `",` + original + `}`, 409, code("over_reversed", "26")},
		{"balances at the end", "GET", "/v1/wallet/accounts/b", "", 200, `{"id":"b","handle":"3","status":"open","balances":[{"currency":"USD","balance":"9.00","held":"0.00","available":"9.00","min_balance":"0.00"}]}`},
	} {
		e.run(t, h)
	}
}

func TestMalformedTransactions(t *testing.T) {
	s := newFunded(t)
	h := truthful(t, wallethttp.NewHandler(s, nil))
	good := transactionBody("1", posting("a", "-1"), posting("b", "1"))
	back := transactionsPath + "/" + id("1") + "/reversals"
	transfer := `"transfer":{"from_account":"a","to_account":"b","amount":"2.00","currency":"USD"}`
	newID := `{"transaction_id":"` + id("2") + `"`
	with := func(old, replacement string) string { return strings.Replace(good, old, replacement, 1) }
	many := make([]string, 65)
	for i := range many {
		many[i] = posting("a", fmt.Sprint(i+1))
	}
	places := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for _, e := range []refused{
		{name: "empty object", body: "{}", places: places("#/transaction_id", "is missing", "#/postings", "is missing")},
		{name: "one posting", body: transactionBody("1", posting("a", "1")), places: places("#", "2 to 64 postings")},
		{name: "65 postings", body: transactionBody("1", many...), places: places("#/postings/64", "2 to 64 postings")},
		{name: "a number", body: transactionBody("1", "1", posting("a", "1")), places: places("#/postings/0", "not a number")},
		{name: "zero", body: with(`"1","currency"`, `"0","currency"`), places: places("#/postings/1/amount", "not zero")},
		{name: "too precise", body: with(`"-1"`, `"-1.001"`), places: places("#/postings/0/amount", "decimal places")},
		{name: "account", body: with(`"account":"b"`, `"account":"b b"`), places: places("#/postings/1/account", "1 to 64")},
		{name: "currency", body: with("USD", "ZZZ"), places: places("#/postings/0/currency", "unknown currency")},
		{name: "unknown member of a posting", body: with(`{"account"`, `{"side":"debit","account"`), places: places("#/postings/0/side", "not known")},
		{name: "long reference", body: with(`"order"`, `"`+strings.Repeat("x", 65)+`"`), places: places("#/reference", "64 bytes")},
		{name: "empty reference", body: with(`"order"`, `""`), places: places("#/reference", "leave it out")},
		{name: "metadata of numbers", body: with(`"b":"2"`, `"b":2`), places: places("#/metadata/b", "not a number")},
		{name: "metadata twice", body: with(`"b":"2"`, `"a":"2"`), places: places("#/metadata/a", "twice")},
		{name: "no metadata", body: with(`{"b":"2","a":"1"}`, `[]`), places: places("#/metadata", "not an array")},
		{name: "large metadata", body: with(`"b":"2"`, `"b":"`+strings.Repeat("x", 1023)+`"`), places: places("#/metadata", "1024 bytes")},
		{name: "no key", body: with(`"b":"2"`, `"":"2"`), places: places("#/metadata", "1 to 64")},
		{name: "two-phase commit", body: with("{", `{"protocol":"2pc",`), places: places("#/protocol", "not by 2pc")},
		{name: "id", body: with(id("1"), "1"), places: places("#/transaction_id", "is a UUID")},
		{name: "too large", body: good + strings.Repeat(" ", wallethttp.MaxTransactionBytes), status: 413, code: "body_too_large"},

		{name: "a part without an id", path: back, body: `{` + transfer + `,"amount":"1.00"}`, places: places("#/transaction_id", "only a whole reversal")},
		{name: "postings without an id", path: back, body: `{` + transfer + `,"postings":[` + posting("a", "1") + "," + posting("b", "-1") + `]}`, places: places("#/transaction_id", "only a whole reversal")},
		{name: "reverses two", path: back, body: newID + "," + transfer + `,"transaction":{"postings":[]}}`, places: places("#/transaction", "beside the other")},
		{name: "amount of a transaction", path: back, body: newID + `,"amount":"1.00","transaction":{"postings":[` + posting("a", "2") + "," + posting("b", "-1") + "," + posting("c", "-1") + `]}}`, places: places("#/amount", "between two accounts")},
		{name: "negative amount", path: back, body: newID + "," + transfer + `,"amount":"-1.00"}`, places: places("#/amount", "more than zero")},
		{name: "amount and postings", path: back, body: newID + "," + transfer + `,"amount":"1.00","postings":[` + posting("a", "1") + "," + posting("b", "-1") + `]}`, places: places("#/amount", "not beside postings")},
		{name: "transfer of nothing", path: back, body: newID + "," + strings.Replace(transfer, "2.00", "0.00", 1) + `}`, places: places("#/transfer/amount", "more than zero")},
		{name: "transfer without currency", path: back, body: newID + "," + strings.Replace(transfer, `,"currency":"USD"`, "", 1) + `}`, places: places("#/transfer/currency", "is missing")},
		{name: "capture of no hold", path: back, body: newID + "," + strings.Replace(transfer, "transfer", "capture", 1) + `}`, places: places("#/capture/hold_id", "is missing")},
		{name: "capture of a text", path: back, body: newID + "," + strings.Replace(transfer, `"transfer":{`, `"capture":{"hold_id":"x",`, 1) + `}`, places: places("#/capture/hold_id", "is a UUID")},
		{name: "capture and transfer", path: back, body: newID + "," + transfer + "," + strings.Replace(transfer, `"transfer":{`, `"capture":{"hold_id":"`+id("3")+`",`, 1) + `}`, places: places("#/capture", "beside the other")},
		{name: "a text", path: back, body: newID + `,"transfer":"x"}`, places: places("#/transfer", "not a string")},
		{name: "posting of an original", path: back, body: newID + `,"transaction":{"postings":[` + posting("a", "0") + "," + posting("b", "-1") + `]}}`, places: places("#/transaction/postings/0/amount", "not zero")},
		{name: "path", path: transactionsPath + "/1/reversals", body: newID + "}", places: places("transaction_id", "is a UUID")},
	} {
		if e.path == "" {
			e.path = transactionsPath
		}
		if e.status == 0 {
			e.status, e.code = 422, "invalid_request"
		}
		t.Run(e.name, func(t *testing.T) { e.run(t, h) })
	}
	nothingMoved(t, s)

	long := strings.Repeat("x", wallet.MaxAccountIDBytes)
	for i := range many {
		many[i] = posting(long, "-92233720368547758.07")
	}
	full := strings.Replace(transactionBody("7", many[:64]...), `"b":"2"`, `"b":"`+strings.Repeat("\U0001F600", 250)+`"`, 1)
	if got := ask(t, h, "POST", transactionsPath, full); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `"overflow"`) {
		t.Errorf("one of the largest size: got %d %.200s", got.status, got.body)
	}
}

func TestClientTransactions(t *testing.T) {
	c := newClient(t, truthful(t, wallethttp.NewHandler(newFunded(t), nil)), nil)
	tx := &wallet.Transaction{
		ID: tid(1), Postings: []wallet.Posting{{Account: "a", Amount: -100, Currency: usd}, {Account: "b", Amount: 100, Currency: usd}},
		Reference: "order", Metadata: wallet.Metadata{"k": "v"},
	}
	tr := wallet.Transfer{ID: tid(2), From: "a", To: "b", Amount: 50, Currency: usd}
	if r, err := c.Transfer(t.Context(), tr); err != nil || r.Code() != wallet.Applied {
		t.Fatal(r, err)
	}
	of := wallet.OriginalTransfer(&tr)
	for _, test := range []struct {
		name string
		t    *wallet.Transaction
		want wallet.Result
	}{
		{"made", tx, wallet.Result(wallet.Applied)},
		{"again", tx, wallet.Repeat(wallet.Applied)},
		{"reversed", tx.Original().Reverse(tid(3)), wallet.Result(wallet.Applied)},
		{"reversed again", tx.Original().Reverse(tid(4)), wallet.Result(wallet.OverReversed)},
		{"a part of a transfer", of.ReversePart(tid(5), 20), wallet.Result(wallet.Applied)},
		{"the whole transfer", of.Reverse(tid(6)), wallet.Result(wallet.OverReversed)},
		{"too much", &wallet.Transaction{ID: tid(7), Postings: []wallet.Posting{{Account: "b", Amount: -100, Currency: usd}, {Account: "a", Amount: 100, Currency: usd}}}, wallet.Result(wallet.InsufficientFunds)},
	} {
		if got, err := c.TransactBy(t.Context(), wallet.Saga, test.t); err != nil || got != test.want {
			t.Errorf("%s: got %v, %v, want %v", test.name, got.Code(), err, test.want.Code())
		}
	}
	if _, err := c.Transact(t.Context(), &wallet.Transaction{ID: tid(8)}); err == nil {
		t.Error("no postings: no error")
	}
	a, _, err := c.Account(t.Context(), "b")
	if diff := cmp.Diff([]money.Amount{30}, []money.Amount{a.Balances[0].Amount}); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
