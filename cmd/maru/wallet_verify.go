package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
	"maru.example/wallet/walletraft"
)

// mostDifferences is how many accounts are named that two states do not agree about.
const mostDifferences = 10

// verdict is what became of verifying the replica of a partition.
type verdict struct {
	Partition    uint16     `json:"partition"`
	Entries      uint64     `json:"entries"`   // of the log, decided again
	Compared     uint64     `json:"compared"`  // of those, with what is on record of the decisions
	Transfers    uint64     `json:"transfers"` // ids that were decided: repetitions are none
	Accounts     uint64     `json:"accounts"`
	From         *time.Time `json:"from"` // of the first entry and the last; null without any
	Until        *time.Time `json:"until"`
	FromSnapshot uint64     `json:"from_snapshot,omitempty"` // this replica joined: what was before that entry is on others
	Snapshots    []uint64   `json:"snapshots"`               // those compared, by their last entry
	Undecided    int        `json:"undecided,omitempty"`     // entries at the end that are not known to be committed
	Wrong        []string   `json:"wrong,omitempty"`         // what is not as it should be
}

func newVerifyCommand() *cobra.Command {
	var data string
	asJSON := false
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Decide everything in a log again, and compare",
		Long: `Decide everything in a log again, and compare, in the directory of a server that does
not run, or a copy of it. For each partition that the node has:

  - every record of the log is read, and its checksum and its place are checked;
  - all commands since the first are decided again by this program, from nothing, and
    compared with what is on record of the decisions;
  - at each snapshot that is on the disk, the state is compared with it: every balance,
    limit and status, every transaction id and its decision, all that is under way;
  - at the end the books are checked: all balances, and the money that is on its way
    between partitions, add up to zero for each tenant and currency.

What is damaged or missing is named by file and offset, what is not the same by account.
Nothing is changed, but that what a crash left half written at the end is cut, as at a
start. Where the log was cut (maru serve --cut-log), or the replica began with a snapshot
of another node, it begins with the oldest snapshot that is there.`,
		Example: "  maru wallet verify\n  maru wallet verify --data /backup/maru --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			verdicts, err := verify(cmd, data)
			if err != nil {
				return err
			}
			return printVerdicts(cmd, verdicts, asJSON)
		},
	}
	dataFlag(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func dataFlag(cmd *cobra.Command, data *string) {
	cmd.Flags().StringVar(data, "data", defaultData, "`directory` of a server that does not run")
	fromEnvironment(cmd, "data")
}

// verifier decides the logs of a node again.
type verifier struct {
	*pastNode
	done, of atomic.Uint64 // entries
}

func verify(cmd *cobra.Command, data string) ([]verdict, error) {
	return eachPartition(cmd, data, "decided again", func(ctx context.Context, v *verifier, g rsmraft.GroupHistory) (verdict, error) {
		return v.partition(ctx, g)
	})
}

// eachPartition does something with each replica of a node that does not run, several
// at a time.
func eachPartition[T any](cmd *cobra.Command, data, what string, do func(context.Context, *verifier, rsmraft.GroupHistory) (T, error)) (_ []T, err error) {
	past, err := openPast(cmd, data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, past.Close()) }()
	v := &verifier{pastNode: past}
	for _, g := range past.groups {
		v.of.Add(uint64(g.Last - min(g.Last, g.First-1)))
	}
	defer follow(cmd, func() string { return share(v.done.Load(), v.of.Load(), what) })()
	results, failures := make([]T, len(past.groups)), make([]error, len(past.groups))
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	var work sync.WaitGroup
	places := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, g := range past.groups {
		work.Go(func() {
			places <- struct{}{}
			if results[i], failures[i] = do(ctx, v, g); failures[i] != nil {
				cancel()
			}
			<-places
		})
	}
	work.Wait()
	for _, err := range failures {
		if err != nil && (!errors.Is(err, context.Canceled) || cmd.Context().Err() != nil) {
			return nil, openError(data, err)
		}
	}
	return results, nil
}

