package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

func newTenantCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "tenant",
		Short: "Create and list tenants: worlds that share a server",
		Long: `Create and list tenants: worlds that share a server, and are apart in everything:
accounts, transaction ids, keys. There is one, default, until another is made.
With API keys, this needs one with the scope wallet:admin.`,
		Example: `  maru tenant create acme
  maru tenant list`,
	}, newTenantCreateCommand(), newTenantListCommand())
}

func newTenantCreateCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a tenant; one that exists is no error",
		Example: "  maru tenant create acme",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				code, err := client.CreateTenant(ctx, wallet.Tenant(args[0]))
				if err != nil {
					return err
				}
				if code != wallet.Applied {
					return refused("create tenant "+args[0], code)
				}
				return printResult(cmd.OutOrStdout(), o.json, map[string]string{"name": args[0]}, args[0]+" is a tenant")
			})
		},
	}
	o.register(cmd)
	return cmd
}

func newTenantListCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the tenants in the order in which they were made",
		Example: "  maru tenant list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				names, err := client.Tenants(ctx)
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(cmd.OutOrStdout(), map[string][]wallet.Tenant{"tenants": names})
				}
				for _, name := range names {
					fmt.Fprintln(cmd.OutOrStdout(), name)
				}
				return nil
			})
		},
	}
	o.register(cmd)
	return cmd
}
