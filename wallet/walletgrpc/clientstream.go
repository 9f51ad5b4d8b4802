package walletgrpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"maru.example/wallet"
)

// clientStream is one gRPC stream and the calls that wait for its answers. It
// sends requests in the order of start. When it breaks, every call that was not
// answered and every later one gets the reason.
type clientStream struct {
	client *Client
	grpc   grpc.ClientStream
	end    context.CancelFunc
	out    chan []byte   // requests to be sent; there is room for every token
	done   chan struct{} // closed when run ended
	names  handleCache

	mu    sync.Mutex
	last  uint64
	calls map[uint64]func(results []byte, err error)
	err   error // why the stream ended
}

func newClientStream(c *Client, g grpc.ClientStream, end context.CancelFunc) *clientStream {
	return &clientStream{
		client: c, grpc: g, end: end,
		out:   make(chan []byte, cap(c.room)),
		done:  make(chan struct{}),
		calls: make(map[uint64]func([]byte, error)),
	}
}

// admitted waits for the header, which the server sends when it has let the
// client in. A stream that ended before has none, and its reason with the message.
func admitted(g grpc.ClientStream) error {
	md, err := g.Header()
	if err == nil && md == nil {
		err = g.RecvMsg(new([]byte))
	}
	return err
}

func (st *clientStream) failed() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.err
}

// request returns a message with room for the id and a header for count commands.
func request(dst []byte, kind wallet.Kind, count int) []byte {
	dst = append(dst[:0], make([]byte, requestBytes)...)
	return wallet.AppendHeader(dst, wallet.Header{Kind: kind, Count: count})
}

// start sends a request, behind those that were started before. It does not
// wait. answer is called once and must not wait; if it gets results, the message
// may be used again. The token is the caller's to give back, in answer.
func (st *clientStream) start(message []byte, answer func(results []byte, err error)) {
	st.mu.Lock()
	if st.err != nil {
		st.mu.Unlock()
		answer(nil, st.err)
		return
	}
	st.last++
	st.calls[st.last] = answer
	binary.LittleEndian.PutUint64(message, st.last)
	st.out <- message // does not wait: whoever calls start holds a token
	st.mu.Unlock()
}

// run sends requests and gives answers to the calls that wait for them, until
// the stream ends.
func (st *clientStream) run() {
	defer close(st.done)
	var sender sync.WaitGroup
	sender.Go(st.send)
	st.receive()
	st.end()
	sender.Wait()
}

// send sends the requests. It can wait for long, as the server reads no further
// while it has enough to do.
func (st *clientStream) send() {
	for {
		select {
		case message := <-st.out:
			if err := st.grpc.SendMsg(mem.SliceBuffer(message)); err != nil {
				return // receive gets the reason
			}
		case <-st.grpc.Context().Done():
			return
		}
	}
}

func (st *clientStream) receive() {
	var buf []byte
	for {
		err := st.grpc.RecvMsg(&buf)
		var id uint64
		var results []byte
		if err == nil {
			id, _, results, err = parseResponse(buf)
		}
		if err != nil {
			st.fail(err)
			return
		}
		st.mu.Lock()
		answer := st.calls[id]
		delete(st.calls, id)
		st.mu.Unlock()
		if answer != nil {
			answer(results, nil)
		}
	}
}

func (st *clientStream) fail(err error) {
	if st.client.life.Err() != nil {
		err = ErrClosed
	}
	st.mu.Lock()
	st.err = fmt.Errorf("wallet stream: %w", spoken(err))
	calls := st.calls
	st.calls = nil
	st.mu.Unlock()
	for _, answer := range calls {
		answer(nil, st.err)
	}
}

// statusError is an error of gRPC whose text is what the server said.
type statusError struct{ *status.Status }

// Error returns the server's words.
func (e statusError) Error() string { return e.Message() }

// GRPCStatus is for [status.Code].
func (e statusError) GRPCStatus() *status.Status { return e.Status }

// spoken takes from an error of gRPC what that puts in front of the server's words.
func spoken(err error) error {
	if s, ok := status.FromError(err); ok && s.Message() != "" {
		return statusError{s}
	}
	return err
}
