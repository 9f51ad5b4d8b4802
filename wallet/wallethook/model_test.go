package wallethook

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallettest"
)

// step is one of a scenario: what happens, and how long it is until the next.
type step struct {
	kind      string // pay, refuse, empty, crash, stop, lead, follow, weather
	partition int
	from, to  int
	amount    money.Amount
	weather   []answer // of the receiver of a webhook, in turn
	webhook   int
	then      time.Duration
}

// scenario is drawn before it runs, as rapid does not live in a bubble.
type scenario struct {
	webhooks []*wallet.NewWebhook
	steps    []step
}

const modelParts, modelAccounts = 2, 3

func drawScenario(t *rapid.T) *scenario {
	s := &scenario{}
	names := newWorld(modelParts, modelAccounts)
	account := func(label string) wallet.AccountID {
		return names[rapid.IntRange(0, modelParts-1).Draw(t, label)].accounts[rapid.IntRange(0, modelAccounts-1).Draw(t, label)]
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "webhooks") {
		w := &wallet.NewWebhook{URL: fmt.Sprintf("https://receiver%d/", i)}
		w.Kinds = rapid.SliceOfNDistinct(rapid.SampledFrom([]wallet.EventKind{wallet.Debit, wallet.Credit, wallet.AccountOpened, wallet.TransferFailed}), 0, 4, rapid.ID).Draw(t, "kinds")
		for range rapid.IntRange(0, 2).Draw(t, "accounts") {
			if id := account("account"); !slices.Contains(w.Accounts, id) {
				w.Accounts = append(w.Accounts, id)
			}
		}
		for n := range rapid.IntRange(0, 2).Draw(t, "thresholds") {
			w.Thresholds = append(w.Thresholds, wallet.Threshold{
				Account: account("threshold"), Currency: usd, Amount: money.Amount(n + rapid.IntRange(-2, 2).Draw(t, "amount")*3), Above: rapid.Bool().Draw(t, "above"),
			})
		}
		if len(w.Kinds)+len(w.Thresholds) == 0 {
			w.Kinds = []wallet.EventKind{wallet.Credit}
		}
		s.webhooks = append(s.webhooks, w)
	}
	kinds := []string{"pay", "pay", "pay", "pay", "refuse", "empty", "crash", "stop", "lead", "follow", "weather", "weather"}
	s.steps = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		v := step{
			kind: rapid.SampledFrom(kinds).Draw(t, "kind"), partition: rapid.IntRange(0, modelParts-1).Draw(t, "partition"),
			from: rapid.IntRange(0, modelAccounts-1).Draw(t, "from"), amount: money.Amount(rapid.IntRange(1, 9).Draw(t, "amount")),
			webhook: rapid.IntRange(0, len(s.webhooks)-1).Draw(t, "webhook"),
			then:    time.Duration(rapid.SampledFrom([]int{0, 1, 7, 300, 2000, 20000}).Draw(t, "then")) * time.Millisecond,
		}
		v.to = (v.from + rapid.IntRange(1, modelAccounts-1).Draw(t, "to")) % modelAccounts
		if v.kind == "weather" {
			v.weather = rapid.SliceOfN(rapid.SampledFrom([]answer{
				{}, {latency: 5 * time.Millisecond}, {latency: time.Second}, {status: 500}, {status: 429}, {broken: true, latency: time.Millisecond}, {latency: time.Hour},
			}), 1, 4).Draw(t, "weather")
		}
		return v
	}), 1, 30).Draw(t, "steps")
	return s
}

// sky is the weather at a receiver: how it answers, in turn.
type sky struct {
	mu      sync.Mutex
	answers []answer // none: it takes everything
}

func (s *sky) set(answers []answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = answers
}

func (s *sky) answer(n int, _ *got) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers) == 0 {
		return answer{}
	}
	return s.answers[n%len(s.answers)]
}

// TestModel lets receivers fail in all ways, engines crash at any moment and leaders change: every
// message that was chosen is delivered, none before the one before it has been, and nothing else.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScenario(rt)
		var err error
		synctest.Test(t, func(*testing.T) { err = s.run() })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// run plays a scenario, and says what was wrong.
func (s *scenario) run() error {
	world := newWorld(modelParts, modelAccounts)
	store := &wallettest.WebhookMemory{}
	all := receivers{}
	skies := make([]sky, len(s.webhooks))
	for i := range s.webhooks {
		all[fmt.Sprintf("receiver%d", i)] = &receiver{answer: skies[i].answer}
	}
	options := &Options{
		Transport: all, MaxBackoff: time.Minute, GiveUpAfter: 1000 * time.Hour, DisableAfter: 1000 * time.Hour,
		Random: func(n time.Duration) time.Duration { return n / 2 }, SaveEvery: 100 * time.Millisecond, PollEvery: 5 * time.Second,
	}
	var disk *crashable
	var engine *Engine
	start := func() {
		disk = &crashable{Store: store}
		engine = New(disk, world, world.partitions(), options)
	}
	start()
	for _, n := range s.webhooks {
		if _, err := engine.CreateWebhook(context.Background(), wallet.DefaultTenant, n); err != nil {
			return err
		}
	}
	for i := range s.steps {
		v := &s.steps[i]
		p := world[v.partition]
		switch v.kind {
		case "pay":
			p.transfer(p.accounts[v.from], p.accounts[v.to], v.amount)
			if v.then > 0 {
				p.commit()
			}
		case "refuse":
			p.transfer(p.accounts[v.from], p.accounts[v.to], 0)
			p.commit()
		case "empty":
			p.commit()
		case "crash":
			disk.crash(true)
			engine.Close()
			start()
		case "stop":
			engine.Close()
			start()
		case "lead", "follow":
			p.lead(v.kind == "lead")
		case "weather":
			skies[v.webhook].set(v.weather)
		}
		time.Sleep(v.then)
	}
	for _, p := range world {
		p.commit()
		p.lead(true)
	}
	for i := range skies {
		skies[i].set(nil)
	}
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	engine.Close()
	for i, n := range s.webhooks {
		for _, p := range world {
			if err := s.check(all[fmt.Sprintf("receiver%d", i)], p, n); err != nil {
				return fmt.Errorf("webhook %d, partition %d: %w", i, p.number, err)
			}
		}
	}
	return nil
}

// check compares what a receiver got of a partition with what it was to get.
func (s *scenario) check(r *receiver, p *part, n *wallet.NewWebhook) error {
	var came []string
	prefix := fmt.Sprintf("evt_%d-", p.number)
	for _, id := range r.taken {
		if len(id) > len(prefix) && id[:len(prefix)] == prefix {
			came = append(came, id)
		}
	}
	return checkOrder(came, expected(p, n, 1))
}
