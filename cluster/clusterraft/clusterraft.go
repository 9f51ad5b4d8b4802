// Package clusterraft joins the metadata of a cluster with a node that runs groups
// by Raft: [Host] lets a [cluster.Reconciler] change them, and [Service] runs the
// metadata on the first of them.
package clusterraft

import (
	"context"
	"fmt"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
)

// Host is an [rsmraft.Host] as a [cluster.Reconciler] sees it.
type Host struct{ host *rsmraft.Host }

var _ cluster.Host = (*Host)(nil)

// New returns the adapter of a host.
func New(h *rsmraft.Host) *Host { return &Host{h} }

// Replicas implements cluster.Host.
func (h *Host) Replicas() []cluster.Replica {
	groups := h.host.Groups()
	replicas, low := make([]cluster.Replica, len(groups)), h.host.Metrics().RefusesProposals
	for i, g := range groups {
		s := g.Status()
		replicas[i] = cluster.Replica{
			Group: cluster.GroupID(s.Group), Term: s.Term, Leader: cluster.NodeID(s.Leader), Leads: s.Leads,
			Commit: uint64(s.Commit), Applied: uint64(s.Applied),
			Voters: nodes[cluster.NodeID](s.Voters), Outgoing: nodes[cluster.NodeID](s.Outgoing), Learners: nodes[cluster.NodeID](s.Learners),
			DiskLow: low,
		}
		latency := g.Metrics().RecentLatency
		replicas[i].Proposals = cluster.ProposalsOverview{
			Count: latency.Count(), P50: latency.Quantile(0.5).Seconds(), P99: latency.Quantile(0.99).Seconds(),
		}
		for _, p := range s.Sending {
			replicas[i].Sending = append(replicas[i].Sending, snapshotOverview(&p))
		}
		if s.Receiving != nil {
			replicas[i].Receiving = new(snapshotOverview(s.Receiving))
		}
		for _, p := range s.Peers {
			replicas[i].Peers = append(replicas[i].Peers, cluster.Peer{Node: cluster.NodeID(p.Node), Match: uint64(p.Match), Active: p.Active, Full: p.Full})
		}
	}
	return replicas
}

func snapshotOverview(p *rsmraft.SnapshotProgress) cluster.SnapshotOverview {
	return cluster.SnapshotOverview{Node: cluster.NodeID(p.Peer), Index: uint64(p.Index), Bytes: p.Bytes, Of: p.Of}
}

// nodes converts numbers of nodes; none are nil.
func nodes[To, From ~uint64](ids []From) []To {
	var out []To
	for _, id := range ids {
		out = append(out, To(id))
	}
	return out
}

// StartChange implements cluster.Host.
func (h *Host) StartChange(id cluster.GroupID, voters, learners []cluster.NodeID, done func(error)) {
	g := h.host.Group(rsmraft.GroupID(id))
	if g == nil {
		done(fmt.Errorf("clusterraft: no replica of group %d", id))
		return
	}
	g.StartChange(nodes[rsmraft.NodeID](voters), nodes[rsmraft.NodeID](learners), done)
}

// HandOver implements cluster.Host.
func (h *Host) HandOver(id cluster.GroupID, to cluster.NodeID) {
	if g := h.host.Group(rsmraft.GroupID(id)); g != nil {
		g.HandOver(rsmraft.NodeID(to))
	}
}

// Remove implements cluster.Host.
func (h *Host) Remove(id cluster.GroupID, term, index uint64, done func(error)) {
	h.host.Remove(rsmraft.GroupID(id), rsmraft.Point{Term: term, Index: rsm.Index(index)}, done)
}

// Propose implements cluster.Host.
func (h *Host) Propose(data []byte, done func(error)) {
	g, err := metadata{h.host}.group()
	if err != nil {
		done(err)
		return
	}
	p := &rsm.Proposal{Data: data, Done: func(_ []byte, _ rsm.Position, err error) { done(err) }}
	if err := g.TrySubmit(context.Background(), p); err != nil {
		done(err)
	}
}
