package wallet

import (
	"math/rand/v2"
	"testing"
)

// TestFilter holds the filter to 2 bytes an id, and to one wrong answer in a thousand,
// as it grows.
func TestFilter(t *testing.T) {
	var f idFilter
	r := rand.New(rand.NewPCG(7, 8))
	var ids [idSegments][]uint64
	total := 0
	for total < 800_000 {
		var fresh [idSegments][]uint64
		n := max(100_000, total/16)
		for range n {
			h := r.Uint64()
			fresh[h>>56] = append(fresh[h>>56], h)
		}
		total += n
		for at := range f.segs {
			s := &f.segs[at]
			add := fresh[at]
			ids[at] = append(ids[at], add...)
			if !s.fits(at, len(add)) {
				*s, add = newFilterSegment(at, len(ids[at])), ids[at]
			}
			for _, h := range add {
				s.add(prefixOf(h))
			}
		}
	}
	for _, all := range ids {
		for _, h := range all {
			if !f.has(h) {
				t.Fatalf("the filter does not know %x", h)
			}
		}
	}
	const fresh = 1_000_000
	wrong := 0
	for range fresh {
		if f.has(r.Uint64()) {
			wrong++
		}
	}
	per := float64(f.bytes()) / float64(total)
	t.Logf("%.3f bytes an id, %d of %d fresh ids may be old", per, wrong, fresh)
	if per > 1.985 || wrong > fresh/1000 {
		t.Errorf("%.3f bytes an id, want at most 1.985; %d of %d fresh ids may be old, want at most 1 in 1000", per, wrong, fresh)
	}
}
