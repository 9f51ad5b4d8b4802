package wallet

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"maru.example/money"
)

// The blocks of a snapshot that hold transactions and reversals. Where there are
// none, a snapshot has none of them.
const (
	blockReversed     = 14 // how many rows of reversals there are; it precedes them
	blockReversals    = 15
	blockTransactions = 16 // those under way that this partition coordinates
	blockLegs         = 17 // of those that others coordinate
	reversalRowBytes  = 28
	transactionBytes  = 32 // and the reversed id, participants, legs and reversed amounts
	partRowBytes      = 11
	legsRowBytes      = 35 // and the legs
)

func appendReversal(dst []byte, r *reversal) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, r.key.a)
	dst = binary.LittleEndian.AppendUint64(dst, r.key.b)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.amount))
	dst = binary.LittleEndian.AppendUint16(dst, r.tenant)
	return append(dst, r.leg, r.legs)
}

// imageTransactions copies the transactions under way.
func (m *Machine) imageTransactions(out *crossImage) {
	if n := len(m.crossing.transactions); n > 0 {
		rows := make([]transaction, 0, n)
		for _, t := range m.crossing.transactions {
			rows = append(rows, *t)
			last := &rows[len(rows)-1]
			last.parts = slices.Clone(t.parts) // the rest does not change
		}
		slices.SortFunc(rows, func(a, b transaction) int { return a.compare(b.transactionKey) })
		imageRows(out, blockTransactions, 0, 0, rows, appendTransaction)
	}
	if len(m.crossing.legs) > 0 {
		rows := slices.SortedFunc(maps.Keys(m.crossing.legs), partKey.compare)
		legs := maps.Clone(m.crossing.legs)
		imageRows(out, blockLegs, 0, 0, rows, func(dst []byte, k *partKey) []byte { return appendLegs(dst, k, legs[*k]) })
	}
}

func (k transactionKey) compare(l transactionKey) int {
	return cmp.Or(cmp.Compare(k.tenant, l.tenant), cmp.Compare(k.key.a, l.key.a), cmp.Compare(k.key.b, l.key.b))
}

func (k partKey) compare(l partKey) int {
	return cmp.Or(cmp.Compare(k.from, l.from), cmp.Compare(k.seq, l.seq))
}

func appendTransaction(dst []byte, t *transaction) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, t.key.a)
	dst = binary.LittleEndian.AppendUint64(dst, t.key.b)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.began))
	dst = binary.LittleEndian.AppendUint16(dst, t.tenant)
	dst = append(dst, byte(t.protocol), byte(t.stage), byte(t.code), byte(len(t.parts)), byte(len(t.legs)), byte(len(t.reverses.amounts)))
	if len(t.reverses.amounts) > 0 {
		dst = binary.LittleEndian.AppendUint64(dst, t.reverses.of.key.a)
		dst = binary.LittleEndian.AppendUint64(dst, t.reverses.of.key.b)
	}
	for i := range t.parts {
		p := &t.parts[i]
		dst = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint16(dst, p.peer), p.seq)
		agreed := byte(0)
		if p.agreed {
			agreed = 1
		}
		dst = append(dst, agreed)
	}
	for i := range t.legs {
		dst = append(appendLeg(dst, &t.legs[i]), t.legs[i].part)
	}
	for _, a := range t.reverses.amounts {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(a))
	}
	return dst
}

func appendLegs(dst []byte, k *partKey, p promised) []byte {
	dst = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint16(dst, k.from), k.seq)
	dst = binary.LittleEndian.AppendUint64(dst, p.key.a)
	dst = binary.LittleEndian.AppendUint64(dst, p.key.b)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.when))
	dst = append(dst, byte(len(p.legs)))
	for i := range p.legs {
		dst = appendLeg(dst, &p.legs[i])
	}
	return dst
}

