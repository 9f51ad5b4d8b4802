package wallet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"maru.example/money"
	"maru.example/rsm"
)

// Limits of the history.
const (
	MaxHistoryLines = 1000 // in one page
	// MaxHistoryScan is how many lines are looked at for one page: where a filter
	// passes few, a page may have less than was asked for, and more may follow.
	MaxHistoryScan = 50_000
)

// Errors of the history.
var (
	// ErrHistoryUnavailable says that nothing here has the history that was asked for:
	// it begins later, or no node that can be reached keeps it.
	ErrHistoryUnavailable = errors.New("wallet: history unavailable")
	// ErrHistoryBehind says that the history has not come to the position that was
	// asked for in the time that there was.
	ErrHistoryBehind = errors.New("wallet: history behind")
	// ErrAtLeast says that a position that an answer has to reflect is of no partition.
	ErrAtLeast = errors.New("wallet: a position is of a partition that does not exist")
	// ErrPosition says that a text is no position.
	ErrPosition = errors.New("wallet: a position is partition:index, such as 0:1234, or several joined by commas")
)

// History is what was made of the log to be asked about the past: read models, which
// follow the log at their own pace. Each answer says what it reflects. Errors wrap
// ErrHistoryUnavailable or ErrHistoryBehind. It is safe for concurrent use.
type History interface {
	// Lines returns a page of an account's lines.
	Lines(q *LineQuery) (LinePage, error)
	// BalancesAt returns what an account held after the last change at or before a
	// time, in nanoseconds since 1970 UTC, as far as it has come. Without any balance it was not open.
	BalancesAt(account Handle, at int64) (PastBalances, error)
	// Statement returns a page of a statement of the query's currency, which has to be one,
	// and its period.
	Statement(q *LineQuery) (Statement, error)
	// Turnover returns what a tenant's transfers in a partition add up to.
	Turnover(partition, tenant uint16) (Turnover, error)
	// Events returns a page of what happened to an account, or in a tenant.
	Events(q *EventQuery) (EventPage, error)
	// Transactions returns a page of a tenant's transactions with a reference, or of the
	// reversals of one.
	Transactions(q *ReferenceQuery) (TransactionPage, error)
	// Find returns what was done under a transaction id.
	Find(q *IDQuery) (FoundEvents, error)
	// Wait returns when the history has come to a position, or with ctx.
	Wait(ctx context.Context, p HistoryPosition) error
}

// HistoryPosition is a place in the log of a partition.
type HistoryPosition struct {
	Partition uint16    `json:"partition,omitzero"`
	Index     rsm.Index `json:"index"`
}

// String returns the form partition:index.
func (p HistoryPosition) String() string {
	return strconv.Itoa(int(p.Partition)) + ":" + strconv.FormatUint(uint64(p.Index), 10)
}

// HistoryPositions are places in the logs of several partitions.
type HistoryPositions []HistoryPosition

// String joins the positions by commas.
func (ps HistoryPositions) String() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}

// maxPositionText is the most bytes of positions that are read.
const maxPositionText = 64 << 10

// ParseHistoryPositions reads what String returns. The error is ErrPosition.
func ParseHistoryPositions(s string) (HistoryPositions, error) {
	var ps HistoryPositions
	if len(s) > maxPositionText {
		return nil, ErrPosition
	}
	for text := range strings.SplitSeq(s, ",") {
		first, second, ok := strings.Cut(text, ":")
		partition, err := strconv.ParseUint(first, 10, 16)
		index, err2 := strconv.ParseUint(second, 10, 64)
		if !ok || err != nil || err2 != nil {
			return nil, ErrPosition
		}
		ps = append(ps, HistoryPosition{uint16(partition), rsm.Index(index)})
	}
	return ps, nil
}

// HistoryMark says what an answer reflects: the entries of a partition's log from
// one to another.
type HistoryMark struct {
	HistoryPosition
	Time      int64     `json:"time"`       // of the last entry that was taken up, 0 before the first
	First     rsm.Index `json:"first"`      // of the entries that are in it: 1, all
	FirstTime int64     `json:"first_time"` // of that entry; 0 if First is 1
}

// covers says that no entry with a time before a moment is missing at the end: the mark is of that moment or later, as the
// times of a log never go back, or the history has come to an entry.
func (m *HistoryMark) covers(before int64, entry rsm.Index) bool {
	return m.Time >= before || m.Index >= entry
}

// LineKey is the place of a line: in a partition they are ordered by it.
type LineKey struct {
	Time   int64     `json:"time"` // of the entry, in nanoseconds since 1970 UTC
	Index  rsm.Index `json:"index"`
	Number uint32    `json:"number"` // of the event in the entry, from 0
}

// Behind returns the place behind all events of an entry.
func Behind(time int64, index rsm.Index) LineKey {
	return LineKey{Time: time, Index: index, Number: math.MaxUint32}
}

