package walletpebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"maru.example/rsm"
	"maru.example/wallet"
)

// Events implements [wallet.History].
func (s *Store) Events(q *wallet.EventQuery) (page wallet.EventPage, err error) {
	partition := q.Partition
	if q.Account != 0 {
		partition = q.Account.Partition()
	}
	decided := s.decided(partition)
	v, err := s.view(partition)
	if err != nil {
		return page, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	page.Mark = v.mark
	if err := v.lists(q.From, q.After); err != nil {
		return page, err
	}
	if q.End {
		if page.End, err = s.end(&v.mark, decided); err != nil {
			return page, err
		}
	}
	limit := min(max(q.Limit, 1), wallet.MaxEvents)
	if q.Account != 0 {
		err = v.accountEvents(&page, q, limit)
	} else {
		err = v.tenantEvents(&page, q, limit)
	}
	return page, err
}

// endWithin is for an entry that is decided on the node, perhaps in an archive far away.
const endWithin = time.Second

// end returns the place behind the newest entry that is decided. If it is not taken up yet, it is read.
func (s *Store) end(mark *wallet.HistoryMark, decided rsm.Index) (wallet.LineKey, error) {
	if decided <= mark.Index {
		return wallet.Behind(mark.Time, mark.Index), nil
	}
	f, err := s.follower(mark.Partition)
	if err != nil {
		return wallet.LineKey{}, err
	}
	source, err := f.p.Open(decided)
	if err != nil {
		return wallet.LineKey{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), endWithin)
	defer cancel()
	d, err := source.Next(ctx)
	if err = errors.Join(err, source.Close()); err != nil {
		return wallet.LineKey{}, fmt.Errorf("%w: it is at %v, and entry %d, with which the log ends, is not to be had: %w", wallet.ErrHistoryBehind, mark.HistoryPosition, decided, err)
	}
	return wallet.Behind(d.Time, d.Index), nil
}

// accountEvents merges the lines of an account with the other events of it.
func (v *view) accountEvents(page *wallet.EventPage, q *wallet.EventQuery, limit int) error {
	lines, err := v.lines(&wallet.LineQuery{Account: q.Account, From: max(q.From, q.After.Time), After: q.After, Limit: limit})
	if err != nil {
		return err
	}
	for i := range lines.Lines {
		l := &lines.Lines[i]
		page.Events = append(page.Events, wallet.PastEvent{LineKey: l.LineKey, Event: wallet.Event{
			Kind: l.Kind, Account: l.Account, Other: l.Other, ID: l.ID, Currency: l.Currency, Amount: l.Amount, Balance: l.Balance,
		}})
	}
	page.Next = lines.Next
	notes := 0
	prefix := accountKey(nil, keyNote, q.Account)
	err = v.walk(prefix, behind(prefix, q.From, q.After), func(key, value []byte) (bool, error) {
		if notes == limit {
			if last := page.Events[len(page.Events)-1].LineKey; page.Next == (wallet.LineKey{}) || last.Compare(page.Next) < 0 {
				page.Next = last
			}
			return false, nil
		}
		e, err := parseNote(key, value)
		page.Events = append(page.Events, e)
		notes++
		return true, err
	})
	slices.SortFunc(page.Events, func(a, b wallet.PastEvent) int { return a.Compare(b.LineKey) })
	if page.Next != (wallet.LineKey{}) { // behind it, only one of the two is known
		page.Events = slices.DeleteFunc(page.Events, func(e wallet.PastEvent) bool { return e.Compare(page.Next) > 0 })
	}
	if len(page.Events) > limit {
		page.Events = page.Events[:limit]
		page.Next = page.Events[limit-1].LineKey
	}
	return err
}

// tenantEvents reads the rows of a tenant's events.
func (v *view) tenantEvents(page *wallet.EventPage, q *wallet.EventQuery, limit int) error {
	prefix := tenantKey(nil, keyFeed, q.Partition, q.Tenant)
	begin := wallet.LineKey{Time: q.From}
	if q.After.Compare(begin) > 0 {
		begin = q.After
	}
	// The row in which the place is begins before it.
	from := appendPlace(slices.Clip(prefix), begin)
	it, err := v.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	if it.SeekLT(append(slices.Clip(from), 0)) {
		from = append([]byte(nil), it.Key()...)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return err
	}
	return v.walk(prefix, from, func(key, value []byte) (bool, error) {
		all, err := parseFeed(key, value)
		if err != nil {
			return false, err
		}
		for i := range all {
			e := &all[i]
			if e.Compare(q.After) <= 0 || e.Time < q.From {
				continue
			}
			if len(page.Events) == limit {
				page.Next = page.Events[limit-1].LineKey
				return false, nil
			}
			e.Tenant = q.Tenant
			page.Events = append(page.Events, *e)
		}
		return true, nil
	})
}

// behind returns the first key with a prefix that is from a time on and behind a place.
func behind(prefix []byte, from int64, place wallet.LineKey) []byte {
	first := appendPlace(slices.Clip(prefix), wallet.LineKey{Time: from})
	if place == (wallet.LineKey{}) {
		return first
	}
	return slices.MaxFunc([][]byte{first, append(appendPlace(slices.Clip(prefix), place), 0)}, bytes.Compare)
}

// walk calls f with what is under a prefix, from a key on, until it returns false.
func (v *view) walk(prefix, from []byte, f func(key, value []byte) (bool, error)) error {
	return walk(v, from, after(prefix), f)
}

// walk calls f with what is between two keys, until it returns false.
func walk(r pebble.Reader, from, to []byte, f func(key, value []byte) (bool, error)) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	more := true
	for ok := it.First(); ok && more && err == nil; ok = it.Next() {
		more, err = f(it.Key(), it.Value())
	}
	return errors.Join(err, it.Error(), it.Close())
}

// Transactions implements [wallet.History].
func (s *Store) Transactions(q *wallet.ReferenceQuery) (page wallet.TransactionPage, err error) {
	v, err := s.view(q.Partition)
	if err != nil {
		return page, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	page.Mark = v.mark
	if err := v.lists(q.From, q.After); err != nil {
		return page, err
	}
	limit := min(max(q.Limit, 1), wallet.MaxEvents)
	prefix := referencePrefix(nil, q.Partition, q.Tenant, q.Reference)
	if q.Reverses != (wallet.TransactionID{}) {
		prefix = reversalPrefix(nil, q.Partition, q.Tenant, q.Reverses)
	}
	err = v.walk(prefix, behind(prefix, q.From, q.After), func(key, value []byte) (bool, error) {
		if len(page.Transactions) == limit {
			page.Next = page.Transactions[limit-1].LineKey
			return false, nil
		}
		t, err := parseReference(key, value)
		page.Transactions = append(page.Transactions, t)
		return true, err
	})
	return page, err
}
