package rsm

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"maru.example/vfs"
	"maru.example/wal"
)

// A snapshot file is a header, chunks, and a footer. See docs/format/rsm.md.
const (
	snapshotMagic       = "MARUSNAP"
	snapshotVersion     = 2
	snapshotKept        = 3  // version 2 with the files that the machine keeps
	snapshotHeaderBytes = 48 // and the configuration
	snapshotFooterBytes = 40
	chunkHeaderBytes    = 8
	maxChunkBytes       = 1 << 20
	maxConfBytes        = 64 << 10
	keptRowBytes        = 20
)

// snapshotSyncBytes is how much of a snapshot is written between two syncs: the
// log's sync may have to wait behind that much.
const snapshotSyncBytes = 2 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshotWriter writes a snapshot file from the beginning.
type snapshotWriter struct {
	file     vfs.File
	at       State
	offset   int64
	unsynced int64
	chunks   uint64
	bytes    uint64
	scratch  []byte
}

// newSnapshotWriter writes the header of a snapshot of the state at a position.
// It counts on files, at most MaxKeptFiles.
func newSnapshotWriter(f vfs.File, at State, files []KeptFile) (*snapshotWriter, error) {
	if len(files) > MaxKeptFiles {
		return nil, fmt.Errorf("counts on %d files, want at most %d", len(files), MaxKeptFiles)
	}
	w := &snapshotWriter{file: f, at: at}
	return w, w.put(appendSnapshotHeader(nil, at, files))
}

// write appends p as chunks.
func (w *snapshotWriter) write(p []byte) error {
	for len(p) > 0 {
		chunk := p[:min(len(p), maxChunkBytes)]
		p = p[len(chunk):]
		w.scratch = appendChunkHeader(w.scratch[:0], w.chunks, chunk)
		if err := w.put(w.scratch); err != nil {
			return err
		}
		if err := w.put(chunk); err != nil {
			return err
		}
		w.chunks++
		w.bytes += uint64(len(chunk))
		if w.unsynced >= snapshotSyncBytes {
			w.unsynced = 0
			if err := w.file.Sync(); err != nil {
				return fmt.Errorf("sync: %w", err)
			}
		}
	}
	return nil
}

// finish writes the footer and makes the content durable.
func (w *snapshotWriter) finish() error {
	w.scratch = appendSnapshotFooter(w.scratch[:0], w.chunks, w.bytes, w.at)
	if err := w.put(w.scratch); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

func (w *snapshotWriter) put(p []byte) error {
	if _, err := w.file.WriteAt(p, w.offset); err != nil {
		return fmt.Errorf("write at offset %d: %w", w.offset, err)
	}
	w.offset += int64(len(p))
	w.unsynced += int64(len(p))
	return nil
}

func appendSnapshotHeader(dst []byte, at State, files []KeptFile) []byte {
	body := binary.LittleEndian.AppendUint64(make([]byte, 0, 32+len(at.Conf)), uint64(at.Index))
	body = binary.LittleEndian.AppendUint64(body, uint64(at.Time))
	body = binary.LittleEndian.AppendUint64(body, at.Term)
	body = binary.LittleEndian.AppendUint64(body, uint64(len(at.Conf)))
	body = append(body, at.Conf...)
	version := uint32(snapshotVersion)
	if len(files) > 0 {
		version = snapshotKept
		body = binary.LittleEndian.AppendUint32(body, uint32(len(files)))
	}
	for _, k := range files {
		body = binary.LittleEndian.AppendUint64(body, k.ID)
		body = binary.LittleEndian.AppendUint64(body, uint64(k.Bytes))
		body = binary.LittleEndian.AppendUint32(body, k.Sum)
	}
	dst = append(dst, snapshotMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(body, castagnoli))
	return append(dst, body...)
}

func appendChunkHeader(dst []byte, number uint64, chunk []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(chunk)))
	return binary.LittleEndian.AppendUint32(dst, chunkSum(number, chunk))
}

// chunkSum is the checksum of a chunk: of its number, which is not stored, so
// that a chunk is good in its place only, and its bytes.
func chunkSum(number uint64, chunk []byte) uint32 {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], number)
	return crc32.Update(crc32.Checksum(n[:], castagnoli), castagnoli, chunk)
}

func appendSnapshotFooter(dst []byte, chunks, bytes uint64, at State) []byte {
	start := len(dst) + chunkHeaderBytes
	dst = append(dst, make([]byte, chunkHeaderBytes)...) // a length of 0 says: no more chunks
	dst = binary.LittleEndian.AppendUint64(dst, chunks)
	dst = binary.LittleEndian.AppendUint64(dst, bytes)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at.Index))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at.Time))
	binary.LittleEndian.PutUint32(dst[start-4:], crc32.Checksum(dst[start:], castagnoli))
	return dst
}

