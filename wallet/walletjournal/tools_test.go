package walletjournal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/booktest"
	"maru.example/wallet/walletjournal"
)

// sums are balances that are not zero, in the least places, by account and commodity.
type sums map[string]string

func (s sums) add(account, commodity string, n walletjournal.Decimal) {
	key := account + " | " + commodity
	if before, ok := s[key]; ok { // of another lot
		d, err := walletjournal.ParseDecimal(before)
		if err != nil {
			panic(err)
		}
		n = n.Add(d)
	}
	if n.Sign() != 0 {
		s[key] = n.Trim().String()
	} else {
		delete(s, key)
	}
}

// files opens the files of a folder.
type files struct{ dir string }

func (f files) Open(from, name string) (file io.ReadCloser, known string, err error) {
	if from != "" {
		name = filepath.Join(filepath.Dir(from), name)
	}
	opened, err := os.Open(filepath.Join(f.dir, name))
	return opened, name, err
}

// ledgerBalances returns what ledger computes, with all places that it keeps.
func ledgerBalances(t *testing.T, file string) (sums, error) {
	t.Helper()
	out, err := booktest.Run(t, "ledger", "--init-file", os.DevNull, "-f", file, "balance", "--flat", "--no-total", "--unround",
		"--format", `%(account)\t%(strip(account.amount))\n`)
	if err != nil {
		return nil, err
	}
	s := sums{}
	account := ""
	for line := range strings.Lines(string(out)) {
		name, amount, first := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		if first {
			account = name
		} else {
			amount = name
		}
		addLedgers(t, s, account, strings.TrimSpace(amount))
	}
	return s, nil
}

// addLedgers reads an amount as ledger prints it: $-1,000.00, 5 "A 1", 2.000,50 EUR.
func addLedgers(t *testing.T, s sums, account, text string) {
	t.Helper()
	at := strings.IndexAny(text, "-0123456789")
	end := strings.LastIndexAny(text, "0123456789") + 1
	if strings.HasSuffix(text, `"`) && at == 0 {
		end = strings.IndexByte(text, '"')
	}
	if text[0] == '"' {
		at = strings.LastIndexByte(text, '"') + 1
	}
	s.add(account, strings.Trim(strings.TrimSpace(text[:at]+text[end:]), `"`), plain(t, text[at:end]))
}

// plain reads a number with any marks: a comma before three digits separates thousands.
func plain(t *testing.T, text string) walletjournal.Decimal {
	t.Helper()
	text = strings.ReplaceAll(strings.TrimSpace(text), " ", "")
	decimal := strings.LastIndexAny(text, ",.")
	if decimal >= 0 && text[decimal] == ',' && len(text)-decimal == 4 {
		decimal = -1
	}
	number := strings.Map(func(u rune) rune {
		if u == ',' || u == '.' {
			return -1
		}
		return u
	}, text)
	if decimal >= 0 {
		point := len(number) - (len(text) - decimal - 1)
		number = number[:point] + "." + number[point:]
	}
	n, err := walletjournal.ParseDecimal(number)
	if err != nil {
		t.Fatalf("a tool printed the number %s: %v", text, err)
	}
	return n
}

// hledgerBalances returns what hledger computes, to the tenth decimal place: its JSON has no more.
func hledgerBalances(t *testing.T, file string) (sums, error) {
	t.Helper()
	out, err := booktest.Run(t, "hledger", "-f", file, "balance", "--flat", "--no-total", "--output-format", "json")
	if err != nil {
		return nil, err
	}
	report := []any{&[][]json.RawMessage{}, new(json.RawMessage)} // the accounts, and no total
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("hledger printed %s: %v", out, err)
	}
	s := sums{}
	for _, row := range *report[0].(*[][]json.RawMessage) {
		var account string
		var amounts []struct {
			Commodity string   `json:"acommodity"`
			Quantity  struct { // as Haskell's Decimal
				Mantissa int64 `json:"decimalMantissa"`
				Places   int   `json:"decimalPlaces"`
			} `json:"aquantity"`
		}
		if err := errors.Join(json.Unmarshal(row[0], &account), json.Unmarshal(row[3], &amounts)); err != nil {
			t.Fatalf("hledger printed %s: %v", out, err)
		}
		for _, a := range amounts {
			s.add(account, a.Commodity, walletjournal.NewDecimal(a.Quantity.Mantissa, a.Quantity.Places))
		}
	}
	return s, nil
}

// ours returns the balances of a summary.
func ours(b *walletjournal.Balances) sums {
	s := sums{}
	for _, account := range b.Accounts() {
		for _, commodity := range b.Commodities(account) {
			s.add(account, commodity, b.Of(account, commodity))
		}
	}
	return s
}

// rewrite reads a journal and writes it again.
func rewrite(t *testing.T, file string, d walletjournal.Dialect) (balances sums, again string) {
	t.Helper()
	again = filepath.Join(t.TempDir(), "again.journal")
	out, err := os.Create(again)
	if err != nil {
		t.Fatal(err)
	}
	w := walletjournal.NewJournalWriter(out)
	got, err := walletjournal.Read(files{filepath.Dir(file)}, filepath.Base(file), &walletjournal.Options{Dialect: d, Each: w.Write})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return ours(got.Balances), again
}

var tools = map[walletjournal.Dialect]func(*testing.T, string) (sums, error){
	walletjournal.Ledger:  ledgerBalances,
	walletjournal.HLedger: hledgerBalances,
}

// checkJournal compares the balances of a journal: its tool's, ours, and what both tools compute
// of what we write.
func checkJournal(t *testing.T, file string, d walletjournal.Dialect) {
	t.Helper()
	want, err := tools[d](t, file)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 {
		t.Fatalf("%s finds no balances in %s", d, file)
	}
	got, again := rewrite(t, file, d)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("balances of %s (-%s +ours):\n%s", file, d, diff)
	}
	for tool, balances := range tools {
		written, err := balances(t, again)
		if err != nil {
			t.Errorf("%s does not read what we wrote: %v", tool, err)
			continue
		}
		if diff := cmp.Diff(want, written); diff != "" {
			t.Errorf("balances of what we wrote of %s (-%s +%s of ours):\n%s", file, d, tool, diff)
		}
	}
}

func TestLedgersSample(t *testing.T) {
	const sample = "/usr/share/doc/ledger/examples/sample.dat"
	if _, err := os.Stat(sample); err != nil {
		t.Skip("ledger's sample is not there: apt-get install ledger")
	}
	checkJournal(t, sample, walletjournal.Ledger)
	checkImport(t, sample, walletjournal.Ledger)
}

func TestOwnJournals(t *testing.T) {
	for _, d := range []walletjournal.Dialect{walletjournal.Ledger, walletjournal.HLedger} {
		t.Run(d.String(), func(t *testing.T) {
			file := filepath.Join("testdata", d.String()+".journal")
			checkJournal(t, file, d)
			checkImport(t, file, d)
		})
	}
}
