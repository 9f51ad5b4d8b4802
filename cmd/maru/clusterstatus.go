package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
)

func newClusterStatusCommand() *cobra.Command {
	cmd := overviewCommand("status", "Show nodes, groups, leaders and how far replicas are behind", "  maru cluster status\n  maru cluster status --json",
		func(ctx context.Context, _ *httpOptions, client *clusterhttp.Client, _ []string) (*cluster.Overview, error) {
			return client.Overview(ctx)
		})
	cmd.Long = `Show nodes, groups, leaders and how far replicas are behind. A node knows most of
what it leads itself, so all nodes are asked, by the addresses that the one of --addr
knows; one that does not answer is said to be so. With --json it prints what
docs/format/cluster.md describes. HEALTH also says whether a node lacks entries of the past
yet, which it gets from others after it has joined. The columns of groups, as the leader says:

  COMMIT     last entry of the log that a majority has
  UNAPPLIED  replicas that have not applied all that is committed, and how many entries
  P50, P99   how long half, and 99 %, of the proposals of the last 10 to 20 s took
  IN FLIGHT  transfers to other partitions that are under way, by phase
  WANTED     the nodes that shall vote; the first shall lead
  BEHIND     members that do not have all of the log, and how many entries are missing`
	return cmd
}

// askTimeout bounds the wait for one node of those that are asked how they see the
// cluster.
const askTimeout = 3 * time.Second

// complete adds what the other nodes see: a leader knows most of its group. Of those
// that do not answer it adds why.
func (o *httpOptions) complete(ctx context.Context, view *cluster.Overview) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answers, errs := make([]*cluster.Overview, len(view.Nodes)), make([]error, len(view.Nodes))
	var asked sync.WaitGroup
	for i, n := range view.Nodes {
		if !slices.Contains(view.Seen, n.ID) && n.Status != cluster.Removed {
			asked.Go(func() { answers[i], errs[i] = o.ask(ctx, n.ID, n.Addresses.HTTP) })
		}
	}
	asked.Wait()
	failed := map[cluster.NodeID]error{}
	for i, n := range slices.Clone(view.Nodes) {
		if answers[i] != nil {
			view.Merge(answers[i])
		} else if errs[i] != nil {
			failed[n.ID] = errs[i]
		}
	}
	for i := range view.Nodes {
		if err := failed[view.Nodes[i].ID]; err != nil {
			view.Nodes[i].Error = err.Error()
		}
	}
}

// ask asks a node how it sees the cluster.
func (o *httpOptions) ask(ctx context.Context, node cluster.NodeID, address string) (*cluster.Overview, error) {
	if address == "" {
		return nil, errors.New("its HTTP address is not known: see maru serve --advertise-http")
	}
	client, err := o.clusterClient(address)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	view, err := client.Overview(ctx)
	switch failure, ok := errors.AsType[*url.Error](err); {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("no answer within %v from %s", askTimeout, address)
	case ok:
		return nil, fmt.Errorf("%s: %w", address, failure.Err)
	case err == nil && !slices.Contains(view.Seen, node):
		return nil, fmt.Errorf("%s is another node: see maru serve --advertise-http", address)
	}
	return view, err
}

// printOverview prints a cluster for people.
func printOverview(cmd *cobra.Command, view *cluster.Overview) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "cluster %s: %s, %s each, %s\n\n", view.Cluster, several(view.Partitions, "partition", "partitions"), several(view.Config.Replicas, "replica", "replicas"), view.Config.Protocol)
	nodes := newTable("node", "status", "health", "replicas", "leads", "http", "peer")
	for _, n := range view.Nodes {
		nodes.add(number(n.ID), string(n.Status), healthOf(view, &n), strconv.Itoa(n.Replicas), strconv.Itoa(n.Leads), dash(n.Addresses.HTTP), dash(n.Addresses.Peer))
	}
	groups := newTable("group", "leader", "term", "commit", "unapplied", "p50", "p99", "in flight", "voters", "learners", "wanted", "behind")
	for i := range view.Groups {
		g := &view.Groups[i]
		name := "partition " + strconv.Itoa(int(g.ID)-1)
		if g.ID == cluster.Metadata {
			name = "metadata"
		}
		p50, p99 := proposals(g)
		groups.add(number(g.ID)+" "+name, leaderOf(g), number(g.Term), number(g.Commit), unapplied(g), p50, p99, inFlight(g),
			list(g.Voters), list(g.Learners), list(g.Wanted), behind(g))
	}
	err := nodes.print(out)
	fmt.Fprintln(out)
	err = errors.Join(err, groups.print(out))
	for _, n := range view.Nodes {
		if n.Error != "" {
			_, told := fmt.Fprintf(cmd.ErrOrStderr(), "node %d gave no answer: %s\n", n.ID, n.Error)
			err = errors.Join(err, told)
		}
	}
	return err
}

