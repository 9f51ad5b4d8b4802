package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"maru.example/money"
	"maru.example/wallet"
)

// maxLineBytes is the longest line that a load file may have. The longest valid
// record, with all of its metadata in escapes, is half of it.
const maxLineBytes = 16 << 10

// format is how the records of a load file are written.
type format uint8

// The formats.
const (
	formatAuto   format = iota // by the file's name, or else by its first byte
	formatCSV                  // a header line and comma-separated fields (RFC 4180), one record a line
	formatNDJSON               // one JSON object a line
)

var formatNames = [...]string{formatAuto: "auto", formatCSV: "csv", formatNDJSON: "ndjson"}

// String returns the name that --format takes.
func (f format) String() string { return formatNames[f] }

func parseFormat(s string) (format, error) {
	for f, name := range formatNames {
		if s == name {
			return format(f), nil
		}
	}
	return 0, fmt.Errorf("unknown format %q", s)
}

// formatOfName returns the format that a file's name tells, or formatAuto.
func formatOfName(name string) format {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv":
		return formatCSV
	case ".ndjson", ".jsonl", ".json":
		return formatNDJSON
	}
	return formatAuto
}

// recordKind says what a record asks for.
type recordKind uint8

// The kinds.
const (
	accountRecord recordKind = iota
	transferRecord
)

// record is one line of a load file.
type record struct {
	line     int64 // from 1
	kind     recordKind
	account  wallet.NewAccount // of an accountRecord
	transfer wallet.Transfer   // of a transferRecord
	notes    wallet.Notes      // of a transferRecord
}

// A lineError is a malformed line that was passed over: the reader goes on behind it.
type lineError struct {
	line   int64
	reason string
}

// Error names the line and the reason.
func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.reason) }

// recordReader reads the records of a load file.
type recordReader interface {
	// read fills r with the next record. It returns io.EOF at the end, a
	// *lineError for a line that it passes over, and any other error when
	// it cannot go on.
	read(r *record) error
}

// newRecordReader returns a reader of in, which has the given format. For
// formatAuto it decides by the first byte: NDJSON begins with a brace.
func newRecordReader(in io.Reader, f format) (recordReader, error) {
	l := &lineReader{r: bufio.NewReaderSize(in, maxLineBytes)}
	if f == formatAuto {
		f = formatCSV
		if l.first() == '{' {
			f = formatNDJSON
		}
	}
	if f == formatNDJSON {
		return &ndjsonReader{lines: l}, nil
	}
	return newCSVReader(l)
}

// byteOrderMark is what some programs put in front of UTF-8 text.
const byteOrderMark = "\ufeff"

// lineReader reads lines of at most maxLineBytes and counts them.
type lineReader struct {
	r      *bufio.Reader
	number int64 // of the line that was read last
}

// first returns the first byte that is no space, or 0. It reads no further, as
// more may be long in coming.
func (l *lineReader) first() byte {
	for n := 1; n <= l.r.Size(); n++ {
		start, err := l.r.Peek(n)
		if err != nil {
			return 0
		}
		start = bytes.TrimPrefix(start, []byte(byteOrderMark))
		if start = bytes.TrimLeft(start, " \t\r\n"); len(start) > 0 && start[0] != byteOrderMark[0] {
			return start[0]
		}
	}
	return 0
}

// next returns the next line that is not blank, without its end. A line that is
// too long is passed over and returned as a *lineError.
func (l *lineReader) next() (string, error) {
	for {
		b, err := l.r.ReadSlice('\n')
		if len(b) == 0 {
			return "", err
		}
		l.number++
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return "", l.skip()
		case err != nil && !errors.Is(err, io.EOF):
			return "", err
		}
		if l.number == 1 {
			b = bytes.TrimPrefix(b, []byte(byteOrderMark))
		}
		if b = bytes.TrimRight(b, "\r\n"); len(bytes.TrimSpace(b)) > 0 {
			return string(b), nil
		}
	}
}

// skip reads to the end of a line that is too long.
func (l *lineReader) skip() error {
	for {
		_, err := l.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return l.malformed(fmt.Errorf("longer than %d bytes", maxLineBytes))
	}
}

func (l *lineReader) malformed(reason error) error {
	return &lineError{line: l.number, reason: reason.Error()}
}

// field is one of the values that a record may have.
type field uint8

