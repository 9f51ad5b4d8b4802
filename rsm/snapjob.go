package rsm

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"maru.example/vfs"
)

var errSnapshotAborted = errors.New("rsm: snapshot given up")

// snapshotJob is a snapshot under way: the machine's side of it and the
// goroutine that writes the file.
type snapshotJob struct {
	at      Position
	source  Snapshot // nil when all of it was handed over
	callers []chan error
	chunks  chan []byte // to the file; closed after the last
	free    chan []byte // the way back
	aborted chan struct{}
	done    chan error // the outcome
	bytes   int64      // of the file's content; read after done
}

// write is the goroutine of a snapshot under way: it writes the file, then
// makes room.
func (j *snapshotJob) write(n *Node, files *snapshotDir) {
	if err := j.save(n, files); err != nil {
		j.done <- err
		return
	}
	if err := files.prune(); err != nil {
		n.options.Logger.Warn("rsm: old snapshots stay", "dir", n.dir, "error", err)
	}
	if n.options.CutLog && len(files.good) == snapshotsKept {
		if err := n.log.TruncateBefore(files.good[0] + 1); err != nil {
			n.options.Logger.Warn("rsm: log is not cut", "dir", n.dir, "error", err)
		}
	}
	j.done <- nil
}

// save writes the chunks to a temporary file until the last, and names it. It
// leaves no file behind if it fails.
func (j *snapshotJob) save(n *Node, files *snapshotDir) error {
	if err := n.hasRoom(n.counters.snapshotBytes.Load()); err != nil { // it will be about as large as the last one
		return err
	}
	f, err := files.create(j.at.Index)
	if err != nil {
		return err
	}
	if err = errors.Join(j.fill(n, f), f.Close()); err == nil {
		err = files.commit(j.at.Index)
	}
	if err != nil {
		return errors.Join(err, files.discard(j.at.Index))
	}
	return nil
}

// fill writes the content of the file and makes it durable.
func (j *snapshotJob) fill(n *Node, f vfs.File) error {
	w, err := newSnapshotWriter(f, j.at)
	if err != nil {
		return err
	}
	pace := newPace(n)
	defer pace.stop()
	for {
		select {
		case buf, ok := <-j.chunks:
			if !ok {
				j.bytes = int64(w.bytes)
				return w.finish()
			}
			if err := n.hasRoom(int64(len(buf))); err != nil {
				return err
			}
			start := n.options.Now()
			if err := w.write(buf); err != nil {
				return err
			}
			pace.rest(n.options.Now().Sub(start), j.aborted)
			j.free <- buf
		case <-j.aborted:
			return errSnapshotAborted
		}
	}
}

// hasRoom returns ErrDiskFull if so many bytes of a snapshot would take the disk
// below the reserve: that is for the log.
func (n *Node) hasRoom(bytes int64) error {
	if n.options.ReserveBytes < 0 {
		return nil
	}
	free, err := n.options.FS.Free(n.dir)
	if err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	return n.beyondReserve(free - bytes)
}

// While the log is written, a snapshot uses the disk for one part in paceShare of
// the time: the syncs of the log wait behind those of the snapshot.
const (
	paceShare   = 4
	longestRest = time.Second
)

// pace makes the goroutine that writes a snapshot rest.
type pace struct {
	entries *atomic.Uint64 // of the log
	seen    uint64
	timer   *time.Timer
}

func newPace(n *Node) *pace {
	p := &pace{entries: &n.counters.entries}
	p.seen = p.entries.Load()
	p.timer = time.NewTimer(longestRest) //nolint:forbidigo // spares the disk, not part of the rules
	p.timer.Stop()
	return p
}

// rest waits after the disk was used for a while, unless the log is idle.
func (p *pace) rest(used time.Duration, aborted <-chan struct{}) {
	entries := p.entries.Load()
	idle := entries == p.seen
	p.seen = entries
	if idle {
		return
	}
	p.timer.Reset(min((paceShare-1)*used, longestRest))
	select {
	case <-p.timer.C:
	case <-aborted:
	}
}

func (p *pace) stop() { p.timer.Stop() }
