//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mountDisk mounts a small disk of memory, which needs root, and returns a
// directory on it and a function that makes it larger.
func mountDisk(t *testing.T, size string) (dir string, grow func()) {
	t.Helper()
	mount := t.TempDir()
	if err := syscall.Mount("maru-test", mount, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small disk is needed for a disk that is full: mount a tmpfs: %v (it needs root)", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mount, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", mount, err)
		}
	})
	return filepath.Join(mount, "data"), func() {
		if err := syscall.Mount("maru-test", mount, "tmpfs", syscall.MS_REMOUNT, "size=512m"); err != nil {
			t.Fatalf("make the disk larger: %v", err)
		}
	}
}

// maru runs a command against a server and returns its standard output,
// standard error and exit status.
func maru(t *testing.T, p *process, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "maru", args...)
	cmd.Env = append(os.Environ(), "MARU_ADDR=http://"+p.listens.HTTP, "MARU_STREAM="+p.listens.Stream)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// must is maru for a command that has to go well.
func must(t *testing.T, p *process, args ...string) string {
	t.Helper()
	out, errOut, status := maru(t, p, args...)
	if status != 0 {
		t.Fatalf("maru %s: status %d: %s", strings.Join(args, " "), status, errOut)
	}
	return out
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p, err := startServer(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// load loads the file and returns the summary.
func loadFile(t *testing.T, p *process, file string) (counts loadCounts, stderr string, status int) {
	t.Helper()
	out, stderr, status := maru(t, p, "wallet", "load", file, "--json")
	if err := json.Unmarshal([]byte(out), &counts); err != nil {
		t.Fatalf("summary %q: %v; %s", out, err, stderr)
	}
	return counts, stderr, status
}

const manyTransfers = 600_000 // 38 MB of log: more than the disk has

func openMintAndAlice(t *testing.T, p *process) string {
	t.Helper()
	must(t, p, "wallet", "open", "mint", "--currency", "USD", "--min-balance", "unlimited")
	must(t, p, "wallet", "open", "alice", "--currency", "USD")
	file := filepath.Join(t.TempDir(), "many.csv")
	if err := os.WriteFile(file, transfersFile(manyTransfers), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestDiskFull fills the disk under the log: the server says why, ends, and has
// kept every transfer that it answered.
func TestDiskFull(t *testing.T) {
	dir, grow := mountDisk(t, "24m")
	p := start(t, "--data", dir, "--reserve-bytes", "none")
	file := openMintAndAlice(t, p)
	answered, _, status := loadFile(t, p, file)
	if status != exitFailed || answered.Complete || answered.Applied == 0 {
		t.Fatalf("status %d and %+v: want a load that fails on the way", status, answered)
	}
	told := time.Now()
	err := p.wait()
	if took := time.Since(told); took > 10*time.Second { // one or two, on a machine with nothing else to do
		t.Errorf("the server ended %v after it told its clients", took)
	}
	if err == nil || p.cmd.ProcessState.ExitCode() != exitFailed {
		t.Fatalf("the server ended with %v, want status %d", p.cmd.ProcessState, exitFailed)
	}
	if log := p.log(); !strings.Contains(log, "maru: the log failed: ") || !strings.Contains(log, "no space left on device") ||
		!strings.Contains(log, "hint: everything that was answered is kept") {
		t.Errorf("the server does not say why it ended:\n%s", log)
	}

	grow()
	p = start(t, "--data", dir, "--reserve-bytes", "none")
	again, stderr, status := loadFile(t, p, file)
	if status != exitOK {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if again.AlreadyApplied < answered.Applied || again.AlreadyApplied+again.Applied != manyTransfers {
		t.Errorf("%d transfers were answered; after the restart %d were there and %d are new, want %d together",
			answered.Applied, again.AlreadyApplied, again.Applied, manyTransfers)
	}
	if out := must(t, p, "wallet", "balance", "alice", "--json"); !strings.Contains(out, `"balance":"600000.00"`) {
		t.Errorf("each transfer once makes 600000.00: %s", out)
	}
}

// TestDiskNearlyFull reaches the reserve: writes are refused with the reason,
// reads go on, and with more room so do the writes.
func TestDiskNearlyFull(t *testing.T) {
	dir, _ := mountDisk(t, "64m")
	reserve := []string{"--data", dir, "--max-queue-bytes", "1MiB", "--reserve-bytes", "34MiB"}
	p := start(t, reserve...)
	file := openMintAndAlice(t, p)
	filler := filepath.Join(filepath.Dir(dir), "filler")
	if err := os.WriteFile(filler, make([]byte, 40<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	awaitReadyz(t, p, http.StatusServiceUnavailable, "disk nearly full")
	answered, stderr, status := loadFile(t, p, file)
	if status != exitFailed || answered.Applied != 0 || !strings.Contains(stderr, "disk nearly full") {
		t.Errorf("status %d, %+v and %s: want a load that is refused", status, answered, stderr)
	}
	_, stderr, status = maru(t, p, "wallet", "transfer", "mint", "alice", "1.00", "USD")
	if status != exitFailed || !strings.Contains(stderr, "disk_full") || !strings.Contains(stderr, "hint: make room on the server's disk") {
		t.Errorf("a transfer ends with status %d: %s", status, stderr)
	}
	must(t, p, "wallet", "balance", "alice")
	if out := must(t, p, "cluster", "status"); !strings.Contains(out, "alive, disk nearly full") {
		t.Errorf("the status does not say that the disk is nearly full:\n%s", out)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	awaitReadyz(t, p, http.StatusOK, "ok")
	must(t, p, "wallet", "transfer", "mint", "alice", "1.00", "USD")
}

// TestDiskFilledByTheServer has a disk that is larger than the reserve by less
// than the load: it is the load that reaches the reserve, and the log does not fail.
func TestDiskFilledByTheServer(t *testing.T) {
	dir, _ := mountDisk(t, "56m")
	p := start(t, "--data", dir, "--max-queue-bytes", "1MiB", "--reserve-bytes", "34MiB", "--snapshot-bytes", "8MiB")
	file := openMintAndAlice(t, p)
	answered, stderr, status := loadFile(t, p, file)
	if status != exitFailed || answered.Applied == 0 || !strings.Contains(stderr, "disk nearly full") {
		t.Errorf("status %d, %+v and %s: want a load that is refused on the way", status, answered, stderr)
	}
	awaitReadyz(t, p, http.StatusServiceUnavailable, "disk nearly full")
	must(t, p, "wallet", "balance", "alice")
	p.kill()
	if log := p.log(); strings.Contains(log, "log failed") {
		t.Errorf("the log failed:\n%s", log)
	}
}

// awaitReadyz asks until the answer is the given one.
func awaitReadyz(t *testing.T, p *process, want int, text string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		status, body := readyz(t, p)
		if status == want && strings.Contains(body, text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("readyz: %d %s, want %d and %s", status, body, want, text)
		}
	}
}

func readyz(t *testing.T, p *process) (status int, body string) {
	t.Helper()
	status, body, err := askReadyz(p)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

func askReadyz(p *process) (status int, body string, err error) {
	resp, err := http.Get("http://" + p.listens.HTTP + "/readyz")
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}
