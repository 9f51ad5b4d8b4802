package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// replays is what maru wallet replay --json prints.
type replays struct {
	Partitions []replayed `json:"partitions"`
	Different  uint64     `json:"different"`
	Unrecorded uint64     `json:"unrecorded"`
}

func (r *replays) commands() (n uint64) {
	for _, p := range r.Partitions {
		n += p.Commands
	}
	return n
}

func runReplay(t *testing.T, data string, args ...string) (r replays, err error) {
	t.Helper()
	out, _, err := runHere(t, append([]string{"wallet", "replay", "--data", data, "--json"}, args...)...)
	if out != "" {
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	return r, err
}

func TestReplay(t *testing.T) {
	p := newPastTest(t)
	began := time.Now().Add(-time.Second)
	p.live(250)
	p.stop()
	all, err := runReplay(t, p.data)
	if err != nil || len(all.Partitions) != 2 || all.Different != 0 || all.Unrecorded != 0 || all.commands() < 10 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, one := range all.Partitions {
		if one.Events == 0 || one.From.Before(began) || one.Until.Before(*one.From) {
			t.Errorf("%+v", one)
		}
	}
	late := all.Partitions[0].Until.Format(time.RFC3339Nano)
	part, err := runReplay(t, p.data, "--from", late)
	if err != nil || part.commands() == 0 || part.commands() >= all.commands() {
		t.Errorf("from %s: %+v, %v", late, part, err)
	}
	before, err := runReplay(t, p.data, "--until", began.Format(time.RFC3339Nano))
	if err != nil || before.commands() != 0 {
		t.Errorf("before anything: %+v, %v", before, err)
	}
	for _, bad := range [][]string{{"--from", "yesterday"}, {"--until", "1"}, {"--from", "2026-02-01T00:00:00Z", "--until", "2026-01-01T00:00:00Z"}} {
		if _, err := runReplay(t, p.data, bad...); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

// TestReplayWithOtherRules builds the program with another rule, that of the least balance, and lets it
// decide again: it lists what it would have decided otherwise, and does not start on
// entries that are on record.
func TestReplayWithOtherRules(t *testing.T) {
	p := newPastTest(t)
	p.live(250)
	p.stop()
	other := buildWith(t, "wallet/transfer.go", "case f.floor != Unlimited && (after >= f.amount || after < f.floor):", "case f.floor != Unlimited:")
	cmd := exec.CommandContext(t.Context(), other, "wallet", "replay", "--data", p.data)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitRefused {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"  was pending, debit of account", "  is  insufficient_funds\n", "commands are decided otherwise than they were", "hint: this program has other rules"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), other, "wallet", "verify", "--data", p.data).CombinedOutput(); err == nil || !strings.Contains(string(out), "commands are decided otherwise than it is on record") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	for _, snapshot := range globbed(t, filepath.Join(p.data, "log", "groups", "*", "*.snap")) {
		mustRemove(t, snapshot)
	}
	serve := exec.CommandContext(t.Context(), other, "serve", "--data", p.data, "--http", "127.0.0.1:0", "--stream", "127.0.0.1:0")
	if out, err := serve.CombinedOutput(); err == nil || !strings.Contains(string(out), "decided otherwise before") || !strings.Contains(string(out), "hint: this program has other rules") {
		t.Errorf("it starts: %v\n%s", err, out)
	}
}

func globbed(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatal(pattern, err)
	}
	return names
}

// buildWith builds the program with a piece of code replaced, and returns its name.
func buildWith(t *testing.T, file, code, by string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(root, file))
	if err != nil || strings.Count(string(source), code) != 1 {
		t.Fatalf("%s has %q %d times: %v", file, code, strings.Count(string(source), code), err)
	}
	dir := t.TempDir()
	changed, overlay, binary := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "maru")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, file): changed}})
	if err == nil {
		err = errors.Join(os.WriteFile(changed, []byte(strings.Replace(string(source), code, by, 1)), 0o600), os.WriteFile(overlay, list, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", binary, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// TestMoments reads moments that the wallet's clock can and cannot have.
func TestMoments(t *testing.T) {
	for text, fits := range map[string]bool{
		"1970-01-01T00:00:00Z": true, "1970-01-01T00:30:00+01:00": false, "2026-11-30T13:00:00.25+01:00": true, "2261-12-31T23:59:59Z": true,
		"2262-01-01T00:00:00Z": false, "9999-12-31T00:00:00Z": false, "0001-01-01T00:00:00Z": false, "tomorrow": false,
	} {
		at, err := parseMoment("--at", text)
		if (err == nil) != fits || err == nil && time.Unix(0, at.UnixNano()).Unix() != at.Unix() {
			t.Errorf("--at %s: got %v, %v", text, at, err)
		}
		if s, err := parseSpan("", text); (err == nil) != fits || err == nil && s.until != at.UnixNano() {
			t.Errorf("--until %s: got %v, %v", text, s, err)
		}
		if err := (&exporter{}).configure(&exportOptions{credentials: credentials{tenant: "default"}, until: text}); fits && err != nil && !strings.Contains(err.Error(), "nothing between") || !fits && err == nil {
			t.Errorf("export --until %s: got %v", text, err)
		}
	}
	for _, day := range []string{"9999-12-31", "1677-01-01"} {
		if err := (&exporter{}).configure(&exportOptions{credentials: credentials{tenant: "default"}, until: day}); err == nil {
			t.Errorf("export --until %s was taken", day)
		}
	}
}
