// Package walletgrpc carries batches of wallet commands over one gRPC stream: it
// holds the server and the client of docs/format/stream.md. gRPC gives the
// framing, the flow control and the encryption; a message's bytes are ours, so
// that a batch goes from the connection to the log as it came.
package walletgrpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"maru.example/rsm"
	"maru.example/wallet"
)

const (
	// MaxMessageBytes bounds a request: a batch of 8,192 transfers by names of
	// 64 characters takes 1.3 MiB.
	MaxMessageBytes = 2 << 20
	// MaxInFlight is how many requests of one stream the server works on at
	// once; it reads no further until it has answered one.
	MaxInFlight = 32

	serviceName = "maru.wallet.v1.Wallet"
	methodName  = "Batches"
	// Keys in the metadata of a call.
	protocolKey   = "maru-protocol" // of transfers to other partitions
	clusterKey    = "maru-cluster"  // the one that the server belongs to; from a client: that it must belong to
	leaderKey     = "maru-leader"   // leaders of partitions, from the server
	requestBytes  = 8               // of a request before the batch: its id
	responseBytes = 8 + 24          // of a response before the results: id, header, index, time
)

// errMessage says that bytes are not a message of the stream.
var errMessage = errors.New("walletgrpc: malformed message")

var streamDesc = grpc.StreamDesc{StreamName: methodName, ServerStreams: true, ClientStreams: true}

// appendResponse appends all of a response but the results.
func appendResponse(dst []byte, id uint64, h wallet.Header, at rsm.Position) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, id)
	dst = wallet.AppendHeader(dst, h)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at.Index))
	return binary.LittleEndian.AppendUint64(dst, uint64(at.Time))
}

// parseResponse reads a response and checks that it has a result of size bytes
// for each command.
func parseResponse(b []byte) (id uint64, h wallet.Header, results []byte, err error) {
	if len(b) < responseBytes {
		return 0, h, nil, fmt.Errorf("%w: a response of %d bytes", errMessage, len(b))
	}
	h, _, err = wallet.ParseHeader(b[8:])
	if err != nil {
		return 0, h, nil, err
	}
	size := 1
	if h.Kind == wallet.KindOpenAccounts || h.Kind == wallet.KindLookup {
		size = wallet.OpenedBytes
	}
	results = b[responseBytes:]
	if len(results) != size*h.Count {
		return 0, h, nil, fmt.Errorf("%w: %d bytes of results for %d commands", errMessage, len(results), h.Count)
	}
	return binary.LittleEndian.Uint64(b), h, results, nil
}

// raw is a gRPC codec that leaves messages as they are. Outgoing messages are
// mem.Buffers, incoming ones are written to a *[]byte, or to one that a
// destination names when the message has arrived.
type raw struct{}

type destination func() *[]byte

// Name is the codec's name in the content type. Servers of other languages may
// send any: the server does not look at it.
func (raw) Name() string { return "maru" }

// Marshal returns v, a mem.Buffer.
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(mem.Buffer)
	if !ok {
		return nil, fmt.Errorf("walletgrpc: cannot send a %T", v)
	}
	return mem.BufferSlice{b}, nil
}

// Unmarshal copies data into v, a *[]byte or a destination.
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	var b *[]byte
	switch v := v.(type) {
	case *[]byte:
		b = v
	case destination:
		b = v()
	default:
		return fmt.Errorf("walletgrpc: cannot receive a %T", v)
	}
	*b = slices.Grow((*b)[:0], data.Len())
	for _, part := range data {
		*b = append(*b, part.ReadOnlyData()...)
	}
	return nil
}
