package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// pastTest makes the directory of a node that has done something and does not run.
type pastTest struct {
	t    *testing.T
	data string
	node *node
	eur  money.Currency
	ids  uint16
	runs byte // that made ids before
}

func newPastTest(t *testing.T) *pastTest {
	t.Helper()
	return newPastTestIn(t, t.TempDir(), serveOptions{})
}

// newPastTestIn has an archive or a history too, as the options say.
func newPastTestIn(t *testing.T, data string, o serveOptions) *pastTest {
	t.Helper()
	p := &pastTest{t: t, data: data, eur: money.MustParseCurrency("EUR")}
	o.data, o.partitions, o.reserve, o.snapshot, o.maxQueue, o.recentIDs = data, 2, -1, cmp.Or(o.snapshot, -1), 1<<20, 2
	var err error
	p.node, err = openNode(t.Context(), &o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pastTest) open(id wallet.AccountID, smallest money.Amount) {
	p.t.Helper()
	o, err := p.node.wallet.Load().OpenAccount(p.t.Context(), wallet.DefaultTenant, wallet.NewAccount{ID: id, Currency: p.eur, Min: smallest})
	if err != nil || o.Code != wallet.Applied {
		p.t.Fatalf("open %s: %+v, %v", id, o, err)
	}
}

// pay makes a transfer, and returns a moment after it.
func (p *pastTest) pay(from, to wallet.AccountID, amount money.Amount, want wallet.Code) time.Time {
	p.t.Helper()
	p.ids++
	r, err := p.node.wallet.Load().Transfer(p.t.Context(), wallet.DefaultTenant,
		wallet.Transfer{ID: wallet.TransactionID{byte(p.ids), p.runs, byte(p.ids >> 8)}, From: from, To: to, Amount: amount, Currency: p.eur})
	if err != nil || r.Code() != want {
		p.t.Fatalf("%s pays %s %d: %v, %v", from, to, amount, r.Code(), err)
	}
	return time.Now()
}

// snapshot makes one of each partition.
func (p *pastTest) snapshot() {
	p.t.Helper()
	for id := range rsmraft.GroupID(2) {
		if err := p.node.host.Load().Group(id + 1).Snapshot(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
	}
}

// age makes snapshots that count on files of old transaction ids.
func (p *pastTest) age() {
	p.t.Helper()
	for {
		p.pay("bank", "a", 1, wallet.Applied)
		m, err := p.node.wallet.Load().Metrics(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		if m.Old.IDs > 0 {
			break
		}
	}
	p.snapshot()
}

func (p *pastTest) stop() {
	p.t.Helper()
	if err := p.node.close(0); err != nil {
		p.t.Fatal(err)
	}
}

// live does some of everything; the accounts a and b are in two partitions.
func (p *pastTest) live(amount money.Amount) {
	p.t.Helper()
	p.open("bank", wallet.Unlimited)
	p.open("a", 0)
	p.open("b", 0)
	if wallet.PartitionOf(wallet.DefaultTenant, "a", 2) == wallet.PartitionOf(wallet.DefaultTenant, "b", 2) {
		p.t.Fatal("a and b are in one partition")
	}
	p.pay("bank", "a", 1000, wallet.Applied)
	p.pay("bank", "b", 1000, wallet.Applied)
	p.pay("a", "b", amount, wallet.Applied)
	p.pay("a", "bank", 100_000, wallet.InsufficientFunds)
	p.snapshot()
	p.pay("b", "a", 7, wallet.Applied)
	p.open("late", 0)
	if code, err := p.node.wallet.Load().SetStatus(p.t.Context(), wallet.DefaultTenant, "late", wallet.Frozen); err != nil || code != wallet.Applied {
		p.t.Fatal(code, err)
	}
}

// verdicts is what maru wallet verify --json prints.
type verdicts struct {
	Partitions []verdict `json:"partitions"`
	Wrong      int       `json:"wrong"`
}

func runVerify(t *testing.T, data string) (v verdicts, err error) {
	t.Helper()
	out, _, err := runHere(t, "wallet", "verify", "--data", data, "--json")
	if out != "" {
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	return v, err
}

func TestVerify(t *testing.T) {
	p := newPastTest(t)
	p.live(250)
	if _, err := runVerify(t, p.data); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("while the node runs: %v", err)
	}
	p.stop()
	for range 2 { // it changes nothing
		v, err := runVerify(t, p.data)
		if err != nil || len(v.Partitions) != 2 || v.Wrong != 0 {
			t.Fatalf("%+v, %v", v, err)
		}
		var transfers, accounts uint64
		for _, one := range v.Partitions {
			transfers, accounts = transfers+one.Transfers, accounts+one.Accounts
			if len(one.Snapshots) != 1 || one.Undecided != 0 || one.FromSnapshot != 0 || one.From == nil || one.Until.Before(*one.From) {
				t.Errorf("%+v", one)
			}
		}
		if transfers != 5 || accounts != 4 {
			t.Errorf("%d transfers and %d accounts, want 5 and 4", transfers, accounts)
		}
	}
	n, err := openNode(t.Context(), &serveOptions{data: p.data, reserve: -1, snapshot: -1, maxQueue: 1 << 20}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("it does not start any more: %v", err)
	}
	if err := n.close(0); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyFindsAnotherPast puts the snapshot of a wallet in which a transfer was
// of another amount in the place of one.
func TestVerifyFindsAnotherPast(t *testing.T) {
	p, other := newPastTest(t), newPastTest(t)
	p.live(250)
	other.live(251)
	p.stop()
	other.stop()
	for group := 1; group <= 2; group++ {
		dir := filepath.Join("log", "groups", fmt.Sprintf("%08d", group))
		names, err := filepath.Glob(filepath.Join(other.data, dir, "*.*")) // the snapshot, and the transaction ids that it counts on
		if err != nil || len(names) == 0 {
			t.Fatalf("%v, %v", names, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err == nil {
				err = os.WriteFile(filepath.Join(p.data, dir, filepath.Base(name)), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	v, err := runVerify(t, p.data)
	if f, ok := errors.AsType[*failure](err); !ok || f.status != exitFailed || v.Wrong == 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	all := fmt.Sprint(v.Partitions)
	for _, want := range []string{
		"is not what the log gives",
		"account a of tenant default: by the log open, 7.50 EUR (at least 0.00), in the snapshot open, 7.49 EUR (at least 0.00)",
		"account b of tenant default: by the log open, 12.50 EUR (at least 0.00), in the snapshot open, 12.51 EUR (at least 0.00)",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("it does not say %q: %s", want, all)
		}
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, data string)
		want   string
	}{
		{"a bit of the log", func(t *testing.T, data string) { flipByte(t, firstFile(t, data, "log/log/*.wal"), 2000) }, ".wal"},
		{"a segment", func(t *testing.T, data string) { mustRemove(t, firstFile(t, data, "log/log/*.wal")) }, "log"},
		{"a bit of a snapshot", func(t *testing.T, data string) { flipByte(t, firstFile(t, data, "log/groups/00000001/*.snap"), 100) }, "snapshot"},
		{"a bit of old transaction ids", func(t *testing.T, data string) {
			for _, name := range files(t, data, "log/groups/*/*.kept") {
				flipByte(t, name, 8192+10)
			}
		}, ".kept"},
		{"a file of old transaction ids", func(t *testing.T, data string) {
			for _, name := range files(t, data, "log/groups/*/*.kept") {
				mustRemove(t, name)
			}
		}, ".kept"},
		{"node.json", func(t *testing.T, data string) { mustRemove(t, filepath.Join(data, identityName)) }, identityName},
		{"everything", func(t *testing.T, data string) {
			if err := os.RemoveAll(data); err != nil {
				t.Fatal(err)
			}
		}, "not the directory of a server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPastTest(t)
			p.live(250)
			p.age()
			p.stop()
			tt.damage(t, p.data)
			v, err := runVerify(t, p.data)
			if err == nil || !strings.Contains(err.Error()+fmt.Sprint(v), tt.want) || failureOf(err).hint == "" {
				t.Errorf("got %v and %+v, want an error with a hint that names %q", err, v, tt.want)
			}
		})
	}
}

// files returns the files of a pattern, of which there is at least one.
func files(t *testing.T, data, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(data, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	return names
}

func firstFile(t *testing.T, data, pattern string) string {
	t.Helper()
	return files(t, data, pattern)[0]
}

func flipByte(t *testing.T, name string, at int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustRemove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestBalanceAtAMoment(t *testing.T) {
	p := newPastTest(t)
	before := time.Now()
	p.open("bank", wallet.Unlimited)
	p.open("a", 0)
	opened := time.Now()
	first := p.pay("bank", "a", 1000, wallet.Applied)
	p.snapshot()
	second := p.pay("a", "bank", 1, wallet.Applied)
	p.stop()
	for _, tt := range []struct {
		at   time.Time
		want string
	}{{opened, "0.00"}, {first, "10.00"}, {second, "9.99"}, {second.Add(time.Hour), "9.99"}} {
		at := tt.at.Format(time.RFC3339Nano)
		out, _, err := runHere(t, "wallet", "balance", "a", "--at", at, "--data", p.data, "--json")
		var v pastView
		if err == nil {
			err = json.Unmarshal([]byte(out), &v)
		}
		if err != nil || len(v.Balances) != 1 || v.Entry == 0 || !v.At.Equal(tt.at) {
			t.Fatalf("at %s: %s, %v", at, out, err)
		}
		if diff := gocmp.Diff(balanceView{Currency: "EUR", Balance: tt.want, Held: "0.00", Available: tt.want, MinBalance: "0.00"}, v.Balances[0]); diff != "" {
			t.Errorf("at %s (-want +got):\n%s", at, diff)
		}
	}
	out, _, err := runHere(t, "wallet", "balance", "a", "--at", first.Format(time.RFC3339Nano), "--data", p.data)
	if want := "CURRENCY  BALANCE  HELD  AVAILABLE  MIN BALANCE\nEUR         10.00  0.00      10.00         0.00\n"; out != want || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"a", "--at", before.Format(time.RFC3339Nano), "--data", p.data}, exitRefused, "a was not open at"},
		{[]string{"a", "--at", first.Format(time.RFC3339Nano), "--data", p.data, "--tenant", "shop"}, exitRefused, "a was not open at"},
		{[]string{"a", "--at", "yesterday", "--data", p.data}, exitUsage, "RFC 3339"},
		{[]string{"a b", "--at", first.Format(time.RFC3339Nano), "--data", p.data}, exitUsage, "an account id has"},
		{[]string{"a", "--data", p.data}, exitUsage, "--data without --at"},
		{[]string{"a", "--at", first.Format(time.RFC3339Nano), "--data", t.TempDir()}, exitFailed, "not the directory of a server"},
	} {
		_, _, err := runHere(t, append([]string{"wallet", "balance"}, tt.args...)...)
		if err == nil || failureOf(err).status != tt.status || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want the status %d and %q", tt.args, err, tt.status, tt.want)
		}
	}
}

// TestVerifyIsInterrupted ends a verification by its context.
func TestVerifyIsInterrupted(t *testing.T) {
	p := newPastTest(t)
	p.live(250)
	p.stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root := newRootCommand()
	root.SetOut(t.Output())
	root.SetErr(t.Output())
	root.SetArgs([]string{"wallet", "verify", "--data", p.data})
	if err := root.ExecuteContext(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// TestPastOfMembers looks at what three nodes had when all of them were killed: each is
// as it should be, and gives the balance, or says that it may lack something. Where
// they were stopped, one after the other, those that had a majority to the end lack nothing.
func TestPastOfMembers(t *testing.T) {
	t.Run("killed", func(t *testing.T) { pastOfMembers(t, false) })
	t.Run("stopped", func(t *testing.T) { pastOfMembers(t, true) })
}

func pastOfMembers(t *testing.T, stop bool) {
	f := newFollowed(t)
	for range 3 {
		if r, err := f.nodes[0].clients.Load().http.Transfer(t.Context(), f.transfer()); err != nil || r.Code() != wallet.Applied {
			t.Fatal(r, err)
		}
	}
	for i := 0; stop && i < len(f.nodes); i++ {
		f.wait("the node has applied all", func(ctx context.Context) error {
			a, _, _, err := f.nodes[i].clients.Load().http.AccountStale(ctx, "b")
			if err == nil && a.Balances[0].Amount != 3 {
				err = fmt.Errorf("b is %+v", a)
			}
			return err
		})
	}
	f.wait("nobody lacks anything of the past", f.missing)
	for i := range f.nodes {
		if stop {
			f.signal(i, syscall.SIGTERM)
			if err := f.nodes[i].process.wait(); err != nil {
				t.Errorf("node %d: %v", i+1, err)
			}
			continue
		}
		f.kill(i)
	}
	for i, n := range f.nodes {
		if v, err := runVerify(t, n.data); err != nil || v.Wrong != 0 || len(v.Partitions) != 1 || v.Partitions[0].FromSnapshot > 0 {
			t.Errorf("node %d: %+v, %v", i+1, v, err)
		}
		out, said, err := runHere(t, "wallet", "balance", "b", "--at", time.Now().Format(time.RFC3339Nano), "--data", n.data, "--json")
		var v pastView
		if err == nil {
			err = json.Unmarshal([]byte(out), &v)
		}
		if err != nil || len(v.Balances) != 1 || v.Balances[0].Balance != "0.03" && (stop || v.Undecided == 0 || len(v.Warnings) == 0 || !strings.Contains(said, "not known to be committed")) {
			t.Errorf("node %d: %s, %q, %v", i+1, out, said, err)
		}
		if stop {
			exportOfMember(t, n.data)
		}
	}
}

// exportOfMember exports what a node has, also if its log begins with a snapshot.
func exportOfMember(t *testing.T, data string) {
	t.Helper()
	out, said, err := runHere(t, "wallet", "export", "--data", data, "--format", "csv", "--account", "b")
	rows, err2 := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err, said)
	}
	sums := bookSums{}
	for _, row := range rows[1:] {
		sums.add(t, row[10], row[12], row[11])
	}
	if sums["b | EUR"] != "0.03" {
		t.Errorf("the export of %s has the balances %v", data, sums)
	}
}

// TestVerifyComparesTheBeginning has a snapshot from before the first entry, as a member
// that joins at once may want one.
func TestVerifyComparesTheBeginning(t *testing.T) {
	p := newPastTest(t)
	p.live(250)
	p.stop()
	rt := rsmraft.NewRuntime()
	defer rt.Close()
	loop, m := rt.NewLoop("apply"), wallet.NewMachine(&wallet.MachineOptions{Partitions: 2})
	r, err := rsm.OpenReplica(t.TempDir(), m, rt, loop, rt.NewLoop("disk"), nil)
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan error, 1)
	loop.Post(func() {
		r.Begin(rsm.State{Index: 1, Term: 1})
		r.Snapshot(func(err error) { made <- err })
	})
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	file, err := r.OpenSnapshot(1)
	if err != nil {
		t.Fatal(err)
	}
	size, err := file.Size()
	b := make([]byte, size)
	if err == nil {
		_, err = file.ReadAt(b, 0)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.data, "log", "groups", "00000001", fmt.Sprintf("%020d.snap", 1)), b, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := runVerify(t, p.data)
	if err != nil || v.Wrong != 0 || len(v.Partitions) != 2 || len(v.Partitions[0].Snapshots) != 2 || v.Partitions[0].Snapshots[0] != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}
