package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethook"
	"maru.example/wallet/wallethttp"
)

func newWebhookCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "webhook",
		Short: "Let other services be told of events, over HTTP",
		Long: `Let other services be told of events: each that was chosen is posted to an address, signed
as Standard Webhooks has it, at least once, in the order of its partition. A receiver that
fails is tried again for three days; then the message is a dead letter, and the next one
comes. With API keys, this needs one with the scope wallet:webhooks.`,
		Example: `  maru wallet webhook create https://example.com/hook --kind credit --account shop
  maru wallet webhook create https://example.com/low --below shop,100.00,USD
  maru wallet webhook list`,
	},
		newWebhookCreateCommand(), newWebhookListCommand(), newWebhookShowCommand(), newWebhookUpdateCommand(), newWebhookDeleteCommand(),
		newWebhookRotateCommand(), newWebhookReplayCommand(), newWebhookTestCommand(), newWebhookAttemptsCommand(),
		newWebhookDeadLettersCommand(), newWebhookRedeliverCommand(),
	)
}

// webhookOptions are the flags that choose what a webhook is told.
type webhookOptions struct {
	httpOptions
	note            string
	kinds, accounts []string
	below, above    []string
}

func (o *webhookOptions) registerChoice(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.note, "note", "", "what it is for, a `text`")
	f.StringSliceVar(&o.kinds, "kind", nil, "`kind` of events that it is told, such as debit or credit; may be repeated")
	f.StringSliceVar(&o.accounts, "account", nil, "`account` whose events it is told; may be repeated (default: all)")
	f.StringArrayVar(&o.below, "below", nil, "`ACCOUNT,AMOUNT,CURRENCY`: tell when the balance goes below; may be repeated")
	f.StringArrayVar(&o.above, "above", nil, "`ACCOUNT,AMOUNT,CURRENCY`: tell when the balance goes above; may be repeated")
	var names []string
	for _, k := range wallet.WebhookKinds() {
		names = append(names, k.String())
	}
	completeFlag(cmd, "kind", names...)
	o.register(cmd)
}

