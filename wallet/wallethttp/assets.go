package wallethttp

import (
	"errors"

	"maru.example/money"
	"maru.example/wallet"
)

func (s *server) assets(q query) (*reply, error) {
	all, code, err := s.wallet.Assets(q.Context(), q.tenant)
	if err != nil {
		return nil, err
	}
	if code != wallet.Applied {
		return nil, refusal(code)
	}
	answer := assetsAnswer{Assets: make([]assetAnswer, len(all))}
	for i, a := range all {
		answer.Assets[i] = newAssetAnswer(a)
	}
	return jsonReply(answer), nil
}

func (s *server) createAsset(q query) (*reply, error) {
	var name string
	var digits int
	err := q.readBody(MaxBodyBytes, func(d *decoder) {
		if d.object([]member{{name: "name", value: &name}, {name: "digits", number: &digits}}) {
			switch err := wallet.ValidateAsset(name, digits); {
			case errors.Is(err, wallet.ErrAssetDigits):
				d.check("digits", err)
			default:
				d.check("name", err)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	c, code, err := s.wallet.CreateAsset(q.Context(), q.tenant, name, digits)
	if err != nil {
		return nil, err
	}
	if code != wallet.Applied {
		return nil, refusal(code)
	}
	return jsonReply(newAssetAnswer(wallet.Asset{Name: name, Currency: c})), nil
}

func newAssetAnswer(a wallet.Asset) assetAnswer {
	return assetAnswer{Name: assetName(a.Name), Digits: a.Currency.Digits(), Currency: currency(a.Currency.String()), Number: int(a.Currency)}
}

// readBody is readBody where a body may name the tenant's assets.
func (q query) readBody(limit int64, decode func(d *decoder)) error {
	var failed error
	err := readBody(q.Request, limit, func(d *decoder) {
		d.parseCurrency = func(text string) (money.Currency, error) {
			c, err := q.parseCurrency(text)
			if err != nil && !errors.Is(err, money.ErrUnknownCurrency) {
				failed = err
			}
			return c, err
		}
		decode(d)
	})
	if failed != nil {
		return failed
	}
	return err
}

// parseCurrency returns the currency or the tenant's asset with a code or name.
func (q query) parseCurrency(text string) (money.Currency, error) {
	if c, err := money.ParseCurrency(text); err == nil {
		return c, nil
	}
	return q.wallet.ParseCurrency(q.Context(), q.tenant, text)
}

// currency returns the code of a currency or the name of the tenant's asset.
func (q query) currency(c money.Currency) currency {
	if _, own := c.Asset(); !own {
		return currency(c.String())
	}
	return currency(q.wallet.CurrencyName(q.Context(), q.tenant, c))
}
