package walletjournal

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"maru.example/money"
	"maru.example/wallet"
)

// NewAsset is an asset that a wallet has to have for a journal.
type NewAsset struct {
	Name   string
	Digits int
}

// Assets is the [Commodities] of a wallet that has assets of its own.
type Assets struct {
	currencies map[string]money.Currency
	names      map[money.Currency]string // in a journal
	own        map[money.Currency]string // in the wallet
}

// NewAssets returns the commodities of a journal in which they have so many decimal places (as in a
// [Summary]), in a wallet with assets of its own; for an export places may be nil. What the wallet lacks is missing: make it,
// and call this again.
//
// A commodity is the currency of ISO 4217 with its name, if that has the places. Else it is an asset:
// bytes that its name cannot have are @ and two digits of hexadecimal, upper case, a
// space @_; bare numbers are @. The code of a currency that has too few places gets @. and their
// number: USD@.5, which is what that asset is called in an export, too. An asset whose name none of that makes is
// @@ and the name in a journal. So every commodity has another asset, but USD with five places, which
// is the one of USD@.5; and every asset another commodity. The error says which cannot be named in 32
// bytes, has more than 15 places, or more than the asset that there is.
func NewAssets(places map[string]int, own []wallet.Asset) (a *Assets, missing []NewAsset, err error) {
	return MapAssets(places, own, nil)
}

// MapAssets is NewAssets where some commodities are to be assets, or currencies of ISO 4217, with names
// that are given. Two commodities cannot be one.
func MapAssets(places map[string]int, own []wallet.Asset, names map[string]string) (a *Assets, missing []NewAsset, err error) {
	a = &Assets{map[string]money.Currency{}, map[money.Currency]string{}, map[money.Currency]string{}}
	byName := map[string]money.Currency{}
	for _, o := range own {
		byName[o.Name] = o.Currency
		a.Add(o)
	}
	used := map[string]string{}
	for _, commodity := range slices.Sorted(maps.Keys(places)) {
		digits := places[commodity]
		name, given := names[commodity]
		if !given {
			name = AssetName(commodity, digits)
		}
		if other, ok := used[name]; ok {
			return nil, nil, fmt.Errorf("commodities %q and %q would both be %s", other, commodity, name)
		}
		used[name] = commodity
		if c, ok := isoCurrency(name); ok {
			if digits > c.Digits() {
				return nil, nil, fmt.Errorf("commodity %q has %d decimal places, and the currency %s has %d", commodity, digits, name, c.Digits())
			}
			a.currencies[commodity] = c
			continue
		}
		if err := wallet.ValidateAsset(name, digits); err != nil {
			return nil, nil, fmt.Errorf("commodity %q with %d decimal places, as asset %s: %w", commodity, digits, name, err)
		}
		c, ok := byName[name]
		switch {
		case !ok:
			n, ok := formDigits(name)
			if ok && digits > n {
				return nil, nil, fmt.Errorf("commodity %q has %d decimal places, and an asset %s has %d", commodity, digits, name, n)
			}
			missing = append(missing, NewAsset{name, max(digits, n)})
		case c.Digits() < digits:
			return nil, nil, fmt.Errorf("commodity %q has %d decimal places, and the wallet's asset %s has %d", commodity, digits, name, c.Digits())
		default:
			a.currencies[commodity], a.names[c] = c, commodity
		}
	}
	return a, missing, nil
}

// AssetName returns what [NewAssets] calls a commodity with so many decimal places in the wallet: the code of a
// currency, or an asset's name.
func AssetName(commodity string, digits int) string {
	if c, ok := isoCurrency(commodity); ok && digits <= c.Digits() {
		return commodity
	}
	return assetOf(commodity, digits)
}

// Forms returns the names of the assets of a wallet that are the commodity, a currency of ISO 4217, with more decimal
// places than that has, and the places of each.
func Forms(commodity string, own []wallet.Asset) map[string]int {
	forms := map[string]int{}
	for _, o := range own {
		if digits := o.Currency.Digits(); o.Name == commodity+digitsMark+strconv.Itoa(digits) {
			forms[o.Name] = digits
		}
	}
	return forms
}

// Add adds an asset that was made later.
func (a *Assets) Add(o wallet.Asset) {
	a.names[o.Currency], a.own[o.Currency] = commodityOf(o.Name), o.Name
}

// Has says whether the currency is one of ISO 4217, or an asset that it knows.
func (a *Assets) Has(c money.Currency) bool {
	_, own := c.Asset()
	_, ok := a.own[c]
	return ok || !own
}

// Name returns what the wallet calls a currency.
func (a *Assets) Name(c money.Currency) string {
	if name, ok := a.own[c]; ok {
		return name
	}
	return c.String()
}

// Currency returns the currency of a commodity of the journal.
func (a *Assets) Currency(commodity string) (money.Currency, error) {
	if c, ok := a.currencies[commodity]; ok {
		return c, nil
	}
	return 0, fmt.Errorf("commodity %q: %w", commodity, money.ErrUnknownCurrency)
}

// Commodity returns the name of a currency in a journal.
func (a *Assets) Commodity(c money.Currency) string {
	if name, ok := a.names[c]; ok {
		return name
	}
	return c.String()
}

// digitsMark stands before the places of a currency that has more than ISO 4217 gives it.
const digitsMark = "@."

// assetOf returns the name of the asset that is a commodity.
func assetOf(commodity string, digits int) string {
	if commodity == "" {
		return "@"
	}
	if _, ok := formDigits(commodity); ok {
		return commodity
	}
	if name, ok := strings.CutPrefix(commodity, rawMark); ok && wallet.ValidateAsset(name, digits) == nil && commodityOf(name) == commodity {
		return name
	}
	reserved := strings.HasPrefix(commodity, "asset-") || commodity == "." || commodity == ".."
	var b strings.Builder
	for i := range len(commodity) {
		switch c := commodity[i]; {
		case c == ' ':
			b.WriteString("@_")
		case c == '@' || !nameByte(c) || i == 0 && reserved:
			fmt.Fprintf(&b, "@%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	if _, ok := isoCurrency(commodity); ok {
		b.WriteString(digitsMark + strconv.Itoa(digits))
	}
	return b.String()
}

// formDigits returns the places in the name of an asset that is a currency of ISO 4217 with more than that has: USD@.5.
func formDigits(name string) (digits int, ok bool) {
	code, text, _ := strings.Cut(name, digitsMark)
	c, iso := isoCurrency(code)
	n, err := strconv.Atoi(text)
	if !iso || err != nil || n <= c.Digits() || strconv.Itoa(n) != text {
		return 0, false
	}
	return n, true
}

// isoCurrency returns the currency of ISO 4217 with the code.
func isoCurrency(code string) (money.Currency, bool) {
	c, err := money.ParseCurrency(code)
	_, own := c.Asset()
	return c, err == nil && !own
}

// commodityOf returns the commodity that is an asset: one of which assetOf makes its name, and of no other's.
func commodityOf(name string) string {
	if name == "@" {
		return ""
	}
	if commodity := decodeName(name); writableCommodity(commodity) && assetOf(commodity, 0) == name {
		return commodity
	}
	return rawMark + name
}
