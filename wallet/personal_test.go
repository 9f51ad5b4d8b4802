package wallet_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"maru.example/wallet"
	"maru.example/wallet/wallettest"
)

// people is a wallet in which these accounts are open.
type people map[wallet.AccountID]wallet.Code

func (p people) Account(_ context.Context, _ wallet.Tenant, id wallet.AccountID) (wallet.Account, wallet.Code, error) {
	if code, ok := p[id]; ok {
		return wallet.Account{ID: id}, code, nil
	}
	return wallet.Account{}, wallet.UnknownAccount, nil
}

// Decision knows the transactions whose id begins with 1.
func (p people) Decision(_ context.Context, _ wallet.Tenant, id wallet.TransactionID) (wallet.Code, error) {
	if id[0] == 1 {
		return wallet.InsufficientFunds, nil
	}
	return wallet.Undecided, nil
}

// counter is randomness that a golden file can have.
type counter struct{ n uint64 }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = byte(c.n * 0x9e3779b97f4a7c15 >> 56)
	}
	return len(b), nil
}

var (
	alice   = wallet.PersonalOwner{Tenant: "default", Account: "alice"}
	bob     = wallet.PersonalOwner{Tenant: "default", Account: "bob"}
	aNote   = wallet.NoteItem(wallet.TransactionID{1})
	aMaster = wallet.MasterKey(bytes.Repeat([]byte{42}, 32))
)

