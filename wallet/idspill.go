package wallet

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"maru.example/rsm"
)

const (
	spillStepRows = 1 << 15 // about how many rows a step of a spill or merge writes: a group
	mergeRuns     = 4       // runs of one size that are merged
	mergeMost     = 16      // that are merged at once
)

// spillJob writes a generation into a run and takes it up into the filter, in steps
// on the files' loop. It has what it needs of the machine's; of the machine itself it
// touches nothing.
type spillJob struct {
	m       *Machine // the replica's loop's
	files   *rsm.Files
	gen     *generation
	runs    []*idRun
	segs    [idSegments]filterSegment // as they were
	seed    [2]uint64
	late    atomic.Bool // the tables are full again
	stopped bool        // the files' loop's, as all below

	out     *runWriter
	rows    []spillRow
	spare   []spillRow
	segment int
	run     *idRun
	cursors []*runCursor // of the new run, and then the others
}

type spillRow struct {
	prefix uint64
	bytes  [runRowBytes]byte
}

// startSpill moves the generation to the disk.
func (o *oldIDs) startSpill(m *Machine) {
	o.spill = &spillJob{m: m, files: o.files, gen: o.frozen, runs: slices.Clone(o.runs), segs: o.filter.segs, seed: o.seed}
	o.files.Run(o.spill.step)
}

// stop gives the job up. A nil job is none.
func (j *spillJob) stop() {
	if j == nil || j.stopped {
		return
	}
	j.stopped = true
	if j.run != nil {
		j.run.close()
		j.files.Discard(j.run.kept.ID)
	}
	if j.out != nil {
		_ = j.out.abandon(nil) // the file is removed
	}
}

func (j *spillJob) step() (more, late bool) {
	if j.stopped {
		return false, false
	}
	var err error
	switch {
	case j.run == nil:
		err = j.write()
	case j.segment < idSegments:
		err = j.filter()
	default:
		j.end(nil)
		return false, false
	}
	if err != nil {
		j.end(err)
		return false, false
	}
	return true, j.late.Load()
}

// end tells the machine. What read a run and could not is not tried again.
func (j *spillJob) end(err error) {
	run := j.run
	if err != nil {
		j.stop()
		run = nil
	}
	j.stopped = true
	j.files.Back(func() { j.m.old.spilled(j, run, err) })
}

// write appends segments to the run.
func (j *spillJob) write() (err error) {
	if j.out == nil {
		if err := j.files.Room(); err != nil {
			return err
		}
		if j.out, err = newRunWriter(j.files, j.seed); err != nil {
			return err
		}
	}
	for n := 0; n < spillStepRows; j.segment++ {
		if j.segment == idSegments {
			return j.finish()
		}
		j.rows = j.rows[:0]
		j.gen.each(j.segment, func(tenant uint16, t *idTable, e *idEntry) {
			j.rows = append(j.rows, newSpillRow(tenant, t.hash(e.key), e))
		})
		j.rows, j.spare = sortedRows(j.rows, j.spare)
		for i := range j.rows {
			if err := j.out.add(j.rows[i].prefix, j.rows[i].bytes[:]); err != nil {
				return err
			}
		}
		n += len(j.rows)
	}
	return nil
}

// sortedRows returns the rows of a segment in the order of their prefixes, and the other buffer.
// Prefixes are hashes: by the next bits after those that are the segment's they are spread over
// buckets of a few rows, and only within these compared. That is some three times as fast as
// slices.SortFunc.
func sortedRows(rows, spare []spillRow) (sorted, other []spillRow) {
	const (
		buckets = 1 << 12
		shift   = prefixBits - 8 - 12 // 8 bits are the segment's
	)
	var next [buckets + 1]int // where the next row of a bucket goes
	for i := range rows {
		next[rows[i].prefix>>shift%buckets+1]++
	}
	for i := range buckets {
		next[i+1] += next[i]
	}
	spare = slices.Grow(spare[:0], len(rows))[:len(rows)]
	for i := range rows {
		at := &next[rows[i].prefix>>shift%buckets]
		spare[*at] = rows[i]
		*at++
	}
	for begin, b := 0, 0; b < buckets; b++ {
		slices.SortFunc(spare[begin:next[b]], func(x, y spillRow) int { return cmp.Compare(x.prefix, y.prefix) })
		begin = next[b]
	}
	return spare, rows
}

