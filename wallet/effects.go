package wallet

import (
	"encoding/binary"

	"maru.example/money"
)

// The effects of a batch are what its results do not say: which balances changed, and
// what they are now. With the commands and the results they make the events of the
// wallet: see [Events] and docs/format/wallet.md.
const (
	movementBytes = 60 // of an event that changes a balance
	balancesBytes = 16 // of the two balances after a transfer by handle
)

// Effects returns the effects of the batch that was applied last, valid until the
// next: of a batch of KindTransfers the balances of both sides after each transfer
// that was applied, else movements.
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