func (o *webhookOptions) parseKinds() (kinds []wallet.EventKind, err error) {
	for _, name := range o.kinds {
		k, err := wallet.ParseWebhookKind(name)
		if err != nil {
			return nil, usageError("--kind can be given several times", "--kind %s: %w", quoted(name), err)
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

func (o *webhookOptions) parseAccounts() (ids []wallet.AccountID) {
	for _, id := range o.accounts {
		ids = append(ids, wallet.AccountID(id))
	}
	return ids
}

func (o *webhookOptions) parseThresholds(cmd *cobra.Command) (all []wallet.Threshold, err error) {
	for _, side := range []struct {
		texts []string
		above bool
	}{{o.below, false}, {o.above, true}} {
		for _, text := range side.texts {
			parts := strings.Split(text, ",")
			if len(parts) != 3 {
				return nil, usageError("such as --below alice,10.00,USD", "%s is not ACCOUNT,AMOUNT,CURRENCY", quoted(text))
			}
			t := wallet.Threshold{Account: wallet.AccountID(parts[0]), Above: side.above}
			if t.Currency, err = o.parseCurrency(cmd, parts[2]); err != nil {
				return nil, err
			}
			if t.Amount, err = money.ParseAmount(parts[1], t.Currency); err != nil {
				return nil, usageError("such as --below alice,10.00,USD", "%w", err)
			}
			all = append(all, t)
		}
	}
	return all, nil
}

func parseWebhookFrom(text string) (wallet.WebhookFrom, error) {
	from, err := wallethttp.ParseWebhookFrom(text)
	if err != nil {
		return from, usageError("now, oldest, a moment such as 2026-11-30T12:00:00Z, or a position such as 0:1234", "--from %s %w", quoted(text), err)
	}
	return from, nil
}

// explainWebhook adds to an error about webhooks what to do about it.
func explainWebhook(err error) error {
	if p, ok := errors.AsType[*wallethttp.Problem](err); ok {
		switch p.Code {
		case "webhook_not_found":
			return &failure{err, "`maru wallet webhook list` shows those that there are", exitRefused}
		case "dead_letter_not_found":
			return &failure{err, "`maru wallet webhook dead-letters` shows those that there are", exitRefused}
		case "too_many_webhooks":
			return &failure{err, "delete those that nobody needs", exitRefused}
		case "webhooks_unavailable":
			return failed(err, "see `maru serve --help`")
		}
	}
	return err
}

// webhookView is a webhook, as --json prints it.
type webhookView struct {
	ID         string          `json:"id"`
	URL        string          `json:"url"`
	Note       string          `json:"note,omitempty"`
	State      string          `json:"state"`
	Reason     string          `json:"reason,omitempty"`
	Kinds      []string        `json:"kinds"`
	Accounts   []string        `json:"accounts"` // none: all
	Thresholds []thresholdView `json:"thresholds"`
	Secret     string          `json:"secret,omitempty"`
	Partitions []laneView      `json:"partitions"`
}

type thresholdView struct {
	Account  string `json:"account"`
	Side     string `json:"side"`
	Amount   string `json:"amount"`
	Currency string `json:"currency"`
}

type laneView struct {
	Partition      uint16    `json:"partition"`
	Position       string    `json:"position,omitempty"`
	FailedAttempts uint32    `json:"failed_attempts"`
	NextAttempt    time.Time `json:"next_attempt_at,omitzero"`
	LastError      string    `json:"last_error,omitempty"`
	LastSuccess    time.Time `json:"last_success_at,omitzero"`
	GapTo          string    `json:"gap_to,omitempty"`
	SetBack        string    `json:"set_back_from,omitempty"`
}

func viewWebhook(c *wallethttp.Client, w *wallet.WebhookState) webhookView {
	v := webhookView{
		ID: string(w.ID), URL: w.URL, Note: w.Note, State: wallethttp.WebhookStateName(w), Reason: w.Reason,
		Kinds: []string{}, Accounts: []string{}, Thresholds: []thresholdView{}, Partitions: []laneView{},
	}
	for _, k := range w.Kinds {
		v.Kinds = append(v.Kinds, k.String())
	}
	for _, id := range w.Accounts {
		v.Accounts = append(v.Accounts, string(id))
	}
	for _, t := range w.Thresholds {
		side := strings.TrimPrefix(t.Kind(), "balance_")
		v.Thresholds = append(v.Thresholds, thresholdView{string(t.Account), side, t.Amount.Format(t.Currency), c.CurrencyName(t.Currency)})
	}
	if len(w.Secrets) > 0 {
		v.Secret = wallethook.FormatSecret(w.Secrets[0].Key)
	}
	for _, l := range w.Lanes {
		lane := laneView{
			Partition: l.Partition, FailedAttempts: l.Attempts, NextAttempt: l.NextAttempt, LastError: l.LastError, LastSuccess: l.LastSuccess,
		}
		if l.Next.Index > 0 {
			lane.Position = wallet.HistoryPosition{Partition: l.Partition, Index: l.Next.Index}.String()
		}
		if l.GapTo > 0 {
			lane.GapTo = wallet.HistoryPosition{Partition: l.Partition, Index: l.GapTo}.String()
		}
		if l.SetBack > 0 {
			lane.SetBack = wallet.HistoryPosition{Partition: l.Partition, Index: l.SetBack}.String()
		}
		v.Partitions = append(v.Partitions, lane)
	}
	return v
}

// print prints a webhook for people.
func (v *webhookView) print(cmd *cobra.Command) error {
	pairs := [][2]string{{"id", v.ID}, {"url", v.URL}}
	add := func(name, value string) {
		if value != "" {
			pairs = append(pairs, [2]string{name, value})
		}
	}
	add("note", v.Note)
	state := v.State
	if v.Reason != "" {
		state += " (" + v.Reason + ")"
	}
	add("state", state)
	add("kinds", strings.Join(v.Kinds, ", "))
	if accounts := strings.Join(v.Accounts, ", "); accounts == "" && len(v.Kinds) > 0 {
		add("accounts", "all")
	} else {
		add("accounts", accounts)
	}
	for _, t := range v.Thresholds {
		add("threshold", fmt.Sprintf("%s %s %s %s", t.Account, t.Side, t.Amount, t.Currency))
	}
	for _, l := range v.Partitions {
		text := "at " + l.Position
		if l.Position == "" {
			text = "looks for its place"
		}
		if l.FailedAttempts > 0 {
			text += fmt.Sprintf(", %d failed attempts", l.FailedAttempts)
			if !l.NextAttempt.IsZero() {
				text += ", the next at " + l.NextAttempt.Format(time.RFC3339)
			}
			text += ": " + l.LastError
		}
		if l.GapTo != "" {
			text += fmt.Sprintf(": events are not on record any more up to %s; `maru wallet webhook replay %s --from %s` goes on there", l.GapTo, v.ID, l.GapTo)
		}
		if l.SetBack != "" {
			text += fmt.Sprintf(", set back from %s when this log got the database", l.SetBack)
		}
		add("partition "+strconv.Itoa(int(l.Partition)), text)
	}
	add("secret", v.Secret)
	return printPairs(cmd.OutOrStdout(), pairs...)
}

// show runs what is answered with a webhook, and prints that.
func (o *httpOptions) showWebhook(cmd *cobra.Command, ask func(context.Context, *wallethttp.Client) (wallet.WebhookState, error)) error {
	return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
		w, err := ask(ctx, client)
		if err != nil {
			return explainWebhook(err)
		}
		v := viewWebhook(client, &w)
		if o.json {
			return printJSON(cmd.OutOrStdout(), v)
		}
		return v.print(cmd)
	})
}

// maxOverlap is for how long two secrets sign at the most.
const maxOverlap = 720 * time.Hour

func newWebhookCreateCommand() *cobra.Command {
	var o webhookOptions
	var from string
	cmd := &cobra.Command{
		Use:   "create URL",
		Short: "Let an address be told of events",
		Long: `Let an address be told of events, and print the secret with which messages are signed: it
is shown here only. The address is https, or http on the server's own machine.`,
		Example: `  maru wallet webhook create https://example.com/hook --kind debit --kind credit --account shop
  maru wallet webhook create https://example.com/low --below shop,100.00,USD --from oldest`,
		Args: exactArgs("URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n := wallet.NewWebhook{URL: args[0], Note: o.note, Accounts: o.parseAccounts()}
			var err error
			if n.Kinds, err = o.parseKinds(); err != nil {
				return err
			}
			if n.Thresholds, err = o.parseThresholds(cmd); err != nil {
				return err
			}
			if n.From, err = parseWebhookFrom(from); err != nil {
				return err
			}
			return o.showWebhook(cmd, func(ctx context.Context, c *wallethttp.Client) (wallet.WebhookState, error) {
				w, err := c.CreateWebhook(ctx, &n)
				if err == nil {
					noteUnopened(ctx, cmd, c, &n)
				}
				return w, err
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "now", "`where` to begin: now, oldest, a moment, or a position")
	o.registerChoice(cmd)
	return cmd
}

// noteUnopened says which accounts of a new webhook there are not: they may be opened later, or be misspelled. A key that may
// not read accounts is told nothing.
func noteUnopened(ctx context.Context, cmd *cobra.Command, c *wallethttp.Client, n *wallet.NewWebhook) {
	ids := slices.Clone(n.Accounts)
	for i := range n.Thresholds {
		ids = append(ids, n.Thresholds[i].Account)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if _, code, err := c.Account(ctx, id); err == nil && code == wallet.UnknownAccount {
			fmt.Fprintf(cmd.ErrOrStderr(), "there is no account %s yet: the webhook tells of it once it is opened\n", quoted(string(id)))
		}
	}
}

func newWebhookListCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the tenant's webhooks",
		Example: "  maru wallet webhook list\n  maru wallet webhook list --json | jq -r 'select(.state == \"gap\").id'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				all, err := client.Webhooks(ctx)
				if err != nil {
					return explainWebhook(err)
				}
				t := newTable("id", "state", "url", "note")
				for i := range all {
					v := viewWebhook(client, &all[i])
					if !o.json {
						t.add(v.ID, v.State, v.URL, v.Note)
					} else if err := printJSON(cmd.OutOrStdout(), v); err != nil {
						return err
					}
				}
				if o.json {
					return nil
				}
				return t.print(cmd.OutOrStdout())
			})
		},
	}
	o.register(cmd)
	return cmd
}

func newWebhookShowCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a webhook and how far it is",
		Example: "  maru wallet webhook show wh_4f1c8a03b7d29e56",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.showWebhook(cmd, func(ctx context.Context, c *wallethttp.Client) (wallet.WebhookState, error) {
				return c.Webhook(ctx, wallet.WebhookID(args[0]))
			})
		},
	}
	o.register(cmd)
	return cmd
}

func newWebhookUpdateCommand() *cobra.Command {
	var o webhookOptions
	var address string
	var enable, disable bool
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Change a webhook",
		Long: `Change a webhook: what is not given stays as it is, and it goes on where it is. --account ''
lets it be told of all accounts. One that was disabled goes on where it stopped when it is
enabled again.`,
		Example: `  maru wallet webhook update wh_4f1c8a03b7d29e56 --url https://example.com/new
  maru wallet webhook update wh_4f1c8a03b7d29e56 --enable`,
		Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.change(cmd)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("url") {
				c.URL = &address
			}
			switch {
			case enable && disable:
				return usageError("give one of them", "--enable and --disable exclude each other")
			case enable || disable:
				c.Enabled = &enable
			}
			return o.showWebhook(cmd, func(ctx context.Context, client *wallethttp.Client) (wallet.WebhookState, error) {
				return client.UpdateWebhook(ctx, wallet.WebhookID(args[0]), &c)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&address, "url", "", "`address` to which messages are posted")
	f.BoolVar(&enable, "enable", false, "let it go on")
	f.BoolVar(&disable, "disable", false, "let it stop where it is")
	o.registerChoice(cmd)
	return cmd
}

// change returns what the flags change.
func (o *webhookOptions) change(cmd *cobra.Command) (c wallet.WebhookChange, err error) {
	f := cmd.Flags()
	if f.Changed("note") {
		c.Note = &o.note
	}
	if f.Changed("kind") {
		kinds, err := o.parseKinds()
		if err != nil {
			return c, err
		}
		c.Kinds = &kinds
	}
	if f.Changed("account") {
		c.Accounts = new(o.parseAccounts())
	}
	if f.Changed("below") || f.Changed("above") {
		thresholds, err := o.parseThresholds(cmd)
		if err != nil {
			return c, err
		}
		c.Thresholds = &thresholds
	}
	return c, nil
}

func newWebhookDeleteCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "delete ID",
		Short:   "Delete a webhook and its dead letters",
		Example: "  maru wallet webhook delete wh_4f1c8a03b7d29e56",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				if err := client.DeleteWebhook(ctx, wallet.WebhookID(args[0])); err != nil {
					return explainWebhook(err)
				}
				return printResult(cmd.OutOrStdout(), o.json, map[string]string{"status": "deleted"}, args[0]+" was deleted")
			})
		},
	}
	o.register(cmd)
	return cmd
}

