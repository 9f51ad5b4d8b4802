package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
)

// pastName is the directory in which a node keeps what was decided before its own log begins, as an archive.
const pastName = "past"

const (
	// gatherInterval is how often it is looked whether a replica lacks something.
	gatherInterval = 200 * time.Millisecond
	// gatherAgain is the pause after a failure, doubled with each.
	gatherAgain = time.Second
	// gatherAtMost is the longest pause before other nodes are asked again.
	gatherAtMost = 15 * time.Second
	nobodyAtMost = time.Minute // where all have said that they have it not
	// tidyInterval is how often it is looked whether the archive has what is kept.
	tidyInterval = time.Minute
	// stalledAfter is for how long nobody may have given what is missing until those who follow, but for the
	// archive, go on without it.
	stalledAfter = 10 * time.Second
	// nobodyTwice: that nobody has something counts only if it is found so often, one after the other.
	nobodyTwice = 2
)

// gatherer gets from the other nodes what this node's replicas lack of the past: a replica that was given a snapshot has
// only what was decided later. It keeps that in a directory, from where the archive ends, if there is one, up to where the
// replica's own record begins; once the archive has it, it is removed.
type gatherer struct {
	node    *node
	store   *rsmarchive.Dir
	dir     string
	cut     bool // what was before is not kept: the log is cut, and there is no archive
	serving chan struct{}
	served  sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc

	of perPartition[gathering]
}

// gathering is what becomes of a partition's past.
type gathering struct {
	suspect atomic.Bool // somebody found what is kept damaged

	mu      sync.Mutex
	state   gathered
	changed chan struct{} // closed when state changes
}

// gathered says how far that is.
type gathered struct {
	until   rsm.Index // the replica's own record begins there; 0: nobody has looked yet
	have    rsm.Index // all before until is here up to this entry, or known to be nowhere
	nobody  bool      // no node of the cluster has the next
	stalled bool      // nobody gave it for some time
	err     string    // of the last try, if it failed
	bytes   uint64    // that other nodes gave, since the start
}

// missing returns how many entries are not here.
func (s *gathered) missing() uint64 {
	if s.until <= s.have+1 {
		return 0
	}
	return uint64(s.until - 1 - s.have)
}

func newGatherer(n *node, data string, cut bool) *gatherer {
	g := &gatherer{node: n, dir: filepath.Join(data, pastName), cut: cut, serving: make(chan struct{}, maxPastServed)}
	g.store = pastStore(data)
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// follow implements follower: it gathers what the partition lacks.
func (g *gatherer) follow(ctx context.Context, partition uint16) {
	one := &gathering{changed: make(chan struct{})}
	defer g.of.begin(partition, one)()
	w := &gatheringWork{gatherer: g, partition: partition, one: one}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(w.step(ctx))
		case <-ctx.Done():
			return
		}
	}
}

// tend implements follower.
func (g *gatherer) tend() {}

// close ends serving others.
func (g *gatherer) close() {
	g.cancel()
	g.served.Wait()
}

