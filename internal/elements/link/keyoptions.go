package link

import (
	"strings"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
	"tmelink/internal/openvpn/pki"
	"tmelink/internal/tmesh"
)

// security is what a link's words say of keys.
type security struct {
	secret                       contents
	secretDir, authDir, keyDir   tmesh.Word // 0 or 1, where given
	server, client, pull         bool
	ca, cert, key, pkcs12, extra contents
	crl, askpass, user           contents
	tlsAuth, tlsCrypt            contents
	tlsCryptV2                   contents
	fingerprints                 [][32]byte
	name                         string
	nameType                     pki.NameType
	usage                        string
	versionMin, versionMax       uint16
	cipher, fallback             *datachannel.Cipher
	ciphers                      []*datachannel.Cipher
	digest                       *datachannel.Digest
	window                       int
	late                         time.Duration
	muteReplays                  bool
	reneg                        time.Duration
	renegBytes, renegPackets     uint64
	hand, tran, tlsTimeout       time.Duration
	maxPacket                    int
	tlsExit, single, retryAuth   bool
}

// The defaults of OpenVPN 2.6 (init_options in options.c).
func newSecurity() security {
	digest, _ := datachannel.LookupDigest("SHA1")
	s := security{
		digest: digest, window: datachannel.DefaultWindow, late: datachannel.DefaultLate,
		reneg: time.Hour, hand: time.Minute, tran: time.Hour, tlsTimeout: 2 * time.Second, maxPacket: 1250,
		versionMin: versions["1.2"],
	}
	for _, name := range []string{"AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"} {
		cipher, _ := datachannel.LookupCipher(name)
		s.ciphers = append(s.ciphers, cipher)
	}
	return s
}

// mode says what the keys come from.
func (s *security) tls() bool   { return s.server || s.client }
func (s *security) keyed() bool { return s.tls() || s.secret.given() }

