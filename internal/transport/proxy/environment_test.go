package proxy

import (
	"strings"
	"testing"
)

func TestURLsOfProxies(t *testing.T) {
	for _, c := range []struct{ url, at, user, want string }{
		{"http://proxy.example:3128", "proxy.example:3128", "", ""},
		{"http://proxy.example", "proxy.example:80", "", ""},
		{"http://proxy.example:8080/", "proxy.example:8080", "", ""},
		{"proxy.example:3128", "proxy.example:3128", "", ""},
		{"10.0.0.1:3128", "10.0.0.1:3128", "", ""},
		{"http://[::1]:3128", "[::1]:3128", "", ""},
		{"http://me:hush%40@p:1", "p:1", "me hush@", ""},
		{"http://me@p:1", "p:1", "me ", ""},
		{"https://p:1", "", "", "by TLS"},
		{"socks5://p:1", "", "", "--socks-proxy"},
		{"ftp://p:1", "", "", "not http"},
		{"http://me:hush@p:port", "", "", "not a URL"},
		{"http://p:0", "", "", "its port"},
		{"http://p:70000", "", "", "its port"},
		{"http://:hush@p:1", "", "", "name is empty"},
		{"http://me:hush%0a@p:1", "", "", "control character"},
		{"", "", "", "not a URL"},
		{"/proxy", "", "", "not a URL"},
	} {
		at, who, err := ParseURL(c.url)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%s: %v; want %s", c.url, err, c.want)
			}
			continue
		}
		user := ""
		if who != nil {
			user = who.User + " " + who.Password
		}
		if err != nil || at.String() != c.at || user != c.user {
			t.Errorf("%s: %v, %q, %v", c.url, at, user, err)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add("http://me:hush@proxy.example:3128/")
	f.Add("[::1]:80")
	f.Fuzz(func(t *testing.T, text string) {
		at, who, err := ParseURL(text)
		if err == nil && (at.Host == "" || at.Port == 0 || who != nil && who.Check() != nil) {
			t.Fatalf("%q: %v, %v", text, at, who)
		}
	})
}
