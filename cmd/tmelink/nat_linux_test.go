package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"tmelink/internal/nstest"
)

// The outside of the NAT tests, as the host reaches it.
const outside4, outside6 = "192.168.0.2", "fd00::2"

// behindNAT makes a host and a server outside, joined by a wire.
func behindNAT(t *testing.T) (host, outer *nstest.Host) {
	t.Helper()
	host, outer = wired(t)
	host.Run("sh", "-c", "echo 0 65535 >/proc/sys/net/ipv4/ping_group_range")
	return host, outer
}

// serveNames is a name server outside that knows www.example as the outside itself.
func serveNames(t *testing.T, outer *nstest.Host) {
	t.Helper()
	var c net.PacketConn
	inside(t, outer, func() (err error) {
		c, err = net.ListenPacket("udp4", outside4+":53")
		return err
	})
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Name.String() == "www.example." && q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: netip.MustParseAddr(outside4).As4()},
				}}
			} else {
				m.RCode = dnsmessage.RCodeNameError
			}
			if answer, err := m.Pack(); err == nil {
				c.WriteTo(answer, from)
			}
		}
	}()
}

// serveWeb is a web server outside with pseudo-random bytes.
func serveWeb(t *testing.T, outer *nstest.Host, size int) {
	t.Helper()
	serveHTTP(t, outer, func(w http.ResponseWriter) { io.Copy(w, io.LimitReader(source(), int64(size))) })
}

// serveHTTP is a web server outside that gives the same answer to everybody.
func serveHTTP(t *testing.T, outer *nstest.Host, answer func(http.ResponseWriter)) {
	t.Helper()
	var l net.Listener
	inside(t, outer, func() (err error) {
		l, err = net.Listen("tcp4", outside4+":80")
		return err
	})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) })}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

// asNobody starts tmelink in a host as an ordinary user.
func asNobody(t *testing.T, h *nstest.Host, description string) *nstest.Process {
	t.Helper()
	dir, err := os.MkdirTemp("", "tmelink")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("tmelink")
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, program, filepath.Join(dir, "tmelink"), 0o755)
	copyFile(t, write(t, "m.tme", description), filepath.Join(dir, "m.tme"), 0o644)
	return h.Start("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", filepath.Join(dir, "tmelink"), "run", filepath.Join(dir, "m.tme"))
}

// TestNATAsOrdinaryUser runs a machine as nobody, whose interfaces reach each other,
// and a server outside by name, TCP and ping, and are reached from outside.
func TestNATAsOrdinaryUser(t *testing.T) {
	nstest.Need(t, "setpriv")
	host, outer := behindNAT(t)
	const size = 10 << 20
	serveNames(t, outer)
	serveWeb(t, outer, size)
	p := asNobody(t, host, "nat0: tme/host/nat inet 10.0.77.1/24 dns "+outside4+" forward tcp 0.0.0.0:8080=10.0.77.2:80 forward udp 0.0.0.0:7007=10.0.77.2:7\n"+
		"sw0 at nat0: tme/generic/switch\n"+
		"le0 at sw0: tme/ic/am7990 inet 10.0.77.2 netmask 255.255.255.0 gateway 10.0.77.1 dns 10.0.77.1\n"+
		"le1 at sw0: tme/ic/am7990 inet 10.0.77.3 netmask 255.255.255.0 gateway 10.0.77.1\n"+
		"command le0 get http://www.example/ sum\n"+
		"command le0 ping www.example count 2 interval 0.1\n"+
		"command le1 ping "+outside4+" count 2 interval 0.1\n"+
		"command le1 ping 10.0.77.2 count 2 interval 0.1\n")
	p.Expect(t, "all commands have succeeded", 60*time.Second)
	if sum := strings.Fields(fetched(size)); !strings.Contains(p.Output(), sum[3]) {
		t.Errorf("the checksum %s of 10 MB is not in\n%s", sum[3], p.Output())
	}
	for _, pinged := range []string{outside4, "10.0.77.2"} {
		if n := strings.Count(p.Output(), "bytes from "+pinged); n < 2 || strings.Contains(p.Output(), "DUP") {
			t.Errorf("%d answers of %s:\n%s", n, pinged, p.Output())
		}
	}

	var got []byte
	inside(t, outer, func() error {
		c, err := net.Dial("tcp", "192.168.0.1:8080")
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(c, "GET /bytes/3000000 HTTP/1.0\r\n\r\n")
		got, err = io.ReadAll(c)
		return err
	})
	if _, body, ok := bytes.Cut(got, []byte("\r\n\r\n")); !ok || len(body) != 3_000_000 || !bytes.HasPrefix(body, []byte("0000000\n0000001\n")) {
		t.Errorf("a forwarded port gave %d bytes", len(got))
	}
	echoes(t, outer, netip.MustParseAddrPort("192.168.0.1:7007"))
	p.Signal(syscall.SIGUSR2)
	p.Expect(t, "10.0.77.1/24, tcp 0, udp ", 10*time.Second)
	if err := p.Stop(); err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
}

