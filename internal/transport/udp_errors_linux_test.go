package transport

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/nstest"
)

const nobodyListens = "nothing listens at the peer's port"

// TestUDPTellsOfAnUnreachablePort: once, with advice, and the kernel's answer to
// one datagram costs no other.
func TestUDPTellsOfAnUnreachablePort(t *testing.T) {
	for name, sizes := range map[string][]int{"a packet": {100}, "a group": same(10, 100), "groups": join(same(10, 100), same(10, 300))} {
		for _, reading := range []bool{false, true} {
			dead := plain(t, "127.0.0.1:0")
			addr := portOf(dead)
			dead.Close()
			u, counters, l := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{addr}})
			done := make(chan struct{})
			go func() {
				defer close(done)
				for reading {
					if _, err := u.ReadPackets(); err != nil {
						return
					}
				}
			}()
			packets := packetsOf(sizes, true)
			for range 10 {
				u.WritePackets(packets)
			}
			if !nstest.Eventually(10*time.Second, func() bool { return l.has(nobodyListens) }) || !l.has("peer="+addr.String()) {
				t.Errorf("%s, reading %v: the log does not tell: %s", name, reading, l.b.String())
			}
			back := plain(t, addr.String())
			u.WritePackets(packets) // the last answer is still to be taken off the socket
			u.WritePackets(packets)
			compare(t, takePlain(t, back, 2*len(packets)), slices.Concat(packets, packets))
			if n := l.count(nobodyListens); n != 1 {
				t.Errorf("%s, reading %v: told %d times", name, reading, n)
			}
			if n := counters.Write.Total(); n != 0 {
				t.Errorf("%s, reading %v: %d packets are counted as not sent", name, reading, n)
			}
			u.Close()
			<-done
		}
	}
}

func TestParseError(t *testing.T) {
	extended := func(errno unix.Errno, info uint32) []byte { // struct sock_extended_err
		b := binary.NativeEndian.AppendUint32(nil, uint32(errno))
		b = append(b, unix.SO_EE_ORIGIN_ICMP, 3, 4, 0)
		b = binary.NativeEndian.AppendUint32(b, info)
		return binary.NativeEndian.AppendUint32(b, 0)
	}
	v4 := func(errno unix.Errno, info uint32) []byte {
		// Behind the error stands the address of who reported it.
		return controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, append(extended(errno, info), make([]byte, 16)...))
	}
	v6 := controlMessage(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, append(extended(unix.ECONNREFUSED, 0), make([]byte, 28)...))
	foreign := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 16))
	long := v4(unix.EMSGSIZE, 1400)
	binary.NativeEndian.PutUint32(long, uint32(len(long)+1))
	short := v4(unix.EMSGSIZE, 1400)
	binary.NativeEndian.PutUint32(short, unix.SizeofCmsghdr-1)
	empty := v4(unix.EMSGSIZE, 1400)
	binary.NativeEndian.PutUint32(empty, 0)
	bare := slices.Clone(v4(unix.EMSGSIZE, 1400))
	binary.NativeEndian.PutUint32(bare, unix.SizeofCmsghdr)
	frag := socketError{errno: unix.EMSGSIZE, origin: unix.SO_EE_ORIGIN_ICMP, info: 1400}
	refused := socketError{errno: unix.ECONNREFUSED, origin: unix.SO_EE_ORIGIN_ICMP}
	for name, c := range map[string]struct {
		control []byte
		want    socketError
		ok      bool
	}{
		"IPv4":                       {v4(unix.EMSGSIZE, 1400), frag, true},
		"IPv6":                       {v6, refused, true},
		"without the reporter":       {controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extended(unix.EMSGSIZE, 1400)), frag, true},
		"none":                       {nil, socketError{}, false},
		"a foreign one":              {foreign, socketError{}, false},
		"behind a foreign one":       {slices.Concat(foreign, v4(unix.EMSGSIZE, 1400)), frag, true},
		"two":                        {slices.Concat(v6, v4(unix.EMSGSIZE, 1400)), refused, true},
		"of IPv6 with IPv4's number": {controlMessage(unix.IPPROTO_IPV6, unix.IP_RECVERR, extended(unix.EMSGSIZE, 1400)), socketError{}, false},
		"truncated":                  {v4(unix.EMSGSIZE, 1400)[:unix.SizeofCmsghdr+15], socketError{}, false},
		"a header":                   {v4(unix.EMSGSIZE, 1400)[:unix.SizeofCmsghdr], socketError{}, false},
		"half a header":              {v4(unix.EMSGSIZE, 1400)[:unix.SizeofCmsghdr/2], socketError{}, false},
		"longer than there is":       {long, socketError{}, false},
		"shorter than its header":    {short, socketError{}, false},
		"of no length":               {empty, socketError{}, false},
		"of its header alone":        {bare, socketError{}, false},
		"short, behind a foreign":    {slices.Concat(foreign, v4(unix.EMSGSIZE, 1400)[:unix.SizeofCmsghdr+15]), socketError{}, false},
		"zeros":                      {make([]byte, 128), socketError{}, false},
	} {
		if got, ok := parseError(c.control); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, ok, c.want, c.ok)
		}
	}
}

