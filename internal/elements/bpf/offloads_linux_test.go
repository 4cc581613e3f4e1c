package bpf

import (
	"testing"

	"tmelink/internal/ethernet"
)

func TestOldKernelsTakeNoUDPSuperFrames(t *testing.T) {
	for release, want := range map[string]bool{"6.2.0": true, "6.18.44-x": true, "7.0": true, "6.1.0-32-amd64": false, "5.10.1": false, "": false} {
		if got := offloadsOf(release)&ethernet.USO != 0; got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}
