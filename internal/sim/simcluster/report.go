package simcluster

import (
	"fmt"
	"time"

	"maru.example/wallet"
)

// Report says what a run was about.
type Report struct {
	Trace      uint64        // two runs with the same took the same course
	Time       time.Duration // of the world
	Events     uint64
	Messages   uint64 // between nodes
	Faults     string // what went wrong, by kind
	Nodes      int    // that there were
	Partitions int
	Protocol   wallet.Protocol // of transfers that do not say
	Transfers  int             // that clients made
	Applied    int
	Crossings  int // applied, between partitions
	Legged     int // applied, as transactions
	Reversals  int // of those
	Refused    int
	Canceled   int // of those, as the payee was out of reach
	Holds      int // that were placed
	Captured   int // transfers applied out of them
	Reads      int // of single accounts
	Unproven   int // accounts whose history took too long to be proved linearizable
}

// Add adds the figures of another run.
func (r *Report) Add(o *Report) {
	r.Time += o.Time
	r.Events += o.Events
	r.Messages += o.Messages
	r.Nodes += o.Nodes
	r.Transfers += o.Transfers
	r.Applied += o.Applied
	r.Crossings += o.Crossings
	r.Legged += o.Legged
	r.Reversals += o.Reversals
	r.Refused += o.Refused
	r.Canceled += o.Canceled
	r.Holds += o.Holds
	r.Captured += o.Captured
	r.Reads += o.Reads
	r.Unproven += o.Unproven
}

// Summary returns the figures for people.
func (r *Report) Summary() string {
	return fmt.Sprintf("%v of simulated time, %d nodes, %d messages; %d transfers, of which %d applied, %d of these between partitions, %d as transactions, with %d reversals, %d canceled; %d holds, %d captures; %d reads; %d histories unproven",
		r.Time.Round(time.Second), r.Nodes, r.Messages, r.Transfers, r.Applied, r.Crossings, r.Legged, r.Reversals, r.Canceled, r.Holds, r.Captured, r.Reads, r.Unproven)
}

func (w *world) report() *Report {
	r := &Report{
		Trace: w.Trace(), Time: w.Now(), Events: w.Steps, Messages: w.net.Messages, Faults: w.faults.String(),
		Nodes: len(w.nodes), Partitions: w.partitions, Protocol: w.protocol(),
		Transfers: len(w.bank.transfers), Reads: w.bank.reads, Unproven: w.bank.unproven,
	}
	for _, h := range w.bank.holds {
		if h.code == wallet.Held {
			r.Holds++
		}
	}
	for _, t := range w.bank.transfers {
		switch {
		case t.code == wallet.Applied:
			r.Applied++
			if t.hold != nil {
				r.Captured++
			}
			if t.crosses() {
				r.Crossings++
			}
			if t.legs != nil {
				r.Legged++
			}
			if t.reverses != nil {
				r.Reversals++
			}
		case known(t.code):
			r.Refused++
			if t.code == wallet.Canceled {
				r.Canceled++
			}
		}
	}
	return r
}
