package rsm_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"maru.example/rsm"
)

// list is a machine that records every batch, with index and time. It answers
// with the number of batches so far, in 8 bytes.
type list struct {
	batches []record
	open    bool
}

type record struct {
	Index uint64
	Time  int64
	Data  string
}

func (l *list) Apply(dst []byte, b rsm.Batch) []byte {
	l.batches = append(l.batches, record{Index: uint64(b.Index), Time: b.Time, Data: string(b.Data)})
	return binary.LittleEndian.AppendUint64(dst, uint64(len(l.batches)))
}

// data returns what was applied, in order.
func (l *list) data() []string {
	var all []string
	for _, r := range l.batches {
		all = append(all, r.Data)
	}
	return all
}

func (l *list) Snapshot() rsm.Snapshot {
	if l.open {
		panic("two snapshots are open")
	}
	l.open = true
	return &listSnapshot{list: l, rest: slices.Clip(l.batches)}
}

type listSnapshot struct {
	list *list
	rest []record
}

func (s *listSnapshot) Next(dst []byte, budget int) ([]byte, bool) {
	start := len(dst)
	for len(s.rest) > 0 && len(dst)-start < budget {
		r := s.rest[0]
		dst = binary.LittleEndian.AppendUint64(dst, r.Index)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Time))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Data)))
		dst = append(dst, r.Data...)
		s.rest = s.rest[1:]
	}
	return dst, len(s.rest) > 0
}

func (s *listSnapshot) Close() {
	if !s.list.open {
		panic("snapshot is closed twice")
	}
	s.list.open = false
}

func (l *list) Restore(r io.Reader) error {
	l.batches = nil
	for {
		var head [20]byte
		if _, err := io.ReadFull(r, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		data := make([]byte, binary.LittleEndian.Uint32(head[16:]))
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		l.batches = append(l.batches, record{
			Index: binary.LittleEndian.Uint64(head[:]),
			Time:  int64(binary.LittleEndian.Uint64(head[8:])),
			Data:  string(data),
		})
	}
}

const (
	pageCells = 512
	pageBytes = pageCells * 8
)

type page [pageCells]uint64

// cells is a machine of many counters with a copy-on-write snapshot. A batch is
// a list of commands: the number of a cell and what to add, in 4 bytes each. The
// answer is the values after it, in 8 bytes each.
type cells struct {
	pages []*page
	open  *cellsSnapshot
	sum   atomic.Uint64 // of all cells
}

func newCells(n int) *cells {
	c := &cells{pages: make([]*page, (n+pageCells-1)/pageCells)}
	c.clear()
	return c
}

func (c *cells) clear() {
	for i := range c.pages {
		c.pages[i] = new(page)
	}
	c.sum.Store(0)
}

func appendAdd(dst []byte, cell, add uint32) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, cell)
	return binary.LittleEndian.AppendUint32(dst, add)
}

func (c *cells) Apply(dst []byte, b rsm.Batch) []byte {
	total := uint64(0)
	for data := b.Data; len(data) >= 8; data = data[8:] {
		cell, add := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		p := c.writable(int(cell / pageCells))
		p[cell%pageCells] += uint64(add)
		total += uint64(add)
		dst = binary.LittleEndian.AppendUint64(dst, p[cell%pageCells])
	}
	c.sum.Add(total)
	return dst
}

// writable returns the page, after it was copied if the snapshot needs it.
func (c *cells) writable(i int) *page {
	if s := c.open; s != nil && i >= s.next && s.kept[i] == nil {
		s.kept[i] = c.pages[i]
		fresh := *c.pages[i]
		c.pages[i] = &fresh
	}
	return c.pages[i]
}

func (c *cells) Snapshot() rsm.Snapshot {
	if c.open != nil {
		panic("two snapshots are open")
	}
	c.open = &cellsSnapshot{cells: c, kept: make([]*page, len(c.pages))}
	return c.open
}

type cellsSnapshot struct {
	cells *cells
	kept  []*page // the pages that were changed since
	next  int
}

func (s *cellsSnapshot) Next(dst []byte, budget int) ([]byte, bool) {
	for n := 0; n < budget && s.next < len(s.kept); n += pageBytes {
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

func (c *cells) Restore(r io.Reader) error {
	c.clear()
	var raw [pageBytes]byte
	for i := 0; ; i++ {
		n, err := io.ReadFull(r, raw[:])
		switch {
		case err == io.EOF && (i == 0 || i == len(c.pages)):
			return nil
		case err != nil:
			return fmt.Errorf("page %d has %d bytes: %w", i, n, err)
		case i == len(c.pages):
			return fmt.Errorf("more than %d pages", i)
		}
		for j := range c.pages[i] {
			v := binary.LittleEndian.Uint64(raw[j*8:])
			c.pages[i][j] = v
			c.sum.Add(v)
		}
	}
}

// state returns all bytes of a snapshot.
func state(m rsm.Machine) []byte {
	s := m.Snapshot()
	defer s.Close()
	var all []byte
	for more := true; more; {
		all, more = s.Next(all, 1<<20)
	}
	return bytes.Clone(all)
}
