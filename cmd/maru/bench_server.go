package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Deadlines of the benchmark's server.
const (
	benchStartTimeout = 5 * time.Minute  // recovery of a large directory included
	benchStopTimeout  = 30 * time.Second // after it, the process is killed
)

// benchServer is the server under load: a process of the benchmark's own, or
// one that runs already, of which only the addresses are known.
type benchServer struct {
	url        string      // of the HTTP API, without a slash at the end
	httpTLS    *tls.Config // nil: plain text
	streamAddr string      // host:port
	streamTLS  *tls.Config // nil: plain text

	// Of a process of our own; nil and empty otherwise.
	program string   // file of the program
	args    []string // its command line, to start it again
	process *exec.Cmd
	exited  chan struct{} // closed when the process has ended
	log     *tailBuffer
}

// benchProgram returns the file of this program.
func benchProgram() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return program, nil
}

// startBenchServer starts this program's server on loopback, on the directory
// data, and returns when it listens, which is after recovery. Its profiles, if there
// is a directory for them, begin with a name.
func startBenchServer(ctx context.Context, data, profile, name string, flags []string) (*benchServer, error) {
	program, err := benchProgram()
	if err != nil {
		return nil, err
	}
	s := &benchServer{program: program, args: serveArgs(data, flags)}
	if profile != "" {
		s.args = append([]string{"bench", "profiled", filepath.Join(profile, name), "--"}, s.args...)
	}
	return s, s.start(ctx)
}

// serveArgs returns the command line of a server on loopback, on free ports.
func serveArgs(data string, flags []string) []string {
	args := []string{"serve", "--json", "--data", data, "--http", "127.0.0.1:0", "--stream", "127.0.0.1:0"}
	return append(args, flags...)
}

// runningServer returns the server that the configuration names.
func runningServer(c *benchConfig) (s *benchServer, err error) {
	s = &benchServer{}
	urls, err := (&httpOptions{credentials: c.credentials, addr: c.addr}).urls()
	if err != nil {
		return nil, err
	}
	if s.url = urls[0]; len(urls) > 1 {
		return nil, usageError("give one address", "a benchmark asks one server, and --addr names %d", len(urls))
	}
	if strings.HasPrefix(s.url, "https:") {
		if s.httpTLS, err = c.tlsConfig(); err != nil {
			return nil, err
		}
	}
	s.streamAddr, s.streamTLS, err = (&streamOptions{credentials: c.credentials, stream: c.stream}).target()
	return s, err
}

// start starts the process and waits until it listens.
func (s *benchServer) start(ctx context.Context) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.program, s.args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, environmentPrefix) })
	s.log = &tailBuffer{}
	cmd.Stderr = s.log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	s.process = cmd
	s.exited = make(chan struct{})
	listens := make(chan error, 1)
	go func() {
		listens <- s.readAddress(stdout)
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait() // how it ended matters only where it was not asked to, and then its log says why
		close(s.exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, benchStartTimeout)
	defer cancel()
	select {
	case err = <-listens:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		s.kill()
		return fmt.Errorf("start server: %w%s", err, s.log.quote())
	}
	return nil
}

// readAddress reads the line that says where the server listens, or why it
// does not.
func (s *benchServer) readAddress(stdout io.Reader) error {
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return errors.New("it ended before it listened")
	}
	if err != nil {
		return err
	}
	var said struct {
		announcement
		failureView
	}
	if err := json.Unmarshal(line, &said); err != nil {
		return fmt.Errorf("parse %q: %w", line, err)
	}
	if said.HTTP == "" {
		return errors.New(said.Error)
	}
	s.url, s.streamAddr = "http://"+said.HTTP, said.Stream
	return nil
}

// own says whether the process is the benchmark's.
func (s *benchServer) own() bool { return s.process != nil }

// kill ends the process as a power cut would (SIGKILL), if it is the
// benchmark's own, and returns when it has ended.
func (s *benchServer) kill() {
	if !s.own() {
		return
	}
	_ = s.process.Process.Kill() // fails only if it has ended
	<-s.exited
}

// stop ends the process gracefully, so that a profile is written, and kills it
// if it does not end in time.
func (s *benchServer) stop() {
	if !s.own() {
		return
	}
	_ = s.process.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	timer := time.NewTimer(benchStopTimeout)
	defer timer.Stop()
	select {
	case <-s.exited:
	case <-timer.C:
		s.kill()
	}
}

// tailBuffer keeps the last bytes written to it. It is used by one goroutine
// until the process that writes has ended.
type tailBuffer struct{ buf bytes.Buffer }

// tailBytes is how much of a server's log an error shows.
const tailBytes = 4 << 10

// Write implements io.Writer.
func (t *tailBuffer) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if extra := t.buf.Len() - tailBytes; extra > tailBytes {
		t.buf.Next(extra)
	}
	return len(p), nil
}

// quote returns the kept text for the end of an error message.
func (t *tailBuffer) quote() string {
	text := bytes.TrimSpace(t.buf.Bytes())
	if len(text) == 0 {
		return ""
	}
	if len(text) > tailBytes {
		text = text[len(text)-tailBytes:]
	}
	return "; its log ends with:\n" + string(text)
}
