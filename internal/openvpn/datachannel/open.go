package datachannel

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"hash"
	"time"

	"tmelink/internal/openvpn/keys"
)

// Why a packet is not opened.
var (
	ErrShort    = errors.New("the packet is too short for its kind")
	ErrForged   = errors.New("the packet was not sealed with the key of this link, or was changed on its way")
	ErrReplayed = errors.New("the packet came a second time, or too late")
)

// Opener opens packets of one key. It is used by one goroutine at a time.
type Opener struct {
	form   Form
	aead   cipher.AEAD
	nonce  [nonceLen]byte
	cbc    setIV
	mac    hash.Hash
	macLen int
	sum    []byte
	window Window
}

// NewOpener makes the receiving half of a key. How far packets may be behind
// others is in the window, which the Opener makes its own.
func NewOpener(s Suite, f Form, half *keys.Half, w Window) *Opener {
	o := &Opener{form: f, window: w}
	key := half.Cipher[:s.Cipher.keyLen]
	if s.Cipher.AEAD() {
		o.aead = must(s.Cipher.aead(key))
		copy(o.nonce[idLen:], half.HMAC[:])
		return o
	}
	o.cbc = cipher.NewCBCDecrypter(must(aes.NewCipher(key)), make([]byte, blockLen)).(setIV)
	o.mac = s.Digest.HMAC(half)
	o.macLen = o.mac.Size()
	o.sum = make([]byte, 0, o.macLen)
	return o
}

// Begin must be called before a batch is opened: packets may be late by time, too.
func (o *Opener) Begin(now time.Time) { o.window.Begin(now) }

// Open opens a packet where it lies and gives its payload, which may be empty. It
// uses Slack bytes of the memory behind the packet, which the capacity of the slice
// must have, and restores them. A packet that is not opened is lost with its bytes.
func (o *Opener) Open(packet []byte) ([]byte, error) {
	payload, id, err := o.decrypt(packet)
	if err != nil {
		return nil, err
	}
	if !o.window.Accept(id) {
		return nil, ErrReplayed
	}
	return payload, nil
}

// Genuine says whether Open would open a packet now, and leaves it and the Opener
// as they are.
func (o *Opener) Genuine(packet []byte) bool {
	again := append(make([]byte, 0, len(packet)+Slack), packet...)
	_, id, err := o.decrypt(again)
	return err == nil && o.window.Admits(id)
}

// decrypt opens a packet and gives its id.
func (o *Opener) decrypt(packet []byte) ([]byte, ID, error) {
	if o.aead != nil {
		return o.openAEAD(packet)
	}
	return o.openCBC(packet)
}

// openAEAD: see sealAEAD. The cipher wants the tag behind the ciphertext, where
// other memory is: it is put back afterwards.
func (o *Opener) openAEAD(p []byte) ([]byte, ID, error) {
	header := headerLen(p)
	body := header + idLen + tagLen
	if header == 0 || len(p) < body {
		return nil, ID{}, ErrShort
	}
	id := ID{Number: binary.BigEndian.Uint32(p[header:])}
	copy(o.nonce[:idLen], p[header:])
	authenticated := p[:header+idLen]
	if header == 1 {
		authenticated = authenticated[1:]
	}
	var kept [tagLen]byte
	sealed := p[body : len(p)+tagLen]
	behind := sealed[len(sealed)-tagLen:]
	copy(kept[:], behind)
	copy(behind, p[header+idLen:body])
	payload, err := o.aead.Open(sealed[:0], o.nonce[:], sealed, authenticated)
	copy(behind, kept[:])
	if err != nil {
		return nil, id, ErrForged
	}
	return payload, id, nil
}

// headerLen is the size of a packet's header with a key id, 0 for none.
func headerLen(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	switch p[0] >> 3 {
	case OpDataV1:
		return 1
	case OpDataV2:
		return 4
	}
	return 0
}

// openCBC: see sealCBC. Nothing is deciphered before the HMAC is right, so that
// the padding of forged packets tells nobody anything.
func (o *Opener) openCBC(p []byte) ([]byte, ID, error) {
	header := 0
	if !o.form.long {
		if header = headerLen(p); header == 0 {
			return nil, ID{}, ErrShort
		}
	}
	iv := header + o.macLen
	body := iv + blockLen
	if len(p) < body+blockLen || (len(p)-body)%blockLen != 0 {
		return nil, ID{}, ErrShort
	}
	o.mac.Reset()
	o.mac.Write(p[iv:])
	o.sum = o.mac.Sum(o.sum[:0])
	if !hmac.Equal(o.sum, p[header:iv]) {
		return nil, ID{}, ErrForged
	}
	o.cbc.SetIV(p[iv:body])
	plain := p[body:]
	o.cbc.CryptBlocks(plain, plain)
	pad := int(plain[len(plain)-1])
	n := len(plain) - pad
	if pad == 0 || pad > blockLen || n < o.form.idLen() {
		return nil, ID{}, ErrForged
	}
	id := ID{Number: binary.BigEndian.Uint32(plain)}
	if o.form.long {
		id.Time = binary.BigEndian.Uint32(plain[idLen:])
	}
	return plain[o.form.idLen():n], id, nil
}
