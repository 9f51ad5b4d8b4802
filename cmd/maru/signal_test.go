package main

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSecondSignal holds up a graceful stop with a request whose body does not
// come: a second signal does not wait for it.
func TestSecondSignal(t *testing.T) {
	p := start(t, "--data", t.TempDir())
	conn, err := net.Dial("tcp", p.listens.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "POST /v1/wallet/accounts HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
		"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", p.listens.HTTP); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("HTTP/1.1 100"))
	if _, err := conn.Read(line); err != nil || string(line) != "HTTP/1.1 100" {
		t.Fatalf("%q and error %v: want to be told to continue, so that the request is under way", line, err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitRefused(t, p.listens.HTTP)
	select {
	case <-p.ended:
		t.Fatalf("it ended without an answer to the request: %s", p.log())
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = p.wait() // the status is an error
	if p.cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(p.log(), "maru: ended by a second signal") {
		t.Errorf("it ended with %v: %s", p.cmd.ProcessState, p.log())
	}
}

// awaitRefused waits until nobody listens at addr.
func awaitRefused(t *testing.T, addr string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		_ = conn.Close() // only looked whether it opens
		if time.Now().After(deadline) {
			t.Fatal("it still listens")
		}
	}
}
