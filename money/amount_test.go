package money_test

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"maru.example/money"
)

var (
	usd = money.MustParseCurrency("USD")
	jpy = money.MustParseCurrency("JPY")
	bhd = money.MustParseCurrency("BHD")
	clf = money.MustParseCurrency("CLF")
)

func TestParseAmount(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		c        money.Currency
		want     money.Amount
		err      error
	}{
		{"whole", "12", usd, 1200, nil},
		{"cents", "12.34", usd, 1234, nil},
		{"one place of two", "1.5", usd, 150, nil},
		{"below one", "0.05", usd, 5, nil},
		{"zero", "0", usd, 0, nil},
		{"zero with places", "0.00", usd, 0, nil},
		{"minus zero", "-0.00", usd, 0, nil},
		{"negative", "-12.34", usd, -1234, nil},
		{"negative below one", "-0.01", usd, -1, nil},
		{"no minor unit", "1500", jpy, 1500, nil},
		{"three places", "1.005", bhd, 1005, nil},
		{"four places", "1.0005", clf, 10005, nil},
		{"largest", "92233720368547758.07", usd, math.MaxInt64, nil},
		{"smallest", "-92233720368547758.08", usd, math.MinInt64, nil},
		{"largest whole", "9223372036854775807", jpy, math.MaxInt64, nil},
		{"smallest whole", "-9223372036854775808", jpy, math.MinInt64, nil},
		{"largest, four places", "922337203685477.5807", clf, math.MaxInt64, nil},

		{"a place too many", "1.005", usd, 0, money.ErrTooPrecise},
		{"a zero too many", "1.500", usd, 0, money.ErrTooPrecise},
		{"a place where there is none", "1.0", jpy, 0, money.ErrTooPrecise},

		{"one more than the largest", "92233720368547758.08", usd, 0, money.ErrOverflow},
		{"one less than the smallest", "-92233720368547758.09", usd, 0, money.ErrOverflow},
		{"fits only without its cents", "9223372036854775807", usd, 0, money.ErrOverflow},
		{"wraps around 64 bits", "18446744073709551617", jpy, 0, money.ErrOverflow},
		{"tens of nines", strings.Repeat("9", 50), jpy, 0, money.ErrOverflow},

		{"empty", "", usd, 0, money.ErrSyntax},
		{"minus alone", "-", usd, 0, money.ErrSyntax},
		{"two minuses", "--1", usd, 0, money.ErrSyntax},
		{"minus behind", "1-", usd, 0, money.ErrSyntax},
		{"plus", "+1", usd, 0, money.ErrSyntax},
		{"point alone", ".", usd, 0, money.ErrSyntax},
		{"nothing before the point", ".5", usd, 0, money.ErrSyntax},
		{"nothing behind the point", "1.", usd, 0, money.ErrSyntax},
		{"minus behind the point", "1.-5", usd, 0, money.ErrSyntax},
		{"two points", "1.2.3", usd, 0, money.ErrSyntax},
		{"point of a currency without", "1.", jpy, 0, money.ErrSyntax},
		{"leading zero", "010", usd, 0, money.ErrSyntax},
		{"leading zero before the point", "00.10", usd, 0, money.ErrSyntax},
		{"exponent", "1e3", usd, 0, money.ErrSyntax},
		{"hexadecimal", "0x10", usd, 0, money.ErrSyntax},
		{"grouping", "1,000", usd, 0, money.ErrSyntax},
		{"underscore", "1_000", usd, 0, money.ErrSyntax},
		{"decimal comma", "1,5", usd, 0, money.ErrSyntax},
		{"space before", " 1", usd, 0, money.ErrSyntax},
		{"space behind", "1 ", usd, 0, money.ErrSyntax},
		{"newline behind", "1\n", usd, 0, money.ErrSyntax},
		{"zero byte", "1\x00", usd, 0, money.ErrSyntax},
		{"currency sign", "$1", usd, 0, money.ErrSyntax},
		{"Arabic-Indic digits", "١٢", usd, 0, money.ErrSyntax},
		{"full-width digits", "\uff11\uff12", usd, 0, money.ErrSyntax},
		{"not a number", "NaN", usd, 0, money.ErrSyntax},
		{"infinite", "-Inf", usd, 0, money.ErrSyntax},
		{"syntax before overflow", strings.Repeat("9", 50) + "x", usd, 0, money.ErrSyntax},
		{"syntax before precision", "1.000000000x", usd, 0, money.ErrSyntax},

		{"fifteen places", "9223.372036854775807", money.Asset(1, 15), math.MaxInt64, nil},
		{"fifteen places, most left out", "1.5", money.Asset(1, 15), 1_500_000_000_000_000, nil},
		{"fifteen places, too large", "9223.372036854775808", money.Asset(1, 15), 0, money.ErrOverflow},
		{"sixteen places", "1.0000000000000001", money.Asset(1, 15), 0, money.ErrTooPrecise},

		{"no currency", "1", 0, 0, money.ErrUnknownCurrency},
		{"number that is no currency", "1", 0x7fff, 0, money.ErrUnknownCurrency},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := money.ParseAmount(tt.in, tt.c)
			if !errors.Is(err, tt.err) {
				t.Fatalf("ParseAmount(%q, %v): error %v, want %v", tt.in, tt.c, err, tt.err)
			}
			if got != tt.want {
				t.Errorf("ParseAmount(%q, %v) = %d, want %d", tt.in, tt.c, got, tt.want)
			}
		})
	}
}

