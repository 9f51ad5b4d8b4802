package walletraft

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// Remote reaches the partitions of which this node has no replica.
type Remote struct {
	host    func() *rsmraft.Host
	members func(partition uint16) []rsmraft.NodeID

	mu    sync.Mutex
	first map[uint16]rsmraft.NodeID // which to ask: who led, or answered last
}

var _ wallet.Remote = (*Remote)(nil)

// NewRemote returns the way to the partitions of the nodes that members names, none
// where they are not known yet, from a host, which may be nil until it is open.
func NewRemote(host func() *rsmraft.Host, members func(partition uint16) []rsmraft.NodeID) *Remote {
	return &Remote{host: host, members: members, first: map[uint16]rsmraft.NodeID{}}
}

// Here implements wallet.Remote. A replica that is no member any more, or not yet,
// may be behind for long: it is as good as none.
func (r *Remote) Here(partition uint16) bool {
	h := r.host()
	if h == nil || h.Group(Group(partition)) == nil {
		return false
	}
	members := r.members(partition)
	return len(members) == 0 || slices.Contains(members, h.ID())
}

// Leader returns the node that leads a partition, as far as this one knows: 0 if it
// does not. Of a partition that it has not, that may be another that has it.
func (r *Remote) Leader(partition uint16) rsmraft.NodeID {
	h := r.host()
	if h == nil {
		return 0
	}
	if r.Here(partition) {
		if g := h.Group(Group(partition)); g != nil {
			return g.Status().Leader
		}
	}
	members := r.members(partition)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch first := r.first[partition]; {
	case first != 0:
		return first
	case len(members) > 0:
		return members[0]
	}
	return 0
}

// Ask implements wallet.Remote: it asks the nodes that have a replica, one after
// the other, until one has served the request.
func (r *Remote) Ask(partition uint16, request []byte, repeat bool, done func(answer []byte, took time.Duration, err error)) {
	h := r.host()
	if h == nil {
		done(nil, 0, rsm.ErrNoLeader)
		return
	}
	a := &asking{r: r, host: h, partition: partition, request: request, repeat: repeat, done: done}
	a.nodes = slices.DeleteFunc(slices.Clone(r.members(partition)), func(id rsmraft.NodeID) bool { return id == h.ID() })
	r.mu.Lock()
	if i := slices.Index(a.nodes, r.first[partition]); i > 0 {
		a.nodes[0], a.nodes[i] = a.nodes[i], a.nodes[0]
	}
	r.mu.Unlock()
	a.next()
}

// prefer remembers which node to ask first.
func (r *Remote) prefer(partition uint16, id rsmraft.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.first[partition] = id
}

// asking is a request on its way from node to node.
type asking struct {
	r         *Remote
	host      *rsmraft.Host
	partition uint16
	request   []byte
	repeat    bool             // it may be served twice
	nodes     []rsmraft.NodeID // to be asked yet
	unknown   error            // of one that may have served it
	last      error
	took      time.Duration
	done      func(answer []byte, took time.Duration, err error)
}

// next asks the next node.
func (a *asking) next() {
	if len(a.nodes) == 0 {
		a.end(nil, a.err())
		return
	}
	to := a.nodes[0]
	a.nodes = a.nodes[1:]
	a.host.Call(to, Group(a.partition), a.request, func(reply rsmraft.Reply, err error) {
		a.took += reply.Took
		switch {
		case err == nil:
			if reply.Leader == 0 || reply.Leader == a.host.ID() {
				reply.Leader = to
			}
			a.r.prefer(a.partition, reply.Leader)
			a.end(reply.Answer, nil)
		case errors.Is(err, rsm.ErrUnknown) && !a.repeat:
			a.end(nil, err)
		case errors.Is(err, rsm.ErrUnknown):
			a.unknown = err
			a.next()
		case errors.Is(err, rsm.ErrNoLeader), errors.Is(err, rsm.ErrBusy), errors.Is(err, rsm.ErrDiskFull):
			if a.last == nil || errors.Is(a.last, rsm.ErrNoLeader) && !errors.Is(a.last, rsm.ErrNoMajority) { // what another says tells more
				a.last = err
			}
			a.next()
		default:
			a.last = err
			a.end(nil, a.err())
		}
	})
}

// err says why no node has served the request.
func (a *asking) err() error {
	switch {
	case a.unknown != nil:
		return a.unknown
	case a.last != nil:
		return a.last
	}
	return fmt.Errorf("%w: no node is known to have partition %d", rsm.ErrNoLeader, a.partition)
}

func (a *asking) end(answer []byte, err error) { a.done(answer, a.took, err) }
