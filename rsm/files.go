package rsm

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"maru.example/vfs"
	"maru.example/wal"
)

// A Keeper is a Machine that keeps a part of its state in files: they are
// immutable, and its snapshots name them instead of holding what they do.
type Keeper interface {
	Machine
	// Keep says where, before Restore; again where a machine is used anew.
	Keep(f *Files)
	// Held returns the files that the state counts on as it is now.
	Held() []KeptFile
	// Err says why the state cannot be read any more; what Apply answered since is
	// void. Restore clears it.
	Err() error
	// Release closes the files. Nothing is called after it.
	Release()
}

// A KeeperSnapshot is a Snapshot that counts on files.
type KeeperSnapshot interface {
	Snapshot
	// Files returns the same ones at any time.
	Files() []KeptFile
}

// KeptFile names a file that a machine keeps.
type KeptFile struct {
	ID    uint64 // drawn at random: no two files of a group have the same, on any node
	Bytes int64
	Sum   uint32 // CRC-32C of all bytes
}

// MaxKeptFiles is the most files that a snapshot may count on.
const MaxKeptFiles = 1 << 12

const (
	keptSuffix = ".kept"
	keptDigits = 16
)

func keptFile(id uint64) string { return fmt.Sprintf("%0*x%s", keptDigits, id, keptSuffix) }

// parseKeptFile returns the number in the name of a kept file.
func parseKeptFile(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, keptSuffix)
	if !ok || len(digits) != keptDigits {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 16, 64)
	return id, err == nil
}

// Files is where a machine keeps files, and who removes them once neither the state
// nor a snapshot needs them. Its methods that write are called on the loop that
// Run and Post run functions on, the others on the replica's.
type Files struct {
	fs  vfs.FS
	dir string
	r   *Replica // nil: the files are only read

	known map[uint64]bool      // those on the disk that were complete, the replica's loop's
	of    map[Index][]KeptFile // what the snapshots on the disk count on
}

// ReadOnly says that the machine looks at a past: it must not write.
func (f *Files) ReadOnly() bool { return f.r == nil }

// Open opens a file, which must have the size that it is said to have.
func (f *Files) Open(k KeptFile) (vfs.File, error) {
	name := keptFile(k.ID)
	file, err := f.fs.Open(path.Join(f.dir, name), vfs.Read)
	if err != nil {
		return nil, fmt.Errorf("rsm: open %s: %w", name, err)
	}
	size, err := file.Size()
	if err == nil && size != k.Bytes {
		err = fmt.Errorf("has %d bytes, want %d: %w", size, k.Bytes, wal.ErrCorrupt)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rsm: open %s: %w", name, err), file.Close())
	}
	return file, nil
}

// Name returns the name of a file, for errors.
func (f *Files) Name(id uint64) string { return keptFile(id) }

// Create makes a file under a temporary name.
func (f *Files) Create() (id uint64, file vfs.File, err error) {
	id = f.r.runtime.Rand()
	file, err = f.fs.Open(path.Join(f.dir, keptFile(id)+temporarySuffix), vfs.Create)
	if err != nil {
		return 0, nil, fmt.Errorf("rsm: create %s: %w", keptFile(id), err)
	}
	return id, file, nil
}

// Commit gives a file, which is complete, synced and closed, its name.
func (f *Files) Commit(id uint64) error {
	name := path.Join(f.dir, keptFile(id))
	if err := f.fs.Rename(name+temporarySuffix, name); err != nil {
		return fmt.Errorf("rsm: rename %s: %w", keptFile(id), err)
	}
	if err := vfs.SyncDir(f.fs, f.dir); err != nil {
		return fmt.Errorf("rsm: sync the directory of %s: %w", keptFile(id), err)
	}
	return nil
}

