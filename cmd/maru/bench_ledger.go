package main

import (
	"context"
	"errors"
	"fmt"

	"maru.example/money"
	"maru.example/wallet"
)

// balance asks the server for what an account has.
func (b *bench) balance(ctx context.Context, id wallet.AccountID) (money.Amount, error) {
	a, code, err := b.http.Account(ctx, id)
	if err != nil {
		return 0, err
	}
	if code != wallet.Applied {
		return 0, errors.New(code.String())
	}
	for _, held := range a.Balances {
		if held.Currency == b.plan.currency {
			return held.Amount, nil
		}
	}
	return 0, errors.New("the currency is not held")
}

// checkSum asks for the sums of all balances.
func (b *bench) checkSum(ctx context.Context) error {
	totals, settled, err := b.http.Totals(ctx)
	if err != nil {
		return fmt.Errorf("sum of the balances: %w", err)
	}
	if !settled {
		return nil // somebody else moves money on this server
	}
	zero := true
	for _, t := range totals {
		zero = zero && t.Sum.Sign() == 0
	}
	b.report.Check.SumZero = &zero
	return nil
}
