package wallet

// idTable remembers transaction ids with what was decided, exactly and for
// ever. What is remembered never moves, and never changes but for the code
// Pending, once: entries are appended to blocks, and an index of 4 bytes a slot
// finds them. A snapshot therefore needs no copies, only the counts, and the
// phase status table, which knows what was Pending. Entries are spread over segments by hash, so that
// growing an index stops the machine for a segment's length, not the table's.
//
// An id takes 24 bytes, and 4 bytes of index at a load between 46 and 80 per
// cent. The segments begin with indexes of different sizes, so that they do not
// all grow at the same time: together they are always about 60 per cent full, at
// 30.7 bytes an id.
type idTable struct {
	seed  [2]uint64
	len   uint64
	segs  [idSegments]idSegment
	first [idSegments]uint32 // slots that a segment begins with, if not few
}

const (
	idSegments   = 256
	idBlock      = 128           // entries, 3 KiB: a size class of Go's allocator
	maxSegmentID = 1<<24 - 1     // entries that 24 bits of a slot can number from 1
	minIDSlots   = 64            // of a segment's first index
	maxIDs       = 4_000_000_000 // of a tenant: a segment then holds 15.6 of 16.7 million
)

// idEntry is 24 bytes: the id, and the fingerprint (56 bits) above the code.
type idEntry struct {
	key  key
	meta uint64
}

func (e *idEntry) code() Code          { return Code(e.meta) }
func (e *idEntry) fingerprint() uint64 { return e.meta >> 8 }
func (e *idEntry) decide(c Code)       { e.meta = e.meta&^0xff | uint64(c) }

type idSegment struct {
	blocks []*[idBlock]idEntry
	last   *[idBlock]idEntry // of blocks: adding has no need to look for it
	slots  []uint32          // 0 is free; else an entry's number from 1, above 8 bits of its hash
	len    uint32
}

func (s *idSegment) at(i uint32) *idEntry { return &s.blocks[i/idBlock][i%idBlock] }

// hash spreads ids that a client may choose as it likes; the seed is the
// process's own, so nobody can aim at one slot.
func (t *idTable) hash(k key) uint64 {
	return mix(mix(k.a^t.seed[0], k.b^t.seed[1]), hash7^t.seed[0])
}

// slot returns the place in the segment where the search for a hash begins.
func (s *idSegment) slot(h uint64) int {
	return int(h >> 8 & 0xffffffff * uint64(len(s.slots)) >> 32)
}

// touch brings the slot of a hash into the processor's cache.
func (t *idTable) touch(h uint64) uint32 {
	s := &t.segs[h>>56]
	if len(s.slots) == 0 {
		return 0
	}
	return s.slots[s.slot(h)]
}

// touchFree does the same for the place where the next id of the hash's segment goes.
func (t *idTable) touchFree(h uint64) uint64 {
	s := &t.segs[h>>56]
	if s.last == nil {
		return 0
	}
	return s.last[s.len%idBlock].meta
}

// find returns the entry of a key whose hash is h, or nil and the place in the
// segment's index where it belongs.
func (t *idTable) find(k key, h uint64) (e *idEntry, free int) {
	s := &t.segs[h>>56]
	if len(s.slots) == 0 {
		return nil, 0
	}
	for i := s.slot(h); ; i++ {
		if i == len(s.slots) {
			i = 0
		}
		v := s.slots[i]
		if v == 0 {
			return nil, i
		}
		if uint8(v) == uint8(h) {
			if e := s.at(v>>8 - 1); e.key == k {
				return e, 0
			}
		}
	}
}

// full says that no more ids can be added under a hash.
func (t *idTable) full(h uint64) bool { return t.segs[h>>56].len == maxSegmentID }

// add remembers a key for which find gave a free place; the table must not be full.
func (t *idTable) add(k key, h, meta uint64, free int) {
	s := &t.segs[h>>56]
	if uint64(s.len+1)*5 > uint64(len(s.slots))*4 {
		s.grow(t, int(h>>56))
		free = s.free(h)
	}
	if s.len%idBlock == 0 {
		s.last = new([idBlock]idEntry)
		s.blocks = append(s.blocks, s.last)
	}
	s.last[s.len%idBlock] = idEntry{k, meta}
	s.len++
	t.len++
	s.slots[free] = s.len<<8 | uint32(uint8(h))
}

// free returns the first free place for a hash.
func (s *idSegment) free(h uint64) int {
	i := s.slot(h)
	for s.slots[i] != 0 {
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	return i
}

// grow makes the index of the i-th segment larger by three quarters.
func (s *idSegment) grow(t *idTable, i int) {
	n := max(minIDSlots+minIDSlots*3*i/(4*idSegments), len(s.slots)*7/4)
	if s.len == 0 {
		n = max(n, int(t.first[i]))
	}
	s.slots = make([]uint32, n)
	for i := range s.len {
		h := t.hash(s.at(i).key)
		s.slots[s.free(h)] = (i+1)<<8 | uint32(uint8(h))
	}
}

// bytes is the memory that the table takes.
func (t *idTable) bytes() (n uint64) {
	for i := range t.segs {
		s := &t.segs[i]
		n += uint64(len(s.blocks))*idBlock*24 + uint64(cap(s.blocks))*8 + uint64(len(s.slots))*4
	}
	return n
}
