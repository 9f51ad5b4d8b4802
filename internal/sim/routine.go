package sim

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"time"
)

// Routine is a function that waits, as a client does: it runs as part of events,
// and events go on while it waits. Its methods are for that function alone.
type Routine struct {
	world *World
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
}

// stopped unwinds a routine of a world that has ended.
type stopped struct{}

// Go runs f as a routine, from the next event on.
func (w *World) Go(f func(r *Routine)) {
	r := &Routine{world: w}
	r.next, r.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			switch e := recover().(type) {
			case nil, stopped:
			case runtime.Error:
				panic(fmt.Sprintf("%v\n%s", e, debug.Stack())) // the stack of the one who resumes is another
			default:
				panic(e)
			}
		}()
		r.yield = yield
		f(r)
	})
	w.routines = append(w.routines, r)
	w.At(0, r.resume)
}

func (r *Routine) resume() {
	before := r.world.routine
	r.world.routine = r
	r.next()
	r.world.routine = before
}

// End ends the routines. Nothing is to be run after it.
func (w *World) End() {
	for _, r := range w.routines {
		r.stop()
	}
}

// Running returns the routine that runs, nil if none does.
func (w *World) Running() *Routine { return w.routine }

// Sleep lets time pass.
func (r *Routine) Sleep(d time.Duration) {
	r.world.At(d, r.resume)
	r.pause()
}

func (r *Routine) pause() {
	if !r.yield(struct{}{}) {
		panic(stopped{})
	}
}

// Wait calls start, and returns what end was called with, or an error when it was
// not called within a time; what was started goes on then.
func (r *Routine) Wait(within time.Duration, start func(end func(error))) error {
	var err error
	ended, paused := false, false
	end := func(why error) {
		if ended {
			return
		}
		ended, err = true, why
		if paused {
			r.world.At(0, r.resume)
		}
	}
	r.world.At(within, func() { end(fmt.Errorf("sim: nothing within %v: %w", within, context.DeadlineExceeded)) })
	start(end)
	if !ended {
		paused = true
		r.pause()
	}
	return err
}
