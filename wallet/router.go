package wallet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"maru.example/rsm"
)

// The router's patience.
const (
	// pendingFor is how long a transfer between partitions is waited for before it
	// is answered as Pending.
	pendingFor = 8 * time.Second
	// retryFor is how long a partition without a leader is waited for.
	retryFor     = 3 * time.Second
	leastRetry   = 5 * time.Millisecond
	mostRetry    = 200 * time.Millisecond
	lockedTries  = 200 // of a transfer that meets locked accounts
	lockedPause  = time.Millisecond
	lockedLonger = 10 * time.Millisecond // at the most
)

// routed is a batch that was divided over partitions. Its pieces end on the loops
// of theirs.
type routed struct {
	s      *Service
	ctx    context.Context //nolint:containedctx // it bounds the tries of pieces, which have no caller that waits
	header Header
	waits  bool // the caller does, while a queue is full

	mu     sync.Mutex
	result []byte
	size   int // of one command's result
	left   int // pieces
	err    error
	at     rsm.Position
	done   func(result []byte, at rsm.Position, err error)
}

// piece is the part of a batch that goes to one partition.
type piece struct {
	b        *routed
	to       *Partition
	kind     Kind
	whole    []byte // the batch, if all of it goes to one partition
	commands [][]byte
	places   []int // of the commands in the batch
	tries    int
	unknown  bool // some try had an unknown outcome
	pause    time.Duration
}

// resultSize returns the size of a command's result.
func resultSize(k Kind) int {
	switch k { //nolint:exhaustive // the others have one byte
	case KindOpenAccounts, KindLookup:
		return OpenedBytes
	case KindCreateTenants:
		return 3
	}
	return 1
}

// route commits a batch that Validate accepted: each command in the partition that
// has to decide it. It calls done once, with the results in the order of the
// commands, on one of the partitions' loops. Commands for one partition keep
// their order.
// With waits it does not return before there was room for them in the queues.
func (s *Service) route(ctx context.Context, data []byte, waits bool, done func(result []byte, at rsm.Position, err error)) {
	h, body, err := ParseHeader(data)
	if err != nil {
		done(nil, rsm.Position{}, err)
		return
	}
	b := &routed{s: s, ctx: ctx, header: h, waits: waits, size: resultSize(h.Kind), done: done}
	if len(s.parts) == 1 {
		b.left = 1
		(&piece{b: b, to: s.parts[0], kind: h.Kind, whole: data}).submit(waits)
		return
	}
	b.result = make([]byte, h.Count*b.size)
	pieces := b.divide(body)
	b.left = len(pieces)
	for _, p := range pieces {
		if p.kind == KindCrossTransfers || p.kind == KindCrossTransfersByName {
			p.lookUp()
		} else {
			p.submit(waits)
		}
	}
}

// divide sorts the commands of a batch by partition.
func (b *routed) divide(body []byte) []*piece {
	var pieces []*piece
	find := func(partition uint16, kind Kind) *piece {
		for _, p := range pieces {
			if p.to == b.s.parts[partition] && p.kind == kind {
				return p
			}
		}
		p := &piece{b: b, to: b.s.parts[partition], kind: kind}
		pieces = append(pieces, p)
		return p
	}
	size := commandSize(b.header.Kind)
	for i := range b.header.Count {
		n := size(body)
		partition, kind := b.s.placeOf(b.header, body[:n])
		p := find(partition, kind)
		p.commands, p.places = append(p.commands, body[:n:n]), append(p.places, i)
		body = body[n:]
	}
	return pieces
}

// placeOf returns the partition that decides a command, and the kind that the
// command is there.
func (s *Service) placeOf(h Header, cmd []byte) (uint16, Kind) {
	n := uint16(len(s.parts))
	switch h.Kind { //nolint:exhaustive // the others begin with what the account's kinds begin with, or are the first partition's
	case KindTransfers:
		from, to := Handle(binary.LittleEndian.Uint64(cmd[16:])), Handle(binary.LittleEndian.Uint64(cmd[24:]))
		if from.Partition() >= n {
			return 0, KindTransfers // which knows no such account
		}
		if to.Partition() != from.Partition() && to.Partition() < n {
			return from.Partition(), KindCrossTransfers
		}
		return from.Partition(), KindTransfers
	case KindTransfersByName:
		_, from, to, _, _ := parseTransfer(cmd)
		payer, payee := s.partitionOf(h.Tenant, from), s.partitionOf(h.Tenant, to)
		if payer != payee {
			return payer, KindCrossTransfersByName
		}
		return payer, KindTransfersByName
	case KindOpenAccounts, KindAddCurrency, KindSetLimit:
		name, _, _ := parseAccount(cmd)
		return s.partitionOf(h.Tenant, name), h.Kind
	case KindSetStatus:
		return s.partitionOf(h.Tenant, cmd[statusBytes:]), h.Kind
	}
	return 0, h.Kind
}

