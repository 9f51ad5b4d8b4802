package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"maru.example/internal/httpd"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
)

// servedPartition is the past of a partition as servers that run give it: the segments of which a
// backup is made, which are checked and read, one after the other, and kept nowhere.
type servedPartition struct {
	client  *backupClient
	places  chan struct{} // as many of the partitions ask at a time as a server makes segments
	number  uint16
	of      rsmarchive.Chained
	first   []byte // the first segment, with which the end was said
	explain func(error) error
}

// openServed finds out how far the past of a wallet that runs goes now: each partition up to the
// entry that was its last when it was asked for. The first partition is asked last, as it has the assets that the
// others' entries name.
func openServed(cmd *cobra.Command, o *httpOptions) (*pastNode, error) {
	c, err := o.dialBackup()
	if err != nil {
		return nil, err
	}
	of, err := c.source(cmd.Context())
	if err != nil {
		return nil, o.explainServed(err)
	}
	n := &pastNode{identity: &identity{Cluster: of.Cluster, Node: of.Node, Partitions: of.Partitions}, partitions: make([]*pastPartition, of.Partitions)}
	places := make(chan struct{}, maxBackupSegments)
	for i := range of.Partitions {
		i = (i + 1) % of.Partitions
		s := &servedPartition{client: c, places: places, number: uint16(i), of: chainedOf(of.Cluster, uint16(i)), explain: o.explainServed}
		p := &pastPartition{number: s.number, begins: true, served: s}
		if s.first, p.end.Index, err = c.segment(cmd.Context(), s.number, s.origin()); err != nil {
			return nil, o.explainServed(fmt.Errorf("partition %d: %w", i, err))
		}
		n.partitions[i] = p
	}
	return n, nil
}

func (s *servedPartition) origin() rsmarchive.Position {
	return rsmarchive.Position{Link: s.of.Origin()}
}

// read calls f with all entries up to one. f may return errStop.
func (s *servedPartition) read(ctx context.Context, last rsm.Index, f func(*rsm.Decided) error) (err error) {
	content, at := s.first, s.origin()
	s.first = nil
	for at.Index < last {
		if at.Index > 0 {
			s.places <- struct{}{}
			content, _, err = s.client.segment(ctx, s.number, at)
			if <-s.places; err != nil {
				return s.explain(fmt.Errorf("partition %d: %w", s.number, err))
			}
		}
		if len(content) == 0 {
			return s.explain(fmt.Errorf("partition %d: %w: nothing comes after entry %d, and %d was the last", s.number, rsmarchive.ErrConflict, at.Index, last))
		}
		if at, err = rsmarchive.ReadTaken(ctx, s.of, at, content, func(d *rsm.Decided) error {
			if d.Index > last {
				return errStop
			}
			return f(d)
		}); errors.Is(err, rsmarchive.ErrDamaged) || errors.Is(err, rsmarchive.ErrConflict) {
			return s.explain(fmt.Errorf("partition %d: %w", s.number, err))
		} else if err != nil {
			return err
		}
	}
	return nil
}

// explainServed says what to do about a past that a server does not give.
func (o *httpOptions) explainServed(err error) error {
	p, refused := errors.AsType[*httpd.Problem](err)
	switch {
	case errors.Is(err, rsmarchive.ErrConflict) || refused && p.Code == "not_here":
		return failed(err, "give --addr of a node that has everything from the beginning, such as the first, or one with an archive; or several, with commas between")
	case errors.Is(err, rsmarchive.ErrDamaged):
		return failed(err, "try again; if it stays so, `maru wallet verify` tells what is wrong on that node")
	case refused:
		return explainStatus(err, p.Status)
	}
	return o.explain(err)
}
