package rsmraft

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/rsm"
	"maru.example/vfs"
	"maru.example/wal"
)

// A follower that is so far behind that the leader has no entries for it any more
// gets a snapshot's file. The leader offers it; the follower asks for piece after
// piece, from where it left off, and when it has all of them gives the leader's
// message to its consensus. See docs/format/raft.md.
const (
	pieceBytes     = 256 << 10
	piecesAhead    = 8  // that the follower has asked for and not got
	transfersMost  = 2  // files that a host sends at once
	sendPatience   = 10 // election timeouts without a question, after which the leader gives up
	askPatience    = 1  // election timeouts without an answer, after which the follower asks again
	maxOfferedFile = 1 << 50
)

// snapshotTransfer is a group's side of transfers: it sends as a leader, and
// receives as a follower. It belongs to the group's loop.
type snapshotTransfer struct {
	g        *Group
	sends    map[NodeID]*sending
	receives *receiving
	finished rsm.State // the last one that was received as a whole
}

func (t *snapshotTransfer) init(g *Group) { t.g, t.sends = g, map[NodeID]*sending{} }

// sending is a snapshot on its way to a follower.
type sending struct {
	index rsm.Index
	size  atomic.Int64 // of the file; 0 until it is open
	sent  int64        // up to which pieces were asked for
	file  vfs.File     // the saves loop's
	idle  int          // ticks since the follower asked
}

// receiving is a snapshot on its way to this node.
type receiving struct {
	from    NodeID
	message *pb.Message
	state   rsm.State
	size    int64
	part    *rsm.Part // the saves loop's
	have    int64
	asked   int64
	idle    int // ticks since something came
	tries   int // to ask again
	busy    bool
}

// offer tells a follower of the newest snapshot.
func (t *snapshotTransfer) offer(to NodeID, m *pb.Message) {
	g := t.g
	if old := t.sends[to]; old != nil {
		t.closeSend(old)
		delete(t.sends, to)
	}
	if g.host.sending.Add(1) > transfersMost {
		g.host.sending.Add(-1)
		g.reportSnapshot(to, raft.SnapshotFailure)
		return
	}
	index := rsm.Index(m.GetSnapshot().GetMetadata().GetIndex())
	s := &sending{index: index}
	t.sends[to] = s
	parts := encodeRaft(g.id, m)
	g.host.saves.Post(func() {
		f, err := g.replica.OpenSnapshot(index)
		var size int64
		if err == nil {
			s.file = f
			size, err = f.Size()
			s.size.Store(size)
		}
		if err != nil {
			g.host.options.Logger.Warn("rsmraft: snapshot cannot be sent", "group", g.id, "to", to, "error", err)
			g.loop.Post(func() { t.ended(to, s, raft.SnapshotFailure) })
			return
		}
		b := appendMessageHeader(nil, messageOffer, g.id)
		b = binary.LittleEndian.AppendUint64(b, uint64(size))
		for _, p := range parts {
			b = append(b, p...)
		}
		g.host.options.Network.Send(to, LaneRaft, [][]byte{b})
	})
}

func (g *Group) reportSnapshot(to NodeID, how raft.SnapshotStatus) {
	g.loop.Post(func() {
		g.raw.ReportSnapshot(uint64(to), how)
		g.work()
	})
}

// closeSend closes the file of a transfer.
func (t *snapshotTransfer) closeSend(s *sending) {
	t.g.host.sending.Add(-1)
	t.g.host.saves.Post(func() {
		if s.file != nil {
			_ = s.file.Close() // only read
			s.file = nil
		}
	})
}

// ended is the end of a transfer, if it is still the one to that node.
func (t *snapshotTransfer) ended(to NodeID, s *sending, how raft.SnapshotStatus) {
	if t.sends[to] != s {
		return
	}
	delete(t.sends, to)
	t.closeSend(s)
	if t.g.failed == nil {
		t.g.reportSnapshot(to, how)
	}
}

// progress says how far the transfers under way are.
func (t *snapshotTransfer) progress() (sends []SnapshotProgress, receives *SnapshotProgress) {
	if len(t.sends) > 0 {
		sends = make([]SnapshotProgress, 0, len(t.sends))
	}
	for to, s := range t.sends {
		sends = append(sends, SnapshotProgress{to, s.index, s.sent, s.size.Load()})
	}
	slices.SortFunc(sends, func(a, b SnapshotProgress) int { return cmp.Compare(a.Peer, b.Peer) })
	if r := t.receives; r != nil {
		receives = &SnapshotProgress{r.from, r.state.Index, r.have, r.size}
	}
	return sends, receives
}

