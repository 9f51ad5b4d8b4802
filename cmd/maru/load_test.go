package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"maru.example/money"
	"maru.example/wallet"
)

// fakeStream is a server with the rules that a load depends on: accounts exist
// or not, nobody but the mint goes below zero, an id moves money once.
type fakeStream struct {
	mu       sync.Mutex
	names    map[wallet.AccountID]wallet.Handle
	balances map[wallet.Handle]money.Amount
	ids      map[wallet.TransactionID]wallet.Code
	order    []wallet.TransactionID

	transfers func(batch int) error // called when a batch is sent; nil: none
	wait      func(batch int)       // called before each answer; nil: none
	silent    int                   // the first batch without an answer; 0: none
	batches   int
	broken    error // of all later batches
}

// fakeBatch is a batch that was decided when it was sent.
type fakeBatch struct {
	stream  *fakeStream
	number  int
	results []wallet.Result
	err     error
}

func (b *fakeBatch) Wait(ctx context.Context, dst []wallet.Result) ([]wallet.Result, error) {
	if n := b.stream.silent; n > 0 && b.number >= n {
		<-ctx.Done()
		return dst, fmt.Errorf("outcome unknown: %w", ctx.Err())
	}
	if b.stream.wait != nil {
		b.stream.wait(b.number)
	}
	return append(dst, b.results...), b.err
}

func newFakeStream() *fakeStream {
	return &fakeStream{
		names:    map[wallet.AccountID]wallet.Handle{"mint": 1},
		balances: map[wallet.Handle]money.Amount{},
		ids:      map[wallet.TransactionID]wallet.Code{},
	}
}

func (f *fakeStream) Lookup(_ context.Context, ids []wallet.AccountID) ([]wallet.Handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(ids) > wallet.MaxBatch {
		return nil, wallet.ErrBatchSize
	}
	var handles []wallet.Handle
	for _, id := range ids {
		handles = append(handles, f.names[id])
	}
	return handles, nil
}

func (f *fakeStream) OpenAccounts(_ context.Context, as []wallet.NewAccount) ([]wallet.Opened, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(as) > wallet.MaxBatch {
		return nil, wallet.ErrBatchSize
	}
	var opened []wallet.Opened
	for _, a := range as {
		if a.ID == "taken" {
			opened = append(opened, wallet.Opened{Code: wallet.AccountExists})
			continue
		}
		before := f.names[a.ID] != 0
		if !before {
			f.names[a.ID] = wallet.Handle(len(f.names) + 1)
		}
		opened = append(opened, wallet.Opened{Handle: f.names[a.ID], Code: wallet.Applied, Before: before})
	}
	return opened, nil
}

