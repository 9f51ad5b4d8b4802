package main

import (
	"encoding/binary"
	"math/bits"
	"strconv"

	"maru.example/money"
	"maru.example/wallet"
)

// Amounts of the benchmark, in minor units.
const (
	benchMaxAmount = 100
	// benchFunds is what each account has before the clock starts. The balance
	// of an account is a random walk of steps up to benchMaxAmount: it would
	// take some 10^14 transfers of one account to use this up, and the funds of
	// 10^9 accounts still fit the bank's balance.
	benchFunds money.Amount = 1_000_000_000
)

// benchFunding marks the numbers of the transfers that fund the accounts:
// number benchFunding|i funds account i.
const benchFunding uint64 = 1 << 63

// benchPlan says what every transfer of a run is, by its number: nothing needs
// to be stored to make a transfer a second time, or to know what balances must
// come out. Transfers are between two different accounts, drawn uniformly; with
// hot per cent of them, one side drawn uniformly is account 0. In a divided wallet
// see [divided].
type benchPlan struct {
	seed     uint64
	accounts uint64 // at least 2
	hot      uint64 // per cent
	currency money.Currency
	banks    []wallet.Handle // where the funds come from, of each partition
	handles  []wallet.Handle // of the accounts
	divided  *benchDivided   // nil: one partition
}

// benchSides is one transfer between accounts known by their numbers.
type benchSides struct {
	from, to uint64
	amount   money.Amount
}

// sides returns the transfer with the number n, which is below benchFunding.
func (p *benchPlan) sides(n uint64) benchSides {
	if p.divided != nil {
		return p.divided.sides(p, n)
	}
	// Successive outputs of splitmix64 (Steele, Lea, Flood: Fast Splittable
	// Pseudorandom Number Generators, 2014), at a position that depends on n.
	x := mix64(p.seed + 2*n*mixGamma)
	y := mix64(p.seed + (2*n+1)*mixGamma)
	from, _ := bits.Mul64(x, p.accounts)
	step, low := bits.Mul64(y, p.accounts-1)
	to := from + 1 + step
	if to >= p.accounts {
		to -= p.accounts
	}
	amount, low := bits.Mul64(low, benchMaxAmount)
	if p.hot > 0 {
		percent, rest := bits.Mul64(low, 100)
		if percent < p.hot {
			from, to = heat(from, to, rest>>63 == 0)
		}
	}
	return benchSides{from: from, to: to, amount: 1 + money.Amount(amount)}
}

// heat puts account 0 on one side. The other side stays, or is what 0 replaces
// if it was 0 itself.
func heat(from, to uint64, pays bool) (uint64, uint64) {
	switch {
	case from == 0 || to == 0:
		other := from + to
		if pays {
			return 0, other
		}
		return other, 0
	case pays:
		return 0, to
	default:
		return from, 0
	}
}

// transfer returns the transfer with the number n, a funding one too.
func (p *benchPlan) transfer(n uint64) wallet.HandleTransfer {
	if n >= benchFunding {
		return wallet.HandleTransfer{
			ID:       p.id(n),
			From:     p.banks[p.payer(n)],
			To:       p.handles[p.funded(n)],
			Amount:   benchFunds,
			Currency: p.currency,
		}
	}
	s := p.sides(n)
	return wallet.HandleTransfer{
		ID:       p.id(n),
		From:     p.handles[s.from],
		To:       p.handles[s.to],
		Amount:   s.amount,
		Currency: p.currency,
	}
}

// fill makes ts the transfers that begin with the number first.
func (p *benchPlan) fill(ts []wallet.HandleTransfer, first uint64) {
	for i := range ts {
		ts[i] = p.transfer(first + uint64(i))
	}
}

// id returns the transaction id of transfer n, a version 8 UUID (RFC 9562). Of
// its 122 free bits 64 are a bijection of n, so that no two transfers of a run
// share an id; the others depend on the run's seed, so that those of two runs do
// not either.
func (p *benchPlan) id(n uint64) wallet.TransactionID {
	unique := mix64(n + p.seed)
	rest := mix64(unique ^ mix64(p.seed))
	const version, variant = 8 << 12, 2 << 62
	high := unique&^0xffff | version | unique>>4&0xfff
	low := variant | unique&0xf<<58 | rest>>6
	var id wallet.TransactionID
	binary.BigEndian.PutUint64(id[:8], high)
	binary.BigEndian.PutUint64(id[8:], low)
	return id
}

// account returns the id of account i, different in every run.
func (p *benchPlan) account(i uint64) wallet.AccountID {
	return wallet.AccountID(p.appendAccount(nil, i))
}

// appendAccount appends the id of account i to dst.
func (p *benchPlan) appendAccount(dst []byte, i uint64) []byte {
	dst = append(dst, "bench-"...)
	dst = strconv.AppendUint(dst, p.seed, 36)
	dst = append(dst, ':')
	return strconv.AppendUint(dst, i, 10)
}

// bankAccount returns the id of the account that funds the others of a partition.
func (p *benchPlan) bankAccount(partition int) wallet.AccountID {
	id := wallet.AccountID("bench-" + strconv.FormatUint(p.seed, 36) + ":bank")
	if p.divided == nil {
		return id
	}
	for i := 0; ; i++ {
		numbered := id + wallet.AccountID(strconv.Itoa(i))
		if p.divided.partitionOf(numbered) == partition {
			return numbered
		}
	}
}

const mixGamma = 0x9e3779b97f4a7c15

// mix64 is the finalizer of splitmix64, a bijection of 64 bits.
func mix64(x uint64) uint64 {
	x += mixGamma
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
