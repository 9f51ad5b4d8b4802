package wallet

import (
	"encoding/binary"
	"fmt"
	"math"

	"maru.example/rsm"
)

// Blocks of a snapshot about old transaction ids.
const (
	blockRuns      = 19
	blockOldCounts = 20
	runSeedBytes   = 16
	runKeptBytes   = 20
	oldCountBytes  = 10
)

// imageTable is a table of ids, as it is while a snapshot is taken. Its entries never
// change, so that the counts taken at the beginning are all that is needed. What was
// Pending then may be decided by now: the phase status table tells.
type imageTable struct {
	tenant int
	table  *idTable
	counts [idSegments]uint32
	gen    *generation // of a frozen table
}

// imageTables returns those of the generation, and of all tenants.
func (m *Machine) imageTables() []imageTable {
	all := make([]imageTable, 0, len(m.tenants))
	note := func(tenant int, t *idTable, gen *generation) {
		it := imageTable{tenant: tenant, table: t, gen: gen}
		for j := range t.segs {
			it.counts[j] = t.segs[j].len
		}
		all = append(all, it)
	}
	if g := m.old.frozen; g != nil {
		for i, t := range g.tables {
			if t != nil {
				note(i, t, g)
			}
		}
	}
	for i, t := range m.tenants {
		note(i, &t.ids, nil)
	}
	return all
}

// rows is how many ids of the table are in the snapshot.
func (t *imageTable) rows() (n uint64) {
	if t.gen != nil {
		return t.gen.len(t.tenant)
	}
	for _, c := range t.counts {
		n += uint64(c)
	}
	return n
}

// froze makes the snapshot go on with tables that have been frozen since.
func (s *snapshot) froze(g *generation) {
	for i := range s.tables {
		if t := &s.tables[i]; t.gen == nil && g.tables[t.tenant] != nil && t.table == &s.m.tenants[t.tenant].ids {
			t.table = g.tables[t.tenant]
		}
	}
}

// idBlock appends up to idBlock entries of a segment.
func (s *snapshot) idBlock(dst []byte) ([]byte, bool) {
	for ; s.table < len(s.tables); s.table, s.segment = s.table+1, 0 {
		t := &s.tables[s.table]
		for ; s.segment < idSegments; s.segment, s.entry = s.segment+1, 0 {
			left := t.counts[s.segment] - s.entry
			if left == 0 {
				continue
			}
			rows := t.table.segs[s.segment].blocks[s.entry/idBlock][:min(left, idBlock)]
			s.entry += uint32(len(rows))
			return t.appendBlock(dst, rows), true
		}
	}
	return dst, false
}

func (t *imageTable) appendBlock(dst []byte, rows []idEntry) []byte {
	at, n := len(dst), 0
	dst = appendBlock(dst, blockIDs, t.tenant, 0, 0)
	for i := range rows {
		if t.gen != nil && len(t.gen.stayed) > 0 && t.gen.stayed[tenantKey{uint16(t.tenant), rows[i].key}] {
			continue
		}
		dst = binary.LittleEndian.AppendUint64(dst, rows[i].key.a)
		dst = binary.LittleEndian.AppendUint64(dst, rows[i].key.b)
		dst = binary.LittleEndian.AppendUint64(dst, rows[i].meta)
		n++
	}
	binary.LittleEndian.PutUint32(dst[at+4:], uint32(n))
	return dst
}

// oldImage is the runs when a snapshot was opened.
type oldImage struct {
	seed   [2]uint64
	runs   []rsm.KeptFile
	counts []uint64 // ids in runs, by tenant
}

func (m *Machine) oldImage() oldImage {
	o := oldImage{seed: m.old.seed, runs: m.Held()}
	if len(o.runs) > 0 {
		for i, t := range m.tenants {
			o.counts = append(o.counts, t.old-m.old.frozen.len(i))
		}
	}
	return o
}

// Files implements [rsm.KeeperSnapshot].
func (s *snapshot) Files() []rsm.KeptFile { return s.old.runs }

// appendRuns comes before all that has transaction ids: their tables have its seed.
func (o *oldImage) appendRuns(dst []byte) []byte {
	if len(o.runs) == 0 {
		return dst
	}
	dst = appendBlock(dst, blockRuns, 0, len(o.runs), 0)
	dst = binary.LittleEndian.AppendUint64(dst, o.seed[0])
	dst = binary.LittleEndian.AppendUint64(dst, o.seed[1])
	for _, k := range o.runs {
		dst = binary.LittleEndian.AppendUint64(dst, k.ID)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(k.Bytes))
		dst = binary.LittleEndian.AppendUint32(dst, k.Sum)
	}
	return dst
}

// appendCounts comes behind the tenants.
func (o *oldImage) appendCounts(dst []byte) []byte {
	at, n := len(dst), 0
	dst = appendBlock(dst, blockOldCounts, 0, 0, 0)
	for tenant, c := range o.counts {
		if c > 0 {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(tenant))
			dst = binary.LittleEndian.AppendUint64(dst, c)
			n++
		}
	}
	if n == 0 {
		return dst[:at]
	}
	binary.LittleEndian.PutUint32(dst[at+4:], uint32(n))
	return dst
}

// runs opens the runs that the snapshot counts on, and makes the filter.
func (r *restorer) runs(n uint32) error {
	b, err := r.read(runSeedBytes)
	if err != nil {
		return err
	}
	o := &r.m.old
	seed := [2]uint64{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
	switch {
	case n == 0 || n > rsm.MaxKeptFiles || len(o.runs) > 0 || len(r.m.tenants) > 1 || r.m.remembered(0) > 0:
		return fmt.Errorf("%w: %d runs", ErrSnapshot, n)
	case o.files == nil:
		return fmt.Errorf("%w: %d runs, and no files", ErrSnapshot, n)
	}
	r.m.seedIDs(seed)
	for range n {
		if b, err = r.read(runKeptBytes); err != nil {
			return err
		}
		k := rsm.KeptFile{ID: binary.LittleEndian.Uint64(b), Bytes: int64(binary.LittleEndian.Uint64(b[8:])), Sum: binary.LittleEndian.Uint32(b[16:])}
		run, err := openRun(o.files, k, seed)
		if err != nil {
			return err
		}
		o.runs = append(o.runs, run)
		r.old += run.rows
	}
	return o.makeFilter()
}

// makeFilter loads the runs, and makes the filter of all.
func (o *oldIDs) makeFilter() error {
	total := uint64(0)
	for _, r := range o.runs {
		total += r.rows
	}
	// Hashes are spread evenly: no segment has many more than its share.
	mean := float64(total) / idSegments
	share := int(mean + 4*math.Sqrt(mean))
	add := func(prefix uint64) {
		at := int(prefix >> (prefixBits - 8))
		s := &o.filter.segs[at]
		if s.lines == nil {
			*s = newFilterSegment(at, share)
		}
		s.add(prefix)
	}
	for _, r := range o.runs {
		if err := r.load(add); err != nil {
			return err
		}
	}
	return nil
}

// oldCounts reads how many old ids the tenants have.
func (r *restorer) oldCounts(n uint32) error {
	for range n {
		b, err := r.read(oldCountBytes)
		if err != nil {
			return err
		}
		tenant, count := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint64(b[2:])
		if int(tenant) >= len(r.m.tenants) || r.m.tenants[tenant].old > 0 || count > r.old {
			return fmt.Errorf("%w: %d old ids of tenant %d", ErrSnapshot, count, tenant)
		}
		r.m.tenants[tenant].old = count
		r.old -= count
	}
	return nil
}