// snapshotReader gives the content of a snapshot file. It checks each chunk
// before it gives any byte of it, and the footer before it says io.EOF. Its
// errors wrap wal.ErrCorrupt where the bytes are damaged.
type snapshotReader struct {
	file   vfs.File
	size   int64
	offset int64
	at     State
	files  []KeptFile // that it counts on
	joined bool       // they follow in the same file
	chunks uint64
	bytes  uint64
	chunk  []byte
	rest   []byte // of chunk, not given yet
	err    error  // of all later Reads
}

// newSnapshotReader reads and checks the header.
func newSnapshotReader(f vfs.File) (*snapshotReader, error) {
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}
	r := &snapshotReader{file: f, size: size}
	head, err := r.take(snapshotHeaderBytes)
	if err != nil {
		return nil, err
	}
	if string(head[:8]) != snapshotMagic {
		return nil, fmt.Errorf("not a snapshot: %w", wal.ErrCorrupt)
	}
	version := binary.LittleEndian.Uint32(head[8:])
	if version != snapshotVersion && version != snapshotKept {
		return nil, fmt.Errorf("snapshot has version %d, this program reads %d and %d", version, snapshotVersion, snapshotKept)
	}
	r.at = State{
		Index: Index(binary.LittleEndian.Uint64(head[16:])),
		Time:  int64(binary.LittleEndian.Uint64(head[24:])),
		Term:  binary.LittleEndian.Uint64(head[32:]),
	}
	length, want := binary.LittleEndian.Uint64(head[40:]), binary.LittleEndian.Uint32(head[12:])
	if length > maxConfBytes {
		return nil, r.damaged("configuration has %d bytes", length)
	}
	sum := crc32.Checksum(head[16:], castagnoli)
	conf, err := r.take(int(length))
	if err != nil {
		return nil, err
	}
	sum, r.at.Conf = crc32.Update(sum, castagnoli, conf), slices.Clone(conf)
	if version == snapshotKept {
		if sum, err = r.keptFiles(sum); err != nil {
			return nil, err
		}
	}
	if sum != want {
		return nil, fmt.Errorf("header has a wrong checksum: %w", wal.ErrCorrupt)
	}
	return r, nil
}

// keptFiles reads the files that the snapshot counts on, and adds to the checksum.
func (r *snapshotReader) keptFiles(sum uint32) (uint32, error) {
	b, err := r.take(4)
	if err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > MaxKeptFiles {
		return 0, r.damaged("counts on %d files", n)
	}
	sum = crc32.Update(sum, castagnoli, b)
	if b, err = r.take(int(n) * keptRowBytes); err != nil {
		return 0, err
	}
	sum = crc32.Update(sum, castagnoli, b)
	for ; len(b) > 0; b = b[keptRowBytes:] {
		k := KeptFile{binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint64(b[8:])), binary.LittleEndian.Uint32(b[16:])}
		if k.Bytes < 0 {
			return 0, r.damaged("counts on a file of %d bytes", k.Bytes)
		}
		r.files = append(r.files, k)
	}
	return sum, nil
}

// Read implements io.Reader.
func (r *snapshotReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 && r.err == nil {
		r.err = r.next()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next reads the next chunk into rest, or returns io.EOF after a good footer.
func (r *snapshotReader) next() error {
	head, err := r.take(chunkHeaderBytes)
	if err != nil {
		return err
	}
	length, sum := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	switch {
	case length == 0:
		return r.end(sum)
	case length > maxChunkBytes:
		return r.damaged("chunk has %d bytes", length)
	}
	chunk, err := r.take(int(length))
	if err != nil {
		return err
	}
	if chunkSum(r.chunks, chunk) != sum {
		return r.damaged("chunk has a wrong checksum")
	}
	r.chunks++
	r.bytes += uint64(length)
	r.rest = chunk
	return nil
}

// end checks the footer.
func (r *snapshotReader) end(sum uint32) error {
	body, err := r.take(snapshotFooterBytes - chunkHeaderBytes)
	if err != nil {
		return err
	}
	if crc32.Checksum(body, castagnoli) != sum {
		return r.damaged("footer has a wrong checksum")
	}
	want := appendSnapshotFooter(nil, r.chunks, r.bytes, r.at)
	if string(body) != string(want[chunkHeaderBytes:]) {
		return r.damaged("footer does not match the content")
	}
	if r.offset != r.size && !r.joined {
		return r.damaged("file goes on after the footer")
	}
	return io.EOF
}

// take reads the next n bytes, which are valid until the next call.
func (r *snapshotReader) take(n int) ([]byte, error) {
	if r.size-r.offset < int64(n) {
		return nil, r.damaged("file ends early")
	}
	if cap(r.chunk) < n {
		r.chunk = make([]byte, n)
	}
	r.chunk = r.chunk[:n]
	if m, err := r.file.ReadAt(r.chunk, r.offset); m < n {
		return nil, fmt.Errorf("read at offset %d: %w", r.offset, err)
	}
	r.offset += int64(n)
	return r.chunk, nil
}

func (r *snapshotReader) damaged(format string, args ...any) error {
	return fmt.Errorf("offset %d: %s: %w", r.offset, fmt.Sprintf(format, args...), wal.ErrCorrupt)
}
