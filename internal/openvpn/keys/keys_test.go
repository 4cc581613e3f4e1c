package keys

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files of testdata are OpenVPN 2.6.14's: --genkey secret, tls-crypt-v2-server,
// and tls-crypt-v2-client with and without metadata of the user.
func testFile(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// counting is randomness whose bytes tell where they went.
func counting(n int) *bytes.Reader {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i + 1)
	}
	return bytes.NewReader(b)
}

func TestNothingShowsAKey(t *testing.T) {
	server, err := NewServerV2(strings.NewReader(strings.Repeat("A", halfSize)))
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewClientV2(strings.NewReader(strings.Repeat("A", staticSize)), server, UserMetadata(nil))
	if err != nil {
		t.Fatal(err)
	}
	half, _ := client.Key.Pair(Both)
	for _, secret := range []any{
		half, *half, &client.Key, client.Key, client, *client, server, *server,
		struct{ K Static }{client.Key}, []*Half{half},
	} {
		var said strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x"} {
			fmt.Fprintf(&said, verb+"\n", secret)
		}
		slog.New(slog.NewTextHandler(&said, nil)).Info("key", "key", secret)
		slog.New(slog.NewJSONHandler(&said, nil)).Info("key", "key", secret, "in", map[string]any{"a": secret})
		if err := json.NewEncoder(&said).Encode(secret); err != nil {
			t.Errorf("%T: %v", secret, err)
		}
		for _, shown := range []string{"AAA", "4141", "41 41", "65 65", "65,65", "0x41", "QUFB"} {
			if strings.Contains(said.String(), shown) {
				t.Errorf("%T shows its key as %s:\n%s", secret, shown, said.String())
			}
		}
	}
	if said := fmt.Sprintf("%v %+v", struct{ k *Half }{half}, struct{ k *Static }{&client.Key}); strings.Contains(said, "65 65") {
		t.Errorf("a key behind a pointer in an unexported field is shown: %s", said)
	}
	for _, said := range []string{half.String(), half.GoString(), server.String(), client.LogValue().String()} {
		if said != notShown {
			t.Errorf("said %q", said)
		}
	}
}

func TestWhatAFileIsInstead(t *testing.T) {
	certificate, private, err := NewCertificate(counting(1000), "a", now, 1)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string][]byte{
		"an OpenVPN static key":     testFile(t, "static.key"),
		"a tls-crypt-v2 server key": testFile(t, "server.key"),
		"a tls-crypt-v2 client key": testFile(t, "client-time.key"),
		"a certificate":             certificate,
		"certificate's private key": private,
		"PEM file of another kind":  []byte("-----BEGIN THING-----\n-----END THING-----\n"),
		"the file is empty":         []byte(" \r\n"),
		"binary or UTF-16":          []byte("-\x00-\x00"),
		"no BEGIN line":             []byte("a passphrase\n"),
		"longer than":               bytes.Repeat([]byte("#\n"), MaxFile),
	}
	parsers := map[string]func([]byte) error{
		"an OpenVPN static key":     func(b []byte) error { _, err := ParseStatic(b); return err },
		"a tls-crypt-v2 server key": func(b []byte) error { _, err := ParseServerV2(b); return err },
		"a tls-crypt-v2 client key": func(b []byte) error { _, err := ParseClientV2(b); return err },
		"a certificate":             func(b []byte) error { _, err := CertificateFingerprint(b); return err },
	}
	for reads, parse := range parsers {
		for is, text := range texts {
			err := parse(text)
			if is == reads {
				if err != nil {
					t.Errorf("%s is refused: %v", is, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), is) {
				t.Errorf("%s, read as %s: %v; the error should say what it is", is, reads, err)
			}
		}
	}
}
