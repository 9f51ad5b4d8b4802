package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
)

func newClusterCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "cluster",
		Short: "Make, grow and watch a cluster of nodes",
		Long: `Make, grow and watch a cluster of nodes. Every node runs maru serve on a directory of
its own. A new directory is a cluster of one node; others are added to it while it
serves. With three nodes any one may fail: the others go on by themselves. What is
said here is durable when it is answered; replicas and leaders follow within
seconds, as maru cluster status shows. All commands may be repeated. With API keys
they need one with the scope cluster:admin, and status one with cluster:read.`,
		Example: `  maru cluster init --data ./n1 --partitions 4
  maru serve --data ./n1 --peer 127.0.0.1:7482
  maru cluster add --data ./n2 --peer 127.0.0.1:7582
  maru serve --data ./n2 --peer 127.0.0.1:7582 --http 127.0.0.1:7580 --stream 127.0.0.1:7581
  maru cluster status`,
	}, newClusterInitCommand(), newClusterAddCommand(), newClusterReplaceCommand(), newClusterRemoveCommand(),
		newClusterStatusCommand(), newClusterTransferLeaderCommand(), newClusterRebalanceCommand(), newClusterSetCommand())
}

func newClusterInitCommand() *cobra.Command {
	var data, protocol string
	partitions, json := 4, false
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the first node of a cluster in a directory",
		Long: `Make the first node of a cluster in a directory, which maru serve then runs. The
number of partitions never changes: an account belongs to one of them, and each can
be led by another node. Transfers between partitions cost more than those within. In
more than 215 partitions the events of a tenant are followed by account only, up to 16 in
one stream, as the id with which a stream goes on has a place of each partition.`,
		Example: "  maru cluster init --data ./n1 --partitions 4",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := protocolArg(protocol)
			if err != nil {
				return err
			}
			id, err := loadIdentity(data)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				id, err = found(data, partitions, p)
			case err == nil && id.Node == pendingNode:
				err = id.added(data)
			case err == nil && (id.Partitions != partitions || id.Node != 1 || id.Protocol != p):
				err = failed(alreadyNode(data, id), "use another directory; `maru cluster set --protocol` changes the protocol of a cluster that serves")
			}
			if err != nil {
				return err
			}
			return printResult(cmd.OutOrStdout(), json, id, fmt.Sprintf("%s is node %d of cluster %s, with %s: start it with `maru serve --data %s --peer HOST:PORT`",
				data, id.Node, id.Cluster, several(id.Partitions, "partition", "partitions"), data))
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", defaultData, "`directory` of the node")
	f.IntVar(&partitions, "partitions", partitions, "parts of the wallet, which can be on different nodes")
	f.StringVar(&protocol, "protocol", string(cluster.TCC), "how transfers between partitions are made: tcc, saga or 2pc")
	jsonFlag(cmd, &json)
	return cmd
}

func protocolArg(s string) (cluster.Protocol, error) {
	p := cluster.Protocol(s)
	if !slices.Contains([]cluster.Protocol{cluster.TCC, cluster.Saga, cluster.TwoPhases}, p) {
		return "", usageError("--protocol is tcc, saga or 2pc", "unknown protocol %q", s)
	}
	return p, nil
}

// alreadyNode says what a directory is that was to become the first node.
func alreadyNode(data string, id *identity) error {
	if id.Protocol == "" { // not the first
		return fmt.Errorf("%s is node %d of a cluster with %d partitions", data, id.Node, id.Partitions)
	}
	return fmt.Errorf("%s is node %d of a cluster with %d partitions and the protocol %s", data, id.Node, id.Partitions, id.Protocol)
}

func newClusterAddCommand() *cobra.Command {
	var o httpOptions
	var j joining
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Add a node: tell the cluster of it, and prepare its directory",
		Long: `Add a node: tell the cluster of it, and prepare its directory, which maru serve then
runs with the same --peer. The node gets its replicas by itself. A directory that
is a node of this cluster already is no error. Where no answer came, repeat it.`,
		Example: "  maru cluster add --data ./n2 --peer 127.0.0.1:7582 --addr http://127.0.0.1:7480",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.callCluster(cmd, func(ctx context.Context, client *clusterhttp.Client) error {
				return j.join(ctx, cmd, client, o.json, 0)
			})
		},
	}
	o.register(cmd)
	j.register(cmd)
	return cmd
}

