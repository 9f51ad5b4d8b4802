package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// parseBench returns the configuration of a command line.
func parseBench(t *testing.T, args ...string) (benchConfig, error) {
	t.Helper()
	var c benchConfig
	var api string
	cmd := newBenchWalletCommand()
	cmd.ResetFlags()
	c.registerRun(cmd, &api)
	c.registerServer(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	c.api, c.serveFlags = benchAPI(api), cmd.Flags().Args()
	return c, c.complete()
}

func TestBenchDefaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		args      []string
		transfers uint64
		duration  time.Duration
		clients   int
	}{
		{"stream", nil, 10_000_000, 0, 4},
		{"client", []string{"--api", "client"}, 2_000_000, 0, 1024},
		{"http", []string{"--api", "http"}, 300_000, 0, 64},
		{"a time", []string{"--duration", "3s"}, 0, 3 * time.Second, 4},
		{"both", []string{"--duration", "3s", "--transfers", "5"}, 5, 3 * time.Second, 4},
		{"table", []string{"--table"}, 0, 5 * time.Second, 4},
		{"a cluster", []string{"--nodes", "3"}, 10_000_000, 0, 32},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := parseBench(t, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			if c.transfers != test.transfers || c.duration != test.duration || c.clients != test.clients {
				t.Errorf("got %d transfers, %v, %d clients, want %d, %v, %d",
					c.transfers, c.duration, c.clients, test.transfers, test.duration, test.clients)
			}
			if c.accounts != 1_000_000 || c.batch != 8192 || c.check != checkAuto || c.timeout != 30*time.Minute {
				t.Errorf("got %+v", c)
			}
		})
	}
}

func TestBenchRefusesFlags(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"--accounts 1", "--accounts 1000000001", "--transfers 9223372036854775808", "--duration -1s",
		"--clients -1", "--clients 10001", "--connections 0", "--batch 0", "--batch 8193", "--hot -1", "--hot 101",
		"--api carrier-pigeon", "--check often", "--addr http://x:1", "--stream x:1",
		"--transfers 0", "--duration 0s", "--clients 0", "--seed 0", "--seed 9007199254740993",
		"--addr http://x:1 --stream x:2 --recovery", "--addr http://x:1 --stream x:2 --data /tmp",
		"--nodes 0", "--nodes 10", "--partitions 0", "--partitions 1025", "--cross 10", "--cross 101 --nodes 3", "--cross -1 --nodes 3",
		"--nodes 3 --hot 5", "--nodes 3 --protocol paxos", "--nodes 3 --route 66", "--nodes 3 --recovery",
		"--addr http://x:1 --stream x:2 --nodes 3",
		"--addr http://x:1 --stream x:2 --profile /tmp", "--addr http://x:1 --stream x:2 -- --snapshot-bytes 5",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			_, err := parseBench(t, strings.Fields(args)...)
			var f *failure
			if !errors.As(err, &f) || f.status != exitUsage {
				t.Errorf("got %v, want a usage error", err)
			}
		})
	}
}

func TestBenchBadDirectory(t *testing.T) {
	t.Parallel()
	c, err := parseBench(t, "--data", t.TempDir()+"/missing")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = runBench(t.Context(), c, &out, io.Discard)
	var f *failure
	if !errors.As(err, &f) || !strings.Contains(f.hint, "--data") || out.Len() > 0 {
		t.Errorf("got %v and %q, want an error with a hint", err, out.String())
	}
}
