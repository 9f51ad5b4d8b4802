package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/walletjournal"
)

// importWorkers is how many requests are made at once. Where an account has a smallest balance it is one:
// then the order counts.
const importWorkers = 32

// pendingPause is the time between two looks at a transaction under way between partitions.
const pendingPause = 50 * time.Millisecond

// importPlan is what a journal needs.
type importPlan struct {
	places   map[string]int // of its commodities
	missing  []walletjournal.NewAsset
	planned  map[money.Currency]string // numbers that stand for the missing assets
	accounts []importAccount
	limited  bool // an account has a smallest balance
}

// importAccount is an account that a journal needs, with its currencies.
type importAccount struct {
	name string // in the journal
	all  []wallet.NewAccount
}

// check reads the journal, and finds out what it needs. Nothing is written.
func (i *importer) check() error {
	summary, err := i.read(nil)
	if err != nil {
		return err
	}
	i.plan.places = summary.Places
	var own []wallet.Asset
	if err := i.request(i.cmd.Context(), func(ctx context.Context) error {
		own, err = i.client.Assets(ctx)
		return err
	}); err != nil {
		return err
	}
	for _, commodity := range slices.Sorted(maps.Keys(i.names)) {
		if _, ok := i.plan.places[commodity]; !ok {
			return &failure{fmt.Errorf("--asset: the journal has no commodity %s", quoted(commodity)), "nothing was imported: give the commodity as the journal has it", exitRefused}
		}
	}
	assets, err := i.planAssets(own)
	if err != nil {
		return i.locate(err, own)
	}
	if err := i.checkForms(own); err != nil {
		return err
	}
	c := walletjournal.NewConverter(assets)
	if _, err := i.read(func(t *walletjournal.Transaction) error {
		m, err := c.Convert(t)
		if err != nil {
			return err
		}
		if len(m.Legs) == 0 {
			i.sum.Empty++
			return nil
		}
		i.sum.Transactions++
		if err := i.checkCode(m); err != nil {
			return err
		}
		if err := m.Transaction().Validate(); err != nil {
			return &walletjournal.Error{File: t.File, Line: t.Line, Reason: plain(err)}
		}
		return nil
	}); err != nil {
		return err
	}
	return i.planAccounts(c)
}

// planAssets returns the assets of the journal, with numbers for those that are missing.
func (i *importer) planAssets(own []wallet.Asset) (*walletjournal.Assets, error) {
	_, missing, err := walletjournal.MapAssets(i.plan.places, own, i.names)
	if err != nil {
		return nil, err
	}
	if n := len(own) + len(missing); n > money.MaxAssets {
		return nil, &failure{fmt.Errorf("the tenant would have %d assets", n), fmt.Sprintf("nothing was imported: a tenant has at most %d", money.MaxAssets), exitRefused}
	}
	i.plan.missing, i.plan.planned = missing, map[money.Currency]string{}
	all := slices.Clip(own)
	for n, a := range missing {
		c := money.Asset(len(own)+n, a.Digits)
		i.plan.planned[c] = a.Name
		all = append(all, wallet.Asset{Name: a.Name, Currency: c})
	}
	i.sum.Assets = int64(len(missing))
	assets, _, err := walletjournal.MapAssets(i.plan.places, all, i.names)
	return assets, err
}

