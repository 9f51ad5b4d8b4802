package rsmraft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/rsm"
	"maru.example/wal"
)

// Group is this node's replica of a group. It is safe for concurrent use.
//
// It has two loops. One drives the consensus: it takes proposals from the queue,
// messages from the network, and what became durable from the host's log. The
// other applies what is committed, and runs reads.
type Group struct {
	host    *Host
	id      GroupID
	loop    rsm.Loop
	apply   rsm.Loop
	queue   *rsm.Queue
	replica *rsm.Replica // the apply loop's
	calls   sync.Pool    // of *call
	reads   readQueue
	leading func(bool)

	status    atomic.Pointer[Status]
	underWay  atomic.Int64 // bytes proposed here and not applied yet
	ticking   atomic.Bool  // a tick is posted
	closing   atomic.Bool
	drained   chan struct{} // closed when there is no more to be answered
	ended     chan struct{} // closed when all is answered, after the group has failed or was closed
	needs     atomic.Pointer[needs]
	writing   atomic.Int64 // Host.awake when a write of its own began, plus one; 0: none is under way; or writeGivenUp
	elections atomic.Uint64
	latency   latency
	cramped   atomic.Pointer[error] // why no majority takes entries, if so
	savedAt   atomic.Uint64         // bytes that the host had written when the last snapshot became durable
	recovery  recoveryProgress
	kept      *keepers // who follows the feed; nil: nobody does
	broken    error    // the apply loop's: why the replica does not go on

	// The rest is the loop's.
	raw          *raft.RawNode
	log          *groupLog
	failed       error
	closingTicks int
	finished     bool
	term         uint64
	lead         NodeID
	leads        bool
	settled      bool // it leads, and an entry of its term is applied
	time         int64
	appends      int             // batches of entries on the way to the disk
	proposed     []proposedEntry // that the consensus has not shown yet
	pending      []pendingEntry  // proposed here, not committed yet, in order
	batch        []*rsm.Proposal // reused
	data         []byte          // reused

	wanting    bool          // a snapshot, for a follower
	installing bool          // a snapshot of the leader's
	held       []*pb.Message // what is to be stored when that is done
	deferred   []*pb.Message // committed entries that wait until the disk says that they are

	led   int            // ticks since this replica leads
	heard map[NodeID]int // members that a leader heard of, and ticks until that is forgotten
	full  map[NodeID]int // those that say that they have no room

	leaderless int // ticks without a leader

	silence  int // ticks since the leader was heard of
	elapsed  int // the same, or since this replica asked for votes
	patience int // ticks after which to ask for votes

	forwards  forwarder
	members   *pb.ConfState
	changes   []*confWaiter
	transfers []func(error)
	waiters   []func(error) // for this replica to lead
	transfer  snapshotTransfer
}

// proposedEntry is an entry that was proposed here.
type proposedEntry struct {
	proposals []*rsm.Proposal
	since     time.Duration // when the first of them came
}

// pendingEntry is one whose place in the log is known.
type pendingEntry struct {
	index, term uint64
	proposedEntry
}

// decidedEntry is one that is committed, to be applied; of another's, it has no
// proposals.
type decidedEntry struct {
	rsm.Committed
	since time.Duration
}

