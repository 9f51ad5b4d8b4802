package wallethttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"maru.example/money"
	"maru.example/wallet"
)

// CreateAsset makes an asset of the tenant: see [wallet.Service.CreateAsset].
func (c *Client) CreateAsset(ctx context.Context, name string, digits int) (money.Currency, wallet.Code, error) {
	if err := wallet.ValidateAsset(name, digits); err != nil {
		return 0, wallet.Undecided, err
	}
	body, err := json.Marshal(assetRequest{assetName(name), digits})
	if err != nil {
		return 0, wallet.Undecided, err
	}
	var answer assetAnswer
	code, err := decided(c.do(ctx, &call{http.MethodPost, "/v1/wallet/assets", body, &answer}))
	if err != nil || code != wallet.Applied {
		return 0, code, err
	}
	a, err := answer.parse()
	return a.Currency, code, err
}

// Assets returns the tenant's assets in the order in which they were made.
func (c *Client) Assets(ctx context.Context) ([]wallet.Asset, error) {
	var answer assetsAnswer
	if err := c.do(ctx, &call{http.MethodGet, "/v1/wallet/assets", nil, &answer}); err != nil {
		return nil, err
	}
	all := make([]wallet.Asset, len(answer.Assets))
	for i := range answer.Assets {
		var err error
		if all[i], err = answer.Assets[i].parse(); err != nil {
			return nil, err
		}
	}
	c.assets.Store(&all)
	return all, nil
}

// parse returns the asset that an answer describes.
func (a *assetAnswer) parse() (wallet.Asset, error) {
	c, err := money.ParseCurrency(string(a.Currency))
	if err == nil && (int(c) != a.Number || c.Digits() != a.Digits) {
		err = errors.New("the parts do not belong together")
	}
	if err != nil {
		return wallet.Asset{}, fmt.Errorf("the server's answer of asset %q: %w", a.Name, err)
	}
	return wallet.Asset{Name: string(a.Name), Currency: c}, nil
}

// assetList is what a client remembers of the tenant's assets, which never change and
// become more.
type assetList struct{ atomic.Pointer[[]wallet.Asset] }

func (l *assetList) find(is func(wallet.Asset) bool) (wallet.Asset, bool) {
	if all := l.Load(); all != nil {
		if i := slices.IndexFunc(*all, is); i >= 0 {
			return (*all)[i], true
		}
	}
	return wallet.Asset{}, false
}

// ParseCurrency returns the currency that a text names: an ISO 4217 code, or an asset of the
// tenant, of which the client asks the server once. The error wraps
// [money.ErrUnknownCurrency] if there is none.
func (c *Client) ParseCurrency(ctx context.Context, text string) (money.Currency, error) {
	of, unknown := money.ParseCurrency(text)
	if unknown == nil || wallet.ValidateAsset(text, 0) != nil {
		return of, unknown
	}
	named := func(a wallet.Asset) bool { return a.Name == text }
	if a, ok := c.assets.find(named); ok {
		return a.Currency, nil
	}
	if _, err := c.Assets(ctx); err != nil {
		return 0, err
	}
	if a, ok := c.assets.find(named); ok {
		return a.Currency, nil
	}
	return 0, unknown
}

// CurrencyName returns the code of a currency, or the name of an asset if the client
// has met it: in an answer, or by [Client.ParseCurrency] or [Client.Assets].
func (c *Client) CurrencyName(of money.Currency) string {
	if a, ok := c.assets.find(func(a wallet.Asset) bool { return a.Currency == of }); ok {
		return a.Name
	}
	return of.String()
}