func newSpillRow(tenant uint16, h uint64, e *idEntry) (r spillRow) {
	if !decidedCode(e.code()) {
		panic(fmt.Sprintf("wallet: the id %x of tenant %d is old and not decided", e.key.id(), tenant))
	}
	r.prefix = prefixOf(h)
	binary.LittleEndian.PutUint16(r.bytes[:], tenant)
	binary.LittleEndian.PutUint64(r.bytes[2:], e.key.a)
	binary.LittleEndian.PutUint64(r.bytes[10:], e.key.b)
	binary.LittleEndian.PutUint64(r.bytes[18:], e.meta)
	return r
}

func parseRow(row []byte) (tenant uint16, e idEntry) {
	return binary.LittleEndian.Uint16(row), idEntry{makeKey(row[2:]), binary.LittleEndian.Uint64(row[18:])}
}

// finish makes the run durable and opens it.
func (j *spillJob) finish() error {
	kept, err := j.out.finish()
	if err != nil {
		return err
	}
	if j.run, err = openWhole(j.files, kept, j.seed); err != nil {
		return err
	}
	j.out, j.rows, j.spare, j.segment = nil, nil, nil, 0
	j.cursors = []*runCursor{{run: j.run}}
	for _, r := range j.runs {
		j.cursors = append(j.cursors, &runCursor{run: r})
	}
	return nil
}

// filter takes up the run into the filters of some segments.
func (j *spillJob) filter() error {
	for n := 0; n < spillStepRows && j.segment < idSegments; j.segment++ {
		var added []uint64
		if err := j.cursors[0].segment(j.segment, func(p uint64) { added = append(added, p) }); err != nil {
			return err
		}
		if len(added) == 0 {
			continue
		}
		s, err := j.grown(added)
		if err != nil {
			return err
		}
		n += s.ids
		at := j.segment
		j.files.Back(func() {
			if j.m.old.spill == j {
				j.m.old.filter.segs[at] = s
			}
		})
	}
	return nil
}

// grown returns the filter of the segment with prefixes added.
func (j *spillJob) grown(added []uint64) (s filterSegment, err error) {
	old := &j.segs[j.segment]
	if old.fits(j.segment, len(added)) {
		s = filterSegment{lines: make([]filterLine, len(old.lines)), ids: old.ids} // not a bit more
		copy(s.lines, old.lines)
	} else {
		s = newFilterSegment(j.segment, old.ids+len(added))
		for _, c := range j.cursors[1:] {
			if err := c.segment(j.segment, s.add); err != nil {
				return s, errors.Join(errRun, err)
			}
		}
	}
	for _, p := range added {
		s.add(p)
	}
	return s, nil
}

// errRun says that a run that the state counts on cannot be read.
var errRun = errors.New("wallet: transaction ids on the disk cannot be read")

// spilled ends a spill.
func (o *oldIDs) spilled(j *spillJob, run *idRun, err error) {
	if o.spill != j {
		if run != nil {
			o.files.Post(func() {
				run.close()
				o.files.Discard(run.kept.ID)
			})
		}
		return
	}
	o.spill = nil
	switch {
	case errors.Is(err, errRun):
		o.fail(err)
		return
	case err != nil:
		// The ids stay where they are; the filter may know some of them, in vain.
		o.failed("transaction ids stay in memory, moving them is tried again", err)
		o.retry = o.recent + max(1, j.gen.total()/4)
		return
	}
	o.counters.Written += run.rows
	o.runs = append(o.runs, run)
	o.frozen, o.retry = nil, 0
	if o.merged != nil {
		o.merged()
		o.merged = nil
	}
	o.files.Changed()
	o.startMerge(j.m)
}

func (o *oldIDs) failed(what string, err error) {
	o.counters.Failures++
	o.files.Warn(what, err)
}

