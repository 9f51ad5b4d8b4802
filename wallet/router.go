package wallet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"maru.example/rsm"
)

// The router's patience.
const (
	// pendingFor is how long a transfer between partitions is waited for before it
	// is asked for again, as the replica that was waited for may be gone, and
	// pendingTries how often, before it is answered as Pending.
	pendingFor   = 4 * time.Second
	pendingTries = 2
	// retryFor is how long a partition without a leader is waited for.
	retryFor     = 3 * time.Second
	leastRetry   = 5 * time.Millisecond
	mostRetry    = 200 * time.Millisecond
	lockedTries  = 200 // of a transfer that meets locked accounts
	lockedPause  = time.Millisecond
	lockedLonger = 10 * time.Millisecond // at the most
	// maxForwarded bounds the bytes of batches on their way to nodes that have the
	// partitions, unless a single one has more.
	maxForwarded = 64 << 20
)

// routed is a batch that was divided over partitions. Its pieces end on any loop.
type routed struct {
	ctx       context.Context //nolint:containedctx // it bounds the tries of pieces, which have no caller that waits
	protocol  Protocol        // of transfers between partitions; NoProtocol: the wallet's
	waits     bool            // the caller does, while a queue is full
	forwarded bool            // another node's Service asked for it
	unknown   bool            // it was tried before, with an unknown outcome
	receipt   *Receipt        // takes the positions; nil: nobody wants them
	done      func(result []byte, at rsm.Position, err error)

	s      *Service
	header Header

	mu     sync.Mutex
	asked  []uint16 // partitions that took part in what was applied, and are to be asked where they are, for the receipt
	result []byte
	size   int  // of one command's result
	left   int  // pieces
	some   bool // results are there
	err    error
	at     rsm.Position
}

// piece is the part of a batch that goes to one partition.
type piece struct {
	b        *routed
	to       *Partition
	kind     Kind     // in the partition's log
	whole    []byte   // the batch, if all of it goes to one partition
	commands [][]byte // as they came
	owned    bool     // they are no part of the batch
	complete [][]byte // transfers to other partitions: with what those know of the payees
	places   []int    // of the commands in the batch
	tries    int
	pendings int         // tries of transfers that took too long
	unknown  bool        // some try had an unknown outcome
	answered bool        // the commands have results, which stand if they are not tried again
	spread   bool        // the tenants were made known to the partition
	timed    bool        // it has failed, and late will be set
	late     atomic.Bool // retryFor has passed since
	pause    time.Duration
}

// resultSize returns the size of a command's result.
func resultSize(k Kind) int {
	switch k { //nolint:exhaustive // the others have one byte
	case KindOpenAccounts, KindLookup:
		return OpenedBytes
	case KindCreateTenants, KindCreateAssets:
		return 3
	}
	return 1
}

// route commits a batch that Validate accepted: each command in the partition that
// has to decide it. It calls done once, with the results in the order of the
// commands, on any loop. Commands for one partition keep their order.
// If the caller waits, it does not return before there was room for them in the
// queues of this node.
func (s *Service) route(b *routed, data []byte) {
	h, body, err := ParseHeader(data)
	if err != nil {
		b.done(nil, rsm.Position{}, err)
		return
	}
	b.s, b.header, b.size = s, h, resultSize(h.Kind)
	if b.protocol == NoProtocol {
		b.protocol = Protocol(s.protocol.Load())
	}
	if len(s.parts) == 1 {
		b.left = 1
		(&piece{b: b, to: s.parts[0], kind: h.Kind, whole: data}).begin(b.waits)
		return
	}
	b.result = make([]byte, h.Count*b.size)
	pieces := b.divide(body)
	b.left = len(pieces)
	for _, p := range pieces {
		p.begin(b.waits)
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
	case KindSetDailyLimits:
		name, _, _ := parseDaily(cmd)
		return s.partitionOf(h.Tenant, name), h.Kind
	case KindHolds:
		c, _ := parseHold(cmd)
		payer := s.partitionOf(h.Tenant, c.from)
		if c.action == holdCapture && s.partitionOf(h.Tenant, c.to) != payer {
			return payer, KindCrossCaptures
		}
		return payer, KindHolds
	case KindTransactions:
		return s.placeOfTransaction(h.Tenant, cmd)
	}
	return 0, h.Kind
}

