package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"maru.example/cluster"
	"maru.example/internal/telemetry"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet/walletraft"
)

// archiveName is the archive's name among those for whom the log is kept.
const archiveName = "archive"

const (
	// claimTimeout bounds the question at a start whose the archive is. A store that does not answer
	// is asked again later.
	claimTimeout = 10 * time.Second
	claimAgain   = 10 * time.Second
	// reopenAfter is a pause before an archiver begins anew whose replica has gone.
	reopenAfter = time.Second

	// defaultArchiveAge is how long, at the most, something is decided and in no segment yet, and leastArchiveAge is
	// the least of what can be chosen.
	defaultArchiveAge = 6 * time.Hour
	leastArchiveAge   = time.Minute
	// tickAgain is a pause after a command that was to end a period and was not committed.
	tickAgain = 5 * time.Second
)

// archivist archives what this node's replicas decide.
type archivist struct {
	node    *node
	store   rsmarchive.Store
	place   location
	record  *archiveRecord
	at      string        // the place, as it is recorded
	claimed chan struct{} // closed when the archive is known to be this node's

	of perPartition[archived]

	ctx    context.Context // of the claims
	cancel context.CancelFunc
	claims sync.WaitGroup
}

// archived is a partition that is being archived.
type archived struct {
	archiver atomic.Pointer[rsmarchive.Archiver]
	durable  atomic.Uint64 // up to which entry the archive has all
	kept     rsm.Index     // what the log was told of that; tend's
	ticked   atomic.Uint64 // the entry that ended a period last
	ticking  atomic.Bool   // one is on its way, or failed a moment ago
}

// noArchive is what --archive says to archive nothing.
const noArchive = "none"

// registerArchive registers the flags of the archive.
func (o *serveOptions) registerArchive(f *pflag.FlagSet) {
	f.StringVar(&o.archive, "archive", "", "`place` of an archive of all that is decided here, of this node alone, or none (default: the one that it had before)")
	f.Var(&o.archiveSegment, "archive-segment-bytes", "make a segment of the archive of so much, before it is compressed; the same on all nodes, as their archives are the same then; 256MiB at the most")
	f.DurationVar(&o.archiveAge, "archive-segment-age", o.archiveAge, "end a segment of the archive at the latest when a period of so much `time` (since 1970 UTC) ends in which something was decided, or 0 for not before it is full; the same on all nodes")
	f.StringSliceVar(&o.archiveAnew, beginAnewFlag, nil, "accept that the archive lost what it had of a `PARTITION:ENTRY`, as the server says it, or that it is empty while the log has all of that; other losses are still found")
}

// archivePlace returns where a node is to be archived: where the options say, else where it
// was before; false: nowhere.
func (o *serveOptions) archivePlace(id *identity) (place location, ok bool, err error) {
	switch {
	case o.archive == noArchive || o.archive == "" && id.Archive == "":
		return location{}, false, nil
	case o.archive == "":
		place, err = recordedLocation(o.data, id.Archive)
	default:
		place, err = parseLocation(o.archive)
	}
	return place, err == nil, err
}

// openArchive opens the node's archive, if there is to be one, and notes where it is.
func (n *node) openArchive(ctx context.Context, o *serveOptions) (err error) {
	if n.archived, err = openArchiveRecord(o.data); err != nil {
		return err
	}
	place, ok, err := o.archivePlace(n.identity)
	if err != nil {
		return err
	}
	n.callWitness(ctx, o.data, place)
	if !ok {
		if len(o.archiveAnew) > 0 {
			return usageError("say which with --archive, or leave the flag out", "--%s %s, and there is no archive", beginAnewFlag, o.archiveAnew[0])
		}
		return nil
	}
	if err := n.beginAnew(ctx, o.archiveAnew, place); err != nil {
		return err
	}
	if n.archive, err = openArchivist(ctx, n, place, n.archived); err != nil {
		return err
	}
	if n.archive.known() {
		n.witnesses = append(n.witnesses, n.archive.store)
	}
	if n.archive.at != n.identity.Archive {
		n.identity.Archive = n.archive.at
		if err := n.identity.save(o.data); err != nil {
			return openError(o.data, err)
		}
	}
	return nil
}

