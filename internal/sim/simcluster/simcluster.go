// Package simcluster runs the whole of Maru in a simulation: the nodes of a cluster
// with their metadata, the partitions of a wallet, the transfers between them, and
// the clients of a bank, in one process and from one seed. Networks, disks,
// processes and clocks misbehave, and nodes come and go, while it is checked that no
// money appears or is lost and that every answer holds. DESIGN.md says what is
// simulated and what is not. It is for tests only.
package simcluster

import (
	"cmp"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"maru.example/cluster"
	"maru.example/internal/sim"
	"maru.example/wallet"
)

// Options are the settings of a run; nil means all defaults.
type Options struct {
	// Faults is how long things go wrong; default 15 s of the world's time.
	Faults time.Duration
	// Log is where what the nodes log is written, with the world's time; default:
	// nowhere.
	Log io.Writer
}

// Run runs the world of a seed. It returns an error if something went wrong that
// must not, whatever the faults: the same seed then fails again in the same way.
func Run(seed uint64, o *Options) (report *Report, err error) {
	w := newWorld(seed, o)
	defer w.End()
	defer func() {
		report = w.report()
		switch e := recover().(type) {
		case nil:
		case failure:
			err = e.err
		default:
			err = fmt.Errorf("at %v: panic: %v\n%s", w.Now(), e, debug.Stack())
		}
	}()
	w.run()
	return nil, nil
}

// patience is how long the world may take for what must happen in the end.
const patience = 3 * time.Minute

// world is a cluster and all that happens to it.
type world struct {
	*sim.World
	seed       uint64
	options    Options
	net        *sim.Network
	nodes      []*node // in the order of their ids
	partitions int
	config     cluster.Config
	patience   time.Duration // after which a transfer whose payee is out of reach is canceled
	sizes      sizes
	pauses     pauses
	books      *books
	bank       *bank
	faults     *faults
	members    *members
	load       *load // of RunScale, which has no books, bank and faults; else nil
	calm       bool  // nothing goes wrong yet, or any more
}

// sizes are settings of all nodes, small so that much happens at their limits.
type sizes struct {
	snapshot, segment, queue int64
	entry                    int
	recent                   uint64
}

// pauses are those of the reconcilers.
type pauses struct{ handOver, remove time.Duration }

func newWorld(seed uint64, o *Options) *world {
	s := sim.New(seed)
	w := &world{World: s, seed: seed, net: sim.NewNetwork(s), calm: true}
	if o != nil {
		w.options = *o
	}
	w.options.Faults = cmp.Or(w.options.Faults, 15*time.Second)
	w.partitions = 2 + w.Rand.IntN(3)
	w.config = cluster.DefaultConfig()
	w.config.Protocol = []cluster.Protocol{cluster.TCC, cluster.Saga, cluster.TwoPhases}[seed%3]
	w.patience = []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second, time.Minute}[w.Rand.IntN(4)]
	w.sizes = sizes{recent: 8 << (seed % 8), snapshot: 1 << (11 + w.Rand.IntN(6)), segment: 1 << (13 + w.Rand.IntN(5)), queue: queue, entry: 1 << (8 + w.Rand.IntN(6))}
	w.pauses = pauses{handOver: w.Between(500*time.Millisecond, 5*time.Second), remove: w.Between(500*time.Millisecond, 5*time.Second)}
	w.books = newBooks(w)
	w.bank = newBank(w)
	w.faults = newFaults(w)
	w.members = newMembers(w)
	return w
}

// run is the story of a world.
func (w *world) run() {
	w.found([]int{1, 3, 3, 4, 5}[w.Rand.IntN(5)])
	w.bank.open()
	w.calm = false
	w.bank.start()
	w.faults.start()
	w.members.start()
	w.idle(w.options.Faults)

	w.calm = true
	w.faults.stop()
	w.bank.stop()
	w.until("the members are as wanted", w.members.settled)
	w.until("all transfers are answered", w.bank.idle)
	w.until("no money is on its way", w.books.even)
	w.until("holds whose time has come are ended", w.expired)
	w.check()
}

// check checks what has to be so in the end.
func (w *world) check() {
	w.until("replicas are equal", w.equal)
	w.checkFeeds()
	w.bank.check()
	w.bank.prove()
}

// protocol returns how money moves between partitions if a transfer does not say.
func (w *world) protocol() wallet.Protocol { return protocolOf(w.config.Protocol) }

// idle lets time pass.
func (w *world) idle(d time.Duration) { w.Run(d, func() bool { return false }) }

// until runs until done, or fails.
func (w *world) until(what string, done func() bool) {
	if !w.Run(patience, done) {
		w.failf("not within %v: %s\n%s", patience, what, w.describe())
	}
}

// failure ends a run.
type failure struct{ err error }

// failf ends the run: something happened that must not.
func (w *world) failf(format string, args ...any) {
	panic(failure{fmt.Errorf("at %v: "+format, append([]any{w.Now()}, args...)...)})
}
