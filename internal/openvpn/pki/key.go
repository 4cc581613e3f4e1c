package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/youmark/pkcs8"
)

var (
	errEncrypted = errors.New("the private key is encrypted: give its password with --askpass FILE")
	errPassword  = errors.New("the password of --askpass does not open the private key")
	errCipher    = errors.New("the private key is encrypted in a way that is not read here: convert it with 'openssl pkcs8 -topk8 -v2 aes256 -in FILE'")
)

// privateKey reads the first private key of a file in PEM.
func privateKey(keyPEM, password []byte) (crypto.Signer, error) {
	if len(keyPEM) > maxFile {
		return nil, fmt.Errorf("the private key: %w", tooLong(keyPEM, maxFile))
	}
	for block, rest := pem.Decode(keyPEM); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case labelPKCS8, labelEncrypted, labelRSA, labelEC:
			defer clear(block.Bytes)
			key, err := parseKey(block, password)
			if err != nil {
				return nil, err
			}
			return signer(key)
		}
	}
	return nil, fmt.Errorf("there is no private key in the file: %s", stranger(keyPEM))
}

func parseKey(block *pem.Block, password []byte) (any, error) {
	//lint:ignore SA1019 OpenSSL wrote keys like this for decades; the cipher is weak, and the file is the user's own.
	old := x509.IsEncryptedPEMBlock(block)
	if (old || block.Type == labelEncrypted) && len(password) == 0 {
		return nil, errEncrypted
	}
	if block.Type == labelEncrypted {
		return decryptPKCS8(block.Bytes, password)
	}
	der := block.Bytes
	if old {
		//lint:ignore SA1019 see above
		plain, err := x509.DecryptPEMBlock(block, password)
		if errors.Is(err, x509.IncorrectPasswordError) {
			return nil, errPassword
		} else if err != nil {
			return nil, errCipher
		}
		defer clear(plain)
		der = plain
	}
	key, err := parsePlainKey(block.Type, der)
	if err == nil {
		return key, nil
	}
	if old { // one wrong password in 256 leaves a padding that looks right
		return nil, errPassword
	}
	return nil, fmt.Errorf("the private key cannot be read (%s): it must be an ECDSA (P-256, P-384, P-521), RSA or Ed25519 key", reason(err))
}

func parsePlainKey(label string, der []byte) (any, error) {
	switch label {
	case labelRSA:
		return x509.ParsePKCS1PrivateKey(der)
	case labelEC:
		return x509.ParseECPrivateKey(der)
	}
	return x509.ParsePKCS8PrivateKey(der)
}

// encryptedKey is EncryptedPrivateKeyInfo of RFC 5958 with PBES2 of RFC 8018.
type encryptedKey struct {
	Algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters struct {
			KDF    asn1.RawValue
			Cipher struct {
				OID asn1.ObjectIdentifier
				IV  []byte
			}
		}
	}
	Data []byte
}

// cbcBlocks is the block size of the ciphers of PBES2 that are read.
var cbcBlocks = map[string]int{
	"1.2.840.113549.3.7":      8,  // DES-EDE3-CBC
	"2.16.840.1.101.3.4.1.2":  16, // AES-128-CBC
	"2.16.840.1.101.3.4.1.22": 16, // AES-192-CBC
	"2.16.840.1.101.3.4.1.42": 16, // AES-256-CBC
}

// decryptPKCS8 opens an encrypted PKCS#8 key. The library takes lengths and work as
// the file has them, so they are looked at first.
func decryptPKCS8(der, password []byte) (any, error) {
	var k encryptedKey
	if rest, err := asn1.Unmarshal(der, &k); err != nil || len(rest) > 0 {
		return nil, errCipher
	}
	cipher := k.Algorithm.Parameters.Cipher
	size := cbcBlocks[cipher.OID.String()]
	if size == 0 || len(cipher.IV) != size || len(k.Data) == 0 || len(k.Data)%size != 0 {
		return nil, errCipher
	}
	if err := checkWork(der); err != nil {
		return nil, fmt.Errorf("the private key: %w", err)
	}
	key, err := pkcs8.ParsePKCS8PrivateKey(der, password)
	if err == nil {
		return key, nil
	}
	if err.Error() == "pkcs8: incorrect password" {
		return nil, errPassword
	}
	return nil, errCipher
}
