package rsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"maru.example/wal"
)

// A Recorder is a machine of whose decisions its replicas keep a record, on the disk
// beside the log: of each entry the results, and the effects. Both are
// deterministic: where an entry is applied again, they have to be the same.
type Recorder interface {
	Machine
	// Effects returns what the batch that was applied last changed, in the encoding
	// of the system, valid until the next Apply.
	Effects() []byte
}

// A Reviewer is a Recorder whose programs have not always recorded the same.
type Reviewer interface {
	Recorder
	// Notes is the number of what this program records, from 1: each one that records something more, or otherwise,
	// has the next. It is kept with each decision; those of before there were numbers have 0.
	Notes() byte
	// SameDecision says whether a batch that is decided again was decided so before by a program of another
	// number, whose record differs from this one's.
	SameDecision(was, is DecidedBatch) bool
}

// ErrDecision says that a program decides an entry otherwise than it was decided: its
// rules differ, or the state or the record is damaged.
var ErrDecision = errors.New("rsm: decided otherwise before")

// Decided is a committed entry with what the machine decided on it.
type Decided struct {
	Index Index
	Term  uint64 // in which it was proposed
	Time  int64  // of its batches, in nanoseconds since 1970 UTC; never decreases
	Entry []byte // as it is in the log (see AppendEntry); empty: there is nothing to decide
	// Decision holds the results and effects of the entry's batches: see
	// docs/format/rsm.md. Entry and Decision are never changed.
	Decision []byte
}

// DecidedBatch is one batch of a decided entry.
type DecidedBatch struct {
	Data    []byte
	Results []byte
	Effects []byte
}

const (
	decisionVersion     = 1
	decisionHeaderBytes = 8 // version 4, number of batches 4
	decisionBatchBytes  = 8 // of results 4, of effects 4
)

// Batches calls f with the batches of the entry, in order. The error wraps
// wal.ErrCorrupt if entry and decision do not belong together, or is f's.
func (d *Decided) Batches(f func(DecidedBatch) error) error {
	if len(d.Entry) == 0 && len(d.Decision) == 0 {
		return nil
	}
	e, err := decodeEntry(d.Entry)
	if err != nil {
		return err
	}
	r, err := decodeDecision(d.Decision)
	if err != nil {
		return err
	}
	if r.count != e.count() {
		return fmt.Errorf("entry %d has %d batches, its decision %d: %w", d.Index, e.count(), r.count, wal.ErrCorrupt)
	}
	data := e.data
	for i := range e.count() {
		n := e.length(i)
		results, effects := r.next()
		if err := f(DecidedBatch{data[:n:n], results, effects}); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// Commands calls f with the data of each batch of the entry, in order, whether the decision is known or not. The error
// wraps wal.ErrCorrupt, or is f's.
func (d *Decided) Commands(f func(data []byte) error) error {
	if len(d.Entry) == 0 {
		return nil
	}
	e, err := decodeEntry(d.Entry)
	if err != nil {
		return err
	}
	data := e.data
	for i := range e.count() {
		n := e.length(i)
		if err := f(data[:n:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// decision is what an entry's decision holds. It refers to its bytes.
type decision struct {
	count int
	sizes []byte
	data  []byte
}

// decodeDecision checks the whole of a decision. The error wraps wal.ErrCorrupt, but
// for a version that is not known.
func decodeDecision(b []byte) (decision, error) {
	if len(b) < decisionHeaderBytes {
		return decision{}, fmt.Errorf("decision of %d bytes has no header: %w", len(b), wal.ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(b); v != decisionVersion {
		return decision{}, fmt.Errorf("decision has version %d, this program reads %d: run the version that wrote it", v, decisionVersion)
	}
	count, rest := int64(binary.LittleEndian.Uint32(b[4:])), b[decisionHeaderBytes:]
	if count == 0 || count*decisionBatchBytes > int64(len(rest)) {
		return decision{}, fmt.Errorf("decision of %d bytes says it is of %d batches: %w", len(b), count, wal.ErrCorrupt)
	}
	d := decision{count: int(count), sizes: rest[:count*decisionBatchBytes], data: rest[count*decisionBatchBytes:]}
	total := int64(0)
	for at := 0; at < len(d.sizes); at += 4 {
		total += int64(binary.LittleEndian.Uint32(d.sizes[at:]))
	}
	if total != int64(len(d.data)) {
		return decision{}, fmt.Errorf("decision has %d bytes of results and effects, their lengths add up to %d: %w", len(d.data), total, wal.ErrCorrupt)
	}
	return d, nil
}

// same says whether an entry that is decided again was decided so before.
func (d *Decided) same(was *Decided, by Reviewer) bool {
	if was.Term != d.Term || was.Time != d.Time {
		return false
	}
	if bytes.Equal(was.Decision, d.Decision) {
		return true
	}
	if by == nil {
		return false
	}
	again := *was
	again.Entry = d.Entry
	var before []DecidedBatch
	if err := again.Batches(func(b DecidedBatch) error {
		before = append(before, b)
		return nil
	}); err != nil {
		return false
	}
	same := true
	err := d.Batches(func(b DecidedBatch) error {
		same = same && len(before) > 0 && by.SameDecision(before[0], b)
		before = before[min(1, len(before)):]
		return nil
	})
	return err == nil && same
}

// next takes the next batch's results and effects.
func (d *decision) next() (results, effects []byte) {
	n, m := binary.LittleEndian.Uint32(d.sizes), binary.LittleEndian.Uint32(d.sizes[4:])
	results, effects = d.data[:n:n], d.data[n:n+m:n+m]
	d.sizes, d.data = d.sizes[decisionBatchBytes:], d.data[n+m:]
	return results, effects
}

// decisionWriter makes the decision of an entry, batch by batch.
type decisionWriter struct {
	sizes []byte
	data  []byte
}

func (w *decisionWriter) begin() { w.sizes, w.data = w.sizes[:0], w.data[:0] }

func (w *decisionWriter) add(results, effects []byte) {
	w.sizes = binary.LittleEndian.AppendUint32(w.sizes, uint32(len(results)))
	w.sizes = binary.LittleEndian.AppendUint32(w.sizes, uint32(len(effects)))
	w.data = append(append(w.data, results...), effects...)
}

// end returns the decision, in bytes of its own; nil if there was no batch.
func (w *decisionWriter) end() []byte {
	if len(w.sizes) == 0 {
		return nil
	}
	b := make([]byte, 0, decisionHeaderBytes+len(w.sizes)+len(w.data))
	b = binary.LittleEndian.AppendUint32(b, decisionVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(w.sizes)/decisionBatchBytes))
	return append(append(b, w.sizes...), w.data...)
}

// AppendDecision appends the decision on an entry whose batches were answered so:
// for tests, and for what makes entries elsewhere than in a replica.
func AppendDecision(dst []byte, batches []DecidedBatch) []byte {
	var w decisionWriter
	for _, b := range batches {
		w.add(b.Results, b.Effects)
	}
	return append(dst, w.end()...)
}
