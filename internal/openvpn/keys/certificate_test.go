package keys

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testCertificate(t testing.TB, name string, made time.Time) tls.Certificate {
	t.Helper()
	certificate, private, err := NewCertificate(rand.Reader, name, made, 365)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, private)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestNewCertificate(t *testing.T) {
	leaf := testCertificate(t, "host 1, Zürich", now).Leaf
	if leaf.Subject.CommonName != "host 1, Zürich" || leaf.Issuer.String() != leaf.Subject.String() {
		t.Errorf("subject %s, issuer %s", leaf.Subject, leaf.Issuer)
	}
	if want := now.Add(-24 * time.Hour); !leaf.NotBefore.Equal(want) {
		t.Errorf("valid from %s, want %s", leaf.NotBefore, want)
	}
	if want := now.AddDate(0, 0, 365); !leaf.NotAfter.Equal(want) {
		t.Errorf("valid until %s, want %s", leaf.NotAfter, want)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || leaf.SignatureAlgorithm != x509.ECDSAWithSHA256 || leaf.SerialNumber.BitLen() < 64 {
		t.Errorf("CA %t, usage %d, signature %s, serial number of %d bits", leaf.IsCA, leaf.KeyUsage, leaf.SignatureAlgorithm, leaf.SerialNumber.BitLen())
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("usage %d: %v", usage, err)
		}
	}
}

func TestNewCertificateRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		days int
		want string
	}{
		{"", 1, "1 to 64 bytes, not 0"},
		{strings.Repeat("a", 65), 1, "1 to 64 bytes, not 65"},
		{"a\nb", 1, "cannot be printed"},
		{"a\xff", 1, "cannot be printed"},
		{"a", 0, "for 0 days"},
		{"a", -1, "for -1 days"},
		{"a", 36501, "for 36501 days"},
	} {
		if _, _, err := NewCertificate(rand.Reader, c.name, now, c.days); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %d days: %v; want %q in it", c.name, c.days, err, c.want)
		}
	}
	if _, _, err := NewCertificate(rand.Reader, strings.Repeat("a", 64), now, 36500); err != nil {
		t.Error(err)
	}
}

// TestCertificatesMeetInTLS lets two certificates be the two ends of a TLS
// connection, each known to the other by its fingerprint alone.
func TestCertificatesMeetInTLS(t *testing.T) {
	a, b := testCertificate(t, "a", time.Now()), testCertificate(t, "b", time.Now())
	config := func(own tls.Certificate, seen *string) *tls.Config {
		return &tls.Config{
			Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAnyClientCert, InsecureSkipVerify: true,
			VerifyConnection: func(s tls.ConnectionState) error {
				*seen = Fingerprint(s.PeerCertificates[0].Raw)
				return nil
			},
		}
	}
	left, right := net.Pipe()
	deadline := time.Now().Add(20 * time.Second)
	left.SetDeadline(deadline)
	right.SetDeadline(deadline)
	defer left.Close()
	defer right.Close()
	var seenByA, seenByB string
	served := make(chan error, 1)
	go func() { served <- tls.Server(left, config(a, &seenByA)).Handshake() }()
	client := tls.Client(right, config(b, &seenByB))
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	go client.Read(make([]byte, 1)) // takes the session tickets, for which the server waits
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if seenByA != Fingerprint(b.Leaf.Raw) || seenByB != Fingerprint(a.Leaf.Raw) || seenByA == seenByB {
		t.Errorf("a saw %s, b saw %s", seenByA, seenByB)
	}
}

func TestFingerprintForm(t *testing.T) {
	// SHA-256 of "abc": FIPS 180-2, appendix B.1.
	const want = "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD"
	if got := Fingerprint([]byte("abc")); got != want {
		t.Errorf("got %s", got)
	}
	sum, err := ParseFingerprint(want)
	if err != nil || sum[0] != 0xba || sum[31] != 0xad {
		t.Fatalf("% x, %v", sum, err)
	}
	if again, err := ParseFingerprint("\t" + strings.ToLower(want) + "\r\n"); err != nil || again != sum {
		t.Errorf("in lower case, with white space around: % x, %v", again, err)
	}
	for _, wrong := range []string{
		"", ":", strings.ReplaceAll(want, ":", ""), strings.ReplaceAll(want, ":", "-"), want[3:], want + ":00", want[:94] + "G",
		":" + want[:94], "+" + want[1:], "SHA256 Fingerprint=" + want, want + want,
	} {
		if sum, err := ParseFingerprint(wrong); err == nil || sum != [32]byte{} {
			t.Errorf("%q was taken: % x", wrong, sum)
		}
	}
	if _, err := ParseFingerprint(want[:59]); err == nil || !strings.Contains(err.Error(), "SHA-1") {
		t.Errorf("20 bytes: %v", err)
	}
}

func TestCertificateFingerprint(t *testing.T) {
	certificate, private, err := NewCertificate(rand.Reader, "a", now, 1)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := NewCertificate(rand.Reader, "b", now, 1)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(certificate)
	want := Fingerprint(block.Bytes)
	for name, text := range map[string]string{
		"alone":            string(certificate),
		"key first":        string(private) + string(certificate),
		"a chain":          string(certificate) + string(other),
		"inside a profile": "dev tap\n<cert>\n" + string(certificate) + "</cert>\n",
	} {
		if got, err := CertificateFingerprint([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, want)
		}
	}
	for name, text := range map[string][]byte{
		"cut":       certificate[:len(certificate)-50],
		"not a DER": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes[:50]}),
	} {
		if got, err := CertificateFingerprint(text); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
