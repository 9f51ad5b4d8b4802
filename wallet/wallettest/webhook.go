package wallettest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

// TestWebhookMarks is what every wallet.WebhookMarks passes: an empty one.
func TestWebhookMarks(t *testing.T, s wallet.WebhookMarks) {
	mark := func(partition uint16, want wallet.WebhookMark) {
		t.Helper()
		got, err := s.WebhookMark(t.Context(), partition)
		wantError(t, "mark", err, nil)
		wantEqual(t, "mark", got, want)
	}
	var none wallet.WebhookMark
	known, next := wallet.WebhookMark{Index: 1 << 50, Sum: [32]byte{1, 31: 255}}, wallet.WebhookMark{Index: 1<<50 + 1}
	mark(0, none)
	for _, step := range []struct {
		name     string
		from, to wallet.WebhookMark
		want     error
	}{
		{"from one that is not", next, known, wallet.ErrWebhookBehind},
		{"the first", none, known, nil},
		{"the first again", none, known, wallet.ErrWebhookBehind},
		{"from one of another sum", wallet.WebhookMark{Index: known.Index}, next, wallet.ErrWebhookBehind},
		{"from one of another index", wallet.WebhookMark{Index: 1, Sum: known.Sum}, next, wallet.ErrWebhookBehind},
		{"from one of another past", wallet.WebhookMark{Past: "00c0ffee", Index: known.Index, Sum: known.Sum}, next, wallet.ErrWebhookBehind},
		{"the next, whose sum is not known", known, next, nil},
		{"one more", next, known, nil},
	} {
		wantError(t, step.name, s.MoveWebhookMark(t.Context(), 7, step.from, step.to), step.want)
	}
	mark(7, known)
	mark(0, none)
}

