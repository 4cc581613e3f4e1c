package main

import (
	"crypto/rand"
	"fmt"
	"time"

	"tmelink/internal/openvpn/keys"
)

// keying is what makes a tunnel private.
type keying struct {
	// make writes the files of both ends and gives their options, each with a blank
	// before it.
	make   func(*site) (a, b string, err error)
	agreed bool // the keys are agreed on in a handshake
}

var noKeys = keying{make: func(*site) (a, b string, err error) { return "", "", nil }}

// byTLS has both ends agree on keys for a cipher, each of them with a certificate
// of its own, whose fingerprint the other one knows.
func byTLS(cipher string) keying {
	return keying{agreed: true, make: func(s *site) (a, b string, err error) {
		filesA, printA, err := s.certificate("a")
		if err != nil {
			return "", "", err
		}
		filesB, printB, err := s.certificate("b")
		if err != nil {
			return "", "", err
		}
		a = " --tls-server --dh none" + filesA + " --peer-fingerprint " + printB + " --data-ciphers " + cipher
		b = " --tls-client" + filesB + " --peer-fingerprint " + printA + " --data-ciphers " + cipher
		return a, b, nil
	}}
}

// certificate makes an end's certificate, and gives the options that name its
// files, and its fingerprint.
func (s *site) certificate(name string) (options, fingerprint string, err error) {
	const days = 1
	certificate, private, err := keys.NewCertificate(rand.Reader, name, time.Now(), days)
	if err != nil {
		return "", "", fmt.Errorf("make a certificate: %w", err)
	}
	if fingerprint, err = keys.CertificateFingerprint(certificate); err != nil {
		return "", "", err
	}
	certificateFile, err := s.write(name+".crt", string(certificate))
	if err != nil {
		return "", "", err
	}
	privateFile, err := s.write(name+".key", string(private))
	return " --cert " + certificateFile + " --key " + privateFile, fingerprint, err
}

// byStaticKey gives both ends the same key, from which they take what either sends
// with.
var byStaticKey = keying{make: func(s *site) (a, b string, err error) {
	key, err := keys.NewStatic(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make a static key: %w", err)
	}
	file, err := s.write("static.key", string(key.Marshal()))
	const how = " --cipher AES-256-CBC --auth SHA256"
	return " --secret " + file + " 0" + how, " --secret " + file + " 1" + how, err
}}
