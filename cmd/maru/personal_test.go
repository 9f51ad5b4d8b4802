package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"maru.example/internal/sqldb/sqltest"
	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// scriptFiles looks at the rights of files of the data directory.
func scriptFiles(ts *testscript.TestScript, _ bool, args []string) {
	mode, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, name := range args[1:] {
		info, err := os.Stat(filepath.Join(ts.Getenv("MARU_DATA"), name))
		ts.Check(err)
		if info.Mode().Perm() != fs.FileMode(mode) {
			ts.Fatalf("%s has the rights %v, want %v", name, info.Mode().Perm(), fs.FileMode(mode))
		}
	}
}

// scriptAbsent looks for a text in all files of the data directory.
func scriptAbsent(ts *testscript.TestScript, _ bool, args []string) {
	found, files, err := filesWith(ts.Getenv("MARU_DATA"), []byte(args[0]))
	ts.Check(err)
	if len(found) > 0 || files < 5 {
		ts.Fatalf("of %d files these have %q: %q", files, args[0], found)
	}
}

// filesWith returns which files of a directory, of how many, have some bytes.
func filesWith(dir string, text []byte) (found []string, files int, err error) {
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(name)
		if bytes.Contains(b, text) {
			found = append(found, name)
		}
		return err
	})
	return found, files, err
}

// setName writes a name, and returns what the server says of it.
func setName(ctx context.Context, c *wallethttp.Client, id wallet.AccountID, name string) error {
	_, code, err := c.PatchProfile(ctx, id, wallet.PersonalChange{Text: &name})
	if err == nil && code != wallet.Applied {
		err = fmt.Errorf("%v", code)
	}
	return err
}

// problemOf returns the code of a problem, "" without one.
func problemOf(err error) string {
	p, ok := errors.AsType[*wallethttp.Problem](err)
	if !ok {
		return ""
	}
	return p.Code
}

// TestPersonalCluster has two nodes that share a PostgreSQL database, which goes away.
func TestPersonalCluster(t *testing.T) {
	server := sqltest.StartPostgres(t)
	key := filepath.Join(t.TempDir(), "master.key")
	c := newTestCluster(t, 2, 1, "--store", server.Database(t), "--personal-key", key)
	one, two := c.nodes[0].clients.Load().http, c.nodes[1].clients.Load().http
	ctx := t.Context()
	for _, a := range []wallet.NewAccount{{ID: "mint", Currency: money.MustParseCurrency("USD"), Min: wallet.Unlimited}, {ID: "alice", Currency: money.MustParseCurrency("USD")}} {
		if _, code, err := one.OpenAccount(ctx, a); err != nil || code != wallet.Applied {
			t.Fatal(code, err)
		}
	}
	const name = "Alice Liddell-Hargreaves"
	if err := setName(ctx, one, "alice", name); err != nil {
		t.Fatal(err)
	}
	if d, err := two.Profile(ctx, "alice"); err != nil || d.Text != name {
		t.Errorf("the other node has %q, %v", d.Text, err)
	}

	server.Stop(t)
	for _, client := range []*wallethttp.Client{one, two} {
		if _, err := client.Profile(ctx, "alice"); problemOf(err) != "store_unavailable" {
			t.Errorf("without the database a read returned %v", err)
		}
	}
	if err := setName(ctx, one, "alice", "Bob"); problemOf(err) != "store_unavailable" {
		t.Errorf("without the database a write returned %v", err)
	}
	transfer := wallet.Transfer{ID: wallet.TransactionID{1}, From: "mint", To: "alice", Amount: 100, Currency: money.MustParseCurrency("USD")}
	if r, err := one.Transfer(ctx, transfer); err != nil || r.Code() != wallet.Applied {
		t.Errorf("without the database a transfer returned %v, %v", r, err)
	}
	c.kill(1)
	c.start(1) // it starts without
	two = c.nodes[1].clients.Load().http
	server.Start(t)
	c.wait("both nodes find the database again", func(ctx context.Context) error {
		for _, client := range []*wallethttp.Client{one, two} {
			if d, err := client.Profile(ctx, "alice"); err != nil || d.Text != name {
				return fmt.Errorf("got %q: %w", d.Text, err)
			}
		}
		return nil
	})
	c.wait("an erasure", func(ctx context.Context) error {
		_, _, err := two.ErasePersonal(ctx, "alice")
		return err
	})
	if _, err := one.Profile(ctx, "alice"); problemOf(err) != "erased" {
		t.Errorf("erased on the other node, a read returned %v", err)
	}
	for i := range c.nodes {
		c.kill(i)
		if log := c.nodes[i].process.log(); strings.Contains(log, name) || strings.Contains(log, "Bob") {
			t.Errorf("the log of node %d has the name:\n%s", i+1, log)
		}
	}
}

