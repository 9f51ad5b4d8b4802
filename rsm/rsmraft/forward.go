package rsmraft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"maru.example/rsm"
)

// Proposals that come to a replica which does not lead are sent to the leader,
// which answers each message of proposals as a whole. See docs/format/raft.md.
const (
	forwardBytes   = 1 << 20 // a message is closed when it has reached it
	forwardsAtOnce = 16      // messages without an answer
	forwardHead    = 16
	answerHead     = 32
)

// answerCode says how a forwarded message, or a request, went. The numbers are part of the format.
type answerCode uint8

const (
	answerDone     answerCode = 0
	answerNoLeader answerCode = 1 // nothing was done, as with the next two
	answerBusy     answerCode = 2
	answerDiskFull answerCode = 3
	answerUnknown  answerCode = 4 // the outcome is
	// answerNoMajority is answerNoLeader for long.
	answerNoMajority answerCode = 5
)

func answerOf(err error) answerCode {
	switch {
	case err == nil:
		return answerDone
	case errors.Is(err, rsm.ErrUnknown), errors.Is(err, rsm.ErrFailed): // also where it holds an error that alone says that nothing was done
		return answerUnknown
	case errors.Is(err, rsm.ErrBusy):
		return answerBusy
	case errors.Is(err, rsm.ErrDiskFull):
		return answerDiskFull
	case errors.Is(err, rsm.ErrNoMajority):
		return answerNoMajority
	case errors.Is(err, rsm.ErrNoLeader), errors.Is(err, rsm.ErrClosed):
		return answerNoLeader
	}
	return answerUnknown
}

// err returns the error of what was sent to a node.
func (c answerCode) err(to NodeID) error {
	switch c {
	case answerDone:
		return nil
	case answerNoLeader:
		return fmt.Errorf("%w: node %d knows none, or has no replica", rsm.ErrNoLeader, to)
	case answerBusy:
		return fmt.Errorf("%w on node %d", rsm.ErrBusy, to)
	case answerDiskFull:
		return fmt.Errorf("%w on node %d", rsm.ErrDiskFull, to)
	case answerNoMajority:
		return fmt.Errorf("%w, says node %d", rsm.ErrNoMajority, to)
	case answerUnknown:
	}
	return fmt.Errorf("%w: node %d could not say", rsm.ErrUnknown, to)
}

// forwarder sends a group's proposals to its leader. It belongs to the group's loop.
type forwarder struct {
	g      *Group
	number uint64
	sent   map[uint64]*forwarded
	taken  map[takenKey]struct{} // so that a message that comes twice is taken once
	recent []takenKey            // of taken, the oldest first
}

// takenKey names a message of proposals.
type takenKey struct {
	from   NodeID
	number uint64
}

// takenMost is how many messages of proposals are remembered.
const takenMost = 4096

// again says that a message was taken before, and remembers it.
func (f *forwarder) again(k takenKey) bool {
	if _, ok := f.taken[k]; ok {
		return true
	}
	if len(f.recent) == takenMost {
		delete(f.taken, f.recent[0])
		f.recent = f.recent[1:] // append moves it to a new place now and then
	}
	f.taken[k] = struct{}{}
	f.recent = append(f.recent, k)
	return false
}

// forwarded is a message of proposals that waits for its answer.
type forwarded struct {
	to NodeID
	proposedEntry
	ticks int
}

func (f *forwarder) init(g *Group) {
	f.g, f.sent, f.taken = g, map[uint64]*forwarded{}, map[takenKey]struct{}{}
	f.number = g.host.runtime.Rand() // so that answers to a process before this one are not taken for ours
}

// forward sends what waits in the queue to the leader, or refuses it.
func (f *forwarder) forward() {
	g := f.g
	for len(f.sent) < forwardsAtOnce {
		batch, since := g.queue.Take(nil, forwardBytes)
		if len(batch) == 0 {
			return
		}
		for _, p := range batch {
			g.underWay.Add(rsm.RoomOf(p))
		}
		if g.lead == 0 || g.leads {
			g.refuse(batch, g.noLeader())
			continue
		}
		f.number++
		if !g.host.options.Network.Send(g.lead, LaneRaft, f.encode(batch)) {
			g.refuse(batch, fmt.Errorf("%w: node %d, which leads group %d, cannot be reached", rsm.ErrNoLeader, g.lead, g.id))
			continue
		}
		f.sent[f.number] = &forwarded{to: g.lead, proposedEntry: proposedEntry{batch, since}}
	}
}

