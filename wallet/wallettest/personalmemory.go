package wallettest

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"maru.example/wallet"
)

// PersonalMemory is a wallet.PersonalStore in memory. The zero value is empty and ready for use.
type PersonalMemory struct {
	mu    sync.Mutex
	state personalState
	// Err, if not nil, is returned instead of doing anything.
	Err error
}

type ownedItem struct {
	wallet.PersonalOwner
	item wallet.PersonalItem
}

// personalState is a transaction's own.
type personalState struct {
	keys  map[wallet.PersonalOwner]wallet.PersonalKey
	items map[ownedItem]wallet.SealedItem
}

var _ wallet.PersonalStore = (*PersonalMemory)(nil)

// UpdatePersonal implements wallet.PersonalStore.
func (m *PersonalMemory) UpdatePersonal(ctx context.Context, f func(ctx context.Context, tx wallet.PersonalTx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Err != nil {
		return m.Err
	}
	next := personalState{map[wallet.PersonalOwner]wallet.PersonalKey{}, map[ownedItem]wallet.SealedItem{}}
	maps.Copy(next.keys, m.state.keys)
	maps.Copy(next.items, m.state.items)
	if err := f(ctx, &next); err != nil {
		return err
	}
	m.state = next
	return nil
}

// ViewPersonal implements wallet.PersonalStore.
func (m *PersonalMemory) ViewPersonal(ctx context.Context, f func(ctx context.Context, tx wallet.PersonalTx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Err != nil {
		return m.Err
	}
	return f(ctx, &m.state)
}

// ScrubPersonal implements wallet.PersonalStore.
func (m *PersonalMemory) ScrubPersonal(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Err
}

// Key implements wallet.PersonalTx.
func (s *personalState) Key(_ context.Context, o wallet.PersonalOwner) (wallet.PersonalKey, error) {
	return s.keys[o], nil
}

// PutKey implements wallet.PersonalTx.
func (s *personalState) PutKey(_ context.Context, o wallet.PersonalOwner, k *wallet.PersonalKey) error {
	s.keys[o] = wallet.PersonalKey{Sealed: bytes.Clone(k.Sealed), Version: k.Version, Erased: k.Erased}
	return nil
}

// Keys implements wallet.PersonalTx.
func (s *personalState) Keys(_ context.Context, after wallet.PersonalOwner, limit int) (keys []wallet.OwnedKey, err error) {
	for o, k := range s.keys {
		if compareOwners(o, after) > 0 {
			keys = append(keys, wallet.OwnedKey{PersonalOwner: o, PersonalKey: k})
		}
	}
	slices.SortFunc(keys, func(a, b wallet.OwnedKey) int { return compareOwners(a.PersonalOwner, b.PersonalOwner) })
	return keys[:min(limit, len(keys))], nil
}

func compareOwners(a, b wallet.PersonalOwner) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Account, b.Account))
}

// Item implements wallet.PersonalTx.
func (s *personalState) Item(_ context.Context, o wallet.PersonalOwner, item wallet.PersonalItem) (wallet.SealedItem, error) {
	return s.items[ownedItem{o, item}], nil
}

// PutItem implements wallet.PersonalTx.
func (s *personalState) PutItem(_ context.Context, o wallet.PersonalOwner, item wallet.PersonalItem, i wallet.SealedItem) error {
	s.items[ownedItem{o, item}] = wallet.SealedItem{Version: i.Version, Sealed: bytes.Clone(i.Sealed)}
	return nil
}

// DeleteItem implements wallet.PersonalTx.
func (s *personalState) DeleteItem(_ context.Context, o wallet.PersonalOwner, item wallet.PersonalItem) error {
	delete(s.items, ownedItem{o, item})
	return nil
}

// DeleteItems implements wallet.PersonalTx.
func (s *personalState) DeleteItems(_ context.Context, o wallet.PersonalOwner) error {
	maps.DeleteFunc(s.items, func(i ownedItem, _ wallet.SealedItem) bool { return i.PersonalOwner == o })
	return nil
}
