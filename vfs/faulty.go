package vfs

import (
	"errors"
	"io"
	"sync"
)

// ErrInjected is the error of the faults that name none.
var ErrInjected = errors.New("vfs: injected fault")

// Op is a kind of call on an FS or a File.
type Op uint8

// The kinds of calls. OpAny stands for each of them.
const (
	OpAny Op = iota
	OpOpen
	OpCreate // Open in mode Create
	OpList
	OpMkdirAll
	OpRemove
	OpRename
	OpSyncDir
	OpLock
	OpFree
	OpRead
	OpWrite
	OpSync
	OpTruncate
	OpSize
	OpClose
	opCount
)

var opNames = [opCount]string{
	"any", "open", "create", "list", "mkdir", "remove", "rename", "syncdir", "lock", "free",
	"read", "write", "sync", "truncate", "size", "close",
}

// String returns the name of the kind.
func (o Op) String() string {
	if o < opCount {
		return opNames[o]
	}
	return "unknown"
}

// changes says whether calls of the kind change what is on the disk.
func (o Op) changes() bool {
	switch o {
	case OpCreate, OpMkdirAll, OpRemove, OpRename, OpSyncDir, OpLock, OpWrite, OpSync, OpTruncate:
		return true
	case OpAny, OpOpen, OpList, OpFree, OpRead, OpSize, OpClose, opCount:
	}
	return false
}

// A Call is a call that is about to be made.
type Call struct {
	Op   Op
	Name string // of the file or directory
	N    int    // counts the calls of this kind from 1
	All  int    // counts the calls of all kinds from 1
	Edit int    // counts the calls of the kinds that change something from 1; 0 for others
	Size int    // bytes to be read or written
}

// A Fault is what happens to a call. The zero Fault lets it through.
type Fault struct {
	// Wait holds the call until it is closed.
	Wait <-chan struct{}
	// Err is returned. The call is not made, but for Keep and After.
	Err error
	// Keep is how many bytes of a failing write are written: a torn write.
	Keep int
	// After makes the call before Err is returned.
	After bool
}

// A Rule chooses the fault of a call. It is called by one goroutine at a time.
type Rule func(Call) Fault

// FailNth fails the n-th call of a kind, counted from 1, with err, or with
// [ErrInjected] if it is nil.
func FailNth(op Op, n int, err error) Rule {
	return onNth(op, n, Fault{Err: err})
}

// TearNth fails the n-th write after it has written its first keep bytes.
func TearNth(n, keep int) Rule {
	return onNth(OpWrite, n, Fault{Keep: keep})
}

func onNth(op Op, n int, fault Fault) Rule {
	if fault.Err == nil {
		fault.Err = ErrInjected
	}
	return func(c Call) Fault {
		if op == OpAny && c.All == n || op == c.Op && c.N == n {
			return fault
		}
		return Fault{}
	}
}

// Faulty is an FS that hands every call on to another, unless its rule has a
// fault for it.
type Faulty struct {
	fs FS

	mu    sync.Mutex
	rule  Rule
	calls [opCount]int // OpAny counts all
	edits int
}

// NewFaulty wraps fs. A nil rule has no faults.
func NewFaulty(fs FS, rule Rule) *Faulty { return &Faulty{fs: fs, rule: rule} }

// SetRule replaces the rule; the counts go on.
func (f *Faulty) SetRule(rule Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rule = rule
}

// Calls returns how many calls of a kind there were; of any kind for OpAny.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// Edits returns how many calls there were of the kinds that change something.
func (f *Faulty) Edits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.edits
}

// choose counts a call and returns its fault.
func (f *Faulty) choose(op Op, name string, size int) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[OpAny]++
	f.calls[op]++
	c := Call{Op: op, Name: name, N: f.calls[op], All: f.calls[OpAny], Size: size}
	if op.changes() {
		f.edits++
		c.Edit = f.edits
	}
	if f.rule == nil {
		return Fault{}
	}
	return f.rule(c)
}

// do makes a call as the rule wants it.
func (f *Faulty) do(op Op, name string, call func() error) error {
	fault := f.choose(op, name, 0)
	if fault.Wait != nil {
		<-fault.Wait
	}
	if fault.Err == nil {
		return call()
	}
	if fault.After {
		if err := call(); err != nil {
			return err
		}
	}
	return pathError(op.String(), name, fault.Err)
}