// transactionBlock reads the n rows of a block. What they say of accounts and other
// rows is checked when all blocks have been read.
func (r *restorer) transactionBlock(kind byte, n uint32, first uint64) error {
	if kind == blockReversed {
		if r.m.reversals.len != 0 || n != 0 || first > MaxAccounts {
			return fmt.Errorf("%w: %d reversals", ErrSnapshot, first)
		}
		r.m.reversals.resize(first)
		r.reversals = first
		return nil
	}
	for i := range uint64(n) {
		var err error
		switch kind {
		case blockReversals:
			err = r.reversal(first + i)
		case blockTransactions:
			err = r.transaction()
		case blockLegs:
			err = r.legs()
		}
		if err != nil {
			return err
		}
		r.rows++
	}
	return nil
}

func (r *restorer) reversal(row uint64) error {
	b, err := r.read(reversalRowBytes)
	if err != nil {
		return err
	}
	v := reversal{
		key: makeKey(b), amount: money.Amount(binary.LittleEndian.Uint64(b[16:])),
		tenant: binary.LittleEndian.Uint16(b[24:]), leg: b[26], legs: b[27],
	}
	t := &r.m.reversals
	if row >= t.len || v.legs == 0 || v.leg >= v.legs || v.legs > MaxPostings || uint64(v.leg) > row || v.amount < 0 || int(v.tenant) >= len(r.m.tenants) ||
		t.chunks[row/chunkRows] != nil && t.at(row).legs != 0 {
		return fmt.Errorf("%w: reversal %d", ErrSnapshot, row)
	}
	t.set(row, v)
	r.reversals--
	return nil
}

// joinReversals checks that the rows of each original follow each other.
func (r *restorer) joinReversals() error {
	t := &r.m.reversals
	if r.reversals != 0 {
		return fmt.Errorf("%w: %d reversals are missing", ErrSnapshot, r.reversals)
	}
	for row := uint64(0); row < t.len; {
		v := t.at(row)
		k := transactionKey{v.key, v.tenant}
		if _, twice := t.rows[k]; twice || row+uint64(v.legs) > t.len {
			return fmt.Errorf("%w: reversal %d", ErrSnapshot, row)
		}
		t.rows[k] = uint32(row)
		for i := range uint64(v.legs) {
			if w := t.at(row + i); w.key != v.key || w.tenant != v.tenant || w.legs != v.legs || uint64(w.leg) != i {
				return fmt.Errorf("%w: reversal %d", ErrSnapshot, row+i)
			}
		}
		row += uint64(v.legs)
	}
	return nil
}

func (r *restorer) transaction() error {
	b, err := r.read(transactionBytes)
	if err != nil {
		return err
	}
	t := &transaction{
		transactionKey: transactionKey{makeKey(b), binary.LittleEndian.Uint16(b[24:])}, began: int64(binary.LittleEndian.Uint64(b[16:])),
		protocol: Protocol(b[26]), stage: stage(b[27]), code: Code(b[28]),
	}
	parts, legs, amounts := int(b[29]), int(b[30]), int(b[31])
	bad := fmt.Errorf("%w: transaction %v", ErrSnapshot, t.key.id())
	if r.m.crossing.transactions[t.transactionKey] != nil || parts == 0 || parts > legs || legs > MaxPostings || amounts > MaxPostings {
		return bad
	}
	if amounts > 0 {
		if b, err = r.read(16); err != nil {
			return err
		}
		t.reverses = reservation{transactionKey{makeKey(b), t.tenant}, make([]money.Amount, amounts)}
	}
	for range parts {
		if b, err = r.read(partRowBytes); err != nil {
			return err
		}
		if b[10] > 1 {
			return bad
		}
		t.parts = append(t.parts, part{binary.LittleEndian.Uint16(b), b[10] == 1, binary.LittleEndian.Uint64(b[2:])})
	}
	for range legs {
		if b, err = r.read(legBytes + 1); err != nil {
			return err
		}
		l := parseLeg(b)
		l.part = b[legBytes]
		t.legs = append(t.legs, l)
	}
	for i := range t.reverses.amounts {
		if b, err = r.read(8); err != nil {
			return err
		}
		t.reverses.amounts[i] = money.Amount(binary.LittleEndian.Uint64(b))
	}
	r.m.crossing.transactions[t.transactionKey] = t
	return nil
}

