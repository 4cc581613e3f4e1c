//go:build unix

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"

	"tmelink/internal/openvpn/keys"
)

// authority is a CA of the tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// keyset makes a folder with all that the ends of a private link can be known by:
//
//	NAME.crt NAME.key              self-signed, of NAME = server, client
//	ca.crt other-ca.crt crl.pem
//	ca-NAME.crt ca-NAME.key        of ca.crt, NAME as above, and expired, revoked
//	client.p12 locked.key password what is of ca-client, with the password
//	secret ta tc other             static keys made by tmelink, and
//	openvpn-secret openvpn-tc      by OpenVPN
//	v2-server v2-client            tls-crypt-v2, made by tmelink, and with
//	                               "openvpn-" before it by OpenVPN
func keyset(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"server", "client"} {
		in(t, dir, "tmelink", "key", "certificate", name)
	}
	for _, name := range []string{"secret", "ta", "tc", "other"} {
		in(t, dir, "tmelink", "key", "secret", name)
	}
	in(t, dir, "tmelink", "key", "tls-crypt-v2-server", "v2-server")
	in(t, dir, "tmelink", "key", "tls-crypt-v2-client", "v2-server", "v2-client")
	in(t, dir, "openvpn", "--genkey", "secret", "openvpn-secret")
	in(t, dir, "openvpn", "--genkey", "tls-crypt", "openvpn-tc")
	in(t, dir, "openvpn", "--genkey", "tls-crypt-v2-server", "openvpn-v2-server")
	in(t, dir, "openvpn", "--tls-crypt-v2", "openvpn-v2-server", "--genkey", "tls-crypt-v2-client", "openvpn-v2-client")

	const year = 365 * 24 * time.Hour
	ca := newAuthority(t, "Test CA")
	save(t, dir, "ca.crt", "CERTIFICATE", ca.cert.Raw)
	save(t, dir, "other-ca.crt", "CERTIFICATE", newAuthority(t, "Other CA").cert.Raw)
	var client *ecdsa.PrivateKey
	var clientCert *x509.Certificate
	for name, valid := range map[string]time.Duration{"server": year, "client": year, "revoked": year, "expired": -time.Minute} {
		usage := x509.ExtKeyUsageClientAuth
		if name == "server" {
			usage = x509.ExtKeyUsageServerAuth
		}
		cert, key := ca.issue(t, name, usage, valid)
		save(t, dir, "ca-"+name+".crt", "CERTIFICATE", cert.Raw)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		try(t, err)
		save(t, dir, "ca-"+name+".key", "PRIVATE KEY", der)
		switch name {
		case "client":
			client, clientCert = key, cert
		case "revoked":
			save(t, dir, "crl.pem", "X509 CRL", ca.revoke(t, cert))
		}
	}
	const password = "not a good one"
	locked, err := pkcs8.MarshalPrivateKey(client, []byte(password), nil)
	try(t, err)
	save(t, dir, "locked.key", "ENCRYPTED PRIVATE KEY", locked)
	pfx, err := pkcs12.Modern.Encode(client, clientCert, []*x509.Certificate{ca.cert}, password)
	try(t, err)
	try(t, os.WriteFile(filepath.Join(dir, "client.p12"), pfx, 0o600))
	try(t, os.WriteFile(filepath.Join(dir, "password"), []byte(password+"\n"), 0o600))
	return dir
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	try(t, err)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	try(t, err)
	cert, err := x509.ParseCertificate(der)
	try(t, err)
	return &authority{cert, key}
}

func (a *authority) issue(t *testing.T, name string, usage x509.ExtKeyUsage, valid time.Duration) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	try(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	try(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SerialNumber: serial,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(valid),
	}, a.cert, key.Public(), a.key)
	try(t, err)
	cert, err := x509.ParseCertificate(der)
	try(t, err)
	return cert, key
}

// revoke is a list in DER of one revoked certificate.
func (a *authority) revoke(t *testing.T, cert *x509.Certificate) []byte {
	t.Helper()
	now := time.Now()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(1000 * time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: cert.SerialNumber, RevocationTime: now.Add(-time.Hour)}},
	}, a.cert, a.key)
	try(t, err)
	return der
}

func save(t *testing.T, dir, name, label string, der []byte) {
	t.Helper()
	try(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}), 0o600))
}

// in runs a program in a folder.
func in(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fingerprint is that of a keyset's certificate.
func fingerprint(t *testing.T, folder, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name+".crt"))
	try(t, err)
	print, err := keys.CertificateFingerprint(text)
	try(t, err)
	return print
}
