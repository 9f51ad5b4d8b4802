package main

import (
	"math"
	"net/http"
	"strings"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// checkHistory compares the newest balances of the history, and the ends of
// statements, with the wallet's: whatever was killed, they are the same once the
// history has come to the end of the log.
func (c *crashTest) checkHistory() {
	c.t.Helper()
	atLeast := c.position()
	for i := range uint64(crashAccounts) {
		id := c.plan.account(i)
		want := c.balance(id)
		r := &wallet.HistoryRequest{Account: id, At: math.MaxInt64, AtLeast: atLeast, Lines: wallet.LineQuery{Currency: want.Currency, Limit: wallet.MaxHistoryLines}}
		past, code, err := c.http.HistoryBalances(c.t.Context(), r)
		for range 60 { // each of which waits for two seconds
			if err == nil || !strings.Contains(err.Error(), "history_behind") {
				break
			}
			past, code, err = c.http.HistoryBalances(c.t.Context(), r)
		}
		if err != nil || code != wallet.Applied || len(past.Balances) != 1 || past.Balances[0].Amount != want.Amount {
			c.t.Fatalf("history of %s: got %+v, %v, %v, want %d", id, past, code, err, want.Amount)
		}
		sum, closing := c.sumOfStatement(r)
		if closing != want.Amount || sum != closing {
			c.t.Errorf("statement of %s: its lines come to %d, it ends with %d, want %d", id, sum, closing, want.Amount)
		}
	}
}

// sumOfStatement adds up all lines of an account, and returns the closing balance too.
func (c *crashTest) sumOfStatement(r *wallet.HistoryRequest) (sum, closing money.Amount) {
	c.t.Helper()
	for {
		st, code, err := c.http.HistoryStatement(c.t.Context(), r)
		if err != nil || code != wallet.Applied {
			c.t.Fatalf("statement of %s: %v, %v", r.Account, code, err)
		}
		for _, l := range st.Lines {
			if sum += l.Amount; sum != l.Balance {
				c.t.Fatalf("statement of %s: %d at %+v", r.Account, sum, l)
			}
		}
		if r.Lines.After = st.Next; st.Next == (wallet.LineKey{}) {
			return sum, st.Closing
		}
	}
}

// position returns where the log ends, by a write.
func (c *crashTest) position() wallet.HistoryPositions {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.server.url+"/v1/wallet/accounts", strings.NewReader(`{"id":"probe","currency":"EUR"}`))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	ps, err := wallet.ParseHistoryPositions(resp.Header.Get(wallethttp.PositionHeader))
	if err != nil {
		c.t.Fatalf("%v: %v", resp.Status, err)
	}
	return ps
}
