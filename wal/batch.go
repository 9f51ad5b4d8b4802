package wal

import (
	"fmt"
	"slices"
)

const (
	// A group of at most padBelow bytes that makes the file grow is followed by
	// zeros up to the next multiple of padTo: the groups after it overwrite
	// blocks that exist, which a disk syncs in half the time.
	padBelow = 64 << 10
	padTo    = 256 << 10
)

// batch is what one flush writes: encoded records, and where they go.
type batch struct {
	number  uint64 // counts from 1
	buf     []byte
	pieces  []piece
	last    Index // of its records
	records uint64
}

// piece is the part of a batch that goes to one segment: a sync group.
type piece struct {
	segment *segment // not yet created, unless the log appends to it
	first   Index
	off     int64 // in the segment
	start   int   // in buf
	length  int
	size    int64 // of the file, when it is written
}

// reset empties the batch. It keeps the buffer, unless that is very large.
func (b *batch) reset() {
	if cap(b.buf) > 2*maxBatchBytes {
		b.buf = nil
	}
	clear(b.pieces)
	b.buf, b.pieces, b.records = b.buf[:0], b.pieces[:0], 0
}

// encode adds a record to the pending batch, at the tail.
func (l *Log) encode(r Record) {
	b, t := l.pending, &l.tail
	if l.rolls() {
		t.segment, t.off = newSegment(l.id, t.index, l.gen), segmentHeaderSize
	}
	if n := len(b.pieces); n == 0 || b.pieces[n-1].segment != t.segment {
		b.pieces = append(b.pieces, piece{segment: t.segment, first: t.index, off: t.off, start: len(b.buf)})
	}
	p := &b.pieces[len(b.pieces)-1]
	f := frame{kind: kindRecord, gen: l.gen, index: t.index, group: p.off}
	b.buf = appendFrame(b.buf, f, r, t.segment.seed, t.off)
	p.length = len(b.buf) - p.start
	b.last = t.index
	b.records++
	t.off = p.off + int64(p.length)
	t.index++
}

// rolls says whether the next record begins a segment. Where the file for one
// could not be created, the last segment grows: want of file descriptors passes.
func (l *Log) rolls() bool {
	t := &l.tail
	if t.off < l.size || t.index == t.segment.first {
		return false
	}
	begun := t.segment == l.segments[len(l.segments)-1] // else the spare file is for it
	return l.spare != nil && begun || t.off >= maxSegmentEnd
}

// advance waits until something changed, or makes it change: if nobody is
// writing and something is pending the caller writes it, for all who wait.
func (l *Log) advance() {
	if l.busy || len(l.pending.buf) == 0 || l.err != nil {
		l.changed.Wait()
		return
	}
	b := l.pending
	l.pending, l.idle = l.idle, nil
	l.pending.number = b.number + 1
	l.busy = true
	l.mu.Unlock()
	err := l.write(b)
	l.mu.Lock()
	l.busy = false
	if err == nil {
		l.publish(b)
	}
	l.fail(err)
	b.reset()
	l.idle = b
	l.changed.Broadcast()
}

// write makes a batch durable. Each piece is synced before the segment of the
// next one is created: only the last segment of a log can have a torn end.
func (l *Log) write(b *batch) error {
	if err := l.prepare(); err != nil && l.filled >= l.size && l.long != l.active {
		l.long = l.active
		l.logger.Warn("wal: a segment grows beyond its size: the next one cannot be created yet",
			"dir", l.dir, "segment", l.active.name, "error", err)
	}
	for i := range b.pieces {
		p := &b.pieces[i]
		if p.segment != l.active {
			if err := l.rotate(p.segment); err != nil {
				return err
			}
		}
		data := b.buf[p.start : p.start+p.length]
		if i == len(b.pieces)-1 {
			data = l.pad(b, p)
		}
		l.clean = false
		if _, err := l.file.WriteAt(data, p.off); err != nil {
			return l.named(err)
		}
		if err := l.file.Sync(); err != nil {
			return l.named(err)
		}
		l.filled = max(l.filled, p.off+int64(len(data)))
		p.size = l.filled
	}
	return nil
}

// pad returns what is written for p, the last piece of b: its frames and, where
// that is worth it, zeros after them.
func (l *Log) pad(b *batch, p *piece) []byte {
	end := p.off + int64(p.length)
	if p.length <= padBelow && end > l.filled {
		zeros := int((end+padTo-1)/padTo*padTo - end)
		if most := l.size - end; int64(zeros) > most {
			zeros = int(max(most, 0))
		}
		b.buf = slices.Grow(b.buf, zeros)
		b.buf = b.buf[:len(b.buf)+zeros]
		clear(b.buf[len(b.buf)-zeros:])
	}
	return b.buf[p.start:]
}

// rotate begins to write to s.
func (l *Log) rotate(s *segment) error {
	f, err := l.create(s)
	if err != nil {
		return err
	}
	old := l.file
	l.file, l.active, l.filled = f, s, segmentHeaderSize
	l.mu.Lock()
	l.segments[len(l.segments)-1].next = s.first
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	if err := old.Close(); err != nil {
		return fmt.Errorf("begin segment %s: %w", s.name, err)
	}
	// Its descriptor is free now; if another one is quicker, each write tries again.
	_ = l.prepare()
	return nil
}

// publish makes a batch that was written visible.
func (l *Log) publish(b *batch) {
	for i := range b.pieces {
		p := &b.pieces[i]
		p.segment.end = p.off + int64(p.length)
		p.segment.size = p.size
		p.segment.note(p.off, p.first)
		l.metrics.Bytes += uint64(p.length)
	}
	l.metrics.Syncs += uint64(len(b.pieces))
	l.metrics.Records += b.records
	l.last = b.last
	l.durable = b.number
}
