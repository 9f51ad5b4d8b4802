package sim

import (
	"strings"
	"time"

	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
)

// Node is a machine: a disk, and the process that runs on it, one after the other.
type Node struct {
	ID      rsmraft.NodeID
	Disk    *vfs.Mem
	FS      *vfs.Faulty // the disk as the process sees it
	Process *Process    // nil until Boot
	// Hang is the longest that the disk takes for what the process writes, if that
	// is more than usual.
	Hang time.Duration
	// Lag is the longest that what is posted to loops whose names begin with Lags
	// waits, if that is more than usual.
	Lag  time.Duration
	Lags string

	world *World
}

// NewNode returns a node with an empty disk.
func (w *World) NewNode(id rsmraft.NodeID) *Node {
	return &Node{ID: id, Disk: vfs.NewMem(), world: w}
}

// Boot starts a process, after the end of the one before. Of what that one did not
// sync, the disk has lost some, and some it has in part.
func (n *Node) Boot() {
	if n.Process != nil {
		n.Process.Kill()
		n.Disk.Crash(n.world.Rand.Uint64())
	}
	n.Hang, n.Lag = 0, 0
	n.FS = vfs.NewFaulty(n.Disk, nil)
	n.Process = n.world.Start()
	n.Process.Delay = func(loop string) time.Duration {
		switch {
		case loop == "writes":
			return n.world.Between(50*time.Microsecond, max(n.Hang, 2*time.Millisecond))
		case n.Lag > 0 && strings.HasPrefix(loop, n.Lags):
			return n.world.Between(0, n.Lag)
		}
		return n.world.Between(0, 50*time.Microsecond)
	}
}

// Tear lets the process die in the midst of a change of its disk, the after-th from
// now on.
func (n *Node) Tear(after int) {
	last := n.FS.Edits() + after
	keep := n.world.Rand.IntN(100 << n.world.Rand.IntN(6)) // more than a few bytes now and then
	p := n.Process
	n.FS.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Edit < last {
			return vfs.Fault{}
		}
		p.Kill()
		return vfs.Fault{Err: vfs.ErrInjected, Keep: keep}
	})
}

// Fail lets each change of the disk fail, from the after-th from now on. The first may
// be made nevertheless.
func (n *Node) Fail(after int) {
	last := n.FS.Edits() + after
	made := n.world.Chance(0.5)
	n.FS.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Edit < last {
			return vfs.Fault{}
		}
		return vfs.Fault{Err: vfs.ErrInjected, After: made && c.Edit == last}
	})
}

// Calm ends what goes wrong with the process and its disk. A process that is dead
// stays so.
func (n *Node) Calm() {
	n.Hang, n.Lag = 0, 0
	n.FS.SetRule(nil)
	n.Process.Resume()
}
