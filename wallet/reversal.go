package wallet

import "maru.example/money"

// reversal is how much of a leg of a transfer or transaction was taken back, or is
// about to be. Those of one original follow each other in the table, in the order in
// which its postings name the balances. 32 bytes.
type reversal struct {
	key    key
	amount money.Amount // more than zero, whatever the sign of the leg
	tenant uint16
	leg    uint8 // from 0 on
	legs   uint8
}

// reversals are those of all originals of which something was ever taken back.
type reversals struct {
	table[reversal]
	rows map[transactionKey]uint32 // of the first leg
}

// transactionKey names a transaction within a partition.
type transactionKey struct {
	key    key
	tenant uint16
}

// reservation is what a reversal takes back, by leg of the original. The zero value
// reverses nothing.
type reservation struct {
	of      transactionKey
	amounts []money.Amount
}

// judgeReversal says whether a transaction may take back what it does: the original
// was applied here, with the content that is claimed, and all that was taken back of
// each of its legs is no more than it. It notes in back what is taken back.
func (m *Machine) judgeReversal(d *draft, back *reservation) Code {
	e, seen := m.lookupID(d.tenant, d.own.of)
	if !seen || e.code() != Applied || !d.original.wasMade(d.own.reverses, e.fingerprint()) {
		return NotReversible
	}
	var room [MaxPostings]net
	legs := room[:0]
	for rest, n := d.original.postings, d.original.n; n > 0; n-- {
		var p rawPosting
		p, rest = nextPosting(rest)
		if v := netFor(legs, &p); v != nil {
			v.amount += p.amount
			continue
		}
		legs = append(legs, net{leg{amount: p.amount, currency: p.currency}, p.name})
	}
	back.of, back.amounts = transactionKey{d.own.of, d.tenant}, back.amounts[:len(legs)]
	found := 0
	row, begun := m.reversals.rows[back.of]
	for i := range legs {
		v := netFor(d.nets, &rawPosting{name: legs[i].name, currency: legs[i].currency})
		if v == nil {
			continue
		}
		found++
		left := magnitude(legs[i].amount)
		if begun {
			left -= m.reversals.at(uint64(row) + uint64(i)).amount
		}
		if (v.amount > 0) == (legs[i].amount > 0) && v.amount != 0 || magnitude(v.amount) > left {
			return OverReversed
		}
		back.amounts[i] = magnitude(v.amount)
	}
	switch {
	case found < len(d.nets):
		return OverReversed
	case !begun && m.reversals.len+uint64(len(legs)) > MaxAccounts:
		return LimitReached
	}
	return Applied
}

// wasMade says that an original is what was remembered by a fingerprint. Of a capture it
// makes no difference whether it was the hold's last.
func (c *content) wasMade(as reversed, sum uint64) bool {
	if as == reversesTransaction {
		return c.fingerprint() == sum
	}
	from, rest := nextPosting(c.postings)
	to, _ := nextPosting(rest)
	if as == reversesTransfer {
		return fingerprint(nameHash(from.name), nameHash(to.name), to.amount, to.currency) == sum
	}
	capture := holdCommand{action: holdCapture, hold: c.hold.id(), amount: to.amount, currency: to.currency, from: from.name, to: to.name}
	some := capture.sum()
	capture.final = true
	return some == sum || capture.sum() == sum
}

// reserve notes what a reversal takes back.
func (m *Machine) reserve(back *reservation) {
	if len(back.amounts) == 0 {
		return
	}
	row, begun := m.reversals.rows[back.of]
	if !begun {
		row = uint32(m.reversals.len)
		for i := range back.amounts {
			m.reversals.add(reversal{key: back.of.key, tenant: back.of.tenant, leg: uint8(i), legs: uint8(len(back.amounts))})
		}
		m.reversals.rows[back.of] = row
	}
	for i, a := range back.amounts {
		if a != 0 {
			m.reversals.touch(uint64(row) + uint64(i))
			m.reversals.at(uint64(row) + uint64(i)).amount += a
		}
	}
}

// unreserve ends that a reversal, which was not made, takes something back.
func (m *Machine) unreserve(back *reservation) {
	row := m.reversals.rows[back.of]
	for i, a := range back.amounts {
		if a != 0 {
			m.reversals.touch(uint64(row) + uint64(i))
			m.reversals.at(uint64(row) + uint64(i)).amount -= a
		}
	}
}

// reversed returns how much of each leg of an original was taken back, or is about to
// be; empty if nothing ever was.
func (m *Machine) reversed(tenant uint16, id TransactionID) []money.Amount {
	amounts := []money.Amount{}
	row, begun := m.reversals.rows[transactionKey{makeKey(id[:]), tenant}]
	if !begun {
		return amounts
	}
	for i := range m.reversals.at(uint64(row)).legs {
		amounts = append(amounts, m.reversals.at(uint64(row)+uint64(i)).amount)
	}
	return amounts
}