// partitionOf returns the partition of an account.
func (s *Service) partitionOf(tenant uint16, name []byte) uint16 {
	return partitionOf(s.tenantHash(tenant), nameHash(name), uint16(len(s.parts)))
}

// lookUp makes the commands of a piece of transfers to other partitions complete:
// with what those partitions know of the receiving accounts, which never changes.
func (p *piece) lookUp() {
	byPeer := map[uint16][]int{}
	for i, cmd := range p.commands {
		var peer uint16
		if p.kind == KindCrossTransfers {
			peer = Handle(binary.LittleEndian.Uint64(cmd[24:])).Partition()
		} else {
			_, _, to, _, _ := parseTransfer(cmd)
			peer = p.b.s.partitionOf(p.b.header.Tenant, to)
		}
		byPeer[peer] = append(byPeer[peer], i)
	}
	var mu sync.Mutex
	left := len(byPeer)
	for peer, places := range byPeer {
		q := p.b.s.parts[peer]
		q.Log.ApplyLoop().Post(func() {
			var missing []int
			for _, i := range places {
				if !p.complete(i, q.Machine) {
					missing = append(missing, i)
				}
			}
			ready := func(err error) {
				mu.Lock()
				defer mu.Unlock()
				switch left--; {
				case left < 0: // the piece has failed: it does so once
				case err != nil:
					left = 0
					p.b.failed(p, err)
				case left == 0:
					p.submit(false)
				}
			}
			if len(missing) == 0 {
				ready(nil)
				return
			}
			// This replica may be behind: ask for what is certain.
			go func() {
				ready(q.Log.Read(p.b.ctx, func() {
					for _, i := range missing {
						if !p.complete(i, q.Machine) {
							p.commands[i] = p.encode(p.commands[i], 0, 0)
						}
					}
				}))
			}()
		})
	}
}

// complete encodes a command with what the machine of the receiving partition
// knows, and says whether it knows the account.
func (p *piece) complete(i int, m *Machine) bool {
	cmd, tenant := p.commands[i], p.b.header.Tenant
	if int(tenant) >= len(m.tenants) {
		return false
	}
	if p.kind == KindCrossTransfers {
		h := Handle(binary.LittleEndian.Uint64(cmd[24:]))
		if m.get(tenant, h) == nil {
			return false
		}
		p.commands[i] = p.encode(cmd, h, m.hashOf(tenant, h))
		return true
	}
	_, _, to, _, _ := parseTransfer(cmd)
	h := m.lookup(tenant, string(to))
	if h != 0 {
		p.commands[i] = p.encode(cmd, h, 0)
	}
	return h != 0
}

// encode returns a transfer as one between partitions.
func (p *piece) encode(cmd []byte, to Handle, toHash uint64) []byte {
	protocol := Protocol(p.b.s.protocol.Load())
	if p.kind == KindCrossTransfers {
		out := slices.Clone(cmd)
		if to == 0 {
			toHash = unknownHash(Handle(binary.LittleEndian.Uint64(cmd[24:])))
		}
		out[42] = byte(protocol)
		binary.LittleEndian.PutUint64(out[48:], toHash)
		return out
	}
	id, from, name, amount, currency := parseTransfer(cmd)
	t := crossTransfer{handle: to, protocol: protocol}
	t.ID, t.From, t.To, t.Amount, t.Currency = id.id(), AccountID(from), AccountID(name), amount, currency
	return appendCrossTransfer(make([]byte, 0, crossByNameBytes+len(from)+len(name)), &t)
}

// encoded returns the batch of a piece.
func (p *piece) encoded() []byte {
	if p.whole != nil {
		return p.whole
	}
	h := p.b.header
	h.Kind, h.Count = p.kind, len(p.commands)
	size := HeaderBytes
	for _, c := range p.commands {
		size += len(c)
	}
	data := AppendHeader(make([]byte, 0, size), h)
	for _, c := range p.commands {
		data = append(data, c...)
	}
	return data
}

// count returns how many commands a piece has.
func (p *piece) count() int {
	if p.whole != nil {
		return p.b.header.Count
	}
	return len(p.commands)
}

// submit proposes a piece. Only the caller of route may wait for a queue: a loop
// must not.
func (p *piece) submit(wait bool) {
	h := p.b.header
	var waits *gathering
	if p.kind == KindCrossTransfers || p.kind == KindCrossTransfersByName {
		waits = p.to.gather(h.Tenant, p.commands)
	}
	proposal := &rsm.Proposal{Data: p.encoded(), Done: func(result []byte, at rsm.Position, err error) {
		p.decided(result, at, err, waits)
	}}
	submit := p.to.Log.TrySubmit
	if wait {
		submit = p.to.Log.Submit
	}
	if err := submit(p.b.ctx, proposal); err != nil {
		p.to.Log.ApplyLoop().Post(func() { p.decided(nil, rsm.Position{}, err, waits) })
	}
}

