package walletjournal

import (
	"errors"
	"math/big"
	"strings"
)

// Decimal is an exact decimal number that knows how many places it was written
// with. The zero value is 0. It is immutable.
type Decimal struct {
	units  *big.Int // nil is zero
	places int
}

var errNumber = errors.New("not a decimal number")

// NewDecimal returns units divided by ten to the power of places.
func NewDecimal(units int64, places int) Decimal { return Decimal{big.NewInt(units), places} }

// ParseDecimal reads a plain decimal number: an optional minus sign, digits, and
// optionally a point and digits. It takes at most [MaxNumberDigits] digits.
func ParseDecimal(s string) (Decimal, error) {
	unsigned, _ := strings.CutPrefix(s, "-")
	whole, fraction, pointed := strings.Cut(unsigned, ".")
	if !isDigits(whole) || pointed && !isDigits(fraction) || len(unsigned) > MaxNumberDigits {
		return Decimal{}, errNumber
	}
	return makeDecimal(whole, fraction, s != unsigned), nil
}

// makeDecimal takes digits alone.
func makeDecimal(whole, fraction string, negative bool) Decimal {
	units, ok := new(big.Int).SetString("0"+whole+fraction, 10)
	if !ok {
		panic("walletjournal: no digits: " + whole + "." + fraction)
	}
	if negative {
		units.Neg(units)
	}
	return Decimal{units, len(fraction)}
}

func isDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// Places returns the number of digits behind the point that it is written with.
func (d Decimal) Places() int { return d.places }

// Sign returns -1, 0 or 1.
func (d Decimal) Sign() int {
	if d.units == nil {
		return 0
	}
	return d.units.Sign()
}

// Neg returns -d.
func (d Decimal) Neg() Decimal { return Decimal{new(big.Int).Neg(d.int()), d.places} }

// Abs returns d without its sign.
func (d Decimal) Abs() Decimal { return Decimal{new(big.Int).Abs(d.int()), d.places} }

// Add returns d+e with the places of the one that has more.
func (d Decimal) Add(e Decimal) Decimal {
	places := max(d.places, e.places)
	return Decimal{new(big.Int).Add(d.scaled(places), e.scaled(places)), places}
}

// Mul returns d·e, with the places of both together.
func (d Decimal) Mul(e Decimal) Decimal {
	return Decimal{new(big.Int).Mul(d.int(), e.int()), d.places + e.places}
}

// Cmp returns -1, 0 or 1 as d is less than, equal to or more than e. Places do
// not matter.
func (d Decimal) Cmp(e Decimal) int {
	places := max(d.places, e.places)
	return d.scaled(places).Cmp(e.scaled(places))
}

// Equal says whether d and e are the same number with the same places.
func (d Decimal) Equal(e Decimal) bool { return d.places == e.places && d.int().Cmp(e.int()) == 0 }

// Trim returns d without zeros at its end.
func (d Decimal) Trim() Decimal {
	units, places := new(big.Int).Set(d.int()), d.places
	quotient, rest := new(big.Int), new(big.Int)
	for places > 0 {
		if quotient.QuoRem(units, ten, rest); rest.Sign() != 0 {
			break
		}
		units, quotient = quotient, units
		places--
	}
	return Decimal{units, places}
}

// Units returns d as a number of units of 10^-places, and false if it has more
// places than that or does not fit 64 bits.
func (d Decimal) Units(places int) (units int64, ok bool) {
	t := d.Trim()
	if t.places > places || !t.scaled(places).IsInt64() {
		return 0, false
	}
	return t.scaled(places).Int64(), true
}

// String returns the number in full, with its places.
func (d Decimal) String() string {
	digits := new(big.Int).Abs(d.int()).String()
	if missing := d.places + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	if d.places > 0 {
		digits = digits[:len(digits)-d.places] + "." + digits[len(digits)-d.places:]
	}
	if d.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

// negligible says whether d is at most half of a unit of so many places: tools
// round it to zero.
func (d Decimal) negligible(places int) bool {
	if d.Sign() == 0 {
		return true
	}
	if d.places <= places {
		return false
	}
	twice := Decimal{new(big.Int).Lsh(new(big.Int).Abs(d.int()), 1), d.places}
	return twice.Cmp(NewDecimal(1, places)) <= 0
}

func (d Decimal) int() *big.Int {
	if d.units == nil {
		return zero
	}
	return d.units
}

// scaled returns d in units of 10^-places; d has no more places than that.
func (d Decimal) scaled(places int) *big.Int {
	if d.places == places {
		return d.int()
	}
	factor := new(big.Int).Exp(ten, big.NewInt(int64(places-d.places)), nil)
	return factor.Mul(factor, d.int())
}

var (
	zero = new(big.Int)
	ten  = big.NewInt(10)
)
