package walletpebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

// formatVersion is that of keys and values: see docs/format/history.md. A store of another is made anew.
const formatVersion = 5

// The first bytes of the keys. Numbers in keys are big-endian, so that bytes are in the
// order of the numbers. An account's handle begins with its partition.
const (
	keyVersion  = 'v' // the format version
	keyMark     = 'm' // partition: what has been taken up
	keyTurnover = 't' // partition, tenant, currency: sums
	keyName     = 'n' // partition, tenant, name: the account's handle
	keyLine     = 'l' // account, currency: since when it is held; account, currency, time, index, number: a line
	keyNote     = 'e' // account, time, index, number: another event
	keyFeed     = 'f' // partition, tenant, time, index, number: events of an entry

	keyReference = 'r' // partition, tenant, reference, time, index, number: a transaction
	keyID        = 'i' // partition, tenant, transaction id: where its first event is
	keyReversal  = 'b' // partition, tenant, transaction id, time, index, number: a reversal of it
)

const (
	placeBytes   = 8 + 8 + 4 // of a time, an index and a number
	tenantBytes  = 1 + 2 + 2
	accountBytes = 1 + 8
	heldBytes    = accountBytes + 2
	lineBytes    = heldBytes + placeBytes
	markBytes    = 4 * 8
	idBytes      = tenantBytes + 16
	sumBytes     = 16
)

var errCorrupt = errors.New("walletpebble: corrupt store")

func partitionKey(dst []byte, kind byte, partition uint16) []byte {
	return binary.BigEndian.AppendUint16(append(dst, kind), partition)
}

func turnoverKey(dst []byte, partition, tenant uint16, c money.Currency) []byte {
	return binary.BigEndian.AppendUint16(tenantKey(dst, keyTurnover, partition, tenant), uint16(c))
}

func nameKey(dst []byte, partition, tenant uint16, name string) []byte {
	return append(tenantKey(dst, keyName, partition, tenant), name...)
}

func accountKey(dst []byte, kind byte, h wallet.Handle) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kind), uint64(h))
}

// heldKey is before all lines of an account in a currency, and begins their keys.
func heldKey(dst []byte, h wallet.Handle, c money.Currency) []byte {
	return binary.BigEndian.AppendUint16(accountKey(dst, keyLine, h), uint16(c))
}

func lineKey(dst []byte, h wallet.Handle, c money.Currency, k wallet.LineKey) []byte {
	return appendPlace(heldKey(dst, h, c), k)
}

func noteKey(dst []byte, h wallet.Handle, k wallet.LineKey) []byte {
	return appendPlace(accountKey(dst, keyNote, h), k)
}

func tenantKey(dst []byte, kind byte, partition, tenant uint16) []byte {
	return binary.BigEndian.AppendUint16(partitionKey(dst, kind, partition), tenant)
}

func feedKey(dst []byte, partition, tenant uint16, k wallet.LineKey) []byte {
	return appendPlace(tenantKey(dst, keyFeed, partition, tenant), k)
}

// referencePrefix begins the keys of the transactions with a reference, and of no others.
func referencePrefix(dst []byte, partition, tenant uint16, reference string) []byte {
	return append(append(tenantKey(dst, keyReference, partition, tenant), byte(len(reference))), reference...)
}

func idKey(partition, tenant uint16, id wallet.TransactionID) []byte {
	return append(tenantKey(nil, keyID, partition, tenant), id[:]...)
}

// reversalPrefix begins the keys of the reversals of a transfer or transaction, and of no others.
func reversalPrefix(dst []byte, partition, tenant uint16, of wallet.TransactionID) []byte {
	return append(tenantKey(dst, keyReversal, partition, tenant), of[:]...)
}

// appendWhere appends the value of a transaction id: a place in fewer bytes.
func appendWhere(dst []byte, k wallet.LineKey) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.Time))
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(k.Index)), uint64(k.Number))
}

// parseWhere reads what appendWhere appended. The error wraps errCorrupt.
func parseWhere(b []byte) (k wallet.LineKey, err error) {
	bad := fmt.Errorf("%w: place %x", errCorrupt, b)
	if len(b) < 8 {
		return k, bad
	}
	index, n := binary.Uvarint(b[8:])
	number, m := binary.Uvarint(b[8+max(n, 0):])
	if n <= 0 || m <= 0 || 8+n+m != len(b) || number > math.MaxUint32 {
		return k, bad
	}
	return wallet.LineKey{Time: int64(binary.BigEndian.Uint64(b)), Index: rsm.Index(index), Number: uint32(number)}, nil
}

