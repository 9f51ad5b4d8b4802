package wallet_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"maru.example/vfs"
	"maru.example/wallet"
)

// TestHoldExpiresByItself places a hold and then does nothing but read: at its expiry
// its money is available, also after the node was away. Nothing is committed
// where there are no holds.
func TestHoldExpiresByItself(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs, ctx, d := vfs.NewMem(), t.Context(), wallet.DefaultTenant
				s, host := divided(t, fs, 1, wallet.TCC)
				mustOpen(t, s, "alice", -1000)
				expires := wallet.Millis(time.Now().UnixMilli()) + 5000
				placed, err := s.PlaceHold(ctx, d, wallet.NewHold{ID: id(1), Account: "alice", Amount: 600, Currency: usd, Expires: expires})
				if err != nil || placed.Code() != wallet.Held {
					t.Fatalf("hold: %v, %v", placed.Code(), err)
				}
				held := func(want int) {
					t.Helper()
					a, code, err := s.Account(ctx, d, "alice")
					must(t, code, err)
					if got := a.Balances[0]; int(got.Held) != want || int(got.Available()) != -want {
						t.Errorf("%d are held and %d available, want %d held", got.Held, got.Available(), want)
					}
				}
				if restart {
					if err := host.Close(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Second)
					s, host = divided(t, fs, 1, wallet.TCC)
				}
				time.Sleep(time.Until(time.UnixMilli(int64(expires))) - 1)
				synctest.Wait()
				held(600)
				if h, code, err := s.Hold(ctx, d, id(1)); err != nil || code != wallet.Applied || h.Left != 600 || h.Expires != expires {
					t.Errorf("the hold: %+v, %v, %v", h, code, err)
				}
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				held(0)
				if _, code, err := s.Hold(ctx, d, id(1)); err != nil || code != wallet.HoldFinished {
					t.Errorf("the hold: %v, %v", code, err)
				}
				before := host.Group(1).Status().Applied
				time.Sleep(time.Hour)
				synctest.Wait()
				if after := host.Group(1).Status().Applied; after != before {
					t.Error("something was committed without holds")
				}
			})
		})
	}
}

// TestHoldsBetweenPartitions captures to accounts of the own and of another partition,
// by each protocol, and asks for what is left.
func TestHoldsBetweenPartitions(t *testing.T) {
	for _, protocol := range []wallet.Protocol{wallet.TCC, wallet.Saga, wallet.TwoPhase} {
		t.Run(protocol.String(), func(t *testing.T) {
			s, _ := divided(t, vfs.NewMem(), 3, protocol)
			ctx, d := t.Context(), wallet.DefaultTenant
			const accounts = 8
			name := func(i int) wallet.AccountID { return wallet.AccountID(fmt.Sprint("a", i%accounts)) }
			for i := range accounts {
				mustOpen(t, s, name(i), wallet.Unlimited)
			}
			expires := wallet.Millis(time.Now().Add(time.Hour).UnixMilli())
			for i := range accounts {
				h := wallet.NewHold{ID: id(100 + i), Account: name(i), Amount: 50, Currency: usd, Expires: expires}
				if r, err := s.PlaceHold(ctx, d, h); err != nil || r.Code() != wallet.Held {
					t.Fatalf("hold: %v, %v", r.Code(), err)
				}
				for k := range 3 {
					c := wallet.Capture{Transfer: wallet.Transfer{ID: id(200 + 10*i + k), From: name(i), To: name(i + k + 1), Amount: 10, Currency: usd}, Hold: h.ID}
					for range 2 {
						if r, err := s.Capture(ctx, d, c); err != nil || r.Code() != wallet.Applied {
							t.Fatalf("capture: %v, %v", r.Code(), err)
						}
					}
				}
				to := wallet.Capture{Transfer: wallet.Transfer{ID: id(300 + i), From: name(i), To: "nobody", Amount: 10, Currency: usd}, Hold: h.ID}
				if r, err := s.Capture(ctx, d, to); err != nil || r.Code() != wallet.UnknownAccount {
					t.Errorf("capture for nobody: %v, %v", r.Code(), err)
				}
				got, code, err := s.Hold(ctx, d, h.ID)
				must(t, code, err)
				if got.Left != 20 || got.Captured != 30 || got.InFlight != 0 {
					t.Errorf("hold %d: %+v", i, got)
				}
				list, code, err := s.Holds(ctx, d, name(i), wallet.HoldCursor{}, 10)
				must(t, code, err)
				if len(list.Holds) != 1 || list.Holds[0] != got || list.More {
					t.Errorf("holds of %s: %+v", name(i), list)
				}
				r, err := s.Extend(ctx, d, wallet.Extend{ID: id(400 + i), Hold: h.ID, Account: name(i), Expires: expires + 1})
				must(t, r.Code(), err)
				r, err = s.Release(ctx, d, wallet.Release{ID: id(500 + i), Hold: h.ID, Account: name(i), Currency: usd})
				must(t, r.Code(), err)
			}
			for i := range accounts {
				a, code, err := s.Account(ctx, d, name(i))
				must(t, code, err)
				if b := a.Balances[0]; b.Amount != 0 || b.Held != 0 {
					t.Errorf("%s has %+v", name(i), b)
				}
			}
			if _, code, err := s.Hold(ctx, d, id(9999)); err != nil || code != wallet.UnknownHold {
				t.Errorf("no hold: %v, %v", code, err)
			}
			code, err := s.SetDailyLimit(ctx, d, name(1), usd, wallet.DailyLimit{Amount: 5})
			must(t, code, err)
			r, err := s.Transfer(ctx, d, wallet.Transfer{ID: id(600), From: name(1), To: name(2), Amount: 6, Currency: usd})
			if err != nil || r.Code() != wallet.DailyLimitExceeded {
				t.Errorf("above the daily limit: %v, %v", r.Code(), err)
			}
		})
	}
}
