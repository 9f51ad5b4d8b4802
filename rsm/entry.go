package rsm

import (
	"encoding/binary"
	"fmt"
	"slices"

	"maru.example/wal"
)

// An entry is the content of one log record: a header, the lengths of the
// proposals, and the proposals. See docs/format/rsm.md.
const (
	entryVersion     = 1
	entryHeaderBytes = 16
	entryLengthBytes = 4 // for each proposal
)

// entry is a decoded record. It refers to the record's bytes.
type entry struct {
	time    int64
	lengths []byte
	data    []byte
}

// AppendEntry appends the entry that holds the proposals, proposed at a time in
// nanoseconds since 1970 UTC.
func AppendEntry(dst []byte, at int64, proposals []*Proposal) []byte {
	dst = slices.Grow(dst, EntryBytes(proposals))
	dst = binary.LittleEndian.AppendUint32(dst, entryVersion)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(proposals)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at))
	for _, p := range proposals {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p.Data)))
	}
	for _, p := range proposals {
		dst = append(dst, p.Data...)
	}
	return dst
}

// EntryBytes returns the size of the entry that holds the proposals.
func EntryBytes(proposals []*Proposal) int {
	n := entryHeaderBytes + entryLengthBytes*len(proposals)
	for _, p := range proposals {
		n += len(p.Data)
	}
	return n
}

// EntryTime returns the time at which an entry was proposed, 0 if it is none.
func EntryTime(entry []byte) int64 {
	if len(entry) < entryHeaderBytes {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(entry[8:]))
}

// decodeEntry checks the whole of a record and returns it as an entry. The error
// wraps wal.ErrCorrupt, but for a version that is not known.
func decodeEntry(record []byte) (entry, error) {
	if len(record) < entryHeaderBytes {
		return entry{}, fmt.Errorf("entry of %d bytes has no header: %w", len(record), wal.ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(record); v != entryVersion {
		return entry{}, fmt.Errorf("entry has version %d, this program reads %d: run the version that wrote it", v, entryVersion)
	}
	count := int64(binary.LittleEndian.Uint32(record[4:]))
	e := entry{time: int64(binary.LittleEndian.Uint64(record[8:]))}
	rest := record[entryHeaderBytes:]
	if count == 0 || count*entryLengthBytes > int64(len(rest)) {
		return entry{}, fmt.Errorf("entry of %d bytes says it holds %d proposals: %w", len(record), count, wal.ErrCorrupt)
	}
	e.lengths, e.data = rest[:count*entryLengthBytes], rest[count*entryLengthBytes:]
	total := int64(0)
	for i := range int(count) {
		total += int64(e.length(i))
	}
	if total != int64(len(e.data)) {
		return entry{}, fmt.Errorf("entry's proposals have %d bytes, their lengths add up to %d: %w", len(e.data), total, wal.ErrCorrupt)
	}
	return e, nil
}

// count returns how many proposals the entry holds.
func (e *entry) count() int { return len(e.lengths) / entryLengthBytes }

// length returns the length of the i-th proposal.
func (e *entry) length(i int) uint32 {
	return binary.LittleEndian.Uint32(e.lengths[i*entryLengthBytes:])
}