// partitionOf returns the partition of an account.
func (s *Service) partitionOf(tenant uint16, name []byte) uint16 {
	return partitionOf(s.tenantHash(tenant), nameHash(name), uint16(len(s.parts)))
}

// begin lets the partition decide a piece. Only the caller of route may wait for a
// queue: a loop must not.
func (p *piece) begin(wait bool) {
	switch {
	case !p.to.here():
		p.forward()
	case p.kind == KindCrossTransactions && p.complete == nil:
		p.lookUpPostings()
	case p.crosses() && p.complete == nil:
		p.lookUp()
	default:
		p.submit(wait)
	}
}

// crosses says whether a piece is one of transfers to other partitions, or of
// transactions with their accounts.
func (p *piece) crosses() bool {
	return p.kind == KindCrossTransfers || p.kind == KindCrossTransfersByName || p.kind == KindCrossCaptures || p.kind == KindCrossTransactions
}

// forward lets a node that has a replica of the partition route the piece.
func (p *piece) forward() {
	if p.b.forwarded { // from where the replica was, a moment ago
		p.to.Log.ApplyLoop().Post(func() { p.failed(fmt.Errorf("%w: no replica of partition %d here", rsm.ErrNoLeader, p.to.number)) })
		return
	}
	data := p.encoded(p.b.header.Kind, p.commands)
	size, under := int64(len(data)), &p.b.s.forwarded
	if n := under.Add(size); n > maxForwarded && n > size {
		under.Add(-size)
		p.to.Log.ApplyLoop().Post(func() { p.failed(fmt.Errorf("%w: too much is on its way to other nodes", rsm.ErrBusy)) })
		return
	}
	p.to.ask(requestRoute, p.b.protocol, data, func(result []byte, at rsm.Position, err error) {
		under.Add(-size)
		p.decided(result, at, err, nil)
	})
}

// payee is what a transfer to another partition says of its payee.
func (p *piece) payee(i int) (h Handle, name []byte) {
	cmd := p.commands[i]
	if p.kind == KindCrossTransfers {
		return Handle(binary.LittleEndian.Uint64(cmd[24:])), nil
	}
	if p.kind == KindCrossCaptures {
		c, _ := parseHold(cmd)
		return 0, c.to
	}
	_, _, to, _, _ := parseTransfer(cmd)
	return 0, to
}

// lookUp makes the commands of a piece of transfers to other partitions complete:
// with what those partitions know of the receiving accounts, which never changes.
// Then it submits the piece.
func (p *piece) lookUp() {
	p.own()
	byPeer := make([][]int, len(p.b.s.parts))
	l := &lookUp{p: p, complete: make([][]byte, len(p.commands))}
	for i := range p.commands {
		h, name := p.payee(i)
		peer := h.Partition()
		if name != nil {
			peer = p.b.s.partitionOf(p.b.header.Tenant, name)
		}
		if byPeer[peer] == nil {
			l.left++
		}
		byPeer[peer] = append(byPeer[peer], i)
	}
	for peer, places := range byPeer {
		if len(places) > 0 {
			l.in(p.b.s.parts[peer], places)
		}
	}
}

// own lets the commands outlive the batch: a partition that was asked may answer when
// another try has ended it.
func (p *piece) own() {
	if p.owned {
		return
	}
	p.owned = true
	size := 0
	for _, c := range p.commands {
		size += len(c)
	}
	all := make([]byte, 0, size)
	for i, c := range p.commands {
		n := len(all)
		all = append(all, c...)
		p.commands[i] = all[n:len(all):len(all)]
	}
}

// lookUp looks for payees in several partitions at once.
type lookUp struct {
	p        *piece
	complete [][]byte // each partition's own places

	mu   sync.Mutex
	left int // partitions
}

// in looks for the payees of commands in one partition: first in what this node's
// replica knows, which may be behind.
func (l *lookUp) in(q *Partition, places []int) {
	if !q.here() {
		l.ask(q, places)
		return
	}
	q.Log.ApplyLoop().Post(func() {
		var missing []int
		for _, i := range places {
			if to, hash := l.p.known(i, q.Machine); to != 0 {
				l.complete[i] = l.p.encode(l.p.commands[i], to, hash)
			} else {
				missing = append(missing, i)
			}
		}
		if len(missing) == 0 {
			l.ended(nil)
			return
		}
		l.ask(q, missing)
	})
}

