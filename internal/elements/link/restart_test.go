package link

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/openvpn/keys"
)

// identities writes certificates of two ends into files, and gives the words of
// each with which it knows the other.
func identities(t testing.TB) (server, client string) {
	t.Helper()
	dir := t.TempDir()
	var words [2]string
	var prints [2]string
	for i, name := range []string{"server", "client"} {
		cert, key, err := keys.NewCertificate(rand.Reader, name, time.Now(), 30)
		if err != nil {
			t.Fatal(err)
		}
		for suffix, data := range map[string][]byte{".crt": cert, ".key": key} {
			if err := os.WriteFile(filepath.Join(dir, name+suffix), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if prints[i], err = keys.CertificateFingerprint(cert); err != nil {
			t.Fatal(err)
		}
		words[i] = fmt.Sprintf(" --tls-%s --cert %s/%[1]s.crt --key %[2]s/%[1]s.key", name, dir)
	}
	return words[0] + " --peer-fingerprint " + prints[1], words[1] + " --peer-fingerprint " + prints[0]
}

// keyedPair starts two links over UDP that agree on keys by TLS.
func keyedPair(t testing.TB, more string) (server, client *testLink) {
	t.Helper()
	serverWords, clientWords := identities(t)
	server = start(t, "--dev tap --local 127.0.0.1 --lport 0"+serverWords+more)
	client = start(t, fmt.Sprintf("--dev tap --local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d", server.local().Port())+clientWords+more)
	return server, client
}

func TestKeyedLinksCarryFrames(t *testing.T) {
	server, client := keyedPair(t, "")
	client.writeUntil("a frame at the server", func() bool { return len(server.got()) > 0 }, numbered(0))
	server.writeUntil("a frame at the client", func() bool { return len(client.got()) > 0 }, numbered(0))
	for _, l := range []*testLink{server, client} {
		if s := l.status(); !strings.Contains(s, "AES-256-GCM") {
			t.Errorf("status %q does not say the cipher", s)
		}
	}
}

func TestRestartLooksForThePeerAgain(t *testing.T) {
	server, client := keyedPair(t, "")
	client.writeUntil("a frame", func() bool { return len(server.got()) > 0 }, numbered(0))
	client.elem.(element.Restarter).Restart("a test wants it")
	eventually(t, "a restart", func() bool { return strings.Contains(client.status(), "restarts 1") })
	had := len(server.got())
	client.writeUntil("another frame", func() bool { return len(server.got()) > had }, numbered(1))
	if !strings.Contains(client.log.String(), "a test wants it") {
		t.Error("the log does not say why")
	}
}

func TestTrafficIsThatOfTheSocket(t *testing.T) {
	server, client := keyedPair(t, "")
	client.writeUntil("a frame", func() bool { return len(server.got()) > 0 }, numbered(0))
	const size, count = 1000, 10
	_, before := client.elem.(element.Carrier).Traffic()
	for range count {
		client.write(make([]byte, size))
	}
	_, after := client.elem.(element.Carrier).Traffic()
	// Each packet is 24 bytes longer than its frame: header, packet id and tag.
	if sent := after - before; sent < count*(size+24) || sent > count*(size+24)+500 {
		t.Errorf("%d bytes were sent, want %d and little more", sent, count*(size+24))
	}
	eventually(t, "as much at the server", func() bool {
		read, _ := server.elem.(element.Carrier).Traffic()
		return read >= count*(size+24)
	})
}

func TestConnectionWithoutKeysIsGivenUp(t *testing.T) {
	serverWords, clientWords := identities(t)
	server := start(t, "--dev tap --local 127.0.0.1 --proto tcp-server --port 21194 --hand-window 1"+serverWords)
	stranger, err := net.Dial("tcp", "127.0.0.1:21194")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	eventually(t, "the stranger to be given up", func() bool { return strings.Contains(server.log.String(), "--hand-window") })
	client := start(t, "--dev tap --local 127.0.0.1 --lport 0 --remote 127.0.0.1 21194 --proto tcp-client"+clientWords)
	client.writeUntil("a frame", func() bool { return len(server.got()) > 0 }, numbered(0))
}
