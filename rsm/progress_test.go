package rsm_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/vfs"
)

// TestALongRecoverySaysHowFarItIs recovers from a snapshot of one chunk and five
// entries, with a clock that goes on by a step at each look.
func TestALongRecoverySaysHowFarItIs(t *testing.T) {
	const start = "replaying the log last_index=15"
	for _, tt := range []struct {
		name string
		step time.Duration
		want []string
	}{
		{"short", 0, []string{start}},
		{"one line is due", 400 * time.Millisecond, []string{start, "replaying the log index=14 last_index=15"}},
		{"long", 1200 * time.Millisecond, []string{
			start, "replaying the log index=11 last_index=15", "replaying the log index=13 last_index=15", "replaying the log index=15 last_index=15",
		}},
		{"very long", 2 * time.Second, []string{
			"restoring the snapshot bytes=260 of_bytes=300",
			start,
			"replaying the log index=11 last_index=15", "replaying the log index=12 last_index=15", "replaying the log index=13 last_index=15",
			"replaying the log index=14 last_index=15", "replaying the log index=15 last_index=15",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			n := open(t, &list{}, &rsm.Options{FS: fs})
			proposeMany(t, n, "a", 10)
			snapshot(t, n)
			proposeMany(t, n, "b", 5)
			closeNode(t, n)

			var log bytes.Buffer
			now := time.Unix(1_800_000_000, 0)
			closeNode(t, open(t, &list{}, &rsm.Options{
				FS:     fs,
				Now:    func() time.Time { now = now.Add(tt.step); return now },
				Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: progressOnly})),
			}))
			var got []string
			for line := range strings.Lines(log.String()) {
				if line = strings.TrimSpace(strings.NewReplacer(`msg="rsm: `, "", `"`, "").Replace(line)); strings.Contains(line, "ing the ") {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

// TestALongLogIsVerifiedAloud opens a log of many segments with a slow clock.
func TestALongLogIsVerifiedAloud(t *testing.T) {
	fs := vfs.NewMem()
	o := &rsm.Options{FS: fs, SegmentBytes: 200}
	n := open(t, &list{}, o)
	proposeMany(t, n, "a", 10)
	closeNode(t, n)

	var log bytes.Buffer
	now := time.Unix(1_800_000_000, 0)
	o.Now = func() time.Time { now = now.Add(2 * time.Second); return now }
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	closeNode(t, open(t, &list{}, o))
	for _, want := range []string{
		`msg="rsm: verifying the log" dir=node bytes=`, " elapsed=2s",
		`msg="rsm: recovered" dir=node snapshot_index=0 last_index=10 entries=10 batches=10 duration=`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}

// progressOnly leaves the message and how far it is.
func progressOnly(_ []string, a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.MessageKey, "index", "last_index", "bytes", "of_bytes":
		return a
	}
	return slog.Attr{}
}
