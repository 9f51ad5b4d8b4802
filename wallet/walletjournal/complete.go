package walletjournal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

var (
	errTwoOpen   = errors.New("two postings without an amount")
	errOpenAlone = errors.New("a posting in parentheses needs an amount")
	errPlaces    = fmt.Errorf("an amount of more than %d places", MaxPlaces)
)

// complete makes the postings of a transaction of what was entered: balances
// that are assigned, amounts that are left out, what rules add.
func (r *reader) complete(t *Transaction, all []entered) error {
	for i := range all {
		if err := r.assign(all, i); err != nil {
			return r.at(all[i].line, err)
		}
	}
	if err := r.fill(t, all); err != nil {
		return err
	}
	if err := r.applyRules(t); err != nil {
		return r.at(t.Line, err)
	}
	for _, p := range t.Postings {
		if p.Amount.Number.places > MaxPlaces {
			return r.at(t.Line, errPlaces)
		}
	}
	if err := r.assertAll(t, all); err != nil {
		return err
	}
	for _, p := range t.Postings {
		if err := r.balances.Add(p.Account, p.Amount); err != nil {
			return r.at(t.Line, err)
		}
		s := r.styles[p.Amount.Commodity]
		if s.used = true; p.Inferred {
			s.needed = max(s.needed, p.Amount.Number.Trim().places)
		}
	}
	return nil
}

// at returns an error at another line than the one in hand.
func (r *reader) at(line int, err error) error {
	return &Error{File: r.in.name, Line: line, Reason: err.Error()}
}

// fill finds the amounts that are left out, checks that the rest balances, and
// appends the postings to the transaction. Real and balanced virtual postings
// balance each by themselves.
func (r *reader) fill(t *Transaction, all []entered) error {
	open := [...]int{Real: -1, Balanced: -1}
	for i, p := range all {
		if p.price.has {
			continue
		}
		if p.Kind == Unbalanced {
			return r.at(p.line, errOpenAlone)
		}
		if open[p.Kind] >= 0 {
			return r.at(p.line, errTwoOpen)
		}
		open[p.Kind] = i
	}
	missing := [...]weights{Real: {}, Balanced: {}}
	for _, kind := range []Kind{Real, Balanced} {
		w, err := r.weigh(all, kind)
		if err != nil {
			return r.at(t.Line, err)
		}
		missing[kind] = w
		if open[kind] < 0 && !w.balanced() {
			return r.at(t.Line, fmt.Errorf("the %s postings do not balance: %s is left", kind, w))
		}
	}
	for i, p := range all {
		if p.price.has {
			p.Amount = p.price.amount
			t.Postings = append(t.Postings, p.Posting)
			continue
		}
		if i == open[p.Kind] {
			t.Postings = append(t.Postings, missing[p.Kind].fill(p.Posting)...)
		}
	}
	if len(t.Postings) > MaxPostings {
		return r.at(t.Line, errLegs)
	}
	return nil
}

// weights are the sums of postings, at cost, by what they are of: a commodity and,
// with ledger, its lot.
type weights struct {
	sums    map[weighed]Decimal
	places  map[string]*style
	costs   bool // a posting has a cost
	dialect Dialect
}

type weighed struct{ commodity, lot string }

// weigh adds up what postings of a kind weigh.
func (r *reader) weigh(all []entered, kind Kind) (weights, error) {
	w := weights{map[weighed]Decimal{}, r.styles, false, r.opts.Dialect}
	for _, p := range all {
		if p.Kind != kind || !p.price.has {
			continue
		}
		key, weight := weighed{commodity: p.price.amount.Commodity}, p.price.amount.Number
		if c := p.price.cost; c != nil {
			w.costs = true
			cost := atCost(weight, *c)
			if lot := p.price.lotPrice; r.opts.Dialect == Ledger && lot != nil && lot.Commodity == c.Amount.Commodity {
				cost = lot.Number.Mul(weight)
			}
			key, weight = weighed{commodity: c.Amount.Commodity}, cost
		} else if r.opts.Dialect == Ledger {
			key.lot = p.price.lot
		}
		if weight.places > MaxPlaces {
			return w, errPlaces
		}
		w.sums[key] = w.sums[key].Add(weight)
	}
	return w, nil
}

// atCost returns what so much costs; the sign is the amount's.
func atCost(n Decimal, c Cost) Decimal {
	switch {
	case !c.Total:
		return c.Amount.Number.Mul(n)
	case n.Sign() < 0:
		return c.Amount.Number.Neg()
	}
	return c.Amount.Number
}

// left returns what does not sum to zero, in a fixed order. What is less than
// the places that the commodity is used with counts as zero, as costs have more.
func (w weights) left() []weighed {
	var keys []weighed
	for _, k := range slices.SortedFunc(maps.Keys(w.sums), func(a, b weighed) int {
		return strings.Compare(a.commodity+"\x00"+a.lot, b.commodity+"\x00"+b.lot)
	}) {
		if !w.sums[k].negligible(w.places[k.commodity].places) {
			keys = append(keys, k)
		}
	}
	return keys
}

// balanced says whether all sums to zero, or is an exchange of two commodities, whose
// price follows. Ledger takes two lots of one commodity for such an exchange, too;
// here they have to sum to zero, as they do for others.
func (w weights) balanced() bool {
	keys := w.left()
	if len(keys) == 2 && !w.costs {
		return keys[0].commodity != keys[1].commodity && w.sums[keys[0]].Sign() != w.sums[keys[1]].Sign()
	}
	return len(keys) == 0
}

// fill makes postings of the one that has no amount: one for each commodity that is left.
func (w weights) fill(open Posting) []Posting {
	sums := map[string]Decimal{}
	for k, n := range w.sums {
		sums[k.commodity] = sums[k.commodity].Add(n)
	}
	var filled []Posting
	for _, commodity := range slices.Sorted(maps.Keys(sums)) {
		if sums[commodity].Sign() == 0 {
			continue
		}
		p := open
		p.Inferred = true
		p.Amount = Amount{sums[commodity].Neg(), commodity}
		filled = append(filled, p)
	}
	return filled
}

// String returns what is left, for people.
func (w weights) String() string {
	var all []string
	for _, k := range w.left() {
		all = append(all, strings.TrimSpace(w.sums[k].String()+" "+k.commodity+" "+k.lot))
	}
	return strings.Join(all, ", ")
}
