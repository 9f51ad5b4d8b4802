//go:build s3

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"maru.example/internal/s3test"
	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// bucketTest is a server that archives to a bucket, to which there is a way that can be closed.
type bucketTest struct {
	t      *testing.T
	way    *s3test.Proxy
	server *process
	client *wallethttp.Client
	paid   int
	moment time.Time // after the first hundred
}

// pay makes transfers.
func (b *bucketTest) pay(n int) {
	b.t.Helper()
	usd := money.MustParseCurrency("USD")
	var ts []wallet.Transfer
	for range n {
		ts = append(ts, wallet.Transfer{ID: newTransactionID(time.Now()), From: "mint", To: "alice", Amount: 1, Currency: usd})
	}
	b.paid += n
	results, err := b.client.Transfers(b.t.Context(), ts)
	if err != nil || len(results) != n || results[n-1].Code() != wallet.Applied {
		b.t.Fatal(results, err)
	}
}

// metrics waits until the archive's metrics are so.
func (b *bucketTest) metrics(what string, holds func(failing, lag float64) bool) {
	b.t.Helper()
	address := "http://" + b.server.listens.HTTP
	settle(b.t, what, 50*time.Millisecond, func(context.Context) error {
		failing, err1 := readMetric(address, `maru_archive_failing{partition="0"}`)
		lag, err2 := readMetric(address, `maru_archive_lag_entries{partition="0"}`)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if !holds(failing, lag) {
			return fmt.Errorf("failing %v, lag %v", failing, lag)
		}
		return nil
	})
}

// TestBucket archives, verifies, replays, signs, backs up and restores with a bucket on a real server of Amazon's
// protocol, which is out of reach for a while; and says what to do about a wrong key, bucket and endpoint.
func TestBucket(t *testing.T) {
	b := &bucketTest{t: t, way: s3test.NewProxy(t, s3test.Start(t))}
	t.Setenv("AWS_ACCESS_KEY_ID", s3test.Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3test.Secret)
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://"+b.way.Addr())
	dir := t.TempDir()
	data, place, backup := filepath.Join(dir, "data"), "s3://"+s3test.Bucket+"/n1", "s3://"+s3test.Bucket+"/backup"
	var err error
	if b.server, err = startServer(dir, "--data", data, "--archive", place, "--archive-segment-bytes", "1KiB", "--log-level", "warn", "--reserve-bytes", "none"); err != nil {
		t.Fatal(err)
	}
	defer func() { b.server.kill() }()
	if b.client, err = wallethttp.NewClient("http://"+b.server.listens.HTTP, nil); err != nil {
		t.Fatal(err)
	}
	for _, id := range []wallet.AccountID{"mint", "alice"} {
		if _, code, err := b.client.OpenAccount(t.Context(), wallet.NewAccount{ID: id, Currency: money.MustParseCurrency("USD"), Min: wallet.Unlimited}); err != nil || code != wallet.Applied {
			t.Fatal(code, err)
		}
	}
	b.pay(100)
	b.metrics("it is archived", func(failing, lag float64) bool { return failing == 0 && lag == 0 })
	b.moment = time.Now()
	b.way.Set(true)
	b.pay(100)
	b.metrics("the bucket is away", func(failing, lag float64) bool { return failing == 1 && lag > 0 })
	if _, err := verifyArchive(t, "--data", "none", "--archive", place); err == nil || !strings.Contains(failureOf(err).hint, "does not answer") {
		t.Errorf("verify while it is away: %v", err)
	}
	b.way.Set(false)
	b.metrics("the bucket is back", func(failing, lag float64) bool { return failing == 0 && lag == 0 })
	b.commands(dir, place, backup)
	for _, tt := range []struct {
		name, variable, value, place, want string
	}{
		{"a wrong secret", "AWS_SECRET_ACCESS_KEY", "wrong", place, "refuses the key"},
		{"no key", "AWS_ACCESS_KEY_ID", "", place, "AWS_ACCESS_KEY_ID"},
		{"no such bucket", "MARU_NOTHING", "", "s3://none/n1", "make the bucket"},
		{"no such server", "AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1", place, "does not answer"},
		{"a server without TLS", "AWS_ENDPOINT_URL_S3", "https://" + b.way.Addr(), place, "endpoint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(tt.variable, tt.value)
			for _, args := range [][]string{
				{"wallet", "verify", "--data", "none", "--archive", tt.place},
				{"wallet", "backup", "--addr", b.server.listens.HTTP, "--to", tt.place + "/backup"},
				{"wallet", "restore", "--from", tt.place, "--data", filepath.Join(dir, "none")},
			} {
				if _, _, err := runHere(t, args...); err == nil || !strings.Contains(failureOf(err).hint, tt.want) {
					t.Errorf("%q: %v\nhint: %s\nwant: %s", args, err, failureOf(err).hint, tt.want)
				}
			}
		})
	}
}

// commands are those of an auditor, and of who makes backups.
func (b *bucketTest) commands(dir, place, backup string) {
	b.t.Helper()
	key, note, restored := filepath.Join(dir, "key"), filepath.Join(dir, "note"), filepath.Join(dir, "restored")
	alice := fmt.Sprintf("%d.%02d", b.paid/100, b.paid%100)
	ask := func(want string, args ...string) {
		b.t.Helper()
		out, _, err := runHere(b.t, args...)
		if err != nil || !strings.Contains(out, want) {
			b.t.Errorf("%q: %v, want %q\n%s", args, err, want, out)
		}
	}
	v, err := verifyArchive(b.t, "--data", "none", "--archive", place)
	if err != nil || v.Partitions[0].Transfers != uint64(b.paid) {
		b.t.Errorf("verify: %+v, %v", v, err)
	}
	ask("", "wallet", "replay", "--data", "none", "--archive", place)
	ask("1.00", "wallet", "balance", "alice", "--at", b.moment.UTC().Format(time.RFC3339Nano), "--data", "none", "--archive", place)
	ask("", "wallet", "checkpoint-key", key)
	ask("", "wallet", "checkpoint", "--key", key, "--out", note, "--data", "none", "--archive", place)
	ask("as in", "wallet", "verify", "--data", "none", "--archive", place, "--checkpoint", note, "--public-key", key+".pub")
	ask("backup 1", "wallet", "backup", "--addr", b.server.listens.HTTP, "--to", backup)
	ask("backup 2", "wallet", "backup", "--addr", b.server.listens.HTTP, "--to", backup)
	ask("as it should be", "wallet", "verify", "--data", "none", "--archive", backup)
	out, _, err := runHere(b.t, "wallet", "restore", "--from", backup, "--data", restored, "--json")
	if err != nil || !json.Valid([]byte(out)) {
		b.t.Fatalf("restore: %v\n%s", err, out)
	}
	ask(alice, "wallet", "balance", "alice", "--at", time.Now().UTC().Format(time.RFC3339Nano), "--data", restored)
}
