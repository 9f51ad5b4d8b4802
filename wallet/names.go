package wallet

import "hash/maphash"

// arena holds the bytes of names, which never change.
type arena struct{ chunks [][]byte }

const arenaChunk = 1 << 16

// nameRef is a place in an arena: the chunk's number above 16 bits of offset.
type nameRef uint64

func (a *arena) add(name string) nameRef {
	last := len(a.chunks) - 1
	if last < 0 || len(a.chunks[last])+len(name) > arenaChunk {
		a.chunks = append(a.chunks, make([]byte, 0, arenaChunk))
		last++
	}
	at := len(a.chunks[last])
	a.chunks[last] = append(a.chunks[last], name...)
	return nameRef(last<<16 | at)
}

func (a *arena) get(r nameRef, size uint8) []byte {
	return a.chunks[r>>16][r&0xffff:][:size]
}

// nameIndex finds accounts by tenant and id. Like an idTable it is cut into
// segments that grow one by one, at different times. A slot is 8 bytes, the load
// 50 to 75 per cent: 13.2 bytes an account.
type nameIndex struct {
	seed maphash.Seed
	segs [nameSegments]nameSegment
}

const (
	nameSegments = 256
	minNameSlots = 64 // of the first segment's first index
)

type nameSegment struct {
	slots []uint64 // 0 is free; else 32 bits of the hash above 1 + the account's row
	len   int
}

func (x *nameIndex) hash(tenant uint16, name string) uint64 {
	return mix(maphash.String(x.seed, name)^uint64(tenant)<<40, hash3)
}

func (s *nameSegment) slot(v uint64) int {
	return int(v >> 32 * uint64(len(s.slots)) >> 32)
}

// find returns the number of the row, from 1, under the hash for which same holds, or 0.
func (x *nameIndex) find(h uint64, same func(row uint32) bool) uint32 {
	s := &x.segs[h%nameSegments]
	if len(s.slots) == 0 {
		return 0
	}
	for i := s.slot(h); ; i++ {
		if i == len(s.slots) {
			i = 0
		}
		v := s.slots[i]
		if v == 0 {
			return 0
		}
		if v>>32 == h>>32 && same(uint32(v)) {
			return uint32(v)
		}
	}
}

// add enters a row that find did not find.
func (x *nameIndex) add(h uint64, row uint32) {
	s := &x.segs[h%nameSegments]
	if s.len++; s.len*4 > len(s.slots)*3 {
		old := s.slots
		first := minNameSlots + minNameSlots/2*int(h%nameSegments)/nameSegments
		s.slots = make([]uint64, max(first, len(old)*3/2))
		for _, v := range old {
			if v != 0 {
				s.put(v)
			}
		}
	}
	s.put(h>>32<<32 | uint64(row))
}

func (s *nameSegment) put(v uint64) {
	i := s.slot(v)
	for s.slots[i] != 0 {
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	s.slots[i] = v
}

func (x *nameIndex) bytes() (n uint64) {
	for i := range x.segs {
		n += uint64(len(x.segs[i].slots)) * 8
	}
	return n
}
