package rsmpeer

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"
)

// Kinds of frames. One that is not known is skipped.
const (
	kindMessage uint32 = 1 + iota
	kindPing
	kindPong
)

const (
	frameHeaderBytes = 12
	pingBytes        = 8

	copyBelow  = 4 << 10   // a shorter part is copied to its neighbours
	smallBytes = 64 << 10  // what was copied, in one flush
	flushBytes = 256 << 10 // that much is worth a system call
	pieceBytes = 2 << 20   // the most that one deadline is for
	firstBytes = 2 << 20   // the most that is allocated before any of it came
)

// A frameWriter gathers frames and writes them in few system calls, long parts
// from where they are.
type frameWriter struct {
	conn    net.Conn
	timeout time.Duration
	small   []byte // headers and short parts; not to grow, since bufs points into it
	from    int    // where in small the bytes begin that bufs lacks
	bufs    net.Buffers
	piece   net.Buffers // of bufs, being written
	size    int         // of bufs and of what it lacks
}

// newFrameWriter copies up to room bytes of headers and short parts between two
// calls of flush.
func newFrameWriter(conn net.Conn, timeout time.Duration, room int) *frameWriter {
	return &frameWriter{conn: conn, timeout: timeout, small: make([]byte, 0, room)}
}

// addMessages adds messages, at least one, as long as there is room, and returns
// how many that were and their bytes. It is to be called after flush.
func (w *frameWriter) addMessages(ms []message) (n int, bytes int64) {
	for n < len(ms) && w.size < flushBytes && len(w.small)+frameHeaderBytes <= cap(w.small) {
		w.add(kindMessage, ms[n].size, ms[n].parts...)
		bytes += int64(ms[n].size)
		n++
	}
	return n, bytes
}

// add adds a frame with the parts, of size bytes together, as its content.
func (w *frameWriter) add(kind uint32, size int, parts ...[]byte) {
	at := len(w.small)
	w.small = binary.LittleEndian.AppendUint32(w.small, uint32(size))
	w.small = binary.LittleEndian.AppendUint32(w.small, kind)
	crc := crc32.Checksum(w.small[at:], castagnoli)
	for _, p := range parts {
		crc = crc32.Update(crc, castagnoli, p)
	}
	w.small = binary.LittleEndian.AppendUint32(w.small, crc)
	for _, p := range parts {
		if len(p) < copyBelow && len(w.small)+len(p) <= cap(w.small) {
			w.small = append(w.small, p...)
			continue
		}
		w.takeSmall()
		w.bufs = append(w.bufs, p)
	}
	w.size += frameHeaderBytes + size
}

func (w *frameWriter) takeSmall() {
	if len(w.small) > w.from {
		w.bufs = append(w.bufs, w.small[w.from:])
		w.from = len(w.small)
	}
}

// flush writes what was added. After an error the connection is of no use.
func (w *frameWriter) flush() error {
	w.takeSmall()
	rest := w.bufs
	for len(rest) > 0 {
		w.piece, rest = cut(w.piece[:0], rest, pieceBytes)
		if err := w.conn.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
			return err
		}
		piece := w.piece // WriteTo moves the front
		if _, err := piece.WriteTo(w.conn); err != nil {
			return err
		}
	}
	clear(w.bufs)
	w.small, w.from, w.bufs, w.size = w.small[:0], 0, w.bufs[:0], 0
	return nil
}

// cut appends the first limit bytes of bufs to dst and returns what is left.
func cut(dst, bufs net.Buffers, limit int) (piece, rest net.Buffers) {
	for len(bufs) > 0 && limit > 0 {
		n := min(limit, len(bufs[0]))
		dst = append(dst, bufs[0][:n])
		limit -= n
		if n < len(bufs[0]) {
			bufs[0] = bufs[0][n:]
			break
		}
		bufs = bufs[1:]
	}
	return dst, bufs
}

// A frameReader reads frames from a peer that may send anything.
type frameReader struct {
	r     *bufio.Reader
	fixed [frameHeaderBytes]byte
}

func newFrameReader(r io.Reader, buffer int) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, buffer)}
}

// next returns the next frame of a known kind. The content of a message belongs
// to the caller; of another kind, it is valid until the next call. The error is
// io.EOF only between two frames.
func (r *frameReader) next() (kind uint32, content []byte, err error) {
	for {
		h := r.fixed[:]
		if _, err := io.ReadFull(r.r, h); err != nil {
			return 0, nil, err
		}
		size, want := binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[8:])
		kind := binary.LittleEndian.Uint32(h[4:])
		crc := crc32.Checksum(h[:8], castagnoli)
		if size > MaxMessageBytes {
			return 0, nil, fmt.Errorf("frame of %d bytes: %w", size, errDamaged)
		}
		switch kind {
		case kindMessage:
			content, err = r.message(int(size))
		case kindPing, kindPong:
			if size != pingBytes {
				return 0, nil, fmt.Errorf("ping of %d bytes: %w", size, errDamaged)
			}
			content = h[:pingBytes]
			_, err = io.ReadFull(r.r, content)
		default:
			content = nil
			crc, err = r.skip(int(size), crc)
		}
		if err != nil {
			return 0, nil, noEOF(err)
		}
		if crc32.Update(crc, castagnoli, content) != want {
			return 0, nil, fmt.Errorf("frame of kind %d and %d bytes: %w", kind, size, errDamaged)
		}
		if content != nil {
			return kind, content, nil
		}
	}
}

// message reads the content of a message into a buffer of just that size. A
// large one is allocated as its bytes arrive.
func (r *frameReader) message(size int) ([]byte, error) {
	b := make([]byte, min(size, firstBytes))
	for have := 0; ; {
		n, err := io.ReadFull(r.r, b[have:])
		if err != nil {
			return nil, err
		}
		have += n
		if have == size {
			return b, nil
		}
		b = append(make([]byte, 0, min(size, 2*have)), b...)
		b = b[:cap(b)]
	}
}

// skip reads over size bytes and returns the checksum with them.
func (r *frameReader) skip(size int, crc uint32) (uint32, error) {
	for size > 0 {
		b, err := r.r.Peek(min(size, r.r.Size()))
		crc = crc32.Update(crc, castagnoli, b)
		if err != nil {
			return crc, err
		}
		n, err := r.r.Discard(len(b))
		if err != nil {
			return crc, err
		}
		size -= n
	}
	return crc, nil
}

func noEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // as io.ReadFull returns it, not wrapped
		return io.ErrUnexpectedEOF
	}
	return err
}
