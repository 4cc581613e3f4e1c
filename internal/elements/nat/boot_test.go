package nat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/netstack"
)

func rarp(from, target ethernet.Addr) []byte {
	f := append(append(ethernet.Broadcast[:], from[:]...), 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, rarpRequest)
	f = append(append(f, from[:]...), 0, 0, 0, 0)
	return append(append(append(f, target[:]...), 0, 0, 0, 0), make([]byte, 18)...)
}

func TestRARP(t *testing.T) {
	n := serving(t, "lease 08:00:20:01:02:03=10.0.77.5 hwaddr 02:00:00:00:00:01")
	stranger := ethernet.Addr{8, 0, 0x20, 9, 9, 9}
	for name, f := range map[string][]byte{
		"a stranger":     rarp(stranger, stranger),
		"a reply":        append(append(rarp(client, client)[:21], rarpReply), rarp(client, client)[22:]...),
		"a short one":    rarp(client, client)[:40],
		"another format": append(append(rarp(client, client)[:15], 6), rarp(client, client)[16:]...),
	} {
		if answer := n.answerRARP(f); answer != nil {
			t.Errorf("%s was answered: %x", name, answer)
		}
	}
	port := n.host.Port()
	if err := port.WriteFrames([]ethernet.Frame{{Data: rarp(client, client)}}); err != nil {
		t.Fatal(err)
	}
	want := "080020010203" + "020000000001" + "8035" + "0001080006040004" + "020000000001" + "0a004d01" + "080020010203" + "0a004d05" + strings.Repeat("00", 18)
	for {
		frames, err := port.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			if binary.BigEndian.Uint16(f.Data[12:]) == ethernet.TypeRARP {
				if got := fmt.Sprintf("%x", f.Data); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				return
			}
		}
	}
}

func FuzzRARP(f *testing.F) {
	f.Add(rarp(client, client))
	n, _ := build(f, "inet 10.0.77.1/24 lease 08:00:20:01:02:03=10.0.77.5")
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < ethernet.HeaderLen {
			return
		}
		if b := n.answerRARP(frame); b != nil && (len(b) != ethernet.MinFrame || ethernet.Addr(b[32:38]) != client) {
			t.Errorf("%x", b)
		}
	})
}

// A router solicitation is answered with all that a guest needs.
func TestRouterAdvertisement(t *testing.T) {
	n, _ := build(t, "inet6 fd00:77::1/64 mtu 1400 hwaddr 02:00:00:00:00:01")
	start(t, n)
	t.Cleanup(func() { n.Close() })
	guest := netip.MustParseAddr("fe80::5")
	ask := func(from netip.Addr) []byte {
		m := []byte{routerSolicit, 0, 0, 0, 0, 0, 0, 0}
		to := netip.MustParseAddr("ff02::2")
		binary.BigEndian.PutUint16(m[2:], ^ethernet.InternetSum(m, ethernet.PseudoSum(from.AsSlice(), to.AsSlice(), protoICMPv6, len(m))))
		f := append(append([]byte{0x33, 0x33, 0, 0, 0, 2}, client[:]...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, protoICMPv6, 255)
		return append(append(append(f, from.AsSlice()...), to.AsSlice()...), m...)
	}
	want := "8600" + "%s" + "4000" + "0708" + "0000000000000000" + "0101020000000001" + "0501000000000578" +
		"030440c0" + "00015180" + "00003840" + "00000000" + "fd000077000000000000000000000000" + "19030000" + "00000708" + "fd000077000000000000000000000001"
	for from, dst := range map[netip.Addr]ethernet.Addr{guest: client, netip.IPv6Unspecified(): allNodesAddr} {
		if err := n.host.Port().WriteFrames([]ethernet.Frame{{Data: ask(from)}}); err != nil {
			t.Fatal(err)
		}
		for found := false; !found; {
			frames, err := n.host.Port().ReadFrames()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames {
				if binary.BigEndian.Uint16(f.Data[12:]) != ethernet.TypeIPv6 || f.Data[20] != protoICMPv6 || ethernet.Dst(f.Data) != dst {
					continue
				}
				found = true
				ip, m := f.Data[14:], f.Data[54:]
				if ip[7] != 255 || !netip.AddrFrom16([16]byte(ip[8:])).IsLinkLocalUnicast() ||
					ethernet.InternetSum(m, ethernet.PseudoSum(ip[8:24], ip[24:40], protoICMPv6, len(m))) != 0xffff {
					t.Errorf("to %s: %x", dst, ip)
				}
				if got := fmt.Sprintf("%x", m); got != fmt.Sprintf(want, got[4:8]) {
					t.Errorf("to %s:\ngot  %s\nwant %s", dst, got, want)
				}
			}
		}
	}
	broken := ask(guest)
	broken[len(broken)-1] ^= 1
	if _, ok := solicitation(&ethernet.Frame{Data: broken}); ok {
		t.Error("a solicitation with a wrong checksum was taken")
	}
}

// tftpClient reads a file, as the oldest clients do unless there are options.
type tftpClient struct {
	t       *testing.T
	socket  net.PacketConn
	options string
	deaf    bool // it does not acknowledge the first time
}

var errTFTP = errors.New("the server says no")

func (c *tftpClient) read(name string) (data []byte, oack string, err error) {
	c.t.Helper()
	c.socket.SetDeadline(time.Now().Add(time.Minute))
	gateway := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(gateway4 + ":69"))
	request := "\x00\x01" + name + "\x00octet\x00" + c.options
	if _, err := c.socket.WriteTo([]byte(request), gateway); err != nil {
		c.t.Fatal(err)
	}
	block, next := tftpBlock, uint16(1)
	buf := make([]byte, 65535)
	for {
		n, from, err := c.socket.ReadFrom(buf)
		if err != nil {
			c.t.Fatal(err)
		}
		number := binary.BigEndian.Uint16(buf[2:])
		switch buf[1] {
		case tftpError:
			return nil, "", fmt.Errorf("%w: %d %s", errTFTP, number, bytes.TrimRight(buf[4:n], "\x00"))
		case tftpOAck:
			oack, number = string(buf[2:n]), 0
			if _, err := fmt.Sscanf(oack, "blksize\x00%d\x00", &block); err != nil {
				block = tftpBlock
			}
		case tftpData:
			if c.deaf {
				c.deaf = false
				continue
			}
			if number == next {
				data = append(data, buf[4:n]...)
				next++
			}
		}
		c.socket.WriteTo(binary.BigEndian.AppendUint16([]byte{0, tftpAck}, number), from)
		if buf[1] == tftpData && n-4 < block {
			return data, oack, nil
		}
	}
}

