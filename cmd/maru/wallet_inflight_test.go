package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/wallet"
)

// runAgainst runs a command against a server that has one answer.
func runAgainst(t *testing.T, status int, answer string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	return runHere(t, append(args, "--addr", server.URL)...)
}

// runHere runs a command in this process.
func runHere(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	root := newRootCommand()
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return out.String(), errOut.String(), err
}

func TestInFlightTable(t *testing.T) {
	transfer := func(to string) string {
		return `{"transaction_id":"` + uuid(1) + `","from_account":"a",` + to + `"to_handle":"281474976710657","amount":"1.50","currency":"USD","protocol":"tcc","phase":"trying","began_at":"2026-01-02T03:04:05.5Z"}`
	}
	answer := `{"transfers":[` + transfer(`"to_account":"b",`) + "," + transfer("") + `],"more":true,"stale":true}`
	stdout, stderr, err := runAgainst(t, 200, answer, "wallet", "in-flight")
	want := `TRANSACTION                           FROM  TO                AMOUNT  CURRENCY  PROTOCOL  PHASE   BEGAN
` + uuid(1) + `  a     b                   1.50  USD       tcc       trying  2026-01-02T03:04:05Z
` + uuid(1) + `  a     #281474976710657    1.50  USD       tcc       trying  2026-01-02T03:04:05Z
`
	if diff := cmp.Diff(want, stdout); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if want := "there are more: see --limit\na partition has no leader: what is listed of it may be old\n"; stderr != want {
		t.Errorf("standard error: got %q, want %q", stderr, want)
	}
	if stdout, _, err = runAgainst(t, 200, answer, "wallet", "in-flight", "--json"); err != nil || stdout != answer+"\n" {
		t.Errorf("JSON: %v, got\n%swant\n%s", err, stdout, answer)
	}
}

func TestPendingTransfer(t *testing.T) {
	stdout, _, err := runAgainst(t, 202, `{"status":"pending","transaction_id":"`+uuid(1)+`"}`, "wallet", "transfer", "a", "b", "1.00", "USD", "--id", uuid(1))
	if f := failureOf(err); stdout != "" || f.status != exitPending || !strings.Contains(f.hint, "transfer-status") {
		t.Errorf("transfer: got %q, %+v", stdout, f)
	}
	stdout, _, err = runAgainst(t, 200, `{"status":"pending","transaction_id":"`+uuid(1)+`"}`, "wallet", "transfer-status", uuid(1), "--json")
	if want := `{"transaction_id":"` + uuid(1) + `","status":"pending","content":"unavailable"}` + "\n"; err != nil || stdout != want {
		t.Errorf("transfer-status: got %q, %v, want %q", stdout, err, want)
	}
}

func TestLoadOfPending(t *testing.T) {
	list, err := newProblemList(io.Discard, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		codes  []wallet.Code
		status int
	}{
		"pending only": {[]wallet.Code{wallet.Pending}, exitPending},
		"refused too":  {[]wallet.Code{wallet.Pending, wallet.Canceled}, exitRefused},
	} {
		sum := &loadSummary{problems: list, started: time.Now()}
		w := &window{}
		for i, code := range tt.codes {
			w.transfers, w.transferLines = append(w.transfers, wallet.Transfer{}), append(w.transferLines, int64(i))
			w.results = append(w.results, wallet.Result(code))
			w.refuseTransfer(i, code, "")
		}
		if err := sum.add(w); err != nil {
			t.Fatal(err)
		}
		cmd := newLoadCommand()
		cmd.SetOut(io.Discard)
		err := sum.finish(cmd, false, nil)
		if f := failureOf(err); f.status != tt.status || !strings.Contains(f.hint, "load the same file again") || sum.counts.Pending != 1 {
			t.Errorf("%s: got %+v, %+v", name, f, sum.counts)
		}
	}
}