// newGroup returns a group whose log and replica are recovered. It does nothing
// until start.
func newGroup(h *Host, id GroupID, l *groupLog, r *replicaParts) (*Group, error) {
	g := &Group{host: h, id: id, loop: h.runtime.NewLoop(fmt.Sprintf("group %d", id)), apply: r.loop, replica: r.replica, log: l, time: l.time, heard: map[NodeID]int{}, full: map[NodeID]int{}, drained: make(chan struct{}), ended: make(chan struct{})}
	r.group.Store(g)
	if g.replica.Decisions() != nil {
		g.kept = newKeepers(h.options.Keepers)
	}
	g.queue = rsm.NewQueue(h.options.MaxQueueBytes, h.runtime.Elapsed, func() { g.loop.Post(g.work) })
	g.reads.init(g)
	g.forwards.init(g)
	g.transfer.init(g)
	g.recovery.init(g)
	g.resetElection()
	last := l.lastIndex()
	l.hard.commit = min(max(l.hard.commit, uint64(l.start.Index)), last)
	if term, err := l.Term(last); err == nil {
		if term > l.hard.term { // the entries came to the disk, and the hard state after them did not
			l.hard.term, l.hard.vote = term, 0
		}
	}
	l.written = l.hard
	l.members, l.wanted = g.conf, g.wantSnapshot
	raw, err := raft.NewRawNode(&raft.Config{
		ID:                        uint64(h.id),
		ElectionTick:              h.options.ElectionTicks,
		HeartbeatTick:             h.options.HeartbeatTicks,
		Storage:                   l,
		Applied:                   uint64(l.start.Index),
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             uint64(h.options.MaxEntryBytes),
		MaxCommittedSizePerReady:  16 << 20,
		MaxInflightMsgs:           256,
		MaxInflightBytes:          32 << 20,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    raftLogger{h.options.Logger, id},
	})
	if err != nil {
		return nil, fmt.Errorf("rsmraft: group %d: %w", id, err)
	}
	g.raw = raw
	g.term = l.hard.term
	g.publish()
	g.noteNeeds()
	return g, nil
}

// wantSnapshot makes a snapshot of the present state, unless that is under way.
func (g *Group) wantSnapshot() {
	if g.wanting {
		return
	}
	g.wanting = true
	g.apply.Post(func() {
		g.replica.Snapshot(func(error) { g.loop.Post(func() { g.wanting = false }) })
	})
}

// ID returns the group's number.
func (g *Group) ID() GroupID { return g.id }

// begin lets the group take part. A group of one voter, this one, elects itself
// at once.
func (g *Group) begin() {
	if g.alone() {
		g.campaign()
	}
	g.work()
}

// alone says that this replica is the group's only voter.
func (g *Group) alone() bool {
	c := g.conf()
	return len(c.GetVoters()) == 1 && c.GetVoters()[0] == uint64(g.host.id) && len(c.GetVotersOutgoing()) == 0
}

// tick is called every Options.Tick.
func (g *Group) tick() {
	g.ticking.Store(false)
	if g.failed != nil || g.host.stalled() {
		return // a leader whose disk hangs is not heard of any more
	}
	if g.leads {
		g.raw.Tick()
	} else {
		// Elections are begun here, not by the library, whose timeouts are drawn
		// from a source of randomness that a simulation cannot set.
		g.raw.TickQuiesced()
		g.elapsed++
		if g.silence++; g.silence > maxSilence*g.host.options.ElectionTicks && g.lead != 0 {
			g.follow(0) // one that is no member any more is not told, and must not ask for votes
		}
		if late := g.elapsed - g.patience; late >= 0 && late%g.host.options.ElectionTicks == 0 {
			g.campaignSoon()
		}
	}
	if g.leaderless++; g.lead != 0 {
		g.leaderless = 0
	}
	if g.closing.Load() {
		g.closingTicks++
	}
	g.tickChanges()
	g.reads.tick()
	g.forwards.tick()
	g.transfer.tick()
	g.latency.tick(g.host.options.Tick)
	g.tickMembers()
	g.tickRoom()
	g.refuseReads()
	g.work()
	if g.failed == nil {
		g.publish()
	}
}

// campaignSoon asks for votes within a tick, at a moment of its own: the clocks of
// two nodes may tick together.
func (g *Group) campaignSoon() {
	patience := g.patience
	within := g.host.runtime.Rand() % uint64(g.host.options.Tick)
	g.loop.After(time.Duration(within), func() {
		if g.failed == nil && !g.leads && g.elapsed >= patience && !g.host.stalled() {
			g.campaign()
			g.work()
		}
	})
}

