package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
	"maru.example/wallet/walletraft"
)

// pastFlags say where the past is.
type pastFlags struct {
	data, archive string
	partial       bool // less than everything will do
	unfinished    bool // a restore verifies what it made, before anybody else may take it
}

// noData is what --data says of an archive that is read alone.
const noData = "none"

func (f *pastFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.data, "data", defaultData, "`directory` of a server that does not run, or none: the archive alone")
	cmd.Flags().StringVar(&f.archive, "archive", "", "`place` of its archive, or none (default: where the server had it)")
	fromEnvironment(cmd, "data", "archive")
}

func (f *pastFlags) registerPartial(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.partial, "partial", false, "less than everything will do: partitions, and entries of before the log or a snapshot, may be missing")
}

// pastNode is the directory of a node that does not run, and its archive, to be read.
type pastNode struct {
	data       string
	identity   *identity
	toArchive  bool             // there is to be an archive
	place      string           // of the archive, as it is recorded in the directory
	unowned    bool             // it does not say whose it is
	others     bool             // it is another node's, or a backup
	history    *rsmraft.History // nil: there is an archive only
	partitions []*pastPartition // of the wallet that are here
	manifest   *manifest        // the newest, where the archive is a backup; else nil
}

// pastPartition is what there is of a partition: the archive, and a log that begins in it or
// where it ends.
type pastPartition struct {
	number  uint16
	archive *rsmarchive.Archive  // nil: there is none
	end     rsmarchive.Position  // of the archive; zero if its last segment is damaged
	begins  bool                 // the archive begins with the first entries: there is no gap
	kept    *rsmarchive.Archive  // what the node keeps of before its log; nil: nothing
	keptEnd rsm.Index            // its last entry
	log     rsmraft.GroupHistory // ID is 0: there is none
	served  *servedPartition     // instead of both: a server gives it; end and begins say what
}

// last returns the last entry.
func (p *pastPartition) last() rsm.Index { return max(p.end.Index, p.log.Last, p.keptUpTo()) }

// openPast reads the log in a data directory, and finds the archive.
func openPast(cmd *cobra.Command, f *pastFlags) (_ *pastNode, err error) {
	n := &pastNode{data: f.data}
	store, err := n.identify(cmd.Context(), f)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	var all []rsmraft.GroupHistory
	if f.data != noData {
		if all, err = n.openLog(cmd); err != nil {
			return nil, err
		}
	}
	for i := range n.identity.Partitions {
		p := &pastPartition{number: uint16(i)}
		for _, g := range all {
			if g.ID == walletraft.Group(p.number) {
				p.log = g
			}
		}
		if store != nil {
			if err := p.openArchive(cmd.Context(), store, n.identity); err != nil {
				return nil, failed(fmt.Errorf("archive of partition %d: %w", i, err), "it has to be in reach: "+hintPlace(err))
			}
		}
		if p.log.ID != 0 {
			if err := p.openKept(cmd.Context(), f.data, n.identity); err != nil {
				return nil, pastError(f.data, fmt.Errorf("partition %d: %w", i, err))
			}
		}
		if p.log.ID != 0 || p.archive != nil {
			n.partitions = append(n.partitions, p)
		}
	}
	n.toArchive = store != nil
	switch {
	case len(n.partitions) == 0 && f.data == noData:
		return nil, failed(errors.New("there is nothing in the archive yet"), "a segment comes there when it is full; until then the log has it: give the directory with --data")
	case n.unowned && !slices.ContainsFunc(n.partitions, func(p *pastPartition) bool { return p.archive != nil }):
		return nil, failed(errors.New("the archive is not where it should be: there is nothing of one"), "say where it is with --archive; with --archive none the log is read alone")
	}
	return n, nil
}

// complete refuses a past that lacks partitions.
func (n *pastNode) complete(partial bool) error {
	var missing []string
	for i := range n.identity.Partitions {
		if _, err := n.partition(uint16(i)); err != nil {
			missing = append(missing, strconv.Itoa(i))
		}
	}
	if len(missing) == 0 || partial && len(n.partitions) > 0 {
		return nil
	}
	return failed(fmt.Errorf("nothing is here of partition %s, of %d", strings.Join(missing, ", "), n.identity.Partitions),
		"its log and archive are missing; or this is a member of a cluster that has no replica of it: then --partial leaves it out")
}

