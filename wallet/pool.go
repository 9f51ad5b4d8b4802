package wallet

// pool is a table whose rows are taken and given back. A row that is free is the
// zero value.
type pool[T any] struct {
	table[T]
	free []uint32
}

// take puts a row into the pool and returns its number.
func (p *pool[T]) take(row T) uint32 {
	n := len(p.free)
	if n == 0 {
		return uint32(p.add(row))
	}
	i := p.free[n-1]
	p.free = p.free[:n-1]
	p.touch(uint64(i))
	*p.at(uint64(i)) = row
	return i
}

// give frees a row.
func (p *pool[T]) give(i uint32) {
	p.touch(uint64(i))
	*p.at(uint64(i)) = *new(T)
	p.free = append(p.free, i)
}

// used is the number of rows that are not free.
func (p *pool[T]) used() uint64 { return p.len - uint64(len(p.free)) }

// edit returns a row to be changed.
func (p *pool[T]) edit(i uint32) *T {
	p.touch(uint64(i))
	return p.at(uint64(i))
}
