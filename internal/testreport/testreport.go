// Command testreport reads what "go test -json" prints and writes it for
// people: a line for each package, everything about what failed, and at the end
// which tests were skipped and why, which go test says only among all the rest.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	ok, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// An event is a line of go test -json; see "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build
	Test       string
	Output     string
}

// A test is a test or, with an empty name, a package.
type test struct{ pkg, name string }

// report says whether all tests passed.
func report(r io.Reader, w io.Writer) (ok bool, err error) {
	ok = true
	passed := 0
	var skipped []string
	output := make(map[test]string)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(w, lines.Text()) // of the go command itself
			continue
		}
		t := test{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "build-fail":
			ok = false
		case "output":
			output[t] += e.Output
		case "pass":
			if e.Test != "" {
				passed++
			}
		case "fail":
			ok = false
			if e.Test != "" {
				fmt.Fprint(w, output[t])
			}
		case "skip":
			if e.Test != "" {
				skipped = append(skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(output[t])))
			}
		}
		switch e.Action {
		case "pass", "fail", "skip":
			if e.Test == "" {
				fmt.Fprint(w, verdict(output[t], e.Action == "fail"))
			}
			delete(output, t)
		}
	}
	// A package that ended without a verdict, as when it was killed.
	for t, text := range output {
		ok = false
		fmt.Fprintf(w, "%s %s did not end:\n%s", t.pkg, t.name, text)
	}
	fmt.Fprintf(w, "%d tests passed, %d skipped\n", passed, len(skipped))
	for _, s := range skipped {
		fmt.Fprintln(w, "skipped:", s)
	}
	return ok, lines.Err()
}

// verdict returns what a package printed beside its tests: all of it if it
// failed, and else the last line, which has its name and time.
func verdict(output string, failed bool) string {
	if failed {
		return output
	}
	output = strings.TrimSuffix(output, "\n")
	return output[strings.LastIndex(output, "\n")+1:] + "\n"
}

// reason returns the message of a skipped test, without the lines around it.
func reason(output string) string {
	var said []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
