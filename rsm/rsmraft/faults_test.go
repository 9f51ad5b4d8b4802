package rsmraft_test

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
)

var (
	seeds = flag.Int("seeds", 20, "how many seeds TestFaults tries")
	first = flag.Uint64("seed", 1, "the first of them")
)

// TestFaults runs clusters in a world of faults, and then without any: what was
// acknowledged is there once, in the order of the answers, on every node; what was
// refused is not there; and what clients read and wrote is linearizable.
func TestFaults(t *testing.T) {
	for i := range *seeds {
		seed := *first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { faults(t, seed, 20*time.Second) })
	}
}

// TestSameSeedSameCourse runs the same seed twice: every message is the same, at
// the same time.
func TestSameSeedSameCourse(t *testing.T) {
	if a, b := faults(t, *first, 5*time.Second), faults(t, *first, 5*time.Second); a != b {
		t.Errorf("the traces are %x and %x", a, b)
	}
	if a, b := faults(t, 1, time.Second), faults(t, 2, time.Second); a == b {
		t.Errorf("two seeds have the trace %x", a)
	}
}

// faults runs a world of faults for some time, and returns its trace.
func faults(t *testing.T, seed uint64, d time.Duration) uint64 {
	w := newWorld(t, seed, 3+2*int(seed%2))
	w.grow(1)
	w.net.Drop, w.net.Duplicate, w.net.Reorder = 0.02, 0.02, 0.05
	w.options.SnapshotBytes = 8 << 10
	w.options.CutLog = seed%3 == 0
	h := &clients{w: w, refused: map[string]error{}}
	h.start()
	h.disturb(w.Now() + d)
	w.pass(d)

	w.net.Drop, w.net.Duplicate, w.net.Reorder = 0, 0, 0
	w.net.Mend()
	h.stopped = true
	for i := range len(w.nodes) {
		n := w.node(i)
		n.hang = 0
		n.fs.SetRule(nil)
		n.process.Resume()
		if n.process.Dead() || n.host.Err() != nil {
			n.start()
		}
	}
	var last *outcome
	w.run("a last command", func() bool {
		if l := w.leader(1); l != nil && (last == nil || last.done && last.err != nil) {
			last = l.propose(1, "last")
		}
		return last != nil && last.done && last.err == nil
	})
	w.run("all nodes have it", func() bool {
		for i := range len(w.nodes) {
			if l := w.node(i).lists[1]; l == nil || uint64(len(l.Batches)) < last.result {
				return false
			}
		}
		return true
	})
	h.check(last.result)
	return w.Trace()
}

// clients propose and read, one thing after the other each, on nodes at random,
// and keep what they saw.
type clients struct {
	w       *world
	next    int
	events  int64
	all     []*operation
	refused map[string]error
	stopped bool
}

// operation is a read or a write of one of a few registers: a write is a command
// "register=value", and no two values are the same.
type operation struct {
	*outcome
	register     int
	write        string
	value        string // that was read
	called, done int64
	node         rsmraft.NodeID
	at, ended    time.Duration
}

func (o *operation) command() string { return fmt.Sprintf("%d=%s", o.register, o.write) }

const registers = 5

func (h *clients) start() {
	for range 8 {
		var step func()
		var o *operation
		step = func() {
			if h.stopped {
				return
			}
			if o == nil || o.outcome.done || h.w.Chance(0.001) { // or a client that is tired of waiting
				o = h.begin()
			}
			h.w.At(h.w.Between(0, 4*time.Millisecond), step)
		}
		step()
	}
}

// begin begins an operation on a node at random.
func (h *clients) begin() *operation {
	n := h.w.node(h.w.Rand.IntN(len(h.w.nodes)))
	if n.process.Dead() || n.host.Group(1) == nil {
		return nil
	}
	h.next++
	h.events++
	o := &operation{register: h.w.Rand.IntN(registers), called: h.events, node: n.id, at: h.w.Now()}
	h.all = append(h.all, o)
	if h.w.Chance(0.3) {
		o.outcome = n.read(1, func(l *rsmtest.List) { o.value = register(l, o.register) })
	} else {
		o.write = fmt.Sprint(h.next)
		o.outcome = n.propose(1, o.command())
	}
	o.then(func() {
		h.events++
		o.done, o.ended = h.events, h.w.Now()
		if o.err != nil && !errors.Is(o.err, rsm.ErrUnknown) && !errors.Is(o.err, rsm.ErrFailed) {
			h.refused[o.command()] = o.err
		}
	})
	return o
}

// register returns the value of a register.
func register(l *rsmtest.List, register int) string {
	for _, r := range slices.Backward(l.Batches) {
		if value, ok := strings.CutPrefix(r.Data, fmt.Sprint(register, "=")); ok {
			return value
		}
	}
	return ""
}

