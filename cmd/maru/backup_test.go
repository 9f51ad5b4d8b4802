package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm/rsmarchive"
	"maru.example/wallet"
)

// backup makes a backup of a node that runs.
func (p *pastTest) backup(place string) (b backedUp, err error) {
	p.t.Helper()
	server := httptest.NewServer(newBackupHandler(p.node, nil))
	defer server.Close()
	out, _, err := runHere(p.t, "wallet", "backup", "--addr", server.URL, "--to", place, "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &b)
	}
	return b, err
}

// balances returns what accounts hold.
func (p *pastTest) balances(ids ...wallet.AccountID) map[wallet.AccountID]money.Amount {
	p.t.Helper()
	all := map[wallet.AccountID]money.Amount{}
	for _, id := range ids {
		a, code, err := p.node.wallet.Load().Account(p.t.Context(), wallet.DefaultTenant, id)
		if err != nil || code != wallet.Applied {
			p.t.Fatal(id, code, err)
		}
		all[id] = a.Balances[0].Amount
	}
	return all
}

func restoreTo(t *testing.T, place string, args ...string) (data string, err error) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "restored")
	_, _, err = runHere(t, append([]string{"wallet", "restore", "--from", place, "--data", data, "--json"}, args...)...)
	return data, err
}

// TestBackup takes a full and an incremental backup of a node, and restores both the end and a moment.
func TestBackup(t *testing.T) {
	for _, o := range []serveOptions{{}, {archive: filepath.Join(t.TempDir(), "archive"), archiveSegment: 1 << 10, logSegment: 1 << 10, snapshot: 4 << 10}} {
		t.Run(fmt.Sprint("archive=", o.archive != ""), func(t *testing.T) {
			p := newPastTestIn(t, t.TempDir(), o)
			place := filepath.Join(t.TempDir(), "backup")
			p.live(250)
			p.busy(10)
			p.age()
			full, err := p.backup(place)
			if err != nil || full.Number != 1 || full.Entries < 30 || len(full.Partitions) != 2 {
				t.Fatalf("%+v, %v", full, err)
			}
			again, err := p.backup(place)
			if err != nil || again.Number != 2 || again.Entries != 0 {
				t.Fatalf("nothing is new: %+v, %v", again, err)
			}
			moment := p.pay("bank", "a", 5, wallet.Applied)
			then := p.balances("bank", "a", "b")
			last := p.ids
			p.busy(3)
			p.pay("a", "b", 11, wallet.Applied)
			incremental, err := p.backup(place)
			if err != nil || incremental.Entries == 0 || incremental.Entries >= full.Entries {
				t.Fatalf("%+v, %v, want fewer than %d", incremental, err, full.Entries)
			}
			end := p.balances("bank", "a", "b")
			if v, err := verifyArchive(t, "--data", "none", "--archive", place); err != nil || len(v.Partitions) != 2 || len(v.Partitions[0].Matched) != 1 || len(v.Partitions[1].Matched) != 1 {
				t.Errorf("verify the backup: %+v, %v", v, err)
			}
			p.stop()
			data, err := restoreTo(t, place)
			if err != nil {
				t.Fatal(err)
			}
			checkRestored(t, data, end, p.ids, p.ids, "")
			if data, err = restoreTo(t, place, "--until", moment.Format(time.RFC3339Nano)); err != nil {
				t.Fatal(err)
			}
			checkRestored(t, data, then, last, p.ids, place)
		})
	}
}

