package mutation

import "fmt"

// How many seeds of a simulation are tried at the most. Nearly all bugs are found
// by the first few, but which these are changes with the code.
const (
	faultSeeds   = 100
	clusterSeeds = 60
)

// faults is the simulation of a replicated log among faults. Which of its checks sees a bug
// first changes with the code; of some, the first sign is that nothing goes on.
func faults(says string) by {
	return by{pkg: "rsm/rsmraft", run: "^TestFaults$", args: []string{fmt.Sprint("-seeds=", faultSeeds)}, says: says + "|not within a minute"}
}

// lost are the signs that something which was acknowledged is not there any more.
const lost = `wal: corrupt|Was the raft log corrupted, truncated, or lost|is not there|as command`

// unexplained is what the model says where a partition hears of another what that has not
// decided.
const unexplained = `does not follow from what partition \d+ has decided`

// votes is the simulation of voters that die after they have voted.
func votes(says string) by { return by{pkg: "rsm/rsmraft", run: "^TestVotesAreKept$", says: says} }

// torn are the simulations of a follower that dies while it replaces entries.
func torn(says string) by {
	return by{pkg: "rsm/rsmraft", run: "^(TestTornReplacement|TestCheckpointDuringAWrite)$", says: says}
}

// cluster is the simulation of a whole cluster with its wallet and clients. Which of
// its checks sees a bug first changes with the code; each says at which seed.
func cluster() by {
	return by{pkg: "internal/sim/simcluster", run: "^TestSeeds$", args: []string{fmt.Sprint("-seeds=", clusterSeeds)}, says: `simcluster_test.go:\d+: seed \d+: `}
}

// partitions compares partitions of the wallet, and messages between them, with a
// model.
func partitions(says string) by {
	return by{
		pkg: "wallet", run: "^TestPartitionsAgainstModel$", says: says,
		args: []string{"-rapid.seed=1", "-rapid.checks=100", "-rapid.nofailfile", "-rapid.shrinktime=0s"},
	}
}

// holds compares partitions of the wallet that have holds with a model.
func holds(says string) by {
	b := partitions(says)
	b.run = "^TestHoldsAgainstModel$"
	return b
}

// transactions is the same with transactions of many legs, and reversals.
func transactions(says string) by {
	b := partitions(says)
	b.run = "^TestTransactionsAgainstModel$"
	b.args[1] = "-rapid.checks=300"
	return b
}

