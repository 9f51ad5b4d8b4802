package rsmraft

import (
	"encoding/binary"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/wal"
)

// A record of the host's log has a header and, for an entry, its data. See
// docs/format/raft.md.
const (
	recordVersion     = 1
	recordHeaderBytes = 32
)

// recordKind says what a record holds. The numbers are part of the format.
type recordKind uint8

const (
	recordEntry     recordKind = 1 // an entry for machines
	recordConfEntry recordKind = 2 // an entry that changes the members (raftpb.ConfChangeV2)
	recordHardState recordKind = 3 // term, vote and commit index
	recordSnapshot  recordKind = 4 // the group goes on after index: what its log had before is void
	recordRemoved   recordKind = 5 // the group was removed from this node: its records before are void
	recordBegin     recordKind = 6 // the group begins after index, with the configuration in data (raftpb.ConfState)
)

// record is the header of a record of one group.
type record struct {
	kind  recordKind
	group GroupID
	term  uint64
	index uint64 // of the entry or snapshot; of a hard state, the commit index
	vote  uint64 // of a hard state
	data  []byte
}

// appendRecordHeader appends what comes before the data.
func appendRecordHeader(dst []byte, r *record) []byte {
	dst = append(dst, recordVersion, byte(r.kind), 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.group))
	dst = binary.LittleEndian.AppendUint64(dst, r.term)
	dst = binary.LittleEndian.AppendUint64(dst, r.index)
	return binary.LittleEndian.AppendUint64(dst, r.vote)
}

// decodeRecord checks a record. Its data refers to b. The error wraps
// wal.ErrCorrupt, but for a version that is not known: ErrVersion.
func decodeRecord(b []byte) (record, error) {
	if len(b) < recordHeaderBytes {
		return record{}, fmt.Errorf("record of %d bytes has no header: %w", len(b), wal.ErrCorrupt)
	}
	if b[0] != recordVersion {
		return record{}, fmt.Errorf("%w: record of version %d, this program reads %d: run the version that wrote it", ErrVersion, b[0], recordVersion)
	}
	r := record{
		kind:  recordKind(b[1]),
		group: GroupID(binary.LittleEndian.Uint32(b[4:])),
		term:  binary.LittleEndian.Uint64(b[8:]),
		index: binary.LittleEndian.Uint64(b[16:]),
		vote:  binary.LittleEndian.Uint64(b[24:]),
		data:  b[recordHeaderBytes:],
	}
	switch r.kind {
	case recordEntry, recordConfEntry:
		if r.index == 0 || r.term == 0 {
			return record{}, fmt.Errorf("entry %d of term %d: %w", r.index, r.term, wal.ErrCorrupt)
		}
	case recordBegin:
	case recordHardState, recordSnapshot, recordRemoved:
		if len(r.data) > 0 {
			return record{}, fmt.Errorf("record of kind %d has %d bytes of data: %w", r.kind, len(r.data), wal.ErrCorrupt)
		}
	default:
		return record{}, fmt.Errorf("record of kind %d: %w", r.kind, wal.ErrCorrupt)
	}
	return r, nil
}

// entryRecord returns the record of an entry.
func entryRecord(group GroupID, e *pb.Entry) record {
	r := record{kind: recordEntry, group: group, term: e.GetTerm(), index: e.GetIndex(), data: e.GetData()}
	if e.GetType() != pb.EntryNormal {
		r.kind = recordConfEntry
	}
	return r
}

// entry returns the entry in a record.
func (r *record) entry(data []byte) *pb.Entry {
	kind := pb.EntryNormal
	if r.kind == recordConfEntry {
		kind = pb.EntryConfChangeV2
	}
	return &pb.Entry{Term: &r.term, Index: &r.index, Type: &kind, Data: data}
}
