package wallet

import (
	"encoding/binary"

	"maru.example/money"
)

// Commands about holds, and limits of accounts: see docs/format/wallet.md.
const (
	holdBytes    = 63 // and two names
	holdActionAt = 58
	dailyBytes   = 15 // amount 8, count 4, currency 2, length; and a name
	expireBytes  = 8
)

// holdAction says what a command does with a hold. The numbers are part of the log's format.
type holdAction uint8

const (
	noHoldAction holdAction = iota
	holdPlace
	holdCapture
	holdRelease
	holdExtend
	endHoldAction
)

const finalFlag = 1

// holdCommand is a command of KindHolds or KindCrossCaptures. What an action does not
// need is zero.
type holdCommand struct {
	action   holdAction
	final    bool
	id       TransactionID // its own; of a hold to be placed, the hold's
	hold     TransactionID
	amount   money.Amount
	currency money.Currency
	expires  Millis
	handle   Handle   // of the receiving account in another partition; 0: there is none
	protocol Protocol // of a capture to another partition
	from, to []byte   // names
}

func (h *NewHold) command() holdCommand {
	return holdCommand{
		action: holdPlace, id: h.ID, amount: h.Amount, currency: h.Currency, expires: h.Expires,
		from: []byte(h.Account), to: []byte(h.Payee),
	}
}

func (c *Capture) command() holdCommand {
	return holdCommand{
		action: holdCapture, final: c.Final, id: c.ID, hold: c.Hold, amount: c.Amount, currency: c.Currency,
		from: []byte(c.From), to: []byte(c.To),
	}
}

func (r *Release) command() holdCommand {
	return holdCommand{action: holdRelease, id: r.ID, hold: r.Hold, amount: r.Amount, currency: r.Currency, from: []byte(r.Account)}
}

func (e *Extend) command() holdCommand {
	return holdCommand{action: holdExtend, id: e.ID, hold: e.Hold, expires: e.Expires, from: []byte(e.Account)}
}

// appendHold appends a command of KindHolds or KindCrossCaptures. The names must be valid.
func appendHold(dst []byte, c *holdCommand) []byte {
	dst = append(append(dst, c.id[:]...), c.hold[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.amount))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.expires))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.handle))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(c.currency))
	flags := byte(0)
	if c.final {
		flags = finalFlag
	}
	dst = append(dst, byte(c.action), flags, byte(c.protocol), byte(len(c.from)), byte(len(c.to)))
	return append(append(dst, c.from...), c.to...)
}

// parseHold reads a command that Validate accepted, and says whether its flags are known.
func parseHold(b []byte) (c holdCommand, ok bool) {
	names := b[holdBytes:]
	c = holdCommand{
		id: TransactionID(b[:16]), hold: TransactionID(b[16:32]),
		amount:   money.Amount(binary.LittleEndian.Uint64(b[32:])),
		expires:  Millis(binary.LittleEndian.Uint64(b[40:])),
		handle:   Handle(binary.LittleEndian.Uint64(b[48:])),
		currency: money.Currency(binary.LittleEndian.Uint16(b[56:])),
		action:   holdAction(b[holdActionAt]), final: b[59] == finalFlag, protocol: Protocol(b[60]),
		from: names[:b[61]], to: names[b[61]:][:b[62]],
	}
	return c, b[59] <= finalFlag
}

// wellFormed says that a command of a kind has what its action needs and nothing else.
func (c *holdCommand) wellFormed(k Kind) bool {
	if c.id == (TransactionID{}) || !validName(string(c.from)) || len(c.to) > 0 && !validName(string(c.to)) {
		return false
	}
	if c.action != holdPlace && c.hold == (TransactionID{}) || c.action != holdCapture && c.final {
		return false
	}
	away := k == KindCrossCaptures
	if away != (c.protocol != NoProtocol) || !away && c.handle != 0 {
		return false
	}
	switch c.action {
	case holdPlace:
		return !away && c.hold == (TransactionID{})
	case holdCapture:
		// What is held needs no lock: there is no two-phase commit of it.
		return len(c.to) > 0 && c.expires == 0 && (!away || c.protocol == TCC || c.protocol == Saga)
	case holdRelease:
		return !away && len(c.to) == 0 && c.expires == 0
	case holdExtend:
		return !away && len(c.to) == 0 && c.amount == 0 && c.currency == 0
	case noHoldAction, endHoldAction:
	}
	return false
}

// sum is the fingerprint of a command's content, which the protocol and the receiving
// account's handle are no part of.
func (c *holdCommand) sum() uint64 {
	key := makeKey(c.hold[:])
	more := mix(key.a^hash2, key.b^hash3) ^ mix(uint64(c.expires)^hash5, hash2^uint64(c.action))
	if c.final {
		more = ^more
	}
	return fingerprint(nameHash(c.from)^more, nameHash(c.to), c.amount, c.currency)
}

// appendDaily appends a command of KindSetDailyLimits. The account id must be valid.
func appendDaily(dst []byte, id AccountID, c money.Currency, l DailyLimit) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(l.Amount))
	dst = binary.LittleEndian.AppendUint32(dst, l.Count)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(c))
	return AppendName(dst, string(id))
}

// parseDaily reads a command that appendDaily made.
func parseDaily(b []byte) (name []byte, c money.Currency, l DailyLimit) {
	return b[dailyBytes:][:b[14]], money.Currency(binary.LittleEndian.Uint16(b[12:])), DailyLimit{
		Amount: money.Amount(binary.LittleEndian.Uint64(b)), Count: binary.LittleEndian.Uint32(b[8:]),
	}
}

// appendExpire appends a command of KindExpire: nothing but a reason to look at the time.
func appendExpire(dst []byte, due Millis) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(due))
}
