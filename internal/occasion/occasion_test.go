package occasion

import (
	"slices"
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	now := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	o := New(2, time.Minute)
	var got []int
	for range 6 {
		got = append(got, o.Due(now))
	}
	got = append(got, o.Due(now.Add(time.Minute)))
	if !slices.Equal(got, []int{1, 1, 0, 0, 0, 0, 5}) {
		t.Errorf("got %v", got)
	}
}
