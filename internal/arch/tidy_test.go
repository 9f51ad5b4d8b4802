package arch

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxLines is the most lines of a file of Go. Aim for half of it.
const maxLines = 800

// unwelcome is what no file of the project says, and why. The words are written
// such that this file may hold them.
var unwelcome = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`\bTO[D]O\b|\bFIX[M]E\b|\bXX[X]:`), "finish it, or leave it out"},
	{regexp.MustCompile(`(?i)\bissue [#]`), "say what matters about it: the reader has no access to a tracker"},
	{regexp.MustCompile(`/wor[k]/|/tmp/resear[c]h`), "a path of one machine"},
}

func TestFilesAreShort(t *testing.T) {
	for _, f := range readTree(t) {
		if why := tooLong(f); why != "" {
			t.Errorf("%s: %s", f.name, why)
		}
	}
}

func tooLong(f file) string {
	n := bytes.Count(f.text, []byte("\n"))
	if path.Ext(f.name) != ".go" || n <= maxLines || bytes.HasPrefix(f.text, []byte("// Code generated")) {
		return ""
	}
	return fmt.Sprintf("%d lines, want at most %d: split it by subject", n, maxLines)
}

func TestNothingUnwelcome(t *testing.T) {
	for _, f := range readTree(t) {
		for _, found := range findUnwelcome(f) {
			t.Error(found)
		}
	}
}

// findUnwelcome returns a line for each unwelcome word of a file. Hashes and
// what a fuzzer found may hold any letters.
func findUnwelcome(f file) []string {
	if path.Base(f.name) == "go.sum" || strings.Contains(f.name, "testdata/fuzz/") {
		return nil
	}
	var found []string
	for i, line := range bytes.Split(f.text, []byte("\n")) {
		for _, u := range unwelcome {
			if word := u.pattern.Find(line); word != nil {
				found = append(found, fmt.Sprintf("%s:%d: %s: %s", f.name, i+1, word, u.why))
			}
		}
	}
	return found
}

func TestPackagesAreExplained(t *testing.T) {
	for _, p := range readPackages(t, readTree(t)) {
		for _, missing := range unexplained(p) {
			t.Errorf("%s: %s", p.path, missing)
		}
	}
}

// unexplained says what a package lacks for its reader.
func unexplained(p pkg) []string {
	var missing []string
	if !p.documented {
		missing = append(missing, "no package comment: say what it is for")
	}
	switch l, _ := place(p.path); l {
	case vocabulary, kernel, system, adapter:
		if !p.example {
			missing = append(missing, "no Example: show its first use")
		}
	case conformance, platform, simulation, command, checks:
	}
	return missing
}

var goldenPath = regexp.MustCompile(`[\w./-]*testdata/[\w./-]*\w`)

// TestFormatsHaveGoldenFiles looks into the documents of docs/format for the
// files that hold the format byte for byte.
func TestFormatsHaveGoldenFiles(t *testing.T) {
	files := readTree(t)
	for _, f := range files {
		if path.Dir(f.name) != "docs/format" || path.Ext(f.name) != ".md" {
			continue
		}
		golden := goldenPath.FindAllString(string(f.text), -1)
		if len(golden) == 0 {
			t.Errorf("%s names no golden file: a path with testdata in it, from the root of the project", f.name)
		}
		for _, name := range golden {
			if matches, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(name))); err != nil || len(matches) == 0 {
				t.Errorf("%s names %s, which is not there", f.name, name)
			}
		}
	}
}

var adrName = regexp.MustCompile(`^docs/adr/(\d{4})-[a-z0-9-]+\.md$`)

// TestDependenciesAreExplained compares go.mod with the notes in docs/adr, each of
// which has a line "Module: `<path>`" for what it is about.
func TestDependenciesAreExplained(t *testing.T) {
	var required, noted []string
	var gomods []byte
	numbers := make(map[string]string)
	for _, f := range readTree(t) {
		if f.name == "go.mod" || f.name == "tools/go.mod" || f.name == "tools/s3server/go.mod" {
			required = append(required, directModules(f.text)...)
			gomods = append(gomods, f.text...)
		}
		if path.Dir(f.name) != "docs/adr" {
			continue
		}
		name := adrName.FindStringSubmatch(f.name)
		if name == nil {
			t.Errorf("%s is not called NNNN-subject.md", f.name)
			continue
		}
		if before := numbers[name[1]]; before != "" {
			t.Errorf("%s and %s have the same number", before, f.name)
		}
		numbers[name[1]] = f.name
		noted = append(noted, notedModules(f.text)...)
	}
	if len(required) < 2 {
		t.Fatalf("go.mod requires %q: not read rightly", required)
	}
	for _, m := range required {
		if !slices.Contains(noted, m) {
			t.Errorf("%s is required and has no note in docs/adr: what it saves, its size, who keeps it, what else there was", m)
		}
	}
	for _, m := range noted {
		if !bytes.Contains(gomods, []byte(m)) {
			t.Errorf("%s has a note in docs/adr and is not required", m)
		}
	}
}

