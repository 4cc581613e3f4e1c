package link

import (
	"testing"

	"tmelink/internal/transport"
)

// path is a connection of which only the sizes matter.
type path struct {
	transport.Conn
	framing, overhead, mtu int
}

func (p path) Framing() int  { return p.framing }
func (p path) Overhead() int { return p.overhead }
func (p path) PathMTU() int  { return p.mtu }

func TestMSSFixLimit(t *testing.T) {
	udp4, udp6, tcp4 := path{overhead: 28}, path{overhead: 48}, path{framing: 2, overhead: 42}
	for _, c := range []struct {
		name string
		fix  mssfix
		path path
		want int // bytes of a frame
	}{
		{"UDP over IPv4", mssfix{1492, mssMTU}, udp4, 1464},
		{"UDP over IPv6", mssfix{1492, mssMTU}, udp6, 1444},
		{"TCP over IPv4", mssfix{1492, mssMTU}, tcp4, 1450},
		{"without headers", mssfix{1450, mssPacket}, udp4, 1450},
		{"without headers, TCP", mssfix{1450, mssPacket}, tcp4, 1448},
		{"fixed", mssfix{1500, mssFixed}, udp4, 1514},
		{"no bound", mssfix{}, udp4, 0},
		{"no bound on a short path", mssfix{}, path{overhead: 28, mtu: 1400}, 0},
		{"a short path", mssfix{1492, mssMTU}, path{overhead: 28, mtu: 1400}, 1372},
		{"a short path, fixed", mssfix{1500, mssFixed}, path{overhead: 28, mtu: 1400}, 1372},
		{"a path that takes more", mssfix{1300, mssMTU}, path{overhead: 28, mtu: 1400}, 1272},
	} {
		if got := c.fix.limit(c.path, 0); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
