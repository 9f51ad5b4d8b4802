package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts, and tests that need a process, run this program as maru.
func TestMain(m *testing.M) {
	if err := os.Setenv("GORACE", raceOptions); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"maru": main})
}

// raceOptions keeps the race detector from making every process wait a second
// at its end.
const raceOptions = "atexit_sleep_ms=10"

// TestScripts runs testdata/script. Beside the commands of testscript there are
//
//	serve [args]         start a server on free ports; MARU_ADDR and MARU_STREAM name them
//	halt                 interrupt it, and wait until it has ended well
//	crash                end it as a power cut would
//	status N maru args   run a command that ends with the exit status N
//	transfers N FILE     write a CSV file of N transfers from mint to alice
//	applied N            wait until the server has applied N transfers
//	repeated N           wait until it was sent N transfers again since it started
//	archived N           wait until the archive of partition 0 has N entries
//	certificate          make cert.pem and key.pem for 127.0.0.1
//	moment K D           set an environment variable to the time after a duration
//	env-from-file K FILE set an environment variable to the content of a file
//	files MODE NAME...   the files of the data directory have these rights
//	absent TEXT          no file of the data directory has the text
//
// and those of [clusterCommands] and [hookCommands].
func TestScripts(t *testing.T) {
	commands := clusterCommands()
	maps.Copy(commands, serverCommands())
	maps.Copy(commands, hookCommands())
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", raceOptions)
			env.Setenv("MARU_DATA", filepath.Join(env.WorkDir, "data"))
			env.Values[serverOfScript{}] = &scriptServer{}
			env.Values[receiverOfScript{}] = &hookReceiver{}
			env.Values[nodesOfScript{}] = scriptNodes{}
			return nil
		},
		Cmds: commands,
	})
}

// serverCommands are the commands of scripts about one server.
func serverCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"serve":       scriptServe,
		"halt":        scriptHalt,
		"crash":       scriptCrash,
		"status":      scriptStatus,
		"transfers":   scriptTransfers,
		"applied":     waitFor("applied", `maru_wallet_decided_total{code="applied"} `),
		"repeated":    waitFor("repeated", "maru_wallet_repeated_total "),
		"archived":    waitFor("archived", `maru_archive_index{partition="0"} `),
		"certificate": scriptCertificate,
		"moment": func(ts *testscript.TestScript, _ bool, args []string) {
			d, err := time.ParseDuration(args[1])
			ts.Check(err)
			ts.Setenv(args[0], time.Now().Add(d).UTC().Format("2006-01-02T15:04:05.000Z07:00"))
		},
		"files":  scriptFiles,
		"absent": scriptAbsent,
		"env-from-file": func(ts *testscript.TestScript, _ bool, args []string) {
			ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
		},
	}
}

// serverOfScript is the key of a script's server.
type serverOfScript struct{}

// scriptServer is the server of a script, nil if there is none.
type scriptServer struct{ *process }

func ownServer(ts *testscript.TestScript) *scriptServer {
	s, _ := ts.Value(serverOfScript{}).(*scriptServer)
	return s
}

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	s := ownServer(ts)
	if neg || s.process != nil {
		ts.Fatalf("usage: serve [args], without another server")
	}
	args = append([]string{"--data", ts.Getenv("MARU_DATA")}, args...)
	p, err := startServer(ts.Getenv("WORK"), args...)
	ts.Check(err)
	s.process = p
	ts.Defer(func() {
		p.kill()
		ts.Logf("[server]\n%s", p.log())
	})
	scheme := "http://"
	if p.listens.TLS {
		scheme = "https://"
	}
	ts.Setenv("MARU_ADDR", scheme+p.listens.HTTP)
	ts.Setenv("MARU_STREAM", p.listens.Stream)
}

func scriptHalt(ts *testscript.TestScript, neg bool, args []string) {
	s := ownServer(ts)
	if neg || len(args) > 0 || s.process == nil {
		ts.Fatalf("usage: halt, with a server")
	}
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	ts.Check(s.wait())
	fmt.Fprint(ts.Stderr(), s.log())
	s.process = nil
}

func scriptCrash(ts *testscript.TestScript, neg bool, args []string) {
	s := ownServer(ts)
	if neg || len(args) > 0 || s.process == nil {
		ts.Fatalf("usage: crash, with a server")
	}
	s.kill()
	s.process = nil
}

func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [args]")
	}
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Check(err)
	}
	got := 0
	if exit != nil {
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

func scriptTransfers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: transfers N FILE")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), transfersFile(n), 0o600))
}

// transfersFile returns n transfers of a dollar from mint to alice.
func transfersFile(n int) []byte {
	b := []byte("transaction_id,from_account,to_account,amount,currency\n")
	for i := range n {
		b = fmt.Appendf(b, "%s,mint,alice,1.00,USD\n", uuid(i))
	}
	return b
}

// waitFor returns the command of a script that waits until a metric of the
// server, whose line begins with prefix, has reached a number.
func waitFor(command, prefix string) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: %s N", command)
		}
		want, err := strconv.ParseFloat(args[0], 64)
		ts.Check(err)
		deadline := time.Now().Add(time.Minute)
		for time.Now().Before(deadline) {
			n, err := readMetric(ts.Getenv("MARU_ADDR"), prefix)
			ts.Check(err)
			if n >= want {
				return
			}
		}
		ts.Fatalf("not %s %s within a minute", args[0], command)
	}
}

// readMetric returns a server's metric, whose line begins with prefix.
func readMetric(addr, prefix string) (float64, error) {
	resp, err := http.Get(addr + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body) // all of it, so that the connection is kept
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(page)) {
		if value, ok := strings.CutPrefix(line, prefix); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("there is no %sin the metrics", prefix)
}

// process is a server in a process of its own.
type process struct {
	cmd     *exec.Cmd
	listens announcement
	stderr  *bytes.Buffer // read it when the process has ended
	ended   chan struct{} // closed when the process has ended
	err     error         // how it ended
}

// startServer starts `maru serve` in a directory, on free ports unless args say
// otherwise, and returns when it listens.
func startServer(dir string, args ...string) (*process, error) {
	args = append([]string{"serve", "--json", "--http", "127.0.0.1:0", "--stream", "127.0.0.1:0"}, args...)
	return startProcess(dir, exec.Command("maru", args...))
}

// startProcess starts a command that is such a server.
func startProcess(dir string, cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, stderr: &bytes.Buffer{}, ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stderr = dir, p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	go func() {
		_, _ = io.Copy(io.Discard, out) // until the process ends
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("the server ended before it listened: %s", p.log())
	}
	if err := json.Unmarshal(line, &p.listens); err != nil {
		p.kill()
		return nil, fmt.Errorf("announcement %q: %w", line, err)
	}
	return p, nil
}

// kill ends the process as a power cut would, and returns when it has ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails if it has ended
	<-p.ended
}

// wait waits until the process ends by itself.
func (p *process) wait() error {
	select {
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("the server ended with %w:\n%s", p.err, p.log())
		}
		return nil
	case <-time.After(time.Minute):
		p.kill()
		return fmt.Errorf("the server did not end within a minute:\n%s", p.log())
	}
}

// log returns what a process that has ended wrote on standard error.
func (p *process) log() string { return p.stderr.String() }
