package rsmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"maru.example/rsm"
)

// The counters of a Cells are copied page by page.
const (
	PageCells = 512
	PageBytes = PageCells * 8
)

type page [PageCells]uint64

// Cells is a machine of many counters with a copy-on-write snapshot. A batch is a
// list of commands, made by AppendAdd. The answer is the values after it, in 8
// bytes each.
type Cells struct {
	Sum   atomic.Uint64 // of all counters
	pages []*page
	open  *cellsSnapshot
}

var _ rsm.Machine = (*Cells)(nil)

// NewCells returns n counters that are 0, rounded up to whole pages.
func NewCells(n int) *Cells {
	c := &Cells{pages: make([]*page, (n+PageCells-1)/PageCells)}
	c.clear()
	return c
}

func (c *Cells) clear() {
	for i := range c.pages {
		c.pages[i] = new(page)
	}
	c.Sum.Store(0)
}

// AppendAdd appends the command that adds to a counter.
func AppendAdd(dst []byte, cell, add uint32) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, cell)
	return binary.LittleEndian.AppendUint32(dst, add)
}

// Apply implements rsm.Machine.
func (c *Cells) Apply(dst []byte, b rsm.Batch) []byte {
	total := uint64(0)
	for data := b.Data; len(data) >= 8; data = data[8:] {
		cell, add := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		p := c.writable(int(cell / PageCells))
		p[cell%PageCells] += uint64(add)
		total += uint64(add)
		dst = binary.LittleEndian.AppendUint64(dst, p[cell%PageCells])
	}
	c.Sum.Add(total)
	return dst
}

// writable returns the page, after it was copied if the snapshot needs it.
func (c *Cells) writable(i int) *page {
	if s := c.open; s != nil && i >= s.next && s.kept[i] == nil {
		s.kept[i] = c.pages[i]
		fresh := *c.pages[i]
		c.pages[i] = &fresh
	}
	return c.pages[i]
}

// Snapshot implements rsm.Machine.
func (c *Cells) Snapshot() rsm.Snapshot {
	if c.open != nil {
		panic("rsmtest: two snapshots are open")
	}
	c.open = &cellsSnapshot{cells: c, kept: make([]*page, len(c.pages))}
	return c.open
}

// Open says that a snapshot is.
func (c *Cells) Open() bool { return c.open != nil }

type cellsSnapshot struct {
	cells *Cells
	kept  []*page // the pages that were changed since
	next  int
}

func (s *cellsSnapshot) Next(dst []byte, budget int) ([]byte, bool) {
	for n := 0; n < budget && s.next < len(s.kept); n += PageBytes {
		p := s.kept[s.next]
		if p == nil {
			p = s.cells.pages[s.next]
		}
		for _, v := range p {
			dst = binary.LittleEndian.AppendUint64(dst, v)
		}
		s.kept[s.next] = nil
		s.next++
	}
	return dst, s.next < len(s.kept)
}

func (s *cellsSnapshot) Close() { s.cells.open = nil }

// Restore implements rsm.Machine.
func (c *Cells) Restore(r io.Reader) error {
	c.clear()
	var raw [PageBytes]byte
	for i := 0; ; i++ {
		n, err := io.ReadFull(r, raw[:])
		switch {
		case errors.Is(err, io.EOF) && (i == 0 || i == len(c.pages)):
			return nil
		case err != nil:
			return fmt.Errorf("page %d has %d bytes: %w", i, n, err)
		case i == len(c.pages):
			return fmt.Errorf("more than %d pages", i)
		}
		for j := range c.pages[i] {
			v := binary.LittleEndian.Uint64(raw[j*8:])
			c.pages[i][j] = v
			c.Sum.Add(v)
		}
	}
}

// State returns all bytes of a snapshot of a machine's state.
func State(m rsm.Machine) []byte {
	s := m.Snapshot()
	defer s.Close()
	var all []byte
	for more := true; more; {
		all, more = s.Next(all, 1<<20)
	}
	return all
}