func (g *Group) campaign() {
	// An election takes milliseconds. One that was not won, because another node
	// asked for votes at the same time, is repeated soon.
	n := g.host.options.ElectionTicks
	g.elapsed, g.patience = 0, n/2+int(g.host.runtime.Rand()%uint64(n))
	if err := g.raw.Campaign(); err != nil && !errors.Is(err, raft.ErrProposalDropped) {
		g.host.options.Logger.Debug("rsmraft: campaign", "group", g.id, "error", err)
	}
}

// resetElection gives the leader as much time again, and more at random, so that
// two nodes seldom ask for votes together.
func (g *Group) resetElection() {
	n := g.host.options.ElectionTicks
	g.elapsed, g.patience = 0, n+int(g.host.runtime.Rand()%uint64(n))
}

// receive takes a message of the consensus.
func (g *Group) receive(m *pb.Message) {
	if g.failed != nil {
		return
	}
	heard := false
	switch m.GetType() { //nolint:exhaustive // those of a leader
	case pb.MsgApp, pb.MsgHeartbeat, pb.MsgSnap:
		if m.GetTerm() >= g.term {
			g.elapsed, g.silence = 0, 0
			heard = true
		}
		if !g.takes(m) {
			return
		}
	default:
	}
	if err := g.step(m); err != nil {
		g.host.fail(err)
		g.end(g.host.Err()) // now: the library must not be asked again
		return
	}
	if heard && g.lead == 0 && g.failed == nil {
		g.observe() // a leader of whom nothing was heard for long
	}
	g.work()
}

// step gives a message to the consensus. It is an error if that cannot be true of
// what this node has written, such as that it has acknowledged more than there is.
func (g *Group) step(m *pb.Message) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case contradiction:
			err = fmt.Errorf("group %d: a message of node %d contradicts the log, which may have lost what was acknowledged: %s: %w", g.id, m.GetFrom(), string(r), wal.ErrCorrupt)
		default:
			panic(r)
		}
	}()
	if err := g.raw.Step(m); err != nil {
		g.host.options.Logger.Debug("rsmraft: message dropped", "group", g.id, "type", m.GetType().String(), "from", m.GetFrom(), "error", err)
	}
	return nil
}

// work proposes what waits, and does what the consensus asks for.
func (g *Group) work() {
	if g.failed != nil {
		return
	}
	g.propose()
	for g.failed == nil && g.raw.HasReady() {
		rd := g.raw.Ready()
		if rd.SoftState != nil || !raft.IsEmptyHardState(rd.HardState) {
			g.observe()
		}
		for _, s := range rd.ReadStates {
			g.reads.confirmed(s)
		}
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				g.store(m)
			case raft.LocalApplyThread:
				g.execute(m)
			default:
				g.send(m)
			}
		}
		g.propose()
	}
	g.finish()
}

// observe notes a new term or leader.
func (g *Group) observe() {
	s := g.raw.BasicStatus()
	lead, leads := NodeID(s.Lead), s.RaftState == raft.StateLeader
	if leads && !g.leads || s.GetTerm() != g.term {
		g.settled = false
	}
	if g.leads && (!leads || s.GetTerm() != g.term) {
		g.lostLeadership()
	}
	g.term, g.leads = s.GetTerm(), leads
	if lead != g.lead {
		g.follow(lead)
	} else {
		g.publish()
	}
}

// maxSilence is after how many election timeouts a leader that is not heard of is
// none for this replica.
const maxSilence = 3

// longElection is how many election timeouts an election may take until it is said
// that there is no majority.
const longElection = 5

// missesMajority says that no leader has been known for longer than elections take.
func (g *Group) missesMajority() bool {
	return g.lead == 0 && g.leaderless > longElection*g.host.options.ElectionTicks
}

// noLeader is the error where no leader is known.
func (g *Group) noLeader() error {
	if g.missesMajority() {
		return fmt.Errorf("%w: group %d", rsm.ErrNoMajority, g.id)
	}
	return fmt.Errorf("%w: group %d", rsm.ErrNoLeader, g.id)
}