func (r *restorer) legs() error {
	b, err := r.read(legsRowBytes)
	if err != nil {
		return err
	}
	k, n := partKey{binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint64(b[2:])}, int(b[34])
	of, when := makeKey(b[10:]), int64(binary.LittleEndian.Uint64(b[26:]))
	if _, twice := r.m.crossing.legs[k]; n == 0 || n > MaxPostings || twice {
		return fmt.Errorf("%w: legs of transaction %d from partition %d", ErrSnapshot, k.seq, k.from)
	}
	legs := make([]leg, n)
	for i := range legs {
		if b, err = r.read(legBytes); err != nil {
			return err
		}
		legs[i] = parseLeg(b)
	}
	r.m.crossing.legs[k] = promised{of, when, legs}
	return nil
}

// ofTransaction says that the row of a participant may have the phase.
func (p Phase) ofTransaction(protocol Protocol) bool {
	switch p {
	case Trying, Confirming, Canceling, Finished, Waiting:
		return protocol == TCC || protocol == Saga
	case Crediting:
		return protocol == Saga
	case NoPhase, Preparing, endPhase:
	}
	return false
}

// joinLegs notes what was promised for a transaction that was tried here.
func (r *restorer) joinLegs(k partKey) bool {
	p, ok := r.m.crossing.legs[k]
	r.tried++
	return ok && r.promiseLegs(p.legs, r.m.tenantOf(p.legs[0].account))
}

// tenantOf returns the tenant of an account, and one that there is not if there is
// no such account.
func (m *Machine) tenantOf(h Handle) uint16 {
	if row := m.row(h); row < m.accounts.len {
		return m.accounts.at(row).tenant
	}
	return math.MaxUint16
}

// promiseLegs notes what was promised to accounts; false if that cannot be.
func (r *restorer) promiseLegs(legs []leg, tenant uint16) bool {
	for i := range legs {
		l := &legs[i]
		again := func(o leg) bool { return o.account == l.account && o.currency == l.currency }
		if r.m.get(tenant, l.account) == nil || magnitude(l.amount) < 0 || slices.ContainsFunc(legs[:i], again) ||
			!r.promise(r.m.row(l.account), l.currency, magnitude(l.amount), false) {
			return false
		}
	}
	return true
}

// joinPart checks the row of a participant.
func (r *restorer) joinPart(peer uint16, seq uint64, f *flight) bool {
	m := r.m
	if int(f.tenant) >= len(m.tenants) {
		return false
	}
	ids := &m.tenants[f.tenant].ids
	e, _ := ids.find(f.key, ids.hash(f.key))
	t := m.crossing.transactions[transactionKey{f.key, f.tenant}]
	switch {
	case e == nil:
		return false
	case t == nil:
		return f.phase == Finished && e.code() != Pending
	}
	i := f.participant()
	if i < 0 || i >= len(t.parts) || t.parts[i].peer != peer || t.parts[i].seq != seq || t.protocol != f.protocol || t.began != f.began {
		return false
	}
	if f.phase != Finished {
		m.crossing.phases[f.phase]++
		t.open++
	}
	return true
}

// joinTransactions checks the transactions under way against what else was read, and
// notes what they promise to accounts here.
func (r *restorer) joinTransactions() error {
	if r.tried != len(r.m.crossing.legs) {
		return fmt.Errorf("%w: legs of %d transactions, %d were tried", ErrSnapshot, len(r.m.crossing.legs), r.tried)
	}
	reserved := map[uint64]money.Amount{}
	for _, t := range r.m.crossing.transactions {
		if !r.joinTransaction(t) || !r.joinReservation(t, reserved) {
			return fmt.Errorf("%w: transaction %v is in stage %d", ErrSnapshot, t.key.id(), t.stage)
		}
	}
	return nil
}