func appendPlace(dst []byte, k wallet.LineKey) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.Time))
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.Index))
	return binary.BigEndian.AppendUint32(dst, k.Number)
}

// parsePlace reads the last placeBytes of a key.
func parsePlace(key []byte) wallet.LineKey {
	b := key[len(key)-placeBytes:]
	return wallet.LineKey{
		Time: int64(binary.BigEndian.Uint64(b)), Index: rsm.Index(binary.BigEndian.Uint64(b[8:])), Number: binary.BigEndian.Uint32(b[16:]),
	}
}

// after returns the key behind all that begin with a prefix, which is not of 0xff only.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	panic(fmt.Sprintf("walletpebble: nothing is behind %x", prefix))
}

// appendLine appends the value of a line.
func appendLine(dst []byte, e *wallet.Event) []byte {
	dst = binary.AppendUvarint(append(dst, byte(e.Kind)), uint64(e.Other))
	dst = binary.AppendVarint(append(dst, e.ID[:]...), int64(e.Amount))
	return binary.AppendVarint(dst, int64(e.Balance))
}

// parseLine reads a line. The error wraps errCorrupt.
func parseLine(key, value []byte) (wallet.Line, error) {
	bad := fmt.Errorf("%w: line %x: %x", errCorrupt, key, value)
	if len(key) != lineBytes || len(value) < 1 {
		return wallet.Line{}, bad
	}
	l := wallet.Line{
		LineKey: parsePlace(key),
		Kind:    wallet.EventKind(value[0]),
		Account: wallet.Handle(binary.BigEndian.Uint64(key[1:])), Currency: money.Currency(binary.BigEndian.Uint16(key[accountBytes:])),
	}
	other, n := binary.Uvarint(value[1:])
	if value = value[1:]; n <= 0 || len(value) < n+len(l.ID) {
		return wallet.Line{}, bad
	}
	l.Other, l.ID, value = wallet.Handle(other), wallet.TransactionID(value[n:]), value[n+len(l.ID):]
	amount, n := binary.Varint(value)
	balance, m := binary.Varint(value[max(n, 0):])
	if n <= 0 || m <= 0 || n+m != len(value) || !l.Kind.MovesMoney() {
		return wallet.Line{}, bad
	}
	l.Amount, l.Balance = money.Amount(amount), money.Amount(balance)
	return l, nil
}

func appendMark(dst []byte, m *wallet.HistoryMark) []byte {
	for _, n := range []uint64{uint64(m.Index), uint64(m.Time), uint64(m.First), uint64(m.FirstTime)} {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	return dst
}

// parseMark reads what a partition's history reflects; of none, nothing yet.
func parseMark(partition uint16, b []byte) (wallet.HistoryMark, error) {
	m := wallet.HistoryMark{HistoryPosition: wallet.HistoryPosition{Partition: partition}, First: 1}
	if b == nil {
		return m, nil
	}
	if len(b) != markBytes {
		return m, fmt.Errorf("%w: mark %x of partition %d", errCorrupt, b, partition)
	}
	m.Index, m.Time = rsm.Index(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	m.First, m.FirstTime = rsm.Index(binary.BigEndian.Uint64(b[16:])), int64(binary.BigEndian.Uint64(b[24:]))
	return m, nil
}

func appendTurnover(dst []byte, t *wallet.CurrencyTurnover) []byte {
	dst = binary.BigEndian.AppendUint64(dst, t.Balances)
	dst = binary.BigEndian.AppendUint64(dst, t.Lines)
	for _, s := range []wallet.Sum{t.Sum, t.Issued, t.Debited} {
		dst = binary.BigEndian.AppendUint64(dst, s.Hi)
		dst = binary.BigEndian.AppendUint64(dst, s.Lo)
	}
	return dst
}

func parseTurnover(key, b []byte) (wallet.CurrencyTurnover, error) {
	if len(key) != 1+3*2 || len(b) != 2*8+3*sumBytes {
		return wallet.CurrencyTurnover{}, fmt.Errorf("%w: turnover %x: %x", errCorrupt, key, b)
	}
	sum := func(at int) wallet.Sum {
		return wallet.Sum{Hi: binary.BigEndian.Uint64(b[at:]), Lo: binary.BigEndian.Uint64(b[at+8:])}
	}
	return wallet.CurrencyTurnover{
		Currency: money.Currency(binary.BigEndian.Uint16(key[5:])),
		Balances: binary.BigEndian.Uint64(b), Lines: binary.BigEndian.Uint64(b[8:]),
		Sum: sum(16), Issued: sum(16 + sumBytes), Debited: sum(16 + 2*sumBytes),
	}, nil
}
