// Package sim is a world for simulations: a clock, loops and a network that are
// one queue of events, whose order and faults a seed decides. The same seed gives
// the same run. It is for tests only.
package sim

import (
	"container/heap"
	"encoding/binary"
	"hash"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"maru.example/rsm"
)

// World is a simulation. It is driven by one goroutine.
type World struct {
	Rand   *rand.Rand
	now    time.Duration
	events events
	number uint64
	Steps  uint64 // events that were run
	trace  hash.Hash64

	// How long the event that runs has taken up to here, and how much of that it
	// waited: see Spend.
	ahead, waited time.Duration

	routines []*Routine
	routine  *Routine // that runs
}

// New returns a world at its beginning.
func New(seed uint64) *World {
	return &World{trace: fnv.New64a(), Rand: rand.New(rand.NewPCG(seed, 0x6d617275))} //nolint:gosec // the same every time is the point
}

// Now returns the time since the beginning.
func (w *World) Now() time.Duration { return w.now + w.ahead }

// Note adds to what Trace sums up.
func (w *World) Note(what ...[]byte) {
	var head [16]byte
	binary.LittleEndian.PutUint64(head[:], uint64(w.now))
	binary.LittleEndian.PutUint64(head[8:], w.Steps)
	w.trace.Write(head[:])
	for _, b := range what {
		w.trace.Write(b)
	}
}

// Trace returns a sum over all that was noted, with the time and number of its
// event: two runs with the same sum took the same course.
func (w *World) Trace() uint64 { return w.trace.Sum64() }

// At runs f when d has passed.
func (w *World) At(d time.Duration, f func()) { w.plan(w.Now()+max(d, 0), f) }

func (w *World) plan(at time.Duration, f func()) {
	w.number++
	heap.Push(&w.events, event{at, w.number, f})
}

// Step runs the next event, and says whether there was one.
func (w *World) Step() bool {
	if len(w.events) == 0 {
		return false
	}
	e := heap.Pop(&w.events).(event)
	w.now = e.at
	w.Steps++
	w.ahead, w.waited = 0, 0 // also of what ran before the first event
	e.f()
	w.ahead, w.waited = 0, 0
	return true
}

// Run runs events until done says so, and returns false if it did not within d.
func (w *World) Run(d time.Duration, done func() bool) bool {
	for end := w.now + d; !done(); {
		if len(w.events) == 0 || w.events[0].at > end {
			w.now = end
			return done()
		}
		w.Step()
	}
	return true
}

// Between returns a random duration.
func (w *World) Between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(w.Rand.Int64N(int64(most-least)))
}

// Logger returns a logger that writes with the world's time.
func (w *World) Logger(to io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Duration("at", w.Now())
		}
		return a
	}}))
}

// Chance is true with a probability.
func (w *World) Chance(p float64) bool { return w.Rand.Float64() < p }

// event is something that happens at a time; of several at one time, in the order
// in which they were planned.
type event struct {
	at     time.Duration
	number uint64
	f      func()
}

type events []event

func (e *events) Len() int { return len(*e) }
func (e *events) Less(i, j int) bool {
	a, b := &(*e)[i], &(*e)[j]
	return a.at < b.at || a.at == b.at && a.number < b.number
}
func (e *events) Swap(i, j int) { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }
func (e *events) Push(x any)    { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return last
}

// Process is the life of a program: what it posted dies with it.
type Process struct {
	world  *World
	dead   bool
	paused bool
	held   []func() // what would have run while it was paused
	come   []func() // messages that came meanwhile
	wills  []func() // what happens when it dies
	// Skew is how far its wall clock is off.
	Skew time.Duration
	// Delay returns how long a function that was posted to a loop waits; default:
	// up to 50 µs.
	Delay func(loop string) time.Duration
	// Cores are what its loops run on; nil: as many as there are loops.
	Cores *Cores
}

var _ rsm.Runtime = (*Process)(nil)

// Start starts a process.
func (w *World) Start() *Process { return &Process{world: w} }

// Kill ends the process at once.
func (p *Process) Kill() {
	p.dead = true
	for _, f := range p.wills {
		p.world.At(0, f)
	}
	p.wills, p.held, p.come = nil, nil, nil
}

// AtEnd runs f when the process has died, as an event of its own.
func (p *Process) AtEnd(f func()) { p.wills = append(p.wills, f) }

// Pause stops the process, as SIGSTOP does: what happens to it waits, but its
// clock goes on.
func (p *Process) Pause() { p.paused = true }

// Resume lets a paused process go on with what has waited.
func (p *Process) Resume() {
	held, come := p.held, p.come
	p.paused, p.held, p.come = false, nil, nil
	for _, f := range held {
		p.world.At(0, func() { p.Run(f) })
	}
	read := p.world.Between(0, 20*time.Millisecond) // by whatever reads from connections
	for _, f := range come {
		p.world.At(read, func() { p.receive(f) })
	}
}

// receive runs f, which takes a message.
func (p *Process) receive(f func()) {
	if p.paused {
		p.come = append(p.come, f)
		return
	}
	p.Run(f)
}

// Run runs f as a part of the process: now, or when it goes on, or never.
func (p *Process) Run(f func()) {
	switch {
	case p.dead:
	case p.paused:
		p.held = append(p.held, f)
	default:
		f()
	}
}

// Dead says that it was killed.
func (p *Process) Dead() bool { return p.dead }

// NewLoop implements rsm.Runtime.
func (p *Process) NewLoop(name string) rsm.Loop { return &loop{process: p, name: name} }

// Now implements rsm.Runtime.
func (p *Process) Now() time.Time { return time.Unix(1_700_000_000, 0).Add(p.world.Now() + p.Skew) }

// Elapsed implements rsm.Runtime.
func (p *Process) Elapsed() time.Duration { return p.world.Now() }

// Rand implements rsm.Runtime.
func (p *Process) Rand() uint64 { return p.world.Rand.Uint64() }

// loop runs one function an event, in order, between those of other loops.
type loop struct {
	process *Process
	name    string
	queue   []func()
	planned bool
	until   time.Duration // the last function took, or takes
}

// Post implements rsm.Loop.
func (l *loop) Post(f func()) {
	if w := l.process.world; w.ahead > 0 {
		w.At(0, func() { l.Post(f) })
		return
	}
	l.queue = append(l.queue, f)
	l.plan()
}

func (l *loop) plan() {
	if l.planned || len(l.queue) == 0 {
		return
	}
	l.planned = true
	w := l.process.world
	d := w.Between(0, 50*time.Microsecond)
	if l.process.Delay != nil {
		d = l.process.Delay(l.name)
	}
	w.plan(max(w.Now()+d, l.until), func() { l.process.Run(l.ready) })
}

// ready runs the next function when there is a processor for it.
func (l *loop) ready() {
	if l.process.Cores == nil {
		l.step()
		return
	}
	l.process.Cores.run(func() { l.process.Run(l.step) })
}

func (l *loop) step() {
	l.planned = false
	f := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	f()
	l.until = l.process.world.Now()
	if !l.process.dead {
		l.plan()
	}
}

// After implements rsm.Loop.
func (l *loop) After(d time.Duration, f func()) (cancel func()) {
	canceled := false
	l.process.world.At(d, func() {
		l.process.Run(func() {
			l.Post(func() {
				if !canceled {
					f()
				}
			})
		})
	})
	return func() { canceled = true }
}
