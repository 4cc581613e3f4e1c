package link

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
	"tmelink/internal/openvpn"
	"tmelink/internal/transport"
)

// peer is a real OpenVPN without keys, whose TAP is the kernel's end.
type peer struct {
	*nstest.Process
	addr string // of its TAP
}

// startOpenVPN starts OpenVPN with TAP dev at 10.8.N.1/24.
func startOpenVPN(t *testing.T, dev string, n int, text string) *peer {
	t.Helper()
	addr := fmt.Sprintf("10.8.%d.1", n)
	args := append(strings.Fields("--dev "+dev+" --ifconfig "+addr+" 255.255.255.0 --verb 3 --connect-retry 1 --route-noexec"), strings.Fields(text)...)
	return &peer{nstest.Start(t, "openvpn", args...), addr}
}

func needOpenVPN(t *testing.T) {
	t.Helper()
	nstest.Need(t, "openvpn", "ping")
	nstest.InNamespace(t)
	goleakAtEnd(t)
}

// isPingedBy has the kernel ping the station, until it answers.
func (s *station) isPingedBy(p *peer) {
	s.t.Helper()
	var out []byte
	ok := nstest.Eventually(patience, func() (ok bool) {
		var err error
		out, err = exec.Command("ping", "-c", "1", "-W", "1", "-s", "1400", "-I", p.addr, s.addr.String()).CombinedOutput()
		return err == nil
	})
	if !ok {
		s.t.Fatalf("%s does not reach %s:\n%s", p.addr, s.addr, out)
	}
}

func (p *peer) expectNoMismatch(t *testing.T) {
	t.Helper()
	for _, line := range strings.Split(p.Output(), "\n") {
		if strings.Contains(line, "used inconsistently") || strings.Contains(line, "is present in") || strings.Contains(line, "Bad encapsulated") {
			t.Errorf("OpenVPN complains: %s", line)
		}
	}
}

func TestOpenVPNInEveryRole(t *testing.T) {
	for i, c := range []struct{ name, ours, theirs string }{
		{"UDP", "--local 127.0.1.1 --remote 127.0.1.2", "--local 127.0.1.2 --remote 127.0.1.1"},
		{"UDP, we float", "--local 127.0.1.1", "--local 127.0.1.2 --remote 127.0.1.1 --ping 1"},
		{"UDP, it floats", "--local 127.0.1.1 --remote 127.0.1.2 --ping 1", "--local 127.0.1.2"},
		{"UDP over IPv6", "--local ::1 --lport 5001 --remote ::1 5002 --proto udp6", "--proto udp6 --local ::1 --lport 5002 --remote ::1 5001"},
		{"TCP, we listen", "--local 127.0.1.1 --remote 127.0.1.2 --proto tcp-server", "--local 127.0.1.2 --remote 127.0.1.1 --proto tcp-client"},
		{"TCP, we connect", "--local 127.0.1.1 --remote 127.0.1.2 --proto tcp-client", "--local 127.0.1.2 --remote 127.0.1.1 --proto tcp-server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			needOpenVPN(t)
			p := startOpenVPN(t, fmt.Sprintf("tap%d", i), i, c.theirs)
			s := newStation(t, fmt.Sprintf("10.8.%d.2", i), "--dev tap "+c.ours)
			s.ping(p.addr, 1, 56)
			s.ping(p.addr, 2, 1472)
			s.isPingedBy(p)
			s.expectHostsFramesOnly()
			p.expectNoMismatch(t)
		})
	}
}

