package nstest

import (
	"strings"
	"testing"
	"time"
)

func TestHostsReachEachOther(t *testing.T) {
	a, b := New(t, "a"), New(t, "b")
	Cable(t, a, "e0", "10.9.0.1/24", b, "e0", "10.9.0.2/24")
	if out := a.IP("-o", "addr", "show", "dev", "e0"); !strings.Contains(out, "10.9.0.1/24") {
		t.Fatalf("address is missing:\n%s", out)
	}
	p := b.Start("sh", "-c", "echo ready; exec sleep 60")
	p.Expect(t, "ready", 5*time.Second)
	if err := p.Stop(); err == nil {
		t.Error("a program ended by SIGTERM should say so")
	}
}
