package wallet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
)

// emptyLog is the log of a partition of which there is no replica here.
type emptyLog struct {
	wallet.PartitionLog
	loop rsm.Loop
}

func (l emptyLog) ApplyLoop() rsm.Loop { return l.loop }
func (emptyLog) OnLeading(func(bool))  {}

// elsewhere is the way to a service of another node, which has all partitions.
type elsewhere struct {
	to    *wallet.Service
	fault func(request []byte) error // instead of being served, or after, if it is rsm.ErrUnknown
	asked int
}

func (*elsewhere) Here(uint16) bool { return false }

func (e *elsewhere) Ask(_ uint16, request []byte, _ bool, done func([]byte, time.Duration, error)) {
	e.asked++
	var fault error
	if e.fault != nil {
		fault = e.fault(request)
	}
	if fault != nil && !errors.Is(fault, rsm.ErrUnknown) {
		done(nil, 0, fault)
		return
	}
	e.to.Serve(request, func(answer []byte, err error) { done(answer, time.Second, errors.Join(fault, err)) })
}

// remote returns a service that has no partition, and the way to the one that has
// them all.
func remote(t *testing.T, partitions uint16) (*wallet.Service, *elsewhere) {
	t.Helper()
	to, _ := divided(t, vfs.NewMem(), partitions, wallet.TCC)
	runtime := rsmraft.NewRuntime()
	t.Cleanup(runtime.Close)
	parts := make([]*wallet.Partition, partitions)
	for i := range parts {
		parts[i] = wallet.NewPartition(uint16(i), partitions, rand.Uint64)
		parts[i].Log = emptyLog{loop: runtime.NewLoop("idle")}
	}
	way := &elsewhere{to: to}
	return wallet.NewDividedService(parts, &wallet.ServiceOptions{Remote: way}), way
}

// TestRemote uses a wallet on a node that has no replica of it.
func TestRemote(t *testing.T) {
	for _, partitions := range []uint16{1, 4} {
		t.Run(fmt.Sprint(partitions, " partitions"), func(t *testing.T) { useRemote(t, partitions) })
	}
}

func useRemote(t *testing.T, partitions uint16) {
	s, way := remote(t, partitions)
	ctx := t.Context()
	if code, err := s.CreateTenant(ctx, "acme"); err != nil || code != wallet.Applied {
		t.Fatalf("create a tenant: %v, %v", code, err)
	}
	names, err := s.Tenants(ctx)
	if diff := cmp.Diff([]wallet.Tenant{"default", "acme"}, names); err != nil || diff != "" {
		t.Errorf("tenants (-want +got), error %v:\n%s", err, diff)
	}
	ids := make([]wallet.AccountID, 8)
	for i := range ids {
		ids[i] = wallet.AccountID(fmt.Sprint("a", i))
		o, err := s.OpenAccount(ctx, "acme", wallet.NewAccount{ID: ids[i], Currency: usd, Min: wallet.Unlimited})
		if err != nil || o.Code != wallet.Applied {
			t.Fatalf("open %s: %v, %v", ids[i], o.Code, err)
		}
	}
	var transfers []wallet.Transfer
	var want []wallet.Result
	for i, from := range ids {
		for j, to := range ids {
			transfers = append(transfers, wallet.Transfer{ID: wallet.TransactionID{1, byte(i), byte(j)}, From: from, To: to, Amount: money.Amount(i + 1), Currency: usd})
			code := wallet.Applied
			if i == j {
				code = wallet.SameAccount
			}
			want = append(want, wallet.Result(code))
		}
	}
	transfers = append(transfers, wallet.Transfer{ID: wallet.TransactionID{2}, From: ids[0], To: "nobody", Amount: 1, Currency: usd})
	want = append(want, wallet.Result(wallet.UnknownAccount))
	got, err := s.Transfers(ctx, "acme", transfers)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("results (-want +got), error %v:\n%s", err, diff)
	}
	for _, p := range []wallet.Protocol{wallet.TCC, wallet.Saga, wallet.TwoPhase} {
		r, err := s.TransferBy(ctx, "acme", p, wallet.Transfer{ID: wallet.TransactionID{3, byte(p)}, From: ids[0], To: ids[1], Amount: 1, Currency: usd})
		if err != nil || r.Code() != wallet.Applied {
			t.Errorf("by %v: %v, %v", p, r.Code(), err)
		}
	}
	if code, err := s.SetStatus(ctx, "acme", ids[7], wallet.Frozen); err != nil || code != wallet.Applied {
		t.Errorf("freeze: %v, %v", code, err)
	}
	asked := way.asked
	readRemote(t, s, ids)
	if way.asked == asked {
		t.Error("no other node was asked")
	}
	_, err = s.Lookup(ctx, nil, 1, ids)
	if err != nil {
		t.Error(err)
	}
}

