package walletjournal

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"maru.example/money"
	"maru.example/wallet"
)

// MovementWriter writes movements of a wallet.
type MovementWriter interface {
	Write(m *Movement) error
	Flush() error // in the end
}

// NewMovementWriter returns the [MovementWriter] to w of a format: journal, csv (whose texts are
// as [SpreadsheetText] makes them), csv-exact or jsonl. The journal has names as [Journal] gives them; the others have the wallet's ids of
// accounts, and its names of currencies.
func NewMovementWriter(format string, w io.Writer, a *Assets) (MovementWriter, error) {
	switch format {
	case "journal":
		return &journalMovements{NewJournalWriter(w), a}, nil
	case "csv":
		return &csvMovements{out: csv.NewWriter(w), assets: a, text: SpreadsheetText}, nil
	case "csv-exact":
		return &csvMovements{out: csv.NewWriter(w), assets: a, text: func(s string) string { return s }}, nil
	case "jsonl":
		buffered := bufio.NewWriter(w)
		out := json.NewEncoder(buffered)
		out.SetEscapeHTML(false)
		return &jsonMovements{out, buffered, a}, nil
	}
	return nil, fmt.Errorf("walletjournal: %q is no format: journal, csv, csv-exact or jsonl", format)
}

// journalMovements writes a journal.
type journalMovements struct {
	*JournalWriter
	assets *Assets
}

// Write implements [MovementWriter].
func (w *journalMovements) Write(m *Movement) error {
	for _, part := range m.Split(MaxPostings) {
		if err := w.JournalWriter.Write(Journal(part, w.assets)); err != nil {
			return err
		}
	}
	return nil
}

// jsonMovements writes JSON Lines: an object a movement. Amounts are strings, so
// that no reader rounds them. What is empty is left out.
type jsonMovements struct {
	out      *json.Encoder
	buffered *bufio.Writer
	assets   *Assets
}

type jsonMovement struct {
	Time          string          `json:"time,omitempty"`
	TransactionID string          `json:"transaction_id,omitempty"`
	Part          bool            `json:"part,omitempty"`
	Position      string          `json:"position,omitempty"`
	Reverses      string          `json:"reverses,omitempty"`
	Date          string          `json:"date,omitempty"` // that it had in a journal
	Reference     string          `json:"reference,omitempty"`
	Description   string          `json:"description,omitempty"`
	Metadata      wallet.Metadata `json:"metadata,omitempty"`
	Postings      []jsonLeg       `json:"postings"`
}

type jsonLeg struct {
	Account  wallet.AccountID `json:"account"`
	Amount   string           `json:"amount"`
	Currency string           `json:"currency"`
}

// Write implements [MovementWriter].
func (w *jsonMovements) Write(m *Movement) error {
	j := jsonMovement{
		moment(m.Time), identifier(m.ID), m.Part, m.Position, identifier(m.Reverses),
		m.Date2.String(), m.Code, m.Description, m.Metadata, make([]jsonLeg, len(m.Legs)),
	}
	for i, l := range m.Legs {
		j.Postings[i] = jsonLeg{l.Account, l.Amount.Format(l.Currency), w.assets.Name(l.Currency)}
	}
	return written(w.out.Encode(j))
}

// Flush implements [MovementWriter].
func (w *jsonMovements) Flush() error { return written(w.buffered.Flush()) }

