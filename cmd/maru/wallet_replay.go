package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"maru.example/rsm"
	"maru.example/wallet"
)

// replayed is what became of deciding a partition's commands again.
type replayed struct {
	Partition    uint16       `json:"partition"`
	Entries      uint64       `json:"entries"`  // compared
	Commands     uint64       `json:"commands"` // compared
	Events       uint64       `json:"events"`   // that they had, and have
	From         *time.Time   `json:"from"`     // of the first entry that was compared, and the last; null without any
	Until        *time.Time   `json:"until"`
	FromSnapshot uint64       `json:"from_snapshot,omitempty"` // it began with the state there
	Unrecorded   uint64       `json:"unrecorded,omitempty"`    // entries whose decision is not on record
	Undecided    int          `json:"undecided,omitempty"`     // entries at the end that are not known to be committed
	Different    uint64       `json:"different"`               // commands
	Differences  []difference `json:"differences,omitempty"`   // the first of them
}

// difference is a command that is decided in another way than it was.
type difference struct {
	Entry         uint64    `json:"entry"`
	Time          time.Time `json:"time"`
	Batch         int       `json:"batch"`   // in the entry, from 0
	Command       int       `json:"command"` // in the batch, from 0
	Kind          string    `json:"kind"`
	TransactionID string    `json:"transaction_id,omitempty"`
	Was           string    `json:"was"`
	Is            string    `json:"is"`
}

// span is what is to be compared, by the time of the log's entries, both included.
type span struct{ from, until int64 }

func newReplayCommand() *cobra.Command {
	var past pastFlags
	var from, until string
	asJSON, limit := false, 20
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Decide the commands of the past with this program, and compare event by event",
		Long: `Decide the commands of the past with this program, and compare event by event with what
was decided, in the directory of a server that does not run, or a copy of it, and in its
archive. It answers whether a change of the program would have decided anything otherwise:
run it with the new program before that is used.

A command is the same if its code is, and what it changed, and the balances after it.
After the first difference the states differ, and others may follow from it.

With --from and --until only what was decided in that time is compared; what came before
is decided too, for the state, unless a snapshot has that. Where something of that time is
not here, as the log was cut without an archive or the replica began with a snapshot, it is
an error; with --partial what is here is compared. Exit status 3 if there are differences.`,
		Example: "  maru wallet replay\n  maru wallet replay --from 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := parseSpan(from, until)
			if err != nil {
				return err
			}
			all, err := replay(cmd, &past, s, limit)
			if err != nil {
				return err
			}
			return printReplayed(cmd, all, asJSON)
		},
	}
	past.register(cmd)
	past.registerPartial(cmd)
	cmd.Flags().StringVar(&from, "from", "", "compare from this `moment` on (RFC 3339); default: the beginning")
	cmd.Flags().StringVar(&until, "until", "", "compare up to this `moment` (RFC 3339); default: the end")
	cmd.Flags().IntVar(&limit, "limit", limit, "list so many `differences` of each partition")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func parseSpan(from, until string) (span, error) {
	s := span{math.MinInt64, math.MaxInt64}
	for flag, v := range map[string]struct {
		text string
		to   *int64
	}{"from": {from, &s.from}, "until": {until, &s.until}} {
		if v.text == "" {
			continue
		}
		t, err := parseMoment("--"+flag, v.text)
		if err != nil {
			return s, err
		}
		*v.to = t.UnixNano()
	}
	if s.from > s.until {
		return s, usageError("--from is to be before --until", "there is nothing between --from %s and --until %s", from, until)
	}
	return s, nil
}

func replay(cmd *cobra.Command, f *pastFlags, s span, limit int) ([]replayed, error) {
	return eachPartition(cmd, f, "decided again", func(ctx context.Context, v *verifier, p *pastPartition) (replayed, error) {
		r := &replayer{verifier: v, span: s, limit: limit}
		return r.partition(ctx, p)
	})
}

// replayer decides the commands of a partition again.
type replayer struct {
	*verifier
	span
	limit  int
	out    replayed
	record wallet.Comparison
}

func (r *replayer) partition(ctx context.Context, p *pastPartition) (replayed, error) {
	r.out = replayed{Partition: p.number, Undecided: p.log.Undecided}
	m := r.machine(p.number)
	defer m.Release()
	from, err := r.nearest(p, r.from, m)
	if err != nil {
		return r.out, err
	}
	if from.Index > 0 && from.Time >= r.from && !r.partial {
		return r.out, failed(fmt.Errorf("what is here of partition %d begins with the snapshot at entry %d: what was before cannot be compared", p.number, from.Index),
			"give the archive of another node, or a backup, which has it, with --archive; or say --partial, or --from a later moment")
	}
	r.out.FromSnapshot = uint64(from.Index)
	r.done.Add(uint64(from.Index))
	d := newDecider(m, from, r.compare)
	return r.out, r.read(ctx, p, from.Index+1, func(e *rsm.Decided) error {
		if e.Time > r.until {
			return errStop
		}
		r.done.Add(1)
		return errors.Join(d.decide(e), ctx.Err())
	})
}

