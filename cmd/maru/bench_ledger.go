package main

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// checkSum asks for the sums of all balances and of what is in flight.
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
		zero = zero && t.Zero()
	}
	b.report.Check.SumZero = &zero
	return nil
}

// How long money may stay in flight after the last answer.
const (
	benchLandTime = time.Minute
	benchLandPoll = 50 * time.Millisecond
)

// awaitLanded waits until nothing is in flight: then the balances alone add up to
// zero.
func (b *bench) awaitLanded(ctx context.Context) error {
	if !b.server.own() || b.plan.divided == nil {
		return nil
	}
	poll := time.NewTicker(benchLandPoll)
	defer poll.Stop()
	timer := time.NewTimer(benchLandTime)
	defer timer.Stop()
	for {
		totals, settled, err := b.http.Totals(ctx)
		if err != nil {
			return fmt.Errorf("money in flight: %w", err)
		}
		landed := settled
		for _, t := range totals {
			landed = landed && t.Sum.Sign() == 0 && (t.InFlight == nil || t.InFlight.Sign() == 0)
		}
		if landed {
			b.report.Check.InFlightZero = &landed
			return nil
		}
		select {
		case <-poll.C:
		case <-timer.C:
			b.report.Check.InFlightZero = &landed
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
