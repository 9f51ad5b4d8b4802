// Package wallet moves money between accounts, durably and exactly once.
//
// The rules are a deterministic machine ([Machine]) on a log ([maru.example/rsm]):
// what was decided once is decided again by every replay. [Service] is the way
// in for programs: it encodes commands, proposes them and waits for the results.
package wallet

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"maru.example/money"
)

// Limits of the wallet.
const (
	MaxAccountIDBytes = 64        // of an account's or a tenant's id
	MaxBatch          = 8192      // commands in one batch
	MaxTenants        = 1 << 10   // tenants
	MaxCurrencies     = 64        // currencies that one account holds
	MaxAccounts       = 1<<32 - 1 // accounts of all tenants
)

// Unlimited as a smallest balance lets an account go below zero without limit:
// it is where money enters and leaves.
const Unlimited money.Amount = math.MinInt64

// DefaultTenant is the tenant that always exists.
const DefaultTenant Tenant = "default"

// Errors of malformed input: nothing was proposed.
var (
	ErrAccountID     = errors.New("wallet: an account id has 1 to 64 letters, digits and ._:-@ (. and .. are no ids)")
	ErrTenant        = errors.New("wallet: a tenant's name has 1 to 64 letters, digits and ._:-@ (. and .. are no names)")
	ErrTransactionID = errors.New("wallet: a transaction_id is a UUID, such as 01900000-0000-7000-8000-000000000001, and not all zeros")
	ErrBatchSize     = errors.New("wallet: a batch has 1 to 8192 commands")
	ErrCurrency      = errors.New("wallet: unknown currency")
)

// AccountID names an account, uniquely within its tenant: 1 to 64 letters (A-Z,
// a-z), digits and ._:-@. The names . and .. are not valid: clients, proxies and
// servers take them out of the paths of URLs (RFC 3986, section 5.2.4).
type AccountID string

// Validate returns ErrAccountID if id is not an account id.
func (id AccountID) Validate() error {
	if !validName(string(id)) {
		return ErrAccountID
	}
	return nil
}

// Tenant names one of the worlds that share a wallet. They are apart in
// everything: accounts, transaction ids, keys. Its form is an AccountID's.
type Tenant string

// Validate returns ErrTenant if t is not a tenant's name.
func (t Tenant) Validate() error {
	if !validName(string(t)) {
		return ErrTenant
	}
	return nil
}

func validName(s string) bool {
	if len(s) == 0 || len(s) > MaxAccountIDBytes || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		if !nameByte[s[i]] {
			return false
		}
	}
	return true
}

var nameByte = func() (ok [256]bool) {
	for c := range 256 {
		switch b := byte(c); {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9',
			b == '.', b == '_', b == ':', b == '-', b == '@':
			ok[c] = true
		}
	}
	return ok
}()

// Handle stands for an account in the batch stream. It is given when the account
// is opened, never changes, and is never zero. Its upper 16 bits are the number
// of the account's partition.
type Handle uint64

// TransactionID is the UUID (RFC 9562) that makes a transfer happen once: within
// a tenant and the partition of the paying account it is remembered for ever. With
// paying accounts in two partitions the same id is two transfers. The zero value is
// not valid.
type TransactionID [16]byte

// ParseTransactionID reads the form 8-4-4-4-12 of hexadecimal digits, of either case.
func ParseTransactionID(s string) (TransactionID, error) {
	var id TransactionID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, ErrTransactionID
	}
	var digits [32]byte
	copy(digits[:8], s[:8])
	copy(digits[8:12], s[9:13])
	copy(digits[12:16], s[14:18])
	copy(digits[16:20], s[19:23])
	copy(digits[20:], s[24:])
	if _, err := hex.Decode(id[:], digits[:]); err != nil || id == (TransactionID{}) {
		return TransactionID{}, ErrTransactionID
	}
	return id, nil
}

// String returns the form 8-4-4-4-12 in lower case.
func (id TransactionID) String() string { return string(id.Append(nil)) }

