package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
	"maru.example/wallet/walletjournal"
)

// importAgain is the hint for an import that did not get to its end.
const importAgain = "import the same file again: what was made moves nothing a second time"

// importOptions are the flags of `maru wallet import`.
type importOptions struct {
	httpOptions
	by       protocolFlag
	dialect  string
	smallest []string
	assets   []string
	ignore   bool
	dryRun   bool

	uniqueCodes bool
}

// imported says what an import did, as --json prints it.
type imported struct {
	Complete       bool   `json:"complete"` // the whole journal was imported
	DryRun         bool   `json:"dry_run,omitempty"`
	Transactions   int64  `json:"transactions"` // of the journal, that move something
	Empty          int64  `json:"empty"`        // that move nothing
	Assets         int64  `json:"assets"`       // that the tenant lacked
	Accounts       int64  `json:"accounts"`     // of the journal, and those that conversion adds
	Applied        int64  `json:"applied"`      // transactions made now
	AlreadyApplied int64  `json:"already_applied"`
	OtherContent   int64  `json:"other_content"`     // of those: they have other tags, or another asset
	Changed        int64  `json:"changed,omitempty"` // by --unique-codes: not made, as the wallet has the code with other content
	Refused        int64  `json:"refused"`
	Pending        int64  `json:"pending"` // under way between partitions
	Dialect        string `json:"dialect"`
}

func newImportCommand() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Make the accounts, assets and transactions of a journal of hledger or ledger, each once",
		Long: `Make the accounts, assets and transactions of a journal of hledger or ledger.

The whole journal is checked first, with the balances that it asserts: of one that cannot be
read, or does not balance, file, line and reason are said, and nothing is imported. --dialect
says by whose rules it is read, where the two tools differ; see wallet/walletjournal/DESIGN.md.

A transaction's id follows from its date, code, description and amounts, and from how many equal
ones stand before it. So to import a journal again, one that has become longer, or one whose
import was interrupted, moves nothing twice. An entry that was corrected is another transaction,
and is made as well: reverse the first. Where each entry has a code of its own, --unique-codes
finds them: an entry whose code the wallet has with other content is listed and not made (reverse
the first and give the corrected entry another code); the server needs its history for it. The
code becomes the reference; date, description and tags are metadata. Accounts are opened without
a smallest balance, unless --min-balance says otherwise for one and those below it; accounts that
exist keep their limits. Commodities that
are no currency of ISO 4217 become assets, and so do currencies with more decimal places than ISO
gives them; one that would become another than the wallet has it as, since earlier journals had
other places, is refused until --asset says which it is to be. What is exchanged goes
through ` + walletjournal.ConversionAccount + `.

A transaction that the wallet refuses is listed, the others are made, and the exit status is 3.`,
		Example: `  maru wallet import books.ledger --dry-run
  maru wallet import books.ledger
  maru wallet import 2026.journal --dialect hledger --min-balance Assets:Cash=0 --json
  bean-report books.beancount ledger | maru wallet import -`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return importJournal(cmd, args[0], &o)
		},
		ValidArgsFunction: completeFiles,
	}
	f := cmd.Flags()
	f.StringVar(&o.dialect, "dialect", walletjournal.Ledger.String(), "`tool` by whose rules the journal is read: ledger or hledger")
	f.StringArrayVar(&o.smallest, "min-balance", nil, "smallest balance of an account and those below it, `ACCOUNT=AMOUNT`; may be repeated (default: unlimited)")
	f.StringArrayVar(&o.assets, "asset", nil, "what a commodity is in the wallet, `COMMODITY=ASSET` or a currency's code; may be repeated")
	f.BoolVar(&o.uniqueCodes, "unique-codes", false, "each code is of one entry: do not make an entry whose code the wallet has with other content")
	f.BoolVar(&o.ignore, "ignore-assertions", false, "do not check the balances that the journal asserts")
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything, and say what would be made; nothing is")
	completeFlag(cmd, "dialect", walletjournal.Ledger.String(), walletjournal.HLedger.String())
	o.by.register(cmd)
	o.register(cmd)
	return cmd
}

// importer imports a journal.
type importer struct {
	*importOptions
	cmd     *cobra.Command
	source  journalFiles
	name    string // of the journal
	dialect walletjournal.Dialect
	floors  []floor
	names   map[string]string // of --asset, by commodity
	codes   map[string]int    // the line of each, with --unique-codes
	client  *wallethttp.Client

	plan    importPlan
	sum     imported
	sending bool         // something may have been made
	done    atomic.Int64 // accounts and transactions that were answered

	counting sync.Mutex // of transactions: sum
}

func importJournal(cmd *cobra.Command, name string, o *importOptions) (err error) {
	i := &importer{importOptions: o, cmd: cmd, name: name}
	if i.dialect, err = walletjournal.ParseDialect(o.dialect); err != nil {
		return usageError("it is ledger or hledger", "--dialect: %w", err)
	}
	if i.floors, err = parseFloors(o.smallest); err != nil {
		return err
	}
	if i.names, err = parseAssetNames(o.assets); err != nil {
		return err
	}
	if name == "-" {
		spooled, remove, err := spool(cmd.InOrStdin())
		if err != nil {
			return err
		}
		defer remove()
		i.source.stdin, i.name = spooled, ""
	}
	if i.client, err = o.dial(cmd); err != nil {
		return err
	}
	defer i.client.Close()
	i.sum.DryRun, i.sum.Dialect = o.dryRun, i.dialect.String()
	if err := i.check(); err != nil {
		return err
	}
	if !o.dryRun {
		err = i.send()
	}
	return i.finish(err)
}

