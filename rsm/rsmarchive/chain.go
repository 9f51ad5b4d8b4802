package rsmarchive

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"strconv"

	"maru.example/rsm"
)

// A Link stands for all decided entries up to one: SHA-256 over the link before, the
// entry's head (see docs/format/archive.md), the entry and the decision.
type Link [sha256.Size]byte

// String returns the link in base64.
func (l Link) String() string { return base64.StdEncoding.EncodeToString(l[:]) }

// parseLink reads what String wrote.
func parseLink(s string) (Link, error) {
	var l Link
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(l) {
		return Link{}, fmt.Errorf("a link has %d bytes in base64, not %q", len(l), s)
	}
	copy(l[:], b)
	return l, nil
}

// Origin returns the link before a group's first entry. The cluster is its name or id, in one line.
func Origin(cluster string, group uint64) Link {
	return sha256.Sum256([]byte("maru chain 1\n" + cluster + "\n" + strconv.FormatUint(group, 10) + "\n"))
}

// Skip returns the link after the entries from..to, which are missing, where l is the
// one before them: the chain goes on, and shows for ever what it lacks.
func (l Link) Skip(from, to rsm.Index) Link {
	b := append([]byte("maru gap 1\n"), l[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(from))
	return sha256.Sum256(binary.LittleEndian.AppendUint64(b, uint64(to)))
}

// Position is a place in a group's history: after an entry. The zero index is before the first.
type Position struct {
	Index rsm.Index
	Term  uint64
	Time  int64 // nanoseconds since 1970 UTC
	Link  Link
}

// Skip returns the position before the entry first, if those between are missing.
func (p Position) Skip(first rsm.Index) Position {
	p.Link, p.Index = p.Link.Skip(p.Index+1, first-1), first-1
	return p
}

// Chain computes the links of a group's decided entries. It belongs to one goroutine.
type Chain struct {
	at     Position
	hasher hash.Hash
	head   [len(Link{}) + headBytes]byte
}

// NewChain returns a chain that goes on after a position: from {Link: Origin(…)} to
// begin with the first entry.
func NewChain(after Position) *Chain { return &Chain{at: after, hasher: sha256.New()} }

// At returns the position after the last entry.
func (c *Chain) At() Position { return c.at }

// Append adds the next entry. The error wraps [ErrOrder] if it is not the next: its
// index has to be one more than the one before, and term and time no less.
func (c *Chain) Append(d *rsm.Decided) error {
	if err := follows(c.at, d); err != nil {
		return err
	}
	copy(c.head[:], c.at.Link[:])
	putHead(c.head[len(Link{}):], d)
	c.hasher.Reset()
	// A hash never fails to be written to.
	_, _ = c.hasher.Write(c.head[:])
	_, _ = c.hasher.Write(d.Entry)
	_, _ = c.hasher.Write(d.Decision)
	c.hasher.Sum(c.at.Link[:0])
	c.at.Index, c.at.Term, c.at.Time = d.Index, d.Term, d.Time
	return nil
}

// Skip goes on before the entry first: those between are missing.
func (c *Chain) Skip(first rsm.Index) error {
	if first <= c.at.Index+1 {
		return fmt.Errorf("%w: a gap after entry %d that ends before entry %d", ErrOrder, c.at.Index, first)
	}
	c.at = c.at.Skip(first)
	return nil
}

func follows(at Position, d *rsm.Decided) error {
	switch {
	case d.Index != at.Index+1:
		return fmt.Errorf("%w: entry %d after entry %d", ErrOrder, d.Index, at.Index)
	case d.Term < at.Term:
		return fmt.Errorf("%w: entry %d has term %d, the one before has %d", ErrOrder, d.Index, d.Term, at.Term)
	case d.Time < at.Time:
		return fmt.Errorf("%w: entry %d has time %d, the one before has %d", ErrOrder, d.Index, d.Time, at.Time)
	}
	return nil
}

// The head of an entry, as it is hashed and kept: index 8, term 8, time 8, length of the
// entry 4, of the decision 4.
const headBytes = 32

func putHead(b []byte, d *rsm.Decided) {
	binary.LittleEndian.PutUint64(b, uint64(d.Index))
	binary.LittleEndian.PutUint64(b[8:], d.Term)
	binary.LittleEndian.PutUint64(b[16:], uint64(d.Time))
	binary.LittleEndian.PutUint32(b[24:], uint32(len(d.Entry)))
	binary.LittleEndian.PutUint32(b[28:], uint32(len(d.Decision)))
}

// contentBytes is what an entry counts for where segments and frames are cut.
func contentBytes(d *rsm.Decided) int64 {
	return headBytes + int64(len(d.Entry)) + int64(len(d.Decision))
}
