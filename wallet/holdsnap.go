package wallet

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"

	"maru.example/money"
)

// The blocks of a snapshot that hold holds and daily limits. A wallet that has none
// has none of them.
const (
	blockTime       = 10
	blockHolds      = 11
	blockCaptures   = 12
	blockLimits     = 13
	holdRowBytes    = 70 // and the payee's name
	captureRowBytes = 28
	limitRowBytes   = 48
)

// used says that there are holds or limits, so that the machine's time is part of the state.
func (m *Machine) timed() bool { return m.holds.rows.used()+m.spends.rows.used() > 0 }

// captureRow says of a transfer in flight which hold it is paid out of.
type captureRow struct {
	peer  uint16
	seq   uint64
	final bool
	hold  key
}

// imageCaptures copies which transfers in flight are captures.
func (m *Machine) imageCaptures(out *crossImage) {
	var rows []captureRow
	for i := range m.crossing.peers {
		flights := &m.crossing.peers[i].out
		for n := flights.low; n < flights.next && m.holds.rows.used() > 0; n++ {
			if f := flights.at(n); f.hold != 0 {
				rows = append(rows, captureRow{uint16(i), n, f.final, m.holds.rows.at(uint64(f.hold - 1)).key})
			}
		}
	}
	if len(rows) > 0 {
		imageRows(out, blockCaptures, 0, 0, rows, appendCapture)
	}
}

func appendCapture(dst []byte, r *captureRow) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, r.hold.a)
	dst = binary.LittleEndian.AppendUint64(dst, r.hold.b)
	dst = binary.LittleEndian.AppendUint64(dst, r.seq)
	dst = binary.LittleEndian.AppendUint16(dst, r.peer)
	if r.final {
		return append(dst, finalFlag, 0)
	}
	return append(dst, 0, 0)
}

func (m *Machine) appendHoldRow(dst []byte, h *holdRow) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, h.key.a)
	dst = binary.LittleEndian.AppendUint64(dst, h.key.b)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.base)+uint64(h.account)+1)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.amount))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.left))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.captured))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.placed))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.expires))
	dst = binary.LittleEndian.AppendUint16(dst, h.tenant)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(h.currency))
	dst = append(dst, byte(h.state), h.payeeLen)
	return append(dst, h.payee[:h.payeeLen]...)
}

func (m *Machine) appendLimitRow(dst []byte, s *spendRow) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.base)+uint64(s.account)+1)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.limit.Amount))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.since))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.spent))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(s.day))
	dst = binary.LittleEndian.AppendUint32(dst, s.limit.Count)
	dst = binary.LittleEndian.AppendUint32(dst, s.count)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(s.currency))
	return append(dst, 0, 0)
}

// holdBlock appends a block of holds or limits, if there is one left.
func (s *snapshot) holdBlock(dst []byte) ([]byte, bool) {
	more := s.m.holds.rows.next(func(_ uint64, rows []holdRow) {
		dst = appendUsed(dst, blockHolds, rows, func(h *holdRow) bool { return h.state != holdFree }, s.m.appendHoldRow)
	})
	more = more || s.m.spends.rows.next(func(_ uint64, rows []spendRow) {
		dst = appendUsed(dst, blockLimits, rows, func(r *spendRow) bool { return r.used }, s.m.appendLimitRow)
	})
	return dst, more
}

// appendUsed appends a block of those rows that are not free.
func appendUsed[T any](dst []byte, kind byte, rows []T, used func(*T) bool, add func([]byte, *T) []byte) []byte {
	n, head := 0, len(dst)
	dst = appendBlock(dst, kind, 0, 0, 0)
	for i := range rows {
		if used(&rows[i]) {
			dst = add(dst, &rows[i])
			n++
		}
	}
	if n == 0 {
		return dst[:head]
	}
	binary.LittleEndian.PutUint32(dst[head+4:], uint32(n))
	return dst
}

