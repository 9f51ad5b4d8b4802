package walletjournal_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/walletjournal"
)

// made returns the assets of a wallet that made what a journal needs.
func made(t interface {
	Helper()
	Fatal(...any)
}, places map[string]int,
) (*walletjournal.Assets, []wallet.Asset) {
	t.Helper()
	_, missing, err := walletjournal.NewAssets(places, nil)
	if err != nil {
		t.Fatal(err)
	}
	var own []wallet.Asset
	for i, m := range missing {
		own = append(own, wallet.Asset{Name: m.Name, Currency: money.Asset(i, m.Digits)})
	}
	a, missing, err := walletjournal.NewAssets(places, own)
	if err != nil || len(missing) > 0 {
		t.Fatal(missing, err)
	}
	return a, own
}

func TestAssetsOfCommodities(t *testing.T) {
	places := map[string]int{"USD": 2, "EUR": 5, "JPY": 0, "$": 2, "": 3, "LOT 1": 0, "VACHR": 4, "asset-1.2": 1, "EUR@.2": 0, "@": 0, "a@b": 0, "AED": 15, "CHF@.3": 1, "@@a@b": 0, "@@x": 0}
	a, own := made(t, places)
	want := []wallet.Asset{
		{Name: "@", Currency: money.Asset(0, 3)},
		{Name: "@24", Currency: money.Asset(1, 2)},
		{Name: "@40", Currency: money.Asset(2, 0)},
		{Name: "a@b", Currency: money.Asset(3, 0)},
		{Name: "@40@40x", Currency: money.Asset(4, 0)},
		{Name: "AED@.15", Currency: money.Asset(5, 15)},
		{Name: "CHF@.3", Currency: money.Asset(6, 3)},
		{Name: "EUR@.5", Currency: money.Asset(7, 5)},
		{Name: "EUR@40.2", Currency: money.Asset(8, 0)},
		{Name: "LOT@_1", Currency: money.Asset(9, 0)},
		{Name: "VACHR", Currency: money.Asset(10, 4)},
		{Name: "a@40b", Currency: money.Asset(11, 0)},
		{Name: "@61sset-1.2", Currency: money.Asset(12, 1)},
	}
	if diff := cmp.Diff(want, own); diff != "" {
		t.Errorf("assets (-want +got):\n%s", diff)
	}
	for commodity, digits := range places {
		c, err := a.Currency(commodity)
		if err != nil || c.Digits() < digits || a.Commodity(c) != commodity {
			t.Errorf("Currency(%q) = %v, %v, which is %q", commodity, c, err, a.Commodity(c))
		}
	}
	if c, err := a.Currency("AAPL"); err == nil {
		t.Errorf("Currency(AAPL) = %v", c)
	}
	if got := a.Commodity(money.MustParseCurrency("CHF")); got != "CHF" {
		t.Errorf("Commodity(CHF) = %s", got)
	}
	for name, places := range map[string]map[string]int{
		"too many places": {"X": 16}, "a long name": {strings.Repeat("é", 6): 0}, "more places than there are": {"VACHR": 5},
		"more places than the name says": {"USD@.3": 4}, "two of one asset": {"USD": 3, "USD@.3": 3},
	} {
		if _, missing, err := walletjournal.NewAssets(places, own); err == nil {
			t.Errorf("%s: got %v, want an error", name, missing)
		}
	}
}

func TestNamesOfAssets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Every asset that there can be is another commodity in an export, no currency of ISO 4217, and that asset again.
		names := rapid.SliceOfNDistinct(rapid.OneOf(
			rapid.StringMatching(`[a-bA-F0-4.:_@-]{1,8}`), rapid.StringMatching(`(@@|@40)?(USD|a)(@|@40)(\.3|b|4)`),
		).Filter(func(name string) bool { return wallet.ValidateAsset(name, 3) == nil }), 2, 2, rapid.ID).Draw(t, "names")
		written := map[string]string{}
		for i, name := range names {
			c := money.Asset(i, 3)
			exported, _, err := walletjournal.NewAssets(nil, []wallet.Asset{{Name: name, Currency: c}})
			if err != nil {
				t.Fatal(err)
			}
			got := exported.Commodity(c)
			if other, ok := written[got]; ok || got == "USD" {
				t.Fatalf("asset %s is written as %s, as is %s", name, got, other)
			}
			if back := walletjournal.AssetName(got, 3); back != name {
				t.Fatalf("asset %s is written as %s, which is asset %s", name, got, back)
			}
			written[got] = name
		}
		commodities := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-bA-E0-4.:_@é $-]{0,8}|USD|asset-1`), 2, 2, rapid.ID).Draw(t, "commodities")
		places := map[string]int{commodities[0]: 5, commodities[1]: 5}
		a, _ := made(t, places)
		for commodity := range places {
			c, err := a.Currency(commodity)
			if err != nil || a.Commodity(c) != commodity {
				t.Fatalf("Currency(%q) = %v, %v, which is %q", commodity, c, err, a.Commodity(c))
			}
		}
	})
}
