package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"
)

// With tls-crypt-v2 a client has a key of its own and a copy of it that only the
// server can open: the wrapped key. It sends that with its first packet, so that
// the server needs to keep no client's key. A wrapped key is
//
//	tag, 32 bytes | encrypted: client key, 256 bytes; metadata | length, 2 bytes
//
// The length counts all of it. The tag is HMAC-SHA256 over the length, the key and
// the metadata, its first 16 bytes are the IV of AES-256-CTR (tls_crypt.c).
const (
	serverV2Label = "OpenVPN tls-crypt-v2 server key"
	clientV2Label = "OpenVPN tls-crypt-v2 client key"

	// MaxWrapped is how long a wrapped key can be, in bytes
	// (TLS_CRYPT_V2_MAX_WKC_LEN, tls_crypt.h).
	MaxWrapped = 1024
	// MaxMetadata is how long the metadata in it can be, in bytes, its type
	// included (TLS_CRYPT_V2_MAX_METADATA_LEN).
	MaxMetadata = MaxWrapped - minWrapped

	tagSize    = sha256.Size
	lengthSize = 2
	minWrapped = tagSize + staticSize + lengthSize
)

// The types of metadata, their first byte (tls_crypt.c).
const (
	MetadataUser = 0x00 // what the user wanted to have in it
	MetadataTime = 0x01 // when the key was made: seconds since 1970, 64 bits
)

// ServerV2 is the key of a tls-crypt-v2 server, which wraps those of its clients.
type ServerV2 struct {
	hidden
	half Half
}

// ClientV2 is the key of a tls-crypt-v2 client, and the same as its server wrapped
// it: at most MaxWrapped bytes, to be sent as they are.
type ClientV2 struct {
	hidden
	Key     Static
	Wrapped []byte
}

// UserMetadata gives metadata with a user's own bytes.
func UserMetadata(text []byte) []byte { return append([]byte{MetadataUser}, text...) }

// TimeMetadata gives metadata that says when a key was made.
func TimeMetadata(made time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte{MetadataTime}, uint64(made.Unix()))
}

// NewServerV2 makes a key of the next 128 bytes of random.
func NewServerV2(random io.Reader) (*ServerV2, error) {
	var raw [halfSize]byte
	defer clear(raw[:])
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return nil, fmt.Errorf("make a tls-crypt-v2 server key: no randomness: %w", err)
	}
	s := new(ServerV2)
	s.half.set(raw[:])
	return s, nil
}

// ParseServerV2 reads the text of a server's key file.
func ParseServerV2(text []byte) (*ServerV2, error) {
	raw, err := decodePEM(text, serverV2Label)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	if len(raw) != halfSize {
		return nil, fmt.Errorf("the tls-crypt-v2 server key has %d bytes, not %d: copy the file again", len(raw), halfSize)
	}
	s := new(ServerV2)
	s.half.set(raw)
	return s, nil
}

// Marshal gives the text of the key's file, as `openvpn --genkey
// tls-crypt-v2-server` writes it.
func (s *ServerV2) Marshal() []byte {
	raw := s.half.append(make([]byte, 0, halfSize))
	defer clear(raw)
	return pem.EncodeToMemory(&pem.Block{Type: serverV2Label, Bytes: raw})
}

// Wipe overwrites the key with zeros. It reaches no copies.
func (s *ServerV2) Wipe() { *s = ServerV2{} }

// NewClientV2 makes a client's key of the next 256 bytes of random and wraps it for
// the server. The metadata begin with their type, as UserMetadata and TimeMetadata
// make them; at most MaxMetadata bytes.
func NewClientV2(random io.Reader, server *ServerV2, metadata []byte) (*ClientV2, error) {
	switch {
	case len(metadata) == 0:
		return nil, errors.New("make a tls-crypt-v2 client key: its metadata lack their type")
	case len(metadata) > MaxMetadata:
		return nil, fmt.Errorf("make a tls-crypt-v2 client key: its metadata have %d bytes, more than %d: shorten them", len(metadata)-1, MaxMetadata-1)
	}
	key, err := NewStatic(random)
	if err != nil {
		return nil, err
	}
	plain := append(key.append(make([]byte, 0, staticSize+len(metadata))), metadata...)
	defer clear(plain)
	return &ClientV2{Key: *key, Wrapped: server.wrap(plain)}, nil
}

