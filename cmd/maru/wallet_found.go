package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// atLeastFlag registers --at-least.
func atLeastFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "at-least", "", "`position` that the answer has to reflect, as an earlier answer had it")
}

// parseAtLeast reads the value of --at-least.
func parseAtLeast(text string) (wallet.HistoryPositions, error) {
	if text == "" {
		return nil, nil
	}
	ps, err := wallet.ParseHistoryPositions(text)
	if err != nil {
		return nil, usageError("the answer to a write has it in the header "+wallethttp.PositionHeader, "--at-least: %w", err)
	}
	return ps, nil
}

func newTransferStatusCommand() *cobra.Command {
	var o httpOptions
	var atLeast string
	cmd := &cobra.Command{
		Use:     "transfer-status UUID",
		Aliases: []string{"show-transfer"},
		Short:   "Show a transfer: what became of it, and what it was",
		Long: `Show what became of a transfer, a transaction, a capture or a hold: applied, the code
of its refusal, pending if it is under way between two partitions, or undecided if the
server has never seen its id. That is certain, also after a lost answer. What it was and
when, and how much of it was taken back, the server's history says, if it has one and
has come so far.`,
		Example: `  maru wallet transfer-status 01900000-0000-7000-8000-000000000001
  maru wallet transfer-status 01900000-0000-7000-8000-000000000001 --json | jq .reversed_amount`,
		Args: exactArgs("UUID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseTransactionID(args[0], "give the id that `maru wallet transfer` printed before it sent the transfer")
			if err != nil {
				return err
			}
			r := &wallet.FindRequest{ID: id}
			if r.AtLeast, err = parseAtLeast(atLeast); err != nil {
				return err
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				found, err := client.HistoryFind(ctx, r)
				if err != nil {
					return err
				}
				v := viewFinding(id, &found, client)
				if o.json {
					return printJSON(cmd.OutOrStdout(), v)
				}
				if found.Missing != nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "what it was is not known: %s\n", plain(found.Missing))
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), found.Code.String()+": "+explain(found.Code).text)
				return errors.Join(err, v.print(cmd.OutOrStdout()))
			})
		},
	}
	atLeastFlag(cmd, &atLeast)
	o.register(cmd)
	return cmd
}

// findingView is what is known of a transaction id, as --json prints it.
type findingView struct {
	TransactionID string `json:"transaction_id"`
	Status        string `json:"status"`            // applied, refused, pending, held or undecided
	Code          string `json:"code,omitempty"`    // why it was refused
	Content       string `json:"content,omitempty"` // whole, none, or why the rest is not there: behind, unavailable

	Kind             string            `json:"kind,omitempty"`
	Time             *time.Time        `json:"time,omitempty"`
	Position         string            `json:"position,omitempty"`
	FromAccount      string            `json:"from_account,omitempty"`
	ToAccount        string            `json:"to_account,omitempty"`
	Amount           string            `json:"amount,omitempty"`
	Currency         string            `json:"currency,omitempty"`
	Postings         []postingView     `json:"postings,omitempty"`
	Reference        string            `json:"reference,omitempty"`
	Metadata         map[string]string `json:"metadata,omitempty"`
	Reverses         string            `json:"reverses,omitempty"`
	Hold             string            `json:"hold_id,omitempty"`
	Expires          *time.Time        `json:"expires_at,omitempty"`
	Reversed         string            `json:"reversed_amount,omitempty"` // of a transfer
	ReversedPostings []postingView     `json:"reversed_postings,omitempty"`
}

func viewFinding(id wallet.TransactionID, f *wallet.Found, client *wallethttp.Client) findingView {
	v := findingView{TransactionID: id.String(), Status: "refused", Code: f.Code.String()}
	switch f.Code { //nolint:exhaustive // the others are refusals
	case wallet.Undecided:
		v.Status, v.Code = f.Code.String(), ""
		return v
	case wallet.Applied, wallet.Pending, wallet.Held:
		v.Status, v.Code = f.Code.String(), ""
	}
	switch {
	case f.Content != nil:
		v.Content = "whole"
		v.show(f, client)
	case f.Missing == nil:
		v.Content = "none"
	case errors.Is(f.Missing, wallet.ErrHistoryBehind):
		v.Content = "behind"
	default:
		v.Content = "unavailable"
	}
	return v
}

