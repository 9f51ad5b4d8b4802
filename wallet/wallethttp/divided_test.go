package wallethttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// cutLog is a partition's log that has no leader while it is away.
type cutLog struct {
	wallet.PartitionLog
	away *atomic.Bool
}

func (l cutLog) TrySubmit(ctx context.Context, p *rsm.Proposal) error {
	if l.away.Load() {
		return rsm.ErrNoLeader
	}
	return l.PartitionLog.TrySubmit(ctx, p)
}

func (l cutLog) Propose(ctx context.Context, data []byte) ([]byte, rsm.Position, error) {
	if l.away.Load() {
		return nil, rsm.Position{}, rsm.ErrNoLeader
	}
	return l.PartitionLog.Propose(ctx, data)
}

func (l cutLog) StartRead(fn func(error)) {
	if l.away.Load() {
		fn(rsm.ErrNoLeader)
		return
	}
	l.PartitionLog.StartRead(fn)
}

// openDivided returns the API of a wallet of two partitions, of which the second
// can be without a leader, with the account a, without limit, in the first and b
// in the second.
func openDivided(t *testing.T) (h http.Handler, away *atomic.Bool, stop func()) {
	t.Helper()
	if p, q := wallet.PartitionOf("default", "a", 2), wallet.PartitionOf("default", "b", 2); p != 0 || q != 1 {
		t.Fatalf("the accounts are in the partitions %d and %d", p, q)
	}
	parts := make([]*wallet.Partition, 2)
	for i := range parts {
		parts[i] = wallet.NewPartition(uint16(i), uint16(len(parts)), rand.Uint64)
	}
	host, err := rsmraft.Open("data", 1, &rsmraft.Options{
		FS: vfs.NewMem(), ReserveBytes: -1, SnapshotBytes: -1,
		Machine: func(id rsmraft.GroupID) rsm.Machine { return parts[id-1].Machine },
	})
	if err != nil {
		t.Fatal(err)
	}
	away = new(atomic.Bool)
	for i, p := range parts {
		g, err := host.Begin(rsmraft.GroupID(i + 1))
		if err == nil {
			err = g.WaitLeader()
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Log = g
	}
	parts[1].Log = cutLog{parts[1].Log, away}
	s := wallet.NewDividedService(parts, nil)
	for _, a := range []wallet.NewAccount{{ID: "a", Currency: usd, Min: wallet.Unlimited}, {ID: "b", Currency: usd}} {
		if o, err := s.OpenAccount(t.Context(), wallet.DefaultTenant, a); err != nil || o.Code != wallet.Applied {
			t.Fatal(o, err)
		}
	}
	return truthful(t, wallethttp.NewHandler(s, nil)), away, func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A transfer to a partition without a leader is pending, is listed and counted,
// and is done when there is one again.
func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, away, stop := openDivided(t)
		defer stop()
		flight := func(n, began string) string {
			return `{"transaction_id":"` + id(n) + `","from_account":"a","to_account":"b","to_handle":"281474976710657","amount":"1.00","currency":"USD","protocol":"tcc","phase":"trying","began_at":"` + began + `"}`
		}
		const path = "/v1/wallet/in-flight"
		transfer := func(n string) string { return transferBody("a", "b", "1", id(n)) }
		away.Store(true)
		for _, e := range []exchange{
			{"begun", "", transferPath, transfer("1"), 202, `{"status":"pending","transaction_id":"` + id("1") + `"}`},
			{"again", "", transferPath, transfer("1"), 202, `{"status":"pending","transaction_id":"` + id("1") + `"}`},
			{"other content", "", transferPath, transferBody("a", "b", "2", id("1")), 409, `{"code":"transaction_id_reused","transaction_id":"` + id("1") + `"}`},
			{
				"batch", "", "/v1/wallet/balance_transfers", batch(transfer("2"), transfer("1")), 200,
				`{"results":[{"transaction_id":"` + id("2") + `","status":"pending"},{"transaction_id":"` + id("1") + `","status":"pending"}]}`,
			},
			{"asked", "GET", "/v1/wallet/transfers/" + id("1") + "?content=false", "", 200, `{"transaction_id":"` + id("1") + `","status":"pending"}`},
			{"one of two", "GET", path + "?limit=1", "", 200, `{"transfers":[` + flight("1", "2000-01-01T00:00:00Z") + `],"more":true,"stale":false}`},
			{"both", "GET", path + "?limit=2", "", 200, `{"transfers":[` + flight("1", "2000-01-01T00:00:00Z") + `,` + flight("2", "2000-01-01T00:00:16Z") + `],"more":false,"stale":true}`},
			{"no leader, asked", "GET", "/v1/wallet/accounts/b", "", 503, `{"code":"no_leader"}`},
			{"no leader, paying", "", transferPath, transferBody("b", "a", "1", id("3")), 503, `{"code":"no_leader","transaction_id":"` + id("3") + `"}`},
		} {
			e.run(t, h)
		}
		away.Store(false)
		time.Sleep(10 * time.Second) // of the bubble: more than the coordinator's longest pause
		for _, e := range []exchange{
			{"done", "GET", "/v1/wallet/transfers/" + id("1") + "?content=false", "", 200, `{"transaction_id":"` + id("1") + `","status":"applied"}`},
			{"none", "GET", path, "", 200, `{"transfers":[],"more":false,"stale":false}`},
			{"totals", "GET", "/v1/wallet/totals", "", 200, `{"settled":true,"totals":[{"currency":"USD","balances":2,"sum":"0.00","issued":"2.00","in_flight":"0.00"}]}`},
		} {
			e.run(t, h)
		}
	})
}

