package walletpebble

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"maru.example/wallet"
)

// The indexes by transaction id. An id's row says where the first event is of what was
// decided under it in the partition: the others of it are the next in the tenant's feed.

// whereBytes is about how large the value of an id is.
const whereBytes = 14

// idAt says where the first event of a transaction id is.
type idAt struct {
	high, low uint64 // the id
	tenant    uint16
	place     wallet.LineKey
}

// idOf names a transaction of a tenant.
type idOf struct {
	tenant uint16
	id     wallet.TransactionID
}

// decidesTransfer says that an event is the debit of a transfer or a capture that was
// decided here. Transactions are said by an event of their own, and then the debits of those
// that were decided here; debits for another partition's name no other side.
func (f *follower) decidesTransfer(e *wallet.Event) bool {
	return e.Kind == wallet.Debit && e.Other != 0 && f.made != idOf{e.Tenant, e.ID}
}

// id takes up a transaction id.
func (r *rows) id(k wallet.LineKey, e *wallet.Event) {
	r.ids = append(r.ids, idAt{binary.BigEndian.Uint64(e.ID[:]), binary.BigEndian.Uint64(e.ID[8:]), e.Tenant, k})
}

// addIDs adds the ids to a batch, sorted.
func (r *rows) addIDs(batch *pebble.Batch, partition uint16) error {
	slices.SortFunc(r.ids, func(a, b idAt) int {
		switch {
		case a.tenant != b.tenant:
			return cmp.Compare(a.tenant, b.tenant)
		case a.high != b.high:
			return cmp.Compare(a.high, b.high)
		}
		return cmp.Compare(a.low, b.low)
	})
	var where [placeBytes + 2]byte // a uvarint of 8 bytes may have 10
	for i := range r.ids {
		v := &r.ids[i]
		value := appendWhere(where[:0], v.place)
		op := batch.SetDeferred(idBytes, len(value))
		key := tenantKey(op.Key[:0], keyID, partition, v.tenant)
		binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(key, v.high), v.low)
		copy(op.Value, value)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	return nil
}

// indexTransaction takes up the id of a transaction, and one that is a reversal as such.
func (f *follower) indexTransaction(batch *pebble.Batch, k wallet.LineKey, e *wallet.Event) (*wallet.Transaction, error) {
	t, ok := wallet.ParseTransaction(e.Content)
	if !ok {
		return nil, fmt.Errorf("transaction %v cannot be read", e.ID)
	}
	f.rows.id(k, e)
	f.made = idOf{e.Tenant, e.ID}
	if t.Reverses == nil {
		return t, nil
	}
	key := appendPlace(reversalPrefix(nil, f.p.Number, e.Tenant, t.Reverses.ID), k)
	return t, batch.Set(key, transactionRow(e), nil)
}

// indexHold takes up the id of a command about a hold. What is released at the end of a
// capture has the capture's id, whose place is known.
func (f *follower) indexHold(k wallet.LineKey, e *wallet.Event) error {
	id := idOf{e.Tenant, e.ID}
	switch e.Kind { //nolint:exhaustive // the others have no ids, or those of captures
	case wallet.HoldPlaced, wallet.HoldExtended:
	case wallet.HoldCaptured:
		f.captures[id] = true
		return nil
	case wallet.HoldReleased:
		// Where the history begins later, nobody knows whether the id is that of a capture.
		if mark, _ := f.state(); mark.First > 1 || f.captures[id] || e.ID == (wallet.TransactionID{}) {
			return nil
		}
		if value, err := get(f.s.db, idKey(f.p.Number, e.Tenant, e.ID)); err != nil || value != nil {
			return err
		}
	default:
		return nil
	}
	f.rows.id(k, e)
	return nil
}
