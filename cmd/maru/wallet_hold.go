package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

func newHoldCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "hold",
		Short: "Reserve money of an account, and pay with it later",
		Long: `Reserve money of an account: until it is captured, released or expires, nothing else
can be paid with it. A capture pays all or a part of it to an account, any number of
times until nothing is left.

Everything has an id, as transfers have: what is repeated with the same id is done once.`,
		Example: `  maru wallet hold place alice 100.00 USD --for 15m
  maru wallet hold capture 01900000-0000-7000-8000-000000000001 alice shop 80.00 USD --final
  maru wallet hold list alice`,
	},
		newHoldPlaceCommand(),
		newHoldCaptureCommand(),
		newHoldReleaseCommand(),
		newHoldExtendCommand(),
		newHoldShowCommand(),
		newHoldListCommand(),
	)
}

// holdOptions are the flags of commands that change a hold.
type holdOptions struct {
	httpOptions
	id    string
	until string
	for_  time.Duration //nolint:revive // the flag's name is a keyword
}

func (o *holdOptions) registerID(cmd *cobra.Command, of string) {
	cmd.Flags().StringVar(&o.id, "id", "", "id of the "+of+", a `UUID` (default: a new one)")
	o.register(cmd)
}

func (o *holdOptions) registerExpiry(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.until, "until", "", "expiry, a `moment` in the form of RFC 3339, to the millisecond")
	cmd.Flags().DurationVar(&o.for_, "for", 0, "expiry, as a `duration` from now on, by this machine's clock")
}

// newID returns the id of --id, or a new one.
func (o *holdOptions) newID() (wallet.TransactionID, error) {
	if o.id == "" {
		return newTransactionID(time.Now()), nil
	}
	return parseTransactionID(o.id, "leave out --id for a new one")
}

// expiry returns the time of --until or --for.
func (o *holdOptions) expiry() (wallet.Millis, error) {
	switch {
	case (o.until == "") == (o.for_ == 0):
		return 0, usageError("say with --until or with --for when it shall expire", "one of --until and --for is needed")
	case o.for_ != 0:
		return wallet.Millis(time.Now().Add(o.for_).UnixMilli()), nil
	}
	at, err := time.Parse(time.RFC3339Nano, o.until)
	if err != nil || at.Nanosecond()%int(time.Millisecond) != 0 {
		return 0, usageError("such as 2026-11-30T12:00:00Z, or 2026-11-30T13:00:00.250+01:00", "--until %s is no moment in the form of RFC 3339, to the millisecond", quoted(o.until))
	}
	return wallet.Millis(at.UnixMilli()), nil
}

func formatMillis(m wallet.Millis) string {
	return time.UnixMilli(int64(m)).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// holdChangeView is what was done with a hold, as --json prints it.
type holdChangeView struct {
	Status        string `json:"status"`         // success
	TransactionID string `json:"transaction_id"` // of the hold that was placed, or of what was done with one
	Replayed      bool   `json:"replayed"`       // it had been done before
}

// change runs a command about a hold, whose id it prints first, and prints the answer.
func (o *holdOptions) change(cmd *cobra.Command, id wallet.TransactionID, done string, ask func(context.Context, *wallethttp.Client) (wallet.Result, error)) error {
	err := o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
		result, err := ask(ctx, client)
		if err != nil {
			return err
		}
		if code := result.Code(); code != wallet.Applied && code != wallet.Held {
			return refusedTransfer(result)
		}
		v := holdChangeView{"success", id.String(), result.Repeated()}
		if v.Replayed {
			done += ", earlier: with the same id nothing is done twice"
		}
		return printResult(cmd.OutOrStdout(), o.json, v, done)
	})
	if err != nil {
		return &transferError{"command", id, err}
	}
	return nil
}

func (o *holdOptions) announce(cmd *cobra.Command, what string, id wallet.TransactionID) {
	if o.id == "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s %s\n", what, id)
	}
}

func (o *httpOptions) parseMoney(cmd *cobra.Command, text, code string) (a money.Amount, c money.Currency, err error) {
	if c, err = o.parseCurrency(cmd, code); err != nil {
		return 0, 0, err
	}
	if a, err = money.ParseAmount(text, c); err != nil {
		return 0, 0, usageError(fmt.Sprintf("an amount of %s has at most %d decimal places, no sign and no grouping", code, c.Digits()), "%w", err)
	}
	return a, c, nil
}

