package controlchannel

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
)

// stage is how far a negotiation has come.
type stage int

const (
	greeting stage = iota // our first packet has not been acknowledged
	shaking               // TLS, up to our hello
	said                  // our hello has been written
	heard                 // the peer's has been read
	active                // both have, and ours was acknowledged
	keyed                 // there is a key
	failed                // err says why; what is left to be sent still is
)

// negotiation is one TLS connection in a session, and the key that it makes.
type negotiation struct {
	session *session
	keyID   byte
	stage   stage
	err     error
	told    bool // err is in the log

	began      time.Time
	mustEnd    time.Time // the peer must be there by then, or, when it has failed, have been told
	activeAt   time.Time
	sendFrom   time.Time // when the key is surely the peer's, too
	diesAt     time.Time // of one that is being replaced
	out        sendQueue
	in         receiveQueue
	acks       acks
	tls        *engine
	ours       source
	peer       hello
	key        *datachannel.Key
	resendsKey bool // the first packet of TLS carries the client's wrapped key
	reminded   int  // how often: see reminder
}

// begin starts a negotiation; op is the opcode of our first packet, 0 if the peer
// has it already.
func (s *session) begin(keyID byte, op byte, now time.Time) *negotiation {
	c := s.channel.config
	n := &negotiation{
		session: s, keyID: keyID, began: now, mustEnd: now.Add(c.HandWindow),
		out: sendQueue{timeout: c.Timeout},
	}
	n.sendFrom = now.Add(c.HandWindow)
	if c.RenegTime > 0 {
		n.sendFrom = now.Add(min(c.HandWindow, c.RenegTime/2)) // auth_deferred_expire_window in ssl.c
	}
	config := c.TLS.Clone()
	config.Time = func() time.Time { return s.channel.now }
	n.tls = newEngine(c.Server, config)
	if op == 0 {
		n.out.next, n.in.next = 1, 1
	} else {
		n.out.add(op, nil)
	}
	return n
}

// receive takes up the body of a packet of the peer.
func (n *negotiation) receive(op byte, p body, now time.Time) error {
	if len(p.acks) > 0 && p.acked != n.session.id {
		return errors.New("it acknowledges packets of another session")
	}
	n.out.acknowledge(p.acks, now)
	if op != opAck && n.in.add(op, p.id, p.payload) {
		n.acks.add(p.id)
	}
	return nil
}

// proceed goes on as far as it can.
func (n *negotiation) proceed(now time.Time) {
	for n.stage != failed {
		before := n.stage
		progress, err := n.step(now)
		if err != nil {
			n.fail(err, now)
			return
		}
		if !progress && n.stage == before {
			return
		}
	}
}

// farewell is how long a failed negotiation goes on telling the peer why.
const farewell = 3 * time.Second

func (n *negotiation) fail(err error, now time.Time) {
	n.flush()
	n.stage, n.err = failed, err
	n.mustEnd = now.Add(farewell)
	n.tls.close()
}

// late is the error of a negotiation that has taken too long. An OpenVPN that does not
// believe a certificate begins anew without a word.
func (n *negotiation) late(now time.Time) error {
	after := now.Sub(n.began).Round(time.Second)
	if n.stage == greeting {
		return fmt.Errorf("the peer has not agreed on keys within %v (--hand-window): is it running, does it use the same keys, and does its firewall let the packets through?", after)
	}
	return fmt.Errorf("the peer has begun to agree on keys and not come to an end within %v (--hand-window): its log says why; if it says nothing of its own, its --ca or --peer-fingerprint must know this host's certificate, which must be valid and not revoked, and its clock be right", after)
}

// step is one round of tls_process_state in ssl.c.
func (n *negotiation) step(now time.Time) (progress bool, err error) {
	if n.stage < active && !now.Before(n.mustEnd) {
		return false, n.late(now)
	}
	if n.stage == greeting && n.out.empty() {
		n.stage = shaking
	}
	if n.key != nil && n.key.Heard.Load() {
		n.conclude()
	}
	server := n.session.channel.config.Server
	if (n.stage == heard && !server || n.stage == said && server) && n.out.empty() && len(n.tls.out) == 0 {
		n.stage, n.activeAt = active, now
		if server { // the client has acknowledged all that makes the key
			n.sendFrom = now
		}
	}
	if p, ok := n.in.take(); ok {
		progress = true
		if isHardReset(p.op) {
			n.readFlags(p.payload)
		} else {
			n.tls.feed(p.payload)
		}
	}
	if n.stage == greeting {
		return progress, nil
	}
	if err := n.tls.step(); err != nil {
		return progress, err
	}
	if n.tls.shaken && n.stage < active {
		if err := n.exchange(); err != nil {
			return progress, err
		}
	}
	return n.flush() || progress, nil
}

// conclude takes up that the peer has the key, and so all that we have sent: its
// acknowledgement may be lost, and an OpenVPN that has begun the next key repeats it no
// more.
func (n *negotiation) conclude() {
	if n.key != nil && n.stage < active && len(n.tls.out) == 0 {
		n.out.packets = nil
	}
}