// encode returns a message of proposals. The data is copied: it belongs to
// whoever proposed it once that was told an outcome.
func (f *forwarder) encode(batch []*rsm.Proposal) [][]byte {
	size := messageHeaderBytes + forwardHead
	for _, p := range batch {
		size += 4 + len(p.Data)
	}
	b := appendMessageHeader(make([]byte, 0, size), messageForward, f.g.id)
	b = binary.LittleEndian.AppendUint64(b, f.number)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(batch)))
	for _, p := range batch {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Data)))
	}
	for _, p := range batch {
		b = append(b, p.Data...)
	}
	return [][]byte{b}
}

// decodeForward returns a message's number and proposals.
func decodeForward(b []byte) (number uint64, data [][]byte, err error) {
	if len(b) < forwardHead {
		return 0, nil, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	number = binary.LittleEndian.Uint64(b)
	data, err = decodeList(b[forwardHead:], binary.LittleEndian.Uint64(b[8:]))
	return number, data, err
}

// decodeList returns count pieces: their lengths come first.
func decodeList(b []byte, count uint64) ([][]byte, error) {
	if count == 0 || count > uint64(len(b))/4 {
		return nil, fmt.Errorf("%w: %d pieces in %d bytes", errMessage, count, len(b))
	}
	lengths, rest := b[:4*count], b[4*count:]
	list := make([][]byte, count)
	for i := range list {
		n := binary.LittleEndian.Uint32(lengths[4*i:])
		if uint64(n) > uint64(len(rest)) {
			return nil, fmt.Errorf("%w: a piece of %d bytes", errMessage, n)
		}
		list[i], rest = rest[:n:n], rest[n:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", errMessage, len(rest))
	}
	return list, nil
}

// take proposes what another node forwarded, all of it or nothing.
func (f *forwarder) take(from NodeID, body []byte) {
	g := f.g
	number, data, err := decodeForward(body)
	if err != nil {
		g.host.options.Logger.Warn("rsmraft: message ignored", "from", from, "group", g.id, "error", err)
		return
	}
	if f.again(takenKey{from, number}) {
		return
	}
	if !g.leads || g.failed != nil {
		f.answer(from, number, nil, rsm.Position{}, g.noLeader())
		return
	}
	a := &gathered{results: make([][]byte, 0, len(data))}
	for i := range data {
		p := &rsm.Proposal{Data: data[i]}
		p.Done = func(result []byte, at rsm.Position, err error) {
			a.results = append(a.results, append([]byte(nil), result...))
			switch {
			case err == nil:
				a.done = true
			case a.err == nil || answerOf(err) == answerUnknown:
				a.err = err
			}
			a.at = at
			if len(a.results) == len(data) {
				if a.err != nil && a.done {
					a.err = fmt.Errorf("%w: not all was done: %w", rsm.ErrUnknown, a.err)
				}
				f.answer(from, number, a.results, a.at, a.err)
			}
		}
		err := g.queue.TryAdd(context.Background(), p)
		if err == nil {
			continue
		}
		if i > 0 { // some are proposed: they may be done
			err = fmt.Errorf("%w: %w", rsm.ErrUnknown, err)
		}
		f.answer(from, number, nil, rsm.Position{}, err)
		return
	}
}

// gathered are the results of a forwarded message, on the apply loop.
type gathered struct {
	results [][]byte
	at      rsm.Position
	done    bool // one of them is
	err     error
}

// answer answers a forwarded message. It may be called on either loop.
func (f *forwarder) answer(to NodeID, number uint64, results [][]byte, at rsm.Position, err error) {
	a := answer{number: number, code: answerOf(err), at: at, results: results}
	if a.code != answerDone {
		a.results = nil
	}
	f.g.host.sendAnswer(to, a.encode(f.g.id), answerTries)
}

// answer is the answer to a message of proposals.
type answer struct {
	number  uint64
	code    answerCode
	at      rsm.Position
	results [][]byte
}

func (a *answer) encode(group GroupID) []byte {
	size := messageHeaderBytes + answerHead
	for _, r := range a.results {
		size += 4 + len(r)
	}
	b := appendMessageHeader(make([]byte, 0, size), messageAnswer, group)
	b = binary.LittleEndian.AppendUint64(b, a.number)
	b = binary.LittleEndian.AppendUint32(b, uint32(a.code))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(a.results)))
	b = binary.LittleEndian.AppendUint64(b, uint64(a.at.Index))
	b = binary.LittleEndian.AppendUint64(b, uint64(a.at.Time))
	for _, r := range a.results {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(r)))
	}
	for _, r := range a.results {
		b = append(b, r...)
	}
	return b
}

