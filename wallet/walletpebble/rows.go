package walletpebble

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

// Limits of a row of a tenant's events.
const (
	feedEvents = 128
	feedBytes  = 8 << 10 // and one more event
	maxFeeds   = 64      // whose memory is kept
)

// rows are the rows of a batch that is being made, but for the rare ones.
type rows struct {
	bytes []byte // lines: keys and values
	order []lineAt
	ids   []idAt
	feeds map[uint16]*feed // by tenant: of the entry that is read
	last  *feed            // that was written to
}

// lineAt says where a line is.
type lineAt struct {
	account    wallet.Handle
	begin, end uint32
}

// feed is a row of a tenant's events that is being made.
type feed struct {
	tenant uint16
	begin  wallet.LineKey
	number uint32 // of the last event
	count  int
	before wallet.Event
	value  []byte
}

func (r *rows) reset() {
	r.bytes, r.order, r.ids = r.bytes[:0], r.order[:0], r.ids[:0]
	if r.feeds == nil || len(r.feeds) > maxFeeds {
		r.feeds, r.last = map[uint16]*feed{}, nil
	}
	for _, v := range r.feeds {
		v.count = 0
	}
}

// line takes up a line.
func (r *rows) line(k wallet.LineKey, e *wallet.Event) {
	begin := len(r.bytes)
	r.bytes = appendLine(lineKey(r.bytes, e.Account, e.Currency, k), e)
	r.order = append(r.order, lineAt{e.Account, uint32(begin), uint32(len(r.bytes))})
}

// add adds lines and ids to a batch, sorted by account and by id: neighbours are cheaper to insert.
func (r *rows) add(batch *pebble.Batch, partition uint16) error {
	slices.SortFunc(r.order, func(a, b lineAt) int {
		if c := cmp.Compare(a.account, b.account); c != 0 {
			return c
		}
		return cmp.Compare(a.begin, b.begin)
	})
	for _, l := range r.order {
		row := r.bytes[l.begin:l.end]
		op := batch.SetDeferred(lineBytes, len(row)-lineBytes)
		copy(op.Key, row)
		copy(op.Value, row[lineBytes:])
		if err := op.Finish(); err != nil {
			return err
		}
	}
	return r.addIDs(batch, partition)
}

// size returns about how many bytes the rows have.
func (r *rows) size() int { return len(r.bytes) + len(r.ids)*(idBytes+whereBytes) }

// feed takes up an event for its tenant.
func (f *follower) feed(batch *pebble.Batch, k wallet.LineKey, e *wallet.Event) error {
	v := f.rows.last
	if v == nil || v.tenant != e.Tenant {
		if v = f.rows.feeds[e.Tenant]; v == nil {
			v = &feed{tenant: e.Tenant}
			f.rows.feeds[e.Tenant] = v
		}
		f.rows.last = v
	}
	if v.count == feedEvents || len(v.value) > feedBytes {
		if err := f.endFeed(batch, v); err != nil {
			return err
		}
	}
	if v.count == 0 {
		v.begin, v.number, v.value = k, k.Number, v.value[:0]
		v.before = wallet.Event{}
	}
	v.value = appendEvent(binary.AppendUvarint(v.value, uint64(k.Number-v.number)), e, &v.before)
	v.number, v.count = k.Number, v.count+1
	v.before.Kind, v.before.ID, v.before.Currency = e.Kind, e.ID, e.Currency
	return nil
}

// endFeed adds a row of a tenant's events to a batch.
func (f *follower) endFeed(batch *pebble.Batch, v *feed) error {
	if v.count == 0 {
		return nil
	}
	v.count = 0
	f.buffer = feedKey(f.buffer[:0], f.p.Number, v.tenant, v.begin)
	return batch.Set(f.buffer, v.value, nil)
}

// entry adds the rows of an entry to a batch.
func (f *follower) entry(batch *pebble.Batch, d *rsm.Decided) (lines uint64, err error) {
	k := wallet.LineKey{Time: d.Time, Index: d.Index}
	err = wallet.EntryEvents(d, func(number uint32, e *wallet.Event) error {
		k.Number = number
		if e.Kind.MovesMoney() {
			lines++
			f.of(e.Tenant, e.Currency).Take(e)
			f.rows.line(k, e)
			if f.decidesTransfer(e) {
				f.rows.id(k, e)
			}
			return f.feed(batch, k, e)
		}
		if e.Kind == wallet.TransferFailed || e.Kind == wallet.TenantMade {
			return nil
		}
		if err := f.rare(batch, k, e); err != nil {
			return err
		}
		return f.feed(batch, k, e)
	})
	for _, v := range f.rows.feeds {
		err = errors.Join(err, f.endFeed(batch, v))
	}
	return lines, err
}

