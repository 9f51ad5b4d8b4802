package simcluster_test

import (
	"testing"

	"maru.example/internal/racing"
)

func TestMain(m *testing.M) {
	racing.Fewer("seeds")
	m.Run()
}
