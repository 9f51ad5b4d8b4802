package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

func newWalletCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "wallet",
		Short: "Open accounts, move money, look at balances",
		Long: `Open accounts, move money, look at balances, at the server of --addr; and verify the
log of one that does not run.

Amounts are decimal numbers with at most the currency's digits: 12.50 USD, 1250 JPY.
An amount that begins with a minus sign stands behind two dashes, or an equals sign:
--min-balance=-100.00.`,
		Example: `  maru wallet open alice --currency USD
  maru wallet open mint --currency USD --min-balance unlimited
  maru wallet transfer mint alice 100.00 USD
  maru wallet transaction --debit 'alice 20 USD' --credit 'shop 19.40 USD' --credit 'fees 0.60 USD'
  maru wallet balance alice
  maru wallet load transfers.csv`,
	},
		newOpenCommand(),
		newTransferCommand(),
		newTransferStatusCommand(),
		newReversalsCommand(),
		newTransactionCommand(),
		newReverseCommand(),
		newBalanceCommand(),
		newShowCommand(),
		newHistoryCommand(),
		newStatementCommand(),
		newEventsCommand(),
		newFindCommand(),
		newCurrencyCommand(),
		newAssetCommand(),
		newLimitCommand(),
		newDailyLimitCommand(),
		newHoldCommand(),
		newStatusCommand("freeze", "Let no money move in or out of an account", wallet.Frozen),
		newStatusCommand("unfreeze", "Let money move again in and out of an account that is frozen", wallet.Open),
		newStatusCommand("close", "Close an account, for ever; every balance must be zero", wallet.Closed),
		newProfileCommand(),
		newWebhookCommand(),
		newEraseCommand(),
		newRotateCommand(),
		newMoveStoreCommand(),
		newTakeStoreCommand(),
		newTotalsCommand(),
		newInFlightCommand(),
		newLoadCommand(),
		newExportCommand(),
		newImportCommand(),
		newRebuildCommand(),
		newVerifyCommand(),
		newReplayCommand(),
		newCheckpointCommand(),
		newCheckpointKeyCommand(),
		newBackupCommand(),
		newRestoreCommand(),
	)
}

func newOpenCommand() *cobra.Command {
	var o httpOptions
	var currency, smallest string
	cmd := &cobra.Command{
		Use:   "open ID --currency CODE",
		Short: "Open an account that holds a currency",
		Long: `Open an account that holds a currency. An id has 1 to 64 letters, digits
and ._:-@ and is neither . nor ..

No transfer takes the balance below --min-balance: 0 for most accounts, less for
one with a credit line, and unlimited for the accounts of the house, where money
enters and leaves. To open an account again with the same content is no error,
unless it has been closed: closed accounts stay closed.`,
		Example: `  maru wallet open alice --currency USD
  maru wallet open alice --currency USD --min-balance=-100.00
  maru wallet open mint --currency USD --min-balance unlimited`,
		Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, limit, err := o.parseLimit(cmd, currency, smallest)
			if err != nil {
				return err
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				account, code, err := client.OpenAccount(ctx, wallet.NewAccount{ID: wallet.AccountID(args[0]), Currency: c, Min: limit})
				return o.account(cmd, client, account, code, err, args[0]+" is "+account.Status.String()+" and holds "+currency)
			})
		},
	}
	cmd.Flags().StringVar(&currency, "currency", "", "currency that it holds, a `code` such as USD or an asset's name (required)")
	cmd.Flags().StringVar(&smallest, "min-balance", "0", "smallest balance, an `amount` or unlimited")
	completeFlag(cmd, "currency", currencyCodes()...)
	completeFlag(cmd, "min-balance", "0", unlimited)
	o.register(cmd)
	return cmd
}

// parseLimit reads a currency and a smallest balance.
func (o *httpOptions) parseLimit(cmd *cobra.Command, currency, smallest string) (money.Currency, money.Amount, error) {
	c, err := o.parseCurrency(cmd, currency)
	if err != nil {
		return 0, 0, err
	}
	limit, err := parseMin(smallest, c)
	if err != nil {
		return 0, 0, usageError("a smallest balance is an amount, such as 0 or -100.00, or unlimited", "smallest balance: %w", err)
	}
	return c, limit, nil
}

// formatMin returns a smallest balance as parseMin reads it.
func formatMin(a money.Amount, c money.Currency) string {
	if a == wallet.Unlimited {
		return unlimited
	}
	return a.Format(c)
}