// TestWebhookStore is what every wallet.WebhookStore passes. Open returns an empty one.
func TestWebhookStore(t *testing.T, open func(t *testing.T) wallet.WebhookStore) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, s wallet.WebhookStore)
	}{
		{"webhooks are kept as they are", webhooksKept},
		{"a change of another revision is refused", webhookRevision},
		{"there is a limit", webhookLimit},
		{"a lane goes on and not back", webhookLanes},
		{"a lane of an earlier generation is refused", webhookGeneration},
		{"nothing is kept of progress that is refused", webhookWhole},
		{"the newest attempts are kept", webhookAttempts},
		{"dead letters", webhookDeadLetters},
		{"the newest dead letters are kept", webhookManyDeadLetters},
		{"what is deleted is gone", webhookDeleted},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

func webhookTime(seconds int64) time.Time { return time.Unix(seconds, 123456789).UTC() }

// sample returns a webhook, and lanes, with everything that they can have.
func sampleWebhook(n int) (*wallet.Webhook, []wallet.WebhookLane) {
	usd, jpy := money.MustParseCurrency("USD"), money.MustParseCurrency("JPY")
	w := &wallet.Webhook{
		ID: wallet.WebhookID(fmt.Sprintf("wh_%016x", n)), Tenant: "acme", URL: "https://example.com/hook?a=1&b=%20", Note: "é",
		Kinds: []wallet.EventKind{wallet.Credit, wallet.Debit}, Accounts: []wallet.AccountID{"alice", "bob"},
		Thresholds: []wallet.Threshold{{Account: "alice", Currency: usd, Amount: -100}, {Account: "bob", Currency: jpy, Amount: 1 << 62, Above: true}},
		Secrets:    []wallet.WebhookSecret{{Key: []byte{1, 0, 255}}, {Key: []byte{2}, Until: webhookTime(99)}},
		Enabled:    true, Created: webhookTime(int64(n)),
	}
	lanes := []wallet.WebhookLane{{Partition: 0, Since: webhookTime(7)}, {
		Partition: 1, Generation: 3, Next: wallet.EventPosition{Index: 1 << 40, Number: 1 << 30}, Attempts: 2, FirstAttempt: webhookTime(1),
		NextAttempt: webhookTime(2), LastError: "é", LastSuccess: webhookTime(3), FailingSince: webhookTime(4), GapTo: 1<<40 + 5, SetBack: 1 << 41,
	}}
	return w, lanes
}

func wantEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// put keeps a sample.
func putWebhook(t *testing.T, s wallet.WebhookStore, n int) wallet.WebhookID {
	t.Helper()
	w, lanes := sampleWebhook(n)
	wantError(t, "put", s.PutWebhook(t.Context(), w, lanes), nil)
	return w.ID
}

func webhooksKept(t *testing.T, s wallet.WebhookStore) {
	second, _ := sampleWebhook(2)
	second.Enabled, second.Reason, second.Kinds, second.Accounts, second.Note = false, "gone", nil, nil, ""
	wantError(t, "put", s.PutWebhook(t.Context(), second, []wallet.WebhookLane{}), nil)
	first, lanes := sampleWebhook(1)
	wantError(t, "put", s.PutWebhook(t.Context(), first, lanes), nil)
	first.Revision, second.Revision = 1, 1

	all, err := s.Webhooks(t.Context())
	wantError(t, "list", err, nil)
	wantEqual(t, "webhooks", all, []wallet.Webhook{*first, *second})
	got, err := s.WebhookLanes(t.Context(), first.ID)
	wantError(t, "lanes", err, nil)
	wantEqual(t, "lanes", got, lanes)
	for _, id := range []wallet.WebhookID{second.ID, "wh_ffffffffffffffff"} {
		got, err := s.WebhookLanes(t.Context(), id)
		wantError(t, "lanes", err, nil)
		wantEqual(t, "number of lanes", len(got), 0)
	}
}

func webhookRevision(t *testing.T, s wallet.WebhookStore) {
	w, lanes := sampleWebhook(1)
	w.Revision = 1
	wantError(t, "a change of none", s.PutWebhook(t.Context(), w, nil), wallet.ErrNoWebhook)
	w.Revision = 0
	wantError(t, "new", s.PutWebhook(t.Context(), w, lanes), nil)
	wantError(t, "new again", s.PutWebhook(t.Context(), w, nil), wallet.ErrWebhookConflict)
	w.Revision, w.URL = 1, "https://example.com/other"
	wantError(t, "change", s.PutWebhook(t.Context(), w, nil), nil)
	wantError(t, "change of the one before", s.PutWebhook(t.Context(), w, nil), wallet.ErrWebhookConflict)
	w.Revision = 2
	all, err := s.Webhooks(t.Context())
	wantError(t, "list", err, nil)
	wantEqual(t, "webhooks", all, []wallet.Webhook{*w})
	got, err := s.WebhookLanes(t.Context(), w.ID)
	wantError(t, "lanes", err, nil)
	wantEqual(t, "lanes that were not given", got, lanes)
	wantError(t, "change with lanes", s.PutWebhook(t.Context(), w, lanes[:1]), nil)
	got, err = s.WebhookLanes(t.Context(), w.ID)
	wantError(t, "lanes", err, nil)
	wantEqual(t, "lanes that were given", got, lanes[:1])
}

func webhookLimit(t *testing.T, s wallet.WebhookStore) {
	for n := range wallet.MaxWebhooks {
		w, _ := sampleWebhook(n)
		wantError(t, "put", s.PutWebhook(t.Context(), w, nil), nil)
	}
	w, _ := sampleWebhook(wallet.MaxWebhooks)
	wantError(t, "one more", s.PutWebhook(t.Context(), w, nil), wallet.ErrTooManyWebhooks)
	w, _ = sampleWebhook(0)
	w.Revision = 1
	wantError(t, "a change", s.PutWebhook(t.Context(), w, nil), nil)
}

func webhookLanes(t *testing.T, s wallet.WebhookStore) {
	id := putWebhook(t, s, 1)
	lane := wallet.WebhookLane{Partition: 0}
	for _, step := range []struct {
		index  rsm.Index
		number uint32
		want   error
	}{
		{5, 7, nil}, {5, 7, nil}, {5, 8, nil}, {5, 7, wallet.ErrWebhookBehind}, {6, 0, nil}, {5, 9, wallet.ErrWebhookBehind}, {1 << 50, 0, nil}, {0, 0, wallet.ErrWebhookBehind},
	} {
		lane.Next = wallet.EventPosition{Index: step.index, Number: step.number}
		wantError(t, fmt.Sprint(step), s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Lane: &lane}), step.want)
	}
	lane.Next.Index = 1 << 50
	got, err := s.WebhookLanes(t.Context(), id)
	wantError(t, "lanes", err, nil)
	_, want := sampleWebhook(1)
	want[0] = lane
	wantEqual(t, "lanes", got, want)
	lane.Partition = 9
	wantError(t, "a lane that is not", s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Lane: &lane}), wallet.ErrWebhookBehind)
	lane.Partition = 0
	wantError(t, "a webhook that is not", s.SaveWebhook(t.Context(), "wh_ffffffffffffffff", &wallet.WebhookProgress{Lane: &lane}), wallet.ErrWebhookBehind)
}