// Discard removes a file that is not in the state, if there is one.
func (f *Files) Discard(id uint64) {
	for _, name := range []string{keptFile(id), keptFile(id) + temporarySuffix} {
		if err := f.fs.Remove(path.Join(f.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.Warn(keptFile(id)+" stays", err)
		}
	}
}

// Room says whether the disk has room for a file.
func (f *Files) Room() error { return f.r.options.Room() }

// Post runs a function where files are written: on the loop that writes snapshots.
func (f *Files) Post(fn func()) { f.r.disk.Post(fn) }

// Back runs a function on the replica's loop.
func (f *Files) Back(fn func()) { f.r.loop.Post(fn) }

// Run posts a function, again and again until it says that there is no more to do.
// After each time it rests as long as that took, unless the function says that it is late.
func (f *Files) Run(step func() (more, late bool)) {
	f.Post(func() { f.run(step) })
}

func (f *Files) run(step func() (more, late bool)) {
	start := f.r.runtime.Elapsed()
	more, late := step()
	if !more {
		return
	}
	if took := f.r.runtime.Elapsed() - start; took > 0 && !late {
		f.r.disk.After(min(took, longestRest), func() { f.run(step) })
		return
	}
	f.Run(step)
}

// Warn logs what failed and will be tried again. It may be called from anywhere.
func (f *Files) Warn(what string, err error) {
	f.r.options.Logger.Warn("rsm: a file of the machine failed", "dir", f.dir, "what", what, "error", err)
}

// Fail stops the replica: its state cannot be read, as Err of the machine says.
func (f *Files) Fail(err error) {
	if f.r != nil {
		f.r.options.Failed(fmt.Errorf("rsm: the state of %s: %w", f.dir, err))
	}
}

// Changed removes what nothing counts on any more, after what the machine holds,
// or the snapshots that are kept, have changed.
func (f *Files) Changed() {
	needed := map[uint64]bool{}
	note := func(files []KeptFile) {
		for _, k := range files {
			needed[k.ID], f.known[k.ID] = true, true
		}
	}
	note(f.r.keeper.Held())
	for _, files := range f.of {
		note(files)
	}
	if job := f.r.shots.job; job != nil {
		note(job.files)
	}
	var doomed []uint64
	for id := range f.known {
		if !needed[id] {
			doomed = append(doomed, id)
			delete(f.known, id)
		}
	}
	slices.Sort(doomed)
	if len(doomed) > 0 {
		f.Post(func() {
			for _, id := range doomed {
				f.Discard(id)
			}
		})
	}
}

// forget drops what snapshots count on that are not kept any more.
func (f *Files) forget(kept []State) {
	for i := range f.of {
		if !slices.ContainsFunc(kept, func(s State) bool { return s.Index == i }) {
			delete(f.of, i)
		}
	}
}

// snapshotTaken notes a new good snapshot.
func (r *Replica) snapshotTaken(i Index, files []KeptFile) {
	if r.kept == nil {
		return
	}
	r.kept.of[i] = files
	r.kept.forget(r.files.good)
	r.kept.Changed()
}

// keep gives the machine its files, if it keeps any.
func (r *Replica) keep() {
	if r.keeper, _ = r.machine.(Keeper); r.keeper != nil {
		r.kept = &Files{fs: r.options.FS, dir: r.dir, r: r, known: map[uint64]bool{}, of: map[Index][]KeptFile{}}
		r.keeper.Keep(r.kept)
	}
}

// recoverFiles finds the files on the disk, removes those that were given up, and
// those that neither the state nor a snapshot counts on. It is called before the loops run.
func (r *Replica) recoverFiles(snapshots []Index) error {
	if r.kept == nil {
		return nil
	}
	names, err := r.options.FS.List(r.dir)
	if err != nil {
		return fmt.Errorf("list files: %w", err)
	}
	for _, name := range names {
		whole, temporary := strings.CutSuffix(name, temporarySuffix)
		id, ok := parseKeptFile(whole)
		switch {
		case ok && temporary:
			r.kept.Discard(id)
		case ok:
			r.kept.known[id] = true
		}
	}
	for _, i := range snapshots {
		if files, err := snapshotFiles(r.options.FS, r.dir, i); err == nil { // else nobody can use it
			r.kept.of[i] = files
		}
	}
	r.kept.Changed()
	return nil
}

// snapshotFiles returns what a snapshot counts on.
func snapshotFiles(fsys vfs.FS, dir string, i Index) (_ []KeptFile, err error) {
	f, err := openSnapshot(fsys, dir, i)
	if err != nil {
		return nil, err
	}
	defer closeInto(f, &err)
	in, err := newSnapshotReader(f)
	if err != nil {
		return nil, err
	}
	return in.files, nil
}
