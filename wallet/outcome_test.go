package wallet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"maru.example/rsm"
)

// toldLog does as it is told.
type toldLog struct {
	PartitionLog
	propose, submit error
	result          []byte
}

func (*toldLog) ApplyLoop() rsm.Loop      { return goroutines{} }
func (*toldLog) OnLeading(func(bool))     {}
func (*toldLog) StartRead(fn func(error)) { fn(rsm.ErrNoLeader) }

func (l *toldLog) Propose(context.Context, []byte) ([]byte, rsm.Position, error) {
	return nil, rsm.Position{}, l.propose
}

func (l *toldLog) TrySubmit(_ context.Context, p *rsm.Proposal) error {
	if l.submit == nil {
		p.Done(l.result, rsm.Position{}, nil)
	}
	return l.submit
}

func (l *toldLog) Submit(ctx context.Context, p *rsm.Proposal) error { return l.TrySubmit(ctx, p) }

// goroutines is a loop that waits for nothing.
type goroutines struct{}

func (goroutines) Post(f func()) { go f() }
func (goroutines) After(d time.Duration, f func()) func() {
	t := time.AfterFunc(d, f)
	return func() { t.Stop() }
}

// toldRemote is a Remote that does as it is told.
type toldRemote struct {
	here func(uint16) bool // default: nothing is
	ask  func(p uint16, request []byte, done func([]byte, time.Duration, error))
}

func (r toldRemote) Here(p uint16) bool { return r.here != nil && r.here(p) }

func (r toldRemote) Ask(p uint16, request []byte, _ bool, done func([]byte, time.Duration, error)) {
	r.ask(p, request, done)
}

func toldParts(n uint16) []*Partition {
	parts := make([]*Partition, n)
	for i := range parts {
		parts[i] = NewPartition(uint16(i), n, func() uint64 { return 1 })
		parts[i].Log = &toldLog{}
	}
	return parts
}

// submitted returns what becomes of transfers by name.
func submitted(s *Service, ts ...Transfer) ([]byte, []byte, error) {
	data := AppendHeader(nil, Header{Kind: KindTransfersByName, Count: len(ts)})
	for i := range ts {
		data = AppendTransfer(data, &ts[i])
	}
	type outcome struct {
		result []byte
		err    error
	}
	ended := make(chan outcome, 1)
	err := s.Submit(context.Background(), &rsm.Proposal{Data: data, Done: func(result []byte, _ rsm.Position, err error) { ended <- outcome{result, err} }})
	if err != nil {
		return data, nil, err
	}
	o := <-ended
	return data, o.result, o.err
}

func toldTransfer(n byte, from, to AccountID) Transfer {
	return Transfer{ID: TransactionID{n}, From: from, To: to, Amount: 1, Currency: usd}
}

// TestUnknownStays lets a try have an unknown outcome, and the next ones none: that
// nothing was done must not be said.
func TestUnknownStays(t *testing.T) {
	ctx := context.Background()
	t.Run("one partition", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := NewService(&toldLog{propose: rsm.ErrUnknown, submit: rsm.ErrNoLeader}, NewMachine(nil))
			if _, err := s.Transfer(ctx, DefaultTenant, toldTransfer(1, "a", "b")); !errors.Is(err, rsm.ErrUnknown) {
				t.Errorf("got %v, want ErrUnknown", err)
			}
		})
	})
	t.Run("refused without a trace", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			s := NewDividedService(toldParts(1), &ServiceOptions{Remote: toldRemote{ask: func(_ uint16, _ []byte, done func([]byte, time.Duration, error)) {
				if asked++; asked == 1 {
					done(nil, 0, rsm.ErrUnknown)
					return
				}
				done(append(make([]byte, positionBytes), byte(TooManyInFlight)), 0, nil)
			}}})
			if _, result, err := submitted(s, toldTransfer(1, "a", "b")); !errors.Is(err, rsm.ErrUnknown) {
				t.Errorf("got %v, %v, want ErrUnknown", result, err)
			}
		})
	})
	t.Run("not repeated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			s := NewDividedService(toldParts(1), &ServiceOptions{Remote: toldRemote{ask: func(_ uint16, _ []byte, done func([]byte, time.Duration, error)) {
				asked++
				done(nil, 0, rsm.ErrUnknown)
			}}})
			if _, err := s.SetStatus(ctx, DefaultTenant, "a", Frozen); !errors.Is(err, rsm.ErrUnknown) || asked != 1 {
				t.Errorf("got %v after %d tries, want ErrUnknown after one", err, asked)
			}
		})
	})
}

// TestPatience lets every try take long: a batch is not tried for minutes.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := NewDividedService(toldParts(1), &ServiceOptions{Remote: toldRemote{ask: func(_ uint16, _ []byte, done func([]byte, time.Duration, error)) {
			asked++
			time.AfterFunc(15*time.Second, func() { done(nil, 0, rsm.ErrUnknown) }) // three silent nodes
		}}})
		if _, _, err := submitted(s, toldTransfer(1, "a", "b")); !errors.Is(err, rsm.ErrUnknown) || asked > 2 {
			t.Errorf("got %v after %d tries, want ErrUnknown after two", err, asked)
		}
	})
}

