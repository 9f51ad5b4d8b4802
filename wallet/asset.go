package wallet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"maru.example/money"
)

// MaxAssetNameBytes is the most bytes of an asset's name.
const MaxAssetNameBytes = 32

// ErrAsset says that something is no asset's name, or not one that can be given.
var ErrAsset = errors.New("wallet: an asset's name has 1 to 32 letters, digits and ._:-@, is no currency's code and does not begin with asset-")

// ErrAssetDigits says that an asset cannot have so many decimal places.
var ErrAssetDigits = errors.New("wallet: an asset has 0 to 15 decimal places")

// Asset is what a tenant has for itself beside the currencies of ISO 4217: shares,
// points, hours. Its currency says how many decimal places it has.
type Asset struct {
	Name     string         `json:"name"`
	Currency money.Currency `json:"currency"`
}

// ValidateAsset returns ErrAsset or ErrAssetDigits if there can be no such asset.
func ValidateAsset(name string, digits int) error {
	if _, err := money.ParseCurrency(name); err == nil || !validAssetName(name) {
		return ErrAsset
	}
	if digits < 0 || digits > money.MaxAssetDigits {
		return ErrAssetDigits
	}
	return nil
}

// validAssetName says whether the machine takes the name. The codes of currencies
// are not its business: their table changes.
func validAssetName(name string) bool {
	return len(name) <= MaxAssetNameBytes && validName(name) && !strings.HasPrefix(name, "asset-")
}

// AssetBytes is the size of the answer to a command of KindCreateAssets: a
// result, and 2 bytes of currency.
const AssetBytes = 3

// AppendAsset appends a command of KindCreateAssets. The name and the digits must be valid.
func AppendAsset(dst []byte, name string, digits int) []byte {
	return AppendName(append(dst, byte(digits)), name)
}

// createAsset answers with the code and the currency of the asset. The first partition
// numbers them; the others need not know.
func (m *Machine) createAsset(dst []byte, tenant uint16, cmd []byte) []byte {
	code, c := m.decideAsset(m.tenants[tenant], string(cmd[assetBytes:]), int(cmd[0]))
	return binary.LittleEndian.AppendUint16(append(dst, byte(code)), uint16(c))
}

func (m *Machine) decideAsset(t *tenant, name string, digits int) (Code, money.Currency) {
	switch {
	case m.options.Partition != 0:
		return WrongPartition, 0
	case !validAssetName(name), digits > money.MaxAssetDigits:
		return Malformed, 0
	}
	for _, a := range t.assets {
		switch {
		case a.Name != name:
		case a.Currency.Digits() != digits:
			return AssetExists, 0
		default:
			return Applied, a.Currency
		}
	}
	if len(t.assets) == money.MaxAssets {
		return LimitReached, 0
	}
	c := money.Asset(len(t.assets), digits)
	t.assets = append(t.assets, Asset{name, c})
	return Applied, c
}

// imageAssets adds the assets of all tenants to what a snapshot copies.
func (m *Machine) imageAssets(c *crossImage) {
	for i, t := range m.tenants {
		if len(t.assets) > 0 {
			imageRows(c, blockAssets, i, 0, slices.Clip(t.assets), func(dst []byte, a *Asset) []byte {
				return AppendAsset(dst, a.Name, a.Currency.Digits())
			})
		}
	}
}

// asset reads a row of a snapshot.
func (r *restorer) asset(tenant uint16) error {
	b, err := r.read(assetBytes)
	if err != nil {
		return err
	}
	digits := int(b[0])
	name, err := r.name(b[1])
	if err != nil {
		return err
	}
	if int(tenant) >= len(r.m.tenants) {
		return fmt.Errorf("%w: assets of tenant %d", ErrSnapshot, tenant)
	}
	t := r.m.tenants[tenant]
	before := len(t.assets)
	if code, _ := r.m.decideAsset(t, name, digits); code != Applied || len(t.assets) == before {
		return fmt.Errorf("%w: asset %q of tenant %d with %d digits", ErrSnapshot, name, tenant, digits)
	}
	r.rows++
	return nil
}
