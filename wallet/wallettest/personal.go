package wallettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"maru.example/wallet"
)

// TestPersonalStore is what every wallet.PersonalStore passes. Open returns an empty one.
func TestPersonalStore(t *testing.T, open func(t *testing.T) wallet.PersonalStore) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s wallet.PersonalStore)
	}{
		{"keys are kept", personalKeys},
		{"items are kept", personalItems},
		{"keys are listed in order", personalList},
		{"a transaction that fails leaves nothing", personalRollback},
		{"a view sees one state", personalView},
		{"transactions are as if alone", personalAlone},
		{"nothing is read or written after an erasure", personalErased},
		{"it can be scrubbed", func(t *testing.T, s wallet.PersonalStore) { must(t, s.ScrubPersonal(t.Context())) }},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// update runs a transaction that must succeed.
func update(t *testing.T, s wallet.PersonalStore, f func(ctx context.Context, tx wallet.PersonalTx) error) {
	t.Helper()
	must(t, s.UpdatePersonal(t.Context(), f))
}

// keyOf reads a key.
func keyOf(t *testing.T, s wallet.PersonalStore, o wallet.PersonalOwner) (k wallet.PersonalKey) {
	t.Helper()
	must(t, s.ViewPersonal(t.Context(), func(ctx context.Context, tx wallet.PersonalTx) (err error) {
		k, err = tx.Key(ctx, o)
		return err
	}))
	return k
}

// itemOf reads an item.
func itemOf(t *testing.T, s wallet.PersonalStore, o wallet.PersonalOwner, item wallet.PersonalItem) (i wallet.SealedItem) {
	t.Helper()
	must(t, s.ViewPersonal(t.Context(), func(ctx context.Context, tx wallet.PersonalTx) (err error) {
		i, err = tx.Item(ctx, o, item)
		return err
	}))
	return i
}

func sameKey(a, b wallet.PersonalKey) bool {
	return bytes.Equal(a.Sealed, b.Sealed) && (a.Sealed == nil) == (b.Sealed == nil) && a.Version == b.Version &&
		(a.Erased == nil) == (b.Erased == nil) && (a.Erased == nil || *a.Erased == *b.Erased)
}

var (
	alice = wallet.PersonalOwner{Tenant: "default", Account: "alice"}
	bob   = wallet.PersonalOwner{Tenant: "default", Account: "bob"}
	other = wallet.PersonalOwner{Tenant: "other", Account: "alice"}
	key   = wallet.PersonalKey{Sealed: []byte{0, 1, 2, 255}, Version: 1}
)

func put(t *testing.T, s wallet.PersonalStore, o wallet.PersonalOwner, k wallet.PersonalKey) {
	t.Helper()
	update(t, s, func(ctx context.Context, tx wallet.PersonalTx) error { return tx.PutKey(ctx, o, &k) })
}

func personalKeys(t *testing.T, s wallet.PersonalStore) {
	if got := keyOf(t, s, alice); !sameKey(got, wallet.PersonalKey{}) {
		t.Errorf("there is a key %v before it was put", got)
	}
	erased := wallet.PersonalKey{Version: 3, Erased: &wallet.Erasure{At: 1 << 62, By: ""}}
	for _, k := range []wallet.PersonalKey{
		key,
		{Sealed: bytes.Repeat([]byte{7}, 100), Version: 1<<63 - 1},
		{Version: 2, Erased: &wallet.Erasure{At: 5, By: "4f1c8a03b7d29e56"}},
		erased,
	} {
		put(t, s, alice, k)
		if got := keyOf(t, s, alice); !sameKey(got, k) {
			t.Errorf("got %+v, want %+v", got, k)
		}
	}
	put(t, s, wallet.PersonalOwner{}, key)
	for _, o := range []wallet.PersonalOwner{bob, other} {
		if got := keyOf(t, s, o); !sameKey(got, wallet.PersonalKey{}) {
			t.Errorf("%v has the key %v of another", o, got)
		}
	}
}

func personalItems(t *testing.T, s wallet.PersonalStore) {
	note := wallet.NoteItem(wallet.TransactionID{1})
	want := wallet.SealedItem{Version: 1<<63 - 1, Sealed: bytes.Repeat([]byte{0, 255}, wallet.MaxProfileBytes)}
	update(t, s, func(ctx context.Context, tx wallet.PersonalTx) error {
		for _, o := range []wallet.PersonalOwner{alice, other} {
			if err := tx.PutKey(ctx, o, &key); err != nil {
				return err
			}
			for _, item := range []wallet.PersonalItem{wallet.ProfileItem, note} {
				if err := tx.PutItem(ctx, o, item, wallet.SealedItem{Version: 1, Sealed: []byte{1}}); err != nil {
					return err
				}
			}
		}
		return tx.PutItem(ctx, alice, note, want)
	})
	if got := itemOf(t, s, alice, note); got.Version != want.Version || !bytes.Equal(got.Sealed, want.Sealed) {
		t.Errorf("the note has version %d and %d bytes, want %d and %d", got.Version, len(got.Sealed), want.Version, len(want.Sealed))
	}
	there := func(o wallet.PersonalOwner, item wallet.PersonalItem, want bool) {
		t.Helper()
		if got := itemOf(t, s, o, item); (got.Version != 0) != want {
			t.Errorf("%v has %s of version %d, want one: %v", o, item, got.Version, want)
		}
	}
	there(bob, note, false)
	update(t, s, func(ctx context.Context, tx wallet.PersonalTx) error { return tx.DeleteItem(ctx, alice, note) })
	there(alice, note, false)
	there(alice, wallet.ProfileItem, true)
	there(other, note, true)
	update(t, s, func(ctx context.Context, tx wallet.PersonalTx) error { return tx.DeleteItems(ctx, alice) })
	there(alice, wallet.ProfileItem, false)
	there(other, wallet.ProfileItem, true)
}

func personalList(t *testing.T, s wallet.PersonalStore) {
	owners := []wallet.PersonalOwner{
		{}, {Tenant: "A", Account: "z"}, {Tenant: "a", Account: "B"}, {Tenant: "a", Account: "_"}, {Tenant: "a", Account: "b"}, {Tenant: "a:", Account: "."},
	}
	for _, i := range []int{3, 0, 5, 1, 4, 2} {
		put(t, s, owners[i], wallet.PersonalKey{Sealed: []byte{byte(i)}, Version: uint64(i + 1)})
	}
	var after wallet.PersonalOwner
	for i := 1; i < len(owners); i += 2 {
		var page []wallet.OwnedKey
		must(t, s.ViewPersonal(t.Context(), func(ctx context.Context, tx wallet.PersonalTx) (err error) {
			page, err = tx.Keys(ctx, after, 2)
			return err
		}))
		if want := min(2, len(owners)-i); len(page) != want {
			t.Fatalf("after %v there are %d keys, want %d", after, len(page), want)
		}
		for j, k := range page {
			if want := owners[i+j]; k.PersonalOwner != want || k.Version != uint64(i+j+1) || !bytes.Equal(k.Sealed, []byte{byte(i + j)}) {
				t.Errorf("key %d is %+v, want that of %v", i+j, k, want)
			}
		}
		after = page[len(page)-1].PersonalOwner
	}
}

func personalRollback(t *testing.T, s wallet.PersonalStore) {
	stop := errors.New("stop")
	err := s.UpdatePersonal(t.Context(), func(ctx context.Context, tx wallet.PersonalTx) error {
		if err := errors.Join(tx.PutKey(ctx, alice, &key), tx.PutItem(ctx, alice, wallet.ProfileItem, wallet.SealedItem{Version: 1, Sealed: []byte{1}})); err != nil {
			return err
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("UpdatePersonal returned %v, want %v", err, stop)
	}
	if got := keyOf(t, s, alice); !sameKey(got, wallet.PersonalKey{}) {
		t.Errorf("a key %v was left", got)
	}
	if got := itemOf(t, s, alice, wallet.ProfileItem); got.Version != 0 {
		t.Errorf("an item %v was left", got)
	}
}

// personalView erases an account while somebody reads: the key and the item that are
// read are of one state.
func personalView(t *testing.T, s wallet.PersonalStore) {
	const rounds = 20
	item := wallet.SealedItem{Version: 1, Sealed: []byte{1}}
	var readers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	readers.Go(func() {
		for ctx.Err() == nil {
			err := s.ViewPersonal(ctx, func(ctx context.Context, tx wallet.PersonalTx) error {
				k, err := tx.Key(ctx, alice)
				if err != nil {
					return err
				}
				i, err := tx.Item(ctx, alice, wallet.ProfileItem)
				if err == nil && (k.Sealed != nil) != (i.Version != 0) {
					t.Errorf("key %v and item %v were read together", k, i)
				}
				return err
			})
			if err != nil && ctx.Err() == nil {
				t.Errorf("view: %v", err)
				return
			}
		}
	})
	for i := range rounds {
		update(t, s, func(ctx context.Context, tx wallet.PersonalTx) error {
			if i%2 == 0 {
				return errors.Join(tx.PutKey(ctx, alice, &key), tx.PutItem(ctx, alice, wallet.ProfileItem, item))
			}
			return errors.Join(tx.DeleteItems(ctx, alice), tx.PutKey(ctx, alice, &wallet.PersonalKey{Version: 2, Erased: &wallet.Erasure{At: 1}}))
		})
	}
	stop()
	readers.Wait()
}

// personalAlone lets several add to what they have read.
func personalAlone(t *testing.T, s wallet.PersonalStore) {
	const adders, each = 4, 5
	var all sync.WaitGroup
	for range adders {
		all.Go(func() {
			for range each {
				err := s.UpdatePersonal(t.Context(), func(ctx context.Context, tx wallet.PersonalTx) error {
					k, err := tx.Key(ctx, alice)
					if err != nil {
						return err
					}
					return tx.PutKey(ctx, alice, &wallet.PersonalKey{Sealed: fmt.Appendf(nil, "%d", k.Version+1), Version: k.Version + 1})
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := keyOf(t, s, alice); got.Version != adders*each || string(got.Sealed) != fmt.Sprint(adders*each) {
		t.Errorf("got %+v, want version %d", got, adders*each)
	}
}

// world has all accounts.
type world struct{}

func (world) Account(_ context.Context, _ wallet.Tenant, id wallet.AccountID) (wallet.Account, wallet.Code, error) {
	return wallet.Account{ID: id}, wallet.Applied, nil
}

func (world) Decision(context.Context, wallet.Tenant, wallet.TransactionID) (wallet.Code, error) {
	return wallet.Applied, nil
}

// personalErased lets several write and read while two erase.
func personalErased(t *testing.T, s wallet.PersonalStore) {
	const writers = 3
	p, err := wallet.NewPersonal(t.Context(), s, world{}, wallet.MasterKey{1}, wallet.PersonalOptions{Now: time.Now, Random: rand.Reader})
	must(t, err)
	write := func(text string) error {
		_, _, err := p.PutPersonal(t.Context(), alice, wallet.ProfileItem, wallet.PersonalData{Text: text}, wallet.AnyVersion)
		return err
	}
	must(t, write("first"))
	var all sync.WaitGroup
	begun := make(chan struct{}, 2*writers)
	for i := range writers {
		all.Go(func() {
			for n := 0; ; n++ {
				err := write(fmt.Sprintf("%d by %d", n, i))
				if n == 1 || err != nil {
					begun <- struct{}{}
				}
				if err == nil {
					_, _, err = p.Personal(t.Context(), alice, wallet.ProfileItem)
				}
				switch {
				case errors.Is(err, wallet.ErrErased):
					return
				case err != nil:
					t.Errorf("beside an erasure: %v", err)
					return
				}
			}
		})
	}
	<-begun
	erasures := make([]wallet.Erasure, 2)
	for i := range erasures {
		all.Go(func() {
			var err error
			if erasures[i], _, err = p.ErasePersonal(t.Context(), alice, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
			if _, _, err := p.Personal(t.Context(), alice, wallet.ProfileItem); !errors.Is(err, wallet.ErrErased) {
				t.Errorf("a read after the erasure returned %v", err)
			}
		})
	}
	all.Wait()
	if erasures[0] != erasures[1] {
		t.Errorf("it was erased twice: %+v", erasures)
	}
	if k := keyOf(t, s, alice); k.Sealed != nil || k.Erased == nil {
		t.Errorf("there is the key %+v", k)
	}
	if i := itemOf(t, s, alice, wallet.ProfileItem); i.Version != 0 {
		t.Errorf("there is the item %+v", i)
	}
}
