package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/vfs"
)

func newRestoreCommand() *cobra.Command {
	var from, archive, data, until string
	var checkpoint checkpointFlags
	asJSON := false
	cmd := &cobra.Command{
		Use:   "restore --from PLACE --data DIRECTORY",
		Short: "Make a wallet of a backup, or of a node's archive and log, as it was at its end or at a moment",
		Long: `Make a wallet of a backup, as it was at its end, or with --until at a moment, by the time of
the entries: what was decided later is not there. The directory becomes a node of its own,
with all partitions and an archive of everything before, in the directory; more nodes can
join it (maru cluster add). At the end it is verified, with --checkpoint against what was
signed before, if what is restored comes as far; until then no command takes it.

With --from the directory of a node that does not run, or the archive of one, a wallet is
made of what these have: of a directory all that its archive and its log have together. So
one whose log lost its end is repaired.

Transfers between partitions that were under way at the moment go on when it is served:
done on both sides, or on none. Where the clocks of the nodes differed, some entries before
the moment may be left out: those that presume what another partition decided after it.

Every transaction id is remembered as it was. The history is made anew when it is served.
API keys are not in a backup: make new ones. What happened after the moment is gone: ids
may be used again, and handles of accounts that were opened later stand for others, so
clients of the stream have to look handles up anew. Do not let the wallet that it was
taken from go on beside it as the same one.

The database beside the log (--store, or side.db) is not in a backup: it still belongs to
the wallet before. Stop that one, then give it to the restored one with maru wallet
take-store: personal data goes on with it, and webhooks begin again at the end of what was
restored, with other message ids, as other events come to stand at the same places.
` + helpLocation,
		Example: `  maru wallet restore --from /backup/wallet --data ./restored
  maru wallet restore --from s3://backups/wallet --data ./restored --until 2026-11-30T12:00:00Z
  maru wallet restore --from ./backup --data ./new --checkpoint nov.note --public-key auditor.pub
  maru wallet restore --from /var/lib/maru --data ./repaired`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || data == "" {
				return usageError("see `maru wallet restore --help`", "say with --from where the backup is, and with --data which directory is to be made")
			}
			r := &restoreCommand{archive: archive, data: data, moment: noMoment, checkpoint: checkpoint}
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
	cmd.Flags().StringVar(&from, "from", "", "`place` of the backup, or of a node's archive, or directory of a node that does not run (required)")
	cmd.Flags().StringVar(&archive, "archive", "", "`place` of the archive of the node in --from, or none (default: where the server had it)")
	cmd.Flags().StringVar(&data, "data", "", "`directory` to be made; it may not have anything in it (required)")
	cmd.Flags().StringVar(&until, "until", "", "`moment` in the form of RFC 3339 (default: the backup's end)")
	checkpoint.register(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// restoreCommand is a call of maru wallet restore.
type restoreCommand struct {
	place      location
	archive    string // of a node, where place is its directory
	data       string
	moment     int64
	checkpoint checkpointFlags
	ends       time.Time // what it is made of, when run has looked
	notes      []string  // of verifying
}

func (c *restoreCommand) run(cmd *cobra.Command) (_ []restoredView, err error) {
	if names, err := os.ReadDir(c.data); err == nil && len(names) > 0 {
		return nil, failed(fmt.Errorf("%s is not empty", c.data), "a wallet is restored into a new directory; what an interrupted restore left can be removed")
	}
	from, err := c.open(cmd)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.release()) }()
	if _, err := c.checkpoint.read(from.manifest.Cluster); err != nil {
		return nil, err
	}
	if err := c.begins(cmd.Context(), from); err != nil {
		return nil, err
	}
	c.ends = from.manifest.ends()
	if c.moment != noMoment && c.moment > c.ends.UnixNano() {
		fmt.Fprintf(cmd.ErrOrStderr(), "the backup ends at %s, before --until: its end is restored\n", c.ends.Format(time.RFC3339Nano))
	}
	if err := markUnfinished(c.data); err != nil {
		return nil, openError(c.data, err)
	}
	views, err := c.restore(cmd, from)
	if err != nil {
		return nil, restoreError(err)
	}
	if err := c.verify(cmd, views); err != nil {
		return nil, err
	}
	if err := markFinished(c.data); err != nil {
		return nil, openError(c.data, err)
	}
	return views, nil
}

// open finds out what is to be restored.
func (c *restoreCommand) open(cmd *cobra.Command) (*restorable, error) {
	if c.place.dir != "" {
		if _, err := os.Lstat(filepath.Join(c.place.dir, identityName)); err == nil {
			return c.openPast(cmd, &pastFlags{data: c.place.dir, archive: c.archive})
		}
	}
	if c.archive != "" {
		return nil, usageError("leave it out, or give the directory of a node with --from", "--archive belongs to the directory of a node, and %s is none", c.place)
	}
	store, err := c.place.open()
	if err != nil {
		return nil, err
	}
	if is, err := readOwner(cmd.Context(), store); err == nil && is.Incarnation != backupOwner {
		return c.openPast(cmd, &pastFlags{data: noData, archive: c.place.String()})
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
	return fromBackup(backup, m), nil
}

// openPast opens what a node that does not run has, or its archive alone.
func (c *restoreCommand) openPast(cmd *cobra.Command, f *pastFlags) (*restorable, error) {
	past, err := openPast(cmd, f)
	if err != nil {
		return nil, err
	}
	var from *restorable
	if err = past.complete(false); err == nil {
		from, err = fromPast(past)
	}
	if err == nil && f.data != noData {
		err = past.hasArchived(f.data)
	}
	if said, ok := errors.AsType[*failure](err); ok {
		return nil, errors.Join(said, past.Close())
	}
	if err != nil {
		return nil, errors.Join(failed(fmt.Errorf("%s: %w", c.place, err), "a wallet is restored of all its entries: of a backup, or of a node whose archive begins with the first"), past.Close())
	}
	return from, nil
}

// hasArchived refuses a past that ends before what the node knows to have archived.
func (n *pastNode) hasArchived(data string) error {
	record, err := openArchiveRecord(data)
	if err != nil {
		return err
	}
	for _, p := range n.partitions {
		if had := record.had(p.number).Index; had > p.last() {
			return failed(fmt.Errorf("%s: partition %d: here is entry %d the last, and entries up to %d were archived", data, p.number, p.last(), had),
				"say with --archive where they are; if they are nowhere, remove "+archivedName+" in "+data+": then what is left is restored")
		}
	}
	return nil
}

// begins refuses a moment before the first entry: nothing would be restored.
func (c *restoreCommand) begins(ctx context.Context, from *restorable) error {
	if c.moment == noMoment {
		return nil
	}
	first := int64(noMoment)
	for _, p := range from.manifest.Partitions {
		at, err := from.firstTime(ctx, p.Partition)
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

// restore makes the directory. It is a node once it has its identity, and is not marked as unfinished any more.
func (c *restoreCommand) restore(cmd *cobra.Command, from *restorable) ([]restoredView, error) {
	m := from.manifest
	r, err := openRestoring(cmd.Context(), from, c.data, c.moment)
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
	for _, p := range r.parts {
		id.Restored = append(id.Restored, p.at.Index)
	}
	if id.Protocol == "" {
		id.Protocol = cluster.TCC
	}
	if err := writeOwner(cmd.Context(), rsmarchive.NewDir(vfs.OS(), filepath.Join(c.data, archiveName)), id.owner()); err != nil {
		return nil, err
	}
	record, err := openArchiveRecord(c.data)
	if err != nil {
		return nil, err
	}
	for _, p := range r.parts {
		if err := record.remember(id.Archive, p.number, p.at); err != nil {
			return nil, err
		}
	}
	return r.views(), id.save(c.data)
}

// verify checks what was restored, before any other command takes it.
func (c *restoreCommand) verify(cmd *cobra.Command, views []restoredView) error {
	c.checkpoint.upTo = map[uint16]rsm.Index{}
	for _, v := range views {
		c.checkpoint.upTo[v.Partition] = v.Entry
	}
	verdicts, err := verify(cmd, &pastFlags{data: c.data, unfinished: true}, &c.checkpoint)
	if err != nil {
		return err
	}
	for _, v := range verdicts {
		if len(v.Wrong) > 0 {
			return failed(fmt.Errorf("partition %d was restored, and is not as it should be: %s", v.Partition, strings.Join(v.Wrong, "; ")),
				"no command takes "+c.data+": remove it, and restore from elsewhere; `maru wallet verify` tells what is wrong with what it was made of")
		}
		for _, says := range v.Unchecked {
			c.notes = append(c.notes, fmt.Sprintf("partition %d: %s", v.Partition, says))
		}
		for _, source := range v.Matched {
			c.notes = append(c.notes, fmt.Sprintf("partition %d: as in %s", v.Partition, source))
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
		return printJSON(cmd.OutOrStdout(), map[string]any{"data": c.data, "ends": c.ends, "partitions": views, "notes": append([]string{}, c.notes...)})
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
	for _, n := range c.notes {
		fmt.Fprintln(cmd.OutOrStdout(), n)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is verified: start it with `maru serve --data %s`\n", c.data, c.data)
	return err
}
