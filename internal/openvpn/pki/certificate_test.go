package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCertificateReadsEveryKeyOfOpenSSL(t *testing.T) {
	for _, name := range []string{
		"rsa.pkcs8", "rsa.pkcs1", "ec.pkcs8", "ec.sec1", "ed25519.pkcs8",
	} {
		kind, _, _ := strings.Cut(name, ".")
		for _, password := range []string{"", "not wanted"} {
			c, err := Certificate(testdata(t, kind+".crt"), testdata(t, name+".key"), []byte(password))
			if err != nil {
				t.Errorf("%s, password %q: %v", name, password, err)
			} else if CommonName(c.Leaf) != kind || !bytes.Equal(c.Certificate[0], c.Leaf.Raw) {
				t.Errorf("%s: certificate of %s", name, Subject(c.Leaf))
			}
		}
	}
	for _, name := range []string{
		"rsa.aes256", "ec.aes256", "ed25519.aes256", "ec.des3", "ec.scrypt",
		"rsa.old-aes128", "rsa.old-des3", "ec.old-aes256",
	} {
		kind, _, _ := strings.Cut(name, ".")
		certificate, key := testdata(t, kind+".crt"), testdata(t, name+".key")
		if _, err := Certificate(certificate, key, []byte("secret")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err := Certificate(certificate, key, nil)
		wantError(t, name+" without a password", err, "the private key is encrypted: give its password with --askpass FILE")
		for _, wrong := range []string{"Secret", "secret\n", "1", "2", "3"} {
			_, err = Certificate(certificate, key, []byte(wrong))
			wantError(t, name+" with a wrong password", err, "the password of --askpass does not open the private key")
		}
	}
}

// TestWrongPasswordsOfOldKeys tries so many that for some of them, one in 256, the
// padding of what is decrypted looks right.
func TestWrongPasswordsOfOldKeys(t *testing.T) {
	certificate, key := testdata(t, "ec.crt"), testdata(t, "ec.old-aes256.key")
	for i := range 3000 {
		_, err := Certificate(certificate, key, fmt.Append(nil, i))
		wantError(t, "a wrong password", err, "the password of --askpass does not open the private key")
	}
}

func TestCertificateChainAndOneFile(t *testing.T) {
	root := issue(t, nil, ca("root"))
	between := issue(t, root, ca("between"))
	own := issue(t, between, host("own"))
	file := append(append([]byte("a comment\n"), keyPEM(t, own)...), certPEM(own, between)...)
	c, err := Certificate(file, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Certificate) != 2 || !bytes.Equal(c.Certificate[1], between.cert.Raw) {
		t.Errorf("chain of %d certificates", len(c.Certificate))
	}
	if got := Chained(c, certificates(root, between)); len(got.Certificate) != 2 {
		t.Errorf("a chain that was given became one of %d", len(got.Certificate))
	}
	c.Certificate = c.Certificate[:1]
	got := Chained(c, certificates(root, between))
	if len(got.Certificate) != 2 || !bytes.Equal(got.Certificate[1], between.cert.Raw) {
		t.Errorf("a chain of %d certificates was made", len(got.Certificate))
	}
	if got := Chained(c, certificates(root)); len(got.Certificate) != 1 {
		t.Errorf("a chain with a gap has %d certificates", len(got.Certificate))
	}
}

func TestCertificateRefuses(t *testing.T) {
	rsa, rsaKey := testdata(t, "rsa.crt"), testdata(t, "rsa.pkcs8.key")
	list := issue(t, nil, ca("root"))
	der := slices.Clone(list.cert.Raw)
	for name, c := range map[string]struct {
		cert, key []byte
		want      string
	}{
		"key of another":   {testdata(t, "ec.crt"), rsaKey, "does not fit the certificate (CN=ec)"},
		"key for cert":     {rsaKey, rsaKey, "no certificate in the file: it is a private key: it belongs to --key"},
		"cert for key":     {rsa, rsa, "no private key in the file: it is a certificate: it belongs to --cert"},
		"empty cert":       {[]byte(" \n"), rsaKey, "no certificate in the file: it is empty"},
		"empty key":        {rsa, nil, "no private key in the file: it is empty"},
		"text":             {[]byte("hello"), rsaKey, "it is not PEM"},
		"PKCS#12":          {testdata(t, "modern.p12"), rsaKey, "it is PKCS#12: it belongs to --pkcs12"},
		"DER":              {der, rsaKey, "a certificate in DER: convert it with 'openssl x509 -inform DER"},
		"cut":              {rsa[:len(rsa)-40], rsaKey, "its PEM is damaged"},
		"broken":           {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), rsaKey, "certificate 1 of the file cannot be read"},
		"broken key":       {rsa, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "the private key cannot be read"},
		"request":          {[]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"), rsaKey, "the CA must sign it first"},
		"static key":       {rsa, []byte("-----BEGIN OpenVPN Static key V1-----\nAAAA\n-----END OpenVPN Static key V1-----\n"), "it belongs to --tls-crypt"},
		"SSH key":          {rsa, []byte("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"), "it is an SSH key"},
		"old encryption":   {testdata(t, "ec.crt"), testdata(t, "ec.pbes1.key"), "convert it with 'openssl pkcs8 -topk8 -v2 aes256"},
		"endless work":     {testdata(t, "ec.crt"), testdata(t, "ec.slow.key"), "more work to open"},
		"too long":         {bytes.Repeat([]byte("x"), maxFile+1), rsaKey, "more than the 1048576"},
		"too long key":     {rsa, bytes.Repeat([]byte("x"), maxFile+1), "more than the 1048576"},
		"unusable old key": {rsa, []byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: RC5-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"), "encrypted in a way that is not read here"},
	} {
		_, err := Certificate(c.cert, c.key, []byte("secret"))
		wantError(t, name, err, c.want)
	}
}

func TestPKCS12(t *testing.T) {
	for name, password := range map[string]string{
		"modern.p12": "secret", "legacy.p12": "secret", "empty-password.p12": "", "open.p12": "",
	} {
		c, roots, err := PKCS12(testdata(t, name), []byte(password))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var names []string
		for _, r := range roots {
			names = append(names, CommonName(r))
		}
		slices.Sort(names)
		if CommonName(c.Leaf) != "host" || !slices.Equal(names, []string{"between", "root"}) || len(c.Certificate) != 2 {
			t.Errorf("%s: of %s, roots %q, %d certificates in the chain", name, Subject(c.Leaf), names, len(c.Certificate))
		}
		peer := &Peer{Roots: roots}
		chain := []*x509.Certificate{c.Leaf}
		if err := peer.Verify(chain, c.Leaf.NotBefore); err != nil {
			t.Errorf("%s: its own CAs do not believe it: %v", name, err)
		}
	}
	if _, _, err := PKCS12(testdata(t, "empty-password.p12"), []byte("not wanted")); err != nil {
		t.Errorf("a password that is not needed: %v", err)
	}
}

func TestPKCS12Refuses(t *testing.T) {
	modern := testdata(t, "modern.p12")
	for name, c := range map[string]struct {
		data     []byte
		password string
		want     string
	}{
		"no password":           {modern, "", "the PKCS#12 file is encrypted: give its password with --askpass FILE"},
		"no password, legacy":   {testdata(t, "legacy.p12"), "", "the PKCS#12 file is encrypted"},
		"wrong password":        {modern, "Secret", "the password of --askpass does not open the PKCS#12 file"},
		"wrong password legacy": {testdata(t, "legacy.p12"), "Secret", "the password of --askpass does not open the PKCS#12 file"},
		"no key":                {testdata(t, "no-key.p12"), "secret", "private key missing"},
		"PEM":                   {testdata(t, "rsa.crt"), "", "not PKCS#12: it is a certificate: it belongs to --cert"},
		"cut":                   {modern[:len(modern)-1], "secret", "not PKCS#12"},
		"empty":                 {nil, "secret", "not PKCS#12: it is empty"},
		"too long":              {make([]byte, maxFile+1), "secret", "more than the 1048576"},
	} {
		_, _, err := PKCS12(c.data, []byte(c.password))
		wantError(t, name, err, c.want)
	}
}

func TestRootsAndParseCRL(t *testing.T) {
	a, b := issue(t, nil, ca("a")), issue(t, nil, ca("b"))
	list := pemCRL(crl(t, a, x509.RevocationList{}, b))
	both := append(append(certPEM(a), list...), certPEM(b)...)
	roots, err := Roots(both)
	if err != nil || len(roots) != 2 || CommonName(roots[1]) != "b" {
		t.Errorf("%d roots, %v", len(roots), err)
	}
	lists, err := ParseCRL(append(both, list...))
	if err != nil || len(lists) != 2 || len(lists[0].RevokedCertificateEntries) != 1 {
		t.Errorf("%d lists, %v", len(lists), err)
	}
	_, err = Roots(list)
	wantError(t, "Roots", err, "no certificate in the file: it is a revocation list: it belongs to --crl-verify")
	_, err = ParseCRL(certPEM(a))
	wantError(t, "ParseCRL", err, "no revocation list in the file: it is a certificate")
	_, err = ParseCRL(lists[0].Raw)
	wantError(t, "ParseCRL", err, "'openssl crl -inform DER")
	_, err = ParseCRL(list[:len(list)-30])
	wantError(t, "ParseCRL", err, "damaged")
}

// wantError fails unless there is an error with that text, on one line, that has no
// secret of the tests in it.
func wantError(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: no error, want %q", what, want)
	case !strings.Contains(err.Error(), want):
		t.Errorf("%s: %v, want %q", what, err, want)
	case strings.ContainsAny(err.Error(), "\n\r") || strings.Contains(strings.ToLower(strings.ReplaceAll(err.Error(), "--secret", "")), "secret"):
		t.Errorf("%s: %q", what, err)
	}
}
