package rsmtest

import "maru.example/rsm"

// Recorded is a List whose decisions are recorded. The effects of a batch are the
// rule and the batch.
type Recorded struct {
	List
	Rule string // part of the rules of the machine

	effects []byte
}

var _ rsm.Recorder = (*Recorded)(nil)

// Apply implements rsm.Machine.
func (r *Recorded) Apply(dst []byte, b rsm.Batch) []byte {
	r.effects = append(append(r.effects[:0], r.Rule...), b.Data...)
	return r.List.Apply(dst, b)
}

// Effects implements rsm.Recorder.
func (r *Recorded) Effects() []byte { return r.effects }
