package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"maru.example/wallet"
	"maru.example/wallet/walletjournal"
)

// exportOptions are the flags of `maru wallet export`.
type exportOptions struct {
	credentials // of a server that runs; the tenant of any

	past        pastFlags
	addr        string // "": there is no server to be asked
	format      string
	from, until string
	accounts    []string
	output      string // file name, "" for standard output
	json        bool
}

// exported says what an export has, as --json prints it.
type exported struct {
	Tenant       string     `json:"tenant"`
	Format       string     `json:"format"`
	From         *time.Time `json:"from,omitempty"` // the period; absent: from the beginning, to the end
	Until        *time.Time `json:"until,omitempty"`
	Opened       uint64     `json:"opened"`       // opening balances: accounts
	Transactions uint64     `json:"transactions"` // and parts of some between partitions
	Postings     uint64     `json:"postings"`
	LogEnds      *time.Time `json:"log_ends,omitempty"`  // the time of the last entry
	Position     string     `json:"position,omitempty"`  // the last entry of each partition that was read
	Undecided    int        `json:"undecided,omitempty"` // entries at the ends of the logs that are not known to be committed
}

func newExportCommand() *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a tenant's transactions as a journal of hledger and ledger, as CSV or as JSON Lines",
		Long: `Write a tenant's transactions as a journal that hledger and ledger read, as CSV or as
JSON Lines, in the order of time, from the log and the archive of a server that does not
run, or a copy of them; from the archive alone, also of one that runs (--data none); or
from servers that run (--addr). All that came before is decided again, so that an export
that begins later opens with the balances at that moment: the balances which hledger and
ledger compute are the wallet's. The same period gives the same bytes, from any of these.

With --addr the servers send the past of all partitions up to now, as for a backup, and it is
decided here: with API keys it needs the scope cluster:admin. Position in --json says up to
which entry of each partition.

The period goes from --from up to --until, without it: moments in the form of RFC 3339, or
days (in UTC). Of what happened between partitions, each one's part is an entry of its own,
of the moment at which it was decided there; what was on its way then stands in the account
` + walletjournal.FlightAccount + `, which is at zero when nothing is. Opening balances come from
` + walletjournal.OpeningAccount + `. Balances are those that are posted: what is held for a hold is still in
them, until it is captured. With --account only what touches these accounts is written, with
its other sides; then the balances of these alone are the wallet's.

In a journal a reference is the code, and the transaction's id, time, position in the log and
metadata are tags; names of accounts that a journal cannot have are written in another way.
An account of the wallet that is called as one of the two above is @@Equity%@in-flight there
and in the other formats. Every asset is a commodity of its own: USD@.3 is not USD.
CSV has a line a posting; so that no spreadsheet takes a text for a formula, one that begins
with = + - @, a tab, the end of a line or an apostrophe has an apostrophe before it, which a
program takes away. With csv-exact texts stay as they are. What was exported is said on
standard error, or with --output on standard output.`,
		Example: `  maru wallet export -o all.journal
  maru wallet export --from 2026-11-01 --until 2026-12-01 -o november.journal
  maru wallet export --format csv --account alice --account bob -o both.csv --json
  maru wallet export --data /backup/maru --format jsonl | jq .transaction_id
  maru wallet export --addr pay1.example.com:7480,pay2.example.com:7480 -o past.journal
  maru wallet export --data none --archive /archive/maru --until 2026-11-01 -o past.journal`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return export(cmd, &o) },
	}
	o.past.register(cmd)
	f := cmd.Flags()
	f.StringVar(&o.addr, "addr", "", "`address` of a server that runs, instead of --data: host:port, or a URL; of several nodes, with commas between")
	o.register(cmd, time.Minute)
	o.tenant = string(wallet.DefaultTenant)
	f.Lookup("tenant").DefValue, f.Lookup("tenant").Usage = o.tenant, "`tenant` whose accounts they are (env MARU_TENANT)"
	f.StringVar(&o.format, "format", "journal", "`format`: journal (or hledger, or ledger: both read it), csv, csv-exact or jsonl")
	f.StringVar(&o.from, "from", "", "first `moment`, such as 2026-11-01 or 2026-11-01T12:00:00Z (default: the beginning)")
	f.StringVar(&o.until, "until", "", "first `moment` that is not part of the period any more (default: the end)")
	f.StringArrayVar(&o.accounts, "account", nil, "only what touches this account, an `ID`; may be repeated")
	f.StringVarP(&o.output, "output", "o", "", "`file` to be written; it is there when all is in it (default: standard output)")
	completeFlag(cmd, "format", "journal", "hledger", "ledger", "csv", "csv-exact", "jsonl")
	jsonFlag(cmd, &o.json)
	return cmd
}