// sumHolds is a checksum of holds and limits, in whatever order the tables have them.
func (m *Machine) sumHolds() (sum uint64) {
	if !m.timed() {
		return 0
	}
	var b []byte
	add := func(row []byte) {
		h := fnv.New64a()
		h.Write(row)
		sum += h.Sum64()
		b = row[:0]
	}
	for i := range m.holds.rows.len {
		if h := m.holds.rows.at(i); h.state != holdFree {
			add(m.appendHoldRow(b, h))
		}
	}
	for i := range m.spends.rows.len {
		if s := m.spends.rows.at(i); s.used {
			add(m.appendLimitRow(b, s))
		}
	}
	return sum + mix(uint64(m.holds.now)^hash2, hash3)
}

// holdRow reads a row of a hold. What it says of accounts is checked when all blocks
// have been read: see joinHolds.
func (r *restorer) holdRow() error {
	b, err := r.read(holdRowBytes)
	if err != nil {
		return err
	}
	row := r.m.row(Handle(binary.LittleEndian.Uint64(b[16:])))
	h := holdRow{
		holdKey: holdKey{makeKey(b), binary.LittleEndian.Uint16(b[64:])}, account: uint32(row),
		amount: money.Amount(binary.LittleEndian.Uint64(b[24:])), left: money.Amount(binary.LittleEndian.Uint64(b[32:])),
		captured: money.Amount(binary.LittleEndian.Uint64(b[40:])), placed: int64(binary.LittleEndian.Uint64(b[48:])),
		expires: Millis(binary.LittleEndian.Uint64(b[56:])), currency: money.Currency(binary.LittleEndian.Uint16(b[66:])),
		state: holdState(b[68]), payeeLen: b[69],
	}
	ok := h.state == holdOpen && h.left >= 0 || h.state == holdFinished && h.left == 0
	ok = ok && row < r.m.accounts.len && h.amount > 0 && h.left <= h.amount && h.captured >= 0 && h.captured <= h.amount-h.left
	if !ok || len(r.holds) >= maxHoldRows {
		return fmt.Errorf("%w: hold %v", ErrSnapshot, h.key.id())
	}
	if h.payeeLen > 0 {
		payee, err := r.name(h.payeeLen)
		if err != nil {
			return err
		}
		copy(h.payee[:], payee)
	}
	if _, again := r.holds[h.holdKey]; again {
		return fmt.Errorf("%w: hold %v is there twice", ErrSnapshot, h.key.id())
	}
	if r.holds == nil {
		r.holds = make(map[holdKey]uint32)
	}
	r.holds[h.holdKey] = r.m.holds.rows.take(h)
	r.rows++
	return nil
}

// maxHoldRows bounds the holds that are open, and those with a capture under way.
const maxHoldRows = math.MaxUint32 - 1

func (r *restorer) limitRow() error {
	b, err := r.read(limitRowBytes)
	if err != nil {
		return err
	}
	row := r.m.row(Handle(binary.LittleEndian.Uint64(b)))
	s := spendRow{
		account: uint32(row), limit: DailyLimit{money.Amount(binary.LittleEndian.Uint64(b[8:])), binary.LittleEndian.Uint32(b[36:])},
		since: int64(binary.LittleEndian.Uint64(b[16:])), spent: money.Amount(binary.LittleEndian.Uint64(b[24:])),
		day: int64(int32(binary.LittleEndian.Uint32(b[32:]))), count: binary.LittleEndian.Uint32(b[40:]),
		currency: money.Currency(binary.LittleEndian.Uint16(b[44:])), used: true,
	}
	if row >= r.m.accounts.len || s.limit == (DailyLimit{}) || s.limit.Amount < 0 || s.spent < 0 || b[46]|b[47] != 0 {
		return fmt.Errorf("%w: daily limit of account %d", ErrSnapshot, row)
	}
	r.m.spends.rows.take(s)
	r.rows++
	return nil
}

