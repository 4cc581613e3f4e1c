package datachannel

import (
	"math"
	"testing"
	"time"
)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

func TestWindow(t *testing.T) {
	type step struct {
		second int
		id     ID
		taken  bool
	}
	n := func(number uint32, taken bool) step { return step{0, ID{Number: number}, taken} }
	timed := func(second int, number uint32, taken bool) step { return step{second, ID{Number: number}, taken} }
	for name, c := range map[string]struct {
		size  int
		late  time.Duration
		steps []step
	}{
		"in order":     {64, 0, []step{n(1, true), n(2, true), n(3, true)}},
		"zero":         {64, 0, []step{n(0, false), n(1, true), n(0, false)}},
		"twice":        {64, 0, []step{n(1, true), n(1, false), n(5, true), n(5, false), n(1, false), n(4, true), n(4, false)}},
		"reordered":    {64, 0, []step{n(64, true), n(1, true), n(63, true), n(2, true), n(2, false)}},
		"too late":     {64, 0, []step{n(100, true), n(36, false), n(37, true), n(37, false)}},
		"one":          {1, 0, []step{n(5, true), n(4, false), n(6, true), n(5, false), n(6, false)}},
		"odd size":     {65, 0, []step{n(200, true), n(135, false), n(136, true), n(128, false)}},
		"over words":   {128, 0, []step{n(60, true), n(64, true), n(128, true), n(64, false), n(60, false), n(191, true), n(64, false), n(65, true), n(63, false)}},
		"far jump":     {64, 0, []step{n(1, true), n(1<<31, true), n(1, false), n(1<<31-63, true), n(1<<31-64, false), n(1<<31+1<<30, true)}},
		"jump of ring": {64, 0, []step{n(5, true), n(5+128, true), n(5+128-63, true), n(5+128-62, true), n(5+256, true), n(5+256-63, true)}},
		"the last ids": {64, 0, []step{n(math.MaxUint32-1, true), n(math.MaxUint32, true), n(math.MaxUint32, false), n(1, false), n(math.MaxUint32-63, true), n(math.MaxUint32-64, false)}},
		"largest":      {MaxWindow, 0, []step{n(100000, true), n(100000-65535, true), n(100000-65536, false), n(100000-65535, false)}},
		"late by time": {64, 15 * time.Second, []step{
			timed(0, 10, true), timed(10, 20, true), timed(15, 9, true), timed(15, 21, true), timed(16, 8, false), timed(16, 11, true), timed(16, 10, false),
			timed(26, 12, false), timed(26, 22, true), timed(27, 19, false),
		}},
		"quiet for long": {64, 15 * time.Second, []step{timed(0, 10, true), timed(1000, 9, false), timed(1000, 11, true), timed(1000, 13, true), timed(1001, 12, true)}},
		"clock put back": {64, 15 * time.Second, []step{
			timed(7200, 10, true), timed(7201, 20, true), timed(3600, 19, true), timed(3601, 30, true), timed(3610, 18, true), timed(3640, 29, false),
			timed(3640, 31, true),
		}},
		"a new time": {64, 15 * time.Second, []step{
			{0, ID{100, 7}, true}, {0, ID{1, 8}, true}, {0, ID{101, 7}, false}, {0, ID{1, 8}, false}, {20, ID{2, 8}, true}, {20, ID{1, 9}, true}, {20, ID{2, 9}, true},
			{20, ID{5, 8}, false}, {20, ID{0, 10}, false}, {20, ID{3, 9}, true},
		}},
	} {
		w := NewWindow(c.size, c.late)
		for i, s := range c.steps {
			w.Begin(at(s.second))
			if got := w.Admits(s.id); got != s.taken {
				t.Errorf("%s, step %d: %v is admitted: %v", name, i, s.id, got)
			}
			if got := w.Accept(s.id); got != s.taken {
				t.Errorf("%s, step %d: %v is accepted: %v", name, i, s.id, got)
			}
		}
	}
}

func TestWindowIsBounded(t *testing.T) {
	w := NewWindow(64, MaxLate)
	second, number := 0, uint32(1)
	for range 3 {
		for range 5000 {
			w.Begin(at(second))
			w.Accept(ID{Number: number})
			second++
			number++
		}
		second -= 8600 // somebody sets the clock
	}
	if len(w.marks) > 602 {
		t.Errorf("%d marks for 600 seconds", len(w.marks))
	}
	for _, size := range []int{0, -1, MaxWindow + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("there is a window of %d", size)
				}
			}()
			NewWindow(size, 0)
		}()
	}
}

// model is a Window that remembers all.
type model struct {
	size, late int64
	time       uint32
	top        int64
	came       map[int64]int64 // when each number was, at the latest, behind the newest
	seen       map[int64]bool
}

func (m *model) accept(id ID, second int64) bool {
	number := int64(id.Number)
	if number == 0 || id.Time < m.time {
		return false
	}
	if id.Time > m.time {
		m.time, m.top, m.seen, m.came = id.Time, 0, map[int64]bool{}, map[int64]int64{}
	}
	if number <= m.top && (number <= m.top-m.size || m.seen[number]) {
		return false
	}
	if m.late > 0 && number <= m.top {
		for top, came := range m.came { // too late if one at least as new came so long ago
			if number <= top && second-came > m.late {
				return false
			}
		}
	}
	m.seen[number] = true
	if number > m.top {
		m.top = number
		m.came[number] = second
	}
	return true
}

func FuzzWindow(f *testing.F) {
	f.Add([]byte{1, 1, 2, 3, 0x80, 5, 0x40, 9, 0x90, 0xff})
	f.Add([]byte{64, 0, 2, 3, 0xff, 5, 0xc0, 9, 0xd0, 0xff, 0x41, 0xe0, 0x81, 0xa3})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 || len(data) > 400 {
			return
		}
		size, late := int(data[0])+1, int64(data[1]%20)
		w := NewWindow(size, time.Duration(late)*time.Second)
		m := model{size: int64(size), late: late, seen: map[int64]bool{}, came: map[int64]int64{}}
		second, top := 0, int64(100)
		id := ID{}
		w.Begin(at(0))
		for _, b := range data[2:] {
			low := int64(b & 0x3f)
			switch b >> 6 {
			case 0:
				second += int(low)
				w.Begin(at(second))
				continue
			case 1: // ahead
				top += low
			case 2: // far ahead, or a new time
				if top += low << 25; top > math.MaxUint32 {
					id.Time++
					top = low
				}
			}
			number := top
			if b>>6 == 3 {
				number = max(0, top-low*5)
			}
			id.Number = uint32(number)
			if got, want := w.Accept(id), m.accept(id, int64(second)); got != want {
				t.Fatalf("%v at %d s is accepted: %v, want %v", id, second, got, want)
			}
		}
	})
}
