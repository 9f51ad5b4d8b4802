package walletjournal_test

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/walletjournal"
)

// ledgerOf is a ledger of the test: a sum that has to be zero, and balances, applied at
// most once an id.
type ledgerOf struct {
	done     map[wallet.TransactionID]walletjournal.Movement
	balances map[wallet.AccountID]map[money.Currency]money.Amount
}

func newLedger() *ledgerOf {
	return &ledgerOf{map[wallet.TransactionID]walletjournal.Movement{}, map[wallet.AccountID]map[money.Currency]money.Amount{}}
}

func (l *ledgerOf) apply(m *walletjournal.Movement) error {
	if before, ok := l.done[m.ID]; ok {
		if !cmp.Equal(before.Legs, m.Legs) {
			return fmt.Errorf("id %s has other legs than before", m.ID)
		}
		return nil
	}
	l.done[m.ID] = *m
	sum := map[money.Currency]money.Amount{}
	for _, leg := range m.Legs {
		if l.balances[leg.Account] == nil {
			l.balances[leg.Account] = map[money.Currency]money.Amount{}
		}
		l.balances[leg.Account][leg.Currency] += leg.Amount
		sum[leg.Currency] += leg.Amount
	}
	for c, s := range sum {
		if s != 0 {
			return fmt.Errorf("transaction %s sums to %d in %s", m.ID, s, c)
		}
	}
	return nil
}

