package walletjournal

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var errDirective = errors.New("a line that is neither a transaction nor a known directive")

// directive reads a directive that begins with the line.
func (r *reader) directive(line string) error {
	if r.opts.Dialect == Ledger {
		line = strings.TrimLeft(line, "@!")
	} else {
		line = strings.TrimPrefix(line, "!")
	}
	word, rest, _ := strings.Cut(strings.Replace(line, "\t", " ", 1), " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "account":
		return r.accountDirective(rest)
	case "alias":
		return r.alias(rest)
	case "apply":
		return r.apply(rest)
	case "comment", "test":
		return r.block(word)
	case "commodity":
		return r.commodityDirective(rest)
	case "decimal-mark":
		return r.decimalMark(rest)
	case "D":
		return r.defaultCommodity(rest)
	case "end":
		return r.end(rest)
	case "include":
		return r.include(rest)
	case "N", "payee", "tag", "tags":
		return r.skipIndented()
	case "P":
		return r.price(rest)
	case "year", "Y":
		return r.year(rest)
	}
	if word != "" && word[0] == 'Y' {
		return r.year(word[1:])
	}
	return r.refuse(word)
}

// refuse says of a directive why it is not followed, where there is more to say
// than that it is unknown.
func (r *reader) refuse(word string) error {
	switch word {
	case "A", "bucket":
		return errors.New("a default account for postings without another side is not understood")
	case "C":
		return errors.New("conversions between commodities are not understood")
	case "i", "I", "o", "O", "h", "b":
		return errors.New("time that is clocked is not understood")
	case "assert", "check", "define", "def", "eval", "expr", "value", "python", "import":
		return fmt.Errorf("%s is not understood", word)
	}
	return errDirective
}

// accountDirective declares an account, with what ledger lets stand below it.
func (r *reader) accountDirective(rest string) error {
	name, _ := r.cutAccount(rest)
	name, err := r.account(strings.TrimSpace(name))
	if err != nil {
		return err
	}
	for {
		text, ok, err := r.in.indented()
		if !ok || err != nil {
			return err
		}
		if r.opts.Dialect == HLedger {
			continue
		}
		word, rest, _ := strings.Cut(text, " ")
		switch word {
		case "alias":
			err = r.addAlias(alias{strings.TrimSpace(rest), name})
		case "default":
			err = r.refuse("bucket")
		case "eval", "expr":
			err = r.refuse(word)
		}
		if err != nil {
			return err
		}
	}
}

// alias reads OLD=NEW.
func (r *reader) alias(rest string) error {
	old, name, ok := strings.Cut(rest, "=")
	old, name = strings.TrimSpace(old), strings.TrimSpace(name)
	switch {
	case strings.HasPrefix(old, "/"):
		return errors.New("an alias for a pattern is not understood")
	case !ok || !validAccount(old) || !validAccount(name):
		return errAccount
	}
	return r.addAlias(alias{old, name})
}

func (r *reader) addAlias(a alias) error {
	if len(r.scope.aliases) >= MaxDirectives {
		return errDirectives
	}
	// Others may hold the list as it was.
	r.scope.aliases = append(slices.Clip(r.scope.aliases), a)
	return nil
}

// apply begins what end apply ends.
func (r *reader) apply(rest string) error {
	kind, value, _ := strings.Cut(rest, " ")
	value = strings.TrimSpace(value)
	switch kind {
	case "account":
		if !validAccount(value) {
			return errAccount
		}
	case "tag":
	case "year":
		return errors.New("apply year is not understood: use year")
	default:
		return fmt.Errorf("apply %s is not understood", kind)
	}
	if len(r.scope.applied) >= MaxDepth {
		return fmt.Errorf("more than %d apply within each other", MaxDepth)
	}
	r.scope.applied = append(slices.Clip(r.scope.applied), applied{kind, value})
	return nil
}

// end reads what ends an apply, or hledger's aliases.
func (r *reader) end(rest string) error {
	if rest == "aliases" {
		r.scope.aliases = nil
		return nil
	}
	kind := strings.TrimSpace(strings.TrimPrefix(rest, "apply"))
	n := len(r.scope.applied)
	if n == 0 || kind != "" && kind != r.scope.applied[n-1].kind {
		return fmt.Errorf("end %s without its beginning", rest)
	}
	r.scope.applied = r.scope.applied[:n-1]
	return nil
}