func parseHoldID(s string) (wallet.TransactionID, error) {
	return parseTransactionID(s, "give the id that `maru wallet hold place` printed; `maru wallet hold list ACCOUNT` has those that are open")
}

func newHoldPlaceCommand() *cobra.Command {
	var o holdOptions
	var payee string
	cmd := &cobra.Command{
		Use:   "place ACCOUNT AMOUNT CURRENCY",
		Short: "Reserve money of an account",
		Long: `Reserve money of an account until a moment (--until) or for a while (--for), at most 366
days. The id of the hold is printed on standard error before it is placed, as is its expiry
with --for: should the answer get lost, repeat the command with --id and --until.`,
		Example: `  maru wallet hold place alice 100.00 USD --for 15m
  maru wallet hold place alice 100.00 USD --until 2026-11-30T12:00:00Z --payee shop`,
		Args: exactArgs("ACCOUNT", "AMOUNT", "CURRENCY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			h := wallet.NewHold{Account: wallet.AccountID(args[0]), Payee: wallet.AccountID(payee)}
			var err error
			if h.Amount, h.Currency, err = o.parseMoney(cmd, args[1], args[2]); err != nil {
				return err
			}
			if h.Expires, err = o.expiry(); err != nil {
				return err
			}
			if h.ID, err = o.newID(); err != nil {
				return err
			}
			o.announce(cmd, "hold_id", h.ID)
			if o.for_ != 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "expires_at %s\n", formatMillis(h.Expires))
			}
			done := fmt.Sprintf("%s %s of %s are held until %s", h.Amount.Format(h.Currency), args[2], h.Account, formatMillis(h.Expires))
			return o.change(cmd, h.ID, done, func(ctx context.Context, c *wallethttp.Client) (wallet.Result, error) { return c.PlaceHold(ctx, h) })
		},
	}
	cmd.Flags().StringVar(&payee, "payee", "", "the only `account` that it can be paid to (default: any)")
	o.registerExpiry(cmd)
	cmd.ValidArgsFunction = completeCurrency(2)
	o.registerID(cmd, "hold")
	return cmd
}

func newHoldCaptureCommand() *cobra.Command {
	var o holdOptions
	var final bool
	cmd := &cobra.Command{
		Use:   "capture HOLD FROM TO AMOUNT CURRENCY",
		Short: "Pay out of a hold",
		Long: `Pay what a hold has left, or a part of it, from the hold's account to another one. It is
a transfer: transfer-status tells what became of its id.`,
		Example: `  maru wallet hold capture 01900000-0000-7000-8000-000000000001 alice shop 80.00 USD
  maru wallet hold capture 01900000-0000-7000-8000-000000000001 alice shop 80.00 USD --final`,
		Args: exactArgs("HOLD", "FROM", "TO", "AMOUNT", "CURRENCY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hold, err := parseHoldID(args[0])
			if err != nil {
				return err
			}
			t, err := o.parseTransfer(cmd, args[1:], o.id)
			if err != nil {
				return err
			}
			if t.ID, err = o.newID(); err != nil {
				return err
			}
			o.announce(cmd, "transaction_id", t.ID)
			done := fmt.Sprintf("%s %s moved from %s to %s", t.Amount.Format(t.Currency), args[4], t.From, t.To)
			return o.change(cmd, t.ID, done, func(ctx context.Context, c *wallethttp.Client) (wallet.Result, error) {
				return c.Capture(ctx, wallet.Capture{Transfer: t, Hold: hold, Final: final})
			})
		},
	}
	cmd.Flags().BoolVar(&final, "final", false, "release what is left then")
	cmd.ValidArgsFunction = completeCurrency(4)
	o.registerID(cmd, "capture")
	return cmd
}

