package wallet

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/big"

	"maru.example/money"
)

// Flow is the money of a tenant, in a currency, between a partition and another
// one, in minor units.
type Flow struct {
	Peer     uint16
	Tenant   uint16
	Currency money.Currency
	Out      *big.Int // accounts here were debited for accounts of the peer, and not given back
	In       *big.Int // accounts here were credited from accounts of the peer
}

// Audit checks the books of the partition as they are between two batches, and
// returns what they say of the money to and from other partitions. For each tenant
// and currency all balances and that money add up to zero; and what is pending for
// a balance, and who is locked, is what the transfers under way say; what is held is
// what the holds say. It looks at
// everything: it is for small states, and for those who doubt.
func (m *Machine) Audit() ([]Flow, error) {
	flows := make([]Flow, 0, len(m.crossing.totals.all))
	for _, k := range m.crossing.totals.keys() {
		t := m.crossing.totals.all[k]
		flows = append(flows, Flow{k.peer, k.tenant, k.currency, t.out.big(), t.in.big()})
	}
	for number := range m.tenants {
		balances, flights := map[money.Currency]*sums{}, map[money.Currency]*int128{}
		for row, more := uint64(0), true; more; {
			row, more = m.addUp(balances, uint16(number), row)
		}
		m.inFlightSums(flights, uint16(number))
		for c, s := range balances {
			sum := s.sum
			if f := flights[c]; f != nil {
				sum.plus(*f)
			}
			if sum != (int128{}) {
				return flows, fmt.Errorf("wallet: partition %d, tenant %d, currency %d: balances and the money in flight add up to %v", m.options.Partition, number, c, sum.big())
			}
		}
	}
	if err := m.auditPending(); err != nil {
		return flows, err
	}
	if err := m.auditHolds(); err != nil {
		return flows, fmt.Errorf("wallet: partition %d, %w", m.options.Partition, err)
	}
	return flows, nil
}

// promises is what the transfers under way say of an account.
type promises struct {
	pending map[money.Currency]money.Amount
	locks   int
}

// auditPending compares the accounts with the transfers under way.
func (m *Machine) auditPending() error {
	all := map[uint32]*promises{}
	note := func(row uint32, c money.Currency, pending money.Amount, locks int) {
		p := all[row]
		if p == nil {
			p = &promises{pending: map[money.Currency]money.Amount{}}
			all[row] = p
		}
		p.pending[c] += pending
		p.locks += locks
	}
	for i := range m.crossing.peers {
		out, in := &m.crossing.peers[i].out, &m.crossing.peers[i].in
		for seq := out.low; seq < out.next; seq++ {
			f := out.at(seq)
			if f.isPart() {
				continue
			}
			switch f.phase {
			case Trying, Crediting:
				note(f.from, f.currency, f.amount, 0)
			case Preparing:
				note(f.from, f.currency, 0, 1)
			case NoPhase, Confirming, Canceling, Finished, Waiting, endPhase:
			}
		}
		for seq := in.low; seq < in.next; seq++ {
			switch p := in.at(seq); p.state {
			case stateTried:
				note(p.to, p.currency, p.amount, 0)
			case statePrepared:
				note(p.to, p.currency, p.amount, 1)
			case stateUnseen, stateRefused, stateCredited, endState:
			}
		}
	}
	owed := func(legs []leg) {
		for i := range legs {
			note(uint32(m.row(legs[i].account)), legs[i].currency, magnitude(legs[i].amount), 0)
		}
	}
	for _, t := range m.crossing.transactions {
		if t.holds() {
			owed(t.of(-1))
		}
	}
	for _, p := range m.crossing.legs {
		owed(p.legs)
	}
	for row := range m.accounts.len {
		if err := m.auditAccount(row, all[uint32(row)]); err != nil {
			return fmt.Errorf("wallet: partition %d, %w", m.options.Partition, err)
		}
	}
	return nil
}

func (m *Machine) auditAccount(row uint64, p *promises) error {
	if p == nil {
		p = &promises{}
	}
	a := m.accounts.at(row)
	id := m.arena.get(a.name, a.nameLen)
	if locks := int(a.status&locked) / locked; p.locks != locks {
		return fmt.Errorf("account %s: %d locks, and %d transfers that hold one", id, locks, p.locks)
	}
	f, c := &a.funds, a.currency
	for next := a.next; ; {
		if f.pending != p.pending[c] {
			return fmt.Errorf("account %s: %d is pending, and %d on the way", id, f.pending, p.pending[c])
		}
		if next == 0 {
			return nil
		}
		b := m.balances.at(uint64(next - 1))
		f, c, next = &b.funds, b.currency, b.next
	}
}

// Accounts returns the accounts of a tenant as they are between two batches, in the
// order of their handles.
func (m *Machine) Accounts(tenant Tenant) []Account {
	var all []Account
	number := m.tenantNumber(string(tenant))
	for row := range m.accounts.len {
		if int(m.accounts.at(row).tenant) == number {
			all = append(all, m.account(m.base+Handle(row)+1))
		}
	}
	return all
}

// Sum returns a checksum of the state as it is between two batches, of what a
// snapshot would have: replicas that applied the same have the same. It looks at
// everything, as Audit does.
func (m *Machine) Sum() uint64 {
	h := fnv.New64a()
	var b []byte
	write := func(block []byte) {
		h.Write(block)
		b = block[:0]
	}
	for image, more := m.image(), true; more; {
		b, more = image.block(b)
		write(b)
	}
	for row := range m.accounts.len {
		write(m.appendAccount(b, m.accounts.at(row)))
	}
	for row := range m.balances.len {
		write(appendBalance(b, m.balances.at(row)))
	}
	if sum := m.sumHolds(); sum != 0 {
		write(binary.LittleEndian.AppendUint64(b, sum))
	}
	for row := range m.reversals.len {
		write(appendReversal(b, m.reversals.at(row)))
	}
	old := m.sumOld()
	for number, t := range m.tenants {
		ids := old[number] // in whatever order the table has them
		for i := range t.ids.segs {
			s := &t.ids.segs[i]
			for n := range s.len {
				ids += idSum(s.at(n))
			}
		}
		write(binary.LittleEndian.AppendUint64(AppendName(b, t.name), ids))
	}
	return h.Sum64()
}
