package rsmarchive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"
	"sync"

	"maru.example/vfs"
)

const temporarySuffix = ".tmp"

// Dir is a [Store] in a directory. An object is a file: written under a name with .tmp at
// its end, synced, renamed. Files with such a name are not objects.
//
// Of all Dirs in a directory one may Put at a time: others could take its temporary file for their own.
type Dir struct {
	fs  vfs.FS
	dir string

	putting sync.Mutex
}

var (
	_ Store = (*Dir)(nil)
	_ Sizer = (*Dir)(nil)
)

// NewDir returns the store in a directory, which is made when there is something to keep.
func NewDir(fsys vfs.FS, dir string) *Dir { return &Dir{fs: fsys, dir: dir} }

// Put keeps an object.
func (d *Dir) Put(_ context.Context, name string, content []byte) error {
	d.putting.Lock()
	defer d.putting.Unlock()
	name = path.Join(d.dir, name)
	folder := path.Dir(name)
	if err := d.fs.MkdirAll(folder); err != nil {
		return err
	}
	if f, err := d.fs.Open(name, vfs.Read); err == nil {
		// Its name is made durable: who put it may not have got so far.
		return errors.Join(ErrExists, f.Close(), vfs.SyncDir(d.fs, folder))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temporary := name + temporarySuffix
	if err := d.fs.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeFile(d.fs, temporary, content); err != nil {
		return err
	}
	if err := d.fs.Rename(temporary, name); err != nil {
		return err
	}
	return vfs.SyncDir(d.fs, folder)
}

// writeFile makes a file with the content, durably but for its name.
func writeFile(fsys vfs.FS, name string, content []byte) error {
	f, err := fsys.Open(name, vfs.Create)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Get reads of an object.
func (d *Dir) Get(_ context.Context, name string, offset, length int64) (content []byte, err error) {
	f, err := d.fs.Open(path.Join(d.dir, name), vfs.Read)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if offset < 0 {
		offset, length = max(0, size+offset), math.MaxInt64
	}
	content = make([]byte, min(length, max(0, size-offset)))
	if _, err := f.ReadAt(content, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return content, nil
}

// List returns what is in a folder, once the names are durable: who put them may not
// have got so far.
func (d *Dir) List(_ context.Context, folder string) ([]string, error) {
	folder = path.Join(d.dir, folder)
	all, err := d.fs.List(folder)
	if err == nil {
		err = vfs.SyncDir(d.fs, folder)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := all[:0]
	for _, name := range all {
		if !strings.HasSuffix(name, temporarySuffix) {
			names = append(names, name)
		}
	}
	return names, nil
}

// Sizes lists a folder with the sizes of what is in it.
func (d *Dir) Sizes(ctx context.Context, folder string) (map[string]int64, error) {
	names, err := d.List(ctx, folder)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(names))
	for _, name := range names {
		if sizes[name], err = d.size(path.Join(d.dir, folder, name)); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

func (d *Dir) size(name string) (size int64, err error) {
	f, err := d.fs.Open(name, vfs.Read)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Size()
}