// decided takes what became of a try.
func (p *piece) decided(result []byte, at rsm.Position, err error, waits *gathering) {
	switch {
	case err != nil:
		waits.leave()
		p.failed(err)
	case len(result) != p.count()*p.b.size:
		waits.leave()
		p.refused(Code(result[0]))
	case waits == nil:
		p.settle(slices.Clone(result), at, p.locked(result))
	default:
		locked := p.locked(result)
		waits.wait(slices.Clone(result), func(result []byte) { p.settle(result, at, locked) })
	}
}

// failed tries again what may be tried again: every command of a batch can be
// repeated without being done twice.
func (p *piece) failed(err error) {
	again := errors.Is(err, rsm.ErrNoLeader) || errors.Is(err, rsm.ErrUnknown) || errors.Is(err, rsm.ErrBusy)
	p.unknown = p.unknown || errors.Is(err, rsm.ErrUnknown)
	p.pause = min(max(2*p.pause, leastRetry), mostRetry)
	p.tries++
	patient := p.b.waits && errors.Is(err, rsm.ErrBusy) || p.waited() <= retryFor
	if !again || p.b.ctx.Err() != nil || !patient {
		p.b.failed(p, err)
		return
	}
	loop := p.to.Log.ApplyLoop()
	loop.Post(func() { loop.After(p.pause, func() { p.submit(false) }) })
}

// waited is about how long the piece has been tried.
func (p *piece) waited() (d time.Duration) {
	pause := leastRetry
	for range p.tries {
		d += pause
		pause = min(2*pause, mostRetry)
	}
	return d
}

// refused takes the refusal of a whole piece. A tenant that was made in the first
// partition may not be known in another one yet.
func (p *piece) refused(code Code) {
	if code != UnknownTenant || p.tries > 0 {
		p.b.failed(p, fmt.Errorf("wallet: a batch of %v was refused: %v", p.kind, code))
		return
	}
	p.tries++
	go func() {
		if err := p.b.s.spreadTenants(p.b.ctx, p.to); err != nil {
			p.b.failed(p, err)
			return
		}
		p.submit(false)
	}()
}

// settle takes the results of a piece, and tries again what met locked accounts:
// that was refused without a trace.
func (p *piece) settle(result []byte, at rsm.Position, locked *piece) {
	if locked != nil && p.tries < lockedTries && p.b.ctx.Err() == nil {
		p.b.mu.Lock()
		p.b.left++ // its results come over these
		p.b.mu.Unlock()
		pause := min(time.Duration(locked.tries)*lockedPause, lockedLonger)
		p.to.Log.ApplyLoop().After(pause+time.Duration(p.to.random()%uint64(pause)), func() { locked.submit(false) })
	}
	p.b.settle(p.places, result, at)
}

// locked returns a piece of the transfers that met locked accounts, nil if there
// are none.
func (p *piece) locked(result []byte) *piece {
	if p.b.size != 1 || p.whole != nil {
		return nil
	}
	var l *piece
	for i := range p.places {
		if Code(result[i]) != AccountLocked {
			continue
		}
		if l == nil {
			l = &piece{b: p.b, to: p.to, kind: p.kind, tries: p.tries + 1}
		}
		l.commands, l.places = append(l.commands, p.commands[i]), append(l.places, p.places[i])
	}
	return l
}

// settle takes the results of a piece.
func (b *routed) settle(places []int, result []byte, at rsm.Position) {
	b.mu.Lock()
	if b.result == nil { // one piece is all of it
		b.result = result
	}
	for i, place := range places {
		copy(b.result[place*b.size:(place+1)*b.size], result[i*b.size:])
	}
	if at.Time > b.at.Time {
		b.at = at
	}
	b.end()
}

// failed takes the failure of a piece. Where one outcome is unknown, that of the
// batch is.
func (b *routed) failed(p *piece, err error) {
	if p.unknown && !errors.Is(err, rsm.ErrUnknown) {
		err = fmt.Errorf("%w: %w", rsm.ErrUnknown, err)
	}
	b.mu.Lock()
	if b.err == nil || errors.Is(err, rsm.ErrUnknown) || errors.Is(err, rsm.ErrFailed) {
		b.err = err
	}
	b.end()
}

// end unlocks, and answers when the last piece has ended.
func (b *routed) end() {
	b.left--
	last, result, at, err := b.left == 0, b.result, b.at, b.err
	b.mu.Unlock()
	if !last {
		return
	}
	if err != nil && b.header.Count > 1 && !errors.Is(err, rsm.ErrFailed) && !errors.Is(err, rsm.ErrUnknown) {
		err = fmt.Errorf("%w: not all of a batch was decided: %w", rsm.ErrUnknown, err)
	}
	if err != nil {
		result = nil
	}
	b.done(result, at, err)
}
