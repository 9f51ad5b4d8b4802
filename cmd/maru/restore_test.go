package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"maru.example/cluster"
	"maru.example/money"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// TestRestoreCompares restores with a checkpoint that was signed at the end: of a backup that is older, of the node's own
// directory, which was copied while it ran, and of a moment before.
func TestRestoreCompares(t *testing.T) {
	p := newPastTest(t)
	dir := t.TempDir()
	key, checkpoint, place, running := filepath.Join(dir, "key"), filepath.Join(dir, "checkpoint"), filepath.Join(dir, "backup"), filepath.Join(dir, "running")
	both := []string{"--checkpoint", checkpoint, "--public-key", key + ".pub"}
	p.live(250)
	moment := p.pay("bank", "a", 5, wallet.Applied)
	if _, err := p.backup(place); err != nil {
		t.Fatal(err)
	}
	p.busy(5)
	want := p.balances("bank", "a", "b")
	p.until("it is copied, with what was decided and is not on record yet", func() bool {
		mustEmpty(t, running)
		return os.CopyFS(running, os.DirFS(p.data)) == nil // a file may go meanwhile
	})
	p.stop()
	for _, args := range [][]string{{"wallet", "checkpoint-key", key}, {"wallet", "checkpoint", "--data", p.data, "--key", key, "--out", checkpoint}} {
		if _, _, err := runHere(t, args...); err != nil {
			t.Fatal(args, err)
		}
	}
	v, err := verifyArchive(t, append(both, "--data", "none", "--archive", place)...)
	if failureOf(err).status != exitUnchecked || v.Wrong > 0 || len(v.Partitions[0].Unchecked) != 1 || len(v.Partitions[0].Matched) != 1 {
		t.Errorf("a backup before the checkpoint: %+v, %v", v, err)
	}
	late := []string{"--until", moment.Format(time.RFC3339Nano)}
	for _, tt := range []struct {
		name, from string
		args       []string
		want       string // of each partition
	}{
		{"a backup before the checkpoint", place, nil, "this cannot be compared"},
		{"a node's directory", p.data, nil, "as in "},
		{"a node's directory, of a moment", p.data, late, "this cannot be compared"},
		{"a directory that was copied while it was served", running, nil, "as in "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "restored")
			out, _, err := runHere(t, append(append([]string{"wallet", "restore", "--from", tt.from, "--data", data, "--json"}, both...), tt.args...)...)
			var said struct {
				Notes []string `json:"notes"`
			}
			if err := errors.Join(err, json.Unmarshal([]byte(out), &said)); err != nil {
				t.Fatal(err, out)
			}
			if len(said.Notes) != 2 || !strings.Contains(said.Notes[0], tt.want) || !strings.Contains(said.Notes[1], tt.want) {
				t.Errorf("got %q, want %q", said.Notes, tt.want)
			}
			if tt.from == running {
				checkRepaired(t, data, want)
			}
		})
	}
	t.Run("forged", func(t *testing.T) { restoreThatIsWrong(t, p.data, key, checkpoint) })
}

// restoreThatIsWrong finds out at its end that what it made is not what was signed: no command takes it.
func restoreThatIsWrong(t *testing.T, from, key, checkpoint string) {
	forged := signAgain(t, from, key, checkpoint, func(c *rsmarchive.Checkpoint) { c.Groups[1].At.Link[0] ^= 1 })
	data, err := restoreTo(t, from, "--checkpoint", forged, "--public-key", key+".pub")
	if err == nil || !strings.Contains(err.Error(), "partition 1 was restored, and is not as it should be") {
		t.Fatalf("got %v", err)
	}
	for _, args := range [][]string{
		{"serve", "--data", data, "--http", "127.0.0.1:0", "--stream", "127.0.0.1:0"},
		{"wallet", "verify", "--data", data},
		{"wallet", "rotate-personal-key", "--data", data},
		{"key", "create", "--data", data, "--scope", "wallet:read"},
		{"key", "list", "--data", data},
		{"key", "revoke", "0123456789abcdef", "--data", data},
		{"cluster", "init", "--data", data},
	} {
		if out, _, err := runHere(t, args...); err == nil || !strings.Contains(fmt.Sprint(err), "is an unfinished restore") {
			t.Errorf("%q: %s, %v", args, out, err)
		}
	}
}

