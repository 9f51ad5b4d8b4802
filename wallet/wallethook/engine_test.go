package wallethook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/wallettest"
)

const address = "https://receiver/hook"

// all is a webhook for everything.
func all() *wallet.NewWebhook {
	return &wallet.NewWebhook{URL: address, Kinds: wallet.WebhookKinds(), From: wallet.WebhookFrom{Oldest: true}}
}

// bench is an engine with one partition, a store and a receiver, in a bubble of its own time.
type bench struct {
	*testing.T
	world    world
	store    *wallettest.WebhookMemory
	receiver *receiver
	options  Options
	engine   *Engine
}

// inBubble runs a test with an engine; jitter is as long as it can be.
func inBubble(t *testing.T, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, world: newWorld(1, 3), store: &wallettest.WebhookMemory{}, receiver: &receiver{}}
		b.options = Options{Transport: b.receiver, PollEvery: 10 * time.Minute, Random: func(n time.Duration) time.Duration { return n }}
		b.start()
		f(b)
		b.engine.Close()
	})
}

func (b *bench) start() { b.engine = New(b.store, b.world, b.world.partitions(), &b.options) }

// pay makes entries of one transfer each.
func (b *bench) pay(amounts ...money.Amount) {
	p := b.world[0]
	for _, a := range amounts {
		p.transfer(p.accounts[0], p.accounts[1], a)
		p.commit()
	}
}

// pass lets time pass, and everything come to rest.
func (b *bench) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) state(id wallet.WebhookID) wallet.WebhookState {
	b.Helper()
	s, err := b.engine.Webhook(b.Context(), wallet.DefaultTenant, id)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// wantIDs compares the ids that came with those that were to come.
func (b *bench) wantIDs(want ...string) {
	b.Helper()
	if diff := cmp.Diff(want, b.receiver.ids()); diff != "" {
		b.Errorf("messages that came (-want +got):\n%s", diff)
	}
}

// always answers in one way.
func always(a answer) func(int, *got) answer { return func(int, *got) answer { return a } }

func TestDelivery(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.pay(5, 7)
		n := all()
		n.From = wallet.WebhookFrom{}
		s := create(b.T, b.engine, n)
		b.pay(9)
		b.pass(time.Minute)
		b.wantIDs("evt_0-3-0", "evt_0-3-1")

		key := FormatSecret(s.Secrets[0].Key)
		verifier, err := standardwebhooks.NewWebhook(key)
		if err != nil {
			b.Fatal(err)
		}
		for _, g := range b.receiver.all() {
			if g.header.Get("Content-Type") != "application/json" {
				b.Errorf("headers %v", g.header)
			}
			if err := verifier.VerifyIgnoringTimestamp(g.body, g.header); err != nil {
				b.Errorf("signature of %s: %v", g.id, err)
			}
			if got := g.header.Get("Webhook-Timestamp"); got != fmt.Sprint(g.at.Unix()) {
				b.Errorf("timestamp %s at %v", got, g.at)
			}
		}
		attempts, err := b.engine.WebhookAttempts(b.Context(), wallet.DefaultTenant, s.ID, 1)
		if err != nil || len(attempts) != 1 || attempts[0].Message != "evt_0-3-1" || attempts[0].Status != 200 || attempts[0].Try != 1 {
			b.Errorf("attempts %+v, %v", attempts, err)
		}
	})
}

