package wallet

import (
	"cmp"
	"slices"
	"time"

	"maru.example/rsm"
)

// The coordinator's pace.
const (
	messagesUnderWay = 4 // batches of messages to one partition at a time
	leastBackoff     = 20 * time.Millisecond
	mostBackoff      = 2 * time.Second
	// cancelAfter is the default of Partition.CancelAfter.
	cancelAfter = time.Minute
)

// coordinator brings the transfers of a partition to other ones to their end. It
// works where the partition's group leads, and on the loop that applies its
// entries. All that it has to know is in the machine's phase status table: a new
// leader begins with that.
type coordinator struct {
	p     *Partition
	all   []*Partition
	leads bool
	epoch uint64 // of leadership: answers to an earlier one are ignored
	links []link // by the number of the receiving partition
}

// link is the coordinator's side of the transfers to one partition.
type link struct {
	due     []uint64 // numbers whose next message is to be sent
	posted  bool     // send is on its way
	flying  int      // batches sent and not answered
	pausing bool     // until a try again
	backoff time.Duration
	away    time.Duration // how long the partition has been out of reach
}

// lead is called when the group begins or ceases to lead here.
func (c *coordinator) lead(leads bool) {
	c.leads = leads
	c.epoch++
	c.links = make([]link, len(c.all))
	if !leads {
		return
	}
	for peer := range c.links {
		c.scan(uint16(peer))
	}
}

// scan takes up all that is due to a partition.
func (c *coordinator) scan(peer uint16) {
	for cursor := uint64(0); ; {
		var found []message
		found, cursor = c.p.Machine.due(nil, peer, cursor, MaxBatch)
		if len(found) == 0 {
			return
		}
		for _, v := range found {
			c.due(peer, v.seq)
		}
	}
}

// due is called, within Apply too, when a transfer has another message to be sent.
func (c *coordinator) due(peer uint16, seq uint64) {
	if !c.leads {
		return
	}
	l := &c.links[peer]
	l.due = append(l.due, seq)
	c.post(peer)
}

func (c *coordinator) post(peer uint16) {
	l := &c.links[peer]
	if l.posted || l.pausing {
		return
	}
	l.posted = true
	epoch := c.epoch
	c.p.Log.ApplyLoop().Post(func() {
		if c.epoch == epoch {
			c.links[peer].posted = false
			c.send(peer)
		}
	})
}

// send proposes what is due to a partition's group. While batches are under way
// it waits for more to come together.
func (c *coordinator) send(peer uint16) {
	l := &c.links[peer]
	for len(l.due) > 0 && !l.pausing && (l.flying == 0 || l.flying < messagesUnderWay && len(l.due) >= MaxBatch/4) {
		n := min(len(l.due), MaxBatch)
		messages := make([]message, 0, n)
		for _, seq := range l.due[:n] {
			if v, ok := c.p.Machine.message(peer, seq); ok {
				messages = append(messages, v)
			}
		}
		l.due = l.due[:copy(l.due, l.due[n:])]
		if len(messages) > 0 {
			c.ask(peer, messages)
		}
	}
}

// ask proposes messages to a partition's group.
func (c *coordinator) ask(peer uint16, messages []message) {
	from := c.p.Machine.options.Partition
	data := AppendHeader(make([]byte, 0, HeaderBytes+messagesPrefix+requestBytes*len(messages)), Header{Kind: KindParticipate, Count: len(messages)})
	data = appendMessages(data, from, peer, c.p.Machine.low(peer))
	for i := range messages {
		data = appendMessage(data, &messages[i])
	}
	epoch := c.epoch
	c.links[peer].flying++
	c.propose(c.all[peer], data, func(codes []byte, at rsm.Index, err error) {
		if c.epoch != epoch {
			return
		}
		if err != nil || len(codes) != len(messages) {
			c.later(peer, messages)
			return
		}
		c.links[peer].backoff, c.links[peer].away = 0, 0
		c.tell(peer, messages, codes, at)
	})
}

// tell proposes the answers of a partition, of an entry of its log, to the own group.
func (c *coordinator) tell(peer uint16, messages []message, codes []byte, at rsm.Index) {
	answers := make([]answer, 0, len(messages))
	for i, v := range messages {
		if a := (answer{v.action, Code(codes[i]), v.seq}); a.valid() {
			answers = append(answers, a)
		}
	}
	c.p.tookPart(peer, answers, at)
	if len(answers) == 0 {
		c.landed(peer)
		return
	}
	c.decide(peer, answers, func() { c.later(peer, messages) })
}

// decide proposes answers to the own group; the Apply of them says what is due next.
func (c *coordinator) decide(peer uint16, answers []answer, again func()) {
	data := AppendHeader(make([]byte, 0, HeaderBytes+answersPrefix+answerBytes*len(answers)), Header{Kind: KindPhases, Count: len(answers)})
	data = appendAnswers(data, c.p.Machine.options.Partition, peer)
	for _, a := range answers {
		data = appendAnswer(data, a)
	}
	epoch := c.epoch
	c.propose(c.p, data, func(codes []byte, _ rsm.Index, err error) {
		switch {
		case c.epoch != epoch:
		case err != nil || len(codes) != len(answers):
			again()
		default:
			c.landed(peer)
		}
	})
}

// landed ends a batch that was under way.
func (c *coordinator) landed(peer uint16) {
	c.links[peer].flying--
	c.post(peer)
}

// later sends messages again after a while: longer each time, and not all at once.
func (c *coordinator) later(peer uint16, messages []message) {
	l := &c.links[peer]
	l.flying--
	for _, v := range messages {
		l.due = append(l.due, v.seq)
	}
	if l.pausing {
		return
	}
	l.pausing = true
	l.backoff = min(max(2*l.backoff, leastBackoff), mostBackoff)
	pause := l.backoff/2 + time.Duration(c.p.random()%uint64(l.backoff))/2
	l.away += pause
	epoch := c.epoch
	c.p.Log.ApplyLoop().After(pause, func() {
		if c.epoch != epoch {
			return
		}
		l := &c.links[peer]
		l.pausing = false
		if l.away >= cmp.Or(c.p.CancelAfter, cancelAfter) {
			l.away = 0
			c.giveUp(peer)
		}
		c.post(peer)
	})
}

// giveUp cancels the transfers to a partition out of reach that it may not have
// agreed to: the payers get their money back.
func (c *coordinator) giveUp(peer uint16) {
	l := &c.links[peer]
	var answers []answer
	slices.Sort(l.due)
	for _, seq := range slices.Compact(l.due) {
		v, ok := c.p.Machine.message(peer, seq)
		if ok && (v.action == actTry || v.action == actPrepare || v.action == actTryLegs) && len(answers) < MaxBatch {
			answers = append(answers, answer{actGiveUp, Applied, seq})
		}
	}
	if len(answers) > 0 {
		l.flying++
		c.decide(peer, answers, func() { c.landed(peer) })
	}
}

// propose commits data in a partition's group and calls done on this
// coordinator's loop.
func (c *coordinator) propose(to *Partition, data []byte, done func(codes []byte, at rsm.Index, err error)) {
	loop := c.p.Log.ApplyLoop()
	propose := to.propose
	if to == c.p {
		propose = to.proposeHere
	}
	propose(data, func(result []byte, at rsm.Position, err error) {
		codes := slices.Clone(result)
		loop.Post(func() { done(codes, at.Index, err) })
	})
}
