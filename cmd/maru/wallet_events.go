package main

import (
	"cmp"
	"context"
	"encoding/json"
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

// eventView is an event, as --json prints it.
type eventView struct {
	ID      string `json:"id"` // where to go on: --after
	Account string `json:"account"`
	lineView
}

func newEventsCommand() *cobra.Command {
	var o httpOptions
	var from wallethttp.EventsFrom
	var moment string
	var most int
	cmd := &cobra.Command{
		Use:   "events [ID...]",
		Short: "Follow what happens to accounts, or to all",
		Long: `Follow what happens to up to ` + fmt.Sprint(wallethttp.MaxEventAccounts) + ` accounts, or without any to all of the tenant, until it is
interrupted: debits, credits, holds, changes of limits and status. It begins with what is new,
or where --from or --after says. --after takes the id of an event of any stream of the cluster: what
is in partitions that it does not name begins at the earliest time in it, so that events may come
again, but none is missing. --from does not count with it. --timeout does not matter.`,
		Example: `  maru wallet events alice
  maru wallet events --after 0:1796048182109212893.6.1,1:1796048181900000000.4.0
  maru wallet events alice bob --from 2026-11-30T12:00:00Z --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if moment != "" {
				at, err := parseMoment("--from", moment)
				if err != nil {
					return err
				}
				from.Time = at.UnixNano()
			}
			var accounts []wallet.AccountID
			for _, a := range args {
				accounts = append(accounts, wallet.AccountID(a))
			}
			return o.call(cmd, func(_ context.Context, client *wallethttp.Client) error {
				return o.follow(cmd, client, accounts, from, most)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&moment, "from", "", "begin with what happened at this `moment`, in the form of RFC 3339")
	f.StringVar(&from.After, "after", "", "go on after the event with this `id`")
	f.IntVar(&most, "limit", 0, "end after so many events, a `number`; 0 for never")
	o.register(cmd)
	return cmd
}

var errEnough = errors.New("enough events")

func (o *httpOptions) follow(cmd *cobra.Command, client *wallethttp.Client, accounts []wallet.AccountID, from wallethttp.EventsFrom, most int) error {
	out, seen := json.NewEncoder(cmd.OutOrStdout()), 0
	err := client.Follow(cmd.Context(), accounts, from, func(e *wallethttp.Event) error {
		var err error
		if e.Kind == wallet.NoEvent {
			err = o.printEvent(cmd.OutOrStdout(), e)
		} else if v := (eventView{e.ID, string(e.Account), viewLine(client, e.Partition, &e.Line)}); o.json {
			err = out.Encode(v)
		} else {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s  %s %s  balance %s  %s  %s\n",
				v.Time.Format(time.RFC3339Nano), v.Account, v.Kind, v.Amount, v.Currency, v.Balance, v.Counterparty, v.TransactionID)
		}
		if seen++; err == nil && seen == most {
			err = errEnough
		}
		return err
	})
	if errors.Is(err, errEnough) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// printEvent prints an event that changes no balance: what the server said of it.
func (o *httpOptions) printEvent(w io.Writer, e *wallethttp.Event) error {
	var said map[string]any
	if err := json.Unmarshal(e.Data, &said); err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	if o.json {
		said["id"] = e.ID
		return json.NewEncoder(w).Encode(said)
	}
	line := []string{time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano), cmp.Or(string(e.Account), "-"), e.Name}
	for _, known := range []string{"account", "kind", "time", "position", "number"} {
		delete(said, known)
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		text, err := json.Marshal(said[name])
		if err != nil {
			return err
		}
		line = append(line, name+" "+strings.Trim(string(text), `"`))
	}
	_, err := fmt.Fprintln(w, strings.Join(line, "  "))
	return err
}
