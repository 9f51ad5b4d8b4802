package money

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Amount is a quantity of money in the currency's minor unit: cents for USD,
// yen for JPY, fils for BHD. It has the whole range of an int64.
type Amount int64

// Add returns a+b, and false if that is out of range.
func (a Amount) Add(b Amount) (Amount, bool) {
	sum := a + b
	if (sum > a) != (b > 0) {
		return 0, false
	}
	return sum, true
}

// Neg returns -a, and false if that is out of range, as it is for the smallest
// amount.
func (a Amount) Neg() (Amount, bool) {
	if a == math.MinInt64 {
		return 0, false
	}
	return -a, true
}

// ParseAmount reads a decimal amount in major units: an optional minus sign, digits,
// and optionally a point and at least one digit, at most as many as the currency
// has. "1.5" is 150 in USD. Nothing else is taken: no plus sign, no exponent, no
// grouping, no spaces.
//
// Neither are zeros that do not belong. A leading zero ("010") may be a field of
// fixed width with an implied point, and a zero too many behind the point
// ("1.500" USD) an amount in another currency: reading them as if nothing were
// odd would move the wrong sum.
//
// The error wraps [ErrSyntax], [ErrTooPrecise], [ErrOverflow] or
// [ErrUnknownCurrency].
func ParseAmount(s string, c Currency) (Amount, error) {
	a, err := parse(s, c)
	if err != nil {
		return 0, fmt.Errorf("amount %s in %s: %w", quote(s), c, err)
	}
	return a, nil
}

func parse(s string, c Currency) (Amount, error) {
	if !c.Valid() {
		return 0, ErrUnknownCurrency
	}
	unsigned, negative := strings.CutPrefix(s, "-")
	whole, fraction, pointed := strings.Cut(unsigned, ".")
	switch {
	case !decimal(whole), pointed && !decimal(fraction), len(whole) > 1 && whole[0] == '0':
		return 0, ErrSyntax
	case len(fraction) > c.Digits():
		return 0, ErrTooPrecise
	}
	n := uint64(0)
	inRange := accumulate(&n, whole) &&
		accumulate(&n, fraction) &&
		accumulate(&n, "000000000000000"[:c.Digits()-len(fraction)])
	switch {
	case !inRange, n > 1<<63, n == 1<<63 && !negative:
		return 0, ErrOverflow
	case negative:
		return Amount(-n), nil // 1<<63 becomes the smallest amount
	}
	return Amount(n), nil
}

// decimal says whether s is one or more decimal digits.
func decimal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// accumulate appends decimals to the number n. It returns false when that
// makes it larger than any amount.
func accumulate(n *uint64, decimals string) bool {
	for i := range len(decimals) {
		if *n > 1<<63/10 {
			return false
		}
		*n = *n*10 + uint64(decimals[i]-'0')
	}
	return true
}

// Format returns the amount in major units with exactly the currency's digits:
// 150 in USD is "1.50". In a currency that is not valid it is the bare number of
// minor units.
func (a Amount) Format(c Currency) string {
	var buf [24]byte
	return string(a.AppendFormat(buf[:0], c))
}

// AppendFormat appends what [Amount.Format] returns to dst.
func (a Amount) AppendFormat(dst []byte, c Currency) []byte {
	n := uint64(a)
	if a < 0 {
		dst = append(dst, '-')
		n = -n
	}
	places := c.Digits()
	unit := powersOfTen[places]
	dst = strconv.AppendUint(dst, n/unit, 10)
	if places == 0 {
		return dst
	}
	dst = append(dst, '.')
	for rest := n % unit; places > 0; places-- {
		unit /= 10
		dst = append(dst, '0'+byte(rest/unit%10))
	}
	return dst
}

var powersOfTen = [MaxAssetDigits + 1]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
}

// FormatSum is [Amount.Format] for sums of amounts, which may be of any size: a
// number of the currency's minor units in major units.
func FormatSum(sum *big.Int, c Currency) string {
	digits, places := new(big.Int).Abs(sum).String(), c.Digits()
	if missing := places + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	if places > 0 {
		digits = digits[:len(digits)-places] + "." + digits[len(digits)-places:]
	}
	if sum.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

// quote returns s in quotes, cut to a length that is fit for a message.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
