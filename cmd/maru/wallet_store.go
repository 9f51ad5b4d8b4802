package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
	"maru.example/wallet/wallethook"
	"maru.example/wallet/walletsql"
)

// takenStore is what became of a database, as --json prints it.
type takenStore struct {
	Status  string `json:"status"`
	SetBack int64  `json:"set_back"` // places of webhooks
	// Unchanged says that the database was this wallet's before, and knows its log.
	Unchanged bool `json:"unchanged,omitempty"`
}

func newTakeStoreCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "take-store",
		Short: "Give a wallet the database of the wallet before, or a new one",
		Long: `Give the wallet in --data, which does not run, the database with personal data and webhooks:
with --store that in PostgreSQL, else side.db in --data. It is for

- a wallet that was restored, which goes on with the database of the wallet before (side.db
  is to be copied to --data);
- a directory that is an older copy, or one of two that went on with one database, where the
  server says that the database knows another course of this log;
- a wallet that is to go on without the database that it had: with --store that of an empty
  one, or side.db for the file in --data, which is then made.

Stop every other server of that wallet before: from then on it does nothing in the database,
or tells webhooks nothing.

Webhooks that were told of more than this log has begin again at its end, and maru wallet
webhook show says where they were. The ids of their messages are others from then on, as
other events come to stand at the same places: what is told again, such as after a replay,
receivers do not know as what they had. Where the directory had gone on before it got the
database, events of that time may not be told: replay from when the copy was made tells them.
The master key is as before: copy the file to --data, or name it with --personal-key when
it is served.`,
		Example: "  maru wallet take-store --data ./restored --store postgres://maru@db/wallet\n  maru serve --data ./restored --store postgres://maru@db/wallet",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			taken, err := takeStore(cmd, &o)
			if err != nil {
				return err
			}
			text := fmt.Sprintf("the database belongs to %s; places of webhooks that were set back to the end of its log: %d", o.data, taken.SetBack)
			if taken.Unchanged {
				text = fmt.Sprintf("the database belongs to %s, and knows its log: nothing was changed", o.data)
			}
			return printResult(cmd.OutOrStdout(), o.json, taken, text)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", defaultData, "data `directory` of the wallet that goes on")
	f.StringVar(&o.store, "store", "", "`URL` of the PostgreSQL database, if there is one, or "+sideName+" for the file in --data (default)")
	fromEnvironment(cmd, "data", "store")
	jsonFlag(cmd, &o.json)
	return cmd
}

// takeStore gives a wallet the database.
func takeStore(cmd *cobra.Command, o *serveOptions) (taken *takenStore, err error) {
	id, err := loadIdentity(o.data)
	if errors.Is(err, fs.ErrNotExist) {
		err = failed(fmt.Errorf("%s is no node", o.data), "--data names the directory of a server, or the one that `maru wallet restore` made")
	}
	if err == nil {
		err = id.added(o.data)
	}
	if err != nil {
		return nil, err
	}
	s, err := openSide(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if !s.written() && !s.expects() {
		return nil, failed(fmt.Errorf("%s is not there", s.file), "copy it there while the wallet before does not run, or name its database with --store")
	}
	s.begins = true
	store, err := s.ready(cmd.Context())
	if err == nil {
		taken, err = give(cmd, o, id, store)
	}
	if err == nil {
		err = s.note()
	}
	switch {
	case errors.Is(err, wallet.ErrStoreOfAnother):
		return nil, failed(err, "name the database of the wallet that this one goes on from")
	case errors.Is(err, wallet.ErrStoreOfPast):
		return nil, failed(err, "a wallet that was restored has it: that one goes on, or this one gets a database of its own")
	case err != nil:
		if _, ok := errors.AsType[*failure](err); ok {
			return nil, err
		}
		return nil, failed(err, "the database must be there")
	}
	return taken, nil
}

// give gives a node the database that a store is in.
func give(cmd *cobra.Command, o *serveOptions, id *identity, store *walletsql.Store) (taken *takenStore, err error) {
	ctx := cmd.Context()
	kept, err := store.Kept(ctx)
	if err != nil {
		return nil, err
	}
	taken = &takenStore{Status: "success"}
	owner := walletsql.Owner{Cluster: string(id.Cluster)}
	if id.Node == firstNode {
		owner.Past = string(id.Incarnation)
	} else if kept == nil {
		owner.Branch = string(newID()) // the past is not known here, and the ids of messages are to be new
	}
	if len(id.Restored) > 0 && (kept == nil || kept.Cluster != owner.Cluster || kept.Past != owner.Past) {
		taken.SetBack, err = store.TakeOver(ctx, owner, id.Restored)
		return taken, err
	}
	if err := store.Claim(ctx, owner, nil); err != nil || kept == nil {
		return taken, err
	}
	ends, same, err := compareMarks(cmd, o, store)
	if err != nil {
		return nil, err
	}
	if same {
		taken.Unchanged = true
		return taken, nil
	}
	taken.SetBack, err = store.Part(ctx, string(newID()), ends)
	return taken, err
}

// compareMarks says whether the log in a directory is the one that a store knows, and returns its ends.
func compareMarks(cmd *cobra.Command, o *serveOptions, store *walletsql.Store) (ends []wallet.WebhookMark, same bool, err error) {
	n, err := openPast(cmd, &pastFlags{data: o.data, archive: noArchive})
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := n.complete(false); err != nil {
		return nil, false, err
	}
	same = true
	for i := range n.identity.Partitions {
		p, err := n.partition(uint16(i))
		if err != nil {
			return nil, false, err
		}
		known, err := store.WebhookMark(cmd.Context(), uint16(i))
		if err != nil {
			return nil, false, err
		}
		end := wallet.WebhookMark{Index: p.last()}
		if end.Sum, err = n.entrySum(cmd.Context(), p, end.Index); err != nil {
			return nil, false, err
		}
		ends = append(ends, end)
		if known.Index < rsmraft.FirstEntry {
			continue
		}
		sum, err := n.entrySum(cmd.Context(), p, known.Index)
		if err != nil {
			return nil, false, err
		}
		unknown := [32]byte{}
		same = same && known.Index <= end.Index && (sum == known.Sum || sum == unknown || known.Sum == unknown)
	}
	return ends, same, nil
}

// entrySum returns the sum of an entry of a partition, zeros where that is not on record.
func (n *pastNode) entrySum(ctx context.Context, p *pastPartition, at rsm.Index) (sum [32]byte, err error) {
	err = n.read(ctx, p, at, func(d *rsm.Decided) error {
		if d.Index == at {
			sum = wallethook.EntrySum(d)
		}
		return errStop
	})
	return sum, err
}

// fileIsThere says whether a file is there, as far as can be seen.
func fileIsThere(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}
