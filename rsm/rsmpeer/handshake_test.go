package rsmpeer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden file anew")

var (
	testCluster = ClusterID{0xc0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	testHello   = hello{
		version: version, cluster: testCluster, from: 2, to: 3,
		incarnation: disk(2), session: 0x1122334455667788, lane: Bulk,
	}
	testAnswer = answer{version, identity(3), verdict{UnknownNode, "add it"}}
)

func disk(n byte) Incarnation { return Incarnation{0xd0, 15: n} }

func identity(n NodeID) Identity { return Identity{testCluster, n, disk(byte(n))} }

func TestGolden(t *testing.T) {
	accepted := testAnswer
	accepted.verdict = verdict{}
	var got strings.Builder
	for _, part := range []struct {
		name string
		b    []byte
	}{
		{"hello of node 2 to node 3, lane bulk", encodeHello(testHello)},
		{"answer: accepted", encodeAnswer(accepted)},
		{"answer: refused, unknown_node", encodeAnswer(testAnswer)},
		{"message", frames(of([]byte("hello "), []byte("peer")))},
		{"ping", frame(kindPing, []byte("01234567"))},
		{"pong", frame(kindPong, []byte("01234567"))},
	} {
		got.WriteString(part.name + "\n" + hex.Dump(part.b))
	}
	file := filepath.Join("testdata", "peer.hex")
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the format changed (-want +got):\n%s", diff)
	}
}

func TestHandshakeRoundTrip(t *testing.T) {
	b := encodeHello(testHello)
	h, err := readHello(bytes.NewReader(b))
	if err != nil || h != testHello || len(b) != helloBytes {
		t.Errorf("hello of %d bytes: got %+v, %v", len(b), h, err)
	}
	a, err := readAnswer(bytes.NewReader(encodeAnswer(testAnswer)))
	if err != nil || a != testAnswer {
		t.Errorf("answer: got %+v, %v", a, err)
	}
	long := testAnswer
	long.verdict.text = strings.Repeat("long ", maxText)
	a, err = readAnswer(bytes.NewReader(encodeAnswer(long)))
	if err != nil || a.verdict.text != long.verdict.text[:maxText] {
		t.Errorf("long answer: got %+v, %v", a, err)
	}
}

func TestDamagedHandshakes(t *testing.T) {
	for name, test := range map[string]struct {
		good []byte
		read func(io.Reader) error
	}{
		"hello":  {encodeHello(testHello), func(r io.Reader) error { _, err := readHello(r); return err }},
		"answer": {encodeAnswer(testAnswer), func(r io.Reader) error { _, err := readAnswer(r); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(test.good)
			for i := range len(b) * 8 {
				if i/8 >= 8 && i/8 < 12 { // the version, which is to be read whatever follows
					continue
				}
				b[i/8] ^= 1 << (i % 8)
				if test.read(bytes.NewReader(b)) == nil {
					t.Errorf("taken with bit %d wrong", i)
				}
				b[i/8] ^= 1 << (i % 8)
			}
			for n := range b {
				if test.read(bytes.NewReader(b[:n])) == nil {
					t.Errorf("taken with %d bytes", n)
				}
			}
			if err := test.read(strings.NewReader("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: some browser of these days\r\n\r\n")); !errors.Is(err, errNoPeer) {
				t.Errorf("HTTP: got %v", err)
			}
		})
	}
}

func TestHelloOfAnotherVersionIsReadUpToThat(t *testing.T) {
	b := encodeHello(hello{version: 2})
	h, err := readHello(bytes.NewReader(b[:prefixBytes]))
	if err != nil || h != (hello{version: 2}) {
		t.Errorf("got %+v, %v", h, err)
	}
}

func TestJudge(t *testing.T) {
	known := &Peer{ID: 2, Incarnation: disk(2)}
	for _, tt := range []struct {
		name   string
		change func(*hello)
		peer   *Peer
		want   Refusal
		says   []string
	}{
		{"member", func(*hello) {}, known, Accepted, nil},
		{"member whose disk is not known", func(*hello) {}, &Peer{ID: 2}, Accepted, nil},
		{"newer version", func(h *hello) { h.version = 2 }, known, OtherVersion, []string{"version 2", "version 1", "node 3"}},
		{"older version", func(h *hello) { h.version = 0 }, known, OtherVersion, []string{"version 0", "version 1"}},
		{"other cluster", func(h *hello) { h.cluster[0]++ }, known, OtherCluster, []string{"cluster c1", "cluster c0"}},
		{"other node", func(h *hello) { h.to = 5 }, known, OtherNode, []string{"node 3, not 5"}},
		{"own id", func(h *hello) { h.from = 3 }, nil, Duplicate, []string{"its own id"}},
		{"no member", func(*hello) {}, nil, UnknownNode, []string{"node 2"}},
		{"removed", func(*hello) {}, nil, RemovedNode, []string{"node 2", "does not come back"}},
		{"removed, of another cluster", func(h *hello) { h.cluster[0]++ }, nil, OtherCluster, nil},
		{"another disk", func(h *hello) { h.incarnation = disk(9) }, known, OtherIncarnation, []string{disk(9).String(), disk(2).String()}},
		{"another lane", func(h *hello) { h.lane = 2 }, known, UnknownLane, []string{"lane 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := testHello
			tt.change(&h)
			got := judge(identity(3), h, tt.peer, tt.want == RemovedNode)
			if got.code != tt.want || (got.text == "") != (tt.want == Accepted) || len(got.text) > maxText {
				t.Errorf("got %v: %s", got.code, got.text)
			}
			for _, s := range tt.says {
				if !strings.Contains(got.text, s) {
					t.Errorf("%q does not say %q", got.text, s)
				}
			}
		})
	}
}

func TestNames(t *testing.T) {
	var got []string
	for r := range refusals + 1 {
		got = append(got, r.String())
	}
	got = append(got, Raft.String(), Bulk.String(), Lane(7).String())
	want := []string{
		"accepted", "other_version", "other_cluster", "other_node", "unknown_node", "other_incarnation", "duplicate",
		"unknown_lane", "removed_node", "refusal_9", "raft", "bulk", "lane 7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func FuzzHello(f *testing.F) {
	f.Add(encodeHello(testHello))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil || h.version != version {
			return
		}
		if again, err := readHello(bytes.NewReader(encodeHello(h))); err != nil || again != h {
			t.Errorf("%+v was read again as %+v, %v", h, again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(encodeAnswer(testAnswer))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := readAnswer(bytes.NewReader(b))
		if err != nil {
			return
		}
		if again, err := readAnswer(bytes.NewReader(encodeAnswer(a))); err != nil || again != a {
			t.Errorf("%+v was read again as %+v, %v", a, again, err)
		}
	})
}
