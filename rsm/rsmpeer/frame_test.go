package rsmpeer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sink is a connection that takes what is written, and notes how.
type sink struct {
	net.Conn
	got       bytes.Buffer
	deadlines int
}

func (s *sink) Write(b []byte) (int, error) { return s.got.Write(b) }

func (s *sink) SetWriteDeadline(time.Time) error {
	s.deadlines++
	return nil
}

// frames returns messages as frames.
func frames(ms ...message) []byte {
	s := new(sink)
	w := newFrameWriter(s, 0, smallBytes)
	for len(ms) > 0 {
		n, _ := w.addMessages(ms)
		ms = ms[n:]
		if err := w.flush(); err != nil {
			panic(err)
		}
	}
	return s.got.Bytes()
}

// frame returns one frame of any kind.
func frame(kind uint32, content []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(content)))
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, content))
	return append(b, content...)
}

// noise returns n bytes that repeat nowhere.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func of(parts ...[]byte) message {
	return message{parts: parts, size: len(bytes.Join(parts, nil))}
}

func readAll(t *testing.T, stream []byte) (contents [][]byte, err error) {
	t.Helper()
	r := newFrameReader(bytes.NewReader(stream), smallBytes)
	for {
		kind, content, err := r.next()
		if err != nil {
			return contents, err
		}
		if kind == kindMessage {
			contents = append(contents, content)
		}
	}
}

func TestFramesRoundTrip(t *testing.T) {
	mixed := make([]message, 3000)
	for i := range mixed {
		mixed[i] = of(noise(i%100), noise(i*7%(2*copyBelow)))
	}
	for _, tt := range []struct {
		name     string
		messages []message
	}{
		{"none", nil},
		{"empty", []message{of()}},
		{"empty part", []message{of(nil, []byte("a"), nil)}},
		{"short", []message{of([]byte("a")), of([]byte("b")), of([]byte("c"))}},
		{"as long as is copied", []message{of(noise(copyBelow - 1)), of(noise(copyBelow)), of(noise(copyBelow + 1))}},
		{"long between short", []message{of([]byte("a"), noise(1<<20), []byte("b")), of([]byte("c"))}},
		{"many short parts", []message{of(slices.Collect(slices.Chunk(noise(3*smallBytes), 10))...)}},
		{"many", mixed},
		{"as long as is allocated at once", []message{of(noise(firstBytes)), of(noise(firstBytes + 1)), of(noise(3 * firstBytes))}},
		{"longest", []message{of(noise(MaxMessageBytes))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readAll(t, frames(tt.messages...))
			if !errors.Is(err, io.EOF) {
				t.Errorf("got %v, want io.EOF", err)
			}
			if len(got) != len(tt.messages) {
				t.Fatalf("got %d messages, want %d", len(got), len(tt.messages))
			}
			for i, m := range tt.messages {
				if !bytes.Equal(got[i], bytes.Join(m.parts, nil)) {
					t.Errorf("message %d of %d bytes differs", i, m.size)
				}
				if cap(got[i]) != m.size && m.size > firstBytes {
					t.Errorf("message %d has %d bytes and room for %d", i, m.size, cap(got[i]))
				}
			}
		})
	}
}

func TestUnknownKindsAreSkipped(t *testing.T) {
	stream := slices.Concat(
		frame(kindMessage, []byte("a")), frame(99, noise(200_000)), frame(7, nil),
		frame(kindPing, noise(8)), frame(kindMessage, []byte("b")))
	got, err := readAll(t, stream)
	if diff := cmp.Diff([][]byte{[]byte("a"), []byte("b")}, got); diff != "" || !errors.Is(err, io.EOF) {
		t.Errorf("got %v (-want +got):\n%s", err, diff)
	}
}

func TestEachBitIsGuarded(t *testing.T) {
	stream := slices.Concat(frame(kindMessage, []byte("hello")), frame(kindPing, noise(8)), frame(9, []byte("later")))
	for i := range len(stream) * 8 {
		stream[i/8] ^= 1 << (i % 8)
		got, err := readAll(t, stream)
		if errors.Is(err, io.EOF) || len(got) > 0 && i < 8*(frameHeaderBytes+5) {
			t.Errorf("bit %d is wrong: got %q, %v", i, got, err)
		}
		stream[i/8] ^= 1 << (i % 8)
	}
}

func TestTornFrames(t *testing.T) {
	first, second := frame(kindMessage, []byte("first")), frame(kindMessage, []byte("second"))
	stream := slices.Concat(first, second)
	for n := range len(stream) + 1 {
		messages, want := 0, io.ErrUnexpectedEOF
		if n >= len(first) {
			messages++
		}
		if n == len(stream) {
			messages++
		}
		if n == 0 || n == len(first) || n == len(stream) {
			want = io.EOF
		}
		if got, err := readAll(t, stream[:n]); !errors.Is(err, want) || len(got) != messages {
			t.Errorf("cut after %d bytes: got %q, %v", n, got, err)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stream []byte
		want   error
	}{
		{"too long", binary.LittleEndian.AppendUint32(nil, MaxMessageBytes+1), io.ErrUnexpectedEOF},
		{"too long, whole header", append(binary.LittleEndian.AppendUint32(nil, MaxMessageBytes+1), make([]byte, 8)...), errDamaged},
		{"short ping", frame(kindPing, noise(7)), errDamaged},
		{"long pong", frame(kindPong, noise(9)), errDamaged},
		{"not whole, to be skipped", frame(50, noise(100))[:50], io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := readAll(t, tt.stream); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestAllocatesWhatArrives announces the longest message and sends little.
func TestAllocatesWhatArrives(t *testing.T) {
	stream := frame(kindMessage, make([]byte, MaxMessageBytes))[:100]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := readAll(t, stream); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2*firstBytes {
		t.Errorf("%d bytes were allocated for 100 that came", got)
	}
}

func TestLongWritesHaveSeveralDeadlines(t *testing.T) {
	s := new(sink)
	w := newFrameWriter(s, time.Second, smallBytes)
	w.add(kindMessage, MaxMessageBytes, make([]byte, MaxMessageBytes))
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	if want := MaxMessageBytes/pieceBytes + 1; s.deadlines != want || s.got.Len() != MaxMessageBytes+frameHeaderBytes {
		t.Errorf("%d bytes with %d deadlines, want %d", s.got.Len(), s.deadlines, want)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frame(kindMessage, []byte("hello")))
	f.Add(slices.Concat(frame(kindPing, noise(8)), frame(9, noise(9)), frame(kindMessage, nil)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := newFrameReader(bytes.NewReader(stream), smallBytes)
		var again []byte
		for {
			kind, content, err := r.next()
			if err != nil {
				break
			}
			again = append(again, frame(kind, content)...)
		}
		if len(again) > len(stream) {
			t.Errorf("%d bytes held frames of %d", len(stream), len(again))
		}
	})
}