// keyOptions are the words that concern keys.
func (c *config) keyOptions() []element.Option {
	s := &c.security
	set := func(to *bool) func(element.Values) error {
		return func(element.Values) error { *to = true; return nil }
	}
	return []element.Option{
		{Name: "--secret", Values: "FILE [DIRECTION]", Doc: "A static key that both ends have (`tmelink key secret`), for ever the same: whoever gets it can read all that was ever sent, which keys by TLS (--tls-server, --tls-client) do not allow. DIRECTION is 0 at one end and 1 at the other, so that each direction has a key of its own.",
			Set: func(v element.Values) (err error) {
				if v.Has(1) {
					s.secretDir = v.Words[1]
				}
				s.secret, err = c.read(v, 0)
				return err
			}},
		{Name: "--key-direction", Values: "DIRECTION", Doc: "0 or 1: the direction of --secret or --tls-auth, where the key itself stands in their place.",
			Set: func(v element.Values) error { s.keyDir = v.Words[0]; return nil }},
		{Name: "--tls-server", Doc: "Agree on keys by TLS, in the role of the server. The peer is the client; who connects to whom over TCP is another matter.", Set: set(&s.server)},
		{Name: "--tls-client", Doc: "Agree on keys by TLS, in the role of the client.", Set: set(&s.client)},
		{Name: "--client", Doc: "Short for --pull --tls-client.",
			Set: func(element.Values) error { s.client, s.pull = true, true; return nil }},
		{Name: "--pull", Doc: "Be the client of an OpenVPN in server mode: it says which cipher and timers to use. What it says of addresses and routes goes to the TAP or built-in host at the other side of the link's connection.", Set: set(&s.pull)},
		{Name: "--ca", Values: "FILE", Doc: "The certificates of those who sign for peers.", Set: c.contentsInto(&s.ca)},
		{Name: "--cert", Values: "FILE", Doc: "This end's certificate, with those between it and its CA behind it.", Set: c.contentsInto(&s.cert)},
		{Name: "--key", Values: "FILE", Doc: "Its private key.", Set: c.contentsInto(&s.key)},
		{Name: "--pkcs12", Values: "FILE", Doc: "Certificate, private key and CA in one PKCS #12 file, in place of --cert, --key and --ca.", Set: c.contentsInto(&s.pkcs12)},
		{Name: "--extra-certs", Values: "FILE", Doc: "Certificates between this end's and its CA, sent along.", Set: c.contentsInto(&s.extra)},
		{Name: "--askpass", Values: "FILE", Doc: "The file whose first line is the password of --key or --pkcs12.", Set: c.contentsInto(&s.askpass)},
		{Name: "--peer-fingerprint", Values: "FINGERPRINT…", Repeat: true, Doc: "The SHA-256 fingerprint of the peer's certificate (`tmelink key fingerprint`), in hexadecimal with colons. Several let in each of them. No CA is needed then.", Set: s.addFingerprints},
		{Name: "--verify-x509-name", Values: "NAME [TYPE]", Doc: "Let in only a peer whose certificate is for this name: with TYPE `name` its common name, with `name-prefix` the beginning of it, with `subject`, the default, all of its subject as OpenVPN writes it: `C=KG, ST=NA, CN=peer`.",
			Set: s.setName},
		{Name: "--remote-cert-tls", Values: "ROLE", Doc: "`server` or `client`: let in only a peer whose certificate is made for this role.",
			Set: func(v element.Values) error {
				if s.usage = v.Text(0); s.usage != "server" && s.usage != "client" {
					return v.Faultf(0, "%q is neither server nor client", s.usage)
				}
				return nil
			}},
		{Name: "--crl-verify", Values: "FILE", Doc: "The list of certificates that the CA has revoked. It is read again when a peer comes.", Set: c.contentsInto(&s.crl)},
		{Name: "--tls-version-min", Values: "VERSION [or-highest]", Doc: "`1.2`, the default, or `1.3`.", Set: versionInto(&s.versionMin)},
		{Name: "--tls-version-max", Values: "VERSION", Doc: "`1.2` or `1.3`.", Set: versionInto(&s.versionMax)},
		{Name: "--tls-auth", Values: "FILE [DIRECTION]", Doc: "A static key that both ends have (`tmelink key tls-auth`): packets of the negotiation without it are dropped unread. DIRECTION as with --secret.",
			Set: func(v element.Values) (err error) {
				if v.Has(1) {
					s.authDir = v.Words[1]
				}
				s.tlsAuth, err = c.read(v, 0)
				return err
			}},
		{Name: "--tls-crypt", Values: "FILE", Doc: "A static key that both ends have (`tmelink key tls-crypt`): as --tls-auth, and the negotiation is enciphered, so that nobody can tell who talks.", Set: c.contentsInto(&s.tlsCrypt)},
		{Name: "--tls-crypt-v2", Values: "FILE [COOKIE]", Doc: "As --tls-crypt, with a key for each client: at the server `tmelink key tls-crypt-v2-server`, at a client `tmelink key tls-crypt-v2-client`. COOKIE is OpenVPN's `allow-noncookie`, which is how it is.",
			Set: func(v element.Values) (err error) {
				if v.Has(1) && v.Text(1) != "allow-noncookie" {
					return v.Faultf(1, "%q is not carried out: clients older than 2.6 are let in; leave it out", v.Text(1))
				}
				s.tlsCryptV2, err = c.read(v, 0)
				return err
			}},
		{Name: "--dh", Values: "FILE", Doc: "`none`: keys are exchanged over elliptic curves, at the peer's end too.",
			Set: func(v element.Values) error {
				if v.Text(0) != "none" {
					return v.Faultf(0, "exchanges over finite fields are not carried out, and every OpenVPN of this decade can do without; say --dh none here (the peer may keep its file)")
				}
				return nil
			}},
		{Name: "--reneg-sec", Values: "SECONDS [MIN]", Doc: "Agree on a new key after so long a time, 3600 if not given; 0 is never. The end with the shorter time begins.",
			Set: func(v element.Values) (err error) { s.reneg, err = v.Seconds(0); return err }},
		{Name: "--reneg-bytes", Values: "N", Doc: "Agree on a new key after so many bytes in both directions; 0, the default, is never.", Set: countInto(&s.renegBytes)},
		{Name: "--reneg-pkts", Values: "N", Doc: "Agree on a new key after so many packets in both directions; 0, the default, is never. Before packet ids come to an end, or the cipher has sealed too much with one key, a new one is agreed on anyway.", Set: countInto(&s.renegPackets)},
		{Name: "--hand-window", Values: "SECONDS", Doc: "How long agreeing may take, 60 if not given.", Set: secondsInto(&s.hand)},
		{Name: "--tran-window", Values: "SECONDS", Doc: "How long a key is still good after a new one was begun, 3600 if not given.", Set: secondsInto(&s.tran)},
		{Name: "--tls-timeout", Values: "SECONDS", Doc: "After how long a packet of the negotiation is sent again at the latest, 2 if not given.", Set: secondsInto(&s.tlsTimeout)},
		{Name: "--max-packet-size", Values: "BYTES", Doc: "How long packets of the negotiation may be, 1250 if not given.",
			Set: func(v element.Values) (err error) { s.maxPacket, err = v.Int(0, mssLeast, 2048); return err }},
		{Name: "--data-ciphers", Values: "LIST", Doc: "The ciphers for frames, separated by colons, of which both ends take the first of the server's that the client has: " + strings.Join(datachannel.CipherNames(), ", ") + ". The default is AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305. A name with a question mark before it may be unknown.", Set: s.setCiphers},
		{Name: "--ncp-ciphers", Values: "LIST", Doc: "The older name of --data-ciphers.", Set: s.setCiphers},
		{Name: "--data-ciphers-fallback", Values: "NAME", Doc: "The cipher for a peer that cannot agree on one.", Set: cipherInto(&s.fallback)},
		{Name: "--cipher", Values: "NAME", Doc: "With --secret, the cipher: AES-256-CBC, AES-192-CBC or AES-128-CBC. With TLS, what --data-ciphers-fallback is. Without keys `none`.",
			Set: func(v element.Values) error {
				if strings.EqualFold(v.Text(0), "none") {
					return nil
				}
				return cipherInto(&s.cipher)(v)
			}},
		{Name: "--auth", Values: "NAME", Doc: "The digest that authenticates packets where the cipher does not, and those of --tls-auth: SHA1, the default, SHA256 or SHA512. Without keys `none`.",
			Set: func(v element.Values) (err error) {
				if s.digest = nil; !strings.EqualFold(v.Text(0), "none") {
					s.digest, err = datachannel.LookupDigest(v.Text(0))
				}
				return err
			}},
		{Name: "--replay-window", Values: "N [SECONDS]", Doc: "How far a packet may come behind later ones, 64 packets and 15 seconds if not given.",
			Set: func(v element.Values) (err error) {
				if s.window, err = v.Int(0, 1, datachannel.MaxWindow); err == nil && v.Has(1) {
					var n int
					n, err = v.Int(1, 0, int(datachannel.MaxLate/time.Second))
					s.late = time.Duration(n) * time.Second
				}
				return err
			}},
		{Name: "--mute-replay-warnings", Doc: "Do not tell in the log of packets that came a second time.", Set: set(&s.muteReplays)},
		{Name: "--tls-exit", Doc: "Give up when keys cannot be agreed on, instead of trying again.", Set: set(&s.tlsExit)},
		{Name: "--single-session", Doc: "Do not let the peer begin a second session in place of the first.", Set: set(&s.single)},
		{Name: "--auth-user-pass", Values: "FILE", Doc: "The file whose first two lines are the name and the password for the server.", Set: c.contentsInto(&s.user)},
		{Name: "--auth-retry", Values: "TYPE", Doc: "`none`, the default: give up when the server does not let the user in. `nointeract`: try again.",
			Set: func(v element.Values) error {
				switch v.Text(0) {
				case "none":
				case "nointeract":
					s.retryAuth = true
				default:
					return v.Faultf(0, "%q is not carried out: there is nobody to ask; it is none or nointeract", v.Text(0))
				}
				return nil
			}},
		{Name: "--config", Values: "FILE", Repeat: true, Doc: "More words from an OpenVPN profile, with what stands between <ca> and </ca> and the like."},
	}
}

