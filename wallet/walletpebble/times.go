package walletpebble

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// timesName is that of the property of files and blocks of files that says of which times their lines are. Files without it are read.
const timesName = "maru.times"

// lineTimes gives the times of lines; since when a currency is held is of time 0, as it is asked for with all lines. Other rows have none.
type lineTimes struct{}

func newLineTimes() pebble.BlockPropertyCollector {
	return sstable.NewBlockIntervalCollector(timesName, lineTimes{}, nil)
}

// MapPointKey implements sstable.IntervalMapper.
func (lineTimes) MapPointKey(key pebble.InternalKey, _ []byte) (sstable.BlockInterval, error) {
	k := key.UserKey
	switch {
	case len(k) == 0 || k[0] != keyLine:
		return sstable.BlockInterval{}, nil
	case len(k) != lineBytes:
		return sstable.BlockInterval{Lower: 0, Upper: 1}, nil
	}
	at := binary.BigEndian.Uint64(k[heldBytes:])
	return sstable.BlockInterval{Lower: at, Upper: at + 1}, nil
}

// MapRangeKeys implements sstable.IntervalMapper: there are none.
func (lineTimes) MapRangeKeys(sstable.Span) (sstable.BlockInterval, error) {
	return sstable.BlockInterval{}, nil
}

// notAfter lets an iterator pass over what has no line at a time or before it.
func notAfter(at int64) []pebble.BlockPropertyFilter {
	filters := make([]pebble.BlockPropertyFilter, 0, 2) // Pebble adds one of its own
	return append(filters, sstable.NewBlockIntervalFilter(timesName, 0, uint64(max(at, 0))+1, nil))
}
