package wallethttp_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// hooks answers everything with a webhook or an error.
type hooks struct{ err error }

var (
	hookTime = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	hook     = wallet.WebhookState{
		Webhook: wallet.Webhook{
			ID: "wh_4f1c8a03b7d29e56", Tenant: wallet.DefaultTenant, URL: "https://example.com/", Note: "é", Kinds: []wallet.EventKind{wallet.Debit, wallet.Credit},
			Accounts: []wallet.AccountID{"a"}, Thresholds: []wallet.Threshold{{Account: "a", Currency: usd, Amount: -5}, {Account: "b", Currency: usd, Amount: 7, Above: true}},
			Secrets: []wallet.WebhookSecret{{Key: []byte{1, 2, 255}}}, Enabled: true, Created: hookTime, Revision: 1,
		},
		Lanes: []wallet.WebhookLane{{GapTo: 4}, {
			Partition: 1, Next: wallet.EventPosition{Index: 7}, Attempts: 2, NextAttempt: hookTime, LastError: "500", LastSuccess: hookTime, FailingSince: hookTime, GapTo: 9,
		}},
	}
	tried  = wallet.WebhookAttempt{Time: hookTime, Message: "evt_0-7-1", Kind: "credit", Try: 2, Status: 500, Latency: 12 * time.Millisecond, Error: "500"}
	buried = wallet.DeadLetter{Message: "evt_0-7-1", Kind: "credit", Time: hookTime, Attempts: 9, Error: "500", Body: []byte(`{"type":"credit"}`)}
)

func (h hooks) CreateWebhook(context.Context, wallet.Tenant, *wallet.NewWebhook) (wallet.WebhookState, error) {
	return hook, h.err
}

func (h hooks) Webhooks(context.Context, wallet.Tenant) ([]wallet.WebhookState, error) {
	return []wallet.WebhookState{hook}, h.err
}

func (h hooks) Webhook(context.Context, wallet.Tenant, wallet.WebhookID) (wallet.WebhookState, error) {
	return hook, h.err
}

func (h hooks) UpdateWebhook(context.Context, wallet.Tenant, wallet.WebhookID, *wallet.WebhookChange) (wallet.WebhookState, error) {
	return hook, h.err
}

func (h hooks) DeleteWebhook(context.Context, wallet.Tenant, wallet.WebhookID) error { return h.err }

func (h hooks) RotateWebhook(context.Context, wallet.Tenant, wallet.WebhookID, time.Duration) (wallet.WebhookState, error) {
	return hook, h.err
}

func (h hooks) ReplayWebhook(context.Context, wallet.Tenant, wallet.WebhookID, *wallet.WebhookFrom) (wallet.WebhookState, error) {
	return hook, h.err
}

func (h hooks) TestWebhook(context.Context, wallet.Tenant, wallet.WebhookID) (wallet.WebhookAttempt, error) {
	return tried, h.err
}

func (h hooks) WebhookAttempts(context.Context, wallet.Tenant, wallet.WebhookID, int) ([]wallet.WebhookAttempt, error) {
	return []wallet.WebhookAttempt{tried}, h.err
}

func (h hooks) DeadLetters(context.Context, wallet.Tenant, wallet.WebhookID, string, int) ([]wallet.DeadLetter, error) {
	return []wallet.DeadLetter{buried}, h.err
}

func (h hooks) Redeliver(context.Context, wallet.Tenant, wallet.WebhookID, string) (wallet.WebhookAttempt, error) {
	return tried, h.err
}

// heard notes what it is asked for.
type heard struct {
	hooks
	got any
}

func (h *heard) CreateWebhook(_ context.Context, _ wallet.Tenant, n *wallet.NewWebhook) (wallet.WebhookState, error) {
	h.got = *n
	return hook, nil
}

func (h *heard) UpdateWebhook(_ context.Context, _ wallet.Tenant, _ wallet.WebhookID, c *wallet.WebhookChange) (wallet.WebhookState, error) {
	h.got = *c
	return hook, nil
}