// receive takes a message about snapshots.
func (t *snapshotTransfer) receive(kind messageKind, from NodeID, body []byte) {
	if t.g.failed != nil {
		return
	}
	var err error
	switch kind {
	case messageOffer:
		err = t.offered(from, body)
	case messageWant:
		err = t.wanted(from, body)
	case messagePiece:
		err = t.piece(from, body)
	case messageGot:
		err = t.got(from, body)
	case messageRaft, messageForward, messageAnswer, messageCall, messageReply, messageFull:
	}
	if err != nil {
		t.g.host.options.Logger.Warn("rsmraft: message ignored", "from", from, "group", t.g.id, "error", err)
	}
}

// offered begins to ask for a snapshot.
func (t *snapshotTransfer) offered(from NodeID, body []byte) error {
	if len(body) < 8 {
		return fmt.Errorf("%w: %d bytes", errMessage, len(body))
	}
	size := binary.LittleEndian.Uint64(body)
	kind, _, inner, err := decodeMessageHeader(body[8:])
	if err != nil || kind != messageRaft || size > maxOfferedFile {
		return errors.Join(errMessage, err)
	}
	m, err := decodeRaft(inner, t.g.host.id)
	if err != nil {
		return err
	}
	if !t.g.host.takesEntries() {
		return nil
	}
	if t.g.installing {
		return nil // the file of the last one is needed yet; the leader offers again
	}
	meta := m.GetSnapshot().GetMetadata()
	if m.GetType() != pb.MsgSnap || meta == nil || m.GetFrom() != uint64(from) {
		return fmt.Errorf("%w: offer of a %v", errMessage, m.GetType())
	}
	state := rsm.State{Index: rsm.Index(meta.GetIndex()), Term: meta.GetTerm()}
	if r := t.receives; r != nil && r.from == from && r.state.Index == state.Index && r.state.Term == state.Term {
		r.message = m // of a later term perhaps
		return nil
	}
	t.abandon()
	r := &receiving{from: from, message: m, state: state, size: int64(size), busy: true}
	t.receives = r
	g := t.g
	g.host.saves.Post(func() {
		part, err := g.replica.OpenPart(state)
		have := int64(0)
		if err == nil {
			r.part, have = part, part.Size()
		}
		g.loop.Post(func() {
			r.busy = false
			if err != nil {
				t.give(r, err)
				return
			}
			r.have, r.asked = have, have
			t.ask(r)
		})
	})
	return nil
}

// abandon ends the transfer under way to this node; what came stays on the disk.
func (t *snapshotTransfer) abandon() {
	r := t.receives
	if r == nil {
		return
	}
	t.receives = nil
	t.g.host.saves.Post(func() {
		if r.part != nil {
			_ = r.part.Close() // what is missing is asked for again
		}
	})
}

// close ends all transfers of a group that has failed.
func (t *snapshotTransfer) close() {
	for _, to := range sortedKeys(t.sends) {
		t.closeSend(t.sends[to])
	}
	clear(t.sends)
	t.abandon()
}

// give says why a snapshot was not received, and gives it up.
func (t *snapshotTransfer) give(r *receiving, err error) {
	t.g.host.options.Logger.Warn("rsmraft: snapshot not received", "group", t.g.id, "from", r.from, "index", uint64(r.state.Index), "error", err)
	if t.receives == r {
		t.abandon()
	}
}

// ask asks for the next pieces, or finishes.
func (t *snapshotTransfer) ask(r *receiving) {
	if t.receives != r {
		return
	}
	if r.have >= r.size {
		t.finish(r)
		return
	}
	for r.asked < r.size && r.asked < r.have+piecesAhead*pieceBytes {
		b := appendMessageHeader(nil, messageWant, t.g.id)
		b = binary.LittleEndian.AppendUint64(b, uint64(r.state.Index))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.asked))
		t.g.host.options.Network.Send(r.from, LaneRaft, [][]byte{b})
		r.asked = min(r.asked+pieceBytes, r.size)
	}
}

// wanted sends a piece.
func (t *snapshotTransfer) wanted(from NodeID, body []byte) error {
	if len(body) != 16 {
		return fmt.Errorf("%w: %d bytes", errMessage, len(body))
	}
	index, offset := rsm.Index(binary.LittleEndian.Uint64(body)), binary.LittleEndian.Uint64(body[8:])
	s := t.sends[from]
	if s == nil || s.index != index || offset > maxOfferedFile {
		return nil // was given up: the consensus will offer another
	}
	s.idle = 0
	s.sent = max(s.sent, min(int64(offset)+pieceBytes, s.size.Load()))
	g := t.g
	g.host.saves.Post(func() {
		if s.file == nil {
			return
		}
		b := appendMessageHeader(make([]byte, 0, messageHeaderBytes+16+pieceBytes), messagePiece, g.id)
		b = binary.LittleEndian.AppendUint64(b, uint64(index))
		b = binary.LittleEndian.AppendUint64(b, offset)
		n, err := s.file.ReadAt(b[len(b):cap(b)], int64(offset))
		if n == 0 {
			g.host.options.Logger.Warn("rsmraft: snapshot cannot be read", "group", g.id, "offset", offset, "error", err)
			g.loop.Post(func() { t.ended(from, s, raft.SnapshotFailure) })
			return
		}
		g.host.options.Network.Send(from, LaneBulk, [][]byte{b[:len(b)+n]})
	})
	return nil
}

