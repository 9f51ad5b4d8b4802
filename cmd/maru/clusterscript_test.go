package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// nodesOfScript is the key of a script's nodes.
type nodesOfScript struct{}

// scriptNodes are the nodes of a script, by the names of their directories.
type scriptNodes map[string]*process

func ownNodes(ts *testscript.TestScript) scriptNodes {
	nodes, _ := ts.Value(nodesOfScript{}).(scriptNodes)
	return nodes
}

// clusterCommands are the commands of scripts about clusters:
//
//	ports NAME...       set variables to addresses that are free
//	node DIR [args]     start a node; DIR_ADDR and DIR_STREAM name its addresses
//	node-kill DIR       end it as a power cut would
//	node-stop DIR       interrupt it, and wait until it has ended well
//	node-ends DIR       wait until it has ended by itself, with exit status 1
//	until REGEXP args   run maru until its output matches, for a minute
//	readyz DIR REGEXP   ask /readyz of a node until the answer matches, for a minute
//	peer-certificates DIR make ca.pem, peer.pem and peer-key.pem
func clusterCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"ports":     scriptPorts,
		"node":      scriptNode,
		"node-kill": scriptNodeKill,
		"node-stop": scriptNodeStop,
		"node-ends": scriptNodeEnds,
		"until":     scriptUntil,
		"readyz":    scriptReadyz,
		"peer-certificates": func(ts *testscript.TestScript, _ bool, args []string) {
			ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o750))
			writePeerCertificates(ts, ts.MkAbs(args[0]))
		},
	}
}

func scriptPorts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: ports NAME...")
	}
	for _, name := range args {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		defer l.Close() // all at the end: they are different
		ts.Setenv(name, l.Addr().String())
	}
}

func scriptNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: node DIR [args]")
	}
	dir, nodes := args[0], ownNodes(ts)
	p, err := startServer(ts.Getenv("WORK"), append([]string{"--data", dir}, args[1:]...)...)
	ts.Check(err)
	nodes[dir] = p
	ts.Defer(func() {
		p.kill()
		ts.Logf("[%s]\n%s", dir, p.log())
	})
	ts.Setenv(dir+"_ADDR", "http://"+p.listens.HTTP)
	ts.Setenv(dir+"_STREAM", p.listens.Stream)
}

func scriptNodeKill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || ownNodes(ts)[args[0]] == nil {
		ts.Fatalf("usage: node-kill DIR, of a node")
	}
	ownNodes(ts)[args[0]].kill()
}

// scriptNodeStop ends a node; what it logged is the standard error.
func scriptNodeStop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || ownNodes(ts)[args[0]] == nil {
		ts.Fatalf("usage: node-stop DIR, of a node")
	}
	p := ownNodes(ts)[args[0]]
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
	ts.Check(p.wait())
	fmt.Fprint(ts.Stderr(), p.log())
}

// scriptNodeEnds waits for the end of a node; what it logged is the standard error.
func scriptNodeEnds(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || ownNodes(ts)[args[0]] == nil {
		ts.Fatalf("usage: node-ends DIR, of a node")
	}
	p := ownNodes(ts)[args[0]]
	_ = p.wait() // the status says more
	if status := p.cmd.ProcessState.ExitCode(); status != exitFailed {
		ts.Fatalf("exit status %d:\n%s", status, p.log())
	}
	fmt.Fprint(ts.Stderr(), p.log())
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP args")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var out []byte
	for deadline := time.Now().Add(settleTimeout); time.Now().Before(deadline); {
		cmd := exec.Command("maru", args[1:]...)
		cmd.Dir = ts.Getenv("WORK")
		if out, err = cmd.CombinedOutput(); want.Match(out) {
			fmt.Fprint(ts.Stdout(), string(out))
			return
		}
		<-time.NewTimer(pollInterval).C
	}
	ts.Fatalf("maru %s does not come to %s, but: %v\n%s", strconv.Quote(args[1]), args[0], err, out)
}

func scriptReadyz(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || ownNodes(ts)[args[0]] == nil {
		ts.Fatalf("usage: readyz DIR REGEXP, of a node")
	}
	want, err := regexp.Compile(args[1])
	ts.Check(err)
	var body string
	for deadline := time.Now().Add(settleTimeout); time.Now().Before(deadline); {
		if _, body, err = askReadyz(ownNodes(ts)[args[0]]); err == nil && want.MatchString(body) {
			return
		}
		<-time.NewTimer(pollInterval).C
	}
	ts.Fatalf("/readyz of %s does not come to %s, but: %v\n%s", args[0], args[1], err, body)
}
