package main

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	followInterval = 100 * time.Millisecond // how often replicas and load are looked at
	// busyBytes of log a second, of all groups, is when the followers hold back: some
	// 10,000 transfers.
	busyBytes = 1 << 20
	// quietIntervals without that is when they do not any more.
	quietIntervals = 10
)

// follower takes up, at its own pace, what this node's replicas decide.
type follower interface {
	// follow begins to, with a replica that has come.
	follow(partition uint16) error
	// leave ends it, as the replica has gone.
	leave(partition uint16)
	// tend is called each followInterval, and must not wait.
	tend()
}

// followers looks after all that follow this node's replicas.
type followers struct {
	node   *node
	all    []follower
	busy   atomic.Bool // the wallet has much to do
	short  atomic.Bool // the disk gets full
	cancel context.CancelFunc
	ended  chan struct{}
}

// start looks after them until close.
func (f *followers) start() {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel, f.ended = cancel, make(chan struct{})
	go f.run(ctx)
}

// close ends that. The followers go on with the replicas that there are.
func (f *followers) close() {
	if f.cancel != nil {
		f.cancel()
		<-f.ended
	}
}

func (f *followers) run(ctx context.Context) {
	defer close(f.ended)
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	quiet := quietIntervals
	followed := make([]map[uint16]bool, len(f.all))
	for i := range followed {
		followed[i] = map[uint16]bool{}
	}
	written := f.node.host.Load().Metrics().Log.Bytes
	for {
		for i, one := range f.all {
			f.look(ctx, one, followed[i])
			one.tend()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := f.node.host.Load().Metrics()
		if now.Log.Bytes-written > busyBytes*uint64(followInterval)/uint64(time.Second) {
			quiet = 0
		} else if quiet++; quiet > quietIntervals { // a disk that stalls is no rest
			quiet = quietIntervals
		}
		f.busy.Store(quiet < quietIntervals)
		f.short.Store(f.node.reserve > 0 && now.FreeBytes < 2*f.node.reserve)
		written = now.Log.Bytes
	}
}

// look tells a follower which replicas have come, and which have gone.
func (f *followers) look(ctx context.Context, one follower, followed map[uint16]bool) {
	for i, l := range f.node.logs {
		p := uint16(i)
		_, err := l.Replica()
		switch here := err == nil; {
		case here && !followed[p]:
			if err := one.follow(p); err != nil {
				f.node.logger.ErrorContext(ctx, "what a partition decides is not taken up here", "partition", p, "error", err)
			}
		case !here && followed[p]:
			one.leave(p)
		}
		followed[p] = err == nil
	}
}
