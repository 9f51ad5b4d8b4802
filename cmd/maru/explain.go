package main

import (
	"fmt"

	"maru.example/wallet"
)

// explanation says what a refusal means, and what to do about it.
type explanation struct{ text, hint string }

// explain returns the explanation of a code.
func explain(c wallet.Code) explanation {
	switch c {
	case wallet.Undecided:
		return explanation{"never seen", "nothing has moved: the transfer can be made with this id"}
	case wallet.Applied:
		return explanation{"done", ""}
	case wallet.UnknownAccount:
		return explanation{"there is no such account", "open it with `maru wallet open ID --currency CODE`"}
	case wallet.AccountFrozen:
		return explanation{"an account is frozen", "see `maru wallet show ID`; `maru wallet unfreeze ID` lets money move again"}
	case wallet.AccountClosed:
		return explanation{"an account is closed", "closed accounts stay closed: use another one"}
	case wallet.CurrencyNotHeld:
		return explanation{"an account does not hold the currency", "add it with `maru wallet currency add ID CODE`"}
	case wallet.InsufficientFunds:
		return explanation{"the paying account would go below its smallest balance", "see `maru wallet balance ID`; `maru wallet limit ID CODE MIN` changes the smallest balance"}
	case wallet.AmountNotPositive:
		return explanation{"the amount is zero or less", "to move money the other way, swap the accounts"}
	case wallet.SameAccount:
		return explanation{"both sides are the same account", "name two accounts"}
	case wallet.Overflow:
		return explanation{"a balance would not fit 64 bits", "use another account"}
	case wallet.IDReused:
		return explanation{"the transaction id was used for another transfer", "see `maru wallet transfer-status UUID`; use a new id for a new transfer"}
	case wallet.AccountExists:
		return explanation{"the account exists, opened with another currency or smallest balance", "see `maru wallet show ID`"}
	case wallet.CurrencyExists:
		return explanation{"the account holds the currency, with another smallest balance", "`maru wallet limit ID CODE MIN` changes the smallest balance"}
	case wallet.BalanceNotZero:
		return explanation{"the account still has money", "move it to another account first: every balance must be zero"}
	case wallet.UnknownTenant:
		return explanation{"there is no such tenant", "create it with `maru tenant create NAME`"}
	case wallet.LimitReached:
		return explanation{"a table is full", "see the limits in the documentation of the wallet"}
	case wallet.Pending:
		return explanation{"the transfer is under way between two partitions", "ask with `maru wallet transfer-status UUID`, or repeat it with the same --id: nothing moves twice"}
	case wallet.AccountLocked:
		return explanation{"an account is locked by another transfer under way", "try again with the same id, or with a new one if `maru wallet transfer-status UUID` shows this code"}
	case wallet.WrongPartition:
		return explanation{"the command went to a partition that does not have the account", "client and server may be of different versions: see `maru version`"}
	case wallet.Canceled:
		return explanation{"the transfer was given up before the receiving side agreed; nothing moved", "try again when all partitions can be reached"}
	case wallet.TooManyInFlight:
		return explanation{"too many transfers between the two partitions are under way", "try again later, with the same id"}
	case wallet.Held, wallet.UnknownHold, wallet.HoldFinished, wallet.HoldMismatch, wallet.HoldExceeded, wallet.HoldsOpen,
		wallet.ExpiryOutOfRange, wallet.DailyLimitExceeded:
		return explainHold(c)
	case wallet.AssetExists:
		return explanation{"there is an asset of that name with other decimal places: they never change", "see `maru wallet asset list`, or choose another name"}
	case wallet.Forgotten:
		return explanation{"the transfer was finished long ago", "see `maru wallet transfer-status UUID`"}
	case wallet.Unbalanced:
		return explanation{"the postings of a currency do not add up to zero", "debit as much of each currency as is credited"}
	case wallet.NotReversible:
		return explanation{"nothing with this id and content was applied that can be reversed", "say what was made, exactly; see `maru wallet transfer-status UUID`; a reversal is not reversed"}
	case wallet.OverReversed:
		return explanation{"all reversals together would take back more than was moved", "take back less"}
	case wallet.Malformed:
		return explanation{"the command breaks the format", "client and server may be of different versions: see `maru version`"}
	}
	return explanation{"unknown to this version", "the server is newer than this program: see `maru version`"}
}

