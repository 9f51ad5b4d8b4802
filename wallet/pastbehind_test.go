package wallet_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"maru.example/rsm"
	"maru.example/wallet"
)

// slow is a history that is behind, and comes further when it is waited for.
type slow struct {
	wallet.History
	mark, then wallet.HistoryMark // what it has, and once it was waited for
	decided    rsm.Index          // 0: it does not know
	waited     rsm.Index          // for what at first
	impatient  bool               // it was waited for with a deadline
}

func markAt(index rsm.Index, time int64) wallet.HistoryMark {
	return wallet.HistoryMark{HistoryPosition: wallet.HistoryPosition{Index: index}, Time: time, First: 1}
}

func (s *slow) BalancesAt(wallet.Handle, int64) (wallet.PastBalances, error) {
	return wallet.PastBalances{Mark: s.mark, Decided: s.decided}, nil
}

func (s *slow) Statement(*wallet.LineQuery) (wallet.Statement, error) {
	return wallet.Statement{LinePage: wallet.LinePage{Mark: s.mark}, Decided: s.decided}, nil
}

func (s *slow) Lines(*wallet.LineQuery) (wallet.LinePage, error) {
	return wallet.LinePage{Mark: s.mark}, nil
}

func (s *slow) Wait(ctx context.Context, p wallet.HistoryPosition) error {
	_, s.impatient = ctx.Deadline()
	if s.waited == 0 {
		s.waited = p.Index
	}
	s.mark = s.then
	s.decided += 5 // others write meanwhile
	if s.mark.First == 0 {
		return fmt.Errorf("%w: it is gone", wallet.ErrHistoryUnavailable)
	}
	if s.mark.Index < p.Index {
		return fmt.Errorf("%w: it is at %v", wallet.ErrHistoryBehind, s.mark)
	}
	return nil
}

// TestHistoryBehind asks a history that is at entry 3, of the time 100, while 9 are applied.
func TestHistoryBehind(t *testing.T) {
	stays, caughtUp := markAt(3, 100), markAt(9, 250)
	balances := func(at int64) wallet.HistoryRequest { return wallet.HistoryRequest{At: at} }
	statement := func(from, to int64) wallet.HistoryRequest {
		return wallet.HistoryRequest{Lines: wallet.LineQuery{Currency: usd, From: from, To: to, Limit: 1}}
	}
	for _, v := range []struct {
		name    string
		r       wallet.HistoryRequest
		unknown bool // what is applied
		then    wallet.HistoryMark
		at      rsm.Index // what the answer reflects
		waits   bool
		want    error
	}{
		{"balances before the mark", balances(99), false, caughtUp, 3, false, nil},
		{"balances of the mark's time", balances(100), false, caughtUp, 9, true, nil},
		{"balances after the mark", balances(200), false, caughtUp, 9, true, nil},
		{"balances of the future", balances(1 << 62), false, caughtUp, 9, true, nil},
		{"balances, and it stays behind", balances(200), false, stays, 0, true, wallet.ErrHistoryBehind},
		{"balances, and it comes to their time", balances(200), false, markAt(5, 201), 5, true, nil},
		{"balances, and it comes to the last of their time only", balances(200), false, markAt(8, 200), 0, true, wallet.ErrHistoryBehind},
		{"balances, and it is made anew meanwhile", balances(100), false, markAt(1, 10), 0, true, wallet.ErrHistoryBehind},
		{"balances, and it goes", balances(200), false, wallet.HistoryMark{}, 0, true, wallet.ErrHistoryUnavailable},
		{"balances, and nobody knows what is applied", balances(200), true, caughtUp, 3, false, nil},
		{"the newest balances", balances(1<<63 - 1), false, caughtUp, 3, false, nil},
		{"a statement up to the mark", statement(0, 100), false, caughtUp, 3, false, nil},
		{"a statement beyond the mark", statement(0, 101), false, caughtUp, 9, true, nil},
		{"a statement, and it stays behind", statement(0, 101), false, stays, 0, true, wallet.ErrHistoryBehind},
		{"a statement without an end", statement(0, 0), false, caughtUp, 3, false, nil},
		{"a statement without an end from the mark", statement(100, 0), false, caughtUp, 3, false, nil},
		{"a statement without an end from beyond the mark", statement(101, 0), false, caughtUp, 9, true, nil},
	} {
		t.Run(v.name, func(t *testing.T) {
			for _, there := range []bool{false, true} { // the replica is elsewhere
				h := &slow{mark: stays, then: v.then, decided: 9}
				if v.unknown {
					h.decided = 0
				}
				s := keeping(t, h, &way{here: true})
				if there {
					s = keeping(t, nil, &way{nodes: []*wallet.Service{s}})
				}
				mark, code, err := pastMark(t.Context(), s, v.r)
				if !errors.Is(err, v.want) || err == nil && (code != wallet.Applied || mark.Index != v.at) {
					t.Errorf("elsewhere %t: got %+v, %v, %v, want it at %d, %v", there, mark, code, err, v.at, v.want)
				}
				if v.waits != (h.waited == 9) || v.waits != h.impatient {
					t.Errorf("elsewhere %t: waited for %d, with a deadline %t", there, h.waited, h.impatient)
				}
			}
		})
	}
	h := &slow{mark: stays, then: stays, decided: 9}
	r := &wallet.HistoryRequest{Tenant: wallet.DefaultTenant, Account: "alice", Lines: wallet.LineQuery{To: 200, Limit: 1}}
	if page, code, err := keeping(t, h, &way{here: true}).HistoryLines(t.Context(), r); err != nil || code != wallet.Applied || page.Mark != stays || h.waited > 0 {
		t.Errorf("lines: got %+v, %v, %v, waited for %d", page, code, err, h.waited)
	}
}

// pastMark asks for a statement, if the request has a currency, or balances, and returns what the answer reflects.
func pastMark(ctx context.Context, s *wallet.Service, r wallet.HistoryRequest) (wallet.HistoryMark, wallet.Code, error) {
	r.Tenant, r.Account = wallet.DefaultTenant, "alice"
	if r.Lines.Currency != 0 {
		st, code, err := s.HistoryStatement(ctx, &r)
		return st.Mark, code, err
	}
	past, code, err := s.HistoryBalances(ctx, &r)
	return past.Mark, code, err
}
