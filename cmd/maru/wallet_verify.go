package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// mostDifferences is how many accounts are named that two states do not agree about.
const mostDifferences = 10

// verdict is what became of verifying the replica of a partition.
type verdict struct {
	Partition    uint16     `json:"partition"`
	Entries      uint64     `json:"entries"`   // decided again
	Compared     uint64     `json:"compared"`  // of those, with what is on record of the decisions
	Transfers    uint64     `json:"transfers"` // ids that were decided: repetitions are none
	Accounts     uint64     `json:"accounts"`
	From         *time.Time `json:"from"` // of the first entry and the last; null without any
	Until        *time.Time `json:"until"`
	FromSnapshot uint64     `json:"from_snapshot,omitempty"` // this replica joined: what was before that entry is on others
	Snapshots    []uint64   `json:"snapshots"`               // those compared, by their last entry
	Undecided    int        `json:"undecided,omitempty"`     // entries at the end that are not known to be committed
	// Archived is how many entries are in the archive, in so many segments; Both how many of those
	// are in the log too.
	Archived uint64 `json:"archived,omitempty"`
	Segments int    `json:"segments,omitempty"`
	Both     uint64 `json:"both,omitempty"`
	// Head is the chain's link after the last entry, empty where it cannot be known.
	Head    string   `json:"head,omitempty"`
	Matched []string `json:"matched,omitempty"` // the checkpoint, if the chain is as it says
	Notes   []string `json:"notes,omitempty"`   // what is not wrong, and should be known
	Wrong   []string `json:"wrong,omitempty"`   // what is not as it should be
	Missing []string `json:"missing,omitempty"` // what is not here, so that something could not be decided, or not from the beginning
	// Unchecked is what a checkpoint says that cannot be compared with what is here.
	Unchecked []string `json:"unchecked,omitempty"`
}

func newVerifyCommand() *cobra.Command {
	var past pastFlags
	var checkpoint checkpointFlags
	asJSON := false
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Decide everything in archive and log again, and compare",
		Long: `Decide everything again, and compare, in the directory of a server that does not run, or a
copy of it, and in its archive. For each partition that the node has:

  - every segment of the archive and every record of the log is read; checksums, places and
    the chain are checked, and that one goes on where the other ends, and says the same;
  - all commands since the first are decided again by this program, from nothing, and
    compared with what is on record of the decisions;
  - at each snapshot that is on the disk, the state is compared with it: every balance,
    limit and status, every transaction id and its decision, all that is under way;
  - of a backup, each partition is there up to where its newest manifest says, and the log
    of a node goes as far as its archive;
  - at the end the books are checked: all balances, and the money that is on its way
    between partitions, add up to zero for each tenant and currency.

What is damaged, missing or put in is named by segment, frame and entries, or by file and
offset, what is not the same by account; the exit status is 1. Who can write everything can
compute the chain anew: --checkpoint compares it with what was signed before (see maru
wallet checkpoint). Where that cannot be compared, as the log was cut and there is no
archive, or a backup, an archive alone, or the log of one of several nodes ends before the
checkpoint, and nothing else is wrong, the exit status is 5. Where nobody else decides, or
the node had archived more, a log that ends before it lost its end, and is wrong. Nothing is
changed, but that what a crash left half written at the end is cut, as at a start.

Where entries are missing, as the log was cut without an archive, or the replica began with
a snapshot of another node and has not got from the others what was before, deciding goes on
with the next snapshot that is there, and nothing is compared with a checkpoint. That is
"incomplete", and the exit status 1, as it is where nothing of a partition is here. With
--partial less than everything will do: what is here is verified, and counts.`,
		Example: `  maru wallet verify
  maru wallet verify --data /backup/maru --archive /backup/archive --json
  maru wallet verify --data none --archive s3://audit/maru-1
  maru wallet verify --checkpoint november.checkpoint --public-key auditor.pub`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			verdicts, err := verify(cmd, &past, &checkpoint)
			if err != nil {
				return err
			}
			return printVerdicts(cmd, verdicts, asJSON, past.partial)
		},
	}
	past.register(cmd)
	past.registerPartial(cmd)
	checkpoint.register(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// verifier decides what a node has again.
type verifier struct {
	*pastNode
	partial    bool
	checkpoint *rsmarchive.Checkpoint // nil: there is none to be compared
	source     string                 // of the checkpoint
	upTo       map[uint16]rsm.Index   // see checkpointFlags
	done, of   atomic.Uint64          // entries
}

func verify(cmd *cobra.Command, f *pastFlags, c *checkpointFlags) ([]verdict, error) {
	var absent []verdict
	all, err := eachPartition(cmd, f, "decided again", func(ctx context.Context, v *verifier, p *pastPartition) (verdict, error) {
		return v.partition(ctx, p)
	}, c.load, func(v *verifier) error {
		absent = v.absent()
		return nil
	})
	all = append(all, absent...)
	slices.SortStableFunc(all, func(a, b verdict) int { return cmp.Compare(a.Partition, b.Partition) })
	return all, err
}

// eachPartition does something with each replica of a node that does not run, several
// at a time.
func eachPartition[T any](cmd *cobra.Command, f *pastFlags, what string, do func(context.Context, *verifier, *pastPartition) (T, error), prepare ...func(*verifier) error) (_ []T, err error) {
	past, err := openPast(cmd, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, past.Close()) }()
	if err := past.complete(f.partial); err != nil {
		return nil, err
	}
	v := &verifier{pastNode: past, partial: f.partial}
	for _, p := range prepare {
		if err := p(v); err != nil {
			return nil, err
		}
	}
	for _, p := range past.partitions {
		v.of.Add(uint64(p.last()))
	}
	defer follow(cmd, func() string { return share(v.done.Load(), v.of.Load(), what) })()
	results, failures := make([]T, len(past.partitions)), make([]error, len(past.partitions))
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	var work sync.WaitGroup
	places := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, p := range past.partitions {
		work.Go(func() {
			places <- struct{}{}
			if results[i], failures[i] = do(ctx, v, p); failures[i] != nil {
				cancel()
			}
			<-places
		})
	}
	work.Wait()
	for _, err := range failures {
		if err != nil && (!errors.Is(err, context.Canceled) || cmd.Context().Err() != nil) {
			return nil, pastError(f.data, err)
		}
	}
	return results, nil
}

