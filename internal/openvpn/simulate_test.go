package openvpn

import (
	"bytes"
	"container/heap"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn/controlchannel"
	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
	"tmelink/internal/openvpn/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a network with a clock of its own. Ends, each with a Session, are driven in
// it as a link's reader, writer and talker would; between them packets are delayed,
// lost, repeated, reordered and damaged, by chance or by a script.
type world struct {
	t      testing.TB
	now    time.Time
	random *mathrand.Rand
	events events
	number int // of events
	ends   map[netip.AddrPort]*end
	paths  map[string]*path // by "from->to"
}

// event is something that happens at a time; those of one time in their order.
type event struct {
	at     time.Time
	number int
	do     func()
	packet *inFlight // in place of do
}

type inFlight struct {
	to, from netip.AddrPort
	data     []byte
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].number < e[j].number
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// newWorld begins a world, which ends with its test and leaves nothing behind.
func newWorld(t testing.TB, seed uint64) *world {
	if t, ok := t.(*testing.T); ok {
		cryptotest.SetGlobalRandom(t, seed)
	}
	w := &world{
		t: t, now: start, random: mathrand.New(mathrand.NewPCG(seed, 1)),
		ends: map[netip.AddrPort]*end{}, paths: map[string]*path{},
	}
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		w.close()
		goleak.VerifyNone(t, before)
	})
	return w
}

func (w *world) close() {
	for _, e := range w.ends {
		e.stop()
	}
}

func (w *world) schedule(at time.Time, e event) {
	e.at, e.number = at, w.number
	w.number++
	heap.Push(&w.events, e)
}

// after does something later.
func (w *world) after(d time.Duration, do func()) { w.schedule(w.now.Add(d), event{do: do}) }

// run lets the world go on for a time, or until something has become true, and says
// whether it has.
func (w *world) run(d time.Duration, until func() bool) bool {
	limit := w.now.Add(d)
	for until == nil || !until() {
		if len(w.events) == 0 || w.events[0].at.After(limit) {
			w.now = limit
			return until != nil && until()
		}
		e := heap.Pop(&w.events).(event)
		if e.at.After(w.now) {
			w.now = e.at
		}
		if e.packet == nil {
			e.do()
			continue
		}
		// What comes at one time is one batch to the reader.
		batch := [][]byte{boxed(e.packet.data)}
		for len(w.events) > 0 && w.events[0].packet != nil && w.events[0].at.Equal(e.at) && w.events[0].packet.to == e.packet.to && w.events[0].packet.from == e.packet.from {
			batch = append(batch, boxed(heap.Pop(&w.events).(event).packet.data))
		}
		if to := w.ends[e.packet.to]; to != nil {
			to.read(batch, e.packet.from)
		}
	}
	return true
}

// jump sets all clocks, on which nothing has happened meanwhile.
func (w *world) jump(d time.Duration) {
	w.now = w.now.Add(d)
	for _, e := range w.ends {
		e.talk()
	}
}

func boxed(p []byte) []byte {
	return append(make([]byte, 0, len(p)+datachannel.Slack), p...)
}

// path is what happens to packets of one direction.
type path struct {
	delay                      time.Duration
	lose, repeat, late, damage float64 // with what probability; late is by up to lateBy
	lateBy                     time.Duration
	script                     map[int]string // what happens to the first packets, by their number
	down                       bool

	count      int
	hook       func(packet []byte) // sees all packets
	lostFrames map[uint32]bool
}

// path is that from one end to another; "" stands for all.
func (w *world) path(from, to string) *path {
	name := from + "->" + to
	if w.paths[name] == nil {
		w.paths[name] = &path{delay: 5 * time.Millisecond, lostFrames: map[uint32]bool{}}
	}
	return w.paths[name]
}

// script says what happens to packets of a path, as in
//
//	client->server 1 drop; 2 +300ms; 3 dup; 4-6 drop; 7 flip
func (w *world) script(text string) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			continue
		}
		from, to, ok := strings.Cut(name, "->")
		p := w.path(from, to)
		p.script = map[int]string{}
		for item := range strings.SplitSeq(rest, ";") {
			which, what, fine := strings.Cut(strings.TrimSpace(item), " ")
			first, last, several := strings.Cut(which, "-")
			if !several {
				last = first
			}
			a, err1 := strconv.Atoi(first)
			b, err2 := strconv.Atoi(last)
			if !ok || !fine || err1 != nil || err2 != nil {
				w.t.Fatalf("script %q", line)
			}
			for n := a; n <= b; n++ {
				p.script[n] = what
			}
		}
	}
}

