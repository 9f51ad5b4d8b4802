package wallet

import (
	"encoding/binary"
	"fmt"
	"math"

	"maru.example/money"
)

// The blocks of a snapshot that hold transfers between partitions. A wallet of
// one partition has none.
const (
	blockFlights         = 7
	blockParticipants    = 8
	blockTotals          = 9
	flightRowBytes       = 54
	participantBytes     = 20
	participantNameBytes = 20 // that follow one whose state has the bit stateNamed: id and payer
	totalRowBytes        = 40
	crossBlockRows       = 1024
)

// crossImage is a copy of what a partition keeps for transfers between
// partitions, cut into blocks that are encoded when they are asked for.
type crossImage struct {
	blocks []func(dst []byte) []byte // those still to be given
	rows   uint64                    // of all blocks
}

// image copies the state. Each peer has at least one block of each kind, which
// tells the number of the first row.
func (m *Machine) image() (out crossImage) {
	if m.options.Partitions == 1 {
		return out
	}
	for i := range m.crossing.peers {
		if i == int(m.options.Partition) {
			continue
		}
		p := &m.crossing.peers[i]
		imageRows(&out, blockFlights, i, p.out.low, p.out.appendTo(make([]flight, 0, p.out.next-p.out.low)), m.appendFlight)
		imageRows(&out, blockParticipants, i, p.in.low, p.in.appendTo(make([]participant, 0, p.in.next-p.in.low)), m.appendParticipant)
	}
	totals := make([]totalRow, 0, len(m.crossing.totals.all))
	for _, k := range m.crossing.totals.keys() {
		totals = append(totals, totalRow{k, *m.crossing.totals.all[k]})
	}
	imageRows(&out, blockTotals, 0, 0, totals, appendTotal)
	m.imageCaptures(&out)
	m.imageTransactions(&out)
	return out
}

func imageRows[T any](c *crossImage, kind byte, number int, first uint64, rows []T, add func([]byte, *T) []byte) {
	c.rows += uint64(len(rows))
	for begun := false; !begun || len(rows) > 0; begun = true {
		part, at := rows[:min(len(rows), crossBlockRows)], first
		c.blocks = append(c.blocks, func(dst []byte) []byte {
			dst = appendBlock(dst, kind, number, len(part), at)
			for i := range part {
				dst = add(dst, &part[i])
			}
			return dst
		})
		rows, first = rows[len(part):], first+uint64(len(part))
	}
}

// block appends the next block, if there is one.
func (c *crossImage) block(dst []byte) ([]byte, bool) {
	if len(c.blocks) == 0 {
		return dst, false
	}
	dst = c.blocks[0](dst)
	c.blocks[0] = nil
	c.blocks = c.blocks[1:]
	return dst, true
}

func (m *Machine) appendFlight(dst []byte, f *flight) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, f.key.a)
	dst = binary.LittleEndian.AppendUint64(dst, f.key.b)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.amount))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.began))
	var from Handle
	if !f.isPart() {
		from = m.base + Handle(f.from) + 1
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(from))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.to))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(f.currency))
	dst = binary.LittleEndian.AppendUint16(dst, f.tenant)
	return append(dst, byte(f.protocol), byte(f.phase))
}

func (m *Machine) appendParticipant(dst []byte, p *participant) []byte {
	var to Handle
	if p.amount != 0 {
		to = m.base + Handle(p.to) + 1
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.amount))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(to))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(p.currency))
	if p.key == (key{}) && p.from == 0 {
		return append(dst, byte(p.state), byte(p.code))
	}
	dst = append(dst, byte(p.state|stateNamed), byte(p.code))
	dst = binary.LittleEndian.AppendUint64(dst, p.key.a)
	dst = binary.LittleEndian.AppendUint64(dst, p.key.b)
	return binary.LittleEndian.AppendUint32(dst, p.from)
}

type totalRow struct {
	crossKey
	crossTotal
}

func appendTotal(dst []byte, t *totalRow) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, t.peer)
	dst = binary.LittleEndian.AppendUint16(dst, t.tenant)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(t.currency))
	dst = append(dst, 0, 0)
	for _, n := range []int128{t.out, t.in} {
		dst = binary.LittleEndian.AppendUint64(dst, n.Lo)
		dst = binary.LittleEndian.AppendUint64(dst, n.Hi)
	}
	return dst
}