func (r *restorer) captureRow() error {
	b, err := r.read(captureRowBytes)
	if err != nil {
		return err
	}
	c := captureRow{hold: makeKey(b), seq: binary.LittleEndian.Uint64(b[16:]), peer: binary.LittleEndian.Uint16(b[24:]), final: b[26] == finalFlag}
	if b[26] > finalFlag || b[27] != 0 || len(r.captures) >= MaxInFlight*int(r.m.options.Partitions) {
		return fmt.Errorf("%w: capture %d to partition %d", ErrSnapshot, c.seq, c.peer)
	}
	r.captures = append(r.captures, c)
	r.rows++
	return nil
}

// joinHolds derives from holds and limits the index and the heap, what is held of each
// balance, and which accounts are marked.
func (r *restorer) joinHolds() error {
	m := r.m
	for i := range m.spends.rows.len {
		s := m.spends.rows.at(i)
		b, ok := r.balanceOf(s.account, s.currency)
		if _, again := m.spends.of[b.ref()]; !ok || again {
			return fmt.Errorf("%w: daily limit of account %d", ErrSnapshot, s.account)
		}
		s.balance = b.ref()
		m.spends.of[s.balance] = uint32(i)
		m.accounts.at(uint64(s.account)).status |= limited
	}
	for i := range m.holds.rows.len {
		if h := m.holds.rows.at(i); !r.joinHold(h, uint32(i)) {
			return fmt.Errorf("%w: hold %v", ErrSnapshot, h.key.id())
		}
	}
	for _, c := range r.captures {
		if !r.joinCapture(&c) {
			return fmt.Errorf("%w: capture %d to partition %d", ErrSnapshot, c.seq, c.peer)
		}
	}
	for i := range m.holds.rows.len {
		if h := m.holds.rows.at(i); h.flying > h.amount-h.left-h.captured || h.state == holdFinished && h.flying == 0 || h.state == holdOpen && h.left == 0 && h.flying == 0 {
			return fmt.Errorf("%w: hold %v", ErrSnapshot, h.key.id())
		}
	}
	return nil
}

// balanceOf returns a balance of an account whose row is known to be there.
func (r *restorer) balanceOf(account uint32, c money.Currency) (held, bool) {
	return r.m.hold(r.m.base+Handle(account)+1, r.m.accounts.at(uint64(account)), c)
}

func (r *restorer) joinHold(h *holdRow, row uint32) bool {
	m := r.m
	b, ok := r.balanceOf(h.account, h.currency)
	if !ok || m.accounts.at(uint64(h.account)).tenant != h.tenant {
		return false
	}
	if e, seen := m.lookupID(h.tenant, h.key); !seen || e.code() != Held {
		return false
	}
	h.balance = b.ref()
	s := m.holds.sums[h.balance]
	if s.count >= MaxBalanceHolds || h.left > math.MaxInt64-s.held || b.floor != Unlimited && b.floor < math.MinInt64+s.held+h.left+1 {
		return false
	}
	s.held += h.left
	m.holds.setSum(h.balance, s)
	if h.state == holdOpen {
		m.holds.enter(row)
	}
	return true
}

func (r *restorer) joinCapture(c *captureRow) bool {
	m := r.m
	if int(c.peer) >= len(m.crossing.peers) {
		return false
	}
	out := &m.crossing.peers[c.peer].out
	if c.seq < out.low || c.seq >= out.next {
		return false
	}
	f := out.at(c.seq)
	row, ok := r.holds[holdKey{c.hold, f.tenant}]
	if !ok || f.hold != 0 || f.phase != Trying && f.phase != Crediting {
		return false
	}
	h := m.holds.rows.at(uint64(row))
	s := m.holds.sums[h.balance]
	if h.account != f.from || h.currency != f.currency || f.amount > h.amount-h.flying || s.held > math.MaxInt64-s.flying-f.amount ||
		m.balanceAt(h.balance).floor > math.MaxInt64-s.flying-f.amount {
		return false
	}
	f.hold, f.final = row+1, c.final
	m.fly(h, f.amount)
	return true
}