// mergeJob makes one run of several.
type mergeJob struct {
	m       *Machine // the replica's loop's
	files   *rsm.Files
	seed    [2]uint64
	runs    []*idRun
	stopped bool // the files' loop's, as all below

	out     *runWriter
	cursors []*runCursor // that are not at their end
	run     *idRun
}

// sizeClass tells runs that are merged with each other: each class is four times as
// large as the one before.
func sizeClass(rows uint64) (class int) {
	for ; rows >= mergeRuns; rows /= mergeRuns {
		class++
	}
	return class
}

// startMerge merges the smallest runs of which there are enough of one size.
func (o *oldIDs) startMerge(m *Machine) {
	if o.merge != nil {
		return
	}
	classes := map[int][]*idRun{}
	for _, r := range o.runs {
		c := sizeClass(r.rows)
		classes[c] = append(classes[c], r)
	}
	for class := range 64 {
		runs := classes[class]
		if len(runs) < mergeRuns {
			continue
		}
		o.merge = &mergeJob{m: m, files: o.files, seed: o.seed, runs: runs[:min(len(runs), mergeMost)]}
		o.files.Run(o.merge.step)
		return
	}
}

func (j *mergeJob) stop() {
	if j == nil || j.stopped {
		return
	}
	j.stopped = true
	if j.run != nil {
		j.run.close()
		j.files.Discard(j.run.kept.ID)
	}
	if j.out != nil {
		_ = j.out.abandon(nil) // the file is removed
	}
}

func (j *mergeJob) step() (more, late bool) {
	if j.stopped {
		return false, false
	}
	err := j.write()
	if err == nil && j.run == nil {
		return true, false
	}
	run := j.run
	if err != nil {
		j.stop()
		run = nil
	}
	j.stopped = true
	j.files.Back(func() { j.m.old.merging(j, run, err) })
	return false, false
}

func (j *mergeJob) write() (err error) {
	if j.out == nil {
		if err := j.files.Room(); err != nil {
			return err
		}
		if j.out, err = newRunWriter(j.files, j.seed); err != nil {
			return err
		}
		for _, r := range j.runs {
			j.cursors = append(j.cursors, &runCursor{run: r})
		}
	}
	for range spillStepRows {
		c, prefix, err := j.least()
		if err != nil {
			return errors.Join(errRun, err)
		}
		if c == nil {
			return j.finish()
		}
		row, err := c.row()
		if err != nil {
			return errors.Join(errRun, err)
		}
		if err := j.out.add(prefix, row); err != nil {
			return err
		}
		c.at++
	}
	return nil
}

// least returns the cursor with the least prefix, nil at the end of all.
func (j *mergeJob) least() (least *runCursor, prefix uint64, err error) {
	for _, c := range j.cursors {
		if c.done() {
			continue
		}
		p, err := c.prefix()
		if err != nil {
			return nil, 0, err
		}
		if least == nil || p < prefix {
			least, prefix = c, p
		}
	}
	return least, prefix, nil
}

func (j *mergeJob) finish() error {
	kept, err := j.out.finish()
	if err != nil {
		return err
	}
	if j.run, err = openWhole(j.files, kept, j.seed); err == nil {
		j.out = nil
	}
	return err
}

// merging ends a merge, after a spill that is under way: that reads the runs.
func (o *oldIDs) merging(j *mergeJob, run *idRun, err error) {
	switch {
	case o.merge != j:
		if run != nil {
			o.files.Post(func() {
				run.close()
				o.files.Discard(run.kept.ID)
			})
		}
		return
	case errors.Is(err, errRun):
		o.fail(err)
		return
	case err != nil:
		o.merge = nil
		o.failed("files of transaction ids are not merged, it is tried again", err)
		return
	}
	end := func() {
		o.merge = nil
		o.counters.Written += run.rows
		o.runs = slices.DeleteFunc(o.runs, func(r *idRun) bool { return slices.Contains(j.runs, r) })
		o.runs = slices.Insert(o.runs, 0, run)
		o.files.Post(func() { closeRuns(j.runs) })
		o.files.Changed()
		o.startMerge(j.m)
	}
	if o.spill != nil {
		o.merged = end
		return
	}
	end()
}
