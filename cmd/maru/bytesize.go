package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteSize is a flag's number of bytes. It is written as a number and a unit,
// such as 512MiB; as a bare number; or as "none", which is negative.
type byteSize int64

// noBytes turns off what the size is for.
const noBytes byteSize = -1

var byteUnits = []struct {
	name string
	size byteSize
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}}

// Set implements pflag.Value.
func (b *byteSize) Set(s string) error {
	if s == "none" {
		*b = noBytes
		return nil
	}
	digits, unit := s, byteSize(1)
	for _, u := range byteUnits {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			digits, unit = strings.TrimSpace(number), u.size
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(unit) {
		return fmt.Errorf("%q is not a size, such as 512MiB, or none", s)
	}
	*b = byteSize(n) * unit
	return nil
}

// String implements pflag.Value: the largest unit that divides the size.
func (b *byteSize) String() string {
	if *b < 0 {
		return "none"
	}
	for _, u := range byteUnits[:4] {
		if *b > 0 && *b%u.size == 0 {
			return strconv.FormatInt(int64(*b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Type implements pflag.Value.
func (b *byteSize) Type() string { return "size" }
