package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"maru.example/internal/sqldb"
)

// storeNoteName is the file, beside node.json, in which a node notes which database it has beside its log. So a start that names
// none, or another, is found out.
const storeNoteName = "store.json"

// storeNote is that file's content.
type storeNote struct {
	Version int `json:"version"`
	// Store is where the database is: of PostgreSQL hosts, ports and name, without user, password and settings; or side.db.
	Store string `json:"store"`
}

const storeNoteVersion = 1

// readStoreNote returns which database a node has, "" if it never had one, or none is on record.
func readStoreNote(data string) (string, error) {
	b, err := os.ReadFile(filepath.Join(data, storeNoteName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", openError(data, err)
	}
	var note storeNote
	err = json.Unmarshal(b, &note)
	switch {
	case err == nil && note.Version > storeNoteVersion:
		return "", failed(fmt.Errorf("%s in %s is of version %d, this program reads %d", storeNoteName, data, note.Version, storeNoteVersion), "run the version that wrote it, or a newer one")
	case err == nil && note.Store != sideName && !sqldb.IsPostgres(note.Store):
		err = fmt.Errorf("%q is no store", note.Store)
	}
	if err != nil {
		return "", failed(fmt.Errorf("%s in %s: %w", storeNoteName, data, err), "bring the file back from a copy; or remove it: then the database that --store names, or side.db, is taken for the one that it was")
	}
	return note.Store, nil
}

// writeStoreNote notes which database a node has.
func writeStoreNote(data, store string) error {
	b, err := json.MarshalIndent(storeNote{storeNoteVersion, store}, "", "  ")
	if err == nil {
		err = writeDurably(data, storeNoteName, append(b, '\n'), 0o640)
	}
	if err != nil {
		return fmt.Errorf("note which database belongs to the node: %w", err)
	}
	return nil
}
