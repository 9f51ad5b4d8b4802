package wallet

import (
	"fmt"
	"slices"

	"maru.example/rsm"
)

// oldIDs are the transaction ids that are not in the tables of the tenants any more:
// of the last generation, while it is moved to the disk, and in runs there. All are
// decided. An id is in one place only.
type oldIDs struct {
	files  *rsm.Files // nil: all ids stay in the tables
	seed   [2]uint64  // of the hashes of ids, which their order in runs is by
	recent uint64     // ids in the tables
	stayed uint64     // of them, those that were in the tables before
	retry  uint64     // so many of them make another attempt, after one that failed

	frozen *generation // nil: none is under way
	runs   []*idRun    // oldest first
	filter idFilter    // of all runs, and perhaps of the generation
	spill  *spillJob
	merge  *mergeJob
	merged func() // ends a merge, once no spill is under way

	page     *[runPageBytes]byte
	err      error // a run could not be read
	counters OldIDMetrics
}

// OldIDMetrics tell of transaction ids on the disk.
type OldIDMetrics struct {
	IDs            uint64 // in runs
	Runs           uint64
	Lookups        uint64 // that the filter did not answer
	PagesRead      uint64 // by those
	FalsePositives uint64 // lookups that found nothing
	Written        uint64 // ids, by spills and merges
	Failures       uint64 // of spills and merges, which are tried again
	Bytes          uint64 // memory of the filter and the runs
}

func (m *OldIDMetrics) add(other OldIDMetrics) {
	m.IDs += other.IDs
	m.Runs += other.Runs
	m.Lookups += other.Lookups
	m.PagesRead += other.PagesRead
	m.FalsePositives += other.FalsePositives
	m.Written += other.Written
	m.Failures += other.Failures
	m.Bytes += other.Bytes
}

// generation is the tables of ids that were full enough to be moved. Nothing changes
// them any more, so that any loop may read them.
type generation struct {
	tables []*idTable // by tenant; nil: empty
	ids    []uint64   // of each tenant, without those that stayed
	// stayed are ids that went over to the next tables: those of transfers in flight.
	stayed map[tenantKey]bool
}

type tenantKey struct {
	tenant uint16
	key    key
}

// len is how many ids of a tenant are in the generation.
func (g *generation) len(tenant int) uint64 {
	if g == nil || tenant >= len(g.ids) {
		return 0
	}
	return g.ids[tenant]
}

// total is how many ids are in the generation.
func (g *generation) total() (n uint64) {
	if g != nil {
		for _, ids := range g.ids {
			n += ids
		}
	}
	return n
}

// bytes is the memory that the tables take.
func (g *generation) bytes() (n uint64) {
	if g == nil {
		return 0
	}
	for _, t := range g.tables {
		if t != nil {
			n += t.bytes()
		}
	}
	return n
}

// each calls note with the entries of a segment.
func (g *generation) each(segment int, note func(tenant uint16, t *idTable, e *idEntry)) {
	for tenant, t := range g.tables {
		if t == nil {
			continue
		}
		s := &t.segs[segment]
		for i := range s.len {
			e := s.at(i)
			if len(g.stayed) > 0 && g.stayed[tenantKey{uint16(tenant), e.key}] {
				continue
			}
			note(uint16(tenant), t, e)
		}
	}
}

var _ rsm.Keeper = (*Machine)(nil)

// Keep implements [rsm.Keeper].
func (m *Machine) Keep(f *rsm.Files) {
	m.old.files = f
	if m.old.page == nil {
		m.old.page = new([runPageBytes]byte)
	}
}

// SetRecentIDs changes MachineOptions.RecentIDs. It is called between two batches.
func (m *Machine) SetRecentIDs(n uint64) { m.options.RecentIDs = max(1, n) }

// Held implements [rsm.Keeper].
func (m *Machine) Held() []rsm.KeptFile {
	held := make([]rsm.KeptFile, 0, len(m.old.runs))
	for _, r := range m.old.runs {
		held = append(held, r.kept)
	}
	return held
}