func (f *fakeStream) Start(_ context.Context, ts []wallet.HandleTransfer) (pendingBatch, error) {
	if len(ts) > wallet.MaxBatch {
		return nil, wallet.ErrBatchSize
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches++
	if f.transfers != nil && f.broken == nil {
		f.broken = f.transfers(f.batches)
	}
	b := &fakeBatch{stream: f, number: f.batches, err: f.broken}
	if b.err != nil {
		return b, nil
	}
	for _, t := range ts {
		b.results = append(b.results, f.decide(t))
	}
	return b, nil
}

func (f *fakeStream) StartTransactions(ctx context.Context, ts []*wallet.Transaction, payers []wallet.Handle) (pendingBatch, error) {
	var all []wallet.HandleTransfer
	for i, t := range ts {
		if t.Reference == "" && len(t.Metadata) == 0 {
			return nil, errors.New("a plain transfer came as a transaction")
		}
		f.mu.Lock()
		to := f.names[t.Postings[1].Account]
		f.mu.Unlock()
		all = append(all, wallet.HandleTransfer{ID: t.ID, From: payers[i], To: to, Amount: t.Postings[1].Amount, Currency: t.Postings[1].Currency})
	}
	return f.Start(ctx, all)
}

func (f *fakeStream) decide(t wallet.HandleTransfer) wallet.Result {
	if code, ok := f.ids[t.ID]; ok {
		return wallet.Result(code) | 0x80
	}
	code := wallet.Applied
	if t.From != f.names["mint"] && f.balances[t.From] < t.Amount {
		code = wallet.InsufficientFunds
	} else {
		f.balances[t.From] -= t.Amount
		f.balances[t.To] += t.Amount
	}
	f.ids[t.ID] = code
	f.order = append(f.order, t.ID)
	return wallet.Result(code)
}

// runLoad loads content and returns the counts, the listed problems and the error.
func runLoad(ctx context.Context, t *testing.T, s batchStream, content io.Reader) (loadCounts, string, error) {
	t.Helper()
	in, err := newRecordReader(content, formatAuto)
	if err != nil {
		t.Fatal(err)
	}
	var listed strings.Builder
	list, err := newProblemList(&listed, "")
	if err != nil {
		t.Fatal(err)
	}
	sum := &loadSummary{problems: list, started: time.Now()}
	l := &loader{stream: s, timeout: time.Minute, read: func() int64 { return 0 }, counted: sum.add}
	err = l.run(ctx, in)
	return sum.counts, listed.String(), err
}

func uuid(n int) string { return fmt.Sprintf("01900000-0000-7000-8000-%012x", n) }

func objectTransfer(n int, from, to, amount string) string {
	return fmt.Sprintf(`{"transaction_id":"%s","from_account":"%s","to_account":"%s","amount":"%s","currency":"USD"}`+"\n",
		uuid(n), from, to, amount)
}

func objectAccount(id string) string { return fmt.Sprintf(`{"id":"%s","currency":"USD"}`+"\n", id) }

func TestLoadKeepsTheOrderOfTheFile(t *testing.T) {
	s := newFakeStream()
	content := objectTransfer(1, "mint", "a", "1.00") + // before the line that opens a
		objectAccount("a") + objectAccount("taken") + objectTransfer(2, "a", "mint", "1.00") +
		objectTransfer(3, "mint", "a", "1.00") + objectTransfer(4, "a", "taken", "1.00") + objectTransfer(5, "a", "mint", "1.00")
	counts, listed, err := runLoad(t.Context(), t, s, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	want := loadCounts{LastLine: 7, Opened: 1, Applied: 2, Refused: 4}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	wantListed := "line 1: transfer " + uuid(1) + ": unknown_account: no account a\n" +
		"line 3: account taken: account_exists: the account exists, opened with another currency or smallest balance\n" +
		"line 4: transfer " + uuid(2) + ": insufficient_funds: the paying account would go below its smallest balance\n" +
		"line 6: transfer " + uuid(4) + ": unknown_account: no account taken\n"
	if diff := cmp.Diff(wantListed, listed); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
}

// Transfers with and without notes take turns, and each spends what the one before brought.
func TestLoadNoted(t *testing.T) {
	const n = 2*maxNoted + 17
	s := newFakeStream()
	lines := strings.SplitAfter(chain(n), "\n")
	for i := 1; i < len(lines); i += 2 {
		if i%6 == 1 || i > 200 { // in the end, more than fit a batch
			lines[i] = strings.Replace(lines[i], "}", `,"reference":"order","metadata":{"k":"{\"}"}}`, 1)
		}
	}
	counts, listed, err := runLoad(t.Context(), t, s, strings.NewReader(strings.Join(lines, "")))
	if err != nil || listed != "" {
		t.Fatalf("error %v, listed %s", err, listed)
	}
	if diff := cmp.Diff(loadCounts{LastLine: 2 * n, Opened: n, Applied: n}, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	for i, id := range s.order {
		if id != mustID(uuid(i)) {
			t.Fatalf("transfer %d is %s: out of order", i, id)
		}
	}
	again := strings.NewReader(strings.Replace(objectTransfer(1, "mint", "mint", "1.00"), "}", `,"reference":"x"}`, 1))
	if counts, listed, err := runLoad(t.Context(), t, s, again); err != nil || counts.Refused != 1 || !strings.Contains(listed, "same_account") {
		t.Errorf("to itself: %+v, %s, %v", counts, listed, err)
	}
}

// chain is a file in which every transfer spends what the one before brought.
func chain(transfers int) string {
	var b strings.Builder
	b.WriteString(objectAccount("a0"))
	b.WriteString(objectTransfer(0, "mint", "a0", "5.00"))
	for i := 1; i < transfers; i++ {
		b.WriteString(objectAccount(fmt.Sprintf("a%d", i)))
		b.WriteString(objectTransfer(i, fmt.Sprintf("a%d", i-1), fmt.Sprintf("a%d", i), "5.00"))
	}
	return b.String()
}

func TestLoadTwice(t *testing.T) {
	const n = 3*wallet.MaxBatch + 17
	s := newFakeStream()
	first, listed, err := runLoad(t.Context(), t, s, strings.NewReader(chain(n)))
	if err != nil || listed != "" {
		t.Fatalf("error %v, listed %s", err, listed)
	}
	if diff := cmp.Diff(loadCounts{LastLine: 2 * n, Opened: n, Applied: n}, first); diff != "" {
		t.Errorf("first time (-want +got):\n%s", diff)
	}
	for i, id := range s.order {
		if id != mustID(uuid(i)) {
			t.Fatalf("transfer %d is %s: out of order", i, id)
		}
	}
	second, listed, err := runLoad(t.Context(), t, s, strings.NewReader(chain(n)))
	if err != nil || listed != "" {
		t.Fatalf("error %v, listed %s", err, listed)
	}
	if diff := cmp.Diff(loadCounts{LastLine: 2 * n, AlreadyOpened: n, AlreadyApplied: n}, second); diff != "" {
		t.Errorf("second time (-want +got):\n%s", diff)
	}
}

func TestLoadStopsAtAFailure(t *testing.T) {
	lost := errors.New("connection lost")
	s := newFakeStream()
	s.transfers = func(batch int) error {
		if batch == 3 {
			return lost
		}
		return nil
	}
	counts, _, err := runLoad(t.Context(), t, s, strings.NewReader(chain(10*wallet.MaxBatch)))
	if !errors.Is(err, lost) {
		t.Fatalf("error %v, want %v", err, lost)
	}
	// The first window has one account more than transfers, the second one less.
	const each = 2*wallet.MaxBatch - 1
	want := loadCounts{LastLine: 2 * each, Opened: each, Applied: each}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// TestLoadWithoutAnAnswer has a server that is silent for longer than --timeout: what
// helps depends on the protocol.
func TestLoadWithoutAnAnswer(t *testing.T) {
	const less = "--protocol tcc or saga"
	for _, tt := range []struct {
		protocol wallet.Protocol
		less     bool
	}{
		{wallet.NoProtocol, true},
		{wallet.TwoPhase, true},
		{wallet.TCC, false},
		{wallet.Saga, false},
	} {
		t.Run(tt.protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeStream()
				s.silent = 2
				counts, _, err := runLoad(t.Context(), t, s, strings.NewReader(chain(3*wallet.MaxBatch)))
				var cmd cobra.Command
				cmd.SetOut(io.Discard)
				sum := &loadSummary{started: time.Now(), protocol: tt.protocol, counts: counts}
				got := viewFailure(sum.finish(&cmd, false, err))
				want := failureView{
					Status: "failed", Hint: got.Hint,
					Error: fmt.Sprintf("stopped behind line %s: no answer within 1m0s: make transfers: outcome unknown: context deadline exceeded", count(counts.LastLine)),
				}
				if diff := cmp.Diff(want, got); diff != "" || counts.LastLine == 0 {
					t.Errorf("behind line %d (-want +got):\n%s", counts.LastLine, diff)
				}
				if !strings.HasPrefix(got.Hint, loadAgain) || !strings.Contains(got.Hint, "--timeout") || strings.Contains(got.Hint, less) != tt.less {
					t.Errorf("hint %q", got.Hint)
				}
			})
		})
	}
}

// TestLoadLocked loads transfers that 2PC refused for locks: most can be made by
// another protocol, and some were decided.
func TestLoadLocked(t *testing.T) {
	for _, r := range []wallet.Result{wallet.Result(wallet.AccountLocked), wallet.Repeat(wallet.AccountLocked)} {
		list, err := newProblemList(io.Discard, "")
		if err != nil {
			t.Fatal(err)
		}
		sum := &loadSummary{problems: list, started: time.Now()}
		w := &window{results: []wallet.Result{r}, problems: []problem{{line: 2, kind: "transfer", id: uuid(1), code: r.Code()}}}
		if err := sum.add(w); err != nil {
			t.Fatal(err)
		}
		var cmd cobra.Command
		cmd.SetOut(io.Discard)
		got := viewFailure(sum.finish(&cmd, false, nil))
		if got.Status != "refused" || !strings.Contains(got.Hint, "--protocol tcc or saga") || !strings.Contains(got.Hint, "new transaction_id") {
			t.Errorf("%v: got %+v", r.Repeated(), got)
		}
	}
}

func TestLoadInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		s := newFakeStream()
		s.transfers = func(batch int) error {
			if batch == 2 {
				interrupt()
			}
			return nil
		}
		// Of the bubble's clock: both are under way when the load is told to end.
		s.wait = func(int) { time.Sleep(time.Second) }
		counts, _, err := runLoad(ctx, t, s, strings.NewReader(chain(10*wallet.MaxBatch)))
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v, want %v", err, context.Canceled)
		}
		if counts.Applied != int64(len(s.order)) || s.batches != 2 {
			t.Errorf("%d transfers are counted and %d were made, in %d batches, want 2: what was under way must be waited for",
				counts.Applied, len(s.order), s.batches)
		}
	})
}

