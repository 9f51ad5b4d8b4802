// Package money has amounts of money and the currencies they are in: exact
// integers of a currency's minor unit, read from and written as decimal text
// without floating point and without rounding.
//
// An [Amount] does not know its currency, as the balances of a ledger are kept
// per currency anyway; functions that turn amounts into text or back are given
// a [Currency].
package money

import "errors"

// Errors of parsing, matched with errors.Is. The error that wraps one of them
// quotes what was parsed.
var (
	// ErrSyntax says that the text is not an amount.
	ErrSyntax = errors.New("not a decimal amount")
	// ErrTooPrecise says that the text has more decimal places than the
	// currency, be they zeros.
	ErrTooPrecise = errors.New("more decimal places than the currency has")
	// ErrOverflow says that the amount does not fit 64 bits.
	ErrOverflow = errors.New("amount out of range")
	// ErrUnknownCurrency says that a currency is not in the table.
	ErrUnknownCurrency = errors.New("unknown currency")
)