func newWebhookRotateCommand() *cobra.Command {
	var o httpOptions
	var overlap time.Duration
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Give a webhook a new secret",
		Long: `Give a webhook a new secret and print it: it is shown here only. For a while, messages are
signed with the one before as well; with --overlap 0, for a secret that was stolen, they
are not.`,
		Example: "  maru wallet webhook rotate wh_4f1c8a03b7d29e56 --overlap 72h",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 || overlap%time.Hour != 0 {
				return usageError("such as 24h", "--overlap %v is not a number of hours", overlap)
			}
			if overlap > maxOverlap {
				return usageError("720h, 30 days, is the most", "--overlap %v is too long", overlap)
			}
			return o.showWebhook(cmd, func(ctx context.Context, c *wallethttp.Client) (wallet.WebhookState, error) {
				return c.RotateWebhook(ctx, wallet.WebhookID(args[0]), overlap)
			})
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "`time` for which the secret before signs as well, in hours")
	o.register(cmd)
	return cmd
}

func newWebhookReplayCommand() *cobra.Command {
	var o httpOptions
	var from string
	cmd := &cobra.Command{
		Use:   "replay ID --from WHERE",
		Short: "Let a webhook go on at another place",
		Long: `Let a webhook go on at another place: what it was told behind it, it is told again, with the
same ids. --from now leaves out what it was not told. With positions, the partitions that
they do not name stay where they are.`,
		Example: `  maru wallet webhook replay wh_4f1c8a03b7d29e56 --from 2026-11-30T12:00:00Z
  maru wallet webhook replay wh_4f1c8a03b7d29e56 --from 0:1234`,
		Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from == "" {
				return usageError("now, oldest, a moment such as 2026-11-30T12:00:00Z, or a position such as 0:1234", "--from is needed")
			}
			at, err := parseWebhookFrom(from)
			if err != nil {
				return err
			}
			return o.showWebhook(cmd, func(ctx context.Context, c *wallethttp.Client) (wallet.WebhookState, error) {
				return c.ReplayWebhook(ctx, wallet.WebhookID(args[0]), &at)
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`where` to go on: now, oldest, a moment, or a position (required)")
	o.register(cmd)
	return cmd
}

// attemptView is an attempt to deliver a message, as --json prints it.
type attemptView struct {
	Time      time.Time `json:"time"`
	MessageID string    `json:"message_id"`
	Type      string    `json:"type"`
	Try       uint32    `json:"try"`
	Status    int       `json:"status,omitempty"`
	LatencyMS int64     `json:"latency_ms"`
	Error     string    `json:"error,omitempty"`
}

func viewAttempt(a *wallet.WebhookAttempt) attemptView {
	return attemptView{a.Time, a.Message, a.Kind, a.Try, a.Status, a.Latency.Milliseconds(), a.Error}
}

// try runs what makes one attempt, and prints what became of it. One that failed is a failure.
func (o *httpOptions) tryWebhook(cmd *cobra.Command, ask func(context.Context, *wallethttp.Client) (wallet.WebhookAttempt, error)) error {
	return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
		a, err := ask(ctx, client)
		if err != nil {
			return explainWebhook(err)
		}
		if a.Error != "" {
			return failed(fmt.Errorf("the receiver did not take %s: %s", a.Message, a.Error), "what is wrong, the receiver's log may say; `maru wallet webhook attempts` has more")
		}
		return printResult(cmd.OutOrStdout(), o.json, viewAttempt(&a), fmt.Sprintf("%s was delivered: status %d after %v", a.Message, a.Status, a.Latency))
	})
}

func newWebhookTestCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "test ID",
		Short:   "Send a message of the type test, and say what became of it",
		Example: "  maru wallet webhook test wh_4f1c8a03b7d29e56",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.tryWebhook(cmd, func(ctx context.Context, c *wallethttp.Client) (wallet.WebhookAttempt, error) {
				return c.TestWebhook(ctx, wallet.WebhookID(args[0]))
			})
		},
	}
	o.register(cmd)
	return cmd
}

