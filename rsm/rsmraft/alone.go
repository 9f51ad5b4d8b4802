package rsmraft

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"maru.example/rsm"
)

// OpenAlone opens a node that is a cluster by itself, with one group of which it
// is the only member, and returns that when everything is recovered. Its Host is
// to be closed.
func OpenAlone(dir string, m rsm.Machine, o *Options) (*Group, error) {
	var options Options
	if o != nil {
		options = *o
	}
	options.Machine = func(GroupID) rsm.Machine { return m }
	h, err := Open(dir, 1, &options)
	if err != nil {
		return nil, err
	}
	g, err := h.Begin(1)
	if err == nil {
		err = g.WaitLeader()
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return g, nil
}

// WaitLeader returns when this replica leads and everything that was committed
// before is applied, or the group has failed. It does not wait for others: with
// more voters than this one, as what is recovered may show, it returns at once.
func (g *Group) WaitLeader() error {
	done := make(chan error, 1)
	g.loop.Post(func() {
		g.waiters = append(g.waiters, func(err error) { done <- err })
		g.wakeWaiters()
	})
	err, ended := wait(context.Background(), g, done)
	if err = cmp.Or(err, ended); err != nil {
		return fmt.Errorf("rsmraft: group %d: %w", g.id, err)
	}
	return nil
}

// wakeWaiters answers those who wait for this replica to lead.
func (g *Group) wakeWaiters() {
	if g.failed == nil && (!g.leads || !g.settled) && g.alone() {
		return
	}
	for _, w := range g.waiters {
		w(g.failed)
	}
	g.waiters = nil
}

// Host returns the node that runs the replica.
func (g *Group) Host() *Host { return g.host }

// Failed is closed when the host has failed.
func (g *Group) Failed() <-chan struct{} { return g.host.failed }

// Err returns why the group takes no proposals at this moment: nil, or an error
// that wraps rsm.ErrFailed, rsm.ErrDiskFull or rsm.ErrClosed.
func (g *Group) Err() error { return g.queue.Err() }

// Close closes the host, and with it all its groups: see [Host.Close].
func (g *Group) Close() error { return g.host.Close() }
