package walletjournal

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var (
	errDate    = errors.New("not a date, as in 2020-01-31")
	errNoYear  = errors.New("a date without a year, and no Y directive before it")
	errAccount = errors.New("an account's name is empty, too long, has an empty part, or its brackets do not end")
	errCode    = errors.New("a code's parenthesis does not end")
	errComment = fmt.Errorf("a comment of more than %d bytes", MaxCommentBytes)
	errLegs    = fmt.Errorf("a transaction of more than %d postings", MaxPostings)
)

// An entered posting is one as it stands in the journal, before amounts are
// filled in.
type entered struct {
	Posting
	line  int
	price priced
}

// transaction reads a transaction that begins with the line.
func (r *reader) transaction(line string) error {
	t := &Transaction{File: r.in.name, Line: r.in.number}
	if err := r.header(t, line); err != nil {
		return err
	}
	var postings []entered
	for {
		text, ok, err := r.in.indented()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if text[0] == ';' {
			err = comment(t, postings, text)
		} else if len(postings) == MaxPostings {
			err = errLegs
		} else {
			var p entered
			p, err = r.posting(text)
			postings = append(postings, p)
		}
		if err != nil {
			return err
		}
	}
	return r.finish(t, postings)
}

// comment adds a line of comment to the posting before it, or to the transaction.
func comment(t *Transaction, postings []entered, text string) error {
	target := &t.Comment
	if n := len(postings); n > 0 {
		target = &postings[n-1].Comment
	}
	return addComment(target, strings.TrimSpace(text[1:]))
}

func addComment(to *string, line string) error {
	if *to != "" {
		line = *to + "\n" + line
	}
	if len(line) > MaxCommentBytes {
		return errComment
	}
	*to = line
	return nil
}

// finish fills amounts in, checks, and delivers.
func (r *reader) finish(t *Transaction, postings []entered) error {
	readExact(t, postings)
	if err := r.complete(t, postings); err != nil {
		return err
	}
	if r.count++; r.count > MaxTransactions {
		return fmt.Errorf("more than %d transactions", MaxTransactions)
	}
	if r.checked == nil || r.opts.Each == nil {
		return nil
	}
	r.stopped = r.opts.Each(t)
	return r.stopped
}

// header reads DATE[=DATE2] [*|!] [(code)] description [; comment].
func (r *reader) header(t *Transaction, line string) (err error) {
	dates, rest, _ := strings.Cut(strings.Replace(line, "\t", " ", 1), " ")
	first, second, both := strings.Cut(dates, "=")
	if t.Date, err = parseDate(first, r.scope.year); err != nil {
		return err
	}
	if both {
		if t.Date2, err = parseDate(second, t.Date.Year); err != nil {
			return err
		}
	}
	c := cursor{rest}
	t.Status = c.status()
	if c.take("(") {
		code, ok := c.until(")")
		if !ok {
			return errCode
		}
		t.Code = strings.TrimSpace(code)
	}
	text, note := c.rest, ""
	if i := r.commentAt(c.rest); i >= 0 {
		text, note = c.rest[:i], strings.TrimSpace(c.rest[i+1:])
	}
	t.Description = strings.TrimSpace(text)
	if t.Comment = note; len(note) > MaxCommentBytes {
		return errComment
	}
	return nil
}

// commentAt returns where a comment begins behind a description, or -1. With ledger a
// semicolon begins one only after two spaces or a tab.
func (r *reader) commentAt(s string) int {
	for i := range len(s) {
		if s[i] != ';' {
			continue
		}
		before := s[:i]
		if r.opts.Dialect == HLedger || strings.TrimSpace(before) == "" || strings.HasSuffix(before, "  ") || strings.HasSuffix(before, "\t") {
			return i
		}
	}
	return -1
}

// status takes a mark, and the spaces around it.
func (c *cursor) status() (s Status) {
	c.skipSpace()
	switch {
	case c.take("*"):
		s = Cleared
	case c.take("!"):
		s = Pending
	}
	c.skipSpace()
	return s
}

// parseDate reads year, month and day between -, / or points; the year may be left
// out if one is given.
func parseDate(s string, year int) (Date, error) {
	at := strings.IndexAny(s, "-/.")
	if at < 0 {
		return Date{}, errDate
	}
	var parts []int
	for part := range strings.SplitSeq(s, s[at:at+1]) {
		n, err := strconv.Atoi(part)
		if err != nil || !isDigits(part) || len(part) > 4 || len(parts) == 3 {
			return Date{}, errDate
		}
		parts = append(parts, n)
	}
	if len(parts) == 2 {
		if year == 0 {
			return Date{}, errNoYear
		}
		parts = append([]int{year}, parts...)
	}
	if len(parts) != 3 {
		return Date{}, errDate
	}
	d := Date{parts[0], parts[1], parts[2]}
	if !d.valid() {
		return Date{}, errDate
	}
	return d, nil
}

