package datachannel

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"tmelink/internal/openvpn/keys"
)

// reference is OpenVPN's data channel told a second time, by its crypto.c and without
// a thought of speed.
type reference struct {
	suite     Suite
	header    []byte // opcode with key id, and what of a peer id there is
	long      bool
	half      *keys.Half
	id, stamp uint32
	iv        []byte // for CBC: the one to use
}

func (r *reference) packetID() []byte {
	b := binary.BigEndian.AppendUint32(nil, r.id)
	if r.long {
		b = binary.BigEndian.AppendUint32(b, r.stamp)
	}
	return b
}

func (r *reference) seal(payload []byte) []byte {
	if r.suite.Cipher.AEAD() {
		// openvpn_encrypt_aead: what is authenticated begins at the opcode with
		// P_DATA_V2, and behind it with P_DATA_V1 (tls_prepend_opcode_v1 and _v2).
		nonce := append(r.packetID(), r.half.HMAC[:8]...)
		ad := r.packetID()
		if len(r.header) == 4 {
			ad = append(bytes.Clone(r.header), ad...)
		}
		sealed := r.aead().Seal(nil, nonce, payload, ad)
		text, tag := sealed[:len(payload)], sealed[len(payload):]
		return bytes.Join([][]byte{r.header, r.packetID(), tag, text}, nil)
	}
	// openvpn_encrypt_v1
	plain := append(r.packetID(), payload...)
	pad := 16 - len(plain)%16
	plain = append(plain, bytes.Repeat([]byte{byte(pad)}, pad)...)
	text := make([]byte, len(plain))
	cipher.NewCBCEncrypter(r.block(), r.iv).CryptBlocks(text, plain)
	mac := r.mac()
	mac.Write(r.iv)
	mac.Write(text)
	return bytes.Join([][]byte{r.header, mac.Sum(nil), r.iv, text}, nil)
}

func (r *reference) keyLen() int {
	switch r.suite.Cipher.Name {
	case "AES-128-GCM", "AES-128-CBC":
		return 16
	case "AES-192-GCM", "AES-192-CBC":
		return 24
	}
	return 32
}

func (r *reference) block() cipher.Block {
	b, err := aes.NewCipher(r.half.Cipher[:r.keyLen()])
	if err != nil {
		panic(err)
	}
	return b
}

func (r *reference) aead() cipher.AEAD {
	var a cipher.AEAD
	var err error
	if r.suite.Cipher.Name == "CHACHA20-POLY1305" {
		a, err = chacha20poly1305.New(r.half.Cipher[:r.keyLen()])
	} else {
		a, err = cipher.NewGCM(r.block())
	}
	if err != nil {
		panic(err)
	}
	return a
}

func (r *reference) mac() hash.Hash {
	switch r.suite.Digest.Name {
	case "SHA1":
		return hmac.New(sha1.New, r.half.HMAC[:20])
	case "SHA256":
		return hmac.New(sha256.New, r.half.HMAC[:32])
	}
	return hmac.New(sha512.New, r.half.HMAC[:64])
}

var epoch = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// kind is one way to make packets.
type kind struct {
	name   string
	suite  Suite
	form   Form
	header []byte
}

// kinds are all ways to make packets.
func kinds() (all []kind) {
	forms := []kind{
		{"static", Suite{}, StaticForm(), nil},
		{"V1", Suite{}, FormV1(5), []byte{6<<3 | 5}},
		{"V2", Suite{}, FormV2(3, 0xabcdef), []byte{9<<3 | 3, 0xab, 0xcd, 0xef}},
	}
	for _, c := range ciphers {
		for _, d := range digests {
			for _, f := range forms {
				if c.AEAD() && (d != digests[0] || f.form.long) {
					continue // a static key has no AEAD cipher, and that no digest
				}
				f.suite = Suite{Cipher: c, Digest: d}
				f.name = fmt.Sprintf("%v, %s", f.suite, f.name)
				all = append(all, f)
			}
		}
	}
	return all
}

func randomHalf() *keys.Half {
	h := new(keys.Half)
	rand.Read(h.Cipher[:])
	rand.Read(h.HMAC[:])
	return h
}

func window() Window { return NewWindow(DefaultWindow, DefaultLate) }

// boxed copies a packet to where Open may use the memory behind it.
func boxed(packet []byte) []byte {
	return append(make([]byte, 0, len(packet)+Slack), packet...)
}

func payloadOf(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + n)
	}
	return p
}