// Err implements [rsm.Keeper].
func (m *Machine) Err() error { return m.old.err }

// Release implements [rsm.Keeper].
func (m *Machine) Release() { m.old.leave() }

// leave gives up what is under way, and closes the runs.
func (o *oldIDs) leave() {
	spill, merge, runs := o.spill, o.merge, o.runs
	o.spill, o.merge, o.merged, o.runs = nil, nil, nil, nil
	if len(runs) == 0 && spill == nil && merge == nil {
		return
	}
	if o.files.ReadOnly() {
		closeRuns(runs)
		return
	}
	o.files.Post(func() {
		spill.stop()
		merge.stop()
		closeRuns(runs)
	})
}

func closeRuns(runs []*idRun) {
	for _, r := range runs {
		r.close()
	}
}

// fail stops the replica: an id cannot be looked up, or a run is damaged.
func (o *oldIDs) fail(err error) {
	if o.err == nil {
		o.err = err
		o.files.Fail(err)
	}
}

// any says that there are ids beside those in the tables.
func (o *oldIDs) any() bool { return len(o.runs) > 0 || o.frozen != nil }

// touchOld does for old ids what the first pass over a window does for the tables.
func (m *Machine) touchOld(tenant uint16, ahead []prefetched) (sum uint64) {
	o := &m.old
	for i := range ahead {
		sum += o.filter.touch(ahead[i].hash)
	}
	if g := o.frozen; g != nil && int(tenant) < len(g.tables) && g.tables[tenant] != nil {
		for i := range ahead {
			sum += uint64(g.tables[tenant].touch(ahead[i].hash))
		}
	}
	return sum
}

// findOld looks for an id that is not in the tenant's table. It returns the fingerprint
// and code. After an error, which stops the replica, it says that there is none.
func (m *Machine) findOld(tenant uint16, k key, h uint64) (e idEntry, found bool) {
	o := &m.old
	if g := o.frozen; g != nil && int(tenant) < len(g.tables) && g.tables[tenant] != nil {
		if e, _ := g.tables[tenant].find(k, h); e != nil {
			return *e, true
		}
	}
	if !o.filter.has(h) {
		return idEntry{}, false
	}
	o.counters.Lookups++
	for _, r := range slices.Backward(o.runs) {
		meta, found, pages, err := r.find(tenant, k, h, o.page)
		o.counters.PagesRead += uint64(pages)
		if err != nil {
			o.fail(err)
			return idEntry{}, false
		}
		if found {
			return idEntry{k, meta}, true
		}
	}
	o.counters.FalsePositives++
	return idEntry{}, false
}

// seen returns what is remembered of an id, or the free place in the table where it
// belongs.
func (m *Machine) seen(tenant uint16, k key, h uint64) (e idEntry, free int, found bool) {
	recent, free := m.tenants[tenant].ids.find(k, h)
	if recent != nil {
		return *recent, 0, true
	}
	if m.old.any() {
		e, found = m.findOld(tenant, k, h)
	}
	return e, free, found
}

// remember remembers an id for which seen gave a free place.
func (m *Machine) remember(tenant uint16, k key, h, meta uint64, free int) {
	m.tenants[tenant].ids.add(k, h, meta, free)
	m.old.recent++
}

// fullOfIDs says that no more ids can be remembered under a hash.
func (m *Machine) fullOfIDs(tenant uint16, h uint64) bool {
	return m.remembered(tenant) >= maxIDs || m.tenants[tenant].ids.full(h)
}

// lookupID returns what is remembered of an id.
func (m *Machine) lookupID(tenant uint16, k key) (idEntry, bool) {
	e, _, found := m.seen(tenant, k, m.tenants[tenant].ids.hash(k))
	return e, found
}

// remembered is how many ids of a tenant there are.
func (m *Machine) remembered(tenant uint16) uint64 {
	t := m.tenants[tenant]
	return t.ids.len + t.old
}