func newHoldReleaseCommand() *cobra.Command {
	var o holdOptions
	var amount string
	cmd := &cobra.Command{
		Use:   "release HOLD ACCOUNT CURRENCY",
		Short: "Give back what a hold has left, or a part of it",
		Example: `  maru wallet hold release 01900000-0000-7000-8000-000000000001 alice USD
  maru wallet hold release 01900000-0000-7000-8000-000000000001 alice USD --amount 20.00`,
		Args: exactArgs("HOLD", "ACCOUNT", "CURRENCY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := wallet.Release{Account: wallet.AccountID(args[1])}
			what := "all"
			var err error
			if amount == "" {
				r.Currency, err = o.parseCurrency(cmd, args[2])
			} else {
				r.Amount, r.Currency, err = o.parseMoney(cmd, amount, args[2])
				what = amount + " " + args[2]
			}
			if err != nil {
				return err
			}
			if amount != "" && r.Amount <= 0 {
				return usageError("leave it out to release all", "--amount is more than zero")
			}
			if r.Hold, err = parseHoldID(args[0]); err != nil {
				return err
			}
			if r.ID, err = o.newID(); err != nil {
				return err
			}
			o.announce(cmd, "transaction_id", r.ID)
			return o.change(cmd, r.ID, what+" of the hold is released", func(ctx context.Context, c *wallethttp.Client) (wallet.Result, error) { return c.Release(ctx, r) })
		},
	}
	cmd.Flags().StringVar(&amount, "amount", "", "how much, an `amount` (default: all that is left)")
	cmd.ValidArgsFunction = completeCurrency(2)
	o.registerID(cmd, "release")
	return cmd
}

func newHoldExtendCommand() *cobra.Command {
	var o holdOptions
	cmd := &cobra.Command{
		Use:     "extend HOLD ACCOUNT",
		Short:   "Give a hold another expiry, later or earlier",
		Example: "  maru wallet hold extend 01900000-0000-7000-8000-000000000001 alice --for 24h",
		Args:    exactArgs("HOLD", "ACCOUNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			e := wallet.Extend{Account: wallet.AccountID(args[1])}
			var err error
			if e.Hold, err = parseHoldID(args[0]); err != nil {
				return err
			}
			if e.Expires, err = o.expiry(); err != nil {
				return err
			}
			if e.ID, err = o.newID(); err != nil {
				return err
			}
			o.announce(cmd, "transaction_id", e.ID)
			return o.change(cmd, e.ID, "the hold expires at "+formatMillis(e.Expires), func(ctx context.Context, c *wallethttp.Client) (wallet.Result, error) { return c.Extend(ctx, e) })
		},
	}
	o.registerExpiry(cmd)
	o.registerID(cmd, "extension")
	return cmd
}

// holdView is a hold as --json prints it.
type holdView struct {
	ID        string    `json:"hold_id"`
	Account   string    `json:"account"`
	Payee     string    `json:"payee,omitempty"`
	Currency  string    `json:"currency"`
	Amount    string    `json:"amount"`
	Left      string    `json:"left"`
	Captured  string    `json:"captured"`
	InFlight  string    `json:"in_flight"`
	PlacedAt  time.Time `json:"placed_at"`
	ExpiresAt string    `json:"expires_at"`
}

func viewHold(h *wallet.Hold, name func(money.Currency) string) holdView {
	in := func(a money.Amount) string { return a.Format(h.Currency) }
	return holdView{
		h.ID.String(), string(h.Account), string(h.Payee), name(h.Currency), in(h.Amount), in(h.Left), in(h.Captured), in(h.InFlight),
		time.Unix(0, h.PlacedAt).UTC(), formatMillis(h.Expires),
	}
}

func newHoldShowCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "show HOLD",
		Short:   "Show an open hold",
		Example: "  maru wallet hold show 01900000-0000-7000-8000-000000000001",
		Args:    exactArgs("HOLD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseHoldID(args[0])
			if err != nil {
				return err
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				h, code, err := client.Hold(ctx, id)
				switch {
				case err != nil:
					return err
				case code != wallet.Applied:
					return refused("hold "+id.String(), code)
				}
				v := viewHold(&h, client.CurrencyName)
				return o.printHolds(cmd, v, v)
			})
		},
	}
	o.register(cmd)
	return cmd
}

// holdsView is the open holds of an account, as --json prints them.
type holdsView struct {
	Holds []holdView `json:"holds"`
	More  bool       `json:"more"` // there are others, beyond the limit
}

