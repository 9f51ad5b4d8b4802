package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"maru.example/wallet"
)

// nextKeySuffix is that of the file of a master key that is being introduced.
const nextKeySuffix = ".next"

func newRotateCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "rotate-personal-key",
		Short: "Seal the keys of personal data under a new master key",
		Long: `Seal the keys of personal data under a new master key, where the server has its data:
copies that were made of the database before are then of no use to who has not the former
key. The names themselves stay as they are sealed.

A server that runs meanwhile answers nothing about personal data from then on, until the
new key is in its file: here it is put there at the end, to other nodes of a cluster bring
it. If the command is interrupted, repeat it. When it is done, destroy all copies of the former key.`,
		Example: "  maru wallet rotate-personal-key --data /var/lib/maru",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rotated, file, err := rotateMasterKey(cmd.Context(), &o)
			if err != nil {
				return err
			}
			return printResult(cmd.OutOrStdout(), o.json, map[string]any{"status": "success", "keys": rotated, "file": file},
				fmt.Sprintf("%s keys are sealed under the new master key in %s; other nodes need that file", count(rotated), file))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", defaultData, "data `directory` of the server")
	f.StringVar(&o.store, "store", "", "`URL` of the PostgreSQL database, if the server has one")
	f.StringVar(&o.personalKey, "personal-key", "", "`file` of the master key (default: personal.key in --data)")
	fromEnvironment(cmd, "data", "store", "personal-key")
	jsonFlag(cmd, &o.json)
	return cmd
}

// rotateMasterKey replaces a master key, and returns how many keys were sealed anew.
func rotateMasterKey(ctx context.Context, o *serveOptions) (rotated int, file string, err error) {
	file = o.masterKeyFile()
	if err := unfinished(o.data); err != nil {
		return 0, file, err
	}
	from, err := readMasterKey(file)
	if err != nil {
		return 0, file, failed(err, "--data names the server's data directory, and --personal-key the file of the master key if it is elsewhere")
	}
	s, err := openSide(o)
	if err != nil {
		return 0, file, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if !s.written() {
		return 0, file, failed(fmt.Errorf("%s is not there", s.file), "--data names the server's data directory, or --store its database")
	}
	store, err := s.ready(ctx)
	if err != nil {
		return 0, file, failed(err, "the database must be there")
	}
	to, err := readMasterKey(file + nextKeySuffix) // of a rotation that was interrupted
	made := false
	if errors.Is(err, fs.ErrNotExist) {
		to, made, err = makeMasterKey(file + nextKeySuffix)
	}
	if err == nil {
		rotated, err = wallet.RotatePersonal(ctx, store, from, to, rand.Reader)
	}
	if errors.Is(err, wallet.ErrMasterKey) {
		if made {
			err = errors.Join(err, os.Remove(file+nextKeySuffix))
		}
		return rotated, file, failed(err, hintMasterKey)
	}
	if err != nil {
		return rotated, file, failed(err, "repeat the command: it goes on where it ended")
	}
	if err := os.Rename(file+nextKeySuffix, file); err != nil {
		return rotated, file, failed(err, "rename it by hand")
	}
	return rotated, file, syncDir(filepath.Dir(file))
}
