package walletjournal

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Options of [Read].
type Options struct {
	// Dialect says by whose rules to read; ledger's by default.
	Dialect Dialect
	// IgnoreAssertions leaves balances that are asserted unchecked.
	IgnoreAssertions bool
	// Each gets every transaction, in the order of the journal, after all were found good. An error
	// of it ends the reading. Nil only checks.
	Each func(*Transaction) error
}

// Source opens the files of a journal. Each file is opened twice.
type Source interface {
	// Open opens a file that another one includes: name is what stands behind
	// include, from the name of the file in which it stands, or "" for the journal itself.
	// It returns the name under which errors know the file.
	Open(from, name string) (file io.ReadCloser, known string, err error)
}

// Summary says what a journal has.
type Summary struct {
	Transactions int
	Balances     *Balances      // of all accounts, at the end
	Places       map[string]int // the most decimal places of each commodity that postings have
}

// Read reads the journal that the source calls name: once to check it, a second time to
// deliver it. What is wrong with a journal is an [*Error].
//
// Its memory is bounded by the limits of this package: it keeps names and balances of accounts, but no
// transactions.
func Read(s Source, name string, o *Options) (*Summary, error) {
	if o == nil {
		o = new(Options)
	}
	checked, err := pass(s, name, *o, nil)
	if err != nil || o.Each == nil {
		return checked.summary(), err
	}
	delivered, err := pass(s, name, *o, checked)
	if located := (*Error)(nil); delivered.stopped != nil {
		err = delivered.stopped
	} else if errors.As(err, &located) {
		err = fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return delivered.summary(), err
}

// pass goes through the journal once: to check it, or, with what was checked, to deliver it.
func pass(s Source, name string, o Options, checked *reader) (*reader, error) {
	r := &reader{
		source: s, opts: o, checked: checked,
		names: map[string]string{}, styles: map[string]*style{}, balances: newBalances(), order: map[string]*order{},
	}
	return r, r.file(name)
}

// A reader goes through the files of a journal.
type reader struct {
	source  Source
	opts    Options
	checked *reader // of the pass before; nil in the first

	in    *lines
	depth int
	sums  [][sha256.Size]byte // of the files, in the order in which they ended

	scope    scope
	names    map[string]string
	styles   map[string]*style
	timeUnit string
	rules    []rule
	balances *Balances
	order    map[string]*order
	count    int
	stopped  error // of the function that gets the transactions
}

// A scope is what directives set for what follows them.
type scope struct {
	year      int
	mark      byte   // hledger's decimal-mark
	commodity string // hledger's D: of bare numbers
	style     style  // and how numbers are written in commodities of which nothing is said
	applied   []applied
	aliases   []alias
}

// An applied is what an apply directive began.
type applied struct{ kind, value string }

func (r *reader) summary() *Summary {
	if r == nil {
		return nil
	}
	places := make(map[string]int, len(r.styles))
	for c, s := range r.styles {
		if s.used {
			places[c] = max(s.places, s.needed)
		}
	}
	return &Summary{Transactions: r.count, Balances: r.balances, Places: places}
}

// file reads a file and what it includes.
func (r *reader) file(name string) (err error) {
	from, outer := "", r.in
	if outer != nil {
		from = outer.name
	}
	switch {
	case r.depth >= MaxDepth:
		return r.fail("more than %d files include each other", MaxDepth)
	case len(r.sums)+r.depth >= MaxFiles:
		return r.fail("more than %d files", MaxFiles)
	}
	f, known, err := r.source.Open(from, name)
	if err != nil {
		if outer == nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
		return r.fail("open %s: %v", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	r.in = newLines(known, f, sum)
	r.depth++
	before := r.scope
	err = r.lines()
	r.depth--
	if err != nil {
		return err
	}
	if err := r.unapplied(len(before.applied)); err != nil {
		return err
	}
	after := r.scope
	r.in, r.scope = outer, before
	if r.opts.Dialect == Ledger {
		r.scope.aliases = after.aliases
	}
	r.sums = append(r.sums, [sha256.Size]byte(sum.Sum(nil)))
	if n := len(r.sums); r.checked != nil && (n > len(r.checked.sums) || r.checked.sums[n-1] != r.sums[n-1]) {
		return ErrChanged
	}
	return nil
}

func (r *reader) unapplied(outer int) error {
	if n := len(r.scope.applied); n > outer {
		return r.fail("the file ends before the end of apply %s", r.scope.applied[n-1].kind)
	}
	return nil
}

// lines reads the entries of the file in hand.
func (r *reader) lines() error {
	for {
		line, err := r.in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.entry(line)
		}
		if err != nil {
			return r.locate(err)
		}
	}
}

// entry reads what begins with the line.
func (r *reader) entry(line string) error {
	text := strings.TrimLeft(line, " \t")
	switch {
	case text == "", strings.IndexByte(";#*", text[0]) >= 0:
		return nil
	case text != line:
		return errors.New("an indented line that belongs to nothing")
	case isDigit(line[0]):
		return r.transaction(line)
	case line[0] == '%' || line[0] == '|':
		if r.opts.Dialect == Ledger {
			return nil
		}
	case line[0] == '~':
		return r.skipIndented() // what is to come moves no money
	case line[0] == '=':
		return r.rule(line)
	}
	return r.directive(line)
}

// skipIndented passes over the lines that belong to an entry.
func (r *reader) skipIndented() error {
	for {
		if _, ok, err := r.in.indented(); !ok || err != nil {
			return err
		}
	}
}

// fail returns an error at the line in hand.
func (r *reader) fail(format string, args ...any) error {
	e := &Error{Reason: fmt.Sprintf(format, args...)}
	if r.in != nil {
		e.File, e.Line = r.in.name, r.in.number
	}
	return e
}

// locate adds the file and the line in hand to an error that has none.
func (r *reader) locate(err error) error {
	if located := (*Error)(nil); errors.As(err, &located) || errors.Is(err, ErrChanged) || errors.Is(err, errReading) || r.stopped != nil {
		return err
	}
	return r.fail("%v", err)
}

// intern returns the one copy of a name that the reader keeps.
func (r *reader) intern(name string) (string, error) {
	if known, ok := r.names[name]; ok {
		return known, nil
	}
	if len(r.names) >= MaxNames {
		return "", fmt.Errorf("more than %d names of accounts and commodities", MaxNames)
	}
	name = strings.Clone(name)
	r.names[name] = name
	return name, nil
}

var errReading = errors.New("walletjournal: reading failed")

// lines gives the lines of a file, and can take one back.
type lines struct {
	name   string
	number int // of the line that was given last
	in     *bufio.Reader
	sum    hash.Hash
	back   *string
}

func newLines(name string, f io.Reader, sum hash.Hash) *lines {
	return &lines{name: name, in: bufio.NewReaderSize(io.TeeReader(f, sum), MaxLineBytes+2), sum: sum}
}

// next returns a line without its end; it returns io.EOF behind the last.
func (l *lines) next() (string, error) {
	l.number++
	if l.back != nil {
		line := *l.back
		l.back = nil
		return line, nil
	}
	raw, err := l.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("a line of more than %d bytes", MaxLineBytes)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("%w: %s: %w", errReading, l.name, err)
	}
	if len(raw) == 0 {
		return "", io.EOF
	}
	line := strings.TrimRight(string(raw), "\r\n")
	if l.number == 1 {
		line = strings.TrimPrefix(line, "\ufeff")
	}
	switch {
	case len(line) > MaxLineBytes:
		return "", fmt.Errorf("a line of more than %d bytes", MaxLineBytes)
	case !isText(strings.ReplaceAll(line, "\t", " ")):
		return "", errNotText
	}
	return strings.TrimRight(line, " \t"), nil
}

// indented returns the next line without what indents it, if it is indented and
// not empty; else the line stays.
func (l *lines) indented() (text string, ok bool, err error) {
	line, err := l.next()
	if errors.Is(err, io.EOF) {
		l.number--
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	text = strings.TrimLeft(line, " \t")
	if text == "" || text == line {
		l.back = &line
		l.number--
		return "", false, nil
	}
	return text, true, nil
}
