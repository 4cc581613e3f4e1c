package proxy

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"unicode/utf16"
)

func utf16le(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// ntlmAsks is a proxy's message with a server challenge (MS-NLMP, 2.2.1.2).
func ntlmAsks(challenge string) []byte {
	const flags = 0x00000001 | 0x00000200 | 0x00080000 | 0x00800000 // UNICODE, NTLM, EXTENDED_SESSIONSECURITY, TARGET_INFO
	b := append([]byte("NTLMSSP\x00"), 2, 0, 0, 0)
	info := append(binary.LittleEndian.AppendUint16([]byte{2, 0}, 2), "D\x00"...) // MsvAvNbDomainName
	info = append(info, 0, 0, 0, 0)
	b = append(b, 0, 0, 0, 0, 48, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = append(append(b, challenge...), make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, uint16(len(info))), uint16(len(info)))
	b = binary.LittleEndian.AppendUint32(b, 48)
	return append(b, info...)
}

// field gives what a message's field at an offset points to.
func field(t *testing.T, message []byte, at int) []byte {
	t.Helper()
	length, from := int(binary.LittleEndian.Uint16(message[at:])), int(binary.LittleEndian.Uint32(message[at+4:]))
	if from+length > len(message) {
		t.Fatalf("the field at %d leads out of the message %x", at, message)
	}
	return message[from : from+length]
}

func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(md5.New, key)
	h.Write(bytes.Join(parts, nil))
	return h.Sum(nil)
}

// The proxy's part of MS-NLMP, 3.3.2: the answer proves the password.
func TestNTLMProvesThePassword(t *testing.T) {
	const page = "<html>no</html>"
	asks := "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM " + base64.StdEncoding.EncodeToString(ntlmAsks("01234567")) + "\r\nContent-Length: 15\r\n\r\n" + page
	f := newFakeProxy(t, []string{asks, yes + "then"})
	conn, err := (&HTTP{Version: "1.0", Method: NTLM, Credentials: &Credentials{`Domain\User`, "Password"}}).Connect(f.dial, target)
	if err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, 4)
	if io.ReadFull(conn, rest); string(rest) != "then" {
		t.Errorf("behind the answer comes %q", rest)
	}
	first := <-f.requests
	message := func(request string) []byte {
		_, text, _ := strings.Cut(request, "Proxy-Authorization: NTLM ")
		text, _, _ = strings.Cut(text, "\r\n")
		m, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(m) < 32 || !strings.HasPrefix(string(m), "NTLMSSP\x00") || !strings.Contains(request, "Proxy-Connection: Keep-Alive") {
			t.Fatalf("%s: %v", request, err)
		}
		return m
	}
	if m := message(first); m[8] != 1 {
		t.Errorf("the first message is of type %d", m[8])
	}
	m := message(<-f.requests)
	response := field(t, m, 20)
	if m[8] != 3 || string(field(t, m, 28)) != string(utf16le("Domain")) || string(field(t, m, 36)) != string(utf16le("User")) || len(response) < 44 {
		t.Fatalf("%x", m)
	}
	hash, _ := hex.DecodeString("a4f49c406510bdcab6824ee7c30fd852") // of "Password" (MS-NLMP, 4.2.2.1.2)
	key := mac(hash, utf16le("USER"), utf16le("Domain"))
	if want := mac(key, []byte("01234567"), response[16:]); !bytes.Equal(response[:16], want) {
		t.Errorf("the proof is %x, want %x", response[:16], want)
	}
}

func TestNTLMGoesWrong(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(ntlmAsks("01234567"))
	asks := func(token, more string) string {
		return "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM" + token + "\r\n" + more + "\r\n"
	}
	for _, c := range []struct {
		name   string
		script []string
		want   string
	}{
		{"refused", []string{asks(" "+good, "Content-Length: 0\r\n"), wantsBasic}, "refuses the name and password (ntlm)"},
		{"no challenge", []string{asks("", "")}, "does not answer NTLM with a challenge"},
		{"other schemes", []string{wantsBasic}, "it offers basic"},
		{"no base64", []string{asks(" ab~", "")}, "not base64"},
		{"rubbish", []string{asks(" AAAA", "Content-Length: 0\r\n")}, "answer the HTTP proxy's NTLM challenge"},
		{"a closing answer", []string{asks(" "+good, "")}, "closes the connection in the middle of NTLM"},
		{"an endless page", []string{asks(" "+good, "Content-Length: 99999999\r\n") + strings.Repeat("x", 1<<20)}, "longer than 65536"},
		{"a page cut off", []string{asks(" "+good, "Content-Length: 10\r\n") + "x"}, "has closed the connection"},
		{"hangs up", []string{asks(" "+good, "Content-Length: 0\r\n"), ""}, "has closed the connection"},
		{"forbidden at first", []string{"HTTP/1.1 403 No\r\n\r\n"}, `"403 No"`},
		{"forbidden then", []string{asks(" "+good, "Content-Length: 0\r\n"), "HTTP/1.1 403 No\r\n\r\n"}, `"403 No"`},
	} {
		f := newFakeProxy(t, c.script)
		conn, err := (&HTTP{Version: "1.0", Method: NTLM, Credentials: me}).Connect(f.dial, target)
		if conn != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want %s", c.name, conn, err, c.want)
		}
	}
	f := newFakeProxy(t, []string{asks("", "Content-Length: 0\r\n")}, []string{asks(" "+good, "Content-Length: 0\r\n"), yes})
	if _, err := (&HTTP{Version: "1.0", Method: Auto, Credentials: me}).Connect(f.dial, target); err != nil {
		t.Errorf("auto does not find NTLM: %v", err)
	}
}
