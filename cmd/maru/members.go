package main

import (
	"context"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
	"maru.example/internal/auth"
)

// authorizeCluster returns the check of requests about the cluster, nil if there
// are no keys.
func (s *security) authorizeCluster() clusterhttp.Authorize {
	if s.keys == nil {
		return nil
	}
	return func(_ context.Context, authorization string, need clusterhttp.Scope) error {
		_, err := s.keys.Authorize(authorization, "", auth.Scope(need))
		return err
	}
}

// leader returns the addresses of the node that leads a partition, none if that is
// this one, or not known.
func (n *node) leader(partition uint16) cluster.Addresses {
	id := cluster.NodeID(n.remote.Leader(partition))
	if id == n.identity.Node {
		return cluster.Addresses{}
	}
	if leads := n.machine.State().Node(id); leads != nil {
		return leads.Addresses
	}
	return cluster.Addresses{}
}

// join makes the cluster, where it begins with this node, and tells it where this
// node is.
func (s *server) join(ctx context.Context) error {
	addresses := s.options.advertised(s.node.listensForPeers(), s.httpAddr, s.streamAddr, s.security.TLS != nil)
	if err := s.node.init(ctx, s.options, addresses); err != nil {
		return err
	}
	introduction, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.introduced = make(chan struct{})
	s.stopIntroducing = stop
	go func() {
		defer close(s.introduced)
		s.node.introduce(introduction, addresses)
	}()
	return nil
}
