package proxy

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"hash"
	"log/slog"
	"strings"
	"testing"
)

// lay writes challenges so that a test can compare them.
func lay(cs []challenge) string {
	var b strings.Builder
	for _, c := range cs {
		fmt.Fprintf(&b, "%s %s", c.scheme, c.token)
		for _, k := range []string{"realm", "nonce", "qop", "a", "b"} {
			if v, ok := c.params[k]; ok {
				fmt.Fprintf(&b, "%s=%s|", k, v)
			}
		}
		b.WriteString(";")
	}
	return b.String()
}

func TestChallengesAreTakenApart(t *testing.T) {
	for _, c := range []struct {
		lines string // with | between them
		want  string
	}{
		{`Basic realm="x"`, "basic realm=x|;"},
		{`Basic`, "basic ;"},
		{`NTLM`, "ntlm ;"},
		{`NTLM TlRM+/==`, "ntlm TlRM+/==;"},
		{`Negotiate, NTLM, Basic realm="a, \"b\" c"`, `negotiate ;ntlm ;basic realm=a, "b" c|;`},
		{`Digest realm="x", nonce="y", qop="auth,auth-int", Basic realm=z`, "digest realm=x|nonce=y|qop=auth,auth-int|;basic realm=z|;"},
		{`digest REALM = "x" ,nonce= y`, "digest realm=x|nonce=y|;"},
		{`Basic realm="x"|Digest nonce=1`, "basic realm=x|;digest nonce=1|;"},
		{`Basic realm=a, realm=b`, "basic realm=a|;"},
		{`, ,Basic realm="x",,`, "basic realm=x|;"},
		{`Basic realm="open`, "basic ;"},
		{`"Basic`, ""},
		{``, ""},
		{`Foo a=b, Bar b=c=d`, "foo a=b|;bar b=c|;"},
		{strings.Repeat("x", maxScheme+1), ""},
	} {
		if got := lay(parseChallenges(strings.Split(c.lines, "|"))); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.lines, got, c.want)
		}
	}
	if n := len(parseChallenges([]string{strings.Repeat("Basic,", 1000)})); n > maxChallenges {
		t.Errorf("%d challenges are kept", n)
	}
}

// The example of RFC 7616, 3.9.1.
func TestDigestIsThatOfItsRFC(t *testing.T) {
	c := Credentials{"Mufasa", "Circle of Life"}
	const cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
	for algorithm, want := range map[string]string{
		"MD5":     "8ca523f5e9506fed4657c9700eebdbec",
		"SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
	} {
		d := digestChallenge{realm: "http-auth@example.org", nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", algorithm: algorithm,
			hash: map[string]func() hash.Hash{"MD5": md5.New, "SHA-256": sha256.New}[algorithm]}
		got, err := d.answer("GET", "/dir/index.html", c, cnonce)
		if err != nil || !strings.Contains(got, `response="`+want+`"`) || !strings.Contains(got, "algorithm="+algorithm) {
			t.Errorf("%s: %s, %v", algorithm, got, err)
		}
		d.session = true
		if other, _ := d.answer("GET", "/dir/index.html", c, cnonce); other == got {
			t.Errorf("%s: -sess changes nothing", algorithm)
		}
	}
}

func TestTheStrongestDigestIsTaken(t *testing.T) {
	const common = `realm="r", nonce="n", qop="auth"`
	for lines, want := range map[string]string{
		"Digest " + common: "",
		"Digest " + common + ", algorithm=MD5|Digest " + common + ", algorithm=SHA-256":                   "SHA-256",
		"Digest " + common + ", algorithm=SHA-512-256|Digest " + common + ", algorithm=md5-sess":          "md5-sess",
		"Digest " + common + ", algorithm=SHA-256-sess|Digest " + common + ", algorithm=MD5":              "SHA-256-sess",
		"Digest realm=r, nonce=n, algorithm=SHA-256|Digest " + common + ", algorithm=MD5":                 "MD5",
		`Digest realm=r, nonce=n, qop="auth-int", algorithm=SHA-256|Digest ` + common + `, algorithm=MD5`: "MD5",
	} {
		best, ok := bestDigest(parseChallenges(strings.Split(lines, "|")))
		if !ok || best.algorithm != want || best.session != strings.Contains(want, "-sess") {
			t.Errorf("%s: %+v, %t", lines, best, ok)
		}
	}
	for _, line := range []string{"Basic realm=x", "Digest realm=r, qop=auth", "Digest " + common + ", algorithm=SHA-512-256", "Digest realm=r, nonce=n"} {
		if best, ok := bestDigest(parseChallenges([]string{line})); ok {
			t.Errorf("%s: %+v", line, best)
		}
	}
}

