// Package racing lets tests do less under the race detector, which makes them some
// seven times slower. Tests of many rounds, of which each looks for wrong decisions and
// not for races, run twice: a share of the rounds under the detector, and all of
// them without it.
package racing

import (
	"flag"
	"fmt"
	"strconv"
)

// share is one in how many rounds.
const share = 8

// Rounds returns how many of n rounds are run: all, or under the race detector a
// share of them, and one at least.
func Rounds(n int) int {
	if !Enabled {
		return n
	}
	return max(1, n/share)
}

// Fewer gives flags of a test, numbers of rounds, a share of their defaults under the
// race detector. It is for TestMain: the command line still overrides them.
func Fewer(names ...string) {
	for _, name := range names {
		f := flag.Lookup(name)
		n, err := strconv.Atoi(f.DefValue)
		if err == nil {
			err = f.Value.Set(strconv.Itoa(Rounds(n)))
		}
		if err != nil {
			panic(fmt.Sprintf("racing: the flag %s: %v", name, err))
		}
	}
}
