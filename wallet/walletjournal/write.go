package walletjournal

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The tags that the writer uses for what the format cannot say, or says
// to one tool only. The reader takes them back.
const (
	tagLot         = "lot"
	tagCode        = "exact-code"
	tagDescription = "exact-description"
	tagComment     = "exact-comment"
)

// JournalWriter writes transactions as a journal that hledger and ledger read
// alike: every amount in full, with a point and without groups, the commodity
// behind it.
//
// [Read] gives back what was written, except for File, Line, Inferred and the marks of
// ledger's lots that stand in Lot: they are written as a tag, as hledger would not balance them.
type JournalWriter struct {
	out *bufio.Writer
	buf []byte // the transaction in hand
}

// NewJournalWriter returns a writer to w. Flush it in the end.
func NewJournalWriter(w io.Writer) *JournalWriter { return &JournalWriter{out: bufio.NewWriter(w)} }

// Flush writes what is buffered.
func (w *JournalWriter) Flush() error { return w.out.Flush() }

// Write writes a transaction. It returns an error for one that the format cannot hold: with a date,
// an account or a commodity that is none, or too many postings.
func (w *JournalWriter) Write(t *Transaction) error {
	if err := writable(t); err != nil {
		return fmt.Errorf("walletjournal: transaction of %s: %w", t.Date, err)
	}
	w.buf = w.buf[:0]
	w.header(t)
	for _, p := range t.Postings {
		w.posting(p)
	}
	if _, err := w.out.Write(append(w.buf, '\n')); err != nil {
		return fmt.Errorf("walletjournal: write: %w", err)
	}
	return nil
}

func writable(t *Transaction) error {
	if !t.Date.valid() || t.Date2 != (Date{}) && !t.Date2.valid() {
		return errDate
	}
	switch {
	case len(t.Postings) > MaxPostings:
		return errLegs
	case len(t.Comment) > MaxCommentBytes/8, len(t.Description) > MaxLineBytes/8, len(t.Code) > MaxLineBytes/8:
		return errComment
	}
	for _, p := range t.Postings {
		amounts := []Amount{p.Amount}
		if p.Cost != nil {
			amounts = append(amounts, p.Cost.Amount)
		}
		switch {
		case !validAccount(p.Account):
			return errAccount
		case len(p.Comment) > MaxCommentBytes/8, len(p.Lot) > MaxLineBytes/8:
			return errComment
		}
		for _, a := range amounts {
			if !writableCommodity(a.Commodity) {
				return errCommodity
			}
		}
	}
	return nil
}

func (w *JournalWriter) header(t *Transaction) {
	head := t.Date.String()
	if t.Date2 != (Date{}) {
		head += "=" + t.Date2.String()
	}
	if t.Status != Unmarked {
		head += " " + t.Status.String()
	}
	code, description := flatten(t.Code, ")"), flatten(t.Description, "")
	if code != "" {
		head += " (" + code + ")"
	}
	if code == "" && strings.HasPrefix(description, "(") || t.Status == Unmarked && code == "" && strings.IndexAny(description, "*!") == 0 {
		description = "- " + description
	}
	w.buf = append(append(w.buf, strings.TrimSpace(head+" "+description)...), '\n')
	w.exact(tagCode, code, t.Code)
	w.exact(tagDescription, description, t.Description)
	w.comment(t.Comment)
}

