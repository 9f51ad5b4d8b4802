package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet/walletraft"
)

// checkpointFlags are those of a checkpoint that is to be compared.
type checkpointFlags struct {
	file, key string
	upTo      map[uint16]rsm.Index // of each partition, where a part of the past was restored; nil: all is to be here
}

func (f *checkpointFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "checkpoint", "", "compare with this checkpoint, a `file`")
	cmd.Flags().StringVar(&f.key, "public-key", "", "PEM `file` with the public key that signed it")
}

// load reads the checkpoint, if there is one.
func (f *checkpointFlags) load(v *verifier) (err error) {
	v.checkpoint, err = f.read(v.identity.Cluster)
	v.source, v.upTo = f.file, f.upTo
	return err
}

// read reads a cluster's checkpoint, nil if there is to be none.
func (f *checkpointFlags) read(of cluster.ID) (*rsmarchive.Checkpoint, error) {
	if (f.file == "") != (f.key == "") {
		return nil, usageError("give both, or none", "--checkpoint and --public-key belong together")
	}
	if f.file == "" {
		return nil, nil
	}
	public, err := os.ReadFile(f.key)
	var text []byte
	if err == nil {
		text, err = os.ReadFile(f.file)
	}
	if err != nil {
		return nil, failed(err, "--checkpoint and --public-key name files")
	}
	key, err := rsmarchive.NewVerifier(string(of), public)
	if err != nil {
		return nil, usageError("openssl pkey -in KEY -pubout makes it of the private key", "%s: %w", f.key, err)
	}
	c, err := rsmarchive.ParseCheckpoint(text, key)
	if err == nil && c.Cluster != string(of) {
		err = fmt.Errorf("it is of cluster %s, not of %s", c.Cluster, of)
	}
	if err != nil {
		return nil, failed(fmt.Errorf("%s: %w", f.file, err), "this is no proof of anything: use the checkpoint of this cluster, and the key that signed it")
	}
	return c, nil
}

// expectations returns what the checkpoint says of a partition, as far as it can be compared.
func (s *verification) expectations() []rsmarchive.Expected {
	if s.checkpoint != nil && len(s.checkpoint.Expected(uint64(walletraft.Group(s.p.number)), s.source)) == 0 {
		s.out.Notes = append(s.out.Notes, s.source+" says nothing of this partition")
	}
	all := s.said(s.p.number)
	return slices.DeleteFunc(all, func(e rsmarchive.Expected) bool {
		last, what := s.part(s.p.number)
		if e.Source != s.source || e.Index <= last || what == "" {
			return false
		}
		s.out.Unchecked = append(s.out.Unchecked, fmt.Sprintf("%s knows of entry %d, and %s ends with entry %d: this cannot be compared", e.Source, e.Index, what, last))
		return true
	})
}

// part returns with which entry a partition ends of which a part only is to be here, and what it is: a backup up to its
// newest manifest, or what was restored up to a moment. Else what is "".
func (v *verifier) part(partition uint16) (last rsm.Index, what string) {
	switch {
	case v.upTo != nil:
		return v.upTo[partition], "what was restored"
	case v.manifest != nil && int(partition) < len(v.manifest.Partitions):
		return v.manifest.position(partition).Index, "the backup"
	}
	return 0, ""
}

// said returns what the checkpoint and the manifest of a backup say of a partition, in the order of the entries.
func (v *verifier) said(partition uint16) []rsmarchive.Expected {
	all := v.manifest.expected(partition)
	if v.checkpoint != nil {
		all = append(all, v.checkpoint.Expected(uint64(walletraft.Group(partition)), v.source)...)
	}
	slices.SortStableFunc(all, func(a, b rsmarchive.Expected) int { return cmp.Compare(a.Index, b.Index) })
	return all
}

// absent returns a verdict for each partition that is said to have been here, and of which nothing is.
func (v *verifier) absent() (all []verdict) {
	for i := range v.identity.Partitions {
		number := uint16(i)
		if slices.ContainsFunc(v.partitions, func(p *pastPartition) bool { return p.number == number }) {
			continue
		}
		out := verdict{Partition: number, Snapshots: []uint64{}}
		for _, e := range v.said(number) {
			out.Wrong = append(out.Wrong, fmt.Sprintf("%s knows of entry %d, and nothing of this partition is here", e.Source, e.Index))
		}
		if len(out.Wrong) > 0 {
			all = append(all, out)
		}
	}
	return all
}

