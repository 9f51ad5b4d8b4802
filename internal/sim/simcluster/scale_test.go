package simcluster_test

import (
	"flag"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/cluster"
	"maru.example/internal/racing"
	"maru.example/internal/sim/simcluster"
)

var scale = flag.Bool("scale", false, "let TestScale run clusters of the sizes that wallet/DESIGN.md names; -v prints their figures")

// What wallet/DESIGN.md counts with for a transfer, half of them being between
// partitions.
const (
	mostLog     = 3 * 105 // bytes on the three replicas
	mostNetwork = 248     // bytes between nodes
	mostSkew    = 1.2     // how much more a node has to do than the average
)

// TestScale counts what transfers take on clusters in which nothing goes wrong.
func TestScale(t *testing.T) {
	type options = simcluster.ScaleOptions
	here := func(cross int) options {
		return options{Nodes: 3, Partitions: 4, Cores: 2, Shared: true, Protocol: cluster.TCC, Cross: cross, Batch: 8192, Transfers: 2_000_000, Clients: 32}
	}
	million := func(p cluster.Protocol) options {
		return options{Nodes: 3, Partitions: 8, Cores: 4, Protocol: p, Cross: 50, Batch: 8192, Transfers: 1_000_000, Rate: 1_000_000}
	}
	tests := []struct {
		name string
		long bool
		o    options
	}{
		{"small", false, options{Nodes: 4, Partitions: 8, Cores: 4, Protocol: cluster.TCC, Cross: 50, Batch: 4096, Transfers: 96 << 10, Rate: 500_000}},
		{"this machine, 0 %", true, here(0)},
		{"this machine, 10 %", true, here(10)},
		{"this machine, 50 %", true, here(50)},
		{"this machine, 100 %", true, here(100)},
		{"1 million", true, million(cluster.TCC)},
		{"1 million by saga", true, million(cluster.Saga)},
		{"10 million", true, options{Nodes: 12, Partitions: 64, Cores: 8, Protocol: cluster.TCC, Cross: 50, Batch: 8192, Transfers: 5_000_000, Rate: 10_000_000}},
	}
	if racing.Enabled {
		tests[0].o.Transfers /= 2
	}
	for _, tt := range tests {
		if tt.long && !*scale {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			r, err := simcluster.RunScale(*first, &tt.o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("\n%v", r)
			checkSpread(t, r, tt.o.Partitions)
			if want := tt.o.Transfers / tt.o.Batch * tt.o.Batch; r.Transfers != want {
				t.Errorf("%d transfers were answered, want %d", r.Transfers, want)
			}
			if tt.o.Cross != 50 || tt.o.Protocol != cluster.TCC {
				return
			}
			if got := r.Log / uint64(r.Transfers); got > mostLog {
				t.Errorf("%d bytes of log a transfer, want at most %d", got, mostLog)
			}
			if got := r.Network() / uint64(r.Transfers); got > mostNetwork {
				t.Errorf("%d bytes a transfer between nodes, want at most %d", got, mostNetwork)
			}
		})
	}
}

// checkSpread checks that all nodes have about the same to do.
func checkSpread(t *testing.T, r *simcluster.ScaleReport, partitions int) {
	t.Helper()
	for i, n := range r.Nodes {
		if fair := partitions / len(r.Nodes); n.Leads < fair || n.Leads > fair+1 {
			t.Errorf("node %d leads %d of %d partitions", i+1, n.Leads, partitions)
		}
		if fair := 3 * partitions / len(r.Nodes); n.Replicas < fair || n.Replicas > fair+1 {
			t.Errorf("node %d has replicas of %d of %d partitions", i+1, n.Replicas, partitions)
		}
	}
	for what, of := range map[string]func(*simcluster.NodeReport) float64{
		"commands":       func(n *simcluster.NodeReport) float64 { return float64(n.Decided) },
		"bytes of log":   func(n *simcluster.NodeReport) float64 { return float64(n.Log) },
		"bytes received": func(n *simcluster.NodeReport) float64 { return float64(n.Received) },
	} {
		if got := r.Skew(of); got > mostSkew {
			t.Errorf("the node with most %s has %.2f times the average, want at most %.2f", what, got, mostSkew)
		}
	}
}

// TestScaleSameCourse runs the same load twice.
func TestScaleSameCourse(t *testing.T) {
	o := &simcluster.ScaleOptions{Nodes: 3, Partitions: 2, Cores: 2, Protocol: cluster.TCC, Cross: 50, Batch: 1024, Transfers: 16 << 10, Rate: 500_000}
	a, err := simcluster.RunScale(*first, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := simcluster.RunScale(*first, o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("two runs differ (-first +second):\n%s", diff)
	}
}