func newClusterReplaceCommand() *cobra.Command {
	var o httpOptions
	var j joining
	var guard pastGuard
	cmd := &cobra.Command{
		Use:   "replace NODE",
		Short: "Add a node in the place of another, which may be dead",
		Long: `Add a node in the place of another, which may be dead. Its replicas move to the new
one. It is refused if nobody else is known to have all that a partition has decided since
the beginning: other nodes get that by themselves, soon after they have joined.`,
		Example: "  maru cluster replace 2 --data ./n4 --peer 127.0.0.1:7782",
		Args:    exactArgs("NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := nodeArg(args[0])
			if err != nil {
				return err
			}
			return o.callCluster(cmd, func(ctx context.Context, client *clusterhttp.Client) error {
				if err := guard.check(ctx, &o, client, old); err != nil {
					return err
				}
				if err := j.join(ctx, cmd, client, o.json, old); err != nil || !guard.force {
					return err
				}
				_, err := client.RemoveNode(ctx, old, true)
				return err
			})
		},
	}
	o.register(cmd)
	j.register(cmd)
	guard.register(cmd)
	return cmd
}

// joining is a node that is to become one of a cluster.
type joining struct {
	data, peer string
	made       bool // its identity was made here, and the cluster does not know it
}

func (j *joining) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&j.data, "data", "", "`directory` of the new node")
	cmd.Flags().StringVar(&j.peer, "peer", "", "`address` where the other nodes will reach it: host:port")
	for _, name := range []string{"data", "peer"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
}

// join tells the cluster of the node and writes its identity.
func (j *joining) join(ctx context.Context, cmd *cobra.Command, client *clusterhttp.Client, json bool, replaces cluster.NodeID) error {
	if err := checkReachable("--peer", j.peer); err != nil {
		return err
	}
	id, err := loadIdentity(j.data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Written before the cluster is told, so that asking again is asking for the same node.
		id = &identity{Version: identityVersion, Cluster: newID(), Node: pendingNode, Incarnation: newID(), Partitions: 1}
		if err := id.save(j.data); err != nil {
			return openError(j.data, err)
		}
		j.made = true
	case err != nil:
		return err
	}
	joined, err := client.AddNode(ctx, cluster.NewNode{Incarnation: id.Incarnation, Addresses: cluster.Addresses{Peer: j.peer}, Replaces: replaces})
	if err != nil {
		return errors.Join(err, j.takeBack(err))
	}
	if id.Node != pendingNode && (id.Cluster != joined.Cluster || id.Node != joined.Node) {
		return failed(fmt.Errorf("%s is node %d of another cluster, %s", j.data, id.Node, id.Cluster), "use another directory")
	}
	if id.Node == pendingNode {
		id.Cluster, id.Node, id.Partitions = joined.Cluster, joined.Node, joined.Partitions
		for _, p := range joined.Peers {
			id.Peers = append(id.Peers, peerAddress{p.Node, p.Address})
		}
		if err := id.save(j.data); err != nil {
			return openError(j.data, err)
		}
	}
	return printResult(cmd.OutOrStdout(), json, joined, fmt.Sprintf("%s is node %d: start it with `%s`", j.data, joined.Node, startLine(j.data, j.peer)))
}

// takeBack removes the identity that was made for a node if the cluster decided to
// take no such node. It is kept where asking again may help, or the outcome is unknown.
func (j *joining) takeBack(refusal error) error {
	p, ok := errors.AsType[*clusterhttp.Problem](refusal)
	switch {
	case !ok || !j.made:
		return nil
	case p.Code == "outcome_unknown":
		j.made = false // it may be a node by now
		return nil
	case slices.ContainsFunc(cluster.Codes(), func(c cluster.Code) bool { return c.String() == p.Code }):
		j.made = false
		return os.Remove(filepath.Join(j.data, identityName))
	}
	return nil
}

func newClusterRemoveCommand() *cobra.Command {
	left := 0
	var guard pastGuard
	cmd := overviewCommand("remove NODE", "Let a node leave: its replicas move to others first", "  maru cluster remove 2",
		func(ctx context.Context, o *httpOptions, client *clusterhttp.Client, args []string) (*cluster.Overview, error) {
			id, err := nodeArg(args[0])
			if err == nil {
				err = guard.check(ctx, o, client, id)
			}
			if err != nil {
				return nil, err
			}
			view, err := client.RemoveNode(ctx, id, guard.force)
			if err == nil {
				left = stay(view)
			}
			return view, err
		}, "NODE")
	cmd.Long = `Let a node leave: its replicas move to others first. It is refused if no other node is known
to have all that a partition has decided since the beginning: nodes get what was decided
before they joined from the others, by themselves; maru cluster status says what they lack.
Does another lack something again while the node leaves, it stays until that is there too:
let it run. The same with --force lets it go without, such as one that is lost.`
	guard.register(cmd)
	cmd.PostRun = func(cmd *cobra.Command, _ []string) {
		if left > 0 && left < 3 {
			fmt.Fprintf(cmd.ErrOrStderr(), "nodes that stay: %d; none of them may fail then, as there is no majority without it: add others with `maru cluster add`\n", left)
		}
	}
	return cmd
}

// stay counts the nodes that do not leave.
func stay(view *cluster.Overview) (n int) {
	for i := range view.Nodes {
		if view.Nodes[i].Status == cluster.Active {
			n++
		}
	}
	return n
}

