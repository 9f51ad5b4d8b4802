package wallethttp

import (
	"math"
	"math/big"
	"testing"

	"maru.example/money"
)

func TestSums(t *testing.T) {
	for _, code := range []string{"JPY", "USD", "BHD", "CLF"} {
		c := money.MustParseCurrency(code)
		for _, a := range []money.Amount{0, 1, -1, 9, 10, -10, 100, 12345, -12345, math.MaxInt64, math.MinInt64} {
			got := money.FormatSum(big.NewInt(int64(a)), c)
			if want := a.Format(c); got != want {
				t.Errorf("%d in %s: got %s, want %s", a, code, got, want)
			}
			if back, ok := parseSum(got, c); !ok || back.Int64() != int64(a) {
				t.Errorf("%s read back: got %v, %v", got, back, ok)
			}
		}
		large := new(big.Int).Lsh(big.NewInt(1), 90)
		if back, ok := parseSum(money.FormatSum(large, c), c); !ok || back.Cmp(large) != 0 {
			t.Errorf("%v read back: got %v, %v", large, back, ok)
		}
	}
	for _, bad := range []string{"", "1", "1.0", "1.000", "x.00", "1.-1"} {
		if got, ok := parseSum(bad, money.MustParseCurrency("USD")); ok {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}
