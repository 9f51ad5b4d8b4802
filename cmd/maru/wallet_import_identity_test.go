package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestJournalsThatChange imports journals that say something else than before: of how many decimal places a commodity
// has, and in an entry.
func TestJournalsThatChange(t *testing.T) {
	p := newJournalTest(t)
	file := filepath.Join(t.TempDir(), "books.journal")
	const first = "2026-01-01 (1) One\n  a  1.25 USD\n  b\n\n"
	steps := []struct {
		name, journal string
		args          []string
		applied       int64
		fails         string // "": it does not
		hint          string
	}{
		{name: "two places", journal: first, applied: 1},
		{
			name: "more places", journal: first + "2026-01-02 (2) Two\n  a  1.255 USD\n  b\n\n",
			fails: `books.journal:5: commodity "USD" has 3 decimal places in this journal, which would make it USD@.3, and the wallet has it as USD, with 2`, hint: "--asset USD=USD@.3",
		},
		{
			name: "another asset", journal: first + "2026-01-02 (2) Two\n  a  1.255 USD\n  b\n\n", args: []string{"--asset", "USD=USD@.3"}, applied: 1,
		},
		{name: "still more", journal: first + "2026-01-02 (2) Two\n  a  1.2555 USD\n  b\n\n", fails: `would make it USD@.4, and the wallet has it as USD@.3, with 3`, hint: "at most 3 places"},
		{name: "too many for what is named", journal: first + "2026-01-03 Three\n  a  1.2555 USD\n  b\n\n", args: []string{"--asset", "USD=USD@.3"}, fails: `:5: commodity "USD" has 4 decimal places, and the wallet's asset USD@.3 has 3`},
		{name: "as the currency", journal: "2026-01-04 Four\n  a  1 USD\n  b\n", applied: 1},
		{name: "a name for another", journal: "2026-01-05 Five\n  a  1 $\n  b\n", args: []string{"--asset", "$=USD"}, applied: 1},
		{name: "two as one", journal: "2026-01-06 Six\n  a  1 $\n  b\n\n2026-01-06 Six\n  a  1 USD\n  b\n", args: []string{"--asset", "$=USD"}, fails: `would both be USD`},
		{name: "no such commodity", journal: first, args: []string{"--asset", "EUR=USD"}, fails: `the journal has no commodity "EUR"`},
		{name: "no asset", journal: first, args: []string{"--asset", "EUR"}, fails: `is not COMMODITY=ASSET`},
		{name: "euros, first with more places", journal: "2026-02-01 Euros\n  a  1.255 EUR\n  b\n", applied: 1},
		{
			name: "then with fewer", journal: "2026-02-02 Euros\n  a  1.25 EUR\n  b\n",
			fails: `books.journal:1: commodity "EUR" has 2 decimal places in this journal, which would make it EUR, and the wallet has it as EUR@.3, with 3`, hint: "--asset EUR=EUR@.3",
		},
		{name: "as that one", journal: "2026-02-02 Euros\n  a  1.25 EUR\n  b\n", args: []string{"--asset", "EUR=EUR@.3"}, applied: 1},

		{name: "a corrected entry", journal: strings.Replace(first, "1.25", "1.52", 1), args: []string{"--unique-codes"}, fails: "1 entry has changed since", hint: "another code"},
		{name: "other accounts", journal: strings.Replace(first, "  a ", "  c ", 1), args: []string{"--unique-codes"}, fails: "1 entry has changed since"},
		{name: "beside others", journal: first + "2026-03-01 (3) New\n  a  1 USD\n  b\n\n2026-03-01 No code\n  a  1 USD\n  b\n", args: []string{"--unique-codes"}, applied: 2},
		{name: "a code twice", journal: first + first, args: []string{"--unique-codes"}, fails: `books.journal:5: the code "1" stands at line 1 already`},
		{name: "without the flag", journal: strings.Replace(first, "1.25", "1.52", 1), applied: 1},
	}
	for _, step := range steps {
		if err := os.WriteFile(file, []byte(step.journal), 0o600); err != nil {
			t.Fatal(err)
		}
		sum, errOut, err := p.importFile("default", append([]string{file}, step.args...)...)
		switch {
		case sum.Applied != step.applied:
			t.Errorf("%s: %+v, %v", step.name, sum, err)
		case step.fails == "" && err != nil:
			t.Errorf("%s: %v\n%s", step.name, err, errOut)
		case step.fails != "" && (err == nil || !strings.Contains(err.Error(), step.fails) || !strings.Contains(failureOf(err).hint, step.hint)):
			t.Errorf("%s: %v, want %s", step.name, err, step.fails)
		case strings.Contains(step.fails, "changed") && !strings.Contains(errOut, file+`:1: the wallet has code "1" with other content, as transaction `):
			t.Errorf("%s: %s", step.name, errOut)
		}
		if step.applied > 0 { // what follows asks the history
			settle(t, "the history has it", 50*time.Millisecond, func(context.Context) error {
				out, _, err := runHere(t, "wallet", "find", "1", "--addr", p.addr, "--json")
				if err == nil && !strings.Contains(out, `"reference":"1"`) {
					err = errors.New("not yet")
				}
				return err
			})
		}
	}
	if got := p.balances("default", []string{"c"}); len(got) > 0 {
		t.Errorf("an entry that was refused has moved %v", got)
	}
}
