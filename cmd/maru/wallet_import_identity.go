package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/walletjournal"
)

// What an import does so that a journal that has changed since is not taken for another one.

// parseAssetNames reads which assets the commodities of a journal are to be.
func parseAssetNames(texts []string) (map[string]string, error) {
	names := map[string]string{}
	for _, text := range texts {
		at := strings.LastIndexByte(text, '=') // an asset's name has none
		if at < 0 || at == len(text)-1 {
			return nil, usageError("such as --asset USD=USD@.3, or --asset '$=USD'", "--asset %s is not COMMODITY=ASSET", quoted(text))
		}
		commodity := text[:at]
		if _, twice := names[commodity]; twice {
			return nil, usageError("one of a commodity", "--asset names the commodity %s twice", quoted(commodity))
		}
		names[commodity] = text[at+1:]
	}
	return names, nil
}

// checkForms refuses a commodity that would become a new asset, or for the first time a currency, where the wallet has
// it in another form: it had other decimal places in an earlier journal, and its balances would be in two places.
func (i *importer) checkForms(own []wallet.Asset) error {
	var held map[string]bool // currencies of ISO 4217
	for _, commodity := range slices.Sorted(maps.Keys(i.plan.places)) {
		digits := i.plan.places[commodity]
		currency, err := money.ParseCurrency(commodity)
		if _, asset := currency.Asset(); err != nil || asset || i.names[commodity] != "" {
			continue
		}
		name, forms := walletjournal.AssetName(commodity, digits), walletjournal.Forms(commodity, own)
		if _, same := forms[name]; same || name == commodity && len(forms) == 0 {
			continue
		}
		if held == nil {
			if held, err = i.heldCurrencies(); err != nil {
				return err
			}
		}
		if name == commodity && held[commodity] {
			continue
		}
		if held[commodity] {
			forms[commodity] = currency.Digits()
		}
		if len(forms) > 0 {
			return i.refuseForm(commodity, name, forms)
		}
	}
	return nil
}

// heldCurrencies returns what accounts of the tenant hold.
func (i *importer) heldCurrencies() (map[string]bool, error) {
	held := map[string]bool{}
	return held, i.request(i.cmd.Context(), func(ctx context.Context) error {
		totals, _, err := i.client.Totals(ctx)
		for _, t := range totals {
			held[t.Currency.String()] = true
		}
		return err
	})
}

// refuseForm says which entry has the commodity with more decimal places than the wallet's, or the first one if none has.
func (i *importer) refuseForm(commodity, name string, forms map[string]int) error {
	known := slices.MaxFunc(slices.Sorted(maps.Keys(forms)), func(a, b string) int { return cmp.Compare(forms[a], forms[b]) })
	var first, more *walletjournal.Error
	_, err := i.read(func(t *walletjournal.Transaction) error {
		for _, p := range t.Postings {
			if p.Amount.Commodity != commodity {
				continue
			}
			places := p.Amount.Number.Places()
			at := &walletjournal.Error{File: t.File, Line: t.Line, Reason: fmt.Sprintf("commodity %q has %d decimal places in this journal, which would make it %s, and the wallet has it as %s, with %d",
				commodity, i.plan.places[commodity], name, known, forms[known])}
			if first == nil {
				first = at
			}
			if more == nil && places > forms[known] {
				more = at
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	reason := cmp.Or(more, first)
	if reason == nil { // a directive alone has it
		return nil
	}
	hint := fmt.Sprintf("nothing was imported: write it with at most %d places, or say with --asset %s=%s that it is to be another one", forms[known], commodity, name)
	if i.plan.places[commodity] <= forms[known] {
		hint = fmt.Sprintf("nothing was imported: say with --asset %s=%s that it is that one, or with --asset %s=%s that it is to be another", commodity, known, commodity, name)
	}
	return &failure{reason, hint, exitRefused}
}

// checkCode refuses a journal in which two entries have one code.
func (i *importer) checkCode(m *walletjournal.Movement) error {
	if !i.uniqueCodes || m.Code == "" {
		return nil
	}
	if i.codes == nil {
		i.codes = map[string]int{}
	}
	if before, ok := i.codes[m.Code]; ok {
		return &walletjournal.Error{File: m.File, Line: m.Line, Reason: fmt.Sprintf("the code %q stands at line %d already", m.Code, before)}
	}
	i.codes[m.Code] = m.Line
	return nil
}

// corrected says whether the wallet has a transaction with the movement's code, and not the movement: then the entry
// says something else than when it was imported. It asks the history.
func (i *importer) corrected(ctx context.Context, m *walletjournal.Movement) (by wallet.TransactionID, err error) {
	if !i.uniqueCodes || m.Code == "" || len(m.Code) > wallet.MaxReference {
		return by, nil
	}
	code, err := i.client.Decision(ctx, m.ID)
	if err != nil || code != wallet.Undecided {
		return by, err
	}
	page, code, err := i.client.HistoryTransactions(ctx, &wallet.ReferenceRequest{Reference: m.Transaction().Reference, Limit: 1})
	if err != nil || code != wallet.Applied || len(page.Transactions) == 0 {
		return by, err
	}
	t, _ := wallet.ParseTransaction(page.Transactions[0].Content)
	return t.ID, nil
}

// change lists an entry that says something else than when it was imported.
func (i *importer) change(m *walletjournal.Movement, by wallet.TransactionID) {
	i.counting.Lock()
	defer i.counting.Unlock()
	i.sum.Changed++
	switch out := i.cmd.ErrOrStderr(); {
	case i.sum.Changed <= shownProblems:
		fmt.Fprintf(out, "%s:%d: the wallet has code %q with other content, as transaction %s: nothing was made\n", m.File, m.Line, m.Code, by)
	case i.sum.Changed == shownProblems+1:
		fmt.Fprintln(out, "more are not listed")
	}
}
