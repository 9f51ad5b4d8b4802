package walletgrpc

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"maru.example/internal/leaders"
	"maru.example/wallet"
)

const (
	// maxFollowed is how many nodes a client has streams to beside the given one.
	maxFollowed = 15
	// followPatience is how long a leader may take to answer anything, or to let a
	// client in, before the node is asked that the client was given.
	followPatience = 2 * time.Second
	// lookEvery is how often a client that is used asks who leads.
	lookEvery = 5 * time.Second
)

// follower keeps a client's streams to the leaders of partitions. One goroutine does
// that. A nil follower has none.
type follower struct {
	client  *Client
	connect func(addr string) (*grpc.ClientConn, error)
	local   bool // all addresses that were given are of this machine
	table   leaders.Table
	streams atomic.Pointer[[]*clientStream] // to the leaders, by partition
	used    atomic.Bool                     // since it was last asked who leads
	wake    chan struct{}                   // of size 1: there is something to be done
	begin   sync.Once
	settled chan struct{} // closed when the first streams are open
	done    chan struct{} // closed when the goroutine has ended
	links   map[string]*link
}

// link is a connection to a node that leads, with its stream.
type link struct {
	conn   *grpc.ClientConn
	stream *clientStream
}

func newFollower(c *Client, connect func(addr string) (*grpc.ClientConn, error), given []string) *follower {
	return &follower{
		client: c, connect: connect, local: !slices.ContainsFunc(given, func(addr string) bool { return !leaders.Local(addr) }),
		wake: make(chan struct{}, 1), settled: make(chan struct{}), done: make(chan struct{}), links: map[string]*link{},
	}
}

// route returns the streams to leaders, by partition; nil where the stream to the
// given node is to be used.
func (f *follower) route() []*clientStream {
	if f == nil {
		return nil
	}
	if !f.used.Load() {
		f.used.Store(true)
	}
	if streams := f.streams.Load(); streams != nil {
		return *streams
	}
	return nil
}

// heard takes what the given node said when it opened a stream. Where there is no
// cluster nobody is followed.
func (f *follower) heard(header metadata.MD) {
	if f == nil || len(header.Get(clusterKey)) == 0 {
		return
	}
	f.learn(header)
	f.begin.Do(func() { go f.run() })
	f.rouse()
}

func (f *follower) rouse() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *follower) learn(header metadata.MD) {
	var notices []*leaders.Notice
	for _, text := range header.Get(leaderKey) {
		n, err := leaders.Parse(text)
		if err == nil && n.Of <= wallet.MaxPartitions && (f.local || !leaders.Local(n.Address)) {
			notices = append(notices, n)
		}
	}
	f.table.Replace(notices)
}

// settle waits until the first streams are open, for a little.
func (f *follower) settle(ctx context.Context) {
	if f == nil {
		return
	}
	f.begin.Do(func() { // there is no cluster
		close(f.settled)
		close(f.done)
	})
	patience := time.NewTimer(followPatience)
	defer patience.Stop()
	select {
	case <-f.settled:
	case <-ctx.Done():
	case <-patience.C:
	}
}

// wait waits until the follower of a client that was closed has ended.
func (f *follower) wait() {
	if f == nil {
		return
	}
	f.begin.Do(func() { close(f.done) })
	<-f.done
}

// run keeps the streams until the client is closed.
func (f *follower) run() {
	defer close(f.done)
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	for first := true; ; first = false {
		f.update()
		if first {
			close(f.settled)
		}
		select {
		case <-f.wake:
		case <-looks.C:
			f.look()
		case <-f.client.life.Done():
			for _, l := range f.links {
				l.close()
			}
			return
		}
	}
}

func (l *link) close() {
	l.stream.end()
	<-l.stream.done
	_ = l.conn.Close() // its streams have ended
}

// look asks the given node who leads, by a stream that it ends at once.
func (f *follower) look() {
	if !f.used.Swap(false) {
		return
	}
	c := f.client
	ctx, cancel := context.WithTimeout(c.life, followPatience)
	defer cancel()
	st, header, err := c.openAt(ctx, c.given[c.first.Load()], nil)
	if err != nil {
		return
	}
	f.learn(header)
	st.end()
}

// update opens the streams that are missing and forgets those that broke.
func (f *follower) update() {
	for addr, l := range f.links {
		if l.stream.failed() != nil {
			f.table.Failed(addr)
			l.close()
			delete(f.links, addr)
		}
	}
	all := f.table.All()
	streams := make([]*clientStream, len(all))
	failed := map[string]bool{}
	for p, leader := range all {
		if leader.Address == "" || failed[leader.Address] {
			continue
		}
		streams[p] = f.stream(leader)
		failed[leader.Address] = streams[p] == nil
	}
	f.streams.Store(&streams)
}

// stream returns the stream to a leader, nil if there is none.
func (f *follower) stream(to leaders.Leader) *clientStream {
	if l := f.links[to.Address]; l != nil {
		return l.stream
	}
	if len(f.links) >= maxFollowed {
		return nil
	}
	conn, err := f.connect(to.Address)
	if err != nil {
		f.table.Failed(to.Address)
		return nil
	}
	c := f.client
	ctx, cancel := context.WithTimeout(c.life, followPatience)
	defer cancel()
	st, _, err := c.openAt(ctx, conn, &watch{ended: f.rouse}, clusterKey, to.Cluster)
	if err != nil {
		f.table.Failed(to.Address)
		_ = conn.Close() // it has no stream
		return nil
	}
	f.table.Reached(to.Address)
	f.links[to.Address] = &link{conn, st}
	go st.run()
	return st
}

// watch ends a stream whose server has answered nothing for followPatience while
// something was waited for. The stream's mutex guards it. A nil watch does nothing.
type watch struct {
	timer *time.Timer
	ended func() // called when the stream has ended
}

// begin sets what ends the stream.
func (w *watch) begin(end func()) {
	if w != nil {
		w.timer = time.AfterFunc(followPatience, end)
		w.timer.Stop()
	}
}

// waits says that a request was sent: the first that is waited for, or another.
func (w *watch) waits(first bool) {
	if w != nil && first {
		w.timer.Reset(followPatience)
	}
}

// answered says that there was an answer, and how many are left to wait for.
func (w *watch) answered(left int) {
	switch {
	case w == nil:
	case left > 0:
		w.timer.Reset(followPatience)
	default:
		w.timer.Stop()
	}
}

func (w *watch) end() {
	if w != nil {
		w.timer.Stop()
		w.ended()
	}
}
