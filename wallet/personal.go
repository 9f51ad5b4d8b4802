package wallet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of personal data.
const (
	MaxProfileBytes  = 16 << 10 // of a profile: its name, keys and values together
	MaxNoteBytes     = 4 << 10  // of a note on a transfer
	MaxNameBytes     = 1 << 10  // of a profile's name
	MaxPersonalKeys  = 64       // of an item's metadata
	MaxPersonalKey   = 64       // bytes of a key
	MaxPersonalValue = 1 << 10  // bytes of a value
)

// Errors of personal data, and of the store that has it and webhooks. With ErrPersonalData nothing was done; with the others neither, but for
// ErrStoreUnavailable of a write, of which the outcome is then unknown: repeat it.
var (
	ErrPersonalData = errors.New("wallet: personal data has up to 64 keys of 1 to 64 bytes, values of up to 1024 bytes, all of it UTF-8, " +
		"a profile a name of up to 1024 bytes and 16384 bytes in all, a note 4096 bytes in all")
	ErrErased           = errors.New("wallet: the personal data of this account was erased, and it takes none any more")
	ErrPersonalNotFound = errors.New("wallet: there is no such personal data")
	ErrPersonalChanged  = errors.New("wallet: the personal data was changed meanwhile, or is not there")
	ErrPersonalDamaged  = errors.New("wallet: sealed personal data cannot be opened: it was altered, or is not where it was written")
	ErrMasterKey        = errors.New("wallet: the personal data is sealed with another master key")
	ErrStoreUnavailable = errors.New("wallet: the store of personal data is not available")
	ErrStoreOfAnother   = errors.New("wallet: the database belongs to another wallet")
	ErrStoreEmpty       = errors.New("wallet: the database has nothing of this wallet, which had one")
	ErrStoreOfPast      = errors.New("wallet: the database belongs to this wallet as it was before a restore, or as another restore made it")
	ErrStoreNotShared   = errors.New("wallet: the nodes of a cluster need a store that they share")
)

// PersonalOwner is whose personal data it is.
type PersonalOwner struct {
	Tenant  Tenant
	Account AccountID
}

// Validate returns ErrTenant or ErrAccountID.
func (o PersonalOwner) Validate() error {
	if err := o.Tenant.Validate(); err != nil {
		return err
	}
	return o.Account.Validate()
}

// PersonalItem names a piece of an account's personal data: ProfileItem, or a NoteItem.
type PersonalItem string

// ProfileItem is who the account belongs to.
const ProfileItem PersonalItem = "profile"

const notePrefix = "note/"

// NoteItem is what the account's owner notes on a transfer or transaction.
func NoteItem(id TransactionID) PersonalItem { return PersonalItem(notePrefix + id.String()) }

// note returns the transaction that a note is on.
func (i PersonalItem) note() (TransactionID, bool) {
	text, ok := strings.CutPrefix(string(i), notePrefix)
	id, err := ParseTransactionID(text)
	return id, ok && err == nil
}

// maxBytes returns the most bytes of an item, 0 if there is no such item.
func (i PersonalItem) maxBytes() int {
	if i == ProfileItem {
		return MaxProfileBytes
	}
	if _, ok := i.note(); ok {
		return MaxNoteBytes
	}
	return 0
}

// PersonalData is the content of an item: a name or the text of a note, and what else there
// is to say, by key.
type PersonalData struct {
	Text     string
	Metadata map[string]string
}

// Validate returns ErrPersonalData if an item cannot hold the data.
func (d *PersonalData) Validate(item PersonalItem) error {
	size := len(d.Text)
	for key, value := range d.Metadata {
		if len(key) == 0 || len(key) > MaxPersonalKey || len(value) > MaxPersonalValue || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return ErrPersonalData
		}
		size += len(key) + len(value)
	}
	if len(d.Metadata) > MaxPersonalKeys || size > item.maxBytes() || !utf8.ValidString(d.Text) || item == ProfileItem && len(d.Text) > MaxNameBytes {
		return ErrPersonalData
	}
	return nil
}

// PersonalChange changes parts of an item: what is nil stays, and what points to "" goes.
type PersonalChange struct {
	Text     *string
	Metadata map[string]*string // a nil value removes the key
}

// apply returns data with the change.
func (c *PersonalChange) apply(d PersonalData) PersonalData {
	if c.Text != nil {
		d.Text = *c.Text
	}
	changed := make(map[string]string, len(d.Metadata)+len(c.Metadata))
	maps.Copy(changed, d.Metadata)
	for key, value := range c.Metadata {
		if value == nil {
			delete(changed, key)
		} else {
			changed[key] = *value
		}
	}
	d.Metadata = changed
	return d
}

// Versions that a write can ask for, beside one that was read.
const (
	AnyVersion  uint64 = 0         // whatever is there
	SomeVersion uint64 = 1<<63 - 1 // something is there
	maxVersion         = SomeVersion - 1
)

