package nat

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"tmelink/internal/netstack"
)

// Names are asked for at the gateway's own address. A query goes on as it came, but
// for its identifier, to the host's name servers, and the answer comes back so.
const (
	dnsPort = 53
	// maxQueries bounds how many wait for an answer; more are dropped, and
	// asked again by who wants to know.
	maxQueries = 256
	// dnsPatience is how long a name server may take, and dnsTries how often
	// each is asked.
	dnsPatience = 2 * time.Second
	dnsTries    = 2
	// dnsIdle is how long a guest's TCP connection may be silent (RFC 7766, 6.2.3).
	dnsIdle = 10 * time.Second
)

// resolvConf is where the host's name servers are told (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// isDNS says whether something is sent to the gateway's name service.
func (n *NAT) isDNS(to netip.AddrPort) bool {
	return n.config.dns != dnsOff && to.Port() == dnsPort && n.isGateway(to.Addr())
}

// query answers a datagram with a query, in a goroutine of its own.
func (n *NAT) query(d netstack.Datagram) {
	if parseQuery(d.Payload) != nil {
		return
	}
	if n.queries.Add(1) > maxQueries {
		n.queries.Add(-1)
		n.drop("too many DNS queries wait for an answer")
		return
	}
	question := bytes.Clone(d.Payload)
	if !n.spawn(func() {
		defer n.queries.Add(-1)
		answer := n.resolve("udp", question)
		p, err := n.host.OpenPath(d.To.Addr(), d.From.Addr())
		if err != nil {
			return
		}
		defer p.Close()
		// What cannot be sent is lost, as on a wire.
		p.SendUDP(d.To.Port(), d.From.Port(), answer)
	}) {
		n.queries.Add(-1)
	}
}

// serveDNS answers the queries of a TCP connection, each with its length before
// it (RFC 1035, 4.2.2).
func (n *NAT) serveDNS(c *netstack.Stream) {
	var length [2]byte
	for {
		c.SetDeadline(time.Now().Add(dnsIdle))
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, question); err != nil || parseQuery(question) != nil {
			return
		}
		answer := n.resolve("tcp", question)
		c.SetDeadline(time.Now().Add(dnsIdle))
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

var errNotQuery = errors.New("not a DNS query")

// parseQuery finds out whether a message is a query with one question.
func parseQuery(b []byte) error {
	_, _, err := parseDNS(b, false)
	return err
}

// parseDNS reads the header and the only question of a query, or of an answer.
func parseDNS(b []byte, answer bool) (dnsmessage.Header, dnsmessage.Question, error) {
	var p dnsmessage.Parser
	head, err := p.Start(b)
	if err != nil {
		return head, dnsmessage.Question{}, err
	}
	q, err := p.Question()
	if err != nil {
		return head, q, err
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone || head.Response != answer || head.OpCode != 0 {
		return head, q, errNotQuery
	}
	return head, q, nil
}

// resolve asks the name servers in turn until one answers, and gives the answer to
// the query; if none does, that there is a failure.
func (n *NAT) resolve(network string, query []byte) []byte {
	var fault error
	servers, err := n.nameservers()
	for range dnsTries {
		for _, server := range servers {
			answer, err := n.ask(network, server, query)
			if err == nil {
				return answer
			}
			if n.ctx.Err() != nil {
				return failure(query)
			}
			fault = fmt.Errorf("name server %s: %w", server, err)
		}
	}
	n.complain("names of guests cannot be resolved", errors.Join(err, fault))
	return failure(query)
}

// failure makes the answer that there is a failure of the server (RFC 1035, 4.1.1).
func failure(query []byte) []byte {
	head, q, err := parseDNS(query, false)
	if err != nil {
		return nil
	}
	m := dnsmessage.Message{Questions: []dnsmessage.Question{q}, Header: dnsmessage.Header{
		ID: head.ID, Response: true, RecursionDesired: head.RecursionDesired, RecursionAvailable: true, RCode: dnsmessage.RCodeServerFailure,
	}}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// ask asks one name server.
func (n *NAT) ask(network string, server netip.Addr, query []byte) ([]byte, error) {
	d := net.Dialer{Timeout: dnsPatience}
	c, err := d.DialContext(n.ctx, network, netip.AddrPortFrom(server, dnsPort).String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(dnsPatience))
	asked := bytes.Clone(query)
	id := uint16(rand.Uint32())
	binary.BigEndian.PutUint16(asked, id)
	framed := asked
	if network == "tcp" {
		framed = append(binary.BigEndian.AppendUint16(nil, uint16(len(asked))), asked...)
	}
	if _, err := c.Write(framed); err != nil {
		return nil, err
	}
	b := buffers.Take()
	defer buffers.Give(b)
	for {
		answer, err := readAnswer(c, network, b[:])
		if err != nil {
			return nil, err
		}
		if isAnswer(answer, asked) {
			answer = bytes.Clone(answer)
			copy(answer, query[:2])
			return answer, nil
		}
		if network == "tcp" {
			return nil, errors.New("the answer is to another question")
		}
	}
}

func readAnswer(c net.Conn, network string, b []byte) ([]byte, error) {
	if network == "tcp" {
		if _, err := io.ReadFull(c, b[:2]); err != nil {
			return nil, err
		}
		b = b[:binary.BigEndian.Uint16(b)]
		_, err := io.ReadFull(c, b)
		return b, err
	}
	n, err := c.Read(b)
	return b[:n], err
}

// isAnswer says whether a message is the answer to a query.
func isAnswer(answer, query []byte) bool {
	head, q, err := parseDNS(answer, true)
	if err != nil {
		return false
	}
	asked, wanted, err := parseDNS(query, false)
	return err == nil && head.ID == asked.ID && q.Type == wanted.Type && q.Class == wanted.Class &&
		strings.EqualFold(q.Name.String(), wanted.Name.String())
}

// nameservers are those that queries go to.
func (n *NAT) nameservers() ([]netip.Addr, error) {
	if n.config.dns == dnsGiven {
		return n.config.nameservers, nil
	}
	f, err := os.Open(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("find the host's name servers: %w (give dns ADDR)", err)
	}
	defer f.Close()
	servers := parseResolvConf(io.LimitReader(f, 64<<10))
	if len(servers) == 0 {
		return nil, fmt.Errorf("find the host's name servers: %s names none (give dns ADDR)", resolvConf)
	}
	return servers, nil
}

// maxNameservers is how many are asked (MAXNS of resolv.conf(5)).
const maxNameservers = 3

func parseResolvConf(r io.Reader) (servers []netip.Addr) {
	for lines := bufio.NewScanner(r); lines.Scan() && len(servers) < maxNameservers; {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil && !slices.Contains(servers, a) {
			servers = append(servers, a)
		}
	}
	return servers
}