func (h *heard) RotateWebhook(_ context.Context, _ wallet.Tenant, _ wallet.WebhookID, overlap time.Duration) (wallet.WebhookState, error) {
	h.got = overlap
	return hook, nil
}

func (h *heard) ReplayWebhook(_ context.Context, _ wallet.Tenant, _ wallet.WebhookID, from *wallet.WebhookFrom) (wallet.WebhookState, error) {
	h.got = *from
	return hook, nil
}

const hookPath = "/v1/wallet/webhooks/wh_4f1c8a03b7d29e56"

func TestWebhookRequests(t *testing.T) {
	h := &heard{}
	handler := truthful(t, wallethttp.NewHandler(scripted{code: wallet.Applied}, &wallethttp.Options{Webhooks: h}))
	low := wallet.Threshold{Account: "a", Currency: usd, Amount: -150}
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		want                     any    // what is asked for
		text                     string // in the answer
	}{
		{
			"the least", "POST", "/v1/wallet/webhooks", `{"url":"https://example.com/"}`, 201,
			wallet.NewWebhook{URL: "https://example.com/"},
			`"secret":"whsec_AQL/"`,
		},
		{
			"everything", "POST", "/v1/wallet/webhooks", `{"url":"https://example.com/","note":"n","kinds":["debit","account_opened"],"accounts":["a","b"],` +
				`"thresholds":[{"account":"a","currency":"USD","side":"below","amount":"-1.50"}],"enabled":false,"from":"oldest"}`, 201,
			wallet.NewWebhook{
				URL: "https://example.com/", Note: "n", Kinds: []wallet.EventKind{wallet.Debit, wallet.AccountOpened}, Accounts: []wallet.AccountID{"a", "b"},
				Thresholds: []wallet.Threshold{low}, Disabled: true, From: wallet.WebhookFrom{Oldest: true},
			},
			`"state":"gap"`,
		},
		{"no address", "POST", "/v1/wallet/webhooks", `{}`, 422, nil, `#/url`},
		{"an unknown kind", "POST", "/v1/wallet/webhooks", `{"url":"https://a/","kinds":["debit","x"]}`, 422, nil, `#/kinds/1`},
		{"an account that is none", "POST", "/v1/wallet/webhooks", `{"url":"https://a/","accounts":[7]}`, 422, nil, `#/accounts/0`},
		{"a threshold without a side", "POST", "/v1/wallet/webhooks", `{"url":"https://a/","thresholds":[{"account":"a","currency":"USD","side":"","amount":"1"}]}`, 422, nil, `#/thresholds/0/side`},
		{"too fine an amount", "POST", "/v1/wallet/webhooks", `{"url":"https://a/","thresholds":[{"account":"a","currency":"USD","side":"above","amount":"1.001"}]}`, 422, nil, `#/thresholds/0/amount`},
		{"from nowhere", "POST", "/v1/wallet/webhooks", `{"url":"https://a/","from":"yesterday"}`, 422, nil, `#/from`},
		{"a change of one", "PATCH", hookPath, `{"enabled":true}`, 200, wallet.WebhookChange{Enabled: new(true)}, `"state":"gap"`},
		{
			"a change to none", "PATCH", hookPath, `{"accounts":[],"thresholds":[]}`, 200,
			wallet.WebhookChange{Accounts: new([]wallet.AccountID(nil)), Thresholds: new([]wallet.Threshold(nil))},
			`"state":"gap"`,
		},
		{"a place is not for a change", "PATCH", hookPath, `{"from":"now"}`, 422, nil, `#/from`},
		{"rotate", "POST", hookPath + "/rotate", `{}`, 200, 24 * time.Hour, `"secret":"whsec_AQL/"`},
		{"rotate at once", "POST", hookPath + "/rotate", `{"overlap_hours":0}`, 200, time.Duration(0), `"secret":"whsec_AQL/"`},
		{"rotate in a year", "POST", hookPath + "/rotate", `{"overlap_hours":721}`, 422, nil, `#/overlap_hours`},
		{"replay a time", "POST", hookPath + "/replay", `{"from":"2026-11-30T13:00:00+01:00"}`, 200, wallet.WebhookFrom{Time: hookTime}, `"state":"gap"`},
		{
			"replay positions", "POST", hookPath + "/replay", `{"from":"0:5,3:7"}`, 200,
			wallet.WebhookFrom{Positions: wallet.HistoryPositions{{Index: 5}, {Partition: 3, Index: rsm.Index(7)}}},
			`"state":"gap"`,
		},
		{"replay nothing", "POST", hookPath + "/replay", `{"from":""}`, 422, nil, `#/from`},
		{"show", "GET", hookPath, "", 200, nil, `"gap_to":"1:9"`},
		{"an id that is none", "GET", "/v1/wallet/webhooks/7", "", 422, nil, `webhook_id`},
		{"attempts", "GET", hookPath + "/attempts?limit=1", "", 200, nil, `"latency_ms":12`},
		{"too many attempts", "GET", hookPath + "/attempts?limit=1000", "", 422, nil, `limit`},
		{"dead letters", "GET", hookPath + "/dead-letters?limit=1", "", 200, nil, `"body":{"type":"credit"}}],"next":"evt_0-7-1"`},
		{"delete", "DELETE", hookPath, "", 200, nil, `deleted`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.got = nil
			a := ask(t, handler, tt.method, tt.path, tt.body)
			if a.status != tt.status || !strings.Contains(a.body, tt.text) {
				t.Errorf("got %d %s, want %d with %s", a.status, a.body, tt.status, tt.text)
			}
			if tt.method == "GET" && strings.Contains(a.body, "whsec_") {
				t.Errorf("the secret is shown: %s", a.body)
			}
			if diff := cmp.Diff(tt.want, h.got); diff != "" {
				t.Errorf("what is asked for (-want +got):\n%s", diff)
			}
		})
	}
}