// send brings a packet on its way; frame is the number of the frame in it, 0 for none.
func (w *world) send(from *end, to netip.AddrPort, packet []byte, frame uint32) {
	name := to.String()
	if e := w.ends[to]; e != nil {
		name = e.name
	}
	p := w.path(from.name, name)
	p.count++
	if p.hook != nil {
		p.hook(packet)
	}
	data := bytes.Clone(packet)
	delay, times := p.delay, 1
	flip := func() {
		bit := w.random.IntN(8 * len(data))
		data[bit/8] ^= 1 << (bit % 8)
	}
	lost := p.down
	switch what := p.script[p.count]; {
	case what == "drop":
		lost = true
	case what == "dup":
		times = 2
	case what == "flip":
		flip()
		lost = true
	case strings.HasPrefix(what, "+"):
		more, err := time.ParseDuration(what[1:])
		if err != nil {
			w.t.Fatal(err)
		}
		delay += more
	case what != "":
		w.t.Fatalf("script: %q", what)
	}
	flipped := !p.down && p.script[p.count] == "flip"
	switch {
	case w.random.Float64() < p.lose:
		lost = true
	case w.random.Float64() < p.damage:
		flip()
		lost, flipped = true, true
	}
	if w.random.Float64() < p.repeat {
		times++
	}
	if lost && frame != 0 {
		p.lostFrames[frame] = true
	}
	if lost && !flipped {
		return
	}
	for range times {
		d := delay
		if w.random.Float64() < p.late {
			d += time.Duration(w.random.Int64N(int64(p.lateBy)))
		}
		w.schedule(w.now.Add(d), event{packet: &inFlight{to, from.addr, data}})
	}
}

// end is one end of a link.
type end struct {
	w       *world
	name    string
	addr    netip.AddrPort
	config  Config
	session *Session // nil while it is down
	peer    netip.AddrPort
	fixed   netip.AddrPort // whom it begins with, as of --remote

	again   time.Duration // after how long a time it begins a new session; 0: never
	timer   int           // which of the timers counts
	restart bool          // is on its way
	begun   int           // sessions
	errs    []error       // with which they ended

	next     uint32 // the number of the next frame
	sent     map[uint32]bool
	received map[uint32]int
	log      *bytes.Buffer
	unasked  int // packets that Control and Message gave
}

// add puts an end into the world, and begins its session.
func (w *world) add(name, addr, peer string, c Config) *end {
	e := &end{w: w, name: name, addr: netip.MustParseAddrPort(addr), config: c, sent: map[uint32]bool{}, received: map[uint32]int{}, log: new(bytes.Buffer)}
	if peer != "" {
		e.fixed = netip.MustParseAddrPort(peer)
	}
	e.config.Dropped, e.config.Unsent = &ethernet.Drops{}, &ethernet.Drops{}
	e.config.Log = slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if e.config.TLS != nil {
		e.config.TLS.Log = e.config.Log
	}
	if e.config.MTU == 0 {
		e.config.Options.MTU, e.config.Options.Proto = 1500, UDP
	}
	w.ends[e.addr] = e
	e.begin()
	return e
}

func (e *end) begin() {
	e.stop()
	s, err := NewSession(e.config, e.w.now)
	if err != nil {
		e.w.t.Fatal(err)
	}
	e.session, e.peer = s, e.fixed
	e.begun++
	e.talk()
}

// stop ends the session without a word, as a crash does.
func (e *end) stop() {
	if e.session != nil {
		e.session.Close()
		e.session = nil
	}
}

// fail ends the session as a link does.
func (e *end) fail(err error) {
	e.errs = append(e.errs, err)
	e.stop()
	if e.again > 0 && !e.restart {
		e.restart = true
		e.w.after(e.again, func() {
			e.restart = false
			e.begin()
		})
	}
}

// read is the link's reader.
func (e *end) read(batch [][]byte, from netip.AddrPort) {
	if e.session == nil {
		return
	}
	if from != e.peer {
		proved := false
		for _, p := range batch {
			proved = e.session.Introduce(p, from, e.w.now) || proved
		}
		if !proved {
			if e.session.Asked() {
				e.talk()
			}
			return
		}
		e.peer = from
	}
	for _, f := range e.session.Decode(nil, batch, from, e.w.now) {
		if n, ok := frameNumber(f.Data); ok {
			e.received[n]++
		} else {
			e.w.t.Errorf("%s: a frame that nobody sent: %x", e.name, f.Data)
		}
	}
	if e.session.Asked() {
		e.talk()
	}
}

