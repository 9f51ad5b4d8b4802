package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// lineView is a change of a balance, as --json prints it.
type lineView struct {
	Time          time.Time `json:"time"`
	Kind          string    `json:"kind"`
	Amount        string    `json:"amount"` // less than zero: was debited
	Balance       string    `json:"balance"`
	Currency      string    `json:"currency"`
	Counterparty  string    `json:"counterparty,omitempty"`
	TransactionID string    `json:"transaction_id"`
	Position      string    `json:"position"`
}

func viewLine(client *wallethttp.Client, partition uint16, l *wallet.Line) lineView {
	return lineView{
		Time: time.Unix(0, l.Time).UTC(), Kind: l.Kind.String(), Amount: l.Amount.Format(l.Currency), Balance: l.Balance.Format(l.Currency),
		Currency: client.CurrencyName(l.Currency), Counterparty: string(l.OtherAccount), TransactionID: l.ID.String(),
		Position: wallet.HistoryPosition{Partition: partition, Index: l.Index}.String(),
	}
}

// pastOptions are the flags of commands about an account's past.
type pastOptions struct {
	httpOptions
	from, to, currency string
	counterparty       string
	incoming, outgoing bool
	newest             bool
	limit              int
	atLeast            string
}

func (o *pastOptions) registerPeriod(cmd *cobra.Command) *pflag.FlagSet {
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "first `moment`, in the form of RFC 3339, such as 2026-11-30T12:00:00Z")
	f.StringVar(&o.to, "to", "", "first `moment` that is not part of the period any more")
	f.StringVar(&o.currency, "currency", "", "ISO 4217 `code`")
	f.IntVar(&o.limit, "limit", 0, "how many lines at the most, a `number`; 0 for all")
	f.StringVar(&o.atLeast, "at-least", "", "`position` that the answer has to reflect, as an earlier answer had it")
	o.register(cmd)
	return f
}

// request returns what the flags ask of an account.
func (o *pastOptions) request(cmd *cobra.Command, account string) (*wallet.HistoryRequest, error) {
	r := &wallet.HistoryRequest{Account: wallet.AccountID(account), Counterparty: wallet.AccountID(o.counterparty)}
	r.Lines.Newest = o.newest
	for _, m := range []struct {
		name, text string
		to         *int64
	}{{"from", o.from, &r.Lines.From}, {"to", o.to, &r.Lines.To}} {
		if m.text == "" {
			continue
		}
		at, err := parseMoment("--"+m.name, m.text)
		if err != nil {
			return nil, err
		}
		*m.to = at.UnixNano()
	}
	switch {
	case o.limit < 0:
		return nil, usageError("0 is for all of them", "--limit is %d", o.limit)
	case o.incoming && o.outgoing:
		return nil, usageError("without either both are shown", "--in and --out exclude each other")
	case o.incoming:
		r.Lines.Direction = wallet.Incoming
	case o.outgoing:
		r.Lines.Direction = wallet.Outgoing
	}
	var err error
	if o.currency != "" {
		if r.Lines.Currency, err = o.parseCurrency(cmd, o.currency); err != nil {
			return nil, err
		}
	}
	if o.atLeast != "" {
		if r.AtLeast, err = wallet.ParseHistoryPositions(o.atLeast); err != nil {
			return nil, usageError("the answer to a write has it in the header "+wallethttp.PositionHeader, "--at-least: %w", err)
		}
	}
	return r, nil
}

func parseMoment(name, text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, usageError("such as 2026-11-30T12:00:00Z, or 2026-11-30T13:00:00.25+01:00", "%s %s is no moment in the form of RFC 3339", name, quoted(text))
	}
	return at, checkMoment(name, at)
}

// checkMoment refuses a moment that is none in nanoseconds since 1970, of which the wallet's times are: others would silently be
// taken for one of another century.
func checkMoment(name string, at time.Time) error {
	if year := at.UTC().Year(); year < 1970 || year > 2261 {
		return usageError("leave it out for the beginning, or the end", "%s is to be from 1970 to 2261", name)
	}
	return nil
}

