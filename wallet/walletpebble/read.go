package walletpebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"maru.example/money"
	"maru.example/wallet"
)

// view is the store at one moment, as one query sees it.
type view struct {
	*pebble.Snapshot
	s    *Store
	mark wallet.HistoryMark
}

// view returns the store as it is now. The caller closes it.
func (s *Store) view(partition uint16) (*view, error) {
	f, err := s.follower(partition)
	if err != nil {
		return nil, err
	}
	s.reading.RLock()
	if s.gone {
		s.reading.RUnlock()
		return nil, errClosed
	}
	v := &view{Snapshot: f.s.db.NewSnapshot(), s: s}
	value, err := get(v, partitionKey(nil, keyMark, partition))
	if err == nil {
		v.mark, err = parseMark(partition, value)
	}
	if next := max(v.mark.Index+1, f.p.First); err == nil && f.p.Waits != nil && f.p.Waits(next) {
		err = fmt.Errorf("%w: entry %d, with which it goes on, is to come from another node", wallet.ErrHistoryUnavailable, next)
	}
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// Close lets go of the view.
func (v *view) Close() error {
	defer v.s.reading.RUnlock()
	return v.Snapshot.Close()
}

// reaches returns an error if the history begins after a time.
func (v *view) reaches(from int64) error {
	switch {
	case v.mark.First <= 1 || v.mark.FirstTime > 0 && from >= v.mark.FirstTime:
		return nil
	case v.mark.FirstTime == 0:
		return fmt.Errorf("%w: it begins with an entry that is not there yet", wallet.ErrHistoryUnavailable)
	}
	return v.begins()
}

// begins returns the error that says since when there is a history.
func (v *view) begins() error {
	begin := time.Unix(0, v.mark.FirstTime).UTC().Format(time.RFC3339Nano)
	return fmt.Errorf("%w: it begins at %s, with what was later than that", wallet.ErrHistoryUnavailable, begin)
}

// lists returns an error if the history may lack something that was at a time or later, and is behind a place. The
// times of entries can be the same, where a clock was set back: what is missing may be of the time of the first entry that is not.
func (v *view) lists(from int64, behind wallet.LineKey) error {
	if err := v.reaches(max(from, behind.Time)); err != nil || v.mark.First <= 1 {
		return err
	}
	if max(from, behind.Time) > v.mark.FirstTime || behind.Time == v.mark.FirstTime && behind.Index >= v.mark.First {
		return nil
	}
	return v.begins()
}

// Lines implements [wallet.History].
func (s *Store) Lines(q *wallet.LineQuery) (page wallet.LinePage, err error) {
	v, err := s.view(q.Account.Partition())
	if err != nil {
		return page, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if err := v.lists(q.From, wallet.LineKey{}); err != nil {
		return wallet.LinePage{Mark: v.mark}, err
	}
	return v.lines(q)
}

// lines returns a page, merged out of the lines of each currency, as far as the history has them.
func (v *view) lines(q *wallet.LineQuery) (page wallet.LinePage, err error) {
	page.Mark = v.mark
	currencies := []money.Currency{q.Currency}
	if q.Currency == 0 {
		if currencies, err = v.currencies(q.Account); err != nil {
			return page, err
		}
	}
	m := merge{newest: q.Newest}
	defer func() { err = errors.Join(err, m.close()) }()
	for _, c := range currencies {
		if err := m.add(v, q, c); err != nil {
			return page, err
		}
	}
	limit := min(max(q.Limit, 1), wallet.MaxHistoryLines)
	var last wallet.LineKey
	for looked := 0; ; looked++ {
		l, ok, err := m.next()
		if err != nil || !ok {
			return page, err
		}
		if len(page.Lines) == limit || looked == wallet.MaxHistoryScan {
			page.Next = last // there is one more
			return page, nil
		}
		if last = l.LineKey; q.Wants(&l) {
			page.Lines = append(page.Lines, l)
		}
	}
}

// merge gives the lines of several currencies in their common order.
type merge struct {
	newest bool
	inputs []input
}

// input is the lines of one currency.
type input struct {
	it   *pebble.Iterator
	line wallet.Line // the next
}

// add adds the lines of a currency that a query is about.
func (m *merge) add(v *view, q *wallet.LineQuery, c money.Currency) error {
	o := &pebble.IterOptions{LowerBound: lineKey(nil, q.Account, c, wallet.LineKey{Time: q.From}), UpperBound: after(heldKey(nil, q.Account, c))}
	if q.To > 0 {
		o.UpperBound = lineKey(nil, q.Account, c, wallet.LineKey{Time: max(q.To, q.From)})
	}
	switch place := lineKey(nil, q.Account, c, q.After); {
	case q.After == wallet.LineKey{}:
	case q.Newest && string(place) < string(o.UpperBound):
		o.UpperBound = place
	case !q.Newest && string(place) >= string(o.LowerBound):
		o.LowerBound = append(place, 0)
	}
	if string(o.LowerBound) >= string(o.UpperBound) {
		return nil
	}
	it, err := v.NewIter(o)
	if err != nil {
		return err
	}
	m.inputs = append(m.inputs, input{it: it})
	first := it.First
	if m.newest {
		first = it.Last
	}
	return m.load(len(m.inputs)-1, first())
}

// load reads the line where an input is, or ends the input.
func (m *merge) load(i int, ok bool) error {
	in := &m.inputs[i]
	if ok {
		var err error
		in.line, err = parseLine(in.it.Key(), in.it.Value())
		return err
	}
	err := errors.Join(in.it.Error(), in.it.Close())
	m.inputs = append(m.inputs[:i], m.inputs[i+1:]...)
	return err
}

// next returns the next line of all, false if there is none.
func (m *merge) next() (l wallet.Line, ok bool, err error) {
	first := -1
	for i := range m.inputs {
		if first < 0 || (m.inputs[i].line.Compare(m.inputs[first].line.LineKey) < 0) != m.newest {
			first = i
		}
	}
	if first < 0 {
		return l, false, nil
	}
	l = m.inputs[first].line
	move := m.inputs[first].it.Next
	if m.newest {
		move = m.inputs[first].it.Prev
	}
	return l, true, m.load(first, move())
}

func (m *merge) close() (err error) {
	for _, in := range m.inputs {
		err = errors.Join(err, in.it.Close())
	}
	return err
}

// currencies returns those that an account has held, as far as the history goes, in order.
func (v *view) currencies(h wallet.Handle) (cs []money.Currency, err error) {
	err = v.eachCurrency(h, math.MaxInt64, func(_ *pebble.Iterator, c money.Currency, _ bool) error {
		cs = append(cs, c)
		return nil
	})
	return cs, err
}

// eachCurrency calls f for each currency that an account has held, as far as the history goes, in order: with the account's rows,
// which f may move, as they were at a time, and whether there is on record since when the currency is held.
func (v *view) eachCurrency(h wallet.Handle, at int64, f func(it *pebble.Iterator, c money.Currency, since bool) error) error {
	prefix := accountKey(nil, keyLine, h)
	it, err := v.until(prefix, at)
	if err != nil {
		return err
	}
	n := 0
	for ok := it.First(); ok && err == nil; n++ {
		key := it.Key()
		if len(key) < heldBytes || n > wallet.MaxCurrencies {
			err = fmt.Errorf("%w: currency %x", errCorrupt, key)
			break
		}
		c := money.Currency(binary.BigEndian.Uint16(key[accountBytes:]))
		if err = f(it, c, len(key) == heldBytes); err == nil {
			ok = it.SeekGE(after(heldKey(nil, h, c)))
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// until returns the rows under a prefix of lines. Of those after a time, it may lack any, if the history is whole: what was
// written long after the time is not read.
func (v *view) until(prefix []byte, at int64) (*pebble.Iterator, error) {
	o := &pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)}
	if v.mark.First <= 1 && at < math.MaxInt64 {
		o.PointKeyFilters = notAfter(at)
	}
	return v.NewIter(o)
}

// BalancesAt implements [wallet.History].
func (s *Store) BalancesAt(account wallet.Handle, at int64) (all wallet.PastBalances, err error) {
	all.Decided = s.decided(account.Partition())
	v, err := s.view(account.Partition())
	if err != nil {
		return all, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	all.Mark = v.mark
	if err := v.reaches(at); err != nil {
		return all, err
	}
	known := v.mark.First <= 1
	err = v.eachCurrency(account, at, func(it *pebble.Iterator, c money.Currency, since bool) error {
		known = known || since // of an account that was opened since the history begins
		amount, held, err := balance(it, account, c, at)
		if held {
			all.Balances = append(all.Balances, wallet.PastBalance{Currency: c, Amount: amount})
		}
		return err
	})
	if all.Partial = !known; err == nil && all.Partial && len(all.Balances) == 0 {
		err = fmt.Errorf("%w: nothing has changed the account since it begins", wallet.ErrHistoryUnavailable)
	}
	return all, err
}

// balance returns what an account held of a currency after the last change at or
// before a time, and whether it held the currency.
func balance(it *pebble.Iterator, h wallet.Handle, c money.Currency, at int64) (a money.Amount, held bool, err error) {
	prefix := heldKey(nil, h, c)
	end := after(prefix)
	if at < math.MaxInt64 {
		end = lineKey(nil, h, c, wallet.LineKey{Time: max(at, -1) + 1})
	}
	before := it.SeekLT(end) && bytes.HasPrefix(it.Key(), prefix)
	switch {
	case it.Error() != nil:
		return 0, false, it.Error()
	case before && len(it.Key()) == heldBytes: // no change yet
		value := it.Value()
		if len(value) != 8 {
			return 0, false, fmt.Errorf("%w: currency held since %x", errCorrupt, value)
		}
		return 0, int64(binary.BigEndian.Uint64(value)) <= at, nil
	case before:
		l, err := parseLine(it.Key(), it.Value())
		return l.Balance, true, err
	case it.SeekGE(prefix) && bytes.HasPrefix(it.Key(), prefix):
		// It was held before the history began: what it was then tells the first change.
		l, err := parseLine(it.Key(), it.Value())
		return l.Balance - l.Amount, true, err
	}
	return 0, false, it.Error()
}

// Statement implements [wallet.History].
func (s *Store) Statement(q *wallet.LineQuery) (st wallet.Statement, err error) {
	st.Decided = s.decided(q.Account.Partition())
	v, err := s.view(q.Account.Partition())
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if err := v.lists(q.From, wallet.LineKey{}); err != nil {
		return st, err
	}
	if st.LinePage, err = v.lines(q); err != nil {
		return st, err
	}
	if err := v.knows(q.Account, q.Currency); err != nil {
		return st, err
	}
	end := q.To - 1
	if q.To <= 0 {
		end = math.MaxInt64
	}
	st.Complete = q.To > 0 && v.mark.Time >= q.To
	it, err := v.until(heldKey(nil, q.Account, q.Currency), max(end, q.From-1))
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if st.Opening, _, err = balance(it, q.Account, q.Currency, q.From-1); err != nil {
		return st, err
	}
	st.Closing, _, err = balance(it, q.Account, q.Currency, max(end, q.From-1))
	return st, err
}

// knows returns an error if the history begins so late that it cannot tell what an
// account holds of a currency.
func (v *view) knows(h wallet.Handle, c money.Currency) error {
	if v.mark.First <= 1 {
		return nil
	}
	known := false
	err := v.eachCurrency(h, math.MaxInt64, func(_ *pebble.Iterator, held money.Currency, since bool) error {
		known = known || since || held == c
		return nil
	})
	if err != nil || known {
		return err
	}
	return fmt.Errorf("%w: nothing has changed what the account holds of the currency since it begins", wallet.ErrHistoryUnavailable)
}

// Turnover implements [wallet.History].
func (s *Store) Turnover(partition, tenant uint16) (all wallet.Turnover, err error) {
	v, err := s.view(partition)
	if err != nil {
		return all, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if all.Mark = v.mark; v.mark.First > 1 {
		return all, fmt.Errorf("%w: it does not go back to the beginning", wallet.ErrHistoryUnavailable)
	}
	prefix := tenantKey(nil, keyTurnover, partition, tenant)
	err = each(v, prefix, func(key, value []byte) error {
		t, err := parseTurnover(key, value)
		all.Currencies = append(all.Currencies, t)
		return err
	})
	return all, err
}
