package walletjournal_test

import (
	"encoding/csv"
	"errors"
	"io"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/walletjournal"
)

// exportedMovement has everything that a movement can have.
func exportedMovement(t *testing.T) (*walletjournal.Movement, *walletjournal.Assets) {
	a, own := made(t, map[string]int{"$": 3})
	usd := money.MustParseCurrency("USD")
	return &walletjournal.Movement{
		ID: wallet.TransactionID{1}, Part: true, Time: time.Date(2026, 11, 30, 1, 2, 3, 4000, time.UTC),
		Date2: walletjournal.Date{2020, 1, 2}, Code: "7)", Description: `Sold; "gladly"`, Reverses: wallet.TransactionID{2}, Position: "1:17",
		Metadata: wallet.Metadata{"why": "not, or so", "a b": "c", "date": "none", "empty": ""},
		Legs:     []walletjournal.Leg{{"alice", usd, -150}, {"a@_b", usd, 150}, {"a::b", own[0].Currency, 7}, {"alice", own[0].Currency, -7}},
	}, a
}

func exportOne(t *testing.T, format string) string {
	t.Helper()
	m, a := exportedMovement(t)
	var got strings.Builder
	w, err := walletjournal.NewMovementWriter(format, &got, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(m), w.Flush()); err != nil {
		t.Fatal(err)
	}
	return got.String()
}

