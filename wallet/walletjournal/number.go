package walletjournal

import (
	"errors"
	"strings"
)

// A style is what is known of how the numbers of a commodity are written.
type style struct {
	mark   byte // the decimal mark, . or ,; 0 if nothing says
	group  byte // the mark between groups of digits; 0 likewise
	places int  // the most that were seen
	needed int  // by amounts that the journal leaves out
	used   bool // by a posting
}

var (
	errAmbiguous = errors.New("the comma may be a decimal mark or separate thousands")
	errGroups    = errors.New("the marks between digits are in no known order")
)

// parseNumber reads the digits of a number with its marks, without a sign. It
// returns the decimal mark that it found, or 0.
func parseNumber(s string, d Dialect, known style) (n Decimal, mark byte, err error) {
	if len(s) > 2*MaxNumberDigits {
		return n, 0, errNumber
	}
	var marks []byte
	groups := []string{""}
	for i := range len(s) {
		if isDigit(s[i]) {
			groups[len(groups)-1] += s[i : i+1]
			continue
		}
		marks = append(marks, s[i])
		groups = append(groups, "")
	}
	decimals, err := hasDecimals(marks, groups, d, known)
	if err != nil {
		return n, 0, err
	}
	fraction := ""
	if decimals {
		mark, fraction = marks[len(marks)-1], groups[len(groups)-1]
		marks, groups = marks[:len(marks)-1], groups[:len(groups)-1]
	}
	whole := strings.Join(groups, "")
	switch {
	case !wellGrouped(marks, groups, d, mark), whole+fraction == "":
		return n, 0, errGroups
	case fraction == "" && mark != 0 && d == Ledger:
		return n, 0, errNumber
	case len(whole)+len(fraction) > MaxNumberDigits:
		return n, 0, errNumber
	}
	return makeDecimal(whole, fraction, false), mark, nil
}

// wellGrouped says whether the digits before the decimal mark are grouped by
// one other mark, if at all.
func wellGrouped(marks []byte, groups []string, d Dialect, decimal byte) bool {
	for i, m := range marks {
		if m != marks[0] || m == decimal || groups[i] == "" || groups[i+1] == "" {
			return false
		}
		if d == Ledger && (len(groups[i+1]) != 3 || m == ' ') {
			return false
		}
	}
	return true
}

// hasDecimals says whether the last mark of a number is a decimal mark.
func hasDecimals(marks []byte, groups []string, d Dialect, known style) (bool, error) {
	if len(marks) == 0 {
		return false, nil
	}
	last, after := marks[len(marks)-1], groups[len(groups)-1]
	if d == Ledger {
		return ledgerDecimals(marks, last, groups[0], after, known)
	}
	switch {
	case last == ' ':
		return false, nil
	case len(marks) > 1:
		return marks[len(marks)-2] != last, nil
	case known.mark != 0:
		return last == known.mark, nil
	}
	return known.group != last, nil
}

// ledgerDecimals goes by ledger's rules: a point is the decimal mark, until a comma was
// one in the same commodity. A comma is, if the digits behind it are no group of three.
func ledgerDecimals(marks []byte, last byte, before, after string, known style) (bool, error) {
	if known.mark == ',' {
		return last == ',', nil
	}
	if last == '.' {
		return true, nil
	}
	points := strings.ContainsRune(string(marks), '.')
	switch {
	case len(after)%3 != 0:
		return true, nil
	case points, len(after) != 3, strings.Trim(before, "0") == "":
		return false, errAmbiguous
	}
	return false, nil
}