func TestRetry(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer answer
		want   []time.Duration // from each attempt to the next
		text   string
	}{
		{"500", answer{status: 500}, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}, "500 Internal Server Error"},
		{"no redirect is followed", answer{status: 307, header: http.Header{"Location": {"https://other/"}}}, []time.Duration{time.Second, 2 * time.Second}, "307 Temporary Redirect"},
		{"304 is no success", answer{status: 304}, []time.Duration{time.Second}, "304 Not Modified"},
		{"broken connection", answer{broken: true}, []time.Duration{time.Second}, "unexpected EOF"},
		{"it hangs", answer{latency: time.Hour}, []time.Duration{11 * time.Second, 12 * time.Second}, "no answer within 10s"},
		{"429 with Retry-After", answer{status: 429, header: http.Header{"Retry-After": {"120"}}}, []time.Duration{2 * time.Minute, 2 * time.Minute}, "429 Too Many Requests"},
		{"Retry-After is no less than the pause", answer{status: 503, header: http.Header{"Retry-After": {"3"}}}, []time.Duration{3 * time.Second, 3 * time.Second, 4 * time.Second}, "503 Service Unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.receiver.become(always(tt.answer))
				n := all()
				n.Kinds = []wallet.EventKind{wallet.Debit}
				s := create(b.T, b.engine, n)
				b.pay(5)
				b.pass(4 * time.Minute)
				var gaps []time.Duration
				for i := range tt.want {
					gaps = append(gaps, b.receiver.all()[i+1].at.Sub(b.receiver.all()[i].at))
				}
				if diff := cmp.Diff(tt.want, gaps); diff != "" {
					b.Errorf("pauses (-want +got):\n%s", diff)
				}
				lane := b.state(s.ID).Lanes[0]
				if lane.LastError != tt.text || lane.Attempts != uint32(len(b.receiver.all())) || lane.Next != (wallet.EventPosition{Index: 1, Number: 2}) {
					b.Errorf("lane %+v after %d attempts, want the error %q", lane, len(b.receiver.all()), tt.text)
				}
			})
		})
	}
}

func TestPauseIsBounded(t *testing.T) {
	e := &Engine{}
	e.o.setDefaults()
	e.o.Random = func(n time.Duration) time.Duration { return n }
	for attempts, want := range map[uint32]time.Duration{1: time.Second, 12: 2048 * time.Second, 13: time.Hour, 40: time.Hour, 1 << 31: time.Hour} {
		if got := e.pause(attempts, 0); got != want {
			t.Errorf("pause after %d attempts is %v at the most, want %v", attempts, got, want)
		}
	}
	if got := e.pause(1, 2*time.Hour); got != 2*time.Hour {
		t.Errorf("the receiver asked for 2 hours, and got %v", got)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "99999999": 24 * time.Hour,
		"Mon, 30 Nov 2026 12:00:30 GMT": 30 * time.Second, "Mon, 30 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestGone(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.receiver.become(always(answer{status: http.StatusGone}))
		s := create(b.T, b.engine, all())
		b.pay(5)
		b.pass(time.Hour)
		b.wantIDs("evt_0-1-0")
		if s := b.state(s.ID); s.Enabled || s.Reason != reasonGone {
			b.Errorf("after 410: enabled %v, reason %q", s.Enabled, s.Reason)
		}
		b.receiver.become(nil)
		b.receiver.reset()
		if _, err := b.engine.UpdateWebhook(b.Context(), wallet.DefaultTenant, s.ID, &wallet.WebhookChange{Enabled: new(true)}); err != nil {
			b.Fatal(err)
		}
		b.pass(time.Second)
		b.wantIDs("evt_0-1-0", "evt_0-1-1", "evt_0-1-2", "evt_0-1-3")
	})
}

func TestDeadLetter(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.receiver.become(func(_ int, g *got) answer {
			if g.id == "evt_0-1-2" {
				return answer{status: 422}
			}
			return answer{}
		})
		n := all()
		n.Kinds = []wallet.EventKind{wallet.Debit, wallet.Credit}
		s := create(b.T, b.engine, n)
		b.pay(5)
		b.pass(71 * time.Hour)
		if lane := b.state(s.ID).Lanes[0]; lane.Next.Number != 2 || lane.FailingSince.IsZero() {
			b.Errorf("before it is given up: %+v", lane)
		}
		b.pass(3 * time.Hour)
		ids := b.receiver.ids()
		if last := ids[len(ids)-1]; last != "evt_0-1-3" || ids[0] != "evt_0-1-2" {
			b.Errorf("the last message is %s, the first %s", last, ids[0])
		}
		dead, err := b.engine.DeadLetters(b.Context(), wallet.DefaultTenant, s.ID, "", 10)
		if err != nil || len(dead) != 1 || dead[0].Message != "evt_0-1-2" || dead[0].Error != "422 Unprocessable Entity" || dead[0].Attempts < 70 {
			b.Fatalf("dead letters %+v, %v", dead, err)
		}
		if s := b.state(s.ID); !s.Enabled || !s.Lanes[0].FailingSince.IsZero() {
			b.Errorf("after a dead letter: %+v", s)
		}
		a, err := b.engine.Redeliver(b.Context(), wallet.DefaultTenant, s.ID, "evt_0-1-2")
		if err != nil || a.Status != 422 {
			b.Errorf("redelivered: %+v, %v", a, err)
		}
		b.receiver.become(nil)
		if a, err = b.engine.Redeliver(b.Context(), wallet.DefaultTenant, s.ID, "evt_0-1-2"); err != nil || a.Error != "" {
			b.Errorf("redelivered: %+v, %v", a, err)
		}
		if got := b.receiver.all()[len(b.receiver.all())-1]; string(got.body) != string(dead[0].Body) {
			b.Errorf("redelivered %s, it was %s", got.body, dead[0].Body)
		}
		if _, err = b.engine.Redeliver(b.Context(), wallet.DefaultTenant, s.ID, "evt_0-1-2"); !errors.Is(err, wallet.ErrNoDeadLetter) {
			b.Errorf("redelivered again: %v", err)
		}
	})
}

