package sim

import (
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
	n.Hang = 0
	n.FS = vfs.NewFaulty(n.Disk, nil)
	n.Process = n.world.Start()
	n.Process.Delay = func(loop string) time.Duration {
		if loop == "writes" {
			return n.world.Between(50*time.Microsecond, max(n.Hang, 2*time.Millisecond))
		}
		return n.world.Between(0, 50*time.Microsecond)
	}
}

// Tear lets the process die in the midst of a change of its disk, the after-th from
// now on.
func (n *Node) Tear(after int) {
	last := n.FS.Edits() + after
	keep := n.world.Rand.IntN(100)
	p := n.Process
	n.FS.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Edit < last {
			return vfs.Fault{}
		}
		p.Kill()
		return vfs.Fault{Err: vfs.ErrInjected, Keep: keep}
	})
}

// Calm ends what goes wrong with the process and its disk. A process that is dead
// stays so.
func (n *Node) Calm() {
	n.Hang = 0
	n.FS.SetRule(nil)
	n.Process.Resume()
}
