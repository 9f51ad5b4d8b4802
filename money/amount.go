package money

import (
	"fmt"
	"math"
	"strconv"
)

// Amount is a quantity of money in the currency's minor unit: cents for USD,
// yen for JPY, fils for BHD. It has the whole range of an int64.
type Amount int64

// Add returns a+b, and false if that is out of range.
func (a Amount) Add(b Amount) (Amount, bool) {
	sum := a + b
	if (sum > a) != (b > 0) {
		return 0, b == 0
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

func parse(s string, c Currency) (Amount, error) { panic("soon") }

// Format returns the amount in major units with exactly the currency's digits:
// 150 in USD is "1.50". In a currency that is not valid it is the bare number of
// minor units.
func (a Amount) Format(c Currency) string {
	var buf [24]byte
	return string(a.AppendFormat(buf[:0], c))
}

// AppendFormat appends what [Amount.Format] returns to dst.
func (a Amount) AppendFormat(dst []byte, c Currency) []byte { panic("soon") }

// quote returns s in quotes, cut to a length that is fit for a message.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