// disturb does something to nodes and ways at random until the end.
func (h *clients) disturb(end time.Duration) {
	w := h.w
	w.At(w.Between(0, 600*time.Millisecond), func() {
		if h.stopped || w.Now() >= end {
			return
		}
		for i := range len(w.nodes) {
			if n := w.node(i); !n.process.Dead() && n.host.Err() != nil {
				n.crash() // as a program does whose log failed
				h.restart(n)
			}
		}
		n := w.node(w.Rand.IntN(len(w.nodes)))
		if n.process.Dead() {
			n = w.leader(1)
		}
		if n != nil {
			h.hurt(n)
		}
		h.disturb(end)
	})
}

func (h *clients) hurt(n *node) {
	w := h.w
	switch w.Rand.IntN(9) {
	case 0, 1:
		n.crash()
		h.restart(n)
	case 2:
		n.tear(1 + w.Rand.IntN(40))
		h.restart(n)
	case 3:
		w.net.Cut(n.id, w.node(w.Rand.IntN(len(w.nodes))).id, true)
	case 4:
		n.isolate(true)
	case 5:
		w.net.Mend()
	case 6:
		n.process.Skew = w.Between(-time.Hour, time.Hour)
	case 7:
		n.hang = w.Between(0, 3*time.Second)
		w.At(w.Between(0, 3*time.Second), func() { n.hang = 0 })
	case 8:
		p := n.process
		p.Pause()
		w.At(w.Between(0, 3*time.Second), p.Resume)
	}
}

// restart starts the node again in a while, if its process is dead by then.
func (h *clients) restart(n *node) {
	h.w.At(h.w.Between(time.Millisecond, 3*time.Second), func() {
		if n.process.Dead() {
			n.start()
		}
	})
}

// check compares what clients saw with what the nodes have.
func (h *clients) check(length uint64) {
	t := h.w.t
	want := h.w.node(0).lists[1].Batches[:length]
	for i := range len(h.w.nodes) {
		if !slices.Equal(h.w.node(i).lists[1].Batches[:length], want) {
			t.Fatalf("node %d has other commands than node 1", i+1)
		}
	}
	seen := map[string]bool{}
	for _, r := range want {
		if seen[r.Data] && r.Data != "last" {
			t.Errorf("%q is there twice", r.Data)
		}
		if err := h.refused[r.Data]; err != nil {
			t.Errorf("%q was answered %v and is there", r.Data, err)
		}
		seen[r.Data] = true
	}
	var history []porcupine.Operation
	acknowledged, unknown := 0, 0
	for i, o := range h.all {
		known := o.outcome.done && o.err == nil
		switch {
		case known && o.result > length:
			continue // it came after the end
		case known && o.write != "":
			acknowledged++
			if want[o.result-1].Data != o.command() {
				t.Errorf("%q was acknowledged at %d and is not there", o.command(), o.result)
			}
		case o.write == "" && !known || o.write != "" && !seen[o.command()]:
			continue // it did nothing, and nobody saw anything
		case !known:
			unknown++
			o.done = math.MaxInt64
		}
		history = append(history, porcupine.Operation{ClientId: i, Input: o, Output: o, Call: o.called, Return: o.done})
	}
	if got := porcupine.CheckOperationsTimeout(model, history, 20*time.Second); got == porcupine.Illegal {
		t.Error("what was read and written is not linearizable")
		h.explain(want)
	} else if got == porcupine.Unknown {
		t.Log("whether what was read and written is linearizable was not found out in time")
	}
	t.Logf("%d operations, %d writes acknowledged, %d writes unknown and done; %d events, %d messages", len(h.all), acknowledged, unknown, h.w.Steps, h.w.net.Messages)
	if acknowledged == 0 {
		t.Error("nothing was acknowledged")
	}
}

// explain says which reads were too old, by the place of their values in the log.
func (h *clients) explain(log []rsmtest.Record) {
	places := map[string]int{}
	for i, r := range log {
		places[r.Data] = i + 1
	}
	place := func(o *operation) int {
		if o.write != "" {
			return places[o.command()]
		}
		return places[fmt.Sprintf("%d=%s", o.register, o.value)]
	}
	for _, read := range h.all {
		if read.write != "" || !read.outcome.done || read.err != nil {
			continue
		}
		for _, o := range h.all {
			if o.register == read.register && o.outcome.done && o.err == nil && o.done < read.called && place(o) > place(read) {
				h.w.t.Errorf("%v: a read on node %d saw place %d of %d in the log, %v after operation %d (node %d, %v) had seen or written place %d",
					read.at, read.node, place(read), read.result, read.at-o.ended, o.called, o.node, o.ended, place(o))
				break
			}
		}
	}
}

// model is that of registers.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		all := make([][]porcupine.Operation, registers)
		for _, o := range history {
			r := o.Input.(*operation).register
			all[r] = append(all[r], o)
		}
		return all
	},
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		if o := input.(*operation); o.write == "" {
			return o.value == state, state
		}
		return true, input.(*operation).write
	},
}