// state returns how far a partition's past is here, and what is closed when that changes.
func (g *gatherer) state(partition uint16) (gathered, <-chan struct{}) {
	one := g.of.get(partition)
	if one == nil {
		return gathered{}, nil
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.state, one.changed
}

// set changes the state.
func (one *gathering) set(change func(*gathered)) {
	one.mu.Lock()
	defer one.mu.Unlock()
	before := one.state
	change(&one.state)
	if one.state != before {
		close(one.changed)
		one.changed = make(chan struct{})
	}
}

// awaiting returns how a feed waits for what is not here, see wholeFeed. Who is patient waits until it is here, or known to
// be nowhere; others as long as there is hope of having it soon.
func (g *gatherer) awaiting(partition uint16, patient bool) func(context.Context, rsm.Index, error) error {
	return func(ctx context.Context, at rsm.Index, gap error) error {
		look := time.NewTicker(gatherInterval)
		defer look.Stop()
		for {
			replica, err := g.node.logs[partition].Replica()
			if err != nil {
				return err
			}
			s, changed := g.state(partition)
			switch own := replica.Recorded(); {
			case own > replica.Applied(): // nothing is on record: nobody knows yet where it goes on
			case at >= own: // it is the replica's
				return nil
			case g.cut:
				return gap
			case s.until < own: // it was not looked for yet
			case at <= s.have:
				return nil
			case s.nobody, s.stalled && !patient, patient && g.node.givenUp(partition):
				return gap
			}
			select {
			case <-changed:
			case <-look.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// lacks says whether an entry of before the replica's own record is not here yet, and may come.
func (g *gatherer) lacks(partition uint16, at rsm.Index) bool {
	replica, err := g.node.logs[partition].Replica()
	if err != nil || g.cut || replica.Recorded() <= at {
		return false
	}
	s, _ := g.state(partition)
	return s.have < at && !s.nobody
}

// gatheringWork is the work of one goroutine.
type gatheringWork struct {
	*gatherer
	partition uint16
	one       *gathering

	at      rsmarchive.Position // where what is kept ends; zero: that is to be found out
	known   bool
	kept    bool          // it ends with what is kept, not with the archive
	checked bool          // all that is kept was read, and is as it was
	noted   bool          // that was noted, for the next start
	tidied  time.Time     // when it was last looked whether the archive has all
	retry   time.Duration // the next pause after a failure
	failing time.Time     // since when; zero: it is not
	nobody  int           // how often all have said so
	first   rsmraft.NodeID
	renewed bool // the history was told to begin anew
	alone   bool // the log has everything, and nothing is kept beside it
}

// step does the next piece of the work, and returns after which pause there may be more.
func (w *gatheringWork) step(ctx context.Context) time.Duration {
	replica, err := w.node.logs[w.partition].Replica()
	if err != nil || replica.Applied() == 0 {
		return gatherInterval
	}
	until := replica.Recorded()
	if w.cut || until <= rsmraft.FirstEntry {
		w.one.set(func(s *gathered) {
			*s = gathered{until: until, have: min(until, rsmraft.FirstEntry) - 1, bytes: s.bytes}
		})
		if until <= rsmraft.FirstEntry {
			w.letGo(ctx, replica)
			w.renew(ctx)
		}
		return gatherInterval
	}
	if err := w.find(ctx, until); err != nil {
		return w.failed(ctx, until, err)
	}
	if w.at.Index >= until-1 {
		w.done(ctx, until)
		return gatherInterval
	}
	if s, _ := w.state(w.partition); s.until != until || s.have != w.at.Index {
		w.node.logger.InfoContext(ctx, "entries of before this node's log are asked of the other nodes", "partition", w.partition, "from", w.at.Index+1, "to", until-1)
		w.one.set(func(s *gathered) { s.until, s.have = until, w.at.Index })
	}
	began := time.Now()
	bytes, err := w.fetch(ctx, until-1)
	if err != nil {
		w.known = false // another may have been at work in the directory
		return w.failed(ctx, until, err)
	}
	w.failing, w.nobody, w.renewed = time.Time{}, 0, false
	w.one.set(func(s *gathered) {
		s.have, s.nobody, s.stalled, s.err = w.at.Index, false, false, ""
		s.bytes += uint64(bytes)
	})
	if w.node.followers.busy.Load() {
		return 4 * time.Since(began)
	}
	return 0
}

// errNobody says that no node has what is missing.
var errNobody = errors.New("no node of the cluster has it")

// failed notes why nothing was gathered, and returns how long to wait.
func (w *gatheringWork) failed(ctx context.Context, until rsm.Index, err error) time.Duration {
	if ctx.Err() != nil {
		return gatherInterval
	}
	now := time.Now()
	if w.failing.IsZero() {
		w.failing, w.retry = now, gatherAgain
	}
	nobody := errors.Is(err, errNobody)
	if nobody {
		w.nobody++
	} else {
		w.nobody = 0
	}
	before, _ := w.state(w.partition)
	w.one.set(func(s *gathered) {
		s.until, s.have = until, w.at.Index
		s.nobody = w.nobody >= nobodyTwice
		s.stalled = now.Sub(w.failing) >= stalledAfter
		s.err = err.Error()
	})
	after, _ := w.state(w.partition)
	switch {
	case after.nobody && !before.nobody:
		w.node.logger.WarnContext(ctx, "no node of the cluster has entries of the past: history and archive begin after them", "partition", w.partition, "from", w.at.Index+1, "to", until-1, "do", "a backup, or the archive or `past` of a node that was removed, may have them: copy its folder of the partition while this node is stopped", "to_folder", filepath.Join(w.dir, w.node.identity.chained(w.partition).Folder()))
	case after.stalled && !before.stalled && !after.nobody:
		w.node.logger.WarnContext(ctx, "entries of the past are not to be had now: the nodes are asked again; the history begins after them meanwhile", "partition", w.partition, "from", w.at.Index+1, "to", until-1, "error", err)
	}
	pause, most := w.retry, gatherAtMost
	if after.nobody {
		most = nobodyAtMost
	}
	w.retry = min(2*w.retry, most)
	return pause
}

// find finds out where what is kept, or the archive, ends.
func (w *gatheringWork) find(ctx context.Context, until rsm.Index) error {
	archived := w.archivedUpTo()
	of := w.node.identity.chained(w.partition)
	if w.one.suspect.Load() {
		w.one.set(func(s *gathered) { s.until = 0 }) // until it was looked at, nobody knows
		w.one.suspect.Store(false)
		w.known, w.checked = false, false
		if err := doubt(w.dir, of); err != nil {
			w.one.suspect.Store(true)
			return err
		}
	}
	tidy := w.kept && archived >= until-1 && time.Since(w.tidied) > tidyInterval
	if more := w.at.Index < until-1 && archived > w.at.Index; w.known && !tidy && !more {
		return nil
	}
	w.tidied = time.Now()
	end, err := w.archiveEnd(ctx)
	kept, err2 := rsmarchive.Open(ctx, w.store, of, nil)
	var at rsmarchive.Position
	if err2 == nil {
		at, err2 = kept.End(ctx)
	}
	if err2 == nil && !w.checked && !wasChecked(w.dir, of) {
		err2 = w.check(ctx, kept, at.Index)
	}
	switch {
	case errors.Is(err2, rsmarchive.ErrDamaged):
		return w.setAside(ctx, of, err2)
	case err2 != nil:
		return fmt.Errorf("%s: %w", filepath.Join(w.dir, of.Folder()), err2)
	}
	w.checked = true
	usable := kept.Segments() > 0 && (kept.Begins() == 1 || err == nil && kept.Begins() <= end.Index+1)
	switch {
	case usable && (err != nil || end.Index < until-1 && end.Index <= at.Index):
		w.at, w.kept = at, true
		w.noteChecked(ctx)
	case err != nil:
		return err
	default: // the archive has more
		if kept.Segments() > 0 {
			if err := removePast(w.dir, of); err != nil {
				return err
			}
		}
		w.at, w.kept = end, false
	}
	w.known = true
	return nil
}

// archivedUpTo returns up to which entry the archive is known to go, without asking it.
func (w *gatheringWork) archivedUpTo() rsm.Index {
	if a := w.node.archive; a != nil {
		return a.durable(w.partition)
	}
	return 0
}

// archiveEnd returns where the node's archive ends, if it begins with the first entries.
func (w *gatheringWork) archiveEnd(ctx context.Context) (rsmarchive.Position, error) {
	of := w.node.identity.chained(w.partition)
	begin := rsmarchive.Position{Link: of.Origin()}
	if w.node.archive == nil {
		return begin, nil
	}
	if !w.node.archive.known() {
		return begin, errors.New("the archive does not answer, or is not known to be this node's")
	}
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	a, err := rsmarchive.Open(ctx, w.node.archive.store, of, nil)
	if err != nil || a.Segments() == 0 {
		return begin, err
	}
	end, err := a.End(ctx)
	if err == nil {
		err = a.Read(ctx, 1, rsmraft.FirstEntry, func(*rsm.Decided) error { return nil })
	}
	if x, lacks := errors.AsType[*rsmarchive.Finding](err); lacks && x.Kind == rsmarchive.Gap {
		return begin, nil // what it lacks is kept beside it
	}
	return end, err
}

// done notes that nothing is missing.
func (w *gatheringWork) done(ctx context.Context, until rsm.Index) {
	before, _ := w.state(w.partition)
	w.one.set(func(s *gathered) {
		s.until, s.have, s.nobody, s.stalled, s.err = until, until-1, false, false, ""
	})
	w.failing, w.nobody = time.Time{}, 0
	if w.kept {
		w.noteChecked(ctx)
	}
	if before.missing() > 0 {
		w.node.logger.InfoContext(ctx, "what was decided before this node's log begins is here", "partition", w.partition, "up_to", until-1)
	}
	w.renew(ctx)
}

// renew lets the history begin anew, once, if it begins later than it could.
func (w *gatheringWork) renew(ctx context.Context) {
	if w.renewed || w.node.history == nil {
		return
	}
	w.renewed = true
	if err := w.node.history.complete(ctx, w.partition); err != nil {
		w.renewed = false
		w.node.logger.DebugContext(ctx, "whether the history could begin earlier is not known", "partition", w.partition, "error", err)
	}
}

// fetch gets a piece of what is missing, up to an entry: from here, where a log has a gap in its middle, or from another
// node. It returns its size.
func (w *gatheringWork) fetch(ctx context.Context, last rsm.Index) (int, error) {
	a, err := w.node.pieceOfPast(ctx, w.partition, pastRequest{w.at, last})
	if err == nil && a.kind == pastEntries {
		return w.add(ctx, w.at, a.segment)
	}
	a, nodes, err := w.ask(ctx, pastRequest{w.at, last})
	switch {
	case err != nil:
		return 0, err
	case a.kind == pastEntries:
		return w.add(ctx, w.at, a.segment)
	case w.nobody+1 < nobodyTwice && nodes > 0 || a.next == 0 || a.next > last:
		return 0, errNobody
	}
	// What is before is nowhere: it goes on with what there is.
	behind := w.at.Skip(a.next)
	b, _, err := w.ask(ctx, pastRequest{behind, last})
	if err != nil {
		return 0, err
	}
	if b.kind != pastEntries {
		return 0, errNobody
	}
	w.node.logger.WarnContext(ctx, "no node of the cluster has entries of the past: history and archive have a gap there", "partition", w.partition, "from", w.at.Index+1, "to", a.next-1)
	at, err := rsmarchive.AddBehind(ctx, w.store, w.node.identity.chained(w.partition), w.at, a.next, b.segment)
	if err != nil {
		return 0, err
	}
	w.at, w.kept, w.noted = at, true, false
	return len(b.segment), nil
}

// add keeps a segment.
func (w *gatheringWork) add(ctx context.Context, at rsmarchive.Position, segment []byte) (int, error) {
	next, err := rsmarchive.Add(ctx, w.store, w.node.identity.chained(w.partition), at, segment)
	if err != nil {
		return 0, err
	}
	w.at, w.kept, w.noted = next, true, false
	return len(segment), nil
}

// ask asks one node after the other, of how many there are. Where all have answered that they lack the entry, so does the
// answer, with the first one that any of them has.
func (w *gatheringWork) ask(ctx context.Context, r pastRequest) (lacks pastAnswer, nodes int, err error) {
	others := w.node.others()
	if i := slices.Index(others, w.first); i > 0 {
		others[0], others[i] = others[i], others[0]
	}
	lacks.kind = pastLacks
	for _, to := range others {
		a, failed := w.node.askPast(ctx, to, w.partition, r)
		switch {
		case failed != nil:
			err = fmt.Errorf("node %d: %w", to, failed)
		case a.kind == pastEntries:
			w.first = to
			return a, len(others), nil
		case a.kind == pastNotYet:
			err = fmt.Errorf("node %d has not come so far yet", to)
		case a.next > 0 && (lacks.next == 0 || a.next < lacks.next):
			lacks.next = a.next
		}
	}
	if err == nil && w.node.machine.State().Cluster == "" {
		err = errors.New("it is not known yet which other nodes there are")
	}
	return lacks, len(others), err
}

// others returns the other nodes of the cluster.
func (n *node) others() (all []rsmraft.NodeID) {
	s := n.machine.State()
	for i := range s.Nodes {
		if one := &s.Nodes[i]; one.ID != n.identity.Node && one.Status != cluster.Removed {
			all = append(all, rsmraft.NodeID(one.ID))
		}
	}
	return all
}
