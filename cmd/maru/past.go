package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"

	"github.com/spf13/cobra"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
	"maru.example/wallet/walletraft"
)

// pastNode is the directory of a node that does not run, to be read.
type pastNode struct {
	data     string
	identity *identity
	history  *rsmraft.History
	groups   []rsmraft.GroupHistory // of the wallet's partitions that are here
}

// openPast reads the log in a data directory.
func openPast(cmd *cobra.Command, data string) (*pastNode, error) {
	id, err := loadIdentity(data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, failed(fmt.Errorf("%s is not the directory of a server: it has no %s", data, identityName), "say where it is with --data")
	case err != nil:
		return nil, err
	}
	n := &pastNode{data: data, identity: id}
	var read, size atomic.Int64
	stop := follow(cmd, func() string { return share(read.Load(), size.Load(), "of the log read") })
	n.history, err = rsmraft.OpenHistory(filepath.Join(data, logName), &rsmraft.HistoryOptions{
		Progress: func(done, of int64) { read.Store(done); size.Store(of) },
	})
	stop()
	if err != nil {
		return nil, openError(data, err)
	}
	all, err := n.history.Groups()
	if err != nil {
		return nil, errors.Join(openError(data, err), n.history.Close())
	}
	for _, g := range all {
		if g.ID >= walletraft.Group(0) && int(g.ID-walletraft.Group(0)) < id.Partitions {
			n.groups = append(n.groups, g)
		}
	}
	return n, nil
}

// Close lets the directory go.
func (n *pastNode) Close() error { return n.history.Close() }

// machine returns an empty machine of a partition.
func (n *pastNode) machine(partition uint16) *wallet.Machine {
	return wallet.NewMachine(&wallet.MachineOptions{Partition: partition, Partitions: uint16(n.identity.Partitions), Random: rand.Uint64})
}

// begin restores the oldest snapshot from which the log goes on, and returns where that
// stands, and those that are newer.
func (n *pastNode) begin(g rsmraft.GroupHistory, m *wallet.Machine) (rsm.State, []rsm.Index, error) {
	for i, index := range g.Snapshots {
		if index+1 < g.First {
			continue
		}
		at, err := n.history.RestoreSnapshot(g.ID, index, m)
		return at, g.Snapshots[i+1:], err
	}
	return rsm.State{}, nil, fmt.Errorf("the log of partition %d begins with entry %d, and there is no snapshot before it", g.ID-walletraft.Group(0), g.First)
}
