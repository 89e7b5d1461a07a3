package cache_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"warder/authz/cache"
)

// A cache with room for all entries is a map.
func TestIsAMap(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	c, want := cache.New[string, int](100_000), map[string]int{}
	for step := range 50_000 {
		key := strconv.Itoa(random.IntN(2000))
		switch random.IntN(3) {
		case 0:
			c.Set(key, step)
			want[key] = step
		case 1:
			c.Delete(key)
			delete(want, key)
		}
		got, found := c.Get(key)
		value, there := want[key]
		if got != value || found != there {
			t.Fatalf("step %d: %s is %d, %v; want %d, %v", step, key, got, found, value, there)
		}
	}
}

// A full cache has only what was stored under a key, and never more than its weight.
func TestIsBounded(t *testing.T) {
	t.Parallel()
	for _, weight := range []int{1, 2, 3, 63, 64, 127, 128, 1000, 10_000} {
		for _, most := range []int{1, 7, 200} {
			random := rand.New(rand.NewPCG(3, uint64(weight)))
			c := cache.New[int, [2]int](weight)
			weights := map[int]int{}
			for range 20_000 {
				key := random.IntN(3 * weight)
				switch got, found := c.Get(key); {
				case found && got != [2]int{key, weights[key]}:
					t.Fatalf("weight %d: the value of %d is %v, want %v", weight, key, got, [2]int{key, weights[key]})
				case !found || random.IntN(4) == 0:
					weights[key] = 1 + random.IntN(most)
					c.SetWeighed(key, [2]int{key, weights[key]}, weights[key])
				}
			}
			total, entries := 0, 0
			for key, w := range weights {
				if _, found := c.Get(key); found {
					total += w
					entries++
				}
			}
			// The weight is rounded up to a multiple of the number of shards.
			if total > weight+64 {
				t.Errorf("weight %d, entries of up to %d: those kept weigh %d", weight, most, total)
			}
			if entries == 0 && most == 1 {
				t.Errorf("weight %d: nothing is kept", weight)
			}
		}
	}
}

// An entry that is too heavy is not stored, and does not leave an older value behind.
func TestTooHeavy(t *testing.T) {
	t.Parallel()
	c := cache.New[string, string](10)
	c.SetWeighed("a", "old", 10)
	c.SetWeighed("a", "new", 11)
	if got, found := c.Get("a"); found {
		t.Errorf("a is %q, want nothing", got)
	}
	c.SetWeighed("a", "fits", 10)
	if got, _ := c.Get("a"); got != "fits" {
		t.Errorf("a is %q, want it to fit", got)
	}
}

// Entries that are read are not evicted by a flood of entries that are not.
func TestKeepsWhatIsRead(t *testing.T) {
	t.Parallel()
	const room, used = 10_000, 1_000
	c := cache.New[int, int](room)
	for key := range used {
		c.Set(key, key)
	}
	for flood := range 20 * room {
		c.Set(-1-flood, 0)
		c.Get(flood % used)
	}
	kept := 0
	for key := range used {
		if _, found := c.Get(key); found {
			kept++
		}
	}
	if kept < used*99/100 {
		t.Errorf("%d of %d entries in use are left after a flood", kept, used)
	}
}

// A removed value can be freed.
func TestRemovedIsFreed(t *testing.T) {
	t.Parallel()
	c := cache.New[int, *[1 << 20]byte](1)
	freed := make(chan int, 3)
	for key := range 3 {
		value := new([1 << 20]byte)
		runtime.AddCleanup(value, func(key int) { freed <- key }, key)
		c.Set(key, value) // evicts the one before
	}
	c.Delete(2)
	for range 3 {
		runtime.GC()
		select {
		case <-freed:
		case <-time.After(time.Minute):
			t.Fatal("a removed value is still in memory")
		}
	}
	runtime.KeepAlive(c)
}

// A key that has the hash of another does not get its value.
func TestSameHash(t *testing.T) {
	t.Parallel()
	c := cache.New[string, string](10)
	c.Set("a", "value of a")
	c.Collide("a", "b")
	if got, found := c.Get("b"); found {
		t.Errorf("b is %q, want nothing", got)
	}
	c.Delete("b")
	if got, _ := c.Get("a"); got != "value of a" {
		t.Errorf("after the removal of b, a is %q", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := cache.New[string, string](500)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(5, uint64(g)))
			for range 20_000 {
				key := strconv.Itoa(random.IntN(1000))
				switch random.IntN(4) {
				case 0:
					c.Set(key, "value of "+key)
				case 1:
					c.Delete(key)
				default:
					if got, found := c.Get(key); found && got != "value of "+key {
						t.Errorf("the value of %s is %q", key, got)
						return
					}
				}
			}
		})
	}
	all.Wait()
}

func TestAllocations(t *testing.T) {
	byText, byHash := cache.New[string, int](1000), cache.New[[32]byte, int](1000)
	text, hash := "session:42:5f2b1c64-9a3e-4a0e-8c57-0b1f8a1d2e3c", [32]byte{1, 2, 3}
	byText.Set(text, 1)
	byHash.Set(hash, 1)
	if got := testing.AllocsPerRun(100, func() {
		byText.Get(text)
		byText.Get("other")
		byText.Set(text, 2)
		byHash.Get(hash)
	}); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

// TestObjects counts what the collector has to visit: not an object for each entry.
func TestObjects(t *testing.T) {
	const entries = 50_000
	objects := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapObjects
	}
	before := objects()
	c := cache.New[[32]byte, int](2 * entries)
	for i := range entries {
		c.Set([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, i)
	}
	if grown := int64(objects()) - int64(before); grown > entries/10 {
		t.Errorf("%d entries are %d objects", entries, grown)
	}
	runtime.KeepAlive(c)
}

func BenchmarkGet(b *testing.B) {
	for _, entries := range []int{1, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			c := cache.New[string, [3]int](1 << 17)
			keys := make([]string, entries)
			for i := range keys {
				keys[i] = fmt.Sprintf("session:%d:5f2b1c64-9a3e-4a0e-8c57-%012d", i, i)
				c.Set(keys[i], [3]int{i})
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, found := c.Get(keys[n*7919%entries]); !found {
					b.Fatal("lost")
				}
				n++
			}
		})
	}
}
