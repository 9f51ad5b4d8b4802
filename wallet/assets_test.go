package wallet_test

import (
	"errors"
	"slices"
	"testing"

	"maru.example/money"
	"maru.example/vfs"
	"maru.example/wallet"
)

// TestAssets makes assets in a wallet of several partitions, and pays with them: on a node
// that has all of them, and on one that has none.
func TestAssets(t *testing.T) {
	t.Run("here", func(t *testing.T) {
		s, _ := divided(t, vfs.NewMem(), 3, wallet.TCC)
		useAssets(t, s)
	})
	t.Run("away", func(t *testing.T) {
		s, _ := remote(t, 3)
		useAssets(t, s)
	})
}

func useAssets(t *testing.T, s *wallet.Service) {
	t.Helper()
	ctx := t.Context()
	c, code, err := s.CreateAsset(ctx, wallet.DefaultTenant, "VACHR", 4)
	if err != nil || code != wallet.Applied || c.Digits() != 4 {
		t.Fatalf("CreateAsset = %v, %v, %v", c, code, err)
	}
	if again, code, err := s.CreateAsset(ctx, wallet.DefaultTenant, "VACHR", 4); again != c || code != wallet.Applied || err != nil {
		t.Errorf("again: got %v, %v, %v, want %v", again, code, err, c)
	}
	if _, code, err := s.CreateAsset(ctx, wallet.DefaultTenant, "VACHR", 2); code != wallet.AssetExists || err != nil {
		t.Errorf("with other digits: got %v, %v", code, err)
	}
	if _, code, err := s.CreateAsset(ctx, "nobody", "VACHR", 2); code != wallet.UnknownTenant || err != nil {
		t.Errorf("in an unknown tenant: got %v, %v", code, err)
	}
	if _, _, err := s.CreateAsset(ctx, wallet.DefaultTenant, "USD", 5); !errors.Is(err, wallet.ErrAsset) {
		t.Errorf("with a currency's name: got %v", err)
	}
	if all, code, err := s.Assets(ctx, wallet.DefaultTenant); err != nil || code != wallet.Applied || !slices.Equal(all, []wallet.Asset{{"VACHR", c}}) {
		t.Errorf("Assets = %v, %v, %v", all, code, err)
	}
	for text, want := range map[string]money.Currency{"VACHR": c, "USD": usd, c.String(): c} {
		if got, err := s.ParseCurrency(ctx, wallet.DefaultTenant, text); got != want || err != nil {
			t.Errorf("ParseCurrency(%s) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"AAPL", "", "a b", "vachr"} {
		if got, err := s.ParseCurrency(ctx, wallet.DefaultTenant, text); !errors.Is(err, money.ErrUnknownCurrency) {
			t.Errorf("ParseCurrency(%s) = %v, %v", text, got, err)
		}
	}
	for c, want := range map[money.Currency]string{c: "VACHR", usd: "USD", money.Asset(9, 2): "asset-9.2"} {
		if got := s.CurrencyName(ctx, wallet.DefaultTenant, c); got != want {
			t.Errorf("CurrencyName(%v) = %s, want %s", c, got, want)
		}
	}

	for id, smallest := range map[wallet.AccountID]money.Amount{"Income": wallet.Unlimited, "a": 0, "b": 0, "c": 0} {
		if o, err := s.OpenAccount(ctx, wallet.DefaultTenant, wallet.NewAccount{ID: id, Currency: c, Min: smallest}); err != nil || o.Code != wallet.Applied {
			t.Fatalf("open %s: %v, %v", id, o.Code, err)
		}
	}
	for i, to := range []wallet.AccountID{"a", "b", "c"} { // in several partitions
		r, err := s.Transfer(ctx, wallet.DefaultTenant, wallet.Transfer{ID: wallet.TransactionID{1, byte(i)}, From: "Income", To: to, Amount: 46154, Currency: c})
		if err != nil || r.Code() != wallet.Applied {
			t.Fatalf("transfer to %s: %v, %v", to, r.Code(), err)
		}
		a, _, err := s.Account(ctx, wallet.DefaultTenant, to)
		if err != nil || a.Balances[0].Amount.Format(a.Balances[0].Currency) != "4.6154" {
			t.Errorf("account %s: %v, %v, want 4.6154", to, a.Balances, err)
		}
	}
}