// TestLoadSendsAhead has a server that answers a batch when it has the third
// behind it: a load that waits for each batch would wait for ever.
func TestLoadSendsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const batches, ahead = 10, 3
		s := newFakeStream()
		sent := make([]chan struct{}, batches+1)
		for i := range sent {
			sent[i] = make(chan struct{})
		}
		s.transfers = func(batch int) error { close(sent[batch]); return nil }
		s.wait = func(batch int) { <-sent[min(batch+ahead, batches)] }
		counts, _, err := runLoad(t.Context(), t, s, strings.NewReader(objectAccount("a")+strings.Repeat(objectTransfer(1, "mint", "a", "1.00"), batches*wallet.MaxBatch)))
		want := loadCounts{LastLine: batches*wallet.MaxBatch + 1, Opened: 1, Applied: 1, AlreadyApplied: batches*wallet.MaxBatch - 1}
		if diff := cmp.Diff(want, counts); err != nil || diff != "" {
			t.Errorf("error %v, counts (-want +got):\n%s", err, diff)
		}
	})
}

func TestLoadInterruptedWhileReading(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	in, out := io.Pipe() // a standard input that says nothing and does not end
	defer out.Close()
	go func() {
		_, _ = io.WriteString(out, objectAccount("a")) // the pipe ends with the test
		interrupt()
	}()
	_, _, err := runLoad(ctx, t, newFakeStream(), in)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
}

