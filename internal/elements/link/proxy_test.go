package link

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tmelink/internal/tmesh"
	"tmelink/internal/transport/proxy"
)

// loginFile writes a file with a name and a password.
func loginFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "login")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const viaTCP = "--nobind --proto tcp-client --remote peer.example 443 "

func TestProxyWordsAreTakenAsOpenVPNTakesThem(t *testing.T) {
	login := loginFile(t, "me\r\nhush\r\n")
	is := func(c *config, method proxy.Method, user string) bool {
		got := ""
		if c.proxy.http.Credentials != nil {
			got = c.proxy.http.Credentials.User + ":" + c.proxy.http.Credentials.Password
		}
		return c.ways[0].proxy != nil && c.proxy.socks == nil && c.proxy.http.Method == method && got == user && c.proxy.at.String() == "p:3128"
	}
	socks := func(c *config, at, user string) bool {
		got := ""
		if c.proxy.socks.Credentials != nil {
			got = c.proxy.socks.Credentials.User + ":" + c.proxy.socks.Credentials.Password
		}
		return c.ways[0].proxy != nil && c.proxy.http == nil && c.proxy.at.String() == at && got == user
	}
	for words, check := range map[string]func(*config) bool{
		viaTCP + "--http-proxy p 3128": func(c *config) bool {
			return is(c, proxy.None, "") && c.proxy.http.Version == "1.0" && c.proxy.http.Agent == ""
		},
		viaTCP + "--http-proxy p 3128 " + login:                                      func(c *config) bool { return is(c, proxy.Basic, "me:hush") },
		viaTCP + "--http-proxy p 3128 " + login + " digest":                          func(c *config) bool { return is(c, proxy.Digest, "me:hush") },
		viaTCP + "--http-proxy p 3128 " + login + " ntlm":                            func(c *config) bool { return is(c, proxy.NTLM, "me:hush") },
		viaTCP + "--http-proxy p 3128 " + login + " ntlm2":                           func(c *config) bool { return is(c, proxy.NTLM, "me:hush") },
		viaTCP + "--http-proxy p 3128 " + login + " none":                            func(c *config) bool { return is(c, proxy.None, "me:hush") },
		viaTCP + "--http-proxy p 3128 auto":                                          func(c *config) bool { return is(c, proxy.Auto, "") },
		viaTCP + "--http-proxy-user-pass " + login + " --http-proxy p 3128 auto-nct": func(c *config) bool { return is(c, proxy.AutoNoClear, "me:hush") },
		viaTCP + "--http-proxy p 3128 --http-proxy-option VERSION 1.1 --http-proxy-option AGENT me --http-proxy-option CUSTOM-HEADER X-A b --http-proxy-option EXT1 X-C:d --http-proxy-retry --http-proxy-timeout 5": func(c *config) bool {
			h := c.proxy.http.Headers
			return is(c, proxy.None, "") && c.proxy.http.Version == "1.1" && c.proxy.http.Agent == "me" && len(h) == 2 && h[0] == (proxy.Header{Name: "X-A", Value: "b"}) && h[1] == (proxy.Header{Name: "X-C", Value: "d"})
		},
		viaTCP + "--socks-proxy p":                          func(c *config) bool { return socks(c, "p:1080", "") },
		viaTCP + "--socks-proxy p 9050 " + login:            func(c *config) bool { return socks(c, "p:9050", "me:hush") },
		"--local 10.0.0.1 --remote fd00::1 --socks-proxy p": func(c *config) bool { return socks(c, "p:1080", "") },
	} {
		args, _ := argsOf(words)
		c, err := parse(args, "")
		if err != nil || !check(c) {
			t.Errorf("%s: %v", words, err)
		}
	}
	// A profile's: no file but what would be in it, and so an empty one.
	args, _ := argsOf(viaTCP + "--http-proxy p 3128")
	args.Words = append(args.Words, tmesh.Word{Quoted: true}, tmesh.Word{Text: "basic"}, tmesh.Word{Text: "--http-proxy-user-pass"}, tmesh.Word{Text: "me\nhush\n", Quoted: true})
	if c, err := parse(args, ""); err != nil || !is(c, proxy.Basic, "me:hush") {
		t.Error(err)
	}
}

func TestProxyOfTheEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://me:hush@p:3128")
	args, _ := argsOf(viaTCP)
	if c, err := parse(args, ""); err != nil || c.ways[0].proxy != nil {
		t.Errorf("it is taken unasked, %v", err)
	}
	args, _ = argsOf(viaTCP + "--http-proxy auto")
	c, err := parse(args, "")
	if err != nil || c.proxy.at.String() != "p:3128" || c.proxy.http.Method != proxy.Auto || c.proxy.http.Credentials.Password != "hush" {
		t.Error(err)
	}
	t.Setenv("HTTPS_PROXY", "")
	t.Setenv("https_proxy", "p:8080")
	if c, err := parse(args, ""); err != nil || c.proxy.at.String() != "p:8080" {
		t.Error(err)
	}
	for value, want := range map[string]string{
		"":                         "HTTPS_PROXY is not set in the environment",
		"socks5://me:hush@p:1":     "https_proxy of the environment: its proxy speaks SOCKS",
		"http://me:hush@p_/%zz":    "https_proxy of the environment: it is not a URL",
		"http://me:hush@[fe80:]:1": "https_proxy of the environment",
	} {
		t.Setenv("https_proxy", value)
		if _, err := parse(args, ""); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestProxyFaultsAreToldAtTheirWord(t *testing.T) {
	login, empty, colon := loginFile(t, "me\nhush\n"), loginFile(t, "\n"), loginFile(t, "m:e\nhush\n")
	long := loginFile(t, "me\nhush"+strings.Repeat("x", 252))
	for words, want := range map[string]string{
		"--http-proxy p":                                                         "1:68: --http-proxy: its port is missing",
		"--http-proxy p 0":                                                       `1:70: --http-proxy: "0" is not a number`,
		"--http-proxy p/ 1":                                                      "1:68: --http-proxy:",
		"--http-proxy p 1 stdin":                                                 "1:72: --http-proxy: there is nobody to ask",
		"--http-proxy p 1 /nowhere":                                              "1:72: --http-proxy: read /nowhere",
		"--http-proxy p 1 " + empty:                                              "1:72: --http-proxy: the user's name is empty",
		"--http-proxy p 1 " + login + " digset":                                  `"digset" is not a way to show a password; did you mean`,
		"--http-proxy p 1 auto basic":                                            `1:77: --http-proxy: "basic" contradicts auto`,
		"--http-proxy-user-pass " + login:                                        "1:55: --http-proxy-user-pass: it is of no use without --http-proxy",
		"--http-proxy-option AGENT x":                                            "1:55: --http-proxy-option: it is of no use",
		"--http-proxy p 1 --http-proxy-user-pass x":                              "read x",
		"--http-proxy p 1 --http-proxy-user-pass " + login:                       "--http-proxy does not say how to show it; put auto",
		"--http-proxy p 1 auto --http-proxy-user-pass " + empty:                  "--http-proxy-user-pass: the user's name is empty",
		"--http-proxy p 1 --http-proxy-option VERSION 2":                         `"2" is not a version of HTTP`,
		"--http-proxy p 1 --http-proxy-option AGENT a b":                         "AGENT takes one value",
		"--http-proxy p 1 --http-proxy-option CUSTOM-HEADER a":                   "without its content",
		"--http-proxy p 1 --http-proxy-option CUSTOM-HEADER a: b":                "cannot be the name of a header",
		"--http-proxy p 1 --http-proxy-option CUSTOM a b":                        `there is no "CUSTOM"`,
		"--http-proxy p 1" + strings.Repeat(" --http-proxy-option EXT2 a b", 11): "there are 10 headers already",
		"--http-proxy p 1 --socks-proxy q":                                       "--socks-proxy: it contradicts --http-proxy",
		"--http-proxy p 1 " + colon:                                              "1:72: --http-proxy: the user's name has a colon in it",
		"--socks-proxy p 1 " + long:                                              "1:73: --socks-proxy: the name or the password is longer than the 255 bytes",
		"--socks-proxy p 99999":                                                  `"99999" is not a number`,
		"--socks-proxy p 1 stdin":                                                "there is nobody to ask",
		"--http-proxy-override p 1":                                              "--http-proxy-override: it is not carried out",
	} {
		args, _ := argsOf(viaTCP + words)
		_, err := parse(args, "")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s:\n got %v\nwant %s", words, err, want)
		}
	}
	for words, want := range map[string]string{
		"--nobind --remote a --http-proxy p 1":                    "an HTTP proxy carries TCP alone",
		"--local 10.0.0.1 --proto tcp-server --http-proxy p 1":    "a tcp-server waits for its peer",
		"--local 10.0.0.1 --proto tcp-server --socks-proxy p":     "a tcp-server waits for its peer",
		"--local 10.0.0.1 --socks-proxy p":                        "it must be told whom to reach",
		"--local 10.0.0.1 --remote a --socks-proxy ::1":           "::1 cannot be reached from 10.0.0.1 of --local",
		"--nobind --proto udp6 --remote a --socks-proxy 10.0.0.1": "10.0.0.1 is not an IPv6 address",
		"--nobind --remote fe80::1 --socks-proxy p":               "fe80::1 is on every link",
		"--nobind --remote fe80::1%eth0 --socks-proxy p":          "fe80::1%eth0 has the name of an interface of this host",
		viaTCP + "--remote 2001:db8::1%x --http-proxy p 1":        "2001:db8::1%x has the name of an interface of this host",
	} {
		args, _ := argsOf(words)
		if _, err := parse(args, ""); err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s:\n got %v\nwant %s", words, err, want)
		}
	}
}

