package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sort"

	"maru.example/vfs"
	"maru.example/wal"
)

// A pack is a file with batches of many partitions, those of each one after the other, as
// they are sent to consumers. docs/format/queue.md describes it.
const (
	packMagic       = "MaruQPK\n"
	packVersion     = 1
	packHeaderBytes = 16
	packTailBytes   = 24 // where the directory is, and its checksum
	runBytes        = 68 // of a run in the directory
	markBytes       = 24 // of a mark in a run's index
	markEvery       = 32 << 10
)

// MaxRunBytes is the most that a partition may have in one pack: what the offsets of the
// format allow.
const MaxRunBytes = 1<<32 - 1

// TopicID is the UUID of a topic (KIP-516): one that is made anew under the same name has
// another.
type TopicID [16]byte

// PartitionID names a partition, for ever.
type PartitionID struct {
	Topic TopicID
	Index int32
}

// before says in which order a pack has partitions.
func (p PartitionID) before(q PartitionID) bool {
	if p.Topic != q.Topic {
		return string(p.Topic[:]) < string(q.Topic[:])
	}
	return p.Index < q.Index
}

// run is what a pack has of a partition.
type run struct {
	partition PartitionID
	first     Offset // of the first batch
	next      Offset // after the last batch
	newest    Millis // the latest time of a record
	at        int64  // where it is in the file
	bytes     int64
	marks     int64 // where its index is
	count     int   // of the marks
}

// mark says where in a run a batch begins: the first one, and then one each markEvery
// bytes or more.
type mark struct {
	first Offset
	at    uint32 // from the run's beginning
	// newest is the latest time of a record in the batches before it.
	newest Millis
	sum    uint32 // CRC-32C of the batches up to the next mark
}

// packWriter writes a pack. After an error it is of no use any more.
type packWriter struct {
	file vfs.File
	at   int64  // of what was written
	buf  []byte // what was not
	sum  uint32 // of all before buf
	runs []run
	of   [][]mark
}

const packBufferBytes = 1 << 20

func newPackWriter(f vfs.File) *packWriter {
	w := &packWriter{file: f}
	w.buf = append(w.buf, packMagic...)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, packVersion)
	w.buf = append(w.buf, 0, 0, 0, 0)
	return w
}

// add appends a batch of a partition. Partitions come in order, and the batches of each in
// the order of their offsets, with gaps perhaps.
func (w *packWriter) add(p PartitionID, b Batch) error {
	n := len(w.runs)
	switch at := w.at + int64(len(w.buf)); {
	case n > 0 && w.runs[n-1].partition == p:
	case n > 0 && !w.runs[n-1].partition.before(p):
		panic(fmt.Sprintf("queue: partition %v comes after %v in a pack", p, w.runs[n-1].partition))
	default:
		w.runs = append(w.runs, run{partition: p, first: b.BaseOffset(), next: b.BaseOffset(), newest: b.MaxTimestamp(), at: at})
		w.of = append(w.of, nil)
		n++
	}
	r, marks := &w.runs[n-1], &w.of[n-1]
	if b.BaseOffset() < r.next {
		panic(fmt.Sprintf("queue: offset %d comes after %d in a pack", b.BaseOffset(), r.next-1))
	}
	if r.bytes+int64(len(b)) > MaxRunBytes {
		return fmt.Errorf("queue: more than %d bytes of one partition in a pack", int64(MaxRunBytes))
	}
	if n := len(*marks); n == 0 || r.bytes-int64((*marks)[n-1].at) >= markEvery {
		*marks = append(*marks, mark{first: b.BaseOffset(), at: uint32(r.bytes), newest: r.newest})
	}
	last := &(*marks)[len(*marks)-1]
	last.sum = crc32.Update(last.sum, castagnoli, b)
	r.bytes += int64(len(b))
	r.next, r.newest = b.LastOffset()+1, max(r.newest, b.MaxTimestamp())
	return w.write(b)
}

func (w *packWriter) write(p []byte) error {
	w.buf = append(w.buf, p...)
	if len(w.buf) >= packBufferBytes {
		return w.flush()
	}
	return nil
}

func (w *packWriter) flush() error {
	if _, err := w.file.WriteAt(w.buf, w.at); err != nil {
		return fmt.Errorf("queue: write a pack: %w", err)
	}
	w.at += int64(len(w.buf))
	w.sum = crc32.Update(w.sum, castagnoli, w.buf)
	w.buf = w.buf[:0]
	return nil
}

