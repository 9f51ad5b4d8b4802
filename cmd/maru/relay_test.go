package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// relays stand before the peer ports of the nodes of a cluster, one each, and can
// cut the way from one node to another: what it sends is then held back, and lost
// when the way is open again.
type relays struct {
	pids func() []int // of the nodes, by their number

	mu   sync.Mutex
	cuts map[way]chan struct{} // closed when the way is open again
}

// way is that from one node to another.
type way struct{ from, to int }

// cut closes a way; it may be closed already.
func (r *relays) cut(w way) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cuts[w] == nil {
		r.cuts[w] = make(chan struct{})
	}
}

// heal opens all ways.
func (r *relays) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, open := range r.cuts {
		close(open)
	}
	clear(r.cuts)
}

// isCut returns what is closed when the way is open again, nil if it is open.
func (r *relays) isCut(w way) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cuts[w]
}

// relay stands before one node.
type relay struct {
	*relays
	to       int
	listener net.Listener
	target   atomic.Pointer[string] // where the node listens
}

// open makes the relay of a node.
func (r *relays) open(t testing.TB, to int) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	one := &relay{relays: r, to: to, listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go one.accept()
	return one
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		go r.serve(c)
	}
}

// serve carries what one connection sends, both ways.
func (r *relay) serve(c net.Conn) {
	defer c.Close()
	w := way{dialer(c, r.pids()), r.to}
	if open := r.isCut(w); open != nil {
		<-open
		return
	}
	target := r.target.Load()
	if target == nil {
		return
	}
	d, err := net.Dial("tcp", *target)
	if err != nil {
		return
	}
	defer d.Close()
	both := make(chan struct{}, 2)
	go func() { r.carry(d, c, w); both <- struct{}{} }()
	go func() { r.carry(c, d, way{w.to, w.from}); both <- struct{}{} }()
	<-both
}

// carry copies until one side ends, or the way was cut.
func (r *relay) carry(dst io.Writer, src io.Reader, w way) {
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if open := r.isCut(w); open != nil {
			<-open
			return
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// dialer returns the number of the process that dialed, -1 if it is not known:
// on loopback, only its port says who it is.
func dialer(c net.Conn, pids []int) int {
	inode := inodeOf(c.RemoteAddr().String(), c.LocalAddr().String())
	if inode == "" {
		return -1
	}
	return slices.IndexFunc(pids, func(pid int) bool {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		return slices.ContainsFunc(files, func(f string) bool {
			name, _ := os.Readlink(f)
			return name == "socket:["+inode+"]"
		})
	})
}

// inodeOf returns the socket between two addresses, "" if there is none.
func inodeOf(local, remote string) string {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer f.Close()
	hex := func(addr string) string {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			return ""
		}
		ip := a.IP.To4()
		return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port)
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 9 && fields[1] == hex(local) && fields[2] == hex(remote) {
			return fields[9]
		}
	}
	return ""
}
