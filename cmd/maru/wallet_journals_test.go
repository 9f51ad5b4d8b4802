package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"maru.example/internal/booktest"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
	"maru.example/wallet/walletjournal"
)

// bookSums are balances that are not zero, by account and commodity of a journal.
type bookSums map[string]string

func (s bookSums) add(t *testing.T, account, commodity, number string) {
	t.Helper()
	key := account + " | " + commodity
	n, err := walletjournal.ParseDecimal(number)
	before, err2 := walletjournal.ParseDecimal(cmp.Or(s[key], "0"))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if n = n.Add(before); n.Sign() == 0 {
		delete(s, key)
	} else {
		s[key] = n.Trim().String()
	}
}

// without returns the sums but those of some accounts.
func (s bookSums) without(accounts ...string) bookSums {
	left := bookSums{}
	for key, n := range s {
		if account, _, _ := strings.Cut(key, " | "); !slices.Contains(accounts, account) {
			left[key] = n
		}
	}
	return left
}

// exported returns the sums under the names that an export has: those too long for an id are cut.
func (s bookSums) exported(t *testing.T) bookSums {
	t.Helper()
	all := bookSums{}
	for key, n := range s {
		name, commodity, _ := strings.Cut(key, " | ")
		id, _, err := walletjournal.AccountID(name)
		if err != nil {
			t.Fatal(err)
		}
		all.add(t, walletjournal.AccountName(id), commodity, n)
	}
	return all
}

// journals returns the sums under the names that the journal had: USD with five places is the asset USD@.5.
func (s bookSums) journals(t *testing.T) bookSums {
	t.Helper()
	all := bookSums{}
	for key, n := range s {
		name, commodity, _ := strings.Cut(key, " | ")
		commodity, _, _ = strings.Cut(commodity, "@.")
		all.add(t, name, commodity, n)
	}
	return all
}

// byLedger returns what ledger computes.
func byLedger(t *testing.T, file string) bookSums {
	t.Helper()
	out := booktest.MustRun(t, "ledger", "--init-file", os.DevNull, "-f", file, "register", "--format", `%(account)\t%(commodity(amount))\t%(quantity(amount))\n`)
	s := bookSums{}
	for line := range strings.Lines(string(out)) {
		parts := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(parts) != 3 {
			t.Fatalf("ledger printed %q", line)
		}
		s.add(t, strings.Trim(parts[0], "()[]"), strings.Trim(parts[1], `"`), parts[2])
	}
	return s
}

// byHLedger returns what hledger computes.
func byHLedger(t *testing.T, file string) bookSums {
	t.Helper()
	out := booktest.MustRun(t, "hledger", "-f", file, "balance", "--flat", "--no-total", "--output-format", "json")
	report := []any{&[][]json.RawMessage{}, new(json.RawMessage)} // the accounts, and no total
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("hledger printed %s: %v", out, err)
	}
	s := bookSums{}
	for _, row := range *report[0].(*[][]json.RawMessage) {
		var account string
		var amounts []struct {
			Commodity string `json:"acommodity"`
			Quantity  struct {
				Mantissa int64 `json:"decimalMantissa"`
				Places   int   `json:"decimalPlaces"`
			} `json:"aquantity"`
		}
		if err := errors.Join(json.Unmarshal(row[0], &account), json.Unmarshal(row[3], &amounts)); err != nil {
			t.Fatalf("hledger printed %s: %v", out, err)
		}
		for _, a := range amounts {
			s.add(t, account, a.Commodity, walletjournal.NewDecimal(a.Quantity.Mantissa, a.Quantity.Places).String())
		}
	}
	return s
}

// journalTest is a server of four partitions that imports, and then stops and is exported.
type journalTest struct {
	t       *testing.T
	dir     string
	data    string
	process *process
	addr    string
}

