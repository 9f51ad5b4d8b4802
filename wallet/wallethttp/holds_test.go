package wallethttp_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

const holdsPath = "/v1/wallet/holds"

// inAnHour is an expiry.
func inAnHour() string { return time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000Z") }

func holdBody(n, account, amount, expires string) string {
	return `{"hold_id":"` + id(n) + `","account":"` + account + `","amount":"` + amount + `","currency":"USD","expires_at":"` + expires + `"}`
}

func accountOf(balance, held, available string) string {
	return `{"id":"a","handle":"2","status":"open","balances":[{"currency":"USD","balance":"` + balance + `","held":"` + held + `","available":"` + available + `","min_balance":"0.00"}]}`
}

// TestHolds is the life of some holds: each answer is what the document says.
func TestHolds(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	expires := inAnHour()
	change := func(n, more string) string { return `{"account":"a","transaction_id":"` + id(n) + `"` + more + `}` }
	final := strings.Replace(transferBody("a", "b", "5.00", id("13")), "{", `{"final":true,`, 1)
	said := func(status, n string) string { return `{"status":"` + status + `","transaction_id":"` + id(n) + `"}` }
	refusedAs := func(code, n string) string { return `{"code":"` + code + `","transaction_id":"` + id(n) + `"}` }
	one := holdsPath + "/" + id("1")
	back := func(n, more string) string {
		return `{"transaction_id":"` + id(n) + `","capture":{"hold_id":"` + id("1") + `","from_account":"a","to_account":"b","amount":"100.00","currency":"USD"}` + more + `}`
	}
	for _, e := range []exchange{
		{"hold", "", holdsPath, holdBody("1", "a", "600.00", expires), 200, said("held", "1")},
		{"again", "", holdsPath, holdBody("1", "a", "600.00", expires), 200, said("held", "1")},
		{"more than is there", "", holdsPath, holdBody("2", "a", "400.01", expires), 422, refusedAs("insufficient_funds", "2")},
		{"other content", "", holdsPath, holdBody("1", "a", "600.01", expires), 409, refusedAs("transaction_id_reused", "1")},
		{"in the past", "", holdsPath, holdBody("3", "a", "1", "2020-01-01T00:00:00Z"), 422, refusedAs("expiry_out_of_range", "3")},
		{"far ahead", "", holdsPath, holdBody("4", "a", "1", "9999-01-01T00:00:00+09:00"), 422, refusedAs("expiry_out_of_range", "4")},
		{"balance", "GET", "/v1/wallet/accounts/a", "", 200, accountOf("1000.00", "600.00", "400.00")},
		{"what became of the id", "GET", "/v1/wallet/transfers/" + id("1") + "?content=false", "", 200, `{"status":"held","transaction_id":"` + id("1") + `"}`},
		{"pay more than is available", "", transferPath, transferBody("a", "b", "400.01", id("10")), 422, refusedAs("insufficient_funds", "10")},
		{"capture", "", one + "/capture", transferBody("a", "b", "100.00", id("11")), 200, said("success", "11")},
		{"capture again", "", one + "/capture", transferBody("a", "b", "100.00", id("11")), 200, said("success", "11")},
		{"capture too much", "", one + "/capture", transferBody("a", "b", "500.01", id("12")), 422, refusedAs("hold_exceeded", "12")},
		{"capture of another's", "", one + "/capture", transferBody("b", "a", "1", id("14")), 409, refusedAs("hold_mismatch", "14")},
		{"capture of none", "", holdsPath + "/" + id("99") + "/capture", transferBody("a", "b", "1", id("15")), 404, refusedAs("unknown_hold", "15")},
		{"release a part", "", one + "/release", change("16", `,"amount":"200.00","currency":"USD"`), 200, said("success", "16")},
		{"extend", "", one + "/extend", change("17", `,"expires_at":"`+expires+`"`), 200, said("success", "17")},
		{"the last capture", "", one + "/capture", final, 200, said("success", "13")},
		{"a capture more", "", one + "/capture", transferBody("a", "b", "1", id("18")), 410, refusedAs("hold_finished", "18")},
		{"a capture back, in part", "", transactionsPath + "/" + id("11") + "/reversals", back("41", `,"amount":"40.00"`), 200, said("success", "41")},
		{"all of it, after a part", "", transactionsPath + "/" + id("11") + "/reversals", back("42", ""), 409, refusedAs("over_reversed", "42")},
		{"as a transfer", "", transactionsPath + "/" + id("11") + "/reversals", strings.Replace(strings.Replace(back("43", ""), "capture", "transfer", 1), `"hold_id":"`+id("1")+`",`, "", 1), 409, refusedAs("not_reversible", "43")},
		{"what was refused", "", transactionsPath + "/" + id("12") + "/reversals", back("44", ""), 409, refusedAs("not_reversible", "44")},
		{"the rest", "", transactionsPath + "/" + id("11") + "/reversals", back("45", `,"amount":"60.00"`), 200, said("success", "45")},
		{"pay again what came back", "", transferPath, transferBody("a", "b", "100.00", id("46")), 200, said("success", "46")},
		{"a finished hold", "GET", one, "", 410, `{"code":"hold_finished"}`},
		{"no hold", "GET", holdsPath + "/" + id("99"), "", 404, `{"code":"unknown_hold"}`},
		{"balance at the end", "GET", "/v1/wallet/accounts/a", "", 200, accountOf("895.00", "0.00", "895.00")},
		{"no account", "GET", "/v1/wallet/accounts/nobody/holds", "", 404, `{"code":"unknown_account"}`},
		{"no holds", "GET", "/v1/wallet/accounts/a/holds", "", 200, `{"holds":[]}`},
		{
			"daily limit", "PUT", "/v1/wallet/accounts/a/daily-limits/USD", `{"amount":"100.00","count":"unlimited"}`, 200,
			strings.Replace(accountOf("895.00", "0.00", "895.00"), `"0.00"}]`, `"0.00","daily_limit":{"amount":"100.00","count":"unlimited","spent":"0.00","spent_count":"0"}}]`, 1),
		},
		{"above it", "", transferPath, transferBody("a", "b", "100.01", id("20")), 422, refusedAs("daily_limit_exceeded", "20")},
		{"no daily limit", "PUT", "/v1/wallet/accounts/a/daily-limits/USD", `{"amount":"unlimited","count":"unlimited"}`, 200, accountOf("895.00", "0.00", "895.00")},
		{"close with a hold", "", holdsPath, holdBody("30", "bank", "1.00", expires), 200, said("held", "30")},
		{"close it", "", "/v1/wallet/accounts/bank/close", "", 409, `{"code":"holds_open"}`},
	} {
		e.run(t, h)
	}
}

func TestMalformedHolds(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	good := holdBody("1", "a", "1.00", "2026-12-31T23:59:59.999Z")
	bad := func(old, replacement string) string { return strings.Replace(good, old, replacement, 1) }
	one := holdsPath + "/" + id("1")
	for _, e := range []refused{
		{name: "nothing", path: holdsPath, body: "{}", places: map[string]string{
			"#/hold_id": "missing", "#/account": "missing", "#/amount": "missing", "#/currency": "missing", "#/expires_at": "missing",
		}},
		{name: "microseconds", path: holdsPath, body: bad("59.999Z", "59.9991Z"), places: map[string]string{"#/expires_at": "three decimal places"}},
		{name: "no time", path: holdsPath, body: bad("2026-12-31T23:59:59.999Z", "tomorrow"), places: map[string]string{"#/expires_at": "RFC 3339"}},
		{name: "a local time", path: holdsPath, body: bad("59.999Z", "59.999"), places: map[string]string{"#/expires_at": "RFC 3339"}},
		{name: "too precise", path: holdsPath, body: bad("1.00", "1.001"), places: map[string]string{"#/amount": "decimal places"}},
		{name: "no payee", path: holdsPath, body: bad("{", `{"payee":"/",`), places: map[string]string{"#/payee": "1 to 64"}},
		{name: "hold in the path", path: holdsPath + "/1/capture", body: transferBody("a", "b", "1", id("2")), places: map[string]string{"hold_id": "UUID"}},
		{name: "final text", path: one + "/capture", body: strings.Replace(transferBody("a", "b", "1", id("2")), "{", `{"final":"true",`, 1), places: map[string]string{"#/final": "must be true or false, not a string"}},
		{name: "final null", path: one + "/capture", body: strings.Replace(transferBody("a", "b", "1", id("2")), "{", `{"final":null,`, 1), places: map[string]string{"#/final": "not null"}},
		{name: "release nothing", path: one + "/release", body: `{"account":"a","currency":"USD","amount":"0","transaction_id":"` + id("2") + `"}`, places: map[string]string{"#/amount": "leave it out"}},
		{name: "cursor", method: "GET", path: "/v1/wallet/accounts/a/holds?after=x", places: map[string]string{"after": "next of another page"}},
		{name: "limit", method: "GET", path: "/v1/wallet/accounts/a/holds?limit=1001", places: map[string]string{"limit": "from 1 to 1000"}},
		{name: "daily limit of zero", method: "PUT", path: "/v1/wallet/accounts/a/daily-limits/USD", body: `{"amount":"0","count":"0"}`, places: map[string]string{"#/amount": "more than zero", "#/count": "from 1"}},
		{name: "daily limit of nothing", method: "PUT", path: "/v1/wallet/accounts/a/daily-limits/USD", body: `{"amount":"","count":""}`, places: map[string]string{"#/amount": "not a decimal", "#/count": "from 1"}},
	} {
		t.Run(e.name, func(t *testing.T) {
			e.status, e.code = 422, "invalid_request"
			e.run(t, h)
		})
	}
}

// TestClientHolds does with the client what the service does.
func TestClientHolds(t *testing.T) {
	server := httptest.NewServer(truthful(t, wallethttp.NewHandler(newFunded(t), nil)))
	defer server.Close()
	c, err := wallethttp.NewClient(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, expires := t.Context(), wallet.Millis(time.Now().Add(time.Hour).UnixMilli())
	want := map[wallet.TransactionID]wallet.Hold{}
	for n := range byte(5) {
		h := wallet.NewHold{ID: tid(10 + n), Account: "a", Payee: "b", Amount: 100, Currency: usd, Expires: expires}
		for i := range 2 {
			r, err := c.PlaceHold(ctx, h)
			if err != nil || r.Code() != wallet.Held || r.Repeated() != (i == 1) {
				t.Fatalf("hold: %v, %v, %v", r.Code(), r.Repeated(), err)
			}
		}
		pay := wallet.Capture{Transfer: wallet.Transfer{ID: tid(20 + n), From: "a", To: "b", Amount: 30, Currency: usd}, Hold: h.ID}
		if r, err := c.Capture(ctx, pay); err != nil || r.Code() != wallet.Applied {
			t.Fatalf("capture: %v, %v", r.Code(), err)
		}
		if r, err := c.Release(ctx, wallet.Release{ID: tid(30 + n), Hold: h.ID, Account: "a", Amount: 20, Currency: usd}); err != nil || r.Code() != wallet.Applied {
			t.Fatalf("release: %v, %v", r.Code(), err)
		}
		if r, err := c.Extend(ctx, wallet.Extend{ID: tid(40 + n), Hold: h.ID, Account: "a", Expires: expires + 1}); err != nil || r.Code() != wallet.Applied {
			t.Fatalf("extend: %v, %v", r.Code(), err)
		}
		got, code, err := c.Hold(ctx, h.ID)
		if err != nil || code != wallet.Applied {
			t.Fatalf("the hold: %v, %v", code, err)
		}
		want[h.ID] = wallet.Hold{ID: h.ID, Account: "a", Payee: "b", Currency: usd, Amount: 100, Left: 50, Captured: 30, PlacedAt: got.PlacedAt, Expires: expires + 1}
		if diff := cmp.Diff(want[h.ID], got); diff != "" {
			t.Errorf("the hold (-want +got):\n%s", diff)
		}
	}
	got := map[wallet.TransactionID]wallet.Hold{}
	pages := 0
	for after, more := (wallet.HoldCursor{}), true; more; pages++ {
		list, code, err := c.Holds(ctx, "a", after, 2)
		if err != nil || code != wallet.Applied {
			t.Fatalf("holds: %v, %v", code, err)
		}
		for _, h := range list.Holds {
			got[h.ID] = h
		}
		after, more = list.Next, list.More
	}
	if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
		t.Errorf("the holds in %d pages (-want +got):\n%s", pages, diff)
	}
	a, code, err := c.SetDailyLimit(ctx, "a", usd, wallet.DailyLimit{Amount: 1000, Count: 7})
	if err != nil || code != wallet.Applied {
		t.Fatal(code, err)
	}
	balance := wallet.Balance{Currency: usd, Amount: 1000_00 - 150, Held: 250, Daily: wallet.Daily{Limit: wallet.DailyLimit{Amount: 1000, Count: 7}}}
	if diff := cmp.Diff([]wallet.Balance{balance}, a.Balances); diff != "" {
		t.Errorf("the balance (-want +got):\n%s", diff)
	}
	if r, err := c.Release(ctx, wallet.Release{ID: tid(50), Hold: tid(10), Account: "a", Currency: usd}); err != nil || r.Code() != wallet.Applied {
		t.Errorf("release all: %v, %v", r.Code(), err)
	}
	if _, code, err := c.Hold(ctx, tid(10)); err != nil || code != wallet.HoldFinished {
		t.Errorf("the released hold: %v, %v", code, err)
	}
	if decided, err := c.Decision(ctx, tid(10)); err != nil || decided != wallet.Held {
		t.Errorf("what was decided of its id: %v, %v", decided, err)
	}
	last := wallet.Capture{Transfer: wallet.Transfer{ID: tid(51), From: "a", To: "b", Amount: 1, Currency: usd}, Hold: tid(11), Final: true}
	if r, err := c.Capture(ctx, last); err != nil || r.Code() != wallet.Applied {
		t.Errorf("the last capture: %v, %v", r.Code(), err)
	}
	if _, code, err := c.Hold(ctx, tid(11)); err != nil || code != wallet.HoldFinished {
		t.Errorf("the captured hold: %v, %v", code, err)
	}
	if _, code, err := c.Holds(ctx, "nobody", wallet.HoldCursor{}, 2); err != nil || code != wallet.UnknownAccount {
		t.Errorf("holds of nobody: %v, %v", code, err)
	}
}
