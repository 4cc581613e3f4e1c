package datachannel

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"hash"
	"math"
	"time"

	"tmelink/internal/openvpn/keys"
)

// setIV is what a cipher.BlockMode of package cipher has besides (its
// NewCBCEncrypter): a new packet begins without a new allocation.
type setIV interface {
	cipher.BlockMode
	SetIV([]byte)
}

// Sealer seals payloads under one key. It is used by one goroutine at a time.
type Sealer struct {
	form   Form
	suite  Suite
	aead   cipher.AEAD
	nonce  [nonceLen]byte // the packet id, and behind it what only the peer knows
	cbc    setIV
	mac    hash.Hash
	macLen int
	id     uint32 // of the last packet
	time   uint32 // seconds since 1970, in a long packet id
	blocks uint64 // that the cipher has sealed, and packets
}

// NewSealer makes the sending half of a key.
func NewSealer(s Suite, f Form, half *keys.Half) *Sealer {
	out := &Sealer{form: f, suite: s}
	key := half.Cipher[:s.Cipher.keyLen]
	if s.Cipher.AEAD() {
		out.aead = must(s.Cipher.aead(key))
		copy(out.nonce[idLen:], half.HMAC[:])
		return out
	}
	out.cbc = cipher.NewCBCEncrypter(must(aes.NewCipher(key)), make([]byte, blockLen)).(setIV)
	out.mac = s.Digest.HMAC(half)
	out.macLen = out.mac.Size()
	return out
}

// must gives what only a key of the wrong length could refuse.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Suite is what the Sealer seals with.
func (s *Sealer) Suite() Suite { return s.suite }

// Overhead is how much longer a packet is at the most than its payload, in bytes.
func (s *Sealer) Overhead() int { return s.suite.Overhead(s.form) }

// The packet ids at which a new key is asked for, and at which none is left
// (PACKET_ID_WRAP_TRIGGER and PACKET_ID_MAX in OpenVPN's packet_id.h).
const (
	wrapSoon = 0xff000000
	wrapLast = math.MaxUint32
)

// Worn says that the key should be replaced: its packet ids come to an end, or as
// much as 7/8 of what its cipher should seal with one key has been sealed.
func (s *Sealer) Worn() bool {
	limit := s.suite.Cipher.blockLimit
	return s.id >= wrapSoon && !s.form.long || limit != 0 && s.blocks > limit/8*7
}

// Begin must be called before a batch is sealed. It says how many packets may be
// sealed now: 0 when the packet ids, or what the cipher may seal, have come to an
// end. A long packet id begins anew when the clock has gone on.
func (s *Sealer) Begin(now time.Time) int {
	if s.form.long {
		seconds := uint32(now.Unix())
		if s.time == 0 {
			s.time = seconds
		}
		if s.id >= wrapSoon && seconds > s.time {
			s.time, s.id = seconds, 0
		}
	}
	if limit := s.suite.Cipher.blockLimit; limit != 0 && s.blocks >= limit {
		return 0
	}
	return int(min(wrapLast-s.id, math.MaxInt32))
}

// Seal writes the packet of a payload to the beginning of dst and gives it. dst is
// longer than the payload by Overhead and Slack at least, and shares no memory with
// it.
func (s *Sealer) Seal(dst, payload []byte) []byte {
	s.id++
	if s.aead != nil {
		return s.sealAEAD(dst, payload)
	}
	return s.sealCBC(dst, payload)
}

// sealAEAD: header, packet id, tag, ciphertext; authenticated are also the packet
// id and a header of four bytes (openvpn_encrypt_aead in crypto.c). The tag is
// made behind the ciphertext and then put in its place.
func (s *Sealer) sealAEAD(dst, payload []byte) []byte {
	header := len(s.form.header)
	copy(dst, s.form.header)
	binary.BigEndian.PutUint32(dst[header:], s.id)
	copy(s.nonce[:idLen], dst[header:])
	authenticated := dst[:header+idLen]
	if header == 1 {
		authenticated = authenticated[1:]
	}
	body := header + idLen + tagLen
	end := body + len(payload)
	s.aead.Seal(dst[body:body], s.nonce[:], payload, authenticated)
	copy(dst[header+idLen:body], dst[end:end+tagLen])
	s.blocks += uint64(len(payload)+blockLen-1)/blockLen + 1
	return dst[:end]
}

// sealCBC: header, HMAC, initialization vector, ciphertext of packet id and
// payload; the HMAC is over what follows it (openvpn_encrypt_v1 in crypto.c).
func (s *Sealer) sealCBC(dst, payload []byte) []byte {
	mac := copy(dst, s.form.header)
	iv := mac + s.macLen
	body := iv + blockLen
	rand.Read(dst[iv:body]) // never fails
	binary.BigEndian.PutUint32(dst[body:], s.id)
	if s.form.long {
		binary.BigEndian.PutUint32(dst[body+idLen:], s.time)
	}
	end := body + s.form.idLen()
	end += copy(dst[end:], payload)
	pad := blockLen - (end-body)%blockLen // PKCS #7
	for range pad {
		dst[end] = byte(pad)
		end++
	}
	s.cbc.SetIV(dst[iv:body])
	s.cbc.CryptBlocks(dst[body:end], dst[body:end])
	s.mac.Reset()
	s.mac.Write(dst[iv:end])
	s.mac.Sum(dst[mac:mac])
	return dst[:end]
}
