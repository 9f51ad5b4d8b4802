package wallet

import (
	"encoding/binary"

	"maru.example/money"
)

// applyCrossTransfers decides records of RecordBytes whose receiving accounts
// are in other partitions, and appends a Result each: Pending, or a refusal.
func (m *Machine) applyCrossTransfers(dst []byte, tenant uint16, now int64, records []byte) []byte {
	for len(records) > 0 {
		part := records[:min(len(records), window*RecordBytes)]
		m.prefetch(tenant, part)
		for i := 0; len(part) > 0; i++ {
			dst = append(dst, byte(m.crossByHandle(tenant, now, part[:RecordBytes], &m.window[i])))
			m.command++
			part = part[RecordBytes:]
		}
		records = records[min(len(records), window*RecordBytes):]
	}
	return dst
}

func (m *Machine) crossByHandle(tenant uint16, now int64, r []byte, p *prefetched) Result {
	v := movement{
		key: p.key, hash: p.hash,
		from: Handle(binary.LittleEndian.Uint64(r[16:])), to: Handle(binary.LittleEndian.Uint64(r[24:])),
		amount:   money.Amount(binary.LittleEndian.Uint64(r[32:])),
		currency: money.Currency(binary.LittleEndian.Uint16(r[40:])),
		protocol: Protocol(r[42]), toHash: binary.LittleEndian.Uint64(r[48:]), began: now,
	}
	if v.key == (key{}) || !crossReserved(r) || v.protocol == NoProtocol || v.protocol >= endProtocol {
		return m.count(Result(Malformed))
	}
	from := m.get(tenant, v.from)
	v.same = v.from == v.to
	v.fromHash = unknownHash(v.from)
	if from != nil {
		v.fromHash = from.hash
	}
	v.foreign = m.foreign(v.from) || v.to.Partition() == m.options.Partition
	return m.count(m.once(tenant, &v, from, nil))
}

func (m *Machine) crossByName(tenant uint16, now int64, cmd []byte) Result {
	v, from, to := parseCrossTransfer(cmd)
	if v.key == (key{}) || !validName(string(from)) || !validName(string(to)) || v.protocol == NoProtocol || v.protocol >= endProtocol {
		return m.count(Result(Malformed))
	}
	v.hash, v.began = m.tenants[tenant].ids.hash(v.key), now
	v.from, v.same = m.lookup(tenant, string(from)), string(from) == string(to)
	v.fromHash, v.toHash = nameHash(from), nameHash(to)
	payee := partitionOf(m.tenants[tenant].hash, v.toHash, m.options.Partitions)
	v.foreign = payee == m.options.Partition || v.to != 0 && v.to.Partition() != payee ||
		v.from == 0 && m.foreignName(tenant, v.fromHash)
	return m.count(m.once(tenant, &v, m.get(tenant, v.from), nil))
}

// due appends to dst the messages to a peer that have not been answered, with
// numbers from a cursor on, at most limit, and returns the cursor for the next.
// A transfer has one at a time, so that the order among them does not matter.
func (m *Machine) due(dst []message, peer uint16, cursor uint64, limit int) (messages []message, next uint64) {
	out := &m.crossing.peers[peer].out
	for next = max(cursor, out.low); next < out.next && limit > 0; next++ {
		if v, ok := m.message(peer, next); ok {
			dst = append(dst, v)
			limit--
		}
	}
	return dst, next
}

// message returns the message of a transfer to a peer that is due, and false if
// the transfer is finished or has not begun.
func (m *Machine) message(peer uint16, seq uint64) (message, bool) {
	out := &m.crossing.peers[peer].out
	if seq < out.low || seq >= out.next {
		return message{}, false
	}
	f := out.at(seq)
	v := message{action: f.due(), seq: seq}
	switch v.action {
	case actTryLegs, actCreditLegs:
		m.partMessage(&v, f)
	case actTry, actPrepare, actCredit:
		v.tenant, v.currency, v.to, v.amount = f.tenant, f.currency, f.to, f.amount
		v.key, v.from = f.key, f.from+1
	case noAction, actConfirm, actCancel, actGiveUp, endAction:
	}
	return v, v.action != noAction
}

// low is the number below which all transfers to a peer are finished, which
// every batch of messages tells it.
func (m *Machine) low(peer uint16) uint64 { return m.crossing.peers[peer].out.low }

// InFlight is a transfer to another partition that is not finished.
type InFlight struct {
	ID        TransactionID
	Tenant    Tenant
	From      AccountID    // "" of a transaction
	To        Handle       // of a transaction the account of the first leg
	ToAccount AccountID    // the id of To, "" where it is not known
	Amount    money.Amount // of that account: negative if it is debited, as a leg of a transaction may be
	Currency  money.Currency
	Legs      int // of a transaction with accounts of To's partition; 0 of a transfer
	Protocol  Protocol
	Phase     Phase
	BeganAt   int64  // nanoseconds since 1970 UTC, by the machine's time
	Partition uint16 // the paying one
	Seq       uint64 // the transfer's number among those from Partition to To's
}

// inFlightCursor is a place in the list of a machine's transfers in flight.
type inFlightCursor struct {
	Peer uint16 `json:"peer"`
	Seq  uint64 `json:"seq"`
}

// inFlight appends to dst the transfers in flight from a cursor on, at most
// limit, in the order of the receiving partitions and then of their age; more
// says that a next call, with next, may find more.
func (m *Machine) inFlight(dst []InFlight, at inFlightCursor, limit int) (list []InFlight, next inFlightCursor, more bool) {
	for ; int(at.Peer) < len(m.crossing.peers); at = (inFlightCursor{Peer: at.Peer + 1}) {
		out := &m.crossing.peers[at.Peer].out
		for at.Seq = max(at.Seq, out.low); at.Seq < out.next; at.Seq++ {
			f := out.at(at.Seq)
			if f.phase == Finished {
				continue
			}
			if limit == 0 {
				return dst, at, true
			}
			limit--
			v := InFlight{
				ID: f.key.id(), Tenant: Tenant(m.tenants[f.tenant].name), To: f.to, Amount: f.amount, Currency: f.currency,
				Protocol: f.protocol, Phase: f.phase, BeganAt: f.began, Partition: m.options.Partition, Seq: at.Seq,
			}
			if f.isPart() {
				legs := m.crossing.transactions[transactionKey{f.key, f.tenant}].of(f.participant())
				v.To, v.Amount, v.Currency, v.Legs = legs[0].account, legs[0].amount, legs[0].currency, len(legs)
			} else {
				a := m.accounts.at(uint64(f.from))
				v.From = AccountID(m.arena.get(a.name, a.nameLen))
			}
			dst = append(dst, v)
		}
	}
	return dst, at, false
}

// hashOf returns nameHash of a handle's account, for the fingerprint of a
// transfer to it, and unknownHash if there is none.
func (m *Machine) hashOf(tenant uint16, h Handle) uint64 {
	if a := m.get(tenant, h); a != nil {
		return a.hash
	}
	return unknownHash(h)
}