// talk is the link's talker: it sends what is to be said and sets its timer.
func (e *end) talk() {
	if e.session == nil {
		return
	}
	var wait time.Duration
	for sent := 0; ; sent++ {
		p, ok, moved, again := e.session.Control(e.peer, e.w.now)
		if moved.IsValid() {
			e.peer = moved
		}
		if err := e.session.Err(); err != nil {
			e.fail(err)
			return
		}
		if !ok {
			wait = again
			break
		}
		if sent > 200 {
			e.w.t.Fatalf("%s: Control never ends", e.name)
		}
		to := p.To
		if !to.IsValid() {
			to = e.peer
		}
		e.unasked++
		e.w.send(e, to, p.Data, 0)
	}
	packet, again := e.session.Message(e.w.now)
	if packet != nil && e.peer.IsValid() {
		e.unasked++
		e.w.send(e, e.peer, packet, 0)
	}
	sooner := func(d time.Duration) {
		if d > 0 && (wait == 0 || d < wait) {
			wait = d
		}
	}
	sooner(again)
	over, left := e.session.Silent(e.w.now)
	if over && e.peer.IsValid() {
		e.fail(errSilent)
		return
	}
	sooner(left)
	e.timer++
	if wait > 0 {
		which := e.timer
		e.w.after(wait, func() {
			if which == e.timer {
				e.talk()
			}
		})
	}
}

var errSilent = fmt.Errorf("silent")

// frame makes a frame with a number that no other has.
func (e *end) frame(size int) ethernet.Frame {
	e.next++
	f := bytes.Repeat([]byte{byte(e.next)}, max(size, ethernet.HeaderLen+8))
	binary.BigEndian.PutUint32(f[ethernet.HeaderLen:], e.next)
	binary.BigEndian.PutUint32(f[ethernet.HeaderLen+4:], ^e.next)
	return ethernet.Frame{Data: f}
}

func frameNumber(f []byte) (uint32, bool) {
	if len(f) < ethernet.HeaderLen+8 {
		return 0, false
	}
	n := binary.BigEndian.Uint32(f[ethernet.HeaderLen:])
	for _, b := range f[ethernet.HeaderLen+8:] {
		if b != byte(n) {
			return 0, false
		}
	}
	return n, n == ^binary.BigEndian.Uint32(f[ethernet.HeaderLen+4:])
}

// write is the link's writer: it sends so many frames as one batch.
func (e *end) write(frames int) {
	if e.session == nil || !e.peer.IsValid() {
		return
	}
	for range frames {
		f := e.frame(60 + e.w.random.IntN(1400))
		packets, n := e.session.Encode(nil, []ethernet.Frame{f}, e.w.now)
		if n != 1 {
			e.w.t.Fatalf("%d frames taken of one", n)
		}
		if len(packets) == 1 {
			e.sent[e.next] = true
			e.w.send(e, e.peer, packets[0], e.next)
		}
		e.session.Rest()
	}
	if e.session.Asked() {
		e.talk()
	}
}

// chat has an end send frames again and again, for so long a time.
func (e *end) chat(every, long time.Duration) {
	stop := e.w.now.Add(long)
	var again func()
	again = func() {
		if e.w.now.Before(stop) {
			e.write(1 + e.w.random.IntN(3))
			e.w.after(every, again)
		}
	}
	again()
}

// missing counts the frames that e has sent and to has not received, although the
// path has not lost them; twice those that have come more than once.
func (e *end) missing(to *end) (missing, twice int) {
	lost := e.w.path(e.name, to.name).lostFrames
	for n := range e.sent {
		if to.received[n] == 0 && !lost[n] {
			missing++
		}
	}
	for _, times := range to.received {
		if times > 1 {
			twice++
		}
	}
	return missing, twice
}

// all checks that every frame has come that was not lost on its way, and gives how many
// were sent.
func (w *world) all(a, b *end) int {
	w.t.Helper()
	for _, d := range [][2]*end{{a, b}, {b, a}} {
		if missing, twice := d[0].missing(d[1]); missing != 0 || twice != 0 {
			w.t.Errorf("%s->%s: of %d frames %d have not come, and %d twice; dropped %v", d[0].name, d[1].name, len(d[0].sent), missing, twice, dropped(d[1]))
		}
	}
	return len(a.sent) + len(b.sent)
}