func newClusterTransferLeaderCommand() *cobra.Command {
	return overviewCommand("transfer-leader GROUP NODE", "Let a node lead a group", "  maru cluster transfer-leader 1 3",
		func(ctx context.Context, _ *httpOptions, client *clusterhttp.Client, args []string) (*cluster.Overview, error) {
			g, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil {
				return nil, usageError("maru cluster status lists them; 0 is the metadata", "%s is not the number of a group", quoted(args[0]))
			}
			id, err := nodeArg(args[1])
			if err != nil {
				return nil, err
			}
			return client.TransferLeader(ctx, cluster.GroupID(g), id)
		}, "GROUP", "NODE")
}

func newClusterRebalanceCommand() *cobra.Command {
	return overviewCommand("rebalance", "Spread replicas and leaders evenly anew", "  maru cluster rebalance",
		func(ctx context.Context, _ *httpOptions, client *clusterhttp.Client, _ []string) (*cluster.Overview, error) {
			return client.Rebalance(ctx)
		})
}

func newClusterSetCommand() *cobra.Command {
	var protocol string
	cmd := overviewCommand("set", "Change how transfers between partitions are made", "  maru cluster set --protocol saga",
		func(ctx context.Context, _ *httpOptions, client *clusterhttp.Client, _ []string) (*cluster.Overview, error) {
			p, err := protocolArg(protocol)
			if err != nil {
				return nil, err
			}
			view, err := client.Overview(ctx)
			if err != nil {
				return nil, err
			}
			config := view.Config
			config.Protocol = p
			return client.Configure(ctx, config)
		})
	cmd.Flags().StringVar(&protocol, "protocol", "", "tcc, saga or 2pc, for transfers that name none")
	completeFlag(cmd, "protocol", string(cluster.TCC), string(cluster.Saga), string(cluster.TwoPhases))
	if err := cmd.MarkFlagRequired("protocol"); err != nil {
		panic(err)
	}
	return cmd
}

func nodeArg(s string) (cluster.NodeID, error) {
	id, err := strconv.ParseUint(s, 10, 64)
	if err != nil || id == 0 {
		return 0, usageError("maru cluster status lists them", "%s is not the number of a node", quoted(s))
	}
	return cluster.NodeID(id), nil
}

// overviewCommand returns a command that shows the cluster when it is done.
func overviewCommand(use, short, example string, do func(context.Context, *httpOptions, *clusterhttp.Client, []string) (*cluster.Overview, error), args ...string) *cobra.Command {
	var o httpOptions
	check := noArgs
	if len(args) > 0 {
		check = exactArgs(args...)
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: check,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.callCluster(cmd, func(ctx context.Context, client *clusterhttp.Client) error {
				view, err := do(ctx, &o, client, args)
				if err != nil {
					return err
				}
				o.complete(ctx, view)
				if o.json {
					return printJSON(cmd.OutOrStdout(), view)
				}
				return printOverview(cmd, view)
			})
		},
	}
	o.register(cmd)
	return cmd
}

func (o *httpOptions) clusterClient(address string) (*clusterhttp.Client, error) {
	config, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	return clusterhttp.NewClient(address, &clusterhttp.ClientOptions{APIKey: o.key, TLS: config})
}

// callCluster runs what a command asks of a cluster.
func (o *httpOptions) callCluster(cmd *cobra.Command, ask func(context.Context, *clusterhttp.Client) error) error {
	urls, err := o.urls()
	if err != nil {
		return err
	}
	clients := make([]*clusterhttp.Client, len(urls))
	for i, address := range urls {
		if clients[i], err = o.clusterClient(address); err != nil {
			return usageError("see `"+cmd.CommandPath()+" --help`", "%w", err)
		}
		defer clients[i].Close()
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	return o.explain(explainCluster(untilLed(ctx, cmd, func() (err error) {
		for _, client := range clients {
			if err = ask(ctx, client); !isUnreachable(err) {
				return err
			}
		}
		return err
	})))
}

// A node that has just been started or has just lost its leader knows of no leader for
// a moment: commands are repeated for so long, and so often.
const (
	leaderPatience = 10 * time.Second
	leaderInterval = 250 * time.Millisecond
)

// untilLed asks again while no leader of the metadata is known, or one went away: all
// that a cluster is asked may be repeated.
func untilLed(ctx context.Context, cmd *cobra.Command, ask func() error) error {
	tries := time.NewTicker(leaderInterval)
	defer tries.Stop()
	for n := 0; ; n++ {
		err := ask()
		p, ok := errors.AsType[*clusterhttp.Problem](err)
		if !ok || p.Code != "no_leader" && p.Code != "outcome_unknown" || n >= int(leaderPatience/leaderInterval) {
			return err
		}
		if n == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "no leader of the cluster's metadata is known there yet: trying on")
		}
		select {
		case <-tries.C:
		case <-ctx.Done():
			return err
		}
	}
}
