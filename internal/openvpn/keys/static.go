package keys

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

const (
	halfSize   = 128          // bytes of a Half: struct key, crypto.h
	staticSize = 2 * halfSize // 2048 bits: struct key2

	staticLabel = "OpenVPN Static key V1"
	staticHead  = begin + staticLabel + dashes
	staticFoot  = "-----END " + staticLabel + dashes
	lineBytes   = 16 // of a line of a key file
)

// Static is an OpenVPN static key: 2048 bits that both peers share, in two halves
// so that each direction can have keys of its own (struct key2, crypto.h).
type Static struct {
	hidden
	Halves [2]Half
}

// Half is the keys of one direction. A cipher and an HMAC use of theirs the first
// bytes, as many as they need (struct key, crypto.h).
type Half struct {
	hidden
	Cipher, HMAC [64]byte
}

// Direction says which half is for which direction of the traffic: OpenVPN's
// --key-direction, also the word behind the file of --secret and --tls-auth.
type Direction int

const (
	Both    Direction = iota // no direction: the first half for both
	Normal                   // 0: the first half for what is sent
	Inverse                  // 1: the second half for what is sent
)

// Pair gives the keys for what is sent and for what is received. With tls-crypt the
// TLS server's direction is always Normal and the client's Inverse (tls_crypt.c).
func (s *Static) Pair(d Direction) (out, in *Half) {
	switch d {
	case Normal:
		return &s.Halves[0], &s.Halves[1]
	case Inverse:
		return &s.Halves[1], &s.Halves[0]
	default:
		return &s.Halves[0], &s.Halves[0]
	}
}

// NewStatic makes a key of the next 256 bytes of random.
func NewStatic(random io.Reader) (*Static, error) {
	var raw [staticSize]byte
	defer clear(raw[:])
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return nil, fmt.Errorf("make a static key: no randomness: %w", err)
	}
	return newStatic(raw[:]), nil
}

// newStatic spreads 256 bytes over the halves, in the order that they have in files
// and in wrapped keys.
func newStatic(raw []byte) *Static {
	s := new(Static)
	s.Halves[0].set(raw)
	s.Halves[1].set(raw[halfSize:])
	return s
}

func (h *Half) set(raw []byte) {
	copy(h.Cipher[:], raw)
	copy(h.HMAC[:], raw[len(h.Cipher):])
}

func (h *Half) append(b []byte) []byte { return append(append(b, h.Cipher[:]...), h.HMAC[:]...) }

func (s *Static) append(b []byte) []byte { return s.Halves[1].append(s.Halves[0].append(b)) }

// ParseStatic reads the text of a static key file. Like OpenVPN's read_key_file
// (crypto.c) it passes over all before the BEGIN line and behind the END line, and
// over white space anywhere; a key is hexadecimal digits. Unlike OpenVPN it takes
// neither half a key, which would serve without a direction only, nor one with more
// behind it, of which OpenVPN would leave out the rest without a word: both are
// files that lost or gained something.
func ParseStatic(text []byte) (*Static, error) {
	if err := checkSize(text); err != nil {
		return nil, err
	}
	var raw [staticSize]byte
	defer clear(raw[:])
	number, digits, inside := 0, 0, false
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		switch {
		case !inside:
			inside = bytes.HasPrefix(line, []byte(staticHead))
		case bytes.HasPrefix(line, []byte(staticFoot)):
			return checkStatic(raw[:], digits)
		case bytes.HasPrefix(line, []byte("-")):
			return nil, fmt.Errorf("line %d of the static key should be %q: copy the whole file again", number, staticFoot)
		default:
			var err error
			if digits, err = addDigits(raw[:], digits, line); err != nil {
				return nil, fmt.Errorf("line %d of the static key %w", number, err)
			}
		}
	}
	if inside {
		return nil, fmt.Errorf("the static key has no line %q at its end: copy the whole file again", staticFoot)
	}
	return nil, fmt.Errorf("no OpenVPN static key: %s", whatIs(text))
}

// addDigits adds the hexadecimal digits of a line to those that raw already has, and
// gives how many it has then.
func addDigits(raw []byte, digits int, line []byte) (int, error) {
	var pair [1]byte
	for _, c := range line {
		if bytes.IndexByte([]byte(" \t\v\f\r"), c) >= 0 {
			continue
		}
		if _, err := hex.Decode(pair[:], []byte{'0', c}); err != nil {
			return digits, errors.New("has something that is no hexadecimal digit")
		}
		if digits == 2*len(raw) {
			return digits, fmt.Errorf("goes beyond the %d bytes of a key: is it two files in one?", len(raw))
		}
		raw[digits/2] = raw[digits/2]<<4 | pair[0]
		digits++
	}
	return digits, nil
}

// checkStatic makes a key of what a file held. OpenVPN refuses cipher keys of
// zeros too (check_key, crypto.c).
func checkStatic(raw []byte, digits int) (*Static, error) {
	if digits < 2*staticSize {
		return nil, fmt.Errorf("the static key has %d hexadecimal digits of %d: copy the whole file again, or make a new key", digits, 2*staticSize)
	}
	s := newStatic(raw)
	for i := range s.Halves {
		if s.Halves[i].Cipher == [64]byte{} {
			return nil, fmt.Errorf("half %d of the static key is zeros: make a new key", i)
		}
	}
	return s, nil
}

// Marshal gives the text of the key's file, as `openvpn --genkey secret` writes it.
func (s *Static) Marshal() []byte {
	raw := s.append(make([]byte, 0, staticSize))
	defer clear(raw)
	text := fmt.Appendf(make([]byte, 0, 1024), "#\n# %d bit OpenVPN static key\n#\n%s\n", 8*staticSize, staticHead)
	for ; len(raw) > 0; raw = raw[lineBytes:] {
		text = append(hex.AppendEncode(text, raw[:lineBytes]), '\n')
	}
	return append(text, staticFoot+"\n"...)
}

// Xor mixes another key into s, bit by bit: for the dynamic tls-crypt key of a
// renegotiation (xor_key2, tls_crypt.c).
func (s *Static) Xor(other *Static) {
	for i := range s.Halves {
		h, o := &s.Halves[i], &other.Halves[i]
		for j := range h.Cipher {
			h.Cipher[j] ^= o.Cipher[j]
			h.HMAC[j] ^= o.HMAC[j]
		}
	}
}

// Wipe overwrites the key with zeros. It reaches no copies.
func (s *Static) Wipe() { *s = Static{} }
