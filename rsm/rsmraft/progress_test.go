package rsmraft_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
)

// steppedRuntime has a clock that goes on by a step at each look.
type steppedRuntime struct {
	*rsmraft.Runtime
	step  time.Duration
	looks atomic.Int64
}

func (r *steppedRuntime) Elapsed() time.Duration { return time.Duration(r.looks.Add(1)) * r.step }

// TestALongRecoverySaysHowFarItIs opens a log of many segments and entries, with
// a clock that is slow or fast.
func TestALongRecoverySaysHowFarItIs(t *testing.T) {
	const verifying, replaying, recovered = "verifying the log", "replaying the log", "recovered"
	for _, tt := range []struct {
		name string
		step time.Duration
		want []string
		not  []string
	}{
		{"short", time.Microsecond, []string{recovered, "batches=30"}, []string{verifying, replaying}},
		{"long", 3 * time.Second, []string{verifying, "of_bytes=", recovered, "batches=30"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, SegmentBytes: 200})
			proposeMany(t, g, "a", 30)
			closeNode(t, g)

			var log bytes.Buffer
			rt := &steppedRuntime{Runtime: rsmraft.NewRuntime(), step: tt.step}
			g = open(t, &rsmtest.List{}, &rsmraft.Options{
				FS: fs, SegmentBytes: 200, Runtime: rt, SyncTimeout: -1,
				Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo})),
			})
			closeNode(t, g)
			rt.Close()
			for _, want := range tt.want {
				if !strings.Contains(log.String(), want) {
					t.Errorf("the log does not say %q:\n%s", want, log.String())
				}
			}
			for _, not := range tt.not {
				if strings.Contains(log.String(), not) {
					t.Errorf("the log says %q:\n%s", not, log.String())
				}
			}
		})
	}
}