// decodeAnswer returns an answer. Its results refer to b. A code that is not known
// stands for an unknown outcome.
func decodeAnswer(b []byte) (answer, error) {
	if len(b) < answerHead {
		return answer{}, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	a := answer{number: binary.LittleEndian.Uint64(b), code: answerUnknown}
	if code := binary.LittleEndian.Uint32(b[8:]); code <= uint32(answerNoMajority) {
		a.code = answerCode(code)
	}
	a.at = rsm.Position{Index: rsm.Index(binary.LittleEndian.Uint64(b[16:])), Time: int64(binary.LittleEndian.Uint64(b[24:]))}
	if a.code != answerDone {
		return a, nil
	}
	var err error
	a.results, err = decodeList(b[answerHead:], uint64(binary.LittleEndian.Uint32(b[12:])))
	return a, err
}

// answered takes the leader's answer.
func (f *forwarder) answered(from NodeID, body []byte) {
	g := f.g
	a, malformed := decodeAnswer(body)
	s, ok := f.sent[a.number]
	if !ok || s.to != from {
		return // was given up
	}
	delete(f.sent, a.number)
	err := a.code.err(from)
	if malformed == nil && err == nil && len(a.results) != len(s.proposals) {
		malformed = fmt.Errorf("%w: %d results for %d proposals", errMessage, len(a.results), len(s.proposals))
	}
	if malformed != nil {
		err = fmt.Errorf("%w: %w", rsm.ErrUnknown, malformed)
	}
	if err != nil {
		g.refuse(s.proposals, err)
	} else {
		g.apply.Post(func() {
			for i, p := range s.proposals {
				g.answered(rsm.RoomOf(p))
				p.Done(a.results[i], a.at, nil)
			}
			g.latency.observe(g.host.runtime.Elapsed()-s.since, len(s.proposals))
		})
	}
	g.work()
}

// forwardPatience is after how many election timeouts an answer is given up.
const forwardPatience = 8

// tick gives up what was not answered: a message or its answer was lost.
func (f *forwarder) tick() {
	for _, number := range sortedKeys(f.sent) {
		s := f.sent[number]
		if s.ticks++; s.ticks > forwardPatience*f.g.host.options.ElectionTicks {
			delete(f.sent, number)
			f.g.refuse(s.proposals, fmt.Errorf("%w: no answer from node %d", rsm.ErrUnknown, s.to))
		}
	}
}

// lost gives up what was sent to a node.
func (f *forwarder) lost(to NodeID) {
	for _, number := range sortedKeys(f.sent) {
		if s := f.sent[number]; s.to == to {
			delete(f.sent, number)
			f.g.refuse(s.proposals, fmt.Errorf("%w: the connection with node %d was lost", rsm.ErrUnknown, to))
		}
	}
	f.g.work()
}

// leaderChanged gives up what the last leader has not answered.
func (f *forwarder) leaderChanged() {
	for _, number := range sortedKeys(f.sent) {
		s := f.sent[number]
		if s.to == f.g.lead {
			continue
		}
		delete(f.sent, number)
		f.g.refuse(s.proposals, fmt.Errorf("%w: node %d does not lead any more", rsm.ErrUnknown, s.to))
	}
	f.g.loop.Post(f.g.work)
}

func (f *forwarder) fail(err error) {
	for _, number := range sortedKeys(f.sent) {
		f.g.refuse(f.sent[number].proposals, err)
	}
	f.sent = map[uint64]*forwarded{}
}
