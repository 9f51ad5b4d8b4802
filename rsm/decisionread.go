package rsm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"maru.example/wal"
)

func appendDecisionHeader(dst []byte, v *DecisionPlace) []byte {
	dst = append(dst, decisionVersion, v.Notes, 0, 0, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, v.Term)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.Time))
	return binary.LittleEndian.AppendUint64(dst, v.Place)
}

// decodeDecisionRecord reads a record, whose decision refers to b.
func decodeDecisionRecord(index Index, b []byte) (DecisionPlace, error) {
	if len(b) < decisionRecordBytes {
		return DecisionPlace{}, fmt.Errorf("decision of %d bytes has no header: %w", len(b), wal.ErrCorrupt)
	}
	if b[0] != decisionVersion {
		return DecisionPlace{}, fmt.Errorf("decision has version %d, this program reads %d: run the version that wrote it", b[0], decisionVersion)
	}
	v := DecisionPlace{Place: binary.LittleEndian.Uint64(b[24:]), Notes: b[1]}
	v.Index, v.Term, v.Time = index, binary.LittleEndian.Uint64(b[8:]), int64(binary.LittleEndian.Uint64(b[16:]))
	if b = b[decisionRecordBytes:]; len(b) > 0 {
		if _, err := decodeDecision(b); err != nil {
			return DecisionPlace{}, err
		}
		v.Decision = b
	}
	return v, nil
}

// decisionReader reads the decisions of one log.
type decisionReader struct {
	reader *wal.Reader
	next   Index // that it gives next
}

// read returns the decision on an entry, valid until the next call.
func (r *decisionReader) read(l *wal.Log, at Index) (v DecisionPlace, err error) {
	if r.reader == nil || r.next != at {
		if err := r.close(); err != nil {
			return v, err
		}
		if r.reader, err = l.Reader(wal.Index(at)); err != nil {
			return v, err
		}
	}
	i, b, err := r.reader.Next()
	if err != nil {
		return v, errors.Join(err, r.close())
	}
	if r.next = Index(i) + 1; Index(i) != at {
		return v, fmt.Errorf("decision on entry %d, want %d: %w", i, at, wal.ErrCorrupt)
	}
	return decodeDecisionRecord(at, b)
}

func (r *decisionReader) close() error {
	l := r.reader
	if l == nil {
		return nil
	}
	r.reader = nil
	return l.Close()
}

// Wait returns when there is an entry at an index or after it.
func (d *DecisionLog) Wait(ctx context.Context, at Index) error {
	for {
		d.mu.Lock()
		if n := len(d.recent); n > 0 && d.recent[n-1].Index >= at {
			d.mu.Unlock()
			return nil
		}
		if d.log != nil && Index(d.log.Last()) >= at {
			d.mu.Unlock()
			return nil
		}
		if d.err != nil {
			err := d.err
			d.mu.Unlock()
			return err
		}
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Recent returns the entry at an index, if it is in memory.
func (d *DecisionLog) Recent(at Index) (DecisionPlace, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, found := slices.BinarySearchFunc(d.recent, at, func(v DecisionPlace, at Index) int {
		switch {
		case v.Index < at:
			return -1
		case v.Index > at:
			return 1
		}
		return 0
	})
	if !found {
		return DecisionPlace{}, false
	}
	return d.recent[i], true
}

// Newest returns the newest entry that was decided since the record was opened, and its time; zeros
// if there is none.
func (d *DecisionLog) Newest() (Index, int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.recent); n > 0 {
		return d.recent[n-1].Index, d.recent[n-1].Time
	}
	return 0, 0
}

// Since returns the entry from which on all decisions are on record, one after the other, and the last of
// them; zeros if none is. Of a record that was closed it says what was there then.
func (d *DecisionLog) Since() (first, last Index) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.recent)
	if n > 0 {
		first, last = d.recent[0].Index, d.recent[n-1].Index
		if int(last-first) != n-1 {
			for first = last; d.recent[n-2].Index == first-1; n-- {
				first--
			}
			return first, last
		}
	}
	log := d.log
	if log == nil {
		log = d.was
	}
	if log == nil || log.Last() < log.First() {
		return first, last
	}
	if end := Index(log.Last()); n == 0 || end+1 >= first {
		first, last = Index(log.First()), max(last, end)
	}
	return first, last
}

