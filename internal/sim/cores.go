package sim

import "time"

// Cores are processors that one process has for itself, or several share. A function
// that was posted to a loop has one to itself while it runs, for as long as it says
// by World.Spend; if none is free it waits in line.
type Cores struct {
	world *World
	free  int
	line  []func()
	Busy  time.Duration // that all of them worked
}

// NewCores returns so many processors.
func (w *World) NewCores(n int) *Cores { return &Cores{world: w, free: n} }

// Work keeps a processor busy for a time beside what runs now, which does not wait
// for it.
func (c *Cores) Work(d time.Duration) {
	c.world.At(0, func() { c.run(func() { c.world.Spend(d) }) })
}

// run runs f as soon as a processor is free.
func (c *Cores) run(f func()) {
	if c.free == 0 {
		c.line = append(c.line, f)
		return
	}
	c.free--
	f()
	worked := c.world.ahead - c.world.waited
	c.Busy += worked
	c.world.plan(c.world.now+worked, func() {
		c.free++
		if len(c.line) > 0 {
			next := c.line[0]
			c.line[0] = nil
			c.line = c.line[1:]
			c.run(next)
		}
	})
}

// Spend lets what runs now take longer: it goes on, and what it does from here on, it
// does later. By default all that happens takes no time.
func (w *World) Spend(d time.Duration) { w.ahead += d }

// Wait is Spend where the time goes by without a processor, as while a disk writes.
func (w *World) Wait(d time.Duration) {
	w.ahead += d
	w.waited += d
}
