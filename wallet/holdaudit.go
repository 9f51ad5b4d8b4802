package wallet

import (
	"fmt"

	"maru.example/money"
)

// auditHolds compares what is noted of each balance with its holds, and the holds with
// the captures under way.
func (m *Machine) auditHolds() error {
	sums, flying, open := map[balanceRef]holdSum{}, m.flyingOf(), 0
	for i := range m.holds.rows.len {
		h := m.holds.rows.at(i)
		if h.state == holdFree {
			continue
		}
		s := sums[h.balance]
		s.held += h.left
		s.flying += h.flying
		if h.state == holdOpen {
			s.count++
			open++
			if at := m.holds.place[i]; int(at) >= len(m.holds.due) || m.holds.due[at] != uint32(i) || m.holds.index[h.holdKey] != uint32(i) {
				return fmt.Errorf("hold %v: it is not where it is looked for", h.key.id())
			}
		}
		sums[h.balance] = s
		switch {
		case h.left < 0, h.captured < 0, h.left+h.captured+h.flying > h.amount, h.state == holdFinished && (h.left != 0 || h.flying == 0):
			return fmt.Errorf("hold %v of %d: %d are left, %d captured, %d in flight", h.key.id(), h.amount, h.left, h.captured, h.flying)
		case h.flying != flying[uint32(i)]:
			return fmt.Errorf("hold %v: %d are in flight, and captures of %d", h.key.id(), h.flying, flying[uint32(i)])
		}
	}
	if open != len(m.holds.due) || open != len(m.holds.index) || len(sums) != len(m.holds.sums) {
		return fmt.Errorf("%d open holds of %d balances, of which %d can expire, %d can be found, and %d balances know", open, len(sums), len(m.holds.due), len(m.holds.index), len(m.holds.sums))
	}
	for ref, s := range sums {
		got := m.holds.sums[ref]
		if got.held != s.held || got.flying != s.flying || got.count != s.count {
			return fmt.Errorf("a balance has %d held by %d holds and %d in flight; the holds say %d by %d, and %d", got.held, got.count, got.flying, s.held, s.count, s.flying)
		}
	}
	return m.auditLimits()
}

// flyingOf adds up the captures under way of each hold's row.
func (m *Machine) flyingOf() map[uint32]money.Amount {
	all := map[uint32]money.Amount{}
	for i := range m.crossing.peers {
		out := &m.crossing.peers[i].out
		for n := out.low; n < out.next; n++ {
			if f := out.at(n); f.hold != 0 {
				all[f.hold-1] += f.amount
			}
		}
	}
	return all
}

// auditLimits compares the marks of accounts with the limits.
func (m *Machine) auditLimits() error {
	marked := map[uint64]bool{}
	for ref, row := range m.spends.of {
		s := m.spends.rows.at(uint64(row))
		if s.balance != ref || !s.used || s.spent < 0 {
			return fmt.Errorf("account %d: a limit of %d, of which %d are spent in %d debits", s.account, s.limit.Amount, s.spent, s.count)
		}
		marked[uint64(s.account)] = true
	}
	if uint64(len(m.spends.of)) != m.spends.rows.used() {
		return fmt.Errorf("%d limits, of which %d can be found", m.spends.rows.used(), len(m.spends.of))
	}
	for row := range m.accounts.len {
		if a := m.accounts.at(row); a.status&limited != 0 != marked[row] {
			return fmt.Errorf("account %s: it is marked as one with a daily limit: %v", m.arena.get(a.name, a.nameLen), !marked[row])
		}
	}
	return nil
}
