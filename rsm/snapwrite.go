package rsm

import (
	"errors"
	"time"

	"maru.example/vfs"
)

// While entries are applied, a snapshot uses the disk for one part in paceShare
// of the time: the syncs of the log wait behind those of the snapshot.
const (
	paceShare   = 4
	longestRest = time.Second
)

// snapshotFileWriter writes a snapshot's file on a loop of its own, for the
// replica's loop, to which it gives the outcomes. What is below the line is
// touched by its own loop.
type snapshotFileWriter struct {
	r     *Replica
	bytes uint64 // of the content; read by the replica's loop after finish

	at      State
	files   []KeptFile // that the snapshot counts on
	work    []func()   // in order, while it rests
	resting bool
	entries uint64 // the replica's, when it last rested
	file    vfs.File
	out     *snapshotWriter
	err     error // of all that comes later
}

func newSnapshotFileWriter(r *Replica, at State, files []KeptFile) *snapshotFileWriter {
	w := &snapshotFileWriter{r: r, at: at, files: files, entries: r.counters.entries.Load()}
	w.do(w.create)
	return w
}

// do runs f on the writer's loop, after its rest.
func (w *snapshotFileWriter) do(f func()) {
	w.r.disk.Post(func() {
		w.work = append(w.work, f)
		w.run()
	})
}

func (w *snapshotFileWriter) run() {
	for len(w.work) > 0 && !w.resting {
		f := w.work[0]
		w.work = w.work[1:]
		start := w.r.runtime.Elapsed()
		f()
		w.rest(w.r.runtime.Elapsed() - start)
	}
}

// rest waits after the disk was used for a while, unless nothing is applied.
func (w *snapshotFileWriter) rest(used time.Duration) {
	entries := w.r.counters.entries.Load()
	idle := entries == w.entries
	w.entries = entries
	if idle || w.err != nil || used == 0 {
		return
	}
	w.resting = true
	w.r.disk.After(min((paceShare-1)*used, longestRest), func() {
		w.resting = false
		w.run()
	})
}

func (w *snapshotFileWriter) create() {
	f, err := w.r.files.create(w.at.Index)
	if err != nil {
		w.err = err
		return
	}
	w.file = f
	w.out, w.err = newSnapshotWriter(f, w.at, w.files)
}

// write writes a buffer and gives it back.
func (w *snapshotFileWriter) write(buf []byte, done func([]byte, error)) {
	w.do(func() {
		if w.err == nil {
			if err := w.r.options.Room(); err != nil {
				w.err = err
			} else {
				w.err = w.out.write(buf)
			}
		}
		err := w.err
		w.r.loop.Post(func() { done(buf, err) })
	})
}

// finish makes the file durable and gives it its name, then removes those that
// are not needed any more.
func (w *snapshotFileWriter) finish(keep []Index, done func(error)) {
	w.do(func() {
		if w.err == nil {
			w.err = w.out.finish()
		}
		w.err = errors.Join(w.err, w.close())
		if w.err == nil {
			w.err = w.r.files.commit(w.at.Index)
		}
		if w.err != nil {
			w.discard()
		} else {
			w.bytes = w.out.bytes
			if err := w.r.files.prune(keep); err != nil {
				w.r.options.Logger.Warn("rsm: old snapshots stay", "dir", w.r.dir, "error", err)
			}
		}
		err := w.err
		w.r.loop.Post(func() { done(err) })
	})
}

// abort removes what was written; later calls do nothing.
func (w *snapshotFileWriter) abort() {
	w.r.disk.Post(func() {
		w.work, w.err = nil, errSnapshotAborted
		_ = w.close() // of a file that is about to be removed
		w.discard()
	})
}

func (w *snapshotFileWriter) close() error {
	f := w.file
	if f == nil {
		return nil
	}
	w.file = nil
	return f.Close()
}

func (w *snapshotFileWriter) discard() {
	if err := w.r.files.discard(w.at.Index); err != nil {
		w.r.options.Logger.Warn("rsm: a temporary file stays", "dir", w.r.dir, "error", err)
	}
}