func export(cmd *cobra.Command, o *exportOptions) error {
	if o.format == "hledger" || o.format == "ledger" {
		o.format = "journal"
	}
	if o.addr != "" && (cmd.Flags().Changed("data") || cmd.Flags().Changed("archive")) {
		return usageError("leave out --data and --archive (and MARU_DATA, MARU_ARCHIVE) to ask a server, or --addr", "--addr is instead of --data and --archive")
	}
	e := &exporter{sum: exported{Tenant: o.tenant, Format: o.format}, period: span{math.MinInt64, math.MaxInt64}}
	if err := e.configure(o); err != nil {
		return err
	}
	out, done, err := openOutput(cmd, o.output)
	if err != nil {
		return err
	}
	if e.out, err = walletjournal.NewMovementWriter(o.format, out, e.assets); err != nil {
		return errors.Join(usageError("the formats are journal, csv, csv-exact and jsonl", "--format: %s is none", quoted(o.format)), done(false))
	}
	err = e.run(cmd, o)
	if err == nil {
		err = e.out.Flush()
	}
	if err = errors.Join(err, done(err == nil)); err != nil {
		return err
	}
	return e.sum.print(cmd, o)
}

// configure takes up the flags.
func (e *exporter) configure(o *exportOptions) (err error) {
	e.tenant = wallet.Tenant(o.tenant)
	if err := e.tenant.Validate(); err != nil {
		return usageError("see `maru tenant list`", "--tenant: %w", err)
	}
	if e.assets, _, err = walletjournal.NewAssets(nil, nil); err != nil {
		return err
	}
	for _, p := range []struct {
		flag, text string
		to         *int64
		shown      **time.Time
	}{{"--from", o.from, &e.period.from, &e.sum.From}, {"--until", o.until, &e.period.until, &e.sum.Until}} {
		if p.text == "" {
			continue
		}
		at, err := time.Parse(time.DateOnly, p.text)
		if err == nil {
			err = checkMoment(p.flag, at)
		} else {
			at, err = parseMoment(p.flag, p.text)
		}
		if err != nil {
			return err
		}
		at = at.UTC()
		*p.to, *p.shown = at.UnixNano(), &at
	}
	if e.period.from > e.period.until {
		return usageError("--from is to be before --until", "there is nothing between --from %s and --until %s", o.from, o.until)
	}
	for _, text := range o.accounts {
		id := wallet.AccountID(text)
		if err := id.Validate(); err != nil {
			return usageError("see `maru wallet open --help`", "--account %s: %w", quoted(text), err)
		}
		if e.accounts == nil {
			e.accounts = map[wallet.AccountID]bool{}
		}
		e.accounts[id] = true
	}
	return nil
}

// openOutput opens a file beside the one that is named, which becomes that when it is done
// well; or standard output.
func openOutput(cmd *cobra.Command, name string) (out io.Writer, done func(well bool) error, err error) {
	if name == "" {
		return cmd.OutOrStdout(), func(bool) error { return nil }, nil
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() { // a device or a pipe stays what it is
		file, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return nil, nil, failed(err, "name a file that can be written")
		}
		return file, func(bool) error { return file.Close() }, nil
	}
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp")
	if err != nil {
		return nil, nil, failed(err, "name a file that can be written")
	}
	return file, func(well bool) error {
		err := errors.Join(file.Sync(), file.Close())
		if well && err == nil {
			if err = os.Rename(file.Name(), name); err == nil {
				return nil
			}
		}
		return errors.Join(err, os.Remove(file.Name()))
	}, nil
}

// print says what was exported, where that is not in the way of the export.
func (v *exported) print(cmd *cobra.Command, o *exportOptions) error {
	warn, out := cmd.ErrOrStderr(), cmd.OutOrStdout()
	if o.output == "" {
		out = warn
	}
	if v.LogEnds != nil && v.Until != nil && v.LogEnds.Before(*v.Until) {
		fmt.Fprintf(warn, "the log ends at %s: what happened later is not in it\n", v.LogEnds.Format(time.RFC3339Nano))
	}
	if v.Undecided > 0 {
		fmt.Fprintf(warn, "%s not known to be committed, and left out: the log of another node may know\n", several(v.Undecided, "entry at the end is", "entries at the end are"))
	}
	if o.json {
		return printJSON(out, v)
	}
	_, err := fmt.Fprintf(out, "%s with %s, after the opening balances of %s: %s\n",
		several(v.Transactions, "transaction", "transactions"), several(v.Postings, "posting", "postings"), several(v.Opened, "account", "accounts"), cmp.Or(o.output, "standard output"))
	return err
}
