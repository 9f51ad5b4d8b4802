package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"maru.example/vfs"
)

// A log that is closed in order has an end file until it is opened again: it
// says how far the log reaches.
const (
	endName  = "end"
	endMagic = "MaruEND\n"
	endSize  = 44
)

// end marks the end of the log: behind its last record, and in a file.
func (l *Log) end() error {
	if !l.clean {
		if err := l.mark(); err != nil {
			return l.named(err)
		}
	}
	f, err := l.publishFile(appendEnd(nil, l.id, l.tail.index), endName)
	if err != nil {
		return fmt.Errorf("write %s: %w", l.path(endName), err)
	}
	return f.Close()
}

// mark writes a close marker.
func (l *Log) mark() error {
	f := frame{kind: kindClose, gen: l.gen, index: l.tail.index, group: l.tail.off}
	p := appendFrame(nil, f, nil, l.active.seed, l.tail.off)
	if _, err := l.file.WriteAt(p, l.tail.off); err != nil {
		return err
	}
	return l.file.Sync()
}

// appendEnd appends the content of the end file of a log in which the record
// next would have come next.
func appendEnd(dst []byte, id logID, next Index) []byte {
	var p [endSize]byte
	le := binary.LittleEndian
	copy(p[:], endMagic)
	le.PutUint32(p[8:], formatVersion)
	copy(p[16:], id[:])
	le.PutUint64(p[32:], uint64(next))
	le.PutUint32(p[40:], crc32.Checksum(p[:40], castagnoli))
	return append(dst, p[:]...)
}

// readEnd returns the last record of the log, as its end file says, and the log's
// id. It returns errInvalid if the file is damaged.
func (l *Log) readEnd() (last Index, id logID, err error) {
	f, err := l.fs.Open(l.path(endName), vfs.Read)
	if err != nil {
		return 0, id, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	p := make([]byte, endSize)
	if _, err := f.ReadAt(p, 0); errors.Is(err, io.EOF) {
		return 0, id, errInvalid
	} else if err != nil {
		return 0, id, err
	}
	le := binary.LittleEndian
	if string(p[:8]) != endMagic || le.Uint32(p[40:]) != crc32.Checksum(p[:40], castagnoli) {
		return 0, id, errInvalid
	}
	if v := le.Uint32(p[8:]); v != formatVersion {
		return 0, id, fmt.Errorf("%s: %w: %d", endName, ErrVersion, v)
	}
	copy(id[:], p[16:])
	return Index(le.Uint64(p[32:])) - 1, id, nil
}
