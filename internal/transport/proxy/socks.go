package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// SOCKS asks a proxy of version 5. Without credentials it offers to show none.
type SOCKS struct {
	Credentials *Credentials
}

// maxCredential is how long a name or a password may be, in bytes (RFC 1929, 2).
const maxCredential = 255

// Check says what the proxy could not be told of the credentials.
func (s *SOCKS) Check() error {
	c := s.Credentials
	switch {
	case c == nil:
		return nil
	case len(c.User) > maxCredential || len(c.Password) > maxCredential:
		return fmt.Errorf("the name or the password is longer than the %d bytes that SOCKS takes", maxCredential)
	}
	return c.Check()
}

// Of RFC 1928: versions, methods, commands, kinds of addresses. Of RFC 1929: the
// version of the talk about a password.
const (
	socksVersion    = 5
	passwordVersion = 1
	methodNone      = 0x00
	methodPassword  = 0x02
	methodRefused   = 0xff
	cmdConnect      = 1
	cmdAssociate    = 3
	kindIPv4        = 1
	kindName        = 3
	kindIPv6        = 4
)

// socksErrors are the meanings of a reply other than 0 (RFC 1928, 6).
var socksErrors = map[byte]string{
	1: "it has failed",
	2: "its rules do not allow it; ask who runs the proxy",
	3: "the peer's network cannot be reached from it",
	4: "the peer's host cannot be reached from it, or has no such name",
	5: "the peer refuses the connection; is it running, and does it listen at this port?",
	6: "the time to live has expired on the way",
	7: "it does not carry out this command; UDP needs a proxy that does, or use --proto tcp-client",
	8: "it does not know this kind of address",
}