// compare compares what is decided now with what is on record.
func (r *replayer) compare(now, was *rsm.Decided) error {
	if now.Time < r.from || len(now.Entry) == 0 {
		return nil
	}
	t := time.Unix(0, now.Time).UTC()
	r.out.Until = &t
	if r.out.From == nil {
		r.out.From = &t
	}
	if was == nil {
		r.out.Unrecorded++
		return nil
	}
	r.out.Entries++
	if was.Time != now.Time {
		r.differ(&difference{Entry: uint64(now.Index), Time: t, Kind: "entry", Was: "of " + time.Unix(0, was.Time).UTC().Format(time.RFC3339Nano), Is: "of " + t.Format(time.RFC3339Nano)})
	}
	var before []rsm.DecidedBatch
	err := was.Batches(func(b rsm.DecidedBatch) error {
		before = append(before, b)
		return nil
	})
	if err != nil {
		return fmt.Errorf("what was decided on entry %d: %w", now.Index, err)
	}
	i := 0
	return now.Batches(func(b rsm.DecidedBatch) error {
		i++
		return r.batch(now, i-1, before[i-1], b)
	})
}

func (r *replayer) batch(at *rsm.Decided, number int, was, is rsm.DecidedBatch) error {
	if h, _, err := wallet.ParseHeader(is.Data); err == nil {
		r.out.Commands += uint64(h.Count)
	}
	if err := wallet.Events(is.Data, is.Results, is.Effects, func(*wallet.Event) error {
		r.out.Events++
		return nil
	}); err != nil {
		return fmt.Errorf("entry %d: %w", at.Index, err)
	}
	all, err := r.record.Disagreements(is.Data, wallet.Decision{Results: was.Results, Effects: was.Effects}, wallet.Decision{Results: is.Results, Effects: is.Effects})
	if err != nil {
		return fmt.Errorf("entry %d: %w", at.Index, err)
	}
	for _, d := range all {
		v := &difference{
			Entry: uint64(at.Index), Time: time.Unix(0, at.Time).UTC(), Batch: number, Command: d.Command, Kind: d.Kind.String(), Was: d.Was, Is: d.Is,
		}
		if d.ID != (wallet.TransactionID{}) {
			v.TransactionID = d.ID.String()
		}
		r.differ(v)
	}
	return nil
}

// differ notes a difference.
func (r *replayer) differ(v *difference) {
	if r.out.Different++; len(r.out.Differences) < r.limit {
		r.out.Differences = append(r.out.Differences, *v)
	}
}

func printReplayed(cmd *cobra.Command, all []replayed, asJSON bool) error {
	t := newTable("partition", ">entries", ">commands", ">events", "from", "until", ">different")
	different, unrecorded := uint64(0), uint64(0)
	for i := range all {
		v := &all[i]
		different += v.Different
		unrecorded += v.Unrecorded
		t.add(fmt.Sprint(v.Partition), count(v.Entries), count(v.Commands), count(v.Events), moment(v.From), moment(v.Until), count(v.Different))
	}
	var err error
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), map[string]any{"partitions": all, "different": different, "unrecorded": unrecorded})
	} else {
		err = t.print(cmd.OutOrStdout())
		for i := range all {
			explainReplayed(cmd, &all[i])
		}
	}
	if err != nil || different == 0 {
		return err
	}
	return &failure{
		fmt.Errorf("%s", several(different, "command is decided otherwise than it was", "commands are decided otherwise than they were")),
		"this program has other rules than the one that decided them, or the log or the record was changed: `maru wallet verify` tells", exitRefused,
	}
}

func explainReplayed(cmd *cobra.Command, v *replayed) {
	out := cmd.OutOrStdout()
	if v.FromSnapshot > 0 {
		fmt.Fprintf(out, "partition %d: begun with the snapshot at entry %d\n", v.Partition, v.FromSnapshot)
	}
	if v.Unrecorded > 0 {
		fmt.Fprintf(out, "partition %d: what was decided on %s is not on record: the newest are when the server starts again; the others were decided before there was a record, or this replica was given a snapshot instead\n", v.Partition, several(v.Unrecorded, "entry", "entries"))
	}
	if v.Undecided > 0 {
		fmt.Fprintf(out, "partition %d: %s not known to be committed, and left out\n", v.Partition, several(v.Undecided, "entry at the end is", "entries at the end are"))
	}
	for _, d := range v.Differences {
		what := d.Kind
		if d.TransactionID != "" {
			what += " " + d.TransactionID
		}
		fmt.Fprintf(out, "partition %d, entry %d, %s, batch %d, command %d, %s:\n  was %s\n  is  %s\n",
			v.Partition, d.Entry, d.Time.Format(time.RFC3339Nano), d.Batch, d.Command, what, d.Was, d.Is)
	}
	if n := v.Different - uint64(len(v.Differences)); n > 0 {
		fmt.Fprintf(out, "partition %d: %s (--limit)\n", v.Partition, several(n, "more difference", "more differences"))
	}
}
