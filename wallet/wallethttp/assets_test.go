package wallethttp_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// TestAssets makes an asset and uses its name wherever a currency can stand.
func TestAssets(t *testing.T) {
	h := wallethttp.NewHandler(newWallet(t), nil)
	c := newClient(t, h, nil)
	ctx := t.Context()
	if _, err := c.ParseCurrency(ctx, "VACHR"); !errors.Is(err, money.ErrUnknownCurrency) {
		t.Errorf("before it was made: got %v", err)
	}
	hours, code, err := c.CreateAsset(ctx, "VACHR", 4)
	if err != nil || code != wallet.Applied || hours != money.Asset(0, 4) {
		t.Fatalf("CreateAsset = %v, %v, %v", hours, code, err)
	}
	if again, code, err := c.CreateAsset(ctx, "VACHR", 4); again != hours || code != wallet.Applied || err != nil {
		t.Errorf("again: got %v, %v, %v", again, code, err)
	}
	if _, code, err := c.CreateAsset(ctx, "VACHR", 5); code != wallet.AssetExists || err != nil {
		t.Errorf("with other digits: got %v, %v", code, err)
	}
	if _, _, err := c.CreateAsset(ctx, "USD", 5); !errors.Is(err, wallet.ErrAsset) {
		t.Errorf("USD: got %v", err)
	}
	if all, err := c.Assets(ctx); err != nil || !slices.Equal(all, []wallet.Asset{{Name: "VACHR", Currency: hours}}) {
		t.Errorf("Assets = %v, %v", all, err)
	}
	for _, step := range []struct{ method, path, body, want string }{
		{"POST", "/v1/wallet/accounts", `{"id":"Income","currency":"VACHR","min_balance":"unlimited"}`, `"balances":[{"currency":"VACHR","balance":"0.0000","held":"0.0000","available":"0.0000","min_balance":"unlimited"}]`},
		{"POST", "/v1/wallet/accounts", `{"id":"a","currency":"USD"}`, `"currency":"USD"`},
		{"POST", "/v1/wallet/accounts/a/currencies", `{"currency":"VACHR"}`, `{"currency":"VACHR","balance":"0.0000","held":"0.0000","available":"0.0000","min_balance":"0.0000"}`},
		{"PUT", "/v1/wallet/accounts/a/limits/VACHR", `{"min_balance":"-1.5"}`, `{"currency":"VACHR","balance":"0.0000","held":"0.0000","available":"0.0000","min_balance":"-1.5000"}`},
		{"PUT", "/v1/wallet/accounts/a/limits/NOPE", `{"min_balance":"-1.5"}`, "unknown currency"},
		{"POST", "/v1/wallet/balance_transfer", `{"from_account":"Income","to_account":"a","amount":"4.6154","currency":"VACHR","transaction_id":"01900000-0000-7000-8000-000000000001"}`, `"success"`},
		{"POST", "/v1/wallet/balance_transfer", `{"from_account":"Income","to_account":"a","amount":"4.6154","currency":"asset-0.4","transaction_id":"01900000-0000-7000-8000-000000000001"}`, `"success"`},
		{"POST", "/v1/wallet/balance_transfer", `{"from_account":"Income","to_account":"a","amount":"4.61545","currency":"VACHR","transaction_id":"01900000-0000-7000-8000-000000000002"}`, "more decimal places"},
		{"POST", "/v1/wallet/balance_transfer", `{"from_account":"Income","to_account":"a","amount":"4","currency":"AAPL","transaction_id":"01900000-0000-7000-8000-000000000002"}`, "unknown currency"},
		{"GET", "/v1/wallet/accounts/a", "", `{"currency":"VACHR","balance":"4.6154","held":"0.0000","available":"4.6154","min_balance":"-1.5000"}`},
		{"GET", "/v1/wallet/totals", "", `{"currency":"VACHR","balances":2,"sum":"0.0000","issued":"4.6154","in_flight":"0.0000"}`},
		{"GET", "/v1/wallet/assets", "", `{"assets":[{"name":"VACHR","digits":4,"currency":"asset-0.4","number":40960}]}`},
		{"POST", "/v1/wallet/assets", `{"name":"X","digits":"4"}`, "must be a whole number"},
		{"POST", "/v1/wallet/assets", `{"name":"X","digits":4.5}`, "must be a whole number"},
		{"POST", "/v1/wallet/assets", `{"name":"X","digits":16}`, `{"pointer":"#/digits"`},
		{"POST", "/v1/wallet/assets", `{"name":"EUR","digits":2}`, `{"pointer":"#/name"`},
		{"POST", "/v1/wallet/assets", `{"name":"X"}`, "is missing"},
	} {
		if got := ask(t, h, step.method, step.path, step.body).body; !strings.Contains(got, step.want) {
			t.Errorf("%s %s %s: got %s, want %s in it", step.method, step.path, step.body, got, step.want)
		}
	}
	// A client that has not heard of the asset asks for it.
	fresh := newClient(t, h, nil)
	a, code, err := fresh.Account(ctx, "a")
	if err != nil || code != wallet.Applied || a.Balances[1] != (wallet.Balance{Currency: hours, Amount: 46154, Min: -15000}) {
		t.Errorf("Account = %v, %v, %v", a, code, err)
	}
	if got := fresh.CurrencyName(hours); got != "VACHR" {
		t.Errorf("CurrencyName = %s", got)
	}
	if totals, _, err := fresh.Totals(ctx); err != nil || len(totals) != 2 || totals[1].Currency != hours {
		t.Errorf("Totals = %v, %v", totals, err)
	}
}

// noAssets is a wallet whose first partition has no leader.
type noAssets struct{ scripted }

func (noAssets) ParseCurrency(context.Context, wallet.Tenant, string) (money.Currency, error) {
	return 0, rsm.ErrNoLeader
}

// TestAssetsUnknownNow asks for an asset that cannot be looked up: that is no mistake of the client.
func TestAssetsUnknownNow(t *testing.T) {
	h := wallethttp.NewHandler(noAssets{scripted{code: wallet.Applied}}, nil)
	for path, body := range map[string]string{
		"POST /v1/wallet/accounts":               `{"id":"a","currency":"VACHR"}`,
		"PUT /v1/wallet/accounts/a/limits/VACHR": `{"min_balance":"0"}`,
	} {
		method, path, _ := strings.Cut(path, " ")
		if got := ask(t, h, method, path, body).body; !strings.Contains(got, "no_leader") {
			t.Errorf("%s: got %s, want no_leader", path, got)
		}
	}
}
