// Package rsmtest has machines for the tests of replicated logs.
package rsmtest

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"maru.example/rsm"
)

// List is a machine that keeps every batch, with index and time. It answers with
// the number of batches so far, in 8 bytes. The zero value is empty.
type List struct {
	Batches []Record
	// Open says that a snapshot is.
	Open bool
}

// Record is a batch in a List.
type Record struct {
	Index rsm.Index
	Time  int64
	Data  string
}

var _ rsm.Machine = (*List)(nil)

// Apply implements rsm.Machine.
func (l *List) Apply(dst []byte, b rsm.Batch) []byte {
	l.Batches = append(l.Batches, Record{Index: b.Index, Time: b.Time, Data: string(b.Data)})
	return binary.LittleEndian.AppendUint64(dst, uint64(len(l.Batches)))
}

// Data returns what was applied, in order.
func (l *List) Data() []string {
	all := make([]string, len(l.Batches))
	for i, r := range l.Batches {
		all[i] = r.Data
	}
	return all
}

// Snapshot implements rsm.Machine.
func (l *List) Snapshot() rsm.Snapshot {
	if l.Open {
		panic("rsmtest: two snapshots are open")
	}
	l.Open = true
	return &listSnapshot{list: l, rest: slices.Clip(l.Batches)}
}

type listSnapshot struct {
	list *List
	rest []Record
}

const listHead = 20 // of a record in a snapshot

func (s *listSnapshot) Next(dst []byte, budget int) ([]byte, bool) {
	for start := len(dst); len(s.rest) > 0 && len(dst)-start < budget; s.rest = s.rest[1:] {
		r := s.rest[0]
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Index))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Time))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Data)))
		dst = append(dst, r.Data...)
	}
	return dst, len(s.rest) > 0
}

func (s *listSnapshot) Close() {
	if !s.list.Open {
		panic("rsmtest: a snapshot is closed twice")
	}
	s.list.Open = false
}

// Restore implements rsm.Machine.
func (l *List) Restore(r io.Reader) error {
	l.Batches = nil
	for {
		var head [listHead]byte
		if _, err := io.ReadFull(r, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		data := make([]byte, binary.LittleEndian.Uint32(head[16:]))
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		l.Batches = append(l.Batches, Record{
			Index: rsm.Index(binary.LittleEndian.Uint64(head[:])),
			Time:  int64(binary.LittleEndian.Uint64(head[8:])),
			Data:  string(data),
		})
	}
}
