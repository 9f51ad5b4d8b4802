package money

import (
	"fmt"
	"slices"
	"strings"
)

// Currency is an ISO 4217 alphabetic code: its three letters, five bits each,
// A as 1, the first letter in the highest bits. The zero value is no currency.
// Logs and wire formats hold this number, so that it never changes.
type Currency uint16

// ParseCurrency returns the currency with the given code, which is exact: three
// upper-case letters. It returns an error that wraps [ErrUnknownCurrency] if the
// table has no such code.
func ParseCurrency(code string) (Currency, error) {
	if c := pack(code); c.Valid() {
		return c, nil
	}
	return 0, fmt.Errorf("currency %s: %w", quote(code), ErrUnknownCurrency)
}

// MustParseCurrency is [ParseCurrency] for codes that stand in the program: it
// panics if the code is unknown.
func MustParseCurrency(code string) Currency {
	c, err := ParseCurrency(code)
	if err != nil {
		panic("money: " + err.Error())
	}
	return c
}

// Currencies returns all valid currencies in the order of their codes.
func Currencies() []Currency {
	var all []Currency
	for _, codes := range codesByDigits {
		for code := range strings.FieldsSeq(codes) {
			all = append(all, pack(code))
		}
	}
	slices.Sort(all)
	return all
}

// Valid says whether c is in the table.
func (c Currency) Valid() bool {
	return int(c) < len(digits) && digits[c] != 0
}

// Digits returns the number of decimal places: 2 for USD, as a dollar is 100
// cents; 0 for JPY. It is at most 4, and 0 if c is not valid.
func (c Currency) Digits() int {
	if !c.Valid() {
		return 0
	}
	return int(digits[c]) - 1
}

// String returns the code, "none" for the zero value, and "Currency(n)" for a
// number that is not three letters. A code that is not in the table is returned
// too, as it may come from the log of a newer version.
func (c Currency) String() string {
	if c == 0 {
		return "none"
	}
	code := string([]byte{'@' + byte(c>>10&31), '@' + byte(c>>5&31), '@' + byte(c&31)})
	if pack(code) != c {
		return fmt.Sprintf("Currency(%d)", uint16(c))
	}
	return code
}

// pack returns the number of a code, or 0 if it is not three upper-case letters.
func pack(code string) Currency {
	if len(code) != 3 {
		return 0
	}
	var c Currency
	for i := range len(code) {
		if code[i] < 'A' || code[i] > 'Z' {
			return 0
		}
		c = c<<5 | Currency(code[i]-'@')
	}
	return c
}
