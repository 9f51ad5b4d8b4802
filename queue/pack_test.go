package queue

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/vfs"
	"maru.example/wal"
)

// packed is a pack with what should be in it.
type packed struct {
	t       testing.TB
	mem     *vfs.Mem
	batches map[PartitionID][]Batch
	order   []PartitionID
	size    int64
	sum     uint32
	runs    []run
}

const packName = "pack"

func openFile(t testing.TB, fs vfs.FS, mode vfs.Mode) vfs.File {
	t.Helper()
	f, err := fs.Open(packName, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// makePack writes a pack of partitions with so many batches each, of up to size bytes.
func makePack(t testing.TB, r *rand.Rand, size int, batches ...int) *packed {
	t.Helper()
	p := &packed{t: t, mem: vfs.NewMem(), batches: map[PartitionID][]Batch{}}
	w := newPackWriter(openFile(t, p.mem, vfs.Create))
	for i, n := range batches {
		id := PartitionID{TopicID{byte(i / 3)}, int32(i % 3)}
		p.order = append(p.order, id)
		next, now := Offset(r.IntN(100)), goldenTime
		for range n {
			count := int32(1 + r.IntN(5))
			b := Batch(AppendBatch(nil, &BatchHead{
				BaseOffset: next, LeaderEpoch: 3, LastOffsetDelta: count - 1, Count: count, Producer: NoProducer, Epoch: -1, BaseSequence: -1,
				BaseTimestamp: now, MaxTimestamp: now + Millis(r.IntN(1000)), // out of order by up to a second
			}, make([]byte, r.IntN(size))))
			if err := w.add(id, b); err != nil {
				t.Fatal(err)
			}
			p.batches[id] = append(p.batches[id], b)
			next += Offset(count) + Offset(r.IntN(2)*r.IntN(10)) // compaction leaves gaps
			now += Millis(r.IntN(300))
		}
	}
	var err error
	if p.size, p.sum, p.runs, err = w.finish(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *packed) open() (*pack, error) { return openPack(openFile(p.t, p.mem, vfs.Read), packName) }

// want returns the batches from the first one for which found holds, up to so many bytes.
func (p *packed) want(id PartitionID, most int, found func(Batch) bool) (want []byte) {
	i := slices.IndexFunc(p.batches[id], found)
	for n, b := range p.batches[id][i:] {
		if n > 0 && len(want)+len(b) > most {
			break
		}
		want = append(want, b...)
	}
	return want
}

// compare checks that the first of the wanted batches were found, no more than these, and,
// where there are fewer, that it ends not far from the limit.
func (p *packed) compare(got, want []byte, most, slack int, what string) {
	p.t.Helper()
	if !bytes.HasPrefix(want, got) || len(got) == 0 {
		p.t.Errorf("%s: got %d bytes that are not the first of %d", what, len(got), len(want))
	}
	if len(got) < len(want) && len(got) < most-slack {
		p.t.Errorf("%s: got %d bytes of %d, with %d allowed", what, len(got), len(want), most)
	}
	for rest := got; len(rest) > 0; {
		b, more, err := CutBatch(rest)
		if err != nil || b.Check() != nil {
			p.t.Fatalf("%s: %v, %v", what, err, b.Check())
		}
		rest = more
	}
}

// TestPack writes packs and looks for each offset, and for times.
func TestPack(t *testing.T) {
	for name, batches := range map[string][]int{"one batch": {1}, "partitions": {3, 400, 1, 90, 1}, "none": {}} {
		for _, size := range []int{1, 3000, 50_000} {
			t.Run(fmt.Sprint(name, " of ", size), func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, uint64(size)))
				p := makePack(t, r, size, batches...)
				k, err := p.open()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(p.runs, k.runs, cmp.AllowUnexported(run{})); diff != "" {
					t.Fatalf("its runs (-written +read):\n%s", diff)
				}
				if size, err := k.file.Size(); err != nil || size != p.size {
					t.Errorf("it has %d bytes, %v; want %d", size, err, p.size)
				}
				for i := range k.runs {
					p.look(k, &k.runs[i], r, markEvery+size+BatchHeaderBytes)
				}
			})
		}
	}
}

// look looks for each offset of a run, and for times.
func (p *packed) look(k *pack, run *run, r *rand.Rand, slack int) {
	buf := make([]byte, 0, 1<<20)
	id := run.partition
	for at := run.first; at < run.next; at++ {
		most := r.IntN(200_000)
		got, err := k.find(buf, run, at, most)
		if err != nil {
			p.t.Fatalf("%v at %d: %v", id, at, err)
		}
		p.compare(got, p.want(id, most, func(b Batch) bool { return b.LastOffset() >= at }), most, slack, fmt.Sprintf("%v at %d", id, at))
	}
	for range 50 {
		since, most := goldenTime+Millis(r.IntN(int(run.newest-goldenTime)+1)), r.IntN(100_000)
		got, err := k.findTime(buf, run, since, most)
		if err != nil {
			p.t.Fatalf("%v since %d: %v", id, since, err)
		}
		p.compare(got, p.want(id, most, func(b Batch) bool { return b.MaxTimestamp() >= since }), most, slack, fmt.Sprintf("%v since %d", id, since))
	}
}