func newJournalTest(t *testing.T, args ...string) *journalTest {
	t.Helper()
	dir := t.TempDir()
	p := &journalTest{t: t, dir: dir, data: filepath.Join(dir, "data")}
	var err error
	if p.process, err = startServer(dir, append([]string{"--data", p.data, "--partitions", "4"}, args...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.process.kill)
	p.addr = "http://" + p.process.listens.HTTP
	return p
}

// stop ends the server.
func (p *journalTest) stop() {
	p.t.Helper()
	if err := errors.Join(p.process.cmd.Process.Signal(syscall.SIGTERM), p.process.wait()); err != nil {
		p.t.Fatal(err)
	}
}

// must runs a command of the wallet for a tenant, with what is to be there.
func (p *journalTest) must(tenant string, args ...string) string {
	p.t.Helper()
	out, errOut, err := runHere(p.t, append(append([]string{"wallet"}, args...), "--tenant", tenant, "--addr", p.addr)...)
	if err != nil {
		p.t.Fatalf("%v: %v\n%s", args, err, errOut)
	}
	return out
}

// importFile imports a journal.
func (p *journalTest) importFile(tenant string, args ...string) (sum imported, stderr string, err error) {
	p.t.Helper()
	out, stderr, err := runHere(p.t, append([]string{"wallet", "import", "--json", "--tenant", tenant, "--addr", p.addr}, args...)...)
	if out != "" {
		if err := json.Unmarshal([]byte(out), &sum); err != nil {
			p.t.Fatalf("%s: %v", out, err)
		}
	}
	return sum, stderr, err
}

// balances returns those of a tenant's accounts, with the names of a journal.
func (p *journalTest) balances(tenant string, names []string) bookSums {
	p.t.Helper()
	client, err := wallethttp.NewClient(p.addr, &wallethttp.ClientOptions{Tenant: wallet.Tenant(tenant)})
	if err != nil {
		p.t.Fatal(err)
	}
	defer client.Close()
	own, err := client.Assets(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	assets, _, err := walletjournal.NewAssets(nil, own)
	if err != nil {
		p.t.Fatal(err)
	}
	s := bookSums{}
	for _, name := range names {
		id, _, err := walletjournal.AccountID(name)
		if err != nil {
			p.t.Fatal(err)
		}
		a, code, err := client.Account(p.t.Context(), id)
		if err != nil || code != wallet.Applied && code != wallet.UnknownAccount {
			p.t.Fatal(name, code, err)
		}
		for _, b := range a.Balances {
			s.add(p.t, name, assets.Commodity(b.Currency), b.Amount.Format(b.Currency))
		}
	}
	return s
}

// export exports into a new file, and returns its name.
func (p *journalTest) export(tenant string, args ...string) (file string, sum exported) {
	p.t.Helper()
	file = filepath.Join(p.t.TempDir(), "export")
	out, errOut, err := runHere(p.t, append([]string{"wallet", "export", "--json", "--data", p.data, "--tenant", tenant, "-o", file}, args...)...)
	if err != nil {
		p.t.Fatalf("export %v: %v\n%s", args, err, errOut)
	}
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		p.t.Fatalf("%s: %v", out, err)
	}
	return file, sum
}

// exportServed exports from the server that runs.
func (p *journalTest) exportServed(tenant string) string {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "export")
	out, errOut, err := runHere(p.t, "wallet", "export", "--json", "--addr", p.addr, "--tenant", tenant, "-o", file)
	var sum exported
	if err != nil || json.Unmarshal([]byte(out), &sum) != nil {
		p.t.Fatalf("export of a server that runs: %v: %s\n%s", err, out, errOut)
	}
	if at, err := wallet.ParseHistoryPositions(sum.Position); err != nil || len(at) != 4 || at[3].Index < 2 || sum.Transactions == 0 {
		p.t.Errorf("%s: %+v, %v", tenant, sum, err)
	}
	if tenant == "bean" {
		return contentOf(p.t, file)
	}
	for _, nothing := range [][]string{{"--tenant", "nobody"}, {"--account", "nobody"}, {"--until", "1971-01-01"}} {
		none := filepath.Join(p.t.TempDir(), "none")
		args := append([]string{"wallet", "export", "--addr", p.addr, "--tenant", tenant, "--account", "Equity:@conversion", "-o", none}, nothing...)
		if _, _, err := runHere(p.t, args...); err == nil || failureOf(err).status != exitRefused || !strings.HasPrefix(err.Error(), "there is no tenant ") && !strings.Contains(err.Error(), " has no account ") {
			p.t.Errorf("%v: %v", nothing, err)
		}
		if _, err := os.Stat(none); err == nil {
			p.t.Errorf("%v: there is a file", nothing)
		}
	}
	return contentOf(p.t, file)
}

