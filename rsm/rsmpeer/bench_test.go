package rsmpeer

import (
	"fmt"
	"testing"
)

// BenchmarkThroughput sends one way over loopback; both ends are in this process.
// Parts are those of a message of consensus: a header and an entry.
func BenchmarkThroughput(b *testing.B) {
	ca := newAuthority(b)
	for _, kind := range []string{"plain", "TLS"} {
		for _, size := range []int{64, 1 << 10, 16 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%d", kind, size), func(b *testing.B) {
				options := func() *Options {
					if kind == "TLS" {
						return ca.secured(b, new(Options))
					}
					return new(Options)
				}
				window := make(chan struct{}, min(4096, 32<<20/size)) // what is under way
				from := start(b, identity(1), options())
				to := &node{id: 2, log: newJournal()}
				to.listen(b, identity(2), options(), func(NodeID, Lane, []byte) { <-window })
				to.set(b, from.peer())
				from.set(b, to.peer())
				from.log.wait(int(lanes), "connected to a peer")
				parts := [][]byte{make([]byte, 40), make([]byte, size-40)}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					window <- struct{}{}
					if !from.Send(2, Raft, parts) {
						b.Fatal("not taken")
					}
				}
				for range cap(window) {
					window <- struct{}{}
				}
			})
		}
	}
}

// BenchmarkRoundTrip has one message on its way there or back at a time.
func BenchmarkRoundTrip(b *testing.B) {
	ca := newAuthority(b)
	for kind, o := range map[string]*Options{"plain": {}, "TLS": ca.secured(b, new(Options))} {
		b.Run(kind, func(b *testing.B) {
			x, y := pair(b, o)
			x.log.wait(int(lanes), "connected to a peer")
			y.log.wait(int(lanes), "connected to a peer")
			m := [][]byte{make([]byte, 64)}
			for b.Loop() {
				x.Send(2, Raft, m)
				<-y.received
				y.Send(1, Raft, m)
				<-x.received
			}
		})
	}
}
