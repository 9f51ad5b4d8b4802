package walletsql_test

import (
	"errors"
	"os"
	"path"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/sqldb"
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

// testMarksOfBefore brings tables up to date that had no marks: they have those of the places of their webhooks.
func testMarksOfBefore(t *testing.T, db *sqldb.DB) {
	ctx := t.Context()
	before := fstest.MapFS{}
	for _, name := range []string{"0001_personal.sql", "0002_webhooks.sql", "0003_owner.sql"} {
		name = path.Join(db.Dialect().String(), name)
		content, err := os.ReadFile(path.Join("migrations", name))
		if err != nil {
			t.Fatal(err)
		}
		before[name] = &fstest.MapFile{Data: content}
	}
	if err := db.Migrate(ctx, "wallet", before); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		if err := db.Exec(ctx, "INSERT INTO webhooks (id, tenant, url, note, chosen, secrets, enabled, reason, created, revision) VALUES ('"+id+"', 't', 'u', '', '{}', '[]', '1', '', 1, 1)"); err != nil {
			t.Fatal(err)
		}
	}
	for _, place := range []string{"'a', 0, 7, 0", "'b', 0, 7, 1", "'a', 1, 9, 0", "'b', 1, 3, 5", "'a', 2, 0, 0"} {
		if err := db.Exec(ctx, "INSERT INTO webhook_lanes (webhook, part, entry, number, generation, attempts, last_error, gap_to) VALUES ("+place+", 1, 0, '', 0)"); err != nil {
			t.Fatal(err)
		}
	}
	s, err := walletsql.Open(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	for partition, want := range []rsm.Index{7, 8, 0} {
		if got, err := s.WebhookMark(ctx, uint16(partition)); err != nil || got != (wallet.WebhookMark{Index: want}) {
			t.Errorf("the mark of partition %d is %+v, %v, want %d", partition, got, err, want)
		}
	}
}
