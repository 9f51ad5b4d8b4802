package rsm

import "time"

// A Loop runs functions one after the other. What belongs to a loop is touched
// by its functions alone and needs no locks.
//
// In a program a loop is a goroutine. In a simulation all loops are one queue of
// events, on virtual time and in an order that a seed decides: code that uses
// nothing else to run, wait and tell the time behaves the same there.
type Loop interface {
	// Post runs f after what was posted before. It does not wait, and may be
	// called from anywhere.
	Post(f func())
	// After posts f when d has passed. It is called, as is cancel, by functions
	// of this loop; after cancel f does not begin.
	After(d time.Duration, f func()) (cancel func())
}

// A Runtime is what a replicated log needs of the world beside disk and network.
type Runtime interface {
	// NewLoop returns a loop. Its name is for people.
	NewLoop(name string) Loop
	// Now returns the wall clock's time, which may jump.
	Now() time.Time
	// Elapsed returns the time since some fixed moment, which never jumps.
	Elapsed() time.Duration
	// Rand returns random bits.
	Rand() uint64
}
