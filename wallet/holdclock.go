package wallet

import (
	"time"

	"maru.example/rsm"
)

// The pace of holdClock.
const (
	// longestTick is how long it waits at the most while there are holds: the clock
	// of the leader, which the machine's time follows, may jump.
	longestTick = time.Minute
	tickAgain   = 200 * time.Millisecond // after a tick that was not committed
)

// holdClock ends holds at their time where nothing else happens: it proposes a command
// that does nothing, whose time lets the machine end them. It works where the
// partition's group leads, on the loop that applies its entries; without holds it does
// nothing. All that it has to know is in the machine.
type holdClock struct {
	p      *Partition
	leads  bool
	epoch  uint64 // of leadership
	posted bool   // set is on its way
	cancel func() // the timer
}

// lead is called when the group begins or ceases to lead here. What a new leader knows
// of the time may be old: a first tick tells.
func (c *holdClock) lead(leads bool) {
	c.epoch++
	c.stop()
	if c.leads = leads; leads {
		if _, some := c.p.Machine.untilExpiry(); some {
			c.tick()
		}
	}
}

// changed is called, within Apply, when another hold may be the next.
func (c *holdClock) changed() {
	if !c.leads || c.posted {
		return
	}
	c.posted = true
	c.p.Log.ApplyLoop().Post(func() {
		c.posted = false
		c.set()
	})
}

// set waits for the next expiry.
func (c *holdClock) set() {
	c.stop()
	left, some := c.p.Machine.untilExpiry()
	if !c.leads || !some {
		return
	}
	c.after(min(time.Duration(left), longestTick), c.tick)
}

func (c *holdClock) stop() {
	if c.cancel != nil {
		c.cancel()
		c.cancel = nil
	}
}

func (c *holdClock) after(d time.Duration, f func()) {
	c.stop()
	c.cancel = c.p.Log.ApplyLoop().After(d, func() {
		c.cancel = nil
		f()
	})
}

// tick proposes that time has passed.
func (c *holdClock) tick() {
	left, some := c.p.Machine.untilExpiry()
	if !some {
		return
	}
	due := millisOf(c.p.Machine.holds.now + left)
	data := appendExpire(AppendHeader(nil, Header{Kind: KindExpire, Count: 1}), due)
	loop, epoch := c.p.Log.ApplyLoop(), c.epoch
	c.p.proposeHere(data, func(_ []byte, _ rsm.Position, err error) {
		loop.Post(func() {
			switch {
			case c.epoch != epoch:
			case err != nil:
				c.after(tickAgain, c.tick)
			default:
				c.set()
			}
		})
	})
}
