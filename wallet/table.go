package wallet

// table is an array of rows that grows without moving them, and can be frozen:
// while it is, touch keeps a copy of what a change is about to overwrite, so
// that next gives every row as it was when the table was frozen, in pieces,
// while changes go on. Rows must not hold pointers.
type table[T any] struct {
	chunks []*[chunkRows]T
	len    uint64

	frozen uint64   // rows below it are in the snapshot; 0 when none is open
	given  []uint64 // a bit for each group that was given or copied
	cursor uint64   // groups below it were given
	copied []group[T]
	spare  [][]group[T]
}

const (
	chunkRows = 4096
	groupRows = 8 // rows that are copied together: 512 bytes of accounts
)

// group is a copy of adjacent rows, from row number first.
type group[T any] struct {
	first uint64
	rows  [groupRows]T
}

// at returns a row to be read. The row must exist.
func (t *table[T]) at(i uint64) *T { return &t.chunks[i/chunkRows][i%chunkRows] }

// touch must come before a change of the row.
func (t *table[T]) touch(i uint64) {
	if i < t.frozen {
		t.keep(i / groupRows)
	}
}

// add appends a row and returns its number.
func (t *table[T]) add(row T) uint64 {
	if t.len%chunkRows == 0 {
		t.chunks = append(t.chunks, new([chunkRows]T))
	}
	// The group of the new row may be in the snapshot in part, but the row is
	// not: next does not look past frozen.
	*t.at(t.len) = row
	t.len++
	return t.len - 1
}

// resize makes room for n rows, of which set fills those that it is given.
func (t *table[T]) resize(n uint64) {
	t.len = n
	t.chunks = make([]*[chunkRows]T, (n+chunkRows-1)/chunkRows)
}

func (t *table[T]) set(i uint64, row T) {
	if t.chunks[i/chunkRows] == nil {
		t.chunks[i/chunkRows] = new([chunkRows]T)
	}
	*t.at(i) = row
}

func (t *table[T]) freeze() {
	t.frozen, t.cursor = t.len, 0
	groups := (t.len + groupRows - 1) / groupRows
	t.given = make([]uint64, (groups+63)/64)
}

func (t *table[T]) thaw() {
	t.frozen, t.given, t.copied, t.spare = 0, nil, nil, nil
}

// keep copies a group that a change is about to overwrite.
func (t *table[T]) keep(g uint64) {
	if t.given[g/64]&(1<<(g%64)) != 0 {
		return
	}
	t.given[g/64] |= 1 << (g % 64)
	if len(t.copied) == cap(t.copied) {
		// Blocks, not one slice that doubles: growing must not stop the machine.
		if t.copied != nil {
			t.spare = append(t.spare, t.copied)
		}
		t.copied = make([]group[T], 0, 512)
	}
	t.copied = t.copied[:len(t.copied)+1]
	c := &t.copied[len(t.copied)-1]
	c.first = g * groupRows
	copy(c.rows[:], t.chunks[c.first/chunkRows][c.first%chunkRows:])
}

// next calls give with one group of rows of the frozen state, each once, and
// says whether there was one.
func (t *table[T]) next(give func(first uint64, rows []T)) bool {
	if n := len(t.spare); len(t.copied) == 0 && n > 0 {
		t.copied, t.spare = t.spare[n-1], t.spare[:n-1]
	}
	if n := len(t.copied); n > 0 {
		c := &t.copied[n-1]
		give(c.first, c.rows[:min(groupRows, t.frozen-c.first)])
		t.copied = t.copied[:n-1]
		return true
	}
	for ; t.cursor*groupRows < t.frozen; t.cursor++ {
		g := t.cursor
		if t.given[g/64]&(1<<(g%64)) != 0 {
			continue
		}
		t.given[g/64] |= 1 << (g % 64)
		first := g * groupRows
		rows := t.chunks[first/chunkRows][first%chunkRows:]
		give(first, rows[:min(groupRows, t.frozen-first)])
		t.cursor++
		return true
	}
	return false
}
