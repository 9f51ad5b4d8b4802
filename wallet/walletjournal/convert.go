package walletjournal

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"maru.example/money"
	"maru.example/wallet"
)

// Leg is what a transaction adds to an account, or takes from it.
type Leg struct {
	Account  wallet.AccountID
	Currency money.Currency
	Amount   money.Amount // not zero
}

// Commodities says which currency of the wallet a commodity is, and how one is
// written in a journal.
type Commodities interface {
	// Currency returns an error that says what is missing.
	Currency(commodity string) (money.Currency, error)
	Commodity(c money.Currency) string
}

// ISO is the [Commodities] of a wallet that has only the currencies of ISO 4217. The
// map has further names for them, such as $ for USD; it may be nil.
type ISO map[string]money.Currency

// Currency returns the currency with the code or the further name.
func (i ISO) Currency(commodity string) (money.Currency, error) {
	if c, ok := i[commodity]; ok {
		return c, nil
	}
	return money.ParseCurrency(commodity)
}

// Commodity returns the code.
func (ISO) Commodity(c money.Currency) string { return c.String() }

// Converter makes movements of the transactions of one journal, in their order.
//
// An id follows from what a transaction says: its date, code, description and
// movements, and how many equal ones stood before it. Status, comments, costs and the order of postings
// do not count. So a journal that is converted again, or has become longer, gives the
// same ids.
type Converter struct {
	commodities Commodities
	seen        map[[16]byte]uint64 // how many transactions had that content
	names       map[wallet.AccountID]string
	accounts    map[wallet.AccountID][]money.Currency
}

// NewConverter returns a converter. It keeps 16 bytes and more of each
// transaction.
func NewConverter(c Commodities) *Converter {
	return &Converter{
		commodities: c, seen: map[[16]byte]uint64{},
		names: map[wallet.AccountID]string{}, accounts: map[wallet.AccountID][]money.Currency{},
	}
}

// Convert returns what the wallet has to do for a transaction. What is real and does not sum to zero
// in a commodity, because it is exchanged for another, goes to or comes from [ConversionAccount];
// what is virtual and on its own, [VirtualAccount]. Movements may have no legs, if
// the transaction moves nothing. Errors are [*Error].
func (c *Converter) Convert(t *Transaction) (*Movement, error) {
	m, err := c.convert(t)
	if err != nil {
		return nil, &Error{t.File, t.Line, err.Error()}
	}
	return m, nil
}

func (c *Converter) convert(t *Transaction) (*Movement, error) {
	m := &Movement{Date: t.Date, Date2: t.Date2, Code: t.Code, Description: t.Description, File: t.File, Line: t.Line}
	legs := legs{at: map[place]int{}}
	for _, p := range t.Postings {
		id, err := c.account(p.Account)
		if err != nil {
			return nil, err
		}
		currency, amount, err := c.amount(p.Amount)
		if err != nil {
			return nil, err
		}
		other := wallet.AccountID(ConversionAccount)
		if p.Kind == Unbalanced {
			other = VirtualAccount
		}
		negated, ok := amount.Neg()
		if !ok || !legs.add(id, currency, amount) || !legs.add(other, currency, negated) {
			return nil, fmt.Errorf("the sums of %s do not fit 64 bits", p.Amount.Commodity)
		}
	}
	m.Legs = legs.notZero()
	if len(m.Legs) > MaxPostings {
		return nil, fmt.Errorf("more than %d legs, with those of exchanged commodities", MaxPostings)
	}
	for _, l := range m.Legs {
		if !slices.Contains(c.accounts[l.Account], l.Currency) {
			c.accounts[l.Account] = append(c.accounts[l.Account], l.Currency)
		}
	}
	return m, c.identify(m, t)
}

