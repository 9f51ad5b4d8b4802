package walletgrpc

import (
	"errors"
	"fmt"
	"slices"

	"maru.example/wallet"
)

// share is the part of a batch that goes to one stream.
type share struct {
	to      *clientStream
	count   int
	message *[]byte // the request; of messages
}

// batch is n commands of a kind, each of which an account pays, 0 if it is not known.
type batch struct {
	kind  wallet.Kind
	n     int
	payer func(i int) wallet.Handle
	add   func(dst []byte, i int) []byte
}

// transfersOf is a batch of transfers.
func transfersOf(n int, transfer func(i int) *wallet.HandleTransfer) batch {
	return batch{
		wallet.KindTransfers, n, func(i int) wallet.Handle { return transfer(i).From },
		func(dst []byte, i int) []byte { return wallet.AppendHandleTransfer(dst, transfer(i)) },
	}
}

// start sends a batch: to the leaders of the partitions that pay, given by partition,
// and where there is none on the stream st. The caller has taken a token, which the
// answer gives back.
func (c *Client) start(st *clientStream, leads []*clientStream, b batch) *Pending {
	n := b.n
	shares, in := divide(st, leads, n, b.payer)
	for i := range shares {
		shares[i].message, _ = messages.Get().(*[]byte)
		*shares[i].message = request(*shares[i].message, b.kind, shares[i].count)
	}
	for i := range n {
		message := shares[in.of(i)].message
		*message = b.add(*message, i)
	}
	p := &Pending{client: c, done: make(chan struct{}), left: len(shares), results: make([]byte, n)}
	for k, s := range shares {
		s.send(st, func(results []byte, err error) {
			if err == nil && len(results) != s.count {
				err = fmt.Errorf("%w: %d results for %d commands", errMessage, len(results), s.count)
			}
			p.answered(err, func() { in.fill(p.results, k, results) })
		})
	}
	return p
}

// division says which share each transfer of a batch is in; nil: there is but one.
type division []uint8

func (d division) of(i int) int {
	if d == nil {
		return 0
	}
	return int(d[i])
}

// fill puts the results of a share where they belong.
func (d division) fill(dst []byte, share int, results []byte) {
	if d == nil {
		copy(dst, results)
		return
	}
	for i, s := range d {
		if int(s) == share {
			dst[i], results = results[0], results[1:]
		}
	}
}

// divide makes the shares of a batch.
func divide(st *clientStream, leads []*clientStream, n int, payer func(i int) wallet.Handle) ([]share, division) {
	if len(leads) == 0 {
		return []share{{to: st, count: n}}, nil
	}
	var shares []share
	in := make(division, n)
	for i := range n {
		to := st
		if p := int(payer(i).Partition()); p < len(leads) && leads[p] != nil {
			to = leads[p]
		}
		k := slices.IndexFunc(shares, func(s share) bool { return s.to == to })
		if k < 0 {
			k = len(shares)
			shares = append(shares, share{to: to})
		}
		shares[k].count++
		in[i] = uint8(k)
	}
	return shares, in
}

// send sends the request of a share, on the stream st if a leader's ended without an
// answer. Those that are sent again come there in the order in which they were sent.
func (s *share) send(st *clientStream, answer func(results []byte, err error)) {
	s.to.start(*s.message, func(results []byte, err error) {
		switch {
		case err == nil:
			answer(results, nil)
			messages.Put(s.message)
		case s.to == st || errors.Is(err, ErrClosed):
			answer(nil, err)
		default:
			st.start(slices.Clone(*s.message), answer) // gRPC may still have the other
		}
	})
}
