package rsmarchive

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/vfs"
)

// keys returns a pair of keys and what is made of them.
func keys(t testing.TB, seed byte) (s *Signer, v *Verifier, private, public []byte) {
	t.Helper()
	private, public, err := GenerateKey(rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	if s, err = NewSigner("bank", private); err != nil {
		t.Fatal(err)
	}
	if v, err = NewVerifier("bank", public); err != nil {
		t.Fatal(err)
	}
	return s, v, private, public
}

func testCheckpoint() *Checkpoint {
	return &Checkpoint{
		Cluster: "bank", Made: time.Date(2026, 11, 30, 14, 0, 0, 0, time.UTC),
		Groups: []Checked{
			{Group: 1, At: Position{Index: 1234, Time: 1_764_511_199_123_456_789, Link: Origin("bank", 1)}},
			{Group: 2, At: Position{Index: 7, Time: 1_764_511_199_000_000_000, Link: Origin("bank", 2)}, State: bytes.Repeat([]byte{7}, stateBytes)},
		},
	}
}

func TestCheckpointRoundTrip(t *testing.T) {
	s, v, _, _ := keys(t, 1)
	for _, c := range []*Checkpoint{testCheckpoint(), {Cluster: "x", Made: time.Unix(0, 1).UTC()}} {
		b, err := c.Sign(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseCheckpoint(b, v)
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("checkpoint (-want +got):\n%s", diff)
		}
	}
	want := []Expected{{Index: 7, Link: Origin("bank", 2), Source: "file"}}
	if diff := cmp.Diff(want, testCheckpoint().Expected(2, "file")); diff != "" || testCheckpoint().Expected(3, "file") != nil {
		t.Errorf("expected (-want +got):\n%s", diff)
	}
}

func TestCheckpointIsReadable(t *testing.T) {
	text, err := testCheckpoint().Text()
	if err != nil {
		t.Fatal(err)
	}
	s, _, _, _ := keys(t, 1)
	signed, err := testCheckpoint().Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden(t, "checkpoint.txt", string(signed)), string(signed)); diff != "" || !bytes.HasPrefix(signed, text) {
		t.Errorf("the format changed (-want +got):\n%s", diff)
	}
}

// TestEveryByteOfACheckpointIsSigned changes each byte.
func TestEveryByteOfACheckpointIsSigned(t *testing.T) {
	s, v, _, _ := keys(t, 1)
	good, err := testCheckpoint().Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		for _, b := range []byte{good[at] ^ 1, good[at] ^ 32, '\n'} {
			bad := bytes.Clone(good)
			bad[at] = b
			if _, err := ParseCheckpoint(bad, v); b != good[at] && !errors.Is(err, ErrCheckpoint) {
				t.Errorf("byte %d as %q: got %v", at, b, err)
			}
		}
	}
}

