package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// zone is what the name server of these tests knows.
var zone = map[string][]netip.Addr{
	"www.example.": {netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")},
	"six.example.": {netip.MustParseAddr("fd00::6")},
	"big.example.": manyAddrs(60),
}

func manyAddrs(n int) (addrs []netip.Addr) {
	for i := range n {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}))
	}
	return addrs
}

// reply answers a question as a name server does; an answer that is longer than
// limit is truncated.
func reply(t testing.TB, question []byte, limit int) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil || len(m.Questions) != 1 {
		t.Errorf("bad question % x: %v", question, err)
		return nil
	}
	q := m.Questions[0]
	m.Response = true
	addrs, known := zone[strings.ToLower(q.Name.String())]
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	alias := dnsmessage.MustNewName("alias.example.")
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
	m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.CNAMEResource{CNAME: alias}}}
	head.Name = alias
	for _, a := range addrs {
		if a.Is4() && q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
		} else if a.Is6() && q.Type == dnsmessage.TypeAAAA {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	answer, err := m.Pack()
	if err == nil && len(answer) > limit {
		m.Answers, m.Truncated = nil, true
		answer, err = m.Pack()
	}
	if err != nil {
		t.Error(err)
	}
	return answer
}

// serveNames runs a name server on b until the test ends.
func serveNames(t *testing.T, b *Host) {
	udp, err := b.ListenUDP(addrPort(netB4, 53))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := b.ListenTCP(53)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			udp.WriteTo([]byte("junk that is no answer"), from)
			udp.WriteTo(reply(t, buf[:n], 512), from)
		}
	}()
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			var length [2]byte
			io.ReadFull(conn, length[:])
			question := make([]byte, binary.BigEndian.Uint16(length[:]))
			io.ReadFull(conn, question)
			answer := reply(t, question, 65535)
			conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			conn.Close()
		}
	}()
}

func TestResolve(t *testing.T) {
	// No name server is at the first address, so each question goes on to the second.
	servers := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	a, b := pair(t, &wire{}, Config{Nameservers: servers})
	serveNames(t, b)
	for name, want := range map[string][]netip.Addr{
		"www.example": zone["www.example."],
		"WWW.Example": zone["www.example."],
		"six.example": zone["six.example."],
		"big.example": zone["big.example."],
		"192.0.2.7":   {netip.MustParseAddr("192.0.2.7")},
		"fe80::7":     {netip.MustParseAddr("fe80::7")},
	} {
		if got, err := a.Resolve(within(t), name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v (%v), want %v", name, got, err, want)
		}
	}
	a4, b4 := pair4(t, &wire{}, Config{Nameservers: servers[1:]})
	serveNames(t, b4)
	if got, err := a4.Resolve(within(t), "www.example"); err != nil || !slices.Equal(got, zone["www.example."][:1]) {
		t.Errorf("a host with IPv4 alone: %v (%v)", got, err)
	}
	if got, err := a.Resolve(within(t), "nowhere.example"); !errors.Is(err, ErrNoName) {
		t.Errorf("a name that is not: %v, %v", got, err)
	}
	if _, err := a.Resolve(within(t), strings.Repeat("x", 300)); err == nil {
		t.Error("a name of 300 characters was looked for")
	}
}

func TestResolveWithoutAnswer(t *testing.T) {
	a, _ := pair(t, &wire{}, Config{Nameservers: []netip.Addr{netip.MustParseAddr("10.0.0.2")}})
	ctx, cancel := context.WithCancel(within(t))
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := a.Resolve(ctx, "www.example"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	c, _ := pair(t, &wire{}, Config{})
	if _, err := c.Resolve(within(t), "www.example"); err == nil || !strings.Contains(err.Error(), "dns ADDR") {
		t.Errorf("without a name server: %v, want an error that says what to give", err)
	}
}

func FuzzParseAnswer(f *testing.F) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("www.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 5}, Questions: []dnsmessage.Question{q}}
	question, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply(f, question, 512))
	f.Fuzz(func(t *testing.T, answer []byte) {
		addrs, truncated, err := parseAnswer(answer, 5, q)
		if len(addrs) > maxAnswers || len(addrs) > 0 && (truncated || err != nil) {
			t.Errorf("%d addresses, truncated %v, %v", len(addrs), truncated, err)
		}
		for _, a := range addrs {
			if !a.Is4() {
				t.Errorf("%s is no answer to a question for IPv4", a)
			}
		}
	})
}