func TestHopeless(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.receiver.become(always(answer{status: 500}))
		s := create(b.T, b.engine, all())
		b.pay(5, 6)
		b.pass(119 * time.Hour)
		if s := b.state(s.ID); !s.Enabled {
			b.Error("it was disabled too early")
		}
		b.pass(3 * time.Hour)
		if s := b.state(s.ID); s.Enabled || s.Reason != reasonFailing {
			b.Errorf("after five days of failure: enabled %v, reason %q", s.Enabled, s.Reason)
		}
		b.receiver.become(nil)
		b.receiver.reset()
		if _, err := b.engine.UpdateWebhook(b.Context(), wallet.DefaultTenant, s.ID, &wallet.WebhookChange{Enabled: new(true)}); err != nil {
			b.Fatal(err)
		}
		b.pass(time.Second)
		b.wantIDs("evt_0-1-1", "evt_0-1-2", "evt_0-1-3", "evt_0-2-0", "evt_0-2-1")
	})
}

func TestRetriesGoOnAfterARestart(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.receiver.become(always(answer{status: 500}))
		s := create(b.T, b.engine, all())
		b.pay(5)
		b.pass(time.Minute)
		before := b.state(s.ID).Lanes[0]
		b.engine.Close()
		b.start()
		b.pass(time.Second)
		if diff := cmp.Diff(before, b.state(s.ID).Lanes[0]); diff != "" || before.Attempts != 6 {
			b.Errorf("the lane after a restart (-want +got):\n%s", diff)
		}
		count := len(b.receiver.all())
		b.pass(time.Until(before.NextAttempt))
		if got := len(b.receiver.all()); got != count+1 {
			b.Errorf("%d attempts when the next was due, want 1", got-count)
		}
	})
}

func TestAStopRepeatsOnlyWhatWasUnderWay(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.receiver.become(always(answer{latency: time.Second}))
		p := b.world[0]
		for range 5 {
			p.transfer(p.accounts[0], p.accounts[1], 1)
		}
		p.commit()
		create(b.T, b.engine, all())
		b.pass(4*time.Second + 500*time.Millisecond)
		b.engine.Close()
		b.start()
		b.pass(time.Minute)
		want := expected(p, all(), 0)
		b.wantIDs(slices.Insert(want, 5, want[4])...)
	})
}

func TestRotation(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := create(b.T, b.engine, all())
		verify := func(key []byte) error {
			v, err := standardwebhooks.NewWebhookRaw(key)
			if err != nil {
				b.Fatal(err)
			}
			b.pass(time.Second) // until the engine knows
			b.pay(1)
			b.pass(time.Second)
			g := b.receiver.all()[len(b.receiver.all())-1]
			return v.VerifyIgnoringTimestamp(g.body, g.header)
		}
		rotated, err := b.engine.RotateWebhook(b.Context(), wallet.DefaultTenant, s.ID, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		old, fresh := s.Secrets[0].Key, rotated.Secrets[0].Key
		for _, key := range [][]byte{old, fresh} {
			if err := verify(key); err != nil {
				b.Errorf("in the overlap: %v", err)
			}
		}
		b.pass(time.Hour)
		if verify(old) == nil || verify(fresh) != nil {
			b.Error("after the overlap the old secret signs, or the new one does not")
		}
		if rotated, err = b.engine.RotateWebhook(b.Context(), wallet.DefaultTenant, s.ID, 0); err != nil {
			b.Fatal(err)
		}
		if verify(fresh) == nil || verify(rotated.Secrets[0].Key) != nil {
			b.Error("without an overlap the old secret signs, or the new one does not")
		}
	})
}

