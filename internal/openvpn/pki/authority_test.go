package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// now is the time of the tests that look at dates.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// entity is a certificate and its key.
type entity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var serial int64

// issue makes a certificate: by itself where issuer is nil. It is valid for a year
// around now unless the template has dates.
func issue(t testing.TB, issuer *entity, template x509.Certificate) *entity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issueFor(t, issuer, template, key)
}

func issueFor(t testing.TB, issuer *entity, template x509.Certificate, key crypto.Signer) *entity {
	t.Helper()
	if template.SerialNumber == nil {
		serial++
		template.SerialNumber = big.NewInt(serial)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = now.AddDate(0, -6, 0)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = now.AddDate(0, 6, 0)
	}
	if issuer == nil {
		issuer = &entity{cert: &template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer.cert, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &entity{c, key}
}

func ca(name string) x509.Certificate {
	return x509.Certificate{
		Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func host(name string, usages ...x509.ExtKeyUsage) x509.Certificate {
	return x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usages,
	}
}

func dated(template x509.Certificate, from, until time.Time) x509.Certificate {
	template.NotBefore, template.NotAfter = from, until
	return template
}

// crl makes a list of the serial numbers, valid for a month around now unless the
// template has dates.
func crl(t testing.TB, issuer *entity, template x509.RevocationList, revoked ...*entity) *x509.RevocationList {
	t.Helper()
	if template.ThisUpdate.IsZero() {
		template.ThisUpdate = now.AddDate(0, 0, -15)
	}
	if template.NextUpdate.IsZero() {
		template.NextUpdate = now.AddDate(0, 0, 15)
	}
	template.Number = big.NewInt(1)
	for _, r := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: r.cert.SerialNumber, RevocationTime: now.AddDate(0, 0, -20)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &template, issuer.cert, issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func certificates(entities ...*entity) []*x509.Certificate {
	var all []*x509.Certificate
	for _, e := range entities {
		all = append(all, e.cert)
	}
	return all
}

func certPEM(entities ...*entity) []byte {
	var text []byte
	for _, e := range entities {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.cert.Raw})...)
	}
	return text
}

func keyPEM(t testing.TB, e *entity) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(e.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func fingerprint(e *entity) [32]byte { return sha256.Sum256(e.cert.Raw) }

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
