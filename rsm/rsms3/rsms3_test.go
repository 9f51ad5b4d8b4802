//go:build s3

package rsms3

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"maru.example/internal/s3test"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/vfs"
)

// TestStores is what every store of an archive has to do: the directory, and the bucket
// on a real server.
func TestStores(t *testing.T) {
	address := s3test.Start(t)
	for _, tt := range []struct {
		name  string
		store rsmarchive.Store
	}{
		{"directory", rsmarchive.NewDir(vfs.NewMem(), "a/b")},
		{"bucket", open(t, address, "", nil)},
		{"folder of a bucket", open(t, address, "/nodes/7/", nil)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Run("put and get", func(t *testing.T) { testPutGet(t, tt.store) })
			t.Run("put replaces nothing", func(t *testing.T) { testPutTwice(t, tt.store) })
			t.Run("list", func(t *testing.T) { testList(t, tt.store) })
			t.Run("what is not there", func(t *testing.T) { testNotThere(t, tt.store) })
			t.Run("an archive", func(t *testing.T) { testArchive(t, tt.store) })
		})
	}
}

func testPutGet(t *testing.T, s rsmarchive.Store) {
	for _, size := range []int{1, 1000, 3 << 20} {
		content := noise(size)
		name := fmt.Sprintf("get/%d", size)
		if err := s.Put(t.Context(), name, content); err != nil {
			t.Fatal(err)
		}
		n := int64(size)
		for _, tt := range []struct{ offset, length, from, to int64 }{
			{0, n, 0, n},
			{0, 1, 0, 1},
			{0, 2 * n, 0, n},
			{n / 2, n, n / 2, n},
			{n - 1, 1, n - 1, n},
			{n, 10, n, n},
			{n + 5, 10, n, n},
			{-1, 1, n - 1, n},
			{-n, n, 0, n},
			{-n - 10, n + 10, 0, n},
			{0, 0, 0, 0},
		} {
			got, err := s.Get(t.Context(), name, tt.offset, tt.length)
			if err != nil || !bytes.Equal(got, content[tt.from:tt.to]) {
				t.Errorf("%d bytes, get %d, %d: got %d bytes, %v, want %d to %d", size, tt.offset, tt.length, len(got), err, tt.from, tt.to)
			}
		}
	}
}

func testPutTwice(t *testing.T, s rsmarchive.Store) {
	if err := s.Put(t.Context(), "twice/a", []byte("first")); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"first", "second"} {
		if err := s.Put(t.Context(), "twice/a", []byte(content)); !errors.Is(err, rsmarchive.ErrExists) {
			t.Errorf("got %v, want %v", err, rsmarchive.ErrExists)
		}
	}
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { errs[i] = s.Put(t.Context(), "twice/b", []byte("same")) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, rsmarchive.ErrExists) {
			t.Errorf("many at once: got %v", err)
		}
	}
	for name, want := range map[string]string{"twice/a": "first", "twice/b": "same"} {
		if got, err := s.Get(t.Context(), name, 0, 100); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}

func testList(t *testing.T, s rsmarchive.Store) {
	if got, err := s.List(t.Context(), "list"); len(got) > 0 || err != nil {
		t.Errorf("got %v, %v, want nothing", got, err)
	}
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("%03d.seg", (i*7)%25)
		if err := s.Put(t.Context(), "list/"+name, []byte(name)); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("%03d.seg", i))
	}
	for _, name := range []string{"list2/x", "list/deeper"} {
		if err := s.Put(t.Context(), name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	want = append(want, "deeper")
	got, err := s.List(t.Context(), "list")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, names (-want +got):\n%s", err, diff)
	}
	sizes, err := s.(rsmarchive.Sizer).Sizes(t.Context(), "list")
	if err != nil || len(sizes) != len(want) || sizes["007.seg"] != 7 || sizes["deeper"] != 1 {
		t.Errorf("%v, %v", sizes, err)
	}
}

