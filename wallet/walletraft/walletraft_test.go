package walletraft_test

import (
	"testing"

	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletraft"
)

// TestOnLeadingBetween sets OnLeading when a replica was made that the host does not
// know yet: it is told that the replica leads.
func TestOnLeadingBetween(t *testing.T) {
	w := sim.New(1)
	process := w.Start()
	var host *rsmraft.Host
	l := walletraft.NewLog(func() *rsmraft.Host { return host }, 0, process.NewLoop("idle"))
	leads := false
	host, err := rsmraft.Open("data", 1, &rsmraft.Options{
		FS: vfs.NewMem(), ReserveBytes: -1, Runtime: process,
		Machine: func(rsmraft.GroupID) rsm.Machine {
			return wallet.NewPartition(0, 1, process.Rand).Machine
		},
		Opened: func(g *rsmraft.Group) {
			l.Opened(g)
			l.OnLeading(func(now bool) { leads = now })
		},
	})
	if err == nil {
		_, err = host.Begin(walletraft.Group(0))
	}
	if err != nil {
		t.Fatal(err)
	}
	if !w.Run(1e10, func() bool { return leads }) {
		t.Error("it was not told")
	}
}