// block passes over lines up to the one that ends it.
func (r *reader) block(word string) error {
	begun := r.in.number
	for {
		line, err := r.in.next()
		if err != nil {
			return r.at(begun, fmt.Errorf("a %s that does not end", word))
		}
		if line == "end "+word || line == "end" {
			return nil
		}
	}
}

// commodityDirective reads a commodity and the format of its numbers, which may stand on
// the same line or below.
func (r *reader) commodityDirective(rest string) error {
	if i := strings.IndexByte(rest, ';'); i >= 0 && !strings.HasPrefix(rest, `"`) {
		rest = strings.TrimSpace(rest[:i])
	}
	if strings.ContainsAny(strings.Trim(rest, `"`), "0123456789") && !strings.HasPrefix(rest, `"`) || strings.Count(rest, `"`) == 2 && !strings.HasSuffix(rest, `"`) {
		if err := r.format(rest); err != nil {
			return err
		}
	} else if _, err := r.symbol(&cursor{rest}); err != nil {
		return err
	}
	for {
		text, ok, err := r.in.indented()
		if !ok || err != nil {
			return err
		}
		word, rest, _ := strings.Cut(text, " ")
		switch word {
		case "format":
			err = r.format(strings.TrimSpace(rest))
		case "alias", "eval", "value":
			err = fmt.Errorf("a commodity's %s is not understood", word)
		}
		if err != nil {
			return err
		}
	}
}

// format learns from an amount how the numbers of its commodity are written.
func (r *reader) format(text string) error {
	c := &cursor{text}
	before, err := r.amount(&cursor{text}, true)
	if err != nil {
		return err
	}
	s := r.styles[before.Commodity]
	s.mark, s.group = marksOf(c.rest)
	return nil
}

// marksOf returns the marks of a number that is there to show them: the last is the
// decimal mark, unless it stands more than once.
func marksOf(text string) (mark, group byte) {
	i := strings.LastIndexAny(text, ".,")
	if i < 0 {
		return 0, 0
	}
	first := strings.IndexAny(text, ".,")
	switch {
	case first == i:
		return text[i], 0
	case text[first] == text[i]:
		return 0, text[i]
	}
	return text[i], text[first]
}

func (r *reader) decimalMark(rest string) error {
	if r.opts.Dialect != HLedger || rest != "." && rest != "," {
		return errDirective
	}
	r.scope.mark = rest[0]
	return nil
}

// defaultCommodity reads D: with hledger it is the commodity of bare numbers.
func (r *reader) defaultCommodity(rest string) error {
	if err := r.format(rest); err != nil {
		return err
	}
	if r.opts.Dialect != HLedger {
		return nil
	}
	a, err := r.amount(&cursor{rest}, false)
	if err != nil {
		return err
	}
	r.scope.commodity, r.scope.style = a.Commodity, *r.styles[a.Commodity]
	return nil
}

// price checks the form of a market price, and leaves it: it moves nothing.
func (r *reader) price(rest string) error {
	date, rest, _ := strings.Cut(rest, " ")
	if _, err := parseDate(date, r.scope.year); err != nil {
		return err
	}
	c := &cursor{strings.TrimSpace(rest)}
	if clock, after, ok := strings.Cut(c.rest, " "); ok && strings.Count(clock, ":") == 2 {
		c.rest = strings.TrimSpace(after)
	}
	if _, err := r.symbol(c); err != nil {
		return err
	}
	_, err := r.amount(c, false)
	return err
}

func (r *reader) year(text string) error {
	year, err := strconv.Atoi(text)
	if err != nil || !(Date{year, 1, 1}).valid() {
		return errDate
	}
	r.scope.year = year
	return nil
}

func (r *reader) include(name string) error {
	name = strings.Trim(name, `"`)
	switch {
	case name == "":
		return errDirective
	case strings.ContainsAny(name, "*?[{"):
		return errors.New("an include of a pattern is not understood: name each file")
	}
	return r.file(name)
}
