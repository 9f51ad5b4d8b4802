package walletsql_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/walletsql"
)

// testPart gives a database to a log that has parted from the one that it knew.
func testPart(t *testing.T, s *walletsql.Store) {
	ctx := t.Context()
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Fatalf("%s: error %v, want %v", what, err, want)
		}
	}
	owner := walletsql.Owner{Cluster: "c1", Past: "0123456789abcdef"}
	want("claim", s.Claim(ctx, owner, nil), nil)
	mark := func(partition uint16) wallet.WebhookMark {
		t.Helper()
		m, err := s.WebhookMark(ctx, partition)
		want("mark", err, nil)
		return m
	}
	first := wallet.WebhookMark{Past: "01234567", Index: 40, Sum: [32]byte{1}}
	want("mark", s.MoveWebhookMark(ctx, 0, mark(0), first), nil)
	want("mark", s.MoveWebhookMark(ctx, 2, mark(2), first), nil)
	w := &wallet.Webhook{ID: "wh_0000000000000001", Tenant: "default", Created: time.Unix(1, 0)}
	lanes := []wallet.WebhookLane{
		{Partition: 0, Generation: 3, Next: wallet.EventPosition{Index: 41}},
		{Partition: 1, Generation: 3, Next: wallet.EventPosition{Index: 5}},
	}
	want("put", s.PutWebhook(ctx, w, lanes), nil)
	before, running := *s, lanes[1]

	ends := []wallet.WebhookMark{{Index: 30, Sum: [32]byte{2}}, {Index: 7, Sum: [32]byte{3}}, {}}
	n, err := s.Part(ctx, "fedcba9876543210", ends)
	want("part", err, nil)
	lanes[0] = wallet.WebhookLane{Partition: 0, Generation: 4, Next: wallet.EventPosition{Index: 31}, SetBack: 41}
	lanes[1].Generation = 4
	got, err := s.WebhookLanes(ctx, w.ID)
	want("lanes", err, nil)
	if diff := cmp.Diff(lanes, got); diff != "" || n != 1 {
		t.Errorf("%d lanes were set back (-want +got):\n%s", n, diff)
	}
	for partition, m := range ends {
		if m.Past = "fedcba98"; mark(uint16(partition)) != m {
			t.Errorf("the mark of partition %d is %+v, want %+v", partition, mark(uint16(partition)), m)
		}
	}
	want("what was under way before", before.SaveWebhook(ctx, w.ID, &wallet.WebhookProgress{Lane: &running}), wallet.ErrWebhookBehind)
	want("a mark of before", before.MoveWebhookMark(ctx, 0, first, wallet.WebhookMark{Past: "01234567", Index: 50}), wallet.ErrWebhookBehind)
	want("the owner as before", s.Claim(ctx, owner, nil), nil)
	if o := s.Owner(); o.Branch != "fedcba9876543210" {
		t.Errorf("the owner is %+v", o)
	}
	// A restore begins without marks, and with a past of its own.
	_, err = s.TakeOver(ctx, walletsql.Owner{Cluster: "c1", Past: "aaaaaaaaaaaaaaaa"}, []rsm.Index{20, 20, 20})
	want("take over", err, nil)
	if m := mark(0); m != (wallet.WebhookMark{Past: "aaaaaaaa"}) {
		t.Errorf("the mark after a restore: %+v", m)
	}
}
