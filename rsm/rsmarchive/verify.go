package rsmarchive

import (
	"context"
	"fmt"
	"slices"

	"maru.example/rsm"
)

// Expected is what the chain has to be after an entry, and who says so: a checkpoint,
// or another copy of the history.
type Expected struct {
	Index  rsm.Index
	Link   Link
	Source string
}

// VerifyOptions are the settings of Verify; nil means all defaults.
type VerifyOptions struct {
	// Expected is compared with the chain. The default is nothing: then what somebody
	// changed who computed all checksums and links anew is not found.
	Expected []Expected
	// Each is called with each entry that is as it was, in order, findings between; an error ends
	// the verification. The default is none.
	Each func(*rsm.Decided) error
	// Found is called with each finding when it is found. The default is none.
	Found func(*Finding)
}

// maxFindings is how many findings a report holds; the others are counted.
const maxFindings = 1000

// Report says what a verification saw.
type Report struct {
	Segments int
	Entries  uint64 // that are as they were
	End      Position
	Findings []*Finding // the first 1,000
	Found    int        // all findings
	Matched  []Expected // that the chain was as expected
	// Unreached are expectations of entries that are not in the archive, or which were
	// not to be read: those after End are to be compared with the log.
	Unreached []Expected
	// Incomparable are expectations that are not met, and cannot be, as entries before are missing (see [Gap]): where
	// they come from, these may be there.
	Incomparable []Expected
}

// Verify reads the whole archive, and finds and names what is missing, altered or inserted. It
// goes on after a finding; the error is the store's, the context's, or Each's.
func (a *Archive) Verify(ctx context.Context, opts *VerifyOptions) (*Report, error) {
	if opts == nil {
		opts = &VerifyOptions{}
	}
	v := &verification{opts: opts, report: &Report{Segments: len(a.segments)}}
	v.expected = slices.Clone(opts.Expected)
	slices.SortStableFunc(v.expected, func(a, b Expected) int {
		switch {
		case a.Index < b.Index:
			return -1
		case a.Index > b.Index:
			return 1
		}
		return 0
	})
	for _, name := range a.strays {
		_ = v.found(&Finding{Kind: Inserted, Segment: name, Frame: -1, Why: fmt.Errorf("%w: it is not named as a segment", ErrDamaged)})
	}
	s := a.scan(1, 0)
	s.found, s.give = v.found, v.give
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	v.report.End = s.at
	v.report.Unreached = append(v.report.Unreached, v.expected...)
	return v.report, nil
}

type verification struct {
	opts     *VerifyOptions
	report   *Report
	expected []Expected // that are not reached yet
	agreed   rsm.Index  // up to which the chain was as expected
	gap      bool       // entries are missing since
}

func (v *verification) found(x *Finding) error {
	v.report.Found++
	v.gap = v.gap || x.Kind == Gap
	if len(v.report.Findings) < maxFindings {
		v.report.Findings = append(v.report.Findings, x)
	}
	if v.opts.Found != nil {
		v.opts.Found(x)
	}
	return nil
}

func (v *verification) give(d *rsm.Decided, at Position) error {
	v.report.Entries++
	for len(v.expected) > 0 && v.expected[0].Index <= at.Index {
		e := v.expected[0]
		v.expected = v.expected[1:]
		if err := v.expect(e, at); err != nil {
			return err
		}
	}
	if v.opts.Each != nil {
		return v.opts.Each(d)
	}
	return nil
}

func (v *verification) expect(e Expected, at Position) error {
	switch {
	case e.Index < at.Index: // nobody could read that far
		v.report.Unreached = append(v.report.Unreached, e)
	case e.Link == at.Link:
		v.report.Matched = append(v.report.Matched, e)
		v.agreed = at.Index
		v.gap = false
	case v.gap:
		v.report.Incomparable = append(v.report.Incomparable, e)
	default:
		return v.found(&Finding{
			Kind: Altered, Segment: "(some)", Frame: -1, First: v.agreed + 1, Last: e.Index,
			Why: fmt.Errorf("%w: after entry %d the chain is %v, but %s says %v: one of these entries is not what it was", ErrDamaged, e.Index, at.Link, e.Source, e.Link),
		})
	}
	return nil
}
