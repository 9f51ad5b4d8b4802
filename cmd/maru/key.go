package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"maru.example/internal/auth"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// keysFile returns the name of the keys file in a data directory.
func keysFile(data string) string { return filepath.Join(data, "keys.json") }

func newKeyCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "key",
		Short: "Create, list and revoke API keys",
		Long: `Create, list and revoke API keys, in the data directory of the server: these
commands run where the server runs. A server that has no keys listens on loopback
only and asks nobody for a key; once there is a key, every request needs one. A
server that runs takes new keys, and drops revoked ones, within a second or so,
but for the first key, which it takes at its next start.`,
		Example: `  maru key create --scope wallet:read --scope wallet:write --note "the shop"
  maru key list
  maru key revoke 4f1c8a03b7d29e56`,
	}, newKeyCreateCommand(), newKeyListCommand(), newKeyRevokeCommand())
}

// keyOptions are the flags of all key commands.
type keyOptions struct {
	data string
	json bool
}

func (o *keyOptions) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.data, "data", defaultData, "data `directory` of the server")
	fromEnvironment(cmd, "data")
	jsonFlag(cmd, &o.json)
}

// keyView is a key as --json prints it.
type keyView struct {
	Key     string       `json:"key,omitempty"` // the secret; create alone knows it
	ID      string       `json:"id"`
	Tenant  string       `json:"tenant"`
	Scopes  []auth.Scope `json:"scopes"`
	Created time.Time    `json:"created"`
	Expires time.Time    `json:"expires,omitzero"`
	Note    string       `json:"note,omitempty"`
}

func viewKey(k auth.Key, text string) keyView {
	return keyView{text, k.ID, k.Tenant, k.Scopes, k.Created, k.Expires, k.Note}
}

func newKeyCreateCommand() *cobra.Command {
	var o keyOptions
	var n auth.NewKey
	var scopes []string
	var validFor time.Duration
	cmd := &cobra.Command{
		Use:   "create --scope SCOPE...",
		Short: "Create an API key and print it: it is nowhere else",
		Long: `Create an API key and print it: the server keeps its hash only, so that it cannot be
shown again. The scopes are wallet:read, wallet:write, wallet:personal (names and
notes), wallet:erase (to destroy these), wallet:webhooks (to let addresses be told of
events) and wallet:admin; none includes another. With wallet:admin a key makes
tenants, and does what its other scopes allow in any tenant.`,
		Example: `  maru key create --scope wallet:read --scope wallet:write
  maru key create --scope wallet:read --tenant acme --valid-for 720h --note reporting
  export MARU_KEY=$(maru key create --scope wallet:write --json | jq -r .key)`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, s := range scopes {
				n.Scopes = append(n.Scopes, auth.Scope(s))
			}
			if cmd.Flags().Changed("valid-for") {
				if validFor < time.Second {
					return usageError("give a second or more, such as 720h; leave it out for a key that never expires",
						"--valid-for %v is not in the future", validFor)
				}
				n.Expires = time.Now().Add(validFor).UTC().Truncate(time.Second)
			}
			return o.create(cmd, n)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&scopes, "scope", nil, "`scope` that the key has: wallet:read, wallet:write, wallet:personal, wallet:erase, wallet:webhooks or wallet:admin; may be repeated (required)")
	f.StringVar(&n.Tenant, "tenant", string(wallet.DefaultTenant), "`tenant` that it acts for")
	f.DurationVar(&validFor, "valid-for", 0, "`time` after which it expires, such as 720h (default: never)")
	completeFlag(cmd, "scope", string(wallethttp.ReadScope), string(wallethttp.WriteScope), string(wallethttp.PersonalScope), string(wallethttp.EraseScope), string(wallethttp.AdminScope))
	f.StringVar(&n.Note, "note", "", "`text` that key list shows")
	o.register(cmd)
	return cmd
}

func (o *keyOptions) create(cmd *cobra.Command, n auth.NewKey) error {
	if err := wallet.Tenant(n.Tenant).Validate(); err != nil {
		return usageError("--tenant names a tenant, such as default", "%w", err)
	}
	if err := unfinished(o.data); err != nil {
		return err
	}
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return failed(err, "--data names the server's data directory")
	}
	text, k, err := auth.Create(keysFile(o.data), n)
	if errors.Is(err, auth.ErrScope) || errors.Is(err, auth.ErrNew) {
		return usageError("add --scope wallet:read, wallet:write, wallet:personal, wallet:erase, wallet:webhooks or wallet:admin, once for each", "%w", err)
	}
	if err != nil {
		return failed(err, "--data names the server's data directory, which must be writable")
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), viewKey(k, text))
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "this key is shown once; programs send it as the header Authorization: Bearer KEY, maru as MARU_KEY")
	_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
	return err
}

func newKeyListCommand() *cobra.Command {
	var o keyOptions
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the API keys, without their secrets",
		Example: "  maru key list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := unfinished(o.data); err != nil {
				return err
			}
			keys, err := auth.List(keysFile(o.data))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return failed(err, "--data names the server's data directory")
			}
			views, t := []keyView{}, newTable("id", "tenant", "scopes", "created", "expires", "note")
			for _, k := range keys {
				views = append(views, viewKey(k, ""))
				t.add(k.ID, k.Tenant, joinScopes(k.Scopes), k.Created.Format(time.DateOnly), formatExpiry(k.Expires), k.Note)
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), map[string][]keyView{"keys": views})
			}
			return t.print(cmd.OutOrStdout())
		},
	}
	o.register(cmd)
	return cmd
}

func joinScopes(scopes []auth.Scope) string {
	var names []string
	for _, s := range scopes {
		names = append(names, string(s))
	}
	return strings.Join(names, ",")
}

func formatExpiry(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}

func newKeyRevokeCommand() *cobra.Command {
	var o keyOptions
	cmd := &cobra.Command{
		Use:     "revoke ID",
		Short:   "Revoke an API key, by the id that key list shows",
		Example: "  maru key revoke 4f1c8a03b7d29e56",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := unfinished(o.data); err != nil {
				return err
			}
			err := auth.Revoke(keysFile(o.data), args[0])
			if errors.Is(err, auth.ErrKey) {
				return failed(err, "`maru key list` shows the ids")
			}
			if err != nil {
				return failed(err, "--data names the server's data directory")
			}
			return printResult(cmd.OutOrStdout(), o.json, map[string]string{"status": "success", "id": args[0]}, "revoked "+args[0])
		},
	}
	o.register(cmd)
	return cmd
}
