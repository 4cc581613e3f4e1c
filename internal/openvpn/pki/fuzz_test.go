package pki

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
)

func FuzzCertificate(f *testing.F) {
	for _, name := range []string{"rsa.pkcs1", "rsa.old-des3", "ec.sec1", "ec.old-aes256", "ec.aes256", "ec.des3", "ec.scrypt", "ec.pbes1", "ed25519.pkcs8"} {
		kind, _, _ := strings.Cut(name, ".")
		f.Add(testdata(f, kind+".crt"), testdata(f, name+".key"), []byte("secret"))
	}
	f.Fuzz(func(t *testing.T, certificate, key, password []byte) {
		c, err := Certificate(certificate, key, password)
		if err == nil && (c.Leaf == nil || c.PrivateKey == nil || len(c.Certificate) == 0) {
			t.Errorf("an identity with a gap: %v", c.Leaf)
		}
		oneLine(t, err)
	})
}

func FuzzPKCS12(f *testing.F) {
	for _, name := range []string{"modern.p12", "legacy.p12", "empty-password.p12", "open.p12", "no-key.p12", "rsa.crt"} {
		f.Add(testdata(f, name), []byte("secret"))
		f.Add(testdata(f, name), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, data, password []byte) {
		c, _, err := PKCS12(data, password)
		if err == nil && (c.Leaf == nil || c.PrivateKey == nil || len(c.Certificate) == 0) {
			t.Errorf("an identity with a gap: %v", c.Leaf)
		}
		oneLine(t, err)
	})
}

func FuzzRoots(f *testing.F) {
	f.Add(testdata(f, "cas.crt"))
	f.Add(testdata(f, "rsa.pkcs1.key"))
	f.Add(testdata(f, "modern.p12"))
	f.Fuzz(func(t *testing.T, data []byte) {
		roots, err := Roots(data)
		if (err == nil) != (len(roots) > 0) {
			t.Errorf("%d certificates, %v", len(roots), err)
		}
		oneLine(t, err)
	})
}

func FuzzParseCRL(f *testing.F) {
	root := issue(f, nil, ca("root"))
	f.Add(pemCRL(crl(f, root, x509.RevocationList{}, root)))
	f.Add(testdata(f, "cas.crt"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lists, err := ParseCRL(data)
		if (err == nil) != (len(lists) > 0) {
			t.Errorf("%d lists, %v", len(lists), err)
		}
		oneLine(t, err)
		for _, list := range lists {
			p := Peer{Roots: certificates(root), CRLs: []*x509.RevocationList{list}}
			oneLine(t, p.Verify(certificates(root), now))
		}
	})
}

// FuzzName gives names to a certificate past crypto/x509, which lets fewer through.
func FuzzName(f *testing.F) {
	for _, n := range names() {
		f.Add(issue(f, nil, x509.Certificate{RawSubject: marshal(f, n.name)}).cert.RawSubject)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := &x509.Certificate{RawSubject: raw}
		for _, s := range []string{Subject(c), CommonName(c), short(c)} {
			if remap(s) != s || strings.ContainsAny(s, "\n\r\x00\x1b\x7f") || strings.HasPrefix(s, "-") && s != CommonName(c) {
				t.Errorf("%q", s)
			}
		}
		if len(short(c)) > 200 {
			t.Errorf("%d bytes", len(short(c)))
		}
	})
}

// FuzzPeer lets the peer show whatever crypto/x509 takes for certificates.
func FuzzPeer(f *testing.F) {
	root := issue(f, nil, ca("root"))
	leaf := issue(f, root, host("b", x509.ExtKeyUsageServerAuth))
	f.Add(leaf.cert.Raw)
	f.Add(append(bytes.Clone(leaf.cert.Raw), root.cert.Raw...))
	for _, n := range names() {
		f.Add(issue(f, root, x509.Certificate{RawSubject: marshal(f, n.name)}).cert.Raw)
	}
	peers := []Peer{
		{Roots: certificates(root), Server: true, KeyUsage: "server", CRLs: []*x509.RevocationList{crl(f, root, x509.RevocationList{}, leaf)}},
		{Fingerprints: [][32]byte{fingerprint(leaf)}, Name: "CN=b"},
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		chain, err := x509.ParseCertificates(der)
		if err != nil {
			return
		}
		for i := range peers {
			err := peers[i].Verify(chain, now)
			oneLine(t, err)
			if err == nil && !(len(chain) > 0 && (chain[0].Equal(leaf.cert) || chain[0].CheckSignatureFrom(root.cert) == nil || chain[0].Equal(root.cert))) {
				t.Errorf("%d believes a stranger", i)
			}
		}
	})
}

func oneLine(t *testing.T, err error) {
	t.Helper()
	if err != nil && (remap(err.Error()) != err.Error() || len(err.Error()) > 1200) {
		t.Errorf("%q", err)
	}
}
