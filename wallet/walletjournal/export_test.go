package walletjournal_test

import (
	"encoding/csv"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/wallet/walletjournal"
)

const sold = `2020-01-02=2020-01-03 * (7) Sold; "gladly"
    ; why: not
    Assets:Broker    -3 "A 1" {10.5 USD} @ 11 USD  ; a, b
    (V)  5
    ! [W]  1.50 EUR @@ 2 USD
    [X]
    Assets:Cash  33 USD
    Income:Gain
`

func writeAll(t *testing.T, journal string, write func(*walletjournal.Transaction) error) {
	t.Helper()
	if _, err := walletjournal.Read(text{"": journal}, "", &walletjournal.Options{Each: write}); err != nil {
		t.Fatal(err)
	}
}

func TestJSON(t *testing.T) {
	var got strings.Builder
	writeAll(t, sold+"\n2020-02-01\n", walletjournal.NewJSONWriter(&got).Write)
	want := `{"date":"2020-01-02","date2":"2020-01-03","status":"*","code":"7","description":"Sold; \"gladly\"","comment":"why: not","postings":[` +
		`{"account":"Assets:Broker","amount":{"number":"-3","commodity":"A 1"},"price":{"number":"10.5","commodity":"USD"},"lot":"{10.5 USD} @ 11 USD","comment":"a, b"},` +
		`{"account":"V","kind":"unbalanced","amount":{"number":"5","commodity":""}},` +
		`{"account":"W","kind":"balanced","status":"!","amount":{"number":"1.50","commodity":"EUR"},"cost":{"number":"2","commodity":"USD"}},` +
		`{"account":"X","kind":"balanced","amount":{"number":"-2","commodity":"USD"}},` +
		`{"account":"Assets:Cash","amount":{"number":"33","commodity":"USD"}},` +
		`{"account":"Income:Gain","amount":{"number":"-1.5","commodity":"USD"}}]}` + "\n" +
		`{"date":"2020-02-01","postings":[]}` + "\n"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCSV(t *testing.T) {
	var got strings.Builder
	w := walletjournal.NewCSVWriter(&got)
	writeAll(t, sold+"\n2020-02-01 Other\n  A  1\n  B\n", w.Write)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(got.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	head := []string{"1", "2020-01-02", "2020-01-03", "*", "7", `Sold; "gladly"`, "why: not"}
	row := func(rest ...string) []string { return append(slices.Clip(head), rest...) }
	want := [][]string{
		{
			"transaction", "date", "date2", "status", "code", "description", "comment",
			"account", "kind", "posting_status", "number", "commodity", "price", "cost", "cost_commodity", "lot", "posting_comment",
		},
		row("Assets:Broker", "real", "", "-3", "A 1", "10.5", "", "USD", "{10.5 USD} @ 11 USD", "a, b"),
		row("V", "unbalanced", "", "5", "", "", "", "", "", ""),
		row("W", "balanced", "!", "1.50", "EUR", "", "2", "USD", "", ""),
		row("X", "balanced", "", "-2", "USD", "", "", "", "", ""),
		row("Assets:Cash", "real", "", "33", "USD", "", "", "", "", ""),
		row("Income:Gain", "real", "", "-1.5", "USD", "", "", "", "", ""),
		{"2", "2020-02-01", "", "", "", "Other", "", "A", "real", "", "1", "", "", "", "", "", ""},
		{"2", "2020-02-01", "", "", "", "Other", "", "B", "real", "", "-1", "", "", "", "", "", ""},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var empty strings.Builder
	if w := walletjournal.NewCSVWriter(&empty); w.Flush() != nil || strings.Count(empty.String(), "\n") != 1 {
		t.Errorf("without transactions: %q, want the line of names", empty.String())
	}
}

func TestJournalWriterRefuses(t *testing.T) {
	day := walletjournal.Date{Year: 2020, Month: 1, Day: 1}
	one := walletjournal.Amount{Number: walletjournal.NewDecimal(1, 0), Commodity: "X"}
	for name, bad := range map[string]walletjournal.Transaction{
		"no date":        {},
		"a bad date":     {Date: walletjournal.Date{Year: 2021, Month: 2, Day: 29}},
		"no account":     {Date: day, Postings: []walletjournal.Posting{{Amount: one}}},
		"a bad account":  {Date: day, Postings: []walletjournal.Posting{{Account: "a  b", Amount: one}}},
		"a quote":        {Date: day, Postings: []walletjournal.Posting{{Account: "a", Amount: walletjournal.Amount{Commodity: `"`}}}},
		"a long comment": {Date: day, Comment: strings.Repeat("x", 1<<14)},
		"many postings":  {Date: day, Postings: make([]walletjournal.Posting, 65)},
	} {
		var out strings.Builder
		w := walletjournal.NewJournalWriter(&out)
		if err := w.Write(&bad); err == nil || w.Flush() != nil || out.Len() > 0 {
			t.Errorf("%s: error %v, wrote %q", name, err, out.String())
		}
	}
}