func newWebhookAttemptsCommand() *cobra.Command {
	var o httpOptions
	var limit int
	cmd := &cobra.Command{
		Use:     "attempts ID",
		Short:   "List the newest attempts to deliver, the newest first",
		Example: "  maru wallet webhook attempts wh_4f1c8a03b7d29e56 --limit 10",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				list, err := client.WebhookAttempts(ctx, wallet.WebhookID(args[0]), limit)
				if err != nil {
					return explainWebhook(err)
				}
				t := newTable("time", "message", "type", ">try", ">status", ">ms", "error")
				for i := range list {
					v := viewAttempt(&list[i])
					if !o.json {
						t.add(v.Time.Format(time.RFC3339Nano), v.MessageID, v.Type, strconv.Itoa(int(v.Try)), strconv.Itoa(v.Status), strconv.FormatInt(v.LatencyMS, 10), v.Error)
					} else if err := printJSON(cmd.OutOrStdout(), v); err != nil {
						return err
					}
				}
				if o.json {
					return nil
				}
				return t.print(cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many at the most, a `number`")
	o.register(cmd)
	return cmd
}

// deadLetterView is a message that was given up, as --json prints it.
type deadLetterView struct {
	MessageID string          `json:"message_id"`
	Type      string          `json:"type"`
	GivenUpAt time.Time       `json:"given_up_at"`
	Attempts  uint32          `json:"attempts"`
	LastError string          `json:"last_error"`
	Body      json.RawMessage `json:"body"`
}

func newWebhookDeadLettersCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "dead-letters ID",
		Short:   "List messages that were given up, the oldest first",
		Example: "  maru wallet webhook dead-letters wh_4f1c8a03b7d29e56 --json | jq .body",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				t, after := newTable("given up", "message", "type", ">attempts", "error"), ""
				for {
					list, err := client.DeadLetters(ctx, wallet.WebhookID(args[0]), after, wallet.MaxDeadLettersListed)
					if err != nil {
						return explainWebhook(err)
					}
					for _, l := range list {
						after = l.Message
						v := deadLetterView{l.Message, l.Kind, l.Time, l.Attempts, l.Error, l.Body}
						if !o.json {
							t.add(v.GivenUpAt.Format(time.RFC3339), v.MessageID, v.Type, strconv.Itoa(int(v.Attempts)), v.LastError)
						} else if err := printJSON(cmd.OutOrStdout(), v); err != nil {
							return err
						}
					}
					if len(list) < wallet.MaxDeadLettersListed {
						break
					}
				}
				if o.json {
					return nil
				}
				return t.print(cmd.OutOrStdout())
			})
		},
	}
	o.register(cmd)
	return cmd
}

func newWebhookRedeliverCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "redeliver ID MESSAGE",
		Short:   "Try to deliver a dead letter once more; if that succeeds, it is removed",
		Example: "  maru wallet webhook redeliver wh_4f1c8a03b7d29e56 evt_5b0c9e17-0-1234-1",
		Args:    exactArgs("ID", "MESSAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.tryWebhook(cmd, func(ctx context.Context, c *wallethttp.Client) (wallet.WebhookAttempt, error) {
				return c.Redeliver(ctx, wallet.WebhookID(args[0]), args[1])
			})
		},
	}
	o.register(cmd)
	return cmd
}