func TestOpenVPNChecksTheOptions(t *testing.T) {
	needOpenVPN(t)
	// The same at both ends; and, to see that our answer is read, not the same.
	// OpenVPN 2.6 tells of a difference from --verb 7 on.
	good := startOpenVPN(t, "tap20", 20, "--local 127.0.2.2 --remote 127.0.2.1 --verb 7")
	bad := startOpenVPN(t, "tap21", 21, "--local 127.0.2.4 --remote 127.0.2.3 --proto tcp-client --verb 7")
	a := newStation(t, "10.8.20.2", "--local 127.0.2.1 --remote 127.0.2.2 --ifconfig 10.8.20.2 255.255.255.0")
	b := newStation(t, "10.8.21.2", "--local 127.0.2.3 --remote 127.0.2.4 --proto tcp-server --tun-mtu 1400")
	bad.Expect(t, "'tun-mtu' is used inconsistently, local='tun-mtu 1500', remote='tun-mtu 1400'", patience)
	bad.Expect(t, "'ifconfig' is present in local config but missing in remote config, local='ifconfig 10.8.21.0 255.255.255.0'", patience)
	eventually(t, "a request", func() bool { return a.port.Counters().Read.Count(ethernet.Control) > 0 })
	a.ping(good.addr, 1, 56) // goes behind the answer
	good.expectNoMismatch(t)
	a.expectHostsFramesOnly()
	b.expectHostsFramesOnly()
}

func TestOpenVPNMeasuresTheMTU(t *testing.T) {
	needOpenVPN(t)
	p := startOpenVPN(t, "tap22", 22, "--local 127.0.2.6 --remote 127.0.2.5 --mtu-test --verb 8")
	s := newStation(t, "10.8.22.2", "--local 127.0.2.5 --remote 127.0.2.6")
	s.ping(p.addr, 1, 56)
	// 3 s between its messages: seeing a load go and come shows both ways.
	p.Expect(t, "Beginning empirical MTU test", patience)
	p.Expect(t, "UDPv4 READ [1532]", patience) // the load that it asked us for
	s.expectHostsFramesOnly()
}

