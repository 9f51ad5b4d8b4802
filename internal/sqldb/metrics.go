package sqldb

import (
	"database/sql"
	"sync/atomic"
	"time"
)

// Metrics describe the use of a database since it was opened.
type Metrics struct {
	Open, InUse int           // connections
	Waits       uint64        // for a connection, as all were in use
	Waited      time.Duration // in sum
	Done        uint64        // transactions that were carried out, or ended by who asked for them
	Unavailable uint64        // that failed as the database was away, did not answer in time, or took no writes
	Conflicts   uint64        // tries that others got in the way of, and that were made again
	Took        time.Duration // all transactions in sum, with the waits
}

// counts are what a database counts by itself.
type counts struct{ done, unavailable, conflicts, took atomic.Uint64 }

// Metrics returns what was counted. It may be called at any time.
func (db *DB) Metrics() Metrics {
	m := Metrics{
		Done: db.counts.done.Load(), Unavailable: db.counts.unavailable.Load(),
		Conflicts: db.counts.conflicts.Load(), Took: time.Duration(db.counts.took.Load()),
	}
	m.add(db.write.Stats())
	if db.read != db.write {
		m.add(db.read.Stats())
	}
	return m
}

func (m *Metrics) add(s sql.DBStats) {
	m.Open += s.OpenConnections
	m.InUse += s.InUse
	m.Waits += uint64(s.WaitCount)
	m.Waited += s.WaitDuration
}
