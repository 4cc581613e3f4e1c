package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// talk is a piece of a SOCKS proxy's part: what it must hear, and what it says then.
type talk struct{ hears, says string }

// fakeSOCKS plays a proxy and gives our end of the connection, and what went wrong at
// the other.
func fakeSOCKS(t *testing.T, part []talk) (Dialer, chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wrong := make(chan error, 1)
	go func() {
		defer l.Close()
		wrong <- func() error {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			for _, p := range part {
				got := make([]byte, len(p.hears))
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != p.hears {
					return errors.Join(err, errors.New("heard "+clip(string(got))+", want "+clip(p.hears)))
				}
				io.WriteString(conn, p.says)
			}
			return nil
		}()
	}()
	return func() (net.Conn, error) {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			conn.SetDeadline(time.Now().Add(patience))
			t.Cleanup(func() { conn.Close() })
		}
		return conn, err
	}, wrong
}

const (
	askName  = "\x05\x01\x00\x03\x0cpeer.example\x04\xaa"
	askRelay = "\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"
	bound4   = "\x05\x00\x00\x01\x0a\x00\x00\x01\x12\x34"
	bound6   = "\x05\x00\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x12\x34"
	boundAny = "\x05\x00\x00\x01\x00\x00\x00\x00\x12\x34"
	boundOdd = "\x05\x00\x00\x03\x05relay\x12\x34"
)