// show fills in what it was.
func (v *findingView) show(f *wallet.Found, client *wallethttp.Client) {
	c := f.Content
	at := time.Unix(0, c.Time).UTC()
	v.Kind, v.Time, v.Position = c.Kind.String(), &at, wallet.HistoryPosition{Partition: f.Partition, Index: c.Index}.String()
	v.Postings, v.Reference, v.Metadata = viewPostings(c.Postings, client), c.Reference, c.Metadata
	v.FromAccount, v.ToAccount = string(c.Account), string(c.Payee)
	if c.Currency != 0 {
		v.Amount, v.Currency = c.Amount.Format(c.Currency), client.CurrencyName(c.Currency)
	}
	if c.Reverses != (wallet.TransactionID{}) {
		v.Reverses = c.Reverses.String()
	}
	if c.Hold != (wallet.TransactionID{}) {
		v.Hold = c.Hold.String()
	}
	if c.Expires != 0 {
		expires := time.UnixMilli(int64(c.Expires)).UTC()
		v.Expires = &expires
	}
	back, known := f.ReversedLegs()
	v.ReversedPostings = viewPostings(back, client)
	if c.Kind == wallet.TransferContent || c.Kind == wallet.CaptureContent {
		from, to := &c.Postings[0], &c.Postings[1]
		v.FromAccount, v.ToAccount, v.Amount, v.Currency = string(from.Account), string(to.Account), to.Amount.Format(to.Currency), client.CurrencyName(to.Currency)
		if known {
			v.Reversed = wallethttp.ReversedAmount(back).Format(to.Currency)
		}
	}
}

func viewPostings(ps []wallet.Posting, client *wallethttp.Client) (all []postingView) {
	for i := range ps {
		p := &ps[i]
		all = append(all, postingView{string(p.Account), p.Amount.Format(p.Currency), client.CurrencyName(p.Currency)})
	}
	return all
}

// print prints what it was, for people.
func (v *findingView) print(w io.Writer) error {
	if v.Time == nil {
		return nil
	}
	pairs := [][2]string{{"kind", v.Kind}, {"time", v.Time.Format(time.RFC3339Nano)}, {"position", v.Position}}
	add := func(name, value string) {
		if value != "" {
			pairs = append(pairs, [2]string{name, value})
		}
	}
	add("from", v.FromAccount)
	add("to", v.ToAccount)
	if v.Amount != "" {
		add("amount", v.Amount+" "+v.Currency)
	} else {
		for _, p := range v.Postings {
			add("posting", p.Account+" "+p.Amount+" "+p.Currency)
		}
	}
	add("reference", v.Reference)
	add("metadata", formatMetadata(v.Metadata))
	add("reverses", v.Reverses)
	add("hold", v.Hold)
	if v.Expires != nil {
		add("expires", v.Expires.Format(time.RFC3339Nano))
	}
	if v.Reversed != "" {
		add("taken back", v.Reversed+" "+v.Currency)
	} else {
		for _, p := range v.ReversedPostings {
			add("taken back", p.Account+" "+p.Amount+" "+p.Currency)
		}
	}
	return printPairs(w, pairs...)
}

func newReversalsCommand() *cobra.Command {
	var o httpOptions
	var atLeast string
	cmd := &cobra.Command{
		Use:   "reversals UUID",
		Short: "List the reversals of a transfer, capture or transaction",
		Long: `List what took a transfer, a capture or a transaction back, oldest first. As the
server's history it can be behind under load. With --json, one object a line.`,
		Example: `  maru wallet reversals 01900000-0000-7000-8000-000000000001`,
		Args:    exactArgs("UUID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseTransactionID(args[0], "give the id of what was taken back")
			if err != nil {
				return err
			}
			r := &wallet.ReversalsRequest{ID: id, Limit: wallet.MaxEvents}
			if r.AtLeast, err = parseAtLeast(atLeast); err != nil {
				return err
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				return o.printPages(cmd.OutOrStdout(), client, "reversals of "+args[0], func() ([]wallet.PastTransaction, wallet.Code, bool, error) {
					page, code, err := client.HistoryReversals(ctx, r)
					r.After = page.Next
					return page.Transactions, code, page.Next != wallet.LineKey{}, err
				})
			})
		},
	}
	atLeastFlag(cmd, &atLeast)
	o.register(cmd)
	return cmd
}

// formatMetadata returns metadata in the order of its keys, "" if there is none.
func formatMetadata(data map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(data)) {
		all = append(all, key+"="+data[key])
	}
	return strings.Join(all, ", ")
}
