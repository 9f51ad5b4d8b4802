package wallet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"maru.example/rsm"
	"maru.example/vfs"
)

// runSyncBytes is how much of a run is written between two syncs: the log's sync may
// have to wait behind that much.
const runSyncBytes = 2 << 20

// runWriter writes a run: rows in the order of their prefixes.
type runWriter struct {
	files    *rsm.Files
	id       uint64
	file     vfs.File
	seed     [2]uint64
	offset   int64
	unsynced int
	sum      uint32
	rows     uint64
	last     uint64 // prefix
	column   []byte // of the group that is not written yet
	pages    []byte
}

func newRunWriter(files *rsm.Files, seed [2]uint64) (*runWriter, error) {
	id, file, err := files.Create()
	if err != nil {
		return nil, err
	}
	return &runWriter{files: files, id: id, file: file, seed: seed, column: make([]byte, 4)}, nil
}

// add appends a row.
func (w *runWriter) add(prefix uint64, row []byte) error {
	if prefix < w.last {
		panic(fmt.Sprintf("wallet: prefix %x of a run follows %x", prefix, w.last))
	}
	w.last = prefix
	if w.rows%runPageRows == 0 {
		w.endPage()
		w.pages = append(w.pages, 0, 0, 0, 0)
	}
	w.column = binary.LittleEndian.AppendUint32(w.column, uint32(prefix))
	w.column = binary.LittleEndian.AppendUint16(w.column, uint16(prefix>>32))
	w.pages = append(w.pages, row...)
	if w.rows++; w.rows%runGroupRows == 0 {
		return w.endGroup()
	}
	return nil
}

// endPage fills up the page that was begun, and sums it.
func (w *runWriter) endPage() {
	if len(w.pages) == 0 {
		return
	}
	w.pages = pad(w.pages)
	page := w.pages[len(w.pages)-runPageBytes:]
	binary.LittleEndian.PutUint32(page, pageSum((w.rows-1)/runPageRows, page[4:]))
}

// pad fills up the last page with zeros.
func pad(b []byte) []byte {
	if over := len(b) % runPageBytes; over > 0 {
		b = append(b, make([]byte, runPageBytes-over)...)
	}
	return b
}

// endGroup writes the group.
func (w *runWriter) endGroup() error {
	w.endPage()
	binary.LittleEndian.PutUint32(w.column, pageSum(columnNumber((w.rows-1)/runGroupRows), w.column[4:]))
	w.column = pad(w.column)
	if err := w.put(w.column); err != nil {
		return err
	}
	if err := w.put(w.pages); err != nil {
		return err
	}
	w.column, w.pages = w.column[:4], w.pages[:0]
	if w.unsynced < runSyncBytes {
		return nil
	}
	w.unsynced = 0
	return w.file.Sync()
}

func (w *runWriter) put(b []byte) error {
	if _, err := w.file.WriteAt(b, w.offset); err != nil {
		return fmt.Errorf("write at offset %d: %w", w.offset, err)
	}
	w.sum = crc32.Update(w.sum, castagnoli, b)
	w.offset += int64(len(b))
	w.unsynced += len(b)
	return nil
}

// finish makes the run durable, under its name.
func (w *runWriter) finish() (rsm.KeptFile, error) {
	if err := w.end(); err != nil {
		return rsm.KeptFile{}, err
	}
	if err := w.files.Commit(w.id); err != nil {
		return rsm.KeptFile{}, err
	}
	return rsm.KeptFile{ID: w.id, Bytes: w.offset, Sum: w.sum}, nil
}

func (w *runWriter) end() error {
	if w.rows%runGroupRows != 0 {
		if err := w.endGroup(); err != nil {
			return err
		}
	}
	b := append(make([]byte, 0, runFooterBytes), runMagic...)
	b = binary.LittleEndian.AppendUint64(b, w.rows)
	b = binary.LittleEndian.AppendUint64(b, w.seed[0])
	b = binary.LittleEndian.AppendUint64(b, w.seed[1])
	b = append(b, 0, 0, 0, 0)
	if err := w.put(binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))); err != nil {
		return err
	}
	err := w.file.Sync()
	if cerr := w.close(); err == nil {
		err = cerr
	}
	return err
}

func (w *runWriter) close() error {
	f := w.file
	if f == nil {
		return nil
	}
	w.file = nil
	return f.Close()
}

// abandon removes what was written.
func (w *runWriter) abandon(cause error) error {
	err := w.close()
	w.files.Discard(w.id)
	return errors.Join(cause, err)
}
