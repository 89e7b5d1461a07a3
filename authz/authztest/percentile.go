package authztest

import (
	"cmp"
	"math"
)

// Percentile returns the smallest of the sorted values that at least p percent of the values do not
// exceed (nearest rank). It returns zero if there are no values.
func Percentile[T cmp.Ordered](sorted []T, p float64) T {
	if len(sorted) == 0 {
		var zero T
		return zero
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
