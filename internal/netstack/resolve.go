package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	dnsPort = 53
	// dnsPatience is how long one question to one name server waits, and
	// dnsTries how often each of them is asked.
	dnsPatience = 2 * time.Second
	dnsTries    = 2
	// dnsDatagram is the longest answer over UDP to a question without EDNS
	// (RFC 1035, 4.2.1).
	dnsDatagram = 512
)

// ErrNoName is the error of a name that the name servers do not know.
var ErrNoName = errors.New("no such name")

// Resolve gives the addresses of a name that are of the host's own families, the
// IPv4 ones first, asking only the host's own name servers. An address is its
// own name. A name without a dot is looked for in the domain of SetNetwork first.
func (h *Host) Resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{addr}, nil
	}
	servers := h.Nameservers()
	if len(servers) == 0 {
		return nil, fmt.Errorf("resolve %s: the host has no name server: give it dns ADDR", name)
	}
	full := []string{strings.TrimSuffix(name, ".")}
	if domain := h.domain(); domain != "" && !strings.Contains(name, ".") {
		full = []string{name + "." + domain, name}
	}
	for _, f := range full {
		addrs, err := h.resolveFull(ctx, servers, f)
		if err != nil && !errors.Is(err, ErrNoName) {
			return nil, fmt.Errorf("resolve %s: %w", name, err)
		}
		if len(addrs) > 0 {
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("resolve %s: %w", name, ErrNoName)
}

// resolveFull gives the addresses of a name with all of its labels; none where
// the name has none of the host's families.
func (h *Host) resolveFull(ctx context.Context, servers []netip.Addr, name string) (addrs []netip.Addr, err error) {
	q, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, fmt.Errorf("not a name: %w", err)
	}
	own := h.globalAddrs()
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		if !slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Addr().Is4() == (kind == dnsmessage.TypeA) }) {
			continue
		}
		found, err := h.lookup(ctx, servers, dnsmessage.Question{Name: q, Type: kind, Class: dnsmessage.ClassINET})
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, found...)
	}
	return addrs, nil
}

// lookup asks the name servers in turn until one answers.
func (h *Host) lookup(ctx context.Context, servers []netip.Addr, q dnsmessage.Question) (addrs []netip.Addr, err error) {
	for range dnsTries {
		for _, server := range servers {
			addrs, err = h.ask(ctx, netip.AddrPortFrom(server, dnsPort), q)
			if err == nil || errors.Is(err, ErrNoName) {
				return addrs, err
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	return nil, err
}

// ask asks one server over UDP, and over TCP where the answer did not fit.
func (h *Host) ask(ctx context.Context, server netip.AddrPort, q dnsmessage.Question) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsPatience)
	defer cancel()
	id := uint16(rand.Uint32())
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true}, Questions: []dnsmessage.Question{q}}
	question, err := m.Pack()
	if err != nil {
		return nil, err
	}
	answer, err := h.askUDP(ctx, server, question, id)
	if err == nil {
		addrs, truncated, err := parseAnswer(answer, id, q)
		if !truncated {
			return addrs, err
		}
		answer, err = h.askTCP(ctx, server, question)
		if err == nil {
			addrs, _, err = parseAnswer(answer, id, q)
			return addrs, err
		}
	}
	return nil, fmt.Errorf("name server %s: %w", server.Addr(), err)
}

func (h *Host) askUDP(ctx context.Context, server netip.AddrPort, question []byte, id uint16) ([]byte, error) {
	conn, err := h.DialUDP(server)
	if err != nil {
		return nil, err
	}
	defer closeWith(ctx, conn)()
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	answer := make([]byte, dnsDatagram)
	for {
		n, err := conn.Read(answer)
		if err != nil {
			return nil, patienceOver(ctx, err)
		}
		if n >= 2 && binary.BigEndian.Uint16(answer) == id {
			return answer[:n], nil
		}
	}
}

func (h *Host) askTCP(ctx context.Context, server netip.AddrPort, question []byte) ([]byte, error) {
	conn, err := h.DialTCP(ctx, server)
	if err != nil {
		return nil, patienceOver(ctx, err)
	}
	defer closeWith(ctx, conn)()
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(question)))
	if _, err := conn.Write(append(framed, question...)); err != nil {
		return nil, patienceOver(ctx, err)
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, patienceOver(ctx, err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err = io.ReadFull(conn, answer)
	return answer, patienceOver(ctx, err)
}

// closeWith closes the connection when ctx ends, or when the function that it
// returns is called.
func closeWith(ctx context.Context, conn net.Conn) (closeNow func()) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return func() {
		stop()
		conn.Close()
	}
}

// patienceOver gives the error for which a connection was closed.
func patienceOver(ctx context.Context, err error) error {
	switch {
	case err == nil || ctx.Err() == nil:
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errors.New("no answer")
	}
	return ctx.Err()
}

// maxAnswers bounds how many records of an answer are looked at.
const maxAnswers = 64

// parseAnswer takes the addresses out of a name server's answer to q. The server
// has followed aliases, so every address in the answer section counts.
func parseAnswer(answer []byte, id uint16, q dnsmessage.Question) (addrs []netip.Addr, truncated bool, err error) {
	var p dnsmessage.Parser
	head, err := p.Start(answer)
	if err != nil {
		return nil, false, err
	}
	questions, err := p.AllQuestions()
	if err != nil {
		return nil, false, err
	}
	same := func(x dnsmessage.Question) bool {
		return x.Type == q.Type && x.Class == q.Class && strings.EqualFold(x.Name.String(), q.Name.String())
	}
	switch {
	case !head.Response || head.ID != id || len(questions) != 1 || !slices.ContainsFunc(questions, same):
		return nil, false, errors.New("the answer is to another question")
	case head.Truncated:
		return nil, true, nil
	case head.RCode == dnsmessage.RCodeNameError:
		return nil, false, ErrNoName
	case head.RCode != dnsmessage.RCodeSuccess:
		return nil, false, fmt.Errorf("answered with %s", strings.TrimPrefix(head.RCode.String(), "RCode"))
	}
	for range maxAnswers {
		record, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return nil, false, err
		}
		switch {
		case record.Type == q.Type && record.Type == dnsmessage.TypeA:
			a, err := p.AResource()
			if err != nil {
				return nil, false, err
			}
			addrs = append(addrs, netip.AddrFrom4(a.A))
		case record.Type == q.Type && record.Type == dnsmessage.TypeAAAA:
			aaaa, err := p.AAAAResource()
			if err != nil {
				return nil, false, err
			}
			addrs = append(addrs, netip.AddrFrom16(aaaa.AAAA))
		default:
			if err := p.SkipAnswer(); err != nil {
				return nil, false, err
			}
		}
	}
	return addrs, false, nil
}
