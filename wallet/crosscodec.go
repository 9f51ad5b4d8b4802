package wallet

import (
	"encoding/binary"

	"maru.example/money"
)

// Transfers between partitions travel in batches of four kinds: see
// docs/format/wallet.md.
const (
	crossByNameBytes = 37 // id 16, amount 8, currency 2, handle 8, protocol 1, two lengths
	messagesPrefix   = 12 // from 2, to 2, low 8
	answersPrefix    = 4  // from 2, to 2
	answerBytes      = 10 // action 1, code 1, number 8
	requestBytes     = 49 // action 1, number 8, tenant 2, currency 2, handle 8, amount 8, id 16, number of the payer 4
	namelessBytes    = 29 // the same without the id and the payer, as it was before
	verdictBytes     = 9  // action 1, number 8
)

// crossTransfer is a Transfer to another partition, where the receiving account
// was looked up before.
type crossTransfer struct {
	Transfer
	handle   Handle // of the receiving account; 0: there is none
	protocol Protocol
}

// crossHandleTransfer is a HandleTransfer to another partition.
type crossHandleTransfer struct {
	HandleTransfer
	toHash   uint64 // nameHash of the receiving account's id, or unknownHash
	protocol Protocol
}

// message is what a paying partition asks of a receiving one. Confirm and
// Cancel have an action and a number only.
type message struct {
	action   action
	seq      uint64
	tenant   uint16
	currency money.Currency
	to       Handle
	amount   money.Amount
	key      key    // of the transfer
	from     uint32 // 1 + row of the payer, for the payee's history
	legs     []byte // instead of the last five, encoded
}

// named is a bit of the action of a message that has an id and a payer: all have,
// but those in logs from before there were any.
const named = 0x40

// answer is the receiving partition's answer to the message with a number.
type answer struct {
	action action
	code   Code
	seq    uint64
}

// valid says that an answer is one: to a Confirm or Cancel there is only Applied;
// to the others also a refusal that the receiving side remembers.
func (a answer) valid() bool {
	if a.action == actConfirm || a.action == actCancel {
		return a.code == Applied
	}
	return a.code != Undecided && a.code != Malformed && a.code != Forgotten && a.code != Pending && int(a.code) < len(codeNames)
}

// prefixSize is the size of what precedes the commands of a kind.
func prefixSize(k Kind) int {
	switch k { //nolint:exhaustive // the others have none
	case KindParticipate:
		return messagesPrefix
	case KindPhases:
		return answersPrefix
	}
	return 0
}

// appendCrossHandleTransfer appends a command of KindCrossTransfers.
func appendCrossHandleTransfer(dst []byte, t *crossHandleTransfer) []byte {
	dst = AppendHandleTransfer(dst, &t.HandleTransfer)
	r := dst[len(dst)-RecordBytes:]
	r[42] = byte(t.protocol)
	binary.LittleEndian.PutUint64(r[48:], t.toHash)
	return dst
}

// crossReserved says that the reserved bytes of a record are zero.
func crossReserved(r []byte) bool {
	return binary.LittleEndian.Uint64(r[56:])|binary.LittleEndian.Uint64(r[40:])>>24 == 0
}

// appendCrossTransfer appends a command of KindCrossTransfersByName. The account
// ids must be valid.
func appendCrossTransfer(dst []byte, t *crossTransfer) []byte {
	dst = append(dst, t.ID[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.Amount))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(t.Currency))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.handle))
	dst = append(dst, byte(t.protocol), byte(len(t.From)), byte(len(t.To)))
	dst = append(dst, t.From...)
	return append(dst, t.To...)
}

// parseCrossTransfer reads a command that appendCrossTransfer made.
func parseCrossTransfer(b []byte) (v movement, from, to []byte) {
	names := b[crossByNameBytes:]
	return movement{
		key: makeKey(b), amount: money.Amount(binary.LittleEndian.Uint64(b[16:])),
		currency: money.Currency(binary.LittleEndian.Uint16(b[24:])),
		to:       Handle(binary.LittleEndian.Uint64(b[26:])), protocol: Protocol(b[34]),
	}, names[:b[35]], names[b[35]:][:b[36]]
}

// appendMessages appends what precedes the messages of KindParticipate. Below
// low, the paying partition has finished all.
func appendMessages(dst []byte, from, to uint16, low uint64) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, from)
	dst = binary.LittleEndian.AppendUint16(dst, to)
	return binary.LittleEndian.AppendUint64(dst, low)
}

// appendMessage appends a command of KindParticipate.
func appendMessage(dst []byte, v *message) []byte {
	if v.action == actConfirm || v.action == actCancel {
		return binary.LittleEndian.AppendUint64(append(dst, byte(v.action)), v.seq)
	}
	if v.action == actTryLegs || v.action == actCreditLegs {
		return appendLegsMessage(dst, v)
	}
	dst = binary.LittleEndian.AppendUint64(append(dst, byte(v.action|named)), v.seq)
	dst = binary.LittleEndian.AppendUint16(dst, v.tenant)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(v.currency))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.to))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.amount))
	dst = binary.LittleEndian.AppendUint64(dst, v.key.a)
	dst = binary.LittleEndian.AppendUint64(dst, v.key.b)
	return binary.LittleEndian.AppendUint32(dst, v.from)
}

// messageSize is the size of the message at the beginning of b, or 0 if there is none.
func messageSize(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch a := action(b[0]); a &^ named {
	case actTry, actPrepare, actCredit:
		if a&named != 0 {
			return requestBytes
		}
		return namelessBytes
	case actConfirm, actCancel:
		if a&named == 0 {
			return verdictBytes
		}
	case actTryLegs, actCreditLegs:
		if a&named == 0 {
			return legsSize(b)
		}
	case noAction, actGiveUp, endAction:
	}
	return 0
}

// parseMessage reads a message that Validate accepted.
func parseMessage(b []byte) message {
	v := message{action: action(b[0]) &^ named, seq: binary.LittleEndian.Uint64(b[1:])}
	if v.action == actConfirm || v.action == actCancel {
		return v
	}
	v.tenant = binary.LittleEndian.Uint16(b[9:])
	if v.action == actTryLegs || v.action == actCreditLegs {
		v.key, v.legs = makeKey(b[11:]), b[transactionTry:][:legBytes*int(b[transactionTry-1])]
		return v
	}
	v.currency = money.Currency(binary.LittleEndian.Uint16(b[11:]))
	v.to = Handle(binary.LittleEndian.Uint64(b[13:]))
	v.amount = money.Amount(binary.LittleEndian.Uint64(b[21:]))
	if action(b[0])&named != 0 {
		v.key, v.from = makeKey(b[29:]), binary.LittleEndian.Uint32(b[45:])
	}
	return v
}

// appendAnswers appends what precedes the answers of KindPhases: from is the
// paying partition, which gets them, to the one that answered.
func appendAnswers(dst []byte, from, to uint16) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, from)
	return binary.LittleEndian.AppendUint16(dst, to)
}

// appendAnswer appends a command of KindPhases.
func appendAnswer(dst []byte, a answer) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(a.action), byte(a.code)), a.seq)
}

// parseAnswer reads the first answerBytes of b.
func parseAnswer(b []byte) answer {
	return answer{action: action(b[0]), code: Code(b[1]), seq: binary.LittleEndian.Uint64(b[2:])}
}