// explainHold is explain for the codes of holds and daily limits.
func explainHold(c wallet.Code) explanation {
	switch c { //nolint:exhaustive // the rest of explain
	case wallet.Held:
		return explanation{"it is the id of a hold, which was placed", "see `maru wallet hold show HOLD`"}
	case wallet.UnknownHold:
		return explanation{"there is no such hold", "`maru wallet hold list ACCOUNT` has those that are open"}
	case wallet.HoldFinished:
		return explanation{"the hold was captured, released or has expired", "place another one with `maru wallet hold place`"}
	case wallet.HoldMismatch:
		return explanation{"the hold is of another account or currency, or for another payee", "see `maru wallet hold show HOLD`"}
	case wallet.HoldExceeded:
		return explanation{"the hold has not so much left", "see `maru wallet hold show HOLD`"}
	case wallet.HoldsOpen:
		return explanation{"the account has open holds", "release them, or wait until they expire: `maru wallet hold list ID`"}
	case wallet.ExpiryOutOfRange:
		return explanation{"a hold expires later than now, and within 366 days", "choose another expiry"}
	case wallet.DailyLimitExceeded:
		return explanation{"more would leave the account than it may on one day", "see `maru wallet show ID`; `maru wallet daily-limit ID CODE AMOUNT` changes it"}
	}
	return explanation{c.String(), "see `maru wallet hold --help`"}
}

// refused returns the failure for a refusal of the rules: what was asked, its
// code and its meaning.
func refused(what string, c wallet.Code) error {
	e := explain(c)
	return fmt.Errorf("%s: %w", what, &failure{err: &refusal{c, e.text}, hint: e.hint, status: exitRefused})
}

// refusedTransfer returns the failure for a transfer that the rules refused, or
// that is under way still.
func refusedTransfer(r wallet.Result) error {
	c := r.Code()
	e, status := explain(c), exitRefused
	switch {
	case c == wallet.Pending:
		status = exitPending
	case c == wallet.AccountLocked && r.Repeated():
		e.hint = "transfer with a new id: this one stays refused"
	case remembered(c):
		e.hint += "; then transfer with a new id: this one stays refused"
	}
	return &failure{err: &refusal{c, e.text}, hint: e.hint, status: status}
}

// remembered says whether a transfer that was refused with c stays refused: its
// id has the same answer for ever.
func remembered(c wallet.Code) bool {
	switch c {
	case wallet.UnknownAccount, wallet.AccountFrozen, wallet.AccountClosed, wallet.CurrencyNotHeld,
		wallet.InsufficientFunds, wallet.AmountNotPositive, wallet.SameAccount, wallet.Overflow, wallet.Canceled,
		wallet.UnknownHold, wallet.HoldFinished, wallet.HoldMismatch, wallet.HoldExceeded, wallet.ExpiryOutOfRange, wallet.DailyLimitExceeded,
		wallet.Unbalanced, wallet.NotReversible, wallet.OverReversed:
		return true
	case wallet.Undecided, wallet.Applied, wallet.IDReused, wallet.AccountExists, wallet.CurrencyExists,
		wallet.BalanceNotZero, wallet.UnknownTenant, wallet.LimitReached, wallet.Malformed,
		wallet.Pending, wallet.AccountLocked, wallet.WrongPartition, wallet.TooManyInFlight, wallet.Forgotten,
		wallet.Held, wallet.HoldsOpen, wallet.AssetExists:
	}
	return false
}

// refusal is the error of a command that the rules refused.
type refusal struct {
	code wallet.Code
	text string
}

// Error names the code, so that scripts find it.
func (r *refusal) Error() string { return r.code.String() + ": " + r.text }

// transferError is why a transfer or transaction was not made, or may not have been.
type transferError struct {
	what string // transfer, or transaction
	id   wallet.TransactionID
	err  error
}

// Error names the transfer, so that it can be repeated or asked for.
func (e *transferError) Error() string { return e.what + " " + e.id.String() + ": " + plain(e.err) }

// Unwrap returns the cause.
func (e *transferError) Unwrap() error { return e.err }
