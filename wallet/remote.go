package wallet

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"maru.example/rsm"
)

// Requests of one node's Service to another's: see docs/format/wallet.md.
const (
	requestVersion = 1
	requestHead    = 8
	positionBytes  = 16
)

// requestKind says what a request asks for. The numbers are part of the format.
type requestKind uint8

const (
	requestPropose requestKind = 1 // commit this batch in the partition's log
	requestRoute   requestKind = 2 // take this batch as one of a client: its commands are the partition's
	requestQuery   requestKind = 3 // answer this query
)

// request is what a node that has no replica of a partition asks of one that has.
type request struct {
	kind      requestKind
	protocol  Protocol // of transfers to other partitions; NoProtocol: the wallet's
	partition uint16
	body      []byte
}

var errRequest = errors.New("wallet: malformed request of another node")

func appendRequest(r request) []byte {
	b := append(make([]byte, 0, requestHead+len(r.body)), requestVersion, byte(r.kind), byte(r.protocol), 0)
	b = binary.LittleEndian.AppendUint16(b, r.partition)
	return append(append(b, 0, 0), r.body...)
}

func parseRequest(b []byte) (request, error) {
	if len(b) < requestHead {
		return request{}, fmt.Errorf("%w: %d bytes", errRequest, len(b))
	}
	if b[0] != requestVersion {
		return request{}, fmt.Errorf("%w: version %d, this program speaks %d", errRequest, b[0], requestVersion)
	}
	r := request{requestKind(b[1]), Protocol(b[2]), binary.LittleEndian.Uint16(b[4:]), b[requestHead:]}
	if r.protocol >= endProtocol {
		return request{}, fmt.Errorf("%w: %v", errRequest, r.protocol)
	}
	return r, nil
}

// ask lets a node that has a replica do something with a batch.
func (p *Partition) ask(kind requestKind, protocol Protocol, batch []byte, done func(result []byte, at rsm.Position, err error)) {
	p.remote.Ask(p.number, appendRequest(request{kind, protocol, p.number, batch}), Kind(batch[1]).repeatable(), func(answer []byte, _ time.Duration, err error) {
		if err == nil && len(answer) <= positionBytes {
			err = fmt.Errorf("%w: malformed answer to a batch", rsm.ErrUnknown)
		}
		if err != nil {
			done(nil, rsm.Position{}, err)
			return
		}
		at := rsm.Position{Index: rsm.Index(binary.LittleEndian.Uint64(answer)), Time: int64(binary.LittleEndian.Uint64(answer[8:]))}
		done(answer[positionBytes:], at, nil)
	})
}

// repeatable says that a command of the kind that is done twice, the second time
// late, does not undo what was done in between.
func (k Kind) repeatable() bool {
	return k != KindSetStatus && k != KindSetLimit && k != KindSetDailyLimits
}

// Serve does what the Service of another node asks for through its Remote, and
// calls reply once, on any loop. The request must not be changed any more.
func (s *Service) Serve(requested []byte, reply func(answer []byte, err error)) {
	var h Header
	r, err := parseRequest(requested)
	switch {
	case err != nil:
	case int(r.partition) >= len(s.parts):
		err = fmt.Errorf("%w: partition %d", errRequest, r.partition)
	case !s.parts[r.partition].here():
		err = fmt.Errorf("%w: no replica of partition %d here", rsm.ErrNoLeader, r.partition)
	case r.kind == requestQuery:
		s.serveQuery(&r, reply)
		return
	default:
		h, err = Validate(r.body)
	}
	if err != nil {
		reply(nil, err)
		return
	}
	done := func(result []byte, at rsm.Position, err error) {
		b := binary.LittleEndian.AppendUint64(make([]byte, 0, positionBytes+len(result)), uint64(at.Index))
		b = binary.LittleEndian.AppendUint64(b, uint64(at.Time))
		reply(append(b, result...), err)
	}
	switch r.kind {
	case requestPropose:
		s.parts[r.partition].propose(r.body, done)
	case requestRoute:
		if !h.Kind.routed() { // those are of a partition's log
			reply(nil, fmt.Errorf("%w: %v", errRequest, h.Kind))
			return
		}
		s.knowTenant(h.Tenant, func(err error) {
			if err != nil {
				reply(nil, err)
				return
			}
			s.route(&routed{ctx: context.Background(), protocol: r.protocol, forwarded: true, done: done}, r.body)
		})
	case requestQuery:
	default:
		reply(nil, fmt.Errorf("%w: kind %d", errRequest, r.kind))
	}
}

// knowTenant calls done, once, when the names of the tenants up to a number are
// known here.
func (s *Service) knowTenant(number uint16, done func(error)) {
	s.mu.RLock()
	known := int(number) < len(s.names) && s.names[number] != 0
	s.mu.RUnlock()
	if known {
		done(nil)
		return
	}
	s.parts[0].query(&query{Subject: aboutTenants}, func(f *finding, err error) {
		if err == nil && int(number) >= len(f.Names) {
			err = fmt.Errorf("%w: tenant %d", errRequest, number)
		}
		if err != nil {
			done(err)
			return
		}
		for i, name := range f.Names {
			s.learn(name, uint16(i))
		}
		done(nil)
	})
}

func (s *Service) serveQuery(r *request, reply func([]byte, error)) {
	var q query
	if err := json.Unmarshal(r.body, &q); err != nil {
		reply(nil, fmt.Errorf("%w: %w", errRequest, err))
		return
	}
	if !q.known() {
		reply(nil, fmt.Errorf("%w: about %q, consistency %d", errRequest, q.Subject, q.Consistency))
		return
	}
	s.parts[r.partition].query(&q, func(f *finding, err error) {
		if err == nil && q.Past != nil && q.Past.Elsewhere && !f.Past.whole() {
			err = fmt.Errorf("%w: the history here begins later", rsm.ErrNoLeader)
		}
		if err != nil {
			reply(nil, err)
			return
		}
		reply(json.Marshal(f))
	})
}

// routed says that commands of a kind may come from another node, to be routed here: the
// others are of a partition's log only.
func (k Kind) routed() bool {
	return k <= KindCreateTenants || k == KindHolds || k == KindSetDailyLimits || k == KindTransactions || k == KindCreateAssets
}