func newHoldListCommand() *cobra.Command {
	var o httpOptions
	var limit int
	cmd := &cobra.Command{
		Use:     "list ACCOUNT",
		Short:   "List the open holds of an account",
		Example: "  maru wallet hold list alice\n  maru wallet hold list alice --limit 1000 --json",
		Args:    exactArgs("ACCOUNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > wallet.MaxHoldsListed {
				return usageError(fmt.Sprintf("a limit is a number from 1 to %d", wallet.MaxHoldsListed), "limit %d", limit)
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				list, code, err := client.Holds(ctx, wallet.AccountID(args[0]), wallet.HoldCursor{}, limit)
				switch {
				case err != nil:
					return err
				case code != wallet.Applied:
					return refused("list "+args[0], code)
				}
				v := holdsView{Holds: []holdView{}, More: list.More}
				for i := range list.Holds {
					v.Holds = append(v.Holds, viewHold(&list.Holds[i], client.CurrencyName))
				}
				err = o.printHolds(cmd, v, v.Holds...)
				if v.More && !o.json {
					_, more := fmt.Fprintln(cmd.ErrOrStderr(), "there are more: see --limit")
					err = errors.Join(err, more)
				}
				return err
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "how many at the most, a `number` up to "+strconv.Itoa(wallet.MaxHoldsListed))
	o.register(cmd)
	return cmd
}

// printHolds prints holds: v with --json, otherwise a table.
func (o *httpOptions) printHolds(cmd *cobra.Command, v any, holds ...holdView) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), v)
	}
	t := newTable("hold", "account", "payee", ">left", ">of", ">captured", "currency", "expires")
	for i := range holds {
		h := &holds[i]
		t.add(h.ID, h.Account, h.Payee, h.Left, h.Amount, h.Captured, h.Currency, h.ExpiresAt)
	}
	return t.print(cmd.OutOrStdout())
}

func newDailyLimitCommand() *cobra.Command {
	var o httpOptions
	var count string
	cmd := &cobra.Command{
		Use:   "daily-limit ID CODE AMOUNT",
		Short: "Change how much may leave an account in a currency on one day",
		Long: `Change how much may leave an account in a currency on one day, by UTC: the sum AMOUNT and the
number --count of transfers and holds. Either may be unlimited. A capture does not count
again. What a hold gives back on the same day does not count, nor does a transfer that was
not made in the end. A reversal changes nothing: it is a transfer of its own.`,
		Example: `  maru wallet daily-limit alice USD 500.00
  maru wallet daily-limit alice USD 500.00 --count 20
  maru wallet daily-limit alice USD unlimited`,
		Args: exactArgs("ID", "CODE", "AMOUNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.parseCurrency(cmd, args[1])
			if err != nil {
				return err
			}
			l, err := parseDailyLimit(args[2], count, c)
			if err != nil {
				return err
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				account, code, err := client.SetDailyLimit(ctx, wallet.AccountID(args[0]), c, l)
				return o.account(cmd, client, account, code, err, fmt.Sprintf("%s may pay %s a day", args[0], formatDaily(l, c, args[1])))
			})
		},
	}
	cmd.Flags().StringVar(&count, "count", unlimited, "how many transfers and holds, a `number` or unlimited")
	cmd.ValidArgsFunction = completeCurrency(1)
	o.register(cmd)
	return cmd
}

func parseDailyLimit(amount, count string, c money.Currency) (l wallet.DailyLimit, err error) {
	if amount != unlimited {
		if l.Amount, err = money.ParseAmount(amount, c); err != nil || l.Amount <= 0 {
			return l, usageError("a daily limit is an amount above zero, such as 500.00, or unlimited", "daily limit %s", quoted(amount))
		}
	}
	if count != unlimited {
		n, err := strconv.ParseUint(count, 10, 32)
		if err != nil || n == 0 {
			return l, usageError("a count is a number above zero, or unlimited", "count %s", quoted(count))
		}
		l.Count = uint32(n)
	}
	return l, nil
}

// formatDaily returns a daily limit for people; name is the currency's.
func formatDaily(l wallet.DailyLimit, c money.Currency, name string) string {
	text := unlimited + " " + name
	if l.Amount != 0 {
		text = l.Amount.Format(c) + " " + name
	}
	if l.Count != 0 {
		text += " in " + several(int(l.Count), "payment", "payments")
	}
	return text
}