// Append appends the form 8-4-4-4-12 in lower case to dst.
func (id TransactionID) Append(dst []byte) []byte {
	dst = hex.AppendEncode(dst, id[:4])
	for _, part := range [][]byte{id[4:6], id[6:8], id[8:10], id[10:]} {
		dst = append(dst, '-')
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

// Transfer moves Amount of Currency from one account to another.
type Transfer struct {
	ID       TransactionID
	From, To AccountID
	Amount   money.Amount // more than zero
	Currency money.Currency
}

// Balance is what an account holds of one currency.
type Balance struct {
	Currency money.Currency
	Amount   money.Amount
	Min      money.Amount // transfers out may not bring Amount, less what is held, below it; 0 by default, or Unlimited
	Held     money.Amount // reserved by holds
	Daily    Daily        // limit of what may leave the account on one day
}

// Available is what is not held: Amount less Held.
func (b *Balance) Available() money.Amount {
	if b.Amount < math.MinInt64+b.Held {
		return math.MinInt64
	}
	return b.Amount - b.Held
}

// Account is the state of an account at one moment.
type Account struct {
	ID       AccountID
	Handle   Handle
	Status   Status
	OpenedAt int64     // nanoseconds since 1970 UTC, by the machine's time
	Balances []Balance // in the order in which the currencies were added
}

// Status says what may be done with an account. The numbers are part of the log's format.
type Status uint8

// The statuses.
const (
	Open   Status = iota // money moves in and out
	Frozen               // no money moves; can be unfrozen
	Closed               // no money moves, for ever; every balance is zero
)

// String returns the name that the API shows.
func (s Status) String() string {
	switch s {
	case Open:
		return "open"
	case Frozen:
		return "frozen"
	case Closed:
		return "closed"
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// Code is the machine's decision on a command. The numbers are part of the log's
// and the stream's format, the names of the API's: none is ever changed.
type Code uint8

// The codes.
const (
	Undecided          Code = iota // never seen; not an answer to a command
	Applied                        // done
	UnknownAccount                 // no account has this id or handle
	AccountFrozen                  // one of the accounts is frozen
	AccountClosed                  // one of the accounts is closed
	CurrencyNotHeld                // one of the accounts does not hold the currency
	InsufficientFunds              // the paying account would go below its smallest balance
	AmountNotPositive              // the amount is zero or less
	SameAccount                    // both sides are the same account
	Overflow                       // a balance would not fit 64 bits
	IDReused                       // the transaction_id was used for another transfer
	AccountExists                  // the account was opened with other content
	CurrencyExists                 // the account holds the currency, with another limit now
	BalanceNotZero                 // only accounts with no money can be closed
	UnknownTenant                  // no tenant has this name
	LimitReached                   // a table is full: see Limits
	Malformed                      // the command breaks the format
	Pending                        // under way between two partitions: ask again
	AccountLocked                  // one of the accounts is locked by a transfer under way
	WrongPartition                 // another partition has to decide it
	Canceled                       // given up before the receiving side agreed
	TooManyInFlight                // MaxInFlight transfers between the two partitions are under way
	Forgotten                      // finished long ago; an answer between partitions only
	Held                           // the hold was placed
	UnknownHold                    // no hold has this id
	HoldFinished                   // the hold was captured, released or has expired
	HoldMismatch                   // the hold is of another account or currency, or for another payee
	HoldExceeded                   // the hold has not so much left
	HoldsOpen                      // an account with open holds cannot be closed
	ExpiryOutOfRange               // a hold expires later than the machine's time, by MaxHoldFor at the most
	DailyLimitExceeded             // more would leave the account than it may on one day
	Unbalanced                     // the postings of a currency do not add up to zero
	NotReversible                  // nothing with this id and content was applied
	OverReversed                   // all reversals together would be more than the original
	AssetExists                    // the tenant has the asset, with other decimal places
)

var codeNames = [...]string{
	Undecided:         "undecided",
	Applied:           "applied",
	UnknownAccount:    "unknown_account",
	AccountFrozen:     "account_frozen",
	AccountClosed:     "account_closed",
	CurrencyNotHeld:   "currency_not_held",
	InsufficientFunds: "insufficient_funds",
	AmountNotPositive: "amount_not_positive",
	SameAccount:       "same_account",
	Overflow:          "overflow",
	IDReused:          "transaction_id_reused",
	AccountExists:     "account_exists",
	CurrencyExists:    "currency_exists",
	BalanceNotZero:    "balance_not_zero",
	UnknownTenant:     "unknown_tenant",
	LimitReached:      "limit_reached",
	Malformed:         "malformed",
	Pending:           "pending",
	AccountLocked:     "account_locked",
	WrongPartition:    "wrong_partition",
	Canceled:          "canceled",
	TooManyInFlight:   "too_many_in_flight",
	Forgotten:         "forgotten",

	Held:               "held",
	UnknownHold:        "unknown_hold",
	HoldFinished:       "hold_finished",
	HoldMismatch:       "hold_mismatch",
	HoldExceeded:       "hold_exceeded",
	HoldsOpen:          "holds_open",
	ExpiryOutOfRange:   "expiry_out_of_range",
	DailyLimitExceeded: "daily_limit_exceeded",
	Unbalanced:         "unbalanced",
	NotReversible:      "not_reversible",
	OverReversed:       "over_reversed",
	AssetExists:        "asset_exists",
}

// Codes returns all codes in the order of their numbers.
func Codes() []Code {
	codes := make([]Code, len(codeNames))
	for i := range codes {
		codes[i] = Code(i)
	}
	return codes
}

// String returns the name that the API shows, such as insufficient_funds.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code(%d)", uint8(c))
}

// Result is the answer to a transfer: the code, and whether it is the answer of
// an earlier transfer with the same id and content. Nothing moves in that case.
type Result uint8

// repeated is the bit of a result that was given before: of a transfer, or of
// the opening of an account.
const repeated Result = 0x80

// Repeat returns the answer to a transfer that had been decided before.
func Repeat(c Code) Result { return Result(c) | repeated }

// Code returns the decision.
func (r Result) Code() Code { return Code(r &^ repeated) }

// Repeated says that the transfer had been decided before.
func (r Result) Repeated() bool { return r&repeated != 0 }

// HandleTransfer is a Transfer between accounts known by their handles.
type HandleTransfer struct {
	ID       TransactionID
	From, To Handle
	Amount   money.Amount
	Currency money.Currency
}

// NewAccount is an account to be opened, holding one currency.
type NewAccount struct {
	ID       AccountID
	Currency money.Currency
	Min      money.Amount
}

// Opened is the answer to a NewAccount: the handle, if the code is Applied.
type Opened struct {
	Handle Handle
	Code   Code
	Before bool // it had been opened before, with the same content
}
