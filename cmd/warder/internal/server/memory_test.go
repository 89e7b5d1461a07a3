package server

import "testing"

func TestGCPercent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want       int
		live, room uint64
	}{
		{1000, 0, garbageRoom},
		{1000, 4 << 20, garbageRoom},
		{600, 8 << 20, garbageRoom},
		{200, 24 << 20, garbageRoom},
		{100, 48 << 20, garbageRoom},
		{100, 1 << 40, garbageRoom},
		{300, 8 << 20, 24 << 20},
		{50, 60 << 20, 28 << 20},
	} {
		if got := gcPercent(c.live, c.room); got != c.want {
			t.Errorf("gcPercent(%d, %d) = %d, want %d", c.live, c.room, got, c.want)
		}
	}
}