// follow notes who leads; 0: nobody is known to.
func (g *Group) follow(lead NodeID) {
	g.lead, g.silence = lead, 0
	g.publish()
	if lead != 0 {
		g.resetElection()
		g.elections.Add(1)
	}
	g.host.options.Logger.Info("rsmraft: leader", "group", g.id, "term", g.term, "leader", g.lead)
	g.forwards.leaderChanged()
	g.reads.leaderChanged()
}

// lostLeadership answers those whose proposals may be committed by another
// leader, or never.
func (g *Group) lostLeadership() {
	g.settled = false
	if g.leading != nil {
		g.apply.Post(func() { g.leading(false) })
	}
	g.settleChanges() // a leader that was removed has done what it was to do
	g.failChanges(fmt.Errorf("%w: leadership of group %d was lost", rsm.ErrUnknown, g.id))
	for _, done := range g.transfers {
		done(nil)
	}
	g.transfers = nil
	pending, proposed := g.pending, g.proposed
	g.pending, g.proposed = nil, nil
	err := fmt.Errorf("%w: leadership of group %d was lost", rsm.ErrUnknown, g.id)
	for _, p := range pending {
		g.refuse(p.proposals, err)
	}
	for _, p := range proposed {
		g.refuse(p.proposals, err)
	}
}

// refuse answers proposals with an error, on the apply loop like every answer.
func (g *Group) refuse(proposals []*rsm.Proposal, err error) {
	g.apply.Post(func() { g.refuseNow(proposals, err) })
}

func (g *Group) refuseNow(proposals []*rsm.Proposal, err error) {
	for _, p := range proposals {
		g.answered(rsm.RoomOf(p))
		p.Done(nil, rsm.Position{}, err)
	}
}

// answered gives back the room of proposals.
func (g *Group) answered(bytes int64) {
	g.underWay.Add(-bytes)
	g.queue.Release(bytes)
}

// propose takes proposals from the queue. A leader waits until its last entries
// are durable, so that more come together, but not if there is a whole entry.
func (g *Group) propose() {
	for g.leads && g.failed == nil {
		waiting := g.queue.Waiting()
		if waiting == 0 || g.underWay.Load() >= flushesUnderWay*maxFlushBytes ||
			g.appends+len(g.proposed) > 0 && waiting < int64(g.host.options.MaxEntryBytes) {
			return
		}
		var since time.Duration
		g.batch, since = g.queue.Take(g.batch[:0], maxFlushBytes)
		if len(g.batch) == 0 {
			return
		}
		g.proposeBatch(g.batch, since)
		clear(g.batch)
	}
	if !g.leads {
		g.forwards.forward()
	}
}

// proposeBatch makes entries of proposals, each of which ends with the proposal
// that makes it reach MaxEntryBytes.
func (g *Group) proposeBatch(batch []*rsm.Proposal, since time.Duration) {
	g.time = max(g.time, g.host.runtime.Now().UnixNano())
	for len(batch) > 0 {
		n, bytes, room := 0, 0, int64(0)
		for n < len(batch) && (n == 0 || bytes < g.host.options.MaxEntryBytes) {
			bytes += len(batch[n].Data) + 4
			room += rsm.RoomOf(batch[n])
			n++
		}
		g.underWay.Add(room)
		g.data = rsm.AppendEntry(g.data[:0], g.time, batch[:n])
		if err := g.raw.Propose(g.data); err != nil { // copies the data
			g.refuse(append([]*rsm.Proposal(nil), batch[:n]...), fmt.Errorf("%w: group %d: %w", rsm.ErrNoLeader, g.id, err))
		} else {
			g.proposed = append(g.proposed, proposedEntry{append([]*rsm.Proposal(nil), batch[:n]...), since})
		}
		batch = batch[n:]
	}
}