func TestNoteError(t *testing.T) {
	peer := netip.MustParseAddrPort("127.0.0.1:1194")
	for name, c := range map[string]struct {
		errno unix.Errno
		info  uint32
		to    string
		want  int
	}{
		"told":                         {unix.EMSGSIZE, 1400, "127.0.0.1:1194", 1400},
		"of another port of the peer":  {unix.EMSGSIZE, 1400, "127.0.0.1:53", 1400},
		"the least":                    {unix.EMSGSIZE, 576, "127.0.0.1:1194", 576},
		"less than the least":          {unix.EMSGSIZE, 575, "127.0.0.1:1194", 1300},
		"nothing":                      {unix.EMSGSIZE, 0, "127.0.0.1:1194", 1300},
		"the most":                     {unix.EMSGSIZE, 65535, "127.0.0.1:1194", 65535},
		"more than the most":           {unix.EMSGSIZE, 65536, "127.0.0.1:1194", 1300},
		"less than nothing":            {unix.EMSGSIZE, 1<<32 - 1400, "127.0.0.1:1194", 1300},
		"of another host":              {unix.EMSGSIZE, 1400, "127.0.0.2:1194", 1300},
		"of nobody":                    {unix.EMSGSIZE, 1400, "", 1300},
		"another error with a number":  {unix.EHOSTUNREACH, 1400, "127.0.0.1:1194", 1300},
		"another error, another host":  {unix.ECONNREFUSED, 0, "127.0.0.2:1194", 1300},
		"another error without number": {unix.ECONNREFUSED, 0, "127.0.0.1:1194", 1300},
	} {
		u, _, l := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{peer}})
		u.noteError(socketError{errno: unix.EMSGSIZE, info: 1300}, peer)
		if u.PathMTU() != 1300 {
			t.Fatalf("the path takes %d, want 1300", u.PathMTU())
		}
		var to netip.AddrPort
		if c.to != "" {
			to = netip.MustParseAddrPort(c.to)
		}
		for range 3 {
			u.noteError(socketError{errno: c.errno, info: c.info}, to)
		}
		if u.PathMTU() != c.want {
			t.Errorf("%s: the path takes %d, want %d", name, u.PathMTU(), c.want)
		}
		lines := 1 // of the first
		if c.want != 1300 || c.to == peer.String() {
			lines = 2
		}
		if n := l.count("\n"); n != lines {
			t.Errorf("%s: %d lines in the log, want %d:\n%s", name, n, lines, l.b.String())
		}
	}
	u, _, _ := openUDP(t, UDPConfig{})
	u.noteError(socketError{errno: unix.EMSGSIZE, info: 1300}, peer)
	if u.PathMTU() != 0 {
		t.Error("without a peer somebody has set the MTU of the path")
	}
}

