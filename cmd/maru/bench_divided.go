package main

import (
	"fmt"
	"math/bits"

	"maru.example/money"
	"maru.example/wallet"
)

// benchDivided is what a plan knows of the partitions of a wallet. The transfers of
// a block of numbers are all paid in one partition, so that a batch goes to the
// node that leads it; the next block is paid in the next one. The payees are of the
// same partition, but for cross per cent of them, which are of another.
type benchDivided struct {
	partitions int
	cross      uint64   // per cent
	block      uint64   // transfers
	order      []uint32 // the accounts, by partition
	begins     []uint64 // of the partitions in order, and the end of the last
}

// blockOfSingles is a block where each transfer is a call of its own: small, so
// that the calls under way are spread over the partitions.
const blockOfSingles = 16

// divide makes the plan one of a wallet of several partitions.
func (p *benchPlan) divide(partitions int, cross, block uint64) error {
	d := &benchDivided{partitions: partitions, cross: cross, block: block}
	p.divided = d
	places := make([]uint16, p.accounts)
	d.begins = make([]uint64, partitions+1)
	for i := range places {
		places[i] = uint16(d.partitionOf(p.account(uint64(i))))
		d.begins[places[i]+1]++
	}
	for i := range partitions {
		if d.begins[i+1] < 2 {
			return usageError("open more of them with --accounts", "%d accounts are too few for %d partitions: one would have less than 2", p.accounts, partitions)
		}
		d.begins[i+1] += d.begins[i]
	}
	next := append([]uint64(nil), d.begins...)
	d.order = make([]uint32, p.accounts)
	for i, at := range places {
		d.order[next[at]] = uint32(i)
		next[at]++
	}
	return nil
}

// partitionOf returns the partition of an account.
func (d *benchDivided) partitionOf(id wallet.AccountID) int {
	return int(wallet.PartitionOf(wallet.DefaultTenant, id, uint16(d.partitions)))
}

// members returns the accounts of a partition.
func (d *benchDivided) members(partition uint64) []uint32 {
	return d.order[d.begins[partition]:d.begins[partition+1]]
}

// sides returns the transfer with the number n.
func (d *benchDivided) sides(p *benchPlan, n uint64) benchSides {
	x := mix64(p.seed + 2*n*mixGamma)
	y := mix64(p.seed + (2*n+1)*mixGamma)
	payer := n / d.block % uint64(d.partitions)
	mine := d.members(payer)
	from, low := bits.Mul64(x, uint64(len(mine)))
	percent, _ := bits.Mul64(low, 100)
	var to uint64
	if percent < d.cross {
		step, rest := bits.Mul64(y, uint64(d.partitions-1))
		theirs := d.members((payer + 1 + step) % uint64(d.partitions))
		to, y = bits.Mul64(rest, uint64(len(theirs)))
		to = uint64(theirs[to])
	} else {
		to, y = bits.Mul64(y, uint64(len(mine)-1))
		to = uint64(mine[(from+1+to)%uint64(len(mine))])
	}
	amount, _ := bits.Mul64(y, benchMaxAmount)
	return benchSides{from: uint64(mine[from]), to: to, amount: 1 + money.Amount(amount)}
}

// partitions returns how many partitions there are.
func (p *benchPlan) partitions() int {
	if p.divided == nil {
		return 1
	}
	return p.divided.partitions
}

// block returns the number of the block that transfer n is of.
func (p *benchPlan) block(n uint64) uint64 {
	if p.divided == nil {
		return 0
	}
	return n &^ benchFunding / p.divided.block
}

// payer returns the partition that pays transfer n.
func (p *benchPlan) payer(n uint64) int {
	switch {
	case p.divided == nil:
		return 0
	case n >= benchFunding:
		return p.divided.partitionOf(p.account(p.funded(n)))
	}
	return int(p.block(n) % uint64(p.divided.partitions))
}

// funded returns the account that transfer n funds. Those of a partition follow
// each other.
func (p *benchPlan) funded(n uint64) uint64 {
	if p.divided == nil {
		return n &^ benchFunding
	}
	return uint64(p.divided.order[n&^benchFunding])
}

// membersOf returns how many accounts a partition has.
func (p *benchPlan) membersOf(partition int) uint64 {
	if p.divided == nil {
		return p.accounts
	}
	return uint64(len(p.divided.members(uint64(partition))))
}

// open opens the banks with a client.
func (p *benchPlan) newBanks() []wallet.NewAccount {
	banks := make([]wallet.NewAccount, p.partitions())
	for i := range banks {
		banks[i] = wallet.NewAccount{ID: p.bankAccount(i), Currency: p.currency, Min: wallet.Unlimited}
	}
	return banks
}

// plan makes the plan of what the configuration asks for.
func (c *benchConfig) plan(seed uint64) (benchPlan, error) {
	p := benchPlan{seed: seed, accounts: c.accounts, hot: uint64(c.hot), currency: money.MustParseCurrency("USD")}
	if c.partitions < 2 {
		return p, nil
	}
	if err := p.divide(c.partitions, uint64(c.cross), c.block()); err != nil {
		return p, fmt.Errorf("plan: %w", err)
	}
	return p, nil
}

// block returns how many transfers follow each other that are paid in one partition.
func (c *benchConfig) block() uint64 {
	if c.api == benchStream {
		return uint64(c.batch)
	}
	return blockOfSingles
}
