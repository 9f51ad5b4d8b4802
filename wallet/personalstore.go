package wallet

import "context"

// PersonalStore keeps what is sealed. Where it cannot be reached, or takes no writes, its errors wrap
// ErrStoreUnavailable. wallettest has what every implementation passes.
type PersonalStore interface {
	// UpdatePersonal runs f in a transaction that takes place as if it were alone, and keeps all of it or, if
	// f returns an error, nothing. It may run f several times.
	UpdatePersonal(ctx context.Context, f func(ctx context.Context, tx PersonalTx) error) error
	// ViewPersonal runs f on one state of the store.
	ViewPersonal(ctx context.Context, f func(ctx context.Context, tx PersonalTx) error) error
	// ScrubPersonal overwrites what was deleted, as far as the store's technology lets it.
	ScrubPersonal(ctx context.Context) error
}

// PersonalTx is a transaction of a PersonalStore. The owner that is the zero value has a key only: the
// mark of the master key.
type PersonalTx interface {
	// Key returns an owner's key; the zero value if there is none.
	Key(ctx context.Context, o PersonalOwner) (PersonalKey, error)
	PutKey(ctx context.Context, o PersonalOwner, k *PersonalKey) error
	// Keys returns the owners after one, in the order of tenant and account as bytes, with their keys.
	Keys(ctx context.Context, after PersonalOwner, limit int) ([]OwnedKey, error)
	// Item returns an item; the zero value if there is none.
	Item(ctx context.Context, o PersonalOwner, item PersonalItem) (SealedItem, error)
	PutItem(ctx context.Context, o PersonalOwner, item PersonalItem, s SealedItem) error
	DeleteItem(ctx context.Context, o PersonalOwner, item PersonalItem) error
	DeleteItems(ctx context.Context, o PersonalOwner) error
}

// PersonalKey is the key of an owner, or what is left of it.
type PersonalKey struct {
	Sealed  []byte   // under the master key; nil if there is none
	Version uint64   // of what was written last: at least 1, and less than 1<<63
	Erased  *Erasure // nil: it was not erased. Else there is no key
}

// OwnedKey is a key and whose it is.
type OwnedKey struct {
	PersonalOwner
	PersonalKey
}

// SealedItem is an item under its owner's key, with its version, which is 0 if there is none.
type SealedItem struct {
	Version uint64
	Sealed  []byte
}