func newCheckpointCommand() *cobra.Command {
	var past pastFlags
	var key, out string
	cmd := &cobra.Command{
		Use:   "checkpoint --key FILE",
		Short: "Sign where the chain of each partition is, to be kept elsewhere",
		Long: `Sign where the chain of each partition is, to be kept elsewhere: in another building, with
the auditor. The chain's link after an entry stands for all entries up to it and what was
decided on them, balances included; so maru wallet verify --checkpoint finds later whether
anything before was changed, even by somebody who can write archive and log.

It says what is in the directory of a server that does not run, or in the archive alone,
also of one that does (--data none --archive PLACE): a few reads, nothing is verified. The
key is a PEM file with an Ed25519 key, of maru wallet checkpoint-key or of openssl genpkey
-algorithm ed25519. The checkpoint is a text, signed as a note of C2SP.`,
		Example: `  maru wallet checkpoint --key auditor.key --out november.checkpoint
  maru wallet checkpoint --key auditor.key --data none --archive /var/lib/maru-archive`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if key == "" {
				return usageError("`maru wallet checkpoint-key FILE` makes a pair of keys", "--key is missing")
			}
			text, err := makeCheckpoint(cmd, &past, key)
			if err != nil {
				return err
			}
			file, done, err := openOutput(cmd, out)
			if err != nil {
				return err
			}
			_, err = file.Write(text)
			return errors.Join(err, done(err == nil))
		},
	}
	past.register(cmd)
	past.registerPartial(cmd)
	cmd.Flags().StringVar(&key, "key", "", "PEM `file` with the private key (required)")
	cmd.Flags().StringVar(&out, "out", "", "`file` for the checkpoint (default: standard output)")
	return cmd
}

// makeCheckpoint returns the signed checkpoint of what a node has.
func makeCheckpoint(cmd *cobra.Command, f *pastFlags, key string) (_ []byte, err error) {
	private, err := os.ReadFile(key)
	if err != nil {
		return nil, failed(err, "--key names the file of a private key")
	}
	past, err := openPast(cmd, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, past.Close()) }()
	if err := past.complete(f.partial); err != nil {
		return nil, err
	}
	signer, err := rsmarchive.NewSigner(string(past.identity.Cluster), private)
	if err != nil {
		return nil, usageError("`maru wallet checkpoint-key FILE` makes one, or openssl genpkey -algorithm ed25519", "%s: %w", key, err)
	}
	c := &rsmarchive.Checkpoint{Cluster: string(past.identity.Cluster), Made: time.Now()}
	for _, p := range past.partitions {
		at, err := past.head(cmd.Context(), p)
		if err != nil {
			return nil, pastError(f.data, fmt.Errorf("partition %d: %w", p.number, err))
		}
		if at.Index > 0 {
			c.Groups = append(c.Groups, rsmarchive.Checked{Group: uint64(walletraft.Group(p.number)), At: at})
		}
	}
	if len(c.Groups) == 0 {
		return nil, failed(errors.New("there is nothing that could be signed"), "the archive is empty yet; the directory of a server that was stopped has its log too")
	}
	return c.Sign(signer)
}

// head returns where the chain of a partition ends: after the last entry whose decision is on record.
func (n *pastNode) head(ctx context.Context, p *pastPartition) (rsmarchive.Position, error) {
	at, err := rsmarchive.Position{Link: n.identity.chained(p.number).Origin()}, error(nil)
	switch {
	case p.archive != nil:
		at, err = p.archive.End(ctx)
	case p.keeps(rsmraft.FirstEntry):
		at, err = p.kept.End(ctx)
	case !p.log.Whole:
		err = failed(fmt.Errorf("its log begins with entry %d, and there is no archive: nobody knows the chain", p.log.First),
			"give the archive with --archive, or sign what another node has, or a backup (--data none --archive PLACE)")
	}
	if err != nil {
		return at, err
	}
	chain := rsmarchive.NewChain(at)
	err = n.read(ctx, p, at.Index+1, func(d *rsm.Decided) error {
		if len(d.Entry) > 0 && len(d.Decision) == 0 {
			return errStop
		}
		return chain.Append(d)
	})
	return chain.At(), err
}

func newCheckpointKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoint-key FILE",
		Short: "Make a pair of keys for checkpoints: FILE, and FILE.pub",
		Long: `Make a pair of Ed25519 keys for checkpoints, as PEM files: FILE has the private key, and
FILE.pub the public one, with which others verify. Keep the private one where whoever can
change the wallet cannot get at it.`,
		Example: `  maru wallet checkpoint-key auditor.key`,
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			private, public, err := rsmarchive.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			if err := rsmarchive.WriteKeys(vfs.OS(), args[0], private, public); err != nil {
				return failed(err, "neither file may exist: keys are not replaced")
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s and %s.pub\n", args[0], args[0])
			return err
		},
	}
}