// DecisionReader reads the decisions of a replica in order, from memory and from the
// disk. It is for one goroutine.
type DecisionReader struct {
	log   *DecisionLog
	file  *wal.Log // that is read
	old   bool     // it is the reader's own: not the newest
	first Index    // of an old one
	decisionReader
}

// Reader returns a reader.
func (d *DecisionLog) Reader() *DecisionReader { return &DecisionReader{log: d} }

// Next waits until there is a decision at an index, and returns it. Entry is set where the
// entry is in memory; else it is at Place in the consensus's log, unless the decision is empty. What is
// returned is valid until the next call. It returns a GapError where the
// decision is not on record.
func (r *DecisionReader) Next(ctx context.Context, at Index) (DecisionPlace, bool, error) {
	if err := r.log.Wait(ctx, at); err != nil {
		return DecisionPlace{}, false, err
	}
	if v, ok := r.log.Recent(at); ok {
		return v, true, nil
	}
	if err := r.choose(at); err != nil {
		return DecisionPlace{}, false, err
	}
	v, err := r.read(r.file, at)
	if errors.Is(err, wal.ErrTruncated) {
		err = &GapError{at, Index(r.file.First())}
	}
	return v, false, err
}

// choose opens the log that has the decision at an index.
func (r *DecisionReader) choose(at Index) error {
	d := r.log
	d.mu.Lock()
	firsts, newest, recent, ended := d.firsts, d.log, d.recent, d.err
	d.mu.Unlock()
	i, found := slices.BinarySearch(firsts, at)
	if !found {
		i--
	}
	switch {
	case newest == nil && ended != nil: // what it had it has still
		return ended
	case i < 0 && len(firsts) > 0:
		return &GapError{at, firsts[0]}
	case i < 0 || newest == nil:
		return &GapError{At: at}
	case i == len(firsts)-1 && at > Index(newest.Last()): // a new log is about to begin
		n := slices.IndexFunc(recent, func(v DecisionPlace) bool { return v.Index > at })
		if n < 0 {
			return &GapError{At: at}
		}
		return &GapError{at, recent[n].Index}
	}
	if i == len(firsts)-1 {
		if newest == r.file {
			return nil
		}
		err := r.Close()
		r.file = newest
		return err
	}
	if !r.old || r.first != firsts[i] {
		if err := r.Close(); err != nil {
			return err
		}
		l, err := d.open(firsts[i], 0)
		if err != nil {
			return err
		}
		r.file, r.old, r.first = l, true, firsts[i]
	}
	if Index(r.file.Last()) < at {
		return &GapError{at, firsts[i+1]}
	}
	return nil
}

// Close closes what the reader has opened.
func (r *DecisionReader) Close() error {
	err := r.close()
	if r.old {
		err = errors.Join(err, r.file.Close())
	}
	r.file, r.old = nil, false
	return err
}

// Cut lets go what is on record before an index, as far as whole files go.
func (d *DecisionLog) Cut(before Index) {
	d.loop.Post(func() {
		if err := d.cut(before); err != nil {
			d.logger.Warn("rsm: the record of decisions is not cut", "dir", d.dir, "error", err)
		}
	})
}

func (d *DecisionLog) cut(before Index) error {
	d.mu.Lock()
	log, firsts := d.log, d.firsts
	d.mu.Unlock()
	if log == nil {
		return nil
	}
	old := 0
	for old+1 < len(firsts) && firsts[old+1] <= before {
		if err := wal.Remove(d.fs, d.path(firsts[old])); err != nil {
			return err
		}
		old++
	}
	d.mu.Lock()
	d.firsts = slices.Clone(firsts[old:])
	d.mu.Unlock()
	return log.TruncateBefore(min(wal.Index(before), log.Last()+1))
}
