package vfs

import (
	"io"
	"io/fs"
	"slices"
	"syscall"
)

// An inode is a file's content: how it is now, and how to go back to what was
// synced. Mem.mu guards it.
type inode struct {
	data  []byte
	undo  []undoOp // what was not synced, oldest first
	named bool     // counts in Mem.used
}

// An undoOp takes back a write or a truncation.
type undoOp struct {
	kind opKind
	off  int64  // of the write; the new size of a truncation
	n    int64  // length of the write
	old  []byte // what was there, up to the end of the file
	size int64  // of the file before
}

type opKind uint8

const (
	written opKind = iota
	truncated
)

func (f *inode) size() int64 { return int64(len(f.data)) }

func (f *inode) readAt(p []byte, off int64) (int, error) {
	n := 0
	if off < f.size() {
		n = copy(p, f.data[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *inode) writeAt(p []byte, off int64) {
	o := undoOp{kind: written, off: off, n: int64(len(p)), size: f.size()}
	end := off + o.n
	if off < o.size {
		o.old = slices.Clone(f.data[off:min(o.size, end)])
	}
	f.undo = append(f.undo, o)
	f.data = resize(f.data, max(o.size, end))
	copy(f.data[off:], p)
}

func (f *inode) truncate(size int64) {
	o := undoOp{kind: truncated, off: size, size: f.size()}
	if size < o.size {
		o.old = slices.Clone(f.data[size:])
	}
	f.undo = append(f.undo, o)
	f.data = resize(f.data, size)
}

func (f *inode) sync() {
	clear(f.undo) // lets go of the old bytes
	f.undo = f.undo[:0]
}

// resize cuts data, or grows it by zeros.
func resize(data []byte, size int64) []byte {
	had := int64(len(data))
	if size <= had {
		return data[:size]
	}
	data = slices.Grow(data, int(size-had))[:size]
	clear(data[had:])
	return data
}

// memFile is an open file of a Mem.
type memFile struct {
	mem    *Mem
	inode  *inode
	name   string
	mode   Mode
	epoch  int // of mem when it was opened
	closed bool
}

// check says why the file cannot be used, if so.
func (f *memFile) check(op string, off int64) error {
	switch {
	case f.mem.epoch != f.epoch:
		return pathError(op, f.name, ErrCrashed)
	case f.closed:
		return pathError(op, f.name, fs.ErrClosed)
	case off < 0:
		return pathError(op, f.name, syscall.EINVAL)
	case f.mode == Read && (op == "write" || op == "truncate"):
		return pathError(op, f.name, syscall.EBADF)
	}
	return nil
}

// grow takes room for the file to become size bytes long, and returns the size
// that there is room for, at most size.
func (f *memFile) grow(size int64) int64 {
	m, has := f.mem, f.inode.size()
	if !f.inode.named || size <= has {
		return size
	}
	size = min(size, has+max(0, m.capacity-m.used))
	m.used += size - has
	return size
}

// ReadAt is that of [io.ReaderAt].
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("read", off); err != nil {
		return 0, err
	}
	return f.inode.readAt(p, off)
}

// WriteAt writes what there is room for, as the operating system does.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("write", off); err != nil {
		return 0, err
	}
	end := off + int64(len(p))
	n := len(p) - int(min(end-f.grow(end), int64(len(p))))
	if n > 0 {
		f.inode.writeAt(p[:n], off)
	}
	if n < len(p) {
		return n, pathError("write", f.name, ErrNoSpace)
	}
	return n, nil
}

// Sync makes the content durable.
func (f *memFile) Sync() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("sync", 0); err != nil {
		return err
	}
	f.inode.sync()
	return nil
}

// Truncate changes the size. Growing takes no room until it is written, on most
// file systems; here it does.
func (f *memFile) Truncate(size int64) error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("truncate", size); err != nil {
		return err
	}
	had := f.inode.size()
	if got := f.grow(size); got < size {
		f.mem.used -= got - had
		return pathError("truncate", f.name, ErrNoSpace)
	}
	if f.inode.named && size < had {
		f.mem.used -= had - size
	}
	f.inode.truncate(size)
	return nil
}

// Size returns the size in bytes.
func (f *memFile) Size() (int64, error) {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("stat", 0); err != nil {
		return 0, err
	}
	return f.inode.size(), nil
}

// Close closes the file.
func (f *memFile) Close() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("close", 0); err != nil {
		return err
	}
	f.closed = true
	return nil
}
