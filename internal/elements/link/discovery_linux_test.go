package link

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// TestShortPathIsToldOnce: over a path that takes less than a frame needs, --mtu-disc
// yes drops what does not fit, counts it and says once what would help; that helps.
func TestShortPathIsToldOnce(t *testing.T) {
	nstest.Need(t)
	nstest.InNamespace(t)
	// Less, and the kernel takes IPv6 off the interface, with its addresses.
	if out, err := exec.Command("ip", "link", "set", "lo", "mtu", "1280").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer exec.Command("ip", "link", "set", "lo", "mtu", "65536").Run()
	pair := func(words string) (a, b *testLink) {
		a = start(t, "--local 127.0.0.1 --lport 0 --mtu-disc yes"+words)
		return a, start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --mtu-disc yes --remote 127.0.0.1 %d", a.local().Port())+words)
	}
	a, b := pair("")
	b.write(large(0, 1514), numbered(1), large(2, 1300))
	b.write(large(3, 1400))
	eventually(t, "the frame that fits", func() bool { return len(a.got()) == 1 })
	if n := b.port.Counters().Write.Count(ethernet.TooLong); n != 3 || b.port.Counters().Write.Total() != n {
		t.Errorf("%d too long ones counted of %d dropped, want 3", n, b.port.Counters().Write.Total())
	}
	if n := strings.Count(b.log.String(), "a packet is longer than the path takes"); n != 1 || !strings.Contains(b.log.String(), "--fragment 1280 mtu at both ends") ||
		!strings.Contains(b.log.String(), "packet=1542 mtu=1280") {
		t.Errorf("told %d times:\n%s", n, b.log)
	}

	a, b = pair(" --fragment 1280 mtu")
	carriesLarge(t, b, a, 1500)
	carriesLarge(t, a, b, 1500)
	if n := a.port.Counters().Write.Total() + b.port.Counters().Write.Total(); n != 0 {
		t.Errorf("%d dropped", n)
	}
	a, b = pair(" --fragment 1400") // the path is known after the first
	b.writeUntil("a long frame", func() bool { return len(a.got()) > 0 }, large(0, 1390))
	carriesLarge(t, b, a, 1500)
	if strings.Contains(b.log.String(), "a packet is longer") {
		t.Errorf("told of what --fragment sees to:\n%s", b.log)
	}
}
