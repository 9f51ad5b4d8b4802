package rsmraft

import (
	"sync/atomic"
	"time"
)

// progressInterval is how often a long recovery says how far it is.
const progressInterval = 2 * time.Second

// progress says how far a recovery is, so that an operator sees how long it takes.
type progress struct {
	h     *Host
	start time.Duration
	last  time.Duration // it was said
}

// due says whether it is time to say it again, and how much went by.
func (p *progress) due() (elapsed time.Duration, due bool) {
	now := p.h.runtime.Elapsed()
	if now-p.last < progressInterval {
		return 0, false
	}
	p.last = now
	return (now - p.start).Round(time.Millisecond), true
}

// verified is called with how many bytes of the log were verified.
func (p *progress) verified(done, of int64) {
	if elapsed, due := p.due(); due {
		p.h.options.Logger.Info("rsmraft: verifying the log", "dir", p.h.dir, "bytes", done, "of_bytes", of, "elapsed", elapsed)
	}
}

// recoveryProgress is the replay of what the log held when the host was opened.
type recoveryProgress struct {
	progress
	first, end uint64 // indexes
	done       bool
	took       atomic.Int64 // nanoseconds; 0 until it is done
	batches    atomic.Uint64
}

func (r *recoveryProgress) init(g *Group) {
	r.progress = progress{h: g.host, start: g.host.opened, last: g.host.runtime.Elapsed()}
	r.first, r.end = uint64(g.log.start.Index), g.log.lastIndex()
}

// applied is called with the index up to which entries are applied.
func (r *recoveryProgress) applied(g *Group, index uint64) {
	if r.done {
		return
	}
	if index < r.end {
		if elapsed, due := r.due(); due {
			r.h.options.Logger.Info("rsmraft: replaying the log", "group", g.id, "index", index, "last_index", r.end, "elapsed", elapsed)
		}
		return
	}
	r.done = true
	took, batches := r.h.runtime.Elapsed()-r.start, g.replica.Metrics().Batches
	r.took.Store(int64(took))
	r.batches.Store(batches)
	r.h.options.Logger.Info("rsmraft: recovered", "group", g.id, "snapshot_index", r.first, "last_index", r.end,
		"batches", batches, "duration", took.Round(time.Millisecond))
}
