package simcluster_test

import (
	"flag"
	"runtime"
	"sync"
	"testing"

	"maru.example/internal/sim/simcluster"
)

var (
	seeds   = flag.Int("seeds", 20, "how many seeds TestSeeds tries")
	first   = flag.Uint64("seed", 1, "the first of them")
	verbose = flag.Bool("logs", false, "print what the nodes log")
)

// failFast says that go test is to stop after the first failure.
func failFast() bool { return flag.Lookup("test.failfast").Value.String() == "true" }

// TestSeeds runs the worlds of many seeds, some at a time.
func TestSeeds(t *testing.T) {
	var mu sync.Mutex
	var next, done, failed int
	var sum simcluster.Report
	work := func() {
		for {
			mu.Lock()
			i := next
			next++
			enough := i >= *seeds || failed > 0 && failFast()
			mu.Unlock()
			if enough {
				return
			}
			seed := *first + uint64(i)
			r, err := simcluster.Run(seed, options(t))
			mu.Lock()
			done++
			sum.Add(r)
			if err != nil {
				failed++
				t.Errorf("seed %d: %v\nThe world was %+v\nThe same again: make sim SEEDS=1 FIRST=%d", seed, err, *r, seed)
			}
			if done%100 == 0 || done == *seeds {
				t.Logf("%d of %d seeds, %d failed: %s", done, *seeds, failed, sum.Summary())
			}
			mu.Unlock()
		}
	}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(work)
	}
	wg.Wait()
}

func options(t *testing.T) *simcluster.Options {
	t.Helper()
	if !*verbose {
		return nil
	}
	return &simcluster.Options{Log: t.Output()}
}

// TestSameSeedSameCourse runs the same seed twice: every message is the same, at
// the same time.
func TestSameSeedSameCourse(t *testing.T) {
	for seed := *first; seed < *first+3; seed++ {
		a, err := simcluster.Run(seed, nil)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		b, err := simcluster.Run(seed, nil)
		if err != nil {
			t.Fatalf("seed %d, the second time: %v", seed, err)
		}
		if *a != *b {
			t.Errorf("seed %d: two runs differ:\n%+v\n%+v", seed, *a, *b)
		}
	}
}
