package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
)

// archivedName is the file, beside node.json, in which a node notes what it has archived, before its log lets that
// go. So an archive that lost something behind the node's back is found out.
const archivedName = "archived.json"

// archiveRecord is that file. It is safe for concurrent use.
type archiveRecord struct {
	data string

	mu    sync.Mutex
	place string // as in node.json
	of    map[uint16]rsmarchive.Position
}

// archiveNote is the file's content.
type archiveNote struct {
	Version    int            `json:"version"`
	Archive    string         `json:"archive"` // where
	Partitions []archivedUpTo `json:"partitions"`
}

// archivedUpTo is up to where a partition's archive has all, or says itself what it lacks.
type archivedUpTo struct {
	Partition uint16    `json:"partition"`
	Index     rsm.Index `json:"index"`
	Term      uint64    `json:"term"`
	Time      time.Time `json:"time"` // of the last entry
	Link      []byte    `json:"link"` // of the chain, after it
}

const archiveNoteVersion = 1

// openArchiveRecord reads what a node has archived; of one that has nothing, nothing.
func openArchiveRecord(data string) (*archiveRecord, error) {
	r := &archiveRecord{data: data, of: map[uint16]rsmarchive.Position{}}
	b, err := os.ReadFile(filepath.Join(data, archivedName))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, openError(data, err)
	}
	var note archiveNote
	err = json.Unmarshal(b, &note)
	if err == nil && note.Version > archiveNoteVersion {
		return nil, failed(fmt.Errorf("%s in %s is of version %d, this program reads %d", archivedName, data, note.Version, archiveNoteVersion), "run the version that wrote it, or a newer one")
	}
	r.place = note.Archive
	for _, p := range note.Partitions {
		at := rsmarchive.Position{Index: p.Index, Term: p.Term, Time: p.Time.UnixNano()}
		if copy(at.Link[:], p.Link) != len(at.Link) || int(p.Partition) >= cluster.MaxPartitions {
			err = errors.Join(err, fmt.Errorf("partition %d is damaged", p.Partition))
		}
		r.of[p.Partition] = at
	}
	if err != nil {
		return nil, failed(fmt.Errorf("%s in %s: %w", archivedName, data, err), "bring the file back from a copy; or remove it: then the archive is taken for whole as it is")
	}
	return r, nil
}

// had returns up to where a partition was archived.
func (r *archiveRecord) had(partition uint16) rsmarchive.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[partition]
}

// at says whether what is on record was archived at a place.
func (r *archiveRecord) at(place string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return place == r.place
}

// remember notes, durably, up to where a partition is archived, and at which place. It forgets nothing.
func (r *archiveRecord) remember(place string, partition uint16, at rsmarchive.Position) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at.Index <= r.of[partition].Index && (place == r.place || at.Index == 0) {
		return nil
	}
	before, was := r.of[partition], r.place
	r.place = place
	if at.Index > before.Index {
		r.of[partition] = at
	}
	if err := r.save(); err != nil {
		r.of[partition], r.place = before, was
		return fmt.Errorf("note what is archived: %w", err)
	}
	return nil
}

// forget takes back that a partition was archived.
func (r *archiveRecord) forget(partition uint16) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, partition)
	return r.save()
}

func (r *archiveRecord) save() error {
	note := archiveNote{Version: archiveNoteVersion, Archive: r.place, Partitions: []archivedUpTo{}}
	for partition, at := range r.of {
		if at.Index > 0 {
			note.Partitions = append(note.Partitions, archivedUpTo{partition, at.Index, at.Term, time.Unix(0, at.Time).UTC(), at.Link[:]})
		}
	}
	slices.SortFunc(note.Partitions, func(a, b archivedUpTo) int { return int(a.Partition) - int(b.Partition) })
	b, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return err
	}
	return writeDurably(r.data, archivedName, append(b, '\n'), 0o640)
}

// beginAnewFlag is how an operator says that what an archive lost is lost.
const beginAnewFlag = "archive-begin-anew"

// accept forgets what --archive-begin-anew says is gone: a partition and the entry up to which the archive had all, if gone
// says so too. What does not say what is on record now says nothing: so it can be left in a command line, and accepts no later loss.
func (r *archiveRecord) accept(all []string, gone func(partition uint16, upTo rsm.Index) bool) (accepted []uint16, err error) {
	for _, one := range all {
		p, index, ok := strings.Cut(one, ":")
		partition, err1 := strconv.ParseUint(p, 10, 16)
		upTo, err2 := strconv.ParseUint(index, 10, 64)
		if !ok || err1 != nil || err2 != nil || upTo == 0 {
			return nil, usageError("it is PARTITION:ENTRY, as the server says it where an archive lost something", "--%s %s", beginAnewFlag, quoted(one))
		}
		if !gone(uint16(partition), rsm.Index(upTo)) {
			continue
		}
		if err := r.forget(uint16(partition)); err != nil {
			return nil, openError(r.data, err)
		}
		accepted = append(accepted, uint16(partition))
	}
	return accepted, nil
}