func testNotThere(t *testing.T, s rsmarchive.Store) {
	if got, err := s.Get(t.Context(), "nothing/here", 0, 10); !errors.Is(err, rsmarchive.ErrNotFound) {
		t.Errorf("got %q, %v, want %v", got, err, rsmarchive.ErrNotFound)
	}
	if _, ok := s.(*Store); !ok {
		return // a directory asks nobody who could hang
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.List(ctx, "list"); !errors.Is(err, context.Canceled) {
		t.Errorf("list: got %v, want %v", err, context.Canceled)
	}
	if err := s.Put(ctx, "nothing/here", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("put: got %v, want %v", err, context.Canceled)
	}
}

var group = rsmarchive.Chained{Cluster: "bank", Group: 3}

func testArchive(t *testing.T, s rsmarchive.Store) {
	w, err := rsmarchive.OpenWriter(t.Context(), s, group, &rsmarchive.WriterOptions{SegmentBytes: 200 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for w.Next() <= 60 {
		d := decided(w.Next())
		if err := w.Append(&d); err != nil {
			t.Fatal(err)
		}
		if w.Full() || w.Next() > 60 {
			if err := w.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	verify(t, s, 60, w.Sealed())
}

// verify looks whether the archive is whole up to an entry.
func verify(t *testing.T, s rsmarchive.Store, n uint64, end rsmarchive.Position) {
	t.Helper()
	a, err := rsmarchive.Open(t.Context(), s, group, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Verify(t.Context(), nil)
	if err != nil || r.Found > 0 || r.Entries != n || r.End != end || r.Segments < 2 {
		t.Errorf("got %+v, %v, want %d entries up to %+v", r, err, n, end)
	}
}

// decided returns an entry of about 20 KiB.
func decided(i rsm.Index) rsm.Decided {
	data := append(noise(10<<10), make([]byte, 10<<10)...)
	d := rsm.Decided{Index: i, Term: 1, Time: int64(i)}
	d.Entry = rsm.AppendEntry(nil, d.Time, []*rsm.Proposal{{Data: data}})
	d.Decision = rsm.AppendDecision(nil, []rsm.DecidedBatch{{Results: []byte{1}}})
	return d
}

// noise returns bytes that do not compress, the same for the same length.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

// history has as many entries as a test lets it have.
type history struct {
	mu    sync.Mutex
	last  rsm.Index
	grown chan struct{}
}

type source struct {
	h    *history
	next rsm.Index
}

func (h *history) open(from rsm.Index) (rsmarchive.Source, error) { return &source{h, from}, nil }

func (h *history) grow(n rsm.Index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last += n
	close(h.grown)
	h.grown = make(chan struct{})
}

func (s *source) Seek(to rsm.Index) { s.next = to }

func (s *source) Close() error { return nil }

func (s *source) Next(ctx context.Context) (rsm.Decided, error) {
	for {
		s.h.mu.Lock()
		last, grown := s.h.last, s.h.grown
		s.h.mu.Unlock()
		if s.next <= last {
			s.next++
			return decided(s.next - 1), nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return rsm.Decided{}, ctx.Err()
		}
	}
}

// TestBucketIsAwayForAWhile cuts the way to the server while an archiver runs: at its
// start, and between segments.
func TestBucketIsAwayForAWhile(t *testing.T) {
	way := s3test.NewProxy(t, s3test.Start(t))
	way.Set(true)
	failed := make(chan struct{}, 1)
	store := open(t, way.Addr(), "away", &Options{Transport: watched{newTransport(), failed}, Tries: 1})
	h := &history{last: 30, grown: make(chan struct{})}
	durable := make(chan rsmarchive.Position, 100)
	a := rsmarchive.NewArchiver(store, group, h.open, &rsmarchive.ArchiverOptions{
		Writer:   &rsmarchive.WriterOptions{SegmentBytes: 200 << 10}, // ten entries
		RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond,
		Durable: func(p rsmarchive.Position) error { durable <- p; return nil },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()

	var end rsmarchive.Position
	until := func(last rsm.Index) {
		t.Helper()
		for end.Index < last {
			select {
			case end = <-durable:
			case err := <-done:
				t.Fatalf("it ended: %v", err)
			}
		}
	}
	for round := range rsm.Index(3) {
		for range 3 {
			<-failed
		}
		if m := a.Metrics(); end.Index > 30*round {
			t.Errorf("round %d: durable up to %d though the bucket is away: %+v", round, end.Index, m)
		}
		way.Set(false)
		until(30*round + 30)
		if m := a.Metrics(); m.Errors == 0 || m.Sealed != end.Index {
			t.Errorf("round %d: %+v, want errors, and all sealed up to %d", round, m, end.Index)
		}
		way.Set(true)
		for len(failed) > 0 {
			<-failed
		}
		h.grow(30)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	way.Set(false)
	verify(t, store, 90, end)
}

func TestNewRefuses(t *testing.T) {
	good := Location{Endpoint: "https://s3.example", Bucket: "audit"}
	static := credentials.NewStaticV4("a", "b", "")
	for _, tt := range []struct {
		name string
		at   Location
		key  *credentials.Credentials
		want string
	}{
		{"good", good, static, ""},
		{"a port", Location{Endpoint: "http://127.0.0.1:9000", Bucket: "audit"}, static, ""},
		{"no scheme", Location{Endpoint: "s3.example", Bucket: "audit"}, static, "https://host"},
		{"another scheme", Location{Endpoint: "ftp://s3.example", Bucket: "audit"}, static, "https://host"},
		{"a path", Location{Endpoint: "https://s3.example/audit", Bucket: "audit"}, static, "https://host"},
		{"no bucket", Location{Endpoint: "https://s3.example"}, static, "no bucket"},
		{"no key", good, credentials.NewStaticV4("", "", ""), "AWS_ACCESS_KEY_ID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.at, &Options{Credentials: tt.key})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_SESSION_TOKEN", "token")
	v, err := Environment().GetWithContext(nil)
	if err != nil || v.AccessKeyID != "id" || v.SecretAccessKey != "secret" || v.SessionToken != "token" {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestWrongKey(t *testing.T) {
	address := s3test.Start(t)
	s, err := New(Location{Endpoint: "http://" + address, Bucket: bucket}, &Options{Credentials: credentials.NewStaticV4(key, "wrong", "")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a/b", []byte("x")); err == nil || errors.Is(err, rsmarchive.ErrExists) {
		t.Errorf("put: got %v, want a refusal", err)
	}
	if _, err := s.Get(t.Context(), "a/b", 0, 1); err == nil || errors.Is(err, rsmarchive.ErrNotFound) {
		t.Errorf("get: got %v, want a refusal", err)
	}
	if names, err := s.List(t.Context(), "a"); err == nil {
		t.Errorf("list: got %v, want a refusal", names)
	}
}