func newTransferCommand() *cobra.Command {
	var o httpOptions
	var id string
	var by protocolFlag
	var notes notesFlags
	cmd := &cobra.Command{
		Use:   "transfer FROM TO AMOUNT CURRENCY",
		Short: "Move money from one account to another, exactly once",
		Long: `Move money from one account to another, exactly once.

The transaction id makes it once: the same transfer with the same id moves nothing
a second time and has the same answer. Without --id a new one is made, and printed
on standard error before the transfer is sent: should the answer get lost, repeat
the command with that --id, or ask with transfer-status. The same holds where the
exit status is 4, pending: the transfer is under way between two partitions.

An id belongs to the partition of the paying account: with payers of two partitions
the same id is two transfers, so every transfer needs a new one.

With --protocol it is made by that, and not as the cluster does, if it goes to an
account of another partition. The first of several transfers with one id decides.

A transfer with --reference or --metadata is kept, found and shown as a transaction of
two postings; both are part of what it says: the same id with others, or with none, is
refused. It is made by tcc or saga.`,
		Example: `  maru wallet transfer mint alice 100.00 USD
  maru wallet transfer alice shop 20.00 USD --reference order-4711 --metadata shop=3
  maru wallet transfer alice bob 12.50 USD --id 01900000-0000-7000-8000-000000000001`,
		Args: exactArgs("FROM", "TO", "AMOUNT", "CURRENCY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := o.parseTransfer(cmd, args, id)
			if err != nil {
				return err
			}
			if id == "" {
				t.ID = newTransactionID(time.Now())
				fmt.Fprintf(cmd.ErrOrStderr(), "transaction_id %s\n", t.ID)
			}
			if err := o.transfer(cmd, wallet.Protocol(by), t, notes.notes(), args[3]); err != nil {
				return &transferError{"transfer", t.ID, err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "transaction id, a `UUID` (default: a new one)")
	notes.register(cmd, "")
	by.register(cmd)
	cmd.ValidArgsFunction = completeCurrency(3)
	o.register(cmd)
	return cmd
}

// transferView is a transfer that was applied, as --json prints it.
type transferView struct {
	Status        string            `json:"status"` // success
	TransactionID string            `json:"transaction_id"`
	FromAccount   string            `json:"from_account"`
	ToAccount     string            `json:"to_account"`
	Amount        string            `json:"amount"`
	Currency      string            `json:"currency"`
	Reference     string            `json:"reference,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	Replayed      bool              `json:"replayed"` // it had been applied before; nothing moved this time
}

// transfer makes one transfer and prints the answer; name is the currency's.
func (o *httpOptions) transfer(cmd *cobra.Command, by wallet.Protocol, t wallet.Transfer, notes wallet.Notes, name string) error {
	return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
		result, err := client.NotedTransferBy(ctx, by, t, notes)
		if err != nil {
			return err
		}
		if result.Code() != wallet.Applied {
			return refusedTransfer(result)
		}
		v := transferView{
			"success", t.ID.String(), string(t.From), string(t.To),
			t.Amount.Format(t.Currency), name, notes.Reference, notes.Metadata, result.Repeated(),
		}
		before := ""
		if v.Replayed {
			before = ", earlier: with the same id nothing moves twice"
		}
		return printResult(cmd.OutOrStdout(), o.json, v,
			fmt.Sprintf("%s %s moved from %s to %s%s", v.Amount, v.Currency, v.FromAccount, v.ToAccount, before))
	})
}

// notesFlags are the flags of what is said of a transfer beside what moves.
type notesFlags struct {
	reference string
	metadata  map[string]string
}

// register adds the flags, whose names begin with a prefix: "", or that of another transfer than
// the command's own.
func (f *notesFlags) register(cmd *cobra.Command, prefix string) {
	of := map[bool]string{true: "it", false: "that"}[prefix == ""]
	cmd.Flags().StringVar(&f.reference, prefix+"reference", "", "what another system calls "+of+", a `text` of up to 64 bytes")
	cmd.Flags().StringToStringVar(&f.metadata, prefix+"metadata", nil, "`key=value` noted beside "+of+"; up to 16 times")
}

func (f *notesFlags) notes() wallet.Notes {
	return wallet.Notes{Reference: f.reference, Metadata: f.metadata}
}

// parseTransfer reads FROM TO AMOUNT CURRENCY and an id, which may be empty.
func (o *httpOptions) parseTransfer(cmd *cobra.Command, args []string, id string) (t wallet.Transfer, err error) {
	t.From, t.To = wallet.AccountID(args[0]), wallet.AccountID(args[1])
	if t.Currency, err = o.parseCurrency(cmd, args[3]); err != nil {
		return t, err
	}
	if t.Amount, err = money.ParseAmount(args[2], t.Currency); err != nil {
		return t, usageError(fmt.Sprintf("an amount of %s has at most %d decimal places, no sign and no grouping", args[3], t.Currency.Digits()), "%w", err)
	}
	if id != "" {
		t.ID, err = parseTransactionID(id, "leave out --id for a new one")
	}
	return t, err
}

func parseTransactionID(s, hint string) (wallet.TransactionID, error) {
	id, err := wallet.ParseTransactionID(s)
	if err != nil {
		return id, usageError(hint, "%s: %s", quoted(s), plain(err))
	}
	return id, nil
}

// newTransactionID returns a UUID of version 7 (RFC 9562, section 5.7): the time
// in milliseconds, and 74 random bits.
func newTransactionID(now time.Time) (id wallet.TransactionID) {
	rand.Read(id[6:]) // never fails: it ends the process instead
	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint16(id[:], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:], uint32(ms))
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}
