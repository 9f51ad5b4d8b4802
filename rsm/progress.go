package rsm

import (
	"log/slog"
	"time"

	"maru.example/wal"
)

// progressInterval is how often a long recovery says how far it is.
const progressInterval = 2 * time.Second

// progress says how far a recovery is, so that an operator sees how long it takes.
type progress struct {
	options *Options
	logger  *slog.Logger
	start   time.Time
	last    time.Time // it was said
}

// newProgress begins to measure the time.
func newProgress(dir string, o *Options) *progress {
	now := o.Now()
	return &progress{options: o, logger: o.Logger.With("dir", dir), start: now, last: now}
}

// due says whether it is time to say it again, and how much went by.
func (p *progress) due() (elapsed time.Duration, due bool) {
	now := p.options.Now()
	if now.Sub(p.last) < progressInterval {
		return 0, false
	}
	p.last = now
	return now.Sub(p.start).Round(time.Millisecond), true
}

// verified is called with how many bytes of the log were verified.
func (p *progress) verified(done, of int64) {
	if elapsed, due := p.due(); due {
		p.logger.Info("rsm: verifying the log", "bytes", done, "of_bytes", of, "elapsed", elapsed)
	}
}

// replayed is called with every entry that was replayed, and the last of the log.
func (p *progress) replayed(index, last wal.Index) {
	if elapsed, due := p.due(); due {
		p.logger.Info("rsm: replaying the log", "index", uint64(index), "last_index", uint64(last), "elapsed", elapsed)
	}
}

// recovered is called at the end.
func (p *progress) recovered(r *Recovery, last wal.Index) {
	r.Duration = p.options.Now().Sub(p.start)
	p.logger.Info("rsm: recovered", "snapshot_index", uint64(r.SnapshotIndex), "last_index", uint64(last),
		"entries", r.Entries, "batches", r.Batches, "duration", r.Duration)
}

// progressReader is a snapshotReader that says how far it is.
type progressReader struct {
	*snapshotReader
	said   *progress
	looked uint64 // the chunk at which it looked at the clock
}

// Read implements io.Reader.
func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.snapshotReader.Read(p)
	if r.chunks != r.looked {
		r.looked = r.chunks
		if elapsed, due := r.said.due(); due {
			r.said.logger.Info("rsm: restoring the snapshot", "snapshot_index", uint64(r.at.Index),
				"bytes", r.offset, "of_bytes", r.size, "elapsed", elapsed)
		}
	}
	return n, err
}