// TestBackupOfABusyServer asks a server that has no place for another segment, until it has.
func TestBackupOfABusyServer(t *testing.T) {
	p := newPastTest(t)
	p.live(250)
	handler := newBackupHandler(p.node, nil)
	busy := handler.making
	for range maxBackupSegments {
		busy <- struct{}{}
	}
	refused := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		if answer.Code == http.StatusTooManyRequests {
			if answer.Header().Get("Retry-After") != "1" {
				t.Errorf("got %v", answer.Header())
			}
			answer.Header().Set("Retry-After", "0")
			if refused++; refused == 2 {
				<-busy
			}
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	defer server.Close()
	if _, _, err := runHere(t, "wallet", "backup", "--addr", server.URL, "--to", filepath.Join(t.TempDir(), "backup")); err != nil || refused != 2 {
		t.Errorf("refused %d times, then %v", refused, err)
	}
	p.stop()
}

// TestBackupIsDescribed compares the document with what is served.
func TestBackupIsDescribed(t *testing.T) {
	p := newPastTest(t)
	p.live(250)
	handler := newBackupHandler(p.node, nil)
	origin := rsmarchive.Position{Link: chainedOf(p.node.identity.Cluster, 0).Origin()}
	for _, tt := range []struct {
		path   string
		status int
	}{
		{backupPath, 200},
		{backupPath + "/0?" + positionQuery(origin).Encode(), 200},
		{backupPath + "/9?" + positionQuery(origin).Encode(), 404},
		{backupPath + "/0", 400},
		{backupPath + "/0?" + positionQuery(rsmarchive.Position{Index: 1 << 40}).Encode(), 409},
	} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, tt.path, http.NoBody))
		op := describeBackup()[min(1, len(tt.path)-len(backupPath))]
		said := op.Responses[strconv.Itoa(answer.Code)]
		kind, _, _ := strings.Cut(answer.Header().Get("Content-Type"), ";")
		if answer.Code != tt.status || said == nil || said.Content[kind] == nil || !strings.Contains(op.Description, "cluster:admin") {
			t.Errorf("%s: got %d %s, which the document does not say", tt.path, answer.Code, kind)
		}
	}
	p.stop()
}

// checkRestored serves a restored wallet: its balances and ids are those of the moment, and it goes on. From
// the backup origin it was restored as it was before the end.
func checkRestored(t *testing.T, data string, want map[wallet.AccountID]money.Amount, last, used uint16, origin string) {
	t.Helper()
	r := newPastTestIn(t, data, serveOptions{history: true})
	defer r.stop()
	if origin != "" { // which has what happened later, and is not gone on with by another
		if b, err := r.backup(origin); err == nil || !strings.Contains(err.Error(), "before it was restored") || failureOf(err).hint == "" {
			t.Errorf("into the backup that it was made of: %+v, %v", b, err)
		}
	}
	if diff := gocmp.Diff(want, r.balances("bank", "a", "b")); diff != "" {
		t.Errorf("balances (-want +got):\n%s", diff)
	}
	for id := uint16(1); id <= used; id++ {
		code, err := r.node.wallet.Load().Decision(t.Context(), wallet.DefaultTenant, wallet.TransactionID{byte(id), 0, byte(id >> 8)})
		if err != nil || (code == wallet.Undecided) != (id > last) {
			t.Fatalf("id %d of %d: %v, %v", id, last, code, err)
		}
	}
	r.until("the history is made", func() bool {
		all := r.node.history.store.Metrics().Partitions
		for _, one := range all {
			if one.First != 1 || one.LagEntries > 0 {
				return false
			}
		}
		return len(all) == 2
	})
	r.ids = used + 1
	r.pay("bank", "b", 1, wallet.Applied)
	r.pay("a", "b", 1, wallet.Applied)
	place := filepath.Join(t.TempDir(), "backup")
	if b, err := r.backup(place); err != nil || b.Number != 1 {
		t.Errorf("a backup of the restored wallet: %+v, %v", b, err)
	}
}