// partition verifies one replica.
func (v *verifier) partition(ctx context.Context, g rsmraft.GroupHistory) (verdict, error) {
	out := verdict{Partition: uint16(g.ID - walletraft.Group(0)), Undecided: g.Undecided, Snapshots: []uint64{}}
	m := v.machine(out.Partition)
	defer m.Release()
	left, from := g.Snapshots, rsm.State{}
	if !g.Whole {
		var err error
		if from, left, err = v.begin(g, m); err != nil {
			return out, err
		}
		out.FromSnapshot = uint64(from.Index)
	}
	compare := func(at rsm.Index) {
		if len(left) > 0 && left[0] == at {
			out.Snapshots = append(out.Snapshots, uint64(at))
			out.Wrong = append(out.Wrong, v.compare(g.ID, at, m)...)
			left = left[1:]
		}
	}
	if g.Whole {
		compare(g.First - 1) // the group may have been asked for one before its first entry
	}
	before := m.Metrics()
	again := &replayer{verifier: v, span: span{math.MinInt64, math.MaxInt64}, limit: mostDifferences}
	_, err := v.history.Replay(g.ID, from, g.Last, m, &rsmraft.ReplayOptions{Decided: again.compare, After: func(at rsm.State) error {
		out.Entries++
		v.done.Add(1)
		if at.Time > 0 {
			t := time.Unix(0, at.Time).UTC()
			out.Until = &t
			if out.From == nil {
				out.From = &t
			}
		}
		compare(at.Index)
		return ctx.Err()
	}})
	if err != nil {
		return out, err
	}
	out.Compared = again.out.Entries
	if n := again.out.Different; n > 0 {
		d := again.out.Differences[0]
		out.Wrong = append(out.Wrong, fmt.Sprintf("%d commands are decided otherwise than it is on record, the first in entry %d: it was %s, and is %s (see maru wallet replay)", n, d.Entry, d.Was, d.Is))
	}
	if _, err := m.Audit(); err != nil {
		out.Wrong = append(out.Wrong, plain(err))
	}
	for _, index := range left {
		out.Wrong = append(out.Wrong, fmt.Sprintf("the log ends at entry %d, and there is a snapshot at %d", g.Last, index))
	}
	after := m.Metrics()
	out.Accounts = after.Accounts
	out.Transfers = after.Transactions - before.Transactions
	return out, nil
}

// compare says what is not the same in a snapshot and in the state that the log gives.
func (v *verifier) compare(id rsmraft.GroupID, index rsm.Index, m *wallet.Machine) []string {
	kept := v.machine(uint16(id - walletraft.Group(0)))
	defer kept.Release()
	if _, err := v.history.RestoreSnapshot(id, index, kept); err != nil {
		return []string{plain(err)}
	}
	same, accounts := m.Compare(kept, mostDifferences)
	if err := kept.Err(); err != nil {
		return []string{fmt.Sprintf("the snapshot at entry %d counts on a file that is damaged: %v", index, plain(err))}
	}
	if same {
		return nil
	}
	wrong := []string{fmt.Sprintf("the snapshot at entry %d is not what the log gives", index)}
	for _, d := range accounts {
		wrong = append(wrong, fmt.Sprintf("account %s of tenant %s: by the log %s, in the snapshot %s", d.ID, d.Tenant, describe(d.One), describe(d.Other)))
	}
	if len(accounts) == 0 {
		wrong = append(wrong, "the accounts are the same: what differs are transaction ids, tenants or transfers under way")
	}
	return wrong
}

// describe returns a state of an account in a line.
func describe(a wallet.Account) string {
	if a.ID == "" {
		return "there is none"
	}
	parts := []string{a.Status.String()}
	for _, b := range a.Balances {
		parts = append(parts, fmt.Sprintf("%s %s (at least %s)", b.Amount.Format(b.Currency), b.Currency, formatMin(b.Min, b.Currency)))
	}
	return strings.Join(parts, ", ")
}

// printVerdicts shows what was found; what is wrong is a failure.
func printVerdicts(cmd *cobra.Command, verdicts []verdict, asJSON bool) error {
	t := newTable("partition", ">entries", ">transfers", ">accounts", "from", "until", "snapshots compared", "result")
	wrong := 0
	for i := range verdicts {
		v := &verdicts[i]
		wrong += len(v.Wrong)
		result := "as it should be"
		if len(v.Wrong) > 0 {
			result = "WRONG"
		}
		t.add(fmt.Sprint(v.Partition), count(v.Entries), count(v.Transfers), count(v.Accounts), moment(v.From), moment(v.Until), fmt.Sprint(len(v.Snapshots)), result)
	}
	var err error
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), map[string]any{"partitions": verdicts, "wrong": wrong})
	} else {
		err = t.print(cmd.OutOrStdout())
		for i := range verdicts {
			explainVerdict(cmd, &verdicts[i])
		}
	}
	if err != nil || wrong == 0 {
		return err
	}
	return failed(fmt.Errorf("%d things are not as they should be", wrong),
		"keep this directory as it is, and compare with another node's: a snapshot, or the log before it, was changed, or another version of the program decided otherwise")
}

func explainVerdict(cmd *cobra.Command, v *verdict) {
	out := cmd.OutOrStdout()
	if v.FromSnapshot > 0 {
		fmt.Fprintf(out, "partition %d: begun with the snapshot at entry %d; what was before is not in this log\n", v.Partition, v.FromSnapshot)
	}
	if v.Undecided > 0 {
		fmt.Fprintf(out, "partition %d: the last %d entries are not known to be committed, and were left out\n", v.Partition, v.Undecided)
	}
	for _, w := range v.Wrong {
		fmt.Fprintf(out, "partition %d: %s\n", v.Partition, w)
	}
}

func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}
