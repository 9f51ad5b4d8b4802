package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
	"maru.example/wallet/walletjournal"
)

// shownProblems is how many refused or malformed lines a load lists on standard
// error. The rest goes to the file of --refusals only.
const shownProblems = 20

// loadOptions are the flags of `maru wallet load`.
type loadOptions struct {
	streamOptions
	protocol protocolFlag
	format   string
	refusals string // file name, "" for none
	progress bool
	json     bool
}

func newLoadCommand() *cobra.Command {
	o := &loadOptions{}
	cmd := &cobra.Command{
		Use:   "load FILE|-",
		Short: "Open accounts and make transfers from a CSV or NDJSON file, at full speed",
		Long: `Open accounts and make transfers from a CSV or NDJSON file, at full speed.

A CSV file begins with a header that says what it holds; columns may stand in any
order, and min_balance (0, another amount, or unlimited) may be absent:

  id,currency,min_balance                                     accounts
  transaction_id,from_account,to_account,amount,currency      transfers

Transfers may have the columns reference and metadata as well: what another system
calls them, and a JSON object of strings, as ` + "`maru wallet transfer --help`" + ` says; both empty
is a transfer without. An NDJSON file has one object a line with the same keys, all
values strings (metadata is an object), and may mix all kinds. Lines count in the order
of the file; of a wallet with several partitions those whose payers are in one partition,
as the partitions decide by themselves. Transfers with a reference or metadata are carried
as transactions: a file in which they and plain ones take turns is slower.

It is safe to load a file again, or to go on after an interrupt by loading it from
its beginning: what was applied is counted as such and moves nothing. A line that
is malformed or refused is listed and passed over, and the exit status is 3. A
transfer whose account does not exist is not sent: open the account and load the
file again. Any other transfer that is refused stays refused: correct what it was
refused for, and give it a new transaction_id.

By 2pc, a transfer between partitions that meets an account which another one has
locked is tried again for some time, and then refused: account_locked. A file of many
transfers between few accounts is loaded by tcc or saga, which lock none.`,
		Example: `  maru wallet load accounts.csv
  maru wallet load transfers.csv --refusals refused.csv
  zcat history.ndjson.gz | maru wallet load - --format ndjson --json`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return load(cmd, args[0], o)
		},
		ValidArgsFunction: completeFiles,
	}
	o.register(cmd)
	o.protocol.register(cmd)
	cmd.Flags().StringVar(&o.format, "format", "auto", "`format` of the file: csv, ndjson, or auto, by its name or first byte")
	cmd.Flags().StringVar(&o.refusals, "refusals", "", "write refused and malformed lines to this CSV `file`; a text that a spreadsheet would take for a formula has an apostrophe before it")
	cmd.Flags().BoolVar(&o.progress, "progress", isTerminal(os.Stderr), "show progress on standard error")
	completeFlag(cmd, "format", "csv", "ndjson", "auto")
	jsonFlag(cmd, &o.json)
	return cmd
}

// load loads one file and prints the summary, also of a load that was cut short.
func load(cmd *cobra.Command, name string, o *loadOptions) error {
	f, err := parseFormat(o.format)
	if err != nil {
		return usageError("the formats are csv, ndjson and auto", "--format: %w", err)
	}
	if f == formatAuto {
		f = formatOfName(name)
	}
	file, size, err := openInput(cmd, name)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	input := &countingReader{r: file}
	records, err := newRecordReader(input, f)
	if err != nil {
		return usageError("see `maru wallet load --help` for the columns", "%s: %w", name, err)
	}
	list, err := newProblemList(cmd.ErrOrStderr(), o.refusals)
	if err != nil {
		return err
	}
	client, err := o.dial(cmd.Context(), wallet.Protocol(o.protocol))
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // every answer was received, or its loss is the error
	sequence, err := client.Sequence(cmd.Context())
	if err != nil {
		return dialError(err)
	}

	sum := &loadSummary{problems: list, size: size, started: time.Now(), protocol: wallet.Protocol(o.protocol)}
	if o.progress {
		sum.progress = newProgress(cmd.ErrOrStderr(), isTerminal(os.Stderr))
	}
	l := &loader{
		stream: orderedStream{client, sequence}, timeout: o.timeout,
		read: func() int64 { return input.n }, counted: sum.add,
	}
	err = l.run(cmd.Context(), records)
	return errors.Join(sum.finish(cmd, o.json, err), list.close())
}

// dial connects to the stream, for transfers by a protocol.
func (o *streamOptions) dial(ctx context.Context, by wallet.Protocol) (*walletgrpc.Client, error) {
	host, tls, err := o.target()
	if err != nil {
		return nil, err
	}
	c, err := walletgrpc.Dial(ctx, host, &walletgrpc.ClientOptions{APIKey: o.key, Tenant: wallet.Tenant(o.tenant), Protocol: by, TLS: tls})
	if err != nil {
		return nil, dialError(err)
	}
	return c, nil
}

// dialError says what to do about a stream that could not be opened.
func dialError(err error) error {
	switch status.Code(err) { //nolint:exhaustive // of the codes of gRPC, those that the server uses
	case codes.Unauthenticated:
		return failed(err, "set MARU_KEY to an API key of the tenant with the scope wallet:write")
	case codes.PermissionDenied:
		return failed(err, "use an API key of the tenant with the scope wallet:write: `maru key list` shows the scopes")
	case codes.NotFound:
		return failed(err, "`maru tenant list` shows the tenants")
	}
	return failed(err, "is `maru serve` running there? --stream says where the stream is, --ca or https:// that it has TLS")
}

// openInput opens the file, or standard input for "-", and returns its size, 0 if unknown.
func openInput(cmd *cobra.Command, name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), 0, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, failed(err, "give the name of a file, or - for standard input")
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		return file, info.Size(), nil
	}
	return file, 0, nil
}

// countingReader counts what was read.
type countingReader struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// problemList shows the first problems of a load and writes all of them to a file.
type problemList struct {
	out   io.Writer
	shown int
	file  *os.File // nil for none
	csv   *csv.Writer
}

func newProblemList(out io.Writer, name string) (*problemList, error) {
	l := &problemList{out: out}
	if name == "" {
		return l, nil
	}
	var err error
	if l.file, err = os.Create(name); err != nil {
		return nil, failed(err, "--refusals names a file that can be written")
	}
	l.csv = csv.NewWriter(l.file)
	return l, l.csv.Write([]string{"line", "kind", "id", "code", "reason"})
}

// add lists a problem.
func (l *problemList) add(p problem) error {
	if l.shown < shownProblems {
		if p.kind == "" {
			fmt.Fprintf(l.out, "line %d: %s: %s\n", p.line, p.code, p.reason)
		} else {
			fmt.Fprintf(l.out, "line %d: %s %s: %s: %s\n", p.line, p.kind, p.id, p.code, p.reason)
		}
	}
	if l.shown == shownProblems {
		fmt.Fprintln(l.out, "more lines are not listed here: --refusals FILE has them all")
	}
	l.shown++
	if l.csv == nil {
		return nil
	}
	return l.csv.Write([]string{strconv.FormatInt(p.line, 10), p.kind, walletjournal.SpreadsheetText(p.id), p.code.String(), walletjournal.SpreadsheetText(p.reason)})
}

// close writes what is left of the file.
func (l *problemList) close() error {
	if l.csv == nil {
		return nil
	}
	l.csv.Flush()
	return errors.Join(l.csv.Error(), l.file.Close())
}
