package main

import "testing"

func TestGCPercent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want int
		live uint64
	}{
		{1000, 0},
		{1000, 4 << 20},
		{600, 8 << 20},
		{200, 24 << 20},
		{100, 48 << 20},
		{100, 1 << 40},
	} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("gcPercent(%d) = %d, want %d", c.live, got, c.want)
		}
	}
}
