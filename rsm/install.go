package rsm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"maru.example/vfs"
	"maru.example/wal"
)

// partSuffix ends the name of a snapshot that is being received.
const partSuffix = ".part"

// Part is the file of a snapshot that comes from another replica, piece by piece.
// It stays when the process ends, so that the transfer can go on. It belongs to
// one loop.
type Part struct {
	fs   vfs.FS
	dir  string
	name string
	file vfs.File

	size     int64 // received
	unsynced int64
}

// partFile returns the name of the part of the snapshot of a state.
func partFile(at State) string {
	return fmt.Sprintf("%0*d-%d%s", snapshotDigits, at.Index, at.Term, partSuffix)
}

// OpenPart opens the file for the snapshot of a state, with what was received of
// it before, as far as that is undamaged. Parts of other snapshots are removed. It
// may be called from any loop.
func (r *Replica) OpenPart(at State) (*Part, error) {
	p := &Part{fs: r.options.FS, dir: r.dir, name: partFile(at)}
	names, err := p.fs.List(p.dir)
	if err != nil {
		return nil, fmt.Errorf("rsm: list snapshots: %w", err)
	}
	mode := vfs.Create
	for _, name := range names {
		switch {
		case name == p.name:
			mode = vfs.Write
		case strings.HasSuffix(name, partSuffix):
			if err := p.fs.Remove(path.Join(p.dir, name)); err != nil {
				return nil, fmt.Errorf("rsm: remove %s: %w", name, err)
			}
		}
	}
	if p.file, err = p.fs.Open(path.Join(p.dir, p.name), mode); err != nil {
		return nil, fmt.Errorf("rsm: open %s: %w", p.name, err)
	}
	if p.size, err = goodBytes(p.file, at); err == nil {
		err = errors.Join(p.file.Truncate(p.size), vfs.SyncDir(p.fs, p.dir))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rsm: open %s: %w", p.name, err), p.Close())
	}
	return p, nil
}

// goodBytes returns how much of a part of the snapshot of a state is undamaged: a
// crash may have left anything behind that.
func goodBytes(f vfs.File, at State) (int64, error) {
	r, err := newPartReader(f)
	if errors.Is(err, wal.ErrCorrupt) || err == nil && (r.at.Index != at.Index || r.at.Term != at.Term) {
		return 0, nil
	}
	for err == nil {
		good := r.offset
		if err = r.next(); errors.Is(err, wal.ErrCorrupt) {
			return good, nil
		}
	}
	if errors.Is(err, io.EOF) {
		files, err := goodFiles(f, r.offset, r.size, r.files)
		return r.offset + files, err
	}
	return 0, err
}

// newPartReader reads a snapshot's file that the files that it counts on follow.
func newPartReader(f vfs.File) (*snapshotReader, error) {
	r, err := newSnapshotReader(f)
	if err == nil {
		r.joined = true
	}
	return r, err
}

// Size returns how much was received.
func (p *Part) Size() int64 { return p.size }

// Append adds the next piece.
func (p *Part) Append(piece []byte) error {
	if _, err := p.file.WriteAt(piece, p.size); err != nil {
		return fmt.Errorf("rsm: write %s: %w", p.name, err)
	}
	p.size += int64(len(piece))
	p.unsynced += int64(len(piece))
	if p.unsynced < snapshotSyncBytes {
		return nil
	}
	p.unsynced = 0
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("rsm: sync %s: %w", p.name, err)
	}
	return nil
}

// Finish checks the whole of what was received, makes it durable, and returns the
// state that it holds. The files that it counts on get their names. A part that is
// damaged is removed.
func (p *Part) Finish() (State, error) {
	state, err := p.check()
	if err == nil {
		err = p.file.Sync()
	}
	if err = errors.Join(err, p.Close()); err != nil {
		err = fmt.Errorf("rsm: received snapshot: %w", err)
		if rerr := p.fs.Remove(path.Join(p.dir, p.name)); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		return State{}, err
	}
	return state, nil
}

func (p *Part) check() (State, error) {
	r, err := newPartReader(p.file)
	if err != nil {
		return State{}, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return State{}, err
	}
	if err := p.unpack(r.offset, r.files); err != nil {
		return State{}, err
	}
	return r.at, nil
}

// Close closes the file; what was received stays.
func (p *Part) Close() error {
	f := p.file
	if f == nil {
		return nil
	}
	p.file = nil
	return f.Close()
}

// Install replaces the machine's state by that of a part that was finished. The
// next entry to be applied is the one after it. After an error the replica must
// not go on.
func (r *Replica) Install(at State) error {
	r.shots.abort()
	r.files.installed.Store(uint64(at.Index))
	part := path.Join(r.dir, partFile(at))
	if err := r.options.FS.Rename(part, path.Join(r.dir, snapshotFile(at.Index))); err != nil {
		return fmt.Errorf("rsm: install the snapshot at %d: %w", at.Index, err)
	}
	if err := vfs.SyncDir(r.options.FS, r.dir); err != nil {
		return fmt.Errorf("rsm: install the snapshot at %d: %w", at.Index, err)
	}
	state, bytes, err := r.restoreFile(at.Index)
	if err != nil {
		return fmt.Errorf("rsm: install the snapshot at %d: %w", at.Index, err)
	}
	files, err := snapshotFiles(r.options.FS, r.dir, at.Index)
	if err != nil {
		return fmt.Errorf("rsm: install the snapshot at %d: %w", at.Index, err)
	}
	r.shots.log = 0
	r.adopt(state, bytes)
	r.snapshotTaken(at.Index, files)
	r.runReads()
	r.shots.goOn()
	return nil
}