// pages calls page for one page after the other, until it says that there are no
// more lines, or that there were enough.
func (o *pastOptions) pages(r *wallet.HistoryRequest, page func() (lines int, next wallet.LineKey, err error)) error {
	for left := o.limit; ; {
		r.Lines.Limit = wallet.MaxHistoryLines
		if o.limit > 0 {
			r.Lines.Limit = min(left, wallet.MaxHistoryLines)
		}
		lines, next, err := page()
		left -= lines
		if err != nil || next == (wallet.LineKey{}) || o.limit > 0 && left <= 0 {
			return err
		}
		r.Lines.After = next
	}
}

// printLines prints lines as they come: tables for people, of a page each, or one JSON object a line.
func (o *pastOptions) printLines(w io.Writer, client *wallethttp.Client, partition uint16, lines []wallet.Line) error {
	if o.json {
		e := json.NewEncoder(w)
		var err error
		for i := range lines {
			err = errors.Join(err, e.Encode(viewLine(client, partition, &lines[i])))
		}
		return err
	}
	if len(lines) == 0 {
		return nil
	}
	t := newTable("time", "kind", ">amount", ">balance", "currency", "counterparty", "transaction")
	for i := range lines {
		v := viewLine(client, partition, &lines[i])
		t.add(v.Time.Format(time.RFC3339Nano), v.Kind, v.Amount, v.Balance, v.Currency, v.Counterparty, v.TransactionID)
	}
	return t.print(w)
}

func newHistoryCommand() *cobra.Command {
	var o pastOptions
	cmd := &cobra.Command{
		Use:   "history ID",
		Short: "List what changed an account's balances",
		Long: `List what changed an account's balances, oldest first, as far as the server's history
goes: it follows the log, and under load it can be behind. With --json, one object a line.`,
		Example: `  maru wallet history alice
  maru wallet history alice --newest --limit 20
  maru wallet history alice --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --out --json`,
		Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := o.request(cmd, args[0])
			if err != nil {
				return err
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				return o.pages(r, func() (int, wallet.LineKey, error) {
					page, code, err := client.HistoryLines(ctx, r)
					if err == nil && code != wallet.Applied {
						err = refused("history "+args[0], code)
					}
					if err != nil {
						return 0, wallet.LineKey{}, err
					}
					return len(page.Lines), page.Next, o.printLines(cmd.OutOrStdout(), client, page.Mark.Partition, page.Lines)
				})
			})
		},
	}
	f := o.registerPeriod(cmd)
	f.StringVar(&o.counterparty, "counterparty", "", "only with this `account` on the other side")
	f.BoolVar(&o.incoming, "in", false, "only what was credited")
	f.BoolVar(&o.outgoing, "out", false, "only what was debited")
	f.BoolVar(&o.newest, "newest", false, "newest first")
	return cmd
}

func newRebuildCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "rebuild-history",
		Short:   "Let a node make its history anew, out of the log, while it runs",
		Example: "  maru wallet rebuild-history",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				if err := client.RebuildHistory(ctx); err != nil {
					return err
				}
				return printResult(cmd.OutOrStdout(), o.json, map[string]any{"status": "success"},
					"the node makes its history anew; until that is done, answers about the past say history_behind or history_unavailable")
			})
		},
	}
	o.register(cmd)
	return cmd
}

// statementView is the head of a statement, as --json prints it; the lines follow.
type statementView struct {
	Account  string `json:"account"`
	Currency string `json:"currency"`
	Opening  string `json:"opening_balance"`
	Closing  string `json:"closing_balance"`
	Complete bool   `json:"complete"`
	Position string `json:"position"`

	Reflects time.Time `json:"reflects_time"` // of the entry at the position
}

func reflects(m *wallet.HistoryMark) time.Time { return time.Unix(0, m.Time).UTC() }

