package leaders

import (
	"sync"
	"time"
)

// After a leader could not be asked, its address is left alone for leastPause, and
// for twice as long each time that it happens again, up to mostPause.
const (
	leastPause = 10 * time.Second
	mostPause  = 10 * time.Minute
)

// maxAddresses bounds the addresses in a table.
const maxAddresses = 1 << 10

// Table is what a client knows of who leads. The zero value knows nothing. It is
// safe for concurrent use.
type Table struct {
	mu      sync.RWMutex
	cluster string
	tenant  string
	of      uint16            // partitions; 0: nothing is known
	leaders map[uint16]string // addresses
	resting map[string]rest   // those that could not be asked
}

type rest struct {
	until time.Time
	pause time.Duration
}

// Leader is the one of a partition.
type Leader struct {
	Address string
	Cluster string // that it must be part of
}

// Learn remembers what a notice says.
func (t *Table) Learn(n *Notice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.learn(n)
}

// Replace forgets who leads, and remembers what notices say.
func (t *Table) Replace(notices []*Notice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.leaders)
	for _, n := range notices {
		t.learn(n)
	}
}

func (t *Table) learn(n *Notice) {
	if t.leaders == nil || n.Cluster != t.cluster || n.Of != t.of { // another cluster is at the client's address
		t.leaders = make(map[uint16]string)
	}
	t.cluster, t.tenant, t.of = n.Cluster, n.Tenant, n.Of
	for _, p := range n.Partitions {
		t.leaders[p] = n.Address
	}
}

// Find returns the leader of the partition that partitionOf returns, given a tenant
// and how many partitions there are; false if it is not known, or to be left alone.
func (t *Table) Find(partitionOf func(tenant string, of uint16) uint16) (Leader, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.leaders) == 0 {
		return Leader{}, false
	}
	address, ok := t.leaders[partitionOf(t.tenant, t.of)]
	return Leader{address, t.cluster}, ok && !t.rests(address)
}

// All returns the leaders that are known and not to be left alone, by partition;
// those of other partitions have no address.
func (t *Table) All() []Leader {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.leaders) == 0 {
		return nil
	}
	all := make([]Leader, t.of)
	for p, address := range t.leaders {
		if !t.rests(address) {
			all[p] = Leader{address, t.cluster}
		}
	}
	return all
}

func (t *Table) rests(address string) bool {
	r, ok := t.resting[address]
	return ok && time.Now().Before(r.until)
}

// Failed says that an address could not be asked: it is left alone for a while.
func (t *Table) Failed(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rests(address) {
		return // many calls may fail at once
	}
	if t.resting == nil || len(t.resting) >= maxAddresses {
		t.resting = make(map[string]rest)
	}
	pause := min(max(2*t.resting[address].pause, leastPause), mostPause)
	t.resting[address] = rest{time.Now().Add(pause), pause}
}

// Reached says that an address could be asked.
func (t *Table) Reached(address string) {
	t.mu.RLock()
	_, ok := t.resting[address]
	t.mu.RUnlock()
	if ok {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.resting, address)
	}
}
