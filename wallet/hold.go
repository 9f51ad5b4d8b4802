package wallet

import (
	"fmt"
	"time"

	"maru.example/money"
)

// Limits of holds.
const (
	MaxHolds        = 1 << 20                            // open ones of a partition
	MaxBalanceHolds = 1 << 12                            // open ones of an account in one currency
	MaxHoldFor      = Millis(366 * 24 * time.Hour / 1e6) // from the machine's time to a hold's expiry
	MaxHoldsListed  = 1000                               // holds in one page of a list
)

// Millis is a time in milliseconds since 1970 UTC, or a difference of two.
type Millis int64

// reached says that a time of the machine, in nanoseconds, is not before m.
func (m Millis) reached(now int64) bool { return now >= 0 && Millis(now/1e6) >= m }

// millisOf returns the last millisecond that begins at or before a time of the
// machine, which is in nanoseconds.
func millisOf(ns int64) Millis { return Millis(ns / 1e6) }

// NewHold reserves an amount of an account: until it is captured, released or
// expired nothing else can be paid with it.
type NewHold struct {
	ID       TransactionID // of the id space of transfers
	Account  AccountID
	Payee    AccountID // the only account that it can be paid to; "": any
	Amount   money.Amount
	Currency money.Currency
	Expires  Millis // later than the machine's time, by MaxHoldFor at the most
}

// Validate returns an error if the hold is malformed. Amount and expiry are for the
// machine to judge.
func (h *NewHold) Validate() error {
	if h.ID == (TransactionID{}) {
		return ErrTransactionID
	}
	if err := h.Account.Validate(); err != nil {
		return fmt.Errorf("account: %w", err)
	}
	if h.Payee != "" {
		if err := h.Payee.Validate(); err != nil {
			return fmt.Errorf("payee: %w", err)
		}
	}
	if !h.Currency.Valid() {
		return ErrCurrency
	}
	return nil
}

// Capture is a transfer out of a hold: ID is its own, From the hold's account.
type Capture struct {
	Transfer
	Hold  TransactionID
	Final bool // what is left then is released
}

// Validate returns an error if the capture is malformed.
func (c *Capture) Validate() error {
	if c.Hold == (TransactionID{}) {
		return fmt.Errorf("hold: %w", ErrTransactionID)
	}
	return c.Transfer.Validate()
}

// Release gives what a hold has left back to its account: an amount of it, or all,
// which ends the hold.
type Release struct {
	ID       TransactionID // its own
	Hold     TransactionID
	Account  AccountID
	Amount   money.Amount // 0: all
	Currency money.Currency
}

// Extend gives a hold another expiry, later or earlier.
type Extend struct {
	ID      TransactionID // its own
	Hold    TransactionID
	Account AccountID
	Expires Millis // later than the machine's time, by MaxHoldFor at the most
}

func validateChange(id, hold TransactionID, account AccountID) error {
	if id == (TransactionID{}) {
		return ErrTransactionID
	}
	if hold == (TransactionID{}) {
		return fmt.Errorf("hold: %w", ErrTransactionID)
	}
	if err := account.Validate(); err != nil {
		return fmt.Errorf("account: %w", err)
	}
	return nil
}

// Validate returns an error if the release is malformed.
func (r *Release) Validate() error {
	if !r.Currency.Valid() {
		return ErrCurrency
	}
	return validateChange(r.ID, r.Hold, r.Account)
}

// Validate returns an error if the extension is malformed.
func (e *Extend) Validate() error { return validateChange(e.ID, e.Hold, e.Account) }

// Hold is an open hold at one moment. Amount is Left, Captured and InFlight, and
// what was released of it.
type Hold struct {
	ID       TransactionID
	Account  AccountID
	Payee    AccountID // "": any
	Currency money.Currency
	Amount   money.Amount // as it was placed
	Left     money.Amount // what it holds now
	Captured money.Amount // what was paid out of it
	InFlight money.Amount // captures under way to other partitions, which may come back
	PlacedAt int64        // nanoseconds since 1970 UTC, by the machine's time
	Expires  Millis
}

// DailyLimit is how much may leave an account in a currency on one day (UTC, by the
// machine's time): transfers and holds. The zero value is no limit.
type DailyLimit struct {
	Amount money.Amount // their sum; 0: no limit
	Count  uint32       // their number; 0: no limit
}

// Daily is an account's limit in a currency and what has left it today, as far as that
// is known: it is counted while there is a limit.
type Daily struct {
	Limit      DailyLimit
	Spent      money.Amount
	SpentCount uint32
}