// Erasure is what is left of an account's personal data once it was erased.
type Erasure struct {
	At int64  // nanoseconds since 1970 UTC
	By string // id of the API key with which it was asked for, "" for none
}

// PersonalAccounts is what personal data needs to know of accounts: [Service] is it.
type PersonalAccounts interface {
	Account(ctx context.Context, tenant Tenant, id AccountID) (Account, Code, error)
	Decision(ctx context.Context, tenant Tenant, id TransactionID) (Code, error)
}

// PersonalOptions are the settings of personal data.
type PersonalOptions struct {
	Now    func() time.Time // required
	Random io.Reader        // required: of cryptographic quality
}

// Personal keeps the personal data of accounts, outside of the log: each account's is sealed under a
// key of its own, which is sealed under the master key. When the account's key is destroyed, nobody can read what
// was sealed, wherever there are copies, and the log, which has none of it, stays as it is. It is
// safe for concurrent use.
type Personal struct {
	store    PersonalStore
	accounts PersonalAccounts
	seal     sealer
	mark     []byte // of the store: a key that the master key seals
	now      func() time.Time
}

// NewPersonal returns the personal data in a store. The first time it marks the store with the
// master key; after that another one is refused with ErrMasterKey.
func NewPersonal(ctx context.Context, store PersonalStore, accounts PersonalAccounts, master MasterKey, o PersonalOptions) (*Personal, error) {
	p := &Personal{store: store, accounts: accounts, seal: sealer{master, o.Random}, now: o.Now}
	err := store.UpdatePersonal(ctx, func(ctx context.Context, tx PersonalTx) error {
		mark, err := tx.Key(ctx, PersonalOwner{})
		switch {
		case err != nil:
			return err
		case mark.Sealed == nil:
			p.mark = p.seal.key(PersonalOwner{}, p.seal.newKey())
			return tx.PutKey(ctx, PersonalOwner{}, &PersonalKey{Sealed: p.mark, Version: 1})
		}
		p.mark = mark.Sealed
		_, err = p.seal.openKey(PersonalOwner{}, mark.Sealed)
		return err
	})
	if errors.Is(err, ErrPersonalDamaged) {
		err = ErrMasterKey
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// PersonalMarked says whether a store is marked with a master key.
func PersonalMarked(ctx context.Context, store PersonalStore) (marked bool, err error) {
	err = store.ViewPersonal(ctx, func(ctx context.Context, tx PersonalTx) error {
		mark, err := tx.Key(ctx, PersonalOwner{})
		marked = mark.Sealed != nil
		return err
	})
	return marked, err
}

// Personal returns an item and its version. It returns ErrPersonalNotFound, ErrErased or ErrPersonalDamaged.
func (p *Personal) Personal(ctx context.Context, o PersonalOwner, item PersonalItem) (d PersonalData, version uint64, err error) {
	if err := o.Validate(); err != nil {
		return d, 0, err
	}
	err = p.store.ViewPersonal(ctx, func(ctx context.Context, tx PersonalTx) error {
		d, version, _, err = p.read(ctx, tx, o, item)
		if err == nil && version == 0 {
			err = ErrPersonalNotFound
		}
		return err
	})
	return d, version, err
}

// read returns an item with its version, 0 if it is not there, and its owner's key.
func (p *Personal) read(ctx context.Context, tx PersonalTx, o PersonalOwner, item PersonalItem) (d PersonalData, version uint64, key PersonalKey, err error) {
	if err := p.checkMark(ctx, tx); err != nil {
		return d, 0, key, err
	}
	key, err = tx.Key(ctx, o)
	switch {
	case err != nil:
		return d, 0, key, err
	case key.Erased != nil:
		return d, 0, key, ErrErased
	case key.Sealed == nil:
		return d, 0, key, nil
	}
	sealed, err := tx.Item(ctx, o, item)
	if err != nil || sealed.Version == 0 {
		return d, 0, key, err
	}
	opened, err := p.seal.openKey(o, key.Sealed)
	if err != nil {
		return d, 0, key, err
	}
	d, err = openItem(opened, o, item, sealed)
	return d, sealed.Version, key, err
}

// PutPersonal writes an item. If it is not of the version that is asked for it returns ErrPersonalChanged. The code is
// UnknownTenant, UnknownAccount or Applied; Undecided if a note is on nothing that the wallet has decided.
func (p *Personal) PutPersonal(ctx context.Context, o PersonalOwner, item PersonalItem, d PersonalData, at uint64) (version uint64, code Code, err error) {
	if err := d.Validate(item); err != nil {
		return 0, Undecided, err
	}
	return p.write(ctx, o, item, at, func(PersonalData) (PersonalData, error) { return d, nil })
}

// PatchPersonal changes an item, or makes one. It is to PutPersonal in all else; it also returns the item.
func (p *Personal) PatchPersonal(ctx context.Context, o PersonalOwner, item PersonalItem, c PersonalChange, at uint64) (d PersonalData, version uint64, code Code, err error) {
	version, code, err = p.write(ctx, o, item, at, func(before PersonalData) (PersonalData, error) {
		d = c.apply(before)
		return d, d.Validate(item)
	})
	return d, version, code, err
}

func (p *Personal) write(ctx context.Context, o PersonalOwner, item PersonalItem, at uint64, change func(PersonalData) (PersonalData, error)) (version uint64, code Code, err error) {
	if code, err = p.known(ctx, o, item); err != nil || code != Applied {
		return 0, code, err
	}
	err = p.store.UpdatePersonal(ctx, func(ctx context.Context, tx PersonalTx) error {
		before, is, key, err := p.read(ctx, tx, o, item)
		if err != nil {
			return err
		}
		if !fits(is, at) {
			return ErrPersonalChanged
		}
		after, err := change(before)
		if err != nil {
			return err
		}
		opened, err := p.useKey(o, &key)
		if err != nil {
			return err
		}
		version = key.Version
		if err := tx.PutKey(ctx, o, &key); err != nil {
			return err
		}
		return tx.PutItem(ctx, o, item, SealedItem{version, p.seal.item(opened, o, item, version, &after)})
	})
	return version, Applied, err
}

// fits says whether a version is what a write asks for.
func fits(is, at uint64) bool {
	return at == AnyVersion || at == is || at == SomeVersion && is != 0
}

// useKey opens an owner's key, or makes one, for another write.
func (p *Personal) useKey(o PersonalOwner, key *PersonalKey) (dataKey, error) {
	if key.Version >= maxVersion {
		return dataKey{}, fmt.Errorf("%w: version %d", ErrPersonalDamaged, key.Version)
	}
	key.Version++
	if key.Sealed != nil {
		return p.seal.openKey(o, key.Sealed)
	}
	made := p.seal.newKey()
	key.Sealed = p.seal.key(o, made)
	return made, nil
}

// known says whether there is an account, and what a note is on.
func (p *Personal) known(ctx context.Context, o PersonalOwner, item PersonalItem) (Code, error) {
	if err := o.Validate(); err != nil {
		return Undecided, err
	}
	if _, code, err := p.accounts.Account(ctx, o.Tenant, o.Account); err != nil || code != Applied {
		return code, err
	}
	id, ok := item.note()
	if !ok {
		return Applied, nil
	}
	code, err := p.accounts.Decision(ctx, o.Tenant, id)
	if err != nil || code == Undecided || code == UnknownTenant {
		return code, err
	}
	return Applied, nil
}

// DeletePersonal removes an item; one that is not there is removed already, if no version is asked for.
func (p *Personal) DeletePersonal(ctx context.Context, o PersonalOwner, item PersonalItem, at uint64) error {
	if err := o.Validate(); err != nil {
		return err
	}
	err := p.store.UpdatePersonal(ctx, func(ctx context.Context, tx PersonalTx) error {
		key, err := tx.Key(ctx, o)
		if err != nil {
			return err
		}
		if key.Erased != nil {
			return ErrErased
		}
		sealed, err := tx.Item(ctx, o, item)
		switch {
		case err != nil:
			return err
		case !fits(sealed.Version, at):
			return ErrPersonalChanged
		case sealed.Version == 0:
			return nil
		}
		return tx.DeleteItem(ctx, o, item)
	})
	if err != nil {
		return err
	}
	return p.store.ScrubPersonal(ctx)
}

// ErasePersonal destroys the key of an account for ever, and what was sealed under it. The code is UnknownTenant,
// UnknownAccount or Applied. Of an account that was erased before it returns the erasure of then. When it has
// returned without an error, the store has no copy of the key that its technology lets it overwrite.
func (p *Personal) ErasePersonal(ctx context.Context, o PersonalOwner, by string) (e Erasure, code Code, err error) {
	if code, err = p.known(ctx, o, ProfileItem); err != nil || code != Applied {
		return e, code, err
	}
	err = p.store.UpdatePersonal(ctx, func(ctx context.Context, tx PersonalTx) error {
		key, err := tx.Key(ctx, o)
		if err != nil {
			return err
		}
		if key.Erased != nil {
			e = *key.Erased
			return nil
		}
		e = Erasure{At: p.now().UnixNano(), By: by}
		if err := tx.PutKey(ctx, o, &PersonalKey{Version: key.Version + 1, Erased: &e}); err != nil {
			return err
		}
		return tx.DeleteItems(ctx, o)
	})
	if err != nil {
		return Erasure{}, Undecided, err
	}
	// Also the second time: the first may have ended here.
	return e, Applied, p.store.ScrubPersonal(ctx)
}
