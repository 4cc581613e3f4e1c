package nat

import (
	"net/netip"
	"testing"

	"tmelink/internal/netstack"
)

// What a guest sends through a flow that is there costs no memory.
func TestDatagramsDoNotAllocate(t *testing.T) {
	n, _ := build(t, "inet 10.0.77.1/24 loopback allow")
	start(t, n)
	t.Cleanup(func() { n.Close() })
	server := listenUDP(t, loopbacks[0], func([]byte) []byte { return nil })
	d := netstack.Datagram{From: netip.MustParseAddrPort("10.0.77.2:1000"), To: at(server), Payload: make([]byte, 1000)}
	n.datagram(d)
	if got := testing.AllocsPerRun(1000, func() { n.datagram(d) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