func TestLoadListsNotAllProblems(t *testing.T) {
	const n = 2*wallet.MaxBatch + 5
	counts, listed, err := runLoad(t.Context(), t, newFakeStream(), strings.NewReader("id,currency\n"+strings.Repeat("a\n", n)))
	if err != nil {
		t.Fatal(err)
	}
	if counts.Malformed != n || counts.LastLine != n+1 {
		t.Errorf("%d malformed up to line %d, want %d up to %d", counts.Malformed, counts.LastLine, n, n+1)
	}
	if lines := strings.Count(listed, "\n"); lines != shownProblems+1 || !strings.Contains(listed, "--refusals") {
		t.Errorf("%d lines are listed, want %d and the hint:\n%s", lines, shownProblems, listed)
	}
}

func TestHandleCache(t *testing.T) {
	c := handleCache{size: 2}
	for i, name := range []wallet.AccountID{"a", "b", "c"} {
		c.put(name, wallet.Handle(i+1))
	}
	if got := c.get("a"); got != 1 { // moves to the young half, which is full then
		t.Errorf("a is %d, want 1", got)
	}
	c.put("d", 4)
	if got := c.get("a"); got != 1 {
		t.Errorf("a is %d, want 1: it was used", got)
	}
	if got := c.get("b"); got != 0 {
		t.Errorf("b is %d, want 0: it is the one that was not used for longest", got)
	}
	for i := range 100 {
		c.put(wallet.AccountID(fmt.Sprint(i)), 9)
		if n := len(c.young) + len(c.old); n > 4 {
			t.Fatalf("%d names are in memory, want 4 at the most", n)
		}
	}
}

// A list of refusals is opened in spreadsheets: no id and no reason is a formula there.
func TestRefusalsAreNoFormulas(t *testing.T) {
	name := filepath.Join(t.TempDir(), "refused.csv")
	l, err := newProblemList(io.Discard, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.add(problem{line: 2, kind: "account", id: "-1", code: wallet.AccountExists, reason: "=1+1"}), l.close()); err != nil {
		t.Fatal(err)
	}
	if got := contentOf(t, name); !strings.HasSuffix(got, "\n2,account,'-1,account_exists,'=1+1\n") {
		t.Errorf("got %s", got)
	}
}