func newPersonal(t interface{ Fatal(args ...any) }, s wallet.PersonalStore) *wallet.Personal {
	p, err := wallet.NewPersonal(context.Background(), s, people{"alice": wallet.Applied, "bob": wallet.Applied}, aMaster,
		wallet.PersonalOptions{Now: func() time.Time { return time.Unix(0, 1234567890) }, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func putPersonal(t *testing.T, p *wallet.Personal, o wallet.PersonalOwner, item wallet.PersonalItem, text string) uint64 {
	t.Helper()
	version, code, err := p.PutPersonal(t.Context(), o, item, wallet.PersonalData{Text: text}, wallet.AnyVersion)
	if err != nil || code != wallet.Applied {
		t.Fatalf("put %s of %v: %v, %v", item, o, code, err)
	}
	return version
}

func TestPersonalVersions(t *testing.T) {
	p := newPersonal(t, new(wallettest.PersonalMemory))
	write := func(at uint64) (uint64, error) {
		version, _, err := p.PutPersonal(t.Context(), alice, wallet.ProfileItem, wallet.PersonalData{Text: "Alice"}, at)
		return version, err
	}
	if _, err := write(wallet.SomeVersion); !errors.Is(err, wallet.ErrPersonalChanged) {
		t.Errorf("a write where something must be returned %v", err)
	}
	first, err := write(wallet.AnyVersion)
	if err != nil {
		t.Fatal(err)
	}
	second, err := write(first)
	if err != nil || second <= first {
		t.Fatalf("version %d after %d, %v", second, first, err)
	}
	if _, err := write(first); !errors.Is(err, wallet.ErrPersonalChanged) {
		t.Errorf("a write of an earlier version returned %v", err)
	}
	if err := p.DeletePersonal(t.Context(), alice, wallet.ProfileItem, first); !errors.Is(err, wallet.ErrPersonalChanged) {
		t.Errorf("a removal of an earlier version returned %v", err)
	}
	if err := p.DeletePersonal(t.Context(), alice, wallet.ProfileItem, second); err != nil {
		t.Error(err)
	}
	// No version comes twice, or a client could overwrite what it has not seen.
	if third, err := write(wallet.AnyVersion); err != nil || third <= second {
		t.Errorf("version %d after %d, %v", third, second, err)
	}
}

func TestPersonalPatch(t *testing.T) {
	p := newPersonal(t, new(wallettest.PersonalMemory))
	long := strings.Repeat("a", wallet.MaxPersonalValue)
	for i, tt := range []struct {
		change wallet.PersonalChange
		want   wallet.PersonalData
	}{
		{wallet.PersonalChange{Text: new("Alice"), Metadata: map[string]*string{"mail": new("a@example.com"), "gone": nil}}, wallet.PersonalData{Text: "Alice", Metadata: map[string]string{"mail": "a@example.com"}}},
		{wallet.PersonalChange{}, wallet.PersonalData{Text: "Alice", Metadata: map[string]string{"mail": "a@example.com"}}},
		{wallet.PersonalChange{Metadata: map[string]*string{"mail": nil, "phone": new("")}}, wallet.PersonalData{Text: "Alice", Metadata: map[string]string{"phone": ""}}},
		{wallet.PersonalChange{Text: new(""), Metadata: map[string]*string{"phone": nil}}, wallet.PersonalData{}},
	} {
		got, version, code, err := p.PatchPersonal(t.Context(), alice, wallet.ProfileItem, tt.change, wallet.AnyVersion)
		if err != nil || code != wallet.Applied {
			t.Fatalf("change %d: %v, %v", i, code, err)
		}
		read, at, err := p.Personal(t.Context(), alice, wallet.ProfileItem)
		if err != nil || at != version {
			t.Errorf("change %d: version %d, %v, want %d", i, at, err, version)
		}
		for _, d := range []wallet.PersonalData{got, read} {
			if d.Text != tt.want.Text || !maps.Equal(d.Metadata, tt.want.Metadata) {
				t.Errorf("change %d: got %+v, want %+v", i, d, tt.want)
			}
		}
	}
	full := wallet.PersonalChange{Metadata: map[string]*string{}}
	for i := range 17 {
		full.Metadata[fmt.Sprint(i)] = &long
	}
	if _, _, _, err := p.PatchPersonal(t.Context(), alice, wallet.ProfileItem, full, wallet.AnyVersion); !errors.Is(err, wallet.ErrPersonalData) {
		t.Errorf("a change that makes it too large returned %v", err)
	}
}

func TestPersonalLimits(t *testing.T) {
	many := func(n, size int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprintf("%02d", i)] = strings.Repeat("v", size)
		}
		return m
	}
	for _, tt := range []struct {
		name string
		item wallet.PersonalItem
		data wallet.PersonalData
		good bool
	}{
		{"nothing", wallet.ProfileItem, wallet.PersonalData{}, true},
		{"the longest name", wallet.ProfileItem, wallet.PersonalData{Text: strings.Repeat("n", 1024)}, true},
		{"a longer name", wallet.ProfileItem, wallet.PersonalData{Text: strings.Repeat("n", 1025)}, false},
		{"the longest note", aNote, wallet.PersonalData{Text: strings.Repeat("n", 4096)}, true},
		{"a longer note", aNote, wallet.PersonalData{Text: strings.Repeat("n", 4096), Metadata: map[string]string{"k": ""}}, false},
		{"64 keys", wallet.ProfileItem, wallet.PersonalData{Metadata: many(64, 254)}, true},
		{"too much together", wallet.ProfileItem, wallet.PersonalData{Text: "n", Metadata: many(64, 254)}, false},
		{"65 keys", wallet.ProfileItem, wallet.PersonalData{Metadata: many(65, 1)}, false},
		{"an empty key", wallet.ProfileItem, wallet.PersonalData{Metadata: map[string]string{"": "v"}}, false},
		{"the longest key", wallet.ProfileItem, wallet.PersonalData{Metadata: map[string]string{strings.Repeat("k", 64): "v"}}, true},
		{"a longer key", wallet.ProfileItem, wallet.PersonalData{Metadata: map[string]string{strings.Repeat("k", 65): "v"}}, false},
		{"the longest value", wallet.ProfileItem, wallet.PersonalData{Metadata: many(1, 1024)}, true},
		{"a longer value", wallet.ProfileItem, wallet.PersonalData{Metadata: many(1, 1025)}, false},
		{"a name that is no UTF-8", wallet.ProfileItem, wallet.PersonalData{Text: "\xff"}, false},
		{"a value that is no UTF-8", wallet.ProfileItem, wallet.PersonalData{Metadata: map[string]string{"k": "\xff"}}, false},
		{"a key that is no UTF-8", wallet.ProfileItem, wallet.PersonalData{Metadata: map[string]string{"\xff": "v"}}, false},
		{"no such item", "other", wallet.PersonalData{Text: "n"}, false},
		{"a note on nothing", "note/00000000-0000-0000-0000-000000000000", wallet.PersonalData{Text: "n"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.data.Validate(tt.item); (err == nil) != tt.good || err != nil && !errors.Is(err, wallet.ErrPersonalData) {
				t.Errorf("got %v, want it to be good: %v", err, tt.good)
			}
			if b := wallet.AppendPersonalData(nil, &tt.data); tt.good {
				if got, ok := wallet.ParsePersonalData(b); !ok || got.Text != tt.data.Text || !maps.Equal(got.Metadata, tt.data.Metadata) {
					t.Errorf("%x was read as %+v, %v", b, got, ok)
				}
			}
		})
	}
}

func TestPersonalRefusals(t *testing.T) {
	p := newPersonal(t, new(wallettest.PersonalMemory))
	nobody := wallet.PersonalOwner{Tenant: "default", Account: "nobody"}
	if _, code, err := p.PutPersonal(t.Context(), nobody, wallet.ProfileItem, wallet.PersonalData{}, wallet.AnyVersion); code != wallet.UnknownAccount || err != nil {
		t.Errorf("a profile of nobody: %v, %v", code, err)
	}
	if _, code, err := p.ErasePersonal(t.Context(), nobody, ""); code != wallet.UnknownAccount || err != nil {
		t.Errorf("the erasure of nobody: %v, %v", code, err)
	}
	if _, code, err := p.PutPersonal(t.Context(), alice, wallet.NoteItem(wallet.TransactionID{2}), wallet.PersonalData{}, wallet.AnyVersion); code != wallet.Undecided || err != nil {
		t.Errorf("a note on what the wallet does not know: %v, %v", code, err)
	}
	if _, _, err := p.Personal(t.Context(), alice, wallet.ProfileItem); !errors.Is(err, wallet.ErrPersonalNotFound) {
		t.Errorf("a profile that was not written: %v", err)
	}
	for _, o := range []wallet.PersonalOwner{{}, {Tenant: "default", Account: "a b"}, {Account: "alice"}} {
		_, _, err := p.Personal(t.Context(), o, wallet.ProfileItem)
		if err == nil || p.DeletePersonal(t.Context(), o, wallet.ProfileItem, wallet.AnyVersion) == nil {
			t.Errorf("%v was taken as an owner", o)
		}
	}
}

func TestErasure(t *testing.T) {
	s := new(wallettest.PersonalMemory)
	p := newPersonal(t, s)
	putPersonal(t, p, alice, wallet.ProfileItem, "Alice")
	putPersonal(t, p, alice, aNote, "for the bike")
	putPersonal(t, p, bob, wallet.ProfileItem, "Bob")
	before := rows(t, s, alice)
	want := wallet.Erasure{At: 1234567890, By: "4f1c8a03b7d29e56"}
	for _, by := range []string{want.By, "another"} { // the second time it was done by the first
		if got, code, err := p.ErasePersonal(t.Context(), alice, by); err != nil || code != wallet.Applied || got != want {
			t.Errorf("erasure: %+v, %v, %v, want %+v", got, code, err, want)
		}
	}
	for _, item := range []wallet.PersonalItem{wallet.ProfileItem, aNote} {
		_, _, err := p.Personal(t.Context(), alice, item)
		_, _, put := p.PutPersonal(t.Context(), alice, item, wallet.PersonalData{}, wallet.AnyVersion)
		_, _, _, patch := p.PatchPersonal(t.Context(), alice, item, wallet.PersonalChange{}, wallet.AnyVersion)
		remove := p.DeletePersonal(t.Context(), alice, item, wallet.AnyVersion)
		for what, err := range map[string]error{"read": err, "put": put, "patch": patch, "delete": remove} {
			if !errors.Is(err, wallet.ErrErased) {
				t.Errorf("%s of %s returned %v, want %v", what, item, err, wallet.ErrErased)
			}
		}
	}
	if after := rows(t, s, alice); after.key.Sealed != nil || len(after.items) > 0 {
		t.Errorf("what is left: %+v", after)
	}
	// The sealed items of a copy are of no use without the key that the copy does not have.
	copied := new(wallettest.PersonalMemory)
	again := newPersonal(t, copied)
	putPersonal(t, again, alice, wallet.ProfileItem, "")
	plant(t, copied, alice, wallet.ProfileItem, before.items[wallet.ProfileItem])
	if d, _, err := again.Personal(t.Context(), alice, wallet.ProfileItem); !errors.Is(err, wallet.ErrPersonalDamaged) {
		t.Errorf("an item under a destroyed key was read: %+v, %v", d, err)
	}
	if d, _, err := p.Personal(t.Context(), bob, wallet.ProfileItem); err != nil || d.Text != "Bob" {
		t.Errorf("bob is %q, %v", d.Text, err)
	}
}

// content is what a store has of an owner.
type content struct {
	key   wallet.PersonalKey
	items map[wallet.PersonalItem]wallet.SealedItem
}

func rows(t testing.TB, s wallet.PersonalStore, o wallet.PersonalOwner) content {
	t.Helper()
	c := content{items: map[wallet.PersonalItem]wallet.SealedItem{}}
	err := s.ViewPersonal(t.Context(), func(ctx context.Context, tx wallet.PersonalTx) (err error) {
		for _, item := range []wallet.PersonalItem{wallet.ProfileItem, aNote} {
			i, err := tx.Item(ctx, o, item)
			if err != nil {
				return err
			}
			if i.Version != 0 {
				c.items[item] = i
			}
		}
		c.key, err = tx.Key(ctx, o)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func plant(t *testing.T, s wallet.PersonalStore, o wallet.PersonalOwner, item wallet.PersonalItem, i wallet.SealedItem) {
	t.Helper()
	err := s.UpdatePersonal(t.Context(), func(ctx context.Context, tx wallet.PersonalTx) error { return tx.PutItem(ctx, o, item, i) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestPersonalMoved(t *testing.T) {
	for _, tt := range []struct {
		name string
		move func(t *testing.T, s wallet.PersonalStore)
	}{
		{"an item to another account", func(t *testing.T, s wallet.PersonalStore) {
			plant(t, s, bob, wallet.ProfileItem, rows(t, s, alice).items[wallet.ProfileItem])
		}},
		{"an item to another name", func(t *testing.T, s wallet.PersonalStore) {
			plant(t, s, bob, wallet.ProfileItem, rows(t, s, bob).items[aNote])
		}},
		{"an item to another version", func(t *testing.T, s wallet.PersonalStore) {
			i := rows(t, s, bob).items[wallet.ProfileItem]
			i.Version++
			plant(t, s, bob, wallet.ProfileItem, i)
		}},
		{"an item with its key", func(t *testing.T, s wallet.PersonalStore) {
			from := rows(t, s, alice)
			plant(t, s, bob, wallet.ProfileItem, from.items[wallet.ProfileItem])
			if err := s.UpdatePersonal(t.Context(), func(ctx context.Context, tx wallet.PersonalTx) error { return tx.PutKey(ctx, bob, &from.key) }); err != nil {
				t.Fatal(err)
			}
		}},
		{"a bit", func(t *testing.T, s wallet.PersonalStore) {
			i := rows(t, s, bob).items[wallet.ProfileItem]
			i.Sealed[len(i.Sealed)/2] ^= 1
			plant(t, s, bob, wallet.ProfileItem, i)
		}},
		{"the end", func(t *testing.T, s wallet.PersonalStore) {
			i := rows(t, s, bob).items[wallet.ProfileItem]
			i.Sealed = i.Sealed[:20]
			plant(t, s, bob, wallet.ProfileItem, i)
		}},
		{"another form", func(t *testing.T, s wallet.PersonalStore) {
			i := rows(t, s, bob).items[wallet.ProfileItem]
			i.Sealed[0] = 2
			plant(t, s, bob, wallet.ProfileItem, i)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := new(wallettest.PersonalMemory)
			p := newPersonal(t, s)
			putPersonal(t, p, alice, wallet.ProfileItem, "Alice")
			putPersonal(t, p, bob, aNote, "a note")
			putPersonal(t, p, bob, wallet.ProfileItem, "Bob")
			tt.move(t, s)
			if d, _, err := p.Personal(t.Context(), bob, wallet.ProfileItem); !errors.Is(err, wallet.ErrPersonalDamaged) {
				t.Errorf("got %+v, %v, want %v", d, err, wallet.ErrPersonalDamaged)
			}
		})
	}
}

func TestMasterKey(t *testing.T) {
	s := new(wallettest.PersonalMemory)
	for _, want := range []bool{false, true} {
		if marked, err := wallet.PersonalMarked(t.Context(), s); err != nil || marked != want {
			t.Errorf("marked: %v, %v, want %v", marked, err, want)
		}
		newPersonal(t, s)
	}
	o := wallet.PersonalOptions{Now: time.Now, Random: rand.Reader}
	if _, err := wallet.NewPersonal(t.Context(), s, people{}, wallet.MasterKey{1}, o); !errors.Is(err, wallet.ErrMasterKey) {
		t.Errorf("another master key: %v, want %v", err, wallet.ErrMasterKey)
	}
	s.Err = wallet.ErrStoreUnavailable
	if _, err := wallet.NewPersonal(t.Context(), s, people{}, aMaster, o); !errors.Is(err, wallet.ErrStoreUnavailable) {
		t.Errorf("a store that is away: %v", err)
	}
}

func TestRotation(t *testing.T) {
	s := new(wallettest.PersonalMemory)
	accounts := people{}
	for i := range 600 { // several pages
		accounts[wallet.AccountID(fmt.Sprint(i))] = wallet.Applied
	}
	o := wallet.PersonalOptions{Now: time.Now, Random: rand.Reader}
	open := func(key wallet.MasterKey) (*wallet.Personal, error) {
		return wallet.NewPersonal(t.Context(), s, accounts, key, o)
	}
	p, err := open(aMaster)
	if err != nil {
		t.Fatal(err)
	}
	owner := func(i int) wallet.PersonalOwner {
		return wallet.PersonalOwner{Tenant: "default", Account: wallet.AccountID(fmt.Sprint(i))}
	}
	for i := range accounts {
		putPersonal(t, p, wallet.PersonalOwner{Tenant: "default", Account: i}, wallet.ProfileItem, "name "+string(i))
	}
	if _, _, err := p.ErasePersonal(t.Context(), owner(7), ""); err != nil {
		t.Fatal(err)
	}
	next := wallet.MasterKey{1}
	if n, err := wallet.RotatePersonal(t.Context(), s, next, wallet.MasterKey{2}, rand.Reader); !errors.Is(err, wallet.ErrMasterKey) {
		t.Errorf("from a key that it does not have: %d, %v", n, err)
	}
	if _, _, err := p.Personal(t.Context(), owner(1), wallet.ProfileItem); err != nil {
		t.Errorf("after a rotation that was refused: %v", err)
	}
	// It is interrupted once, and goes on.
	ctx, stop := context.WithCancel(t.Context())
	pages := 0
	_, err = wallet.RotatePersonal(ctx, interrupted{s, func() error {
		if pages++; pages == 3 {
			stop()
		}
		return ctx.Err()
	}}, aMaster, next, rand.Reader)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("an interrupted rotation returned %v", err)
	}
	if n, err := wallet.RotatePersonal(t.Context(), s, aMaster, next, rand.Reader); err != nil || n != 600-1-256 {
		t.Errorf("the rest of the rotation: %d, %v, want %d", n, err, 600-1-256)
	}
	_, _, read := p.Personal(t.Context(), owner(1), wallet.ProfileItem)
	_, _, write := p.PutPersonal(t.Context(), owner(1), wallet.ProfileItem, wallet.PersonalData{}, wallet.AnyVersion)
	_, again := open(aMaster)
	for what, err := range map[string]error{"read": read, "write": write, "start": again} {
		if !errors.Is(err, wallet.ErrMasterKey) {
			t.Errorf("a %s with the former key returned %v", what, err)
		}
	}
	if p, err = open(next); err != nil {
		t.Fatal(err)
	}
	for i := range 600 {
		d, _, err := p.Personal(t.Context(), owner(i), wallet.ProfileItem)
		if i == 7 && errors.Is(err, wallet.ErrErased) {
			continue
		}
		if err != nil || d.Text != fmt.Sprintf("name %d", i) {
			t.Errorf("account %d is %q, %v", i, d.Text, err)
		}
	}
}

// interrupted asks before each transaction whether it may be.
type interrupted struct {
	wallet.PersonalStore
	may func() error
}

func (s interrupted) UpdatePersonal(ctx context.Context, f func(ctx context.Context, tx wallet.PersonalTx) error) error {
	if err := s.may(); err != nil {
		return err
	}
	return s.PersonalStore.UpdatePersonal(ctx, f)
}

// TestPersonalModel compares with a map.
func TestPersonalModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPersonal(t, new(wallettest.PersonalMemory))
		type place struct {
			o    wallet.PersonalOwner
			item wallet.PersonalItem
		}
		texts, erased := map[place]string{}, map[wallet.PersonalOwner]bool{}
		ctx := context.Background()
		draw := func(t *rapid.T) place {
			return place{rapid.SampledFrom([]wallet.PersonalOwner{alice, bob}).Draw(t, "owner"), rapid.SampledFrom([]wallet.PersonalItem{wallet.ProfileItem, aNote}).Draw(t, "item")}
		}
		check := func(t *rapid.T, what string, at place, err, otherwise error) {
			want := otherwise
			if erased[at.o] {
				want = wallet.ErrErased
			}
			if !errors.Is(err, want) {
				t.Fatalf("%s of %v: %v, want %v", what, at, err, want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				at, text := draw(t), rapid.StringN(0, 5, 20).Draw(t, "text")
				_, _, err := p.PutPersonal(ctx, at.o, at.item, wallet.PersonalData{Text: text}, wallet.AnyVersion)
				if check(t, "put", at, err, nil); !erased[at.o] {
					texts[at] = text
				}
			},
			"delete": func(t *rapid.T) {
				at := draw(t)
				check(t, "delete", at, p.DeletePersonal(ctx, at.o, at.item, wallet.AnyVersion), nil)
				delete(texts, at)
			},
			"erase": func(t *rapid.T) {
				at := draw(t)
				if _, _, err := p.ErasePersonal(ctx, at.o, ""); err != nil {
					t.Fatal(err)
				}
				erased[at.o] = true
			},
			"": func(t *rapid.T) {
				for _, o := range []wallet.PersonalOwner{alice, bob} {
					for _, item := range []wallet.PersonalItem{wallet.ProfileItem, aNote} {
						at := place{o, item}
						d, _, err := p.Personal(ctx, o, item)
						if text, ok := texts[at]; ok {
							check(t, "read", at, err, nil)
							if !erased[o] && d.Text != text {
								t.Fatalf("%v is %q, want %q", at, d.Text, text)
							}
						} else {
							check(t, "read", at, err, wallet.ErrPersonalNotFound)
						}
					}
				}
			},
		})
	})
}

// FuzzPersonalData reads anything, and writes what it has read as it was.
func FuzzPersonalData(f *testing.F) {
	for _, d := range []wallet.PersonalData{{}, {Text: "Alice"}, {Text: "é", Metadata: map[string]string{"a": "", "b": "c"}}} {
		f.Add(wallet.AppendPersonalData(nil, &d))
	}
	f.Add([]byte{1, 0, 0, 2, 1, 0, 'b', 0, 0, 1, 0, 'a', 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := wallet.ParsePersonalData(b)
		if ok && !bytes.Equal(wallet.AppendPersonalData(nil, &d), b) {
			t.Errorf("%x is read as %+v, which is written in another way", b, d)
		}
	})
}

// TestPersonalGolden holds what is sealed to what was written when the format was made.
func TestPersonalGolden(t *testing.T) {
	s := new(wallettest.PersonalMemory)
	p, err := wallet.NewPersonal(t.Context(), s, people{"alice": wallet.Applied}, aMaster, wallet.PersonalOptions{Now: time.Now, Random: new(counter)})
	if err != nil {
		t.Fatal(err)
	}
	d := wallet.PersonalData{Text: "Alice Liddell", Metadata: map[string]string{"mail": "alice@example.com", "born": "1852-05-04"}}
	if _, _, err := p.PutPersonal(t.Context(), alice, wallet.ProfileItem, d, wallet.AnyVersion); err != nil {
		t.Fatal(err)
	}
	c := rows(t, s, alice)
	mark := rows(t, s, wallet.PersonalOwner{})
	got := fmt.Sprintf("content %x\nmark %x\nkey %x\nitem %x\n", wallet.AppendPersonalData(nil, &d), mark.key.Sealed, c.key.Sealed, c.items[wallet.ProfileItem].Sealed)
	const name = "testdata/personal.golden"
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-%s +got):\n%s", name, diff)
	}
}