// A client asks and hears the same as a program beside the wallet.
func TestWebhookClient(t *testing.T) {
	h := &heard{}
	server := httptest.NewServer(wallethttp.NewHandler(scripted{code: wallet.Applied}, &wallethttp.Options{Webhooks: h}))
	defer server.Close()
	c, err := wallethttp.NewClient(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	shown, told := hook, hook // what a client hears: no revision, no tenant, and the secret where it is told
	shown.Tenant, shown.Revision, shown.Secrets = "", 0, nil
	told.Tenant, told.Revision = "", 0
	check := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	n := &wallet.NewWebhook{
		URL: hook.URL, Note: hook.Note, Kinds: hook.Kinds, Accounts: hook.Accounts, Thresholds: hook.Thresholds, Disabled: true,
		From: wallet.WebhookFrom{Positions: wallet.HistoryPositions{{Index: 5}, {Partition: 1, Index: 7}}},
	}
	w, err := c.CreateWebhook(ctx, n)
	check("create", w, told, err)
	check("create as it was heard", h.got, *n, nil)
	all, err := c.Webhooks(ctx)
	check("list", all, []wallet.WebhookState{shown}, err)
	w, err = c.Webhook(ctx, hook.ID)
	check("show", w, shown, err)
	change := &wallet.WebhookChange{URL: new("https://b/"), Kinds: &n.Kinds, Accounts: new([]wallet.AccountID(nil)), Thresholds: &n.Thresholds, Enabled: new(false)}
	w, err = c.UpdateWebhook(ctx, hook.ID, change)
	check("update", w, shown, err)
	check("update as it was heard", h.got, *change, nil)
	w, err = c.RotateWebhook(ctx, hook.ID, 0)
	check("rotate", w, told, err)
	check("rotate as it was heard", h.got, time.Duration(0), nil)
	w, err = c.ReplayWebhook(ctx, hook.ID, &wallet.WebhookFrom{Time: hookTime})
	check("replay", w, shown, err)
	check("replay as it was heard", h.got, wallet.WebhookFrom{Time: hookTime}, nil)
	a, err := c.TestWebhook(ctx, hook.ID)
	check("test", a, tried, err)
	a, err = c.Redeliver(ctx, hook.ID, buried.Message)
	check("redeliver", a, tried, err)
	attempts, err := c.WebhookAttempts(ctx, hook.ID, 5)
	check("attempts", attempts, []wallet.WebhookAttempt{tried}, err)
	letters, err := c.DeadLetters(ctx, hook.ID, "evt_0-1-0", 5)
	check("dead letters", letters, []wallet.DeadLetter{buried}, err)
	check("delete", nil, nil, c.DeleteWebhook(ctx, hook.ID))
}

func TestMessageData(t *testing.T) {
	usdLow := &wallet.Threshold{Account: "a", Currency: usd, Amount: 500}
	for _, tt := range []struct {
		name    string
		message wallet.WebhookMessage
		want    string
	}{
		{
			"a credit",
			wallet.WebhookMessage{Event: wallet.Event{Kind: wallet.Credit, Account: 1, Other: 2, ID: tid(1), Amount: 250, Balance: 400, Currency: usd}},
			`{"account":"a","transaction_id":"` + tid(1).String() + `","kind":"credit","time":"2001-09-09T01:46:40Z","amount":"2.50","balance":"4.00","currency":"USD","counterparty":"b","counterparty_handle":"2","position":"3:7","number":4}`,
		},
		{
			"a threshold",
			wallet.WebhookMessage{Threshold: usdLow, Event: wallet.Event{Kind: wallet.Debit, Account: 1, Other: 9, ID: tid(1), Amount: -250, Balance: 400, Currency: usd}},
			`{"account":"a","transaction_id":"` + tid(1).String() + `","kind":"debit","time":"2001-09-09T01:46:40Z","amount":"-2.50","balance":"4.00","currency":"USD","counterparty_handle":"9","position":"3:7","number":4,"threshold":{"side":"below","amount":"5.00","balance_before":"6.50"}}`,
		},
		{
			"an account",
			wallet.WebhookMessage{Event: wallet.Event{Kind: wallet.AccountOpened, Account: 1, Name: "a", Currency: usd, Min: wallet.Unlimited}},
			`{"account":"a","kind":"account_opened","time":"2001-09-09T01:46:40Z","currency":"USD","position":"3:7","number":4}`,
		},
		{
			"a status",
			wallet.WebhookMessage{Event: wallet.Event{Kind: wallet.StatusChanged, Name: "a", Status: wallet.Frozen}},
			`{"account":"a","kind":"status_changed","time":"2001-09-09T01:46:40Z","status":"frozen","position":"3:7","number":4}`,
		},
		{
			"a refusal",
			wallet.WebhookMessage{Event: wallet.Event{Kind: wallet.TransferFailed, ID: tid(1), Code: wallet.InsufficientFunds}},
			`{"transaction_id":"` + tid(1).String() + `","kind":"transfer_failed","time":"2001-09-09T01:46:40Z","position":"3:7","number":4,"code":"insufficient_funds"}`,
		},
		{
			"an asset",
			wallet.WebhookMessage{Event: wallet.Event{Kind: wallet.AssetMade, Name: "VACHR", Currency: money.Asset(1, 2)}},
			`{"kind":"asset_made","time":"2001-09-09T01:46:40Z","currency":"` + money.Asset(1, 2).String() + `","name":"VACHR","position":"3:7","number":4}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.message
			m.Partition, m.Index, m.Number, m.Time = 3, 7, 4, 1e18
			got, err := wallethttp.EventData(t.Context(), someNames{}, wallet.DefaultTenant, &m)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

type someNames struct{ scripted }

func (someNames) AccountNames(context.Context, wallet.Tenant, ...wallet.Handle) (map[wallet.Handle]wallet.AccountID, error) {
	return map[wallet.Handle]wallet.AccountID{1: "a", 2: "b"}, nil
}
