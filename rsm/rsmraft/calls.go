package rsmraft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"maru.example/rsm"
)

// A node that has no replica of a group asks one that has: with requests of the
// system above, which Options.Serve answers. See docs/format/raft.md.
const (
	callHead  = 8
	replyHead = 24
	// callPatience is how long an answer is waited for: longer than an election.
	callPatience = 5 * time.Second
)

// Reply is what another node answered.
type Reply struct {
	Answer []byte
	Leader NodeID        // of the group, as that node knows it; 0: none
	Took   time.Duration // from the request to the answer
}

// Serve does what another node asks for, and calls reply once. It must not wait.
// A request may come twice.
type Serve func(from NodeID, group GroupID, request []byte, reply func(answer []byte, err error))

// Call sends a request about a group to another node, whose Options.Serve answers
// it, and calls done once, on any loop. With rsm.ErrUnknown the request
// may have been served, with any other error it was not, or had no effect, as the
// one who serves says. The request must not be changed any more.
func (h *Host) Call(to NodeID, group GroupID, request []byte, done func(Reply, error)) {
	if h.isClosed() {
		done(Reply{}, rsm.ErrClosed)
		return
	}
	h.calls.loop.Post(func() { h.calls.call(to, group, request, done) })
}

// caller holds the requests of a host that have no answer yet. All but reply is
// its loop's.
type caller struct {
	h      *Host
	loop   rsm.Loop
	number uint64
	sent   map[uint64]*request
	err    error // of a host that failed or was closed
}

// request is one that waits for its answer.
type request struct {
	to     NodeID
	began  time.Duration
	done   func(Reply, error)
	cancel func() // the end of the patience
}

func (c *caller) init(h *Host) {
	c.h, c.loop, c.sent = h, h.runtime.NewLoop("calls"), map[uint64]*request{}
	c.number = h.runtime.Rand() // so that answers to a process before this one are not taken for ours
}

func (c *caller) call(to NodeID, group GroupID, body []byte, done func(Reply, error)) {
	if c.err != nil {
		done(Reply{}, c.err)
		return
	}
	c.number++
	number := c.number
	head := appendMessageHeader(make([]byte, 0, messageHeaderBytes+callHead), messageCall, group)
	head = binary.LittleEndian.AppendUint64(head, number)
	if !c.h.options.Network.Send(to, LaneRaft, [][]byte{head, body}) {
		done(Reply{}, fmt.Errorf("%w: node %d cannot be reached", rsm.ErrNoLeader, to))
		return
	}
	r := &request{to: to, began: c.h.runtime.Elapsed(), done: done}
	r.cancel = c.loop.After(callPatience, func() {
		delete(c.sent, number)
		done(Reply{}, fmt.Errorf("%w: no answer from node %d", rsm.ErrUnknown, to))
	})
	c.sent[number] = r
}

// serve answers a request of another node.
func (h *Host) serve(from NodeID, id GroupID, body []byte) {
	if len(body) < callHead {
		h.options.Logger.Warn("rsmraft: message ignored", "from", from, "group", id, "error", errMessage)
		return
	}
	number := binary.LittleEndian.Uint64(body)
	var once sync.Once
	h.options.Serve(from, id, body[callHead:], func(answer []byte, err error) {
		once.Do(func() { h.reply(from, id, number, answer, err) })
	})
}

func (h *Host) reply(to NodeID, id GroupID, number uint64, answer []byte, err error) {
	var leader NodeID
	if g := h.Group(id); g != nil {
		leader = g.Status().Leader
	}
	b := appendMessageHeader(make([]byte, 0, messageHeaderBytes+replyHead+len(answer)), messageReply, id)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint64(b, uint64(leader))
	b = binary.LittleEndian.AppendUint64(b, uint64(answerOf(err)))
	h.sendAnswer(to, append(b, answer...), answerTries)
}

// answerTries is for how many ticks an answer is tried to be sent to a node that
// cannot be reached: one that was started again asks sooner than it can be told.
const answerTries = 20

// sendAnswer sends an answer, later if it cannot be sent now.
func (h *Host) sendAnswer(to NodeID, message []byte, tries int) {
	if h.options.Network.Send(to, LaneRaft, [][]byte{message}) || tries == 0 || h.isClosed() {
		return
	}
	h.ticks.After(h.options.Tick, func() { h.sendAnswer(to, message, tries-1) })
}

// Lost tells the host that the connection with a node was lost, and with it what was
// sent lately: nobody waits for the answers any more.
func (h *Host) Lost(to NodeID) {
	h.calls.loop.Post(func() { h.calls.lost(to) })
	for _, g := range h.Groups() {
		g.loop.Post(func() { g.forwards.lost(to) })
	}
}

// lost gives up the requests to a node.
func (c *caller) lost(to NodeID) {
	for _, number := range sortedKeys(c.sent) {
		if r := c.sent[number]; r.to == to {
			delete(c.sent, number)
			r.cancel()
			r.done(Reply{}, fmt.Errorf("%w: the connection with node %d was lost", rsm.ErrUnknown, to))
		}
	}
}

// replied takes an answer.
func (c *caller) replied(from NodeID, body []byte) {
	if len(body) < replyHead {
		c.h.options.Logger.Warn("rsmraft: message ignored", "from", from, "error", errMessage)
		return
	}
	number := binary.LittleEndian.Uint64(body)
	r, ok := c.sent[number]
	if !ok || r.to != from {
		return // was given up
	}
	delete(c.sent, number)
	r.cancel()
	code := answerUnknown
	if v := binary.LittleEndian.Uint64(body[16:]); v <= uint64(answerNoMajority) {
		code = answerCode(v)
	}
	r.done(Reply{body[replyHead:], NodeID(binary.LittleEndian.Uint64(body[8:])), c.h.runtime.Elapsed() - r.began}, code.err(from))
}

// fail gives up all requests, and those to come.
func (c *caller) fail(err error) {
	c.err = err
	if !errors.Is(err, rsm.ErrFailed) {
		err = fmt.Errorf("%w: %v", rsm.ErrUnknown, err) //nolint:errorlint // what was sent may be served; of what was not, err says that nothing was done
	}
	for _, number := range sortedKeys(c.sent) {
		r := c.sent[number]
		delete(c.sent, number)
		r.cancel()
		r.done(Reply{}, err)
	}
}
