package walletgrpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
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
	watch  *watch // nil: none; it is not a leader's

	mu    sync.Mutex
	last  uint64
	calls map[uint64]func(results []byte, err error)
	err   error // why the stream ends; what is in calls then is yet to be told so
}

func newClientStream(c *Client, g grpc.ClientStream, end context.CancelFunc, w *watch) *clientStream {
	w.begin(end)
	return &clientStream{
		client: c, grpc: g, end: end, watch: w,
		out:   make(chan []byte, cap(c.room)*(1+maxFollowed)), // a request, and what leaders did not answer of it
		done:  make(chan struct{}),
		calls: make(map[uint64]func([]byte, error)),
	}
}

// admitted waits for the header, which the server sends when it has let the
// client in. A stream that ended before has none, and its reason with the message.
func admitted(g grpc.ClientStream) (metadata.MD, error) {
	md, err := g.Header()
	if err == nil && md == nil {
		err = g.RecvMsg(new([]byte))
	}
	return md, err
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
	if st.calls == nil {
		st.mu.Unlock()
		answer(nil, st.err)
		return
	}
	st.last++
	st.calls[st.last] = answer
	if st.err == nil { // else it gets that in its turn
		binary.LittleEndian.PutUint64(message, st.last)
		st.out <- message // does not wait: whoever calls start holds a token
		st.watch.waits(len(st.calls) == 1)
	}
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
	st.watch.end()
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
		st.watch.answered(len(st.calls))
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
	defer st.mu.Unlock()
	st.err = fmt.Errorf("wallet stream: %w", spoken(err))
	for len(st.calls) > 0 { // in their order: each may be sent again, elsewhere
		calls := st.calls
		st.calls = make(map[uint64]func([]byte, error))
		st.mu.Unlock()
		for _, id := range slices.Sorted(maps.Keys(calls)) {
			calls[id](nil, st.err)
		}
		st.mu.Lock()
	}
	st.calls = nil
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