func TestIsolation(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.engine.Close()
		slow, fast := &receiver{answer: always(answer{latency: time.Hour})}, &receiver{}
		b.options.Transport = receivers{"slow": slow, "fast": fast}
		b.start()
		for range 20 {
			n := all()
			n.URL = "https://slow/"
			create(b.T, b.engine, n)
		}
		n := all()
		n.URL = "https://fast/"
		create(b.T, b.engine, n)
		b.pass(time.Second)
		b.pay(1, 2, 3)
		b.pass(time.Millisecond)
		if got, want := len(fast.ids()), len(expected(b.world[0], n, 0)); got != want {
			b.Errorf("%d messages came at once beside slow receivers, want %d", got, want)
		}
	})
}

func TestGap(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.pay(1, 2, 3, 4)
		b.world[0].cut(4)
		n := all()
		n.From = wallet.WebhookFrom{Time: time.Unix(1, 0)}
		s := create(b.T, b.engine, n)
		b.pass(time.Minute)
		b.wantIDs()
		if lane := b.state(s.ID).Lanes[0]; lane.GapTo != 4 || lane.Next.Index != 0 {
			b.Errorf("the lane at a gap: %+v", lane)
		}
		replay := func(from wallet.WebhookFrom) {
			t.Helper()
			b.receiver.reset()
			if _, err := b.engine.ReplayWebhook(b.Context(), wallet.DefaultTenant, s.ID, &from); err != nil {
				b.Fatal(err)
			}
			b.pass(time.Minute)
		}
		replay(wallet.WebhookFrom{Oldest: true})
		b.wantIDs("evt_0-4-0", "evt_0-4-1")
		replay(wallet.WebhookFrom{Positions: wallet.HistoryPositions{{Index: 2}}})
		b.wantIDs()
		if lane := b.state(s.ID).Lanes[0]; lane.GapTo != 4 || lane.Next.Index != 2 {
			b.Errorf("the lane at a gap: %+v", lane)
		}
		b.engine.Close()
		b.world[0].cut(1) // another node leads, which has all
		b.receiver.reset()
		b.start()
		b.pass(time.Minute)
		b.wantIDs("evt_0-2-0", "evt_0-2-1", "evt_0-3-0", "evt_0-3-1", "evt_0-4-0", "evt_0-4-1")
		if lane := b.state(s.ID).Lanes[0]; lane.GapTo != 0 {
			b.Errorf("the lane behind the gap: %+v", lane)
		}
		replay(wallet.WebhookFrom{})
		b.pay(1)
		b.pass(time.Minute)
		b.wantIDs("evt_0-5-0", "evt_0-5-1")
	})
}

func TestFromBeyondTheEnd(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.pay(1, 2)
		s := create(b.T, b.engine, all())
		for _, tt := range []struct {
			at   wallet.HistoryPosition
			want error
		}{
			{wallet.HistoryPosition{Index: 3}, nil},
			{wallet.HistoryPosition{Index: 4}, wallet.ErrPosition},
			{wallet.HistoryPosition{Partition: 1, Index: 1}, wallet.ErrPosition},
		} {
			from := wallet.WebhookFrom{Positions: wallet.HistoryPositions{tt.at}}
			if _, err := b.engine.ReplayWebhook(b.Context(), wallet.DefaultTenant, s.ID, &from); !errors.Is(err, tt.want) {
				b.Errorf("replay from %v: %v, want %v", tt.at, err, tt.want)
			}
			n := all()
			n.From = from
			if _, err := b.engine.CreateWebhook(b.Context(), wallet.DefaultTenant, n); !errors.Is(err, tt.want) {
				b.Errorf("create from %v: %v, want %v", tt.at, err, tt.want)
			}
		}
	})
}