// checkExport compares what both tools compute of a journal with the wallet. What is on its way is nowhere else.
func (p *journalTest) checkExport(what, file string, want bookSums) {
	p.t.Helper()
	for name, balances := range map[string]func(*testing.T, string) bookSums{"hledger": byHLedger, "ledger": byLedger} {
		if diff := gocmp.Diff(want, balances(p.t, file)); diff != "" {
			p.t.Errorf("%s (-the wallet's balances +%s's):\n%s", what, name, diff)
		}
	}
}

// contentOf returns a file's bytes.
func contentOf(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// accountsOf returns the accounts of a journal, and those that conversion adds.
func accountsOf(t *testing.T, file string) []string {
	t.Helper()
	s, err := walletjournal.Read(journalFiles{}, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(s.Balances.Accounts(), walletjournal.ConversionAccount, walletjournal.VirtualAccount)
}

// TestJournals imports the sample of ledger, and three years that beancount makes and converts,
// into one server, and lets hledger and ledger judge what it has then, and what it exports.
func TestJournals(t *testing.T) {
	const sample = "/usr/share/doc/ledger/examples/sample.dat"
	if _, err := os.Stat(sample); err != nil {
		t.Skip("ledger's sample is not there: apt-get install ledger")
	}
	bean := filepath.Join(t.TempDir(), "example.beancount")
	booktest.MustRun(t, "bean-example", "--seed", "1", "--date-birth", "1985-01-01", "--date-begin", "2021-01-01", "--date-end", "2024-01-01", "--output", bean)
	booktest.MustRun(t, "bean-report", "--output", bean+".ledger", bean, "ledger")
	journals := map[string]string{"sample": sample, "bean": bean + ".ledger"}

	p := newJournalTest(t, "--history=false")
	ours := map[string]bookSums{}
	p.interrupted("bean", journals["bean"])
	for tenant, file := range journals {
		if tenant != "bean" {
			p.makeTenant(tenant)
			if sum, _, err := p.importFile(tenant, file); err != nil || !sum.Complete || sum.Applied != sum.Transactions || sum.Applied == 0 {
				t.Fatalf("import: %+v, %v", sum, err)
			}
		}
		ours[tenant] = p.balances(tenant, accountsOf(t, file))
		added := []string{walletjournal.ConversionAccount, walletjournal.VirtualAccount}
		if diff := gocmp.Diff(byLedger(t, file), ours[tenant].without(added...).journals(t)); diff != "" {
			t.Errorf("%s (-ledger's balances of the journal +the wallet's):\n%s", tenant, diff)
		}
		if tenant == "bean" {
			continue // it was imported again
		}
		again, _, err := p.importFile(tenant, file)
		if err != nil || again.Applied != 0 || again.AlreadyApplied != again.Transactions || !gocmp.Equal(ours[tenant], p.balances(tenant, accountsOf(t, file))) {
			t.Errorf("%s again: %+v, %v", tenant, again, err)
		}
	}
	p.refused()
	own := p.live()
	served := map[string]string{}
	for tenant := range journals {
		served[tenant] = p.exportServed(tenant)
	}
	p.stop()

	for tenant := range journals {
		if file, _ := p.export(tenant); contentOf(t, file) != served[tenant] {
			t.Errorf("%s: a server that runs exports something else than its directory", tenant)
		}
		if tenant == "bean" {
			continue // in periods
		}
		file, sum := p.export(tenant)
		if sum.Opened != 0 || sum.Transactions == 0 {
			t.Errorf("%s: %+v", tenant, sum)
		}
		p.checkExport(tenant, file, ours[tenant].exported(t))
	}
	p.periods("bean", ours["bean"])
	p.other("default", own)
}

func (p *journalTest) makeTenant(name string) {
	p.t.Helper()
	if _, errOut, err := runHere(p.t, "tenant", "create", name, "--addr", p.addr); err != nil {
		p.t.Fatal(err, errOut)
	}
}

// interrupted imports a journal, is interrupted in the middle, and does it again.
func (p *journalTest) interrupted(tenant, file string) {
	p.t.Helper()
	p.makeTenant(tenant)
	const most = 300
	target, err := url.Parse(p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(p.t.Context())
	var made atomic.Int64
	pass := httputil.NewSingleHostReverseProxy(target)
	pass.ModifyResponse = func(r *http.Response) error {
		r.Header.Del(wallethttp.LeaderHeader) // so that all comes through here
		if r.Request.URL.Path == "/v1/wallet/transactions" && made.Add(1) == most {
			interrupt()
		}
		return nil
	}
	between := httptest.NewServer(pass)
	defer between.Close()
	var out, errOut bytes.Buffer
	root := newRootCommand()
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetArgs([]string{"wallet", "import", file, "--json", "--tenant", tenant, "--addr", between.URL})
	err = root.ExecuteContext(ctx)
	var sum imported
	if err == nil || !strings.HasPrefix(err.Error(), "interrupted: 3") || json.Unmarshal(out.Bytes(), &sum) != nil {
		p.t.Fatalf("interrupted: %v, %s, %s", err, out.Bytes(), errOut.Bytes())
	}
	if sum.Complete || sum.Applied < most || sum.Applied > most+importWorkers || sum.Applied != made.Load() {
		p.t.Errorf("interrupted after %d: %+v", made.Load(), sum)
	}
	rest, _, err := p.importFile(tenant, file)
	if err != nil || !rest.Complete || rest.AlreadyApplied != sum.Applied || rest.Applied != rest.Transactions-sum.Applied {
		p.t.Errorf("the rest: %+v, %v", rest, err)
	}
}

// refused imports journals of which nothing, or not all, can be made.
func (p *journalTest) refused() {
	p.t.Helper()
	write := func(text string) string {
		file := filepath.Join(p.t.TempDir(), "x.journal")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			p.t.Fatal(err)
		}
		return file
	}
	p.must("default", "asset", "add", "SHARE", "--digits", "2")
	const good = "2026-01-01 Good\n  new:a  1 USD\n  new:b\n\n"
	for name, tt := range map[string]struct{ entry, want string }{
		"unbalanced":    {"2026-01-02 Bad\n  new:a  1 USD\n  new:b  -2 USD\n", ":5: the real postings do not balance: -1 USD is left"},
		"unparsable":    {"2026-01-02 Bad\n  new:a  1 USD USD 3\n  new:b\n", ":6: "},
		"no date":       {"2026-13-02 Bad\n  new:a  1 USD\n  new:b\n", ":5: not a date"},
		"assertion":     {"2026-01-02 Bad\n  new:a  1 USD = 3 USD\n  new:b\n", ":6: the balance of new:a is 2 USD, not 3 as asserted"},
		"digits":        {"2026-01-02 Bad\n  new:a  0.125 SHARE\n  new:b\n", `:5: commodity "SHARE" has 3 decimal places, and the wallet's asset SHARE has 2`},
		"many postings": {"2026-01-02 Bad\n" + strings.Repeat("  new:a  1 USD\n", 64) + "  new:b\n", ": a transaction of more than 64 postings"},
		"too large":     {"2026-01-02 Bad\n  new:a  92233720368547758.08 USD\n  new:b\n", ":5: 92233720368547758.08 USD: USD has 2 decimal places, and amounts of at most 64 bits"},
	} {
		file := write(good + tt.entry)
		sum, _, err := p.importFile("default", file)
		if err == nil || !strings.Contains(err.Error(), file+tt.want) && !strings.Contains(err.Error(), tt.want) || failureOf(err).status != exitRefused || sum.Applied != 0 {
			p.t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	if sum, _, err := p.importFile("default", "--dry-run", write(good)); err != nil || sum.Transactions != 1 || sum.Accounts != 2 || sum.Complete {
		p.t.Errorf("dry run: %+v, %v", sum, err)
	}
	if left := p.balances("default", []string{"new:a", "new:b"}); len(left) > 0 {
		p.t.Errorf("something was imported: %v", left)
	}

	// Equal entries are two; one that the wallet refuses is named, and stays so.
	twice := write("2026-02-01 (7) Twice  ; why: not\n  twice:a  1 USD\n  twice:b\n\n2026-02-01 (7) Twice\n  twice:a  1 USD\n  twice:b\n\n2026-02-02 Poor\n  twice:b:poor  -1 USD\n  twice:a\n")
	for _, applied := range []int64{2, 0} {
		sum, errOut, err := p.importFile("default", twice, "--min-balance", "twice:b:poor=0")
		if err == nil || failureOf(err).status != exitRefused || sum.Applied != applied || sum.AlreadyApplied != 2-applied || sum.Refused != 1 || !strings.Contains(errOut, twice+":9: transaction ") {
			p.t.Errorf("%+v, %v\n%s", sum, err, errOut)
		}
	}
	// Tags do not make another transaction of it.
	if sum, _, err := p.importFile("default", write("2026-02-01 (7) Twice  ; why: since\n  twice:b  -1.00 USD\n  twice:a\n")); err != nil || sum.AlreadyApplied != 1 || sum.OtherContent != 1 {
		p.t.Errorf("with another tag: %+v, %v", sum, err)
	}
}

// live does in the default tenant what is no import: transfers, a hold that is captured in part, a reversal.
func (p *journalTest) live() bookSums {
	p.t.Helper()
	p.must("default", "open", "mint", "--currency", "USD", "--min-balance", "unlimited")
	names := []string{"mint", "twice:a", "twice:b"}
	for i := range 4 {
		id := "user" + string(rune('0'+i))
		names = append(names, id)
		p.must("default", "open", id, "--currency", "USD")
		p.must("default", "transfer", "mint", id, "100", "USD", "--id", uuid(i+1))
	}
	p.must("default", "hold", "place", "user0", "30", "USD", "--id", uuid(20), "--for", "1h")
	p.must("default", "hold", "capture", uuid(20), "user0", "user1", "12.5", "USD", "--id", uuid(21))
	p.must("default", "reverse", uuid(2), "--transfer", "mint user1 100 USD", "--amount", "40.01", "--id", uuid(22), "--reference", "back", "--metadata", "why=too much, 2026:x")
	p.must("default", "transfer", "user3", "user0", "1", "USD", "--id", uuid(24), "--reference", "pay-1", "--metadata", "shop=3")
	p.must("default", "transaction", "--debit", "user1 1 USD", "--debit", "user2 2 USD", "--credit", "user3 3 USD", "--id", uuid(23), "--reference", "order-1", "--metadata", "a b=c")
	return p.balances("default", names)
}

// periods exports a tenant in two periods, one of them with money in flight between them.
func (p *journalTest) periods(tenant string, want bookSums) {
	p.t.Helper()
	var cut time.Time
	file, _ := p.export(tenant, "--format", "jsonl")
	n := 0
	sums := bookSums{}
	for line := range strings.Lines(contentOf(p.t, file)) {
		var m struct {
			Time     time.Time
			Part     bool
			Postings []struct{ Account, Amount, Currency string }
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
		n++
		for _, l := range m.Postings {
			sums.add(p.t, walletjournal.AccountName(wallet.AccountID(l.Account)), l.Currency, l.Amount)
			if n > 1000 && cut.IsZero() && m.Part && l.Account == walletjournal.FlightAccount {
				cut = m.Time.Add(1)
			}
		}
	}
	if len(sums) != len(want) || cut.IsZero() {
		p.t.Fatalf("%d balances of JSON Lines, the wallet has %d; nothing is in flight at %v", len(sums), len(want), cut)
	}
	at := cut.Format(time.RFC3339Nano)
	first, before := p.export(tenant, "--until", at)
	second, after := p.export(tenant, "--from", at)
	whole, _ := p.export(tenant)
	p.checkExport(tenant, whole, want)
	closing := byHLedger(p.t, first)
	if len(closing) == len(closing.without(walletjournal.FlightAccount)) {
		p.t.Errorf("nothing is in flight at %s", at)
	}
	opening := bookSums{}
	if _, err := walletjournal.Read(journalFiles{}, second, &walletjournal.Options{Each: func(x *walletjournal.Transaction) error {
		for _, l := range x.Postings {
			if x.Description == "Opening balances" {
				opening.add(p.t, l.Account, l.Amount.Commodity, l.Amount.Number.String())
			}
		}
		return nil
	}}); err != nil {
		p.t.Fatal(err)
	}
	if diff := gocmp.Diff(closing, opening); diff != "" {
		p.t.Errorf("(-closing balances of one period +opening balances of the next):\n%s", diff)
	}
	if diff := gocmp.Diff(want, byLedger(p.t, second)); diff != "" {
		p.t.Errorf("the second period (-the wallet's balances +ledger's):\n%s", diff)
	}
	if before.Opened != 0 || after.Opened == 0 || before.Transactions == 0 || after.Transactions == 0 {
		p.t.Errorf("periods: %+v, %+v", before, after)
	}
	again, _ := p.export(tenant, "--from", at)
	if contentOf(p.t, again) != contentOf(p.t, second) {
		p.t.Error("the same period has other bytes")
	}
}

// other checks the tenant's own export: what it says beside amounts, some accounts alone, CSV, and that other
// tenants are not in it.
func (p *journalTest) other(tenant string, want bookSums) {
	p.t.Helper()
	file, _ := p.export(tenant)
	p.checkExport(tenant, file, want)
	text := contentOf(p.t, file)
	for _, wanted := range []string{"(back) Received from another partition\n", "; reverses: " + uuid(2), "; why: too much, 2026:x\n", "(order-1) ", "(pay-1) ", "; shop: 3\n", `; metadata: {"a b":"c"}`, "=2026-02-01 * (7) Twice\n", "; why: not\n"} {
		if !strings.Contains(text, wanted) {
			p.t.Errorf("the journal lacks %q:\n%s", wanted, text)
		}
	}
	if strings.Contains(text, "Assets:") {
		p.t.Error("accounts of another tenant are in it")
	}
	file, sum := p.export(tenant, "--account", "user1", "--account", "user2")
	only := []string{"mint", "user0", "user3", "twice:a", "twice:b", walletjournal.FlightAccount}
	if diff := gocmp.Diff(want.without(only...), byHLedger(p.t, file).without(only...)); diff != "" || strings.Contains(contentOf(p.t, file), "Twice") || sum.Transactions == 0 {
		p.t.Errorf("of two accounts (-want +got):\n%s", diff)
	}

	file, _ = p.export(tenant, "--format", "csv")
	rows, err := csv.NewReader(strings.NewReader(contentOf(p.t, file))).ReadAll()
	if err != nil {
		p.t.Fatal(err)
	}
	sums := bookSums{}
	for _, row := range rows[1:] {
		sums.add(p.t, row[10], row[12], row[11])
	}
	if diff := gocmp.Diff(want, sums); diff != "" {
		p.t.Errorf("(-the wallet's balances +those of CSV):\n%s", diff)
	}
	for _, bad := range [][]string{{"--format", "xml"}, {"--from", "yesterday"}, {"--from", "2026-02-01", "--until", "2026-01-01"}, {"--account", "a b"}, {"--data", p.t.TempDir()}, {"--addr", p.addr}, {"--tenant", "nobody"}, {"-o", filepath.Join(p.dir, "no", "file")}} {
		if out, _, err := runHere(p.t, append([]string{"wallet", "export", "--data", p.data}, bad...)...); err == nil || out != "" {
			p.t.Errorf("%v: %v, %q", bad, err, out)
		}
	}
	ctx, interrupt := context.WithCancel(p.t.Context())
	interrupt()
	root := newRootCommand()
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	root.SetArgs([]string{"wallet", "export", "--data", p.data, "-o", filepath.Join(p.dir, "interrupted")})
	if err := root.ExecuteContext(ctx); err == nil || err.Error() != "interrupted" {
		p.t.Errorf("interrupted: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(p.dir, "interrupted*")); err != nil || len(left) > 0 {
		p.t.Errorf("an export that was interrupted leaves %v, %v", left, err)
	}
}
