package main

import (
	"bytes"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"maru.example/cluster"
	"maru.example/internal/telemetry"
	"maru.example/wallet"
)

func TestPrintOverview(t *testing.T) {
	node := func(id cluster.NodeID, h cluster.Health, err string) cluster.NodeOverview {
		n := cluster.NodeOverview{Node: cluster.Node{ID: id, Status: cluster.Active}, Health: h, Error: err}
		n.Addresses = cluster.Addresses{Peer: "n:7482", HTTP: "http://n:7480"}
		return n
	}
	three := []cluster.NodeID{1, 2, 3}
	view := &cluster.Overview{
		Cluster: "c", Partitions: 2, Config: cluster.DefaultConfig(),
		Nodes: []cluster.NodeOverview{node(1, cluster.Alive, ""), node(2, cluster.Alive, "no answer within 3s"), node(3, cluster.Silent, "connection refused")},
		Groups: []cluster.GroupOverview{
			{ID: 0, Wanted: three, Voters: three},
			{
				ID: 1, Leader: 1, Term: 2, Commit: 30, Wanted: three, Voters: three,
				Members: []cluster.MemberOverview{{Node: 1, Health: cluster.Alive}, {Node: 2, Lag: 20, Health: cluster.Alive}, {Node: 3, Lag: 30, Health: cluster.Silent}},
				Replicas: []cluster.ReplicaOverview{
					{
						Node: 1, Commit: 30, Applied: 30, DiskLow: true, ArchiveLost: 3, Past: &cluster.PastOverview{Missing: 1200, Nowhere: true}, Proposals: cluster.ProposalsOverview{Count: 9, P50: 0.0123456, P99: 1.23456},
						Sending:  []cluster.SnapshotOverview{{Node: 2, Bytes: 40, Of: 80}},
						InFlight: map[string]uint64{"trying": 3, "confirming": 1, "crediting": 0},
					},
					{Node: 2, Commit: 10, Applied: 4, Proposals: cluster.ProposalsOverview{Count: 1, P50: 5, P99: 5}},
				},
			},
			{ID: 2, Leader: 2, Term: 1, Commit: 5, Wanted: three, Voters: three[:1], Learners: three[1:], Members: []cluster.MemberOverview{{Node: 2, Health: cluster.Alive}, {Node: 3, Lag: 4, Health: cluster.Alive, DiskFull: true}}},
		},
	}
	var out, errs bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	if err := printOverview(cmd, view); err != nil {
		t.Fatal(err)
	}
	want := `cluster c: 2 partitions, 3 replicas each, tcc

NODE  STATUS  HEALTH                                                                                             REPLICAS  LEADS  HTTP           PEER
1     active  alive, disk nearly full, archive lost entries, lacks 1,200 entries of the past, which no node has  0         0      http://n:7480  n:7482
2     active  alive, no answer                                                                                   0         0      http://n:7480  n:7482
3     active  silent, no answer                                                                                  0         0      http://n:7480  n:7482

GROUP          LEADER      TERM  COMMIT  UNAPPLIED  P50     P99    IN FLIGHT               VOTERS  LEARNERS  WANTED  BEHIND
0 metadata     none known  0     0       not known  -       -      -                       1,2,3   -         1,2,3   not known
1 partition 0  1           2     30      2 by 6     12.3ms  1.23s  1 confirming, 3 trying  1,2,3   -         1,2,3   2 by 20 (snapshot 50 %), 3 silent
2 partition 1  2           1     5       not known  -       -      -                       1       2,3       1,2,3   3 by 4 (disk full)
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := "node 2 gave no answer: no answer within 3s\nnode 3 gave no answer: connection refused\n"; errs.String() != want {
		t.Errorf("said %q, want %q", errs.String(), want)
	}
}

// TestStatusOfWrongAddresses asks nodes of which one is not known by an address, and
// one by that of another.
func TestStatusOfWrongAddresses(t *testing.T) {
	first := &cluster.Overview{Cluster: "c", Seen: []cluster.NodeID{1}}
	for id := range cluster.NodeID(3) {
		first.Nodes = append(first.Nodes, cluster.NodeOverview{Node: cluster.Node{ID: id + 1, Status: cluster.Active}})
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = printJSON(w, first) }))
	defer server.Close()
	view := *first
	view.Nodes = slices.Clone(first.Nodes)
	view.Nodes[1].Addresses.HTTP = server.URL
	new(httpOptions).complete(t.Context(), &view)
	for i, want := range []string{"", server.URL + " is another node: see maru serve --advertise-http", "its HTTP address is not known: see maru serve --advertise-http"} {
		if got := view.Nodes[i].Error; got != want {
			t.Errorf("node %d: %q, want %q", i+1, got, want)
		}
	}
}

func TestTransfersByPhase(t *testing.T) {
	one, two := partitionMetrics{partition: 1}, partitionMetrics{partition: 2}
	one.InFlight[wallet.Trying], two.InFlight[wallet.Confirming] = 5, 6
	got := map[[2]string]uint64{}
	maps.Insert(got, transfersByPhase([]partitionMetrics{one, two}))
	want := map[[2]string]uint64{}
	for _, partition := range []string{"1", "2"} {
		for _, phase := range []string{"trying", "preparing", "crediting", "confirming", "canceling", "waiting"} {
			want[[2]string{partition, phase}] = 0
		}
	}
	want[[2]string{"1", "trying"}], want[[2]string{"2", "confirming"}] = 5, 6
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMetricsOfGroups opens a node and looks at what /metrics has of its groups.
func TestMetricsOfGroups(t *testing.T) {
	n, err := openNode(t.Context(), &serveOptions{data: t.TempDir(), partitions: 2, reserve: -1, snapshot: 1 << 30, maxQueue: 1 << 20}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.close(0); err != nil {
			t.Error(err)
		}
	}()
	for range 3 {
		if _, err := n.wallet.Load().CreateTenant(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
	}
	r := telemetry.NewRegistry()
	exposeMetrics(r, n)
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	for _, want := range []string{
		`maru_group_leads{group="2"} 1`,
		`maru_group_apply_lag_entries{group="1"} 0`,
		`maru_group_match_lag_entries{group="1",node="1"} 0`,
		`maru_group_proposal_duration_seconds_bucket{group="1",le="+Inf"} 3`,
		`maru_group_proposal_duration_seconds_count{group="1"} 3`,
		`maru_partition_transfers_in_flight{partition="0",phase="trying"} 0`,
		`maru_partition_transfers_in_flight{partition="1",phase="canceling"} 0`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("the metrics have no %s", want)
		}
	}
	for line := range strings.Lines(w.Body.String()) {
		if t.Failed() && strings.HasPrefix(line, "maru_") {
			t.Log(line)
		}
	}
}