// Compare returns -1, 0 or +1.
func (k LineKey) Compare(other LineKey) int {
	switch {
	case k == other:
		return 0
	case k.Time != other.Time:
		return order(k.Time < other.Time)
	case k.Index != other.Index:
		return order(k.Index < other.Index)
	}
	return order(k.Number < other.Number)
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

// Line is a change of an account's balance.
type Line struct {
	LineKey
	Kind         EventKind      `json:"kind"`
	Account      Handle         `json:"account"`
	Other        Handle         `json:"other,omitzero"`         // the other side; 0 where it is not known
	OtherAccount AccountID      `json:"other_account,omitzero"` // "" where it is not known
	ID           TransactionID  `json:"id"`
	Currency     money.Currency `json:"currency"`
	Amount       money.Amount   `json:"amount"` // less than zero: was debited
	Balance      money.Amount   `json:"balance"`
}

// Direction says which lines are wanted.
type Direction uint8

// The directions.
const (
	AnyDirection Direction = iota
	Incoming               // the balance grew
	Outgoing
)

// LineQuery asks for lines of an account.
type LineQuery struct {
	Account   Handle         `json:"account"`
	From      int64          `json:"from,omitzero"`      // the first time, in nanoseconds since 1970 UTC
	To        int64          `json:"to,omitzero"`        // the first time beyond the last; 0: no end
	Currency  money.Currency `json:"currency,omitzero"`  // 0: all
	Other     Handle         `json:"other,omitzero"`     // 0: any
	Direction Direction      `json:"direction,omitzero"` // default: any
	Newest    bool           `json:"newest,omitzero"`    // the newest first
	After     LineKey        `json:"after,omitzero"`     // of the page before: where to go on; zero: at the beginning
	Limit     int            `json:"limit"`              // from 1 to MaxHistoryLines
}

// Wants says whether a line that is of the account, currency and period passes the other filters.
func (q *LineQuery) Wants(l *Line) bool {
	return (q.Other == 0 || l.Other == q.Other) && (q.Direction == AnyDirection || (q.Direction == Outgoing) == (l.Amount < 0))
}

// LinePage is an answer to a LineQuery.
type LinePage struct {
	Lines []Line      `json:"lines,omitempty"`
	Next  LineKey     `json:"next,omitzero"` // zero: there is no more so far
	Mark  HistoryMark `json:"mark"`
}

// PastBalance is what an account held of a currency.
type PastBalance struct {
	Currency money.Currency `json:"currency"`
	Amount   money.Amount   `json:"amount"`
}

// PastBalances are those of an account at a moment, in the order of the currencies' codes.
type PastBalances struct {
	Balances []PastBalance `json:"balances,omitempty"`
	Mark     HistoryMark   `json:"mark"`
	// Partial says that the account was open before the history begins: it may hold
	// currencies in which nothing has changed since, which are not among the balances.
	Partial bool      `json:"partial,omitzero"`
	Decided rsm.Index `json:"decided,omitzero"` // as in FoundEvents, before the balances were read
}

// Statement is a page of the lines of a period, and the balances before and after it.
type Statement struct {
	LinePage
	Currency money.Currency `json:"currency,omitzero"`
	Opening  money.Amount   `json:"opening"` // before the first line of the period
	Closing  money.Amount   `json:"closing"` // after the last one so far
	// Complete says that no line of the period can come any more: later entries were
	// taken up.
	Complete bool      `json:"complete,omitzero"`
	Decided  rsm.Index `json:"decided,omitzero"` // as in FoundEvents, before the lines were read
}

// Turnover is what happened in a partition to a tenant's balances, by currency.
type Turnover struct {
	Currencies []CurrencyTurnover `json:"currencies,omitempty"` // in the order of their codes
	Mark       HistoryMark        `json:"mark"`
}

// CurrencyTurnover adds up the changes of the balances in one currency.
type CurrencyTurnover struct {
	Currency money.Currency `json:"currency"`
	Balances uint64         `json:"balances"` // how many accounts hold it
	Lines    uint64         `json:"lines"`    // how many changes
	Sum      Sum            `json:"sum"`      // of all balances
	Issued   Sum            `json:"issued"`   // of the balances below zero: zero or less
	Debited  Sum            `json:"debited"`  // of all debits, less what came back: zero or less
}

// Sum is a sum of amounts, in 128 bits.
type Sum = int128

// Take adds the change of a balance.
func (c *CurrencyTurnover) Take(e *Event) {
	c.Lines++
	c.Sum.add(int64(e.Amount))
	if e.Kind == Debit || e.Kind == Return {
		c.Debited.add(int64(e.Amount))
	}
	if before := e.Balance - e.Amount; before < 0 {
		c.Issued.minus(wide(before))
	}
	if e.Balance < 0 {
		c.Issued.add(int64(e.Balance))
	}
}

// Plus adds another turnover of the same currency.
func (c *CurrencyTurnover) Plus(other *CurrencyTurnover) {
	c.Balances += other.Balances
	c.Lines += other.Lines
	c.Sum.plus(other.Sum)
	c.Issued.plus(other.Issued)
	c.Debited.plus(other.Debited)
}

func wide(a money.Amount) (n int128) {
	n.add(int64(a))
	return n
}

// EntryEvents calls f with the events of a decided entry, in order, numbered from 0.
// The event is valid during the call.
func EntryEvents(d *rsm.Decided, f func(number uint32, e *Event) error) error {
	number := uint32(0)
	err := d.Batches(func(b rsm.DecidedBatch) error {
		return Events(b.Data, b.Results, b.Effects, func(e *Event) error {
			err := f(number, e)
			number++
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("events of entry %d: %w", d.Index, err)
	}
	return nil
}

// MovesMoney says that an event of the kind changes a balance.
func (k EventKind) MovesMoney() bool {
	switch k {
	case Debit, Credit, Return:
		return true
	case NoEvent, AccountOpened, CurrencyAdded, LimitChanged, StatusChanged, TenantMade, AssetMade, TransferFailed,
		HoldPlaced, HoldCaptured, HoldReleased, HoldExtended, HoldExpired, HoldRestored, DailyLimitSet, TransactionMade, endEvent:
	}
	return false
}