// An OpenVPN answers the MTU test over a path that takes no packets of full length, and
// does so at once: the session's clock goes on without waiting.
func TestOpenVPNAnswersTheMTUTest(t *testing.T) {
	const loadRequest, load, request, reply = 2, 3, 4, 5 // of OpenVPN's occ.h
	needOpenVPN(t)
	ip(t, "link set lo mtu 1500")
	defer ip(t, "link set lo mtu 65536")
	p := startOpenVPN(t, "tap25", 25, "--local 127.0.2.11 --remote 127.0.2.10 --mtu-disc yes --ping 1")
	text, counters := &nstest.Buffer{}, &ethernet.Counters{}
	log := slog.New(slog.NewTextHandler(text, nil))
	conn, err := transport.OpenUDP(t.Context(), transport.UDPConfig{
		Socket: transport.Socket{Discovery: transport.DiscoverYes}, MaxPacket: openvpn.MaxPacket(1500), Counters: counters, Log: log,
		Local: netip.MustParseAddrPort("127.0.2.10:1194"), Remotes: []netip.AddrPort{netip.MustParseAddrPort("127.0.2.11:1194")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	now := time.Now()
	session, err := openvpn.NewSession(openvpn.Config{
		Options: openvpn.Options{MTU: 1500, Proto: openvpn.UDP}, MTUTest: true, Dropped: &counters.Read, Unsent: &counters.Write, Log: log,
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	hear := func(opcode byte) { // or anything, for 0
		t.Helper()
		defer time.AfterFunc(patience, conn.Interrupt).Stop()
		for heard := false; !heard; {
			packets, err := conn.ReadPackets()
			if err != nil {
				t.Fatalf("message %d does not come: %v; openvpn says:\n%s", opcode, err, p.Output())
			}
			for _, p := range packets {
				heard = heard || opcode == 0 || len(p) > 16 && p[16] == opcode
			}
			session.Decode(nil, packets, conn.Peer(), now)
		}
	}
	hear(0)
	for !strings.Contains(text.String(), "the MTU test is done") {
		packet, again := session.Message(now)
		if packet == nil {
			if now = now.Add(again); again == 0 {
				t.Fatalf("the test ends without a result:\n%s", text)
			}
			continue
		}
		conn.Send(packet, netip.AddrPort{}) // fails for the longest
		switch opcode := packet[16]; {
		case opcode == loadRequest && binary.BigEndian.Uint16(packet[17:]) <= 1440:
			hear(load)
		case opcode == request:
			hear(reply)
		}
	}
	// 1540 less 100, and 8 for a packet id that is not there, with 28 of IP and UDP; the
	// next step is 1510. Of what it could not send, OpenVPN does not tell.
	if !strings.Contains(text.String(), "tried=1532 arrived=1432 peer-tried=1432 peer-arrived=1432") {
		t.Errorf("%s\nopenvpn says:\n%s", text, p.Output())
	}
}

func TestOpenVPNsPingsAreAnswered(t *testing.T) {
	needOpenVPN(t)
	p := startOpenVPN(t, "tap23", 23, "--local 127.0.2.8 --remote 127.0.2.7 --ping 1 --ping-restart 4")
	s := newStation(t, "10.8.23.2", "--local 127.0.2.7 --remote 127.0.2.8 --ping 1 --ping-restart 4")
	s.ping(p.addr, 1, 56)
	seen := s.port.Counters().Read.Count(ethernet.Control)
	eventually(t, "pings", func() bool { return s.port.Counters().Read.Count(ethernet.Control) >= seen+6 })
	if strings.Contains(p.Output(), "Inactivity timeout") || strings.Contains(s.log.String(), "lost") {
		t.Errorf("one end has not heard the other's pings; log:\n%s", s.log)
	}
	s.expectHostsFramesOnly()
	// And without ours OpenVPN restarts, which shows that they were what held it.
	s.elem.Close()
	p.Expect(t, "Inactivity timeout (--ping-restart), restarting", patience)
}

func TestOpenVPNRestarted(t *testing.T) {
	for i, c := range []struct{ name, ours, theirs string }{
		{"UDP", "--local 127.0.3.1 --remote 127.0.3.2", "--local 127.0.3.2 --remote 127.0.3.1"},
		{"TCP, we listen", "--local 127.0.3.1 --proto tcp-server", "--local 127.0.3.2 --remote 127.0.3.1 --proto tcp-client"},
		{"TCP, we connect", "--local 127.0.3.1 --remote 127.0.3.2 --proto tcp-client --connect-retry 1 1", "--local 127.0.3.2 --proto tcp-server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			needOpenVPN(t)
			n := 30 + i
			dev := fmt.Sprintf("tap%d", n)
			p := startOpenVPN(t, dev, n, c.theirs)
			s := newStation(t, fmt.Sprintf("10.8.%d.2", n), c.ours)
			s.ping(p.addr, 1, 56)
			p.Stop()
			p = startOpenVPN(t, dev, n, c.theirs)
			s.ping(p.addr, 2, 56)
			s.isPingedBy(p)
			s.elem.Close() // and now our end
			s = newStation(t, fmt.Sprintf("10.8.%d.2", n), c.ours)
			s.ping(p.addr, 3, 56)
			s.isPingedBy(p)
			s.expectHostsFramesOnly()
		})
	}
}

func TestOpenVPNTakesPacketsOfMaxPacket(t *testing.T) {
	needOpenVPN(t)
	p := startOpenVPN(t, "tap24", 24, "--local 127.0.2.9 --proto tcp-server")
	limit := openvpn.MaxPacket(1500)
	var conn net.Conn
	eventually(t, "a connection", func() (ok bool) {
		var err error
		conn, err = net.Dial("tcp", "127.0.2.9:1194")
		return err == nil
	})
	defer conn.Close()
	conn.Write(openvpn.AppendStream(nil, [][]byte{make([]byte, limit), make([]byte, limit+1)}))
	p.Expect(t, fmt.Sprintf("Bad encapsulated packet length from peer (%d), which must be > 0 and <= %d", limit+1, limit), patience)
	if strings.Contains(p.Output(), fmt.Sprintf("from peer (%d)", limit)) {
		t.Error("a packet of MaxPacket is too long for it")
	}
}
