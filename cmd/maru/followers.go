package main

import (
	"context"
	"errors"
	"sync"
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
	// follow does so with a replica that has come until ctx ends, on a goroutine of the partition's own: because of errGone
	// as the replica has gone, else as the node ends.
	follow(ctx context.Context, partition uint16)
	// tend is called each followInterval, and must not wait.
	tend()
}

// errGone says that a replica has gone from this node.
var errGone = errors.New("the replica has gone")

// perPartition is what a follower knows of the partitions that it follows.
type perPartition[T any] struct {
	mu sync.Mutex
	of map[uint16]*T
}

// begin notes a partition, until end is called.
func (f *perPartition[T]) begin(partition uint16, one *T) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = map[uint16]*T{}
	}
	f.of[partition] = one
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.of, partition)
	}
}

// get returns what is known of a partition, nil if it is not followed.
func (f *perPartition[T]) get(partition uint16) *T {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[partition]
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

// close ends them all, and returns after the last one.
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
	running := make([]map[uint16]*following, len(f.all))
	for i := range running {
		running[i] = map[uint16]*following{}
	}
	defer func() {
		for _, of := range running {
			for _, one := range of {
				<-one.ended
			}
		}
	}()
	written := f.node.host.Load().Metrics().Log.Bytes
	for {
		for i, one := range f.all {
			f.look(ctx, one, running[i])
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

// following is a goroutine on which a follower follows a replica.
type following struct {
	cancel context.CancelCauseFunc
	ended  chan struct{}
}

// look begins to follow the replicas that have come, and ends it with those that have gone.
func (f *followers) look(ctx context.Context, one follower, running map[uint16]*following) {
	for i, l := range f.node.logs {
		p := uint16(i)
		_, err := l.Replica()
		switch at := running[p]; {
		case err == nil && at == nil:
			of, cancel := context.WithCancelCause(ctx)
			begun := &following{cancel, make(chan struct{})}
			running[p] = begun
			go func() {
				defer close(begun.ended)
				one.follow(of, p)
			}()
		case err != nil && at != nil:
			at.cancel(errGone)
			<-at.ended
			delete(running, p)
		}
	}
}