func healthOf(view *cluster.Overview, n *cluster.NodeOverview) string {
	if n.Error != "" {
		return string(n.Health) + ", no answer"
	}
	says, low, lost, missing, nowhere := string(n.Health), false, false, uint64(0), false
	for i := range view.Groups {
		if r := view.Groups[i].Replica(n.ID); r != nil {
			low, lost = low || r.DiskLow, lost || r.ArchiveLost > 0
			if r.Past != nil {
				missing, nowhere = missing+r.Past.Missing, nowhere || r.Past.Nowhere
			}
		}
	}
	if low {
		says += ", disk nearly full"
	}
	if lost {
		says += ", archive lost entries"
	}
	if missing > 0 {
		says += fmt.Sprintf(", lacks %s entries of the past", count(missing))
	}
	if nowhere {
		says += ", which no node has"
	}
	return says
}

func leaderOf(g *cluster.GroupOverview) string {
	if g.Leader == 0 {
		return "none known"
	}
	return number(g.Leader)
}

// unapplied says which replicas have not applied all that they know to be
// committed, and how many entries.
func unapplied(g *cluster.GroupOverview) string {
	if len(g.Replicas) == 0 {
		return "not known"
	}
	var late []string
	for _, r := range g.Replicas {
		if r.Commit > r.Applied {
			late = append(late, fmt.Sprintf("%d by %d", r.Node, r.Commit-r.Applied))
		}
	}
	return dash(strings.Join(late, ", "))
}

// proposals says how long they take where the group is led.
func proposals(g *cluster.GroupOverview) (p50, p99 string) {
	r := g.Replica(g.Leader)
	if r == nil || r.Proposals.Count == 0 {
		return "-", "-"
	}
	return seconds(r.Proposals.P50), seconds(r.Proposals.P99)
}

// seconds returns a time with two or three digits.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	for unit := 10 * time.Microsecond; ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
}

// inFlight says what the group has under way with others, where it is led.
func inFlight(g *cluster.GroupOverview) string {
	r := g.Replica(g.Leader)
	if r == nil {
		return "-"
	}
	var all []string
	for _, phase := range slices.Sorted(maps.Keys(r.InFlight)) {
		if n := r.InFlight[phase]; n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, phase))
		}
	}
	return dash(strings.Join(all, ", "))
}

// behind says which members are behind, and by how many entries.
func behind(g *cluster.GroupOverview) string {
	if len(g.Members) == 0 {
		return "not known"
	}
	var late []string
	for _, m := range g.Members {
		switch {
		case m.Health == cluster.Silent:
			late = append(late, fmt.Sprintf("%d silent", m.Node))
		case m.DiskFull:
			late = append(late, fmt.Sprintf("%d by %d (disk full)", m.Node, m.Lag))
		case m.Lag > 0:
			late = append(late, fmt.Sprintf("%d by %d%s", m.Node, m.Lag, snapshotTo(g, m.Node)))
		}
	}
	return dash(strings.Join(late, ", "))
}

// snapshotTo says how far the snapshot is that the leader sends to a node, "" if
// it sends none.
func snapshotTo(g *cluster.GroupOverview, to cluster.NodeID) string {
	if r := g.Replica(g.Leader); r != nil {
		for _, s := range r.Sending {
			if s.Node == to {
				return fmt.Sprintf(" (snapshot %d %%)", 100*s.Bytes/cmp.Or(s.Of, 1))
			}
		}
	}
	return ""
}

func list(nodes []cluster.NodeID) string {
	var all []string
	for _, n := range nodes {
		all = append(all, number(n))
	}
	return dash(strings.Join(all, ","))
}

func number[N ~uint32 | ~uint64](n N) string { return strconv.FormatUint(uint64(n), 10) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
