package keys

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

func testServer(t testing.TB) *ServerV2 {
	t.Helper()
	server, err := ParseServerV2(testFile(t, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func testClient(t testing.TB, name string) *ClientV2 {
	t.Helper()
	client, err := ParseClientV2(testFile(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestV2FilesOfOpenVPN(t *testing.T) {
	server := testServer(t)
	if got, text := server.Marshal(), testFile(t, "server.key"); !bytes.Equal(got, text) {
		t.Errorf("the server's key, written again, is\n%s", got)
	}
	for name, check := range map[string]func([]byte) bool{
		"client-user.key": func(m []byte) bool { return string(m) == "\x00alice of host 1" },
		"client-time.key": func(m []byte) bool {
			if len(m) != 9 || m[0] != MetadataTime {
				return false
			}
			year := time.Unix(int64(binary.BigEndian.Uint64(m[1:])), 0).Year()
			return year > 2020 && year < 2100
		},
	} {
		client := testClient(t, name)
		if got, text := client.Marshal(), testFile(t, name); !bytes.Equal(got, text) {
			t.Errorf("%s, written again, is\n%s", name, got)
		}
		wrapped := bytes.Clone(client.Wrapped)
		key, metadata, err := server.Unwrap(client.Wrapped)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if *key != client.Key {
			t.Errorf("%s: another key is wrapped in it", name)
		}
		if !check(metadata) {
			t.Errorf("%s: metadata %q", name, metadata)
		}
		if !bytes.Equal(wrapped, client.Wrapped) {
			t.Errorf("%s: Unwrap has changed what it opened", name)
		}
	}
}

// TestWrapIsOpenVPNs wraps OpenVPN's client keys again: the IV comes from what is
// wrapped, so that the same must come out.
func TestWrapIsOpenVPNs(t *testing.T) {
	server := testServer(t)
	for _, name := range []string{"client-user.key", "client-time.key"} {
		theirs := testClient(t, name)
		_, metadata, err := server.Unwrap(theirs.Wrapped)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := NewClientV2(bytes.NewReader(theirs.Key.append(nil)), server, metadata)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ours.Marshal(), testFile(t, name)) {
			t.Errorf("%s: tmelink's wrapped key is another one", name)
		}
	}
}

func TestMetadataOfEveryLength(t *testing.T) {
	server := testServer(t)
	for _, n := range []int{0, 1, 16, MaxMetadata - 2, MaxMetadata - 1} {
		want := UserMetadata(bytes.Repeat([]byte("m"), n))
		client, err := NewClientV2(counting(staticSize), server, want)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		again, err := ParseClientV2(client.Marshal())
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		key, metadata, err := server.Unwrap(again.Wrapped)
		if err != nil || *key != client.Key || !bytes.Equal(metadata, want) {
			t.Errorf("%d bytes: got %d back, %v", n, len(metadata), err)
		}
	}
	for _, metadata := range [][]byte{nil, UserMetadata(make([]byte, MaxMetadata))} {
		if _, err := NewClientV2(counting(staticSize), server, metadata); err == nil {
			t.Errorf("%d bytes of metadata were taken", len(metadata))
		}
	}
	if got := TimeMetadata(time.Unix(0x0102030405, 999)); !bytes.Equal(got, []byte{1, 0, 0, 0, 1, 2, 3, 4, 5}) {
		t.Errorf("a time is % x", got)
	}
}

func TestUnwrapRefusesEveryAlteration(t *testing.T) {
	server, client := testServer(t), testClient(t, "client-user.key")
	refused := func(what string, wrapped []byte) {
		t.Helper()
		if key, metadata, err := server.Unwrap(wrapped); err == nil || key != nil || metadata != nil {
			t.Fatalf("%s: key %t, metadata %q, error %v", what, key != nil, metadata, err)
		}
	}
	for i := range client.Wrapped {
		for bit := range 8 {
			altered := bytes.Clone(client.Wrapped)
			altered[i] ^= 1 << bit
			refused("a flipped bit", altered)
		}
		refused("its beginning", client.Wrapped[:i])
		refused("its end", client.Wrapped[i+1:])
	}
	// A length that fits again is authenticated, too.
	for _, by := range []int{-1, 1} {
		n := len(client.Wrapped) - lengthSize
		altered := append(bytes.Clone(client.Wrapped[:n]), 0)[:n+by]
		refused("another length", binary.BigEndian.AppendUint16(altered, uint16(n+by+lengthSize)))
	}
	for _, n := range []int{0, 1, 2, minWrapped - 1, minWrapped, MaxWrapped, MaxWrapped + 1, 65535} {
		zeros := make([]byte, n)
		if n >= lengthSize {
			binary.BigEndian.PutUint16(zeros[n-lengthSize:], uint16(n))
		}
		refused("zeros", zeros)
	}
	other, err := NewServerV2(counting(halfSize))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.Unwrap(client.Wrapped); err == nil || !strings.Contains(err.Error(), "another tls-crypt-v2 server key") {
		t.Errorf("another server: %v", err)
	}
}

func TestV2KeyFilesAreChecked(t *testing.T) {
	server := func(b []byte) error { _, err := ParseServerV2(b); return err }
	client := func(b []byte) error { _, err := ParseClientV2(b); return err }
	file := func(label string, n int) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: make([]byte, n)})
	}
	good := testFile(t, "client-user.key")
	cut := testClient(t, "client-user.key")
	cut.Wrapped = cut.Wrapped[1:]
	for _, c := range []struct {
		name  string
		parse func([]byte) error
		text  []byte
		want  string
	}{
		{"short", server, file(serverV2Label, halfSize-1), "has 127 bytes, not 128"},
		{"long", server, file(serverV2Label, halfSize+1), "has 129 bytes, not 128"},
		{"empty", server, file(serverV2Label, 0), "has 0 bytes"},
		{"no end", server, testFile(t, "server.key")[:200], "damaged"},
		{"short", client, file(clientV2Label, staticSize-1), "has 255 bytes, fewer than 256"},
		{"nothing wrapped", client, file(clientV2Label, staticSize), "the wrapped key has 0 bytes"},
		{"too much wrapped", client, file(clientV2Label, staticSize+MaxWrapped+1), "the wrapped key has 1025 bytes"},
		{"a byte lost", client, cut.Marshal(), "the wrapped key has 305 bytes and says 306"},
		{"no base64", client, bytes.Replace(good, []byte("\n"), []byte("\n*"), 1), "damaged"},
	} {
		if err := c.parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q in it", c.name, err, c.want)
		}
	}
	for name, text := range map[string][]byte{
		"comments": append([]byte("# of alice\n\n"), good...),
		"Windows":  bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
	} {
		if err := client(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServerV2Wipe(t *testing.T) {
	server := testServer(t)
	server.Wipe()
	if *server != (ServerV2{}) {
		t.Error("something is left of a wiped key")
	}
}