// rare adds the rows of an event that changes no balance.
func (f *follower) rare(batch *pebble.Batch, k wallet.LineKey, e *wallet.Event) error {
	switch e.Kind {
	case wallet.AccountOpened:
		f.opened[openedID{e.Tenant, e.Name}] = e.Account
		f.buffer = nameKey(f.buffer[:0], f.p.Number, e.Tenant, e.Name)
		if err := batch.Set(f.buffer, binary.BigEndian.AppendUint64(nil, uint64(e.Account)), nil); err != nil {
			return err
		}
		if err := f.held(batch, k, e, e.Account); err != nil {
			return err
		}
	case wallet.CurrencyAdded, wallet.LimitChanged, wallet.StatusChanged, wallet.DailyLimitSet:
		if err := f.named(e); err != nil || e.Account == 0 {
			return err
		}
		if e.Kind == wallet.CurrencyAdded {
			if err := f.held(batch, k, e, e.Account); err != nil {
				return err
			}
		}
	case wallet.TransactionMade:
		return f.transaction(batch, k, e)
	case wallet.TenantMade, wallet.AssetMade:
		return nil
	case wallet.HoldPlaced, wallet.HoldCaptured, wallet.HoldReleased, wallet.HoldExtended, wallet.HoldExpired, wallet.HoldRestored:
		if err := f.indexHold(k, e); err != nil {
			return err
		}
	case wallet.NoEvent, wallet.Debit, wallet.Credit, wallet.Return, wallet.TransferFailed:
	}
	return batch.Set(noteKey(nil, e.Account, k), appendEvent(nil, e, &wallet.Event{}), nil)
}

// transaction adds a transaction to the indexes.
func (f *follower) transaction(batch *pebble.Batch, k wallet.LineKey, e *wallet.Event) error {
	t, err := f.indexTransaction(batch, k, e)
	if err != nil || t.Reference == "" {
		return err
	}
	key := appendPlace(referencePrefix(nil, f.p.Number, e.Tenant, t.Reference), k)
	return batch.Set(key, transactionRow(e), nil)
}

// transactionRow returns the value of a transaction in the indexes of references and of reversals.
func transactionRow(e *wallet.Event) []byte { return append([]byte{byte(e.Code)}, e.Content...) }

// named fills in the account of an event that has its name only; 0 if it was opened
// before the history began.
func (f *follower) named(e *wallet.Event) error {
	h, ok := f.opened[openedID{e.Tenant, e.Name}]
	if ok {
		e.Account = h
		return nil
	}
	value, err := get(f.s.db, nameKey(nil, f.p.Number, e.Tenant, e.Name))
	if err != nil || value == nil {
		return err
	}
	if len(value) != 8 {
		return fmt.Errorf("%w: handle %x of an account", errCorrupt, value)
	}
	e.Account = wallet.Handle(binary.BigEndian.Uint64(value))
	return nil
}

// held notes since when an account holds a currency, the first time.
func (f *follower) held(batch *pebble.Batch, k wallet.LineKey, e *wallet.Event, h wallet.Handle) error {
	key := heldKey(nil, h, e.Currency)
	again := openedID{e.Tenant, string(key)} // not the form of a name
	if _, ok := f.opened[again]; ok {
		return nil
	}
	if value, err := get(f.s.db, key); err != nil || value != nil {
		return err
	}
	f.opened[again] = h
	f.of(e.Tenant, e.Currency).Balances++
	return batch.Set(key, binary.BigEndian.AppendUint64(nil, uint64(k.Time)), nil)
}

// of returns the turnover that an entry changes.
func (f *follower) of(tenant uint16, c money.Currency) *wallet.CurrencyTurnover {
	id := turnoverID{tenant, c}
	f.dirty[id] = true
	t := f.turnover[id]
	if t == nil {
		t = &wallet.CurrencyTurnover{Currency: c}
		f.turnover[id] = t
	}
	return t
}
