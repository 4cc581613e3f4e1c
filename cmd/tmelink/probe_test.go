package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

// tagPort is the UDP port of the datagrams that tests count.
const tagPort = 9999

// tagGroup is the multicast group that every counting station has joined.
var tagGroup = netip.MustParseAddr("239.1.2.3")

func init() {
	element.Register(element.Type{
		Path: "tme/test/probe", Summary: "A station that sends and counts tagged datagrams, for tests", MaxConnections: 1,
		New: newProbe,
	})
}

// probe is a station that prints every tagged datagram that reaches it, as
// "NAME got TAG", or "NAME overheard TAG" where it is for another; there is
// nothing between it and the wire that could hide a second copy. Its commands are `send MAC ADDR TAG`, which sends one, and `await FILE`.
type probe struct {
	name   string
	mac    ethernet.Addr
	addr   netip.Addr
	filter ethernet.Filter
	drops  ethernet.Counters

	send   chan []byte
	closed chan struct{}
	once   sync.Once
	batch  [1]ethernet.Frame
}

func newProbe(env element.Env, args element.Args) (element.Element, error) {
	p := &probe{name: env.Machine, send: make(chan []byte, 16), closed: make(chan struct{})}
	err := args.Parse([]element.Option{
		{Name: "hwaddr", Values: "MAC", Set: func(v element.Values) (err error) { p.mac, err = v.HardwareAddr(0); return err }},
		{Name: "inet", Values: "ADDR", Set: func(v element.Values) (err error) { p.addr, err = v.Addr4(0); return err }},
	})
	p.filter.Add(p.mac)
	p.filter.Add(groupMAC(tagGroup))
	return p, err
}

func groupMAC(group netip.Addr) ethernet.Addr {
	b := group.As4()
	return ethernet.Addr{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
}

func (p *probe) Attach(element.Args) (ethernet.Port, error) { return p, nil }
func (p *probe) Start(context.Context) error                { return nil }
func (p *probe) Close() error                               { p.once.Do(func() { close(p.closed) }); return nil }
func (p *probe) Offloads() ethernet.Offloads                { return 0 }
func (p *probe) MaxFrame() int                              { return ethernet.FrameLen(ethernet.MTU) }
func (p *probe) Counters() *ethernet.Counters               { return &p.drops }
func (p *probe) Filter() *ethernet.Filter                   { return &p.filter }

func (p *probe) ReadFrames() ([]ethernet.Frame, error) {
	select {
	case p.batch[0].Data = <-p.send:
		return p.batch[:], nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *probe) WriteFrames(frames []ethernet.Frame) error {
	for _, f := range frames {
		tag, ok := tagOf(f.Data)
		switch {
		case !ok:
		case p.filter.Wants(f.Data):
			fmt.Fprintf(os.Stdout, "%s got %s\n", p.name, tag)
		default: // a wire without switch carries what is for others too
			fmt.Fprintf(os.Stdout, "%s overheard %s\n", p.name, tag)
		}
	}
	return nil
}

func (p *probe) Prepare(args element.Args) (element.Command, error) {
	if len(args.Words) == 2 && args.Words[0].Text == "await" {
		return func(ctx context.Context, _ io.Writer) error { return await(ctx, args.Words[1].Text) }, nil
	}
	if len(args.Words) != 4 || args.Words[0].Text != "send" {
		return nil, tmesh.Faultf(args.Pos, "send MAC ADDR TAG")
	}
	mac, errMAC := ethernet.ParseAddr(args.Words[1].Text)
	addr, errAddr := netip.ParseAddr(args.Words[2].Text)
	if errMAC != nil || errAddr != nil {
		return nil, tmesh.Faultf(args.Pos, "send: %v, %v", errMAC, errAddr)
	}
	frame := taggedFrame(mac, p.mac, p.addr, addr, args.Words[3].Text)
	return func(context.Context, io.Writer) error {
		p.send <- frame
		return nil
	}, nil
}

// await waits until a file is there.
func await(ctx context.Context, file string) error {
	for ctx.Err() == nil {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return ctx.Err()
}

// taggedFrame is a UDP datagram in IPv4 whose payload is the tag.
func taggedFrame(dstMAC, srcMAC ethernet.Addr, src, dst netip.Addr, tag string) []byte {
	f := append(append([]byte(nil), dstMAC[:]...), srcMAC[:]...)
	f = binary.BigEndian.AppendUint16(f, ethernet.TypeIPv4)
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], uint16(20+8+len(tag)))
	ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	f = append(f, ip...)
	f = binary.BigEndian.AppendUint16(f, tagPort)
	f = binary.BigEndian.AppendUint16(f, tagPort)
	f = binary.BigEndian.AppendUint16(f, uint16(8+len(tag)))
	f = append(f, 0, 0) // no UDP checksum
	f = append(f, tag...)
	return append(f, make([]byte, max(0, ethernet.MinFrame-len(f)))...)
}

// tagOf is the tag of a frame that taggedFrame or udpsend made.
func tagOf(frame []byte) (string, bool) {
	h, err := ethernet.ParseHeader(frame)
	if err != nil || h.Type != ethernet.TypeIPv4 || len(frame) < h.Len+28 {
		return "", false
	}
	ip := frame[h.Len:]
	if ip[0] != 0x45 || ip[9] != 17 || binary.BigEndian.Uint16(ip[22:]) != tagPort {
		return "", false
	}
	length := int(binary.BigEndian.Uint16(ip[24:]))
	if length < 8 || 20+length > len(ip) {
		return "", false
	}
	return string(bytes.TrimRight(ip[28:20+length], "\x00")), true
}

// udpCount is a program: it prints "host got TAG" for every tagged datagram
// that this host's own IP stack delivers. Its argument is an interface on which
// it joins the group.
func udpCount() {
	ifi, err := net.InterfaceByName(os.Args[1])
	must(err)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: tagPort})
	must(err)
	must(ipv4.NewPacketConn(conn).JoinGroup(ifi, &net.UDPAddr{IP: tagGroup.AsSlice()}))
	fmt.Println("ready")
	buf := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFromUDP(buf)
		must(err)
		fmt.Printf("host got %s\n", buf[:n])
	}
}

// udpSend is a program: it sends a tagged datagram to an address of this host's
// network, from the host's own IP stack.
func udpSend() {
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(os.Args[1]), Port: tagPort})
	must(err)
	_, err = conn.Write([]byte(os.Args[2]))
	must(err)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
