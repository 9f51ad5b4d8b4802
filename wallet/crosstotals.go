package wallet

import (
	"cmp"
	"maps"
	"slices"

	"maru.example/money"
)

// crossTotals is the money that went to and came from other partitions. In each
// partition, for each tenant and currency, at every position of its log,
//
//	sum of the balances + sum over peers of out - sum over peers of in = 0,
//
// so that whatever the moments at which the partitions are looked at, all
// balances and the money in flight, the sum of out less the sum of in, add up to zero.
type crossTotals struct {
	all    map[crossKey]*crossTotal
	last   crossKey // the one asked for before, and most often next
	lastOf *crossTotal
}

type crossKey struct {
	peer, tenant uint16
	currency     money.Currency
}

func (k crossKey) compare(l crossKey) int {
	return cmp.Or(cmp.Compare(k.peer, l.peer), cmp.Compare(k.tenant, l.tenant), cmp.Compare(k.currency, l.currency))
}

// crossTotal is what accounts here were debited for accounts of the peer and not
// given back, and what accounts here were credited from accounts of the peer.
type crossTotal struct{ out, in int128 }

func newCrossTotals() crossTotals { return crossTotals{all: make(map[crossKey]*crossTotal)} }

// of returns the totals to be changed.
func (t *crossTotals) of(peer, tenant uint16, c money.Currency) *crossTotal {
	k := crossKey{peer, tenant, c}
	if k == t.last && t.lastOf != nil {
		return t.lastOf
	}
	v := t.all[k]
	if v == nil {
		v = new(crossTotal)
		t.all[k] = v
	}
	t.last, t.lastOf = k, v
	return v
}

// keys returns all keys in their order.
func (t *crossTotals) keys() []crossKey {
	return slices.SortedFunc(maps.Keys(t.all), crossKey.compare)
}

// inFlightSums adds, for each currency of a tenant, what this partition has to
// contribute to the money in flight of all: out less in.
func (m *Machine) inFlightSums(all map[money.Currency]*int128, tenant uint16) {
	for k, t := range m.crossing.totals.all {
		if k.tenant != tenant {
			continue
		}
		sum := all[k.currency]
		if sum == nil {
			sum = new(int128)
			all[k.currency] = sum
		}
		sum.plus(t.out)
		sum.minus(t.in)
	}
}
