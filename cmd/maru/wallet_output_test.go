package main

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
)

// TestOutput writes files, which become what they should only when all went well, and into what is no file and
// has to stay what it is: a pipe here, as /dev/null would.
func TestOutput(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, well bool) {
		t.Helper()
		out, done, err := openOutput(&cobra.Command{}, name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, "text"); err != nil {
			t.Error(err)
		}
		if err := done(well); err != nil {
			t.Error(err)
		}
	}
	file := filepath.Join(dir, "file")
	write(file, true)
	if got, err := os.ReadFile(file); err != nil || string(got) != "text" {
		t.Errorf("the file has %q, %v", got, err)
	}
	write(filepath.Join(dir, "part"), false)
	if _, _, err := openOutput(&cobra.Command{}, dir); err == nil {
		t.Error("a directory was opened to be written")
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		got, err := os.ReadFile(pipe)
		if err != nil {
			t.Error(err)
		}
		read <- string(got)
	}()
	write(pipe, true)
	if got := <-read; got != "text" {
		t.Errorf("the pipe gave %q", got)
	}
	if names := mustNames(t, dir); len(names) != 2 {
		t.Errorf("there are %q, want the file and the pipe", names)
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("the pipe is %v now, %v", info.Mode(), err)
	}
}

func mustNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		names = append(names, one.Name())
	}
	return names
}
