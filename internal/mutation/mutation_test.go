package mutation

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// bug is something wrong that somebody may write one day.
type bug struct {
	name  string
	file  string // from the root of the project
	edits []edit
	found []by
}

// edit replaces a piece of code, which the file has once.
type edit struct{ code, bug string }

// by is what finds a bug: tests, and what they say.
type by struct {
	pkg  string // from the root of the project
	run  string
	args []string
	says string // a regular expression
}

const root = "../.."

// patience is how long tests with a bug may run: some bugs let them wait for ever.
const patience = 2 * time.Minute

var everyBug = flag.Bool("every", false, "plant every bug, not the share of this state of the code")

// share is one in how many bugs that are planted without -every, as each takes ten
// seconds and more. Which they are depends on the code: another state of it has others.
const share = 4

// TestPlantedBugs plants bugs and expects the tests to fail and to say why.
func TestPlantedBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("with -short no bug is planted, as each has to be compiled: leave -short out, as make test does")
	}
	code, left := readSources(t), 0
	for _, b := range bugs {
		if !*everyBug && (code^sumOf([]byte(b.name)))%share != 0 {
			plant(t, &b) // it must be possible all the same
			left++
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			overlay := plant(t, &b)
			for _, f := range b.found {
				out, failed := runTests(t, overlay, &f)
				switch {
				case !failed:
					t.Errorf("%s of %s does not see it", f.run, f.pkg)
				case !regexp.MustCompile(f.says).MatchString(out):
					t.Errorf("%s of %s fails, but says nothing of %q:\n%s", f.run, f.pkg, f.says, last(out, 4000))
				default:
					t.Log(f.pkg + ": " + digest(out))
				}
			}
		})
	}
	t.Logf("%d of %d bugs were left out: make mutation plants all", left, len(bugs))
}

func sumOf(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64() >> 7 // the lowest bits are poor
}

// digest is what matters of the output of tests that failed: which one, with which
// seed, and why.
func digest(out string) string {
	var lines []string
	for line := range strings.Lines(out) {
		if telling.MatchString(line) && len(lines) < 4 {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

var telling = regexp.MustCompile(`--- FAIL: \S+/|^panic: |seed \d+: at|\[rapid\] failed after|_test.go:\d+: .*` +
	`(?:leads term|as command|is there|is not there|not linearizable|not within|open node|were acknowledged|were known)`)

// plant returns the name of a file that tells the go command of the bug.
func plant(t *testing.T, b *bug) string {
	t.Helper()
	name, err := filepath.Abs(filepath.Join(root, b.file))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	code := string(content)
	for _, e := range b.edits {
		if n := strings.Count(code, e.code); n != 1 {
			t.Fatalf("%s has this code %d times, want once: the code has moved on, and the bug has to follow\n%s", b.file, n, e.code)
		}
		code = strings.Replace(code, e.code, e.bug, 1)
	}
	dir := t.TempDir()
	wrong := filepath.Join(dir, filepath.Base(b.file))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {name: wrong}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, wrong, []byte(code))
	write(t, filepath.Join(dir, "overlay.json"), overlay)
	return filepath.Join(dir, "overlay.json")
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// runTests returns what the tests print, and whether one of them failed.
func runTests(t *testing.T, overlay string, f *by) (out string, failed bool) {
	t.Helper()
	args := append([]string{
		"test", "-overlay", overlay, "-vet=off", "-count=1", "-failfast", "-timeout", fmt.Sprint(patience),
		"-run", f.run, "./" + f.pkg,
	}, f.args...)
	cmd := exec.CommandContext(t.Context(), "go", args...) //nolint:gosec // with arguments of the table
	cmd.Dir = root
	printed, err := cmd.CombinedOutput()
	out = string(printed)
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("go %v: %v\n%s", args, err, last(out, 4000))
	}
	if strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]") {
		t.Fatalf("with the bug the code is not built: nothing was tested\n%s", last(out, 4000))
	}
	if strings.Contains(out, "no tests to run") {
		t.Fatalf("there is no test %s in %s", f.run, f.pkg)
	}
	return out, err != nil
}

// last returns the end of what was printed.
func last(s string, most int) string {
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

// readSources reads the code of the project, as this test depends on all of it: the
// go command runs it again when a file changes that it has read. It returns a sum over
// all.
func readSources(t *testing.T) (sum uint64) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if filepath.Ext(name) == ".go" {
			var b []byte
			b, err = os.ReadFile(name)
			sum = sum*31 + sumOf(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
