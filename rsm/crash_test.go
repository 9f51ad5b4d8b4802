package rsm_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/vfs"
)

// TestCrash cuts the power at moments and with outcomes that a seed chooses,
// several times on the same disk. After each crash everything that had been
// applied is there, in the same order; so everything that was acknowledged is
// there once; and what is there beyond that was proposed.
func TestCrash(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 10
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			c := &crashes{t: t, rand: rand.New(rand.NewPCG(seed, 1)), mem: vfs.NewMem(), proposed: make(map[string]bool)}
			for range 4 {
				c.live()
			}
		})
	}
}

// crashes is a disk that goes through several lives of a node.
type crashes struct {
	t     *testing.T
	rand  *rand.Rand
	mem   *vfs.Mem
	lives int

	mu           sync.Mutex
	acknowledged []string
	proposed     map[string]bool
	before       []record // what had been applied at the last crash
	after        *vfs.Mem // what that crash left; nil before it
}

func (c *crashes) live() {
	c.lives++
	c.after = nil
	l := &list{}
	n, err := rsm.Open(dir, l, &rsm.Options{
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
	crash := func() { // what happens on the old disk from here on is not seen by the next life
		if err := n.Read(c.t.Context(), func() { c.before = slices.Clone(l.batches) }); err != nil {
			c.t.Error(err)
		}
		c.after = c.mem.Crashed(outcome)
	}
	var wg sync.WaitGroup
	for caller := range 1 + c.rand.IntN(6) {
		wg.Go(func() { c.propose(n, fmt.Sprintf("%d/%d", c.lives, caller), end, crash) })
	}
	snapshots := c.rand.IntN(4)
	wg.Go(func() {
		for range snapshots {
			if err := n.Snapshot(c.t.Context()); err != nil {
				c.t.Error(err)
			}
		}
	})
	wg.Wait()
	closeNode(c.t, n)
	c.mem = c.after
}

// propose proposes until the crash, which it brings about when so many were
// acknowledged.
func (c *crashes) propose(n *rsm.Node, prefix string, end int, crash func()) {
	for i := 0; ; i++ {
		data := fmt.Sprintf("%s/%d", prefix, i)
		if !c.while(func() { c.proposed[data] = true }) {
			return
		}
		if _, _, err := n.Propose(c.t.Context(), []byte(data)); err != nil {
			c.t.Error(err)
			return
		}
		c.while(func() {
			c.acknowledged = append(c.acknowledged, data)
			if len(c.acknowledged) == end {
				crash()
			}
		})
	}
}

// while calls fn if the crash has not come yet, and says whether it did.
func (c *crashes) while(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.after != nil {
		return false
	}
	fn()
	return true
}

// check compares the state after a crash with what was known before it.
func (c *crashes) check(l *list) {
	if len(l.batches) < len(c.before) {
		c.t.Fatalf("life %d: has %d batches, %d had been applied", c.lives, len(l.batches), len(c.before))
	}
	if diff := cmp.Diff(c.before, l.batches[:len(c.before)]); diff != "" {
		c.t.Fatalf("life %d: what had been applied (-before +after):\n%s", c.lives, diff)
	}
	missing(c.t, c.acknowledged, l.data())
	seen := make(map[string]bool)
	for _, data := range l.data() {
		if seen[data] || !c.proposed[data] {
			c.t.Errorf("life %d: has %s, seen %v, proposed %v", c.lives, data, seen[data], c.proposed[data])
		}
		seen[data] = true
	}
}