func TestFromATime(t *testing.T) {
	inBubble(t, func(b *bench) {
		began := time.Now()
		for range 20 {
			b.pay(1, 1)
			b.pass(time.Minute)
		}
		for minutes := -1; minutes <= 21; minutes++ {
			n := all()
			n.Kinds = []wallet.EventKind{wallet.Debit}
			n.From = wallet.WebhookFrom{Time: began.Add(time.Duration(minutes) * time.Minute)}
			b.receiver.reset()
			s := create(b.T, b.engine, n)
			b.pass(time.Second)
			from := rsm.Index(2*min(max(minutes, 0), 20) + 1)
			b.wantIDs(expected(b.world[0], n, from)...)
			if err := b.engine.DeleteWebhook(b.Context(), wallet.DefaultTenant, s.ID); err != nil {
				b.Fatal(err)
			}
			b.pass(time.Second)
		}
	})
}

func TestThresholds(t *testing.T) {
	inBubble(t, func(b *bench) {
		id := b.world[0].accounts[1]
		n := &wallet.NewWebhook{URL: address, Thresholds: []wallet.Threshold{
			{Account: id, Currency: usd, Amount: 10}, {Account: id, Currency: usd, Amount: 10, Above: true},
		}}
		create(b.T, b.engine, n)
		b.pass(time.Second)
		p := b.world[0]
		for _, a := range []money.Amount{10, 1, -1, -1, 1, 5, -20, 30} { // 10 11 10 9 10 15 -5 25
			if a > 0 {
				p.transfer(p.accounts[0], id, a)
			} else {
				p.transfer(id, p.accounts[0], -a)
			}
			p.commit()
		}
		b.pass(time.Second)
		b.wantIDs(
			"evt_0-2-1_balance_above_22116_10", "evt_0-4-0_balance_below_22116_10", "evt_0-6-1_balance_above_22116_10",
			"evt_0-7-0_balance_below_22116_10", "evt_0-8-1_balance_above_22116_10")
		if got := b.receiver.all()[0].kind; got != "balance_above" {
			b.Errorf("type %q", got)
		}
	})
}

func TestSendTest(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := create(b.T, b.engine, all())
		a, err := b.engine.TestWebhook(b.Context(), wallet.DefaultTenant, s.ID)
		if err != nil || a.Status != 200 || a.Kind != kindTest {
			b.Errorf("test: %+v, %v", a, err)
		}
		b.receiver.become(always(answer{status: 403}))
		if a, err = b.engine.TestWebhook(b.Context(), wallet.DefaultTenant, s.ID); err != nil || a.Error != "403 Forbidden" {
			b.Errorf("test: %+v, %v", a, err)
		}
		attempts, err := b.engine.WebhookAttempts(b.Context(), wallet.DefaultTenant, s.ID, 10)
		if err != nil || len(attempts) != 2 {
			b.Errorf("attempts %+v, %v", attempts, err)
		}
	})
}

// TestSilentReceiver has one that does not answer a test: who waits for that hears so before the time is over.
func TestSilentReceiver(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := create(b.T, b.engine, all())
		b.receiver.become(always(answer{latency: time.Hour}))
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		defer cancel()
		a, err := b.engine.TestWebhook(ctx, wallet.DefaultTenant, s.ID)
		if err != nil || a.Error != "no answer within 8s" {
			b.Errorf("got %+v, %v", a, err)
		}
	})
}

func TestTenantsDoNotSeeEachOther(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := create(b.T, b.engine, all())
		ctx, other := b.Context(), wallet.Tenant("other")
		for name, call := range map[string]func() error{
			"show":         func() error { _, err := b.engine.Webhook(ctx, other, s.ID); return err },
			"update":       func() error { _, err := b.engine.UpdateWebhook(ctx, other, s.ID, &wallet.WebhookChange{}); return err },
			"delete":       func() error { return b.engine.DeleteWebhook(ctx, other, s.ID) },
			"rotate":       func() error { _, err := b.engine.RotateWebhook(ctx, other, s.ID, 0); return err },
			"replay":       func() error { _, err := b.engine.ReplayWebhook(ctx, other, s.ID, &wallet.WebhookFrom{}); return err },
			"test":         func() error { _, err := b.engine.TestWebhook(ctx, other, s.ID); return err },
			"attempts":     func() error { _, err := b.engine.WebhookAttempts(ctx, other, s.ID, 1); return err },
			"dead letters": func() error { _, err := b.engine.DeadLetters(ctx, other, s.ID, "", 1); return err },
			"redeliver":    func() error { _, err := b.engine.Redeliver(ctx, other, s.ID, "x"); return err },
		} {
			if err := call(); !errors.Is(err, wallet.ErrNoWebhook) {
				b.Errorf("%s of another tenant's webhook: %v", name, err)
			}
		}
		if list, err := b.engine.Webhooks(ctx, other); err != nil || len(list) != 0 {
			b.Errorf("list: %v, %v", list, err)
		}
	})
}

