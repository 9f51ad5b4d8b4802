package wallet

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"maru.example/money"
)

// CreateAsset makes an asset of a tenant, with a number of decimal places that never
// changes. One that exists with as many is Applied too, and has the same currency; with
// another number, AssetExists. It returns ErrAsset or ErrAssetDigits for what can be none.
func (s *Service) CreateAsset(ctx context.Context, tenant Tenant, name string, digits int) (money.Currency, Code, error) {
	if err := ValidateAsset(name, digits); err != nil {
		return 0, Undecided, err
	}
	result, code, err := s.propose(ctx, tenant, NoProtocol, KindCreateAssets, 1, AssetBytes, func(b []byte) []byte { return AppendAsset(b, name, digits) })
	if err != nil || code != Applied {
		return 0, code, err
	}
	return money.Currency(binary.LittleEndian.Uint16(result[1:])), Applied, nil
}

// Assets returns a tenant's assets in the order in which they were made. The code is Applied or
// UnknownTenant. It has all that were made before; the caller must not change the slice.
func (s *Service) Assets(ctx context.Context, tenant Tenant) ([]Asset, Code, error) {
	if err := tenant.Validate(); err != nil {
		return nil, Undecided, err
	}
	f, err := s.query(ctx, s.parts[0], &query{Subject: aboutAssets, Name: tenant})
	if err != nil {
		return nil, Undecided, err
	}
	if f.Code == Applied {
		s.learnAssets(tenant, f.Assets)
	}
	return f.Assets, f.Code, nil
}

// learnAssets remembers a tenant's assets: they never change, and become more.
func (s *Service) learnAssets(tenant Tenant, all []Asset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(all) > len(s.assets[tenant]) {
		s.assets[tenant] = all
	}
}

// ParseCurrency returns the currency that text names for a tenant: a code of ISO 4217,
// the name of an asset of the tenant, or asset-n.d. An error that wraps
// [money.ErrUnknownCurrency] says that there is none; others, that it is not known. A
// currency of ISO 4217 is found without asking anybody.
func (s *Service) ParseCurrency(ctx context.Context, tenant Tenant, text string) (money.Currency, error) {
	c, err := money.ParseCurrency(text)
	if err == nil || !validAssetName(text) {
		return c, err //nolint:wrapcheck // it says what was parsed
	}
	a, ok, failed := s.findAsset(ctx, tenant, func(a Asset) bool { return a.Name == text })
	if failed != nil {
		return 0, failed
	}
	if !ok {
		return 0, err
	}
	return a.Currency, nil
}

// CurrencyName returns what [Service.ParseCurrency] reads: the code of a currency,
// or the name of the tenant's asset if there is one and it can be found out.
func (s *Service) CurrencyName(ctx context.Context, tenant Tenant, c money.Currency) string {
	if _, own := c.Asset(); !own {
		return c.String()
	}
	if a, ok, err := s.findAsset(ctx, tenant, func(a Asset) bool { return a.Currency == c }); err == nil && ok {
		return a.Name
	}
	return c.String()
}

// findAsset looks into what is remembered, and then asks.
func (s *Service) findAsset(ctx context.Context, tenant Tenant, is func(Asset) bool) (Asset, bool, error) {
	s.mu.RLock()
	all := s.assets[tenant]
	s.mu.RUnlock()
	i := slices.IndexFunc(all, is)
	if i < 0 {
		var err error
		if all, _, err = s.Assets(ctx, tenant); err != nil {
			return Asset{}, false, fmt.Errorf("assets of %s: %w", tenant, err)
		}
		i = slices.IndexFunc(all, is)
	}
	if i < 0 {
		return Asset{}, false, nil
	}
	return all[i], true, nil
}
