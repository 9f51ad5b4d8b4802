package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

func TestReport(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		want   string
		status int
	}{
		{"none", nil, "", 0},
		{"no hint", errors.New("it broke"), "maru: it broke\n", 1},
		{"hint", failed(errors.New("no server"), "start it"), "maru: no server\nhint: start it\n", 1},
		{"usage", usageError("see --help", "unknown %q", "x"), "maru: unknown \"x\"\nhint: see --help\n", 2},
		{"wrapped", fmt.Errorf("load: %w", usageError("see --help", "bad")), "maru: load: bad\nhint: see --help\n", 2},
		{"joined", errors.Join(nil, usageError("see --help", "bad")), "maru: bad\nhint: see --help\n", 2},
		{
			"refused", refused("transfer x", wallet.CurrencyNotHeld),
			"maru: transfer x: currency_not_held: an account does not hold the currency\nhint: add it with `maru wallet currency add ID CODE`\n", 3,
		},
		{"package name", wallet.ErrCurrency, "maru: unknown currency\n", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if status := report(&out, tt.err); status != tt.status || out.String() != tt.want {
				t.Errorf("status %d and %q, want %d and %q", status, out.String(), tt.status, tt.want)
			}
		})
	}
}

func TestViewFailure(t *testing.T) {
	id := wallet.TransactionID{15: 7}
	tests := []struct {
		name string
		err  error
		want failureView
	}{
		{"world", errors.New("it broke"), failureView{Status: "failed", Error: "it broke"}},
		{"usage", usageError("see --help", "bad"), failureView{Status: "usage", Error: "bad", Hint: "see --help"}},
		{"refused", refused("show x", wallet.UnknownTenant), failureView{
			Status: "refused", Code: "unknown_tenant", Error: "show x: unknown_tenant: there is no such tenant",
			Hint: "create it with `maru tenant create NAME`",
		}},
		{"server", failed(&wallethttp.Problem{Code: "busy", Detail: "too much"}, "wait"), failureView{
			Status: "failed", Code: "busy", Error: "busy: too much", Hint: "wait",
		}},
		{"transfer", &transferError{"transfer", id, refusedTransfer(wallet.Result(wallet.SameAccount))}, failureView{
			Status: "refused", Code: "same_account", TransactionID: id.String(),
			Error: "transfer " + id.String() + ": same_account: both sides are the same account",
			Hint:  "name two accounts; then transfer with a new id: this one stays refused",
		}},
		{"transfer that may be made again", &transferError{"transfer", id, refusedTransfer(wallet.Result(wallet.LimitReached))}, failureView{
			Status: "refused", Code: "limit_reached", TransactionID: id.String(),
			Error: "transfer " + id.String() + ": limit_reached: a table is full",
			Hint:  "see the limits in the documentation of the wallet",
		}},
		{"transfer under way", &transferError{"transfer", id, refusedTransfer(wallet.Result(wallet.Pending))}, failureView{
			Status: "pending", Code: "pending", TransactionID: id.String(),
			Error: "transfer " + id.String() + ": pending: the transfer is under way between two partitions",
			Hint:  "ask with `maru wallet transfer-status UUID`, or repeat it with the same --id: nothing moves twice",
		}},
		{"transfer that was refused for a lock", &transferError{"transfer", id, refusedTransfer(wallet.Repeat(wallet.AccountLocked))}, failureView{
			Status: "refused", Code: "account_locked", TransactionID: id.String(),
			Error: "transfer " + id.String() + ": account_locked: an account is locked by another transfer under way",
			Hint:  "transfer with a new id: this one stays refused",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, viewFailure(tt.err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryCodeIsExplained(t *testing.T) {
	unknown := explain(wallet.Code(255))
	for _, c := range wallet.Codes() {
		if e := explain(c); e.text == "" || e == unknown {
			t.Errorf("%s has no explanation", c)
		}
	}
}

func TestTable(t *testing.T) {
	tb := newTable("currency", ">balance", ">smallest")
	tb.add("USD", "1,234.50", "0.00")
	tb.add("¥", "5", "unlimited")
	var out strings.Builder
	if err := tb.print(&out); err != nil {
		t.Fatal(err)
	}
	want := `CURRENCY   BALANCE   SMALLEST
USD       1,234.50       0.00
¥                5  unlimited
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestSeveral(t *testing.T) {
	for n, want := range map[int]string{0: "0 entries are", 1: "1 entry is", 2: "2 entries are", 3002: "3,002 entries are"} {
		if got := several(n, "entry is", "entries are"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", -100: "-100", 100000: "100,000"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{"Zoë 李 (A)": "Zoë 李 (A)", "a\x1b[2Jb": `"a\x1b[2Jb"`, "two\nlines": `"two\nlines"`, "\u202eback": `"\u202eback"`} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) = %s, want %s", text, got, want)
		}
	}
}

// TestSmallest has amounts that a smallest balance may be: what stands for no limit is written as a word only.
func TestSmallest(t *testing.T) {
	usd := money.MustParseCurrency("USD")
	for text, want := range map[string]error{"-92233720368547758.07": nil, "-92233720368547758.08": money.ErrOverflow, "unlimited": nil} {
		if _, err := parseMin(text, usd); !errors.Is(err, want) {
			t.Errorf("parseMin(%s): %v, want %v", text, err, want)
		}
	}
}
