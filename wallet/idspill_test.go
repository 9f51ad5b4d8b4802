package wallet

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestSortedRows(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var spare []spillRow
	for _, n := range []int{0, 1, 2, 5000, 300} {
		rows := make([]spillRow, n)
		for i := range rows {
			rows[i].prefix = prefixOf(7<<56 | random.Uint64()>>8)
			if i%10 == 9 {
				rows[i].prefix = rows[i-1].prefix // ids of one hash
			}
			rows[i].bytes[0] = byte(i)
		}
		want := slices.Clone(rows)
		order := func(a, b spillRow) int {
			return cmp.Or(cmp.Compare(a.prefix, b.prefix), cmp.Compare(a.bytes[0], b.bytes[0]))
		}
		slices.SortFunc(want, order)
		var got []spillRow
		got, spare = sortedRows(rows, spare)
		if !slices.IsSortedFunc(got, func(a, b spillRow) int { return cmp.Compare(a.prefix, b.prefix) }) {
			t.Errorf("%d rows are not in order", n)
		}
		slices.SortFunc(got, order)
		if d := gocmp.Diff(want, got, gocmp.AllowUnexported(spillRow{}), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%d rows, want (-) got (+):\n%s", n, d)
		}
	}
}