// exchange writes our hello and reads the peer's: the client's comes first.
func (n *negotiation) exchange() error {
	server := n.session.channel.config.Server
	if n.stage == shaking && !server || n.stage == heard && server {
		if err := n.sayHello(); err != nil {
			return err
		}
		n.stage = said
		return nil
	}
	if n.stage == said && !server || n.stage == shaking && server {
		record, ok := n.tls.take()
		if !ok {
			return nil
		}
		peer, err := parseHello(record, !server)
		clear(record)
		if err != nil {
			return err
		}
		n.peer = peer
		n.stage = heard
		if n.keyID == 0 {
			return n.session.agree(n)
		}
	}
	return nil
}

func (n *negotiation) sayHello() error {
	c := n.session.channel.config
	var err error
	if n.ours, err = newSource(c.Random); err != nil {
		return err
	}
	h := hello{source: n.ours, options: c.Options, user: c.User, password: c.Password, peerInfo: c.peerInfo()}
	record := h.marshal(c.Server)
	err = n.tls.write(record)
	clear(record)
	return err
}

// flush cuts what TLS wants to send into packets, as many as may be on their way.
func (n *negotiation) flush() (progress bool) {
	for len(n.tls.out) > 0 && n.out.room() > 0 && n.stage != greeting {
		op, size := byte(opControl), n.session.room()
		if n.resendsKey && n.out.next == 1 {
			op = opControlKey
			size = max(16, size-len(n.session.channel.config.Wrapping.ClientV2.Wrapped))
		}
		size = min(size, len(n.tls.out))
		n.out.add(op, append([]byte(nil), n.tls.out[:size]...))
		n.tls.out = n.tls.out[size:]
		progress = true
	}
	return progress
}

// readFlags reads what a server may add to its first packet: of its values we know
// one, that the client's wrapped key must come again (parse_early_negotiation_tlvs in
// ssl.c).
func (n *negotiation) readFlags(b []byte) {
	const earlyFlags, resendKey = 1, 1
	for len(b) >= 4 {
		kind, size := int(b[0])<<8|int(b[1]), int(b[2])<<8|int(b[3])
		if b = b[4:]; size > len(b) {
			return
		}
		if kind == earlyFlags && size == 2 && b[1]&resendKey != 0 && n.session.channel.config.Wrapping.ClientV2 != nil {
			n.resendsKey = true
		}
		b = b[size:]
	}
}

// mayHaveKey says whether all is known that a key is made of: what both ends have
// said, and for a client that is told what to do, what its server has.
func (n *negotiation) mayHaveKey() bool {
	last := heard // of what the ends say
	if n.session.channel.config.Server {
		last = said
	}
	return (n.stage == last || n.stage == active) && n.session.told()
}

// makeKey makes the data channel's key of what was negotiated.
func (n *negotiation) makeKey() error {
	s, c := n.session, n.session.channel.config
	var material *keys.Static
	if s.agreed.export {
		b, err := n.tls.export("EXPORTER-OpenVPN-datakeys", keyMaterial)
		if err != nil {
			return fmt.Errorf("export keys from TLS: %w", err)
		}
		material = fromMaterial(b)
	} else if c.Server {
		material = expand(&n.peer.source, &n.ours, s.remote, s.id)
	} else {
		material = expand(&n.ours, &n.peer.source, s.id, s.remote)
	}
	n.ours, n.peer.source = source{}, source{}
	dir := keys.Normal
	if c.Server {
		dir = keys.Inverse
	}
	out, in := material.Pair(dir)
	form := datachannel.FormV1(n.keyID)
	if s.agreed.numbered {
		form = datachannel.FormV2(n.keyID, s.agreed.peerID)
	}
	n.key = &datachannel.Key{
		ID:     n.keyID,
		Sealer: datachannel.NewSealer(s.agreed.suite, form, out),
		Opener: datachannel.NewOpener(s.agreed.suite, form, in, c.Window()),

		MaxPackets: c.RenegPackets,
		MaxBytes:   c.RenegBytes,
	}
	material.Wipe()
	return nil
}

// worn says whether the key must be replaced.
func (n *negotiation) worn(now time.Time) bool {
	c := n.session.channel.config
	return c.RenegTime > 0 && now.Sub(n.activeAt) >= c.RenegTime ||
		n.key.Worn.Load()
}

// A client's last acknowledgement may be lost, for which an OpenVPN that is the server
// waits 2 s and then twice as long each time; until then it has no key, and understands
// nothing of a next one. So the acknowledgement is repeated until the server has used
// the key: after firstReminder, and then twice as long each time.
const (
	firstReminder = time.Second
	mostReminders = 6
)

// reminder is when the last acknowledgement is to be repeated, zero for never.
func (n *negotiation) reminder() time.Time {
	if n.session.channel.config.Server || n.reminded == mostReminders || n.activeAt.IsZero() || n.key == nil || n.key.Heard.Load() {
		return time.Time{}
	}
	return n.activeAt.Add(firstReminder<<(n.reminded+1) - firstReminder)
}

// remind says whether it is time to repeat the last acknowledgement.
func (n *negotiation) remind(now time.Time) bool {
	at := n.reminder()
	if at.IsZero() || now.Before(at) {
		return false
	}
	n.reminded++
	return true
}

// version is that of TLS, for the log.
func (n *negotiation) version() string { return tls.VersionName(n.tls.tls.ConnectionState().Version) }