// crossBlock reads the n rows of a block. What they say of accounts and ids is
// checked when all blocks have been read: see joinCrossing.
func (r *restorer) crossBlock(kind byte, number uint16, n uint32, first uint64) error {
	m := r.m
	if kind == blockPartition {
		if number != m.options.Partition || first != uint64(m.options.Partitions) || n != 0 {
			return fmt.Errorf("%w: of partition %d of %d; this is %d of %d", ErrSnapshot, number, first, m.options.Partition, m.options.Partitions)
		}
		r.partition = true
		return nil
	}
	if kind == blockTotals {
		for range n {
			if err := r.total(); err != nil {
				return err
			}
		}
		return nil
	}
	if number == m.options.Partition || number >= m.options.Partitions {
		return fmt.Errorf("%w: transfers from or to partition %d", ErrSnapshot, number)
	}
	if kind == blockFlights {
		return restoreRows(r, &m.crossing.peers[number].out, n, first, func() (flight, error) { return r.flight(number) })
	}
	return restoreRows(r, &m.crossing.peers[number].in, n, first, r.participant)
}

// restoreRows adds the rows of a block to a deque, which follow each other.
func restoreRows[T any](r *restorer, d *deque[T], n uint32, first uint64, read func() (T, error)) error {
	if d.low == 1 && d.next == 1 && first > 0 && first < math.MaxUint64/2 {
		*d = newDeque[T](first)
	}
	if first != d.next || uint64(n) > MaxInFlight-(d.next-d.low) {
		return fmt.Errorf("%w: %d transfers from number %d on, after number %d", ErrSnapshot, n, first, d.next-1)
	}
	for range n {
		row, err := read()
		if err != nil {
			return err
		}
		d.push(row)
		r.rows++
	}
	return nil
}

func (r *restorer) flight(peer uint16) (flight, error) {
	b, err := r.read(flightRowBytes)
	if err != nil {
		return flight{}, err
	}
	from := Handle(binary.LittleEndian.Uint64(b[32:]))
	row := r.m.row(from)
	f := flight{
		key: makeKey(b), amount: money.Amount(binary.LittleEndian.Uint64(b[16:])), began: int64(binary.LittleEndian.Uint64(b[24:])),
		from: uint32(row), to: Handle(binary.LittleEndian.Uint64(b[40:])),
		currency: money.Currency(binary.LittleEndian.Uint16(b[48:])), tenant: binary.LittleEndian.Uint16(b[50:]),
		protocol: Protocol(b[52]), phase: Phase(b[53]),
	}
	if f.isPart() {
		f.from = 0
		if from != 0 || f.currency != 0 || f.to.Partition() != peer || !f.phase.ofTransaction(f.protocol) {
			return f, fmt.Errorf("%w: transaction %v with partition %d", ErrSnapshot, f.key.id(), peer)
		}
		return f, nil
	}
	if row >= r.m.accounts.len || f.amount <= 0 || f.to.Partition() != peer || !f.phase.of(f.protocol) {
		return f, fmt.Errorf("%w: transfer %v to partition %d", ErrSnapshot, f.key.id(), peer)
	}
	return f, nil
}

// of says that a protocol has the phase.
func (p Phase) of(protocol Protocol) bool {
	switch p {
	case Trying:
		return protocol == TCC
	case Preparing:
		return protocol == TwoPhase
	case Crediting:
		return protocol == Saga
	case Confirming, Canceling:
		return protocol == TCC || protocol == TwoPhase
	case Finished:
		return protocol > NoProtocol && protocol < endProtocol
	case Waiting, NoPhase, endPhase:
	}
	return false
}

func (r *restorer) participant() (participant, error) {
	b, err := r.read(participantBytes)
	if err != nil {
		return participant{}, err
	}
	p := participant{
		amount: money.Amount(binary.LittleEndian.Uint64(b)), currency: money.Currency(binary.LittleEndian.Uint16(b[16:])),
		state: participantState(b[18]) &^ stateNamed, code: Code(b[19]),
	}
	named, to := b[18]&byte(stateNamed) != 0, Handle(binary.LittleEndian.Uint64(b[8:]))
	row := r.m.row(to)
	p.to = uint32(row)
	if named {
		name, err := r.read(participantNameBytes)
		if err != nil {
			return participant{}, err
		}
		p.key, p.from = makeKey(name), binary.LittleEndian.Uint32(name[16:])
	}
	switch p.state {
	case stateUnseen:
		if p.to = 0; p == (participant{}) && to == 0 && !named {
			return p, nil
		}
	case stateRefused:
		answer := answer{action: actTry, code: p.code}
		if p.to = 0; p == (participant{state: stateRefused, code: p.code}) && to == 0 && !named && p.code != Applied && answer.valid() {
			return p, nil
		}
	case stateTried, statePrepared, stateCredited:
		if p.amount == 0 { // of a transaction
			p.to = 0
			if p == (participant{state: p.state}) && to == 0 && p.state != statePrepared && !named {
				return p, nil
			}
			break
		}
		if row < r.m.accounts.len && p.amount > 0 && p.code == Undecided && named == (p.key != (key{}) || p.from != 0) {
			return p, nil
		}
	case endState:
	}
	return p, fmt.Errorf("%w: participant of %v", ErrSnapshot, to)
}

