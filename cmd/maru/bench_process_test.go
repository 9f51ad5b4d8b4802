package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// runMaru runs this program and returns what it printed on standard output.
func runMaru(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "maru", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("maru %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// TestBenchProcess measures a server in another process, in every way.
func TestBenchProcess(t *testing.T) {
	t.Parallel()
	small := []string{"bench", "wallet", "--json", "--accounts", "300", "--seed", "7"}
	tests := []struct {
		name      string
		args      []string
		transfers uint64
		check     benchCheck
		batch     int
	}{
		{"stream", []string{"--transfers", "20001", "--batch", "512"}, 20_001, benchCheck{Mode: checkFull, Transfers: 20_001, Balances: 301}, 512},
		{"stream with two connections, hot", []string{"--transfers", "20000", "--connections", "2", "--hot", "100"}, 20_000, benchCheck{Mode: checkFull, Transfers: 20_000, Balances: 301}, 8192},
		{"client", []string{"--transfers", "3000", "--api", "client", "--clients", "50"}, 3000, benchCheck{Mode: checkFull, Transfers: 3000, Balances: 301}, 1},
		{"http", []string{"--transfers", "1000", "--api", "http", "--clients", "7"}, 1000, benchCheck{Mode: checkFull, Transfers: 1000, Balances: 301}, 1},
		{"no check", []string{"--transfers", "1000", "--check", "none"}, 1000, benchCheck{Mode: checkNone}, 8192},
		{"recovery", []string{"--transfers", "20000", "--recovery", "--check", "sample", "--", "--snapshot-bytes", "64KiB"}, 20_000, benchCheck{Mode: checkSample, Transfers: 20_000, Balances: 301}, 8192},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			out := runMaru(t, slices.Concat(small, []string{"--data", dir}, test.args)...)
			var r benchReport
			if err := json.Unmarshal(out, &r); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if test.check.Mode != checkNone {
				yes := true
				test.check.SumZero = &yes
			}
			if diff := cmp.Diff(test.check, r.Check); diff != "" {
				t.Errorf("check (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]uint64{"applied": test.transfers}, r.Results); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			if r.Transfers != test.transfers || r.Batch != test.batch || r.Accounts != 300 || r.Seed != 7 || r.PerSecond <= 0 ||
				r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P999 || r.Fsyncs == 0 || r.LogBytesPerTransfer < 64 || r.ServerPeakBytes == nil {
				t.Errorf("got %s", out)
			}
			if recovered := r.RecoverySeconds != nil; recovered != strings.Contains(test.name, "recovery") {
				t.Errorf("recovery: got %v", r.RecoverySeconds)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("the directory still holds %v, %v", left, err)
			}
		})
	}
}

// TestBenchCluster measures clusters of real servers.
func TestBenchCluster(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, args string
		nodes      int
		transfers  uint64
	}{
		{"one node, divided", "--partitions 4 --cross 50 --transfers 5000 --batch 512", 1, 5000},
		{"three nodes", "--nodes 3 --transfers 10000 --batch 1024", 3, 10_000},
		{"three nodes, any", "--nodes 3 --cross 20 --protocol saga --route any --transfers 3000 --batch 128", 3, 3000},
		{"three nodes over http", "--nodes 3 --cross 30 --protocol 2pc --api http --clients 8 --transfers 300", 3, 300},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			out := runMaru(t, slices.Concat([]string{"bench", "wallet", "--json", "--accounts", "300", "--data", dir}, strings.Fields(test.args))...)
			var r benchReport
			if err := json.Unmarshal(out, &r); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			yes := true
			want := benchCheck{Mode: checkFull, Transfers: test.transfers, Balances: 304, SumZero: &yes, InFlightZero: &yes}
			if diff := cmp.Diff(want, r.Check); diff != "" {
				t.Errorf("check (-want +got):\n%s", diff)
			}
			r.Results["applied"] += r.locked() // which of them meet is a question of time
			delete(r.Results, "account_locked")
			if diff := cmp.Diff(map[string]uint64{"applied": test.transfers}, r.Results); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			// An answered transfer is in the logs of a majority: the last ones may not be in the others yet.
			majority := test.nodes/2 + 1
			if r.Nodes != test.nodes || r.Partitions != 4 || r.LogBytesPerTransfer < float64(64*majority) || r.ServerPeakBytes == nil {
				t.Errorf("got %s", out)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("the directory still holds %v, %v", left, err)
			}
		})
	}
}