// posting reads an account and what stands behind it.
func (r *reader) posting(text string) (p entered, err error) {
	p.line = r.in.number
	c := cursor{text}
	p.Status = c.status()
	name, rest := r.cutAccount(c.rest)
	if r.opts.Dialect == Ledger {
		switch word, _, _ := strings.Cut(name, " "); word {
		case "assert", "check", "expr", "eval":
			return p, fmt.Errorf("%s is not understood", word)
		}
	}
	if p.Kind, name, err = unwrap(name); err != nil {
		return p, err
	}
	if p.Account, err = r.account(name); err != nil {
		return p, err
	}
	c.rest = rest
	if p.price, err = r.priced(&c); err != nil {
		return p, err
	}
	p.Cost, p.Lot, p.Comment = p.price.cost, p.price.lot, p.price.comment
	r.settleCost(&p)
	if len(p.Comment) > MaxCommentBytes {
		return p, errComment
	}
	return p, nil
}

// settleCost makes the cost of a posting what it balances at: with ledger that is
// the lot's price. The price that was got stays with the lot.
func (r *reader) settleCost(p *entered) {
	cost, lot := p.price.cost, p.price.lotPrice
	if r.opts.Dialect != Ledger || cost == nil || lot == nil || lot.Commodity != cost.Amount.Commodity {
		return
	}
	mark := " @ "
	if cost.Total {
		mark = " @@ "
	}
	p.Lot += mark + cost.Amount.String()
	p.Cost = &Cost{Amount: *lot}
}

// cutAccount cuts a line behind the account that it begins with: at two spaces, or at a tab, of which hledger takes
// two too, or one beside a space. For hledger one tab alone is a space in the account.
func (r *reader) cutAccount(s string) (name, rest string) {
	for i := range len(s) {
		tab := s[i] == '\t'
		next := i+1 < len(s) && (s[i+1] == ' ' || s[i+1] == '\t')
		switch {
		case r.opts.Dialect == HLedger && (tab || s[i] == ' ') && next,
			r.opts.Dialect != HLedger && (tab || strings.HasPrefix(s[i:], "  ")):
			return strings.ReplaceAll(s[:i], "\t", " "), s[i:]
		}
	}
	return strings.ReplaceAll(s, "\t", " "), ""
}

// unwrap takes the brackets of virtual postings from an account.
func unwrap(name string) (Kind, string, error) {
	for _, b := range []struct {
		open, end string
		kind      Kind
	}{{"(", ")", Unbalanced}, {"[", "]", Balanced}} {
		inside, ok := strings.CutPrefix(name, b.open)
		if !ok {
			continue
		}
		if inside, ok = strings.CutSuffix(inside, b.end); !ok {
			return Real, "", errAccount
		}
		return b.kind, strings.TrimSpace(inside), nil
	}
	return Real, name, nil
}

// account returns the account that a name stands for: with what is applied, and
// through aliases.
func (r *reader) account(name string) (string, error) {
	if r.opts.Dialect == Ledger {
		name = ledgerAlias(name, r.scope.aliases)
	}
	for _, a := range slices.Backward(r.scope.applied) {
		if a.kind == "account" {
			name = a.value + ":" + name
		}
	}
	if r.opts.Dialect == HLedger {
		for _, a := range slices.Backward(r.scope.aliases) {
			name = a.below(name)
		}
	}
	if !validAccount(name) {
		return "", errAccount
	}
	return r.intern(name)
}

// validAccount says whether both tools and this package take the name for an
// account's.
func validAccount(name string) bool {
	if len(name) == 0 || len(name) > MaxNameBytes || !isText(name) || strings.Contains(name, "  ") {
		return false
	}
	if strings.IndexByte("([;*!", name[0]) >= 0 || strings.HasPrefix(name, " ") || strings.HasSuffix(name, " ") {
		return false
	}
	for part := range strings.SplitSeq(name, ":") {
		if strings.TrimSpace(part) == "" {
			return false
		}
	}
	return true
}

// An alias is another name of an account.
type alias struct{ old, name string }

// below replaces the account and those below it.
func (a alias) below(name string) string {
	if rest, ok := strings.CutPrefix(name, a.old); ok && (rest == "" || rest[0] == ':') {
		return a.name + rest
	}
	return name
}

// ledgerAlias replaces a whole name, or else its first part. Of aliases of the
// same name the last counts.
func ledgerAlias(name string, aliases []alias) string {
	for _, a := range slices.Backward(aliases) {
		if a.old == name {
			return a.name
		}
	}
	first, rest, ok := strings.Cut(name, ":")
	if !ok {
		return name
	}
	for _, a := range slices.Backward(aliases) {
		if a.old == first {
			return a.name + ":" + rest
		}
	}
	return name
}
