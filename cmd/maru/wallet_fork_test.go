package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"maru.example/internal/sqldb/sqltest"
	"maru.example/money"
	"maru.example/wallet"
)

// forkTest has a wallet with a webhook, whose directory is copied.
type forkTest struct {
	*pastTest
	r hookReceiver
}

func newForkTest(t *testing.T, o serveOptions) *forkTest {
	t.Helper()
	f := &forkTest{}
	t.Cleanup(f.r.start())
	f.pastTest = newPastTestIn(t, t.TempDir(), o)
	f.open("bank", wallet.Unlimited)
	f.open("a", 0)
	if _, err := f.node.webhooks.CreateWebhook(t.Context(), wallet.DefaultTenant, &wallet.NewWebhook{URL: f.r.url, Kinds: []wallet.EventKind{wallet.Credit}}); err != nil {
		t.Fatal(err)
	}
	return f
}

// told pays, and waits until the receiver knows.
func (f *forkTest) told(p *pastTest, amount int) {
	f.t.Helper()
	p.pay("bank", "a", money.Amount(amount), wallet.Applied)
	if err := f.r.await(regexp.MustCompile(fmt.Sprintf(`"amount":"0.%d"`, amount))); err != nil {
		f.t.Fatal(err)
	}
}

// copied copies the stopped wallet's directory.
func (f *forkTest) copied() string {
	f.t.Helper()
	to := filepath.Join(f.t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(f.data)); err != nil {
		f.t.Fatal(err)
	}
	return to
}

// takes gives a directory the database, and the same again, which changes nothing.
func (f *forkTest) takes(data, store, want string) {
	f.t.Helper()
	for _, want := range []string{want, `"unchanged":true`} {
		out, _, err := runHere(f.t, "wallet", "take-store", "--data", data, "--store", store, "--json")
		if err != nil || !strings.Contains(out, want) {
			f.t.Fatalf("take-store: %s, %v, want %s", out, err, want)
		}
	}
}

// wantUnique wants that no id stood for two events.
func (f *forkTest) wantUnique() {
	f.t.Helper()
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	if len(f.r.reused) > 0 {
		f.t.Errorf("these ids stand for several events: %v", f.r.reused)
	}
}

// TestOlderDirectory brings back an older copy of a directory, while the database went on: the server does not start until
// it has been given the database, and then tells what it decides with ids of its own.
func TestOlderDirectory(t *testing.T) {
	f := newForkTest(t, serveOptions{})
	f.told(f.pastTest, 11)
	f.stop()
	old := f.copied()
	f.pastTest = newPastTestIn(t, f.data, serveOptions{})
	f.ids = 100
	for amount := range 5 {
		f.told(f.pastTest, 20+amount)
	}
	f.stop()

	for range 2 { // each start writes entries of its own
		if err := openWith(t, old, f.data); !errors.Is(err, wallet.ErrStoreForked) || !strings.Contains(failureOf(err).hint, "take-store") {
			t.Fatalf("an older copy with the database: %v", err)
		}
	}
	if err := openWith(t, f.data, f.data); err != nil {
		t.Errorf("the directory that went on: %v", err)
	}
	f.takes(old, sideName, `"set_back":2`)
	restored := newPastTestIn(t, old, serveOptions{})
	restored.ids = 200
	for amount := range 5 {
		f.told(restored, 30+amount)
	}
	restored.stop()
	if err := openWith(t, f.data, old); !errors.Is(err, wallet.ErrStoreForked) {
		t.Errorf("the directory that went on, with the database that was given away: %v", err)
	}
	f.wantUnique()
}

// TestTwoServers lets two servers go on with copies of one directory, and one PostgreSQL database.
func TestTwoServers(t *testing.T) {
	url := sqltest.StartPostgres(t).Database(t)
	o := serveOptions{store: url}
	f := newForkTest(t, o)
	f.told(f.pastTest, 11)
	f.stop()
	other := newPastTestIn(t, f.copied(), o)
	f.pastTest = newPastTestIn(t, f.data, o)
	f.ids, other.ids = 100, 200
	for amount := range 3 {
		f.told(f.pastTest, 20+amount)
	}
	for amount := range 5 {
		other.pay("bank", "a", money.Amount(30+amount), wallet.Applied)
	}
	settle(t, "the second server says that it tells nothing", 10*time.Millisecond, func(context.Context) error {
		if all := other.node.warnings(); len(all) != 1 || !strings.Contains(all[0], "take-store") {
			return fmt.Errorf("it warns of %q", all)
		}
		return nil
	})
	f.told(f.pastTest, 25)
	if all := f.node.warnings(); len(all) > 0 {
		t.Errorf("the first server warns of %q", all)
	}
	other.stop()
	f.takes(other.data, url, `"set_back":`)
	settle(t, "the first server says that it tells nothing", 10*time.Millisecond, func(context.Context) error {
		f.pay("bank", "a", 1, wallet.Applied)
		if all := f.node.warnings(); len(all) != 1 {
			return fmt.Errorf("it warns of %q", all)
		}
		return nil
	})
	f.stop()
	other = newPastTestIn(t, other.data, o)
	other.ids = 250
	for amount := range 3 {
		f.told(other, 40+amount)
	}
	other.stop()
	f.wantUnique()
}

// TestStoreIsRemembered starts a wallet that had a PostgreSQL database without one, and with others.
func TestStoreIsRemembered(t *testing.T) {
	server := sqltest.StartPostgres(t)
	url, empty := server.Database(t), server.Database(t)
	withSecret := strings.Replace(url, "maru@", "maru:top-secret@", 1)
	f := newForkTest(t, serveOptions{store: withSecret})
	f.told(f.pastTest, 11)
	f.stop()
	note, err := os.ReadFile(filepath.Join(f.data, storeNoteName))
	if err != nil || strings.Contains(string(note), "secret") || strings.Contains(string(note), "maru@") || !strings.Contains(string(note), "test1") {
		t.Errorf("noted is %s, %v", note, err)
	}
	start := func(store string) error {
		n, err := openNode(t.Context(), &serveOptions{data: f.data, store: store, reserve: -1, snapshot: -1, maxQueue: 1 << 20}, slog.New(slog.DiscardHandler))
		if err == nil {
			err = n.close(0)
		}
		return err
	}
	refused := func(store, text, hint string) {
		t.Helper()
		err := start(store)
		if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(failureOf(err).hint, hint) || strings.Contains(err.Error(), "secret") {
			t.Errorf("with --store %q: %v, want %q and a hint of %q", store, err, text, hint)
		}
		if fileIsThere(filepath.Join(f.data, sideName)) {
			t.Errorf("with --store %q: %s was made", store, sideName)
		}
	}
	refused("", "does not name it", "--store "+sideName)
	refused(sideName, "is nobody's", "take-store")
	refused(empty, "is nobody's", "take-store")
	if err := start(url); err != nil {
		t.Errorf("as before: %v", err)
	}
	if _, _, err := runHere(t, "wallet", "take-store", "--data", f.data, "--store", empty); err != nil {
		t.Fatal(err)
	}
	if err := start(empty); err != nil {
		t.Errorf("with the database that it was given: %v", err)
	}
	if err := start(url); err != nil { // it is still this wallet's
		t.Errorf("with the one before: %v", err)
	}
	if _, _, err := runHere(t, "wallet", "take-store", "--data", f.data, "--store", sideName); err != nil {
		t.Fatal(err)
	}
	if err := start(""); err != nil {
		t.Errorf("with the file that it was given: %v", err)
	}
}
