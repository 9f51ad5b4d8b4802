package walletjournal_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"maru.example/wallet/walletjournal"
)

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

const good = "2020-01-01 Good\n  A  1 USD\n  B\n\n"

// both is in a table the mark of what both dialects refuse.
const both = walletjournal.Dialect(255)

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, journal string
		dialect       walletjournal.Dialect
		want          string
	}{
		{"unbalanced", "2020-01-01 X\n  A  1 USD\n  B  -2 USD\n", both, "j:5: the real postings do not balance: -1 USD is left"},
		{"unbalanced by the last place", "2020-01-01 X\n  A  1.001 USD\n  B  -1.00 USD\n", both, "j:5: the real postings do not balance: 0.001 USD is left"},
		{"unbalanced, virtual", "2020-01-01 X\n  [A]  1 USD\n  B  1 USD\n  C\n", both, "j:5: the balanced postings do not balance: 1 USD is left"},
		{"unbalanced at cost", "2020-01-01 X\n  A  2 FOO @ 3.00 USD\n  B  -5.99 USD\n", both, "j:5: the real postings do not balance: 0.01 USD is left"},
		{"two commodities of one sign", "2020-01-01 X\n  A  1 USD\n  B  2 EUR\n", both, "j:5: the real postings do not balance: 2 EUR, 1 USD is left"},
		{"three commodities", "2020-01-01 X\n  A  1 USD\n  B  -2 EUR\n  C  3 SEK\n", both, "j:5: the real postings do not balance: -2 EUR, 3 SEK, 1 USD is left"},
		{"one tab behind the accounts", "2020-01-01 X\n  A\t1 USD\n  B\t-1 USD\n", walletjournal.HLedger, "j:7: two postings without an amount"},
		{"two open", "2020-01-01 X\n  A  1 USD\n  B\n  C\n", both, "j:8: two postings without an amount"},
		{"open in parentheses", "2020-01-01 X\n  (A)\n", both, "j:6: a posting in parentheses needs an amount"},
		{"no date", "1/1 X\n  A  1 USD\n", both, "j:5: a date without a year, and no Y directive before it"},
		{"a day that is not", "2021-02-29 X\n", both, "j:5: not a date, as in 2020-01-31"},
		{"mixed separators", "2021-02/03 X\n", both, "j:5: not a date, as in 2020-01-31"},
		{"a code without end", "2021-02-03 (12 X\n", both, "j:5: a code's parenthesis does not end"},
		{"indented", "  A  1 USD\n", both, "j:5: an indented line that belongs to nothing"},
		{"unknown directive", "frobnicate\n", both, "j:5: a line that is neither a transaction nor a known directive"},
		{"an expression", "2020-01-01 X\n  A  (1 USD + 2 USD)\n  B\n", both, "j:6: amounts that are expressions are not understood"},
		{"no number", "2020-01-01 X\n  A  USD\n  B\n", both, "j:6: an amount without a number"},
		{"two commodities around a number", "2020-01-01 X\n  A  $1 USD\n  B\n", both, "j:6: what stands behind the amount is not understood"},
		{"quotes without end", "2020-01-01 X\n  A  1 \"USD\n  B\n", both, "j:6: a commodity's quotes do not end"},
		{"a commodity with a semicolon", "2020-01-01 X\n  A  1 \"a;b\"\n  B\n", both, "j:6: a commodity's name is empty, too long, or has what a name cannot have"},
		{"two costs", "2020-01-01 X\n  A  1 X @ 2 USD @ 3 USD\n  B\n", both, "j:6: a posting has two costs"},
		{"negative cost", "2020-01-01 X\n  A  1 X @ -2 USD\n  B\n", both, "j:6: a cost may not be negative"},
		{"cost of itself", "2020-01-01 X\n  A  1 X @ 2 X\n  B\n", both, "j:6: a posting's cost is of its own commodity"},
		{"lot for a total", "2020-01-01 X\n  A  1 X {{2 USD}} @ 3 USD\n  B\n", both, "j:6: a lot with a price for all of it is not understood: give the price of one"},
		{"lot without end", "2020-01-01 X\n  A  1 X {2 USD @ 3 USD\n  B\n", both, "j:6: a lot's braces, brackets or parentheses do not end, or stand twice"},
		{"groups of two", "2020-01-01 X\n  A  1,00,00.0 X\n  B\n", walletjournal.Ledger, "j:6: the marks between digits are in no known order"},
		{"two points", "2020-01-01 X\n  A  1.0.0 X\n  B\n", walletjournal.Ledger, "j:6: the marks between digits are in no known order"},
		{"a comma that may be either", "2020-01-01 X\n  A  0,075 X\n  B\n", walletjournal.Ledger, "j:6: the comma may be a decimal mark or separate thousands"},
		{"a number of many digits", "2020-01-01 X\n  A  1" + strings.Repeat("0", 64) + " X\n  B\n", both, "j:6: not a decimal number"},
		{"a false assertion", "2020-01-02 X\n  A  1 USD = 3 USD\n  B\n", both, "j:6: the balance of A is 2 USD, not 3 as asserted"},
		{"a false assertion of all", "2020-01-02 X\n  A  1 EUR == 1 EUR\n  B\n", walletjournal.HLedger, "j:6: the balance of A is 1 USD, not 0 as asserted"},
		{"an assertion out of order", "2019-01-02 X\n  A  1 USD = 2 USD\n  B\n", both, "j:6: a balance is asserted where transactions of the account are not in the order of their dates: hledger and ledger check another balance then"},
		{"before an assertion", "2020-01-02 X\n  A  1 USD = 2 USD\n  B\n2020-01-01 Y\n  A  1 USD\n  B\n", both, "j:9: a balance is asserted where transactions of the account are not in the order of their dates: hledger and ledger check another balance then"},
		{"an assigned balance of all", "2020-01-02 X\n  A  == 1 USD\n  B\n", both, "j:6: an assigned balance in several commodities is not understood"},
		{"an assertion of what is open", "2020-01-02 X\n  A\n  A  1 USD = 2 USD\n", both, "j:7: the account has a posting without an amount before the balance that is asserted"},
		{"time is money", "2020-01-02 X\n  A  1h\n  B  60m\n", walletjournal.Ledger, "j:7: ledger converts between the commodities h, m and s: only one of them can be used"},
		{"a rule with an expression", "= expr amount > 3\n  A  1\n", walletjournal.Ledger, "j:5: of automated transactions only those are understood that match accounts by one /pattern/ and post amounts"},
		{"a rule for payees", "= @Shop\n  A  1\n", walletjournal.Ledger, "j:5: of automated transactions only those are understood that match accounts by one /pattern/ and post amounts"},
		{"a rule that does not balance", "= A\n  C  1\n2020-01-02 X\n  A  1 USD\n  B\n", walletjournal.Ledger, "j:7: the real postings that rules add do not balance: 1 USD is left"},
		{"a default account", "bucket A\n", walletjournal.Ledger, "j:5: a default account for postings without another side is not understood"},
		{"clocked time", "i 2020/01/01 12:00:00 A\n", both, "j:5: time that is clocked is not understood"},
		{"conversions", "C 1 Kb = 1024 b\n", walletjournal.Ledger, "j:5: conversions between commodities are not understood"},
		{"a fixed rate", "apply fixed X $1\n", walletjournal.Ledger, "j:5: apply fixed is not understood"},
		{"apply without end", "apply account A\n", both, "j:6: the file ends before the end of apply account"},
		{"end without apply", "end apply account\n", both, "j:5: end apply account without its beginning"},
		{"a comment without end", "comment\nx\n", both, "j:5: a comment that does not end"},
		{"an alias for a pattern", "alias /x/=y\n", both, "j:5: an alias for a pattern is not understood"},
		{"an account with an empty part", "2020-01-01 X\n  A::B  1 USD\n  B\n", both, "j:6: an account's name is empty, too long, has an empty part, or its brackets do not end"},
		{"brackets without end", "2020-01-01 X\n  (A  1 USD\n  B\n", both, "j:6: an account's name is empty, too long, has an empty part, or its brackets do not end"},
		{"a long name", "2020-01-01 X\n  " + strings.Repeat("A", 1025) + "  1 USD\n  B\n", both, "j:6: an account's name is empty, too long, has an empty part, or its brackets do not end"},
		{"a long line", "; " + strings.Repeat("A", 16<<10) + "\n", both, "j:5: a line of more than 16384 bytes"},
		{"too many postings", "2020-01-01 X\n" + strings.Repeat("  A  0 USD\n", 65), both, "j:70: a transaction of more than 64 postings"},
		{"too many postings with those left out", "2020-01-01 X\n" + strings.Repeat("  A  1 USD\n", 63) + "  B  1 EUR\n  C\n", both, "j:70: a transaction of more than 64 postings"},
		{"a long comment", "2020-01-01 X\n" + strings.Repeat("  ; "+strings.Repeat("x", 1<<13)+"\n", 9), both, "j:13: a comment of more than 65536 bytes"},
		{"not text", "; \xff\n", both, "j:5: not text in UTF-8"},
		{"control characters", "; \x00\n", both, "j:5: not text in UTF-8"},
		{"an include that is not there", "include x\n", both, "j:5: open x: file does not exist"},
		{"an include of many", "include *.x\n", both, "j:5: an include of a pattern is not understood: name each file"},
		{"an include of itself", "include j\n", both, "j:5: more than 16 files include each other"},
		{"an error in an include", "include bad\n", both, "bad:2: an indented line that belongs to nothing"},
	} {
		dialects := []walletjournal.Dialect{tt.dialect}
		if tt.dialect == both {
			dialects = []walletjournal.Dialect{walletjournal.Ledger, walletjournal.HLedger}
		}
		for _, d := range dialects {
			t.Run(tt.name+"/"+d.String(), func(t *testing.T) {
				source := text{"j": good + tt.journal, "bad": "\n  x\n"}
				_, err := walletjournal.Read(source, "j", &walletjournal.Options{Dialect: d, Each: func(x *walletjournal.Transaction) error {
					t.Errorf("transaction of line %d was delivered", x.Line)
					return nil
				}})
				var located *walletjournal.Error
				if !errors.As(err, &located) || located.Error() != tt.want {
					t.Errorf("got %v, want %s", err, tt.want)
				}
			})
		}
	}
}

