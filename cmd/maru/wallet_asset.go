package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// assetView is an asset as --json prints it.
type assetView struct {
	Name     string `json:"name"`
	Digits   int    `json:"digits"`
	Currency string `json:"currency"` // its name without the tenant
	Number   int    `json:"number"`   // in the batch stream
}

func viewAsset(name string, c money.Currency) assetView {
	return assetView{name, c.Digits(), c.String(), int(c)}
}

func newAssetCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "asset",
		Short: "What accounts can hold beside currencies: shares, points, hours",
		Long: `What accounts of the tenant can hold beside the currencies of ISO 4217: shares,
points, hours. An asset's name stands wherever a currency's code can; so does
asset-N.D, which is made of its number and its decimal places.`,
		Example: `  maru wallet asset add VACHR --digits 4
  maru wallet open hours --currency VACHR --min-balance unlimited`,
	}, newAssetAddCommand(), newAssetListCommand())
}

func newAssetAddCommand() *cobra.Command {
	var o httpOptions
	var digits int
	cmd := &cobra.Command{
		Use:   "add NAME --digits N",
		Short: "Make an asset of the tenant's own; one that exists is no error",
		Long: `Make an asset of the tenant's own, for ever. A name has 1 to 32 letters, digits and
._:-@; it is no code of ISO 4217 and does not begin with asset-. The decimal places,
up to 15, never change. To add it again with as many is no error.`,
		Example: "  maru wallet asset add VACHR --digits 4\n  maru wallet asset add points --digits 0",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("digits") {
				return usageError("add --digits and how many decimal places the asset has, such as 2", "no --digits are given")
			}
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				c, code, err := client.CreateAsset(ctx, args[0], digits)
				if err != nil {
					return err
				}
				if code != wallet.Applied {
					return refused("add asset "+args[0], code)
				}
				return printResult(cmd.OutOrStdout(), o.json, viewAsset(args[0], c), fmt.Sprintf("%s is %v, with %d decimal places", args[0], c, c.Digits()))
			})
		},
	}
	cmd.Flags().IntVar(&digits, "digits", 0, "decimal places, a `number` from 0 to 15 (required)")
	o.register(cmd)
	return cmd
}

func newAssetListCommand() *cobra.Command {
	var o httpOptions
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the tenant's own assets in the order in which they were made",
		Example: "  maru wallet asset list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
				all, err := client.Assets(ctx)
				if err != nil {
					return err
				}
				views := make([]assetView, len(all))
				t := newTable("name", ">digits", "currency", ">number")
				for i, a := range all {
					v := viewAsset(a.Name, a.Currency)
					views[i] = v
					t.add(v.Name, strconv.Itoa(v.Digits), v.Currency, strconv.Itoa(v.Number))
				}
				if o.json {
					return printJSON(cmd.OutOrStdout(), map[string][]assetView{"assets": views})
				}
				return t.print(cmd.OutOrStdout())
			})
		},
	}
	o.register(cmd)
	return cmd
}

// parseCurrency reads the code of a currency. Other names may be of assets: of those
// it asks the server.
func (o *httpOptions) parseCurrency(cmd *cobra.Command, code string) (money.Currency, error) {
	const hint = "a currency is an ISO 4217 code in capitals, such as USD, or the name of an asset: see `maru wallet asset list`"
	if code == "" {
		return 0, usageError("add --currency and an ISO 4217 code, such as USD", "no currency is given")
	}
	c, err := money.ParseCurrency(code)
	if err == nil {
		return c, nil
	}
	if wallet.ValidateAsset(code, 0) != nil {
		return 0, usageError(hint, "%w", err)
	}
	var unknown error
	err = o.call(cmd, func(ctx context.Context, client *wallethttp.Client) error {
		c, err = client.ParseCurrency(ctx, code)
		if errors.Is(err, money.ErrUnknownCurrency) {
			unknown, err = err, nil
		}
		return err
	})
	if err == nil && unknown != nil {
		return 0, usageError(hint, "%w", unknown)
	}
	return c, err
}
