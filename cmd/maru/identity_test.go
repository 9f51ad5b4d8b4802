package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDataOfAnEarlierVersion checks that a directory whose format is not read any
// more is refused, and not taken for an empty one.
func TestDataOfAnEarlierVersion(t *testing.T) {
	o := &serveOptions{data: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(o.data, "wallet", "log"), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := o.loadOrFound(); err == nil || !strings.Contains(err.Error(), "cannot read") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(o.data, identityName)); err == nil {
		t.Error("an identity was made")
	}
}
