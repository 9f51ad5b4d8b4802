package rsmarchive

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"maru.example/rsm"
)

// ErrCheckpoint says that a text is no checkpoint, or is not signed by the key that was asked for.
var ErrCheckpoint = errors.New("rsmarchive: not a good checkpoint")

const (
	checkpointOrigin = "maru checkpoint 1"
	// MaxCheckpointBytes is the most that a checkpoint may have, with its signatures.
	MaxCheckpointBytes = 1 << 20
	stateBytes         = 32
)

// Checkpoint says where the chains of a cluster's groups were. Signed, and kept elsewhere,
// it shows later that nothing before was changed: not even by somebody who can write everything
// in the archive and the log. See docs/format/archive.md.
type Checkpoint struct {
	Cluster string // one word
	Made    time.Time
	Groups  []Checked // by group, each once
}

// Checked is where a group's chain was.
type Checked struct {
	Group uint64
	At    Position // its term is not part of it
	State []byte   // SHA-256 of the state after the entry, or empty
}

// Text returns the checkpoint as it is signed. The error wraps ErrCheckpoint if it has no form.
func (c *Checkpoint) Text() ([]byte, error) {
	if !oneWord(c.Cluster) {
		return nil, fmt.Errorf("%w: the cluster %q is not one word", ErrCheckpoint, c.Cluster)
	}
	b := fmt.Appendf(nil, "%s\ncluster %s\nmade %s\n", checkpointOrigin, c.Cluster, formatTime(c.Made))
	for i, g := range c.Groups {
		if i > 0 && g.Group <= c.Groups[i-1].Group {
			return nil, fmt.Errorf("%w: group %d after group %d", ErrCheckpoint, g.Group, c.Groups[i-1].Group)
		}
		b = fmt.Appendf(b, "group %d index %d time %s link %v", g.Group, g.At.Index, formatTime(time.Unix(0, g.At.Time)), g.At.Link)
		switch len(g.State) {
		case 0:
		case stateBytes:
			b = append(append(b, " state "...), base64.StdEncoding.EncodeToString(g.State)...)
		default:
			return nil, fmt.Errorf("%w: a state's digest has %d bytes", ErrCheckpoint, len(g.State))
		}
		b = append(b, '\n')
	}
	if len(b) > MaxCheckpointBytes/2 {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrCheckpoint, len(b))
	}
	return b, nil
}

// Sign returns the checkpoint with the signer's signature.
func (c *Checkpoint) Sign(s *Signer) ([]byte, error) {
	text, err := c.Text()
	if err != nil {
		return nil, err
	}
	return s.sign(text), nil
}

// ParseCheckpoint reads a checkpoint that the key has signed. The error wraps [ErrCheckpoint].
func ParseCheckpoint(b []byte, v *Verifier) (*Checkpoint, error) {
	text, err := v.open(b)
	if err != nil {
		return nil, err
	}
	return parseText(text)
}

// parseText reads what Text wrote.
func parseText(text []byte) (*Checkpoint, error) {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if lines[0] != checkpointOrigin {
		return nil, fmt.Errorf("%w: it begins with %.40q, not with %q", ErrCheckpoint, lines[0], checkpointOrigin)
	}
	if len(lines) < 3 {
		return nil, fmt.Errorf("%w: it lacks its cluster or when it was made", ErrCheckpoint)
	}
	var c Checkpoint
	cluster, named := strings.CutPrefix(lines[1], "cluster ")
	made, dated := strings.CutPrefix(lines[2], "made ")
	at, err := time.Parse(time.RFC3339Nano, made)
	if !named || !dated || err != nil {
		return nil, fmt.Errorf("%w: it lacks its cluster or when it was made", ErrCheckpoint)
	}
	c.Cluster, c.Made = cluster, at.UTC()
	for _, line := range lines[3:] {
		g, err := parseChecked(line)
		if err != nil {
			return nil, fmt.Errorf("%w: line %.100q: %w", ErrCheckpoint, line, err)
		}
		c.Groups = append(c.Groups, g)
	}
	// There is one way only to write a checkpoint.
	if again, err := c.Text(); err != nil || !bytes.Equal(again, text) {
		return nil, fmt.Errorf("%w: it is not written as it should be", ErrCheckpoint)
	}
	return &c, nil
}

// parseChecked reads a group's line.
func parseChecked(line string) (Checked, error) {
	words := strings.Split(line, " ")
	keys := []string{"group", "index", "time", "link", "state"}
	if len(words) != 8 && len(words) != 10 {
		return Checked{}, errors.New("it has not the words that it should have")
	}
	for i := 0; i < len(words); i += 2 {
		if words[i] != keys[i/2] {
			return Checked{}, fmt.Errorf("%q where %q should be", words[i], keys[i/2])
		}
	}
	group, err1 := strconv.ParseUint(words[1], 10, 64)
	index, err2 := strconv.ParseUint(words[3], 10, 64)
	at, err3 := time.Parse(time.RFC3339Nano, words[5])
	link, err4 := parseLink(words[7])
	g := Checked{Group: group, At: Position{Index: rsm.Index(index), Time: at.UnixNano(), Link: link}}
	var err5 error
	if len(words) == 10 {
		g.State, err5 = base64.StdEncoding.Strict().DecodeString(words[9])
	}
	return g, errors.Join(err1, err2, err3, err4, err5)
}

// Expected returns what the checkpoint says of a group, for Verify; source names the
// checkpoint in messages.
func (c *Checkpoint) Expected(group uint64, source string) []Expected {
	i := slices.IndexFunc(c.Groups, func(g Checked) bool { return g.Group == group })
	if i < 0 {
		return nil
	}
	return []Expected{{Index: c.Groups[i].At.Index, Link: c.Groups[i].At.Link, Source: source}}
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// oneWord says whether s can stand between spaces in a line.
func oneWord(s string) bool {
	return s != "" && len(s) <= 200 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '+' || r > '~' })
}