// Open opens the file in the given mode.
func (f *Faulty) Open(name string, mode Mode) (File, error) {
	op := OpOpen
	if mode == Create {
		op = OpCreate
	}
	var file File
	err := f.do(op, name, func() (err error) {
		file, err = f.fs.Open(name, mode)
		return err
	})
	if err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return nil, err
	}
	return &faultyFile{faulty: f, file: file, name: name}, nil
}

// List returns the names in dir, sorted.
func (f *Faulty) List(dir string) (names []string, err error) {
	err = f.do(OpList, dir, func() (err error) {
		names, err = f.fs.List(dir)
		return err
	})
	return names, err
}

// MkdirAll makes dir and its parents.
func (f *Faulty) MkdirAll(dir string) error {
	return f.do(OpMkdirAll, dir, func() error { return f.fs.MkdirAll(dir) })
}

// Remove deletes a file.
func (f *Faulty) Remove(name string) error {
	return f.do(OpRemove, name, func() error { return f.fs.Remove(name) })
}

// Rename moves a file; the rule sees its old name.
func (f *Faulty) Rename(from, to string) error {
	return f.do(OpRename, from, func() error { return f.fs.Rename(from, to) })
}

// OpenDir opens the directory: OpOpen for the rule. Its Sync is OpSyncDir.
func (f *Faulty) OpenDir(name string) (Dir, error) {
	var dir Dir
	err := f.do(OpOpen, name, func() (err error) {
		dir, err = f.fs.OpenDir(name)
		return err
	})
	if err != nil {
		if dir != nil {
			err = errors.Join(err, dir.Close())
		}
		return nil, err
	}
	return &faultyDir{Dir: dir, faulty: f, name: name}, nil
}

type faultyDir struct {
	Dir    // Close is its own: nobody can do anything about a fault there
	faulty *Faulty
	name   string
}

func (d *faultyDir) Sync() error { return d.faulty.do(OpSyncDir, d.name, d.Dir.Sync) }

// Lock takes an exclusive lock on the file.
func (f *Faulty) Lock(name string) (lock io.Closer, err error) {
	err = f.do(OpLock, name, func() (err error) {
		lock, err = f.fs.Lock(name)
		return err
	})
	if err != nil && lock != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, err
}

// Free returns the bytes that can still be written below dir.
func (f *Faulty) Free(dir string) (free int64, err error) {
	err = f.do(OpFree, dir, func() (err error) {
		free, err = f.fs.Free(dir)
		return err
	})
	return free, err
}

type faultyFile struct {
	faulty *Faulty
	file   File
	name   string
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	fault := f.faulty.choose(OpRead, f.name, len(p))
	if fault.Wait != nil {
		<-fault.Wait
	}
	if fault.Err != nil {
		return 0, pathError("read", f.name, fault.Err)
	}
	return f.file.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	fault := f.faulty.choose(OpWrite, f.name, len(p))
	if fault.Wait != nil {
		<-fault.Wait
	}
	if fault.Err == nil {
		return f.file.WriteAt(p, off)
	}
	keep := min(fault.Keep, len(p))
	if fault.After {
		keep = len(p)
	}
	if keep == 0 {
		return 0, pathError("write", f.name, fault.Err)
	}
	n, err := f.file.WriteAt(p[:keep], off)
	if err != nil {
		return n, err
	}
	return n, pathError("write", f.name, fault.Err)
}

func (f *faultyFile) Sync() error { return f.faulty.do(OpSync, f.name, f.file.Sync) }

func (f *faultyFile) Truncate(size int64) error {
	return f.faulty.do(OpTruncate, f.name, func() error { return f.file.Truncate(size) })
}

func (f *faultyFile) Size() (size int64, err error) {
	err = f.faulty.do(OpSize, f.name, func() (err error) {
		size, err = f.file.Size()
		return err
	})
	return size, err
}

// Close closes the file in any case, so that a fault leaks nothing.
func (f *faultyFile) Close() error {
	err := f.file.Close()
	fault := f.faulty.choose(OpClose, f.name, 0)
	if fault.Wait != nil {
		<-fault.Wait
	}
	if fault.Err != nil {
		return pathError("close", f.name, fault.Err)
	}
	return err
}