func webhookGeneration(t *testing.T, s wallet.WebhookStore) {
	id := putWebhook(t, s, 1)
	w, lanes := sampleWebhook(1)
	w.Revision = 1
	lanes[1].Generation, lanes[1].Next = 4, wallet.EventPosition{Index: 2}
	wantError(t, "move back", s.PutWebhook(t.Context(), w, lanes), nil)
	old, further := lanes[1], lanes[1]
	old.Generation, old.Next.Index = 3, 1<<41
	wantError(t, "the lane before", s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Lane: &old}), wallet.ErrWebhookBehind)
	further.Next.Index = 3
	wantError(t, "the lane now", s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Lane: &further}), nil)
	back := further
	back.Generation, back.Next.Index, back.SetBack = 5, 1, 3
	wantError(t, "the lane set back", s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Lane: &back}), nil)
	wantError(t, "the one before that", s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Lane: &further}), wallet.ErrWebhookBehind)
	got, err := s.WebhookLanes(t.Context(), id)
	wantError(t, "lanes", err, nil)
	wantEqual(t, "lane", got[1], back)
}

func sampleAttempt(n int) wallet.WebhookAttempt {
	return wallet.WebhookAttempt{
		Time: webhookTime(int64(n)), Message: fmt.Sprint("evt_", n), Kind: "credit", Try: uint32(n), Status: 500, Latency: time.Duration(n), Error: "é",
	}
}

func webhookWhole(t *testing.T, s wallet.WebhookStore) {
	id := putWebhook(t, s, 1)
	lane := wallet.WebhookLane{Partition: 1, Generation: 3} // further than that
	p := &wallet.WebhookProgress{Lane: &lane, Attempts: []wallet.WebhookAttempt{sampleAttempt(1)}, Dead: &wallet.DeadLetter{Message: "evt_1", Time: webhookTime(1), Body: []byte{}}}
	wantError(t, "save", s.SaveWebhook(t.Context(), id, p), wallet.ErrWebhookBehind)
	attempts, err := s.WebhookAttempts(t.Context(), id, 10)
	wantError(t, "attempts", err, nil)
	wantEqual(t, "number of attempts", len(attempts), 0)
	dead, err := s.DeadLetters(t.Context(), id, "", 10)
	wantError(t, "dead letters", err, nil)
	wantEqual(t, "number of dead letters", len(dead), 0)
}

func webhookAttempts(t *testing.T, s wallet.WebhookStore) {
	id, other := putWebhook(t, s, 1), putWebhook(t, s, 2)
	wantError(t, "save", s.SaveWebhook(t.Context(), other, &wallet.WebhookProgress{Attempts: []wallet.WebhookAttempt{sampleAttempt(0)}}), nil)
	const total = wallet.MaxWebhookAttempts + 30
	for n := 0; n < total; n += 10 {
		var list []wallet.WebhookAttempt
		for i := n; i < n+10; i++ {
			list = append(list, sampleAttempt(i))
		}
		wantError(t, "save", s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Attempts: list}), nil)
	}
	got, err := s.WebhookAttempts(t.Context(), id, total)
	wantError(t, "attempts", err, nil)
	var want []wallet.WebhookAttempt
	for n := total - 1; n >= total-wallet.MaxWebhookAttempts; n-- {
		want = append(want, sampleAttempt(n))
	}
	wantEqual(t, "attempts", got, want)
	got, err = s.WebhookAttempts(t.Context(), id, 3)
	wantError(t, "attempts", err, nil)
	wantEqual(t, "the newest", got, want[:3])
	got, err = s.WebhookAttempts(t.Context(), other, 3)
	wantError(t, "attempts", err, nil)
	wantEqual(t, "of the other", got, []wallet.WebhookAttempt{sampleAttempt(0)})
}