// TestPackDamage flips bits of a pack. It is refused, or a look for the batches finds it, or
// each is the one that it was.
func TestPackDamage(t *testing.T) {
	p := makePack(t, rand.New(rand.NewPCG(2, 2)), 300, 3, 40)
	f := openFile(t, p.mem, vfs.Write)
	whole := make([]byte, p.size)
	if _, err := f.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	refused, found := 0, 0
	for at := range whole {
		if _, err := f.WriteAt([]byte{whole[at] ^ 1<<(at%8)}, int64(at)); err != nil {
			t.Fatal(err)
		}
		k, err := openPack(f, packName)
		switch {
		case errors.Is(err, wal.ErrCorrupt) || errors.Is(err, wal.ErrVersion):
			refused++
		case err != nil:
			t.Fatal(err)
		case !p.sound(k):
			found++
		}
		if _, err := f.WriteAt(whole[at:at+1], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if refused == 0 || found == 0 {
		t.Errorf("%d flips were refused, %d found", refused, found)
	}
}

// sound reads all of a pack by its offsets, and says whether no damage was seen.
func (p *packed) sound(k *pack) bool {
	for i := range k.runs {
		r := &k.runs[i]
		want := p.batches[r.partition]
		for _, b := range want {
			got, err := k.find(nil, r, b.BaseOffset(), 1)
			if errors.Is(err, wal.ErrCorrupt) {
				return false
			}
			if err != nil || !bytes.Equal(got, b) {
				p.t.Fatalf("a batch became another, unseen (%v)", err)
			}
		}
	}
	return true
}

// FuzzPack opens any bytes as a pack, and looks at all that it says it has.
func FuzzPack(f *testing.F) {
	p := makePack(f, rand.New(rand.NewPCG(3, 3)), 100, 2, 3)
	whole := make([]byte, p.size)
	if _, err := openFile(f, p.mem, vfs.Read).ReadAt(whole, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, data []byte) {
		mem := vfs.NewMem()
		if _, err := openFile(t, mem, vfs.Create).WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
		k, err := openPack(openFile(t, mem, vfs.Read), packName)
		if err != nil {
			return
		}
		for i := range k.runs {
			r := &k.runs[i]
			for _, at := range []Offset{r.first, r.next - 1} {
				if got, err := k.find(nil, r, at, 1000); err == nil && int64(len(got)) > r.bytes {
					t.Errorf("found %d bytes in %+v", len(got), *r)
				}
			}
		}
	})
}

var update = flag.Bool("update", false, "write the golden pack anew")

// TestGoldenPack writes the pack that docs/format/queue.md names, byte by byte.
func TestGoldenPack(t *testing.T) {
	mem := vfs.NewMem()
	f := openFile(t, mem, vfs.Create)
	w := newPackWriter(f)
	at := Offset(0)
	for i, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		if i == 3 {
			at = 40 // of another partition
		}
		b := Batch(bytes.Clone(golden(t, name)))
		b.Place(at, 7)
		if err := w.add(PartitionID{TopicID{0xaa}, int32(i / 3)}, b); err != nil {
			t.Fatal(err)
		}
		at = b.LastOffset() + 1
	}
	size, sum, _, err := w.finish()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size)
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", "pack.bin")
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) || sum != crc32.Checksum(want, castagnoli) {
		t.Errorf("it has %d bytes, other than %s with %d (%v), or another checksum", len(got), name, len(want), err)
	}
}

// TestPackOrder refuses what would make a pack that nobody could read.
func TestPackOrder(t *testing.T) {
	batch := func(at Offset) Batch {
		return AppendBatch(nil, &BatchHead{BaseOffset: at, LastOffsetDelta: 9, Count: 10, Producer: NoProducer}, nil)
	}
	for name, add := range map[string]func(w *packWriter){
		"partitions": func(w *packWriter) {
			_ = w.add(PartitionID{Index: 2}, batch(0))
			_ = w.add(PartitionID{Index: 1}, batch(0))
		},
		"batches": func(w *packWriter) { _ = w.add(PartitionID{}, batch(5)); _ = w.add(PartitionID{}, batch(14)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("a pack out of order was written")
				}
			}()
			add(newPackWriter(openFile(t, vfs.NewMem(), vfs.Create)))
		})
	}
}
