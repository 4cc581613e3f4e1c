package keys

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestKeysOfOpenVPN reads what the installed OpenVPN makes, and lets it make a
// client's key with our server's.
func TestKeysOfOpenVPN(t *testing.T) {
	nstest.NeedPrograms(t, "openvpn")
	dir := t.TempDir()
	make := func(name string, args ...string) []byte {
		t.Helper()
		file := filepath.Join(dir, name)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "FILE", file)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if said, err := exec.CommandContext(ctx, "openvpn", args...).CombinedOutput(); err != nil {
			t.Fatalf("openvpn %s: %v\n%s", strings.Join(args, " "), err, said)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, kind := range []string{"secret", "tls-auth", "tls-crypt"} {
		text := make(kind, "--genkey", kind, "FILE")
		if key, err := ParseStatic(text); err != nil {
			t.Errorf("%s: %v", kind, err)
		} else if !bytes.Equal(key.Marshal(), text) {
			t.Errorf("%s: written again it is another text", kind)
		}
	}
	theirs, err := ParseServerV2(make("server", "--genkey", "tls-crypt-v2-server", "FILE"))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := NewServerV2(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, server := range map[string]*ServerV2{"theirs": theirs, "ours": ours} {
		path := write(t, dir, name+".key", server.Marshal())
		// OpenVPN wants metadata in base64: "host 1".
		client, err := ParseClientV2(make(name+".client", "--tls-crypt-v2", path, "--genkey", "tls-crypt-v2-client", "FILE", "aG9zdCAx"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		key, metadata, err := server.Unwrap(client.Wrapped)
		if err != nil || *key != client.Key || string(metadata) != "\x00host 1" {
			t.Errorf("%s: metadata %q, %v", name, metadata, err)
		}
	}
}

// TestOpenVPNTakesOurKeys lets two OpenVPN processes meet on loopback by keys and
// certificates that this package made.
func TestOpenVPNTakesOurKeys(t *testing.T) {
	nstest.NeedPrograms(t, "openvpn")
	dir := t.TempDir()
	static, err := NewStatic(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	server, err := NewServerV2(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewClientV2(rand.Reader, server, UserMetadata(bytes.Repeat([]byte("m"), MaxMetadata-1)))
	if err != nil {
		t.Fatal(err)
	}
	secret := write(t, dir, "static.key", static.Marshal())
	serverV2 := write(t, dir, "server-v2.key", server.Marshal())
	clientV2 := write(t, dir, "client-v2.key", client.Marshal())
	certificateA, fingerprintA := writeCertificate(t, dir, "a")
	certificateB, fingerprintB := writeCertificate(t, dir, "b")
	for name, ends := range map[string][2][]string{
		"static key":   {{"--secret", secret, "0"}, {"--secret", secret, "1"}},
		"certificates": {{}, {}},
		"tls-auth":     {{"--tls-auth", secret, "0"}, {"--tls-auth", secret, "1"}},
		"tls-crypt":    {{"--tls-crypt", secret}, {"--tls-crypt", secret}},
		"tls-crypt-v2": {{"--tls-crypt-v2", serverV2}, {"--tls-crypt-v2", clientV2}},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "static key" {
				ends[0] = append(ends[0], append(certificateA, "--tls-server", "--dh", "none", "--peer-fingerprint", fingerprintB)...)
				ends[1] = append(ends[1], append(certificateB, "--tls-client", "--peer-fingerprint", fingerprintA)...)
			} else {
				ends[0] = append(ends[0], "--cipher", "AES-256-CBC", "--ping", "1")
				ends[1] = append(ends[1], "--cipher", "AES-256-CBC", "--ping", "1")
			}
			meet(t, ends[0], ends[1])
		})
	}
}

func write(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeCertificate gives OpenVPN's options for a new certificate, and its fingerprint.
func writeCertificate(t *testing.T, dir, name string) (options []string, fingerprint string) {
	t.Helper()
	certificate, private, err := NewCertificate(rand.Reader, name, time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if fingerprint, err = CertificateFingerprint(certificate); err != nil {
		t.Fatal(err)
	}
	return []string{"--cert", write(t, dir, name+".crt", certificate), "--key", write(t, dir, name+".key", private)}, fingerprint
}

// meet starts OpenVPN twice and waits until each has authenticated the other.
func meet(t *testing.T, server, client []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(free.LocalAddr().(*net.UDPAddr).Port)
	free.Close()
	said := make(chan string, 2) // what an end said that has ended before it met the other
	for _, end := range [][]string{
		append([]string{"--local", "127.0.0.1", "--port", port}, server...),
		append([]string{"--remote", "127.0.0.1", port, "--nobind"}, client...),
	} {
		cmd := exec.CommandContext(ctx, "openvpn", append([]string{"--dev", "null", "--proto", "udp4", "--verb", "3"}, end...)...)
		output, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cancel()
		go func() { said <- untilMet(output) }()
	}
	for range 2 {
		if failed := <-said; failed != "" {
			t.Errorf("OpenVPN met no peer:\n%s", failed)
		}
	}
}

// untilMet reads what OpenVPN says, and gives all of it if it never meets its peer.
func untilMet(output io.Reader) string {
	var all strings.Builder
	for lines := bufio.NewScanner(output); lines.Scan(); {
		fmt.Fprintln(&all, lines.Text())
		if strings.Contains(lines.Text(), "Peer Connection Initiated with") {
			return ""
		}
	}
	return all.String() + "(end)"
}
