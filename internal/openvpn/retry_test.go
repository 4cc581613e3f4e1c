package openvpn

import (
	"testing"
	"time"
)

func TestRetryDelayDoublesAfterFiveRounds(t *testing.T) {
	for _, c := range []struct {
		attempts, remotes int
		base, limit, want time.Duration
	}{
		{1, 1, time.Second, 300 * time.Second, time.Second},
		{4, 1, time.Second, 300 * time.Second, time.Second},
		{5, 1, time.Second, 300 * time.Second, 2 * time.Second},
		{6, 1, time.Second, 300 * time.Second, 4 * time.Second},
		{9, 2, time.Second, 300 * time.Second, time.Second},
		{10, 2, time.Second, 300 * time.Second, 2 * time.Second},
		{13, 1, time.Second, 300 * time.Second, 300 * time.Second},
		{1 << 30, 1, 65535 * time.Second, 300 * time.Second, 65535 * time.Second},
		{1 << 30, 1, 5 * time.Second, 60 * time.Second, 60 * time.Second},
		{5, 1, 0, 300 * time.Second, 2 * time.Second},
		{1, 0, time.Second, 300 * time.Second, time.Second},
	} {
		if got := RetryDelay(c.attempts, c.remotes, c.base, c.limit); got != c.want {
			t.Errorf("%d attempts at %d remotes, %v to %v: %v, want %v", c.attempts, c.remotes, c.base, c.limit, got, c.want)
		}
	}
}