// wrap seals a client key and its metadata.
func (s *ServerV2) wrap(plain []byte) []byte {
	size := tagSize + len(plain) + lengthSize
	wrapped := make([]byte, tagSize, size)
	length := binary.BigEndian.AppendUint16(nil, uint16(size))
	s.tag(wrapped[:0], length, plain)
	wrapped = append(append(wrapped, plain...), length...)
	s.crypt(wrapped[tagSize:tagSize+len(plain)], wrapped[:tagSize])
	return wrapped
}

// tag appends the authentication of a length and what belongs to it.
func (s *ServerV2) tag(b, length, plain []byte) []byte {
	mac := hmac.New(sha256.New, s.half.HMAC[:sha256.Size])
	mac.Write(length)
	mac.Write(plain)
	return mac.Sum(b)
}

// crypt encrypts or decrypts in place.
func (s *ServerV2) crypt(data, tag []byte) {
	block, err := aes.NewCipher(s.half.Cipher[:32])
	if err != nil {
		panic(err) // 32 bytes are a key of AES
	}
	cipher.NewCTR(block, tag[:aes.BlockSize]).XORKeyStream(data, data)
}

// ParseClientV2 reads the text of a client's key file. Whether its wrapped key is
// one of the server's only the server can tell.
func ParseClientV2(text []byte) (*ClientV2, error) {
	raw, err := decodePEM(text, clientV2Label)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	if len(raw) < staticSize {
		return nil, fmt.Errorf("the tls-crypt-v2 client key has %d bytes, fewer than %d: copy the file again", len(raw), staticSize)
	}
	wrapped := raw[staticSize:]
	if err := checkWrapped(wrapped); err != nil {
		return nil, fmt.Errorf("the tls-crypt-v2 client key is damaged: %w: copy the file again", err)
	}
	return &ClientV2{Key: *newStatic(raw), Wrapped: append([]byte(nil), wrapped...)}, nil
}

// Marshal gives the text of the key's file, as `openvpn --genkey
// tls-crypt-v2-client` writes it.
func (c *ClientV2) Marshal() []byte {
	raw := append(c.Key.append(make([]byte, 0, staticSize+len(c.Wrapped))), c.Wrapped...)
	defer clear(raw)
	return pem.EncodeToMemory(&pem.Block{Type: clientV2Label, Bytes: raw})
}

// checkWrapped checks all of a wrapped key that can be checked without the server's.
func checkWrapped(wrapped []byte) error {
	if len(wrapped) < minWrapped || len(wrapped) > MaxWrapped {
		return fmt.Errorf("the wrapped key has %d bytes, not %d to %d", len(wrapped), minWrapped, MaxWrapped)
	}
	if said := int(binary.BigEndian.Uint16(wrapped[len(wrapped)-lengthSize:])); said != len(wrapped) {
		return fmt.Errorf("the wrapped key has %d bytes and says %d", len(wrapped), said)
	}
	return nil
}

// Unwrap opens the wrapped key that a client sent, from its tag to its length, and
// gives the client's key and the metadata with it: at most MaxMetadata bytes, type
// first, but empty where whoever made the key put none into it. An error means that the
// wrapped key was not made with this server's key or is altered, and nothing of it
// is given out then. Wrapped stays as it is, and the results share nothing with it.
func (s *ServerV2) Unwrap(wrapped []byte) (key *Static, metadata []byte, err error) {
	if err := checkWrapped(wrapped); err != nil {
		return nil, nil, err
	}
	tag, length := wrapped[:tagSize], wrapped[len(wrapped)-lengthSize:]
	plain := append([]byte(nil), wrapped[tagSize:len(wrapped)-lengthSize]...)
	defer clear(plain[:staticSize])
	s.crypt(plain, tag)
	if !hmac.Equal(tag, s.tag(nil, length, plain)) {
		clear(plain)
		return nil, nil, errors.New("the wrapped key was made with another tls-crypt-v2 server key, or is altered: make the client's key anew with this server's")
	}
	return newStatic(plain), append([]byte(nil), plain[staticSize:]...), nil
}
