package rsmarchive

import (
	"fmt"

	"maru.example/rsm"
)

// Kind says what is wrong with a part of an archive.
type Kind uint8

// The kinds of findings.
const (
	// Gap is entries that were to be had nowhere when they were to be archived: the
	// archive says so itself.
	Gap Kind = iota
	// Missing is entries that no segment has, though the one after them follows them.
	Missing
	// Altered is entries whose bytes, or whose place in the chain, are not what they were.
	Altered
	// Inserted is a segment that has no place between the others, or a file that is none.
	Inserted
	// Unknown is a segment in a format that this program does not know.
	Unknown
)

// String returns the kind as a word.
func (k Kind) String() string {
	switch k {
	case Gap:
		return "gap"
	case Missing:
		return "missing"
	case Altered:
		return "altered"
	case Inserted:
		return "inserted"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// A Finding is something wrong with an archive. As an error it wraps [ErrDamaged], but for Unknown.
type Finding struct { //nolint:errname // a report lists it; it is an error only where reading ends with it
	Kind    Kind
	Segment string // file, in the group's folder; of what is missing, the one after it
	Frame   int    // of the segment, from 0; -1: none in particular
	// First and Last are the entries that it is about; where Last is 0, nobody knows where they end.
	First, Last rsm.Index
	Why         error // may be nil
}

// Error says all that.
func (f *Finding) Error() string {
	entries := fmt.Sprintf("entries %d to %d", f.First, f.Last)
	if f.Last == 0 {
		entries = fmt.Sprintf("entries from %d on", f.First)
	}
	place := "segment " + f.Segment
	if f.Frame >= 0 {
		place = fmt.Sprintf("frame %d of %s", f.Frame, place)
	}
	var what string
	switch f.Kind {
	case Gap:
		return fmt.Sprintf("gap: %s could not be archived (says %s)", entries, place)
	case Missing:
		what = fmt.Sprintf("missing: %s, of %s or before it", entries, place)
	case Altered:
		what = fmt.Sprintf("altered: %s, in %s", entries, place)
	case Inserted:
		what = fmt.Sprintf("inserted: %s", place)
		if f.First > 0 {
			what += " with " + entries
		}
	case Unknown:
		what = fmt.Sprintf("unknown: %s, in %s", entries, place)
	}
	if f.Why != nil {
		what += ": " + f.Why.Error()
	}
	return what
}

// Unwrap returns ErrDamaged, but for what is unknown, and Why.
func (f *Finding) Unwrap() []error {
	if f.Kind == Unknown {
		return []error{f.Why}
	}
	return []error{ErrDamaged, f.Why}
}