// TestLookUpLate answers a look-up again when its batch was given back.
func TestLookUpLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := toldParts(3)
		parts[0].Log = &toldLog{result: []byte{byte(Applied), byte(Applied)}}
		var mu sync.Mutex // a look-up goes on while the next one begins
		var late func([]byte, time.Duration, error)
		asked := map[uint16]int{}
		found, err := json.Marshal(finding{Handles: []Handle{5}})
		if err != nil {
			t.Fatal(err)
		}
		s := NewDividedService(parts, &ServiceOptions{Remote: toldRemote{
			here: func(p uint16) bool { return p == 0 },
			ask: func(p uint16, _ []byte, done func([]byte, time.Duration, error)) {
				mu.Lock()
				asked[p]++
				times := asked[p]
				if p == 2 && times == 1 {
					late = done // an answer that is lost for now, and asked for again
				}
				mu.Unlock()
				switch {
				case p == 2 && times == 1:
				case p == 1 && times == 1:
					done(nil, 0, rsm.ErrNoLeader)
				default:
					done(found, 0, nil)
				}
			},
		}})
		data, _, err := submitted(s, toldTransfer(1, local(0, 3, 0), local(1, 3, 0)), toldTransfer(2, local(0, 3, 0), local(2, 3, 0)))
		if err != nil || late == nil {
			t.Fatal(err, asked)
		}
		for i := range data {
			data[i] = 0xff // it is used for another request
		}
		late(found, 0, nil)
	})
}

// TestMalformedPeers lets other nodes answer, and ask, what they should not.
func TestMalformedPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewDividedService(toldParts(1), &ServiceOptions{Remote: toldRemote{ask: func(_ uint16, _ []byte, done func([]byte, time.Duration, error)) {
			done(make([]byte, positionBytes), 0, nil)
		}}})
		if _, _, err := submitted(s, toldTransfer(1, "a", "b")); !errors.Is(err, rsm.ErrUnknown) {
			t.Errorf("an answer without results: %v, want ErrUnknown", err)
		}
	})
	messages := AppendHeader(nil, Header{Kind: KindParticipate, Count: 1})
	messages = appendMessages(messages, 0, 1, 1)
	messages = appendMessage(messages, &message{action: actConfirm, seq: 1})
	for name, r := range map[string]request{
		"messages are not routed": {requestRoute, NoProtocol, 0, messages},
		"a newer consistency":     {requestQuery, NoProtocol, 0, []byte(`{"subject":"tenants","consistency":3}`)},
		"a newer subject":         {requestQuery, NoProtocol, 0, []byte(`{"subject":"weather"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			answered := 0
			NewDividedService(toldParts(2), nil).Serve(appendRequest(r), func(_ []byte, err error) {
				if answered++; !errors.Is(err, errRequest) {
					t.Errorf("got %v, want a malformed request", err)
				}
			})
			if answered != 1 {
				t.Errorf("answered %d times", answered)
			}
		})
	}
}

// TestTotalsOfTwoReplicas lets the slices of a sum come from two replicas, which have
// applied as many batches, and different ones: the sum is not of one moment.
func TestTotalsOfTwoReplicas(t *testing.T) {
	a, b := NewMachine(nil), NewMachine(nil)
	for n := range 3 {
		data := AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: MaxBatch})
		for i := range MaxBatch {
			data = AppendAccount(data, &NewAccount{ID: AccountID(fmt.Sprint("a", n*MaxBatch+i)), Currency: usd, Min: Unlimited})
		}
		a.Apply(nil, rsm.Batch{Data: data})
	}
	if err := b.Restore(snapshotOf(a)); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		transfer := toldTransfer(byte(n+1), "a0", "a20000")
		b.Apply(nil, rsm.Batch{Data: AppendTransfer(AppendHeader(nil, Header{Kind: KindTransfersByName, Count: 1}), &transfer)})
	}
	asked := 0
	s := NewDividedService(toldParts(1), &ServiceOptions{Remote: toldRemote{ask: func(_ uint16, request []byte, done func([]byte, time.Duration, error)) {
		m := a
		if asked++; asked > 1 {
			m = b // the first node is gone
		}
		var q query
		if err := json.Unmarshal(request[requestHead:], &q); err != nil {
			t.Fatal(err)
		}
		answer, err := json.Marshal(m.query(&q))
		done(answer, 0, err)
	}}})
	totals, settled, err := s.Totals(context.Background(), DefaultTenant)
	if err != nil || len(totals) != 1 || asked < 2 {
		t.Fatalf("%+v, %v, after %d questions", totals, err, asked)
	}
	if settled {
		t.Errorf("settled, with the sum %v", totals[0].Sum)
	}
}

// snapshotOf returns a machine's snapshot.
func snapshotOf(m *Machine) io.Reader {
	s := m.Snapshot()
	r, w := io.Pipe()
	go func() {
		for more := true; more; {
			var piece []byte
			piece, more = s.Next(nil, 1<<20)
			if _, err := w.Write(piece); err != nil {
				break
			}
		}
		s.Close()
		_ = w.Close()
	}()
	return r
}