// signAgain returns the file of a checkpoint of what is in a directory, changed and signed anew.
func signAgain(t *testing.T, data, key, checkpoint string, change func(*rsmarchive.Checkpoint)) string {
	t.Helper()
	id, err := loadIdentity(data)
	if err != nil {
		t.Fatal(err)
	}
	public, err := rsmarchive.NewVerifier(string(id.Cluster), []byte(mustRead(t, key+".pub")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := rsmarchive.ParseCheckpoint([]byte(mustRead(t, checkpoint)), public)
	if err != nil {
		t.Fatal(err)
	}
	change(c)
	private, err := rsmarchive.NewSigner(string(id.Cluster), []byte(mustRead(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.Sign(private)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, checkpoint+"-again", string(text))
	return checkpoint + "-again"
}

// verifyLater verifies a directory with a checkpoint of entries that are behind the end of its logs.
func verifyLater(t *testing.T, data string) (verdicts, error) {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	for _, args := range [][]string{
		{"wallet", "checkpoint-key", key}, {"wallet", "checkpoint", "--data", data, "--key", key, "--out", key + ".checkpoint"},
	} {
		if _, _, err := runHere(t, args...); err != nil {
			t.Fatal(args, err)
		}
	}
	later := signAgain(t, data, key, key+".checkpoint", func(c *rsmarchive.Checkpoint) {
		for i := range c.Groups {
			c.Groups[i].At.Index += 1000
		}
	})
	return verifyArchive(t, "--data", data, "--checkpoint", later, "--public-key", key+".pub")
}

// TestRestoreEndsInVerification is ended before it has verified what it made.
func TestRestoreEndsInVerification(t *testing.T) {
	p := newPastTest(t)
	p.live(250)
	p.stop()
	cmd := newRestoreCommand()
	cmd.SetContext(t.Context())
	data := filepath.Join(t.TempDir(), "restored")
	c := &restoreCommand{data: data, place: location{dir: p.data}, moment: noMoment}
	from, err := c.open(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := markUnfinished(data); err != nil {
		t.Fatal(err)
	}
	if _, err := c.restore(cmd, from); err != nil {
		t.Fatal(err)
	}
	if err := from.release(); err != nil {
		t.Fatal(err)
	}
	if _, err := loadIdentity(data); err == nil || !strings.Contains(err.Error(), "unfinished restore") {
		t.Errorf("it is taken before it was verified: %v", err)
	}
	if id, err := readIdentity(data); err != nil || id.Protocol != cluster.TCC {
		t.Errorf("%+v, %v", id, err)
	}
}

// TestRestoreOfAssets has an asset made in the first partition, by its clock, seconds after the second has an account with it.
func TestRestoreOfAssets(t *testing.T) {
	const at, later = int64(1_700_000_000_000_000_000), int64(1_700_000_010_000_000_000)
	account := wallet.AccountID("a")
	if wallet.PartitionOf(wallet.DefaultTenant, account, 2) == 0 {
		account = "b"
	}
	shares := money.Asset(0, 0)
	making := wallet.AppendAsset(wallet.AppendHeader(nil, wallet.Header{Kind: wallet.KindCreateAssets, Count: 1}), "shares", 0)
	open := func(c money.Currency) []byte {
		return wallet.AppendAccount(wallet.AppendHeader(nil, wallet.Header{Kind: wallet.KindOpenAccounts, Count: 1}), &wallet.NewAccount{ID: account, Currency: c})
	}
	entries := func(recorded bool, times []int64, batches ...[]byte) []rsm.Decided {
		all, m := []rsm.Decided{madeEntry()}, wallet.NewMachine(&wallet.MachineOptions{Partitions: 2})
		for i, data := range batches {
			d := rsm.Decided{Index: rsm.Index(i) + rsmraft.FirstEntry, Term: 1, Time: times[i], Entry: rsm.AppendEntry(nil, times[i], []*rsm.Proposal{{Data: data}})}
			if recorded {
				results := m.Apply(nil, rsm.Batch{Time: times[i], Data: data})
				d.Decision = rsm.AppendDecision(nil, []rsm.DecidedBatch{{Data: data, Results: results, Effects: m.Effects()}})
			}
			all = append(all, d)
		}
		return all
	}
	for _, tt := range []struct {
		name     string
		recorded bool // what was decided in the first partition
		named    money.Currency
		until    int64
		want     [2]rsm.Index
	}{
		{"before the asset is made", true, shares, at + 1, [2]rsm.Index{1, 1}},
		{"before, not on record", false, shares, at + 1, [2]rsm.Index{1, 1}},
		{"after", true, shares, later, [2]rsm.Index{2, 2}},
		{"the end", true, shares, noMoment, [2]rsm.Index{2, 2}},
		{"an asset that there is not", true, money.Asset(7, 0), at + 1, [2]rsm.Index{1, 2}},
		{"an asset that there is not, the end", false, money.Asset(7, 0), noMoment, [2]rsm.Index{2, 2}},
		{"no asset", true, money.MustParseCurrency("EUR"), at + 1, [2]rsm.Index{1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := [][]rsm.Decided{entries(tt.recorded, []int64{later}, making), entries(false, []int64{at}, open(tt.named))}
			from := &restorable{
				manifest: &manifest{Cluster: newID(), Partitions: []backedUpTo{{Partition: 0, Index: 2}, {Partition: 1, Index: 2}}},
				read: func(_ context.Context, partition uint16, f func(*rsm.Decided) error) error {
					for i := range all[partition] {
						if err := f(&all[partition][i]); err != nil {
							return stopped(err)
						}
					}
					return nil
				},
			}
			r, err := openRestoring(t.Context(), from, t.TempDir(), tt.until)
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			if err := r.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			views := r.views()
			if got := [2]rsm.Index{views[0].Entry, views[1].Entry}; got != tt.want || views[1].Dropped != (tt.want[1] == 1) {
				t.Errorf("restored up to %v, want %v: %+v", got, tt.want, views)
			}
		})
	}
}
