package main

import (
	"bytes"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestBenchFileSystem(t *testing.T) {
	t.Parallel()
	const mounts = `/dev/vda / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/vdb /tmp/disk xfs rw 0 0
/dev/vdc /with\040space btrfs rw 0 0
overlay /over overlay rw 0 0
/dev/vdd /over ext3 rw 0 0
broken
`
	for dir, want := range map[string]string{
		"/var/lib":        "ext4",
		"/":               "ext4",
		"/tmp":            "tmpfs",
		"/tmp/x":          "tmpfs",
		"/tmpx":           "ext4",
		"/tmp/disk/y":     "xfs",
		"/with space/dir": "btrfs",
		"/over/z":         "ext3", // the later mount hides the earlier one
	} {
		if got := fileSystem([]byte(mounts), dir); got != want {
			t.Errorf("fileSystem(%s): got %q, want %q", dir, got, want)
		}
	}
	if got := fileSystem(nil, "/"); got != "" {
		t.Errorf("without mounts: got %q", got)
	}
}

func TestBenchParseStatCPU(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, stat string
		want       time.Duration
		ok         bool
	}{
		{"a process", "42 (maru) S 1 42 42 0 -1 4194560 1 2 3 4 150 25 7 8 20 0 9 0 100 1 1", 1750 * time.Millisecond, true},
		{"a name with blanks and brackets", "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 100 0 7 8", time.Second, true},
		{"cut", "42 (maru) S 1 42 42 0 -1 4194560 1 2 3 4 150", 0, false},
		{"no number", "42 (maru) S 1 42 42 0 -1 4194560 1 2 3 4 x 25 7 8", 250 * time.Millisecond, false},
		{"empty", "", 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got, ok := parseStatCPU([]byte(test.stat)); got != test.want || ok != test.ok {
				t.Errorf("got %v, %v, want %v, %v", got, ok, test.want, test.ok)
			}
		})
	}
}

// TestBenchOwnProcess asks for the figures of the test itself.
func TestBenchOwnProcess(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the figures come from Linux's /proc")
	}
	if peak, ok := processPeakBytes(os.Getpid()); !ok || peak < 1<<20 {
		t.Errorf("peak memory: got %d, %v", peak, ok)
	}
	// What getrusage says lies between two looks at /proc, which counts ticks.
	before, ok1 := processCPU(os.Getpid())
	own := ownCPU()
	after, ok2 := processCPU(os.Getpid())
	if !ok1 || !ok2 || own < before-clockTick || own > after+3*clockTick {
		t.Errorf("processor time: got %v, then %v, then %v", before, own, after)
	}
	if _, ok := processPeakBytes(-1); ok {
		t.Error("peak memory of no process")
	}
	if _, ok := processCPU(-1); ok {
		t.Error("processor time of no process")
	}
	m := describeMachine(t.TempDir())
	if m.Cores < 1 || m.MemoryBytes < 1<<20 || m.FileSystem == "" || !strings.HasPrefix(m.Kernel, "linux ") {
		t.Errorf("machine: got %+v", m)
	}
}

func TestBenchTailBuffer(t *testing.T) {
	t.Parallel()
	var b tailBuffer
	if got := b.quote(); got != "" {
		t.Errorf("nothing: got %q", got)
	}
	var all bytes.Buffer
	for i := range 10_000 {
		line := []byte(strings.Repeat("x", i%50) + "\n")
		all.Write(line)
		if n, err := b.Write(line); n != len(line) || err != nil {
			t.Fatalf("Write: got %d, %v", n, err)
		}
	}
	if b.buf.Len() > 2*tailBytes {
		t.Errorf("%d bytes are kept, want at most %d", b.buf.Len(), 2*tailBytes)
	}
	text := bytes.TrimSpace(all.Bytes())
	if want := string(text[len(text)-tailBytes:]); !strings.HasSuffix(b.quote(), want) {
		t.Errorf("got %q, want the last %d bytes", b.quote(), tailBytes)
	}
}

func TestBenchCommandLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"plain", []string{"/usr/bin/maru", "bench", "wallet"}, "maru bench wallet"},
		{"with a key", []string{"maru", "bench", "--key", "secret", "--json"}, "maru bench --key (key) --json"},
		{"with a key in one word", []string{"maru", "--key=secret", "x"}, "maru (key) x"},
		{"alone", []string{"maru"}, "maru"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := commandLine(test.args); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
