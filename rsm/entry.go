package rsm

import (
	"encoding/binary"
	"fmt"

	"maru.example/wal"
)

// An entry is the content of one log record: a header, the lengths of the
// proposals, and the proposals. See docs/format/rsm.md.
const (
	entryVersion     = 1
	entryHeaderBytes = 16
	entryLengthBytes = 4 // for each proposal
)

// maxEntryOption bounds Options.MaxEntryBytes: an entry that has nearly reached
// it and gets one more proposal of the largest kind still fits into a record.
const maxEntryOption = 8 << 20

var _ = [wal.MaxRecordBytes - maxEntryOption - MaxProposalBytes - entryHeaderBytes - entryLengthBytes]byte{}

// entry is a decoded record. It refers to the record's bytes.
type entry struct {
	time    int64
	lengths []byte
	data    []byte
}

// appendEntryHeader appends the header of an entry with count proposals; the
// lengths and the proposals follow it.
func appendEntryHeader(dst []byte, count int, at int64) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, entryVersion)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(count))
	return binary.LittleEndian.AppendUint64(dst, uint64(at))
}

// appendEntryLength appends the length of the next proposal to the header.
func appendEntryLength(dst []byte, length int) []byte {
	return binary.LittleEndian.AppendUint32(dst, uint32(length))
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
