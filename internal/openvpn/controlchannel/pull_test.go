package controlchannel

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn/datachannel"
)

// pullWire joins a client that is told what to do and a server that tells it: at its
// beginning say gives the messages, and agreed is what the server does itself. For this
// the server is made one that waits to be told, too, and never asks.
func pullWire(t *testing.T, say []string, agreed agreed, change func(client, server *Config)) *wire {
	w := newWire(t, func(c, s *Config) {
		c.Pull, s.Pull = true, true
		if change != nil {
			change(c, s)
		}
	})
	told := false
	w.pushed = func(s *session) bool {
		s.pull.until, s.pull.again = w.now.Add(1000*time.Hour), w.now.Add(1000*time.Hour)
		if told || s.primary.stage < active {
			return false
		}
		told = true
		if agreed.suite.Cipher != nil {
			s.agreed, s.pull.settled, s.pull.again = agreed, true, time.Time{}
		}
		for _, message := range say {
			s.say(message)
		}
		return true
	}
	return w
}

func suite(name string) datachannel.Suite {
	c, err := datachannel.LookupCipher(name)
	if err != nil {
		panic(err)
	}
	d, _ := datachannel.LookupDigest("SHA256")
	return datachannel.Suite{Cipher: c, Digest: d}
}

func TestPull(t *testing.T) {
	for name, c := range map[string]struct {
		say    []string
		agreed agreed
	}{
		"2.6": {[]string{"PUSH_REPLY,peer-id 7,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt,ping 10"},
			agreed{suite: suite("AES-256-GCM"), export: true, numbered: true, peerID: 7, exitNotify: true, dynamic: true}},
		"2.5":      {[]string{"PUSH_REPLY,peer-id 16777215,cipher AES-256-GCM,key-derivation tls-ekm"}, agreed{suite: suite("AES-256-GCM"), export: true, numbered: true, peerID: 0xffffff}},
		"2.4":      {[]string{"PUSH_REPLY,peer-id 0,cipher AES-256-GCM"}, agreed{suite: suite("AES-256-GCM"), numbered: true}},
		"2.3":      {[]string{"PUSH_REPLY,cipher AES-128-CBC"}, agreed{suite: suite("AES-128-CBC")}},
		"its own":  {[]string{"PUSH_REPLY,ping 3"}, agreed{suite: suite("AES-256-GCM")}}, // of the option string
		"in parts": {[]string{"PUSH_REPLY,cipher AES-128-CBC,push-continuation 2", "PUSH_REPLY,peer-id 3,push-continuation 1"}, agreed{suite: suite("AES-128-CBC"), numbered: true, peerID: 3}},
		"twice":    {[]string{"PUSH_REPLY,cipher AES-128-CBC", "PUSH_REPLY,cipher AES-256-GCM"}, agreed{suite: suite("AES-128-CBC")}},
		"with words around": {[]string{"INFO,hello", "AUTH_PENDING,timeout 60", "NEWS_OF_LATER,x", "PUSH_REPLY,cipher AES-128-CBC"},
			agreed{suite: suite("AES-128-CBC")}},
	} {
		t.Run(name, func(t *testing.T) {
			var settled []*Settings
			w := pullWire(t, c.say, c.agreed, func(cl, _ *Config) {
				cl.Settled = func(s *Settings) { settled = append(settled, s) }
				cl.RenegTime = 10 * time.Minute
			})
			w.settle()
			if err := w.pass(); err != nil || len(settled) != 1 {
				t.Fatalf("%v, settled %d times\n%s", err, len(settled), w.log)
			}
			if got := w.client.current.agreed; got != c.agreed {
				t.Errorf("agreed on %+v, want %+v", got, c.agreed)
			}
			w.run(25 * time.Minute)
			if w.client.current.primary.keyID != 2 || w.client.Err() != nil || w.server.Err() != nil {
				t.Errorf("key %d, %v %v\n%s", w.client.current.primary.keyID, w.client.Err(), w.server.Err(), w.log)
			}
			if err := w.pass(); err != nil || len(settled) != 1 {
				t.Errorf("after renegotiations %v, settled %d times", err, len(settled))
			}
			if strings.Contains(w.log.String(), "PUSH_REQUEST") {
				t.Error("it has asked, although it was told at once")
			}
			if w.client.Exit() != c.agreed.exitNotify {
				t.Errorf("it says goodbye over the control channel: %v", !c.agreed.exitNotify)
			}
		})
	}
}

