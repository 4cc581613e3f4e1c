package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"tmelink/internal/ethernet"
)

// station is a host behind a link's port: it answers ARP and ping, asks both of
// others, and counts the answers.
type station struct {
	*testLink
	mac  ethernet.Addr
	addr netip.Addr

	peer    chan ethernet.Addr // who answered ARP
	echoes  chan int           // sequence numbers that came back
	foreign chan []byte        // frames that no host would send
}

func newStation(t testing.TB, addr, text string) *station {
	t.Helper()
	s := &station{
		testLink: build(t, text), mac: ethernet.Addr{2, 0, 0, 0, 0, 9}, addr: netip.MustParseAddr(addr),
		peer: make(chan ethernet.Addr, 1000), echoes: make(chan int, 1000), foreign: make(chan []byte, 1000),
	}
	s.onFrame = s.receive
	s.begin(text)
	return s
}

const (
	arpRequest, arpReply   = 1, 2
	echoReply, echoRequest = 0, 8
)

func (s *station) receive(frame []byte) {
	h, err := ethernet.ParseHeader(frame)
	body := frame[h.Len:]
	switch {
	case err != nil || h.Type != ethernet.TypeARP && h.Type != ethernet.TypeIPv4 && h.Type != ethernet.TypeIPv6:
		s.foreign <- bytes.Clone(frame)
	case h.Type == ethernet.TypeARP && len(body) >= 28 && netip.AddrFrom4([4]byte(body[24:])) == s.addr:
		sender, from := ethernet.Addr(body[8:14]), netip.AddrFrom4([4]byte(body[14:]))
		if binary.BigEndian.Uint16(body[6:]) == arpRequest {
			s.write(s.arp(arpReply, sender, from))
		} else {
			s.peer <- sender
		}
	case h.Type == ethernet.TypeIPv4 && len(body) >= 28 && body[9] == 1 && netip.AddrFrom4([4]byte(body[16:])) == s.addr:
		total := int(binary.BigEndian.Uint16(body[2:]))
		if total < 28 || total > len(body) {
			s.foreign <- bytes.Clone(frame)
			return
		}
		icmp := body[20:total]
		if icmp[0] == echoRequest {
			from := netip.AddrFrom4([4]byte(body[12:]))
			s.write(s.echo(echoReply, h.Src, from, binary.BigEndian.Uint16(icmp[4:]), binary.BigEndian.Uint16(icmp[6:]), icmp[8:]))
		} else if icmp[0] == echoReply {
			s.echoes <- int(binary.BigEndian.Uint16(icmp[6:]))
		}
	}
}

func (s *station) arp(op uint16, to ethernet.Addr, toAddr netip.Addr) []byte {
	dst := to
	if op == arpRequest {
		dst = ethernet.Broadcast
	}
	f := append(append([]byte(nil), dst[:]...), s.mac[:]...)
	f = binary.BigEndian.AppendUint16(f, ethernet.TypeARP)
	f = append(f, 0, 1, 8, 0, 6, 4)
	f = binary.BigEndian.AppendUint16(f, op)
	f = append(append(append(f, s.mac[:]...), s.addr.AsSlice()...), to[:]...)
	return append(append(f, toAddr.AsSlice()...), make([]byte, 18)...)
}

func (s *station) echo(kind byte, to ethernet.Addr, toAddr netip.Addr, id, seq uint16, data []byte) []byte {
	f := append(append([]byte(nil), to[:]...), s.mac[:]...)
	f = binary.BigEndian.AppendUint16(f, ethernet.TypeIPv4)
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(data)))
	ip = append(append(ip, s.addr.AsSlice()...), toAddr.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	icmp := []byte{kind, 0, 0, 0}
	icmp = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(icmp, id), seq)
	icmp = append(icmp, data...)
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	return append(append(f, ip...), icmp...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// ping sends an ARP request and an echo request of a size until both are answered.
func (s *station) ping(to string, seq, size int) {
	s.t.Helper()
	addr := netip.MustParseAddr(to)
	for len(s.peer) > 0 { // what an earlier TAP has answered
		<-s.peer
	}
	var mac ethernet.Addr
	s.writeUntil(fmt.Sprintf("an ARP answer from %s", to), func() bool {
		select {
		case mac = <-s.peer:
			return true
		default:
			return false
		}
	}, s.arp(arpRequest, ethernet.Addr{}, addr))
	s.writeUntil(fmt.Sprintf("an echo of %d bytes from %s", size, to), func() bool {
		for {
			select {
			case got := <-s.echoes:
				if got == seq {
					return true
				}
			default:
				return false
			}
		}
	}, s.echo(echoRequest, mac, addr, 77, uint16(seq), make([]byte, size)))
}

// expectHostsFramesOnly fails if anything but a host's frames has come.
func (s *station) expectHostsFramesOnly() {
	s.t.Helper()
	select {
	case f := <-s.foreign:
		s.t.Errorf("a frame that no host sends: %x", f)
	default:
	}
}