// store writes what the consensus wants to be durable, and then delivers the
// responses. A snapshot waits for the entries before it to be executed, and what comes after
// it for its end.
func (g *Group) store(m *pb.Message) {
	snap := m.GetSnapshot()
	if g.installing || len(g.held) > 0 || !raft.IsEmptySnap(snap) && len(g.deferred) > 0 {
		g.held = append(g.held, m)
		return
	}
	w := &appendWork{group: g, entries: m.GetEntries(), responses: m.GetResponses()}
	g.claim(w.entries)
	if !raft.IsEmptySnap(snap) {
		g.install(m, w)
		return
	}
	durable, hard := len(w.entries) > 0, hardState{m.GetTerm(), m.GetVote(), m.GetCommit()}
	if hard != (hardState{}) {
		durable = durable || hard.term != g.log.hard.term || hard.vote != g.log.hard.vote
		g.log.hard = hard // the commit index alone is no reason to write, but for execute
	}
	if !durable && g.appends == 0 {
		g.deliver(w.responses)
		return
	}
	if durable {
		w.addHardState(g.log.hard)
	}
	g.appends++
	if !durable || !g.solo() {
		g.host.append(w)
		return
	}
	// Nobody is waiting for a message of a group of one: its loop can as well do
	// the writing, as nothing else would be done meanwhile but to wait for it.
	began := g.host.sinceNow()
	g.writing.Store(began)
	first, err := g.host.appendNow([]*appendWork{w})
	switch {
	case !g.writing.CompareAndSwap(began, 0):
		<-g.ended // the write was given up
		g.writing.Store(0)
	case err != nil:
		g.host.fail(err)
	default:
		g.note(w, first)
	}
}

// storeHeld stores what had to wait, as far as it has not to wait for something else.
func (g *Group) storeHeld() {
	held := g.held
	g.held = nil
	for _, m := range held {
		g.store(m)
	}
}

// solo says that the group has no other members, and nothing is on its way to
// the disk but what is stored now.
func (g *Group) solo() bool {
	c := g.conf()
	return g.appends == 1 && g.alone() && len(c.GetLearners())+len(c.GetLearnersNext()) == 0
}

// writesSince says that a write of the group's own is under way that began longer
// ago.
func (g *Group) writesSince(d time.Duration) bool {
	began := g.writing.Load()
	return began > 0 && time.Duration(g.host.awake.Load()-began) > d
}

// claim notes the places of the entries that were proposed here.
func (g *Group) claim(entries []*pb.Entry) {
	for _, e := range entries {
		if e.GetType() != pb.EntryNormal || len(e.GetData()) == 0 {
			continue
		}
		if len(g.proposed) == 0 {
			g.time = max(g.time, rsm.EntryTime(e.GetData()))
			continue
		}
		g.pending = append(g.pending, pendingEntry{e.GetIndex(), e.GetTerm(), g.proposed[0]})
		g.proposed = g.proposed[1:]
	}
}

// stored is called when the records of w are durable, the first of them at first.
func (g *Group) stored(w *appendWork, first wal.Index) {
	g.note(w, first)
	g.work()
}

// note takes up what became durable, and delivers the responses.
func (g *Group) note(w *appendWork, first wal.Index) {
	g.appends--
	if g.failed != nil {
		return
	}
	for i, e := range w.entries {
		g.log.add(e.GetIndex(), e.GetTerm(), first+wal.Index(w.before(i)))
		g.log.keep(e)
	}
	if w.hard != nil {
		g.log.written = *w.hard
	}
	g.deliver(w.responses)
}

// deliver hands responses to where they are for.
func (g *Group) deliver(responses []*pb.Message) {
	for _, m := range responses {
		if m.GetTo() != uint64(g.host.id) {
			g.send(m)
			continue
		}
		if err := g.raw.Step(m); err != nil {
			g.host.options.Logger.Debug("rsmraft: response dropped", "group", g.id, "type", m.GetType().String(), "error", err)
		}
	}
}

