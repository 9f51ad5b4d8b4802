package rsm

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"maru.example/vfs"
	"maru.example/wal"
)

// recovered is where a machine is after recovery.
type recovered struct {
	Recovery
	time          int64 // of the last entry
	snapshotBytes int64
	logBytes      int64 // of the entries that were replayed
}

// recoverMachine restores the newest good one of the snapshots that were found,
// oldest first, and replays the log after it.
func recoverMachine(m Machine, log *wal.Log, files *snapshotDir, found []wal.Index, said *progress) (recovered, error) {
	var state recovered
	if err := files.clean(); err != nil {
		said.logger.Warn("rsm: temporary files stay", "error", err)
	}
	if err := state.restore(m, log, files, found, said); err != nil {
		return state, err
	}
	said.logger.Info("rsm: replaying the log", "snapshot_index", uint64(state.SnapshotIndex), "last_index", uint64(log.Last()))
	if err := state.replay(m, log, said); err != nil {
		return state, err
	}
	said.recovered(&state.Recovery, log.Last())
	return state, nil
}

// restore restores the newest good snapshot, or the initial state. The log goes
// on from there, or it is an error.
func (s *recovered) restore(m Machine, log *wal.Log, files *snapshotDir, found []wal.Index, said *progress) error {
	for _, i := range slices.Backward(found) {
		name := snapshotFile(i)
		if err := s.restoreFile(m, files, i, said); err != nil {
			said.logger.Error("rsm: snapshot passed over", "name", name, "error", err)
			s.Damaged = append(s.Damaged, name)
			continue
		}
		files.addGood(i)
		return s.connects(log)
	}
	if err := m.Restore(strings.NewReader("")); err != nil {
		return fmt.Errorf("restore the initial state: %w", err)
	}
	return s.connects(log)
}

// restoreFile restores one snapshot. After an error the machine's state is
// undefined.
func (s *recovered) restoreFile(m Machine, files *snapshotDir, i wal.Index, said *progress) (err error) {
	f, err := files.fs.Open(path.Join(files.dir, snapshotFile(i)), vfs.Read)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
	}()
	r, err := newSnapshotReader(f)
	if err != nil {
		return err
	}
	if r.at.Index != i {
		return fmt.Errorf("holds index %d: %w", r.at.Index, wal.ErrCorrupt)
	}
	if err := m.Restore(&progressReader{snapshotReader: r, said: said}); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	left, err := io.Copy(io.Discard, r)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if left > 0 {
		return fmt.Errorf("the machine left %d bytes of it", left)
	}
	s.SnapshotIndex, s.time, s.snapshotBytes = i, r.at.Time, int64(r.bytes)
	return nil
}

// connects checks that the log holds all that came after the snapshot.
func (s *recovered) connects(log *wal.Log) error {
	first := log.First() // it reaches the snapshot: openLog asked for that
	switch {
	case first <= s.SnapshotIndex+1:
		return nil
	case len(s.Damaged) > 0:
		return fmt.Errorf("the log begins at index %d and the good snapshots end at %d: bring back one of the damaged snapshots from a copy (%s), or the log before: %w", first, s.SnapshotIndex, strings.Join(s.Damaged, ", "), wal.ErrCorrupt)
	default:
		return fmt.Errorf("the log begins at index %d and the snapshots end at %d: bring back a newer snapshot from a copy, or the log before: %w", first, s.SnapshotIndex, wal.ErrCorrupt)
	}
}

// replay feeds the log after the snapshot to the machine.
func (s *recovered) replay(m Machine, log *wal.Log, said *progress) (err error) {
	next, last := s.SnapshotIndex+1, log.Last()
	if next > last {
		return nil
	}
	r, err := log.Reader(next)
	if err != nil {
		return fmt.Errorf("read the log from index %d: %w", next, err)
	}
	defer func() {
		err = errors.Join(err, r.Close())
	}()
	var result []byte
	for ; next <= last; next++ {
		index, record, err := r.Next()
		if err != nil {
			return fmt.Errorf("read index %d of the log: %w", next, err)
		}
		if index != next {
			return fmt.Errorf("the log has index %d where %d is expected: %w", index, next, wal.ErrCorrupt)
		}
		if result, err = s.replayEntry(m, index, record, result); err != nil {
			return fmt.Errorf("replay index %d: %w", index, err)
		}
		said.replayed(index, last)
	}
	return nil
}

// replayEntry applies the entry in a record. result is a buffer to use anew.
func (s *recovered) replayEntry(m Machine, index wal.Index, record, result []byte) ([]byte, error) {
	e, err := decodeEntry(record)
	if err != nil {
		return nil, err
	}
	if e.time < s.time {
		return nil, fmt.Errorf("time %d is before that of the last entry, %d: %w", e.time, s.time, wal.ErrCorrupt)
	}
	s.time = e.time
	data := e.data
	for i := range e.count() {
		n := e.length(i)
		result = m.Apply(result[:0], Batch{Index: index, Time: e.time, Data: data[:n:n]})
		data = data[n:]
	}
	s.Entries++
	s.Batches += uint64(e.count())
	s.logBytes += int64(len(record))
	return result, nil
}
