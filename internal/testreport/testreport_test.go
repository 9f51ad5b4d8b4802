package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events []any // an event, or a line that is none
		ok     bool
		want   string
	}{
		{
			name: "passed",
			events: []any{
				event{Action: "start", Package: "p"},
				event{Action: "run", Package: "p", Test: "TestA"},
				event{Action: "output", Package: "p", Test: "TestA", Output: "=== RUN   TestA\n"},
				event{Action: "output", Package: "p", Test: "TestA", Output: "    a_test.go:1: noise\n"},
				event{Action: "pass", Package: "p", Test: "TestA"},
				event{Action: "output", Package: "p", Output: "PASS\n"},
				event{Action: "output", Package: "p", Output: "ok  \tp\t0.1s\n"},
				event{Action: "pass", Package: "p"},
			},
			ok:   true,
			want: "ok  \tp\t0.1s\n1 tests passed, 0 skipped\n",
		},
		{
			name: "failed",
			events: []any{
				event{Action: "output", Package: "p", Test: "TestA", Output: "=== RUN   TestA\n"},
				event{Action: "output", Package: "p", Test: "TestA", Output: "    a_test.go:1: got 1, want 2\n"},
				event{Action: "output", Package: "p", Test: "TestA", Output: "--- FAIL: TestA (0.00s)\n"},
				event{Action: "fail", Package: "p", Test: "TestA"},
				event{Action: "output", Package: "p", Output: "FAIL\n"},
				event{Action: "output", Package: "p", Output: "FAIL\tp\t0.1s\n"},
				event{Action: "fail", Package: "p"},
			},
			want: "=== RUN   TestA\n    a_test.go:1: got 1, want 2\n--- FAIL: TestA (0.00s)\n" +
				"FAIL\nFAIL\tp\t0.1s\n0 tests passed, 0 skipped\n",
		},
		{
			name: "skipped",
			events: []any{
				event{Action: "output", Package: "p", Test: "TestA", Output: "=== RUN   TestA\n"},
				event{Action: "output", Package: "p", Test: "TestA", Output: "    a_test.go:1: no disk\n"},
				event{Action: "output", Package: "p", Test: "TestA", Output: "        to fill\n"},
				event{Action: "output", Package: "p", Test: "TestA", Output: "--- SKIP: TestA (0.00s)\n"},
				event{Action: "skip", Package: "p", Test: "TestA"},
				event{Action: "output", Package: "p", Test: "TestB", Output: "--- SKIP: TestB (0.00s)\n"},
				event{Action: "skip", Package: "p", Test: "TestB"},
				event{Action: "output", Package: "p", Output: "ok  \tp\t0.1s\n"},
				event{Action: "pass", Package: "p"},
				event{Action: "output", Package: "q", Output: "?   \tq\t[no test files]\n"},
				event{Action: "skip", Package: "q"},
			},
			ok: true,
			want: "ok  \tp\t0.1s\n?   \tq\t[no test files]\n0 tests passed, 2 skipped\n" +
				"skipped: p TestA: a_test.go:1: no disk to fill\nskipped: p TestB: no reason given\n",
		},
		{
			name: "does not build",
			events: []any{
				event{Action: "build-output", ImportPath: "p", Output: "p/p.go:1:1: undefined: x\n"},
				event{Action: "build-fail", ImportPath: "p"},
				event{Action: "output", Package: "p", Output: "FAIL\tp [build failed]\n"},
				event{Action: "fail", Package: "p"},
			},
			want: "p/p.go:1:1: undefined: x\nFAIL\tp [build failed]\n0 tests passed, 0 skipped\n",
		},
		{
			name: "cut short",
			events: []any{
				event{Action: "output", Package: "p", Test: "TestA", Output: "=== RUN   TestA\n"},
			},
			want: "p TestA did not end:\n=== RUN   TestA\n0 tests passed, 0 skipped\n",
		},
		{
			name:   "said by the go command",
			events: []any{"go: no such module"},
			ok:     true, // the go command's own exit status tells
			want:   "go: no such module\n0 tests passed, 0 skipped\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var in, out strings.Builder
			for _, e := range tt.events {
				if line, ok := e.(string); ok {
					in.WriteString(line + "\n")
				} else if err := json.NewEncoder(&in).Encode(e); err != nil {
					t.Fatal(err)
				}
			}
			ok, err := report(strings.NewReader(in.String()), &out)
			if err != nil || ok != tt.ok {
				t.Errorf("report = %t, %v, want %t", ok, err, tt.ok)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}