// A server before 2.6 speaks only when it is asked.
func TestPullAsks(t *testing.T) {
	w := pullWire(t, nil, agreed{}, nil)
	w.run(500 * time.Millisecond)
	asked := func() int { return strings.Count(w.log.String(), "message=PUSH_REQUEST") }
	if asked() != 0 {
		t.Fatal("it asks too soon")
	}
	w.run(600 * time.Millisecond)
	if asked() != 1 {
		t.Fatalf("it has asked %d times:\n%s", asked(), w.log)
	}
	w.run(10 * time.Second)
	if asked() != 3 || w.client.slots.Sending() != nil {
		t.Fatalf("it has asked %d times", asked())
	}
	w.server.current.say("PUSH_REPLY,cipher AES-256-GCM")
	w.settle()
	if w.client.slots.Sending() == nil {
		t.Fatalf("no key:\n%s", w.log)
	}
	w.client.slots.Sending().Heard.Store(true) // until then it repeats its acknowledgement
	if !w.client.current.wake(w.now).Equal(w.client.current.primary.activeAt.Add(time.Hour)) {
		t.Errorf("it does not rest:\n%s", w.log)
	}
}

func TestServersRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		say   string
		want  string
		final bool
	}{
		"AUTH_FAILED":            {"AUTH_FAILED", "correct the name and password in the file of --auth-user-pass", true},
		"AUTH_FAILED, a reason":  {"AUTH_FAILED,no such user", "it says: no such user", true},
		"AUTH_FAILED, temporary": {"AUTH_FAILED,TEMP[backoff 42]:come later", "lets the user in later", false},
		"RESTART":                {"RESTART,[N]going down", "wants a new connection: [N]going down", false},
		"HALT":                   {"HALT,you are not wanted", "wants this end to stop: you are not wanted", true},
		"EXIT":                   {"EXIT", "the peer has ended, and said so", false},
		"a cipher":               {"PUSH_REPLY,cipher AES-192-GCM", "add it to --data-ciphers", true},
		"compression":            {"PUSH_REPLY,comp-lzo yes", "does not compress", true},
		"a flag":                 {"PUSH_REPLY,protocol-flags aead-epoch", "does not know the flag", true},
		"a derivation":           {"PUSH_REPLY,key-derivation magic", "tls-ekm only", true},
		"a peer id":              {"PUSH_REPLY,peer-id 16777216", "peer-id 16777216", true},
		"an MTU":                 {"PUSH_REPLY,tun-mtu 20", "no MTU is 20", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := pullWire(t, []string{c.say}, agreed{}, nil)
			w.settle()
			var final *FinalError
			err := w.client.Err()
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &final) != c.final {
				t.Errorf("%v", err)
			}
			if w.client.slots.Sending() != nil {
				t.Error("there is a key")
			}
			if _, ok, again := w.client.Output(w.now); ok || !again.IsZero() {
				t.Error("a channel that has ended goes on")
			}
		})
	}
}

func TestPullIsBounded(t *testing.T) {
	var parts []string
	for range 80 {
		parts = append(parts, "PUSH_REPLY,"+strings.Repeat("route 10.0.0.0 255.0.0.0,", 35)+"push-continuation 2")
	}
	w := pullWire(t, parts, agreed{}, nil)
	w.settle()
	if err := w.client.Err(); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Error(err)
	}
	// Nor does it wait for ever.
	w = pullWire(t, nil, agreed{}, nil)
	w.run(70 * time.Second)
	if err := w.client.Err(); err == nil || !strings.Contains(err.Error(), "no PUSH_REPLY") {
		t.Error(err)
	}
	// With a second proof on its way it does so longer, and no longer than it wants.
	w = pullWire(t, []string{"AUTH_PENDING,timeout 100000"}, agreed{}, func(c, _ *Config) { c.RenegTime = 10 * time.Minute })
	w.run(290 * time.Second)
	if err := w.client.Err(); err != nil {
		t.Errorf("%v\n%s", err, w.log)
	}
	w.run(20 * time.Second)
	if w.client.Err() == nil {
		t.Error("it waits for ever")
	}
}

