package rsmraft

import (
	"math/rand/v2"
	"sync"
	"time"

	"maru.example/rsm"
)

// Runtime is the real [rsm.Runtime]: a loop is a goroutine.
type Runtime struct {
	start time.Time

	mu     sync.Mutex
	loops  []*loop
	closed bool
}

var _ rsm.Runtime = (*Runtime)(nil)

// NewRuntime returns a runtime without loops.
func NewRuntime() *Runtime { return &Runtime{start: time.Now()} }

// NewLoop starts a loop; it ends with Close.
func (r *Runtime) NewLoop(string) rsm.Loop {
	l := &loop{wake: make(chan struct{}, 1), done: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		panic("rsmraft: a loop of a closed runtime")
	}
	r.loops = append(r.loops, l)
	go l.run()
	return l
}

// Now returns the wall clock's time.
func (r *Runtime) Now() time.Time { return time.Now() }

// Elapsed returns the time since the runtime was made.
func (r *Runtime) Elapsed() time.Duration { return time.Since(r.start) }

// Rand returns random bits.
func (r *Runtime) Rand() uint64 { return rand.Uint64() }

// Close ends the loops, each after what it has to run now; what is posted later
// is dropped. It waits for all loops.
func (r *Runtime) Close() {
	r.mu.Lock()
	r.closed = true
	loops := r.loops
	r.mu.Unlock()
	for _, l := range loops {
		l.close()
	}
	for _, l := range loops {
		<-l.done
	}
}

// loop is a goroutine that runs functions.
type loop struct {
	wake chan struct{} // has a token when there is something to do
	done chan struct{}

	mu     sync.Mutex
	queue  []func()
	spare  []func()
	closed bool
}

// Post implements rsm.Loop.
func (l *loop) Post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.queue = append(l.queue, f)
	if len(l.queue) == 1 {
		l.signal()
	}
}

func (l *loop) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // there is a token
	}
}

// After implements rsm.Loop.
func (l *loop) After(d time.Duration, f func()) (cancel func()) {
	canceled := false // the loop's
	t := time.AfterFunc(d, func() {
		l.Post(func() {
			if !canceled {
				f()
			}
		})
	})
	return func() {
		canceled = true
		t.Stop()
	}
}

func (l *loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.signal()
}

func (l *loop) run() {
	defer close(l.done)
	for range l.wake {
		for {
			l.mu.Lock()
			work, closed := l.queue, l.closed
			l.queue = l.spare[:0]
			l.mu.Unlock()
			if len(work) == 0 {
				l.spare = work
				if closed {
					return
				}
				break
			}
			for i, f := range work {
				work[i] = nil
				f()
			}
			l.spare = work
		}
	}
}
