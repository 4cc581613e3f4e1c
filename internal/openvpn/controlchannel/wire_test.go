package controlchannel

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	epoch      = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	clientAddr = netip.MustParseAddrPort("192.0.2.1:1194")
	serverAddr = netip.MustParseAddrPort("[2001:db8::2]:1194")
)

// certificates are the client's and the server's, made once.
var certificates = sync.OnceValue(func() []tls.Certificate {
	both := make([]tls.Certificate, 2)
	for i, name := range []string{"client", "server"} {
		certPEM, keyPEM, err := keys.NewCertificate(rand.Reader, name, epoch, 3650)
		if err == nil {
			both[i], err = tls.X509KeyPair(certPEM, keyPEM)
		}
		if err != nil {
			panic(err)
		}
	}
	return both
})

// wire joins the channels of a client and a server, and loses nothing.
type wire struct {
	t              testing.TB
	now            time.Time
	client, server *Channel
	log            *bytes.Buffer
	largest        int
	pushed         func(server *session) bool // the server may say something, and has
}

// testConfig is that of an end which knows the other's certificate.
func testConfig(server bool, log *bytes.Buffer) Config {
	i := 0
	if server {
		i = 1
	}
	want := sha256.Sum256(certificates()[1-i].Certificate[0])
	digest, _ := datachannel.LookupDigest("SHA256")
	var ciphers []*datachannel.Cipher
	for _, name := range []string{"AES-256-GCM", "AES-128-CBC"} {
		c, _ := datachannel.LookupCipher(name)
		ciphers = append(ciphers, c)
	}
	return Config{
		Server: server,
		TLS: &tls.Config{
			Certificates: certificates()[i : i+1], InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
			VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
				if sha256.Sum256(raw[0]) != want {
					return errors.New("a stranger")
				}
				return nil
			},
		},
		Options: "V4,dev-type tap,cipher AES-256-GCM", Ciphers: ciphers, Digest: digest,
		Window:   func() datachannel.Window { return datachannel.NewWindow(64, 0) },
		Platform: "linux", MTU: 1600, MaxPacket: 1250, HandWindow: time.Minute, TranWindow: time.Hour, Timeout: 2 * time.Second, RenegTime: time.Hour,
		Random: rand.Reader, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// newWire joins two channels, whose configurations change may alter before.
func newWire(t testing.TB, change func(client, server *Config)) *wire {
	t.Helper()
	w := &wire{t: t, now: epoch, log: new(bytes.Buffer)}
	c, s := testConfig(false, w.log), testConfig(true, w.log)
	if change != nil {
		change(&c, &s)
	}
	var err error
	if w.server, err = New(s, datachannel.NewSlots(), w.now); err != nil {
		t.Fatal(err)
	}
	if w.client, err = New(c, datachannel.NewSlots(), w.now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.client.Close()
		w.server.Close()
	})
	return w
}

// settle lets packets go to and fro until there are none, and gives when there will be.
func (w *wire) settle() (again time.Time) {
	w.t.Helper()
	for range 1000 {
		p, ok, one := w.client.Output(w.now)
		if ok {
			w.largest = max(w.largest, len(p.Data))
			w.server.Input(p.Data, clientAddr, w.now)
			continue
		}
		q, ok, other := w.server.Output(w.now)
		if !ok && w.pushed != nil && w.server.current != nil && w.pushed(w.server.current) {
			continue
		}
		if !ok {
			return earlier(one, other)
		}
		if q.To != clientAddr {
			w.t.Fatalf("a packet for %v", q.To)
		}
		w.largest = max(w.largest, len(q.Data))
		w.client.Input(q.Data, serverAddr, w.now)
	}
	w.t.Fatalf("they never stop:\n%s", w.log)
	return again
}

// run lets time pass.
func (w *wire) run(d time.Duration) {
	w.t.Helper()
	for limit := w.now.Add(d); ; {
		again := w.settle()
		if again.IsZero() || again.After(limit) {
			w.now = limit
			return
		}
		if !again.After(w.now) {
			again = w.now.Add(time.Millisecond)
		}
		w.now = again
	}
}