// readRemote reads what useRemote made in as many ways as there are.
func readRemote(t *testing.T, s *wallet.Service, ids []wallet.AccountID) {
	ctx := t.Context()
	a, code, err := s.Account(ctx, "acme", ids[7])
	if err != nil || code != wallet.Applied || a.Status != wallet.Frozen || a.Balances[0].Amount != 28-7*8 {
		t.Errorf("account: %+v, %v, %v", a, code, err)
	}
	b, code, age, err := s.AccountStale(ctx, "acme", ids[7])
	if diff := cmp.Diff(a, b); diff != "" || code != wallet.Applied || age < time.Second || err != nil {
		t.Errorf("the account, %v old: %v, %v (-certain +stale):\n%s", age, code, err, diff)
	}
	for _, tt := range []struct {
		tenant wallet.Tenant
		id     wallet.AccountID
		want   wallet.Code
	}{{"acme", "nobody", wallet.UnknownAccount}, {"nobody", ids[0], wallet.UnknownTenant}, {"default", ids[0], wallet.UnknownAccount}} {
		if _, code, err := s.Account(ctx, tt.tenant, tt.id); code != tt.want || err != nil {
			t.Errorf("account %s of %s: %v, %v, want %v", tt.id, tt.tenant, code, err, tt.want)
		}
	}
	for id, want := range map[byte]wallet.Code{9: wallet.Undecided, 2: wallet.UnknownAccount} {
		if code, err := s.Decision(ctx, "acme", wallet.TransactionID{id}); code != want || err != nil {
			t.Errorf("decision %d: %v, %v, want %v", id, code, err, want)
		}
	}
	number, ok, err := s.Tenant(ctx, "acme")
	if number != 1 || !ok || err != nil {
		t.Errorf("tenant: %d, %v, %v", number, ok, err)
	}
	handles, err := s.Lookup(ctx, nil, number, append(ids[:1:1], "nobody", ids[7]))
	if err != nil || len(handles) != 3 || handles[0] == 0 || handles[1] != 0 || handles[2] != a.Handle {
		t.Errorf("handles %x, error %v, want that of %s last: %x", handles, err, ids[7], a.Handle)
	}
	sums, settled, err := s.Totals(ctx, "acme")
	if err != nil || !settled || len(sums) != 1 || sums[0].Balances != len(ids) || sums[0].Sum.Sign() != 0 || !sums[0].Zero() {
		t.Errorf("totals: %+v, settled %v, %v", sums, settled, err)
	}
	list, err := s.InFlight(ctx, "acme", 10)
	if err != nil || len(list.Transfers) > 0 || list.More || list.Stale {
		t.Errorf("in flight: %+v, %v", list, err)
	}
	if m, err := s.Metrics(ctx); err != nil || m != (wallet.Metrics{}) {
		t.Errorf("a node without partitions counts %+v, %v", m, err)
	}
}

