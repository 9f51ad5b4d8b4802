package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"maru.example/wallet"
	"maru.example/wallet/walletsql"
)

// openWith opens a node in a directory, with the side database of another, and returns why it does not begin.
func openWith(t *testing.T, data, from string) error {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		content, err := os.ReadFile(filepath.Join(from, sideName+suffix))
		if err != nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(data, sideName+suffix), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n, err := openNode(t.Context(), &serveOptions{data: data, partitions: 2, reserve: -1, snapshot: -1, maxQueue: 1 << 20}, slog.New(slog.DiscardHandler))
	if err == nil {
		err = n.close(0)
	}
	return err
}

// TestTakeStore restores a wallet whose webhook was told of more than the backup has: it gets no other wallet's database, that of
// the wallet before when it is told so, and then its receiver misses nothing.
func TestTakeStore(t *testing.T) {
	var r hookReceiver
	t.Cleanup(r.start())
	p := newPastTest(t)
	p.live(250)
	hook, err := p.node.webhooks.CreateWebhook(t.Context(), wallet.DefaultTenant, &wallet.NewWebhook{URL: r.url, Kinds: []wallet.EventKind{wallet.Credit}})
	if err != nil {
		t.Fatal(err)
	}
	await := func(text string) {
		t.Helper()
		if err := r.await(regexp.MustCompile(text)); err != nil {
			t.Fatal(err)
		}
	}
	place := filepath.Join(t.TempDir(), "backup")
	if _, err := p.backup(place); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p.pay("bank", "a", 11, wallet.Applied)
		await(`"amount":"0.11"`)
	}
	p.stop()

	if err := openWith(t, t.TempDir(), p.data); !errors.Is(err, wallet.ErrStoreOfAnother) || failureOf(err).hint == "" {
		t.Errorf("another wallet with the database: %v", err)
	}
	data, err := restoreTo(t, place)
	if err != nil {
		t.Fatal(err)
	}
	if err := openWith(t, data, p.data); !errors.Is(err, wallet.ErrStoreOfPast) || !strings.Contains(failureOf(err).hint, "take-store") {
		t.Errorf("the restored wallet with the database: %v", err)
	}
	if out, _, err := runHere(t, "wallet", "take-store", "--data", p.data, "--json"); err != nil || !strings.Contains(out, `"unchanged":true`) {
		t.Errorf("the wallet before takes what it has: %s, %v", out, err)
	}
	for _, want := range []string{`"set_back":2`, `"set_back":0`} {
		if out, _, err := runHere(t, "wallet", "take-store", "--data", data, "--json"); err != nil || !strings.Contains(out, want) {
			t.Fatalf("take-store: %s, %v, want %s", out, err, want)
		}
	}
	before := map[string]bool{}
	r.mu.Lock()
	for _, id := range r.ids {
		before[id] = true
	}
	seen := len(r.ids)
	r.mu.Unlock()
	restored := newPastTestIn(t, data, serveOptions{})
	defer restored.stop()
	restored.ids = 200
	restored.pay("bank", "a", 13, wallet.Applied)
	await(`"amount":"0.13"`)
	r.mu.Lock()
	for _, id := range r.ids[seen:] {
		if before[id] {
			t.Errorf("the id %s stands for two messages", id)
		}
	}
	r.mu.Unlock()
	s, err := restored.node.webhooks.Webhook(t.Context(), wallet.DefaultTenant, hook.ID)
	if err != nil || s.Lanes[0].SetBack+s.Lanes[1].SetBack == 0 {
		t.Errorf("the places: %+v, %v", s.Lanes, err)
	}
	if err := openWith(t, p.data, data); !errors.Is(err, wallet.ErrStoreOfPast) {
		t.Errorf("the wallet before with the database that was taken: %v", err)
	}
	if _, _, err := runHere(t, "wallet", "take-store", "--data", p.data); !errors.Is(err, wallet.ErrStoreOfPast) {
		t.Errorf("the wallet before takes what was taken: %v", err)
	}
}

// TestUnclaimed has a database that is not the wallet's: it is not used later either.
func TestUnclaimed(t *testing.T) {
	s, err := openSide(&serveOptions{data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	s.claim = func(context.Context, *walletsql.Store) error { return wallet.ErrStoreOfAnother }
	for range 3 {
		if store, err := s.ready(t.Context()); store != nil || !errors.Is(err, wallet.ErrStoreOfAnother) {
			t.Fatalf("got %v, %v", store, err)
		}
	}
}
