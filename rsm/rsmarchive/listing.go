package rsmarchive

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path"
	"sort"

	"maru.example/rsm"
)

// A Sizer is a store that lists with each name the size in bytes of what is there. Its errors are those of List.
type Sizer interface {
	Sizes(ctx context.Context, folder string) (map[string]int64, error)
}

// Listing says which segments a store had up to an entry, and of which sizes.
type Listing struct {
	Segments int
	Sum      Link // SHA-256 over a line for each: its name, a space, its size in bytes
}

// upTo returns how many segments begin at an entry or before it.
func (a *Archive) upTo(last rsm.Index) int {
	return sort.Search(len(a.segments), func(i int) bool {
		first, _ := a.claims(i)
		return first > last
	})
}

// sizes returns what the store says of its segments; nil if it cannot.
func (a *Archive) sizes(ctx context.Context) (map[string]int64, error) {
	s, ok := a.store.(Sizer)
	if !ok {
		return nil, nil
	}
	sizes, err := s.Sizes(ctx, a.of.Folder())
	if err != nil {
		return nil, fmt.Errorf("list the archive: %w", err)
	}
	return sizes, nil
}

// Listing returns which segments there are up to an entry, without reading them; the zero Listing if the store
// lists no sizes.
func (a *Archive) Listing(ctx context.Context, last rsm.Index) (Listing, error) {
	sizes, err := a.sizes(ctx)
	if err != nil || sizes == nil {
		return Listing{}, err
	}
	return a.listing(sizes, last), nil
}

func (a *Archive) listing(sizes map[string]int64, last rsm.Index) Listing {
	sum := sha256.New()
	n := a.upTo(last)
	for _, name := range a.segments[:n] {
		sum.Write(fmt.Appendf(nil, "%s %d\n", name, sizes[name])) // it never fails
	}
	return Listing{n, Link(sum.Sum(nil))}
}

// Compare finds what is missing or cut short of an archive that had no gaps, reached at least the entry last, and
// was listed then as was says. Where it still is, no more is read than the last segment of it and those behind; else
// header and footer of all segments, whose chain and sizes have to be right. What is between them is not
// read: that is Verify's. The error is a *[Finding], or the store's.
func (a *Archive) Compare(ctx context.Context, last rsm.Index, was Listing) error {
	sizes, err := a.sizes(ctx)
	if err != nil {
		return err
	}
	begin := 0
	if sizes != nil && was.Segments > 0 && a.listing(sizes, last) == was {
		begin = was.Segments - 1
	}
	at := Position{Link: a.of.Origin()}
	for i := begin; i < len(a.segments); i++ {
		s, err := a.segment(ctx, i)
		if err != nil {
			return err
		}
		if i > begin || i == 0 {
			if err := goesOn(s, at); err != nil {
				return err
			}
		}
		want := s.footer.start + s.footer.size()
		if got, ok := sizes[s.name]; sizes != nil && (!ok || got != want) {
			return &Finding{
				Kind: Altered, Segment: s.name, Frame: -1, First: s.header.first, Last: s.footer.last.Index,
				Why: fmt.Errorf("%w: %s has %d bytes, its footer says %d", ErrDamaged, path.Join(a.of.Folder(), s.name), got, want),
			}
		}
		at = s.footer.last
	}
	if at.Index < last {
		return &Finding{Kind: Missing, Segment: segmentName(at.Index + 1), Frame: -1, First: at.Index + 1, Last: last}
	}
	return nil
}

// goesOn says why a segment does not go on after a position, without a gap.
func goesOn(s *segment, at Position) error {
	h := &s.header
	switch {
	case h.first > at.Index+1:
		return &Finding{Kind: Missing, Segment: segmentName(at.Index + 1), Frame: -1, First: at.Index + 1, Last: h.first - 1}
	case h.first <= at.Index:
		return &Finding{Kind: Inserted, Segment: s.name, Frame: -1, First: h.first, Last: s.footer.last.Index}
	case h.before != at.Link || h.missing != 0:
		return &Finding{
			Kind: Altered, Segment: s.name, Frame: -1, First: h.first, Last: s.footer.last.Index,
			Why: fmt.Errorf("%w: it does not continue the chain of the segment before it", ErrDamaged),
		}
	}
	return nil
}