// The name and password are sent once; what the server gives in their place is from then
// on. Neither is in the log.
func TestAuthToken(t *testing.T) {
	w := pullWire(t, []string{"PUSH_REPLY,cipher AES-256-GCM,auth-token SESS_ID_secret"}, agreed{suite: suite("AES-256-GCM")}, func(c, s *Config) {
		c.User, c.Password = "alice", "opensesame"
		c.RenegTime = 10 * time.Minute
	})
	w.settle()
	if p := w.server.current.primary.peer; p.user != "alice" || p.password != "opensesame" {
		t.Errorf("the server hears of %q, %q", p.user, p.password)
	}
	w.run(11 * time.Minute)
	if p := w.server.current.primary.peer; w.server.current.primary.keyID != 1 || p.user != "alice" || p.password != "SESS_ID_secret" {
		t.Errorf("the server hears of %q, %q", p.user, p.password)
	}
	if log := w.log.String(); strings.Contains(log, "opensesame") || strings.Contains(log, "SESS_ID") {
		t.Errorf("a secret is in the log:\n%s", log)
	}
	if err := w.pass(); err != nil {
		t.Error(err)
	}
}

// A peer that is no server of clients is told so when it is asked by one.
func TestPullFromPeer(t *testing.T) {
	w := newWire(t, func(c, _ *Config) { c.Pull = true })
	w.run(2 * time.Minute)
	if !strings.Contains(w.log.String(), "say tls-client in place of client there") || w.client.Err() == nil {
		t.Errorf("%v\n%s", w.client.Err(), w.log)
	}
}