// pass sends a payload each way under the keys that are agreed on.
func (w *wire) pass() error {
	for i, d := range [][2]*Channel{{w.client, w.server}, {w.server, w.client}} {
		sending := d[0].slots.Sending()
		if sending == nil || sending.Sealer.Begin(w.now) == 0 {
			return fmt.Errorf("direction %d: no key to seal with", i)
		}
		packet := sending.Sealer.Seal(make([]byte, 300), []byte("some payload"))
		key := d[1].slots.Opening(packet)
		if key == nil {
			return fmt.Errorf("direction %d: no key to open with", i)
		}
		got, err := key.Opener.Open(packet)
		if err != nil || string(got) != "some payload" {
			return fmt.Errorf("direction %d: %q, %v", i, got, err)
		}
		key.Opened(1, len(packet))
	}
	return nil
}

// wrappings are all ways to guard the channel.
func wrappings(t testing.TB) map[string][2]Wrapping {
	t.Helper()
	static, err := keys.NewStatic(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	server, err := keys.NewServerV2(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client, err := keys.NewClientV2(rand.Reader, server, keys.UserMetadata(nil))
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := datachannel.LookupDigest("SHA512")
	return map[string][2]Wrapping{
		"none":         {},
		"tls-auth":     {{Auth: static, Digest: digest, Dir: keys.Inverse}, {Auth: static, Digest: digest, Dir: keys.Normal}},
		"tls-crypt":    {{Crypt: static}, {Crypt: static}},
		"tls-crypt-v2": {{ClientV2: client}, {ServerV2: server}},
	}
}

func TestHandshake(t *testing.T) {
	for name, wr := range wrappings(t) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			w := newWire(t, func(c, s *Config) {
				c.Wrapping, s.Wrapping = wr[0], wr[1]
				c.TLS.MaxVersion = version
			})
			w.settle()
			if err := w.pass(); err != nil {
				t.Fatalf("%s, %x: %v\n%s", name, version, err, w.log)
			}
			for _, s := range []*session{w.client.current, w.server.current} {
				if a := s.agreed; !a.export || !a.numbered || !a.exitNotify || !a.dynamic || a.suite.Cipher.Name != "AES-256-GCM" || a.peerID != w.client.current.agreed.peerID {
					t.Errorf("%s: agreed on %+v", name, a)
				}
				if s.primary.stage != keyed || s.primary.ours != (source{}) || s.primary.peer.source != (source{}) {
					t.Errorf("%s: the sources of keys are kept", name)
				}
			}
			if w.server.Peer() != clientAddr || w.server.Peer().IsValid() {
				t.Errorf("%s: the server does not say once who its peer is", name)
			}
			if w.largest > 1250-48 {
				t.Errorf("%s: a packet of %d bytes", name, w.largest)
			}
			w.run(150 * time.Minute)
			if w.client.current.primary.keyID != 2 || w.server.current.primary.keyID != 2 {
				t.Errorf("%s: keys %d and %d after two renegotiations", name, w.client.current.primary.keyID, w.server.current.primary.keyID)
			}
			if err := w.pass(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if (w.client.current.wrapLater == nil) || w.client.slots.Sending().ID != 2 {
				t.Errorf("%s: after renegotiations key %d, wrapping %v", name, w.client.slots.Sending().ID, w.client.current.wrapLater)
			}
		}
	}
}

// Key ids go round, and leave out 0.
func TestKeyIDsGoRound(t *testing.T) {
	w := newWire(t, func(c, s *Config) { c.RenegTime = 10 * time.Second })
	want := []byte{0, 1, 2, 3, 4, 5, 6, 7, 1, 2}
	for _, id := range want {
		w.settle()
		if got, other := w.client.current.primary.keyID, w.server.current.primary.keyID; got != id || other != id {
			t.Fatalf("keys %d and %d, want %d", got, other, id)
		}
		if err := w.pass(); err != nil {
			t.Fatal(err)
		}
		w.run(10 * time.Second)
	}
}

// A tls-crypt-v2 client from before 2.6 counts its packets from 1 and expects a session
// at once.
func TestOldClientV2(t *testing.T) {
	wr := wrappings(t)["tls-crypt-v2"]
	w := newWire(t, func(c, s *Config) { c.Wrapping, s.Wrapping = wr[0], wr[1] })
	w.client.next.wrap.(*crypter).ids.next = 1
	p, _, _ := w.client.Output(w.now)
	if w.server.Input(p.Data, clientAddr, w.now); w.server.next == nil {
		t.Fatalf("no session was begun:\n%s", w.log)
	}
	w.settle()
	if w.client.current == nil || w.client.current.primary.resendsKey {
		t.Fatalf("no session, or with the key sent twice:\n%s", w.log)
	}
	if err := w.pass(); err != nil {
		t.Error(err)
	}
}

// A server of OpenVPN's that knows its peer begins by itself. Whether its packet or the
// client's is first, one session comes of it.
func TestServerBegins(t *testing.T) {
	w := newWire(t, nil)
	s := w.server
	id, err := s.newID()
	if err != nil {
		t.Fatal(err)
	}
	s.next = s.newSession(id, opHardServer, Wrapping{}, w.now)
	s.next.addr = clientAddr
	p, ok, _ := s.Output(w.now)
	if !ok || p.Data[0]>>3 != opHardServer {
		t.Fatalf("%x", p.Data)
	}
	if !w.client.Input(p.Data, serverAddr, w.now) || w.client.next.remote != id {
		t.Fatal("the client does not take it")
	}
	s.next.remote = w.client.next.id
	w.settle()
	if err := w.pass(); err != nil || s.current.id != id {
		t.Errorf("%v\n%s", err, w.log)
	}
}

// What a stranger says to a client that has a session begins nothing.
func TestStrangersReset(t *testing.T) {
	for name, wr := range wrappings(t) {
		w := newWire(t, func(c, s *Config) { c.Wrapping, s.Wrapping = wr[0], wr[1] })
		w.settle()
		stranger := bare{}.wrap(nil, opHardServer<<3, sessionID{9}, body{acks: []uint32{0}, acked: sessionID{8}}.append(nil, opHardServer), w.now)
		if w.client.Input(stranger, netip.MustParseAddrPort("203.0.113.66:6666"), w.now) || w.client.next != nil {
			t.Errorf("%s: a stranger's answer begins a session", name)
		}
		spontaneous := bare{}.wrap(nil, opHardServer<<3, sessionID{9}, body{}.append(nil, opHardServer), w.now)
		if begun := w.client.Input(spontaneous, serverAddr, w.now); begun != (name == "none") {
			t.Errorf("%s: a reset of the server begins a session: %v", name, begun)
		}
		if err := w.pass(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		w.run(2 * time.Minute)
		if w.client.next != nil || w.client.Err() != nil {
			t.Errorf("%s: it still waits for the stranger, or has ended: %v", name, w.client.Err())
		}
	}
}

func TestCookies(t *testing.T) {
	w := newWire(t, nil)
	s, remote := w.server, sessionID{1, 2, 3}
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	id := s.cookie(clientAddr, remote, epoch, 0)
	for d, good := range map[time.Duration]bool{
		0: true, 59 * time.Second: true, 89 * time.Second: true, 90 * time.Second: false, time.Hour: false, -time.Second: true, -31 * time.Second: false,
	} {
		if s.isCookie(id, clientAddr, remote, at(d)) != good {
			t.Errorf("after %v it is good: %v", d, !good)
		}
	}
	if s.isCookie(id, netip.AddrPortFrom(clientAddr.Addr(), 1), remote, epoch) || s.isCookie(id, serverAddr, remote, epoch) || s.isCookie(id, clientAddr, sessionID{1, 2, 4}, epoch) || s.isCookie(sessionID{}, clientAddr, remote, epoch) {
		t.Error("somebody else's is good")
	}
	if id[0]&1 == 0 {
		t.Error("it may be zero")
	}
}

// Closing at any point of a handshake leaves no coroutine: see TestMain.
func TestCloseAtAnyPoint(t *testing.T) {
	for steps := range 30 {
		w := newWire(t, nil)
		for range steps {
			if p, ok, _ := w.client.Output(w.now); ok {
				w.server.Input(p.Data, clientAddr, w.now)
			} else if p, ok, _ := w.server.Output(w.now); ok {
				w.client.Input(p.Data, serverAddr, w.now)
			}
		}
		w.client.Close()
		w.server.Close()
		if w.client.slots.Sending() != nil || w.server.slots.Sending() != nil {
			t.Fatal("a closed channel has keys")
		}
	}
}