// importInto converts a journal into a ledger and returns its balances by the journal's
// names, without the accounts that conversion adds.
func importInto(t *testing.T, l *ledgerOf, file string, d walletjournal.Dialect) (sums, *walletjournal.Converter, *walletjournal.Assets) {
	t.Helper()
	source := files{filepath.Dir(file)}
	plan, err := walletjournal.Read(source, filepath.Base(file), &walletjournal.Options{Dialect: d})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := made(t, plan.Places)
	c := walletjournal.NewConverter(a)
	_, err = walletjournal.Read(source, filepath.Base(file), &walletjournal.Options{Dialect: d, Each: func(x *walletjournal.Transaction) error {
		m, err := c.Convert(x)
		if err != nil {
			return err
		}
		return l.apply(m)
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := sums{}
	for id, of := range l.balances {
		if id == walletjournal.ConversionAccount || id == walletjournal.VirtualAccount {
			continue
		}
		for currency, amount := range of {
			got.add(c.Name(id), a.Commodity(currency), walletjournal.NewDecimal(int64(amount), currency.Digits()))
		}
	}
	return got, c, a
}

// checkImport compares a ledger that imported a journal with the tool, and both tools' balances of the
// ledger's export with the ledger.
func checkImport(t *testing.T, file string, d walletjournal.Dialect) {
	t.Helper()
	want, err := tools[d](t, file)
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	got, c, a := importInto(t, l, file, d)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("balances of %s (-%s +imported):\n%s", file, d, diff)
	}
	n := len(l.done)
	again, _, _ := importInto(t, l, file, d)
	if len(l.done) != n || !cmp.Equal(again, got) {
		t.Errorf("importing %s again makes %d transactions of %d", file, len(l.done), n)
	}
	exported := filepath.Join(t.TempDir(), "exported.journal")
	out, err := os.Create(exported)
	if err != nil {
		t.Fatal(err)
	}
	w := walletjournal.NewJournalWriter(out)
	whole := sums{}
	for _, m := range l.done {
		x := walletjournal.Journal(&m, a)
		if err := w.Write(x); err != nil {
			t.Fatal(err)
		}
	}
	for id, of := range l.balances {
		for currency, amount := range of {
			whole.add(walletjournal.AccountName(id), a.Commodity(currency), walletjournal.NewDecimal(int64(amount), currency.Digits()))
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for tool, balances := range tools {
		got, err := balances(t, exported)
		if err != nil {
			t.Errorf("%s does not read the export: %v", tool, err)
			continue
		}
		if diff := cmp.Diff(whole, got); diff != "" {
			t.Errorf("balances of the export (-ledger of the test +%s):\n%s", tool, diff)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if opened := c.Accounts(); len(opened) == 0 {
		t.Error("no accounts to open")
	}
}

// text reads a journal that stands in the test.
type text map[string]string

func (t text) Open(_, name string) (file io.ReadCloser, known string, err error) {
	s, ok := t[name]
	if !ok {
		return nil, "", os.ErrNotExist
	}
	return readCloser{strings.NewReader(s)}, name, nil
}

func convertText(t *testing.T, journal string, c walletjournal.Commodities) ([]walletjournal.Movement, error) {
	t.Helper()
	converter := walletjournal.NewConverter(c)
	var all []walletjournal.Movement
	_, err := walletjournal.Read(text{"": journal}, "", &walletjournal.Options{Each: func(x *walletjournal.Transaction) error {
		m, err := converter.Convert(x)
		if err == nil {
			all = append(all, *m)
		}
		return err
	}})
	return all, err
}

func TestConvertBalancesThroughAccounts(t *testing.T) {
	usd, eur := money.MustParseCurrency("USD"), money.MustParseCurrency("EUR")
	got, err := convertText(t, `
2020-01-01 (7) Exchange
    A   10 EUR @ 1.1234 USD
    A   1 EUR
    A  -1 EUR
    B
    (V)   3 USD
`, walletjournal.ISO{})
	if err == nil {
		t.Fatalf("11.234 USD were converted into %v", got)
	}
	got, err = convertText(t, `
2020-01-01 (7) Exchange
    A   10 EUR @ 1.12 USD
    A   1 EUR
    A  -1 EUR
    B
    (V)   3 USD
`, walletjournal.ISO{})
	if err != nil {
		t.Fatal(err)
	}
	want := []walletjournal.Leg{
		{"A", eur, 1000},
		{walletjournal.ConversionAccount, eur, -1000},
		{"B", usd, -1120},
		{walletjournal.ConversionAccount, usd, 1120},
		{"V", usd, 300},
		{walletjournal.VirtualAccount, usd, -300},
	}
	if len(got) != 1 || !cmp.Equal(got[0].Legs, want) {
		t.Errorf("got %v, want legs %v", got, want)
	}
}

func TestConvertRefuses(t *testing.T) {
	for _, tt := range []struct{ name, postings, want string }{
		{"too many places", "A  1.001 USD\n  B", "1.001 USD: USD has 2 decimal places, and amounts of at most 64 bits"},
		{"too large", "A  92233720368547758.08 USD\n  B", "92233720368547758.08 USD: USD has 2 decimal places, and amounts of at most 64 bits"},
		{"the sum too large", "A  92233720368547758 USD\n  A  1 USD\n  B", "the sums of USD do not fit 64 bits"},
		{"unknown commodity", "A  1 VACHR\n  B", `currency "VACHR": unknown currency`},
		{
			"same id twice", "A  1 USD\n  B\n2020-01-02\n  ; transaction_id: 0190a000-0000-7000-8000-000000000001\n  A  1 USD\n  B",
			"another transaction has the transaction_id 0190a000-0000-7000-8000-000000000001, too",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			journal := "2020-01-01\n  ; transaction_id: 0190a000-0000-7000-8000-000000000001\n  " + tt.postings + "\n"
			got, err := convertText(t, journal, walletjournal.ISO{})
			if err == nil || !strings.HasSuffix(err.Error(), ": "+tt.want) {
				t.Errorf("got %v, %v, want the error %s", got, err, tt.want)
			}
		})
	}
}

// TestIDsFollowFromContent changes a journal in ways that do and do not matter.
func TestIDsFollowFromContent(t *testing.T) {
	ids := func(journal string) (all []string) {
		t.Helper()
		got, err := convertText(t, journal, walletjournal.ISO{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range got {
			all = append(all, m.ID.String())
		}
		return all
	}
	const entry = "2020-01-01 Shop\n  A  1.50 USD\n  B\n"
	want := ids(entry)
	if want[0] != "2a8b85e3-81c0-82be-bc35-d3123b25b587" {
		t.Errorf("id %s, which was another when journals were imported first", want[0])
	}
	for name, same := range map[string]string{
		"status, comments and places": "2020-01-01 * Shop  ; cleared\n  ! A  1.500 USD  ; yes\n  ; no\n  B\n",
		"another order and form":      "; x\nY2020\n1/1 Shop\n\tB\t -1.5 USD\n\tA\n",
	} {
		if got := ids(same); !cmp.Equal(got, want) {
			t.Errorf("%s: ids %v, want %v", name, got, want)
		}
	}
	for name, other := range map[string]string{
		"date":        "2020-01-02 Shop\n  A  1.50 USD\n  B\n",
		"code":        "2020-01-01 (1) Shop\n  A  1.50 USD\n  B\n",
		"description": "2020-01-01 Shops\n  A  1.50 USD\n  B\n",
		"amount":      "2020-01-01 Shop\n  A  1.51 USD\n  B\n",
		"account":     "2020-01-01 Shop\n  A  1.50 USD\n  B:C\n",
		"commodity":   "2020-01-01 Shop\n  A  1.50 EUR\n  B\n",
		"virtual":     "2020-01-01 Shop\n  [A]  1.50 USD\n  [B]\n",
	} {
		if got := ids(other); cmp.Equal(got, want) {
			t.Errorf("another %s has the same id", name)
		}
	}
	longer := ids("2019-12-31 Before\n  A  1 USD\n  B\n" + entry + entry + entry + "2020-01-02 After\n  A  1 USD\n  B\n")
	if twice := ids(entry + entry + entry); !cmp.Equal(longer[1:4], twice) || twice[0] == twice[1] || twice[1] == twice[2] {
		t.Errorf("ids of equal transactions %v, in a longer journal %v", twice, longer)
	}
}

// TestMovementsThroughJournals writes what a wallet did and reads it again.
func TestMovementsThroughJournals(t *testing.T) {
	a, _ := made(t, map[string]int{"": 0, "VACHR": 4, "$": 2, "LOT 1": 15})
	commodity := rapid.SampledFrom([]string{"", "VACHR", "$", "LOT 1"})
	rapid.Check(t, func(t *rapid.T) {
		m := &walletjournal.Movement{
			Code: strings.ToValidUTF8(rapid.String().Draw(t, "code"), "?"), Description: rapid.String().Draw(t, "description"),
			Time: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC(),
		}
		m.Date = walletjournal.DateOf(m.Time)
		for range rapid.IntRange(0, 3).Draw(t, "keys") {
			if m.Metadata == nil {
				m.Metadata = wallet.Metadata{}
			}
			m.Metadata[rapid.OneOf(rapid.StringMatching("[a-z]{1,9}"), rapid.StringN(1, 16, 64)).Draw(t, "key")] = rapid.StringN(0, 80, -1).Draw(t, "value")
		}
		copy(m.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		m.ID[0] |= 1
		used := map[string]bool{}
		for range rapid.IntRange(1, 5).Draw(t, "legs") {
			c, err := a.Currency(commodity.Draw(t, "commodity"))
			if err != nil {
				t.Fatal(err)
			}
			from := wallet.AccountID(rapid.StringMatching(`[a-zA-Z0-9._:@-]{1,60}x`).Draw(t, "from"))
			to := wallet.AccountID(rapid.StringMatching(`[a-zA-Z0-9._:@-]{1,60}y`).Draw(t, "to"))
			amount := money.Amount(rapid.Int64Range(1, math.MaxInt64).Draw(t, "amount"))
			if used[string(from)] || used[string(to)] {
				continue
			}
			used[string(from)], used[string(to)] = true, true
			m.Legs = append(m.Legs, walletjournal.Leg{from, c, -amount}, walletjournal.Leg{to, c, amount})
		}
		var journal strings.Builder
		w := walletjournal.NewJournalWriter(&journal)
		if err := w.Write(walletjournal.Journal(m, a)); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, d := range []walletjournal.Dialect{walletjournal.Ledger, walletjournal.HLedger} {
			converter := walletjournal.NewConverter(a)
			_, err := walletjournal.Read(text{"": journal.String()}, "", &walletjournal.Options{Dialect: d, Each: func(x *walletjournal.Transaction) error {
				got, err := converter.Convert(x)
				if got != nil {
					got.Line = 0
				}
				if diff := cmp.Diff(m, got); diff != "" {
					t.Errorf("as %s (-written +read):\n%s\n%s", d, diff, &journal)
				}
				return err
			}})
			if err != nil {
				t.Fatalf("as %s: %v\n%s", d, err, &journal)
			}
		}
	})
}
