package controlchannel

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"time"

	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
)

// Wrapping is how the packets of the control channel are guarded against whoever
// does not even have this key, before TLS looks at them. The zero Wrapping is none.
type Wrapping struct {
	Auth   *keys.Static // --tls-auth: packets are authenticated
	Digest *datachannel.Digest
	Dir    keys.Direction

	Crypt *keys.Static // --tls-crypt: they are enciphered, too

	ClientV2 *keys.ClientV2 // --tls-crypt-v2 of a client: with a key of its own
	ServerV2 *keys.ServerV2 // and of the server, which learns that key from the client
}

// wrapper wraps the packets of one session.
type wrapper interface {
	// wrap appends a packet to dst.
	wrap(dst []byte, first byte, from sessionID, body []byte, now time.Time) []byte
	// unwrap gives the body of a packet, which it may change, or says why it is
	// not the peer's.
	unwrap(packet []byte, now time.Time) ([]byte, error)
	// overhead is the size of what is added to a packet besides its header.
	overhead() int
}

var (
	errUnwrap = errors.New("a control packet was not made with this link's --tls-auth or --tls-crypt key, or was changed on its way")
	errAgain  = errors.New("a control packet came a second time")
)

// newWrapper begins the wrapping of a session. firstID is the id of our first
// packet.
func (w Wrapping) newWrapper(server bool, firstID uint32) wrapper {
	switch {
	case w.Auth != nil:
		out, in := w.Auth.Pair(w.Dir)
		return &authenticator{ids: newIDs(firstID), out: w.Digest.HMAC(out), in: w.Digest.HMAC(in)}
	case w.Crypt != nil:
		return newCrypter(w.Crypt, server, firstID)
	case w.ClientV2 != nil:
		return newCrypter(&w.ClientV2.Key, server, firstID)
	}
	return bare{}
}

// original is the key from which the renegotiations' wrapping is made, nil for
// none.
func (w Wrapping) original() *keys.Static {
	switch {
	case w.Auth != nil:
		return w.Auth
	case w.Crypt != nil:
		return w.Crypt
	case w.ClientV2 != nil:
		return &w.ClientV2.Key
	}
	return nil
}

// bare wraps nothing.
type bare struct{}

func (bare) wrap(dst []byte, first byte, from sessionID, body []byte, _ time.Time) []byte {
	return append(append(append(dst, first), from[:]...), body...)
}

func (bare) unwrap(packet []byte, _ time.Time) ([]byte, error) { return packet[headerLen:], nil }
func (bare) overhead() int                                     { return 0 }

// ids numbers the packets that go out and guards against the repetition of those
// that come in. The ids are long ones.
type ids struct {
	next   uint32
	time   uint32
	window datachannel.Window
}

const idsLen = 8 // a number and a time

func newIDs(first uint32) ids {
	return ids{next: first, window: datachannel.NewWindow(datachannel.DefaultWindow, 0)}
}

func (i *ids) put(b []byte, now time.Time) {
	if i.time == 0 {
		i.time = uint32(now.Unix())
	}
	binary.BigEndian.PutUint32(b, i.next)
	binary.BigEndian.PutUint32(b[4:], i.time)
	i.next++
}

func (i *ids) accept(b []byte) bool {
	return i.window.Accept(datachannel.ID{Number: binary.BigEndian.Uint32(b), Time: binary.BigEndian.Uint32(b[4:])})
}

// authenticator is --tls-auth: behind the header the HMAC and the packet id. The
// HMAC is over the packet id, the header and the body, in this order (swap_hmac in
// ssl_pkt.c).
type authenticator struct {
	ids     ids
	out, in hash.Hash
}

func (a *authenticator) wrap(dst []byte, first byte, from sessionID, body []byte, now time.Time) []byte {
	start := len(dst)
	dst = bare{}.wrap(dst, first, from, make([]byte, a.overhead()), now)
	packet := dst[start:]
	id := packet[len(packet)-idsLen:]
	a.ids.put(id, now)
	copy(packet[headerLen:], sum(a.out, id, packet[:headerLen], body))
	return append(dst, body...)
}

func (a *authenticator) unwrap(packet []byte, _ time.Time) ([]byte, error) {
	size := a.in.Size()
	if len(packet) < headerLen+size+idsLen {
		return nil, errUnwrap
	}
	id := packet[headerLen+size:][:idsLen]
	body := packet[headerLen+size+idsLen:]
	if !hmac.Equal(packet[headerLen:][:size], sum(a.in, id, packet[:headerLen], body)) {
		return nil, errUnwrap
	}
	if !a.ids.accept(id) {
		return nil, errAgain
	}
	return body, nil
}

func (a *authenticator) overhead() int { return a.out.Size() + idsLen }

func sum(h hash.Hash, parts ...[]byte) []byte {
	h.Reset()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// crypter is --tls-crypt: behind the header the packet id, a tag over all that
// stands before it and the body, and the body enciphered, with the tag as the
// initialization vector (tls_crypt_wrap in tls_crypt.c).
type crypter struct {
	ids         ids
	out, in     cipher.Block
	outMAC, mac hash.Hash
}

const cryptTag = sha256.Size

func newCrypter(key *keys.Static, server bool, firstID uint32) *crypter {
	dir := keys.Inverse // tls_crypt_init_key: the server sends with the first half
	if server {
		dir = keys.Normal
	}
	out, in := key.Pair(dir)
	block := func(half *keys.Half) cipher.Block {
		b, err := aes.NewCipher(half.Cipher[:32])
		if err != nil {
			panic(err) // its length is right
		}
		return b
	}
	return &crypter{
		ids: newIDs(firstID),
		out: block(out), outMAC: hmac.New(sha256.New, out.HMAC[:sha256.Size]),
		in: block(in), mac: hmac.New(sha256.New, in.HMAC[:sha256.Size]),
	}
}

func (c *crypter) wrap(dst []byte, first byte, from sessionID, body []byte, now time.Time) []byte {
	start := len(dst)
	dst = bare{}.wrap(dst, first, from, make([]byte, idsLen), now)
	c.ids.put(dst[len(dst)-idsLen:], now)
	tag := sum(c.outMAC, dst[start:], body)
	dst = append(dst, tag...)
	at := len(dst)
	dst = append(dst, body...)
	cipher.NewCTR(c.out, tag[:aes.BlockSize]).XORKeyStream(dst[at:], dst[at:])
	return dst
}

func (c *crypter) unwrap(packet []byte, _ time.Time) ([]byte, error) {
	const before = headerLen + idsLen
	if len(packet) < before+cryptTag {
		return nil, errUnwrap
	}
	tag, body := packet[before:][:cryptTag], packet[before+cryptTag:]
	plain := make([]byte, len(body))
	cipher.NewCTR(c.in, tag[:aes.BlockSize]).XORKeyStream(plain, body)
	if !hmac.Equal(tag, sum(c.mac, packet[:before], plain)) {
		return nil, errUnwrap
	}
	if !c.ids.accept(packet[headerLen:before]) {
		return nil, errAgain
	}
	return plain, nil
}

func (c *crypter) overhead() int { return idsLen + cryptTag }

// splitKey takes the client's wrapped key off a packet's end: it ends with its own
// length, in 16 bits (tls_crypt_v2_extract_client_key).
func splitKey(packet []byte) (rest, wrapped []byte, ok bool) {
	if len(packet) < headerLen+2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(packet[len(packet)-2:]))
	if n < 2 || n > len(packet)-headerLen {
		return nil, nil, false
	}
	return packet[:len(packet)-n], packet[len(packet)-n:], true
}