func TestSOCKSConnects(t *testing.T) {
	greet, free := "\x05\x01\x00", "\x05\x00"
	greet2, shows := "\x05\x02\x00\x02", "\x01\x04user\x06secret"
	for _, c := range []struct {
		name string
		who  *Credentials
		to   Target
		part []talk
		want string // of the error, "" for none
	}{
		{"a name", nil, target, []talk{{greet, free}, {askName, bound4}}, ""},
		{"IPv4", nil, Target{"10.0.0.2", 5}, []talk{{greet, free}, {"\x05\x01\x00\x01\x0a\x00\x00\x02\x00\x05", bound6}}, ""},
		{"IPv6", nil, Target{"2001:db8::1", 5}, []talk{{greet, free}, {"\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x05", boundOdd}}, ""},
		{"a password", me, target, []talk{{greet2, "\x05\x02"}, {shows, "\x01\x00"}, {askName, bound4}}, ""},
		{"a password not wanted", me, target, []talk{{greet2, free}, {askName, bound4}}, ""},
		{"a wrong password", me, target, []talk{{greet2, "\x05\x02"}, {shows, "\x01\x01"}}, "refuses the name and password (status 1)"},
		{"no password", nil, target, []talk{{greet, "\x05\xff"}}, "takes nobody without a password"},
		{"no method", me, target, []talk{{greet2, "\x05\xff"}}, "takes neither"},
		{"a method not offered", nil, target, []talk{{greet, "\x05\x02"}}, "chooses method 0x02, which was not offered"},
		{"GSSAPI", me, target, []talk{{greet2, "\x05\x01"}}, "chooses method 0x01"},
		{"another version", nil, target, []talk{{greet, "\x04\x5a"}}, "does not speak SOCKS version 5"},
		{"HTTP", nil, target, []talk{{greet, "HTTP/1.0 400 Bad\r\n\r\n"}}, `its answer begins with "HT"; is it a --http-proxy?`},
		{"rubbish behind the password", me, target, []talk{{greet2, "\x05\x02"}, {shows, "xy"}}, "not of RFC 1929"},
		{"rubbish behind the request", nil, target, []talk{{greet, free}, {askName, "\x04\x00\x00\x01"}}, "does not go on in SOCKS version 5"},
		{"forbidden", nil, target, []talk{{greet, free}, {askName, "\x05\x02\x00\x01"}}, "refuses (reply 2): its rules do not allow it"},
		{"no peer", nil, target, []talk{{greet, free}, {askName, "\x05\x05\x00\x01"}}, "the peer refuses the connection"},
		{"no reason", nil, target, []talk{{greet, free}, {askName, "\x05\x77\x00\x01"}}, "for a reason that no RFC names"},
		{"an odd address", nil, target, []talk{{greet, free}, {askName, "\x05\x00\x00\x09"}}, "unknown kind of address, 0x09"},
		{"hangs up at once", nil, target, []talk{{greet, ""}}, "has closed the connection"},
		{"hangs up in the greeting", nil, target, []talk{{greet, "\x05"}}, "has closed the connection"},
		{"hangs up behind it", nil, target, []talk{{greet, free}, {askName, ""}}, "has closed the connection"},
		{"hangs up in the address", nil, target, []talk{{greet, free}, {askName, bound6[:9]}}, "has closed the connection"},
		{"hangs up in a name", nil, target, []talk{{greet, free}, {askName, "\x05\x00\x00\x03"}}, "has closed the connection"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "" {
				c.part[len(c.part)-1].says += "then"
			}
			dial, wrong := fakeSOCKS(t, c.part)
			conn, err := (&SOCKS{c.who}).Connect(dial, c.to)
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "":
				rest := make([]byte, 4)
				if io.ReadFull(conn, rest); string(rest) != "then" {
					t.Errorf("behind the answer comes %q", rest)
				}
			case err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), me.Password):
				t.Errorf("%v; want %q", err, c.want)
			}
			if err := <-wrong; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSOCKSAssociates(t *testing.T) {
	greeting := talk{"\x05\x01\x00", "\x05\x00"}
	for _, c := range []struct{ name, answer, relay, want string }{
		{"IPv4", bound4, "10.0.0.1:4660", ""},
		{"IPv6", bound6, "[2001:db8::1]:4660", ""},
		{"where it was asked", boundAny, "127.0.0.1:4660", ""},
		{"by name", boundOdd, "", "names its relay"},
		{"no port", bound4[:8] + "\x00\x00", "", "does not say at which port"},
		{"refused", "\x05\x07\x00\x01", "", "does not carry out this command"},
		{"loopback, as the proxy", bound4[:4] + "\x7f\x00\x00\x09\x12\x34", "127.0.0.9:4660", ""},
		{"multicast", bound4[:4] + "\xe0\x00\x00\x01\x12\x34", "", "it relays datagrams at 224.0.0.1:4660, which is a multicast address"},
		{"broadcast", bound4[:4] + "\xff\xff\xff\xff\x12\x34", "", "at 255.255.255.255:4660, which is the broadcast address"},
	} {
		dial, wrong := fakeSOCKS(t, []talk{greeting, {askRelay, c.answer}})
		conn, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		relay, err := (&SOCKS{}).Associate(conn)
		if c.want == "" && (err != nil || relay != netip.MustParseAddrPort(c.relay)) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, %v; want %s%s", c.name, relay, err, c.relay, c.want)
		}
		if err := <-wrong; err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRelaysAreNotAnywhere(t *testing.T) {
	for _, c := range []struct {
		relay, via string
		ok         bool
	}{
		{"10.0.0.1", "10.0.0.2", true}, {"2001:db8::1", "10.0.0.2", true}, {"169.254.0.1", "10.0.0.2", true},
		{"127.0.0.1", "127.0.0.9", true}, {"127.0.0.1", "::1", true}, {"::1", "::1", true}, {"10.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "10.0.0.2", false}, {"127.1.2.3", "2001:db8::1", false}, {"::1", "2001:db8::1", false},
		{"239.1.1.1", "127.0.0.1", false}, {"ff02::1", "::1", false}, {"255.255.255.255", "127.0.0.1", false},
	} {
		if what := noRelay(netip.MustParseAddr(c.relay), netip.MustParseAddr(c.via)); (what == "") != c.ok {
			t.Errorf("%s via %s: %q", c.relay, c.via, what)
		}
	}
}

func TestDatagramHeaders(t *testing.T) {
	long := strings.Repeat("n", 253)
	for host, size := range map[string]int{"10.0.0.1": HeaderIPv4, "2001:db8::1": HeaderIPv6, "::ffff:10.0.0.1": HeaderIPv4, "a.example": 4 + 1 + 9 + 2, long: 4 + 1 + 253 + 2} {
		to := Target{host, 1194}
		h := AppendHeader(nil, to)
		if len(h) != size || len(h) > MaxHeader || !bytes.Equal(h[:3], []byte{0, 0, 0}) || !bytes.Equal(h[len(h)-2:], []byte{4, 0xaa}) {
			t.Errorf("%s: %x", host, h)
		}
		from, begin, ok := CutHeader(append(h, "data"...))
		if addr := to.Addr(); ok != addr.IsValid() || ok && (from != addr || begin != size) {
			t.Errorf("%s: %v, %d, %t", host, from, begin, ok)
		}
		if ok && !bytes.Equal(AppendAddrHeader(nil, from), h) {
			t.Errorf("%s: %x", host, AppendAddrHeader(nil, from))
		}
	}
	whole := AppendHeader(nil, Target{"2001:db8::1", 1})
	for n := range whole {
		if _, _, ok := CutHeader(whole[:n]); ok {
			t.Errorf("%d bytes are a header", n)
		}
	}
	if _, _, ok := CutHeader([]byte("\x00\x00\x01\x01\x0a\x00\x00\x01\x04\xaadata")); ok {
		t.Error("a fragment is taken")
	}
	if got := testing.AllocsPerRun(100, func() { CutHeader(whole) }); got != 0 {
		t.Errorf("CutHeader allocates %v times", got)
	}
}

func FuzzSOCKSAnswer(f *testing.F) {
	for _, s := range []string{"\x05\x00" + bound4, "\x05\x02\x01\x00" + bound6, "\x05\x00" + boundOdd, "\x05\xff", "HTTP"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		r := bytes.NewReader(answer)
		conn, err := (&SOCKS{me}).Connect(func() (net.Conn, error) { return scripted{Reader: r}, nil }, target)
		if (conn == nil) == (err == nil) {
			t.Fatalf("%v, %v", conn, err)
		}
		if read := len(answer) - r.Len(); read > 4+4+1+255+2 {
			t.Fatalf("%d bytes were read", read)
		}
		if err != nil && hasControls(err.Error()) {
			t.Fatalf("the error has control characters: %q", err)
		}
	})
}

func FuzzDatagramHeader(f *testing.F) {
	f.Add(AppendHeader(nil, Target{"10.0.0.1", 1}))
	f.Add(AppendHeader(nil, Target{"::1", 1}))
	f.Add(AppendHeader(nil, Target{"a", 1}))
	f.Fuzz(func(t *testing.T, d []byte) {
		from, begin, ok := CutHeader(d)
		if !ok {
			return
		}
		if begin > len(d) || !from.IsValid() || from.Addr().Zone() != "" {
			t.Fatalf("%x: %v, %d", d, from, begin)
		}
		if again, n, ok := CutHeader(AppendAddrHeader(nil, from)); !ok || again != from || n > begin {
			t.Fatalf("%x: %v becomes %v", d, from, again)
		}
	})
}