// seedIDs sets the seeds of all tables, which must be empty.
func (m *Machine) seedIDs(seed [2]uint64) {
	m.old.seed = seed
	for i, t := range m.tenants {
		t.ids.seed = tenantSeed(seed, i)
	}
}

func tenantSeed(seed [2]uint64, tenant int) [2]uint64 {
	return [2]uint64{mix(seed[0]^hash2, uint64(tenant)^hash3), mix(seed[1]^hash5, uint64(tenant)^hash7)}
}

// age moves the tables to the disk when they hold what they may.
func (m *Machine) age() {
	o := &m.old
	if o.recent < max(1, o.retry, o.stayed+m.options.RecentIDs/2) || o.files == nil || o.files.ReadOnly() {
		return
	}
	if o.spill != nil {
		o.spill.late.Store(true)
		return
	}
	if o.frozen == nil {
		m.freeze()
	}
	if o.frozen.total() == 0 { // all are in flight
		o.frozen = nil
		return
	}
	o.startSpill(m)
}

// freeze begins a generation with all that the tables hold, but for the ids of
// transfers in flight: their codes may change, and a restore has to find them.
func (m *Machine) freeze() {
	g := &generation{tables: make([]*idTable, len(m.tenants)), ids: make([]uint64, len(m.tenants)), stayed: map[tenantKey]bool{}}
	for i, t := range m.tenants {
		if t.ids.len == 0 {
			continue
		}
		table := new(idTable)
		*table = t.ids
		g.tables[i], g.ids[i] = table, table.len
		t.ids = idTable{seed: table.seed}
		for s := range table.segs {
			t.ids.first[s] = uint32(len(table.segs[s].slots))
		}
		t.old += table.len
	}
	for i := range m.crossing.peers {
		out := &m.crossing.peers[i].out
		for seq := out.low; seq < out.next; seq++ {
			f := out.at(seq)
			m.stay(g, f.tenant, f.key)
		}
	}
	m.old.frozen, m.old.recent, m.old.stayed = g, uint64(len(g.stayed)), uint64(len(g.stayed))
	if m.open != nil {
		m.open.froze(g)
	}
}

// stay takes an id over into the new table.
func (m *Machine) stay(g *generation, tenant uint16, k key) {
	at := tenantKey{tenant, k}
	if g.stayed[at] {
		return
	}
	t := m.tenants[tenant]
	h := t.ids.hash(k)
	e, _ := g.tables[tenant].find(k, h)
	if e == nil {
		panic(fmt.Sprintf("wallet: the id %x of a transfer in flight is not in the table", k.id()))
	}
	_, free := t.ids.find(k, h)
	t.ids.add(k, h, e.meta, free)
	g.stayed[at] = true
	g.ids[tenant]--
	t.old--
}

// sumOld adds up the old ids of each tenant, in no order, for Sum.
func (m *Machine) sumOld() []uint64 {
	o, sums := &m.old, make([]uint64, len(m.tenants))
	if o.frozen != nil {
		for s := range idSegments {
			o.frozen.each(s, func(tenant uint16, _ *idTable, e *idEntry) { sums[tenant] += idSum(e) })
		}
	}
	for _, r := range o.runs {
		for c := (runCursor{run: r}); !c.done(); c.at++ {
			if _, err := c.prefix(); err != nil {
				o.fail(err)
				break
			}
			row, err := c.row()
			if err != nil {
				o.fail(err)
				break
			}
			tenant, e := parseRow(row)
			if int(tenant) < len(sums) {
				sums[tenant] += idSum(&e)
			}
		}
	}
	return sums
}

func idSum(e *idEntry) uint64 { return mix(mix(e.key.a^hash5, e.key.b^hash7), e.meta^hash5) }

// oldMetrics returns the counters.
func (o *oldIDs) metrics() OldIDMetrics {
	out := o.counters
	out.Runs, out.Bytes = uint64(len(o.runs)), o.filter.bytes()
	for _, r := range o.runs {
		out.IDs += r.rows
		out.Bytes += r.bytes()
	}
	return out
}