// The fields.
const (
	fieldID field = iota
	fieldCurrency
	fieldMinBalance
	fieldTransactionID
	fieldFrom
	fieldTo
	fieldAmount
	fieldReference
	fieldMetadata
	fieldCount
)

var fieldNames = [fieldCount]string{
	"id", "currency", "min_balance", "transaction_id", "from_account", "to_account", "amount", "reference", "metadata",
}

// fieldOf returns the field with the given name, or fieldCount.
func fieldOf(name string) field {
	for f, n := range fieldNames {
		if n == name {
			return field(f)
		}
	}
	return fieldCount
}

// fieldSet is a set of fields, one bit each.
type fieldSet uint16

// The fields of each kind of record, and those that may be absent.
const (
	accountFields  fieldSet = 1<<fieldID | 1<<fieldCurrency | 1<<fieldMinBalance
	transferFields fieldSet = 1<<fieldTransactionID | 1<<fieldFrom | 1<<fieldTo | 1<<fieldAmount | 1<<fieldCurrency | 1<<fieldReference | 1<<fieldMetadata
	optionalFields fieldSet = 1<<fieldMinBalance | 1<<fieldReference | 1<<fieldMetadata
)

func (s fieldSet) has(f field) bool { return s>>f&1 != 0 }

// within says whether every field of s is in t.
func (s fieldSet) within(t fieldSet) bool { return s&^t == 0 }

// values are the fields of one record, as text.
type values struct {
	text  [fieldCount]string
	given fieldSet
}

// record turns the text into a record of the kind that its fields tell.
func (v *values) record(r *record) (err error) {
	switch {
	case v.given.within(accountFields):
		r.kind = accountRecord
		r.account, err = v.account()
	case v.given.within(transferFields):
		r.kind = transferRecord
		if r.transfer, err = v.transfer(); err == nil {
			r.notes, err = v.notes()
		}
	default:
		err = errors.New("it has fields of an account and of a transfer")
	}
	return err
}

func (v *values) account() (a wallet.NewAccount, err error) {
	if a.ID, err = v.accountID(fieldID); err != nil {
		return a, err
	}
	if a.Currency, err = money.ParseCurrency(v.text[fieldCurrency]); err != nil {
		return a, err
	}
	if v.text[fieldMinBalance] != "" {
		a.Min, err = parseMin(v.text[fieldMinBalance], a.Currency)
	}
	return a, err
}

func (v *values) transfer() (t wallet.Transfer, err error) {
	if t.ID, err = wallet.ParseTransactionID(v.text[fieldTransactionID]); err != nil {
		return t, errors.New(plain(err))
	}
	if t.From, err = v.accountID(fieldFrom); err != nil {
		return t, err
	}
	if t.To, err = v.accountID(fieldTo); err != nil {
		return t, err
	}
	if t.Currency, err = money.ParseCurrency(v.text[fieldCurrency]); err != nil {
		return t, err
	}
	t.Amount, err = money.ParseAmount(v.text[fieldAmount], t.Currency)
	return t, err
}

// notes reads a reference, and metadata as a JSON object of strings; empty text is none.
func (v *values) notes() (n wallet.Notes, err error) {
	if n.Reference = v.text[fieldReference]; len(n.Reference) > wallet.MaxReference || !utf8.ValidString(n.Reference) {
		return n, errors.New(plain(wallet.ErrReference))
	}
	if v.text[fieldMetadata] == "" {
		return n, nil
	}
	if n.Metadata, err = scanMetadata(v.text[fieldMetadata]); err != nil {
		return n, fmt.Errorf("metadata: %w", err)
	}
	if err := n.Metadata.Validate(); err != nil {
		return n, errors.New(plain(err))
	}
	return n, nil
}

func (v *values) accountID(f field) (wallet.AccountID, error) {
	id := wallet.AccountID(v.text[f])
	if err := id.Validate(); err != nil {
		return "", fmt.Errorf("%s: %s", fieldNames[f], plain(err))
	}
	return id, nil
}

// parseMin reads a smallest balance: an amount, or "unlimited".
func parseMin(s string, c money.Currency) (money.Amount, error) {
	if s == unlimited {
		return wallet.Unlimited, nil
	}
	a, err := money.ParseAmount(s, c)
	if err == nil && a == wallet.Unlimited {
		err = money.ErrOverflow // it stands for no limit
	}
	return a, err
}

// unlimited is how people and files write [wallet.Unlimited].
const unlimited = "unlimited"
