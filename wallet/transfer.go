package wallet

import (
	"encoding/binary"
	"math"

	"maru.example/money"
)

// window is how many transfers are looked up ahead. Each needs three places in
// tables far larger than the processor's caches; asked for together they cost
// little more than one.
const window = 64

// prefetched is what the first pass over a window learns of a transfer.
type prefetched struct {
	key  key
	hash uint64
}

// applyTransfers decides records of RecordBytes and appends a Result each.
func (m *Machine) applyTransfers(dst []byte, tenant uint16, records []byte) []byte {
	for len(records) > 0 {
		part := records[:min(len(records), window*RecordBytes)]
		m.prefetch(tenant, part)
		for i := 0; len(part) > 0; i++ {
			dst = append(dst, byte(m.transferByHandle(tenant, part[:RecordBytes], &m.window[i])))
			m.command++
			part = part[RecordBytes:]
		}
		records = records[min(len(records), window*RecordBytes):]
	}
	return dst
}

// prefetch hashes the ids of a window and reads a word of each row and slot
// that its transfers will need. The reads do not wait for each other.
func (m *Machine) prefetch(tenant uint16, records []byte) (sum uint64) { //nolint:unparam // without the sum the reads could be left out
	ids, rows, first := &m.tenants[tenant].ids, m.accounts.len, uint64(m.base)+1
	n := 0
	for i := 0; len(records) >= RecordBytes; i++ {
		p := &m.window[i]
		p.key = makeKey(records)
		p.hash = ids.hash(p.key)
		sum += uint64(ids.touch(p.hash)) + ids.touchFree(p.hash)
		if from := binary.LittleEndian.Uint64(records[16:]) - first; from < rows {
			sum += uint64(m.accounts.at(from).next)
		}
		if to := binary.LittleEndian.Uint64(records[24:]) - first; to < rows {
			sum += uint64(m.accounts.at(to).next)
		}
		records = records[RecordBytes:]
		n = i + 1
	}
	if m.old.any() {
		sum += m.touchOld(tenant, m.window[:n])
	}
	return sum
}

// A movement is a transfer whose sides have been looked up.
type movement struct {
	key              key
	hash             uint64 // of the key
	from, to         Handle // 0 if there is no such account
	fromHash, toHash uint64 // nameHash of the sides
	amount           money.Amount
	currency         money.Currency
	same             bool         // both sides were given as the same account
	foreign          bool         // another partition has to decide it
	protocol         Protocol     // NoProtocol: both sides are here
	began            int64        // with a protocol: the batch's time
	fromAfter        money.Amount // the balances of the sides afterwards, if move applied it
	toAfter          money.Amount
}

func (m *Machine) transferByHandle(tenant uint16, r []byte, p *prefetched) Result {
	if p.key == (key{}) || !reserved(r) {
		return m.count(Result(Malformed))
	}
	v := movement{
		key: p.key, hash: p.hash,
		from: Handle(binary.LittleEndian.Uint64(r[16:])), to: Handle(binary.LittleEndian.Uint64(r[24:])),
		amount:   money.Amount(binary.LittleEndian.Uint64(r[32:])),
		currency: money.Currency(binary.LittleEndian.Uint16(r[40:])),
	}
	v.same = v.from == v.to
	from, to := m.get(tenant, v.from), m.get(tenant, v.to)
	v.fromHash, v.toHash = unknownHash(v.from), unknownHash(v.to)
	if from != nil {
		v.fromHash = from.hash
	}
	if to != nil {
		v.toHash = to.hash
	}
	if from == nil || to == nil {
		v.foreign = m.foreign(v.from) || m.foreign(v.to)
	}
	result := m.once(tenant, &v, from, to)
	if result == Result(Applied) {
		m.balancesAfter(v.fromAfter, v.toAfter)
	}
	return m.count(result)
}

// reserved says that the reserved bytes of a record are zero.
func reserved(r []byte) bool {
	return binary.LittleEndian.Uint64(r[56:])|binary.LittleEndian.Uint64(r[48:])|
		binary.LittleEndian.Uint64(r[40:])>>16 == 0
}