func dropped(e *end) (all []string) {
	for r := range ethernet.NumReasons {
		if n := e.config.Dropped.Count(r); n > 0 {
			all = append(all, fmt.Sprintf("%v %d", r, n))
		}
	}
	return all
}

func (e *end) ready() bool { return e.session != nil && e.session.Ready() }

// logged says whether all the texts are in the end's log.
func (e *end) logged(texts ...string) bool {
	for _, text := range texts {
		if !strings.Contains(e.log.String(), text) {
			return false
		}
	}
	return true
}

// identity is a certificate with its key and fingerprint.
type identity struct {
	tls         tls.Certificate
	fingerprint [32]byte
}

// newIdentity makes a certificate as `tmelink pair` does, valid around a time.
func newIdentity(t testing.TB, name string, made time.Time, days int) identity {
	t.Helper()
	certPEM, keyPEM, err := keys.NewCertificate(rand.Reader, name, made, days)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.CertificateFingerprint(certPEM)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := keys.ParseFingerprint(text)
	if err != nil {
		t.Fatal(err)
	}
	return identity{cert, sum}
}

// identities are made once for all tests.
var identities = sync.OnceValue(func() map[string]identity {
	all := map[string]identity{}
	for _, name := range []string{"client", "server", "stranger"} {
		all[name] = newIdentity(&testing.T{}, name, start, 3650)
	}
	return all
})

// trust makes the TLS configuration of an end as a link does.
func (w *world) trust(own identity, peer pki.Peer) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		Certificates:           []tls.Certificate{own.tls},
		InsecureSkipVerify:     true,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			var chain []*x509.Certificate
			for _, der := range raw {
				c, err := x509.ParseCertificate(der)
				if err != nil {
					return err
				}
				chain = append(chain, c)
			}
			return peer.Verify(chain, w.now)
		},
	}
}

// tlsConfig is that of a client or server that knows the other by its fingerprint.
func (w *world) tlsConfig(server bool) *controlchannel.Config {
	own, other := identities()["client"], identities()["server"]
	if server {
		own, other = other, own
	}
	digest, _ := datachannel.LookupDigest("SHA256")
	return &controlchannel.Config{
		Server: server,
		TLS:    w.trust(own, pki.Peer{Fingerprints: [][32]byte{other.fingerprint}, Server: !server}),
		Options: Options{MTU: 1500, Proto: UDP, Keys: &KeyOptions{
			Cipher: cipherNamed("AES-256-GCM"), Digest: digest, Server: server,
		}}.String(),
		Ciphers: ciphersNamed("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"),
		Digest:  digest,
		Window: func() datachannel.Window {
			return datachannel.NewWindow(datachannel.DefaultWindow, datachannel.DefaultLate)
		},
		Platform: "linux", MTU: 1600,
		MaxPacket: 1250, HandWindow: time.Minute, TranWindow: time.Hour, Timeout: 2 * time.Second, RenegTime: time.Hour,
		Random: rand.Reader,
	}
}

func cipherNamed(name string) *datachannel.Cipher {
	c, err := datachannel.LookupCipher(name)
	if err != nil {
		panic(err)
	}
	return c
}

func ciphersNamed(names ...string) (all []*datachannel.Cipher) {
	for _, name := range names {
		all = append(all, cipherNamed(name))
	}
	return all
}

const (
	clientAddr   = "192.0.2.1:1194"
	serverAddr   = "192.0.2.2:1194"
	strangerAddr = "203.0.113.66:6666"
)

// pair makes a client and a server; change alters their configurations before they
// begin.
func (w *world) pair(change func(client, server *Config)) (client, server *end) {
	c, s := Config{TLS: w.tlsConfig(false)}, Config{TLS: w.tlsConfig(true)}
	if change != nil {
		change(&c, &s)
	}
	server = w.add("server", serverAddr, clientAddr, s)
	client = w.add("client", clientAddr, serverAddr, c)
	return client, server
}

// both says when both ends can send.
func both(a, b *end) func() bool { return func() bool { return a.ready() && b.ready() } }

// meet lets two ends agree on keys within so long a time.
func (w *world) meet(a, b *end, within time.Duration) {
	w.t.Helper()
	if !w.run(within, both(a, b)) {
		w.t.Fatalf("no keys within %v: %v %v\n%s%s", within, a.errs, b.errs, a.log, b.log)
	}
}
