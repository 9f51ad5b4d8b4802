package walletsql_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/walletsql"
)

// testOwner lets two wallets, and one that was restored of the first, use a database.
func testOwner(t *testing.T, s *walletsql.Store) {
	ctx := t.Context()
	one, other := walletsql.Owner{Cluster: "c1", Past: "p1"}, walletsql.Owner{Cluster: "c2", Past: "p9"}
	restored := walletsql.Owner{Cluster: "c1", Past: "p2"}
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Fatalf("%s: error %v, want %v", what, err, want)
		}
	}
	want("first", s.Claim(ctx, one, nil), nil)
	want("again", s.Claim(ctx, one, nil), nil)
	want("a node that does not know the past", s.Claim(ctx, walletsql.Owner{Cluster: "c1"}, nil), nil)
	if got := s.Owner(); got != one {
		t.Errorf("the owner is %+v, want %+v", got, one)
	}
	w := &wallet.Webhook{ID: "wh_0000000000000001", Tenant: "default", Created: time.Unix(1, 0)}
	at := func(partition uint16, index rsm.Index, number uint32) wallet.WebhookLane {
		return wallet.WebhookLane{Partition: partition, Generation: 7, Next: wallet.EventPosition{Index: index, Number: number}}
	}
	lanes := []wallet.WebhookLane{at(0, 19, 0), at(1, 30, 1), at(2, 29, 2), at(3, 0, 0)}
	lanes[0].Attempts, lanes[0].FirstAttempt, lanes[0].GapTo = 2, time.Unix(5, 0).UTC(), 25
	want("put", s.PutWebhook(ctx, w, lanes), nil)

	want("another wallet", s.Claim(ctx, other, nil), wallet.ErrStoreOfAnother)
	_, err := s.TakeOver(ctx, other, []rsm.Index{1, 1, 1, 1})
	want("another wallet takes it over", err, wallet.ErrStoreOfAnother)
	want("the restored wallet", s.Claim(ctx, restored, []rsm.Index{14, 29, 29, 29}), wallet.ErrStoreOfPast)
	before := *s
	n, err := s.TakeOver(ctx, restored, []rsm.Index{14, 29, 29, 29})
	want("it takes it over", err, nil)
	lanes[2].Generation, lanes[3].Generation = 8, 8 // what the wallet before has under way is not kept
	lanes[0] = wallet.WebhookLane{Partition: 0, Generation: 8, Next: wallet.EventPosition{Index: 15}, SetBack: 19}
	lanes[1] = wallet.WebhookLane{Partition: 1, Generation: 8, Next: wallet.EventPosition{Index: 30}, SetBack: 30}
	got, err := s.WebhookLanes(ctx, w.ID)
	want("lanes", err, nil)
	if diff := cmp.Diff(lanes, got); diff != "" || n != 2 {
		t.Errorf("%d lanes were set back (-want +got):\n%s", n, diff)
	}

	w.Revision = 1
	want("a write of the wallet before", before.PutWebhook(ctx, w, nil), wallet.ErrStoreOfPast)
	_, err = wallet.PersonalMarked(ctx, &before)
	want("a read of the wallet before", err, wallet.ErrStoreOfPast)
	want("a write of the restored wallet", s.PutWebhook(ctx, w, nil), nil)
}

// TestMovedOwner copies a store that a wallet has claimed: the other one is then that wallet's, if it is not another's.
func TestMovedOwner(t *testing.T) {
	ctx := t.Context()
	stores := make([]*walletsql.Store, 3)
	for i := range stores {
		stores[i] = open(t, filepath.Join(t.TempDir(), "side.db"))
	}
	one, other := walletsql.Owner{Cluster: "c1", Past: "p1"}, walletsql.Owner{Cluster: "c2", Past: "p2"}
	if err := errors.Join(stores[0].Claim(ctx, one, nil), stores[2].Claim(ctx, other, nil)); err != nil {
		t.Fatal(err)
	}
	mark := wallet.WebhookMark{Past: "p1", Index: 9, Sum: [32]byte{9}}
	if err := stores[0].MoveWebhookMark(ctx, 1, wallet.WebhookMark{Past: "p1"}, mark); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := stores[0].CopyTo(ctx, stores[1]); err != nil {
			t.Errorf("into a new store: %v", err)
		}
	}
	if got, err := stores[1].WebhookMark(ctx, 1); err != nil || got != mark {
		t.Errorf("the mark that was moved is %+v, %v", got, err)
	}
	if err := stores[1].Claim(ctx, other, nil); !errors.Is(err, wallet.ErrStoreOfAnother) {
		t.Errorf("another wallet with what was moved: %v", err)
	}
	if _, err := stores[0].CopyTo(ctx, stores[2]); !errors.Is(err, wallet.ErrStoreOfAnother) {
		t.Errorf("into another wallet's: %v", err)
	}
}