func (r *restorer) total() error {
	b, err := r.read(totalRowBytes)
	if err != nil {
		return err
	}
	k := crossKey{binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:]), money.Currency(binary.LittleEndian.Uint16(b[4:]))}
	totals := &r.m.crossing.totals
	if k.peer == r.m.options.Partition || k.peer >= r.m.options.Partitions || int(k.tenant) >= len(r.m.tenants) ||
		b[6]|b[7] != 0 || totals.all[k] != nil {
		return fmt.Errorf("%w: total of tenant %d with partition %d", ErrSnapshot, k.tenant, k.peer)
	}
	*totals.of(k.peer, k.tenant, k.currency) = crossTotal{
		out: int128{Lo: binary.LittleEndian.Uint64(b[8:]), Hi: binary.LittleEndian.Uint64(b[16:])},
		in:  int128{Lo: binary.LittleEndian.Uint64(b[24:]), Hi: binary.LittleEndian.Uint64(b[32:])},
	}
	r.rows++
	return nil
}

// joinCrossing derives from the transfers under way what is pending, which
// accounts are locked, and which ids are Pending, whatever their rows say: an
// id's row may have been written after the snapshot was opened.
func (r *restorer) joinCrossing() error {
	m := r.m
	if !r.partition && m.options.Partitions > 1 {
		return fmt.Errorf("%w: of a wallet of one partition", ErrSnapshot)
	}
	if err := r.joinHolds(); err != nil {
		return err
	}
	for i := range m.crossing.peers {
		p := &m.crossing.peers[i]
		for n := p.out.low; n < p.out.next; n++ {
			if f := p.out.at(n); !r.joinFlight(uint16(i), n, f) || n == p.out.low && f.phase == Finished {
				return fmt.Errorf("%w: transfer %v is %v", ErrSnapshot, f.key.id(), f.phase)
			}
		}
		for n := p.in.low; n < p.in.next; n++ {
			v := p.in.at(n)
			tried := v.state == stateTried || v.state == statePrepared
			if tried && v.amount == 0 {
				if !r.joinLegs(partKey{uint16(i), n}) {
					return fmt.Errorf("%w: transaction %d from partition %d", ErrSnapshot, n, i)
				}
				continue
			}
			if tried && !r.promise(uint64(v.to), v.currency, v.amount, v.state == statePrepared) {
				return fmt.Errorf("%w: transfer %d from partition %d", ErrSnapshot, n, i)
			}
		}
	}
	if err := r.joinTransactions(); err != nil {
		return err
	}
	if r.pending != 0 {
		return fmt.Errorf("%w: %d ids more are pending than transfers", ErrSnapshot, r.pending)
	}
	return nil
}

func (r *restorer) joinFlight(peer uint16, seq uint64, f *flight) bool {
	m := r.m
	if f.isPart() {
		return r.joinPart(peer, seq, f)
	}
	if int(f.tenant) >= len(m.tenants) || m.accounts.at(uint64(f.from)).tenant != f.tenant {
		return false
	}
	ids := &m.tenants[f.tenant].ids
	e, _ := ids.find(f.key, ids.hash(f.key))
	if e == nil {
		return false
	}
	if f.phase != Finished {
		m.crossing.phases[f.phase]++
	}
	switch f.phase {
	case Trying, Crediting:
		if !r.promise(uint64(f.from), f.currency, f.amount, false) {
			return false
		}
	case Preparing:
		if !r.promise(uint64(f.from), f.currency, 0, true) {
			return false
		}
	case Confirming:
		if _, ok := m.hold(m.base+Handle(f.from)+1, m.accounts.at(uint64(f.from)), f.currency); !ok {
			return false
		}
	case Canceling:
		return e.code() == Canceled
	case Finished:
		return e.code() != Pending
	case Waiting, NoPhase, endPhase:
		return false
	}
	if e.code() == Pending {
		r.pending--
	}
	e.decide(Pending)
	return true
}

// promise notes that an account may get an amount, and locks it; false if that
// cannot be.
func (r *restorer) promise(row uint64, c money.Currency, a money.Amount, lock bool) bool {
	v := r.m.accounts.at(row)
	b, ok := r.m.hold(r.m.base+Handle(row)+1, v, c)
	if !ok || lock && v.status&locked != 0 || !b.room(a) {
		return false
	}
	b.pending += a
	if lock {
		v.status |= locked
	}
	return true
}
