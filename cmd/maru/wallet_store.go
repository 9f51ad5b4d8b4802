package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"maru.example/wallet"
	"maru.example/wallet/walletsql"
)

func newTakeStoreCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "take-store",
		Short: "Give a restored wallet the database of the wallet before",
		Long: `Give a restored wallet the database with personal data and webhooks of the wallet that it
was restored of: with --store that in PostgreSQL, else side.db in --data, copied there.
Stop the wallet before: from then on it does nothing in the database.

Webhooks that were told of more than what was restored begin again at its end, and maru
wallet webhook show says where they were. The ids of their messages are others from then
on, as other events come to stand at the same places: what is told again, such as after a
replay, receivers do not know as what they had. The master key is as before: copy the file
to --data, or name it with --personal-key when it is served.`,
		Example: "  maru wallet take-store --data ./restored --store postgres://maru@db/wallet\n  maru serve --data ./restored --store postgres://maru@db/wallet",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			moved, err := takeStore(cmd.Context(), &o)
			if err != nil {
				return err
			}
			return printResult(cmd.OutOrStdout(), o.json, map[string]any{"status": "success", "set_back": moved},
				fmt.Sprintf("the database belongs to %s; places of webhooks that were set back to the end of what was restored: %d", o.data, moved))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", defaultData, "data `directory` of the restored wallet")
	f.StringVar(&o.store, "store", "", "`URL` of the PostgreSQL database, if there is one")
	fromEnvironment(cmd, "data", "store")
	jsonFlag(cmd, &o.json)
	return cmd
}

// takeStore gives a restored wallet the database, and returns how many places of webhooks were set back.
func takeStore(ctx context.Context, o *serveOptions) (moved int64, err error) {
	id, err := loadIdentity(o.data)
	if errors.Is(err, fs.ErrNotExist) {
		err = failed(fmt.Errorf("%s is no node", o.data), "--data names the directory that `maru wallet restore` made")
	}
	if err != nil {
		return 0, err
	}
	if len(id.Restored) == 0 {
		return 0, failed(fmt.Errorf("%s was not restored", o.data), "only what `maru wallet restore` made takes the database of the wallet before; any other one has a database of its own")
	}
	s, err := openSide(o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if !s.written() {
		return 0, failed(fmt.Errorf("%s is not there", s.file), "copy it there while the wallet before does not run, or name its database with --store")
	}
	store, err := s.ready(ctx)
	if err == nil {
		moved, err = store.TakeOver(ctx, walletsql.Owner{Cluster: string(id.Cluster), Past: string(id.Incarnation)}, id.Restored)
	}
	switch {
	case errors.Is(err, wallet.ErrStoreOfAnother):
		return 0, failed(err, "name the database of the wallet that the backup was made of")
	case err != nil:
		return 0, failed(err, "the database must be there")
	}
	return moved, nil
}
