package walletpebble

import (
	"encoding/binary"
	"fmt"

	"maru.example/money"
	"maru.example/wallet"
)

// The fields that an event can have, by their bits: see docs/format/history.md. Those
// of transfers are the lowest, so that their bits are a byte.
const (
	hasAccount = 1 << iota
	hasOther
	hasID
	hasAmount
	hasBalance
	hasCurrency
	hasSame // the id and the currency are those of the event before
	hasName
	hasMin
	hasStatus
	hasHold
	hasHeld
	hasLeft
	hasExpires
	hasDaily
	hasContent
	hasCode
	hasEnd
)

// maxEventText bounds a name or the content of an event.
const maxEventText = 1 << 16

// appendEvent appends an event; before is the one before it in the row, or an empty one.
func appendEvent(dst []byte, e, before *wallet.Event) []byte {
	bits := uint64(0)
	set := func(bit uint64, there bool) {
		if there {
			bits |= bit
		}
	}
	same := e.ID == before.ID && e.Currency == before.Currency && before.Kind != wallet.NoEvent
	set(hasAccount, e.Account != 0)
	set(hasOther, e.Other != 0)
	set(hasID, !same && e.ID != wallet.TransactionID{})
	set(hasAmount, e.Amount != 0)
	set(hasBalance, e.Balance != 0)
	set(hasCurrency, !same && e.Currency != 0)
	set(hasSame, same)
	set(hasName, e.Name != "")
	set(hasMin, e.Min != 0)
	set(hasStatus, e.Status != wallet.Open)
	set(hasHold, e.Hold != wallet.TransactionID{})
	set(hasHeld, e.Held != 0)
	set(hasLeft, e.Left != 0)
	set(hasExpires, e.Expires != 0)
	set(hasDaily, e.Daily != wallet.DailyLimit{})
	set(hasContent, len(e.Content) > 0)
	set(hasCode, e.Code != 0)
	dst = binary.AppendUvarint(append(dst, byte(e.Kind)), bits)
	if bits&hasAccount != 0 {
		dst = binary.AppendUvarint(dst, uint64(e.Account))
	}
	if bits&hasOther != 0 {
		dst = binary.AppendUvarint(dst, uint64(e.Other))
	}
	if bits&hasID != 0 {
		dst = append(dst, e.ID[:]...)
	}
	if bits&hasAmount != 0 {
		dst = binary.AppendVarint(dst, int64(e.Amount))
	}
	if bits&hasBalance != 0 {
		dst = binary.AppendVarint(dst, int64(e.Balance))
	}
	if bits&hasCurrency != 0 {
		dst = binary.BigEndian.AppendUint16(dst, uint16(e.Currency))
	}
	if bits >= hasName {
		dst = appendRare(dst, e, bits)
	}
	return dst
}

// appendRare appends the fields that transfers have not.
func appendRare(dst []byte, e *wallet.Event, bits uint64) []byte {
	for _, v := range []struct {
		bit    uint64
		append func(dst []byte) []byte
	}{
		{hasName, func(dst []byte) []byte { return append(binary.AppendUvarint(dst, uint64(len(e.Name))), e.Name...) }},
		{hasMin, func(dst []byte) []byte { return binary.AppendVarint(dst, int64(e.Min)) }},
		{hasStatus, func(dst []byte) []byte { return append(dst, byte(e.Status)) }},
		{hasHold, func(dst []byte) []byte { return append(dst, e.Hold[:]...) }},
		{hasHeld, func(dst []byte) []byte { return binary.AppendVarint(dst, int64(e.Held)) }},
		{hasLeft, func(dst []byte) []byte { return binary.AppendVarint(dst, int64(e.Left)) }},
		{hasExpires, func(dst []byte) []byte { return binary.AppendVarint(dst, int64(e.Expires)) }},
		{hasDaily, func(dst []byte) []byte {
			return binary.AppendUvarint(binary.AppendVarint(dst, int64(e.Daily.Amount)), uint64(e.Daily.Count))
		}},
		{hasContent, func(dst []byte) []byte {
			return append(binary.AppendUvarint(dst, uint64(len(e.Content))), e.Content...)
		}},
		{hasCode, func(dst []byte) []byte { return append(dst, byte(e.Code)) }},
	} {
		if bits&v.bit != 0 {
			dst = v.append(dst)
		}
	}
	return dst
}

// eventParser reads what appendEvent appended. After the first thing that cannot be
// read everything is zero, and bad is set.
type eventParser struct {
	b   []byte
	bad bool
}