// account returns the id of an account. Names that are too long for an id share
// one only if their hashes do, or if one is made to look like the hash of the other.
func (c *Converter) account(name string) (wallet.AccountID, error) {
	id, _, err := AccountID(name)
	if err != nil {
		return "", err
	}
	if before, ok := c.names[id]; ok && before != name {
		return "", fmt.Errorf("the accounts %q and %q have the same id %s", before, name, id)
	}
	c.names[id] = name
	return id, nil
}

func (c *Converter) amount(a Amount) (money.Currency, money.Amount, error) {
	currency, err := c.commodities.Currency(a.Commodity)
	if err != nil {
		return 0, 0, err
	}
	units, ok := a.Number.Units(currency.Digits())
	if !ok {
		return 0, 0, fmt.Errorf("%s: %s has %d decimal places, and amounts of at most 64 bits", a, currency, currency.Digits())
	}
	return currency, money.Amount(units), nil
}

// Accounts returns what all movements so far need: the accounts, sorted by id, to be opened
// with every currency and without a smallest balance.
func (c *Converter) Accounts() []wallet.NewAccount {
	var all []wallet.NewAccount
	for _, id := range slices.Sorted(maps.Keys(c.accounts)) {
		for _, currency := range c.accounts[id] {
			all = append(all, wallet.NewAccount{ID: id, Currency: currency, Min: wallet.Unlimited})
		}
	}
	return all
}

// Name returns the name in the journal of an account with that id, also where
// [AccountName] does not know it.
func (c *Converter) Name(id wallet.AccountID) string {
	if name, ok := c.names[id]; ok {
		return name
	}
	return AccountName(id)
}

// legs adds up legs of the same account and currency.
type legs struct {
	all []Leg
	at  map[place]int
}

type place struct {
	account  wallet.AccountID
	currency money.Currency
}

func (l *legs) add(id wallet.AccountID, c money.Currency, a money.Amount) bool {
	at, ok := l.at[place{id, c}]
	if !ok {
		at = len(l.all)
		l.at[place{id, c}] = at
		l.all = append(l.all, Leg{Account: id, Currency: c})
	}
	sum, ok := l.all[at].Amount.Add(a)
	l.all[at].Amount = sum
	return ok
}

func (l *legs) notZero() []Leg {
	return slices.DeleteFunc(l.all, func(l Leg) bool { return l.Amount == 0 })
}

// identify gives a movement its id, and its time if it came from a wallet.
func (c *Converter) identify(m *Movement, t *Transaction) error {
	var text string
	text, m.Metadata = readTags(t.Comment)
	if id, err := wallet.ParseTransactionID(text); err == nil {
		if c.seen[id]++; c.seen[id] > 1 {
			return fmt.Errorf("another transaction has the transaction_id %s, too", id)
		}
		m.ID = id
		if text, ok := Tag(t.Comment, TagTime); ok {
			m.Time, _ = time.Parse(time.RFC3339Nano, text) // else it is of another kind
		}
		return nil
	}
	content := contentOf(t)
	sum := sha256.Sum256(content)
	key := [16]byte(sum[:16])
	sum = sha256.Sum256(binary.LittleEndian.AppendUint64(content, c.seen[key]))
	c.seen[key]++
	m.ID = wallet.TransactionID(sum[:16])
	m.ID[6] = m.ID[6]&0x0f | 0x80 // version 8 and variant of RFC 9562
	m.ID[8] = m.ID[8]&0x3f | 0x80
	m.Derived = true
	return nil
}

// contentOf returns what makes a transaction what it is: each text behind its
// length, the postings sorted.
func contentOf(t *Transaction) []byte {
	var postings []string
	for _, p := range t.Postings {
		if p.Amount.Number.Sign() != 0 {
			postings = append(postings, texts(p.Account, p.Kind.String(), p.Amount.Number.Trim().String(), p.Amount.Commodity))
		}
	}
	slices.Sort(postings)
	return []byte(texts("maru journal 1", t.Date.String(), t.Code, t.Description) + texts(postings...))
}

func texts(all ...string) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "%d:%s", len(s), s)
	}
	return b.String()
}