func written(err error) error {
	if err != nil {
		return fmt.Errorf("walletjournal: write: %w", err)
	}
	return nil
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func identifier(id wallet.TransactionID) string {
	if id == (wallet.TransactionID{}) {
		return ""
	}
	return id.String()
}

// csvMovements writes CSV (RFC 4180, but lines end as on Unix): a line for each posting, after a
// line of names. Postings with the same number in the first column are one movement.
type csvMovements struct {
	out    *csv.Writer
	assets *Assets
	text   func(string) string // what is written for a text that others chose
	n      int
}

// SpreadsheetText returns a text as a field of CSV that no spreadsheet takes for a formula (OWASP: CSV
// injection): one that begins with = + - @, their full-width forms, a tab or the end of a line gets an apostrophe before
// it, and so does one that begins with an apostrophe. Who takes a leading apostrophe away has the text. Amounts are
// numbers, and need none.
func SpreadsheetText(s string) string {
	first, _ := utf8.DecodeRuneInString(s)
	if s != "" && strings.ContainsRune("=+-@\t\r\n'＝＋－＠", first) {
		return "'" + s
	}
	return s
}

var csvNames = []string{
	"number", "time", "transaction_id", "part", "position", "reverses", "date", "reference", "description", "metadata", "account", "amount", "currency",
}

// Write implements [MovementWriter].
func (w *csvMovements) Write(m *Movement) error {
	if err := w.begin(); err != nil {
		return err
	}
	w.n++
	part, notes := "", ""
	if m.Part {
		part = "true"
	}
	if len(m.Metadata) > 0 {
		text, err := json.Marshal(m.Metadata)
		if err != nil {
			return written(err)
		}
		notes = string(text)
	}
	for _, l := range m.Legs {
		err := w.out.Write([]string{
			strconv.Itoa(w.n), moment(m.Time), identifier(m.ID), part, m.Position, identifier(m.Reverses), m.Date2.String(), w.text(m.Code), w.text(m.Description), notes,
			w.text(string(l.Account)), l.Amount.Format(l.Currency), w.text(w.assets.Name(l.Currency)),
		})
		if err != nil {
			return written(err)
		}
	}
	return nil
}

// begin writes the line of names, once.
func (w *csvMovements) begin() error {
	if w.n > 0 {
		return nil
	}
	return written(w.out.Write(csvNames))
}

// Flush implements [MovementWriter]. It writes the line of names if there was no movement.
func (w *csvMovements) Flush() error {
	if err := w.begin(); err != nil {
		return err
	}
	w.out.Flush()
	return written(w.out.Error())
}

// Accounts of an export beside the wallet's.
const (
	// OpeningAccount takes the other side of opening balances. It is at zero after
	// them, if they are those of all accounts.
	OpeningAccount = "Equity:@opening"
	// FlightAccount has, with the opposite sign, what is missing in the accounts: money on its way between
	// partitions. It is at zero when nothing is.
	FlightAccount = "Equity:@in-flight"
)

// Land adds to a movement's legs what they lack to sum to zero, from or to the [FlightAccount], in the
// order of the currencies' first legs. It takes legs of zero away, and says whether it added any.
func (m *Movement) Land() (added bool, err error) {
	sums := legs{at: map[place]int{}}
	for _, l := range m.Legs {
		if !sums.add(l.Account, l.Currency, l.Amount) {
			return false, fmt.Errorf("walletjournal: the sums of transaction %s do not fit 64 bits", m.ID)
		}
	}
	rest := legs{at: map[place]int{}}
	for _, l := range sums.all {
		negated, ok := l.Amount.Neg()
		if !ok || !rest.add(FlightAccount, l.Currency, negated) {
			return false, fmt.Errorf("walletjournal: the sums of transaction %s do not fit 64 bits", m.ID)
		}
	}
	flying := rest.notZero()
	m.Legs = append(sums.notZero(), flying...)
	return len(flying) > 0, nil
}

// Openings calls f with the movements that open an export at a moment: of each account its
// balances, in the order given, with the other side in the [OpeningAccount]; and with all, of the
// money in flight what those lack to sum to zero. Balances of zero are left out.
func Openings(at time.Time, accounts []wallet.Account, all bool, f func(*Movement) error) error {
	rest := map[money.Currency]*big.Int{}
	open := func(account wallet.AccountID, balances []wallet.Balance) error {
		m := &Movement{Time: at, Date: DateOf(at), Description: "Opening balances"}
		for _, b := range balances {
			if b.Amount == 0 {
				continue
			}
			m.Legs = append(m.Legs, Leg{account, b.Currency, b.Amount})
			negated, ok := b.Amount.Neg()
			if !ok { // one more than fits
				negated = math.MaxInt64
				m.Legs = append(m.Legs, Leg{OpeningAccount, b.Currency, 1})
			}
			m.Legs = append(m.Legs, Leg{OpeningAccount, b.Currency, negated})
		}
		if len(m.Legs) == 0 {
			return nil
		}
		return f(m)
	}
	for i := range accounts {
		for _, b := range accounts[i].Balances {
			if rest[b.Currency] == nil {
				rest[b.Currency] = new(big.Int)
			}
			rest[b.Currency].Sub(rest[b.Currency], big.NewInt(int64(b.Amount)))
		}
		if err := open(ExportedID(accounts[i].ID), accounts[i].Balances); err != nil {
			return err
		}
	}
	if !all {
		return nil
	}
	for _, c := range slices.Sorted(maps.Keys(rest)) {
		for left := rest[c]; left.Sign() != 0; {
			part := clamp(left)
			left.Sub(left, big.NewInt(int64(part)))
			if err := open(FlightAccount, []wallet.Balance{{Currency: c, Amount: part}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// clamp returns the amount that is nearest to n.
func clamp(n *big.Int) money.Amount {
	switch {
	case n.IsInt64():
		return money.Amount(n.Int64())
	case n.Sign() < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}
