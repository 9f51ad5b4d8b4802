package wallet

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/bits"
)

// MaxPartitions is the most partitions that a wallet is cut into. Their number
// never changes.
const MaxPartitions = 1 << 10

// MachineOptions say which part of a wallet a machine is; nil means all of it.
// The functions are called within Apply and must not wait. Apply runs on every
// replica, and again when the log is replayed; Restore calls neither.
type MachineOptions struct {
	Partition  uint16 // below Partitions
	Partitions uint16 // at most MaxPartitions; default 1
	// Finished is told the decision on a transfer that was Pending.
	Finished func(tenant uint16, id TransactionID, code Code)
	// Due is told that a transfer to a peer has another message to be sent now:
	// see Machine.message.
	Due func(peer uint16, seq uint64)
	// Expires is told that another hold than before may be the next to expire: see
	// Machine.untilExpiry.
	Expires func()
	// RecentIDs is how many transaction ids are kept in memory as they are, about; those
	// that are decided are moved to the disk, if the machine has one. Default 8 Mi.
	RecentIDs uint64
	// Random gives the seeds of the hash tables of transaction ids, by which a
	// snapshot is ordered: nobody who chooses ids may know them. Default: the
	// process's own randomness. A simulation needs one that repeats itself.
	Random func() uint64

	expired int // how many holds a batch ends at the most; default maxExpired
}

func (o *MachineOptions) withDefaults() MachineOptions {
	out := MachineOptions{}
	if o != nil {
		out = *o
	}
	if out.Partitions == 0 {
		out.Partitions = 1
	}
	if out.expired == 0 {
		out.expired = maxExpired
	}
	if out.RecentIDs == 0 {
		out.RecentIDs = 8 << 20
	}
	if out.Random == nil {
		out.Random = func() uint64 { return maphash.String(maphash.MakeSeed(), "") }
	}
	if out.Partition >= out.Partitions || out.Partitions > MaxPartitions {
		panic(fmt.Sprintf("wallet: partition %d of %d", out.Partition, out.Partitions))
	}
	return out
}

// PartitionOf returns the partition, of so many, that an account belongs to. The
// hash behind it is fixed for ever. It spreads accounts evenly; it is no defence
// against ids that are chosen to meet in one partition.
func PartitionOf(tenant Tenant, id AccountID, partitions uint16) uint16 {
	return partitionOf(nameHash(tenant), nameHash(id), partitions)
}

func partitionOf(tenant, name uint64, partitions uint16) uint16 {
	n, _ := bits.Mul64(mix(tenant^hash5, name^hash7), uint64(partitions))
	return uint16(n)
}

// Metrics returns the counters of this node's replica, which may be behind.
func (p *Partition) Metrics(ctx context.Context) (Metrics, error) {
	var found struct { // what has outlived ctx may still write it
		m   Metrics
		err error
	}
	err := await(ctx, func(done func()) {
		p.Log.StartPeek(func(err error) {
			if found.err = err; err == nil {
				found.m = p.Machine.Metrics()
			}
			done()
		})
	})
	if err != nil {
		return Metrics{}, err
	}
	return found.m, found.err
}

// partitionShift is where the partition's number begins in a Handle.
const partitionShift = 48

// Partition returns the number of the partition that gave the handle.
func (h Handle) Partition() uint16 { return uint16(h >> partitionShift) }

// foreign says that a handle is of another partition that exists.
func (m *Machine) foreign(h Handle) bool {
	return h.Partition() != m.options.Partition && h.Partition() < m.options.Partitions
}

// foreignName says that an account, by nameHash of its id, belongs to another partition.
func (m *Machine) foreignName(tenant uint16, name uint64) bool {
	return partitionOf(m.tenants[tenant].hash, name, m.options.Partitions) != m.options.Partition
}

// missing is the answer to a command for an account that is not here.
func (m *Machine) missing(tenant uint16, name []byte) Code {
	if m.foreignName(tenant, nameHash(name)) {
		return WrongPartition
	}
	return UnknownAccount
}

// locked is a bit of an account's status: a TwoPhase transfer under way has the
// account to itself. Whatever needs an open account finds that this one is not;
// only what was promised before goes through.
const locked = 0x80
