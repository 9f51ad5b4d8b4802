package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// accountView is an account as --json prints it.
type accountView struct {
	ID       string        `json:"id"`
	Handle   string        `json:"handle"` // a 64-bit number, which JSON numbers do not hold
	Status   string        `json:"status"`
	OpenedAt time.Time     `json:"opened_at"`
	Balances []balanceView `json:"balances"`
}

// balanceView is one of its balances.
type balanceView struct {
	Currency   string     `json:"currency"`
	Balance    string     `json:"balance"`
	Held       string     `json:"held"`
	Available  string     `json:"available"`
	MinBalance string     `json:"min_balance"`
	DailyLimit *dailyView `json:"daily_limit,omitempty"`
}

// dailyView is a daily limit.
type dailyView struct {
	Amount     string `json:"amount"`      // or unlimited
	Count      string `json:"count"`       // or unlimited
	Spent      string `json:"spent"`       // today
	SpentCount uint32 `json:"spent_count"` // today
}

func viewBalance(b *wallet.Balance, name func(money.Currency) string) balanceView {
	c := b.Currency
	v := balanceView{name(c), b.Amount.Format(c), b.Held.Format(c), b.Available().Format(c), formatMin(b.Min, c), nil}
	if l := b.Daily.Limit; l != (wallet.DailyLimit{}) {
		v.DailyLimit = &dailyView{unlimited, unlimited, b.Daily.Spent.Format(c), b.Daily.SpentCount}
		if l.Amount != 0 {
			v.DailyLimit.Amount = l.Amount.Format(c)
		}
		if l.Count != 0 {
			v.DailyLimit.Count = strconv.FormatUint(uint64(l.Count), 10)
		}
	}
	return v
}

// viewAccount shows an account with the names of what it holds.
func viewAccount(a wallet.Account, name func(money.Currency) string) accountView {
	v := accountView{
		ID: string(a.ID), Handle: strconv.FormatUint(uint64(a.Handle), 10), Status: a.Status.String(),
		OpenedAt: time.Unix(0, a.OpenedAt).UTC(), Balances: []balanceView{},
	}
	for i := range a.Balances {
		v.Balances = append(v.Balances, viewBalance(&a.Balances[i], name))
	}
	return v
}

func (v *accountView) table() *table {
	columns := []string{"currency", ">balance", ">held", ">available", ">min balance"}
	limited := slices.ContainsFunc(v.Balances, func(b balanceView) bool { return b.DailyLimit != nil })
	if limited {
		columns = append(columns, ">a day", ">spent today")
	}
	t := newTable(columns...)
	for _, b := range v.Balances {
		row := []string{b.Currency, b.Balance, b.Held, b.Available, b.MinBalance}
		if d := b.DailyLimit; d != nil {
			row = append(row, d.Amount+" in "+d.Count, fmt.Sprintf("%s in %d", d.Spent, d.SpentCount))
		} else if limited {
			row = append(row, "", "")
		}
		t.add(row...)
	}
	return t
}

func newShowCommand() *cobra.Command {
	cmd, _ := newAccountCommand("show", "Show an account: status, handle, balances", "  maru wallet show alice\n  maru wallet show alice --json | jq .status",
		func(cmd *cobra.Command, v accountView) error {
			err := printPairs(cmd.OutOrStdout(),
				[2]string{"account", v.ID},
				[2]string{"status", v.Status},
				[2]string{"handle", v.Handle},
				[2]string{"opened", v.OpenedAt.Format(time.RFC3339)},
			)
			return errors.Join(err, v.table().print(cmd.OutOrStdout()))
		})
	return cmd
}

// newAccountCommand returns a command that shows an account.
func newAccountCommand(name, short, example string, show func(cmd *cobra.Command, v accountView) error) (*cobra.Command, *httpOptions) {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     name + " ID",
		Short:   short,
		Example: example,
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				a, code, err := client.Account(ctx, wallet.AccountID(args[0]))
				if err != nil {
					return err
				}
				if code != wallet.Applied {
					return refused(name+" "+args[0], code)
				}
				if o.json {
					return printJSON(cmd.OutOrStdout(), viewAccount(a, client.CurrencyName))
				}
				return show(cmd, viewAccount(a, client.CurrencyName))
			})
		},
	}
	o.register(cmd)
	return cmd, &o
}

func newCurrencyCommand() *cobra.Command {
	var o httpOptions
	var smallest string
	add := &cobra.Command{
		Use:   "add ID CODE",
		Short: "Let an account hold one more currency",
		Example: `  maru wallet currency add alice JPY
  maru wallet currency add mint JPY --min-balance unlimited`,
		Args: exactArgs("ID", "CODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, limit, err := o.parseLimit(cmd, args[1], smallest)
			if err != nil {
				return err
			}
			return o.setLimit(cmd, args[0], c, limit, (*wallethttp.Client).AddCurrency)
		},
	}
	add.Flags().StringVar(&smallest, "min-balance", "0", "smallest balance, an `amount` or unlimited")
	add.ValidArgsFunction = completeCurrency(1)
	completeFlag(add, "min-balance", "0", unlimited)
	o.register(add)
	return group(&cobra.Command{
		Use:     "currency",
		Short:   "The currencies that an account holds",
		Example: "  maru wallet currency add alice JPY",
	}, add)
}

func newLimitCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:   "limit ID CODE MIN",
		Short: "Change the smallest balance of an account in a currency",
		Long: `Change the smallest balance of an account in a currency. A balance below a new
limit stays as it is: nothing can be taken out until it is above the limit again.`,
		Example: `  maru wallet limit alice USD 0
  maru wallet limit alice USD -- -100.00
  maru wallet limit mint USD unlimited`,
		Args: exactArgs("ID", "CODE", "MIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, limit, err := o.parseLimit(cmd, args[1], args[2])
			if err != nil {
				return err
			}
			return o.setLimit(cmd, args[0], c, limit, (*wallethttp.Client).SetLimit)
		},
		ValidArgsFunction: completeCurrency(1),
	}
	o.register(cmd)
	return cmd
}

// limitSetter is a method of the client that sets a smallest balance.
type limitSetter func(*wallethttp.Client, context.Context, wallet.AccountID, money.Currency, money.Amount) (wallet.Account, wallet.Code, error)

// setLimit sets a smallest balance and prints the answer.
func (o *httpOptions) setLimit(cmd *cobra.Command, id string, c money.Currency, limit money.Amount, set limitSetter) error {
	return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
		account, code, err := set(client, ctx, wallet.AccountID(id), c, limit)
		return o.account(cmd, client, account, code, err, fmt.Sprintf("%s holds %s; smallest balance %s", id, cmd.Flags().Arg(1), formatMin(limit, c)))
	})
}

// account prints what a change made of an account: with --json the account,
// otherwise what was done.
func (o *httpOptions) account(cmd *cobra.Command, client *wallethttp.Client, a wallet.Account, code wallet.Code, err error, done string) error {
	switch {
	case err != nil:
		return err
	case code != wallet.Applied:
		return refused(cmd.Name()+" "+cmd.Flags().Arg(0), code)
	}
	return printResult(cmd.OutOrStdout(), o.json, viewAccount(a, client.CurrencyName), done)
}

// newStatusCommand returns a command that sets the status of an account.
func newStatusCommand(name, short string, to wallet.Status) *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     name + " ID",
		Short:   short,
		Example: "  maru wallet " + name + " alice",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				account, code, err := client.SetStatus(ctx, wallet.AccountID(args[0]), to)
				return o.account(cmd, client, account, code, err, args[0]+" is "+to.String())
			})
		},
	}
	o.register(cmd)
	return cmd
}

// totalsView is the totals as --json prints them.
type totalsView struct {
	Settled bool        `json:"settled"` // nothing changed while they were added up
	Totals  []totalView `json:"totals"`
}

// totalView is the total of one currency.
type totalView struct {
	Currency string `json:"currency"`
	Balances int    `json:"balances"`
	Sum      string `json:"sum"`
	Issued   string `json:"issued"`
	InFlight string `json:"in_flight"`
}

func newTotalsCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:   "totals",
		Short: "Add up all balances: with what is in flight they are zero",
		Long: `Add up all balances of the tenant. What some accounts hold, others owe: the sum of
every currency and what is in flight between partitions are zero together. Issued
is what the accounts below zero owe, that is the money in circulation. While
transfers are made, the sums are of no one moment.`,
		Example: "  maru wallet totals",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				totals, settled, err := client.Totals(ctx)
				if err != nil {
					return err
				}
				return o.printTotals(cmd, client, totals, settled)
			})
		},
	}
	o.register(cmd)
	return cmd
}

// printTotals prints the totals. That a sum is not zero is a failure.
func (o *httpOptions) printTotals(cmd *cobra.Command, client *wallethttp.Client, totals []wallet.Total, settled bool) error {
	v := totalsView{Settled: settled, Totals: []totalView{}}
	t := newTable("currency", ">balances", ">issued", ">in flight", ">sum")
	var wrong error
	for _, x := range totals {
		c, name := x.Currency, client.CurrencyName(x.Currency)
		sum, issued, inFlight := money.FormatSum(x.Sum, c), money.FormatSum(x.Issued, c), money.FormatSum(x.InFlight, c)
		v.Totals = append(v.Totals, totalView{name, x.Balances, sum, issued, inFlight})
		t.add(name, count(x.Balances), issued, inFlight, sum)
		if settled && !x.Zero() {
			wrong = failed(fmt.Errorf("the balances of %s add up to %s, and with %s in flight not to zero", name, sum, inFlight),
				"this must never happen: keep the data directory as it is, and report it")
		}
	}
	if o.json {
		return errors.Join(wrong, printJSON(cmd.OutOrStdout(), v))
	}
	err := t.print(cmd.OutOrStdout())
	if !settled {
		fmt.Fprintln(cmd.ErrOrStderr(), "money moved meanwhile: the sums are of no one moment")
	}
	return errors.Join(wrong, err)
}
