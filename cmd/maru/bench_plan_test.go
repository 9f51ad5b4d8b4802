package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/wallet"
)

func testPlan(accounts, hot, seed uint64) *benchPlan {
	p := &benchPlan{
		seed:     seed,
		accounts: accounts,
		hot:      hot,
		currency: money.MustParseCurrency("USD"),
		banks:    []wallet.Handle{1},
		handles:  make([]wallet.Handle, accounts),
	}
	for i := range p.handles {
		p.handles[i] = wallet.Handle(100 + 3*i)
	}
	return p
}

func TestBenchPlanSides(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		accounts uint64
		hot      uint64
	}{
		{"two accounts", 2, 0},
		{"two accounts, one hot", 2, 100},
		{"uniform", 10, 0},
		{"half hot", 10, 50},
		{"all hot", 10, 100},
	}
	const n = 100_000
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := testPlan(test.accounts, test.hot, 42)
			pays, gets := make([]int, test.accounts), make([]int, test.accounts)
			var amounts [benchMaxAmount + 1]int
			withHot := 0
			for i := range uint64(n) {
				s := p.sides(i)
				if s.from == s.to || s.from >= test.accounts || s.to >= test.accounts {
					t.Fatalf("transfer %d: from %d to %d of %d accounts", i, s.from, s.to, test.accounts)
				}
				if s.amount < 1 || s.amount > benchMaxAmount {
					t.Fatalf("transfer %d: amount %d", i, s.amount)
				}
				pays[s.from]++
				gets[s.to]++
				amounts[s.amount]++
				if s.from == 0 || s.to == 0 {
					withHot++
				}
			}
			hot := float64(test.hot) / 100
			wantHot := hot + (1-hot)*2/float64(test.accounts)
			near(t, "share of transfers with account 0", float64(withHot)/n, wantHot)
			near(t, "share of transfers that account 0 pays", float64(pays[0])/n, wantHot/2)
			for i := uint64(1); i < test.accounts; i++ {
				others := (1 - wantHot/2) / float64(test.accounts-1)
				near(t, "share that one other account pays", float64(pays[i])/n, others)
				near(t, "share that one other account gets", float64(gets[i])/n, others)
			}
			for a := 1; a <= benchMaxAmount; a++ {
				near(t, "share of an amount", float64(amounts[a])/n, 1.0/benchMaxAmount)
			}
		})
	}
}

// near fails if a share of 100,000 draws is more than 7 standard deviations
// (0.011 at the most) from what is expected.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if diff := got - want; diff > 0.011 || diff < -0.011 {
		t.Errorf("%s: got %.4f, want %.4f", what, got, want)
	}
}

func TestBenchPlanIDs(t *testing.T) {
	t.Parallel()
	const n = 200_000
	seen := make(map[wallet.TransactionID]uint64, 3*n)
	for _, p := range []*benchPlan{testPlan(2, 0, 1), testPlan(2, 0, 2)} {
		for i := range uint64(n) {
			for _, number := range []uint64{i, i | benchFunding} {
				id := p.id(number)
				if other, ok := seen[id]; ok {
					t.Fatalf("transfers %d and %d share the id %s", other, number, id)
				}
				seen[id] = number
				if version, variant := id[6]>>4, id[8]>>6; version != 8 || variant != 2 {
					t.Fatalf("%s: version %d, variant %d, want 8 and 2", id, version, variant)
				}
			}
		}
	}
	id := testPlan(2, 0, 1).id(7)
	if back, err := wallet.ParseTransactionID(id.String()); err != nil || back != id {
		t.Errorf("ParseTransactionID(%s): got %v, %v", id, back, err)
	}
}

func TestBenchPlanIsRepeatable(t *testing.T) {
	t.Parallel()
	p := testPlan(1000, 10, 99)
	first, again := make([]wallet.HandleTransfer, 500), make([]wallet.HandleTransfer, 100)
	p.fill(first, 10_000)
	testPlan(1000, 10, 99).fill(again, 10_400)
	if diff := cmp.Diff(first[400:], again); diff != "" {
		t.Errorf("the same numbers, other transfers (-first +again):\n%s", diff)
	}
	want := wallet.HandleTransfer{
		ID: p.id(benchFunding | 5), From: p.banks[0], To: p.handles[5], Amount: benchFunds, Currency: p.currency,
	}
	if diff := cmp.Diff(want, p.transfer(benchFunding|5)); diff != "" {
		t.Errorf("funding of account 5 (-want +got):\n%s", diff)
	}
}

func TestBenchPlanAccountIDs(t *testing.T) {
	t.Parallel()
	p := testPlan(maxBenchAccounts/1e8, 0, 1<<64-1)
	for _, id := range []wallet.AccountID{p.account(0), p.account(maxBenchAccounts), p.bankAccount(0)} {
		if err := id.Validate(); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if p.account(1) == testPlan(2, 0, 1).account(1) {
		t.Error("two runs share an account id")
	}
}

// TestBenchPlanBalances compares the balances of a sample with those of a model that
// makes every transfer.
func TestBenchPlanBalances(t *testing.T) {
	t.Parallel()
	p := testPlan(57, 20, 5)
	r := benchRange{100, 5000}
	exceptions := map[uint64]wallet.Result{
		200: wallet.Result(wallet.InsufficientFunds),
		300: wallet.Result(wallet.Applied) | 0x80, // it was there before: its money moved
	}
	all := make([]money.Amount, p.accounts)
	for i := range all {
		all[i] = benchFunds
	}
	for n := r.begin; n < r.end; n++ {
		if n != 200 {
			s := p.sides(n)
			all[s.from] -= s.amount
			all[s.to] += s.amount
		}
	}
	for _, step := range []uint64{1, 10, 56, 57} {
		var want []money.Amount
		for i := uint64(0); i < p.accounts; i += step {
			want = append(want, all[i])
		}
		if diff := cmp.Diff(want, p.balances(r, step, exceptions)); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", step, diff)
		}
	}
}

func BenchmarkPlanFill(b *testing.B) {
	p := testPlan(1_000_000, 0, 1)
	batch := make([]wallet.HandleTransfer, wallet.MaxBatch)
	for i := range b.N {
		p.fill(batch, uint64(i)*wallet.MaxBatch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/wallet.MaxBatch, "ns/transfer")
}
