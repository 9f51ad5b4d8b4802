package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"maru.example/internal/sqldb"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletsql"
)

// moveTimeout bounds the one transaction in which everything is copied.
const moveTimeout = 24 * time.Hour

// logLockName is the file in the directory of the log that a server has locked.
const logLockName = "LOCK"

// movedStore is what a move did, as --json prints it.
type movedStore struct {
	Accounts int  `json:"accounts"`
	Items    int  `json:"items"`
	Webhooks int  `json:"webhooks"`
	Nothing  bool `json:"nothing,omitempty"` // there was no side.db (any more)
}

func newMoveStoreCommand() *cobra.Command {
	var o serveOptions
	var to string
	cmd := &cobra.Command{
		Use:   "move-store --to URL",
		Short: "Move personal data and webhooks from side.db into PostgreSQL",
		Long: `Move personal data and webhooks from side.db, in the directory of a server that does not
run, into a PostgreSQL database, which the nodes of a cluster share. Everything is copied
in one transaction; then side.db is overwritten and removed, as an erasure would not reach
it any more. Start the server with --store afterwards, and all others with that and the same
master key.

It can be repeated: what is in the database already stays as it is, and what was erased,
here or there, is erased. Webhooks go on where they were.`,
		Example: "  maru wallet move-store --data /var/lib/maru --to postgres://maru@db.example.com/maru",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := moveStore(cmd.Context(), &o, to)
			if err != nil {
				return err
			}
			text := fmt.Sprintf("moved %s of %s, and %s; start the server with --store", several(m.Items, "item", "items"), several(m.Accounts, "account", "accounts"), several(m.Webhooks, "webhook", "webhooks"))
			if m.Nothing {
				text = "there is no " + sideName + ": nothing has to be moved"
			}
			return printResult(cmd.OutOrStdout(), o.json, m, text)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", defaultData, "data `directory` of the server")
	f.StringVar(&to, "to", "", "`URL` of the PostgreSQL database (required)")
	f.StringVar(&o.personalKey, "personal-key", "", "`file` of the master key (default: personal.key in --data)")
	fromEnvironment(cmd, "data", "personal-key")
	jsonFlag(cmd, &o.json)
	return cmd
}

// moveStore moves what is in side.db.
func moveStore(ctx context.Context, o *serveOptions, to string) (_ *movedStore, err error) {
	if to == "" {
		return nil, usageError(hintStore, "say with --to where it is to go")
	}
	if _, err := loadIdentity(o.data); errors.Is(err, fs.ErrNotExist) {
		return nil, failed(fmt.Errorf("%s is not the directory of a server: it has no %s", o.data, identityName), "say where it is with --data")
	} else if err != nil {
		return nil, err
	}
	lock, err := vfs.OS().Lock(filepath.Join(o.data, logName, logLockName))
	if err != nil {
		return nil, openError(o.data, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	file := filepath.Join(o.data, sideName)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return &movedStore{Nothing: true}, nil
	}
	moved, err := copyStore(ctx, o, file, to)
	if err != nil {
		return nil, err
	}
	if place, err := sqldb.Place(to); err != nil {
		return nil, err
	} else if err := writeStoreNote(o.data, place); err != nil {
		return nil, failed(err, "all is in the database: repeat the command, which removes "+file)
	}
	for _, suffix := range []string{"-wal", "-shm", ""} {
		if err := os.Remove(file + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, failed(err, "all is in the database, and "+file+" is empty: remove it by hand")
		}
	}
	return &movedStore{Accounts: moved.Accounts, Items: moved.Items, Webhooks: moved.Webhooks}, syncDir(o.data)
}

// copyStore copies a file of SQLite into a database, and wipes it.
func copyStore(ctx context.Context, o *serveOptions, file, to string) (moved walletsql.Moved, err error) {
	limits := &sqldb.Options{Timeout: moveTimeout}
	target, err := sqldb.OpenPostgres(to, limits)
	if err != nil {
		return moved, usageError(hintStore, "--to: %w", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	source, err := sqldb.OpenSQLite(file, limits)
	if err != nil {
		return moved, failed(fmt.Errorf("open %s: %w", file, err), "it has to be readable and writable for this user")
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	from, err := walletsql.Open(ctx, source)
	if err != nil {
		return moved, failed(fmt.Errorf("open %s: %w", file, err), "this program has to be as new as the server's")
	}
	into, err := walletsql.Open(ctx, target)
	if err != nil {
		return moved, storeError(err)
	}
	if err := o.sameMasterKey(ctx, from, into); err != nil {
		return moved, err
	}
	moved, err = from.CopyTo(ctx, into)
	switch {
	case errors.Is(err, walletsql.ErrMoveConflict), errors.Is(err, wallet.ErrTooManyWebhooks), errors.Is(err, wallet.ErrStoreOfAnother), errors.Is(err, wallet.ErrStoreOfPast):
		return moved, failed(err, "the database has been in use by another wallet, or by this one without its side.db: nothing was moved; erase there, or here, what is not to stay")
	case err != nil:
		return moved, storeError(err)
	}
	if err := from.Wipe(ctx); err != nil {
		return moved, failed(err, "all is in the database: repeat the command, which removes "+file)
	}
	return moved, nil
}

// sameMasterKey checks that the master key is that of both stores; of one that has no mark yet it becomes the key.
func (o *serveOptions) sameMasterKey(ctx context.Context, from, into *walletsql.Store) error {
	marked, err := wallet.PersonalMarked(ctx, from)
	if err != nil || !marked { // there never was personal data
		return err
	}
	key, err := readMasterKey(o.masterKeyFile())
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: there is no %s", wallet.ErrMasterKey, o.masterKeyFile())
	}
	if err != nil {
		return failed(err, hintMasterKey)
	}
	for _, one := range []struct {
		store *walletsql.Store
		hint  string
	}{
		{from, hintMasterKey},
		{into, "the database has personal data under another master key: take another database, or that key's"},
	} {
		_, err := wallet.NewPersonal(ctx, one.store, nil, key, wallet.PersonalOptions{Now: time.Now, Random: rand.Reader})
		if errors.Is(err, wallet.ErrMasterKey) {
			return failed(fmt.Errorf("%w than that in %s", err, o.masterKeyFile()), one.hint)
		}
		if err != nil {
			return storeError(err)
		}
	}
	return nil
}
