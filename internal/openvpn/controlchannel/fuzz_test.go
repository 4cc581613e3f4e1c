package controlchannel

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tmelink/internal/openvpn/datachannel"
)

func FuzzBody(f *testing.F) {
	f.Add(byte(opAck), []byte{1, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add(byte(opControl), []byte{2, 0, 0, 0, 7, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 'x'})
	f.Add(byte(opHardClient), []byte{0, 0, 0, 0, 0})
	f.Add(byte(opControl), []byte{9})
	f.Fuzz(func(t *testing.T, op byte, data []byte) {
		p, err := parseBody(op, data)
		if err != nil {
			return
		}
		if len(p.acks) > maxAcks || len(p.payload) > len(data) {
			t.Fatalf("%d acknowledgements, %d bytes", len(p.acks), len(p.payload))
		}
		again := p.append(nil, op)
		if !bytes.HasPrefix(data, again) || op != opAck && len(again) != len(data) {
			t.Fatalf("%x becomes %x", data, again)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte{opControl<<3 | 1, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add(make([]byte, 9))
	f.Fuzz(func(t *testing.T, packet []byte) {
		op, id, from, ok := header(packet)
		if ok && (!IsControl(packet[0]) || packet[0] != op<<3|id || id > 7 || !bytes.Equal(packet[1:9], from[:]) || from == sessionID{}) {
			t.Fatalf("%x: %d %d %x", packet, op, id, from)
		}
	})
}

func FuzzSplitKey(f *testing.F) {
	f.Add(append(make([]byte, 60), 0, 20))
	f.Add(append(make([]byte, 9), 0, 2))
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, packet []byte) {
		rest, wrapped, ok := splitKey(packet)
		if ok && (len(rest) < headerLen || len(wrapped) < 2 || !bytes.Equal(slices.Concat(rest, wrapped), packet)) {
			t.Fatalf("%x: %x and %x", packet, rest, wrapped)
		}
	})
}

func FuzzHello(f *testing.F) {
	h := hello{options: "V4,dev-type tap", user: "u", password: "p", peerInfo: "IV_PROTO=2\n"}
	f.Add(h.marshal(false), false)
	f.Add(h.marshal(true), true)
	f.Add((&hello{}).marshal(true), true)
	f.Add(h.marshal(true)[:69], true)
	f.Fuzz(func(t *testing.T, record []byte, server bool) {
		h, err := parseHello(record, server)
		if err != nil {
			return
		}
		if len(h.options) > maxOptions || len(h.user) > maxCredential || len(h.password) > maxCredential || len(h.peerInfo) > maxPeerInfo {
			t.Fatal("a field is too long")
		}
		again, err := parseHello(h.marshal(server), server)
		// A field of the largest size has no room for the zero byte that ours end with.
		if err == nil && !reflect.DeepEqual(again, h) {
			t.Fatalf("%+v becomes %+v", h, again)
		}
	})
}

func FuzzValues(f *testing.F) {
	f.Add("IV_VER=2\nIV_PROTO=746\r\nIV_CIPHERS=A:B\n", "IV_PROTO")
	f.Add("V4,cipher AES-256-GCM,auth X", "cipher")
	f.Fuzz(func(t *testing.T, text, name string) {
		if v := peerValue(text, name); strings.Contains(v, "\n") || !strings.Contains(text, v) {
			t.Fatalf("%q", v)
		}
		if v := optionValue(text, name); strings.Contains(v, ",") || !strings.Contains(text, v) {
			t.Fatalf("%q", v)
		}
		config := testConfig(true, nil)
		a, err := config.agree(&hello{options: text, peerInfo: text})
		if err == nil && !slices.Contains(config.Ciphers, a.suite.Cipher) {
			t.Fatalf("agreed on %v", a.suite)
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add("ping 10,ping-restart 120,peer-id 5,cipher AES-256-GCM,route-gateway 10.8.0.1,ifconfig 10.8.0.6 255.255.255.0")
	f.Add("route 10.0.0.0 255.0.255.0 vpn_gateway -1,route-ipv6 ::/0 fe80::1%eth0 9,dhcp-option DNS ::1,tun-mtu 1500")
	f.Add("ping-exit 5,inactive 60 1000,session-timeout 9,ping-timer-rem,explicit-exit-notify 2,shaper 1000")
	f.Add("protocol-flags cc-exit tls-ekm dyn-tls-crypt,key-derivation tls-ekm,route-metric 3,dhcp-option DOMAIN x")
	f.Fuzz(func(t *testing.T, reply string) {
		s, err := parseSettings(reply)
		if err != nil {
			return
		}
		n := s.Network
		if s.peerID > 0xffffff || n.MTU < 0 || n.MTU > 65535 || s.Ping < -1 || s.Silence < -1 || s.Inactive < -1 || s.SessionTimeout < -1 ||
			s.ExitNotify < -1 || s.Shaper != 0 && (s.Shaper < MinShaper || s.Shaper > MaxShaper) {
			t.Fatalf("%+v", s)
		}
		if n.Addr4.IsValid() && !n.Addr4.Addr().Is4() || n.Addr6.IsValid() && !n.Addr6.Addr().Is6() {
			t.Fatalf("addresses %v, %v", n.Addr4, n.Addr6)
		}
		for _, r := range n.Routes {
			if !r.To.IsValid() || !r.Via.IsValid() || r.To != r.To.Masked() {
				t.Fatalf("route %+v", r)
			}
		}
	})
}

// channelOf makes a channel that lasts for one fuzzed input.
func channelOf(t testing.TB, server bool, w Wrapping, change func(*Config)) *Channel {
	t.Helper()
	c := testConfig(server, new(bytes.Buffer))
	c.Wrapping = w
	if change != nil {
		change(&c)
	}
	ch, err := New(c, datachannel.NewSlots(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// drain takes what a channel wants to send, and gives how many packets and bytes these are.
func drain(t testing.TB, c *Channel, now time.Time) (packets, size int) {
	for {
		p, ok, _ := c.Output(now)
		if !ok {
			return packets, size
		}
		if packets++; packets > 50 {
			t.Fatal("it never stops to send")
		}
		size += len(p.Data)
	}
}

// FuzzFlags reads what a server says in its first packet.
func FuzzFlags(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 0, 1})
	f.Add([]byte{0, 9, 0, 1, 7, 0, 1, 0, 2, 0, 0})
	f.Add([]byte{0, 1, 0xff, 0xff})
	client := wrappings(f)["tls-crypt-v2"][0]
	f.Fuzz(func(t *testing.T, payload []byte) {
		c := channelOf(t, false, client, nil)
		defer c.Close()
		c.next.primary.readFlags(payload)
	})
}

// FuzzUnwrap gives packets of anybody to each wrapping.
func FuzzUnwrap(f *testing.F) {
	all := wrappings(f)
	names := []string{"none", "tls-auth", "tls-crypt", "tls-crypt-v2"}
	for i, name := range names {
		w := all[name][0].newWrapper(false, 1)
		f.Add(byte(i), w.wrap(nil, opHardClient<<3, sessionID{1}, body{}.append(nil, opHardClient), epoch))
	}
	f.Add(byte(1), make([]byte, headerLen))
	f.Fuzz(func(t *testing.T, which byte, packet []byte) {
		name := names[int(which)%len(names)]
		if len(packet) < headerLen {
			return // see header
		}
		w := all[name][0].newWrapper(false, 1)
		got, err := w.unwrap(slices.Clone(packet), epoch)
		if err == nil && name != "none" {
			t.Fatalf("%s: %x is %x", name, packet, got)
		}
		// And ours come through, once, if no bit is changed.
		out, in := all[name][0].newWrapper(false, 1), all[name][1].newWrapper(true, 1)
		if name == "tls-crypt-v2" {
			in = Wrapping{Crypt: &all[name][0].ClientV2.Key}.newWrapper(true, 1)
		}
		wrapped := out.wrap([]byte("before"), opControl<<3, sessionID{1}, packet, epoch)[len("before"):]
		if len(wrapped) != headerLen+out.overhead()+len(packet) {
			t.Fatalf("%s: %d bytes for %d", name, len(wrapped), len(packet))
		}
		if name != "none" {
			bad := slices.Clone(wrapped)
			bad[len(packet)%len(bad)] ^= 1 << (which % 8)
			if _, err := in.unwrap(bad, epoch); err != errUnwrap {
				t.Fatalf("%s: a changed packet: %v", name, err)
			}
		}
		if got, err := in.unwrap(slices.Clone(wrapped), epoch); err != nil || !bytes.Equal(got, packet) {
			t.Fatalf("%s: %x, %v", name, got, err)
		}
		if _, err := in.unwrap(slices.Clone(wrapped), epoch); (err == errAgain) != (name != "none") {
			t.Fatalf("%s: a second time: %v", name, err)
		}
	})
}

// cut takes pieces with their length before them.
func cut(data []byte) (pieces [][]byte) {
	for len(data) > 0 && len(pieces) < 30 {
		n := min(int(data[0]), len(data)-1)
		pieces = append(pieces, data[1:1+n])
		data = data[1+n:]
	}
	return pieces
}

// FuzzInput gives what anybody may send to either end, and time.
func FuzzInput(f *testing.F) {
	all := wrappings(f)
	names := []string{"none", "tls-auth", "tls-crypt", "tls-crypt-v2"}
	reset := bare{}.wrap(nil, opHardClient<<3, sessionID{1}, body{}.append(nil, opHardClient), epoch)
	answer := bare{}.wrap(nil, opHardServer<<3, sessionID{2}, body{}.append(nil, opHardServer), epoch)
	for which := range byte(8) {
		f.Add(which, slices.Concat([]byte{byte(len(reset))}, reset, []byte{byte(len(answer))}, answer, []byte{2, 9, 9}, []byte{byte(len(reset))}, reset))
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		w, server := all[names[which%4]], which&4 != 0
		i := 0
		if server {
			i = 1
		}
		c := channelOf(t, server, w[i], nil)
		defer c.Close()
		now := epoch
		drain(t, c, now)
		for n, packet := range cut(data) {
			now = now.Add(time.Duration(n) * 300 * time.Millisecond)
			drain(t, c, now)
			from := netip.AddrPortFrom(clientAddr.Addr(), uint16(1+n/4))
			c.Input(packet, from, now)
			if packets, size := drain(t, c, now); packets > 8 || server && size > 8*(len(packet)+40) {
				t.Fatalf("%d packets of %d bytes for one of %d", packets, size, len(packet))
			}
		}
		if c.current != nil {
			t.Fatal("somebody without a certificate is let in")
		}
	})
}

// FuzzInside gives a session what only the holder of the wrapping's key can send.
func FuzzInside(f *testing.F) {
	all := wrappings(f)
	names := []string{"none", "tls-auth", "tls-crypt"}
	for which := range byte(6) {
		f.Add(which, []byte{6, opControl << 3, 0, 0, 0, 0, 1, 2, opAck << 3, 0, 6, opSoftReset<<3 | 1, 0, 0, 0, 0, 0, 18, opAck << 3, 1, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9})
		f.Add(which, slices.Concat([]byte{9, opControl << 3, 0, 0, 0, 0, 1, 22, 3, 1, 12, opControl << 3, 0, 0, 0, 0, 2, 0, 5, 1, 0, 0, 1}))
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		w, server := all[names[int(which)%3]], which%2 == 1
		us, they := w[0], w[1]
		if server {
			us, they = they, us
		}
		c := channelOf(t, server, us, nil)
		defer c.Close()
		remote := sessionID{7}
		if server {
			c.next = c.newSession(sessionID{9}, 0, us, epoch)
		}
		c.next.remote, c.next.addr = remote, clientAddr
		sender := they.newWrapper(!server, 1)
		now := epoch
		for _, p := range cut(data) {
			if len(p) == 0 {
				continue
			}
			now = now.Add(100 * time.Millisecond)
			c.Input(sender.wrap(nil, p[0], remote, p[1:], now), clientAddr, now)
			if packets, _ := drain(t, c, now); packets > 20 {
				t.Fatalf("%d packets for one", packets)
			}
			for _, s := range []*session{c.current, c.next} {
				if s != nil && (len(s.primary.in.packets) > receiveWindow || len(s.primary.acks.due) > maxAcks) {
					t.Fatal("it keeps too much")
				}
			}
		}
		if c.current != nil || c.slots.Sending() != nil {
			t.Fatal("there is a session without TLS")
		}
	})
}

// FuzzMessages gives a client what only its server can say.
func FuzzMessages(f *testing.F) {
	for _, m := range []string{"PUSH_REPLY,cipher AES-256-GCM\x00AUTH_PENDING,timeout 9\x00", "AUTH_FAILED,TEMP[x]:y\r\n\x00", "EXIT\x00", "RESTART,\x00", "INFO_PRE,WEB_AUTH::http\x00",
		"PUSH_REPLY,push-continuation 2\x00PUSH_REPLY,peer-id 1\x00", "HALT\x00", "\x01\x00", "PUSH_REQUEST\x00"} {
		f.Add([]byte(m), true)
		f.Add([]byte(m), false)
	}
	f.Fuzz(func(t *testing.T, record []byte, pull bool) {
		settled := 0
		var log bytes.Buffer
		c := channelOf(t, false, Wrapping{}, func(c *Config) {
			*c = testConfig(false, &log)
			c.Pull, c.Settled = pull, func(*Settings) { settled++ }
		})
		defer c.Close()
		c.hear(c.next, record, epoch)
		if settled > 1 || settled == 1 && (!pull || !c.next.pull.settled || c.next.agreed.suite.Cipher == nil) || len(c.next.pull.parts) > maxReply {
			t.Fatalf("settled %d times: %+v", settled, c.next.agreed)
		}
		if strings.ContainsFunc(log.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
			t.Fatalf("the log has control characters: %q", log.String())
		}
		if c.err != nil && strings.ContainsFunc(c.err.Error(), func(r rune) bool { return r < ' ' }) {
			t.Fatalf("an error with control characters: %q", c.err)
		}
	})
}
