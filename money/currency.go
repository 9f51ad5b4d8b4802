package money

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Currency is what amounts are of. It is an ISO 4217 alphabetic code: its three letters, five bits each,
// A as 1, the first letter in the highest bits. Or, with the highest bit set, it is an
// asset that a ledger has for itself, such as shares or hours: 4 bits of decimal places and 11 of a
// number, whose name the ledger knows. The zero value is no currency.
// Logs and wire formats hold this number, so that it never changes.
type Currency uint16

// Limits of a ledger's own assets.
const (
	MaxAssets      = 1 << 11 // their numbers are below
	MaxAssetDigits = 15      // decimal places
)

const (
	assetBit    = 1 << 15
	digitsShift = 11
)

// Asset returns the currency that stands for the ledger's own asset with the number, of
// so many decimal places. It panics beyond the limits.
func Asset(number, digits int) Currency {
	if uint(number) >= MaxAssets || uint(digits) > MaxAssetDigits {
		panic(fmt.Sprintf("money: asset %d with %d decimal places", number, digits))
	}
	return assetBit | Currency(digits)<<digitsShift | Currency(number)
}

// Asset returns the number of a ledger's own asset, and false if c is none.
func (c Currency) Asset() (number int, ok bool) { return int(c & (MaxAssets - 1)), c&assetBit != 0 }

// ParseCurrency returns the currency with the given code, which is exact: three
// upper-case letters. It also takes what [Currency.String] writes for assets that a ledger has
// for itself; their names are the ledger's. It returns an error that wraps [ErrUnknownCurrency]
// if there is no such currency.
func ParseCurrency(code string) (Currency, error) {
	if c := pack(code); c.Valid() {
		return c, nil
	}
	if c := parseAsset(code); c != 0 {
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

// Currencies returns all currencies of the table in the order of their codes.
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

// Valid says whether c is in the table, or is a ledger's own asset.
func (c Currency) Valid() bool {
	return c&assetBit != 0 || int(c) < len(digits) && digits[c] != 0
}

// Digits returns the number of decimal places: 2 for USD, as a dollar is 100
// cents; 0 for JPY. It is at most 4 in the table and at most MaxAssetDigits, and 0 if c is not valid.
func (c Currency) Digits() int {
	switch {
	case c&assetBit != 0:
		return int(c>>digitsShift) & 15
	case !c.Valid():
		return 0
	}
	return int(digits[c]) - 1
}

// String returns the code, "asset-n.d" for the ledger's own asset n with d decimal places, "none" for
// the zero value, and "Currency(n)" for a number that is not three letters. A code that is not in the table is returned
// too, as it may come from the log of a newer version.
func (c Currency) String() string {
	if c == 0 {
		return "none"
	}
	if number, ok := c.Asset(); ok {
		return fmt.Sprintf("%s%d.%d", assetPrefix, number, c.Digits())
	}
	code := string([]byte{'@' + byte(c>>10&31), '@' + byte(c>>5&31), '@' + byte(c&31)})
	if pack(code) != c {
		return fmt.Sprintf("Currency(%d)", uint16(c))
	}
	return code
}

const assetPrefix = "asset-"

// parseAsset returns the currency of which String writes s, or 0 if s is no asset.
func parseAsset(s string) Currency {
	rest, ok := strings.CutPrefix(s, assetPrefix)
	number, digits, dot := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 10, digitsShift)
	d, err2 := strconv.ParseUint(digits, 10, 4)
	if !ok || !dot || err != nil || err2 != nil {
		return 0
	}
	if c := Asset(int(n), int(d)); c.String() == s {
		return c
	}
	return 0
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
