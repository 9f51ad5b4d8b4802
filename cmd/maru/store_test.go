package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"maru.example/internal/sqldb/sqltest"
	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// TestMoveStore lets a node with side.db grow to a cluster: personal data and webhooks are moved into PostgreSQL, over TLS,
// an erasure there is final, and nothing of what was erased is left in the node's directory. The database goes away, and comes back.
func TestMoveStore(t *testing.T) {
	server := sqltest.StartPostgresTLS(t)
	url := server.OverTLS(t, server.Database(t), "maru", "")
	var r hookReceiver
	t.Cleanup(r.start())
	const name, other = "Alice Liddell-Hargreaves", "Robert Lionheart"
	usd, ctx := money.MustParseCurrency("USD"), t.Context()
	c := newTestCluster(t, 1, 1)
	one := func() *wallethttp.Client { return c.nodes[0].clients.Load().http }
	for _, id := range []wallet.AccountID{"mint", "alice", "bob", "carol"} {
		if _, code, err := one().OpenAccount(ctx, wallet.NewAccount{ID: id, Currency: usd, Min: wallet.Unlimited}); err != nil || code != wallet.Applied {
			t.Fatal(code, err)
		}
	}
	for id, text := range map[wallet.AccountID]string{"alice": name, "bob": other, "carol": "Carol"} {
		if err := setName(ctx, one(), id, text); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := one().ErasePersonal(ctx, "carol"); err != nil {
		t.Fatal(err)
	}
	if _, err := one().CreateWebhook(ctx, &wallet.NewWebhook{URL: r.url, Kinds: []wallet.EventKind{wallet.Credit}}); err != nil {
		t.Fatal(err)
	}
	pay := func(total money.Amount) {
		t.Helper()
		transfer := wallet.Transfer{ID: newTransactionID(time.Now()), From: "mint", To: "alice", Amount: 1, Currency: usd}
		if result, err := one().Transfer(ctx, transfer); err != nil || result.Code() != wallet.Applied {
			t.Fatal(result, err)
		}
		if err := r.await(regexp.MustCompile(fmt.Sprintf(`"credit".*"balance":"%s"`, total.Format(usd)))); err != nil {
			t.Fatal(err)
		}
	}
	pay(1)
	data := c.nodes[0].data
	side := filepath.Join(data, sideName)
	if _, _, err := runHere(t, "wallet", "move-store", "--data", data, "--to", url); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("while the server runs: %v", err)
	}
	c.signal(0, syscall.SIGTERM)
	if err := c.nodes[0].process.wait(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runHere(t, "serve", "--data", data, "--peer", "127.0.0.1:0", "--http", "127.0.0.1:0", "--stream", "127.0.0.1:0", "--reserve-bytes", "none", "--store", url); err == nil || !strings.Contains(failureOf(err).hint, "move-store") {
		t.Errorf("started with both: %v", err)
	}
	kept := filepath.Join(t.TempDir(), sideName)
	copyFile(t, side, kept)
	moved := func(want string) {
		t.Helper()
		out, _, err := runHere(t, "wallet", "move-store", "--data", data, "--to", url, "--json")
		if err != nil || strings.TrimSpace(out) != want {
			t.Fatalf("got %s, %v, want %s", out, err, want)
		}
		if _, err := os.Stat(side); err == nil {
			t.Fatal("side.db is still there")
		}
	}
	moved(`{"accounts":3,"items":2,"webhooks":1}`)
	moved(`{"accounts":0,"items":0,"webhooks":0,"nothing":true}`)
	c.flags = append(c.flags, "--store", url, "--personal-key", filepath.Join(data, masterKeyName))
	c.start(0)
	pay(2) // the webhook goes on where it was
	c.join()
	two := c.nodes[1].clients.Load().http
	if d, err := two.Profile(ctx, "bob"); err != nil || d.Text != other {
		t.Errorf("the new node has %q, %v", d.Text, err)
	}
	if _, err := two.Profile(ctx, "carol"); problemOf(err) != "erased" {
		t.Errorf("what was erased before: %v", err)
	}
	if _, _, err := two.ErasePersonal(ctx, "alice"); err != nil {
		t.Error(err)
	}
	// A move that was repeated, after an interruption behind its commit, brings nothing back.
	c.signal(0, syscall.SIGTERM)
	if err := c.nodes[0].process.wait(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, kept, side)
	moved(`{"accounts":3,"items":0,"webhooks":1}`)
	c.start(0)
	if _, err := one().Profile(ctx, "alice"); problemOf(err) != "erased" {
		t.Errorf("what was erased meanwhile: %v", err)
	}
	awayAndBack(t, c, server, other)
}

// awayAndBack stops the database while nodes run, and looks at what they say and count.
func awayAndBack(t *testing.T, c *testCluster, server *sqltest.Server, name string) {
	t.Helper()
	f := &followed{testCluster: c}
	server.Stop(t)
	client := c.nodes[0].clients.Load().http
	if _, err := client.Profile(t.Context(), "bob"); problemOf(err) != "store_unavailable" {
		t.Errorf("without the database: %v", err)
	}
	if got := f.count(0, "maru_store_transactions_total", `outcome="unavailable"`); got == 0 {
		t.Error("it is not counted")
	}
	c.wait("the wallet goes on", func(ctx context.Context) error {
		_, _, err := client.Account(ctx, "alice")
		return err
	})
	server.Start(t)
	c.wait("the database is found again", func(ctx context.Context) error {
		d, err := client.Profile(ctx, "bob")
		if err == nil && d.Text != name {
			err = fmt.Errorf("got %q", d.Text)
		}
		return err
	})
	if got := f.count(0, "maru_store_transactions_total", `outcome="done"`); got == 0 {
		t.Error("nothing is counted")
	}
}