func TestParseCheckpointRefuses(t *testing.T) {
	s, v, _, _ := keys(t, 1)
	other, otherV, _, _ := keys(t, 2)
	text, err := testCheckpoint().Text()
	if err != nil {
		t.Fatal(err)
	}
	edit := func(from, to string) []byte {
		if !strings.Contains(string(text), from) {
			t.Fatalf("no %q", from)
		}
		return s.sign([]byte(strings.Replace(string(text), from, to, 1)))
	}
	two := append(s.sign(text), other.sign(text)[len(text)+1:]...)
	for _, tt := range []struct {
		name string
		in   []byte
		v    *Verifier
		want error
	}{
		{"as it is", s.sign(text), v, nil},
		{"another's key", s.sign(text), otherV, ErrCheckpoint},
		{"two signatures, the first", two, v, nil},
		{"two signatures, the second", two, otherV, nil},
		{"no signature", text, v, ErrCheckpoint},
		{"nothing", nil, v, ErrCheckpoint},
		{"too long", bytes.Repeat([]byte("a\n"), MaxCheckpointBytes), v, ErrCheckpoint},
		{"too many signatures", append(s.sign(text), bytes.Repeat([]byte("— bank AAAAAAA=\n"), 20)...), v, ErrCheckpoint},
		{"a newer origin", edit("checkpoint 1", "checkpoint 2"), v, ErrCheckpoint},
		{"no cluster", edit("cluster bank\n", ""), v, ErrCheckpoint},
		{"no time", edit("made 2026-11-30T14:00:00Z\n", ""), v, ErrCheckpoint},
		{"another time zone", edit("14:00:00Z", "15:00:00+01:00"), v, ErrCheckpoint},
		{"groups not in order", edit("group 1", "group 3"), v, ErrCheckpoint},
		{"an index with zeros", edit("index 7", "index 007"), v, ErrCheckpoint},
		{"a word more", edit("index 7", "index 7 more 8"), v, ErrCheckpoint},
		{"a short link", edit("link ", "link AA"), v, ErrCheckpoint},
		{"a line more", edit("made", "note x\nmade"), v, ErrCheckpoint},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseCheckpoint(tt.in, tt.v); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	s, _, _, _ := keys(t, 1)
	for _, tt := range []struct {
		name   string
		change func(*Checkpoint)
	}{
		{"no cluster", func(c *Checkpoint) { c.Cluster = "" }},
		{"two words", func(c *Checkpoint) { c.Cluster = "a b" }},
		{"a group twice", func(c *Checkpoint) { c.Groups[1].Group = 1 }},
		{"half a state", func(c *Checkpoint) { c.Groups[1].State = []byte{1} }},
		{"far too many groups", func(c *Checkpoint) {
			for i := range uint64(6000) {
				c.Groups = append(c.Groups, Checked{Group: 3 + i})
			}
		}},
	} {
		c := testCheckpoint()
		tt.change(c)
		if _, err := c.Sign(s); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: got %v, want %v", tt.name, err, ErrCheckpoint)
		}
	}
}

// TestSignedNote checks the note that golang.org/x/mod/sumdb/note documents.
func TestSignedNote(t *testing.T) {
	const (
		key  = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
		note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n" +
			"— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
	)
	b, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier("PeterNeumann", b[1:])
	text, err := v.open([]byte(note))
	if err != nil || !strings.HasSuffix(string(text), "problem is.\n") {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestOpenSSLVerifies does what docs/format/archive.md tells operators to do.
func TestOpenSSLVerifies(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not there: apt-get install openssl")
	}
	s, _, _, public := keys(t, 1)
	signed, err := testCheckpoint().Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"checkpoint": signed, "key.pub": public} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	doc, err := os.ReadFile("../../docs/format/archive.md")
	if err != nil {
		t.Fatal(err)
	}
	_, commands, _ := strings.Cut(string(doc), "    sed '/^$/,$d'")
	commands, _, _ = strings.Cut("    sed '/^$/,$d'"+commands, "\n\n")
	cmd := exec.CommandContext(t.Context(), "bash", "-ec", commands)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Signature Verified Successfully") {
		t.Errorf("got %v\n%s", err, out)
	}
}

func TestKeyFiles(t *testing.T) {
	_, _, private, public := keys(t, 3)
	dir := t.TempDir()
	name := filepath.Join(dir, "audit")
	if err := WriteKeys(vfs.OS(), name, private, public); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]byte{name: private, name + ".pub": public} {
		got, err := os.ReadFile(file)
		info, err2 := os.Stat(file)
		if err != nil || err2 != nil || !bytes.Equal(got, want) || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, mode %v", file, err, err2, info.Mode())
		}
	}
	if err := WriteKeys(vfs.OS(), name, private, public); err == nil {
		t.Error("a key was overwritten")
	}
	for _, b := range [][]byte{nil, []byte("x"), public, private[:40], bytes.Repeat(private, 100)} {
		if _, err := NewSigner("a", b); err == nil {
			t.Errorf("%.30q was taken as a private key", b)
		}
	}
	for _, b := range [][]byte{nil, private, public[:40]} {
		if _, err := NewVerifier("a", b); err == nil {
			t.Errorf("%.30q was taken as a public key", b)
		}
	}
	if _, err := NewSigner("two words", private); err == nil {
		t.Error("a name of two words was taken")
	}
}

func TestGenerateKeyNeedsRandomness(t *testing.T) {
	one, _, err := GenerateKey(rand.NewChaCha8([32]byte{1}))
	two, _, err2 := GenerateKey(rand.NewChaCha8([32]byte{2}))
	if err != nil || err2 != nil || slices.Equal(one, two) {
		t.Errorf("%v, %v, or the same key twice", err, err2)
	}
}