// finish writes the directory and returns the size of the file, its checksum and what it
// has. The file is not synced.
func (w *packWriter) finish() (bytes int64, sum uint32, runs []run, err error) {
	for i := range w.runs {
		w.runs[i].marks, w.runs[i].count = w.at+int64(len(w.buf)), len(w.of[i])
		for _, m := range w.of[i] {
			if err := w.write(appendMark(nil, m)); err != nil {
				return 0, 0, nil, err
			}
		}
	}
	at := w.at + int64(len(w.buf))
	var directory []byte
	for i := range w.runs {
		directory = appendRun(directory, &w.runs[i])
	}
	le := binary.LittleEndian
	tail := le.AppendUint64(nil, uint64(at))
	tail = le.AppendUint32(tail, uint32(len(w.runs)))
	tail = le.AppendUint32(tail, crc32.Update(crc32.Checksum(directory, castagnoli), castagnoli, tail))
	tail = append(tail, packMagic...)
	w.buf = append(append(w.buf, directory...), tail...)
	if err := w.flush(); err != nil {
		return 0, 0, nil, err
	}
	return w.at, w.sum, w.runs, nil
}

func appendMark(dst []byte, m mark) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(le.AppendUint64(dst, uint64(m.first)), m.at)
	return le.AppendUint32(le.AppendUint64(dst, uint64(m.newest)), m.sum)
}

func parseMark(p []byte) mark {
	le := binary.LittleEndian
	return mark{Offset(le.Uint64(p)), le.Uint32(p[8:]), Millis(le.Uint64(p[12:])), le.Uint32(p[20:])}
}

func appendRun(dst []byte, r *run) []byte {
	le := binary.LittleEndian
	dst = append(dst, r.partition.Topic[:]...)
	dst = le.AppendUint32(dst, uint32(r.partition.Index))
	for _, v := range []uint64{uint64(r.first), uint64(r.next), uint64(r.newest), uint64(r.at)} {
		dst = le.AppendUint64(dst, v)
	}
	dst = le.AppendUint32(dst, uint32(r.bytes))
	dst = le.AppendUint64(dst, uint64(r.marks))
	return le.AppendUint32(dst, uint32(r.count))
}

func parseRun(p []byte) (r run) {
	le := binary.LittleEndian
	copy(r.partition.Topic[:], p)
	r.partition.Index = int32(le.Uint32(p[16:]))
	r.first, r.next, r.newest = Offset(le.Uint64(p[20:])), Offset(le.Uint64(p[28:])), Millis(le.Uint64(p[36:]))
	r.at, r.bytes = int64(le.Uint64(p[44:])), int64(le.Uint32(p[52:]))
	r.marks, r.count = int64(le.Uint64(p[56:])), int(le.Uint32(p[64:]))
	return r
}

// pack is a pack that is open. It is safe for concurrent use.
type pack struct {
	file vfs.File
	name string
	runs []run
}

// openPack reads the directory of a pack. The error wraps wal.ErrCorrupt where it is damaged.
func openPack(f vfs.File, name string) (*pack, error) {
	p := &pack{file: f, name: name}
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("queue: open %s: %w", name, err)
	}
	if size < packHeaderBytes+packTailBytes {
		return nil, p.corrupt(0, "it is too short")
	}
	var head [packHeaderBytes]byte
	var tail [packTailBytes]byte
	if err := errors.Join(p.read(head[:], 0), p.read(tail[:], size-packTailBytes)); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if string(head[:8]) != packMagic || string(tail[16:]) != packMagic {
		return nil, p.corrupt(0, "it is no pack")
	}
	if v := le.Uint32(head[8:]); v != packVersion {
		return nil, fmt.Errorf("queue: open %s: %w: %d", name, wal.ErrVersion, v)
	}
	at, count := int64(le.Uint64(tail[:])), int64(le.Uint32(tail[8:]))
	if at < packHeaderBytes || at != size-packTailBytes-count*runBytes {
		return nil, p.corrupt(size-packTailBytes, "the directory is not where it should be")
	}
	directory := make([]byte, count*runBytes)
	if err := p.read(directory, at); err != nil {
		return nil, err
	}
	if crc32.Update(crc32.Checksum(directory, castagnoli), castagnoli, tail[:12]) != le.Uint32(tail[12:]) {
		return nil, p.corrupt(at, "the directory has another checksum")
	}
	for ; len(directory) > 0; directory = directory[runBytes:] {
		r := parseRun(directory)
		if !r.fits(at) {
			return nil, p.corrupt(at, "the directory contradicts itself")
		}
		p.runs = append(p.runs, r)
	}
	return p, nil
}

// fits says that a run is in front of the directory and has what it should have.
func (r *run) fits(directory int64) bool {
	return r.at >= packHeaderBytes && r.bytes >= BatchHeaderBytes && r.at <= r.marks-r.bytes && r.count > 0 &&
		r.marks <= directory-int64(r.count)*markBytes && r.first >= 0 && r.first < r.next
}

func (p *pack) corrupt(at int64, why string) error {
	return fmt.Errorf("queue: %s at offset %d: %s: %w", p.name, at, why, wal.ErrCorrupt)
}