func (m *Machine) transferByName(tenant uint16, cmd []byte) Result {
	id, from, to, amount, currency := parseTransfer(cmd)
	if id == (key{}) || !validName(string(from)) || !validName(string(to)) {
		return m.count(Result(Malformed))
	}
	v := movement{
		key: id, hash: m.tenants[tenant].ids.hash(id),
		from: m.lookup(tenant, string(from)), to: m.lookup(tenant, string(to)),
		fromHash: nameHash(from), toHash: nameHash(to),
		amount: amount, currency: currency, same: string(from) == string(to),
	}
	if v.from == 0 || v.to == 0 {
		v.foreign = m.foreignName(tenant, v.fromHash) || m.foreignName(tenant, v.toHash)
	}
	result := m.once(tenant, &v, m.get(tenant, v.from), m.get(tenant, v.to))
	if result == Result(Applied) {
		m.moved(tenant, &v)
	}
	return m.count(result)
}

func (m *Machine) count(r Result) Result {
	m.decided[r.Code()]++
	if r.Repeated() {
		m.repeated++
	}
	return r
}

// once decides a movement unless its id was seen, and remembers the decision
// unless it only says that another time or place may decide otherwise.
func (m *Machine) once(tenant uint16, v *movement, from, to *account) Result {
	sum := fingerprint(v.fromHash, v.toHash, v.amount, v.currency)
	e, free, seen := m.seen(tenant, v.key, v.hash)
	if seen {
		if e.fingerprint() != sum {
			return Result(IDReused)
		}
		return Repeat(e.code())
	}
	switch {
	case v.foreign:
		return Result(WrongPartition)
	case m.fullOfIDs(tenant, v.hash):
		return Result(LimitReached)
	}
	var code Code
	if v.protocol == NoProtocol {
		code = m.move(v, from, to)
	} else {
		code = m.begin(tenant, v, from)
	}
	if code == AccountLocked || code == TooManyInFlight {
		return Result(code)
	}
	m.remember(tenant, v.key, v.hash, sum<<8|uint64(code), free)
	return Result(code)
}

// move carries out a movement, or says why not. The order of the checks is part
// of the rules: a replay must give the same code.
func (m *Machine) move(v *movement, from, to *account) Code {
	switch {
	case v.amount <= 0:
		return AmountNotPositive
	case v.same:
		return SameAccount
	case from == nil || to == nil:
		return UnknownAccount
	case from.status|to.status != Open:
		return m.moveMarked(v, from, to)
	}
	return m.post(v, from, to)
}

// post carries out a movement between accounts that may be debited and credited, or
// says why not: the rest of the rules.
func (m *Machine) post(v *movement, from, to *account) Code {
	debit, ok := m.hold(v.from, from, v.currency)
	if !ok {
		return CurrencyNotHeld
	}
	credit, ok := m.hold(v.to, to, v.currency)
	if !ok {
		return CurrencyNotHeld
	}
	after := debit.amount - v.amount
	if code := affordable(debit.funds, after); code != Applied && !m.freed(debit, v.amount) {
		return code
	}
	sum := credit.amount + v.amount
	if sum <= credit.amount || sum > math.MaxInt64-credit.pending {
		return Overflow
	}
	m.touch(debit)
	m.touch(credit)
	debit.amount, credit.amount = after, sum
	v.fromAfter, v.toAfter = after, sum
	return Applied
}

// affordable judges a debit that would leave after; the amount is more than zero.
func affordable(f *funds, after money.Amount) Code {
	switch {
	case f.floor == Unlimited && after >= f.amount:
		return Overflow
	case f.floor != Unlimited && (after >= f.amount || after < f.floor):
		return InsufficientFunds
	}
	return Applied
}

// barred returns why no money moves with accounts whose statuses, taken
// together bit by bit, are not Open.
func barred(s Status) Code {
	switch {
	case s&Closed != 0:
		return AccountClosed
	case s&Frozen != 0:
		return AccountFrozen
	}
	return AccountLocked
}
