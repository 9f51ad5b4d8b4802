package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// foundView is a transaction that was found, as --json prints it.
type foundView struct {
	transactionView
	Status   string    `json:"status"` // applied, pending, or why it was not done in the end
	Time     time.Time `json:"time"`
	Position string    `json:"position"`
}

func newFindCommand() *cobra.Command {
	var o httpOptions
	var atLeast string
	cmd := &cobra.Command{
		Use:   "find REFERENCE",
		Short: "Find transactions by their reference",
		Long: `Find the transactions that were made with a reference, oldest first: several may share
one. Refused ones are none. As the server's history it can be behind under load. With
--json, one object a line.`,
		Example: `  maru wallet find order-4711
  maru wallet find order-4711 --json`,
		Args: exactArgs("REFERENCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := &wallet.ReferenceRequest{Reference: args[0], Limit: wallet.MaxEvents}
			var err error
			if r.AtLeast, err = parseAtLeast(atLeast); err != nil {
				return err
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				return o.printPages(cmd.OutOrStdout(), client, "find "+args[0], func() ([]wallet.PastTransaction, wallet.Code, bool, error) {
					page, code, err := client.HistoryTransactions(ctx, r)
					r.After = page.Next
					return page.Transactions, code, page.Next != wallet.ReferenceCursor{}, err
				})
			})
		},
	}
	atLeastFlag(cmd, &atLeast)
	o.register(cmd)
	return cmd
}

// printPages prints transactions page by page, as long as there are more.
func (o *httpOptions) printPages(w io.Writer, client *wallethttp.Client, what string, next func() (found []wallet.PastTransaction, code wallet.Code, more bool, err error)) error {
	for {
		found, code, more, err := next()
		if err == nil && code != wallet.Applied {
			err = refused(what, code)
		}
		if err == nil {
			err = o.printFound(w, client, found)
		}
		if err != nil || !more {
			return err
		}
	}
}

// printFound prints transactions: a line each for people, or a JSON object.
func (o *httpOptions) printFound(w io.Writer, client *wallethttp.Client, found []wallet.PastTransaction) error {
	out := json.NewEncoder(w)
	for i := range found {
		p := &found[i]
		t, ok := wallet.ParseTransaction(p.Content)
		if !ok {
			return fmt.Errorf("the transaction at %d:%d cannot be read", p.Partition, p.Index)
		}
		made := viewTransaction(t, wallet.Result(p.Code), client.CurrencyName)
		v := foundView{made.transactionView, p.Code.String(), time.Unix(0, p.Time).UTC(), wallet.HistoryPosition{Partition: p.Partition, Index: p.Index}.String()}
		var err error
		if o.json {
			err = out.Encode(v)
		} else {
			var legs []string
			for _, leg := range v.Postings {
				legs = append(legs, fmt.Sprintf("%s %s %s", leg.Account, leg.Amount, leg.Currency))
			}
			_, err = fmt.Fprintf(w, "%s  %s  %s  %s\n", v.Time.Format(time.RFC3339Nano), v.TransactionID, v.Status, strings.Join(legs, ", "))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
