package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"maru.example/money"
	"maru.example/wallet"
)

// crashDecisions is how many answered transfers, of all rounds, are asked for
// after each restart.
const crashDecisions = 100

// check compares the server after a restart with what it has answered before.
func (c *crashTest) check() {
	c.t.Helper()
	c.checkDecisions()
	c.checkBalances()
	c.checkLimit()
	c.checkOpened()
	c.repeat(c.made[c.checked:])
	c.checkBalances() // what was there moved nothing
	if c.history {
		c.checkHistory()
	}
	c.checked = len(c.made)
}

// checkEverything makes every transfer of all rounds again.
func (c *crashTest) checkEverything() {
	c.t.Helper()
	c.repeat(c.made)
	c.checkBalances()
	for _, tr := range c.made {
		if tr.code != wallet.Applied && tr.code != wallet.Undecided {
			c.refused++
		}
	}
}

// checkPast verifies what the rounds left: the archive and the log have everything together, and every
// decision is as it was.
func (c *crashTest) checkPast(rounds int) {
	c.t.Helper()
	c.server.kill()
	v, err := verifyArchive(c.t, "--data", c.data)
	if err != nil || v.Wrong > 0 || len(v.Partitions) != 1 {
		c.t.Fatalf("verify: %+v, %v", v, err)
	}
	p := v.Partitions[0]
	cut, err := os.Stat(filepath.Join(c.data, "log", "log", "00000000000000000001.wal"))
	c.t.Logf("%d entries, %d of them in %d segments, %d of these in the log too; first file of the log: %v", p.Entries, p.Archived, p.Segments, p.Both, cut != nil)
	// What was decided just before a kill is on record when the server has started again.
	other := slices.ContainsFunc(p.Notes, func(note string) bool { return !strings.Contains(note, "is not on record") })
	if p.FromSnapshot != 0 || other || p.Head == "" {
		c.t.Errorf("verify: %+v", p)
	}
	if rounds >= 10 && (p.Segments < 10 || !errors.Is(err, fs.ErrNotExist)) {
		c.t.Errorf("%d segments, and the log was not cut: %v", p.Segments, err)
	}
}

// checkDecisions asks for the transfers of the last round that have no answer,
// and for some of those that have one.
func (c *crashTest) checkDecisions() {
	c.t.Helper()
	for i := range c.made[c.checked:] {
		tr := &c.made[c.checked+i]
		if tr.code != wallet.Undecided {
			continue
		}
		tr.code = c.decision(tr.n)
		c.unknown++
		if tr.code != wallet.Undecided {
			c.unknownThere++
		}
	}
	for range min(crashDecisions, len(c.made)) {
		tr := c.made[c.rand.IntN(len(c.made))]
		if got := c.decision(tr.n); got != tr.code {
			c.t.Errorf("transfer %d: got %v, want %v", tr.n, got, tr.code)
		}
	}
}

// decision asks what was decided for a transfer.
func (c *crashTest) decision(n uint64) wallet.Code {
	c.t.Helper()
	code, err := c.http.Decision(c.t.Context(), c.plan.id(n))
	if err != nil {
		c.t.Fatal(err)
	}
	return code
}

// checkBalances compares all balances with those that the applied transfers
// give, and their sum with zero.
func (c *crashTest) checkBalances() {
	c.t.Helper()
	want := slices.Repeat([]money.Amount{crashFunds}, crashAccounts)
	for _, tr := range c.made {
		if tr.code == wallet.Applied {
			want[tr.from] -= money.Amount(tr.amount)
			want[tr.to] += money.Amount(tr.amount)
		}
	}
	for i, w := range want {
		if got := c.balance(c.plan.account(uint64(i))); got.Amount != w {
			c.t.Errorf("balance of account %d: got %d, want %d", i, got.Amount, w)
		}
	}
	if got, want := c.balance(c.plan.bankAccount(0)), money.Amount(-crashFunds*crashAccounts); got.Amount != want {
		c.t.Errorf("balance of the bank: got %d, want %d", got.Amount, want)
	}
	totals, settled, err := c.http.Totals(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	if !settled || len(totals) != 1 || !totals[0].Zero() {
		c.t.Errorf("totals: got %+v, settled %v, want one currency with the sum 0, settled", totals, settled)
	}
}

// balance returns what an account holds.
func (c *crashTest) balance(id wallet.AccountID) wallet.Balance {
	c.t.Helper()
	a, code, err := c.http.Account(c.t.Context(), id)
	if err != nil || code != wallet.Applied || len(a.Balances) != 1 {
		c.t.Fatalf("account %s: got %+v, %v, %v", id, a, code, err)
	}
	return a.Balances[0]
}

// checkLimit checks that the limit of account 0 is the one that was answered
// last, or the one that was under way.
func (c *crashTest) checkLimit() {
	c.t.Helper()
	got := c.balance(c.plan.account(0)).Min
	if got != c.limits.answered && got != c.limits.tried {
		c.t.Errorf("limit: got %d, want %d or %d", got, c.limits.answered, c.limits.tried)
	}
	c.limits.answered = got
}

// checkOpened checks that every opened account has its handle still.
func (c *crashTest) checkOpened() {
	c.t.Helper()
	ids := make([]wallet.AccountID, 0, len(c.opened))
	for id := range c.opened {
		ids = append(ids, id)
	}
	for part := range slices.Chunk(ids, wallet.MaxBatch) {
		handles, err := c.stream.Lookup(c.t.Context(), part)
		if err != nil {
			c.t.Fatal(err)
		}
		for i, id := range part {
			if handles[i] != c.opened[id] {
				c.t.Errorf("handle of %s: got %d, want %d", id, handles[i], c.opened[id])
			}
		}
	}
}

// repeat makes transfers again: each is answered as before. Those that got lost
// without an answer are made at last.
func (c *crashTest) repeat(made []crashTransfer) {
	c.t.Helper()
	for part := range slices.Chunk(made, wallet.MaxBatch) {
		batch := make([]wallet.HandleTransfer, len(part))
		for i, tr := range part {
			batch[i] = c.byHandle(tr)
		}
		results, err := c.stream.Transfers(c.t.Context(), nil, batch)
		if err != nil {
			c.t.Fatal(err)
		}
		for i, r := range results {
			if part[i].code != wallet.Undecided {
				c.wantRepeated(part[i], r)
				continue
			}
			if part[i].code = r.Code(); r.Repeated() {
				c.t.Errorf("transfer %d was not there, and is answered as a repetition", part[i].n)
			}
		}
	}
}