// piece takes a piece that was asked for. One that comes out of order is dropped,
// and asked for again.
func (t *snapshotTransfer) piece(from NodeID, body []byte) error {
	if len(body) < 16 {
		return fmt.Errorf("%w: %d bytes", errMessage, len(body))
	}
	index, offset := rsm.Index(binary.LittleEndian.Uint64(body)), int64(binary.LittleEndian.Uint64(body[8:]))
	r := t.receives
	if r == nil || r.from != from || r.state.Index != index || r.busy || offset != r.have {
		return nil
	}
	data := body[16:]
	if int64(len(data)) > r.size-r.have {
		return fmt.Errorf("%w: a piece of %d bytes at %d of %d", errMessage, len(data), offset, r.size)
	}
	r.idle, r.tries = 0, 0
	r.have += int64(len(data))
	g := t.g
	g.host.saves.Post(func() {
		err := g.host.room()
		if err == nil && r.part != nil {
			err = r.part.Append(data)
		}
		if err != nil {
			g.loop.Post(func() { t.give(r, err) })
		}
	})
	t.ask(r)
	return nil
}

// finish checks what came and hands the leader's message to the consensus.
func (t *snapshotTransfer) finish(r *receiving) {
	r.busy = true
	g := t.g
	g.host.saves.Post(func() {
		if r.part == nil {
			return
		}
		state, err := r.part.Finish()
		if err == nil && (state.Index != r.state.Index || state.Term != r.state.Term) {
			err = fmt.Errorf("%w: it holds index %d of term %d", errMessage, state.Index, state.Term)
		}
		g.loop.Post(func() {
			if t.receives != r {
				return
			}
			t.receives = nil
			if err != nil {
				t.give(r, err)
				return
			}
			t.finished = state
			g.receive(r.message)
			b := binary.LittleEndian.AppendUint64(appendMessageHeader(nil, messageGot, g.id), uint64(state.Index))
			g.host.options.Network.Send(r.from, LaneRaft, [][]byte{b})
		})
	})
}

// got ends a transfer that succeeded.
func (t *snapshotTransfer) got(from NodeID, body []byte) error {
	if len(body) != 8 {
		return fmt.Errorf("%w: %d bytes", errMessage, len(body))
	}
	if s := t.sends[from]; s != nil && s.index == rsm.Index(binary.LittleEndian.Uint64(body)) {
		t.ended(from, s, raft.SnapshotFinish)
	}
	return nil
}

// tick looks for transfers that do not go on.
func (t *snapshotTransfer) tick() {
	unit := t.g.host.options.ElectionTicks
	for _, to := range sortedKeys(t.sends) {
		s := t.sends[to]
		if s.idle++; s.idle > sendPatience*unit || !t.g.leads {
			t.ended(to, s, raft.SnapshotFailure)
		}
	}
	if r := t.receives; r != nil && !r.busy {
		if r.idle++; r.idle > askPatience*unit {
			r.idle, r.asked = 0, r.have
			if r.tries++; r.tries > sendPatience || r.from != t.g.lead {
				t.abandon()
				return
			}
			t.ask(r)
		}
	}
}

// install replaces the state by the snapshot that the consensus accepted: first
// the machine's, then the log's.
func (g *Group) install(m *pb.Message, w *appendWork) {
	meta := m.GetSnapshot().GetMetadata()
	state := g.transfer.finished
	if uint64(state.Index) != meta.GetIndex() || state.Term != meta.GetTerm() {
		g.host.fail(fmt.Errorf("rsmraft: group %d: the consensus takes the snapshot at %d, which was not received", g.id, meta.GetIndex()))
		return
	}
	g.installing = true
	if m.Term != nil { // a change of the hard state comes with it
		g.log.hard = hardState{m.GetTerm(), m.GetVote(), m.GetCommit()}
	}
	g.log.hard.commit = max(g.log.hard.commit, meta.GetIndex())
	w.heads = append(w.heads, record{kind: recordSnapshot, group: g.id, term: state.Term, index: uint64(state.Index)})
	w.addHardState(g.log.hard)
	w.then = func(first wal.Index) {
		g.appends--
		g.log.written = *w.hard
		g.log.restart(state)
		g.log.snap = state
		g.log.time = max(g.log.time, state.Time)
		g.log.stored = first
		g.log.whole = false
		g.members = nil
		g.publish()
		g.noteNeeds()
		g.deliver(w.responses)
		g.installing = false
		g.storeHeld()
		g.work()
	}
	g.appends++
	g.apply.Post(func() {
		if err := g.replica.Install(state); err != nil {
			g.host.fail(err)
			return
		}
		g.loop.Post(func() { g.host.append(w) })
	})
}