func TestMovementWriters(t *testing.T) {
	for format, want := range map[string]string{
		"journal": `2026-11-30=2020-01-02 * (7) Sold "gladly"
    ; exact-code: "7)"
    ; exact-description: "Sold\u003b \u0022gladly\u0022"
    ; part_of: 01000000-0000-0000-0000-000000000000
    ; time: 2026-11-30T01:02:03.000004Z
    ; position: 1:17
    ; reverses: 02000000-0000-0000-0000-000000000000
    ; empty:
    ; why: not, or so
    ; metadata: {"a b":"c","date":"none"}
    alice                                            -1.50 USD
    a b                                               1.50 USD
    @@a%%b                                             0.007 $
    alice                                             -0.007 $

`,
		"jsonl": `{"time":"2026-11-30T01:02:03.000004Z","transaction_id":"01000000-0000-0000-0000-000000000000","part":true,"position":"1:17","reverses":"02000000-0000-0000-0000-000000000000",` +
			`"date":"2020-01-02","reference":"7)","description":"Sold; \"gladly\"","metadata":{"a b":"c","date":"none","empty":"","why":"not, or so"},"postings":[` +
			`{"account":"alice","amount":"-1.50","currency":"USD"},{"account":"a@_b","amount":"1.50","currency":"USD"},{"account":"a::b","amount":"0.007","currency":"@24"},{"account":"alice","amount":"-0.007","currency":"@24"}]}` + "\n",
	} {
		if diff := cmp.Diff(want, exportOne(t, format)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
	rows, err := csv.NewReader(strings.NewReader(exportOne(t, "csv-exact"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	head := []string{
		"1", "2026-11-30T01:02:03.000004Z", "01000000-0000-0000-0000-000000000000", "true", "1:17", "02000000-0000-0000-0000-000000000000", "2020-01-02", "7)", `Sold; "gladly"`,
		`{"a b":"c","date":"none","empty":"","why":"not, or so"}`,
	}
	want := [][]string{
		{"number", "time", "transaction_id", "part", "position", "reverses", "date", "reference", "description", "metadata", "account", "amount", "currency"},
		append(slices.Clip(head), "alice", "-1.50", "USD"),
		append(slices.Clip(head), "a@_b", "1.50", "USD"),
		append(slices.Clip(head), "a::b", "0.007", "@24"),
		append(slices.Clip(head), "alice", "-0.007", "@24"),
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for format, want := range map[string]int{"journal": 0, "csv": 1, "jsonl": 0} {
		var empty strings.Builder
		w, err := walletjournal.NewMovementWriter(format, &empty, nil)
		if err != nil || w.Flush() != nil || strings.Count(empty.String(), "\n") != want {
			t.Errorf("%s without movements: %q, %v", format, empty.String(), err)
		}
	}
	if w, err := walletjournal.NewMovementWriter("xml", io.Discard, nil); err == nil {
		t.Errorf("xml is written by %T", w)
	}
}

// TestSayWhatWasSaid makes transactions of movements, and movements of what they say.
func TestSayWhatWasSaid(t *testing.T) {
	usd := money.MustParseCurrency("USD")
	long := strings.Repeat("é", 300)
	for name, tt := range map[string]struct{ m, want walletjournal.Movement }{
		"everything": {
			walletjournal.Movement{Date: walletjournal.Date{2020, 1, 2}, Code: "7", Description: "d", Metadata: wallet.Metadata{"k": "v"}},
			walletjournal.Movement{Date2: walletjournal.Date{2020, 1, 2}, Code: "7", Description: "d", Metadata: wallet.Metadata{"k": "v"}},
		},
		"two dates": {
			walletjournal.Movement{Date: walletjournal.Date{2020, 1, 2}, Date2: walletjournal.Date{2020, 1, 3}},
			walletjournal.Movement{Date2: walletjournal.Date{2020, 1, 2}, Metadata: wallet.Metadata{"date_2": "2020-01-03"}},
		},
		"too long": {
			walletjournal.Movement{Date: walletjournal.Date{2020, 1, 2}, Code: long, Description: "d" + long, Metadata: wallet.Metadata{"a": long, "b": "fits", strings.Repeat("k", 65): "no"}},
			walletjournal.Movement{Date2: walletjournal.Date{2020, 1, 2}, Code: long[:256], Description: "d" + long[:510], Metadata: wallet.Metadata{"b": "fits"}},
		},
	} {
		tt.m.ID = wallet.TransactionID{1}
		tt.m.Legs = []walletjournal.Leg{{"b", usd, 1}, {"a", usd, -1}}
		v := tt.m.Transaction()
		if err := v.Validate(); err != nil || v.Postings[0].Account != "a" {
			t.Errorf("%s: %+v: %v", name, v, err)
		}
		var got walletjournal.Movement
		got.Say(v)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +said):\n%s", name, diff)
		}
	}
}

// TestLandAndOpen makes movements whole: parts of transactions, and opening balances.
func TestLandAndOpen(t *testing.T) {
	usd, eur := money.MustParseCurrency("USD"), money.MustParseCurrency("EUR")
	m := &walletjournal.Movement{Legs: []walletjournal.Leg{{"a", usd, -3}, {"b", eur, 5}, {"a", usd, 1}, {"c", eur, -5}, {"b", usd, 1}, {"b", usd, -1}}}
	flying, err := m.Land()
	want := []walletjournal.Leg{{"a", usd, -2}, {"b", eur, 5}, {"c", eur, -5}, {walletjournal.FlightAccount, usd, 2}}
	if diff := cmp.Diff(want, m.Legs); diff != "" || !flying || err != nil {
		t.Errorf("%v, %v (-want +got):\n%s", flying, err, diff)
	}
	if flying, err := m.Land(); flying || err != nil {
		t.Errorf("landed twice: %v, %v", flying, err)
	}

	accounts := []wallet.Account{
		{ID: "least", Balances: []wallet.Balance{{Currency: usd, Amount: math.MinInt64}}},
		{ID: "less", Balances: []wallet.Balance{{Currency: usd, Amount: math.MinInt64}, {Currency: eur, Amount: 7}}},
		{ID: "nothing", Balances: []wallet.Balance{{Currency: usd}}},
		{ID: walletjournal.OpeningAccount, Balances: []wallet.Balance{{Currency: usd, Amount: 3}}},
		{ID: walletjournal.FlightAccount, Balances: []wallet.Balance{{Currency: usd, Amount: -3}}},
	}
	sums := map[string]*big.Int{}
	n := 0
	if err := walletjournal.Openings(time.Unix(0, 0), accounts, true, func(m *walletjournal.Movement) error {
		n++
		total := map[money.Currency]*big.Int{usd: new(big.Int), eur: new(big.Int)}
		for _, l := range m.Legs {
			total[l.Currency].Add(total[l.Currency], big.NewInt(int64(l.Amount)))
			key := string(l.Account) + " " + l.Currency.String()
			if sums[key] == nil {
				sums[key] = new(big.Int)
			}
			sums[key].Add(sums[key], big.NewInt(int64(l.Amount)))
		}
		if total[usd].Sign() != 0 || total[eur].Sign() != 0 {
			t.Errorf("%+v does not sum to zero", m)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"least USD": "-9223372036854775808", "less USD": "-9223372036854775808", "less EUR": "7", "Equity:@opening USD": "0", "Equity:@opening EUR": "0",
		"Equity:@in-flight USD": "18446744073709551616", "Equity:@in-flight EUR": "-7", "@@Equity%@opening USD": "3", "@@Equity%@in-flight USD": "-3",
	} {
		if sums[key].String() != want {
			t.Errorf("%s: %v, want %s", key, sums[key], want)
		}
	}
	if len(sums) != 9 || n != 8 {
		t.Errorf("%d movements, sums %v", n, sums)
	}
}

func TestSplit(t *testing.T) {
	m := &walletjournal.Movement{ID: wallet.TransactionID{1}}
	for i := range 40 {
		c := money.Asset(i, 0)
		m.Legs = append(m.Legs, walletjournal.Leg{"a", c, 1})
	}
	for i := range 40 {
		m.Legs = append(m.Legs, walletjournal.Leg{"b", money.Asset(i, 0), -1})
	}
	parts := m.Split(walletjournal.MaxPostings)
	if len(parts) != 2 || len(parts[0].Legs) != 64 || len(parts[1].Legs) != 16 || !parts[1].Part || parts[1].Legs[0].Currency != parts[1].Legs[1].Currency {
		t.Errorf("parts %+v", parts)
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

// A spreadsheet takes no text of the wallet for a formula, amounts stay numbers, and a program gets the texts back.
func TestSpreadsheet(t *testing.T) {
	usd := money.MustParseCurrency("USD")
	a, _, err := walletjournal.NewAssets(nil, []wallet.Asset{{Name: "-5", Currency: money.Asset(0, 2)}})
	if err != nil {
		t.Fatal(err)
	}
	read := func(format string, m *walletjournal.Movement) []string {
		var out strings.Builder
		w, err := walletjournal.NewMovementWriter(format, &out, a)
		if err := errors.Join(err, w.Write(m), w.Flush()); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
		if err != nil || len(rows) != 2 {
			t.Fatal(rows, err)
		}
		return rows[1]
	}
	for text, want := range map[string]string{
		"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "\nx": "'\nx", "\rx": "'\rx", "＝1": "'＝1", "'x": "''x",
		"": "", "x=1": "x=1", "2-1": "2-1", "é": "é",
	} {
		m := &walletjournal.Movement{Code: text, Description: text, Legs: []walletjournal.Leg{{"-a", usd, -150}}}
		row := read("csv", m)
		if row[7] != want || row[8] != want || row[10] != "'-a" || row[11] != "-1.50" {
			t.Errorf("%q: got %q, want %q", text, row, want)
		}
		if back := strings.TrimPrefix(row[7], "'"); back != text {
			t.Errorf("%q: %q is what a program gets", text, back)
		}
		if row := read("csv-exact", m); row[7] != text || row[8] != text || row[10] != "-a" {
			t.Errorf("%q, exact: got %q", text, row)
		}
	}
	if row := read("csv", &walletjournal.Movement{Legs: []walletjournal.Leg{{"a", money.Asset(0, 2), -150}}}); row[11] != "-1.50" || row[12] != "'-5" {
		t.Errorf("an asset: got %q", row)
	}
}