// The names that are looked up are the proxy's, and who is reached is the remote.
func TestTourThroughAProxy(t *testing.T) {
	args, _ := argsOf("--nobind --proto tcp-client --remote a 1 --remote b 2 --socks-proxy p")
	c, err := parse(args, "")
	if err != nil {
		t.Fatal(err)
	}
	tour := newTour(c.ways)
	names := fakeNames(map[string][]string{"p": {"10.0.0.1", "10.0.0.2"}})
	for i, want := range []string{"0 10.0.0.1:1080", "0 10.0.0.2:1080", "1 10.0.0.1:1080", "1 10.0.0.2:1080", "0 10.0.0.1:1080"} {
		peers, err := tour.step(t.Context(), names, anyAddr)
		if err != nil || string(rune('0'+tour.at))+" "+peers[0].String() != want {
			t.Errorf("step %d: remote %d at %v, %v; want %s", i, tour.at, peers, err, want)
		}
	}
	tour = newTour(c.ways)
	if _, err := tour.step(t.Context(), fakeNames(nil), anyAddr); err == nil || !strings.HasPrefix(err.Error(), "--socks-proxy: ") {
		t.Errorf("a name that fails: %v", err)
	}
}

func TestALinkThroughAProxyLeavesThisHost(t *testing.T) {
	for words, want := range map[string]bool{
		"--local 127.0.0.1 --remote peer.example --socks-proxy 127.0.0.1": false,
		"--nobind --remote 127.0.0.1 --socks-proxy proxy.example":         false,
		"--nobind --remote 127.0.0.1 --socks-proxy 127.0.0.1":             true,
		"--local 127.0.0.1 --remote peer.example":                         true,
	} {
		args, _ := argsOf(words)
		c, err := parse(args, "")
		if err != nil || c.stays() != want {
			t.Errorf("%s: %t, %v", words, !want, err)
		}
	}
}

func TestProxiesAreDrawnAndListed(t *testing.T) {
	l := build(t, "--dev tap --nobind --remote peer.example --connect-timeout 3 --socks-proxy p")
	if s := l.elem.(*Link).Sketch(); !strings.Contains(strings.Join(s.Detail, "|"), "through socks proxy p:1080") {
		t.Errorf("%+v", s)
	}
	args, idle := argsOf("--nobind --remote peer.example --connect-timeout 3 --socks-proxy p --socks-proxy-retry")
	if _, err := parse(args, ""); err != nil || len(*idle) != 1 || (*idle)[0].Text != "--socks-proxy-retry" {
		t.Errorf("%v, %v", *idle, err)
	}
}