func TestParseAmountErrorNamesItsInput(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"short", "1.500", `amount "1.500" in USD: more decimal places than the currency has`},
		{"unprintable", "1\x00\n", `amount "1\x00\n" in USD: not a decimal amount`},
		{"cut", strings.Repeat("x", 1<<20), `amount "` + strings.Repeat("x", 40) + `"… in USD: not a decimal amount`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := money.ParseAmount(tt.in, usd)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestAmountFormat(t *testing.T) {
	for _, tt := range []struct {
		name string
		a    money.Amount
		c    money.Currency
		want string
	}{
		{"zero", 0, usd, "0.00"},
		{"cents", 5, usd, "0.05"},
		{"negative cents", -5, usd, "-0.05"},
		{"whole", 120_000, usd, "1200.00"},
		{"no minor unit", -1500, jpy, "-1500"},
		{"three places", 1005, bhd, "1.005"},
		{"four places", 10_005, clf, "1.0005"},
		{"largest", math.MaxInt64, usd, "92233720368547758.07"},
		{"smallest", math.MinInt64, usd, "-92233720368547758.08"},
		{"smallest whole", math.MinInt64, jpy, "-9223372036854775808"},
		{"smallest, four places", math.MinInt64, clf, "-922337203685477.5808"},
		{"no currency", -150, 0, "-150"},
		{"number that is no currency", 150, 0x7fff, "150"},
		{"fifteen places", -1_500_000_000_000_001, money.Asset(1, 15), "-1.500000000000001"},
		{"asset without places", 150, money.Asset(2, 0), "150"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.a.Format(tt.c); got != tt.want {
				t.Errorf("Amount(%d).Format(%v) = %q, want %q", tt.a, tt.c, got, tt.want)
			}
			if got := string(tt.a.AppendFormat([]byte("due "), tt.c)); got != "due "+tt.want {
				t.Errorf("Amount(%d).AppendFormat(due, %v) = %q, want %q", tt.a, tt.c, got, "due "+tt.want)
			}
		})
	}
}

func TestAmountAddNeg(t *testing.T) {
	const smallest, largest = math.MinInt64, math.MaxInt64
	for _, tt := range []struct {
		name string
		a, b money.Amount
		want money.Amount
		ok   bool
	}{
		{"both positive", 2, 3, 5, true},
		{"to zero", 2, -2, 0, true},
		{"nothing to the largest", largest, 0, largest, true},
		{"nothing to the smallest", smallest, 0, smallest, true},
		{"up to the largest", largest - 1, 1, largest, true},
		{"down to the smallest", smallest + 1, -1, smallest, true},
		{"the extremes", largest, smallest, -1, true},
		{"over the largest", largest, 1, 0, false},
		{"below the smallest", smallest, -1, 0, false},
		{"the largest twice", largest, largest, 0, false},
		{"the smallest twice", smallest, smallest, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, operands := range [][2]money.Amount{{tt.a, tt.b}, {tt.b, tt.a}} {
				if got, ok := operands[0].Add(operands[1]); got != tt.want || ok != tt.ok {
					t.Errorf("%d.Add(%d) = %d, %t, want %d, %t", operands[0], operands[1], got, ok, tt.want, tt.ok)
				}
			}
		})
	}
	if got, ok := money.Amount(smallest).Neg(); got != 0 || ok {
		t.Errorf("smallest.Neg() = %d, %t, want 0, false", got, ok)
	}
	if got, ok := money.Amount(largest).Neg(); got != -largest || !ok {
		t.Errorf("largest.Neg() = %d, %t, want %d, true", got, ok, -largest)
	}
}

// TestArithmeticAgainstBig compares with integers that cannot overflow.
func TestArithmeticAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyAmount().Draw(t, "a"), anyAmount().Draw(t, "b")
		check := func(op string, got money.Amount, ok bool, want *big.Int) {
			t.Helper()
			switch {
			case ok != want.IsInt64():
				t.Errorf("%s: in range %t, want %t (%v)", op, ok, want.IsInt64(), want)
			case ok && int64(got) != want.Int64():
				t.Errorf("%s = %d, want %v", op, got, want)
			}
		}
		sum, ok := a.Add(b)
		check("a.Add(b)", sum, ok, new(big.Int).Add(big.NewInt(int64(a)), big.NewInt(int64(b))))
		negated, ok := a.Neg()
		check("a.Neg()", negated, ok, new(big.Int).Neg(big.NewInt(int64(a))))
	})
}

