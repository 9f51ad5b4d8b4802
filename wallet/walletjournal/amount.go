package walletjournal

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What cannot stand in a commodity's symbol without quotes.
const (
	ledgerSymbolEnds  = "0123456789.,;:?!-+*/^&|=<>{}[]()@\""
	hledgerSymbolEnds = "0123456789-+.,@*;\"{}=()[]"
)

var (
	errNoNumber    = errors.New("an amount without a number")
	errExpression  = errors.New("amounts that are expressions are not understood")
	errQuote       = errors.New("a commodity's quotes do not end")
	errCommodity   = errors.New("a commodity's name is empty, too long, or has what a name cannot have")
	errCostSign    = errors.New("a cost may not be negative")
	errCostOfCost  = errors.New("a posting has two costs")
	errCostSame    = errors.New("a posting's cost is of its own commodity")
	errLot         = errors.New("a lot's braces, brackets or parentheses do not end, or stand twice")
	errTrailing    = errors.New("what stands behind the amount is not understood")
	errTimeUnits   = errors.New("ledger converts between the commodities h, m and s: only one of them can be used")
	errDirectives  = errors.New("more directives of one kind than the limit")
	errNotText     = errors.New("not text in UTF-8")
	errLeftToTools = errors.New("an assigned balance in several commodities is not understood")
)

// A cursor goes through what is left of a line.
type cursor struct{ rest string }

func (c *cursor) skipSpace() { c.rest = strings.TrimLeft(c.rest, " \t") }

// take removes the prefix if it is there.
func (c *cursor) take(prefix string) bool {
	rest, ok := strings.CutPrefix(c.rest, prefix)
	c.rest = rest
	return ok
}

// until returns what stands before end, and removes both.
func (c *cursor) until(end string) (string, bool) {
	inside, rest, ok := strings.Cut(c.rest, end)
	if ok {
		c.rest = rest
	}
	return inside, ok
}

// amount reads an amount. Only amounts of postings (given) say how many places a
// commodity has.
func (r *reader) amount(c *cursor, given bool) (a Amount, err error) {
	c.skipSpace()
	if strings.HasPrefix(c.rest, "(") {
		return a, errExpression
	}
	negative := c.sign()
	c.skipSpace()
	left := false
	if c.rest != "" && !isDigit(c.rest[0]) && c.rest[0] != '.' && c.rest[0] != ',' {
		if a.Commodity, err = r.symbol(c); err != nil {
			return a, err
		}
		left = true
		c.skipSpace()
		negative = c.sign() != negative
		c.skipSpace()
	}
	digits := c.digits(r.opts.Dialect)
	if digits == "" {
		return a, errNoNumber
	}
	if !left {
		if a.Commodity, err = r.rightSymbol(c); err != nil {
			return a, err
		}
	}
	return r.finishAmount(a, digits, negative, given)
}

func (r *reader) finishAmount(a Amount, digits string, negative, given bool) (_ Amount, err error) {
	if a.Commodity == "" && r.opts.Dialect == HLedger {
		a.Commodity = r.scope.commodity
	}
	s, err := r.style(a.Commodity)
	if err != nil {
		return a, err
	}
	known := *s
	if known.mark == 0 && known.group == 0 {
		known = r.scope.style
	}
	if r.scope.mark != 0 {
		known.mark = r.scope.mark
	}
	number, mark, err := parseNumber(digits, r.opts.Dialect, known)
	if err != nil {
		return a, err
	}
	if mark == ',' && r.opts.Dialect == Ledger && a.Commodity != "" {
		s.mark = mark
	}
	if given {
		s.places = max(s.places, number.places)
	}
	if negative {
		number = number.Neg()
	}
	a.Number = number
	return a, nil
}

// sign takes a sign and says whether it was a minus.
func (c *cursor) sign() bool { return c.take("-") || c.take("+") && false }

// digits takes a number with its marks. hledger knows spaces between groups.
func (c *cursor) digits(d Dialect) string {
	end := 0
	for end < len(c.rest) {
		b := c.rest[end]
		space := d == HLedger && b == ' ' && end > 0 && end+1 < len(c.rest) && isDigit(c.rest[end+1])
		if !isDigit(b) && b != '.' && b != ',' && !space {
			break
		}
		end++
	}
	digits := c.rest[:end]
	c.rest = c.rest[end:]
	return digits
}

// rightSymbol reads the commodity behind a number, if there is one.
func (r *reader) rightSymbol(c *cursor) (string, error) {
	before := c.rest
	c.skipSpace()
	if c.rest == "" || strings.ContainsAny(c.rest[:1], "@={};[]()*") {
		c.rest = before
		return "", nil
	}
	return r.symbol(c)
}

// symbol reads a commodity, in quotes or not.
func (r *reader) symbol(c *cursor) (string, error) {
	if c.take(`"`) {
		name, ok := c.until(`"`)
		if !ok {
			return "", errQuote
		}
		return r.commodity(name)
	}
	ends := ledgerSymbolEnds
	if r.opts.Dialect == HLedger {
		ends = hledgerSymbolEnds
	}
	end := strings.IndexFunc(c.rest, func(u rune) bool {
		return unicode.IsSpace(u) || u < utf8.RuneSelf && strings.IndexByte(ends, byte(u)) >= 0
	})
	if end < 0 {
		end = len(c.rest)
	}
	name := c.rest[:end]
	c.rest = c.rest[end:]
	return r.commodity(name)
}

