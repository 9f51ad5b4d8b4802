package wallet

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sort"

	"maru.example/rsm"
	"maru.example/vfs"
	"maru.example/wal"
)

// A run is an immutable file of old transaction ids in the order of their hashes.
// It is a sequence of groups and a footer; a group is a column of hash prefixes and
// pages of rows. See docs/format/wallet.md.
const (
	runMagic       = "MARUIDS1"
	runFooterBytes = 40
	runRowBytes    = 26 // tenant, id, fingerprint and code
	runPageBytes   = 8192
	runPageRows    = (runPageBytes - 4) / runRowBytes
	runGroupPages  = 104 // with their column, 1 MiB
	runGroupRows   = runGroupPages * runPageRows
	prefixBytes    = 6
	prefixBits     = 8 * prefixBytes
	maxRunRows     = 1 << 40
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// prefixOf is the part of an id's hash that runs and the filter know.
func prefixOf(h uint64) uint64 { return h >> (64 - prefixBits) }

// pageSum is the checksum of a page or column: of its number, which is not stored, so
// that it is good in its place only, and its bytes.
func pageSum(number uint64, b []byte) uint32 {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], number)
	return crc32.Update(crc32.Checksum(n[:], castagnoli), castagnoli, b)
}

// columnNumber tells the columns of groups from pages, for pageSum.
func columnNumber(group uint64) uint64 { return 1<<63 | group }

// columnBytes is the room that the column of so many rows takes: whole pages.
func columnBytes(rows int) int {
	return (4 + rows*prefixBytes + runPageBytes - 1) / runPageBytes * runPageBytes
}

const fullGroupBytes = (4+runGroupRows*prefixBytes+runPageBytes-1)/runPageBytes*runPageBytes + runGroupPages*runPageBytes

// runBytes is the size of a run of so many rows.
func runBytes(rows uint64) int64 {
	size := int64(rows/runGroupRows)*fullGroupBytes + runFooterBytes
	if left := int(rows % runGroupRows); left > 0 {
		size += int64(columnBytes(left) + (left+runPageRows-1)/runPageRows*runPageBytes)
	}
	return size
}

// idRun is an open run. Its reads are safe for concurrent use.
type idRun struct {
	kept   rsm.KeptFile
	name   string
	file   vfs.File
	rows   uint64
	fences []uint32 // the first 32 bits of the hash of each page's first row
}

// openRun opens a run, whose rows are hashed by a seed. The run cannot be used before load.
func openRun(files *rsm.Files, k rsm.KeptFile, seed [2]uint64) (_ *idRun, err error) {
	r := &idRun{kept: k, name: files.Name(k.ID)}
	if r.file, err = files.Open(k); err != nil {
		return nil, err
	}
	if err := r.open(seed); err != nil {
		r.close()
		return nil, fmt.Errorf("wallet: %s: %w", r.name, err)
	}
	return r, nil
}

// openWhole opens and loads a run.
func openWhole(files *rsm.Files, k rsm.KeptFile, seed [2]uint64) (*idRun, error) {
	r, err := openRun(files, k, seed)
	if err != nil {
		return nil, err
	}
	if err := r.load(func(uint64) {}); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *idRun) open(seed [2]uint64) error {
	size := r.kept.Bytes
	if size < runFooterBytes {
		return fmt.Errorf("has %d bytes: %w", size, wal.ErrCorrupt)
	}
	var b [runFooterBytes]byte
	if err := r.read(b[:], size-runFooterBytes); err != nil {
		return err
	}
	if string(b[:8]) != runMagic || crc32.Checksum(b[:36], castagnoli) != binary.LittleEndian.Uint32(b[36:]) {
		return fmt.Errorf("the footer is damaged: %w", wal.ErrCorrupt)
	}
	if [2]uint64{binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])} != seed {
		return fmt.Errorf("has another seed than the state: %w", wal.ErrCorrupt)
	}
	if r.rows = binary.LittleEndian.Uint64(b[8:]); r.rows > maxRunRows || runBytes(r.rows) != size {
		return fmt.Errorf("has %d bytes for %d rows: %w", size, r.rows, wal.ErrCorrupt)
	}
	return nil
}

// load reads the columns, and calls note with the prefix of each row, in order.
func (r *idRun) load(note func(prefix uint64)) error {
	r.fences = make([]uint32, 0, (r.rows+runPageRows-1)/runPageRows)
	var buf []byte
	last := uint64(0)
	for first := uint64(0); first < r.rows; first += runGroupRows {
		column, err := r.column(first/runGroupRows, buf)
		if err != nil {
			return fmt.Errorf("wallet: %s: %w", r.name, err)
		}
		buf = column
		for i := range r.groupRows(first / runGroupRows) {
			p := prefixAt(column, i)
			if p < last {
				return fmt.Errorf("wallet: %s: row %d is out of order: %w", r.name, first+uint64(i), wal.ErrCorrupt)
			}
			if last = p; i%runPageRows == 0 {
				r.fences = append(r.fences, uint32(p>>(prefixBits-32)))
			}
			note(p)
		}
	}
	return nil
}

// prefixAt returns a prefix in a column.
func prefixAt(column []byte, i int) uint64 {
	b := column[4+i*prefixBytes:]
	return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint16(b[4:]))<<32
}

func (r *idRun) read(b []byte, at int64) error {
	if n, err := r.file.ReadAt(b, at); n < len(b) {
		return fmt.Errorf("read at offset %d: %w", at, err)
	}
	return nil
}

// groupRows is how many rows a group has.
func (r *idRun) groupRows(group uint64) int {
	return int(min(runGroupRows, r.rows-group*runGroupRows))
}

