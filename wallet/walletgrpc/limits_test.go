package walletgrpc_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

// preface is what an HTTP/2 client sends first: the magic, and empty settings.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// bubble is a server in a bubble of testing/synctest, with connections in memory
// and two accounts.
type bubble struct {
	*walletgrpc.Server
	l    *bufconn.Listener
	node *rsmraft.Group
}

func newBubble(t *testing.T, o *walletgrpc.ServerOptions) *bubble {
	t.Helper()
	m := wallet.NewMachine(nil)
	node, err := rsmraft.OpenAlone("data", m, &rsmraft.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	service := wallet.NewService(node, m)
	for _, id := range []wallet.AccountID{"a1", "a2"} {
		if _, err := service.OpenAccount(t.Context(), wallet.DefaultTenant, wallet.NewAccount{ID: id, Currency: usd, Min: wallet.Unlimited}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	b := serveBubble(t, service, o)
	b.node = node
	return b
}

// serveBubble serves a wallet in a bubble.
func serveBubble(t *testing.T, service *wallet.Service, o *walletgrpc.ServerOptions) *bubble {
	t.Helper()
	b := &bubble{Server: walletgrpc.NewServer(service, o), l: bufconn.Listen(1 << 20)}
	served := make(chan error, 1)
	go func() { served <- b.Serve(b.l) }()
	t.Cleanup(func() {
		b.shutdown(t)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return b
}

// shutdown stops the server and returns how long that took. It can be repeated.
func (b *bubble) shutdown(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	if err := b.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	return time.Since(start)
}

// connect opens a connection and sends some bytes.
func (b *bubble) connect(t *testing.T, send string) net.Conn {
	t.Helper()
	c, err := b.l.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return c
}

// client returns a connection of gRPC.
func (b *bubble) client(t *testing.T) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///bubble", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return b.l.DialContext(ctx) }),
		grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// openStream opens a stream with metadata, given as keys and values; the error is
// that of its refusal.
func openStream(t *testing.T, c *grpc.ClientConn, md ...string) (grpc.ClientStream, error) {
	t.Helper()
	s, err := c.NewStream(metadata.AppendToOutgoingContext(t.Context(), md...), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		"/maru.wallet.v1.Wallet/Batches", grpc.ForceCodecV2(plain{}))
	if err != nil {
		return nil, err
	}
	if md, err := s.Header(); err != nil || md == nil {
		return nil, s.RecvMsg(new([]byte))
	}
	return s, nil
}

func mustOpen(t *testing.T, c *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	s, err := openStream(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fullBatch is a request of as many transfers as there may be.
func fullBatch() []byte {
	message := wallet.AppendHeader(make([]byte, 8), wallet.Header{Kind: wallet.KindTransfers, Count: wallet.MaxBatch})
	for range wallet.MaxBatch {
		message = wallet.AppendHandleTransfer(message, &wallet.HandleTransfer{ID: txid(1), From: 1, To: 2, Amount: 1, Currency: usd})
	}
	return message
}

// stall sends requests, and takes no answers, until the stream is ended.
func stall(s grpc.ClientStream) {
	for message := fullBatch(); s.SendMsg(message) == nil; {
		continue
	}
}

// wantStreams checks the number of places taken.
func (b *bubble) wantStreams(t *testing.T, when string, want int) {
	t.Helper()
	synctest.Wait()
	if got := b.Metrics().Streams; got != want {
		t.Errorf("%s: %d places of streams are taken, want %d", when, got, want)
	}
}

// TestSlowClient sends requests and takes no answers: its connection is closed
// after the time that it has, and others go on.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, nil)
		other := mustOpen(t, b.client(t))
		slow := mustOpen(t, b.client(t))
		start := time.Now()
		stall(slow)
		if took := time.Since(start); took != walletgrpc.DefaultSendTimeout {
			t.Errorf("it was ended after %v, want %v", took, walletgrpc.DefaultSendTimeout)
		}
		b.wantStreams(t, "when it was ended", 1)
		var err error
		for answer := []byte(nil); err == nil; {
			err = slow.RecvMsg(&answer)
		}
		if status.Code(err) != codes.Unavailable {
			t.Errorf("got %v, want %v", err, codes.Unavailable)
		}
		var answer []byte
		if err := other.SendMsg(fullBatch()); err != nil {
			t.Error(err)
		}
		if err := other.RecvMsg(&answer); err != nil || len(answer) != 32+wallet.MaxBatch {
			t.Errorf("another client: got %d bytes, %v", len(answer), err)
		}
	})
}

func TestStreamsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, &walletgrpc.ServerOptions{MaxStreams: 2})
		first := b.client(t)
		a, _ := mustOpen(t, first), mustOpen(t, b.client(t))
		late := b.client(t)
		if _, err := openStream(t, late); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more: got %v, want %v", err, codes.ResourceExhausted)
		}
		if got, want := b.Metrics(), (walletgrpc.Metrics{Streams: 2, Refused: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if err := a.CloseSend(); err != nil {
			t.Fatal(err)
		}
		b.wantStreams(t, "when one has ended", 1)
		mustOpen(t, late)
		b.wantStreams(t, "when another took its place", 2)
	})
}

// TestPlacesOfFailedStreams checks that streams of which the server may still
// hold something count, as often as that can be, until their connection ends.
func TestPlacesOfFailedStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, &walletgrpc.ServerOptions{MaxConnStreams: 3})
		c := b.client(t)
		for i := range 5 {
			s := mustOpen(t, c)
			if err := s.SendMsg([]byte("malformed")); err != nil {
				t.Fatal(err)
			}
			if err := s.RecvMsg(new([]byte)); status.Code(err) != codes.InvalidArgument {
				t.Fatalf("got %v, want %v", err, codes.InvalidArgument)
			}
			b.wantStreams(t, "failed", min(i+1, 3))
		}
		mustOpen(t, c)
		b.wantStreams(t, "with a good one", 3)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		b.wantStreams(t, "in the end", 0)
	})
}