func (r *restorer) joinTransaction(t *transaction) bool {
	m := r.m
	if int(t.tenant) >= len(m.tenants) || t.open == 0 || t.protocol != TCC && t.protocol != Saga || !balanced(t.legs) {
		return false
	}
	ids := &m.tenants[t.tenant].ids
	e, _ := ids.find(t.key, ids.hash(t.key))
	if e == nil || !t.shaped(m) || !m.inStage(t) {
		return false
	}
	if t.holds() && !r.promiseLegs(t.of(-1), t.tenant) {
		return false
	}
	for i := range t.of(-1) { // those that are not promised any more too
		l := &t.legs[i]
		a := m.get(t.tenant, l.account)
		if a == nil {
			return false
		}
		if _, ok := m.hold(l.account, a, l.currency); !ok {
			return false
		}
	}
	if e.code() == Pending {
		r.pending--
	}
	e.decide(Pending)
	return true
}

// shaped says that the legs of a transaction are those of its participants, in their
// order, and the participants other partitions.
func (t *transaction) shaped(m *Machine) bool {
	for i := range t.legs {
		l := &t.legs[i]
		at := m.options.Partition
		switch {
		case int(l.part) > len(t.parts), i > 0 && l.part < t.legs[i-1].part, magnitude(l.amount) < 0:
			return false
		case l.part > 0:
			at = t.parts[l.part-1].peer
		}
		again := func(o leg) bool { return o.account == l.account && o.currency == l.currency }
		if l.account.Partition() != at || slices.ContainsFunc(t.legs[:i], again) {
			return false
		}
	}
	for i, p := range t.parts {
		again := func(o part) bool { return o.peer == p.peer }
		if p.peer == m.options.Partition || p.peer >= m.options.Partitions || len(t.of(i)) == 0 || slices.ContainsFunc(t.parts[:i], again) {
			return false
		}
	}
	return true
}

// inStage says that the rows of the participants are in phases of the stage.
func (m *Machine) inStage(t *transaction) bool {
	rows, stuck := 0, t.stage == stageCanceling
	for i := range t.parts {
		p := &t.parts[i]
		out := &m.crossing.peers[p.peer].out
		phase := Finished
		switch {
		case p.seq == 0 || p.seq >= out.next:
			return false
		case p.seq >= out.low:
			f := out.at(p.seq)
			if phase = f.phase; !f.isPart() || f.key != t.key || f.tenant != t.tenant || f.participant() != i {
				return false
			}
		}
		if phase != Finished {
			rows++
		}
		stuck = stuck && phase != Canceling
		if !t.allows(i, phase) {
			return false
		}
	}
	last := t.code != Undecided && t.code != Applied && t.code != Pending && int(t.code) < len(codeNames)
	return !stuck && rows == t.open && last == (t.stage == stageCanceling)
}

// allows says that a participant may be in a phase.
func (t *transaction) allows(i int, phase Phase) bool {
	p, turn := &t.parts[i], t.turn()
	switch t.stage {
	case stageAsking:
		switch {
		case turn < 0:
			return false
		case t.protocol == TCC:
			return p.agreed && phase == Waiting || !p.agreed && phase == Trying
		case i == turn:
			return phase == t.sagaPhase(i)
		}
		return phase == Waiting && p.agreed == (i < turn)
	case stageConfirming:
		return p.agreed && (phase == Finished || phase == Confirming)
	case stageCanceling:
		return !p.agreed && (phase == Finished || phase == Canceling || phase == Waiting && t.protocol == Saga)
	case noStage, endStage:
	}
	return false
}

// joinReservation checks that what a transaction takes back of its original is noted.
func (r *restorer) joinReservation(t *transaction, reserved map[uint64]money.Amount) bool {
	row, ok := r.m.reversals.rows[t.reverses.of]
	if len(t.reverses.amounts) == 0 {
		return true
	}
	if !ok || int(r.m.reversals.at(uint64(row)).legs) != len(t.reverses.amounts) {
		return false
	}
	for i, a := range t.reverses.amounts {
		at := uint64(row) + uint64(i)
		if a < 0 || a > r.m.reversals.at(at).amount-reserved[at] {
			return false
		}
		reserved[at] += a
	}
	return true
}