// TestBenchRunningServer measures a server that somebody else started, twice.
func TestBenchRunningServer(t *testing.T) {
	t.Parallel()
	s := &benchServer{program: "maru", args: serveArgs(t.TempDir(), nil)}
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.kill()
	for range 2 {
		out := runMaru(t, "bench", "wallet", "--json", "--addr", s.url, "--stream", s.streamAddr, "--accounts", "10", "--transfers", "5000")
		var r benchReport
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if r.Results["applied"] != 5000 || r.Check.Transfers != 5000 || r.Check.Balances != 11 || r.ServerPeakBytes != nil || r.ServerCPU != nil {
			t.Errorf("got %s", out)
		}
	}
	again := []string{"bench", "wallet", "--addr", s.url, "--stream", s.streamAddr, "--accounts", "10", "--transfers", "50", "--seed", "9007199254740992"}
	runMaru(t, again...)
	out, err := exec.CommandContext(t.Context(), "maru", again...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "has been measured with the seed 9007199254740992 before\nhint: leave out --seed") {
		t.Errorf("the same seed again: got %v, %s", err, out)
	}
	select {
	case <-s.exited:
		t.Error("the server has ended")
	default:
	}
}

func TestBenchTableProcess(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	out := string(runMaru(t, "bench", "wallet", "--table", "--accounts", "100", "--transfers", "2000", "--data", t.TempDir()))
	// How many transfers there are is a question of time: each row has so much of it.
	checked := regexp.MustCompile(`check: passed: [1-9][0-9,]* transfers made again, 101 balances, sum zero`)
	if rows := strings.Count(out, "\n| 1"); rows != 3 || !checked.MatchString(out) {
		t.Errorf("got:\n%s", out)
	}
}

// TestBenchProfile checks that the profiles of both processes are there and can
// be read.
func TestBenchProfile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runMaru(t, "bench", "wallet", "--accounts", "100", "--transfers", "50000", "--profile", dir, "--data", t.TempDir())
	for _, name := range []string{"load.cpu.pprof", "load.heap.pprof", "server.cpu.pprof", "server.heap.pprof"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
			t.Errorf("%s: %d bytes that are no profile, %v", name, len(content), err)
		}
	}
}

// TestBenchServerEnds checks that an error says so if the server has ended.
func TestBenchServerEnds(t *testing.T) {
	t.Parallel()
	b := bench{server: &benchServer{program: "maru", args: serveArgs(t.TempDir(), nil)}}
	b.servers = []*benchServer{b.server}
	if err := b.server.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.explain(t.Context(), errBroken); err != errBroken { //nolint:errorlint // nothing may be added
		t.Errorf("while it runs: got %v, want %v", err, errBroken)
	}
	b.server.kill()
	err := b.explain(t.Context(), errBroken)
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "the server has ended; its log ends with") {
		t.Errorf("got %v", err)
	}
}

// TestBenchServerFails starts servers that do not come up.
func TestBenchServerFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, program string
		args          []string
		want          string
	}{
		{"no program", filepath.Join(t.TempDir(), "none"), nil, "start server"},
		{"a bad flag", "maru", serveArgs(t.TempDir(), []string{"--wings"}), "unknown flag: --wings"},
		{"another output", "maru", []string{"version"}, `parse "maru `},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &benchServer{program: test.program, args: test.args}
			if err := s.start(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			s.kill() // does nothing
			s.stop()
		})
	}
}

// TestBenchTimeout checks that a phase ends at its deadline, and says so.
func TestBenchTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := bench{config: benchConfig{credentials: credentials{timeout: time.Hour}}}
		start := time.Now()
		err := b.phase(t.Context(), "run", func(ctx context.Context) error {
			<-ctx.Done()
			return errBroken
		})
		if err == nil || err.Error() != "run: it took longer than --timeout 1h0m0s" || time.Since(start) != time.Hour {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if err := b.phase(t.Context(), "run", func(context.Context) error { return errBroken }); !errors.Is(err, errBroken) {
			t.Errorf("got %v, want %v", err, errBroken)
		}
	})
}

// TestBenchInterrupt interrupts a run: the server ends and its directory goes.
func TestBenchInterrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "maru", "bench", "wallet", "--accounts", "100", "--duration", "10m", "--data", dir)
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := progress.Read(make([]byte, 1)); err != nil { // the run has begun
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("while it runs the directory holds %v, %v, want the server's", left, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	rest := new(bytes.Buffer)
	_, _ = rest.ReadFrom(progress)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("got %v, want exit status %d\n%s", err, exitFailed, rest)
	}
	if !strings.Contains(rest.String(), "interrupt") {
		t.Errorf("got %q, want what happened", rest)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the directory still holds %v, %v", left, err)
	}
}