// finish prints what was done, and returns how it ended.
func (i *importer) finish(err error) error {
	s := &i.sum
	s.Complete = err == nil && !s.DryRun && s.Refused+s.Pending+s.Changed == 0
	if printErr := s.print(i.cmd.OutOrStdout(), i.json); err == nil && printErr != nil {
		return printErr
	}
	switch {
	case err != nil && i.cmd.Context().Err() != nil:
		return failed(fmt.Errorf("interrupted: %s of %s transactions are made", count(s.Applied+s.AlreadyApplied), count(s.Transactions)), importAgain)
	case errors.Is(err, walletjournal.ErrChanged):
		return failed(err, importAgain)
	case err != nil:
		return err
	case s.Refused > 0:
		return &failure{fmt.Errorf("%s refused", several(s.Refused, "transaction", "transactions")), "the others were made; what is refused for the money or an account stays refused: another description makes it another transaction", exitRefused}
	case s.Changed > 0:
		return &failure{fmt.Errorf("%s imported", several(s.Changed, "entry has changed since it was", "entries have changed since they were")), "they were not made, the others were: reverse what was imported, and give the corrected entry another code", exitRefused}
	case s.Pending > 0:
		return &failure{fmt.Errorf("%s under way", several(s.Pending, "transaction is", "transactions are")), "they will be done or refused: import the same file again to learn it", exitPending}
	}
	return nil
}

func (s *imported) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(w, s)
	}
	if s.DryRun {
		return printPairs(w,
			[2]string{"assets", count(s.Assets) + " would be made"},
			[2]string{"accounts", count(s.Accounts)},
			[2]string{"transactions", fmt.Sprintf("%s, and %s that move nothing", count(s.Transactions), count(s.Empty))},
		)
	}
	if err := s.printMade(w); err != nil || s.OtherContent == 0 {
		return err
	}
	_, err := fmt.Fprintf(w, "%s other tags, or amounts in another asset: a commodity that has more digits now is another one\n", several(s.OtherContent, "of those already made has", "of those already made have"))
	return err
}

func (s *imported) printMade(w io.Writer) error {
	return printPairs(w,
		[2]string{"assets", count(s.Assets) + " made"},
		[2]string{"accounts", count(s.Accounts)},
		[2]string{"transactions", fmt.Sprintf("%s made, %s already made, %s that move nothing", count(s.Applied), count(s.AlreadyApplied), count(s.Empty))},
		[2]string{"refused", count(s.Refused)},
		[2]string{"pending", count(s.Pending)},
	)
}

// floor is a smallest balance, for an account and those below it.
type floor struct{ account, amount string }

func parseFloors(texts []string) (all []floor, err error) {
	for _, text := range texts {
		account, amount, ok := strings.Cut(text, "=")
		if !ok || account == "" || amount == "" {
			return nil, usageError("such as --min-balance Assets:Cash=0", "--min-balance %s is not ACCOUNT=AMOUNT", quoted(text))
		}
		all = append(all, floor{account, amount})
	}
	return all, nil
}

// journalFiles opens the files of a journal.
type journalFiles struct{ stdin string }

// Open implements [walletjournal.Source]. What a file includes is beside it.
func (f journalFiles) Open(from, name string) (file io.ReadCloser, known string, err error) {
	if from == "" && name == "" {
		file, err := os.Open(f.stdin)
		return file, "standard input", err
	}
	if from != "" && !filepath.IsAbs(name) && f.stdin == "" {
		name = filepath.Join(filepath.Dir(from), name)
	}
	opened, err := os.Open(name)
	return opened, name, err
}

// spool writes a stream into a file, to be read more than once.
func spool(in io.Reader) (name string, remove func(), err error) {
	file, err := os.CreateTemp("", "maru-journal-*")
	if err != nil {
		return "", nil, failed(err, "give the name of a file; for standard input there must be room in the directory for temporary files")
	}
	_, err = io.Copy(file, in)
	remove = func() { _ = os.Remove(file.Name()) }
	if err = errors.Join(err, file.Close()); err != nil {
		remove()
		return "", nil, failed(err, "give the name of a file")
	}
	return file.Name(), remove, nil
}

// read reads the journal, and lets f have its transactions; nil only checks it.
func (i *importer) read(f func(*walletjournal.Transaction) error) (*walletjournal.Summary, error) {
	s, err := walletjournal.Read(i.source, i.name, &walletjournal.Options{Dialect: i.dialect, IgnoreAssertions: i.ignore, Each: f})
	return s, i.journalError(err)
}

// journalError says of what is wrong in a journal that nothing was imported.
func (i *importer) journalError(err error) error {
	located, ok := errors.AsType[*walletjournal.Error](err)
	switch {
	case !ok:
		return err
	case i.sending:
		return failed(err, "the journal was changed meanwhile: "+importAgain)
	}
	return &failure{located, "nothing was imported: correct it, and import it again", exitRefused}
}

// request runs what asks the server once, with the deadline of a call. An interrupt does not end it: its
// outcome would be unknown.
func (i *importer) request(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), i.timeout)
	defer cancel()
	err := i.explain(ask(ctx))
	if err == nil {
		return nil
	}
	f := failureOf(err)
	return &failure{f.err, f.hint + "; " + importAgain, f.status}
}

var _ walletjournal.Source = journalFiles{}

// idOf is how a transaction is called in messages.
func idOf(m *walletjournal.Movement) string {
	return fmt.Sprintf("%s:%d: transaction %s", m.File, m.Line, m.ID)
}

var errNoRoom = fmt.Errorf("an account holds at most %d currencies and assets", wallet.MaxCurrencies)