// unreachable is the ICMP message (RFC 792; code 4: RFC 1191) that one gets who
// has sent a UDP datagram between these addresses.
func unreachable(code byte, mtu uint16, from, to netip.AddrPort) []byte {
	m := []byte{3, code, 0, 0, 0, 0}
	m = binary.BigEndian.AppendUint16(m, mtu)
	m = append(m, 0x45, 0, 5, 0xdc, 0, 0, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0)
	m = append(append(m, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	m = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(m, from.Port()), to.Port())
	m = append(m, 5, 0xc8, 0, 0)
	var sum uint32
	for i := 0; i < len(m); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(m[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(m[2:], ^uint16(sum))
	return m
}

// TestUDPLearnsThePathsMTU: what a router says of one datagram costs no other,
// whether the reader or the writer takes it up.
func TestUDPLearnsThePathsMTU(t *testing.T) {
	ownNamespace(t)
	router, err := net.Dial("ip4:icmp", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	peer := plain(t, "127.0.0.1:0")
	for name, sizes := range map[string][]int{"a packet": {1200}, "a group": same(10, 1200)} {
		for _, reading := range []bool{false, true} {
			u, counters, l := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{portOf(peer)}})
			done := make(chan struct{})
			go func() {
				defer close(done)
				for reading {
					if _, err := u.ReadPackets(); err != nil {
						return
					}
				}
			}()
			if _, err := router.Write(unreachable(4, 1300, u.Local(), portOf(peer))); err != nil {
				t.Fatal(err)
			}
			if reading && !nstest.Eventually(10*time.Second, func() bool { return u.PathMTU() == 1300 }) {
				t.Errorf("%s: the reader has not heard", name)
			}
			packets := packetsOf(sizes, true)
			u.WritePackets(packets)
			u.WritePackets(texts("the end", 1))
			got := takePlain(t, peer, 1)
			for len(got) < 100 && !strings.HasPrefix(string(got[len(got)-1]), "the end") {
				got = append(got, takePlain(t, peer, 1)...)
			}
			if len(got) != len(packets)+1 {
				t.Errorf("%s, reading %v: %d packets arrived, want %d", name, reading, len(got)-1, len(packets))
			}
			if u.PathMTU() != 1300 || !l.has("mtu=1300") {
				t.Errorf("%s, reading %v: the path's MTU is %d, want 1300: %s", name, reading, u.PathMTU(), l.b.String())
			}
			if n := counters.Write.Total(); n != 0 {
				t.Errorf("%s, reading %v: %d packets are counted as not sent", name, reading, n)
			}
			if n := u.tx.groupSize; n != maxDatagram {
				t.Errorf("%s, reading %v: groups only of packets of up to %d bytes", name, reading, n)
			}
			u.Close()
			<-done
		}
	}
}

// TestUDPHearsOfErrorsWhileItCannotSend: the poller then has nothing but an error
// to tell.
func TestUDPHearsOfErrorsWhileItCannotSend(t *testing.T) {
	ownNamespace(t)
	nstest.NeedPrograms(t, "tc")
	run(t, "ip link add v0 type veth peer name v1")
	run(t, "ip addr add 192.0.2.1/24 dev v0")
	run(t, "ip link set v0 up")
	run(t, "ip link set v1 up")
	run(t, "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev v0")
	run(t, "tc qdisc add dev v0 root tbf rate 8kbit burst 2kb latency 1000s")
	router, err := net.Dial("ip4:icmp", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	far := netip.MustParseAddrPort("192.0.2.2:1194")
	u, _, l := openUDP(t, UDPConfig{
		Local: netip.MustParseAddrPort("192.0.2.1:0"), Remotes: []netip.AddrPort{far}, Float: true, Socket: Socket{SendBuffer: 1},
	})
	got := make(chan string, 10)
	failed := make(chan error, 1)
	go func() {
		for {
			packets, err := u.ReadPackets()
			if err != nil {
				failed <- err
				return
			}
			for _, p := range packets {
				got <- string(p)
			}
		}
	}()
	written := make(chan struct{})
	go func() {
		defer close(written)
		u.WritePackets(packetsOf(same(640, 1000), true))
	}()
	select {
	case <-written:
		t.Fatal("the socket takes it all")
	case <-time.After(50 * time.Millisecond):
	}
	router.Write(unreachable(1, 0, u.Local(), far))
	if !nstest.Eventually(10*time.Second, func() bool { return l.has("no route to host") }) {
		t.Errorf("the log does not tell: %s", l.b.String())
	}
	plain(t, "192.0.2.1:0").WriteToUDPAddrPort([]byte("it goes on"), u.Local())
	select {
	case text := <-got:
		if text != "it goes on" {
			t.Errorf("got %q", text)
		}
	case err := <-failed:
		t.Fatalf("the socket is lost: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is received")
	}
	u.Close()
	if err := <-failed; err != net.ErrClosed {
		t.Error(err)
	}
	<-written
}
