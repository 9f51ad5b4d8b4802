// Package vfs is Maru's only door to the disk. The rest of the program takes an
// [FS]; [OS] is the real one, [Mem] lives in memory and can crash, and [Faulty]
// wraps another and fails or tears the operation that a test names.
package vfs

import (
	"errors"
	"io"
	"syscall"
)

var (
	// ErrLocked says that another process, or another user of the same FS, holds
	// the lock file.
	ErrLocked = errors.New("vfs: locked by another process")
	// ErrNoSpace says that the disk is full. It is what the operating system
	// answers too.
	ErrNoSpace error = syscall.ENOSPC
	// ErrCrashed says that the file was opened before [Mem.Crash].
	ErrCrashed = errors.New("vfs: opened before the crash")
)

// Mode says how Open treats a file.
type Mode uint8

// The ways to open a file.
const (
	Read   Mode = iota // must exist; writes fail
	Write              // must exist; reads and writes
	Create             // must not exist; reads and writes
)

// FS is a file system. Names are slash-separated paths as the operating system
// takes them. A missing file is an error for which
// errors.Is(err, fs.ErrNotExist) holds. An FS is safe for concurrent use.
//
// A file's content survives a crash once its Sync returned; its name survives
// once Sync of its directory returned.
type FS interface {
	// Open opens the file in the given mode.
	Open(name string, mode Mode) (File, error)
	// List returns the names, without directory, of what dir holds, sorted.
	List(dir string) ([]string, error)
	// MkdirAll makes dir and its parents, durably; it succeeds if dir exists.
	MkdirAll(dir string) error
	// Remove deletes a file.
	Remove(name string) error
	// Rename moves a file within a file system, replacing what is at to.
	Rename(from, to string) error
	// OpenDir opens the directory, to sync it: who holds it open needs no other
	// file descriptor for that.
	OpenDir(dir string) (Dir, error)
	// Lock takes an exclusive lock on the file, which it makes if needed, until
	// the result is closed or the process ends. It does not wait: it returns
	// ErrLocked.
	Lock(name string) (io.Closer, error)
	// Free returns the bytes that an ordinary user can still write below dir.
	Free(dir string) (int64, error)
}

// File is an open file. ReadAt and WriteAt may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync returns when all that was written is on the disk (fdatasync). After
	// an error nothing is known of what was written since the last good Sync.
	Sync() error
	// Truncate changes the size.
	Truncate(size int64) error
	// Size returns the size in bytes.
	Size() (int64, error)
}

// Dir is an open directory. It is safe for concurrent use.
type Dir interface {
	// Sync makes creations, removals and renames in the directory durable.
	Sync() error
	io.Closer
}

// SyncDir makes creations, removals and renames in dir durable.
func SyncDir(fs FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