// Answers say where all partitions are that took part, so that the payee's side can be read too; those of refusals where
// the command was decided, and while a partition is away what is known.
func TestPositionsOfSeveralPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, away, stop := openDivided(t)
		defer stop()
		capture := holdsPath + "/" + id("9") + "/capture"
		for _, tt := range []struct {
			name, path, body string
			away             bool
			want             []uint16
		}{
			{"transfer", transferPath, transferBody("a", "b", "1", id("1")), false, []uint16{0, 1}},
			{"again", transferPath, transferBody("a", "b", "1", id("1")), false, []uint16{0, 1}},
			{"several", "/v1/wallet/balance_transfers", batch(transferBody("a", "b", "1", id("2")), transferBody("b", "a", "1", id("3"))), false, []uint16{0, 1}},
			{"transaction", transactionsPath, transactionBody("4", posting("a", "-1"), posting("b", "1")), false, []uint16{0, 1}},
			{"hold", holdsPath, holdBody("9", "a", "5", inAnHour()), false, []uint16{0}},
			{"capture", capture, transferBody("a", "b", "1", id("5")), false, []uint16{0, 1}},
			{"refused", transferPath, transferBody("b", "a", "9", id("6")), false, []uint16{1}},
			{"pending", transferPath, transferBody("a", "b", "1", id("7")), true, []uint16{0}},
		} {
			away.Store(tt.away)
			got := ask(t, h, "POST", tt.path, tt.body)
			ps, err := wallet.ParseHistoryPositions(got.header.Get(wallethttp.PositionHeader))
			var of []uint16
			for _, p := range ps {
				of = append(of, p.Partition)
			}
			if diff := cmp.Diff(tt.want, of); diff != "" || err != nil {
				t.Errorf("%s: %d %s: positions of partitions (-want +got), %v:\n%s", tt.name, got.status, got.body, err, diff)
			}
		}
	})
}

// TestProtocolOfARequest checks that a transfer is made by the protocol that was
// asked for first, and by the wallet's if none was.
func TestProtocolOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, away, stop := openDivided(t)
		defer stop()
		by := func(protocol, body string) string {
			return strings.Replace(body, "{", `{"protocol":"`+protocol+`",`, 1)
		}
		transfer := func(n string) string { return transferBody("a", "b", "1", id(n)) }
		pending := func(n string) string { return `{"status":"pending","transaction_id":"` + id(n) + `"}` }
		away.Store(true)
		for _, e := range []exchange{
			{"the wallet's", "", transferPath, transfer("1"), 202, pending("1")},
			{"tcc", "", transferPath, by("tcc", transfer("2")), 202, pending("2")},
			{"saga", "", transferPath, by("saga", transfer("3")), 202, pending("3")},
			{"again, by another", "", transferPath, by("tcc", transfer("3")), 202, pending("3")},
			{
				"batch", "", "/v1/wallet/balance_transfers", by("saga", batch(transfer("4"), transfer("1"))), 200,
				`{"results":[{"transaction_id":"` + id("4") + `","status":"pending"},{"transaction_id":"` + id("1") + `","status":"pending"}]}`,
			},
			{"2pc", "", transferPath, by("2pc", transfer("5")), 202, pending("5")},
		} {
			e.run(t, h)
		}
		var listed struct {
			Transfers []struct {
				ID       string `json:"transaction_id"`
				Protocol string `json:"protocol"`
				Phase    string `json:"phase"`
			} `json:"transfers"`
		}
		if err := json.Unmarshal([]byte(ask(t, h, "GET", "/v1/wallet/in-flight", "").body), &listed); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, f := range listed.Transfers {
			got[f.ID] = f.Protocol + " " + f.Phase
		}
		want := map[string]string{id("1"): "tcc trying", id("2"): "tcc trying", id("3"): "saga crediting", id("4"): "saga crediting", id("5"): "2pc preparing"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in flight (-want +got):\n%s", diff)
		}
	})
}

// What a partition without a leader is paid is given back in the end.
func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, away, stop := openDivided(t)
		defer stop()
		away.Store(true)
		begun := exchange{"begun", "", transferPath, transferBody("a", "b", "1", id("1")), 202, `{"status":"pending","transaction_id":"` + id("1") + `"}`}
		begun.run(t, h)
		time.Sleep(5 * time.Minute) // of the bubble
		for _, e := range []exchange{
			{"canceled", "", transferPath, transferBody("a", "b", "1", id("1")), 409, `{"code":"canceled","transaction_id":"` + id("1") + `"}`},
			{"the money is back", "GET", "/v1/wallet/accounts/a", "", 200, `{"id":"a","handle":"1","status":"open","balances":[{"currency":"USD","balance":"0.00","held":"0.00","available":"0.00","min_balance":"unlimited"}]}`},
		} {
			e.run(t, h)
		}
	})
}

