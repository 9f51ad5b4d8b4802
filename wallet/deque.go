package wallet

// deque holds the rows numbered from low to below next. Rows are added at the
// end and removed from the beginning, and never move; the memory follows their
// number. Rows must not hold pointers. The zero value is not ready: see newDeque.
type deque[T any] struct {
	low, next uint64
	chunks    []*[dequeRows]T // chunks[0] holds the row low
	spare     *[dequeRows]T
}

const dequeRows = 1024

// newDeque returns an empty deque whose first row will have a number.
func newDeque[T any](first uint64) deque[T] { return deque[T]{low: first, next: first} }

// at returns a row from low to below next.
func (d *deque[T]) at(n uint64) *T {
	return &d.chunks[n/dequeRows-d.low/dequeRows][n%dequeRows]
}

func (d *deque[T]) push(row T) {
	if d.next%dequeRows == 0 || len(d.chunks) == 0 {
		chunk := d.spare
		if chunk == nil {
			chunk = new([dequeRows]T)
		}
		d.chunks, d.spare = append(d.chunks, chunk), nil
	}
	d.next++
	*d.at(d.next - 1) = row
}

// pop removes the first row; there must be one.
func (d *deque[T]) pop() {
	if d.low++; d.low%dequeRows == 0 {
		d.spare, d.chunks[0] = d.chunks[0], nil
		d.chunks = d.chunks[1:]
	}
}

// appendTo appends all rows to dst.
func (d *deque[T]) appendTo(dst []T) []T {
	for n := d.low; n < d.next; {
		end := min(d.next, n-n%dequeRows+dequeRows)
		chunk := d.chunks[n/dequeRows-d.low/dequeRows]
		dst = append(dst, chunk[n%dequeRows:][:end-n]...)
		n = end
	}
	return dst
}

// capacity is the number of rows that the deque has memory for.
func (d *deque[T]) capacity() int {
	n := len(d.chunks)
	if d.spare != nil {
		n++
	}
	return n * dequeRows
}
