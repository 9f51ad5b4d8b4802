package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
)

// pastGuard refuses to let a node go that alone has what was decided before the others joined.
type pastGuard struct{ force bool }

func (g *pastGuard) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&g.force, "force", false, "also if no other node is known to have the whole past of a partition that this one may have: history, archive and backups of the others then begin later for ever")
}

// check looks at what all nodes say. A node that leaves already is not asked for.
func (g *pastGuard) check(ctx context.Context, o *httpOptions, client *clusterhttp.Client, node cluster.NodeID) error {
	if g.force {
		return nil
	}
	view, err := client.Overview(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(view.Nodes, func(n cluster.NodeOverview) bool { return n.ID == node && n.Status == cluster.Active }) {
		return nil
	}
	o.complete(ctx, view)
	only := view.OnlyPast(node)
	if len(only) == 0 {
		return nil
	}
	var names []string
	for _, id := range only {
		names = append(names, number(id-1))
	}
	return &failure{
		err:    fmt.Errorf("no other node than %d is known to have the whole past of partition %s", node, strings.Join(names, ", ")),
		hint:   "let node " + number(node) + " run until `maru cluster status` says of no other node that it lacks entries of the past: they get them by themselves; or give them up with --force",
		status: exitRefused,
	}
}
