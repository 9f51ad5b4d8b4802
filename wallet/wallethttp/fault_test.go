package wallethttp_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"maru.example/internal/httpd"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// problemOf returns the code of a problem, "" of anything else.
func problemOf(t *testing.T, a answer) string {
	t.Helper()
	var p wallethttp.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatal(err)
	}
	return p.Code
}

// reserve is the least that a node with the default queue takes.
var reserve = rsmraft.MinReserveBytes(64 << 20)

// openFaulty returns the API of a wallet on a disk, with an account a that has
// 1,000.00 USD, and an account b.
func openFaulty(t *testing.T, fs vfs.FS) (h http.Handler, stop func()) {
	t.Helper()
	m := wallet.NewMachine(nil)
	n, err := rsmraft.OpenAlone("wallet", m, &rsmraft.Options{FS: fs, ReserveBytes: reserve, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	h = truthful(t, wallethttp.NewHandler(wallet.NewService(n, m), nil))
	for _, e := range []exchange{
		{"open a", "", "/v1/wallet/accounts", `{"id":"a","currency":"USD","min_balance":"unlimited"}`, 201, `{"id":"a","handle":"1","status":"open","balances":[{"currency":"USD","balance":"0.00","held":"0.00","available":"0.00","min_balance":"unlimited"}]}`},
		{"open b", "", "/v1/wallet/accounts", `{"id":"b","currency":"USD"}`, 201, `{"id":"b","handle":"2","status":"open","balances":[{"currency":"USD","balance":"0.00","held":"0.00","available":"0.00","min_balance":"0.00"}]}`},
	} {
		e.run(t, h)
	}
	return h, func() { _ = n.Close() } // it has failed in some tests
}

func TestDiskNearlyFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		h, stop := openFaulty(t, mem)
		defer stop()
		transfer := func() answer { return ask(t, h, "POST", transferPath, transferBody("a", "b", "1", id("1"))) }

		mem.SetFree(reserve - 1)
		time.Sleep(time.Second) // of the bubble: the next look at the disk
		synctest.Wait()
		if got := transfer(); got.status != http.StatusInsufficientStorage || problemOf(t, got) != "disk_full" {
			t.Errorf("got %d %s", got.status, got.body)
		}
		if got := ask(t, h, "GET", "/v1/wallet/transfers/"+id("1"), ""); problemOf(t, got) != "transaction_not_found" {
			t.Errorf("reads go on: got %d %s", got.status, got.body)
		}
		mem.SetFree(1 << 30)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := transfer(); got.status != http.StatusOK {
			t.Errorf("with room again: got %d %s", got.status, got.body)
		}
	})
}

// What could not be kept is never answered as done.
func TestFailingSync(t *testing.T) {
	fs := vfs.NewFaulty(vfs.NewMem(), nil)
	h, stop := openFaulty(t, fs)
	defer stop()
	fs.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpSync {
			return vfs.Fault{Err: vfs.ErrInjected}
		}
		return vfs.Fault{}
	})
	for range 2 {
		got := ask(t, h, "POST", transferPath, transferBody("a", "b", "1", id("1")))
		if got.status != http.StatusServiceUnavailable || problemOf(t, got) != "log_failed" || !strings.Contains(got.body, "ask GET /v1/wallet/transfers/") {
			t.Errorf("got %d %s", got.status, got.body)
		}
		fs.SetRule(nil) // it stays failed
	}
}

// stuck is a wallet whose transfers never end by themselves.
type stuck struct{ wallethttp.Wallet }

func (stuck) TransferBy(ctx context.Context, _ wallet.Tenant, _ wallet.Protocol, _ wallet.Transfer) (wallet.Result, error) {
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

func TestEveryCallEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := httpd.NewServer(wallethttp.NewHandler(stuck{}, nil), &httpd.Options{RequestTimeout: time.Minute}).Handler()
		start := time.Now()
		r := httptest.NewRequest(http.MethodPost, transferPath, strings.NewReader(transferBody("a", "b", "1", id("1"))))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got := answer{w.Code, w.Header(), w.Body.String()}
		if got.status != http.StatusGatewayTimeout || problemOf(t, got) != "deadline_exceeded" || !strings.Contains(got.body, id("1")) {
			t.Errorf("got %d %s", got.status, got.body)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("took %v", took)
		}
	})
}