// locate adds to an error about a commodity the first transaction that has it so.
func (i *importer) locate(cause error, own []wallet.Asset) error {
	if known, ok := errors.AsType[*failure](cause); ok {
		return known
	}
	looked := map[string]int{}
	_, err := i.read(func(t *walletjournal.Transaction) error {
		for _, p := range t.Postings {
			c, places := p.Amount.Commodity, p.Amount.Number.Places()
			if before, ok := looked[c]; ok && places <= before {
				continue
			}
			looked[c] = places
			if _, _, err := walletjournal.MapAssets(map[string]int{c: places}, own, i.names); err != nil {
				return &walletjournal.Error{File: t.File, Line: t.Line, Reason: err.Error()}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return &failure{cause, "nothing was imported: the asset was made with less, which never changes", exitRefused}
}

// planAccounts notes the accounts, with their smallest balances.
func (i *importer) planAccounts(c *walletjournal.Converter) error {
	for _, a := range c.Accounts() {
		last := len(i.plan.accounts) - 1
		if last < 0 || i.plan.accounts[last].all[0].ID != a.ID {
			i.plan.accounts = append(i.plan.accounts, importAccount{name: c.Name(a.ID)})
			last++
		}
		to := &i.plan.accounts[last]
		best := -1
		for _, f := range i.floors {
			if (to.name != f.account && !strings.HasPrefix(to.name, f.account+":")) || len(f.account) <= best {
				continue
			}
			best = len(f.account)
			var err error
			if a.Min, err = parseMin(f.amount, a.Currency); err != nil {
				return usageError("such as --min-balance Assets:Cash=0", "--min-balance %s=%s: %w", f.account, f.amount, err)
			}
		}
		i.plan.limited = i.plan.limited || a.Min != wallet.Unlimited
		if to.all = append(to.all, a); len(to.all) > wallet.MaxCurrencies {
			return &failure{fmt.Errorf("account %s: %w", to.name, errNoRoom), "nothing was imported", exitRefused}
		}
	}
	i.sum.Accounts = int64(len(i.plan.accounts))
	return nil
}

// send makes assets, accounts and transactions.
func (i *importer) send() error {
	defer follow(i.cmd, func() string { return share(i.done.Load(), i.sum.Accounts+i.sum.Transactions, "imported") })()
	assets, err := i.makeAssets()
	if err != nil {
		return err
	}
	if err := i.openAccounts(); err != nil {
		return err
	}
	c := walletjournal.NewConverter(assets)
	i.sending = true
	workers := importWorkers
	if i.plan.limited {
		workers = 1
	}
	p := newPool(i.cmd.Context(), workers, i.transact)
	_, err = i.read(func(t *walletjournal.Transaction) error {
		m, err := c.Convert(t)
		if err != nil || len(m.Legs) == 0 {
			return err
		}
		return p.add(m)
	})
	if failed := p.wait(); failed != nil {
		return failed // which ended the reading
	}
	return err
}

// makeAssets makes the assets that are missing, and returns all of the journal.
func (i *importer) makeAssets() (*walletjournal.Assets, error) {
	made := map[string]money.Currency{}
	var own []wallet.Asset
	err := i.request(i.cmd.Context(), func(ctx context.Context) error {
		for _, a := range i.plan.missing {
			c, code, err := i.client.CreateAsset(ctx, a.Name, a.Digits)
			if err == nil && code != wallet.Applied {
				err = refused("add asset "+a.Name, code)
			}
			if err != nil {
				return err
			}
			made[a.Name] = c
		}
		var err error
		own, err = i.client.Assets(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	assets, missing, err := walletjournal.MapAssets(i.plan.places, own, i.names)
	if err != nil || len(missing) > 0 {
		return nil, failed(errors.Join(fmt.Errorf("%s still missing", several(len(missing), "asset is", "assets are")), err), importAgain)
	}
	for n := range i.plan.accounts {
		for k := range i.plan.accounts[n].all {
			a := &i.plan.accounts[n].all[k]
			if name, ok := i.plan.planned[a.Currency]; ok {
				a.Currency = made[name]
			}
		}
	}
	return assets, nil
}

// openAccounts opens the accounts, or adds to those that are open the currencies that they lack.
func (i *importer) openAccounts() error {
	var mu sync.Mutex
	p := newPool(i.cmd.Context(), importWorkers, func(ctx context.Context, a *importAccount) error {
		limited, err := i.openAccount(ctx, a)
		mu.Lock()
		defer mu.Unlock()
		i.plan.limited = i.plan.limited || limited
		i.done.Add(1)
		return err
	})
	var err error
	for n := 0; n < len(i.plan.accounts) && err == nil; n++ {
		err = p.add(&i.plan.accounts[n])
	}
	if failed := p.wait(); failed != nil {
		return failed
	}
	return err
}

// openAccount opens an account with all its currencies, and says whether one has a smallest balance.
func (i *importer) openAccount(ctx context.Context, a *importAccount) (limited bool, err error) {
	err = i.request(ctx, func(ctx context.Context) error {
		is, code, err := i.client.OpenAccount(ctx, a.all[0])
		switch {
		case err != nil:
			return err
		case code == wallet.AccountExists:
			if is, code, err = i.client.Account(ctx, a.all[0].ID); err != nil || code != wallet.Applied {
				return errors.Join(err, refused("account "+a.name, code))
			}
		case code != wallet.Applied:
			return refused("open account "+a.name, code)
		}
		held := map[money.Currency]bool{}
		for _, b := range is.Balances {
			held[b.Currency] = true
			limited = limited || b.Min != wallet.Unlimited
		}
		for _, v := range a.all {
			if held[v.Currency] {
				continue
			}
			_, code, err := i.client.AddCurrency(ctx, v.ID, v.Currency, v.Min)
			if err == nil && code != wallet.Applied && code != wallet.CurrencyExists {
				err = refused("add "+i.client.CurrencyName(v.Currency)+" to account "+a.name, code)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return limited, err
}

// transact makes a transaction, and counts it.
func (i *importer) transact(ctx context.Context, m *walletjournal.Movement) error {
	var result wallet.Result
	var other bool
	var by wallet.TransactionID
	err := i.request(ctx, func(ctx context.Context) (err error) {
		if by, err = i.corrected(ctx, m); err == nil && by == (wallet.TransactionID{}) {
			result, other, err = i.transactOnce(ctx, m)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", idOf(m), err)
	}
	i.done.Add(1)
	if by != (wallet.TransactionID{}) {
		i.change(m, by)
		return nil
	}
	i.counting.Lock()
	defer i.counting.Unlock()
	switch code := result.Code(); {
	case code == wallet.Pending:
		i.sum.Pending++
	case code != wallet.Applied:
		i.refuse(m, code)
	case result.Repeated():
		i.sum.AlreadyApplied++
		if other {
			i.sum.OtherContent++
		}
	default:
		i.sum.Applied++
	}
	return nil
}

// transactOnce makes a transaction, and waits for the end of one that is under way. One that was made with other
// content, as tags in the journal were other ones, or a commodity was another asset, was made before.
func (i *importer) transactOnce(ctx context.Context, m *walletjournal.Movement) (_ wallet.Result, other bool, err error) {
	t := m.Transaction()
	result, err := i.client.TransactBy(ctx, wallet.Protocol(i.by), t)
	repeated := err == nil && result.Repeated()
	for err == nil && result.Code() == wallet.Pending {
		select {
		case <-ctx.Done():
			return result, false, nil
		case <-time.After(pendingPause):
			result, err = i.client.TransactBy(ctx, wallet.Protocol(i.by), t)
		}
	}
	if err != nil || result.Code() == wallet.Applied && !repeated {
		return wallet.Result(result.Code()), false, err
	}
	if result.Code() != wallet.IDReused || !m.Derived {
		return result, false, nil
	}
	code, err := i.client.Decision(ctx, t.ID)
	return wallet.Repeat(code), true, err
}

// refuse lists a transaction that was refused.
func (i *importer) refuse(m *walletjournal.Movement, code wallet.Code) {
	i.sum.Refused++
	switch out := i.cmd.ErrOrStderr(); {
	case i.sum.Refused <= shownProblems:
		fmt.Fprintf(out, "%s: %s: %s\n", idOf(m), code, explain(code).text)
	case i.sum.Refused == shownProblems+1:
		fmt.Fprintln(out, "more are not listed")
	}
}

// pool does something with each of many, several at a time, until one fails.
type pool[T any] struct {
	ctx     context.Context //nolint:containedctx // it ends with the pool
	cancel  context.CancelCauseFunc
	work    chan T
	workers sync.WaitGroup
}

func newPool[T any](ctx context.Context, workers int, do func(context.Context, T) error) *pool[T] {
	p := &pool[T]{work: make(chan T)}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	for range workers {
		p.workers.Go(func() {
			for v := range p.work {
				if p.ctx.Err() != nil {
					continue
				}
				if err := do(p.ctx, v); err != nil {
					p.cancel(err)
				}
			}
		})
	}
	return p
}

// add waits until one has time. It returns an error when there is no more to be done.
func (p *pool[T]) add(v T) error {
	select {
	case p.work <- v:
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// wait returns when all is done, with the first error.
func (p *pool[T]) wait() error {
	close(p.work)
	p.workers.Wait()
	err := context.Cause(p.ctx)
	p.cancel(nil)
	return err
}
