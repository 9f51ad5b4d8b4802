package main

import (
	"context"
	"errors"
	"fmt"

	"maru.example/money"
	"maru.example/wallet"
)

// benchCheck is what the check found.
type benchCheck struct {
	Mode          string `json:"mode"`           // full, sample or none
	Transfers     uint64 `json:"transfers"`      // made again
	Missing       uint64 `json:"missing"`        // of them, answered before but not known
	Different     uint64 `json:"different"`      // of them, answered with another code than before
	Balances      int    `json:"balances"`       // compared with the generator's
	BalancesWrong int    `json:"balances_wrong"` // of them, not equal
	SumZero       *bool  `json:"sum_zero"`       // over all accounts and what is in flight; null for a server that others use too
	InFlightZero  *bool  `json:"in_flight_zero"` // nothing stays in flight; null if it is not known
}

// passed says whether nothing was lost.
func (c *benchCheck) passed() bool {
	return c.Missing == 0 && c.Different == 0 && c.BalancesWrong == 0 && isOrUnknown(c.SumZero) && isOrUnknown(c.InFlightZero)
}

func isOrUnknown(b *bool) bool { return b == nil || *b }

// Sizes of the samples of the check.
const (
	sampleBalances   = 1000
	sampleRanges     = 16
	sampleRangeCount = 1_000_000 / sampleRanges
	checkCallers     = 64 // at the most
)

// check asks for everything that was answered. The balances come first, as
// making a lost transfer again would repair them.
func (b *bench) check(ctx context.Context) error {
	c := &b.report.Check
	c.Mode = b.config.check
	if c.Mode == checkAuto {
		c.Mode = checkFull
		if b.made.count() > maxFullCheck {
			c.Mode = checkSample
		}
	}
	if c.Mode == checkNone {
		return nil
	}
	b.elsewhere = 1
	if err := b.awaitLanded(ctx); err != nil {
		return err
	}
	fmt.Fprintf(b.progress, "check: balances, then the transfers (%s)\n", c.Mode)
	if err := b.checkBalances(ctx); err != nil {
		return err
	}
	if err := b.checkSum(ctx); err != nil {
		return err
	}
	for _, r := range b.checkRanges(c.Mode) {
		if err := b.checkTransfers(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// checkRanges returns the transfers to be made again.
func (b *bench) checkRanges(mode string) []benchRange {
	total := b.made.count()
	if mode == checkFull || total <= sampleRanges*sampleRangeCount {
		return []benchRange{b.made}
	}
	ranges := make([]benchRange, sampleRanges)
	for i := range ranges {
		// Evenly spread, the first and the last transfers included.
		begin := b.made.begin + uint64(i)*(total-sampleRangeCount)/(sampleRanges-1)
		ranges[i] = benchRange{begin, begin + sampleRangeCount}
	}
	return ranges
}

// checkTransfers makes the transfers of a range again: each must have its first
// answer, as a repetition.
func (b *bench) checkTransfers(ctx context.Context, r benchRange) error {
	callers, batch := defaultLoadCallers, wallet.MaxBatch
	if d := b.plan.divided; d != nil && len(b.servers) > 1 {
		batch = int(d.block) // so that each goes to another node than the first time
		callers = min(callers*wallet.MaxBatch/batch, checkCallers)
	}
	loaded, err := b.load(ctx, benchStream, callers, &benchLoad{numbers: r, batch: batch, repeated: true})
	if errors.Is(err, errBenchRefused) {
		return fmt.Errorf("more than %d answered transfers are missing or answered differently: %w", maxBenchExceptions, err)
	}
	if err != nil {
		return err
	}
	c := &b.report.Check
	c.Transfers += loaded.numbers.count()
	missing, different := compareAnswers(b.exceptions, loaded.exceptions, r)
	c.Missing += missing
	c.Different += different
	return nil
}

// compareAnswers counts what was answered differently the second time, given the
// exceptions of both times: from "applied" the first, and from "applied,
// repeated" the second time.
func compareAnswers(first, second map[uint64]wallet.Result, r benchRange) (missing, different uint64) {
	for n, again := range second {
		want := wallet.Applied
		if was, ok := first[n]; ok {
			want = was.Code()
		}
		switch {
		case !again.Repeated():
			missing++
		case again.Code() != want:
			different++
		}
	}
	for n, was := range first {
		if _, ok := second[n]; !ok && n >= r.begin && n < r.end && was.Code() != wallet.Applied {
			different++ // it is answered "applied" now
		}
	}
	return missing, different
}

// checkBalances compares a sample of the balances, account 0 and the bank among
// them, with what the transfers make them.
func (b *bench) checkBalances(ctx context.Context) error {
	step := max(b.plan.accounts/sampleBalances, 1)
	for slot, want := range b.plan.balances(b.made, step, b.exceptions) {
		if err := b.checkBalance(ctx, b.plan.account(uint64(slot)*step), want); err != nil {
			return err
		}
	}
	for i := range b.plan.banks {
		if err := b.checkBalance(ctx, b.plan.bankAccount(i), -money.Amount(b.plan.membersOf(i))*benchFunds); err != nil {
			return err
		}
	}
	return nil
}

// checkBalance compares one balance.
func (b *bench) checkBalance(ctx context.Context, id wallet.AccountID, want money.Amount) error {
	got, err := b.balance(ctx, id)
	if err != nil {
		return fmt.Errorf("balance of %s: %w", id, err)
	}
	b.report.Check.Balances++
	if got != want {
		b.report.Check.BalancesWrong++
		fmt.Fprintf(b.progress, "check: account %s has %d minor units, want %d\n", id, got, want)
	}
	return nil
}

// balances returns what every step-th account has after the transfers of a
// range, but for those in exceptions that were not applied.
func (p *benchPlan) balances(r benchRange, step uint64, exceptions map[uint64]wallet.Result) []money.Amount {
	out := make([]money.Amount, (p.accounts+step-1)/step)
	for i := range out {
		out[i] = benchFunds
	}
	for n := r.begin; n < r.end; n++ {
		s := p.sides(n)
		from, to := s.from%step == 0, s.to%step == 0
		if !from && !to {
			continue
		}
		if was, ok := exceptions[n]; ok && was.Code() != wallet.Applied {
			continue
		}
		if from {
			out[s.from/step] -= s.amount
		}
		if to {
			out[s.to/step] += s.amount
		}
	}
	return out
}