func (p *eventParser) take(n int) []byte {
	if n > len(p.b) || p.bad {
		p.bad = true
		return make([]byte, n)
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

func (p *eventParser) uvarint() uint64 {
	n, size := binary.Uvarint(p.b)
	if size <= 0 {
		p.bad = true
		return 0
	}
	p.b = p.b[size:]
	return n
}

func (p *eventParser) varint() int64 {
	n, size := binary.Varint(p.b)
	if size <= 0 {
		p.bad = true
		return 0
	}
	p.b = p.b[size:]
	return n
}

func (p *eventParser) text() []byte {
	n := p.uvarint()
	if n > maxEventText {
		p.bad = true
		return nil
	}
	return p.take(int(n))
}

// event reads an event, which owns its memory.
func (p *eventParser) event(before *wallet.Event) (e wallet.Event) {
	e.Kind = wallet.EventKind(p.take(1)[0])
	bits := p.uvarint()
	p.bad = p.bad || bits >= hasEnd || e.Kind == wallet.NoEvent
	if bits&hasSame != 0 {
		e.ID, e.Currency = before.ID, before.Currency
	}
	if bits&hasAccount != 0 {
		e.Account = wallet.Handle(p.uvarint())
	}
	if bits&hasOther != 0 {
		e.Other = wallet.Handle(p.uvarint())
	}
	if bits&hasID != 0 {
		e.ID = wallet.TransactionID(p.take(16))
	}
	if bits&hasAmount != 0 {
		e.Amount = money.Amount(p.varint())
	}
	if bits&hasBalance != 0 {
		e.Balance = money.Amount(p.varint())
	}
	if bits&hasCurrency != 0 {
		e.Currency = money.Currency(binary.BigEndian.Uint16(p.take(2)))
	}
	if bits >= hasName {
		p.rare(&e, bits)
	}
	return e
}

func (p *eventParser) rare(e *wallet.Event, bits uint64) {
	for _, v := range []struct {
		bit  uint64
		read func()
	}{
		{hasName, func() { e.Name = string(p.text()) }},
		{hasMin, func() { e.Min = money.Amount(p.varint()) }},
		{hasStatus, func() { e.Status = wallet.Status(p.take(1)[0]) }},
		{hasHold, func() { e.Hold = wallet.TransactionID(p.take(16)) }},
		{hasHeld, func() { e.Held = money.Amount(p.varint()) }},
		{hasLeft, func() { e.Left = money.Amount(p.varint()) }},
		{hasExpires, func() { e.Expires = wallet.Millis(p.varint()) }},
		{hasDaily, func() { e.Daily.Amount, e.Daily.Count = money.Amount(p.varint()), uint32(p.uvarint()) }},
		{hasContent, func() { e.Content = append([]byte(nil), p.text()...) }},
		{hasCode, func() { e.Code = wallet.Code(p.take(1)[0]) }},
	} {
		if bits&v.bit != 0 {
			v.read()
		}
	}
}

// parseNote reads an event of an account.
func parseNote(key, value []byte) (e wallet.PastEvent, err error) {
	p := eventParser{b: value}
	e.Event = p.event(&wallet.Event{})
	if len(key) != accountBytes+placeBytes || p.bad || len(p.b) > 0 {
		return e, fmt.Errorf("%w: event %x: %x", errCorrupt, key, value)
	}
	e.LineKey = parsePlace(key)
	return e, nil
}

// parseFeed reads a row of a tenant's events.
func parseFeed(key, value []byte) (all []wallet.PastEvent, err error) {
	bad := fmt.Errorf("%w: events %x: %x", errCorrupt, key, value)
	if len(key) != tenantBytes+placeBytes {
		return nil, bad
	}
	p := eventParser{b: value}
	place := parsePlace(key)
	before := &wallet.Event{}
	for len(p.b) > 0 && !p.bad {
		place.Number += uint32(p.uvarint())
		all = append(all, wallet.PastEvent{LineKey: place, Event: p.event(before)})
		before = &all[len(all)-1].Event
	}
	if p.bad {
		return nil, bad
	}
	return all, nil
}

// parseReference reads a transaction in the index of references.
func parseReference(key, value []byte) (t wallet.PastTransaction, err error) {
	if len(key) < tenantBytes+1+placeBytes || len(value) < 1+16 {
		return t, fmt.Errorf("%w: transaction %x: %x", errCorrupt, key, value)
	}
	t.LineKey, t.Code, t.Content = parsePlace(key), wallet.Code(value[0]), append([]byte(nil), value[1:]...)
	return t, nil
}
