package clusterraft

import (
	"context"
	"fmt"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
)

// Service is a [cluster.Service] on the metadata group of a node, which may come
// into being later: a node that joins gets it from the others.
type Service struct {
	*cluster.Service
	host *Host
}

// NewService returns the service of the machine that is the metadata group's on a
// node.
func NewService(h *Host, m *cluster.Machine) *Service {
	return &Service{cluster.NewService(metadata{h.host}, m), h}
}

// Overview returns how the cluster stands as this node sees it, without asking
// others.
func (s *Service) Overview() *cluster.Overview {
	return cluster.NewOverview(cluster.NodeID(s.host.host.ID()), s.Known(), s.host.Replicas())
}

// metadata is the log of the metadata group.
type metadata struct{ host *rsmraft.Host }

var _ cluster.Log = metadata{}

func (m metadata) group() (*rsmraft.Group, error) {
	g := m.host.Group(rsmraft.GroupID(cluster.Metadata))
	if g == nil {
		return nil, fmt.Errorf("%w: no replica of the metadata", rsm.ErrNoLeader)
	}
	return g, nil
}

// Propose implements cluster.Log.
func (m metadata) Propose(ctx context.Context, data []byte) ([]byte, rsm.Position, error) {
	g, err := m.group()
	if err != nil {
		return nil, rsm.Position{}, err
	}
	return g.Propose(ctx, data)
}

// Read implements cluster.Log.
func (m metadata) Read(ctx context.Context, fn func()) error {
	g, err := m.group()
	if err != nil {
		return err
	}
	return g.Read(ctx, fn)
}