// TestBackupOfAnAsset has an asset made, and an account opened with it in the other partition, when one partition is
// in the backup already: there is never the account without the asset, whose number would be given out again.
func TestBackupOfAnAsset(t *testing.T) {
	p := newPastTest(t)
	p.open("bank", wallet.Unlimited)
	id := wallet.AccountID("a")
	if wallet.PartitionOf(wallet.DefaultTenant, id, 2) == 0 {
		id = "b"
	}
	between := sync.OnceFunc(func() {
		c, code, err := p.node.wallet.Load().CreateAsset(t.Context(), wallet.DefaultTenant, "hours", 2)
		if err != nil || code != wallet.Applied {
			t.Errorf("%v, %v", code, err)
		}
		if o, err := p.node.wallet.Load().OpenAccount(t.Context(), wallet.DefaultTenant, wallet.NewAccount{ID: id, Currency: c}); err != nil || o.Code != wallet.Applied {
			t.Errorf("%+v, %v", o, err)
		}
	})
	first, handler := "", newBackupHandler(p.node, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if part := strings.TrimPrefix(r.URL.Path, backupPath); part != "" {
			if first = cmp.Or(first, part); first != part {
				between()
			}
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	place := filepath.Join(t.TempDir(), "backup")
	if _, _, err := runHere(t, "wallet", "backup", "--addr", server.URL, "--to", place); err != nil {
		t.Fatal(err)
	}
	p.stop()
	data, err := restoreTo(t, place)
	if err != nil {
		t.Fatal(err)
	}
	r := newPastTestIn(t, data, serveOptions{})
	defer r.stop()
	assets, code, err := r.node.wallet.Load().Assets(t.Context(), wallet.DefaultTenant)
	if err != nil || code != wallet.Applied || len(assets) != 1 {
		t.Errorf("%+v, %v, %v", assets, code, err)
	}
}

// TestBackupThatCannotBeUsed is damaged, or was interrupted.
func TestBackupThatCannotBeUsed(t *testing.T) {
	p := newPastTest(t)
	p.live(250)
	whole := filepath.Join(t.TempDir(), "backup")
	if _, err := p.backup(whole); err != nil {
		t.Fatal(err)
	}
	want := p.balances("bank", "a", "b")
	p.busy(3)
	if _, err := p.backup(whole); err != nil {
		t.Fatal(err)
	}
	other := newPastTest(t)
	if _, err := other.backup(whole); err == nil || !strings.Contains(err.Error(), "the backup of another cluster") {
		t.Errorf("into the backup of another: %v", err)
	}
	other.stop()
	p.stop()
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, place string)
		want   string // "": it is the backup before
	}{
		{"a bit", func(t *testing.T, place string) { flipByte(t, segments(t, place, 1)[0], 200) }, "the backup is damaged: "},
		{"a segment is missing", func(t *testing.T, place string) { mustRemove(t, segments(t, place, 2)[0]) }, "the backup is damaged: "},
		{"the last segment is missing", func(t *testing.T, place string) { mustRemove(t, segments(t, place, 2)[1]) }, "the backup is damaged: "},
		{"a partition is missing", func(t *testing.T, place string) {
			for _, name := range segments(t, place, 1) {
				mustRemove(t, name)
			}
		}, "the backup is damaged: "},
		{"the second was interrupted", func(t *testing.T, place string) { mustRemove(t, filepath.Join(place, manifestName(2))) }, ""},
		{"the first was interrupted", func(t *testing.T, place string) {
			mustRemove(t, filepath.Join(place, manifestName(2)))
			mustRemove(t, filepath.Join(place, manifestName(1)))
		}, "no backup was finished there"},
		{"a manifest is damaged", func(t *testing.T, place string) { flipByte(t, filepath.Join(place, manifestName(2)), 15) }, "maru/backup-000002.json"},
		{"there is none", func(t *testing.T, place string) {
			if err := os.RemoveAll(place); err != nil {
				t.Fatal(err)
			}
		}, "there is no backup at"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			place := filepath.Join(t.TempDir(), "backup")
			if err := os.CopyFS(place, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			tt.damage(t, place)
			if v, err := verifyArchive(t, "--data", "none", "--archive", place); tt.want != "no backup was finished there" && (err == nil) != (tt.want == "") {
				t.Errorf("verify: %+v, %v", v, err)
			}
			data, err := restoreTo(t, place)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				r := newPastTestIn(t, data, serveOptions{})
				defer r.stop()
				if diff := gocmp.Diff(want, r.balances("bank", "a", "b")); diff != "" {
					t.Errorf("balances (-want +got):\n%s", diff)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || failureOf(err).hint == "" {
				t.Fatalf("got %v, want an error with a hint that says %q", err, tt.want)
			}
			checkUnfinished(t, data)
		})
	}
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runHere(t, "wallet", "restore", "--from", whole, "--data", data); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("into a directory that is not empty: %v", err)
	}
}

