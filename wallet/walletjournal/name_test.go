package walletjournal_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"maru.example/wallet"
	"maru.example/wallet/walletjournal"
)

func TestAccountID(t *testing.T) {
	for _, tt := range []struct{ name, id string }{
		{"Assets:Bank:Checking", "Assets:Bank:Checking"},
		{"Equity:Opening Balances", "Equity:Opening@_Balances"},
		{"user@example.com", "user@example.com"},
		{"user@Berlin", "user@Berlin"},
		{"user@40", "user@4040"},
		{"a@_b", "a@40_b"},
		{"a@ b", "a@@_b"},
		{"Á", "@C3@81"},
		{"R&D", "R@26D"},
		{"-x", "-x"},
		{walletjournal.ConversionAccount, walletjournal.ConversionAccount},
		{walletjournal.VirtualAccount, walletjournal.VirtualAccount},
		{"@@a%%b", "a::b"},
		{"@@%", ":"},
		{"@@@41", "@41"},
		{"@@A", "@@A"},
		{"@@@@A", "@@@@A"},
		{walletjournal.FlightAccount, walletjournal.FlightAccount},
	} {
		got, complete, err := walletjournal.AccountID(tt.name)
		if err != nil || !complete || string(got) != tt.id {
			t.Errorf("AccountID(%q) = %q, %t, %v, want %q", tt.name, got, complete, err, tt.id)
		}
		if back := walletjournal.AccountName(wallet.AccountID(tt.id)); back != tt.name {
			t.Errorf("AccountName(%q) = %q, want %q", tt.id, back, tt.name)
		}
	}
	for _, bad := range []string{"", " a", "a ", "a  b", "a::b", ":a", "a:", "(a)", "[a]", "; a", "* a", "! a", "a\nb", "a\xff", strings.Repeat("a", 1025)} {
		if got, _, err := walletjournal.AccountID(bad); err == nil {
			t.Errorf("AccountID(%q) = %q, want an error", bad, got)
		}
	}
}

// TestExportedIDs tells accounts of a wallet from those that exports make.
func TestExportedIDs(t *testing.T) {
	for _, id := range []wallet.AccountID{walletjournal.OpeningAccount, walletjournal.FlightAccount, walletjournal.ConversionAccount, "a:b"} {
		exported := walletjournal.ExportedID(id)
		if own := id != walletjournal.ConversionAccount && id != "a:b"; own == (exported == id) || own == (exported.Validate() == nil) {
			t.Errorf("ExportedID(%q) = %q", id, exported)
		}
		name := walletjournal.AccountName(exported)
		if back, _, err := walletjournal.AccountID(name); err != nil || back != id || name != string(exported) {
			t.Errorf("AccountID(%q) = %q, %v", name, back, err)
		}
	}
	c := walletjournal.NewConverter(walletjournal.ISO(nil))
	usd := walletjournal.Amount{Number: walletjournal.NewDecimal(100, 2), Commodity: "USD"}
	neg := walletjournal.Amount{Number: walletjournal.NewDecimal(-100, 2), Commodity: "USD"}
	_, err := c.Convert(&walletjournal.Transaction{Date: walletjournal.Date{Year: 2026, Month: 1, Day: 1}, Postings: []walletjournal.Posting{
		{Account: walletjournal.FlightAccount, Amount: usd}, {Account: string(walletjournal.ExportedID(walletjournal.FlightAccount)), Amount: neg},
	}})
	if err == nil || !strings.Contains(err.Error(), "have the same id "+walletjournal.FlightAccount) {
		t.Errorf("both in a journal: got %v", err)
	}
}

func TestLongAccountNames(t *testing.T) {
	long := "Русский язык:Активы:Русский язык:Русский язык"
	id, complete, err := walletjournal.AccountID(long)
	if err != nil || complete || id.Validate() != nil {
		t.Fatalf("AccountID(%q) = %q, %t, %v, want a valid id that is cut", long, id, complete, err)
	}
	other, _, err := walletjournal.AccountID(long + "x")
	if err != nil || other == id {
		t.Errorf("AccountID of another name = %q, %v, want another id", other, err)
	}
	// What the name was is lost, but the account stays the same.
	again, complete, err := walletjournal.AccountID(walletjournal.AccountName(id))
	if err != nil || !complete || again != id {
		t.Errorf("AccountID(AccountName(%q)) = %q, %t, %v", id, again, complete, err)
	}
}

func TestNamesAndIDsAgainstEachOther(t *testing.T) {
	names := map[wallet.AccountID]string{}
	rapid.Check(t, func(t *rapid.T) {
		id := wallet.AccountID(rapid.StringMatching(`[a-bA-F0-4.:_@-]{1,8}`).Draw(t, "id"))
		if id.Validate() == nil {
			name := walletjournal.AccountName(id)
			back, complete, err := walletjournal.AccountID(name)
			if err != nil || !complete || back != id {
				t.Fatalf("AccountName(%q) = %q, whose id is %q, %t, %v", id, name, back, complete, err)
			}
		}
		name := rapid.OneOf(rapid.StringMatching(`[a-bA-F0-4.:_@%é -]{1,8}`), rapid.String()).Draw(t, "name")
		id, complete, err := walletjournal.AccountID(name)
		if err != nil {
			return
		}
		if id.Validate() != nil {
			t.Fatalf("AccountID(%q) = %q, which is no id", name, id)
		}
		if before, ok := names[id]; ok && before != name {
			t.Fatalf("%q is the id of %q and of %q", id, before, name)
		}
		names[id] = name
		if back := walletjournal.AccountName(id); complete && back != name {
			t.Fatalf("AccountID(%q) = %q, whose name is %q", name, id, back)
		}
	})
}

func FuzzAccountName(f *testing.F) {
	for _, s := range []string{"a", "a b", "a@40", "@@a%b", "@@Equity%@opening", "a::b", "é", ".", ".."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id := wallet.AccountID(s); id.Validate() == nil {
			if back, complete, err := walletjournal.AccountID(walletjournal.AccountName(id)); err != nil || !complete || back != id {
				t.Errorf("AccountName(%q) = %q, whose id is %q, %t, %v", id, walletjournal.AccountName(id), back, complete, err)
			}
		}
		if id, complete, err := walletjournal.AccountID(s); err == nil && (id.Validate() != nil || complete && walletjournal.AccountName(id) != s) {
			t.Errorf("AccountID(%q) = %q, whose name is %q", s, id, walletjournal.AccountName(id))
		}
	})
}