// executeNow hands entries to the replica whose commitment is as durable as it has to be.
func (g *Group) executeNow(m *pb.Message) {
	entries := make([]decidedEntry, len(m.GetEntries()))
	for i, e := range m.GetEntries() {
		entries[i] = g.committed(e)
	}
	responses, last, term := m.GetResponses(), entries[len(entries)-1].Index, entries[len(entries)-1].Term
	g.apply.Post(func() {
		for i := range entries {
			g.applyEntry(&entries[i])
			entries[i] = decidedEntry{}
		}
		g.loop.Post(func() { g.executed(last, term, responses) })
	})
}

// send sends a message of the consensus.
func (g *Group) send(m *pb.Message) {
	to := NodeID(m.GetTo())
	if g.host.stalled() {
		if m.GetType() == pb.MsgSnap { // or the consensus would wait for its end for ever
			g.reportSnapshot(to, raft.SnapshotFailure)
		}
		return
	}
	switch m.GetType() { //nolint:exhaustive // those of interest
	case pb.MsgSnap:
		if _, full := g.full[to]; full {
			g.reportSnapshot(to, raft.SnapshotFailure) // it is tried again
			return
		}
		g.transfer.offer(to, m)
		return
	case pb.MsgVoteResp:
		if !m.GetReject() {
			g.elapsed = 0
		}
	default:
	}
	if !g.host.options.Network.Send(to, LaneRaft, encodeRaft(g.id, m)) && m.GetType() == pb.MsgApp {
		g.raw.ReportUnreachable(uint64(to))
	}
}

// fail ends the group: nothing is proposed, sent or applied any more. Where the
// loop is held by a write of the group's own, which may hang, its work is done
// here: the loop waits for that when it comes back.
func (g *Group) fail(err error) {
	g.queue.Fail(err)
	if began := g.writing.Load(); began > 0 && g.writing.CompareAndSwap(began, writeGivenUp) {
		g.end(err)
		return
	}
	g.loop.Post(func() { g.end(err) })
}

// writeGivenUp is in Group.writing from when a write was given up until it ends.
const writeGivenUp = -1

// end answers all that waits with an error. It runs once.
func (g *Group) end(err error) {
	if g.failed != nil {
		return
	}
	g.failed = err
	if g.leads && g.leading != nil {
		g.apply.Post(func() { g.leading(false) })
	}
	g.leads, g.lead = false, 0
	g.publish()
	unknown := err
	if !errors.Is(err, rsm.ErrFailed) {
		unknown = fmt.Errorf("%w: %v", rsm.ErrUnknown, err) //nolint:errorlint // of what was not proposed yet, err says that nothing was done
	}
	for _, p := range g.pending {
		g.refuse(p.proposals, unknown)
	}
	for _, p := range g.proposed {
		g.refuse(p.proposals, unknown)
	}
	g.pending, g.proposed = nil, nil
	for {
		batch, _ := g.queue.Take(nil, maxFlushBytes)
		if len(batch) == 0 {
			break
		}
		for _, p := range batch {
			g.underWay.Add(rsm.RoomOf(p))
		}
		g.refuse(batch, err)
	}
	g.forwards.fail(unknown)
	g.reads.fail(err)
	g.failChanges(err)
	for _, done := range g.transfers {
		done(err)
	}
	g.transfers = nil
	g.transfer.close()
	g.wakeWaiters()
	g.finish()
	g.apply.Post(func() { // last: a loop that waits for the end goes on after it
		g.replica.Close()
		close(g.ended)
	})
}

// wait returns what a loop of the group answers, or why it does not.
func wait[T any](ctx context.Context, g *Group, answer <-chan T) (v T, err error) {
	select {
	case v = <-answer:
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	case <-g.ended:
	}
	select {
	case v = <-answer: // it came before the end
		return v, nil
	default:
		return v, g.queue.Failure()
	}
}
