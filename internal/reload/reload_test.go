package reload_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"maru.example/internal/reload"
)

var errBad = errors.New("bad content")

// replace writes a file as editors and key commands do: aside, then renamed.
func replace(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, name string) (v *reload.Value[string], failures *[]error) {
	t.Helper()
	failures = new([]error)
	load := func() (string, error) {
		b, err := os.ReadFile(name)
		if err == nil && string(b) == "bad" {
			err = errBad
		}
		return string(b), err
	}
	v, err := reload.New(load, func(err error) { *failures = append(*failures, err) }, name)
	if err != nil {
		t.Fatal(err)
	}
	return v, failures
}

func TestReadsAgainAfterAChangeOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "f")
		replace(t, name, "one")
		v, failures := open(t, name)
		replace(t, name, "two")
		if got := v.Get(); got != "one" {
			t.Errorf("within the second: got %q, want the value in use", got)
		}
		time.Sleep(reload.CheckEvery)
		if got := v.Get(); got != "two" {
			t.Errorf("after a second: got %q, want the new value", got)
		}
		if len(*failures) != 0 {
			t.Errorf("failures: %v", *failures)
		}
	})
}

func TestKeepsTheLastGoodValue(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, name string){
		"refused content": func(t *testing.T, name string) { t.Helper(); replace(t, name, "bad") },
		"removed": func(t *testing.T, name string) {
			t.Helper()
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				name := filepath.Join(t.TempDir(), "f")
				replace(t, name, "one")
				v, failures := open(t, name)
				spoil(t, name)
				for range 2 {
					time.Sleep(reload.CheckEvery)
					if got := v.Get(); got != "one" {
						t.Errorf("got %q, want the last good value", got)
					}
				}
				if len(*failures) != 2 {
					t.Errorf("got %d failures reported, want one for each look: %v", len(*failures), *failures)
				}
				replace(t, name, "mended")
				time.Sleep(reload.CheckEvery)
				if got := v.Get(); got != "mended" {
					t.Errorf("got %q after the file was mended", got)
				}
			})
		})
	}
}

func TestNewNeedsAGoodFile(t *testing.T) {
	load := func() (string, error) { return "", errBad }
	name := filepath.Join(t.TempDir(), "f")
	if _, err := reload.New(load, nil, name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	replace(t, name, "bad")
	if _, err := reload.New(load, nil, name); !errors.Is(err, errBad) {
		t.Errorf("bad file: got %v", err)
	}
}

func BenchmarkGet(b *testing.B) {
	name := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	v, err := reload.New(func() (int, error) { return 1, nil }, func(err error) { b.Error(err) }, name)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		v.Get()
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "reload")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "greeting")
	if err := os.WriteFile(name, []byte("hello"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	greeting, err := reload.New(
		func() (string, error) { b, err := os.ReadFile(name); return string(b), err },
		func(err error) { fmt.Println("still the old greeting:", err) },
		name)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(greeting.Get())
	// Output: hello
}