// flatten returns s without what cannot stand in the first line of a transaction.
func flatten(s, without string) string {
	s = strings.Map(func(u rune) rune {
		if unicode.IsControl(u) || strings.ContainsRune(";"+without, u) {
			return ' '
		}
		return u
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxFlat {
		s = strings.ToValidUTF8(s[:maxFlat], "") + "…"
	}
	return s
}

// maxFlat is the most bytes of a description or code in the first line.
const maxFlat = 1 << 10

// exact writes as a tag what was not written as it is.
func (w *JournalWriter) exact(tag, written, exact string) {
	if written != exact {
		w.line(tag + ": " + quoteExactly(exact))
	}
}

func (w *JournalWriter) line(text string) { w.buf = fmt.Appendf(w.buf, "    ; %s\n", text) }

// Comments in which hledger looks for dates, and tags of this package.
var misreadPattern = regexp.MustCompile(`date2?:|\[[0-9=./-]|^(lot|exact-[a-z]+):`)

// misread says whether a comment means something else to a tool, or to this package. Most have nothing
// of it, which is seen without the pattern.
func misread(line string) bool {
	may := strings.Contains(line, "date") || strings.Contains(line, "[") || strings.HasPrefix(line, "lot:") || strings.HasPrefix(line, "exact-")
	return may && misreadPattern.MatchString(line)
}

func (w *JournalWriter) comment(comment string) {
	if comment == "" {
		return
	}
	for line := range strings.SplitSeq(comment, "\n") {
		if line == "" || strings.TrimSpace(line) != line || !isText(line) || misread(line) || len(line) > MaxLineBytes/2 {
			for len(line) > maxExact {
				part := maxExact
				for part > 0 && !utf8.RuneStart(line[part]) {
					part--
				}
				w.line(tagComment + ": " + quoteExactly(line[:part]) + " +")
				line = line[part:]
			}
			line = tagComment + ": " + quoteExactly(line)
		}
		w.line(line)
	}
}

// maxExact is the most bytes of a comment in one line of exact-comment: each
// may take six.
const maxExact = 1 << 11

func (w *JournalWriter) posting(p Posting) {
	account := p.Account
	switch p.Kind {
	case Real:
	case Balanced:
		account = "[" + account + "]"
	case Unbalanced:
		account = "(" + account + ")"
	}
	if p.Status != Unmarked {
		account = p.Status.String() + " " + account
	}
	w.buf = fmt.Appendf(w.buf, "    %-40s  %16s", account, p.Amount)
	if p.Cost != nil {
		mark := "@"
		if p.Cost.Total {
			mark = "@@"
		}
		w.buf = fmt.Appendf(w.buf, " %s %s", mark, p.Cost.Amount)
	}
	w.buf = append(w.buf, '\n')
	if p.Lot != "" {
		w.line(tagLot + ": " + quoteExactly(p.Lot))
	}
	w.comment(p.Comment)
}

// quoteExactly returns s as a JSON string in which no tool finds dates or tags.
// Bytes that are no UTF-8 become U+FFFD.
func quoteExactly(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, u := range s {
		switch {
		case unicode.IsControl(u), strings.ContainsRune(`"\:;[]`, u):
			fmt.Fprintf(&b, `\u%04x`, u)
		default:
			b.WriteRune(u)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// readExact takes back what the writer wrote as tags.
func readExact(t *Transaction, postings []entered) {
	t.Comment = exactComment(t.Comment, map[string]*string{tagCode: &t.Code, tagDescription: &t.Description})
	for i := range postings {
		p := &postings[i]
		lot := map[string]*string{}
		if p.Lot == "" {
			lot[tagLot] = &p.Lot
		}
		p.Comment = exactComment(p.Comment, lot)
	}
}

// exactComment returns a comment without the tags whose values it sets.
func exactComment(comment string, tags map[string]*string) string {
	if !strings.Contains(comment, `: "`) {
		return comment
	}
	var kept []string
	joined := false
	for line := range strings.SplitSeq(comment, "\n") {
		tag, value, _ := strings.Cut(line, ": ")
		value, more := strings.CutSuffix(value, " +")
		var exact string
		to := tags[tag]
		if to == nil && tag != tagComment || json.Unmarshal([]byte(value), &exact) != nil {
			kept, joined = append(kept, line), false
			continue
		}
		switch {
		case to != nil:
			*to = exact
		case joined:
			kept[len(kept)-1] += exact
		default:
			kept = append(kept, exact)
		}
		joined = more && to == nil
	}
	return strings.Join(kept, "\n")
}
