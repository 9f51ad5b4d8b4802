package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/wallet"
)

// fakeCaller answers every transfer by answer, after a time.
type fakeCaller struct {
	answer func(n uint64) wallet.Result
	takes  time.Duration
	fail   error
	busy   int // so many calls are told that the server is full
	first  uint64
	n      int

	mu   *sync.Mutex
	seen map[uint64]int
}

func (f *fakeCaller) prepare(first uint64, n int) { f.first, f.n = first, n }

func (f *fakeCaller) call(ctx context.Context) ([]wallet.Result, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(f.takes):
	}
	if f.busy > 0 {
		f.busy--
		return nil, errBenchBusy
	}
	if f.fail != nil {
		return nil, f.fail
	}
	results := make([]wallet.Result, f.n)
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range results {
		f.seen[f.first+uint64(i)]++
		results[i] = f.answer(f.first + uint64(i))
	}
	return results, nil
}

const (
	applied         = wallet.Result(wallet.Applied)
	appliedRepeated = applied | 0x80
)

func TestBenchLoad(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		load       *benchLoad
		busy       int
		answer     func(n uint64) wallet.Result
		want       benchRange
		elapsed    time.Duration
		exceptions map[uint64]wallet.Result
	}{
		{
			name:    "all of a range",
			load:    &benchLoad{numbers: benchRange{5, 1005}, batch: 100},
			want:    benchRange{5, 1005},
			elapsed: 300 * time.Millisecond, // 10 calls by 4 callers
		},
		{
			name:    "a last batch that is smaller",
			load:    &benchLoad{numbers: benchRange{0, 250}, batch: 100},
			want:    benchRange{0, 250},
			elapsed: 100 * time.Millisecond,
		},
		{
			name:    "until the time is over",
			load:    &benchLoad{numbers: benchRange{0, benchFunding}, batch: 10, duration: 1950 * time.Millisecond},
			want:    benchRange{0, 800}, // 20 rounds of 4 calls: the last ends after the time
			elapsed: 2 * time.Second,
		},
		{
			name: "answers that are not expected",
			load: &benchLoad{numbers: benchRange{0, 8}, batch: 1},
			answer: func(n uint64) wallet.Result {
				switch n {
				case 3:
					return wallet.Result(wallet.InsufficientFunds)
				case 5:
					return appliedRepeated
				}
				return applied
			},
			want:       benchRange{0, 8},
			elapsed:    200 * time.Millisecond,
			exceptions: map[uint64]wallet.Result{3: wallet.Result(wallet.InsufficientFunds), 5: appliedRepeated},
		},
		{
			name: "repetitions",
			load: &benchLoad{numbers: benchRange{0, 8}, batch: 8, repeated: true},
			answer: func(n uint64) wallet.Result {
				return map[bool]wallet.Result{true: applied, false: appliedRepeated}[n == 7]
			},
			want:       benchRange{0, 8},
			elapsed:    100 * time.Millisecond,
			exceptions: map[uint64]wallet.Result{7: applied},
		},
		{
			name:    "a server that is full at times",
			load:    &benchLoad{numbers: benchRange{0, 4}, batch: 1},
			busy:    2,
			want:    benchRange{0, 4},
			elapsed: 302 * time.Millisecond,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if test.answer == nil {
					test.answer = func(uint64) wallet.Result { return applied }
				}
				var mu sync.Mutex
				seen := map[uint64]int{}
				var callers []benchCaller
				for range 4 {
					callers = append(callers, &fakeCaller{
						answer: test.answer, takes: 100 * time.Millisecond, busy: test.busy, mu: &mu, seen: seen,
					})
				}
				got, err := test.load.run(t.Context(), callers)
				if err != nil {
					t.Fatal(err)
				}
				if got.numbers != test.want {
					t.Errorf("made %v, want %v", got.numbers, test.want)
				}
				if got.elapsed != test.elapsed {
					t.Errorf("took %v, want %v", got.elapsed, test.elapsed)
				}
				if got.busy != uint64(4*test.busy) {
					t.Errorf("told %d times that the server is full, want %d", got.busy, 4*test.busy)
				}
				for n := test.want.begin; n < test.want.end; n++ {
					if seen[n] != 1 {
						t.Fatalf("transfer %d was made %d times", n, seen[n])
					}
				}
				if len(seen) != int(test.want.count()) {
					t.Errorf("%d transfers were made, want %d", len(seen), test.want.count())
				}
				if test.exceptions == nil {
					test.exceptions = map[uint64]wallet.Result{}
				}
				if diff := cmp.Diff(test.exceptions, got.exceptions); diff != "" {
					t.Errorf("exceptions (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestBenchLoadFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	tests := []struct {
		name   string
		caller fakeCaller
		want   error
	}{
		{"a call fails", fakeCaller{fail: broken}, broken},
		{"everything is refused", fakeCaller{answer: func(uint64) wallet.Result { return wallet.Result(wallet.AccountFrozen) }}, errBenchRefused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bad := test.caller
				bad.mu, bad.seen = &sync.Mutex{}, map[uint64]int{}
				waits := bad // its answer never comes: it must be given up
				waits.takes = 1000 * time.Hour
				l := benchLoad{numbers: benchRange{0, benchFunding}, batch: wallet.MaxBatch}
				if _, err := l.run(t.Context(), []benchCaller{&waits, &bad}); !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
			})
		})
	}
}

func TestBenchLoadProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := benchLoad{
			numbers: benchRange{0, benchFunding}, batch: 1000, duration: 3500 * time.Millisecond,
			name: "stream 1", progress: &out,
		}
		c := &fakeCaller{
			answer: func(uint64) wallet.Result { return applied },
			takes:  200 * time.Millisecond, mu: &sync.Mutex{}, seen: map[uint64]int{},
		}
		got, err := l.run(t.Context(), []benchCaller{c})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.perSecond) != 3 {
			t.Errorf("rates of %d seconds, want 3", len(got.perSecond))
		}
		slowest, median, ok := slowestAndMedian(got.perSecond)
		if !ok || slowest < 4000 || median > 6000 { // 5 calls a second; one may fall on its end
			t.Errorf("slowest %v, median %v, want 4000 to 6000", slowest, median)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[2], "stream 1   3 s") || !strings.Contains(lines[2], "p99   200.") {
			t.Errorf("progress:\n%s", out.String())
		}
	})
	if _, _, ok := slowestAndMedian(nil); ok {
		t.Error("the rate of no second")
	}
}

func TestBenchCompareAnswers(t *testing.T) {
	t.Parallel()
	refused := wallet.Result(wallet.InsufficientFunds)
	const repeated = 0x80
	type answers = map[uint64]wallet.Result
	tests := []struct {
		name               string
		first, second      answers
		missing, different uint64
	}{
		{"all applied and there", answers{}, answers{}, 0, 0},
		{"one missing", answers{}, answers{3: applied}, 1, 0},
		{"one missing and refused now", answers{}, answers{3: refused}, 1, 0},
		{"one refused that had been applied", answers{}, answers{3: refused | repeated}, 0, 1},
		{"one refused both times", answers{3: refused}, answers{3: refused | repeated}, 0, 0},
		{"one applied that had been refused", answers{3: refused}, answers{}, 0, 1},
		{"one refused before, and not known now", answers{3: refused}, answers{3: refused}, 1, 0},
		{"one refused outside of the range", answers{30: refused}, answers{}, 0, 0},
		{"one applied before the run", answers{3: appliedRepeated}, answers{}, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			missing, different := compareAnswers(test.first, test.second, benchRange{0, 10})
			if missing != test.missing || different != test.different {
				t.Errorf("got %d missing and %d different, want %d and %d", missing, different, test.missing, test.different)
			}
		})
	}
}

func TestBenchCheckRanges(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		made  benchRange
		mode  string
		total uint64
		n     int
	}{
		{"full", benchRange{0, 50_000_000}, checkFull, 50_000_000, 1},
		{"a sample", benchRange{0, 50_000_000}, checkSample, 1_000_000, sampleRanges},
		{"a sample larger than all", benchRange{0, 1000}, checkSample, 1000, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := bench{made: test.made}
			ranges := b.checkRanges(test.mode)
			var total, end uint64
			for _, r := range ranges {
				if r.begin < end || r.end < r.begin {
					t.Errorf("range %v overlaps the one before", r)
				}
				total += r.count()
				end = r.end
			}
			if total != test.total || len(ranges) != test.n || ranges[0].begin != test.made.begin || end != test.made.end {
				t.Errorf("got %v: %d in total, want %d", ranges, total, test.total)
			}
		})
	}
}
