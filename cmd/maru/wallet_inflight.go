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

// inFlightView is what is under way between partitions, as --json prints it.
type inFlightView struct {
	Transfers []flightView `json:"transfers"`
	More      bool         `json:"more"`  // there are others, beyond the limit
	Stale     bool         `json:"stale"` // some partition has no leader: of it this may be old
}

// flightView is one of the transfers.
type flightView struct {
	TransactionID string    `json:"transaction_id"`
	FromAccount   string    `json:"from_account,omitempty"` // not of a transaction
	ToAccount     string    `json:"to_account,omitempty"`   // unless the server does not know its id
	ToHandle      string    `json:"to_handle"`              // a 64-bit number, which JSON numbers do not hold
	Legs          int       `json:"legs,omitempty"`         // of a transaction, in the partition of to_handle
	Amount        string    `json:"amount"`
	Currency      string    `json:"currency"`
	Protocol      string    `json:"protocol"`
	Phase         string    `json:"phase"`
	BeganAt       time.Time `json:"began_at"`
}

// to returns what people read of the receiving account.
func (v *flightView) to() string {
	if v.ToAccount == "" {
		return "#" + v.ToHandle
	}
	return v.ToAccount
}

func viewInFlight(list wallet.InFlightList, name func(money.Currency) string) inFlightView {
	v := inFlightView{Transfers: []flightView{}, More: list.More, Stale: list.Stale}
	for _, f := range list.Transfers {
		v.Transfers = append(v.Transfers, flightView{
			TransactionID: f.ID.String(), FromAccount: string(f.From), ToAccount: string(f.ToAccount),
			ToHandle: strconv.FormatUint(uint64(f.To), 10), Legs: f.Legs, Amount: f.Amount.Format(f.Currency), Currency: name(f.Currency),
			Protocol: f.Protocol.String(), Phase: f.Phase.String(), BeganAt: time.Unix(0, f.BeganAt).UTC(),
		})
	}
	return v
}

func newInFlightCommand() *cobra.Command {
	var o httpOptions
	var limit int
	cmd := &cobra.Command{
		Use:   "in-flight",
		Short: "List the transfers that are under way between partitions",
		Long: `List the transfers that are under way between partitions: debited on one side, and
not yet credited, or given back, on the other. Of a transaction there is a line for each
other partition, with its first account and no payer. They end by themselves as soon as
both partitions can be reached. An account that the server does not know by its id
is shown as # and its handle.`,
		Example: "  maru wallet in-flight\n  maru wallet in-flight --limit 1000 --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > wallet.MaxInFlightListed {
				return usageError(fmt.Sprintf("a limit is a number from 1 to %d", wallet.MaxInFlightListed), "limit %d", limit)
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				list, err := client.InFlight(ctx, limit)
				if err != nil {
					return err
				}
				return o.printInFlight(cmd, viewInFlight(list, client.CurrencyName))
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "how many at the most, a `number` up to "+strconv.Itoa(wallet.MaxInFlightListed))
	o.register(cmd)
	return cmd
}

// printInFlight prints the list, and on standard error what it lacks.
func (o *httpOptions) printInFlight(cmd *cobra.Command, v inFlightView) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), v)
	}
	t := newTable("transaction", "from", "to", ">amount", "currency", "protocol", "phase", "began")
	for i := range v.Transfers {
		f := &v.Transfers[i]
		from := f.FromAccount
		if from == "" {
			from = "-"
		}
		t.add(f.TransactionID, from, f.to(), f.Amount, f.Currency, f.Protocol, f.Phase, f.BeganAt.Format(time.RFC3339))
	}
	err := t.print(cmd.OutOrStdout())
	if v.More {
		_, more := fmt.Fprintln(cmd.ErrOrStderr(), "there are more: see --limit")
		err = errors.Join(err, more)
	}
	if v.Stale {
		_, stale := fmt.Fprintln(cmd.ErrOrStderr(), "a partition has no leader: what is listed of it may be old")
		err = errors.Join(err, stale)
	}
	return err
}
