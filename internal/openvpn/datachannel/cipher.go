// Package datachannel seals the payloads of a link into OpenVPN's data packets
// and opens them again: its ciphers, the packet ids, and the window against
// replay.
//
// A Sealer is the sending half of a key, an Opener the receiving half. Payloads
// flow into a Sealer, which writes packets straight into the memory from which
// they are sent; packets flow into an Opener, which opens them where they lie.
// Neither allocates anything per packet. The package makes no keys, knows
// nothing of sessions, and reads no clock.
//
// The sources are OpenVPN's crypto.c, packet_id.c and ssl.c, version 2.6, and the
// section on the data channel of its protocol documentation.
package datachannel

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"tmelink/internal/openvpn/keys"
)

// Cipher is a way to encrypt, by OpenVPN's name.
type Cipher struct {
	Name   string
	keyLen int // bytes
	aead   func(key []byte) (cipher.AEAD, error)
	// blockLimit is after how many blocks of 16 bytes and packets together a
	// key should be used no more, 0: never. For AES-GCM OpenVPN takes 2^36
	// (cipher_get_aead_limits in its crypto.c, after draft-irtf-cfrg-aead-limits).
	blockLimit uint64
}

// AEAD says whether the cipher authenticates by itself, so that no Digest is
// used with it.
func (c *Cipher) AEAD() bool { return c.aead != nil }

// KeyBits is the size of the key, as OpenVPN's option string has it.
func (c *Cipher) KeyBits() int { return c.keyLen * 8 }

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

const gcmLimit = 1 << 36

// ciphers are those that a link takes, the best first.
var ciphers = []*Cipher{
	{Name: "AES-256-GCM", keyLen: 32, aead: gcm, blockLimit: gcmLimit},
	{Name: "AES-128-GCM", keyLen: 16, aead: gcm, blockLimit: gcmLimit},
	{Name: "AES-192-GCM", keyLen: 24, aead: gcm, blockLimit: gcmLimit},
	{Name: "CHACHA20-POLY1305", keyLen: chacha20poly1305.KeySize, aead: chacha20poly1305.New},
	{Name: "AES-256-CBC", keyLen: 32},
	{Name: "AES-192-CBC", keyLen: 24},
	{Name: "AES-128-CBC", keyLen: 16},
}

// CipherNames are the names that LookupCipher knows.
func CipherNames() []string {
	var names []string
	for _, c := range ciphers {
		names = append(names, c.Name)
	}
	return names
}

// LookupCipher finds a cipher by OpenVPN's name, in capitals or not. Its error
// says why a known one is refused.
func LookupCipher(name string) (*Cipher, error) {
	for _, c := range ciphers {
		if strings.EqualFold(c.Name, name) {
			return c, nil
		}
	}
	switch upper := strings.ToUpper(name); {
	case strings.HasPrefix(upper, "BF-"), strings.HasPrefix(upper, "DES"), strings.HasPrefix(upper, "CAST5"), strings.HasPrefix(upper, "RC2"):
		return nil, fmt.Errorf("%s is refused: its blocks of 64 bits give away contents after some gigabytes (SWEET32); say --cipher AES-256-CBC at both ends", upper)
	case upper == "NONE":
		return nil, fmt.Errorf("a link with keys does not send in the clear; choose one of %s", strings.Join(CipherNames(), ", "))
	}
	return nil, fmt.Errorf("there is no cipher %q here; it is one of %s", name, strings.Join(CipherNames(), ", "))
}

// Digest is a hash function for HMAC, by OpenVPN's name.
type Digest struct {
	Name string
	new  func() hash.Hash
	size int // bytes
}

var digests = []*Digest{{"SHA1", sha1.New, sha1.Size}, {"SHA256", sha256.New, sha256.Size}, {"SHA512", sha512.New, sha512.Size}}

// LookupDigest finds a digest by OpenVPN's name, in capitals or not.
func LookupDigest(name string) (*Digest, error) {
	var names []string
	for _, d := range digests {
		if strings.EqualFold(d.Name, name) {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return nil, fmt.Errorf("there is no digest %q here; it is one of %s", name, strings.Join(names, ", "))
}

// Size is that of the digest's result, in bytes.
func (d *Digest) Size() int { return d.size }

// HMAC makes the keyed hash of a direction: the key is as long as the result
// (init_key_ctx in crypto.c).
func (d *Digest) HMAC(half *keys.Half) hash.Hash { return hmac.New(d.new, half.HMAC[:d.size]) }

// Suite is what the packets of a key are sealed with.
type Suite struct {
	Cipher *Cipher
	Digest *Digest // not used with an AEAD cipher
}

// String names the suite: "AES-256-GCM", "AES-128-CBC with SHA256".
func (s Suite) String() string {
	if s.Cipher.AEAD() {
		return s.Cipher.Name
	}
	return s.Cipher.Name + " with " + s.Digest.Name
}

// Form is how packets begin and how they are numbered.
type Form struct {
	header []byte
	long   bool // the packet id has a time
}

// The opcodes of data packets, in the upper five bits of the first byte
// (ssl_pkt.h); the lower three are the key id.
const (
	OpDataV1 = 6
	OpDataV2 = 9
)

// StaticForm is that of packets under a static key.
func StaticForm() Form { return Form{long: true} }

// FormV1 is that of packets with a key id, from 0 to 7.
func FormV1(keyID byte) Form { return Form{header: []byte{OpDataV1<<3 | keyID}} }

// FormV2 is that of packets with a key id and the peer's number for us, of 24 bits.
func FormV2(keyID byte, peerID uint32) Form {
	return Form{header: []byte{OpDataV2<<3 | keyID, byte(peerID >> 16), byte(peerID >> 8), byte(peerID)}}
}

// Sizes in bytes.
const (
	tagLen   = 16 // of an AEAD cipher
	nonceLen = 12
	blockLen = aes.BlockSize
	idLen    = 4 // of a packet id, short
	timeLen  = 4 // of its time, where it is long
	// Slack is how much memory behind a packet Seal and Open use, and Open
	// restores.
	Slack = tagLen
)

// Overhead is how much longer a packet is at the most than its payload, in bytes.
func (s Suite) Overhead(f Form) int {
	if s.Cipher.AEAD() {
		return len(f.header) + idLen + tagLen
	}
	return len(f.header) + s.Digest.Size() + blockLen + f.idLen() + blockLen
}

func (f Form) idLen() int {
	if f.long {
		return idLen + timeLen
	}
	return idLen
}
