package keys

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
)

// addFiles gives a fuzzer a file of every kind to begin with.
func addFiles(f *testing.F) {
	for _, name := range []string{"static.key", "server.key", "client-user.key", "client-time.key"} {
		f.Add(testFile(f, name))
	}
	certificate, private, err := NewCertificate(rand.Reader, "a", now, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(private, certificate...))
}

// FuzzParseFiles reads a text as every kind of file: what one takes must come out
// the same when it is written and read again.
func FuzzParseFiles(f *testing.F) {
	addFiles(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := ParseStatic(text); err == nil {
			if again, err := ParseStatic(key.Marshal()); err != nil || *again != *key {
				t.Errorf("a static key changes when it is written: %v", err)
			}
		}
		if key, err := ParseServerV2(text); err == nil {
			if again, err := ParseServerV2(key.Marshal()); err != nil || *again != *key {
				t.Errorf("a server's key changes when it is written: %v", err)
			}
		}
		if key, err := ParseClientV2(text); err == nil {
			again, err := ParseClientV2(key.Marshal())
			if err != nil || again.Key != key.Key || !bytes.Equal(again.Wrapped, key.Wrapped) {
				t.Errorf("a client's key changes when it is written: %v", err)
			}
		}
		if print, err := CertificateFingerprint(text); err == nil {
			if _, err := ParseFingerprint(print); err != nil {
				t.Errorf("%s: %v", print, err)
			}
		}
	})
}

// FuzzUnwrap opens packets of strangers, and, behind the authentication, what
// somebody with the server's key might have wrapped.
func FuzzUnwrap(f *testing.F) {
	server := testServer(f)
	theirs := testClient(f, "client-user.key")
	known := [][]byte{theirs.Wrapped, testClient(f, "client-time.key").Wrapped}
	for _, wrapped := range known {
		f.Add(wrapped)
	}
	f.Add(append(theirs.Key.append(nil), "\x00metadata"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, _, err := server.Unwrap(data); err == nil && !bytes.Equal(data, known[0]) && !bytes.Equal(data, known[1]) {
			t.Error("a forged key was taken")
		}
		if len(data) > MaxWrapped {
			return
		}
		key, metadata, err := server.Unwrap(server.wrap(data))
		if fits := len(data) >= staticSize && len(data) <= staticSize+MaxMetadata; fits != (err == nil) {
			t.Fatalf("%d bytes: %v", len(data), err)
		}
		if err == nil && !bytes.Equal(append(key.append(nil), metadata...), data) {
			t.Error("what was wrapped is not what came out")
		}
	})
}

func FuzzParseFingerprint(f *testing.F) {
	f.Add(Fingerprint(nil))
	f.Add("ab:CD")
	f.Fuzz(func(t *testing.T, text string) {
		sum, err := ParseFingerprint(text)
		written := strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
		if err == nil && !strings.EqualFold(strings.TrimSpace(text), written) {
			t.Errorf("%q was read as %s", text, written)
		}
	})
}