func (p *pack) read(dst []byte, at int64) error {
	if _, err := p.file.ReadAt(dst, at); err != nil {
		return fmt.Errorf("queue: read %s: %w", p.name, err)
	}
	return nil
}

// find appends the batches of a run from the one that has the record at an offset, or the
// first one after it, up to so many bytes; one batch at least. The run must have it.
func (p *pack) find(dst []byte, r *run, from Offset, most int) ([]byte, error) {
	return p.scan(dst, r, most, func(m mark) bool { return m.first > from }, func(b Batch) bool { return b.LastOffset() >= from })
}

// findTime is find for the first batch that has a record of a time or later.
func (p *pack) findTime(dst []byte, r *run, since Millis, most int) ([]byte, error) {
	return p.scan(dst, r, most, func(m mark) bool { return m.newest >= since }, func(b Batch) bool { return b.MaxTimestamp() >= since })
}

// scan looks for a batch from the last mark on that is not behind it. All that it reads
// is checked.
func (p *pack) scan(dst []byte, r *run, most int, behind func(mark) bool, found func(Batch) bool) ([]byte, error) {
	i, err := p.lastMark(r, behind)
	if err != nil {
		return dst, err
	}
	for start := len(dst); i < r.count; {
		all, n, err := p.readMarked(dst[:start], r, i, most)
		if err != nil {
			return dst, err
		}
		i += n
		for rest := all[start:]; len(rest) > 0; {
			b, more, err := p.cut(r, rest)
			if err != nil {
				return dst, err
			}
			if found(b) {
				return p.keep(dst, r, rest, most)
			}
			rest = more
		}
	}
	return dst, p.corrupt(r.at, "what it should have is not there")
}

// lastMark returns the last mark that is not behind what is looked for. The first one
// never is.
func (p *pack) lastMark(r *run, behind func(mark) bool) (int, error) {
	var buf [markBytes]byte
	var failed error
	i := sort.Search(r.count-1, func(i int) bool {
		if failed == nil {
			failed = p.read(buf[:], r.marks+int64(i+1)*markBytes)
		}
		return failed != nil || behind(parseMark(buf[:]))
	})
	return i, failed
}

// readMarked appends what is between a mark and the next, and between that and the last one
// that is not further from it than so many bytes, and checks it. It returns how many marks
// that is.
func (p *pack) readMarked(dst []byte, r *run, i, most int) (all []byte, n int, err error) {
	marks := make([]byte, min(r.count-i, most/markEvery+3)*markBytes)
	known := func(n int) bool { return i+n == r.count || n < len(marks)/markBytes }
	if err := p.read(marks, r.marks+int64(i)*markBytes); err != nil {
		return nil, 0, err
	}
	end := func(n int) int64 {
		if i+n == r.count {
			return r.bytes
		}
		return int64(parseMark(marks[n*markBytes:]).at)
	}
	start := end(0)
	n = 1 // what is looked for may be at its end
	reach := end(n) + int64(most)
	for i+n < r.count && known(n+1) && end(n+1) <= reach {
		n++
	}
	if start < 0 || end(n) <= start || end(n) > r.bytes {
		return nil, 0, p.corrupt(r.marks+int64(i)*markBytes, "its index contradicts itself")
	}
	at := len(dst)
	dst = append(dst, make([]byte, end(n)-start)...)
	if err := p.read(dst[at:], r.at+start); err != nil {
		return nil, 0, err
	}
	for k := range n {
		from, to := end(k)-start, end(k+1)-start
		if from < 0 || from > to || to > end(n)-start {
			return nil, 0, p.corrupt(r.marks+int64(i+k)*markBytes, "its index contradicts itself")
		}
		if crc32.Checksum(dst[at:][from:to], castagnoli) != parseMark(marks[k*markBytes:]).sum {
			return nil, 0, p.corrupt(r.at+start+from, fmt.Sprintf("the next %d bytes have another checksum", to-from))
		}
	}
	return dst, n, nil
}

// keep appends the batches at the beginning of what was read, up to so many bytes.
func (p *pack) keep(dst []byte, r *run, found []byte, most int) ([]byte, error) {
	n := 0
	for rest := found; len(rest) > 0; {
		b, more, err := p.cut(r, rest)
		if err != nil {
			return dst, err
		}
		if n > 0 && n+len(b) > most {
			break
		}
		n += len(b)
		rest = more
	}
	return append(dst, found[:n]...), nil
}

// cut takes a batch from what was read of a run.
func (p *pack) cut(r *run, read []byte) (Batch, []byte, error) {
	b, rest, err := CutBatch(read)
	if err != nil || b.BaseOffset() < r.first || b.LastOffset() >= r.next {
		return nil, nil, p.corrupt(r.at, "it has what is no batch of it")
	}
	return b, rest, nil
}