func TestQuotesAndControlsInADigest(t *testing.T) {
	d := digestChallenge{realm: `a"b\c`, nonce: "n", opaque: "", hasOpaque: true, hash: md5.New}
	got, err := d.answer("CONNECT", "x:1", Credentials{`us"er`, "p"}, "c")
	if err != nil || !strings.Contains(got, `username="us\"er", realm="a\"b\\c"`) || !strings.HasSuffix(got, `opaque=""`) || strings.Contains(got, "algorithm") {
		t.Errorf("%s, %v", got, err)
	}
	d.nonce = "n\r\nX: y"
	if got, err := d.answer("CONNECT", "x:1", *me, "c"); err == nil {
		t.Errorf("a nonce of two lines gives %s", got)
	}
	if first, second := newNonce(), newNonce(); first == second {
		t.Error("two nonces are the same")
	}
}

func TestCredentialsDoNotPrint(t *testing.T) {
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "who", *me, "whom", me)
	for _, text := range []string{fmt.Sprint(*me), fmt.Sprintf("%v %+v %#v %s", *me, me, *me, me), fmt.Sprintf("%+v", HTTP{Credentials: me}), log.String()} {
		if strings.Contains(text, "secret") || strings.Contains(text, "user") {
			t.Error(text)
		}
	}
}

func TestCredentialsThatNoProxyCouldBeTold(t *testing.T) {
	for _, c := range []Credentials{{"", "x"}, {"a\nb", "x"}, {"a", "x\x00"}} {
		for _, err := range []error{c.Check(), (&HTTP{Credentials: &c}).Check(), (&SOCKS{&c}).Check()} {
			if err == nil {
				t.Errorf("%q, %q are taken", c.User, c.Password)
			}
		}
	}
	if err := (Credentials{"ä", ""}).Check(); err != nil {
		t.Error(err)
	}
	long := strings.Repeat("b", 256)
	for _, c := range []Credentials{{long, ""}, {"a", long}} {
		if err := (&HTTP{Method: Basic, Credentials: &c}).Check(); err != nil {
			t.Error(err)
		}
		if err := (&SOCKS{&c}).Check(); err == nil || !strings.Contains(err.Error(), "longer than the 255 bytes") {
			t.Errorf("SOCKS: %v", err)
		}
	}
	if err := (&SOCKS{&Credentials{long[1:], long[1:]}}).Check(); err != nil {
		t.Error(err)
	}
	colon := &Credentials{"a:b", "c:d"}
	for method, ok := range map[Method]bool{Basic: false, Digest: true, NTLM: true, Auto: true, AutoNoClear: true, None: true} {
		if err := (&HTTP{Method: method, Credentials: colon}).Check(); (err == nil) != ok {
			t.Errorf("%s: %v", method, err)
		}
	}
	if err := (&SOCKS{colon}).Check(); err != nil {
		t.Error(err)
	}
}

func FuzzChallenges(f *testing.F) {
	f.Add(`Digest realm="x", nonce="y", qop="auth,auth-int", Basic realm=z`)
	f.Add(`NTLM TlRM+/==, Negotiate`)
	f.Add(`Basic realm="a\"`)
	f.Fuzz(func(t *testing.T, line string) {
		all := parseChallenges([]string{line})
		if len(all) > maxChallenges {
			t.Fatalf("%d challenges", len(all))
		}
		for _, c := range all {
			if c.scheme == "" || len(c.scheme) > maxScheme || len(c.params) > maxParams {
				t.Fatalf("%q: %+v", line, c)
			}
		}
		if d, ok := bestDigest(all); ok {
			if text, err := d.answer("CONNECT", "x:1", *me, "c"); err == nil && hasControls(text) {
				t.Fatalf("%q: %q", line, text)
			}
		}
	})
}