func (s *security) addFingerprints(v element.Values) error {
	for i, w := range v.Words {
		for text := range strings.FieldsSeq(w.Text) { // inline it is a list
			sum, err := keys.ParseFingerprint(text)
			if err != nil {
				return v.Faultf(i, "%v", err)
			}
			s.fingerprints = append(s.fingerprints, sum)
		}
	}
	return nil
}

func (s *security) setName(v element.Values) error {
	types := map[string]pki.NameType{"": pki.NameSubject, "subject": pki.NameSubject, "name": pki.NameCommon, "name-prefix": pki.NamePrefix}
	s.name = v.Text(0)
	kind := ""
	if v.Has(1) {
		kind = v.Text(1)
	}
	var ok bool
	if s.nameType, ok = types[kind]; !ok {
		return v.Faultf(1, "%q is none of subject, name, name-prefix", kind)
	}
	return nil
}

// setCiphers reads a list, in which an unknown name is an error unless a question
// mark stands before it.
func (s *security) setCiphers(v element.Values) error {
	s.ciphers = nil
	for name := range strings.SplitSeq(v.Text(0), ":") {
		name, optional := strings.CutPrefix(name, "?")
		cipher, err := datachannel.LookupCipher(name)
		if err != nil && !optional {
			return v.Faultf(0, "%v", err)
		}
		if err == nil {
			s.ciphers = append(s.ciphers, cipher)
		}
	}
	if len(s.ciphers) == 0 {
		return v.Faultf(0, "no cipher is left of the list")
	}
	return nil
}

func cipherInto(to **datachannel.Cipher) func(element.Values) error {
	return func(v element.Values) (err error) {
		*to, err = datachannel.LookupCipher(v.Text(0))
		return err
	}
}

// versions are those of TLS by OpenVPN's names (crypto/tls's numbers).
var versions = map[string]uint16{"1.2": 0x0303, "1.3": 0x0304}

func versionInto(to *uint16) func(element.Values) error {
	return func(v element.Values) error {
		n, ok := versions[v.Text(0)]
		switch {
		case !ok && (v.Text(0) == "1.0" || v.Text(0) == "1.1"):
			return v.Faultf(0, "TLS %s is broken (RFC 8996); it is 1.2 or 1.3", v.Text(0))
		case !ok:
			return v.Faultf(0, "%q is not a version of TLS; it is 1.2 or 1.3", v.Text(0))
		}
		*to = n
		return nil
	}
}

func secondsInto(to *time.Duration) func(element.Values) error {
	return func(v element.Values) error {
		n, err := v.Int(0, 1, 1<<30)
		*to = time.Duration(n) * time.Second
		return err
	}
}

func countInto(to *uint64) func(element.Values) error {
	return func(v element.Values) error {
		n, err := v.Int(0, 0, 1<<62)
		*to = uint64(n)
		return err
	}
}
