package rsmraft_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
)

// TestPowerCut cuts the power at moments and with outcomes that a seed chooses,
// several times on the same disk. After each cut everything that had been applied
// is there, in the same order; so everything that was acknowledged is there once;
// and what is there beyond that was proposed.
func TestPowerCut(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 10
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			c := &cuts{t: t, rand: rand.New(rand.NewPCG(seed, 1)), mem: vfs.NewMem(), proposed: make(map[string]bool)}
			for range 4 {
				c.live()
			}
		})
	}
}

// cuts is a disk that goes through several lives of a node.
type cuts struct {
	t     *testing.T
	rand  *rand.Rand
	mem   *vfs.Mem
	lives int

	mu           sync.Mutex
	acknowledged []string
	proposed     map[string]bool
	before       []rsmtest.Record // what had been applied at the last cut
	after        *vfs.Mem         // what that cut left; nil before it
}

func (c *cuts) live() {
	c.lives++
	c.after = nil
	l := &rsmtest.List{}
	g, err := rsmraft.OpenAlone(dir, l, &rsmraft.Options{
		FS:            c.mem,
		SegmentBytes:  int64(200 + c.rand.IntN(2000)),
		MaxEntryBytes: 1 + c.rand.IntN(200),
		SnapshotBytes: int64(c.rand.IntN(3)-1) * 500, // never, default, often
		CutLog:        c.rand.IntN(2) == 0,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.check(l)
	end := len(c.acknowledged) + 20 + c.rand.IntN(100)
	outcome := c.rand.Uint64()
	cut := func() { // what happens on the old disk from here on is not seen by the next life
		if err := g.Read(c.t.Context(), func() { c.before = slices.Clone(l.Batches) }); err != nil {
			c.t.Error(err)
		}
		c.after = c.mem.Crashed(outcome)
	}
	var wg sync.WaitGroup
	for caller := range 1 + c.rand.IntN(6) {
		wg.Go(func() { c.propose(g, fmt.Sprintf("%d/%d", c.lives, caller), end, cut) })
	}
	snapshots := c.rand.IntN(4)
	wg.Go(func() {
		for range snapshots {
			snapshot(c.t, g)
		}
	})
	wg.Wait()
	closeNode(c.t, g)
	c.mem = c.after
}

// propose proposes until the power is cut, which it brings about when so many
// were acknowledged.
func (c *cuts) propose(g *rsmraft.Group, prefix string, end int, cut func()) {
	for i := 0; ; i++ {
		data := fmt.Sprintf("%s/%d", prefix, i)
		if !c.while(func() { c.proposed[data] = true }) {
			return
		}
		if _, _, err := g.Propose(c.t.Context(), []byte(data)); err != nil {
			c.t.Error(err)
			return
		}
		c.while(func() {
			c.acknowledged = append(c.acknowledged, data)
			if len(c.acknowledged) == end {
				cut()
			}
		})
	}
}

// while calls fn if the power is still there, and says whether it is.
func (c *cuts) while(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.after != nil {
		return false
	}
	fn()
	return true
}

// check compares the state after a cut with what was known before it.
func (c *cuts) check(l *rsmtest.List) {
	if len(l.Batches) < len(c.before) {
		c.t.Fatalf("life %d: has %d batches, %d had been applied", c.lives, len(l.Batches), len(c.before))
	}
	if diff := cmp.Diff(c.before, l.Batches[:len(c.before)]); diff != "" {
		c.t.Fatalf("life %d: what had been applied (-before +after):\n%s", c.lives, diff)
	}
	missing(c.t, c.acknowledged, l.Data())
	seen := make(map[string]bool)
	for _, data := range l.Data() {
		if seen[data] || !c.proposed[data] {
			c.t.Errorf("life %d: has %s, seen %v, proposed %v", c.lives, data, seen[data], c.proposed[data])
		}
		seen[data] = true
	}
}
