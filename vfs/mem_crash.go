package vfs

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
)

// Crash cuts the power and starts the disk again. What was synced is kept. By
// the seed's choice, each write that was not synced is kept, lost, or torn: only
// some of its sectors, of 512 or 4,096 bytes, reach the disk; each truncation,
// creation, removal and rename that was not synced is kept or lost, for itself.
// Files opened before answer [ErrCrashed], and the locks are free.
func (m *Mem) Crash(seed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restart(m.after(rand.New(rand.NewPCG(seed, 0))))
}

// CrashClean is a Crash that loses everything that was not synced.
func (m *Mem) CrashClean() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restart(m.after(nil))
}

// Crashed returns the file system as Crash would leave it, and leaves m as it
// is: a test can look at many outcomes of one moment.
func (m *Mem) Crashed(seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.after(rand.New(rand.NewPCG(seed, 0)))
}

// restart puts the state of after, which nobody else has, in place of m's. It is
// called with mu held since after was made: a Sync between would be lost.
func (m *Mem) restart(after *Mem) {
	m.now, m.disk, m.pending, m.dirs = after.now, after.disk, nil, after.dirs
	m.locks, m.capacity, m.used = after.locks, after.capacity, after.used
	m.epoch++
}

// after returns the state after a crash; without r it loses all that it may.
func (m *Mem) after(r *rand.Rand) *Mem {
	found := maps.Clone(m.disk)
	for _, o := range m.pending {
		if r != nil && r.IntN(2) == 0 {
			found.apply(o)
		}
	}
	a := NewMem()
	a.dirs = maps.Clone(m.dirs)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		file := &inode{data: found[name].after(r), named: true}
		a.now[name], a.disk[name] = file, file
		a.used += file.size()
	}
	if m.capacity < math.MaxInt64 {
		a.capacity = m.capacity
	}
	return a
}

// after returns what is left of the content after a crash.
func (f *inode) after(r *rand.Rand) []byte {
	data := slices.Clone(f.data)
	fresh := make([][]byte, len(f.undo)) // what each write wrote
	for i, o := range slices.Backward(f.undo) {
		if o.kind == written {
			fresh[i] = slices.Clone(data[o.off : o.off+o.n])
		}
		data = resize(data, o.size)
		copy(data[min(o.off, o.size):], o.old)
	}
	if r == nil {
		return data
	}
	for i, o := range f.undo {
		switch o.kind {
		case written:
			data = tear(r, data, fresh[i], o.off)
		case truncated:
			if r.IntN(2) == 0 {
				data = resize(data, o.off)
			}
		}
	}
	return data
}

// tear writes p at off as a disk may that loses its power meanwhile.
func tear(r *rand.Rand, data, p []byte, off int64) []byte {
	const (
		lost   = iota // nothing is written
		whole         // all is
		hollow        // the size is, the content not
		prefix        // the first sectors are
		holes         // some sectors are
		kinds
	)
	kind := r.IntN(kinds)
	sector := int64(512) << (3 * r.IntN(2))
	cut := off + r.Int64N(int64(len(p))+1)
	if kind == hollow {
		return resize(data, max(int64(len(data)), off+int64(len(p))))
	}
	for at, end := off, off+int64(len(p)); at < end; {
		next := min(end, (at/sector+1)*sector)
		if kind == whole || kind == prefix && next <= cut || kind == holes && r.IntN(2) == 0 {
			data = resize(data, max(int64(len(data)), next))
			copy(data[at:], p[at-off:next-off])
		}
		at = next
	}
	return data
}