func TestFormatSum(t *testing.T) {
	large := new(big.Int).Exp(big.NewInt(10), big.NewInt(30), nil)
	for _, tt := range []struct {
		sum      *big.Int
		currency string
		want     string
	}{
		{new(big.Int), "USD", "0.00"},
		{big.NewInt(-5), "BHD", "-0.005"},
		{large, "JPY", "1" + strings.Repeat("0", 30)},
		{new(big.Int).Neg(large), "USD", "-1" + strings.Repeat("0", 28) + ".00"},
	} {
		if got := money.FormatSum(tt.sum, money.MustParseCurrency(tt.currency)); got != tt.want {
			t.Errorf("FormatSum(%v, %s) = %s, want %s", tt.sum, tt.currency, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		c := anyCurrency().Draw(t, "currency")
		a := anyAmount().Draw(t, "amount")
		if got, want := money.FormatSum(big.NewInt(int64(a)), c), a.Format(c); got != want {
			t.Errorf("FormatSum(%d, %v) = %s, want %s as of the amount", a, c, got, want)
		}
	})
}

func TestFormatParsesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyCurrency().Draw(t, "currency")
		a := anyAmount().Draw(t, "amount")
		text := a.Format(c)
		got, err := money.ParseAmount(text, c)
		if err != nil || got != a {
			t.Fatalf("ParseAmount(%q, %v) = %d, %v, want %d", text, c, got, err, a)
		}
	})
}

// TestParseAgainstBig compares with a reading by rational numbers, which knows
// no overflow, of texts in the grammar.
func TestParseAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyCurrency().Draw(t, "currency")
		text := rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,18})?`).Draw(t, "text")
		value, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is not a number", text)
		}
		scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(c.Digits())), nil)
		value.Mul(value, new(big.Rat).SetInt(scale))
		_, fraction, _ := strings.Cut(text, ".")

		got, err := money.ParseAmount(text, c)
		switch {
		case len(fraction) > c.Digits():
			if !errors.Is(err, money.ErrTooPrecise) {
				t.Errorf("error %v, want %v", err, money.ErrTooPrecise)
			}
		case !value.Num().IsInt64():
			if !errors.Is(err, money.ErrOverflow) {
				t.Errorf("error %v, want %v", err, money.ErrOverflow)
			}
		case err != nil || int64(got) != value.Num().Int64():
			t.Errorf("got %d, %v, want %v", got, err, value.Num())
		}
	})
}

// anyCurrency draws from the table, and assets of a ledger.
func anyCurrency() *rapid.Generator[money.Currency] {
	return rapid.OneOf(rapid.SampledFrom(money.Currencies()), rapid.Custom(func(t *rapid.T) money.Currency {
		return money.Asset(rapid.IntRange(0, money.MaxAssets-1).Draw(t, "number"), rapid.IntRange(0, money.MaxAssetDigits).Draw(t, "digits"))
	}))
}

// anyAmount draws amounts of every size, the extremes often.
func anyAmount() *rapid.Generator[money.Amount] {
	return rapid.Map(
		rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64})),
		func(n int64) money.Amount { return money.Amount(n) },
	)
}

func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{"0", "-0", "1.5", "1.500", "00.10", "1e3", "-92233720368547758.08", "92233720368547758.08", ".5", "1.", "١"} {
		f.Add(s, uint16(usd))
		f.Add(s, uint16(jpy))
	}
	f.Add("1.0005", uint16(clf))
	f.Add("1", uint16(0))
	f.Fuzz(func(t *testing.T, s string, n uint16) {
		c := money.Currency(n)
		a, err := money.ParseAmount(s, c)
		if err != nil {
			if a != 0 {
				t.Errorf("ParseAmount(%q, %v) = %d with error %v", s, c, a, err)
			}
			return
		}
		text := a.Format(c)
		if again, err := money.ParseAmount(text, c); err != nil || again != a {
			t.Errorf("ParseAmount(%q, %v) = %d, which formats as %q, which parses as %d, %v", s, c, a, text, again, err)
		}
		// What was read is what was meant: but for places left out and the
		// sign of zero, there is one way to write an amount.
		if strings.TrimPrefix(text, "-") != strings.TrimPrefix(pad(s, c.Digits()), "-") {
			t.Errorf("ParseAmount(%q, %v) = %d, which formats as %q", s, c, a, text)
		}
	})
}

// pad adds to an amount the decimal places that it leaves out.
func pad(s string, places int) string {
	whole, fraction, _ := strings.Cut(s, ".")
	if places == 0 {
		return whole
	}
	return whole + "." + fraction + strings.Repeat("0", places-len(fraction))
}

func BenchmarkParseAmount(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := money.ParseAmount("1234567.89", usd); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAmountAppendFormat(b *testing.B) {
	b.ReportAllocs()
	buf := make([]byte, 0, 32)
	for b.Loop() {
		buf = money.Amount(123_456_789).AppendFormat(buf[:0], usd)
	}
}