func TestTFTP(t *testing.T) {
	dir := t.TempDir()
	files := map[string][]byte{"empty": {}, "small": []byte("x"), "even": random(4 * tftpBlock), "sub/large": random(5 << 20)}
	os.Mkdir(filepath.Join(dir, "sub"), 0o755)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	_, guest, _ := run(t, "tftp "+dir)
	client := func(options string) *tftpClient {
		// Each request from a port of its own, as the standard wants.
		c, err := guest.ListenUDP(netip.AddrPortFrom(netip.MustParsePrefix(guest4).Addr(), 0))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return &tftpClient{t: t, socket: c, options: options}
	}
	for _, tt := range []struct{ name, options, oack string }{
		{"empty", "", ""},
		{"small", "", ""},
		{"/even", "", ""},
		{"even", "tsize\x000\x00", "tsize\x002048\x00"},
		{"even", "nonsense\x00yes\x00blksize\x004\x00", ""},
		{"sub/large", "blksize\x001428\x00tsize\x000\x00", "blksize\x001428\x00tsize\x005242880\x00"},
		{"sub/large", "BLKSIZE\x0099999\x00", "blksize\x0065464\x00"},
	} {
		data, oack, err := client(tt.options).read(tt.name)
		if err != nil || oack != tt.oack || !bytes.Equal(data, files[strings.TrimPrefix(tt.name, "/")]) {
			t.Errorf("%s: %d bytes, options %q, %v", tt.name, len(data), oack, err)
		}
	}
	deaf := client("")
	deaf.deaf = true
	if data, _, err := deaf.read("small"); err != nil || string(data) != "x" {
		t.Errorf("the first block was lost: %q, %v", data, err)
	}
	for name, want := range map[string]string{
		"nothing":                  "1 there is no such file",
		"sub":                      "2 it is not a file",
		"link":                     "2 the file cannot be read",
		"../" + filepath.Base(dir): "2 the file cannot be read",
		"sub/../../x":              "2 the file cannot be read",
		secret:                     "1 there is no such file",
	} {
		if data, _, err := client("").read(name); !errors.Is(err, errTFTP) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %s", name, data, err, want)
		}
	}
}

// The number of a block begins anew after 65535.
func TestTFTPOfManyBlocks(t *testing.T) {
	server, client := net.Pipe()
	data := random(66000 * tftpBlockMin)
	sent := make(chan error, 1)
	go func() {
		sent <- sendFile(server, bytes.NewReader(data), int64(len(data)), tftpRequest{block: tftpBlockMin})
		server.Close()
	}()
	client.SetDeadline(time.Now().Add(time.Minute))
	var got []byte
	buf := make([]byte, 100)
	for {
		n, err := client.Read(buf)
		if err != nil {
			break
		}
		got = append(got, buf[4:n]...)
		client.Write(append([]byte{0, tftpAck}, buf[2:4]...))
	}
	if err := <-sent; err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
	}
}

func FuzzTFTP(f *testing.F) {
	f.Add([]byte("\x00\x01vmunix\x00octet\x00blksize\x001428\x00tsize\x000\x00"))
	f.Add([]byte("\x00\x02vmunix\x00netascii\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseTFTP(b)
		if err == nil && (r.block < tftpBlockMin || r.block > tftpBlockMax || len(r.name) > len(b) || strings.Contains(r.name, "\x00")) {
			t.Errorf("%+v", r)
		}
	})
}

// What is asked again while a file is sent is not sent twice, and the number of
// transfers is bounded.
func TestTFTPIsBounded(t *testing.T) {
	n, _, _ := run(t, "tftp "+t.TempDir())
	n.tftp.mu.Lock()
	for i := range maxTransfers {
		n.tftp.busy[netip.AddrPortFrom(netip.MustParseAddr("10.0.77.9"), uint16(i+1))] = true
	}
	n.tftp.mu.Unlock()
	request := netstack.Datagram{From: netip.MustParseAddrPort("10.0.77.9:1"), To: netip.MustParseAddrPort(gateway4 + ":69"), Payload: []byte("\x00\x01x\x00octet\x00")}
	n.tftp.request(n, request)
	if n.dropped.Load() != 0 {
		t.Error("a repeated request was dropped as one too many")
	}
	request.From = netip.MustParseAddrPort("10.0.77.9:1000")
	n.tftp.request(n, request)
	if n.dropped.Load() != 1 || len(n.tftp.busy) != maxTransfers {
		t.Errorf("%d dropped, %d transfers", n.dropped.Load(), len(n.tftp.busy))
	}
}
