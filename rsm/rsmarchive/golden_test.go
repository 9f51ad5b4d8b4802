package rsmarchive

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"strings"
	"testing"

	"maru.example/rsm"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden returns what is in the file, which is written anew if that is asked for.
func golden(t *testing.T, name, now string) string {
	t.Helper()
	if *update {
		if err := os.WriteFile("testdata/"+name, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// goldenEntries are what the golden segment holds, after a gap of two entries.
func goldenEntries() []rsm.Decided {
	batch := rsm.DecidedBatch{Data: []byte("a transfer, a transfer, a transfer"), Results: []byte{1, 1, 1}, Effects: []byte("balances")}
	return []rsm.Decided{
		{Index: 3, Term: 2, Time: 1_700_000_000_000_000_001},
		{
			Index: 4, Term: 2, Time: 1_700_000_000_000_000_002,
			Entry:    rsm.AppendEntry(nil, 1_700_000_000_000_000_002, []*rsm.Proposal{{Data: batch.Data}}),
			Decision: rsm.AppendDecision(nil, []rsm.DecidedBatch{batch}),
		},
	}
}

// TestSegmentGolden reads a segment that an earlier program wrote. One that is written
// now may be compressed otherwise.
func TestSegmentGolden(t *testing.T) {
	store := objects{}
	w := openWriter(t, store, 0)
	if err := w.Gap(3); err != nil {
		t.Fatal(err)
	}
	write(t, w, goldenEntries())
	if err := w.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := "00000001/" + segmentName(3)
	now := store[name]
	b := undump(t, golden(t, "segment.hex", hex.Dump(now)))

	got, err := read(t, openArchive(t, objects{name: b}), 3, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, got, goldenEntries())
	r := verify(t, objects{name: b}, nil)
	if r.End != w.Sealed() || r.Found != 1 || r.Findings[0].Kind != Gap {
		t.Errorf("got %+v with %v, want the end at %+v, and a gap", r, described(r), w.Sealed())
	}
	if !bytes.Equal(b[:headerBytes], now[:headerBytes]) {
		t.Errorf("the header changed: got %x, want %x", now[:headerBytes], b[:headerBytes])
	}
	f, err := parseFooter(b)
	if err != nil {
		t.Fatal(err)
	}
	if again := f.append(nil); !bytes.Equal(again, b[f.start:]) {
		t.Errorf("the footer changed: got %x, want %x", again, b[f.start:])
	}
}

// undump reads what hex.Dump wrote.
func undump(t *testing.T, dump string) []byte {
	t.Helper()
	var b []byte
	for line := range strings.Lines(dump) {
		line, _, _ = strings.Cut(line, "|")
		_, digits, _ := strings.Cut(line, " ")
		part, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, part...)
	}
	return b
}

// TestLinks fixes the chain: no archive and no checkpoint is good any more if it changes.
func TestLinks(t *testing.T) {
	c := NewChain(Position{Link: Origin("bank", 1)})
	if err := c.Skip(3); err != nil {
		t.Fatal(err)
	}
	got := []string{Origin("bank", 1).String(), c.At().Link.String()}
	for _, d := range goldenEntries() {
		if err := c.Append(&d); err != nil {
			t.Fatal(err)
		}
		got = append(got, c.At().Link.String())
	}
	now := strings.Join(got, "\n") + "\n"
	if want := golden(t, "links.txt", now); now != want {
		t.Errorf("links: got\n%swant\n%s", now, want)
	}
}