// column reads the column of a group, into buf where it fits.
func (r *idRun) column(group uint64, buf []byte) ([]byte, error) {
	n := 4 + r.groupRows(group)*prefixBytes
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	at := int64(group) * fullGroupBytes
	if err := r.read(buf, at); err != nil {
		return nil, err
	}
	if pageSum(columnNumber(group), buf[4:]) != binary.LittleEndian.Uint32(buf) {
		return nil, fmt.Errorf("the column at offset %d has a wrong checksum: %w", at, wal.ErrCorrupt)
	}
	return buf, nil
}

// page reads the rows of a page into buf.
func (r *idRun) page(page uint64, buf *[runPageBytes]byte) ([]byte, error) {
	group := page / runGroupPages
	at := int64(group)*fullGroupBytes + int64(columnBytes(r.groupRows(group))) + int64(page%runGroupPages)*runPageBytes
	if err := r.read(buf[:], at); err != nil {
		return nil, err
	}
	return r.checkPage(page, buf[:], at)
}

// checkPage returns the rows of a page that was read.
func (r *idRun) checkPage(page uint64, b []byte, at int64) ([]byte, error) {
	if pageSum(page, b[4:]) != binary.LittleEndian.Uint32(b) {
		return nil, fmt.Errorf("the page at offset %d has a wrong checksum: %w", at, wal.ErrCorrupt)
	}
	return b[4 : 4+min(runPageRows, r.rows-page*runPageRows)*runRowBytes], nil
}

// find looks for the id of a tenant with a hash. It says how many pages it read.
func (r *idRun) find(tenant uint16, k key, h uint64, buf *[runPageBytes]byte) (meta uint64, found bool, pages int, err error) {
	fence := uint32(h >> 32)
	page := sort.Search(len(r.fences), func(i int) bool { return r.fences[i] >= fence })
	// The page before the first whose fence is not smaller may end with it.
	for page = max(0, page-1); page < len(r.fences) && r.fences[page] <= fence; page++ {
		rows, err := r.page(uint64(page), buf)
		if err != nil {
			return 0, false, pages, fmt.Errorf("wallet: %s: %w", r.name, err)
		}
		pages++
		for ; len(rows) > 0; rows = rows[runRowBytes:] {
			if binary.LittleEndian.Uint64(rows[2:]) != k.a || makeKey(rows[2:]) != k || binary.LittleEndian.Uint16(rows) != tenant {
				continue
			}
			meta := binary.LittleEndian.Uint64(rows[18:])
			if !decidedCode(Code(meta)) {
				return 0, false, pages, fmt.Errorf("wallet: %s: page %d has an id that is not decided: %w", r.name, page, wal.ErrCorrupt)
			}
			return meta, true, pages, nil
		}
	}
	return 0, false, pages, nil
}

// decidedCode says that a code can be that of an old id.
func decidedCode(c Code) bool { return c != Undecided && c != Pending && int(c) < len(codeNames) }

// close closes the file, which was only read.
func (r *idRun) close() { _ = r.file.Close() }

// bytes is the memory that the run takes.
func (r *idRun) bytes() uint64 { return uint64(cap(r.fences)) * 4 }

// runCursor walks over a run by its columns, and by its rows where they are asked for.
type runCursor struct {
	run    *idRun
	at     uint64 // row
	group  uint64 // that column is of, from 1; 0: none
	column []byte
	pages  []byte // of the group, if rows are asked for
}

// done says that the cursor is behind the last row.
func (c *runCursor) done() bool { return c.at >= c.run.rows }

// prefix returns the prefix of the row at the cursor.
func (c *runCursor) prefix() (uint64, error) {
	group := c.at / runGroupRows
	if c.group != group+1 {
		column, err := c.run.column(group, c.column)
		if err != nil {
			return 0, fmt.Errorf("wallet: %s: %w", c.run.name, err)
		}
		c.column, c.group, c.pages = column, group+1, c.pages[:0]
	}
	return prefixAt(c.column, int(c.at%runGroupRows)), nil
}

// row returns the row at the cursor, after prefix.
func (c *runCursor) row() ([]byte, error) {
	page, i := c.at/runPageRows, c.at%runPageRows
	if len(c.pages) == 0 {
		if err := c.readPages(); err != nil {
			return nil, fmt.Errorf("wallet: %s: %w", c.run.name, err)
		}
	}
	b := c.pages[page%runGroupPages*runPageBytes:]
	return b[4+i*runRowBytes:][:runRowBytes], nil
}

// readPages reads and checks all pages of the group.
func (c *runCursor) readPages() error {
	r, group := c.run, c.group-1
	rows := r.groupRows(group)
	n := (rows + runPageRows - 1) / runPageRows * runPageBytes
	if cap(c.pages) < n {
		c.pages = make([]byte, n)
	}
	c.pages = c.pages[:n]
	at := int64(group)*fullGroupBytes + int64(columnBytes(rows))
	if err := r.read(c.pages, at); err != nil {
		return err
	}
	for i := 0; i < n; i += runPageBytes {
		if _, err := r.checkPage(group*runGroupPages+uint64(i/runPageBytes), c.pages[i:i+runPageBytes], at+int64(i)); err != nil {
			return err
		}
	}
	return nil
}

// segment calls note with the prefixes of a segment of hashes. It is quick where
// segments are asked for in order.
func (c *runCursor) segment(segment int, note func(prefix uint64)) error {
	from := uint32(segment) << 24
	if page := sort.Search(len(c.run.fences), func(i int) bool { return c.run.fences[i] >= from }); page > 0 {
		c.at = max(c.at, uint64(page-1)*runPageRows)
	}
	for ; !c.done(); c.at++ {
		p, err := c.prefix()
		if err != nil {
			return err
		}
		switch s := int(p >> (prefixBits - 8)); {
		case s > segment:
			return nil
		case s == segment:
			note(p)
		}
	}
	return nil
}