// commodity checks a name and gives the one copy of it.
func (r *reader) commodity(name string) (string, error) {
	if name == "" || !writableCommodity(name) {
		return "", errCommodity
	}
	if _, err := r.style(name); err != nil {
		return "", err
	}
	return r.intern(name)
}

// writableCommodity says whether both tools read the name in quotes.
func writableCommodity(name string) bool {
	return len(name) <= MaxNameBytes && isText(name) && !strings.ContainsAny(name, `";`)
}

// style returns what is known of a commodity, from its first use on.
func (r *reader) style(commodity string) (*style, error) {
	if s := r.styles[commodity]; s != nil {
		return s, nil
	}
	if len(r.styles) >= MaxDirectives {
		return nil, errDirectives
	}
	if isTime(commodity) && r.opts.Dialect == Ledger {
		if r.timeUnit != "" {
			return nil, errTimeUnits
		}
		r.timeUnit = commodity
	}
	s := new(style)
	r.styles[commodity] = s
	return s, nil
}

func isTime(commodity string) bool { return commodity == "h" || commodity == "m" || commodity == "s" }

// needsQuotes says whether a letter of a commodity cannot stand without quotes with one of the
// tools.
func needsQuotes(u rune) bool {
	return unicode.IsSpace(u) || strings.ContainsRune(ledgerSymbolEnds+hledgerSymbolEnds, u)
}

// isText says whether s is UTF-8 without control characters.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// What stands behind an account: the amount and what belongs to it.
type priced struct {
	amount    Amount
	has       bool // an amount is given
	cost      *Cost
	lot       string  // as it is written
	lotPrice  *Amount // of one
	assertion *assertion
	comment   string
	commented bool
}

// An assertion says what an account holds after a posting.
type assertion struct {
	amount Amount
	all    bool // of all commodities (==)
	below  bool // with the accounts below it (=*)
}

// priced reads all that stands behind a posting's account.
func (r *reader) priced(c *cursor) (p priced, err error) {
	c.skipSpace()
	if c.rest != "" && c.rest[0] != ';' && c.rest[0] != '=' {
		if p.amount, err = r.amount(c, true); err != nil {
			return p, err
		}
		p.has = true
	}
	for err == nil {
		c.skipSpace()
		if c.rest == "" {
			return p, nil
		}
		switch next := c.rest; {
		case next[0] == ';':
			p.comment, p.commented = strings.TrimSpace(next[1:]), true
			return p, nil
		case next[0] == '=':
			err = r.assertion(c, &p)
		case !p.has:
			err = errTrailing
		case next[0] == '@', strings.HasPrefix(next, "(@"):
			err = r.cost(c, &p)
		case next[0] == '{', next[0] == '[', next[0] == '(':
			err = r.lot(c, &p)
		default:
			err = errTrailing
		}
	}
	return p, err
}

func (r *reader) assertion(c *cursor, p *priced) (err error) {
	if p.assertion != nil {
		return errTrailing
	}
	c.take("=")
	a := &assertion{all: c.take("="), below: c.take("*")}
	if a.amount, err = r.amount(c, true); err == nil {
		p.assertion = a
	}
	return err
}

// cost reads what begins with @, @@, (@) or (@@).
func (r *reader) cost(c *cursor, p *priced) (err error) {
	if p.cost != nil || p.assertion != nil {
		return errCostOfCost
	}
	virtual := c.take("(")
	c.take("@")
	cost := &Cost{Total: c.take("@")}
	if virtual && !c.take(")") {
		return errTrailing
	}
	c.skipSpace()
	if r.opts.Dialect == Ledger {
		c.take("=")
	}
	if cost.Amount, err = r.amount(c, false); err != nil {
		return err
	}
	switch {
	case cost.Amount.Number.Sign() < 0:
		return errCostSign
	case cost.Amount.Commodity == p.amount.Commodity:
		return errCostSame
	}
	p.cost = cost
	return nil
}

// lot reads a lot's price, date or note, and keeps them as they are written.
func (r *reader) lot(c *cursor, p *priced) (err error) {
	if p.assertion != nil {
		return errTrailing
	}
	if strings.HasPrefix(c.rest, "((") {
		return errExpression
	}
	begin := c.rest
	switch {
	case c.take("{"):
		err = r.lotPrice(c, p)
	case c.take("["):
		if _, ok := c.until("]"); !ok {
			err = errLot
		}
	default:
		if _, ok := c.until(")"); !ok {
			err = errLot
		}
	}
	if err != nil {
		return err
	}
	p.lot = strings.TrimSpace(p.lot + " " + begin[:len(begin)-len(c.rest)])
	return nil
}

// lotPrice reads {price}, {=price} or {{total}}.
func (r *reader) lotPrice(c *cursor, p *priced) error {
	if p.lotPrice != nil {
		return errLot
	}
	total, end := c.take("{"), "}"
	if total {
		end = "}}"
	}
	c.skipSpace()
	c.take("=")
	inside, ok := c.until(end)
	if !ok {
		return errLot
	}
	price := &cursor{inside}
	a, err := r.amount(price, false)
	if err != nil {
		return err
	}
	if price.skipSpace(); price.rest != "" {
		return errLot
	}
	if total {
		return errors.New("a lot with a price for all of it is not understood: give the price of one")
	}
	p.lotPrice = &a
	return nil
}
