// Package walletjournal reads and writes the journals of plain-text accounting,
// the format that hledger and ledger share, and says how accounts, commodities
// and transactions of a journal are named in the wallet, and back.
//
// [Read] delivers the transactions of a journal, with every amount that the
// journal leaves to the tools filled in; nothing is delivered before the whole journal was found
// good. [JournalWriter] writes the same transactions. [Converter] makes of a transaction
// what a wallet does: a [Movement], legs on accounts, which sum to zero in each
// commodity, under an id that follows from the content. [NewMovementWriter] writes
// movements as a journal, as CSV or as JSON Lines.
//
// What is understood, what is refused and why: wallet/walletjournal/DESIGN.md.
package walletjournal

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Limits of a journal that is read. What goes beyond is refused with the line.
const (
	MaxLineBytes    = 16 << 10 // of a line
	MaxPostings     = 64       // of a transaction, with those that were left to the tools
	MaxCommentBytes = 64 << 10 // of a transaction's and of a posting's comment; an eighth is written
	MaxNameBytes    = 1 << 10  // of an account or a commodity
	MaxNumberDigits = 64       // of a number in the journal
	MaxPlaces       = 64       // behind the point of an amount that was multiplied
	MaxDepth        = 16       // files that include each other
	MaxFiles        = 1 << 12  // that are read
	MaxTransactions = 1 << 20  // in all files
	MaxNames        = 1 << 17  // accounts, and as many balances of one commodity in one account
	MaxDirectives   = 1 << 12  // aliases, commodities and rules, each
)

// ErrChanged is returned by [Read] when a file had other content when it was read for the second
// time. What was delivered is good; reading again delivers the rest.
var ErrChanged = errors.New("walletjournal: a file was changed while it was read")

// Error says what is wrong in a journal, and where.
type Error struct {
	File   string
	Line   int // from 1; 0 if it is about the whole file
	Reason string
}

// Error returns the file, the line and the reason, as compilers do.
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Reason)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// Dialect says by which tool's rules a journal is read, where they differ.
type Dialect uint8

// The dialects.
const (
	Ledger  Dialect = iota // ledger 3
	HLedger                // hledger 1.25
)

// String returns the name of the tool.
func (d Dialect) String() string {
	switch d {
	case Ledger:
		return "ledger"
	case HLedger:
		return "hledger"
	}
	return fmt.Sprintf("dialect(%d)", uint8(d))
}

// ParseDialect returns the dialect with the name of a tool: ledger or hledger.
func ParseDialect(name string) (Dialect, error) {
	for _, d := range []Dialect{Ledger, HLedger} {
		if d.String() == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("walletjournal: %q is no dialect: ledger or hledger", name)
}

// Status is the mark before a description or an account.
type Status uint8

// The statuses.
const (
	Unmarked Status = iota
	Pending         // !
	Cleared         // *
)

// String returns the mark as it is written.
func (s Status) String() string {
	switch s {
	case Unmarked:
		return ""
	case Pending:
		return "!"
	case Cleared:
		return "*"
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// Kind says whether a posting is real, and whether it has to balance.
type Kind uint8

// The kinds.
const (
	Real       Kind = iota
	Balanced        // [account]: virtual, and the balanced ones sum to zero
	Unbalanced      // (account): virtual, on its own
)

// String returns what the API of others calls it.
func (k Kind) String() string {
	switch k {
	case Real:
		return "real"
	case Balanced:
		return "balanced"
	case Unbalanced:
		return "unbalanced"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Date is a day. The zero value is none.
type Date struct {
	Year, Month, Day int
}

// String returns YYYY-MM-DD, and nothing for no date.
func (d Date) String() string {
	if d == (Date{}) {
		return ""
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day)
}

// Before says whether d comes before e.
func (d Date) Before(e Date) bool { return d.number() < e.number() }

func (d Date) number() int { return d.Year<<9 | d.Month<<5 | d.Day }

// DateOf returns the day of t in t's location.
func DateOf(t time.Time) Date { return Date{t.Year(), int(t.Month()), t.Day()} }

// valid says whether there is such a day, in the years that both tools read.
func (d Date) valid() bool {
	if d.Year < 1400 || d.Year > 9999 || d.Month < 1 || d.Month > 12 || d.Day < 1 {
		return false
	}
	return DateOf(time.Date(d.Year, time.Month(d.Month), d.Day, 0, 0, 0, 0, time.UTC)) == d
}

// Amount is a number of a commodity: of a currency, shares, hours. The commodity
// "" is that of bare numbers.
type Amount struct {
	Number    Decimal
	Commodity string
}

// String returns the number and, behind a space, the commodity, in quotes where it needs them.
func (a Amount) String() string {
	switch {
	case a.Commodity == "":
		return a.Number.String()
	case strings.ContainsFunc(a.Commodity, needsQuotes):
		return a.Number.String() + ` "` + a.Commodity + `"`
	}
	return a.Number.String() + " " + a.Commodity
}

// Cost is what a posting's amount was exchanged for.
type Cost struct {
	Amount Amount
	Total  bool // of the whole amount (@@), not of one (@)
}

// Posting moves Amount onto an account, or off it if it is negative.
type Posting struct {
	Account  string
	Kind     Kind
	Status   Status
	Amount   Amount
	Cost     *Cost  // at which it balances; nil without
	Lot      string // in ledger's notation, as {96.03 USD} [2020-01-02] @ 99.10 USD; "" without
	Inferred bool   // the journal leaves the amount out, or a rule made the posting
	Comment  string // lines, without their semicolons
}

// Transaction is one entry of a journal.
type Transaction struct {
	File        string // where it is from: of what was read
	Line        int
	Date        Date
	Date2       Date // the second date, as in 2020-01-01=2020-01-03
	Status      Status
	Code        string // in parentheses before the description
	Description string
	Comment     string // lines, without their semicolons
	Postings    []Posting
}

// Tag returns the value of a tag in the lines of a comment, "name: value" up to the end of
// the line, and whether it is there.
func Tag(comment, name string) (value string, ok bool) {
	for line := range strings.SplitSeq(comment, "\n") {
		if v, found := strings.CutPrefix(strings.TrimSpace(line), name+":"); found {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}
