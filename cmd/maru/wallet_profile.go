package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

func newProfileCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "profile",
		Short: "Who an account belongs to: a name and metadata, which can be erased",
		Long: `Who an account belongs to: a name and metadata. They are personal, so they are not in the
log, which forgets nothing, but beside it, sealed under a key of the account's own, which
maru wallet erase destroys. With API keys, this needs one with the scope wallet:personal.`,
		Example: `  maru wallet profile set alice --name 'Alice Liddell' --metadata mail=alice@example.com
  maru wallet profile show alice`,
	}, newProfileShowCommand(), newProfileSetCommand())
}

// profileView is a profile as --json prints it.
type profileView struct {
	Account  string            `json:"account"`
	Name     string            `json:"name,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// printProfile prints who an account belongs to.
func (o *httpOptions) printProfile(cmd *cobra.Command, id string, d wallet.PersonalData) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), profileView{id, d.Text, d.Metadata})
	}
	pairs := [][2]string{{"account", id}, {"name", printable(d.Text)}}
	for _, key := range slices.Sorted(maps.Keys(d.Metadata)) {
		pairs = append(pairs, [2]string{printable(key), printable(d.Metadata[key])})
	}
	return printPairs(cmd.OutOrStdout(), pairs...)
}

func newProfileShowCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show who an account belongs to",
		Example: "  maru wallet profile show alice\n  maru wallet profile show alice --json | jq -r .name",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				d, err := client.Profile(ctx, wallet.AccountID(args[0]))
				if err != nil {
					return explainPersonal(err)
				}
				return o.printProfile(cmd, args[0], d)
			})
		},
	}
	o.register(cmd)
	return cmd
}

func newProfileSetCommand() *cobra.Command {
	var o httpOptions
	var name string
	var metadata []string
	cmd := &cobra.Command{
		Use:   "set ID",
		Short: "Change who an account belongs to; what is not named stays",
		Long: `Change who an account belongs to. What is not named stays as it is; an empty --name
removes the name, and --metadata KEY= removes a key. There are up to 64 keys of up to 64
bytes, values and the name have up to 1,024 bytes, and all of it 16,384.`,
		Example: `  maru wallet profile set alice --name 'Alice Liddell' --metadata mail=alice@example.com
  maru wallet profile set alice --metadata mail=`,
		Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			change := wallet.PersonalChange{Metadata: map[string]*string{}}
			if cmd.Flags().Changed("name") {
				change.Text = &name
			}
			for _, text := range metadata {
				key, value, ok := strings.Cut(text, "=")
				if !ok {
					return usageError("--metadata is KEY=VALUE, or KEY= to remove a key", "--metadata %s has no =", quoted(text))
				}
				change.Metadata[key] = nil
				if value != "" {
					change.Metadata[key] = &value
				}
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				d, code, err := client.PatchProfile(ctx, wallet.AccountID(args[0]), change)
				switch {
				case err != nil:
					return explainPersonal(err)
				case code != wallet.Applied:
					return refused("set the profile of "+args[0], code)
				}
				return o.printProfile(cmd, args[0], d)
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`name` of who the account belongs to")
	cmd.Flags().StringArrayVar(&metadata, "metadata", nil, "`KEY=VALUE` of what else there is to say; may be repeated")
	o.register(cmd)
	return cmd
}

// erasureView is an erasure as --json prints it.
type erasureView struct {
	Account  string    `json:"account"`
	ErasedAt time.Time `json:"erased_at"`
	ErasedBy string    `json:"erased_by,omitempty"` // id of an API key
}

func newEraseCommand() *cobra.Command {
	var o httpOptions
	var yes bool
	cmd := &cobra.Command{
		Use:   "erase ID --yes",
		Short: "Destroy the personal data of an account, for ever",
		Long: `Destroy the personal data of an account, for ever: its key, and with it the profile and
the notes, wherever there are copies of what was sealed. The account, its balances and
its transfers stay, as does their proof; it takes no personal data any more. To erase
again is no error. With API keys, this needs one with the scope wallet:erase.`,
		Example: "  maru wallet erase alice --yes",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return usageError("add --yes, if the personal data of "+args[0]+" is to be destroyed", "nothing was erased: it cannot be undone")
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				e, code, err := client.ErasePersonal(ctx, wallet.AccountID(args[0]))
				switch {
				case err != nil:
					return explainPersonal(err)
				case code != wallet.Applied:
					return refused("erase "+args[0], code)
				}
				v := erasureView{args[0], time.Unix(0, e.At).UTC(), e.By}
				return printResult(cmd.OutOrStdout(), o.json, v, fmt.Sprintf("the personal data of %s was erased at %s", args[0], v.ErasedAt.Format(time.RFC3339)))
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it: it cannot be undone")
	o.register(cmd)
	return cmd
}

// explainPersonal explains the problems that only personal data has.
func explainPersonal(err error) error {
	p, ok := errors.AsType[*wallethttp.Problem](err)
	switch {
	case !ok:
		return err
	case p.Status == http.StatusGone, p.Code == "personal_not_found":
		return &failure{err: p, status: exitRefused}
	case p.Status == http.StatusServiceUnavailable && p.Code == "store_unavailable":
		return failed(p, "see the log of the server: its store of personal data is away, or it runs with --personal=false; the wallet goes on")
	case p.Code == "store_unusable":
		return failed(p, "it does not pass by itself: bring the node the file of the new master key, which it reads when it is asked again, or start it with the right database; the wallet goes on")
	case p.Status == http.StatusNotImplemented:
		return failed(p, "the other commands do without")
	}
	return err
}
