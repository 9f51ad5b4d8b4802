package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/vfs"
)

func newRestoreCommand() *cobra.Command {
	var from, data, until string
	asJSON := false
	cmd := &cobra.Command{
		Use:   "restore --from PLACE --data DIRECTORY",
		Short: "Make a wallet of a backup, as it was at its end or at a moment",
		Long: `Make a wallet of a backup, as it was at its end, or with --until at a moment, by the time of
the entries: what was decided later is not there. The directory becomes a node of its own,
with all partitions and an archive of everything before, in the directory; more nodes can
join it (maru cluster add). At the end it is verified.

Transfers between partitions that were under way at the moment go on when it is served:
done on both sides, or on none. Where the clocks of the nodes differed, some entries before
the moment may be left out: those that presume what another partition decided after it.

Every transaction id is remembered as it was. The history is made anew when it is served.
API keys are not in a backup: make new ones. What happened after the moment is gone: ids
may be used again, and handles of accounts that were opened later stand for others, so
clients of the stream have to look handles up anew. Do not let the wallet that it was
taken from go on beside it as the same one.
` + helpLocation,
		Example: `  maru wallet restore --from /backup/wallet --data ./restored
  maru wallet restore --from s3://backups/wallet --data ./restored --until 2026-11-30T12:00:00Z`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || data == "" {
				return usageError("see `maru wallet restore --help`", "say with --from where the backup is, and with --data which directory is to be made")
			}
			r := &restoreCommand{data: data, moment: noMoment}
			var err error
			if r.place, err = parseLocation(from); err != nil {
				return err
			}
			if until != "" {
				s, err := parseSpan("", until)
				if err != nil {
					return err
				}
				r.moment = s.until
			}
			views, err := r.run(cmd)
			if err != nil {
				return err
			}
			return r.print(cmd, views, asJSON)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`place` of the backup (required)")
	cmd.Flags().StringVar(&data, "data", "", "`directory` to be made; it may not have anything in it (required)")
	cmd.Flags().StringVar(&until, "until", "", "`moment` in the form of RFC 3339 (default: the backup's end)")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// restoreCommand is a call of maru wallet restore.
type restoreCommand struct {
	place  location
	data   string
	moment int64
	ends   time.Time // the backup, when run has looked
}

func (c *restoreCommand) run(cmd *cobra.Command) ([]restoredView, error) {
	if names, err := os.ReadDir(c.data); err == nil && len(names) > 0 {
		return nil, failed(fmt.Errorf("%s is not empty", c.data), "a wallet is restored into a new directory; what an interrupted restore left can be removed")
	}
	backup, err := openBackup(cmd.Context(), c.place, nil)
	if err != nil {
		return nil, err
	}
	m, err := newestManifest(cmd.Context(), backup)
	if err == nil && m == nil {
		err = errors.New("no backup was finished there")
	}
	if err != nil {
		return nil, failed(fmt.Errorf("%s: %w", c.place, err), "repeat `maru wallet backup`, or use another backup")
	}
	if err := c.begins(cmd.Context(), backup, m); err != nil {
		return nil, err
	}
	c.ends = m.ends()
	if c.moment != noMoment && c.moment > c.ends.UnixNano() {
		fmt.Fprintf(cmd.ErrOrStderr(), "the backup ends at %s, before --until: its end is restored\n", c.ends.Format(time.RFC3339Nano))
	}
	if err := markUnfinished(c.data); err != nil {
		return nil, openError(c.data, err)
	}
	views, err := c.restore(cmd, backup, m)
	if err != nil {
		return nil, restoreError(err)
	}
	if err := markFinished(c.data); err != nil {
		return nil, openError(c.data, err)
	}
	return views, c.verify(cmd)
}

// begins refuses a moment before the first entry: nothing would be restored.
func (c *restoreCommand) begins(ctx context.Context, backup rsmarchive.Store, m *manifest) error {
	if c.moment == noMoment {
		return nil
	}
	first := int64(noMoment)
	for _, p := range m.Partitions {
		at, err := firstTime(ctx, backup, chainedOf(m.Cluster, p.Partition))
		if err != nil {
			return restoreError(fmt.Errorf("partition %d: %w", p.Partition, err))
		}
		first = min(first, at)
	}
	if c.moment < first && first != noMoment {
		return failed(errors.New("nothing had been decided by that moment"), "the backup begins at "+time.Unix(0, first).UTC().Format(time.RFC3339Nano)+": give --until a moment from then on")
	}
	return nil
}

// firstTime returns the time of the first entry that has one: those without content, at the beginning, have none.
func firstTime(ctx context.Context, store rsmarchive.Store, of rsmarchive.Chained) (int64, error) {
	a, err := rsmarchive.Open(ctx, store, of, nil)
	if err != nil {
		return 0, err
	}
	from, err := a.Seek(ctx, 1)
	if err != nil || from == 0 {
		return noMoment, err
	}
	first := int64(noMoment)
	found := errors.New("found")
	err = a.Read(ctx, from, 0, func(d *rsm.Decided) error {
		if d.Time == 0 {
			return nil
		}
		first = d.Time
		return found
	})
	if errors.Is(err, found) {
		err = nil
	}
	return first, err
}

// restore makes the directory. It is a node once it has its identity, and is not marked as unfinished any more.
func (c *restoreCommand) restore(cmd *cobra.Command, backup rsmarchive.Store, m *manifest) ([]restoredView, error) {
	r, err := openRestoring(cmd.Context(), backup, m, c.data, c.moment)
	if err != nil {
		return nil, err
	}
	defer r.close()
	stop := follow(cmd, func() string { return share(r.done.Load(), r.of.Load(), "restored") })
	err = r.run(cmd.Context())
	stop()
	if err != nil {
		return nil, err
	}
	id := &identity{
		Version: identityVersion, Cluster: m.Cluster, Node: 1, Incarnation: newID(), Partitions: len(m.Partitions),
		Protocol: m.Protocol, Founding: true, Archive: archiveName,
	}
	if id.Protocol == "" {
		id.Protocol = cluster.TCC
	}
	if err := writeOwner(cmd.Context(), rsmarchive.NewDir(vfs.OS(), filepath.Join(c.data, archiveName)), id.owner()); err != nil {
		return nil, err
	}
	return r.views(), id.save(c.data)
}

// verify checks what was restored.
func (c *restoreCommand) verify(cmd *cobra.Command) error {
	verdicts, err := verify(cmd, &pastFlags{data: c.data}, &checkpointFlags{})
	if err != nil {
		return err
	}
	for _, v := range verdicts {
		if len(v.Wrong) > 0 {
			return failed(fmt.Errorf("partition %d was restored, and is not as it should be: %s", v.Partition, v.Wrong[0]), "do not use it: `maru wallet verify --data "+c.data+"` says more")
		}
	}
	return nil
}

func restoreError(err error) error {
	if errors.Is(err, rsmarchive.ErrDamaged) {
		return failed(fmt.Errorf("the backup is damaged: %w", err), "nothing can be restored from behind the damage: use another backup, or --until a moment before it")
	}
	return failed(err, "remove the new directory, and repeat the command")
}

func (c *restoreCommand) print(cmd *cobra.Command, views []restoredView, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), map[string]any{"data": c.data, "ends": c.ends, "partitions": views})
	}
	t := newTable("partition", ">entries", "until")
	for _, v := range views {
		t.add(fmt.Sprint(v.Partition), count(uint64(v.Entry)), v.Time.Format(time.RFC3339Nano))
	}
	err := t.print(cmd.OutOrStdout())
	for _, v := range views {
		if v.Dropped {
			fmt.Fprintf(cmd.OutOrStdout(), "partition %d: what comes then was left out, as it presumes what another partition decided later\n", v.Partition)
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is verified: start it with `maru serve --data %s`\n", c.data, c.data)
	return err
}
