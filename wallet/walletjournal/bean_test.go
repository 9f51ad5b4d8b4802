package walletjournal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/booktest"
	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/walletjournal"
)

// convert lets beancount convert a file for a tool.
func convert(t *testing.T, file, tool string) string {
	t.Helper()
	converted := file + "." + tool
	booktest.MustRun(t, "bean-report", "--output", converted, file, tool)
	return converted
}

func TestYearsOfBeancount(t *testing.T) {
	bean := filepath.Join(t.TempDir(), "example.beancount")
	booktest.MustRun(t, "bean-example", "--seed", "1", "--date-birth", "1985-01-01", "--date-begin", "2020-01-01", "--date-end", "2024-01-01", "--output", bean)
	file := convert(t, bean, "ledger")
	checkJournal(t, file, walletjournal.Ledger)
	checkImport(t, file, walletjournal.Ledger)

	// Of a sale of shares beancount writes a price twice for hledger, which hledger does not read.
	file = convert(t, bean, "hledger")
	_, theirs := hledgerBalances(t, file)
	_, err := walletjournal.Read(files{filepath.Dir(file)}, filepath.Base(file), &walletjournal.Options{Dialect: walletjournal.HLedger})
	var located *walletjournal.Error
	if !errors.As(err, &located) || located.Reason != "a posting has two costs" {
		t.Fatalf("got %v, want two costs", err)
	}
	if theirs == nil || !strings.Contains(theirs.Error(), fmt.Sprintf(":%d:", located.Line)) {
		t.Errorf("we refuse line %d, hledger says %v", located.Line, theirs)
	}
	withoutSales(t, file)
	checkJournal(t, file, walletjournal.HLedger)
	checkImport(t, file, walletjournal.HLedger)
}

// withoutSales takes the sales of shares out of a journal.
func withoutSales(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	entries := strings.Split(string(text), "\n\n")
	entries = slices.DeleteFunc(entries, func(entry string) bool { return strings.Contains(entry, "Sell shares") })
	if err := os.WriteFile(file, []byte(strings.Join(entries, "\n\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestToolsReadAllNames writes accounts and commodities that are odd in some way.
func TestToolsReadAllNames(t *testing.T) {
	places := map[string]int{"": 0, "$": 2, "€": 2, "a.b": 3, "R&D": 1, "LOT 1 x": 10, "-": 0, "@": 4, "日本": 0, "1": 0, "USD": 5, "EUR": 2, "EUR@.4": 4, "@@a@b": 2}
	a, _ := made(t, places)
	accounts := []wallet.AccountID{
		"a", "-a", ".a", "_a", "@a", "@@a", "a@", "a:b", "a::b", ":a", "a:", ":", "::", "1", "2020-01-01", "@40", "@41", "a@_b", "@_", "a@C3@81", "P", "D:x", "@C3",
		walletjournal.ConversionAccount,
	}
	want := sums{}
	file := filepath.Join(t.TempDir(), "names.journal")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := walletjournal.NewJournalWriter(out)
	n := 0
	for commodity := range places {
		c, err := a.Currency(commodity)
		if err != nil {
			t.Fatal(err)
		}
		m := &walletjournal.Movement{ID: wallet.TransactionID{1, byte(n)}, Date: walletjournal.Date{2020, 1, 2}, Description: "= odd; *! (names) | date:x [2020]"}
		sum := money.Amount(0)
		for i, id := range accounts {
			amount := money.Amount((n*31+i*7)%100 + 1)
			if i == len(accounts)-1 {
				amount = -sum
			}
			sum += amount
			m.Legs = append(m.Legs, walletjournal.Leg{id, c, amount})
			want.add(walletjournal.AccountName(id), commodity, walletjournal.NewDecimal(int64(amount), c.Digits()))
		}
		n++
		if err := w.Write(walletjournal.Journal(m, a)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	for tool, balances := range tools {
		got, err := balances(t, file)
		if err != nil {
			t.Errorf("%s: %v", tool, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-written +%s):\n%s", tool, diff)
		}
	}
}
