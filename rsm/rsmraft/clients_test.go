package rsmraft_test

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
)

// clients propose and read, one thing after the other each, on nodes at random,
// and keep what they saw.
type clients struct {
	w       *world
	next    int
	events  int64
	all     []*operation
	refused map[string]error
	known   []known
	stopped bool
}

// known is how far the log was known by a time: a client was told of so many commands.
type known struct {
	at       time.Duration
	commands uint64
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

const (
	registers = 5
	unread    = registers
)

func (c *clients) start() {
	for range 8 {
		var step func()
		var o *operation
		step = func() {
			if c.stopped {
				return
			}
			pause := 4 * time.Millisecond
			if o != nil && o.outcome.done && o.err != nil {
				pause = 40 * time.Millisecond
			}
			if o == nil || o.outcome.done || c.w.Chance(0.001) { // or a client that is tired of waiting
				o = c.begin()
			}
			c.w.At(c.w.Between(0, pause), step)
		}
		step()
	}
}

// begin begins an operation on a node at random.
func (c *clients) begin() *operation {
	n := c.w.node(c.w.Rand.IntN(len(c.w.nodes)))
	if n.Process.Dead() || n.host.Group(1) == nil {
		return nil
	}
	if c.w.Chance(0.1) {
		c.readStale(n)
	}
	o := c.operation(n, c.w.Rand.IntN(registers))
	if c.w.Chance(0.3) {
		o.outcome = n.read(1, func(l *rsmtest.List) { o.value = register(l, o.register) })
		c.await(o)
	} else {
		c.write(n, o, 0)
	}
	return o
}

// readStale reads a replica as it is, which has to be no older than it says.
func (c *clients) readStale(n *node) {
	l := n.lists[1]
	n.host.Group(1).StartReadStale(func(age time.Duration, err error) {
		if err != nil {
			return
		}
		since := c.w.Now() - age
		i, _ := slices.BinarySearchFunc(c.known, since, func(k known, t time.Duration) int { return cmp.Compare(k.at, t) })
		if i > 0 && c.known[i-1].commands > uint64(len(l.Batches)) {
			c.w.t.Errorf("%v: node %d said that it was %v old and had %d commands, %d were known at %v",
				c.w.Now(), n.ID, age, len(l.Batches), c.known[i-1].commands, c.known[i-1].at)
		}
	})
}

// burst writes several commands on a node, long and short ones, one after the other,
// without waiting for answers, to a register that nobody reads.
func (c *clients) burst(n *node, count int) {
	if count == 0 || c.stopped || n.Process.Dead() || n.host.Group(1) == nil {
		return
	}
	c.write(n, c.operation(n, unread), c.w.Rand.IntN(2<<10))
	c.w.At(time.Millisecond, func() { c.burst(n, count-1) })
}

func (c *clients) operation(n *node, register int) *operation {
	c.next++
	c.events++
	o := &operation{register: register, called: c.events, node: n.ID, at: c.w.Now()}
	c.all = append(c.all, o)
	return o
}

// write writes a value that is so many bytes longer than it need be.
func (c *clients) write(n *node, o *operation, longer int) {
	o.write = fmt.Sprint(c.next) + strings.Repeat(" ", longer)
	o.outcome = n.propose(1, o.command())
	c.await(o)
}

// await notes the outcome when it is there.
func (c *clients) await(o *operation) {
	o.then(func() {
		c.events++
		o.done, o.ended = c.events, c.w.Now()
		if o.err == nil {
			k := known{c.w.Now(), o.result}
			if n := len(c.known); n > 0 {
				k.commands = max(k.commands, c.known[n-1].commands)
			}
			c.known = append(c.known, k)
		}
		if o.err != nil && !errors.Is(o.err, rsm.ErrUnknown) && !errors.Is(o.err, rsm.ErrFailed) {
			c.refused[o.command()] = o.err
		}
	})
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

// check compares what clients saw with what the nodes have.
func (c *clients) check(length uint64) {
	t := c.w.t
	want := c.w.node(0).lists[1].Batches[:length]
	for i := range len(c.w.nodes) {
		if !slices.Equal(c.w.node(i).lists[1].Batches[:length], want) {
			t.Fatalf("node %d has other commands than node 1", i+1)
		}
	}
	seen := map[string]bool{}
	for _, r := range want {
		if seen[r.Data] && r.Data != "last" {
			t.Errorf("%q is there twice", r.Data)
		}
		if err := c.refused[r.Data]; err != nil {
			t.Errorf("%q was answered %v and is there", r.Data, err)
		}
		seen[r.Data] = true
	}
	var history []porcupine.Operation
	acknowledged, unknown := 0, 0
	for i, o := range c.all {
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
		if o.register == unread {
			continue
		}
		history = append(history, porcupine.Operation{ClientId: i, Input: o, Output: o, Call: o.called, Return: o.done})
	}
	if got := porcupine.CheckOperationsTimeout(model, history, 20*time.Second); got == porcupine.Illegal {
		t.Error("what was read and written is not linearizable")
		c.explain(want)
	} else if got == porcupine.Unknown {
		t.Log("whether what was read and written is linearizable was not found out in time")
	}
	t.Logf("%d operations, %d writes acknowledged, %d writes unknown and done; %d events, %d messages", len(c.all), acknowledged, unknown, c.w.Steps, c.w.net.Messages)
	if acknowledged == 0 {
		t.Error("nothing was acknowledged")
	}
}

// explain says which reads were too old, by the place of their values in the log.
func (c *clients) explain(log []rsmtest.Record) {
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
	for _, read := range c.all {
		if read.write != "" || !read.outcome.done || read.err != nil {
			continue
		}
		for _, o := range c.all {
			if o.register == read.register && o.outcome.done && o.err == nil && o.done < read.called && place(o) > place(read) {
				c.w.t.Errorf("%v: a read on node %d saw place %d of %d in the log, %v after operation %d (node %d, %v) had seen or written place %d",
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
