package controlchannel

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"tmelink/internal/openvpn/keys"
)

// source is what each end adds to the keys by itself (struct key_source in
// ssl_common.h). With keys exported from TLS it is sent and not used.
type source struct {
	preMaster        [48]byte // the client's only
	random1, random2 [32]byte
}

// hello is the first record that each end writes, OpenVPN's "key method 2"
// (key_method_2_write in ssl.c).
type hello struct {
	source         source
	options        string
	user, password string
	peerInfo       string // lines of NAME=VALUE
}

const (
	keyMethod     = 2
	maxOptions    = 512  // TLS_OPTIONS_LEN
	maxCredential = 4096 // USER_PASS_LEN, of builds with PKCS #11
	maxPeerInfo   = 4096
)

func newSource(random io.Reader) (s source, err error) {
	for _, b := range [][]byte{s.preMaster[:], s.random1[:], s.random2[:]} {
		if _, err := io.ReadFull(random, b); err != nil {
			return s, err
		}
	}
	return s, nil
}

// marshal writes the record that a client or a server sends.
func (h *hello) marshal(server bool) []byte {
	b := []byte{0, 0, 0, 0, keyMethod}
	if !server {
		b = append(b, h.source.preMaster[:]...)
	}
	b = append(b, h.source.random1[:]...)
	b = append(b, h.source.random2[:]...)
	for _, s := range []string{h.options, h.user, h.password, h.peerInfo} {
		if s == "" {
			b = binary.BigEndian.AppendUint16(b, 0)
			continue
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)+1))
		b = append(append(b, s...), 0)
	}
	return b
}

var errHello = errors.New("the peer's first message inside TLS is not OpenVPN's of key method 2")

// parseHello reads the record of the peer; ofServer says that the peer is the
// server. Older peers leave out what stands at the end.
func parseHello(b []byte, ofServer bool) (h hello, err error) {
	if len(b) < 5 {
		return h, errHello
	}
	if m := b[4] & 0x0f; m != keyMethod {
		return h, fmt.Errorf("%w: it is of key method %d", errHello, m)
	}
	b = b[5:]
	parts := [][]byte{h.source.preMaster[:], h.source.random1[:], h.source.random2[:]}
	if ofServer {
		parts = parts[1:]
	}
	for _, p := range parts {
		if len(b) < len(p) {
			return h, errHello
		}
		b = b[copy(p, b):]
	}
	for i, field := range []struct {
		to   *string
		most int
	}{{&h.options, maxOptions}, {&h.user, maxCredential}, {&h.password, maxCredential}, {&h.peerInfo, maxPeerInfo}} {
		if len(b) == 0 && i > 0 {
			break
		}
		if len(b) < 2 {
			return h, errHello
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; n > len(b) || n > field.most {
			return h, errHello
		}
		*field.to = strings.TrimRight(string(b[:n]), "\x00")
		b = b[n:]
	}
	return h, nil
}

// expand makes the data channel's keys of both ends' sources, for peers that cannot
// export them from TLS (generate_key_expansion_openvpn_prf in ssl.c).
func expand(client, server *source, clientID, serverID sessionID) *keys.Static {
	master := make([]byte, 48)
	prf(master, client.preMaster[:], "OpenVPN master secret", client.random1[:], server.random1[:])
	material := make([]byte, keyMaterial)
	prf(material, master, "OpenVPN key expansion", client.random2[:], server.random2[:], clientID[:], serverID[:])
	clear(master)
	return fromMaterial(material)
}

// keyMaterial is the size of two halves, each of a cipher's key and an HMAC's.
const keyMaterial = 256

// fromMaterial takes up key material and wipes it.
func fromMaterial(b []byte) *keys.Static {
	k := new(keys.Static)
	for i := range k.Halves {
		half := b[i*keyMaterial/2:]
		copy(k.Halves[i].Cipher[:], half)
		copy(k.Halves[i].HMAC[:], half[len(k.Halves[i].Cipher):])
	}
	clear(b)
	return k
}

// prf is the pseudo-random function of TLS 1.0 (RFC 2246, section 5).
func prf(out, secret []byte, label string, seeds ...[]byte) {
	seed := []byte(label)
	for _, s := range seeds {
		seed = append(seed, s...)
	}
	half := (len(secret) + 1) / 2
	stretch(out, md5.New, secret[:half], seed)
	other := make([]byte, len(out))
	stretch(other, sha1.New, secret[len(secret)-half:], seed)
	for i := range out {
		out[i] ^= other[i]
	}
	clear(other)
}

// stretch is P_hash of RFC 2246.
func stretch(out []byte, h func() hash.Hash, secret, seed []byte) {
	mac := hmac.New(h, secret)
	a := sum(mac, seed)
	for len(out) > 0 {
		out = out[copy(out, sum(mac, a, seed)):]
		a = sum(mac, a)
	}
}
