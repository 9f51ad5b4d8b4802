package rsm

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"

	"maru.example/vfs"
	"maru.example/wal"
)

// copyBytes is how much of a file is copied or summed at a time.
const copyBytes = 256 << 10

// joinedFile is a snapshot's file and those that it counts on, one behind the other.
// It can only be read.
type joinedFile struct {
	vfs.File // of the snapshot
	parts    []joinedPart
	size     int64
}

type joinedPart struct {
	file vfs.File
	from int64 // where it begins in the whole
	size int64
}

// join adds to a snapshot's file those that it counts on; it closes them all where
// one is missing.
func (f *Files) join(snapshot vfs.File) (vfs.File, error) {
	r, err := newSnapshotReader(snapshot)
	if err == nil && len(r.files) == 0 {
		return snapshot, nil
	}
	j := &joinedFile{File: snapshot}
	if err == nil {
		j.add(snapshot, r.size)
		for _, k := range r.files {
			var file vfs.File
			if file, err = f.Open(k); err != nil {
				break
			}
			j.add(file, k.Bytes)
		}
	}
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

func (j *joinedFile) add(f vfs.File, size int64) {
	j.parts = append(j.parts, joinedPart{f, j.size, size})
	j.size += size
}

// Size returns the size of all together.
func (j *joinedFile) Size() (int64, error) { return j.size, nil }

// ReadAt reads across the bounds of the files.
func (j *joinedFile) ReadAt(p []byte, off int64) (n int, err error) {
	for i := range j.parts {
		part := &j.parts[i]
		if at := off + int64(n) - part.from; at >= 0 && at < part.size && n < len(p) {
			want := min(int64(len(p)-n), part.size-at)
			m, err := part.file.ReadAt(p[n:n+int(want)], at)
			if n += m; int64(m) < want {
				return n, err
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close closes all files.
func (j *joinedFile) Close() error {
	errs := []error{j.File.Close()}
	for _, p := range j.parts {
		if p.file != j.File {
			errs = append(errs, p.file.Close())
		}
	}
	return errors.Join(errs...)
}

// sumRange returns the checksum of a range of a file; each piece is given to use first.
func sumRange(f vfs.File, from, size int64, use func(piece []byte, at int64) error) (sum uint32, err error) {
	buf := make([]byte, min(size, copyBytes))
	for at := int64(0); at < size; {
		piece := buf[:min(size-at, copyBytes)]
		if n, err := f.ReadAt(piece, from+at); n < len(piece) {
			return 0, fmt.Errorf("read at offset %d: %w", from+at, err)
		}
		sum = crc32.Update(sum, castagnoli, piece)
		if err := use(piece, at); err != nil {
			return 0, err
		}
		at += int64(len(piece))
	}
	return sum, nil
}

// goodFiles returns how much of the files that follow a received snapshot is there and
// undamaged: whole files only.
func goodFiles(f vfs.File, from, size int64, files []KeptFile) (good int64, err error) {
	for _, k := range files {
		if size-from-good < k.Bytes {
			break
		}
		sum, err := sumRange(f, from+good, k.Bytes, func([]byte, int64) error { return nil })
		if err != nil {
			return 0, err
		}
		if sum != k.Sum {
			break
		}
		good += k.Bytes
	}
	return good, nil
}

// unpack makes files of what follows the snapshot in the part, and cuts that off.
func (p *Part) unpack(from int64, files []KeptFile) error {
	end := from
	for _, k := range files {
		if p.size-end < k.Bytes {
			return fmt.Errorf("%s is missing: %w", keptFile(k.ID), wal.ErrCorrupt)
		}
		if err := p.unpackFile(end, k); err != nil {
			return fmt.Errorf("%s: %w", keptFile(k.ID), err)
		}
		end += k.Bytes
	}
	if end != p.size {
		return fmt.Errorf("offset %d: file goes on after its end: %w", end, wal.ErrCorrupt)
	}
	if len(files) == 0 {
		return nil
	}
	if err := vfs.SyncDir(p.fs, p.dir); err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	if err := p.file.Truncate(from); err != nil {
		return fmt.Errorf("cut: %w", err)
	}
	return nil
}

func (p *Part) unpackFile(from int64, k KeptFile) error {
	name := path.Join(p.dir, keptFile(k.ID))
	if err := p.fs.Remove(name + temporarySuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove: %w", err) // of another attempt
	}
	file, err := p.fs.Open(name+temporarySuffix, vfs.Create)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	unsynced := 0
	sum, err := sumRange(p.file, from, k.Bytes, func(piece []byte, at int64) error {
		if _, err := file.WriteAt(piece, at); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if unsynced += len(piece); unsynced < snapshotSyncBytes {
			return nil
		}
		unsynced = 0
		return file.Sync()
	})
	if err == nil && sum != k.Sum {
		err = fmt.Errorf("wrong checksum: %w", wal.ErrCorrupt)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return p.fs.Rename(name+temporarySuffix, name)
}
