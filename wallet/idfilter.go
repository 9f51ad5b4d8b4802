package wallet

import "math/bits"

// idFilter says of an id whether it may be old: in a run on the disk. Of those that
// are not it says so of less than one in a thousand. It is a Bloom filter of which each
// id has all its bits in one cache line: one in each of eight words, and one more. It knows the prefixes of hashes only, so that it can be made from the
// columns of runs.
//
// There is a filter for each segment of hashes. They grow by an eighth, at different
// times: see filterRoom.
type idFilter struct {
	segs [idSegments]filterSegment
}

// filterSegment is the filter of a segment. Those who grow it make another.
type filterSegment struct {
	lines []filterLine
	ids   int // in it
}

type filterLine [8]uint64

// filterBits is how many bits ten ids have in a filter that is full. With an eighth of
// room, in segments that grow at different times, it is 15.8 an id on the average.
const filterBits = 149

// filterRoom returns for how many ids the filter of a segment is made that holds n:
// the least that holds them in a row that grows by an eighth, and begins elsewhere in
// each segment.
func filterRoom(segment, n int) int {
	room := 128 + 128*segment/(8*idSegments)
	for room < n {
		room += room / 8
	}
	return room
}

// newFilterSegment makes a filter for n ids, without any.
func newFilterSegment(segment, n int) filterSegment {
	return filterSegment{lines: make([]filterLine, max(1, (filterRoom(segment, n)*filterBits+2560)/5120))}
}

// fits says that there is room for n more.
func (s *filterSegment) fits(segment, n int) bool {
	return s.ids > 0 && filterRoom(segment, s.ids) == filterRoom(segment, s.ids+n)
}

// line returns the line of a prefix.
func (s *filterSegment) line(prefix uint64) *filterLine {
	i, _ := bits.Mul64(prefix<<(64-prefixBits+8), uint64(len(s.lines)))
	return &s.lines[i]
}

// filterWord spreads a prefix anew, over the bits of its line.
func filterWord(prefix uint64) uint64 { return mix(prefix^hash2, hash5) }

func (s *filterSegment) add(prefix uint64) {
	line, w := s.line(prefix), filterWord(prefix)
	for i := range line {
		line[i] |= 1 << (w >> (6 * i) & 63)
	}
	line[w>>61] |= 1 << (w >> 48 & 63)
	s.ids++
}

// has says whether an id may be in the filter.
func (f *idFilter) has(h uint64) bool {
	s := &f.segs[h>>56]
	if len(s.lines) == 0 {
		return false
	}
	line, w := s.line(prefixOf(h)), filterWord(prefixOf(h))
	return line[0]>>(w&63)&(line[1]>>(w>>6&63))&(line[2]>>(w>>12&63))&(line[3]>>(w>>18&63))&
		(line[4]>>(w>>24&63))&(line[5]>>(w>>30&63))&(line[6]>>(w>>36&63))&(line[7]>>(w>>42&63))&
		(line[w>>61]>>(w>>48&63))&1 != 0
}

// touch brings the line of a hash into the processor's cache.
func (f *idFilter) touch(h uint64) uint64 {
	s := &f.segs[h>>56]
	if len(s.lines) == 0 {
		return 0
	}
	return s.line(prefixOf(h))[0]
}

// bytes is the memory that the filter takes.
func (f *idFilter) bytes() (n uint64) {
	for i := range f.segs {
		n += uint64(cap(f.segs[i].lines)) * 64
	}
	return n
}
