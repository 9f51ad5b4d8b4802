package main

import (
	"encoding/csv"
	"strings"
	"testing"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/walletjournal"
)

// TestExportTellsAccountsApart exports a wallet with accounts that are called as those that exports make.
func TestExportTellsAccountsApart(t *testing.T) {
	p := newPastTest(t)
	p.open("bank", wallet.Unlimited)
	for _, id := range []wallet.AccountID{walletjournal.OpeningAccount, walletjournal.FlightAccount} {
		p.open(id, 0)
		p.pay("bank", id, 500, wallet.Applied)
	}
	late := p.pay("bank", walletjournal.FlightAccount, 25, wallet.Applied)
	p.stop()
	for _, tt := range []struct {
		name string
		args []string
		want map[string]money.Amount
	}{
		{"from the beginning", nil, map[string]money.Amount{
			"bank": -1025, "@@Equity%@opening": 500, "@@Equity%@in-flight": 525, walletjournal.FlightAccount: 0,
		}},
		{"opened", []string{"--from", late.Format("2006-01-02T15:04:05.999999999Z07:00")}, map[string]money.Amount{
			"bank": -1025, "@@Equity%@opening": 500, "@@Equity%@in-flight": 525, walletjournal.OpeningAccount: 0,
		}},
	} {
		out, _, err := runHere(t, append([]string{"wallet", "export", "--data", p.data, "--format", "csv-exact"}, tt.args...)...)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		if err != nil || len(rows) < 2 {
			t.Fatal(out, err)
		}
		got := map[string]money.Amount{}
		for _, row := range rows[1:] {
			amount, err := money.ParseAmount(row[11], p.eur)
			if err != nil {
				t.Fatal(err)
			}
			got[row[10]] += amount
		}
		for account, want := range tt.want {
			if got[account] != want {
				t.Errorf("%s: %s has %d, want %d", tt.name, account, got[account], want)
			}
		}
	}
}
