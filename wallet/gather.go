package wallet

import (
	"slices"

	"maru.example/rsm"
)

// gathering waits until transfers between partitions are finished: this node's
// replica of the paying partition says so when it applies that. It is made before
// the transfers are proposed, so that it misses none. The partition's mutex guards
// it.
type gathering struct {
	p      *Partition
	places []place   // of the transfers
	result []byte    // nil until the first results are there
	left   int       // transfers that are waited for
	ended  rsm.Index // the entry of the partition's log that ended the last of them; 0: none has ended
	traced bool      // where other partitions did their part is to be noted
	done   func(result []byte)

	cancel func() // the end of the patience; the apply loop's
}

// place is where a gathering waits for one transfer.
type place struct {
	of      *gathering
	index   int // of the transfer in the results
	key     waitKey
	next    *place // another that waits for the same transfer
	decided bool
	code    Code
	others  HistoryPositions // entries of other partitions' logs by which these had done their part, as far as that is known here
}

type waitKey struct {
	tenant uint16
	id     TransactionID
}

// gather begins to wait for the transfers of commands; traced: and notes where other partitions did their part.
func (p *Partition) gather(tenant uint16, commands [][]byte, traced bool) *gathering {
	g := &gathering{p: p, places: make([]place, len(commands)), traced: traced}
	p.mu.Lock()
	defer p.mu.Unlock()
	if traced {
		p.traced++
	}
	for i, cmd := range commands {
		k := waitKey{tenant, TransactionID(cmd[:16])}
		g.places[i] = place{of: g, index: i, key: k, next: p.waiting[k]}
		p.waiting[k] = &g.places[i]
	}
	return g
}

// finished tells those who wait for a transfer what was decided. The machine
// calls it within Apply.
func (p *Partition) finished(tenant uint16, id TransactionID, code Code) {
	var complete []*gathering
	p.mu.Lock()
	for at := p.waiting[waitKey{tenant, id}]; at != nil; at = at.next {
		at.decided, at.code = true, code
		at.of.ended = p.Machine.index
		if at.of.result != nil && at.of.fill(at) && at.of.left == 0 {
			complete = append(complete, at.of)
		}
	}
	p.mu.Unlock()
	for _, g := range complete {
		g.end()
	}
}

// tookPart notes for those who wait where a peer did its part for good, by the answers that it gave at an entry of its
// log. It is called where the partition leads, on its loop, before the answers are proposed. Whatever is noted
// stays right, also if they come to nothing and others take their place.
func (p *Partition) tookPart(peer uint16, answers []answer, index rsm.Index) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.traced == 0 || index == 0 {
		return
	}
	out := &p.Machine.crossing.peers[peer].out
	for _, a := range answers {
		if !a.completes() || a.seq < out.low || a.seq >= out.next {
			continue
		}
		f := out.at(a.seq)
		for at := p.waiting[waitKey{f.tenant, f.key.id()}]; at != nil; at = at.next {
			if at.of.traced {
				at.others = append(at.others, HistoryPosition{peer, index})
			}
		}
	}
}

// completes says that with an answer the other partition has done its part for good.
func (a answer) completes() bool {
	return a.code == Applied && (a.action == actConfirm || a.action == actCredit || a.action == actCreditLegs)
}

// fill puts what was decided in the place of a transfer that was Pending, and says
// whether it was.
func (g *gathering) fill(at *place) bool {
	if Result(g.result[at.index]).Code() != Pending {
		return false
	}
	g.result[at.index] = byte(at.code)
	g.left--
	return true
}

// wait calls done with the results as soon as none of them is Pending, or it has
// taken too long.
func (g *gathering) wait(result []byte, done func(result []byte)) {
	g.p.mu.Lock()
	g.result, g.done = result, done
	for i := range result {
		if Result(result[i]).Code() != Pending {
			continue
		}
		if at := &g.places[i]; at.decided {
			result[i] = byte(at.code)
		} else {
			g.left++
		}
	}
	waits := g.left > 0
	g.p.mu.Unlock()
	if !waits {
		g.end()
		return
	}
	g.cancel = g.p.Log.ApplyLoop().After(pendingFor, g.end)
}

// end answers, once.
func (g *gathering) end() {
	g.p.mu.Lock()
	done, result := g.done, slices.Clone(g.result)
	g.done = nil
	g.p.mu.Unlock()
	if done == nil {
		return
	}
	if g.cancel != nil {
		g.cancel()
	}
	g.leave()
	done(result)
}

// leave ends the waiting. A nil gathering waits for nothing.
func (g *gathering) leave() {
	if g == nil {
		return
	}
	g.p.mu.Lock()
	defer g.p.mu.Unlock()
	for i := range g.places {
		g.p.remove(&g.places[i])
	}
	if g.traced {
		g.p.traced--
	}
}

// remove takes a place out of the list of those that wait for its transfer.
func (p *Partition) remove(gone *place) {
	first := p.waiting[gone.key]
	switch {
	case first != gone:
		for at := first; at != nil; at = at.next {
			if at.next == gone {
				at.next = gone.next
			}
		}
	case gone.next != nil:
		p.waiting[gone.key] = gone.next
	default:
		delete(p.waiting, gone.key)
	}
}