// Connect asks for a connection to a target (CONNECT).
func (s *SOCKS) Connect(dial Dialer, to Target) (net.Conn, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	if _, err = s.request(conn, cmdConnect, appendTarget(nil, to)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Associate asks for a relay of datagrams (UDP ASSOCIATE), and gives where it takes
// them from us. It lasts as long as conn, which leads to the proxy.
func (s *SOCKS) Associate(conn net.Conn) (relay netip.AddrPort, err error) {
	// From where our datagrams will come, a router on the way may change: let the
	// proxy take what comes from the host that asks.
	via := addrOf(conn.RemoteAddr())
	from := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if via.Is6() {
		from = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	relay, err = s.request(conn, cmdAssociate, appendAddr(nil, from))
	if err != nil {
		return relay, err
	}
	if relay.Port() == 0 {
		return relay, errors.New("the SOCKS proxy relays datagrams, and does not say at which port")
	}
	if relay.Addr().IsUnspecified() { // where it was asked
		relay = netip.AddrPortFrom(via, relay.Port())
	}
	if what := noRelay(relay.Addr(), via); what != "" {
		return relay, fmt.Errorf("the SOCKS proxy answers that it relays datagrams at %v, which is %s; ask who runs it, or use --proto tcp-client", relay, what)
	}
	return relay, nil
}

// noRelay says what an address is at which no proxy relays datagrams that was reached
// via another one; "": it may.
func noRelay(relay, via netip.Addr) string {
	switch {
	case relay.IsMulticast():
		return "a multicast address"
	case relay == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	case relay.IsLoopback() && !via.IsLoopback():
		return fmt.Sprintf("a loopback address, unlike %v, where it was asked", via)
	}
	return ""
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// request introduces us to the proxy, asks, and gives the address in its answer, not
// valid if that is a name.
func (s *SOCKS) request(conn io.ReadWriter, command byte, to []byte) (netip.AddrPort, error) {
	if err := s.introduce(conn); err != nil {
		return netip.AddrPort{}, err
	}
	if _, err := conn.Write(append([]byte{socksVersion, command, 0}, to...)); err != nil {
		return netip.AddrPort{}, fmt.Errorf("ask the SOCKS proxy: %w", hungUp(err))
	}
	bound, err := readReply(conn)
	if err != nil {
		return bound, err
	}
	if command == cmdAssociate && !bound.IsValid() {
		return bound, errors.New("the SOCKS proxy names its relay of datagrams instead of giving its address, which is not carried out; use --proto tcp-client")
	}
	return bound, nil
}

// introduce agrees on how to show who we are, and shows it.
func (s *SOCKS) introduce(conn io.ReadWriter) error {
	methods := []byte{methodNone}
	if s.Credentials != nil {
		methods = append(methods, methodPassword)
	}
	if _, err := conn.Write(append([]byte{socksVersion, byte(len(methods))}, methods...)); err != nil {
		return fmt.Errorf("greet the SOCKS proxy: %w", hungUp(err))
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("read the SOCKS proxy's greeting: %w", hungUp(err))
	}
	switch {
	case answer[0] != socksVersion:
		return fmt.Errorf("the proxy does not speak SOCKS version 5: its answer begins with %q; is it a --http-proxy?", answer[:])
	case answer[1] == methodNone:
		return nil
	case answer[1] == methodPassword && s.Credentials != nil:
		return s.showPassword(conn)
	case answer[1] == methodRefused && s.Credentials == nil:
		return errors.New("the SOCKS proxy takes nobody without a password; give --socks-proxy a file with the name and the password")
	case answer[1] == methodRefused:
		return errors.New("the SOCKS proxy takes neither a password nor nobody's; other methods (GSSAPI) are not carried out")
	}
	return fmt.Errorf("the SOCKS proxy chooses method %#02x, which was not offered", answer[1])
}

// showPassword is RFC 1929.
func (s *SOCKS) showPassword(conn io.ReadWriter) error {
	user, password := s.Credentials.User, s.Credentials.Password
	if err := s.Check(); err != nil {
		return err
	}
	b := append([]byte{passwordVersion, byte(len(user))}, user...)
	b = append(append(b, byte(len(password))), password...)
	_, err := conn.Write(b)
	clear(b)
	if err != nil {
		return fmt.Errorf("show the SOCKS proxy the password: %w", hungUp(err))
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("read what the SOCKS proxy says to the password: %w", hungUp(err))
	}
	if answer[0] != passwordVersion {
		return fmt.Errorf("the SOCKS proxy's answer to the password is not of RFC 1929: it begins with %q", answer[:])
	}
	if answer[1] != 0 {
		return fmt.Errorf("the SOCKS proxy refuses the name and password (status %d); correct the file of --socks-proxy", answer[1])
	}
	return nil
}

// readReply reads the answer to a request, and nothing beyond it.
func readReply(r io.Reader) (bound netip.AddrPort, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return bound, fmt.Errorf("read the SOCKS proxy's answer: %w", hungUp(err))
	}
	if head[0] != socksVersion {
		return bound, fmt.Errorf("the proxy does not go on in SOCKS version 5: its answer begins with %q", head[:])
	}
	if code := head[1]; code != 0 {
		what, ok := socksErrors[code]
		if !ok {
			what = "for a reason that no RFC names"
		}
		return bound, fmt.Errorf("the SOCKS proxy refuses (reply %d): %s", code, what)
	}
	var size int
	switch head[3] {
	case kindIPv4:
		size = 4
	case kindIPv6:
		size = 16
	case kindName:
		var n [1]byte
		if _, err := io.ReadFull(r, n[:]); err != nil {
			return bound, fmt.Errorf("read the SOCKS proxy's answer: %w", hungUp(err))
		}
		size = int(n[0])
	default:
		return bound, fmt.Errorf("the SOCKS proxy answers with an unknown kind of address, %#02x", head[3])
	}
	rest := make([]byte, size+2)
	if _, err := io.ReadFull(r, rest); err != nil {
		return bound, fmt.Errorf("read the SOCKS proxy's answer: %w", hungUp(err))
	}
	if head[3] == kindName {
		return bound, nil
	}
	addr, _ := netip.AddrFromSlice(rest[:size])
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(rest[size:])), nil
}

// appendTarget appends a target's kind, address or name, and port.
func appendTarget(dst []byte, t Target) []byte {
	if a := t.Addr(); a.IsValid() {
		return appendAddr(dst, a)
	}
	dst = append(dst, kindName, byte(len(t.Host)))
	dst = append(dst, t.Host...)
	return binary.BigEndian.AppendUint16(dst, t.Port)
}

func appendAddr(dst []byte, a netip.AddrPort) []byte {
	if a.Addr().Is4() {
		dst = append(dst, kindIPv4)
	} else {
		dst = append(dst, kindIPv6)
	}
	dst = append(dst, a.Addr().WithZone("").AsSlice()...)
	return binary.BigEndian.AppendUint16(dst, a.Port())
}
