package walletjournal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Balances are the sums of postings, of each commodity in each account.
type Balances struct {
	sums map[string]map[string]Decimal
	n    int
}

func newBalances() *Balances { return &Balances{sums: map[string]map[string]Decimal{}} }

// Add adds an amount to an account. It returns an error beyond [MaxNames] balances.
func (b *Balances) Add(account string, a Amount) error {
	if b.sums == nil {
		b.sums = map[string]map[string]Decimal{}
	}
	of := b.sums[account]
	if of == nil {
		of = map[string]Decimal{}
		b.sums[account] = of
	}
	sum, ok := of[a.Commodity]
	if !ok {
		if b.n++; b.n > MaxNames {
			return fmt.Errorf("more than %d balances", MaxNames)
		}
	}
	of[a.Commodity] = sum.Add(a.Number)
	return nil
}

// Of returns an account's sum of a commodity.
func (b *Balances) Of(account, commodity string) Decimal { return b.sums[account][commodity] }

// Accounts returns the names of all accounts, sorted.
func (b *Balances) Accounts() []string { return slices.Sorted(maps.Keys(b.sums)) }

// Commodities returns the names of all commodities that an account had, sorted.
func (b *Balances) Commodities(account string) []string {
	return slices.Sorted(maps.Keys(b.sums[account]))
}

// commodities returns those of an account, and of the accounts below it if asked.
func (b *Balances) commodities(account string, below bool) []string {
	all := slices.Collect(maps.Keys(b.sums[account]))
	if !below {
		return all
	}
	for name, of := range b.sums {
		if strings.HasPrefix(name, account+":") {
			all = slices.AppendSeq(all, maps.Keys(of))
		}
	}
	return all
}

// below returns the sum of a commodity in the account and those below it.
func (b *Balances) below(account, commodity string) Decimal {
	sum := b.Of(account, commodity)
	for name, of := range b.sums {
		if strings.HasPrefix(name, account+":") {
			sum = sum.Add(of[commodity])
		}
	}
	return sum
}

var (
	errAssignCost  = errors.New("a balance is assigned in a transaction that has an amount left out in the same account")
	errOutOfOrder  = errors.New("a balance is asserted where transactions of the account are not in the order of their dates: hledger and ledger check another balance then")
	errAssertTwice = errors.New("the account has a posting without an amount before the balance that is asserted")
)

// An order is what is known of the dates of an account's postings.
type order struct{ latest, asserted Date }

// assign turns a posting that has an asserted balance and no amount into one with the
// amount that makes it so.
func (r *reader) assign(all []entered, i int) error {
	p := &all[i]
	a := p.price.assertion
	if p.price.has || a == nil {
		return nil
	}
	if a.all || a.below {
		return errLeftToTools
	}
	now := r.balances.Of(p.Account, a.amount.Commodity)
	for j := range all {
		if all[j].Account != p.Account || j == i {
			continue
		}
		if !all[j].price.has && all[j].price.assertion == nil {
			return errAssignCost
		}
		if j < i && all[j].price.amount.Commodity == a.amount.Commodity {
			now = now.Add(all[j].price.amount.Number)
		}
	}
	p.price.amount = Amount{a.amount.Number.Add(now.Neg()), a.amount.Commodity}
	p.price.has, p.Inferred = true, true
	return nil
}

// assertAll checks the balances that are asserted in a transaction.
func (r *reader) assertAll(t *Transaction, all []entered) error {
	for i, p := range all {
		o := r.order[p.Account]
		if o == nil {
			o = new(order)
			r.order[p.Account] = o
		}
		a := p.price.assertion
		ignored := r.opts.IgnoreAssertions && !p.Inferred
		if t.Date.Before(o.asserted) || a != nil && !ignored && t.Date.Before(o.latest) {
			return r.at(p.line, errOutOfOrder)
		}
		if o.latest.Before(t.Date) {
			o.latest = t.Date
		}
		if a == nil || ignored {
			continue
		}
		o.asserted = t.Date
		if err := r.assert(all[:i+1], p, *a); err != nil {
			return r.at(p.line, err)
		}
	}
	return nil
}

// assert checks the balance after the last of some postings.
func (r *reader) assert(until []entered, p entered, a assertion) error {
	moved := &Balances{}
	for _, q := range until {
		if !q.price.has {
			if q.Account == p.Account {
				return errAssertTwice
			}
			continue
		}
		if err := moved.Add(q.Account, q.price.amount); err != nil {
			return err
		}
	}
	commodities := []string{a.amount.Commodity}
	if a.all {
		for _, b := range []*Balances{r.balances, moved} {
			commodities = append(commodities, b.commodities(p.Account, a.below)...)
		}
		slices.Sort(commodities)
		commodities = slices.Compact(commodities)
	}
	for _, c := range commodities {
		have := r.balances.Of(p.Account, c).Add(moved.Of(p.Account, c))
		if a.below {
			have = r.balances.below(p.Account, c).Add(moved.below(p.Account, c))
		}
		want := Decimal{}
		if c == a.amount.Commodity {
			want = a.amount.Number
		}
		if !r.same(have, want, c) {
			return fmt.Errorf("the balance of %s is %s %s, not %s as asserted", p.Account, have, c, want)
		}
	}
	return nil
}

// same compares as the dialect's tool does: ledger leaves out what it does not show.
func (r *reader) same(have, want Decimal, commodity string) bool {
	if r.opts.Dialect == Ledger {
		return have.Add(want.Neg()).negligible(r.styles[commodity].places)
	}
	return have.Cmp(want) == 0
}