// identify finds out whose past it is, and where its archive is: nil if there is none.
func (n *pastNode) identify(ctx context.Context, f *pastFlags) (rsmarchive.Store, error) {
	if f.data == noData && (f.archive == "" || f.archive == noArchive) {
		return nil, usageError("say where with --archive", "--data none without an archive")
	}
	place, err := location{}, error(nil)
	if f.data != noData {
		load := loadIdentity
		if f.unfinished {
			load = readIdentity
		}
		n.identity, err = load(f.data)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, failed(fmt.Errorf("%s is not the directory of a server: it has no %s", f.data, identityName), "say where it is with --data")
		case err != nil:
			return nil, err
		case f.archive == noArchive || f.archive == "" && n.identity.Archive == "":
			return nil, nil
		}
	}
	if f.archive == "" {
		place, err = recordedLocation(f.data, n.identity.Archive)
	} else {
		place, err = parseLocation(f.archive)
	}
	if err != nil {
		return nil, err
	}
	n.place = place.from(f.data)
	store, err := place.open()
	if err != nil {
		return nil, err
	}
	is, err := readOwner(ctx, store)
	switch {
	case n.identity != nil && errors.Is(err, rsmarchive.ErrNotFound):
		n.unowned = true
		return store, nil // its segments say of which cluster they are
	case err != nil:
		return nil, failed(fmt.Errorf("the archive %s does not say whose it is: %w", place, err), hintPlace(err))
	case n.identity == nil:
		n.identity = &identity{Cluster: is.Cluster, Node: is.Node, Partitions: is.Partitions}
	case is.Cluster != n.identity.Cluster:
		return nil, failed(fmt.Errorf("the archive %s is of cluster %s, and %s of cluster %s", place, is.Cluster, f.data, n.identity.Cluster), "give the archive that belongs to it with --archive")
	}
	n.others = n.identity.Incarnation != is.Incarnation
	if is.Incarnation == backupOwner {
		if n.manifest, err = newestManifest(ctx, store); err != nil {
			return nil, failed(fmt.Errorf("the backup %s: %w", place, err), hintPlace(err))
		}
	}
	return store, nil
}

func (n *pastNode) openLog(cmd *cobra.Command) ([]rsmraft.GroupHistory, error) {
	var read, size atomic.Int64
	stop := follow(cmd, func() string { return share(read.Load(), size.Load(), "of the log read") })
	var err error
	n.history, err = rsmraft.OpenHistory(filepath.Join(n.data, logName), &rsmraft.HistoryOptions{
		Progress: func(done, of int64) { read.Store(done); size.Store(of) },
	})
	stop()
	if err != nil {
		return nil, pastError(n.data, err)
	}
	all, err := n.history.Groups()
	if err != nil {
		return nil, openError(n.data, err)
	}
	return all, nil
}

func (p *pastPartition) openArchive(ctx context.Context, store rsmarchive.Store, id *identity) error {
	a, err := rsmarchive.Open(ctx, store, id.chained(p.number), nil)
	if err != nil || a.Segments() == 0 {
		return err
	}
	p.archive = a
	if p.end, err = a.End(ctx); err == nil {
		err = a.Read(ctx, 1, rsmraft.FirstEntry, func(*rsm.Decided) error { return nil })
	}
	if _, lacks := errors.AsType[*rsmarchive.Finding](err); lacks {
		return nil // Verify says more of it
	}
	p.begins = err == nil
	return err
}

// Close lets the directory go.
func (n *pastNode) Close() error {
	if n.history == nil {
		return nil
	}
	return n.history.Close()
}

// machine returns an empty machine of a partition.
func (n *pastNode) machine(partition uint16) *wallet.Machine {
	return wallet.NewMachine(&wallet.MachineOptions{Partition: partition, Partitions: uint16(n.identity.Partitions), Random: rand.Uint64})
}

// errStop ends reading early.
var errStop = errors.New("that is all")