func TestSettings(t *testing.T) {
	s, err := parseSettings(",ping 10,ping-exit 9,ping-restart 120,inactive 600 100000,session-timeout 86400,ping-timer-rem,explicit-exit-notify 3,shaper 5000,peer-id 5,cipher AES-256-GCM,route-gateway 10.8.0.1,topology subnet,persist-tun," +
		"ifconfig 10.8.0.6 255.255.255.0,tun-mtu 1400,ifconfig-ipv6 fd00::6/64 fd00::1,route-ipv6-gateway fd00::1,route-metric 50," +
		"route 10.1.0.0 255.255.0.0,route 10.2.0.9,route 10.3.0.0 255.255.255.0 10.8.0.77 9,route 1.2.3.4 255.255.255.255 net_gateway,route-ipv6 fd01::/48," +
		"dhcp-option DNS 10.8.0.1,dhcp-option DNS6 fd00::53,dhcp-option DOMAIN lab.example,dhcp-option WINS 10.8.0.2,setenv X y,redirect-gateway def1")
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		Ping: 10 * time.Second, Silence: 120 * time.Second, KnownOnly: true, Inactive: 10 * time.Minute, InactiveBytes: 100000,
		SessionTimeout: 24 * time.Hour, ExitNotify: 3, Shaper: 5000,
		Network: ethernet.Network{
			Addr4: netip.MustParsePrefix("10.8.0.6/24"), Addr6: netip.MustParsePrefix("fd00::6/64"), MTU: 1400,
			Routes: []ethernet.Route{
				{To: netip.MustParsePrefix("10.1.0.0/16"), Via: netip.MustParseAddr("10.8.0.1"), Metric: 50},
				{To: netip.MustParsePrefix("10.2.0.9/32"), Via: netip.MustParseAddr("10.8.0.1"), Metric: 50},
				{To: netip.MustParsePrefix("10.3.0.0/24"), Via: netip.MustParseAddr("10.8.0.77"), Metric: 9},
				{To: netip.MustParsePrefix("fd01::/48"), Via: netip.MustParseAddr("fd00::1"), Metric: 50},
			},
			DNS: []netip.Addr{netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd00::53")}, Domain: "lab.example",
		},
		Ignored: []string{"dhcp-option WINS 10.8.0.2", "setenv X y", "redirect-gateway def1", "route 1.2.3.4/32 net_gateway"},
	}
	if !reflect.DeepEqual(s.Settings, want) {
		t.Errorf("%+v, want\n%+v", s.Settings, want)
	}
	if s, err := parseSettings(""); err != nil || s.Ping >= 0 || s.Silence >= 0 || s.Inactive >= 0 || s.SessionTimeout >= 0 || s.ExitNotify >= 0 || !s.Network.Equal(&ethernet.Network{}) || s.numbered {
		t.Errorf("of nothing: %+v, %v", s, err)
	}
	if s, err := parseSettings("ping-restart 60,ping-exit 20,inactive 5,explicit-exit-notify"); err != nil || s.Silence != 20*time.Second || !s.SilenceEnds || s.InactiveBytes != 0 || s.ExitNotify != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, wrong := range []string{"ping x", "ping-exit", "inactive 1 -1", "session-timeout -1", "explicit-exit-notify x"} {
		if s, err := parseSettings(wrong); err == nil {
			t.Errorf("%q: %+v", wrong, s)
		}
	}
	for _, odd := range []string{"route", "route x", "route 10.0.0.0 255.0.255.0", "route 10.0.0.0", "ifconfig 10.0.0.1", "ifconfig 10.0.0.1 10.0.0.2", "ifconfig fd00::1 fd00::2",
		"ifconfig-ipv6 10.0.0.1/8", "route-ipv6 fd00::", "route-ipv6 fd00::/8 nobody", "dhcp-option", "dhcp-option DNS", "route-gateway dhcp", "route-metric x", "shaper 99", "shaper 100000001", "shaper", "hash-size 1"} {
		s, err := parseSettings(odd)
		if err != nil || len(s.Ignored) == 0 || s.Network.Addr4.IsValid() || len(s.Network.Routes) > 0 {
			t.Errorf("%q: %+v, %v", odd, s, err)
		}
	}
}

func TestAgree(t *testing.T) {
	config := testConfig(true, nil)
	for name, c := range map[string]struct {
		options, peerInfo string
		fallback          string
		want              agreed
		err               string
	}{
		"2.6":             {"", "IV_CIPHERS=AES-128-CBC:AES-256-GCM\nIV_PROTO=746\n", "", agreed{suite: suite("AES-256-GCM"), export: true, numbered: true, peerID: 0x76706e, exitNotify: true, dynamic: true}, ""},
		"not p2p":         {"", "IV_CIPHERS=AES-256-GCM\nIV_PROTO=2\n", "", agreed{suite: suite("AES-256-GCM")}, ""},
		"option string":   {"V4,dev-type tap,cipher AES-128-CBC,auth SHA1", "", "", agreed{suite: suite("AES-128-CBC")}, ""},
		"fallback":        {"V4,cipher AES-128-CBC", "", "AES-192-CBC", agreed{suite: suite("AES-192-CBC")}, ""},
		"nothing":         {"V4", "", "", agreed{}, "none that it names"},
		"another":         {"V4,cipher BF-CBC", "", "", agreed{}, "the peer BF-CBC"},
		"none in common":  {"V4,cipher AES-256-GCM", "IV_CIPHERS=AES-192-GCM\n", "", agreed{}, "the peer AES-192-GCM"},
		"senseless proto": {"", "IV_PROTO=many\nIV_CIPHERS=aes-256-gcm\n", "", agreed{suite: suite("AES-256-GCM")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			config.Fallback = nil
			if c.fallback != "" {
				config.Fallback = suite(c.fallback).Cipher
			}
			got, err := config.agree(&hello{options: c.options, peerInfo: c.peerInfo})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v", err)
				}
			} else if err != nil || got != c.want {
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}