// pastError explains why the past cannot be read.
func pastError(data string, err error) error {
	if _, said := errors.AsType[*failure](err); said {
		return err
	}
	if errors.Is(err, rsmraft.ErrNoLog) {
		return failed(err, "bring the log back from a copy; an archive alone is read with --data none --archive PLACE")
	}
	if errors.Is(err, rsmarchive.ErrDamaged) {
		return failed(err, "`maru wallet verify` lists what is damaged; copy those segments from another node's archive, or from a backup")
	}
	return openError(data, err)
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
func printVerdicts(cmd *cobra.Command, verdicts []verdict, asJSON, partial bool) error {
	t := newTable("partition", ">entries", ">archived", ">transfers", ">accounts", "from", "until", "snapshots compared", "result")
	wrong, unchecked, missing := 0, 0, 0
	for i := range verdicts {
		v := &verdicts[i]
		wrong += len(v.Wrong)
		unchecked += len(v.Unchecked)
		missing += len(v.Missing)
		result := "as it should be"
		switch {
		case len(v.Wrong) > 0:
			result = "WRONG"
		case len(v.Unchecked) > 0:
			result = "not all checked"
		case len(v.Missing) > 0:
			result = "incomplete"
		}
		t.add(fmt.Sprint(v.Partition), count(v.Entries), count(v.Archived), count(v.Transfers), count(v.Accounts), moment(v.From), moment(v.Until), fmt.Sprint(len(v.Snapshots)), result)
	}
	var err error
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), map[string]any{"partitions": verdicts, "wrong": wrong, "unchecked": unchecked, "missing": missing})
	} else {
		err = t.print(cmd.OutOrStdout())
		for i := range verdicts {
			explainVerdict(cmd, &verdicts[i])
		}
	}
	switch {
	case err != nil || wrong+unchecked == 0 && (missing == 0 || partial):
		return err
	case wrong+unchecked == 0:
		return failed(errors.New("nothing is wrong with what is here, but it is not everything"),
			"give the archive of another node, or a backup, which has what is missing here, with --archive; or say --partial if less will do")
	case wrong == 0:
		return &failure{
			err:    fmt.Errorf("nothing is wrong, but %s that the checkpoint says could not be checked", several(unchecked, "thing", "things")),
			hint:   "give the archive, which has what was cut from the log, with --archive; or an archive, a log or a backup that comes as far as the checkpoint",
			status: exitUnchecked,
		}
	}
	return failed(fmt.Errorf("%s", several(wrong, "thing is not as it should be", "things are not as they should be")),
		"keep all as it is, and compare with another node's: segments of its archive can take the place of these; or another version of the program decided otherwise")
}

func explainVerdict(cmd *cobra.Command, v *verdict) {
	out := cmd.OutOrStdout()
	if v.FromSnapshot > 0 {
		fmt.Fprintf(out, "partition %d: decided again from the snapshot at entry %d on; what was before is not all here\n", v.Partition, v.FromSnapshot)
	}
	if v.Undecided > 0 {
		fmt.Fprintf(out, "partition %d: %s not known to be committed, and left out\n", v.Partition, several(v.Undecided, "entry at the end is", "entries at the end are"))
	}
	for _, m := range v.Matched {
		fmt.Fprintf(out, "partition %d: as in %s\n", v.Partition, m)
	}
	for _, n := range v.Notes {
		fmt.Fprintf(out, "partition %d: note: %s\n", v.Partition, n)
	}
	for _, m := range v.Missing {
		fmt.Fprintf(out, "partition %d: missing: %s\n", v.Partition, m)
	}
	for _, u := range v.Unchecked {
		fmt.Fprintf(out, "partition %d: not checked: %s\n", v.Partition, u)
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
