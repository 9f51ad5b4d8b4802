// Package booktest lets tests ask the tools of bookkeepers: hledger, ledger, and those of beancount.
package booktest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Run runs a tool, with no settings of the user's, and returns its output. The error has what
// the tool said. A test is skipped where the tool is not installed.
func Run(t testing.TB, tool string, args ...string) ([]byte, error) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("%s is not there: apt-get install hledger ledger beancount", tool)
	}
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
	var out, diagnosis bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnosis
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", tool, strings.Join(args, " "), err, diagnosis.Bytes())
	}
	return out.Bytes(), nil
}

// MustRun is Run for a tool that must not fail.
func MustRun(t testing.TB, tool string, args ...string) []byte {
	t.Helper()
	out, err := Run(t, tool, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