var bugs = []bug{
	// What is durable.
	{
		name: "the log is not synced",
		file: "wal/batch.go",
		edits: []edit{{`
		if err := l.file.Sync(); err != nil {
			return l.named(err)
		}
		l.filled = max(`, `
		l.filled = max(`}},
		found: []by{faults(lost), cluster()},
	},
	{
		name:  "a torn record is taken for a whole one",
		file:  "wal/cursor.go",
		edits: []edit{{"if crc32.Update(0, castagnoli, p) != f.dataCRC {", "if crc32.Update(0, castagnoli, p) != f.dataCRC && f.length < 0 {"}},
		found: []by{{pkg: "rsm/rsmraft", run: "^TestTornWrites$", says: "open node .*(log record|corrupt)"}, faults("open node .*(log record|corrupt)")},
	},
	{
		name:  "a snapshot does not wait for the decisions before it",
		file:  "rsm/snapshot.go",
		edits: []edit{{"\tif s.r.decisions == nil {\n", "\tif s.r.decisions != nil {\n"}},
		found: []by{{pkg: "rsm", run: "^TestDecisionsStayOnRecord$", says: "-want \\+got|on record"}},
	},
	{
		name: "messages leave before what they say is durable",
		file: "rsm/rsmraft/group.go",
		edits: []edit{{`
	if durable {
		w.addHardState(g.log.hard)`, `
	for _, m := range w.responses {
		if m.GetTo() != uint64(g.host.id) {
			g.send(m)
		}
	}
	if durable {
		w.addHardState(g.log.hard)`}},
		found: []by{faults(lost)},
	},
	{
		name: "messages overtake the write that they wait for",
		file: "rsm/rsmraft/group.go",
		edits: []edit{{`
	if durable {
		w.addHardState(g.log.hard)`, `
	if !durable {
		for _, m := range w.responses {
			if m.GetTo() != uint64(g.host.id) {
				g.send(m)
			}
		}
	}
	if durable {
		w.addHardState(g.log.hard)`}},
		found: []by{faults(lost)},
	},
	{
		name: "entries are applied when the leader has them",
		file: "rsm/rsmraft/group.go",
		edits: []edit{{`
		g.log.keep(e)
`, `
		g.log.keep(e)
		if len(g.pending) > 0 && g.pending[0].index == e.GetIndex() {
			c := g.committed(e)
			g.apply.Post(func() {
				if c.Index == g.replica.State().Index+1 {
					g.applyEntry(&c)
				}
			})
		}
`}, {`
			g.applyEntry(&entries[i])
`, `
			if entries[i].Index > g.replica.State().Index {
				g.applyEntry(&entries[i])
			}
`}},
		found: []by{faults("as command|is not there|not linearizable|were known at"), cluster()},
	},
	{
		name: "a vote is not written down",
		file: "rsm/rsmraft/group.go",
		edits: []edit{{`
		durable = durable || hard.term != g.log.hard.term || hard.vote != g.log.hard.vote
`, `
`}},
		found: []by{votes("leads term")},
	},
	{
		name:  "the checkpoint forgets votes",
		file:  "rsm/rsmraft/checkpoint.go",
		edits: []edit{{"\t\tl.hard = g.hard\n", ""}},
		found: []by{votes("leads term")},
	},
	{
		name:  "the checkpoint passes over an entry",
		file:  "rsm/rsmraft/checkpoint.go",
		edits: []edit{{"i := uint64(max(l.snap.Index, l.start.Index)) + 1;", "i := uint64(max(l.snap.Index, l.start.Index)) + 2;"}},
		found: []by{faults("those between are missing")},
	},
	{
		name:  "how much is committed stands before the entries that it is about",
		file:  "rsm/rsmraft/host.go",
		edits: []edit{{"for w.hardAt < len(w.entries) && w.entries[w.hardAt].GetIndex() <= h.commit {", "for false {"}},
		found: []by{torn("as command")},
	},
	{
		name:  "the checkpoint knows of commits that are not durable yet",
		file:  "rsm/rsmraft/checkpoint.go",
		edits: []edit{{"hard: l.written, snapshot", "hard: l.hard, snapshot"}},
		found: []by{torn("as command")},
	},
	{
		name:  "how much is committed is not written down",
		file:  "rsm/rsmraft/host.go",
		edits: []edit{{"index: h.commit, vote: h.vote})", "vote: h.vote})"}},
		found: []by{faults("as command|so does node")},
	},
	{
		name:  "members change before the disk says that they do",
		file:  "rsm/rsmraft/execute.go",
		edits: []edit{{"e.GetType() != pb.EntryNormal && e.GetIndex() > g.log.written.commit", "false && e.GetType() != pb.EntryNormal"}},
		found: []by{{pkg: "rsm/rsmraft", run: "^TestLastMember$", says: "not within a minute: it leads again"}},
	},
	{
		name:  "a snapshot claims an entry more than it has",
		file:  "rsm/snapshot.go",
		edits: []edit{{"s.job = &snapshotJob{at: r.state, source:", "at := r.state\n\tat.Index++\n\ts.job = &snapshotJob{at: at, source:"}},
		found: []by{faults("as command|non-joint config")},
	},
	{
		name:  "snapshots forget the members",
		file:  "rsm/replica.go",
		edits: []edit{{"\tif c.Conf != nil {\n\t\tr.state.Conf = c.Conf\n\t}\n", ""}},
		found: []by{faults("non-joint config")},
	},
	{
		name: "entries of another leader stay behind those that replace them",
		file: "rsm/rsmraft/grouplog.go",
		edits: []edit{{`
	l.refs = append(l.refs[:index-l.firstIndex()], at)
`, `
	if index <= l.lastIndex() {
		l.refs[index-l.firstIndex()] = at
	} else {
		l.refs = append(l.refs, at)
	}
`}},
		found: []by{faults("out of bound|as command")},
	},
	{
		name: "the consensus is not told that a snapshot was not sent",
		file: "rsm/rsmraft/group.go",
		edits: []edit{{`
			g.reportSnapshot(to, raft.SnapshotFailure)
		}
		return
`, `
		}
		return
`}},
		found: []by{{pkg: "rsm/rsmraft", run: "^TestSnapshotOfALeaderWhoseDiskHangs$", says: "not within"}},
	},

	// What is answered.
	{
		name: "what may be done is said not to be",
		file: "rsm/rsmraft/group.go",
		edits: []edit{{
			`err := fmt.Errorf("%w: leadership of group %d was lost", rsm.ErrUnknown, g.id)`,
			`err := fmt.Errorf("%w: leadership of group %d was lost", rsm.ErrNoLeader, g.id)`,
		}},
		found: []by{faults("was answered .* and is there")},
	},
	{
		name: "a forwarded proposal is taken each time that it comes",
		file: "rsm/rsmraft/forward.go",
		edits: []edit{{`
	if f.again(takenKey{from, number}) {`, `
	if f.again(takenKey{from, number}) && g.failed != nil {`}},
		found: []by{faults("is there twice")},
	},

	// What is read.
	{
		name:  "a read is not confirmed by a majority",
		file:  "rsm/rsmraft/group.go",
		edits: []edit{{"raft.ReadOnlySafe", "raft.ReadOnlyLeaseBased"}},
		found: []by{{pkg: "rsm/rsmraft", run: "^TestPausedLeader$", says: "were acknowledged before"}, faults("not linearizable|were known at")},
	},
	{
		name:  "a read does not wait for its index",
		file:  "rsm/rsmraft/reads.go",
		edits: []edit{{"q.g.replica.Read(rsm.Index(s.Index), ", "q.g.replica.Read(0, "}},
		found: []by{faults("not linearizable|were known at")},
	},
	{
		name:  "an index that the process before this one asked for is taken for ours",
		file:  "rsm/rsmraft/reads.go",
		edits: []edit{{"q.g, q.number = g, g.host.runtime.Rand()", "q.g = g"}},
		found: []by{{pkg: "rsm/rsmraft", run: "^TestReadAfterARestart$", says: "6 were acknowledged"}},
	},
	{
		name:  "a stale read says that it is as new as the answer to it",
		file:  "rsm/rsmraft/reads.go",
		edits: []edit{{"batch, began := q.asked, int64(q.began)+1", "batch, began := q.asked, int64(q.g.host.runtime.Elapsed())+1"}},
		found: []by{faults("were known at")},
	},

	// Transfers between partitions.
	{
		name: "a Cancel before its Try is not remembered",
		file: "wallet/participant.go",
		edits: []edit{{`
	case stateUnseen:
		*p = participant{state: stateRefused, code: Canceled}
`, `
	case stateUnseen:
`}},
		found: []by{partitions(unexplained), cluster()},
	},
	{
		name: "a Confirm that comes again credits again",
		file: "wallet/participant.go",
		edits: []edit{{`m.accounts.at(uint64(p.to)).tenant, b)
		p.state = stateCredited
`, `m.accounts.at(uint64(p.to)).tenant, b)
`}},
		found: []by{partitions(unexplained)},
	},
	{
		name: "a payer whose transfer is refused does not get its money back",
		file: "wallet/phase.go",
		edits: []edit{{`
		if a.code != Applied {
			m.giveBack(peer, f)
		} else if f.hold != 0 {
`, `
		if a.code == Applied && f.hold != 0 {
`}},
		found: []by{partitions("account a|are off by")},
	},
	{
		name: "a transfer is given up that the receiving side has agreed to",
		file: "wallet/phase.go",
		edits: []edit{{`
	case Trying:
		m.release(f)
		m.giveBack(peer, f)
`, `
	case Confirming:
		m.giveBack(peer, f)
	case Trying:
		m.release(f)
		m.giveBack(peer, f)
`}, {"case Crediting, Confirming:\n", "case Crediting:\n"}},
		found: []by{partitions(`got \[.*\], want`)},
	},
	{
		name:  "snapshots forget the participants",
		file:  "wallet/crosssnap.go",
		edits: []edit{{"p.in.low, p.in.appendTo(make([]participant, 0, p.in.next-p.in.low))", "p.in.next, []participant(nil)"}},
		found: []by{partitions("differs after a crash")},
	},
	{
		name: "a new leader does not look into the phase status table",
		file: "wallet/coordinator.go",
		edits: []edit{{`
	for peer := range c.links {
		c.scan(uint16(peer))
	}
`, `
	_ = c.scan
`}},
		found: []by{cluster()},
	},
	{
		name: "a new leader forgets transfers that are to be confirmed",
		file: "wallet/coordinator.go",
		edits: []edit{{`
		for _, v := range found {
			c.due(peer, v.seq)
`, `
		for _, v := range found {
			if v.action == actConfirm {
				continue
			}
			c.due(peer, v.seq)
`}},
		found: []by{cluster()},
	},
	{
		name:  "a partition says that it has finished one transfer more than it has",
		file:  "wallet/cross.go",
		edits: []edit{{"return m.crossing.peers[peer].out.low }", "return m.crossing.peers[peer].out.low + 1 }"}},
		found: []by{cluster()},
	},
	{
		name:  "a payer gets its money back and is told that the transfer was made",
		file:  "wallet/phase.go",
		edits: []edit{{"\tif f.phase != Canceling {\n\t\tm.decide(f, a.code, p)\n\t}\n", "\tif f.phase != Canceling {\n\t\tm.decide(f, Applied, p)\n\t}\n"}},
		found: []by{cluster()},
	},

	// Holds.
	{
		name:  "a capture for another partition leaves the hold as it is",
		file:  "wallet/holdrules.go",
		edits: []edit{{"\th.left -= c.amount\n\tm.fly(h, c.amount)\n\tm.addHeld(debit, -c.amount)\n", "\tm.fly(h, c.amount)\n"}},
		found: []by{holds("account a|are left|held")},
	},
	{
		name:  "a hold ends a millisecond late",
		file:  "wallet/hold.go",
		edits: []edit{{"Millis(now/1e6) >= m }", "Millis(now/1e6) > m }"}},
		found: []by{holds(`got \[.*\], want|account a`)},
	},

	// Transactions of many legs.
	{
		name:  "a participant keeps what it debited for a transaction that is canceled",
		file:  "wallet/transactionapply.go",
		edits: []edit{{"		if l.amount < 0 {\n			m.book(at, b, l, -l.amount)\n", "		if l.amount < 0 && at.out {\n			m.book(at, b, l, -l.amount)\n"}},
		found: []by{transactions("account a")},
	},
	{
		name:  "a transaction is confirmed before the last participant has agreed",
		file:  "wallet/transactionflight.go",
		edits: []edit{{"	if next < 0 {\n", "	if next < 0 || next == len(t.parts)-1 && t.protocol == TCC {\n"}},
		found: []by{transactions(`got \[.*\], want|account a`)},
	},
	{
		name:  "a reversal that is refused stays counted",
		file:  "wallet/transactionflight.go",
		edits: []edit{{"		m.unreserve(&t.reverses)\n", ""}},
		found: []by{transactions("is taken back, want")},
	},
}