func TestReadGivesAll(t *testing.T) {
	var got []walletjournal.Transaction
	summary, err := walletjournal.Read(text{"": "\ufeffY2020\r\n1-2=1-3 ! (a b) Shop ; hi: x\r\n    ; second: y\r\n  * (A\tB)\t\t-1.50 USD @@ 2 EUR;z\r\n    ; w\r\n\r\n"}, "", &walletjournal.Options{
		Dialect: walletjournal.HLedger,
		Each:    func(x *walletjournal.Transaction) error { got = append(got, *x); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []walletjournal.Transaction{{
		Line: 2, Date: walletjournal.Date{2020, 1, 2}, Date2: walletjournal.Date{2020, 1, 3}, Status: walletjournal.Pending,
		Code: "a b", Description: "Shop", Comment: "hi: x\nsecond: y", Postings: []walletjournal.Posting{{
			Account: "A B", Kind: walletjournal.Unbalanced, Status: walletjournal.Cleared,
			Amount: walletjournal.Amount{walletjournal.NewDecimal(-150, 2), "USD"},
			Cost:   &walletjournal.Cost{walletjournal.Amount{walletjournal.NewDecimal(2, 0), "EUR"}, true}, Comment: "z\nw",
		}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if summary.Transactions != 1 || summary.Balances.Of("A B", "USD").String() != "-1.50" || summary.Places["USD"] != 2 {
		t.Errorf("summary %+v", summary)
	}
	if value, ok := walletjournal.Tag(got[0].Comment, "second"); value != "y" || !ok {
		t.Errorf("tag second: %q, %t", value, ok)
	}
}

func TestReadStops(t *testing.T) {
	stop := errors.New("enough")
	n := 0
	_, err := walletjournal.Read(text{"": good + good}, "", &walletjournal.Options{Each: func(*walletjournal.Transaction) error { n++; return stop }})
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("error %v after %d transactions, want that of the function after 1", err, n)
	}
	ignored := "2020-01-02 X\n  A  1 USD = 3 USD\n  B\n"
	if _, err := walletjournal.Read(text{"": ignored}, "", &walletjournal.Options{IgnoreAssertions: true}); err != nil {
		t.Errorf("error %v with assertions that are ignored", err)
	}
}

// changing gives another journal each time.
type changing struct{ journals []string }

func (c *changing) Open(string, string) (file io.ReadCloser, known string, err error) {
	next := c.journals[0]
	c.journals = c.journals[1:]
	return readCloser{strings.NewReader(next)}, "j", nil
}

func TestReadSeesChanges(t *testing.T) {
	for name, second := range map[string]string{"longer": good + good, "shorter": "", "bad": good + "x", "other": strings.Replace(good, "A", "C", 1)} {
		_, err := walletjournal.Read(&changing{[]string{good, second}}, "j", &walletjournal.Options{Each: func(*walletjournal.Transaction) error { return nil }})
		if !errors.Is(err, walletjournal.ErrChanged) {
			t.Errorf("%s: error %v, want %v", name, err, walletjournal.ErrChanged)
		}
	}
}

// FuzzRead reads anything by both dialects. What is read can be written and read
// again, by both, and is the same then.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"ledger.journal", "hledger.journal", "other.journal"} {
		file, _, err := files{"testdata"}.Open("", name)
		if err != nil {
			f.Fatal(err)
		}
		content, err := io.ReadAll(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.Replace(string(content), "include", "; include", 1), false)
		f.Add(strings.Replace(string(content), "include", "; include", 1), true)
		for entry := range strings.SplitSeq(string(content), "\n\n") {
			f.Add(entry, true)
		}
	}
	f.Fuzz(func(t *testing.T, journal string, hledger bool) {
		d := walletjournal.Ledger
		if hledger {
			d = walletjournal.HLedger
		}
		var first []walletjournal.Transaction
		var written strings.Builder
		w := walletjournal.NewJournalWriter(&written)
		_, err := walletjournal.Read(text{"": journal}, "", &walletjournal.Options{Dialect: d, Each: func(x *walletjournal.Transaction) error {
			first = append(first, *x)
			if len(x.Comment) > 1000 || len(x.Description) > 1000 {
				t.Skip("too long to be written")
			}
			return w.Write(x)
		}})
		if err != nil || w.Flush() != nil {
			return
		}
		for _, d := range []walletjournal.Dialect{walletjournal.Ledger, walletjournal.HLedger} {
			var again []walletjournal.Transaction
			_, err := walletjournal.Read(text{"": written.String()}, "", &walletjournal.Options{Dialect: d, Each: func(x *walletjournal.Transaction) error {
				again = append(again, *x)
				return nil
			}})
			if err != nil {
				t.Fatalf("as %s: %v\n%s", d, err, &written)
			}
			if diff := cmp.Diff(first, again, cmpopts.IgnoreFields(walletjournal.Transaction{}, "Line"), cmpopts.IgnoreFields(walletjournal.Posting{}, "Inferred"), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("as %s (-read +read again):\n%s\n%s", d, diff, &written)
			}
		}
	})
}

func ExampleRead() {
	journal := text{"main": "2020-01-31 Bakery\n    Expenses:Food    3.20 EUR\n    Assets:Cash\n"}
	summary, err := walletjournal.Read(journal, "main", &walletjournal.Options{Each: func(t *walletjournal.Transaction) error {
		for _, p := range t.Postings {
			fmt.Println(t.Date, p.Account, p.Amount)
		}
		return nil
	}})
	fmt.Println(summary.Transactions, err)
	// Output:
	// 2020-01-31 Expenses:Food 3.20 EUR
	// 2020-01-31 Assets:Cash -3.20 EUR
	// 1 <nil>
}