var (
	requirement = regexp.MustCompile(`(?m)^(?:require)?[ \t]+([\w.-]+\.[\w./-]+) v\S+$`)
	toolLine    = regexp.MustCompile(`(?m)^tool[ \t]+(\S+)/cmd/\S+$`)
	moduleLine  = regexp.MustCompile("(?m)^Module: `([^`]+)`")
)

// directModules returns the modules that a go.mod requires by itself: those
// without a comment "indirect", and those of its tools.
func directModules(gomod []byte) []string {
	return append(submatches(requirement, gomod), submatches(toolLine, gomod)...)
}

func notedModules(note []byte) []string { return submatches(moduleLine, note) }

// submatches returns what the group of the pattern matches, each time.
func submatches(pattern *regexp.Regexp, text []byte) []string {
	var all []string
	for _, m := range pattern.FindAllSubmatch(text, -1) {
		all = append(all, string(m[1]))
	}
	return all
}

var unreachable = regexp.MustCompile(`dial tcp|no such host|i/o timeout|GOPROXY=off`)

// TestModuleIsTidy asks the go command whether go.mod and go.sum are what the
// imports need. It leaves out tools, where that takes the tests of hundreds of
// modules.
func TestModuleIsTidy(t *testing.T) {
	readTree(t) // so that a cached result falls with any change
	cmd := exec.CommandContext(t.Context(), "go", "mod", "tidy", "-diff")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		t.Skip("go mod tidy was not tried: the go command is not in the path")
	case err != nil && unreachable.Match(out):
		t.Skipf("go mod tidy was not tried: it needs modules that are not on this machine, and no network\n%s", out)
	case err != nil:
		t.Errorf("go mod tidy -diff: %v: run go mod tidy\n%s", err, out)
	}
}

func TestTidyRulesCatch(t *testing.T) {
	line := "package x\n"
	for _, tt := range []struct {
		name string
		got  []string
		want string
	}{
		{"file at the limit", []string{tooLong(file{"x.go", []byte(strings.Repeat(line, maxLines))})}, ""},
		{"file too long", []string{tooLong(file{"x.go", []byte(strings.Repeat(line, maxLines+1))})}, "801 lines"},
		{"long generated file", []string{tooLong(file{"x.go", []byte("// Code generated by x. DO NOT EDIT.\n" + strings.Repeat(line, maxLines))})}, ""},
		{"long data", []string{tooLong(file{"x.csv", []byte(strings.Repeat(line, maxLines+1))})}, ""},
		{"clean words", findUnwelcome(file{"a.go", []byte("// the XXX currency, a todo list, an issue of shares\n")}), ""},
		{"work left", findUnwelcome(file{"a.go", []byte("x\n// TO" + "DO: later\n")}), "a.go:2"},
		{"more work left", findUnwelcome(file{"a.go", []byte("// FIX" + "ME\n")}), "finish it"},
		{"a tracker", findUnwelcome(file{"a.md", []byte("See Issue " + "#12.\n")}), "tracker"},
		{"a machine", findUnwelcome(file{"a.md", []byte("in /wor" + "k/main\n")}), "one machine"},
		{"a hash", findUnwelcome(file{"tools/go.sum", []byte("h1:TO" + "DO/\n")}), ""},
		{"package without comment", unexplained(pkg{path: "wallet", example: true}), "no package comment"},
		{"package without example", unexplained(pkg{path: "wallet", documented: true}), "no Example"},
		{"explained", unexplained(pkg{path: "wallet", documented: true, example: true}), ""},
		{"command without example", unexplained(pkg{path: "cmd/maru", documented: true}), ""},
		{"requirements", directModules([]byte("require (\n\ta.example/b v1.0.0\n\tc.example/d v1.0.0 // indirect\n)\n")), "a.example/b"},
		{"one requirement", directModules([]byte("module m.example\n\nrequire a.example/b/v2 v2.0.0\n")), "a.example/b/v2"},
		{"indirect requirement", directModules([]byte("require a.example/b v1.0.0 // indirect\n")), ""},
		{"tool", directModules([]byte("tool a.example/b/v2/cmd/b\n")), "a.example/b/v2"},
		{"note", notedModules([]byte("# B\n\nModule: `a.example/b` (1.0)\n")), "a.example/b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(tt.got, "\n")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