func TestPacketsAreOpenVPNs(t *testing.T) {
	for _, k := range kinds() {
		half := randomHalf()
		s := NewSealer(k.suite, k.form, half)
		o := NewOpener(k.suite, k.form, half, window())
		r := &reference{suite: k.suite, header: k.header, long: k.form.long, half: half, stamp: uint32(epoch.Unix())}
		if n := s.Begin(epoch); n != 1<<31-1 {
			t.Fatalf("%s: %d packets may be sealed", k.name, n)
		}
		for n := range 70 {
			for _, size := range []int{n, 1400 + n} {
				r.id++
				payload := payloadOf(size)
				dst := bytes.Repeat([]byte{0xee}, size+s.Overhead()+Slack+1)
				packet := s.Seal(dst, payload)
				if !k.suite.Cipher.AEAD() {
					r.iv = packet[len(k.header)+k.suite.Digest.Size():][:16]
				}
				if want := r.seal(payload); !bytes.Equal(packet, want) {
					t.Fatalf("%s, %d bytes: packet\n%x, want\n%x", k.name, size, packet, want)
				}
				if &packet[0] != &dst[0] || len(packet) > size+s.Overhead() || dst[len(dst)-1] != 0xee {
					t.Fatalf("%s, %d bytes: the packet is not where and as long as it should be", k.name, size)
				}
				if !bytes.Equal(payload, payloadOf(size)) {
					t.Fatalf("%s: Seal has changed the payload", k.name)
				}
				// A stranger's packet is opened as well as one of ours.
				memory := append(boxed(packet), bytes.Repeat([]byte{0xdd}, Slack)...)
				got, err := o.Open(memory[:len(packet)])
				if err != nil || !bytes.Equal(got, payload) {
					t.Fatalf("%s, %d bytes: opened %x, %v", k.name, size, got, err)
				}
				if !bytes.Equal(memory[len(packet):], bytes.Repeat([]byte{0xdd}, Slack)) {
					t.Fatalf("%s: what lies behind the packet has changed", k.name)
				}
			}
		}
	}
}

// A packet with any bit changed is refused, and so is one that is cut or lengthened.
// What no key of OpenVPN's guards are the bits of the header: with CBC all, and with
// an AEAD cipher the first byte of P_DATA_V1. They choose a key and nothing else.
func TestChangedPacketsAreRefused(t *testing.T) {
	for _, k := range kinds() {
		half := randomHalf()
		s := NewSealer(k.suite, k.form, half)
		o := NewOpener(k.suite, k.form, half, window())
		s.Begin(epoch)
		o.Begin(epoch)
		payload := payloadOf(90)
		packet := bytes.Clone(s.Seal(make([]byte, 500), payload))
		guarded := len(k.header)
		if k.suite.Cipher.AEAD() && guarded == 4 {
			guarded = 0
		}
		refused := func(what string, p []byte) {
			t.Helper()
			memory := append(boxed(p), bytes.Repeat([]byte{0xdd}, Slack)...)
			if o.Genuine(memory[:len(p)]) {
				t.Errorf("%s: %s is genuine", k.name, what)
			}
			if !bytes.Equal(memory[:len(p)], p) {
				t.Errorf("%s: Genuine has changed the packet", k.name)
			}
			if got, err := o.Open(memory[:len(p)]); err == nil {
				t.Errorf("%s: %s is opened: %x", k.name, what, got)
			} else if err != ErrForged && err != ErrShort {
				t.Errorf("%s: %s: %v", k.name, what, err)
			}
			if !bytes.Equal(memory[len(p):], bytes.Repeat([]byte{0xdd}, Slack)) {
				t.Errorf("%s: what lies behind %s has changed", k.name, what)
			}
		}
		for bit := 8 * guarded; bit < 8*len(packet); bit++ {
			p := bytes.Clone(packet)
			p[bit/8] ^= 0x80 >> (bit % 8)
			refused(fmt.Sprintf("with bit %d changed", bit), p)
		}
		for n := range len(packet) {
			refused(fmt.Sprintf("cut to %d", n), packet[:n])
			refused(fmt.Sprintf("without its first %d", n+1), packet[n+1:])
		}
		for n := range 40 {
			refused(fmt.Sprintf("lengthened by %d", n+1), append(bytes.Clone(packet), make([]byte, n+1)...))
		}
		refused("of another key", NewSealer(k.suite, k.form, randomHalf()).Seal(make([]byte, 500), payload))
		if !o.Genuine(packet) {
			t.Errorf("%s: the packet itself is not genuine", k.name)
		}
		if got, err := o.Open(boxed(packet)); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("%s: the packet itself: %x, %v", k.name, got, err)
		}
		if _, err := o.Open(boxed(packet)); err != ErrReplayed || o.Genuine(packet) {
			t.Errorf("%s: the packet a second time: %v", k.name, err)
		}
	}
}

// What has the right HMAC and yet no sense is refused without a panic: a peer that
// has the key may be wicked, too.
func TestSenselessPadding(t *testing.T) {
	half := randomHalf()
	suite := Suite{Cipher: ciphers[4], Digest: digests[1]}
	for name, last := range map[string]byte{"none": 0, "a block and more": 17, "all": 255, "over the packet id": 13} {
		r := &reference{suite: suite, half: half, header: []byte{6 << 3}, iv: make([]byte, 16)}
		plain := bytes.Repeat([]byte{1}, 16)
		plain[15] = last
		text := make([]byte, 16)
		cipher.NewCBCEncrypter(r.block(), r.iv).CryptBlocks(text, plain)
		mac := r.mac()
		mac.Write(r.iv)
		mac.Write(text)
		packet := bytes.Join([][]byte{r.header, mac.Sum(nil), r.iv, text}, nil)
		if got, err := NewOpener(suite, FormV1(0), half, window()).Open(boxed(packet)); err != ErrForged {
			t.Errorf("padding %s: %x, %v", name, got, err)
		}
	}
}