// TestSilentConnections checks when connections without a stream are closed.
func TestSilentConnections(t *testing.T) {
	for name, test := range map[string]struct {
		send string
		most time.Duration
	}{
		"nothing":              {"", 10 * time.Second},
		"half a preface":       {preface[:12], 10 * time.Second},
		"a preface, no stream": {preface, walletgrpc.DefaultIdleTimeout + 10*time.Second}, // gRPC has a last ping, and a farewell
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, nil)
				start := time.Now()
				_, _ = io.Copy(io.Discard, b.connect(t, test.send)) // until it is closed
				if took := time.Since(start); took > test.most {
					t.Errorf("it was closed after %v, want %v at most", took, test.most)
				}
			})
		})
	}
}

// TestShutdownWaitsForNobodyInVain stops servers with clients that do nothing.
func TestShutdownWaitsForNobodyInVain(t *testing.T) {
	for name, test := range map[string]struct {
		client func(t *testing.T, b *bubble)
		want   time.Duration
	}{
		"nothing":              {func(t *testing.T, b *bubble) { b.connect(t, "") }, 0},
		"half a preface":       {func(t *testing.T, b *bubble) { b.connect(t, preface[:12]) }, 0},
		"a preface, no stream": {func(t *testing.T, b *bubble) { b.connect(t, preface) }, 0},
		"a silent stream":      {func(t *testing.T, b *bubble) { mustOpen(t, b.client(t)) }, 0},
		"a stalled stream":     {func(t *testing.T, b *bubble) { go stall(mustOpen(t, b.client(t))) }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, nil)
				test.client(t, b)
				synctest.Wait()
				if took := b.shutdown(t); took != test.want {
					t.Errorf("it took %v, want %v", took, test.want)
				}
			})
		})
	}
}
