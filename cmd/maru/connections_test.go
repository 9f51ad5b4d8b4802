package main

import (
	"net"
	"os/exec"
	"testing"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

// TestIdleConnections opens more connections than the server may open files: it
// refuses those that it has no room for, keeps what it needs for itself, and goes
// on working for the clients that it has.
func TestIdleConnections(t *testing.T) {
	const (
		files = 300
		room  = (files - ownFiles) / 2
		each  = 200 // idle connections to each port
	)
	p, err := startProcess(t.TempDir(), exec.Command("sh", "-c", `ulimit -n 300; exec maru serve --json --http 127.0.0.1:0 --stream 127.0.0.1:0`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	metric := func(name string) float64 {
		t.Helper()
		n, err := readMetric("http://"+p.listens.HTTP, name+" ")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if got := metric("process_max_fds"); got != files {
		t.Fatalf("the server may open %v files, want %d", got, files)
	}
	client, err := walletgrpc.Dial(t.Context(), p.listens.Stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	for range each {
		for _, addr := range []string{p.listens.HTTP, p.listens.Stream} {
			var d net.Dialer
			if c, err := d.DialContext(t.Context(), "tcp", addr); err == nil { // else it was refused already
				t.Cleanup(func() { _ = c.Close() })
			}
		}
	}
	for _, name := range []string{"maru_http_connections_refused_total", "maru_stream_connections_refused_total"} {
		for t.Context().Err() == nil && metric(name) < each-room {
			continue
		}
	}
	if got := metric("process_open_fds"); got > files-ownFiles/2 {
		t.Errorf("the server has %v files open of %d, and wants %d for itself", got, files, ownFiles)
	}
	account := wallet.NewAccount{ID: "alice", Currency: money.MustParseCurrency("USD")}
	if got, err := client.OpenAccounts(t.Context(), []wallet.NewAccount{account}); err != nil || got[0].Code != wallet.Applied {
		t.Errorf("a client that was there before: got %v, %v", got, err)
	}
}