// TestPersonalCrash kills a server while names are written and erased. Nothing that was answered is lost,
// and no name is there without its key.
func TestPersonalCrash(t *testing.T) {
	const rounds, accounts = 3, 4
	p := &personalCrash{t: t, data: t.TempDir(), written: map[wallet.AccountID]int{}, erased: map[wallet.AccountID]bool{}}
	p.start()
	defer func() { p.server.kill() }()
	for round := range rounds {
		var all []wallet.AccountID
		for i := range accounts {
			id := wallet.AccountID(fmt.Sprintf("a%d-%d", round, i))
			if _, code, err := p.client.OpenAccount(t.Context(), wallet.NewAccount{ID: id, Currency: money.MustParseCurrency("USD")}); err != nil || code != wallet.Applied {
				t.Fatal(code, err)
			}
			all = append(all, id)
		}
		p.wrote = make(chan struct{}, 1<<16)
		var workers sync.WaitGroup
		for i, id := range all {
			workers.Go(func() { p.work(id, i == 0) })
		}
		for range 12 {
			select {
			case <-p.wrote:
			case <-time.After(time.Minute):
				t.Fatal("nothing is written")
			}
		}
		p.server.kill()
		workers.Wait()
		p.start()
		p.check()
	}
}

// personalCrash is what TestPersonalCrash knows.
type personalCrash struct {
	t      *testing.T
	data   string
	server *process
	client *wallethttp.Client
	wrote  chan struct{} // of this round: one for each write that was answered

	mu      sync.Mutex
	written map[wallet.AccountID]int // the last that was answered; one more may be there
	erased  map[wallet.AccountID]bool
}

func (p *personalCrash) start() {
	p.t.Helper()
	var err error
	if p.server, err = startServer(p.t.TempDir(), "--data", p.data, "--reserve-bytes", "none", "--log-level", "warn"); err != nil {
		p.t.Fatal(err)
	}
	if p.client, err = wallethttp.NewClient("http://"+p.server.listens.HTTP, nil); err != nil {
		p.t.Fatal(err)
	}
}

// work writes names of an account until the server is gone; one is erased instead now and then.
func (p *personalCrash) work(id wallet.AccountID, erases bool) {
	for n := 1; ; n++ {
		if erases && n == 4 {
			_, _, err := p.client.ErasePersonal(context.Background(), id)
			p.mu.Lock()
			p.erased[id] = err == nil
			p.mu.Unlock()
			p.wrote <- struct{}{}
			return
		}
		if setName(context.Background(), p.client, id, fmt.Sprintf("name %d", n)) != nil {
			return
		}
		p.mu.Lock()
		p.written[id] = n
		p.mu.Unlock()
		p.wrote <- struct{}{}
	}
}

// check reads all names.
func (p *personalCrash) check() {
	p.t.Helper()
	for id, n := range p.written {
		d, err := p.client.Profile(p.t.Context(), id)
		erasing, tried := p.erased[id]
		switch {
		case problemOf(err) == "erased" && tried:
		case err != nil || erasing:
			p.t.Errorf("%s, written %d times, erased %v: %v", id, n, erasing, err)
		case d.Text != fmt.Sprintf("name %d", n) && d.Text != fmt.Sprintf("name %d", n+1):
			p.t.Errorf("%s is %q, and was written %d times", id, d.Text, n)
		}
	}
}

// TestMasterKeyOnce makes the file of a master key in several processes at once, as nodes do that share a disk: all
// have one key.
func TestMasterKeyOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), masterKeyName)
	const processes = 8
	keys, made := make([]wallet.MasterKey, processes), make([]bool, processes)
	var group sync.WaitGroup
	for i := range processes {
		group.Go(func() {
			var err error
			if keys[i], made[i], err = makeMasterKey(file); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	kept, err := readMasterKey(file)
	if err != nil {
		t.Fatal(err)
	}
	makers := 0
	for i := range processes {
		if keys[i] != kept {
			t.Errorf("process %d has another key than the file", i)
		}
		if made[i] {
			makers++
		}
	}
	files, err := os.ReadDir(filepath.Dir(file))
	if makers != 1 || len(files) != 1 || err != nil {
		t.Errorf("%d made it, and %d files are there: %v", makers, len(files), err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has %v, %v", info, err)
	}
}
