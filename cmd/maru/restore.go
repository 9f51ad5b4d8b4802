package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletraft"
)

// restorable is what a wallet is restored from: a backup, or what a node that does not run has, with its archive.
type restorable struct {
	manifest *manifest // of a node: its ends, without links
	// read calls f with a partition's entries from the first on, which f may keep, up to the manifest's end.
	read    func(ctx context.Context, partition uint16, f func(*rsm.Decided) error) error
	release func() error
}

// fromBackup restores from a backup.
func fromBackup(store rsmarchive.Store, m *manifest) *restorable {
	return &restorable{m, func(ctx context.Context, partition uint16, f func(*rsm.Decided) error) error {
		a, err := rsmarchive.Open(ctx, store, chainedOf(m.Cluster, partition), nil)
		if err != nil {
			return err
		}
		return stopped(a.Read(ctx, 1, m.position(partition).Index, f))
	}, func() error { return nil }}
}

// fromPast restores from what a node that does not run has, which has to be all.
func fromPast(past *pastNode) (*restorable, error) {
	m := &manifest{Cluster: past.identity.Cluster, Protocol: past.identity.Protocol, Made: time.Now().UTC()}
	for _, p := range past.partitions {
		if !p.whole() {
			return nil, fmt.Errorf("the first entries of partition %d are missing", p.number)
		}
		m.Partitions = append(m.Partitions, backedUpTo{Partition: p.number, Index: p.last()})
	}
	return &restorable{m, func(ctx context.Context, partition uint16, f func(*rsm.Decided) error) error {
		return past.read(ctx, past.partitions[partition], 1, func(d *rsm.Decided) error {
			own := *d // the log's are valid during the call
			own.Entry, own.Decision = bytes.Clone(d.Entry), bytes.Clone(d.Decision)
			return f(&own)
		})
	}, past.Close}, nil
}

// firstTime returns the time of a partition's first entry that has one: those without content, at the beginning, have none.
func (r *restorable) firstTime(ctx context.Context, partition uint16) (int64, error) {
	first := int64(noMoment)
	err := r.read(ctx, partition, func(d *rsm.Decided) error {
		if d.Time == 0 {
			return nil
		}
		first = d.Time
		return errStop
	})
	return first, err
}

// restoring makes the directory of a node of what a backup has up to a moment. The partitions are
// decided together, in the order of the entries' times; but none before what it presumes of another one has been
// decided. So what comes out is a state in which the wallet could have been: see wallet.Presumes.
type restoring struct {
	*restorable
	until    int64 // by the entries' times
	seeding  *rsmraft.Seeding
	parts    []*restoredPart
	coming   *comingAssets // nil: it was not needed yet
	done, of atomic.Uint64 // entries
}

// restoredPart is a partition that is being restored.
type restoredPart struct {
	number  uint16
	entries chan rsm.Decided // of the backup
	cancel  context.CancelFunc
	failed  error // when entries is closed
	head    *rsm.Decided
	dropped bool // the head, which is of the time, presumes what is not there
	group   *rsmraft.Seeded
	machine *wallet.Machine
	writer  *rsmarchive.Writer // of the node's archive
	at      rsmarchive.Position
}

// openRestoring prepares a directory.
func openRestoring(ctx context.Context, from *restorable, data string, until int64) (_ *restoring, err error) {
	r, m := &restoring{restorable: from, until: until}, from.manifest
	if r.seeding, err = rsmraft.NewSeeding(vfs.OS(), filepath.Join(data, logName), 1); err != nil {
		return nil, err
	}
	own := rsmarchive.NewDir(vfs.OS(), filepath.Join(data, archiveName))
	for i := range m.Partitions {
		p := &restoredPart{number: uint16(i)}
		r.parts = append(r.parts, p)
		if err := p.open(ctx, r, own); err != nil {
			r.close()
			return nil, fmt.Errorf("partition %d: %w", i, err)
		}
		r.of.Add(uint64(m.Partitions[i].Index))
	}
	return r, nil
}