// echoes sends datagrams of several sizes from a host to a server that sends them
// back.
func echoes(t *testing.T, from *nstest.Host, to netip.AddrPort) {
	t.Helper()
	inside(t, from, func() error {
		c, err := net.Dial("udp", to.String())
		if err != nil {
			return err
		}
		defer c.Close()
		b := make([]byte, 65535)
		for _, size := range []int{1, 1472, 5000} {
			sent := make([]byte, size)
			io.ReadFull(source(), sent)
			c.Write(sent)
			c.SetDeadline(time.Now().Add(30 * time.Second))
			n, err := c.Read(b)
			if err != nil {
				return fmt.Errorf("%d bytes to %s: %w", size, to, err)
			}
			if !bytes.Equal(b[:n], sent) {
				return fmt.Errorf("%d bytes to %s: other %d bytes came back", size, to, n)
			}
		}
		return nil
	})
}

// udhcpcScript sets the interface up as udhcpc has learned, and tells it.
const udhcpcScript = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface
ip link set mtu $mtu dev $interface
ip route add default via $router
echo "$ip/$mask by $serverid router $router dns $dns domain $domain mtu $mtu lease $lease"
`

// TestNATOfKernel has a kernel behind the NAT, on a TAP in a namespace of its own,
// which gets its addresses by DHCP and router advertisement, and reaches the
// outside by all that there is.
func TestNATOfKernel(t *testing.T) {
	nstest.Need(t, "busybox", "ping")
	host, outer := behindNAT(t)
	guest := nstest.New(t, "guest")
	p := runs(t, host, "nat0: tme/host/nat inet 10.0.77.1/24 inet6 fd00:77::1/64 dhcp 10.0.77.10-10.0.77.20 domain lab.example mtu 1400\n"+
		"tap0 at nat0: tme/host/tun/tap interface tap0 nat none hwaddr 02:00:00:00:77:09 netns "+guest.Name+"\n")
	p.Expect(t, "up after", 20*time.Second)
	script := write(t, "udhcpc", udhcpcScript)
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	out := guest.Run("busybox", "udhcpc", "-i", "tap0", "-f", "-q", "-n", "-O", "mtu", "-O", "domain", "-s", script)
	if want := "10.0.77.10/24 by 10.0.77.1 router 10.0.77.1 dns 10.0.77.1 domain lab.example mtu 1400 lease 43200"; !strings.Contains(out, want) {
		t.Fatalf("udhcpc has learned\n%s\nwant %s", out, want)
	}
	address6 := regexp.MustCompile(`inet6 fd00:77::\S+/64`)
	if !nstest.Eventually(30*time.Second, func() bool {
		addrs := guest.IP("-6", "addr", "show", "dev", "tap0")
		return address6.MatchString(addrs) && !strings.Contains(addrs, "tentative") && strings.Contains(guest.IP("-6", "route"), "default via fe80::")
	}) {
		t.Fatalf("the guest has made no address of the router advertisement:\n%s%s", guest.IP("-6", "addr"), guest.IP("-6", "route"))
	}

	r := reach{a: guest, b: outer}
	for _, to := range []string{outside4, outside6} {
		addr := netip.MustParseAddr(to)
		r.tcp(t, ends{b: addr}, 10<<20)
		echoServer := echoServer(t, outer, addr)
		echoes(t, guest, echoServer)
		for _, size := range []string{"0", "56", "4000"} {
			guest.Run("ping", "-c", "2", "-i", "0.2", "-W", "10", "-s", size, to)
		}
		inside(t, guest, func() error {
			if _, err := net.DialTimeout("tcp", netip.AddrPortFrom(addr, 1).String(), 20*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
				return fmt.Errorf("connect to a closed port of %s: %v, want refused", to, err)
			}
			return errorOfUDP(netip.AddrPortFrom(addr, 1), syscall.ECONNREFUSED)
		})
	}
	// No route leads there from the host, and nothing leads to the host itself.
	inside(t, guest, func() error {
		if _, err := net.DialTimeout("tcp", "203.0.113.1:80", 20*time.Second); !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, syscall.EHOSTUNREACH) {
			return fmt.Errorf("connect to where the host has no route: %v", err)
		}
		if _, err := net.DialTimeout("tcp", "192.168.0.1:22", 20*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("connect to the host itself: %v", err)
		}
		// Nobody outside has that address.
		return errorOfUDP(netip.MustParseAddrPort("192.168.0.77:1"), syscall.EHOSTUNREACH)
	})
	if out, err := guest.Try("ping", "-c", "1", "-W", "20", "192.168.0.77"); err == nil || !strings.Contains(out, "Destination Host Unreachable") {
		t.Errorf("ping an address that nobody has: %v\n%s", err, out)
	}
	// A path outside that takes less than the guest sends is told to the guest.
	host.IP("route", "add", "192.168.9.9", "via", outside4, "mtu", "1000")
	outer.IP("addr", "add", "192.168.9.9/32", "dev", "lo")
	inside(t, guest, func() error { return tooLong(netip.MustParseAddrPort("192.168.9.9:7"), 1000) })

	neighbours := guest.IP("neigh")
	if n := strings.Count(neighbours, "lladdr"); n < 2 || slices.Contains(strings.Fields(neighbours), "FAILED") {
		t.Errorf("the guest's neighbours: %s", neighbours)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
}

// echoServer sends datagrams back at an address of a host.
func echoServer(t *testing.T, h *nstest.Host, addr netip.Addr) netip.AddrPort {
	t.Helper()
	var c net.PacketConn
	inside(t, h, func() (err error) {
		c, err = net.ListenPacket("udp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 65535)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:n], from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// errorOfUDP expects that a datagram comes back as an error.
func errorOfUDP(to netip.AddrPort, want syscall.Errno) error {
	c, err := net.Dial("udp", to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := setOptions(c.(*net.UDPConn), option{syscall.IPPROTO_IP, syscall.IP_RECVERR, 1}); err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	c.Write([]byte("anybody?"))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, want) {
		return fmt.Errorf("a datagram to %s: %v, want %v", to, err, want)
	}
	return nil
}

// tooLong expects that a datagram that must not be fragmented comes back as too
// long for a path with such an MTU.
func tooLong(to netip.AddrPort, mtu int) error {
	c, err := net.Dial("udp", to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := setOptions(c.(*net.UDPConn), option{syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO}); err != nil {
		return err
	}
	known := 0
	nstest.Eventually(20*time.Second, func() bool {
		c.Write(make([]byte, 1200))
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err == nil {
			raw.Control(func(fd uintptr) { known, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU) })
		}
		return known == mtu
	})
	if known != mtu {
		return fmt.Errorf("the path to %s has MTU %d for the guest, want %d", to, known, mtu)
	}
	return nil
}