// known returns what a machine knows of the payee of a command, 0 if that is nothing.
func (p *piece) known(i int, m *Machine) (h Handle, hash uint64) {
	tenant := p.b.header.Tenant
	if int(tenant) >= len(m.tenants) {
		return 0, 0
	}
	h, name := p.payee(i)
	switch {
	case name != nil:
		return m.lookup(tenant, string(name)), 0
	case m.get(tenant, h) == nil:
		return 0, 0
	}
	return h, m.hashOf(tenant, h)
}

// ask looks for the payees of commands in what is certain of a partition.
func (l *lookUp) ask(q *Partition, places []int) {
	about := &query{Subject: aboutHandles, Tenant: l.p.b.header.Tenant}
	if l.p.kind == KindCrossTransfers {
		about.Subject = aboutHashes
	}
	for _, i := range places {
		if h, name := l.p.payee(i); name != nil {
			about.Accounts = append(about.Accounts, AccountID(name))
		} else {
			about.Handles = append(about.Handles, h)
		}
	}
	q.query(about, func(f *finding, err error) {
		if err != nil {
			l.ended(err)
			return
		}
		for k, i := range places {
			hash := uint64(0)
			if f.Hashes != nil {
				hash = f.Hashes[k]
			}
			l.complete[i] = l.p.encode(l.p.commands[i], f.Handles[k], hash)
		}
		l.ended(nil)
	})
}

// ended submits the piece when the last partition has ended. It fails once.
func (l *lookUp) ended(err error) {
	l.mu.Lock()
	l.left--
	left := l.left
	if err != nil {
		l.left = 0
	}
	l.mu.Unlock()
	switch {
	case left < 0:
	case err != nil:
		l.p.failed(err)
	case left == 0:
		l.p.complete = l.complete
		l.p.submit(false)
	}
}

// encode returns a transfer as one between partitions.
func (p *piece) encode(cmd []byte, to Handle, toHash uint64) []byte {
	protocol := p.b.protocol
	if p.kind == KindCrossTransfers {
		out := slices.Clone(cmd)
		if to == 0 {
			toHash = unknownHash(Handle(binary.LittleEndian.Uint64(cmd[24:])))
		}
		out[42] = byte(protocol)
		binary.LittleEndian.PutUint64(out[48:], toHash)
		return out
	}
	if p.kind == KindCrossCaptures {
		c, _ := parseHold(cmd)
		if c.handle, c.protocol = to, protocol; protocol == TwoPhase {
			c.protocol = TCC // what is held needs no lock
		}
		return appendHold(make([]byte, 0, len(cmd)), &c)
	}
	id, from, name, amount, currency := parseTransfer(cmd)
	t := crossTransfer{handle: to, protocol: protocol}
	t.ID, t.From, t.To, t.Amount, t.Currency = id.id(), AccountID(from), AccountID(name), amount, currency
	return appendCrossTransfer(make([]byte, 0, crossByNameBytes+len(from)+len(name)), &t)
}

