package nat

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"tmelink/internal/nstest"
)

// answerName is a name server that knows www.example, and whose answers over UDP
// are all cut short for big.example.
func answerName(query []byte, udp bool) []byte {
	head, q, err := parseDNS(query, false)
	if err != nil {
		return nil
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: head.ID, Response: true, RCode: dnsmessage.RCodeNameError}, Questions: []dnsmessage.Question{q}}
	name := q.Name.String()
	if name == "www.example." || name == "big.example." {
		m.RCode = dnsmessage.RCodeSuccess
		m.Truncated = udp && name == "big.example."
		if q.Type == dnsmessage.TypeA && !m.Truncated {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 80}},
			}}
		}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

func TestDNS(t *testing.T) {
	nstest.InNamespace(t) // for port 53
	listenUDP(t, "127.0.0.9:53", func(b []byte) []byte { return answerName(b, true) })
	listen(t, "127.0.0.9:53", func(c *net.TCPConn) {
		var length [2]byte
		for {
			if _, err := io.ReadFull(c, length[:]); err != nil {
				return
			}
			b := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			b = answerName(b, false)
			c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
		}
	})
	n, guest, _ := run(t, "dns 127.0.0.9")
	for _, name := range []string{"www.example", "big.example"} {
		addrs, err := guest.Resolve(within(t), name)
		if err != nil || !slices.Equal(addrs, []netip.Addr{netip.MustParseAddr("192.0.2.80")}) {
			t.Errorf("%s: %v, %v", name, addrs, err)
		}
	}
	if _, err := guest.Resolve(within(t), "none.example"); err == nil || !strings.Contains(err.Error(), "no such name") {
		t.Errorf("none.example: %v", err)
	}
	if !nstest.Eventually(20*time.Second, func() bool { return n.queries.Load() == 0 && n.conns.count() == 0 }) {
		t.Errorf("%d queries wait: %s", n.queries.Load(), n.Status())
	}
}

// Where no name server answers, the guest hears of a failure; and one that asks for
// more than anybody does is not answered.
func TestDNSFails(t *testing.T) {
	nstest.InNamespace(t) // where nobody has port 53
	n, guest, log := run(t, "dns 127.0.0.1")
	if _, err := guest.Resolve(within(t), "www.example"); err == nil || !strings.Contains(err.Error(), "ServerFailure") {
		t.Errorf("www.example: %v", err)
	}
	if strings.Count(log.String(), "names of guests cannot be resolved") != 1 {
		t.Errorf("the log says\n%s", log)
	}
	n.queries.Add(maxQueries)
	defer n.queries.Add(-maxQueries)
	if _, err := guest.Resolve(within(t), "www.example"); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("too many queries: %v", err)
	}
	if n.dropped.Load() == 0 {
		t.Error("nothing was counted")
	}
}

func TestDNSOff(t *testing.T) {
	n, guest, _ := run(t, "dns off")
	if _, err := guest.DialTCP(within(t), netip.MustParseAddrPort(gateway4+":53")); err == nil {
		t.Error("the gateway's port 53 is open")
	}
	if n.config.dnsFor(true) != nil {
		t.Error("guests are told of a name server")
	}
}

func TestParseResolvConf(t *testing.T) {
	const text = "# comment\nsearch example\nnameserver 192.0.2.1\n nameserver  fe80::1%eth0 # x\nnameserver\nnameserver nobody\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
	var got []string
	for _, a := range parseResolvConf(strings.NewReader(text)) {
		got = append(got, a.String())
	}
	if want := []string{"192.0.2.1", "fe80::1%eth0", "192.0.2.2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzDNS(f *testing.F) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("www.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{q}}
	query, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(query, answerName(query, true))
	f.Fuzz(func(t *testing.T, query, answer []byte) {
		if isAnswer(answer, query) && parseQuery(query) != nil {
			t.Error("an answer to what is no query")
		}
		if parseQuery(query) != nil {
			return
		}
		if b := failure(query); b != nil && !isAnswer(b, query) {
			t.Errorf("the failure is none of %x: %x", query, b)
		}
	})
}