func TestConsistency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, away, stop := openDivided(t)
		defer stop()
		account := func(name, query string, status int, want string) {
			got := ask(t, h, "GET", "/v1/wallet/accounts/"+query, "")
			answer := essence(t, got.body)
			if age, ok := answer["age_ms"].(float64); ok && age < 60_000 {
				answer["age_ms"] = "young"
			}
			if diff := cmp.Diff(essence(t, want), answer); got.status != status || diff != "" {
				t.Errorf("%s: got %d, want %d (-want +got):\n%s", name, got.status, status, diff)
			}
		}
		const b = `{"id":"b","handle":"281474976710657","status":"open","balances":[{"currency":"USD","balance":"0.00","held":"0.00","available":"0.00","min_balance":"0.00"}]`
		account("default", "b", 200, b+"}")
		account("linearizable", "b?consistency=linearizable", 200, b+"}")
		account("stale", "b?consistency=stale", 200, b+`,"age_ms":"young"}`)
		for name, query := range map[string]string{
			"another": "?consistency=eventual", "twice": "?consistency=stale&consistency=stale", "empty": "?consistency=", "malformed": "?consistency=%zz",
		} {
			account(name, "b"+query, 422, `{"title":"","code":"invalid_request"}`)
		}
		away.Store(true)
		account("no leader", "b", 503, `{"title":"","code":"no_leader"}`)
		account("stale without a leader", "b?consistency=stale", 200, b+`,"age_ms":"young"}`)
		account("stale and unknown", "d?consistency=stale", 404, `{"title":"","code":"unknown_account"}`)
	})
}

func TestInFlightLimits(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newWallet(t), nil))
	for query, want := range map[string]int{
		"": 200, "?limit=1": 200, fmt.Sprint("?limit=", wallet.MaxInFlightListed): 200,
		"?limit=0": 422, fmt.Sprint("?limit=", wallet.MaxInFlightListed+1): 422, "?limit=-1": 422, "?limit=all": 422, "?limit=": 422, "?limit=1&limit=2": 422,
	} {
		if got := ask(t, h, "GET", "/v1/wallet/in-flight"+query, ""); got.status != want {
			t.Errorf("%q: got %d %s, want %d", query, got.status, got.body, want)
		}
	}
}

// A client understands what is under way, and a stale answer's age.
func TestClientOfADividedWallet(t *testing.T) {
	c := newClient(t, wallethttp.NewHandler(scripted{code: wallet.Pending}, nil), nil)
	transfer := wallet.Transfer{ID: tid(1), From: "a", To: "b", Amount: 1, Currency: usd}
	if r, err := c.Transfer(t.Context(), transfer); err != nil || r != wallet.Result(wallet.Pending) {
		t.Errorf("transfer: got %v, %v", r.Code(), err)
	}
	if r, err := c.TransferBy(t.Context(), wallet.Saga, transfer); err != nil || r != wallet.Result(wallet.Pending) {
		t.Errorf("transfer by a protocol: got %v, %v", r.Code(), err)
	}
	if r, err := c.TransfersBy(t.Context(), wallet.TwoPhase, []wallet.Transfer{transfer, transfer}); err != nil || r[1] != wallet.Result(wallet.Pending) {
		t.Errorf("transfers by a protocol: got %v, %v", r, err)
	}
	if r, err := c.Transfers(t.Context(), []wallet.Transfer{transfer}); err != nil || r[0] != wallet.Result(wallet.Pending) {
		t.Errorf("transfers: got %v, %v", r, err)
	}
	if code, err := c.Decision(t.Context(), tid(1)); err != nil || code != wallet.Pending {
		t.Errorf("decision: got %v, %v", code, err)
	}
	want, _ := scripted{}.InFlight(t.Context(), "", 0)
	if got, err := c.InFlight(t.Context(), 100); err != nil || !cmp.Equal(want, got) {
		t.Errorf("in flight: got %+v, %v, want %+v", got, err, want)
	}
	c = newClient(t, wallethttp.NewHandler(scripted{code: wallet.Applied}, nil), nil)
	if a, code, age, err := c.AccountStale(t.Context(), "a"); err != nil || code != wallet.Applied || a.ID != "a" || age != 2*time.Millisecond {
		t.Errorf("stale: got %+v, %v, %v, %v", a, code, age, err)
	}
	c = newClient(t, wallethttp.NewHandler(scripted{code: wallet.TooManyInFlight}, nil), nil)
	if r, err := c.Transfer(t.Context(), transfer); err != nil || r.Code() != wallet.TooManyInFlight {
		t.Errorf("too many: got %v, %v", r.Code(), err)
	}
}
