package main

import (
	"errors"
	"net/http"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
)

// explainCluster adds to what a cluster refused, or failed with, what to do about it.
// Other errors it returns as they are.
func explainCluster(err error) error {
	p, ok := errors.AsType[*clusterhttp.Problem](err)
	if !ok {
		return err
	}
	for _, code := range cluster.Codes() {
		if hint := clusterHint(code); hint != "" && p.Code == code.String() {
			return &failure{err: p, hint: hint, status: exitRefused}
		}
	}
	switch {
	case p.Code == "no_leader":
		return failed(p, "start more nodes: a majority of those that vote on the metadata is needed; `maru cluster status` shows which are silent")
	case p.Status == http.StatusUnprocessableEntity, p.Status == http.StatusBadRequest:
		return usageError("see the examples of `maru cluster --help`", "%w", p)
	case p.Status >= http.StatusInternalServerError && p.Status != http.StatusInsufficientStorage:
		return failed(p, "repeat the command: nothing is done twice")
	}
	return explainStatus(p, p.Status)
}

// clusterHint says what to do about a refusal, "" for what is none.
func clusterHint(c cluster.Code) string {
	switch c {
	case cluster.NotInitialized:
		return "the first node makes the cluster when it is started: try again in a moment"
	case cluster.Initialized:
		return "is --addr the address of the cluster that you mean?"
	case cluster.UnknownNode:
		return "`maru cluster status` lists the nodes; --addr says which cluster is asked"
	case cluster.UnknownGroup:
		return "`maru cluster status` lists the groups; 0 is the metadata"
	case cluster.NodeRemoved:
		return "see `maru cluster status`; `maru cluster add` with an empty directory as --data adds another node"
	case cluster.NodeExists:
		return "give an empty directory as --data, or leave things as they are: see `maru cluster status`"
	case cluster.AddressTaken:
		return "give another --peer; `maru cluster replace NODE` puts a new node in the place of the one that has it"
	case cluster.AddressMissing:
		return "give --peer here, and restart the first node with one: `maru serve --peer HOST:PORT`"
	case cluster.LastNode:
		return "add another node first, or replace this one: `maru cluster replace --help`"
	case cluster.NoReplica:
		return "name a node that is in the column WANTED of `maru cluster status`"
	case cluster.LimitReached:
		return "remove a node first: `maru cluster remove NODE`"
	case cluster.Undecided, cluster.Applied, cluster.Malformed, cluster.Outdated:
		// They are no answers to what people ask.
	}
	return ""
}