func sampleLetter(n int) *wallet.DeadLetter {
	return &wallet.DeadLetter{Message: fmt.Sprintf("evt_%04d", n), Kind: "credit", Time: webhookTime(int64(n / 2)), Attempts: 9, Error: "é", Body: []byte{'{', 0, '}'}}
}

func webhookDeadLetters(t *testing.T, s wallet.WebhookStore) {
	id := putWebhook(t, s, 1)
	for _, n := range []int{3, 2, 1} {
		wantError(t, "save", s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Dead: sampleLetter(n)}), nil)
	}
	again := sampleLetter(1)
	again.Attempts, again.Time = 12, webhookTime(100)
	wantError(t, "save again", s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Dead: again}), nil)
	list := func(after string, limit int, want ...wallet.DeadLetter) {
		t.Helper()
		got, err := s.DeadLetters(t.Context(), id, after, limit)
		wantError(t, "dead letters", err, nil)
		if len(got) == 0 && len(want) == 0 {
			return
		}
		wantEqual(t, "dead letters after "+after, got, want)
	}
	list("", 10, *sampleLetter(2), *sampleLetter(3), *again)
	list("", 2, *sampleLetter(2), *sampleLetter(3))
	list("evt_0002", 1, *sampleLetter(3))
	list("evt_0003", 10, *again)
	list("evt_0001", 10)
	wantError(t, "remove", s.RemoveDeadLetter(t.Context(), id, "evt_0003"), nil)
	wantError(t, "remove again", s.RemoveDeadLetter(t.Context(), id, "evt_0003"), wallet.ErrNoDeadLetter)
	list("", 10, *sampleLetter(2), *again)
}

func webhookManyDeadLetters(t *testing.T, s wallet.WebhookStore) {
	id := putWebhook(t, s, 1)
	const total = wallet.MaxWebhookDeadLetters + 3
	for n := range total {
		wantError(t, "save", s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Dead: sampleLetter(n)}), nil)
	}
	got, err := s.DeadLetters(t.Context(), id, "", total)
	wantError(t, "dead letters", err, nil)
	wantEqual(t, "number of dead letters", len(got), wallet.MaxWebhookDeadLetters)
	wantEqual(t, "the oldest", got[0].Message, sampleLetter(3).Message)
}

func webhookDeleted(t *testing.T, s wallet.WebhookStore) {
	id, other := putWebhook(t, s, 1), putWebhook(t, s, 2)
	for _, of := range []wallet.WebhookID{id, other} {
		wantError(t, "save", s.SaveWebhook(t.Context(), of, &wallet.WebhookProgress{Attempts: []wallet.WebhookAttempt{sampleAttempt(1)}, Dead: sampleLetter(1)}), nil)
	}
	wantError(t, "delete", s.DeleteWebhook(t.Context(), id), nil)
	wantError(t, "delete again", s.DeleteWebhook(t.Context(), id), wallet.ErrNoWebhook)
	wantError(t, "save", s.SaveWebhook(t.Context(), id, &wallet.WebhookProgress{Dead: sampleLetter(1)}), wallet.ErrWebhookBehind)
	putWebhook(t, s, 1)
	for of, want := range map[wallet.WebhookID]int{id: 0, other: 1} {
		attempts, err := s.WebhookAttempts(t.Context(), of, 10)
		wantError(t, "attempts", err, nil)
		dead, err2 := s.DeadLetters(t.Context(), of, "", 10)
		wantError(t, "dead letters", err2, nil)
		if len(attempts) != want || len(dead) != want {
			t.Errorf("of %s there are %d attempts and %d dead letters, want %d each", of, len(attempts), len(dead), want)
		}
	}
}
