package nat

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/netstack"
	"tmelink/internal/nstest"
	"tmelink/internal/tmesh"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// The addresses of every test's network.
const (
	gateway4, gateway6 = "10.0.77.1", "fd00:77::1"
	guest4, guest6     = "10.0.77.2/24", "fd00:77::2/64"
)

// words makes an argument list of a text.
func words(text string) element.Args {
	var args element.Args
	for i, w := range strings.Fields(text) {
		args.Words = append(args.Words, tmesh.Word{Text: w, Pos: tmesh.Pos{File: "m.tme", Line: 1, Column: i + 1}})
	}
	return args
}

// build makes a gateway as a description would, whose log is the test's.
func build(t testing.TB, text string) (*NAT, *nstest.Buffer) {
	t.Helper()
	log := &nstest.Buffer{}
	env := element.Env{Machine: "m", Name: "nat0", Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(log, nil))}
	typ, ok := element.Lookup("tme/host/nat")
	if !ok {
		t.Fatal("the type is not registered")
	}
	e, err := typ.New(env, words(text))
	if err != nil {
		t.Fatal(err)
	}
	return e.(*NAT), log
}

// run starts a gateway with further words, joins a guest to it, and expects that
// nothing is left of either when the test ends.
func run(t testing.TB, text string) (*NAT, *netstack.Host, *nstest.Buffer) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	n, log := build(t, "inet 10.0.77.1/24 inet6 fd00:77::1/64 "+text)
	start(t, n)
	guest := netstack.New(netstack.Config{
		HardwareAddr: ethernet.Addr{2, 0, 0, 0, 0, 2},
		Addrs:        []netip.Prefix{netip.MustParsePrefix(guest4), netip.MustParsePrefix(guest6)},
		Gateways:     []netip.Addr{netip.MustParseAddr(gateway4), netip.MustParseAddr(gateway6)},
		Nameservers:  []netip.Addr{netip.MustParseAddr(gateway4)},
	})
	if err := guest.Start(); err != nil {
		t.Fatal(err)
	}
	port, err := n.Attach(element.Args{})
	if err != nil {
		t.Fatal(err)
	}
	var wire sync.WaitGroup
	wire.Go(func() { pump(port, guest.Port(), func(f []byte) { noteICMP(log, f) }) })
	wire.Go(func() { pump(guest.Port(), port, func([]byte) {}) })
	t.Cleanup(wire.Wait)
	t.Cleanup(func() { guest.Close() })
	t.Cleanup(func() { n.Close() })
	return n, guest, log
}

func start(t testing.TB, n *NAT) {
	t.Helper()
	if err := n.Start(context.Background()); err != nil {
		n.Close()
		t.Fatal(err)
	}
}

// noteICMP writes an ICMP message's type and code into the log: "icmp 3 13".
func noteICMP(log *nstest.Buffer, frame []byte) {
	switch {
	case len(frame) > 36 && frame[12] == 8 && frame[13] == 0 && frame[23] == 1:
		fmt.Fprintf(log, "icmp %d %d\n", frame[34], frame[35])
	case len(frame) > 56 && frame[12] == 0x86 && frame[20] == 58:
		fmt.Fprintf(log, "icmp6 %d %d\n", frame[54], frame[55])
	}
}

// pump is one direction of a connection. It shows each frame to see.
func pump(from, to ethernet.Port, see func([]byte)) {
	var finisher ethernet.Segmenter
	for {
		frames, err := from.ReadFrames()
		if err != nil {
			return
		}
		frames = finisher.Finish(frames, to.Offloads(), to.MaxFrame(), &to.Counters().Write)
		for _, f := range frames {
			see(f.Data)
		}
		if to.WriteFrames(frames) != nil {
			return
		}
	}
}

// within gives a context that ends well after anything that should happen.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// random is n bytes that no counter or pattern would give.
func random(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// at is the gateway's address, which with loopback allow leads to this computer,
// with the port of a server here.
func at(server net.Addr) netip.AddrPort {
	var port int
	var ip net.IP
	switch a := server.(type) {
	case *net.TCPAddr:
		port, ip = a.Port, a.IP
	case *net.UDPAddr:
		port, ip = a.Port, a.IP
	}
	if ip.To4() == nil {
		return netip.AddrPortFrom(netip.MustParseAddr(gateway6), uint16(port))
	}
	return netip.AddrPortFrom(netip.MustParseAddr(gateway4), uint16(port))
}

// loopbacks are where the test's servers listen.
var loopbacks = []string{"127.0.0.1:0", "[::1]:0"}

// listen serves TCP; each connection is closed when serve returns.
func listen(t testing.TB, address string, serve func(*net.TCPConn)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(func() { l.Close() })
	return l.Addr()
}

// listenUDP serves UDP: what answer gives goes back.
func listenUDP(t testing.TB, address string, answer func([]byte) []byte) net.Addr {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if back := answer(buf[:n]); back != nil {
				c.WriteTo(back, from)
			}
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr()
}

// elsewhere are addresses that this computer has besides loopback's, for the test.
const elsewhere4, elsewhere6 = "198.51.100.1", "2001:db8::1"

// haveElsewhere gives the test's namespace those, and leave to send pings.
func haveElsewhere(t testing.TB) {
	t.Helper()
	nstest.InNamespace(t)
	for _, args := range []string{
		"ip addr replace " + elsewhere4 + "/32 dev lo",
		"ip addr replace " + elsewhere6 + "/128 dev lo nodad",
		"sysctl -qw net.ipv4.ping_group_range=0\t65535",
	} {
		if out, err := exec.Command(strings.Fields(args)[0], strings.Split(args, " ")[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
	}
}