// openArchivist opens the archive of a node, and refuses one that is another's.
func openArchivist(ctx context.Context, n *node, place location, record *archiveRecord) (*archivist, error) {
	store, err := place.open()
	if err != nil {
		return nil, err
	}
	a := &archivist{node: n, store: store, place: place, record: record, at: place.from(record.data), claimed: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	first, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	switch err := a.claim(first); {
	case err == nil, errors.Is(err, rsmarchive.ErrLost): // the archivers say so
		close(a.claimed)
	case isForeign(err):
		a.cancel()
		return nil, foreignError(place, err)
	default:
		n.logger.WarnContext(ctx, "the archive cannot be used now; it is tried again, and what is not archived stays in the log meanwhile", "archive", place.String(), "error", err, "hint", hintPlace(err))
		a.claims.Go(a.claimLater)
	}
	return a, nil
}

// known says whether the archive is known to be this node's.
func (a *archivist) known() bool {
	select {
	case <-a.claimed:
		return true
	default:
		return false
	}
}

// claimLater tries to claim the archive until that succeeds, or it is another's.
func (a *archivist) claimLater() {
	for {
		select {
		case <-time.After(claimAgain):
		case <-a.ctx.Done():
			return
		}
		try, cancel := context.WithTimeout(a.ctx, claimTimeout)
		err := a.claim(try)
		cancel()
		switch {
		case err == nil, errors.Is(err, rsmarchive.ErrLost):
			close(a.claimed)
			return
		case isForeign(err):
			a.node.logger.Error("nothing is archived, and the log is kept: start this node with another archive", "archive", a.place.String(), "error", err)
			return
		default:
			a.node.logger.Debug("the archive cannot be used now", "archive", a.place.String(), "error", err)
		}
	}
}

// ownerName is the object that says whose an archive is.
const ownerName = "maru/owner.json"

// owner is whose an archive is: one disk's.
type owner struct {
	Version     int            `json:"version"`
	Cluster     cluster.ID     `json:"cluster_id"`
	Node        cluster.NodeID `json:"node_id"`
	Incarnation cluster.ID     `json:"incarnation"`
	Partitions  int            `json:"partitions"`
}

const maxOwnerBytes = 4 << 10

func (id *identity) owner() owner {
	return owner{Version: 1, Cluster: id.Cluster, Node: id.Node, Incarnation: id.Incarnation, Partitions: id.Partitions}
}

// chained names what is archived of a partition.
func (id *identity) chained(partition uint16) rsmarchive.Chained {
	return rsmarchive.Chained{Cluster: string(id.Cluster), Group: uint64(walletraft.Group(partition))}
}

// errForeign says that an archive is not this node's.
var errForeign = errors.New("archive of another node")

func isForeign(err error) bool {
	return errors.Is(err, errForeign) || errors.Is(err, rsmarchive.ErrConflict) || errors.Is(err, rsmarchive.ErrVersion)
}

// foreignError says what to do about an archive that is not this node's.
func foreignError(place location, err error) error {
	return failed(fmt.Errorf("the archive %s is not this node's: %w", place, err),
		"each node has an archive of its own: give it another place with --archive; its segments begin anew there, from the log")
}

// claim makes an archive this node's, or finds that it is. It errs with errForeign, with rsmarchive.ErrLost if
// nothing says whose it is and what it had is not there, or as the archive does.
func (a *archivist) claim(ctx context.Context) error {
	me := a.node.identity.owner()
	is, err := readOwner(ctx, a.store)
	if errors.Is(err, rsmarchive.ErrNotFound) {
		if err := a.begins(ctx); err != nil {
			return err
		}
		return writeOwner(ctx, a.store, me)
	}
	switch {
	case err != nil:
		return err
	case is.Cluster != me.Cluster:
		return fmt.Errorf("%w: of cluster %s, and this is cluster %s", errForeign, is.Cluster, me.Cluster)
	case is.Incarnation != me.Incarnation:
		return fmt.Errorf("%w: of node %d with another disk (%s), and this is node %d (%s)", errForeign, is.Node, is.Incarnation, me.Node, me.Incarnation)
	}
	return nil
}

// begins checks that segments without an owner are of this cluster: copies, to begin with; and that they are all that
// was archived here.
func (a *archivist) begins(ctx context.Context) error {
	for i := range a.node.identity.Partitions {
		archive, err := rsmarchive.Open(ctx, a.store, a.node.identity.chained(uint16(i)), nil)
		var end rsmarchive.Position
		if err == nil {
			end, err = archive.End(ctx)
		}
		if had := a.record.had(uint16(i)); err == nil && end.Index < had.Index && a.record.at(a.at) {
			err = &rsmarchive.LostError{After: end.Index, Had: had.Index}
		}
		if err != nil {
			return fmt.Errorf("partition %d: %w", i, err)
		}
	}
	return nil
}

// reclaim is claim, for the archiver of a partition, which has lost what it had itself and not what others had.
func (a *archivist) reclaim(ctx context.Context, partition uint16) error {
	err := a.claim(ctx)
	if !errors.Is(err, rsmarchive.ErrLost) {
		return err
	}
	archive, err := rsmarchive.Open(ctx, a.store, a.node.identity.chained(partition), nil)
	if err != nil {
		return err
	}
	end, err := archive.End(ctx)
	had := a.record.had(partition)
	if err != nil || end.Index >= had.Index {
		return errors.Join(err, errUnclaimed)
	}
	next, err := a.node.allFrom(ctx, partition, end.Index+1)
	if err != nil {
		return err
	}
	return &rsmarchive.LostError{After: end.Index, Had: had.Index, Next: next}
}

// errUnclaimed says that an archive has lost what other partitions had there, and whose it is.
var errUnclaimed = errors.New("the archive lost what says whose it is, and what other partitions had there")

func readOwner(ctx context.Context, store rsmarchive.Store) (o owner, err error) {
	b, err := store.Get(ctx, ownerName, 0, maxOwnerBytes)
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(b, &o); err != nil || o.Version != 1 {
		return o, fmt.Errorf("%w: %s is of version %d, or damaged: %w", errForeign, ownerName, o.Version, err)
	}
	return o, nil
}

func writeOwner(ctx context.Context, store rsmarchive.Store, o owner) error {
	b, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	return store.Put(ctx, ownerName, append(b, '\n'))
}

// tend implements follower: it tells the logs what is archived. One that has not come as far yet
// is told again.
func (a *archivist) tend() {
	for i := range a.node.logs {
		partition := uint16(i)
		one := a.of.get(partition)
		if one == nil {
			continue
		}
		a.endPeriod(partition, one)
		durable := rsm.Index(one.durable.Load())
		if durable == one.kept {
			continue
		}
		g, err := a.node.logs[partition].Replica()
		if err == nil {
			err = g.Keep(archiveName, durable+1)
		}
		switch {
		case err == nil:
			one.kept = durable
		case !errors.Is(err, rsmraft.ErrNotYet):
			one.kept = durable
			a.node.logger.Debug("the log is not told what is archived", "partition", partition, "error", err)
		}
	}
}

// endPeriod lets an entry that does nothing come into the log of a partition that is led here when a period has ended, and
// something is decided in it that is in no segment yet: the segment ends before the entry, on all replicas. A log in which
// nothing else happens gets one only.
func (a *archivist) endPeriod(partition uint16, one *archived) {
	g, err := a.node.logs[partition].Replica()
	if err != nil || a.node.archiveAge <= 0 || one.ticking.Load() {
		return
	}
	now, age := time.Now(), int64(a.node.archiveAge)
	last, at := g.Newest()
	if at == 0 || now.UnixNano()/age <= at/age || uint64(last) <= max(one.durable.Load(), one.ticked.Load()) || !g.Status().Leads {
		return
	}
	one.ticking.Store(true)
	a.node.parts[partition].Tick(now, func(index rsm.Index, err error) {
		if err != nil {
			time.AfterFunc(tickAgain, func() { one.ticking.Store(false) })
			return
		}
		one.ticked.Store(uint64(index))
		one.ticking.Store(false)
	})
}

// follow implements follower: it archives what the partition decides.
func (a *archivist) follow(ctx context.Context, partition uint16) {
	one := &archived{}
	defer a.of.begin(partition, one)()
	select {
	case <-a.claimed:
	case <-ctx.Done():
		return
	}
	for ctx.Err() == nil {
		l := a.node.logs[partition]
		archiver := rsmarchive.NewArchiver(a.store, a.node.identity.chained(partition), func(from rsm.Index) (rsmarchive.Source, error) { return a.node.archiveFeed(partition, from) },
			&rsmarchive.ArchiverOptions{
				Writer: &rsmarchive.WriterOptions{SegmentBytes: a.node.archiveSegment, SegmentAge: a.node.archiveAge},
				Durable: func(p rsmarchive.Position) error {
					if err := a.record.remember(a.at, partition, p); err != nil {
						return err
					}
					one.durable.Store(uint64(p.Index))
					return nil
				},
				Had:    func() rsmarchive.Position { return a.record.had(partition) },
				Claim:  func(ctx context.Context) error { return a.reclaim(ctx, partition) },
				Lost:   func(e *rsmarchive.LostError) { a.lost(partition, e) },
				Busy:   func() bool { return a.node.followers.busy.Load() && !a.node.followers.short.Load() },
				Head:   func() (rsm.Index, int64) { return newestOf(l) },
				Logger: a.node.logger,
			})
		one.archiver.Store(archiver)
		_ = archiver.Run(ctx) // the context has ended, or the replica: another may come
		select {
		case <-time.After(reopenAfter):
		case <-ctx.Done():
		}
	}
}

// newestOf returns the newest entry that a replica has decided, and its time.
func newestOf(l *walletraft.Log) (rsm.Index, int64) {
	g, err := l.Replica()
	if err != nil {
		return 0, 0
	}
	return g.Newest()
}

// close ends claiming the archive. What is in no segment yet is in the log.
func (a *archivist) close() {
	if a == nil {
		return
	}
	a.cancel()
	a.claims.Wait()
}

// archiveMetrics are those of a partition's archive.
type archiveMetrics struct {
	partition uint16
	rsmarchive.ArchiverMetrics
}

// lost returns how many entries are in neither archive nor log.
func (m *archiveMetrics) lost() uint64 {
	if m.Less == nil {
		return 0
	}
	return m.Less.Entries()
}

func (a *archivist) metrics() (all []archiveMetrics) {
	for i := range a.node.logs {
		one := a.of.get(uint16(i))
		if one == nil {
			continue
		}
		m := archiveMetrics{partition: uint16(i)}
		if archiver := one.archiver.Load(); archiver != nil {
			m.ArchiverMetrics = archiver.Metrics()
		} else {
			m.LastError = "the archive is not known to be this node's"
		}
		all = append(all, m)
	}
	return all
}

// exposeArchive adds what the archive counts.
func exposeArchive(r *telemetry.Registry, n *node) {
	if n.archive == nil {
		return
	}
	of := func(value func(*archiveMetrics) float64) func([]archiveMetrics) iter.Seq2[string, float64] {
		return func(all []archiveMetrics) iter.Seq2[string, float64] {
			return labeled(all, func(m *archiveMetrics) string { return strconv.Itoa(int(m.partition)) }, value)
		}
	}
	type m = archiveMetrics
	telemetry.Expose(r, "maru_archive", n.archive.metrics,
		telemetry.GaugeBy("index", "Entry of the partition's log up to which all is in the archive.", "partition", of(func(m *m) float64 { return float64(m.Sealed) })),
		telemetry.GaugeBy("lag_entries", "Entries that are decided here and not in the archive; some are in the segment that is being made.", "partition", of(func(m *m) float64 { return float64(m.LagEntries) })),
		telemetry.GaugeBy("lag_seconds", "Between the newest entry and the last in the archive.", "partition", of(func(m *m) float64 { return m.Lag.Seconds() })),
		telemetry.GaugeBy("failing", "1 while the last try failed; the log of the process says why.", "partition", of(func(m *m) float64 { return truth(m.LastError != "") })),
		telemetry.GaugeBy("lost_entries", "Entries that were archived, and are neither in the archive nor in the log any more; nothing is archived until they are back.", "partition", of(func(m *m) float64 { return float64(m.lost()) })),
		telemetry.CounterBy("errors_total", "Tries that failed, and were made again.", "partition", of(func(m *m) float64 { return float64(m.Errors) })),
		telemetry.CounterBy("entries_total", "Entries taken up since the start.", "partition", of(func(m *m) float64 { return float64(m.Entries) })),
		telemetry.CounterBy("segments_total", "Segments archived since the start.", "partition", of(func(m *m) float64 { return float64(m.Segments) })),
		telemetry.CounterBy("bytes_total", "Bytes of those.", "partition", of(func(m *m) float64 { return float64(m.StoredBytes) })),
		telemetry.CounterBy("missing_total", "Entries that were to be had nowhere since the start; the archive says so.", "partition", of(func(m *m) float64 { return float64(m.Missing) })),
	)
}
