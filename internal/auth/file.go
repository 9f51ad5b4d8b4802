package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const fileVersion = 1

// file is the keys file's content.
type file struct {
	Version int   `json:"version"`
	Keys    []Key `json:"keys"`
}

// NewKey is a key to be created.
type NewKey struct {
	Tenant  string
	Scopes  []Scope
	Expires time.Time // zero: never
	Note    string
}

func (n NewKey) validate(now time.Time) error {
	if n.Tenant == "" || len(n.Tenant) > MaxTextBytes || len(n.Note) > MaxTextBytes ||
		len(n.Scopes) == 0 || len(n.Scopes) > MaxScopes || !n.Expires.IsZero() && !n.Expires.After(now) {
		return ErrNew
	}
	for _, s := range n.Scopes {
		if err := s.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// Create adds a key to a keys file, which it makes if there is none, and
// returns the key's text. It is nowhere else: show it, and forget it.
func Create(name string, n NewKey) (text string, k Key, err error) {
	now := time.Now().UTC().Truncate(time.Second)
	if err := n.validate(now); err != nil {
		return "", Key{}, err
	}
	k = Key{Tenant: n.Tenant, Scopes: n.Scopes, Created: now, Expires: n.Expires, Note: n.Note}
	k.ID, text, k.Hash = generate()
	err = change(name, func(keys []Key) ([]Key, error) {
		if len(keys) >= MaxKeys {
			return nil, fmt.Errorf("keys file %s: it holds %d keys, which is the most; revoke some", name, MaxKeys)
		}
		return append(keys, k), nil
	})
	if err != nil {
		return "", Key{}, err
	}
	return text, k, nil
}

// Revoke removes a key from a keys file. Servers that use the file stop taking
// the key within a second or so. The error wraps [ErrKey] if it has no such key.
func Revoke(name, id string) error {
	return change(name, func(keys []Key) ([]Key, error) {
		left := slices.DeleteFunc(keys, func(k Key) bool { return k.ID == id })
		if len(left) == len(keys) {
			return nil, fmt.Errorf("%w: %q", ErrKey, id)
		}
		return left, nil
	})
}

// List returns the keys of a keys file in the order in which they were created.
// It refuses a file that others than its owner can write: they could add keys.
func List(name string) ([]Key, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("keys file: %w", err)
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return nil, fmt.Errorf("keys file %s: others can write it (mode %o); run: chmod 600 %s", name, perm, name)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("keys file: %w", err)
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("keys file %s: %w", name, err)
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("keys file %s: version %d, and this program reads version %d", name, f.Version, fileVersion)
	}
	return f.Keys, check(name, f.Keys)
}

// check refuses keys that no Create has made.
func check(name string, keys []Key) error {
	seen := make(map[string]bool, len(keys))
	for i, k := range keys {
		if k.ID == "" || seen[k.ID] || len(k.Hash) != 64 || k.Tenant == "" {
			return fmt.Errorf("keys file %s: key %d (id %q) is incomplete or there twice", name, i+1, k.ID)
		}
		seen[k.ID] = true
		for _, s := range k.Scopes {
			if err := s.Validate(); err != nil {
				return fmt.Errorf("keys file %s: key %s: %w", name, k.ID, err)
			}
		}
	}
	return nil
}

// change replaces a keys file's content in one step that survives a crash. The
// new file, made while it does not exist, also keeps a second change out.
func change(name string, edit func([]Key) ([]Key, error)) error {
	aside := name + ".new"
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("another change of the keys file is under way; if it was interrupted, remove %s: %w", aside, err)
	}
	if err != nil {
		return fmt.Errorf("change the keys file: %w", err)
	}
	if err := errors.Join(rewrite(f, name, edit), f.Close()); err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	if err := os.Rename(aside, name); err != nil {
		return errors.Join(fmt.Errorf("replace the keys file: %w", err), os.Remove(aside))
	}
	return syncDir(filepath.Dir(name))
}

// rewrite writes the edited content of the file with the given name to f.
func rewrite(f *os.File, name string, edit func([]Key) ([]Key, error)) error {
	keys, err := List(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if keys, err = edit(keys); err != nil {
		return err
	}
	content, err := json.MarshalIndent(file{fileVersion, keys}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the keys: %w", err)
	}
	if _, err := f.Write(append(content, '\n')); err != nil {
		return fmt.Errorf("write the keys file: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync the keys file: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync the keys file's directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync the keys file's directory: %w", err)
	}
	return nil
}