// checkUnfinished looks at what a restore left that did not come to its end, if it began: nobody takes it for a
// node, and nothing is written there.
func checkUnfinished(t *testing.T, data string) {
	t.Helper()
	if _, err := os.Stat(data); errors.Is(err, fs.ErrNotExist) {
		return
	}
	names := func() (all []string) {
		err := filepath.WalkDir(data, func(name string, _ fs.DirEntry, err error) error {
			all = append(all, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := names()
	for _, args := range [][]string{
		{"serve", "--data", data, "--http", "127.0.0.1:0", "--stream", "127.0.0.1:0"},
		{"cluster", "init", "--data", data},
		{"wallet", "verify", "--data", data},
		{"wallet", "balance", "a", "--data", data, "--at", "2026-01-01T00:00:00Z"},
	} {
		if _, _, err := runHere(t, args...); err == nil || !strings.Contains(err.Error(), "is an unfinished restore") || failureOf(err).hint == "" {
			t.Errorf("%v: %v", args, err)
		}
	}
	if diff := gocmp.Diff(before, names()); diff != "" {
		t.Errorf("it was written to (-before +after):\n%s", diff)
	}
}

// TestRestoreOfMoments restores moments that a backup does not have.
func TestRestoreOfMoments(t *testing.T) {
	p := newPastTest(t)
	before := time.Now()
	p.live(250)
	place := filepath.Join(t.TempDir(), "backup")
	if _, err := p.backup(place); err != nil {
		t.Fatal(err)
	}
	want := p.balances("bank", "a", "b")
	if _, err := p.backup(p.data); err == nil || !strings.Contains(err.Error(), "is the directory of a node") {
		t.Errorf("a backup into the directory of a node: %v", err)
	}
	if _, err := os.Stat(filepath.Join(p.data, manifestFolder)); err == nil {
		t.Error("the directory of a node has been written to")
	}
	p.stop()
	data, err := restoreTo(t, place, "--until", before.Add(-time.Hour).Format(time.RFC3339Nano))
	if err == nil || !strings.Contains(err.Error(), "nothing had been decided") || failureOf(err).hint == "" {
		t.Errorf("before the first entry: %v", err)
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s was made: %v", data, err)
	}
	out, stderr, err := runHere(t, "wallet", "restore", "--from", place, "--data", data, "--json", "--until", time.Now().Add(time.Hour).Format(time.RFC3339Nano))
	if err != nil || !strings.Contains(stderr, "the backup ends at ") {
		t.Fatalf("after the end: %q, %v", stderr, err)
	}
	var restored struct{ Ends time.Time }
	if err := json.Unmarshal([]byte(out), &restored); err != nil || restored.Ends.Before(before) || restored.Ends.After(time.Now()) {
		t.Errorf("%s: %v", out, err)
	}
	r := newPastTestIn(t, data, serveOptions{})
	defer r.stop()
	if diff := gocmp.Diff(want, r.balances("bank", "a", "b")); diff != "" {
		t.Errorf("balances (-want +got):\n%s", diff)
	}
}

// TestBackupOntoDamage goes on with backups that lack something.
func TestBackupOntoDamage(t *testing.T) {
	p := newPastTest(t)
	defer p.stop()
	p.live(250)
	whole := filepath.Join(t.TempDir(), "backup")
	for range 2 {
		if _, err := p.backup(whole); err != nil {
			t.Fatal(err)
		}
		p.busy(3)
	}
	old := func(t *testing.T, place string) { // its manifests are as version 1 was
		for _, name := range files(t, place, manifestFolder+"/"+manifestPrefix+"*") {
			var m manifest
			b, err := os.ReadFile(name)
			if err == nil {
				err = json.Unmarshal(b, &m)
			}
			m.Version, m.Nodes = 1, nil
			for i := range m.Partitions {
				m.Partitions[i].Segments, m.Partitions[i].Listing = 0, nil
			}
			if err == nil {
				b, err = json.Marshal(&m)
			}
			if err == nil {
				err = os.WriteFile(name, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, place string) string // returns the segment's name; "": it is taken
	}{
		{"none", func(*testing.T, string) string { return "" }},
		{"the first is missing", func(t *testing.T, place string) string {
			name := segments(t, place, 1)[0]
			mustRemove(t, name)
			return name
		}},
		{"the last is missing", func(t *testing.T, place string) string {
			name := segments(t, place, 2)[1]
			mustRemove(t, name)
			return name
		}},
		{"one is cut short", func(t *testing.T, place string) string {
			name := segments(t, place, 2)[0]
			if err := os.Truncate(name, 300); err != nil {
				t.Fatal(err)
			}
			return name
		}},
	} {
		for _, version := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, manifest %d", tt.name, version), func(t *testing.T) {
				place := filepath.Join(t.TempDir(), "backup")
				if err := os.CopyFS(place, os.DirFS(whole)); err != nil {
					t.Fatal(err)
				}
				if version == 1 {
					old(t, place)
				}
				segment := tt.damage(t, place)
				b, err := p.backup(place)
				if segment == "" {
					if err != nil || b.Number != 3 || b.Version != manifestVersion || b.Entries == 0 {
						t.Errorf("%+v, %v", b, err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), filepath.Base(segment)) || !strings.Contains(failureOf(err).hint, place) {
					t.Errorf("got %+v, %v, want an error with a hint that names %s", b, err, segment)
				}
				if _, err := os.Stat(filepath.Join(place, manifestName(3))); err == nil {
					t.Error("there is a manifest of it")
				}
			})
		}
	}
}

// TestBackupAfterRestore lets a restored wallet, which has gone on, back up to where the original does: the original
// goes on with it, the other one does not.
func TestBackupAfterRestore(t *testing.T) {
	p := newPastTest(t)
	p.live(250)
	place := filepath.Join(t.TempDir(), "backup")
	if _, err := p.backup(place); err != nil {
		t.Fatal(err)
	}
	data, err := restoreTo(t, place)
	if err != nil {
		t.Fatal(err)
	}
	r := newPastTestIn(t, data, serveOptions{})
	defer r.stop()
	r.ids = 200
	r.pay("bank", "b", 1, wallet.Applied)
	if b, err := r.backup(place); err == nil || !strings.Contains(err.Error(), "before it was restored") || failureOf(err).hint == "" {
		t.Errorf("the restored wallet: %+v, %v", b, err)
	}
	p.busy(3)
	p.stop()
	p = newPastTestIn(t, p.data, serveOptions{})
	defer p.stop()
	if b, err := p.backup(place); err != nil || b.Number != 2 || b.Entries == 0 {
		t.Errorf("the original: %+v, %v", b, err)
	}
}

// TestRestoreUnderLoad backs a wallet up while money moves between its partitions, and restores it as it
// was at many moments: each time what was under way is done, and no money is lost or doubled.
func TestRestoreUnderLoad(t *testing.T) {
	p := newPastTest(t)
	p.open("bank", wallet.Unlimited)
	p.open("a", wallet.Unlimited)
	p.open("b", wallet.Unlimited)
	began := time.Now()
	place := filepath.Join(t.TempDir(), "backup")
	var working sync.WaitGroup
	var made atomic.Int64
	stop := make(chan struct{})
	for worker := range 4 {
		working.Go(func() {
			for i := byte(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				pair := [][2]wallet.AccountID{{"a", "b"}, {"b", "a"}, {"bank", "a"}, {"bank", "b"}}[worker]
				by := []wallet.Protocol{wallet.TCC, wallet.Saga, wallet.TwoPhase}[i%3]
				_, err := p.node.wallet.Load().TransferBy(t.Context(), wallet.DefaultTenant, by,
					wallet.Transfer{ID: wallet.TransactionID{byte(worker) + 1, i, byte(time.Now().UnixNano()), 1}, From: pair[0], To: pair[1], Amount: 1, Currency: p.eur})
				if err != nil && !errors.Is(err, wallet.ErrTransactionID) {
					t.Error(err)
					return
				}
				made.Add(1)
			}
		})
	}
	for range 3 {
		before := made.Load()
		p.until("the load has gone on", func() bool { return made.Load() >= before+40 })
		if _, err := p.backup(place); err != nil {
			t.Error(err)
		}
	}
	ended := time.Now()
	close(stop)
	working.Wait()
	p.stop()
	for i := range 4 {
		args := []string{"--until", began.Add(time.Duration(i+1) * ended.Sub(began) / 5).Format(time.RFC3339Nano)}
		if i == 3 {
			args = nil
		}
		data, err := restoreTo(t, place, args...)
		if err != nil {
			t.Fatal(err)
		}
		n, err := openNode(t.Context(), &serveOptions{data: data, reserve: -1, snapshot: -1, maxQueue: 1 << 20}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r := &pastTest{t: t, data: data, node: n, eur: p.eur}
		sum := func() (sum money.Amount) {
			for _, v := range r.balances("bank", "a", "b") {
				sum += v
			}
			return sum
		}
		r.until("all is done, and balances add up to zero", func() bool { return sum() == 0 })
		r.stop()
		if v, err := runVerify(t, data); err != nil || v.Wrong > 0 {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

const goldenManifest = `{
  "version": 1,
  "number": 3,
  "cluster_id": "000102030405060708090a0b0c0d0e0f",
  "protocol": "tcc",
  "made": "2026-11-30T12:00:00Z",
  "partitions": [
    {"partition": 0, "index": 4711, "time": "2026-11-30T11:59:59.5Z", "link": "GVUYPqLmOfRfwWc4bZPXGEdRU2S9ng8cuWHJtaybTZU="},
    {"partition": 1, "index": 2, "time": "2026-11-30T11:00:00Z", "link": "i4+J1s+hiVigLSJR2+eOjRbz1t85QGuh7j5JD3+gvqM="}
  ]
}
`

func FuzzManifest(f *testing.F) {
	f.Add([]byte(goldenManifest))
	f.Add([]byte(`{"version":2,"number":3,"cluster_id":"000102030405060708090a0b0c0d0e0f","nodes":["000102030405060708090a0b0c0d0e01"],"partitions":[{"partition":0,"index":1,"segments":1,"listing":"GVUYPqLmOfRfwWc4bZPXGEdRU2S9ng8cuWHJtaybTZU="}]}`))
	f.Add([]byte(`{"version":1,"number":3,"cluster_id":"000102030405060708090a0b0c0d0e0f","partitions":[{"partition":1,"index":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(manifestName(3), b)
		if string(b) == goldenManifest && (err != nil || m.position(0).Index != 4711 || m.position(1).Partition != 1 || m.Cluster != "000102030405060708090a0b0c0d0e0f") {
			t.Fatalf("%+v, %v", m, err)
		}
		if err == nil {
			for i := range m.Partitions {
				m.position(uint16(i))
				m.Partitions[i].listing()
			}
		}
	})
}
