package wallethook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/wallettest"
)

// wantForked says whether the engine is to send nothing as the store knows another log.
func (b *bench) wantForked(want bool) {
	b.Helper()
	for _, err := range append(b.engine.Forked(), b.engine.Check(b.Context())) {
		if errors.Is(err, wallet.ErrStoreForked) != want {
			b.Errorf("forked: %v, want %v", err, want)
		}
	}
	if n := b.engine.Metrics().Forked; (n > 0) != want {
		b.Errorf("%d partitions are counted as forked, want some: %v", n, want)
	}
}

// TestOlderCopy takes entries away that were told of. Nothing is sent, also when others have come to stand at their places, until
// the store is given to this log: then what is decided since is told, with ids of its own.
func TestOlderCopy(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := create(b.T, b.engine, all())
		b.pay(1, 2, 3, 4, 5, 6)
		b.pass(time.Minute)
		b.wantForked(false)
		b.engine.Close()
		b.receiver.reset()
		p := b.world[0]
		p.mu.Lock()
		p.entries = p.entries[:4]
		p.mu.Unlock()
		b.start()
		b.wantForked(true) // at once
		for range 4 {
			b.pass(time.Minute)
			b.wantForked(true)
			b.wantIDs()
			b.pay(7)
		}
		if lane := b.state(s.ID).Lanes[0]; lane.Next.Index != 7 || lane.SetBack != 0 {
			b.Errorf("the lane that is beyond the end: %+v", lane)
		}
		b.store.Begin("00c0ffee", 4)
		b.pass(time.Minute)
		b.wantForked(false)
		var want []string
		for i := 5; i <= 8; i++ {
			want = append(want, fmt.Sprintf("evt_00c0ffee-0-%d-0", i), fmt.Sprintf("evt_00c0ffee-0-%d-1", i))
		}
		b.wantIDs(want...)
	})
}

// TestPlaceBeyondTheEnd has a webhook, of which nothing was sent yet, whose place was made by a log that went further.
func TestPlaceBeyondTheEnd(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.pay(1, 2, 3)
		b.engine.Close()
		n := all()
		n.From = wallet.WebhookFrom{}
		create(b.T, b.engine, n)
		p := b.world[0]
		p.mu.Lock()
		p.entries = p.entries[:2]
		p.mu.Unlock()
		b.start()
		b.pass(time.Minute)
		b.wantIDs()
		if len(b.engine.Forked()) == 0 {
			b.Error("it is not noticed")
		}
	})
}

// TestBehind has a node that leads, and has not applied everything yet: that is no alarm, and it goes on when it has.
func TestBehind(t *testing.T) {
	inBubble(t, func(b *bench) {
		create(b.T, b.engine, all())
		b.pay(1, 2, 3)
		b.pass(time.Minute)
		b.engine.Close()
		b.receiver.reset()
		partitions := b.world.partitions()
		var applied atomic.Uint64
		applied.Store(2)
		partitions[0].Applied = func() rsm.Index { return rsm.Index(applied.Load()) }
		b.engine = New(b.store, b.world, partitions, &b.options)
		b.pass(time.Minute)
		b.wantForked(false)
		b.wantIDs()
		b.pay(4)
		applied.Store(4)
		b.pass(time.Minute)
		b.wantForked(false)
		b.wantIDs("evt_0-4-0", "evt_0-4-1")
	})
}

// TestCut has a mark whose entry is not on record any more: it cannot be compared, and is believed.
func TestCut(t *testing.T) {
	inBubble(t, func(b *bench) {
		n := all()
		n.From = wallet.WebhookFrom{}
		create(b.T, b.engine, n)
		b.pay(1, 2)
		b.pass(time.Minute)
		b.engine.Close()
		b.receiver.reset()
		b.world[0].cut(3)
		b.start()
		b.pay(3)
		b.pass(time.Minute)
		b.wantForked(false)
		b.wantIDs("evt_0-3-0", "evt_0-3-1")
	})
}

// course is what happens to two servers with copies of one log, and one store.
type course struct {
	before int
	steps  []courseStep
}

type courseStep struct {
	server int
	amount money.Amount
	then   time.Duration
	crash  bool
}

// TestCopies lets two servers go on with copies of one log, and one store: no id stands for two events, whoever comes first, and
// that one tells everything.
func TestCopies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := course{before: rapid.IntRange(0, 3).Draw(rt, "before")}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			server := rapid.IntRange(0, 1).Draw(rt, "server")
			c.steps = append(c.steps, courseStep{
				server: server,
				amount: money.Amount(2*rapid.IntRange(1, 9).Draw(rt, "amount") + server), // so that no entries are the same
				then:   rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, time.Minute}).Draw(rt, "then"),
				crash:  rapid.IntRange(0, 5).Draw(rt, "crash") == 0,
			})
		}
		var err error
		synctest.Test(t, func(*testing.T) { err = c.run() })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func (c *course) run() error {
	store := &wallettest.WebhookMemory{}
	r := &receiver{}
	options := &Options{Transport: r, PollEvery: time.Minute, Random: func(n time.Duration) time.Duration { return n / 2 }, SaveEvery: 100 * time.Millisecond}
	worlds := []world{newWorld(1, 2), newWorld(1, 2)}
	pay := func(w world, amount money.Amount) {
		p := w[0]
		p.transfer(p.accounts[0], p.accounts[1], amount)
		p.commit()
	}
	disks, engines := make([]*crashable, 2), make([]*Engine, 2)
	start := func(i int) {
		disks[i] = &crashable{Store: store}
		engines[i] = New(disks[i], worlds[i], worlds[i].partitions(), options)
	}
	for _, w := range worlds {
		for range c.before {
			pay(w, 1)
		}
	}
	start(0)
	if _, err := engines[0].CreateWebhook(context.Background(), wallet.DefaultTenant, all()); err != nil {
		return err
	}
	time.Sleep(2 * time.Minute)
	start(1)
	for _, s := range c.steps {
		if s.crash {
			disks[s.server].crash(true)
			engines[s.server].Close()
			start(s.server)
		}
		pay(worlds[s.server], s.amount)
		time.Sleep(s.then)
	}
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	for _, e := range engines {
		e.Close()
	}
	bodies := map[string]string{}
	for _, g := range r.all() {
		if was, ok := bodies[g.id]; ok && was != string(g.body) {
			return fmt.Errorf("%s stands for %s and for %s", g.id, was, g.body)
		}
		bodies[g.id] = string(g.body)
	}
	if len(engines[0].Forked()) > 0 && len(engines[1].Forked()) > 0 {
		return errors.New("neither server tells anything")
	}
	for i, w := range worlds {
		lost := func(id string) bool { _, came := bodies[id]; return !came }
		if forked := len(engines[i].Forked()) > 0; !forked && slices.ContainsFunc(expected(w[0], all(), 1), lost) {
			return fmt.Errorf("server %d does not say that it tells nothing", i)
		}
	}
	return nil
}