// read calls f with the entries from an index on, which are valid during the call: from the archive
// as far as that goes, then from the log, up to what is known to be committed. It begins with the
// entry that stands for how the group was made where nothing is missing before the others. f may return errStop.
func (n *pastNode) read(ctx context.Context, p *pastPartition, from rsm.Index, f func(*rsm.Decided) error) error {
	if p.served != nil {
		return stopped(p.served.read(ctx, p.end.Index, f))
	}
	if from < rsmraft.FirstEntry && p.archive == nil && p.kept == nil && p.log.Whole {
		made := madeEntry()
		if err := f(&made); err != nil {
			return stopped(err)
		}
		from = rsmraft.FirstEntry
	}
	from, err := p.readKept(ctx, from, f)
	if err != nil {
		return stopped(err)
	}
	if p.log.ID == 0 || from > p.log.Last {
		return nil
	}
	r, err := n.history.Reader(p.log.ID, max(from, p.log.First))
	if err != nil {
		return err
	}
	for err == nil && ctx.Err() == nil {
		var d *rsm.Decided
		if d, err = r.Next(); err == nil && d.Index > p.log.Last {
			err = io.EOF
		}
		if err == nil {
			err = f(d)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return stopped(errors.Join(err, r.Close(), ctx.Err()))
}

func stopped(err error) error {
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// decider lets a machine decide again what a partition has decided.
type decider struct {
	m  *wallet.Machine
	to *rsm.Replica
	// compare gets what is decided now, and what was; nil where that is not on record. It may be nil.
	compare func(now, was *rsm.Decided) error
	was     *rsm.Decided
	now     rsm.Decided // on the entry that was decided last
}

// newDecider returns one whose machine stands at a state.
func newDecider(m *wallet.Machine, at rsm.State, compare func(now, was *rsm.Decided) error) *decider {
	d := &decider{m: m, compare: compare}
	d.to = rsm.Replay(m, at, d.decided)
	return d
}

// at returns where the state stands.
func (d *decider) at() rsm.State { return d.to.State() }

// decide decides the next entry.
func (d *decider) decide(e *rsm.Decided) error {
	if next := d.at().Index + 1; e.Index != next {
		return fmt.Errorf("entry %d is missing", next)
	}
	d.was = e
	return d.to.Apply(&rsm.Committed{Index: e.Index, Term: e.Term, Data: e.Entry})
}

func (d *decider) decided(now *rsm.Decided) error {
	d.now = *now
	if d.compare == nil {
		return nil
	}
	was := d.was
	if len(was.Entry) > 0 && len(was.Decision) == 0 {
		was = nil
	}
	return d.compare(now, was)
}

// nearest brings a machine to the newest state on the disk that is earlier than a moment
// and from which the entries go on: that of a snapshot, or the beginning. Where there is none,
// it is that of the oldest snapshot, or an error.
func (n *pastNode) nearest(p *pastPartition, moment int64, m *wallet.Machine) (at rsm.State, err error) {
	for _, index := range slices.Backward(p.log.Snapshots) {
		if !p.goesOn(index) {
			continue
		}
		at, err = n.history.RestoreSnapshot(p.log.ID, index, m)
		if err == nil && at.Time < moment {
			return at, nil
		}
	}
	if p.whole() {
		m.Release()
		*m = *n.machine(p.number)
		return rsm.State{}, nil
	}
	for _, index := range p.log.Snapshots {
		if p.goesOn(index) {
			return n.history.RestoreSnapshot(p.log.ID, index, m)
		}
	}
	return rsm.State{}, failed(fmt.Errorf("the first entries of partition %d are missing, and there is no snapshot behind them", p.number),
		"`maru wallet verify` says what is here; another node's archive, or a backup, may have them")
}

// goesOn says whether the entries after one are here.
func (p *pastPartition) goesOn(index rsm.Index) bool {
	return index+1 >= p.log.First && index <= p.log.Last || p.archive != nil && index <= p.end.Index || p.kept != nil && index <= p.keptEnd
}

// whole says whether the entries are here from the first on, as far as is known without reading.
func (p *pastPartition) whole() bool { return p.begins || p.log.Whole || p.keeps(rsmraft.FirstEntry) }
