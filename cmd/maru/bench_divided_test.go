package main

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/wallet"
)

// dividedPlan returns a plan of 4 partitions, with handles as a wallet gives them.
func dividedPlan(t *testing.T, accounts, cross, block uint64) *benchPlan {
	t.Helper()
	p := testPlan(accounts, 0, 42)
	if err := p.divide(4, cross, block); err != nil {
		t.Fatal(err)
	}
	p.banks = nil
	for i := range uint64(4) {
		p.banks = append(p.banks, wallet.Handle(i<<48|1))
	}
	for i := range p.handles {
		p.handles[i] = wallet.Handle(uint64(p.divided.partitionOf(p.account(uint64(i))))<<48 | uint64(i+2))
	}
	return p
}

// TestBenchPlanDivided checks that a block is paid in one partition, that so many
// payees are of another one as asked for, and that every account takes part.
func TestBenchPlanDivided(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		cross, block uint64
	}{
		{"none between partitions", 0, 64},
		{"a few", 10, 16},
		{"half", 50, 1000},
		{"all", 100, 8192},
	}
	const n = 100_000
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := dividedPlan(t, 200, test.cross, test.block)
			crossing, paid, got := 0, map[uint64]bool{}, map[uint64]bool{}
			for i := range uint64(n) {
				s, h := p.sides(i), p.transfer(i)
				if s.from == s.to || s.amount < 1 || s.amount > benchMaxAmount {
					t.Fatalf("transfer %d: %+v", i, s)
				}
				want := uint16(i / test.block % 4)
				if h.From.Partition() != want || p.payer(i) != int(want) {
					t.Fatalf("transfer %d is paid in %d, payer says %d, want %d", i, h.From.Partition(), p.payer(i), want)
				}
				if h.To.Partition() != want {
					crossing++
				}
				paid[s.from], got[s.to] = true, true
			}
			near(t, "share of transfers between partitions", float64(crossing)/n, float64(test.cross)/100)
			if len(paid) != 200 || len(got) != 200 {
				t.Errorf("%d accounts pay and %d are paid, want 200", len(paid), len(got))
			}
		})
	}
}

// TestBenchPlanDividedFunding checks that every account is funded once, in its own
// partition.
func TestBenchPlanDividedFunding(t *testing.T) {
	t.Parallel()
	p := dividedPlan(t, 200, 50, 16)
	funded, members := map[wallet.Handle]int{}, uint64(0)
	for i := range p.accounts {
		h := p.transfer(benchFunding | i)
		funded[h.To]++
		if h.From.Partition() != h.To.Partition() || p.payer(benchFunding|i) != int(h.From.Partition()) {
			t.Errorf("%x is funded by %x", h.To, h.From)
		}
	}
	for i := range 4 {
		members += p.membersOf(i)
		if got := p.divided.partitionOf(p.bankAccount(i)); got != i {
			t.Errorf("the bank of partition %d is in partition %d", i, got)
		}
	}
	if len(funded) != 200 || members != 200 {
		t.Errorf("%d accounts are funded, and the partitions have %d, want 200", len(funded), members)
	}
}

func TestBenchPlanTooFewAccounts(t *testing.T) {
	t.Parallel()
	_, err := (&benchConfig{accounts: 5, partitions: 4, api: benchStream, batch: 1}).plan(1)
	if f, ok := errors.AsType[*failure](err); !ok || f.status != exitUsage {
		t.Errorf("got %v, want a usage error", err)
	}
}

// TestBenchNodes checks which node gets a call, and that the check asks another.
func TestBenchNodes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		route     benchRoute
		elsewhere int
		want      []int // of blocks 0 to 7
	}{
		{"leaders", routeLeader, 0, []int{2, 0, 1, 2, 2, 0, 1, 2}},
		{"others than leaders", routeLeader, 1, []int{0, 1, 2, 0, 0, 1, 2, 0}},
		{"in turn", routeAny, 0, []int{0, 0, 0, 0, 1, 1, 1, 1}},
		{"others than in turn", routeAny, 1, []int{1, 1, 1, 1, 2, 2, 2, 2}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := &bench{plan: *dividedPlan(t, 100, 0, 16), servers: make([]*benchServer, 3), elsewhere: test.elsewhere}
			b.config.route = string(test.route)
			var got []int
			for block := range uint64(8) {
				got = append(got, b.nodeOf(block*16, []int{2, 0, 1, 2}))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})
	}
}
