package vfs

import (
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"sync"
	"syscall"
)

// Mem is a file system in memory that models a disk with a volatile cache. It
// knows what was synced, and [Mem.Crash] cuts the power. Relative and absolute
// names are apart; "." and "/" always exist. It is safe for concurrent use.
type Mem struct {
	mu       sync.Mutex
	now      names           // what a program sees
	disk     names           // what a Sync of the directory made durable
	pending  []nameOp        // what leads from disk to now
	dirs     map[string]bool // MkdirAll is durable at once
	locks    map[string]*memLock
	capacity int64
	used     int64 // by the files in now
	epoch    int   // crashes so far
}

// names is a name space: the files by their full names.
type names map[string]*inode

// A nameOp is a change of the name space that was not synced.
type nameOp struct {
	from string // removed, if not empty
	to   string // now names file, if not empty
	file *inode
}

func (o nameOp) touches(dir string) bool {
	return o.from != "" && path.Dir(o.from) == dir || o.to != "" && path.Dir(o.to) == dir
}

func (n names) apply(o nameOp) {
	if o.from != "" {
		delete(n, o.from)
	}
	if o.to != "" {
		n[o.to] = o.file
	}
}

// NewMem returns an empty file system of unlimited capacity.
func NewMem() *Mem {
	return &Mem{
		now: names{}, disk: names{}, dirs: map[string]bool{".": true, "/": true},
		locks: map[string]*memLock{}, capacity: math.MaxInt64,
	}
}

// SetFree sets how many bytes can still be written: Free answers it, and a write
// that needs more fails with [ErrNoSpace] after it has written what fits.
func (m *Mem) SetFree(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = math.MaxInt64
	if bytes < math.MaxInt64-m.used {
		m.capacity = m.used + bytes
	}
}

// Free returns the bytes that can still be written.
func (m *Mem) Free(dir string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if dir = path.Clean(dir); !m.dirs[dir] && m.now[dir] == nil {
		return 0, pathError("statfs", dir, syscall.ENOENT)
	}
	return max(0, m.capacity-m.used), nil
}

// Open opens the file in the given mode.
func (m *Mem) Open(name string, mode Mode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	file := m.now[name]
	switch {
	case m.dirs[name] && mode == Create:
		return nil, pathError("open", name, syscall.EEXIST)
	case m.dirs[name]:
		return nil, pathError("open", name, syscall.EISDIR)
	case mode == Create && file != nil:
		return nil, pathError("open", name, syscall.EEXIST)
	case mode == Create && m.dirs[path.Dir(name)]:
		file = &inode{}
		m.change(nameOp{to: name, file: file})
	case file == nil:
		return nil, pathError("open", name, syscall.ENOENT)
	}
	return &memFile{mem: m, inode: file, name: name, mode: mode, epoch: m.epoch}, nil
}

// change does o, which is not durable before SyncDir.
func (m *Mem) change(o nameOp) {
	if old := m.now[o.to]; old != nil {
		m.forget(old)
	}
	if o.to == "" {
		m.forget(o.file)
	}
	if o.to != "" && o.from == "" {
		o.file.named = true
	}
	m.now.apply(o)
	m.pending = append(m.pending, o)
}

// forget stops counting a file that lost its name.
func (m *Mem) forget(file *inode) {
	file.named = false
	m.used -= file.size()
}

// List returns the names of the files and directories in dir, sorted.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if !m.dirs[dir] {
		return nil, pathError("list", dir, m.missing(dir))
	}
	list := []string{}
	for name := range m.now {
		if path.Dir(name) == dir {
			list = append(list, path.Base(name))
		}
	}
	for name := range m.dirs {
		if path.Dir(name) == dir && name != dir {
			list = append(list, path.Base(name))
		}
	}
	slices.Sort(list)
	return list, nil
}

// missing says what is wrong with name, which is not a directory.
func (m *Mem) missing(name string) error {
	if m.now[name] != nil {
		return syscall.ENOTDIR
	}
	return syscall.ENOENT
}

// MkdirAll makes dir and its parents, durably.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	for d := dir; !m.dirs[d]; d = path.Dir(d) {
		if m.now[d] != nil {
			return pathError("mkdir", d, syscall.ENOTDIR)
		}
	}
	for d := dir; !m.dirs[d]; d = path.Dir(d) {
		m.dirs[d] = true
	}
	return nil
}

// Remove deletes a file. Who has it open can still use it.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	file := m.now[name]
	switch {
	case m.dirs[name]:
		return pathError("remove", name, syscall.EISDIR)
	case file == nil:
		return pathError("remove", name, syscall.ENOENT)
	}
	m.change(nameOp{from: name, file: file})
	return nil
}

// Rename moves a file, replacing what is at to.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to = path.Clean(from), path.Clean(to)
	file := m.now[from]
	switch {
	case m.dirs[from] || m.dirs[to]:
		return pathError("rename", from, syscall.EISDIR)
	case file == nil || !m.dirs[path.Dir(to)]:
		return pathError("rename", from, syscall.ENOENT)
	case from == to:
		return nil
	}
	m.change(nameOp{from: from, to: to, file: file})
	return nil
}

// OpenDir opens the directory.
func (m *Mem) OpenDir(dir string) (Dir, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if !m.dirs[dir] {
		return nil, pathError("open", dir, m.missing(dir))
	}
	return &memDir{mem: m, name: dir, epoch: m.epoch}, nil
}

// memDir is an open directory of a Mem.
type memDir struct {
	mem    *Mem
	name   string
	epoch  int // of mem when it was opened
	closed bool
}

// check says why the directory cannot be used, if so.
func (d *memDir) check(op string) error {
	switch {
	case d.mem.epoch != d.epoch:
		return pathError(op, d.name, ErrCrashed)
	case d.closed:
		return pathError(op, d.name, fs.ErrClosed)
	}
	return nil
}

// Sync makes creations, removals and renames in the directory durable.
func (d *memDir) Sync() error {
	m := d.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := d.check("sync"); err != nil {
		return err
	}
	m.pending = slices.DeleteFunc(m.pending, func(o nameOp) bool {
		if o.touches(d.name) {
			m.disk.apply(o)
			return true
		}
		return false
	})
	return nil
}

// Close closes the directory.
func (d *memDir) Close() error {
	d.mem.mu.Lock()
	defer d.mem.mu.Unlock()
	err := d.check("close")
	d.closed = true
	return err
}

// Lock takes an exclusive lock on the file, which it makes if needed.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	switch {
	case m.dirs[name]:
		return nil, pathError("lock", name, syscall.EISDIR)
	case !m.dirs[path.Dir(name)]:
		return nil, pathError("lock", name, syscall.ENOENT)
	case m.locks[name] != nil:
		return nil, pathError("lock", name, ErrLocked)
	}
	if m.now[name] == nil {
		m.change(nameOp{to: name, file: &inode{}})
	}
	m.locks[name] = &memLock{mem: m, name: name}
	return m.locks[name], nil
}

type memLock struct {
	mem  *Mem
	name string
}

// Close gives the lock back, unless a crash did.
func (l *memLock) Close() error {
	l.mem.mu.Lock()
	defer l.mem.mu.Unlock()
	if l.mem.locks[l.name] == l {
		delete(l.mem.locks, l.name)
	}
	return nil
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}