func (p *restoredPart) open(ctx context.Context, r *restoring, own rsmarchive.Store) (err error) {
	chained := chainedOf(r.manifest.Cluster, p.number)
	partitions := len(r.manifest.Partitions)
	p.machine = wallet.NewMachine(&wallet.MachineOptions{
		Partition: p.number, Partitions: uint16(partitions), Random: rand.Uint64, RecentIDs: defaultRecentIDs / uint64(partitions),
	})
	if p.group, err = r.seeding.Group(walletraft.Group(p.number), p.machine); err != nil {
		return err
	}
	p.writer = rsmarchive.NewWriter(own, chained, rsmarchive.Position{Link: chained.Origin()}, nil)
	ctx, p.cancel = context.WithCancel(ctx)
	p.entries = make(chan rsm.Decided, archiveAhead)
	go func() {
		defer close(p.entries)
		p.failed = r.read(ctx, p.number, func(d *rsm.Decided) error {
			select {
			case p.entries <- *d:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return p.next(r.until)
}

// next takes the next entry that is to be decided, if there is one.
func (p *restoredPart) next(until int64) error {
	d, ok := <-p.entries
	p.head = &d
	if !ok || d.Time > until {
		p.head = nil
	}
	if !ok {
		return p.failed
	}
	return nil
}

// run decides everything up to the moment.
func (r *restoring) run(ctx context.Context) error {
	for ctx.Err() == nil {
		p, err := r.choose(ctx)
		if err != nil {
			return err
		}
		if p == nil {
			break
		}
		if err := p.take(ctx); err != nil {
			return fmt.Errorf("partition %d: %w", p.number, err)
		}
		r.done.Add(1)
		if err := p.next(r.until); err != nil {
			return fmt.Errorf("partition %d: %w", p.number, err)
		}
	}
	return errors.Join(ctx.Err(), r.finish(ctx))
}

// choose returns the partition whose next entry is the oldest of those that follow from what is
// decided; nil if there is none.
func (r *restoring) choose(ctx context.Context) (*restoredPart, error) {
	heads := slices.DeleteFunc(slices.Clone(r.parts), func(p *restoredPart) bool { return p.head == nil })
	slices.SortStableFunc(heads, func(a, b *restoredPart) int {
		switch {
		case a.head.Time < b.head.Time:
			return -1
		case a.head.Time > b.head.Time:
			return 1
		}
		return 0
	})
	for _, last := range []bool{false, true} {
		for _, p := range heads {
			follows, err := r.follows(ctx, p, last)
			if err != nil {
				return nil, fmt.Errorf("partition %d: entry %d: %w", p.number, p.head.Index, err)
			}
			if p.dropped = !follows; follows {
				return p, nil
			}
		}
	}
	return nil, nil
}

// follows says whether the next entry of a partition presumes nothing that is not decided. With last no other entry can be decided
// before it: then assets that are not made yet, and never will be, are no reason to wait.
func (r *restoring) follows(ctx context.Context, p *restoredPart, last bool) (bool, error) {
	follows := true
	err := p.head.Commands(func(data []byte) error {
		if other, ok := wallet.Presumes(p.number, data); ok && int(other) < len(r.parts) {
			o := r.parts[other]
			if err := o.group.Do(func() error {
				follows = follows && o.machine.Explains(p.number, data)
				return nil
			}); err != nil {
				return err
			}
		}
		tenant, assets := wallet.NamedAssets(data)
		for _, c := range assets {
			made, err := r.made(ctx, p, tenant, c, last)
			if err != nil {
				return err
			}
			follows = follows && made
		}
		return nil
	})
	return follows, err
}

// made says whether an asset that a partition names has been made, or with last, whether it is not going to be: a program that
// names one that there is not is not waited for.
func (r *restoring) made(ctx context.Context, p *restoredPart, tenant uint16, c money.Currency, last bool) (made bool, err error) {
	first := r.parts[0]
	if p == first {
		return true, nil
	}
	if err := first.group.Do(func() error {
		made = first.machine.HasAsset(tenant, c)
		return nil
	}); err != nil || made || !last {
		return made, err
	}
	if r.until == noMoment { // all is decided in the end, and nothing left out
		return true, nil
	}
	if r.coming == nil {
		if r.coming, err = r.comingAssets(ctx); err != nil {
			return false, err
		}
	}
	return !r.coming.unsure[tenant] && !r.coming.made[namedAsset{tenant, c}], nil
}

// namedAsset is an asset of a tenant.
type namedAsset struct {
	tenant   uint16
	currency money.Currency
}

// comingAssets are those that are made in the whole of what is restored from.
type comingAssets struct {
	made   map[namedAsset]bool
	unsure map[uint16]bool // of these tenants some are, and it is not on record which
}

// comingAssets reads all of the first partition once more. It is rarely needed: where a clock was wrong.
func (r *restoring) comingAssets(ctx context.Context) (*comingAssets, error) {
	all := &comingAssets{map[namedAsset]bool{}, map[uint16]bool{}}
	note := func(data, results []byte) {
		tenant, made, sure := wallet.MadeAssets(data, results)
		for _, c := range made {
			all.made[namedAsset{tenant, c}] = true
		}
		if !sure {
			all.unsure[tenant] = true
		}
	}
	return all, r.read(ctx, 0, func(d *rsm.Decided) error {
		if len(d.Decision) == 0 {
			return d.Commands(func(data []byte) error {
				note(data, nil)
				return nil
			})
		}
		return d.Batches(func(b rsm.DecidedBatch) error {
			note(b.Data, b.Results)
			return nil
		})
	})
}

// take decides the next entry of a partition, and archives it.
func (p *restoredPart) take(ctx context.Context) error {
	d := *p.head
	if d.Index >= rsmraft.FirstEntry {
		now, err := p.group.Apply(&d)
		if err != nil {
			return err
		}
		if len(d.Decision) == 0 {
			d = now // it is not on record
		}
	}
	if err := p.writer.Append(&d); err != nil {
		return err
	}
	if p.writer.Full() {
		return p.writer.Seal(ctx)
	}
	return nil
}

// finish makes all durable.
func (r *restoring) finish(ctx context.Context) error {
	for _, p := range r.parts {
		if err := p.writer.Seal(ctx); err != nil {
			return err
		}
		p.at = p.writer.Sealed()
		want := r.manifest.position(p.number)
		if want.Link != "" && p.at.Index == want.Index && p.at.Link.String() != want.Link {
			return fmt.Errorf("partition %d: %w: the chain ends with %v, the manifest says %s", p.number, rsmarchive.ErrDamaged, p.at.Link, want.Link)
		}
	}
	return r.seeding.Finish()
}

func (r *restoring) close() {
	for _, p := range r.parts {
		if p.cancel != nil {
			p.cancel()
			for range p.entries { // until it has ended
				continue
			}
		}
	}
	r.seeding.Close()
}

// noMoment is later than any entry.
const noMoment = math.MaxInt64

// restoredView is a partition that was restored, as --json prints it.
type restoredView struct {
	Partition uint16    `json:"partition"`
	Entry     rsm.Index `json:"entry"` // the last
	Time      time.Time `json:"time"`  // of it
	// Dropped says that entries of the time asked for were left out, as they presume others, of other
	// partitions, that are later.
	Dropped bool `json:"dropped,omitempty"`
}

func (r *restoring) views() (all []restoredView) {
	for _, p := range r.parts {
		all = append(all, restoredView{p.number, p.at.Index, time.Unix(0, p.at.Time).UTC(), p.dropped && p.head != nil})
	}
	return all
}