func newStatementCommand() *cobra.Command {
	var o pastOptions
	cmd := &cobra.Command{
		Use:   "statement ID",
		Short: "Make a statement of an account: opening balance, lines, closing balance",
		Long: `Make a statement of an account for a period, in one currency, which can be left out if
the account has held one only. With --json, one object with the balances, then one for each line.
As long as something may still happen in the period it is not complete.`,
		Example: `  maru wallet statement alice --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z`,
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := o.request(cmd, args[0])
			if err != nil {
				return err
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error { return o.statement(ctx, cmd, client, r) })
		},
	}
	o.registerPeriod(cmd)
	return cmd
}

func (o *pastOptions) statement(ctx context.Context, cmd *cobra.Command, client *wallethttp.Client, r *wallet.HistoryRequest) error {
	first := true
	return o.pages(r, func() (int, wallet.LineKey, error) {
		st, code, err := client.HistoryStatement(ctx, r)
		if err == nil && code != wallet.Applied {
			err = refused("statement "+string(r.Account), code)
		}
		if err != nil {
			return 0, wallet.LineKey{}, err
		}
		if first {
			first = false
			r.Lines.Currency = st.Currency
			err = o.printStatement(cmd, statementView{
				string(r.Account), client.CurrencyName(st.Currency), st.Opening.Format(st.Currency), st.Closing.Format(st.Currency), st.Complete, st.Mark.String(), reflects(&st.Mark),
			})
		}
		return len(st.Lines), st.Next, errors.Join(err, o.printLines(cmd.OutOrStdout(), client, st.Mark.Partition, st.Lines))
	})
}

func (o *pastOptions) printStatement(cmd *cobra.Command, v statementView) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), v)
	}
	if !v.Complete {
		fmt.Fprintln(cmd.ErrOrStderr(), "more may happen in the period: the closing balance is the newest so far")
	}
	return printPairs(cmd.OutOrStdout(),
		[2]string{"account", v.Account}, [2]string{"opening balance", v.Opening + " " + v.Currency},
		[2]string{"closing balance", v.Closing + " " + v.Currency}, [2]string{"as of", v.Position},
	)
}

// heldView is what an account held, as --json prints it.
type heldView struct {
	Account  string            `json:"account"`
	At       time.Time         `json:"at"`
	Balances map[string]string `json:"balances"`
	Position string            `json:"position"`
	Reflects time.Time         `json:"reflects_time"` // of the entry at the position
}

// balanceOfPast shows what an account held at a moment, by the server's history.
func balanceOfPast(cmd *cobra.Command, o *httpOptions, account, moment string) error {
	at, err := parseMoment("--at", moment)
	if err != nil {
		return err
	}
	return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
		past, code, err := client.HistoryBalances(ctx, &wallet.HistoryRequest{Account: wallet.AccountID(account), At: at.UnixNano()})
		if err != nil {
			return err
		}
		if code != wallet.Applied {
			return refused("balance "+account, code)
		}
		if len(past.Balances) == 0 {
			return &failure{fmt.Errorf("%s was not open at %s", account, at.Format(time.RFC3339Nano)), "`maru wallet show " + account + "` says when it was opened", exitRefused}
		}
		v := heldView{account, at.UTC(), map[string]string{}, past.Mark.String(), reflects(&past.Mark)}
		t := newTable("currency", ">balance")
		for _, b := range past.Balances {
			v.Balances[client.CurrencyName(b.Currency)] = b.Amount.Format(b.Currency)
			t.add(client.CurrencyName(b.Currency), b.Amount.Format(b.Currency))
		}
		if past.Mark.Time < at.UnixNano() {
			fmt.Fprintf(cmd.ErrOrStderr(), "the history has come to %s: what happened later is not in it\n", v.Reflects.Format(time.RFC3339Nano))
		}
		if o.json {
			return printJSON(cmd.OutOrStdout(), v)
		}
		return t.print(cmd.OutOrStdout())
	})
}
