package wal_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"maru.example/wal"
)

// TestModel plays random histories against a slice: every acknowledged record
// is there after every crash, in order, and what is there beyond them is the
// beginning of what was attempted.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t, rapid.SampledFrom([]int64{1, 300, 2000, 1 << 20}).Draw(r, "segment bytes"))
		w.open()
		defer func() {
			w.fs.SetRule(nil)
			w.close()
		}()
		n := 0
		text := func() string {
			n++
			size := rapid.SampledFrom([]int{0, 1, 7, 8, 40, 500, 9000}).Draw(r, "size")
			return strings.Repeat(fmt.Sprintf("%d.", n), size)[:size]
		}
		alive := func() {
			if w.log == nil || w.log.Err() != nil {
				r.Skip("not open")
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { w.check() },
			"append": func(r *rapid.T) {
				alive()
				texts := make([]string, rapid.IntRange(0, 4).Draw(r, "records"))
				for i := range texts {
					texts[i] = text()
				}
				w.append(texts...)
			},
			"truncate after": func(r *rapid.T) {
				alive()
				w.truncateAfter(rapid.IntRange(0, len(w.sure)).Draw(r, "keep"))
			},
			"truncate before": func(r *rapid.T) {
				alive()
				w.truncateBefore(w.first + wal.Index(rapid.IntRange(0, len(w.sure)).Draw(r, "drop")))
			},
			"reopen": func(*rapid.T) {
				w.close()
				w.open()
			},
			"power": func(r *rapid.T) {
				w.cutPowerAt(rapid.IntRange(1, 8).Draw(r, "edit"), rapid.IntRange(-1, 600).Draw(r, "keep"))
			},
			"crash": func(r *rapid.T) {
				w.crash(rapid.Uint64().Draw(r, "seed"))
				w.open()
			},
		})
	})
}
