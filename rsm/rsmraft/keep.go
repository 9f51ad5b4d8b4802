package rsmraft

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"maru.example/rsm"
	"maru.example/wal"
)

// keepers are those who follow a group's feed, and what each of them lets go. The log is kept
// from the least of that on. It is safe for concurrent use.
type keepers struct {
	mu sync.Mutex
	of map[string]keptFrom
}

// keptFrom is what a keeper needs: an entry, and the record in the host's log from which
// on that and all later ones are.
type keptFrom struct {
	entry rsm.Index
	place wal.Index
}

// newKeepers returns those of the names, each of which needs everything; nil without names.
func newKeepers(names []string) *keepers {
	if len(names) == 0 {
		return nil
	}
	k := &keepers{of: map[string]keptFrom{}}
	for _, name := range names {
		k.of[name] = keptFrom{entry: 1, place: 1}
	}
	return k
}

// least returns what has to be kept for all of them.
func (k *keepers) least() keptFrom {
	k.mu.Lock()
	defer k.mu.Unlock()
	least, found := keptFrom{}, false
	for _, f := range k.of {
		if !found {
			least, found = f, true
		}
		least.entry, least.place = min(least.entry, f.entry), min(least.place, f.place)
	}
	return least
}

func (k *keepers) place() wal.Index { return k.least().place }

// let notes that a keeper needs nothing before an entry. What was let go once stays so.
func (k *keepers) let(name string, from keptFrom) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	before, ok := k.of[name]
	if !ok {
		return fmt.Errorf("rsmraft: %q is none of Options.Keepers", name)
	}
	if from.entry > before.entry {
		k.of[name] = keptFrom{from.entry, max(from.place, before.place)}
	}
	return nil
}

// ErrNotYet says that a group has not come as far as somebody claims.
var ErrNotYet = errors.New("rsmraft: entry is not applied here yet")

// Keep says that one of Options.Keepers needs nothing before the entry at an index: with
// Options.CutLog it may be removed once the others do not need it either. The error
// wraps ErrNotYet if the entry before has not been applied here, and rsm.ErrGap where its decision is
// not on record; nothing is let go then.
func (g *Group) Keep(keeper string, from rsm.Index) error {
	d := g.replica.Decisions()
	if d == nil {
		return fmt.Errorf("%w: group %d", ErrNoFeed, g.id)
	}
	if g.kept == nil || !g.host.options.CutLog || from <= FirstEntry {
		return nil
	}
	if from-1 > g.Applied() {
		return fmt.Errorf("keep the log of group %d from entry %d: %w", g.id, from, ErrNotYet)
	}
	r := d.Reader()
	v, _, err := r.Next(context.Background(), from-1) // it is there, or there is a gap
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("rsmraft: keep the log of group %d from entry %d: %w", g.id, from, err)
	}
	if err := g.kept.let(keeper, keptFrom{from, wal.Index(v.Place)}); err != nil {
		return err
	}
	d.Cut(g.kept.least().entry - 1)
	// Now, and not with the next snapshot: a disk that is nearly full takes none.
	g.host.saves.Post(g.host.writeCheckpoint)
	return nil
}