// encoded returns the batch of a piece.
func (p *piece) encoded(kind Kind, commands [][]byte) []byte {
	if p.whole != nil {
		return p.whole
	}
	h := p.b.header
	h.Kind, h.Count = kind, len(commands)
	size := HeaderBytes
	for _, c := range commands {
		size += len(c)
	}
	data := AppendHeader(make([]byte, 0, size), h)
	for _, c := range commands {
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

// submit proposes a piece to this node's replica.
func (p *piece) submit(wait bool) {
	commands := p.commands
	var waits *gathering
	if p.crosses() {
		commands = p.complete
		waits = p.to.gather(p.b.header.Tenant, commands, p.b.receipt != nil)
	}
	proposal := &rsm.Proposal{Data: p.encoded(p.kind, commands), Done: func(result []byte, at rsm.Position, err error) {
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
	case len(result) != p.count()*p.b.size, !p.spread && len(result) == 1 && Code(result[0]) == UnknownTenant:
		waits.leave()
		p.refused(Code(result[0]))
	default:
		first := slices.Clone(result)
		if waits == nil {
			p.settle(first, first, at, nil)
			return
		}
		waits.wait(slices.Clone(first), func(result []byte) {
			at.Index = max(at.Index, waits.ended)
			p.settle(first, result, at, waits)
		})
	}
}

// failed tries again what may be tried again: nearly every command can be repeated
// without being done twice.
func (p *piece) failed(err error) {
	again := errors.Is(err, rsm.ErrNoLeader) || errors.Is(err, rsm.ErrUnknown) || errors.Is(err, rsm.ErrBusy)
	p.unknown = p.unknown || errors.Is(err, rsm.ErrUnknown)
	again = again && (!p.unknown || p.kind.repeatable()) && !errors.Is(err, rsm.ErrNoMajority)
	p.pause = min(max(2*p.pause, leastRetry), mostRetry)
	p.tries++
	patient := p.b.waits && errors.Is(err, rsm.ErrBusy) || !p.late.Load()
	switch {
	case again && p.b.ctx.Err() == nil && patient:
	case p.answered && !p.unknown:
		p.b.settle(nil, nil, rsm.Position{})
		return
	default:
		p.b.failed(p, err)
		return
	}
	loop := p.to.Log.ApplyLoop()
	first := !p.timed
	p.timed = true
	loop.Post(func() {
		if first {
			loop.After(retryFor, func() { p.late.Store(true) })
		}
		loop.After(p.pause, func() { p.begin(false) })
	})
}

// refused takes the refusal of a whole piece. A tenant that was made in the first
// partition may not be known in another one yet.
func (p *piece) refused(code Code) {
	if code != UnknownTenant || p.spread {
		p.b.failed(p, fmt.Errorf("wallet: a batch of %v was refused: %v", p.kind, code))
		return
	}
	p.spread = true
	p.b.s.spreadTenants(p.to, func(err error) {
		if err != nil {
			p.b.failed(p, err)
			return
		}
		p.begin(false)
	})
}

// settle takes the results of a piece, and tries some of its commands again. At
// first, locked accounts may have been met.
func (p *piece) settle(first, result []byte, at rsm.Position, waited *gathering) {
	if again := p.again(first, result); again != nil && again.tries < lockedTries && p.b.ctx.Err() == nil {
		p.b.mu.Lock()
		p.b.left++ // its results come over these
		p.b.mu.Unlock()
		var pause time.Duration
		if again.tries > p.tries {
			pause = min(time.Duration(again.tries)*lockedPause, lockedLonger)
			pause += time.Duration(p.to.random() % uint64(pause))
		}
		loop := p.to.Log.ApplyLoop()
		loop.Post(func() { loop.After(pause, func() { again.begin(false) }) })
	} else if p.unknown && p.b.size == 1 && slices.ContainsFunc(result, forgets) {
		p.b.failed(p, fmt.Errorf("%w: an earlier try may be decided yet", rsm.ErrUnknown))
		return
	}
	p.note(result, at.Index, waited)
	p.b.settle(p.places, result, at)
}

// forgets says that a result is a refusal that leaves no trace: the same command may
// be applied later.
func forgets(result byte) bool {
	return Code(result) == AccountLocked || Code(result) == TooManyInFlight
}

// again returns a piece of the transfers to be tried again, nil if there are none:
// those that met locked accounts, which were refused without a trace, and those
// whose end was not seen, unless another node asks, which does so again.
func (p *piece) again(first, result []byte) *piece {
	if p.b.size != 1 || p.whole != nil {
		return nil
	}
	patient := !p.b.forwarded && p.pendings+1 < pendingTries
	l := &piece{b: p.b, to: p.to, kind: p.kind, owned: p.owned, tries: p.tries, pendings: p.pendings, unknown: p.unknown, answered: true}
	for i := range p.places {
		switch {
		case !p.b.forwarded && Code(first[i]) == AccountLocked:
			l.tries = p.tries + 1
		case patient && Result(result[i]).Code() == Pending:
			l.pendings = p.pendings + 1
		default:
			continue
		}
		l.commands, l.places = append(l.commands, p.commands[i]), append(l.places, p.places[i])
	}
	if len(l.commands) == 0 {
		return nil
	}
	return l
}

// settle takes the results of a piece.
func (b *routed) settle(places []int, result []byte, at rsm.Position) {
	b.mu.Lock()
	b.some = true
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
	if (p.unknown || b.unknown) && !errors.Is(err, rsm.ErrUnknown) {
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
	if err != nil && b.some && !errors.Is(err, rsm.ErrFailed) && !errors.Is(err, rsm.ErrUnknown) {
		err = fmt.Errorf("%w: not all of a batch was decided: %w", rsm.ErrUnknown, err)
	}
	if err != nil {
		result = nil
	}
	b.done(result, at, err)
}
