package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// maxTransactionBytes is the most that is read of a transaction in JSON.
const maxTransactionBytes = wallethttp.MaxTransactionBytes

// postingView is a posting, as --file has it and --json prints it.
type postingView struct {
	Account  string `json:"account"`
	Amount   string `json:"amount"` // less than zero for a debit
	Currency string `json:"currency"`
}

// transactionView is a transaction, as --file has it, in the form of the API.
type transactionView struct {
	TransactionID string            `json:"transaction_id,omitempty"`
	Postings      []postingView     `json:"postings"`
	Reference     string            `json:"reference,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
}

// transactedView is a transaction that was applied, as --json prints it.
type transactedView struct {
	Status string `json:"status"` // success
	transactionView

	Reverses string `json:"reverses,omitempty"` // transaction id
	Replayed bool   `json:"replayed"`           // it had been applied before; nothing moved this time
}

// transactionFlags are the flags of the commands that make transactions.
type transactionFlags struct {
	notesFlags

	http httpOptions
	id   string
	by   protocolFlag
}

func (f *transactionFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.id, "id", "", "transaction id, a `UUID` (default: a new one)")
	f.notesFlags.register(cmd, "")
	f.by.register(cmd)
	f.http.register(cmd)
}

func newTransactionCommand() *cobra.Command {
	var o transactionFlags
	var debits, credits []string
	var file string
	cmd := &cobra.Command{
		Use:   "transaction",
		Short: "Move money between up to 64 accounts, all or nothing",
		Long: `Move money between up to 64 accounts, all or nothing, exactly once.

Each --debit and --credit is an account, an amount and a currency; what is debited of
a currency must be what is credited. An account may be debited and credited: only the
sum counts. With --file the transaction is read as JSON, in the form of the HTTP API,
from a file, or from standard input if that is -.

What ` + "`maru wallet transfer --help`" + ` says of ids holds here too; both share them.
An id belongs to the partition of the first account. --protocol is tcc or saga.`,
		Example: `  maru wallet transaction --debit 'alice 20 USD' --credit 'shop 19.40 USD' --credit 'fees 0.60 USD'
  maru wallet transaction --file order.json --reference order-4711`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := o.http.readTransaction(cmd, file)
			if err != nil {
				return err
			}
			for _, side := range []struct {
				texts []string
				sign  money.Amount
			}{{debits, -1}, {credits, 1}} {
				for _, text := range side.texts {
					p, err := o.http.parseSide(cmd, text)
					if err != nil {
						return err
					}
					p.Amount *= side.sign
					t.Postings = append(t.Postings, p)
				}
			}
			return o.transact(cmd, t)
		},
	}
	cmd.Flags().StringArrayVar(&debits, "debit", nil, "an `account, amount and currency`: 'alice 20.00 USD'; may be repeated")
	cmd.Flags().StringArrayVar(&credits, "credit", nil, "the same for an account that gets money; may be repeated")
	cmd.Flags().StringVar(&file, "file", "", "`file` with the transaction in JSON; - is standard input")
	o.register(cmd)
	return cmd
}

func newReverseCommand() *cobra.Command {
	var o transactionFlags
	var of originalFlags
	var amount string
	cmd := &cobra.Command{
		Use:   "reverse UUID",
		Short: "Take a transfer or a transaction back, in whole or in part",
		Long: `Take a transfer or a transaction back. What it was, the server's history knows. Without
a history, or where that does not go back so far, say it: a transfer with --transfer, and
--transfer-reference and --transfer-metadata if it was made with these; a capture of a
hold with --capture, a transaction with --file in JSON, as it was made; the server
compares it with what it remembers. --amount takes back a part of a transfer or
capture, which is available then, and not held. All reversals together take back
no more than was moved; a reversal is not reversed.

A reversal is a transaction with an id of its own: see ` + "`maru wallet transaction --help`.",
		Example: `  maru wallet reverse 01900000-0000-7000-8000-000000000001
  maru wallet reverse 01900000-0000-7000-8000-000000000001 --amount 2.50
  maru wallet reverse 01900000-0000-7000-8000-000000000001 --transfer 'alice bob 12.50 USD'
  maru wallet reverse 01900000-0000-7000-8000-000000000002 --file order.json`,
		Args: exactArgs("UUID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseTransactionID(args[0], "give the id of the transfer or transaction to be taken back")
			if err != nil {
				return err
			}
			original, err := o.http.readOriginal(cmd, id, &of)
			if err != nil {
				return err
			}
			t, err := reversalOf(original, amount)
			if err != nil {
				return err
			}
			return o.transact(cmd, t)
		},
	}
	cmd.Flags().StringVar(&of.transfer, "transfer", "", "what the transfer was: '`FROM TO AMOUNT CURRENCY`'")
	cmd.Flags().StringVar(&of.capture, "capture", "", "what the capture was: '`HOLD FROM TO AMOUNT CURRENCY`'")
	of.notes.register(cmd, "transfer-")
	cmd.Flags().StringVar(&amount, "amount", "", "how much is taken back of what moved between two accounts, an `amount` (default: all)")
	cmd.Flags().StringVar(&of.file, "file", "", "`file` with what the transaction was, in JSON; - is standard input")
	o.register(cmd)
	return cmd
}

// originalFlags say what is to be taken back.
type originalFlags struct {
	transfer, capture, file string
	notes                   notesFlags // of the transfer
}

func (f *originalFlags) validate() error {
	said, notes := 0, f.notes.notes()
	for _, one := range []string{f.transfer, f.capture, f.file} {
		if one != "" {
			said++
		}
	}
	switch {
	case said > 1:
		return usageError("see `maru wallet reverse --help`", "say with one of --transfer, --capture and --file what is taken back")
	case f.transfer == "" && !notes.Empty():
		return usageError("a file says what its reference and metadata are, and the history knows", "--transfer-reference and --transfer-metadata are for --transfer")
	}
	return nil
}

// readOriginal returns what is to be taken back: as the flags say it, or else the history.
func (o *httpOptions) readOriginal(cmd *cobra.Command, id wallet.TransactionID, f *originalFlags) (*wallet.Original, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	switch {
	case f.file != "":
		t, err := o.readTransaction(cmd, f.file)
		if err != nil {
			return nil, err
		}
		t.ID = id
		return t.Original(), nil
	case f.transfer != "":
		words := strings.Fields(f.transfer)
		if len(words) != 4 {
			return nil, usageError("such as --transfer 'alice bob 12.50 USD'", "--transfer is FROM TO AMOUNT CURRENCY, not %s", quoted(f.transfer))
		}
		made, err := o.parseTransfer(cmd, words, "")
		if err != nil {
			return nil, err
		}
		made.ID = id
		return wallet.OriginalNoted(&made, f.notes.notes()), nil
	case f.capture != "":
		words := strings.Fields(f.capture)
		if len(words) != 5 {
			return nil, usageError("such as --capture '01900000-0000-7000-8000-000000000001 alice shop 12.50 USD'", "--capture is HOLD FROM TO AMOUNT CURRENCY, not %s", quoted(f.capture))
		}
		made, err := o.parseTransfer(cmd, words[1:], "")
		if err != nil {
			return nil, err
		}
		made.ID = id
		hold, err := parseTransactionID(words[0], "give the id of the hold")
		return wallet.OriginalCapture(&wallet.Capture{Transfer: made, Hold: hold}), err
	}
	return o.findOriginal(cmd, id)
}

// findOriginal returns what is to be taken back as the history has it.
func (o *httpOptions) findOriginal(cmd *cobra.Command, id wallet.TransactionID) (*wallet.Original, error) {
	var original *wallet.Original
	err := o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
		found, err := client.HistoryFind(ctx, &wallet.FindRequest{ID: id})
		switch {
		case err != nil:
			return err
		case found.Missing != nil:
			return failed(fmt.Errorf("what %v was is not known: %s", id, plain(found.Missing)), "say it with --transfer, --capture or --file")
		case found.Code == wallet.Undecided || found.Code == wallet.UnknownTenant:
			return refused("reverse "+id.String(), found.Code)
		}
		if original = found.Original(id); original == nil || found.Code != wallet.Applied {
			return refused("reverse "+id.String(), wallet.NotReversible)
		}
		return nil
	})
	return original, err
}

// reversalOf returns the transaction that takes something back, all of it if no amount is named.
func reversalOf(o *wallet.Original, amount string) (*wallet.Transaction, error) {
	switch {
	case amount == "":
		return o.Reverse(wallet.TransactionID{}), nil
	case !o.Movement():
		return nil, usageError("this transaction is taken back as a whole here; the HTTP API takes postings", "--amount is for what moved one amount between two accounts")
	}
	part, err := money.ParseAmount(amount, o.Postings[0].Currency)
	if err == nil && part <= 0 {
		err = fmt.Errorf("amount %s is not more than zero", amount)
	}
	if err != nil {
		return nil, usageError("an amount is a decimal number, such as 2.50", "%w", err)
	}
	return o.ReversePart(wallet.TransactionID{}, part), nil
}

// readTransaction reads a transaction in JSON, an empty one if no file is named.
func (o *httpOptions) readTransaction(cmd *cobra.Command, file string) (*wallet.Transaction, error) {
	t := &wallet.Transaction{}
	if file == "" {
		return t, nil
	}
	in, _, err := openInput(cmd, file)
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // only read
	var v transactionView
	d := json.NewDecoder(io.LimitReader(in, maxTransactionBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return nil, usageError(`such as {"postings":[{"account":"alice","amount":"-1.00","currency":"USD"},…]}`, "the transaction cannot be read: %w", err)
	}
	for i := range v.Postings {
		p, err := o.parsePosting(cmd, &v.Postings[i])
		if err != nil {
			return nil, err
		}
		t.Postings = append(t.Postings, p)
	}
	t.Reference, t.Metadata = v.Reference, v.Metadata
	if v.TransactionID == "" {
		return t, nil
	}
	t.ID, err = parseTransactionID(v.TransactionID, "leave transaction_id out for a new one")
	return t, err
}

func (o *httpOptions) parsePosting(cmd *cobra.Command, v *postingView) (wallet.Posting, error) {
	p := wallet.Posting{Account: wallet.AccountID(v.Account)}
	var err error
	if p.Currency, err = o.parseCurrency(cmd, v.Currency); err != nil {
		return p, err
	}
	if p.Amount, err = money.ParseAmount(v.Amount, p.Currency); err != nil {
		return p, usageError(fmt.Sprintf("an amount of %s has at most %d decimal places", v.Currency, p.Currency.Digits()), "%w", err)
	}
	return p, nil
}

// parseSide reads the value of --debit or --credit.
func (o *httpOptions) parseSide(cmd *cobra.Command, text string) (wallet.Posting, error) {
	words := strings.Fields(text)
	if len(words) != 3 || strings.HasPrefix(words[1], "-") {
		return wallet.Posting{}, usageError("such as --debit 'alice 20.00 USD'", "%s is no account, amount without a sign, and currency", quoted(text))
	}
	return o.parsePosting(cmd, &postingView{words[0], words[1], words[2]})
}

// transact makes a transaction and prints the answer.
func (f *transactionFlags) transact(cmd *cobra.Command, t *wallet.Transaction) error {
	if f.reference != "" {
		t.Reference = f.reference
	}
	if len(f.metadata) > 0 {
		t.Metadata = f.metadata
	}
	if f.id != "" {
		var err error
		if t.ID, err = parseTransactionID(f.id, "leave out --id for a new one"); err != nil {
			return err
		}
	}
	if t.ID == (wallet.TransactionID{}) {
		t.ID = newTransactionID(time.Now())
		fmt.Fprintf(cmd.ErrOrStderr(), "transaction_id %s\n", t.ID)
	}
	err := f.http.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
		result, err := client.TransactBy(ctx, wallet.Protocol(f.by), t)
		if err != nil {
			return err
		}
		if result.Code() != wallet.Applied {
			return refusedTransfer(result)
		}
		line := fmt.Sprintf("transaction %s is made, with %s", t.ID, several(len(t.Postings), "posting", "postings"))
		if result.Repeated() {
			line += ", earlier: with the same id nothing moves twice"
		}
		return printResult(cmd.OutOrStdout(), f.http.json, viewTransaction(t, result, client.CurrencyName), line)
	})
	if err != nil {
		return &transferError{"transaction", t.ID, err}
	}
	return nil
}

func viewTransaction(t *wallet.Transaction, result wallet.Result, name func(money.Currency) string) transactedView {
	v := transactedView{Status: "success", Replayed: result.Repeated(), transactionView: transactionView{
		TransactionID: t.ID.String(), Reference: t.Reference, Metadata: t.Metadata,
	}}
	for i := range t.Postings {
		p := &t.Postings[i]
		v.Postings = append(v.Postings, postingView{string(p.Account), p.Amount.Format(p.Currency), name(p.Currency)})
	}
	if t.Reverses != nil {
		v.Reverses = t.Reverses.ID.String()
	}
	return v
}
