package money_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/currency"

	"maru.example/money"
)

func TestParseCurrency(t *testing.T) {
	for _, tt := range []struct {
		code   string
		packed money.Currency // in logs and on wires: must never change
		digits int
	}{
		{"AED", 1<<10 | 5<<5 | 4, 2},
		{"BHD", 2<<10 | 8<<5 | 4, 3},
		{"CLF", 3<<10 | 12<<5 | 6, 4},
		{"EUR", 5<<10 | 21<<5 | 18, 2},
		{"IQD", 9<<10 | 17<<5 | 4, 3},
		{"JPY", 10<<10 | 16<<5 | 25, 0},
		{"KRW", 11<<10 | 18<<5 | 23, 0},
		{"MGA", 13<<10 | 7<<5 | 1, 2},
		{"USD", 21<<10 | 19<<5 | 4, 2},
		{"ZWG", 26<<10 | 23<<5 | 7, 2},
	} {
		t.Run(tt.code, func(t *testing.T) {
			got, err := money.ParseCurrency(tt.code)
			if err != nil || got != tt.packed {
				t.Fatalf("ParseCurrency = %d, %v, want %d", got, err, tt.packed)
			}
			if got.Digits() != tt.digits || got.String() != tt.code || !got.Valid() {
				t.Errorf("got %v, %d digits, valid %t; want %s, %d, true", got, got.Digits(), got.Valid(), tt.code, tt.digits)
			}
		})
	}
}

func TestParseCurrencyRefuses(t *testing.T) {
	for _, tt := range []struct{ name, code string }{
		{"empty", ""},
		{"lower case", "usd"},
		{"mixed case", "Usd"},
		{"two letters", "US"},
		{"four letters", "USDT"},
		{"space", "US "},
		{"sign", "$US"},
		{"numeric code", "840"},
		{"letter outside ASCII", "ÜS"},
		{"between the letters and bits", "US@"},
		{"never issued", "AAA"},
		{"withdrawn before the table was made", "DEM"},
		{"gold has no minor unit", "XAU"},
		{"special drawing rights have no minor unit", "XDR"},
		{"no currency", "XXX"},
		{"testing", "XTS"},
		{"asset beyond the limit", "asset-2048.0"},
		{"asset with too many digits", "asset-1.16"},
		{"asset without digits", "asset-1"},
		{"asset with a zero too many", "asset-01.2"},
		{"asset with a sign", "asset-+1.2"},
		{"asset in capitals", "ASSET-1.2"},
		{"long", strings.Repeat("USD", 1<<20)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := money.ParseCurrency(tt.code)
			if !errors.Is(err, money.ErrUnknownCurrency) || got != 0 {
				t.Fatalf("ParseCurrency(%.10q) = %v, %v, want %v", tt.code, got, err, money.ErrUnknownCurrency)
			}
			if len(err.Error()) > 100 {
				t.Errorf("the error has %d bytes, want at most 100", len(err.Error()))
			}
		})
	}
}

func TestMustParseCurrencyPanics(t *testing.T) {
	defer func() {
		if got, want := recover(), `money: currency "usd": unknown currency`; got != want {
			t.Errorf("panic with %v, want %s", got, want)
		}
	}()
	money.MustParseCurrency("usd")
}

