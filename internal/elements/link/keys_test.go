package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"

	"tmelink/internal/element"
	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
	"tmelink/internal/openvpn/pki"
	"tmelink/internal/tmesh"
)

const password = "not a good one"

// keyFolder makes a folder with one file of each kind that a link takes: crt and
// key, which are ca, too; locked, with the password; p12; crl; static; v2s, v2c;
// user; empty, and junk.
func keyFolder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, data []byte, err error) {
		t.Helper()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "here"}, SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), SubjectKeyId: []byte{1},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	put("crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err)
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	der, err = x509.MarshalPKCS8PrivateKey(private)
	put("key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err)
	der, err = pkcs8.MarshalPrivateKey(private, []byte(password), nil)
	put("locked", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}), err)
	der, err = pkcs12.Modern.Encode(private, certificate, nil, password)
	put("p12", der, err)
	put("password", []byte(password+"\r\n"), nil)
	der, err = x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), NextUpdate: time.Now().Add(time.Hour)}, certificate, private)
	put("crl", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), err)
	static, err := keys.NewStatic(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	put("static", static.Marshal(), nil)
	server, err := keys.NewServerV2(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	put("v2s", server.Marshal(), nil)
	client, err := keys.NewClientV2(rand.Reader, server, keys.UserMetadata([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	put("v2c", client.Marshal(), nil)
	put("user", []byte("alice\nsecret\n"), nil)
	put("empty", nil, nil)
	put("junk", []byte("-----BEGIN JUNK-----\nno\n"), nil)
	return dir
}

const (
	fp        = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff"
	bind      = "--local 10.0.0.1 "
	ownKeys   = "--cert crt --key key "
	tlsServer = bind + "--tls-server " + ownKeys
	tlsClient = bind + "--tls-client " + ownKeys
	bySecret  = bind + "--secret static --cipher AES-256-CBC "
)

func TestKeyWordsAreTakenAsOpenVPNTakesThem(t *testing.T) {
	dir := keyFolder(t)
	names := func(ciphers []*datachannel.Cipher) (list string) {
		for _, c := range ciphers {
			list += ":" + c.Name
		}
		return list[1:]
	}
	for _, c := range []struct {
		words string
		check func(*security, *keyring) bool
	}{
		{tlsServer + "--ca crt", func(s *security, k *keyring) bool {
			return s.server && !s.client && !s.pull && len(k.identity) == 1 && len(k.peer.Roots) == 1 && !k.peer.Server &&
				s.reneg == time.Hour && s.hand == time.Minute && s.tran == time.Hour && s.tlsTimeout == 2*time.Second && s.maxPacket == 1250 &&
				names(s.ciphers) == "AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305" && s.digest.Name == "SHA1" && s.versionMin == 0x0303 &&
				s.versionMax == 0 && s.fallback == nil && s.cipher == nil && s.window == 64 && s.late == 15*time.Second
		}},
		{tlsClient + "--peer-fingerprint " + fp + " --peer-fingerprint " + strings.ToUpper(fp), func(s *security, k *keyring) bool {
			return s.client && len(k.peer.Fingerprints) == 2 && k.peer.Fingerprints[0][1] == 0x11 && k.peer.Roots == nil && k.peer.Server
		}},
		{bind + "--client --ca crt --auth-user-pass user --auth-retry nointeract", func(s *security, k *keyring) bool {
			return s.client && s.pull && k.identity == nil && s.retryAuth && slices.Equal(s.user.firstLines(2), []string{"alice", "secret"})
		}},
		{tlsClient + "--ca crt --pull", func(s *security, _ *keyring) bool { return s.pull }},
		{bind + "--tls-server --cert crt --key locked --askpass password --ca crt", func(_ *security, k *keyring) bool { return len(k.identity) == 1 }},
		{bind + "--tls-server --pkcs12 p12 --askpass password --peer-fingerprint " + fp, func(_ *security, k *keyring) bool { return len(k.identity) == 1 }},
		{tlsServer + "--ca crt --extra-certs crt --crl-verify crl", func(_ *security, k *keyring) bool {
			return len(k.peer.Intermediates) == 1 && len(k.peer.CRLs) == 1
		}},
		{tlsServer + "--ca crt --verify-x509-name here name --remote-cert-tls client", func(_ *security, k *keyring) bool {
			return k.peer.Name == "here" && k.peer.NameType == pki.NameCommon && k.peer.KeyUsage == "client"
		}},
		{tlsServer + "--ca crt --verify-x509-name he name-prefix", func(_ *security, k *keyring) bool { return k.peer.NameType == pki.NamePrefix }},
		{tlsServer + "--ca crt --verify-x509-name CN=here", func(_ *security, k *keyring) bool { return k.peer.NameType == pki.NameSubject }},
		{tlsServer + "--ca crt --tls-version-min 1.3 or-highest --tls-version-max 1.3 --dh none", func(s *security, _ *keyring) bool {
			return s.versionMin == 0x0304 && s.versionMax == 0x0304
		}},
		{tlsServer + "--ca crt --tls-auth static 0 --auth SHA512", func(_ *security, k *keyring) bool {
			return k.wrapping.Auth != nil && k.wrapping.Dir == keys.Normal && k.wrapping.Digest.Name == "SHA512"
		}},
		{tlsServer + "--ca crt --tls-auth static --key-direction 1", func(_ *security, k *keyring) bool { return k.wrapping.Dir == keys.Inverse }},
		{tlsServer + "--ca crt --tls-auth static", func(_ *security, k *keyring) bool { return k.wrapping.Dir == keys.Both }},
		{tlsServer + "--ca crt --tls-crypt static", func(_ *security, k *keyring) bool { return k.wrapping.Crypt != nil }},
		{tlsServer + "--ca crt --tls-crypt-v2 v2s allow-noncookie", func(_ *security, k *keyring) bool { return k.wrapping.ServerV2 != nil }},
		{tlsClient + "--ca crt --tls-crypt-v2 v2c", func(_ *security, k *keyring) bool { return k.wrapping.ClientV2 != nil }},
		{tlsServer + "--ca crt --reneg-sec 0 --reneg-bytes 1000 --reneg-pkts 5 --hand-window 3 --tran-window 30 --tls-timeout 1 --max-packet-size 1000", func(s *security, _ *keyring) bool {
			return s.reneg == 0 && s.renegBytes == 1000 && s.renegPackets == 5 && s.hand == 3*time.Second && s.tran == 30*time.Second &&
				s.tlsTimeout == time.Second && s.maxPacket == 1000
		}},
		{tlsServer + "--ca crt --reneg-sec 60 50", func(s *security, _ *keyring) bool { return s.reneg == time.Minute }},
		{tlsServer + "--ca crt --data-ciphers aes-128-cbc:?BF-CBC:AES-192-GCM", func(s *security, _ *keyring) bool { return names(s.ciphers) == "AES-128-CBC:AES-192-GCM" }},
		{tlsServer + "--ca crt --ncp-ciphers AES-256-CBC --data-ciphers-fallback AES-128-CBC --cipher AES-192-CBC", func(s *security, _ *keyring) bool {
			return names(s.ciphers) == "AES-256-CBC" && s.fallback.Name == "AES-128-CBC" && s.cipher.Name == "AES-192-CBC"
		}},
		{tlsServer + "--ca crt --tls-exit --single-session --mute-replay-warnings", func(s *security, _ *keyring) bool {
			return s.tlsExit && s.single && s.muteReplays
		}},
		{tlsServer + "--ca crt --replay-window 128 30", func(s *security, _ *keyring) bool {
			return s.window == 128 && s.late == 30*time.Second
		}},
		{bySecret, func(s *security, k *keyring) bool { return k.static != nil && s.keyed() && !s.tls() }},
		{bySecret + "--auth SHA256 --key-direction 1 --replay-window 100", func(s *security, k *keyring) bool {
			return k.static.Sealer.Suite().String() == "AES-256-CBC with SHA256"
		}},
		{bind + "--secret static 1 --cipher AES-128-CBC", func(_ *security, k *keyring) bool { return k.static != nil }},
	} {
		args, _ := argsOf(c.words)
		got, err := parse(args, dir)
		if err != nil {
			t.Errorf("%s: %v", c.words, err)
		} else if !c.check(&got.security, &got.keyring) {
			t.Errorf("%s: %+v", c.words, got.security)
		}
	}
}

func TestFaultsOfKeysAreTold(t *testing.T) {
	dir := keyFolder(t)
	const tcp = "--proto tcp-server "
	for _, c := range []struct{ words, fault string }{
		{bind + "--secret static", "--secret: OpenVPN's default cipher, BF-CBC, is refused as broken: say --cipher AES-256-CBC"},
		{bind + "--secret static --cipher BF-CBC", "--cipher: "},
		{bind + "--secret static --cipher AES-256-GCM", "--cipher: AES-256-GCM needs a new key for each session"},
		{bind + "--secret static --cipher none", "--cipher: with --secret frames are always encrypted"},
		{bySecret + "--auth none", "--auth: packets must be authenticated"},
		{bySecret + "--auth MD5", "--auth: "},
		{bind + "--secret static 2 --cipher AES-256-CBC", `--secret: the direction "2" is neither 0 nor 1`},
		{bySecret + "--key-direction x", `--key-direction: the direction "x" is neither 0 nor 1`},
		{bind + "--secret junk --cipher AES-256-CBC", "--secret: "},
		{bind + "--secret empty --cipher AES-256-CBC", "--secret: "},
		{bind + "--secret no --cipher AES-256-CBC", "--secret: read " + filepath.Join(dir, "no") + ": no such file"},
		{bind + "--secret . --cipher AES-256-CBC", "--secret: " + dir + " is not a file"},
		{bySecret + "--tls-server", "--secret: it contradicts --tls-server and --tls-client"},
		{bySecret + "--tls-crypt static", "--tls-crypt: it concerns TLS, and has no effect with --secret"},
		{bySecret + "--reneg-sec 60", "--reneg-sec: it concerns TLS"},
		{bySecret + "--replay-window 0", "--replay-window: "},
		{bySecret + tcp + "--explicit-exit-notify", "--explicit-exit-notify: over TCP the peer notices anyway"},

		{tlsServer + "--tls-client --ca crt", "--tls-client: it contradicts --tls-server"},
		{tlsServer + "--ca crt --pull", "--pull: only a --tls-client can be told"},
		{tlsServer, "--tls-server: whom to let in? Give the peer's fingerprint with --peer-fingerprint, or a CA with --ca"},
		{bind + "--tls-server --ca crt", "--tls-server: this end has no certificate to show"},
		{bind + "--tls-client --ca crt --auth-user-pass user", "--tls-client: this end has no certificate to show"},
		{bind + "--client --ca crt", "--client: this end has no certificate to show"},
		{bind + "--tls-server --ca crt --cert crt", "--tls-server: --cert and --key belong together"},
		{bind + "--tls-server --ca crt --key key", "--tls-server: --cert and --key belong together"},
		{tlsServer + "--pkcs12 p12 --askpass password", "--pkcs12: it has certificate and key"},
		{bind + "--tls-server --pkcs12 p12 --ca crt", "--pkcs12: the PKCS#12 file is encrypted: give its password with --askpass FILE"},
		{bind + "--tls-server --pkcs12 p12 --askpass user --ca crt", "--pkcs12: the password of --askpass does not open"},
		{bind + "--tls-server --pkcs12 junk --ca crt", "--pkcs12: the file is not PKCS#12"},
		{bind + "--tls-server --cert crt --key locked --ca crt", "--cert: the private key is encrypted: give its password with --askpass FILE"},
		{bind + "--tls-server --cert crt --key locked --askpass user --ca crt", "--cert: the password of --askpass does not open"},
		{bind + "--tls-server --cert junk --key key --ca crt", "--cert: "},
		{bind + "--tls-server --cert no --key key --ca crt", "--cert: read "},
		{bind + "--tls-server --cert crt --key no --ca crt", "--key: read "},
		{tlsServer + "--ca junk", "--ca: "},
		{tlsServer + "--ca no", "--ca: read "},
		{tlsServer + "--ca crt --crl-verify crt", "--crl-verify: "},
		{tlsServer + "--ca crt --crl-verify no", "--crl-verify: read "},
		{tlsServer + "--ca crt --extra-certs key", "--extra-certs: "},
		{tlsServer + "--peer-fingerprint 00:11", "--peer-fingerprint: "},
		{tlsServer + "--ca crt --verify-x509-name x y", `--verify-x509-name: "y" is none of subject, name, name-prefix`},
		{tlsServer + "--ca crt --remote-cert-tls peer", `--remote-cert-tls: "peer" is neither server nor client`},
		{tlsServer + "--ca crt --tls-version-min 1.1", "--tls-version-min: TLS 1.1 is broken"},
		{tlsServer + "--ca crt --tls-version-max 2", `--tls-version-max: "2" is not a version of TLS`},
		{tlsServer + "--ca crt --tls-version-min 1.3 --tls-version-max 1.2", "--tls-version-max: "},
		{tlsServer + "--ca crt --tls-auth static --tls-crypt static", "--tls-server: --tls-auth, --tls-crypt and --tls-crypt-v2 exclude each other"},
		{tlsServer + "--ca crt --tls-auth static 5", "--tls-auth: the direction"},
		{tlsServer + "--ca crt --tls-auth v2s", "--tls-auth: "},
		{tlsServer + "--ca crt --tls-crypt junk", "--tls-crypt: "},
		{tlsServer + "--ca crt --tls-crypt no", "--tls-crypt: read "},
		{tlsServer + "--ca crt --tls-crypt-v2 v2c", "--tls-crypt-v2: "},
		{tlsClient + "--ca crt --tls-crypt-v2 v2s", "--tls-crypt-v2: "},
		{tlsServer + "--ca crt --tls-crypt-v2 v2s force-cookie", `--tls-crypt-v2: "force-cookie" is not carried out`},
		{tlsServer + "--ca crt --dh dh.pem", "--dh: exchanges over finite fields are not carried out"},
		{tlsServer + "--ca crt --reneg-sec 1", "--reneg-sec: the next key would be begun before the last one is agreed on"},
		{tlsServer + "--ca crt --reneg-bytes -1", "--reneg-bytes: "},
		{tlsServer + "--ca crt --hand-window 0", "--hand-window: "},
		{tlsServer + "--ca crt --max-packet-size 10", "--max-packet-size: "},
		{tlsServer + "--ca crt --data-ciphers AES-256-GCM:BF-CBC", "--data-ciphers: "},
		{tlsServer + "--ca crt --data-ciphers ?BF-CBC", "--data-ciphers: no cipher is left"},
		{tlsServer + "--ca crt --data-ciphers-fallback DES-CBC", "--data-ciphers-fallback: "},
		{tlsServer + "--ca crt --auth none", "--auth: packets must be authenticated; leave it out"},
		{tlsServer + tcp + "--ca crt --explicit-exit-notify", "--explicit-exit-notify: over TCP the peer notices anyway"},
		{bind + "--client --ca crt --auth-user-pass empty", "--auth-user-pass: the first line must be the user's name"},
		{bind + "--client --ca crt --auth-user-pass no", "--auth-user-pass: read "},
		{bind + "--client --ca crt --auth-user-pass user --auth-retry interact", `--auth-retry: "interact" is not carried out`},

		{bind + "--ca crt", "--ca: it is of no use without keys"},
		{bind + "--replay-window 64", "--replay-window: it is of no use without keys"},
		{bind + "--cipher AES-256-CBC", "--cipher: without keys a link speaks in the clear"},
		{bind + "--auth SHA256", "--auth: without keys a link speaks in the clear"},
	} {
		args, _ := argsOf(c.words)
		_, err := parse(args, dir)
		var faults tmesh.Faults
		faults.Add(args.Pos, err)
		if len(faults) != 1 || !strings.HasPrefix(faults[0].Msg, c.fault) {
			t.Errorf("%s: %d faults:\n%v\nwant %s…", c.words, len(faults), faults, c.fault)
		} else if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "-----BEGIN") {
			t.Errorf("%s: the fault tells a secret: %v", c.words, err)
		}
	}
}

// TestKeysInPlaceOfTheirFiles has every file's contents be the word itself.
func TestKeysInPlaceOfTheirFiles(t *testing.T) {
	dir := keyFolder(t)
	text := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "p12" {
			return base64.StdEncoding.EncodeToString(data) + "\n"
		}
		return string(data)
	}
	for _, c := range []string{
		tlsServer + "--ca crt --tls-crypt-v2 v2s",
		tlsClient + "--ca crt --crl-verify crl --tls-crypt static",
		bind + "--tls-server --pkcs12 p12 --askpass password --ca crt",
		bySecret,
		bind + "--client --ca crt --auth-user-pass user",
	} {
		args, _ := argsOf(c)
		for i, w := range args.Words {
			if _, err := os.Stat(filepath.Join(dir, w.Text)); err == nil {
				args.Words[i].Text, args.Words[i].Quoted = text(w.Text), true
			}
		}
		if _, err := parse(args, t.TempDir()); err != nil {
			t.Errorf("%s: %v", c, err)
		}
	}
}

func FuzzKeyOptions(f *testing.F) {
	dir := keyFolder(f)
	f.Add("--tls-server --ca crt --cert crt --key key --tls-crypt static --data-ciphers AES-128-CBC:?x --reneg-sec 60")
	f.Add("--client --remote h 1194 tcp --ca crt --auth-user-pass user --auth-retry none --tls-crypt-v2 v2c")
	f.Add("--secret static 1 --cipher AES-192-CBC --auth SHA512 --replay-window 100 3 --key-direction 0")
	f.Add("--tls-client --pkcs12 p12 --askpass password --peer-fingerprint " + fp + " --verify-x509-name a name --explicit-exit-notify 2")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "/") || strings.Contains(text, "..") || strings.Contains(text, "\\") {
			return // no files but the folder's
		}
		args := element.Args{Pos: tmesh.Pos{File: "t", Line: 9, Column: 9}, Words: words(bind + text), NoEffect: &[]tmesh.Word{}}
		c, err := parse(args, dir)
		if err == nil {
			s := &c.security
			switch {
			case s.tls() && s.secret.given(), s.secret.given() && c.keyring.static == nil,
				s.tls() && len(c.keyring.identity) == 0 && !s.user.given(),
				s.tls() && c.keyring.peer.Roots == nil && c.keyring.peer.Fingerprints == nil,
				s.keyed() && s.digest == nil:
				t.Fatalf("%q is taken: %+v", text, s)
			}
			return
		}
		var faults tmesh.Faults
		faults.Add(tmesh.Pos{}, err)
		for _, fault := range faults {
			if fault.Pos.Line == 0 || fault.Msg == "" {
				t.Fatalf("%q: a fault without place: %v", text, fault)
			}
		}
	})
}
