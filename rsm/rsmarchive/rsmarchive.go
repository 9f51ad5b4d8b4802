// Package rsmarchive keeps the decided entries of a group for ever: in immutable,
// compressed, checksummed segments, in a directory or a bucket, chained by SHA-256 so
// that nothing can be changed, left out or put in without being found.
//
// A [Writer] makes the segments, an [Archiver] feeds it from a replica while that runs,
// an [Archive] reads and verifies them, and a [Checkpoint] is a signed statement of where
// the chain was, to be kept elsewhere. The format is docs/format/archive.md; DESIGN.md has
// the reasons and the figures.
package rsmarchive

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"maru.example/rsm"
)

// Errors of an archive.
var (
	// ErrDamaged says that what was archived is missing, altered or was put in:
	// errors.As to a *[Finding] says what.
	ErrDamaged = errors.New("rsmarchive: damaged")
	// ErrVersion says that a segment is of a format that this program does not know.
	ErrVersion = errors.New("rsmarchive: unknown version of the format")
	// ErrOrder says that an entry does not follow the one before.
	ErrOrder = errors.New("rsmarchive: entries do not follow each other")
	// ErrExists says that the store has an object of the name.
	ErrExists = errors.New("rsmarchive: object exists")
	// ErrNotFound says that the store has no object of the name.
	ErrNotFound = errors.New("rsmarchive: no such object")
	// ErrConflict says that the archive holds other entries than those that are to be
	// archived, under the same indexes: it is another cluster's, or histories went apart.
	ErrConflict = errors.New("rsmarchive: the archive has other entries")
	// ErrLost says that the archive has less than it had: a [*LostError], unless it is not known yet how much.
	ErrLost = errors.New("rsmarchive: what was archived is not there any more")
	// ErrAhead says that the archive has entries behind the end of the history.
	ErrAhead = errors.New("rsmarchive: the log ends before the archive: it lost its end, is an older copy, or is behind other nodes")
	// ErrFull says that a writer's segment has to be sealed first.
	ErrFull = errors.New("rsmarchive: segment is full")
)

// LostError says that an archive has less than it had, and is not made whole by itself: the history has not all of that
// either, or it has, and the store may not be the one that it was. It wraps [ErrLost].
type LostError struct {
	After rsm.Index // the archive ends with this entry
	Had   rsm.Index // it had all up to this one
	Next  rsm.Index // the history has all from this one on; 0: none of what is missing
}

// Error implements error.
func (e *LostError) Error() string {
	says := fmt.Sprintf("%v: it ends after entry %d, and had all up to %d", ErrLost, e.After, e.Had)
	if n := rsm.Index(e.Entries()); n > 0 {
		return fmt.Sprintf("%s; the log has not entries %d to %d either", says, e.After+1, e.After+n)
	}
	return says + "; the log has all of that still, so nothing is lost"
}

// Unwrap returns ErrLost.
func (e *LostError) Unwrap() error { return ErrLost }

// Entries returns how many entries are in neither, 0 if the history has them all.
func (e *LostError) Entries() uint64 {
	switch {
	case e.Next == 0 || e.Next > e.Had:
		return uint64(e.Had - e.After)
	case e.Next <= e.After:
		return 0
	}
	return uint64(e.Next - e.After - 1)
}

// Limits of an archive.
const (
	// MaxSegmentBytes is the largest content after which a segment may be cut.
	MaxSegmentBytes = 256 << 20
	// MaxEntryBytes is the most that an entry, or its decision, may have.
	MaxEntryBytes = 32 << 20
)

const (
	defaultSegmentBytes = 64 << 20
	// frameBytes is the content after which a frame is cut: a full batch of transfers
	// is one by itself, which measured as well as several together.
	frameBytes = 512 << 10
)

// A Store keeps objects by name. A name is a folder and a name in it, as in
// "00000001/00000000000000000001.seg". Calls may be made concurrently.
//
// What a store answers when it cannot be reached is an error like any other: whoever
// calls tries again.
type Store interface {
	// Put keeps an object, whole and durably, or not at all; ErrExists if there is one
	// of the name, which is left as it is. The content is not changed or kept.
	Put(ctx context.Context, name string, content []byte) error
	// Get returns length bytes from offset on, fewer where the object ends; with an
	// offset below zero its last bytes: -offset, or all if it has fewer. ErrNotFound.
	Get(ctx context.Context, name string, offset, length int64) ([]byte, error)
	// List returns the names, sorted and without the folder, of what is in a folder, and
	// durably so; none if there is no such folder.
	List(ctx context.Context, folder string) ([]string, error)
}

// Chained names what is archived: one group's history in one cluster.
type Chained struct {
	Cluster string // in one line
	Group   uint64
}

// Origin returns the link before the first entry.
func (c Chained) Origin() Link { return Origin(c.Cluster, c.Group) }

// Folder is where the store has the group's segments.
func (c Chained) Folder() string { return fmt.Sprintf("%08d", c.Group) }

const (
	segmentSuffix = ".seg"
	segmentDigits = 20
)

func segmentName(first rsm.Index) string {
	return fmt.Sprintf("%0*d%s", segmentDigits, first, segmentSuffix)
}

// Segment is the store's name of the segment that begins with an entry.
func (c Chained) Segment(first rsm.Index) string {
	return path.Join(c.Folder(), segmentName(first))
}

// parseSegmentName returns the first index in the name of a segment.
func parseSegmentName(name string) (rsm.Index, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != segmentDigits {
		return 0, false
	}
	i, err := strconv.ParseUint(digits, 10, 64)
	return rsm.Index(i), err == nil && i > 0 && segmentName(rsm.Index(i)) == name
}