// TestEveryNumber looks at all values that may come from a log or a wire.
func TestEveryNumber(t *testing.T) {
	valid := 0
	for n := range 1 << 16 {
		c := money.Currency(n)
		back, err := money.ParseCurrency(c.String())
		switch {
		case c.Valid() && (err != nil || back != c):
			t.Errorf("%d is valid, but its code %v parses as %d, %v", n, c, back, err)
		case !c.Valid() && err == nil:
			t.Errorf("%d is not valid, but its string %v parses as %d", n, c, back)
		case !c.Valid() && c.Digits() != 0:
			t.Errorf("%d is not valid, but has %d digits", n, c.Digits())
		case c.Digits() > 4 && n < 1<<15:
			t.Errorf("%v has %d digits, want at most 4", c, c.Digits())
		}
		number, own := c.Asset()
		switch {
		case own != (n >= 1<<15):
			t.Errorf("Currency(%d).Asset() = %d, %t", n, number, own)
		case own && money.Asset(number, c.Digits()) != c:
			t.Errorf("Asset(%d, %d) = %d, want %d", number, c.Digits(), money.Asset(number, c.Digits()), n)
		}
		if c.Valid() && !own {
			valid++
		}
	}
	if want := len(money.Currencies()); valid != want {
		t.Errorf("%d numbers are valid, Currencies has %d", valid, want)
	}
	for c, want := range map[money.Currency]string{
		0:                  "none",
		1:                  "Currency(1)",
		1<<10 | 1<<5:       "Currency(1056)",
		27<<10 | 1<<5 | 1:  "Currency(27681)",
		1<<15 | 1:          "asset-1.0",
		1<<15 | 9<<11 | 20: "asset-20.9",
		1<<16 - 1:          "asset-2047.15",
		24<<10 | 1<<5 | 21: "XAU",
	} {
		if got := c.String(); got != want {
			t.Errorf("Currency(%d).String() = %q, want %q", uint16(c), got, want)
		}
	}
}

func TestCurrenciesAreSorted(t *testing.T) {
	all := money.Currencies()
	if len(all) < 165 {
		t.Errorf("%d currencies, want at least the 165 of the first table: codes are never removed", len(all))
	}
	for i, c := range all {
		if i > 0 && all[i-1].String() >= c.String() {
			t.Errorf("%v stands before %v", all[i-1], c)
		}
	}
}

// TestTableAgainstCLDR compares the table with that of golang.org/x/text. Two
// independent tables have few errors in common; each exception has a reason.
func TestTableAgainstCLDR(t *testing.T) {
	const (
		customary = "CLDR has the decimals in print, ISO 4217 those in the books"
		younger   = "issued after the CLDR version that x/text holds"
	)
	exceptions := map[string]string{
		"AFN": customary, "ALL": customary, "AMD": customary, "COP": customary, "GYD": customary,
		"IDR": customary, "IQD": customary, "IRR": customary, "KPW": customary, "LAK": customary,
		"LBP": customary, "MGA": customary, "MMK": customary, "MNT": customary, "MUR": customary,
		"PKR": customary, "RSD": customary, "SOS": customary, "SYP": customary, "TZS": customary,
		"UZS": customary, "YER": customary,
		"MRU": younger, "SLE": younger, "UYW": younger, "VED": younger, "VES": younger,
		"XAD": younger, "XCG": younger, "ZWG": younger,
	}
	got := make(map[string]string)
	for _, c := range money.Currencies() {
		unit, err := currency.ParseISO(c.String())
		if err != nil {
			got[c.String()] = younger
			continue
		}
		if scale, _ := currency.Standard.Rounding(unit); scale != c.Digits() {
			got[c.String()] = customary
		}
	}
	if diff := cmp.Diff(exceptions, got); diff != "" {
		t.Errorf("exceptions (-known +found):\n%s", diff)
	}
}

// TestLegalTenderIsInTable looks up each currency that x/text has as the legal
// tender of a region.
func TestLegalTenderIsInTable(t *testing.T) {
	withdrawn := map[string]string{
		"ANG": "XCG took its place in 2025",
		"BGN": "the euro took its place in 2026",
		"CUC": "CUP took its place in 2021",
		"HRK": "the euro took its place in 2023",
		"MRO": "MRU took its place in 2018",
		"SLL": "SLE took its place in 2022",
		"VEF": "VES took its place in 2018",
	}
	regions := 0
	for q := currency.Query(); q.Next(); regions++ {
		code := q.Unit().String()
		_, err := money.ParseCurrency(code)
		switch known := withdrawn[code] != ""; {
		case err == nil && known:
			t.Errorf("%s is in the table: it is no exception", code)
		case err != nil && !known:
			t.Errorf("%s, the currency of %s, is not in the table", code, q.Region())
		}
	}
	if regions < 200 {
		t.Errorf("x/text lists %d regions: the query is wrong", regions)
	}
}

func BenchmarkParseCurrency(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := money.ParseCurrency("USD"); err != nil {
			b.Fatal(err)
		}
	}
}
