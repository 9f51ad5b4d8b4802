package walletpebble

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"maru.example/rsm"
	"maru.example/wallet"
)

// maxFound bounds the events of one command: two for each posting, and what becomes of
// holds.
const maxFound = 4 * wallet.MaxPostings

// Find implements [wallet.History].
func (s *Store) Find(q *wallet.IDQuery) (found wallet.FoundEvents, err error) {
	found.Decided = s.decided(q.Partition)
	v, err := s.view(q.Partition)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	found.Mark = v.mark
	value, err := get(v, idKey(q.Partition, q.Tenant, q.ID))
	if err != nil {
		return found, err
	}
	if value == nil {
		return found, v.reaches(0)
	}
	place, err := parseWhere(value)
	if err == nil {
		found.Events, err = v.command(q, place)
	}
	return found, err
}

// decided returns the newest entry that is decided on the node, 0 if it is not known. To be compared with what a view
// has, it is asked before.
func (s *Store) decided(partition uint16) rsm.Index {
	if f, err := s.follower(partition); err == nil && f.p.Applied != nil {
		return f.p.Applied()
	}
	return 0
}

// command returns the events of a command, whose first one is at a place.
func (v *view) command(q *wallet.IDQuery, place wallet.LineKey) (events []wallet.PastEvent, err error) {
	prefix := tenantKey(nil, keyFeed, q.Partition, q.Tenant)
	it, err := v.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, err
	}
	// The row in which the place is begins there or before.
	for ok := it.SeekLT(append(feedKey(nil, q.Partition, q.Tenant, place), 0)); ok && err == nil; ok = it.Next() {
		var all []wallet.PastEvent
		if all, err = parseFeed(it.Key(), it.Value()); err != nil {
			break
		}
		var more bool
		if events, more = ofCommand(events, all, q, place); !more {
			break
		}
	}
	if err == nil && len(events) == 0 {
		err = fmt.Errorf("%w: no event of %v is at %+v", errCorrupt, q.ID, place)
	}
	return events, errors.Join(err, it.Error(), it.Close())
}

// ofCommand appends those of a row's events that are a command's, and says whether there
// may be others in the next row.
func ofCommand(events, row []wallet.PastEvent, q *wallet.IDQuery, place wallet.LineKey) (all []wallet.PastEvent, more bool) {
	for i := range row {
		e := &row[i]
		if e.Compare(place) < 0 {
			continue
		}
		if e.Index != place.Index || e.ID != q.ID || len(events) == maxFound {
			return events, false
		}
		e.Tenant = q.Tenant
		events = append(events, *e)
	}
	return events, true
}