func TestRefusedHere(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.engine.Close()
		b.options.Refuse = func() error { return wallet.ErrWebhooksElsewhere }
		b.start()
		if _, err := b.engine.CreateWebhook(b.Context(), wallet.DefaultTenant, all()); !errors.Is(err, wallet.ErrWebhooksElsewhere) {
			b.Errorf("create: %v", err)
		}
	})
}

// TestOldLeader has two engines that both believe to lead.
func TestOldLeader(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := create(b.T, b.engine, all())
		b.pass(time.Second)
		other := New(b.store, b.world, b.world.partitions(), &b.options) // believes that it leads, too
		defer other.Close()
		b.pay(1, 2, 3)
		b.pass(time.Hour)
		b.pay(4)
		b.pass(time.Hour)
		if lane := b.state(s.ID).Lanes[0]; lane.Next.Index != 5 {
			b.Errorf("the lane of two leaders: %+v", lane)
		}
		count := map[string]int{}
		for _, id := range b.receiver.ids() {
			count[id]++
		}
		for _, id := range expected(b.world[0], all(), 0) {
			if count[id] < 1 || count[id] > 2 {
				b.Errorf("%s came %d times", id, count[id])
			}
		}
	})
}

func TestMetrics(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.receiver.become(always(answer{status: 500}))
		s := create(b.T, b.engine, all())
		b.pay(1, 2, 3)
		b.pass(time.Second + time.Millisecond)
		want := Metrics{Failed: 2, Webhooks: []WebhookMetrics{{ID: s.ID, LagEntries: 3, Lag: time.Second + time.Millisecond}}}
		if diff := cmp.Diff(want, b.engine.Metrics()); diff != "" {
			b.Errorf("metrics (-want +got):\n%s", diff)
		}
	})
}

func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := false
		e := &Engine{}
		e.o.Busy = func() bool { return busy }
		e.running.Store(2)
		l := &lane{e: e}
		for _, tt := range []struct {
			busy         bool
			worked, want time.Duration
		}{
			{false, time.Second, 0}, {true, 4 * time.Millisecond, 0}, {true, 6 * time.Millisecond, 390 * time.Millisecond}, {true, time.Hour, longestRest}, {true, time.Millisecond, 0},
		} {
			busy = tt.busy
			began := time.Now()
			l.rest(t.Context(), tt.worked)
			if got := time.Since(began); got != tt.want {
				t.Errorf("busy %v, after %v of work it rests for %v, want %v", tt.busy, tt.worked, got, tt.want)
			}
		}
	})
}

func TestStoreFails(t *testing.T) {
	inBubble(t, func(b *bench) {
		create(b.T, b.engine, all())
		b.pass(time.Second)
		b.engine.Close()
		failing := &crashable{Store: b.store}
		b.engine = New(failing, b.world, b.world.partitions(), &b.options)
		b.pay(1)
		b.pass(time.Second)
		failing.crash(true)
		b.pay(2)
		b.pass(time.Minute)
		failing.crash(false)
		b.pass(time.Minute)
		want := expected(b.world[0], all(), 0)
		got := b.receiver.ids()
		if err := checkOrder(got, want); err != nil {
			b.Errorf("%v: %v", err, got)
		}
	})
}

// checkOrder says what is wrong with ids that came, all answered with success: one may come
// again, with what follows it, and none is left out.
func checkOrder(came, want []string) error {
	place := map[string]int{}
	for i, id := range want {
		place[id] = i
	}
	next := 0
	for _, id := range came {
		i, ok := place[id]
		if !ok {
			return fmt.Errorf("%s came, which was not chosen", id)
		}
		if i > next {
			return fmt.Errorf("%s came before %s", id, want[next])
		}
		next = max(next, i+1)
	}
	if next < len(want) {
		return fmt.Errorf("%s never came", want[next])
	}
	return nil
}
