package walletjournal

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var errRule = errors.New("of automated transactions only those are understood that match accounts by one /pattern/ and post amounts")

// A rule is an automated transaction: for each posting whose account it matches,
// it adds its own.
type rule struct {
	account  *regexp.Regexp
	postings []entered
}

// plainPattern has the patterns that all engines read in the same way.
var plainPattern = regexp.MustCompile(`^\^?(\\?[\pL\pN_:. -]|\\.|\.\*|\||\(|\))+\$?$`)

// rule reads an automated transaction. hledger follows them only when it is asked to;
// ledger does for what comes behind them.
func (r *reader) rule(line string) error {
	if r.opts.Dialect == HLedger {
		return r.skipIndented()
	}
	pattern := strings.TrimSpace(line[1:])
	if i := strings.Index(pattern, " ;"); i >= 0 {
		pattern = strings.TrimSpace(pattern[:i])
	}
	inside, slashes := strings.CutPrefix(pattern, "/")
	if slashes {
		if inside, slashes = strings.CutSuffix(inside, "/"); !slashes {
			return errRule
		}
	}
	if strings.ContainsAny(inside, "/@#%=&") || !slashes && strings.ContainsAny(inside, " ()|'\"") || !plainPattern.MatchString(inside) {
		return errRule
	}
	re, err := regexp.Compile("(?i)" + inside)
	if err != nil {
		return errRule
	}
	if len(r.rules) >= MaxDirectives {
		return errDirectives
	}
	added := rule{account: re}
	for {
		text, ok, err := r.in.indented()
		if err != nil {
			return err
		}
		if !ok {
			r.rules = append(r.rules, added)
			return nil
		}
		if text[0] == ';' {
			continue
		}
		p, err := r.posting(text)
		switch {
		case err != nil:
			return err
		case !p.price.has || p.Cost != nil || p.Lot != "" || p.price.assertion != nil || strings.Contains(p.Account, "$"):
			return errRule
		case len(added.postings) == MaxPostings:
			return errLegs
		}
		added.postings = append(added.postings, p)
	}
}

// applyRules adds the postings of rules to a transaction.
func (r *reader) applyRules(t *Transaction) error {
	own := len(t.Postings)
	balance := [...]map[string]Decimal{Real: {}, Balanced: {}, Unbalanced: nil}
	for _, rule := range r.rules {
		for _, p := range t.Postings[:own] {
			if !rule.account.MatchString(p.Account) {
				continue
			}
			for _, q := range rule.postings {
				added := q.Posting
				added.Inferred = true
				if added.Amount = q.price.amount; added.Amount.Commodity == "" {
					added.Amount = Amount{q.price.amount.Number.Mul(p.Amount.Number), p.Amount.Commodity}
				}
				if len(t.Postings) == MaxPostings {
					return errLegs
				}
				t.Postings = append(t.Postings, added)
				if sum := balance[added.Kind]; sum != nil {
					sum[added.Amount.Commodity] = sum[added.Amount.Commodity].Add(added.Amount.Number)
				}
			}
		}
	}
	for _, kind := range []Kind{Real, Balanced} {
		for _, commodity := range slices.Sorted(maps.Keys(balance[kind])) {
			if sum := balance[kind][commodity]; sum.Sign() != 0 {
				return fmt.Errorf("the %s postings that rules add do not balance: %s %s is left", kind, sum, commodity)
			}
		}
	}
	return nil
}
