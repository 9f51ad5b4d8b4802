package wallet

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"maru.example/money"
)

// The effects of a batch are what its results do not say: which balances changed, and
// what they are now. With the commands and the results they make the events of the
// wallet: see [Events] and docs/format/wallet.md.
const (
	movementBytes = 60 // of an event that changes a balance
	balancesBytes = 16 // of the two balances after a transfer by handle
	onHoldBytes   = 96 // of an event of a hold
)

// Effects returns the effects of the batch that was applied last, valid until the
// next: of a batch of KindTransfers the balances of both sides after each transfer
// that was applied, else movements; and then what became of holds.
func (m *Machine) Effects() []byte { return m.effects }

// balancesAfter notes the balances of both sides of a transfer by handle.
func (m *Machine) balancesAfter(from, to money.Amount) {
	m.effects = binary.LittleEndian.AppendUint64(m.effects, uint64(from))
	m.effects = binary.LittleEndian.AppendUint64(m.effects, uint64(to))
}

// moved notes a transfer that was applied within the partition.
func (m *Machine) moved(tenant uint16, v *movement) {
	side := Event{
		Kind: Debit, Tenant: tenant, Currency: v.currency, Account: v.from, Other: v.to,
		ID: v.key.id(), Amount: -v.amount, Balance: v.fromAfter,
	}
	m.effect(&side)
	side.Kind, side.Account, side.Other, side.Amount, side.Balance = Credit, v.to, v.from, v.amount, v.toAfter
	m.effect(&side)
}

// effect notes the change of a balance by the command that is being decided.
func (m *Machine) effect(v *Event) {
	dst := append(m.effects, byte(v.Kind), 0)
	dst = binary.LittleEndian.AppendUint16(dst, v.Tenant)
	dst = binary.LittleEndian.AppendUint32(dst, m.command)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.Account))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.Other))
	dst = append(dst, v.ID[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.Amount))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.Balance))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(v.Currency))
	m.effects = append(dst, 0, 0)
}

// parseMovement reads an event that Machine.effect noted.
func parseMovement(b []byte) Event {
	return Event{
		Kind: EventKind(b[0]), Tenant: binary.LittleEndian.Uint16(b[2:]), Command: binary.LittleEndian.Uint32(b[4:]),
		Account: Handle(binary.LittleEndian.Uint64(b[8:])), Other: Handle(binary.LittleEndian.Uint64(b[16:])),
		ID: TransactionID(b[24:40]), Amount: money.Amount(binary.LittleEndian.Uint64(b[40:])),
		Balance: money.Amount(binary.LittleEndian.Uint64(b[48:])), Currency: money.Currency(binary.LittleEndian.Uint16(b[56:])),
	}
}

// onHold notes what became of a hold, by a command with an id of its own, or without
// one: as the hold and its balance are now.
func (m *Machine) onHold(k EventKind, row uint32, a money.Amount, id TransactionID) {
	h := m.holds.rows.at(uint64(row))
	dst := append(m.onHolds, byte(k), 0)
	dst = binary.LittleEndian.AppendUint16(dst, h.tenant)
	dst = binary.LittleEndian.AppendUint32(dst, m.command)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.base)+uint64(h.account)+1)
	hold := h.key.id()
	dst = append(append(dst, hold[:]...), id[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(a))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.balanceAt(h.balance).amount))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.holds.sums[h.balance].held))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.left))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.expires))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(h.currency))
	m.onHolds = append(dst, 0, 0, 0, 0, 0, 0)
}

// parseOnHold reads an event that Machine.onHold noted.
func parseOnHold(b []byte) Event {
	return Event{
		Kind: EventKind(b[0]), Tenant: binary.LittleEndian.Uint16(b[2:]), Command: binary.LittleEndian.Uint32(b[4:]),
		Account: Handle(binary.LittleEndian.Uint64(b[8:])), Hold: TransactionID(b[16:32]), ID: TransactionID(b[32:48]),
		Amount: money.Amount(binary.LittleEndian.Uint64(b[48:])), Balance: money.Amount(binary.LittleEndian.Uint64(b[56:])),
		Held: money.Amount(binary.LittleEndian.Uint64(b[64:])), Left: money.Amount(binary.LittleEndian.Uint64(b[72:])),
		Expires: Millis(binary.LittleEndian.Uint64(b[80:])), Currency: money.Currency(binary.LittleEndian.Uint16(b[88:])),
	}
}

// onHoldsAt returns where in the effects of a batch the events of holds begin. The
// error wraps ErrFormat.
func onHoldsAt(k Kind, results, effects []byte) (at int, err error) {
	if k == KindTransfers {
		at = balancesBytes * bytes.Count(results, []byte{byte(Applied)})
	} else {
		for at+movementBytes <= len(effects) && EventKind(effects[at]).MovesMoney() {
			at += movementBytes
		}
	}
	if at > len(effects) || (len(effects)-at)%onHoldBytes != 0 {
		return 0, fmt.Errorf("%w: %d bytes of effects, of which %d are not about holds", ErrFormat, len(effects), at)
	}
	return at, nil
}