// TestRemoteFaults loses requests and answers: what was not answered is asked again,
// and nothing is done twice.
func TestRemoteFaults(t *testing.T) {
	s, way := remote(t, 4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := 0
	way.fault = func([]byte) error {
		switch n++; n % 3 {
		case 0:
			return fmt.Errorf("%w: it is a test", rsm.ErrUnknown)
		case 1:
			return fmt.Errorf("%w: it is a test", rsm.ErrNoLeader)
		}
		return nil
	}
	for i := range 4 {
		if o, err := s.OpenAccount(ctx, "default", wallet.NewAccount{ID: wallet.AccountID(fmt.Sprint("a", i)), Currency: usd, Min: wallet.Unlimited}); err != nil || o.Code != wallet.Applied {
			t.Fatalf("open: %v, %v", o.Code, err)
		}
	}
	for i := range 40 {
		tr := wallet.Transfer{ID: wallet.TransactionID{1, byte(i)}, From: wallet.AccountID(fmt.Sprint("a", i%4)), To: wallet.AccountID(fmt.Sprint("a", (i+1+i/4%3)%4)), Amount: 1, Currency: usd}
		if r, err := s.Transfer(ctx, "default", tr); err != nil || r.Code() != wallet.Applied {
			t.Fatalf("transfer %d: %v, %v", i, r.Code(), err)
		}
	}
	way.fault = nil
	m, err := way.to.Metrics(ctx)
	if err != nil || m.Decided[wallet.Applied]-m.Repeated != 40 || m.Repeated == 0 {
		t.Errorf("%d were applied, %d repeated, want 40 and some; %v", m.Decided[wallet.Applied], m.Repeated, err)
	}
	way.fault = func([]byte) error { return fmt.Errorf("%w: nobody there", rsm.ErrNoLeader) }
	if _, _, err := s.Account(ctx, "default", "a0"); !errors.Is(err, rsm.ErrNoLeader) {
		t.Errorf("read: got %v, want ErrNoLeader", err)
	}
	way.fault = func([]byte) error { return fmt.Errorf("%w: a node says so", rsm.ErrNoMajority) }
	if _, _, err := s.Account(ctx, "default", "a0"); !errors.Is(err, rsm.ErrNoMajority) {
		t.Errorf("read without a majority: got %v, want ErrNoMajority", err)
	}
	if list, err := s.InFlight(ctx, "default", 10); err != nil || !list.Stale {
		t.Errorf("in flight: %+v, %v, want a stale list", list, err)
	}
}

// TestServeMalformed asks for what no service asks for.
func TestServeMalformed(t *testing.T) {
	s, _ := divided(t, vfs.NewMem(), 2, wallet.TCC)
	for name, request := range map[string][]byte{
		"nothing":         nil,
		"short":           {1, 1, 0, 0, 0, 0, 0},
		"newer version":   {2, 1, 0, 0, 0, 0, 0, 0},
		"kind":            append([]byte{1, 9, 0, 0, 0, 0, 0, 0}, wallet.AppendName(wallet.AppendHeader(nil, wallet.Header{Kind: wallet.KindCreateTenants, Count: 1}), "x")...),
		"protocol":        {1, 2, 9, 0, 0, 0, 0, 0},
		"partition":       {1, 1, 0, 0, 2, 0, 0, 0},
		"no batch":        {1, 1, 0, 0, 0, 0, 0, 0},
		"half a batch":    append([]byte{1, 2, 0, 0, 0, 0, 0, 0}, wallet.AppendHeader(nil, wallet.Header{Kind: wallet.KindTransfers, Count: 1})...),
		"no query":        {1, 3, 0, 0, 0, 0, 0, 0},
		"a query's start": append([]byte{1, 3, 0, 0, 0, 0, 0, 0}, `{"subject":`...),
	} {
		t.Run(name, func(t *testing.T) {
			answered := make(chan error, 1)
			s.Serve(request, func(_ []byte, err error) { answered <- err })
			if err := <-answered; err == nil {
				t.Error("it was served")
			}
		})
	}
}

// FuzzServe gives a service any request: it answers, once.
func FuzzServe(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 0, 0, 0, 0})
	f.Add(append([]byte{1, 2, 1, 0, 1, 0, 0, 0}, wallet.AppendName(wallet.AppendHeader(nil, wallet.Header{Kind: wallet.KindCreateTenants, Count: 1}), "x")...))
	f.Add(append([]byte{1, 3, 0, 0, 0, 0, 0, 0}, `{"subject":"totals","tenant":0,"row":7,"cursor":{"peer":3,"seq":9},"handles":[1,2],"accounts":["a"]}`...))
	s, _ := divided(f, vfs.NewMem(), 2, wallet.TCC)
	f.Fuzz(func(_ *testing.T, request []byte) {
		answered := make(chan struct{}, 2)
		s.Serve(request, func([]byte, error) { answered <- struct{}{} })
		<-answered
	})
}
