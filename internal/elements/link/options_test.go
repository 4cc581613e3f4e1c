package link

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
	"tmelink/internal/tmesh"
	"tmelink/internal/transport"
)

// words gives the words of a text with their columns; quotes are not known.
func words(text string) []tmesh.Word {
	var ws []tmesh.Word
	for _, f := range strings.Fields(text) {
		column := strings.Index(text, f) + 1
		if n := len(ws); n > 0 {
			from := ws[n-1].Pos.Column - 1 + len(ws[n-1].Text)
			column = from + strings.Index(text[from:], f) + 1
		}
		ws = append(ws, tmesh.Word{Text: f, Pos: tmesh.Pos{File: "t", Line: 1, Column: column}})
	}
	return ws
}

func argsOf(text string) (element.Args, *[]tmesh.Word) {
	idle := &[]tmesh.Word{}
	return element.Args{Pos: tmesh.Pos{File: "t", Line: 9, Column: 9}, Words: words(text), NoEffect: idle}, idle
}

func TestWordsAreTakenAsOpenVPNTakesThem(t *testing.T) {
	const local = "--local 10.0.0.1 "
	for _, c := range []struct {
		words string
		check func(*config) bool
	}{
		{"--dev tap --local 10.0.0.1", func(c *config) bool {
			return c.udp() && c.localPort == 1194 && c.remotePort == 1194 && c.mtu == 1500 && c.retry == time.Second &&
				c.retryLimit == 300*time.Second && c.connectTimeout == 120*time.Second && c.timers == openvpn.Timers{} && c.exitNotify == 0 && c.shaper == 0
		}},
		{"--dev tap7 --local eth0", func(c *config) bool { return c.local == "eth0" }},
		{"--dev blue --dev-type tap --local 10.0.0.1", func(*config) bool { return true }},
		{local + "--lport 1195 --remote 10.0.0.3", func(c *config) bool {
			return c.localPort == 1195 && c.ways[0].port == 1194
		}},
		{local + "--remote 10.0.0.1 1195", func(c *config) bool { return c.localPort == 1194 && c.ways[0].port == 1195 }},
		{local + "--port 5000 --remote h", func(c *config) bool { return c.localPort == 5000 && c.ways[0].port == 5000 }},
		{local + "--port 5000 --lport 5001 --rport 5002 --remote h", func(c *config) bool {
			return c.localPort == 5001 && c.ways[0].port == 5002
		}},
		{local + "--remote a 1 udp --remote b 2 udp4 --remote c", func(c *config) bool {
			return len(c.ways) == 3 && c.ways[1].proto.family == 4 && c.ways[2].proto.family == 0
		}},
		{local + "--remote a 1 tcp-client", func(c *config) bool { return c.ways[0].proto == protocols["tcp-client"] }},
		{local + "--proto tcp4-client --remote a", func(c *config) bool { return c.tcp() && c.ways[0].proto.family == 4 }},
		{"--local ::1 --proto tcp6-server", func(c *config) bool { return c.tcp() && c.ways[0].proto.family == 6 }},
		{"--local fe80::1%eth0 --remote fe80::2", func(c *config) bool { return c.ways[0].host.Text == "fe80::2" }},
		{"--local eth0 --remote fe80::2", func(*config) bool { return true }},
		{"--local fe80::1 --bind-dev eth0 --remote fe80::2", func(*config) bool { return true }},
		{"--local :: --proto tcp-server --remote fe80::2", func(*config) bool { return true }},
		{"--nobind --remote a", func(c *config) bool { return c.nobind }},
		{local + "--keepalive 10 60", func(c *config) bool {
			return c.timers == openvpn.Timers{Ping: 10 * time.Second, Silence: time.Minute}
		}},
		{local + "--ping-restart 60", func(c *config) bool { return c.timers == openvpn.Timers{Silence: time.Minute} }},
		{local + "--ping 5 --ping-exit 60 --ping-timer-rem", func(c *config) bool {
			return c.timers == openvpn.Timers{Ping: 5 * time.Second, Silence: time.Minute, SilenceEnds: true, KnownOnly: true}
		}},
		{local + "--inactive 600 --session-timeout 100000", func(c *config) bool {
			return c.timers == openvpn.Timers{Inactive: 10 * time.Minute, Whole: 100000 * time.Second}
		}},
		{local + "--inactive 600 5000000000", func(c *config) bool {
			return c.timers == openvpn.Timers{Inactive: 10 * time.Minute, InactiveBytes: 5000000000}
		}},
		{local + "--explicit-exit-notify", func(c *config) bool { return c.exitNotify == 1 }},
		{local + "--explicit-exit-notify 3 --shaper 100", func(c *config) bool { return c.exitNotify == 3 && c.shaper == 100 }},
		{local + "--explicit-exit-notify 0 --shaper 100000000", func(c *config) bool { return c.exitNotify == 0 && c.shaper == 100000000 }},
		{local + "--connect-retry 5 60 --connect-retry-max 3", func(c *config) bool {
			return c.retry == 5*time.Second && c.retryLimit == time.Minute && c.retryMax == 3
		}},
		{local + "--connect-retry-max infinite --resolv-retry infinite", func(c *config) bool { return c.retryMax == 0 && c.resolveFor < 0 }},
		{local + "--tun-mtu 9000 --sndbuf 100000 --rcvbuf 200000 --mark 5 --bind-dev eth0", func(c *config) bool {
			return c.mtu == 9000 && c.socket.SendBuffer == 100000 && c.socket.ReceiveBuffer == 200000 && c.socket.Mark == 5 && c.socket.Device == "eth0"
		}},
		{local + "--ifconfig 10.0.77.1 255.255.255.0 --ifconfig-ipv6 fd00::1/64 fd00::2", func(c *config) bool {
			return c.network.String() == "10.0.77.1/24" && c.network6
		}},
		{local, func(c *config) bool { return !c.noOffload && c.mssfixOrDefault() == mssfix{1492, mssMTU} }},
		{local + "--offload off --mssfix 0", func(c *config) bool { return c.noOffload && c.mssfixOrDefault() == mssfix{} }},
		{local + "--offload on --mssfix", func(c *config) bool { return !c.noOffload && c.mssfixOrDefault() == mssfix{1492, mssMTU} }},
		{local + "--mssfix 1300 mtu", func(c *config) bool { return c.mssfixOrDefault() == mssfix{1300, mssMTU} }},
		{local + "--mssfix 1300 fixed", func(c *config) bool { return c.mssfixOrDefault() == mssfix{1300, mssFixed} }},
		{local + "--mssfix 1300", func(c *config) bool { return c.mssfixOrDefault() == mssfix{1300, mssPacket} }},
		{local + "--tun-mtu 9000", func(c *config) bool { return c.mssfixOrDefault() == mssfix{9000, mssFixed} }},
		{local + "--tun-mtu 9000 --mssfix 1400", func(c *config) bool { return c.mssfixOrDefault() == mssfix{1400, mssPacket} }},
		{local + "--fragment 1300", func(c *config) bool {
			return c.fragment == fragment{1300, false} && c.mssfixOrDefault() == mssfix{1300, mssMTU}
		}},
		{local + "--fragment 1300 mtu --mssfix --tun-mtu 9000", func(c *config) bool {
			return c.fragment == fragment{1300, true} && c.mssfixOrDefault() == mssfix{1300, mssMTU}
		}},
		{local + "--fragment 1400 --mssfix 1300 fixed", func(c *config) bool { return c.mssfixOrDefault() == mssfix{1300, mssFixed} }},
		{local + "--fragment 68", func(c *config) bool { return c.fragment.bytes == 68 }},
		{local, func(c *config) bool { return c.socket.Discovery == transport.DiscoverByDefault && !c.mtuTest }},
		{local + "--mtu-disc no --mtu-test", func(c *config) bool { return c.socket.Discovery == transport.DiscoverNo && c.mtuTest }},
		{local + "--mtu-disc maybe", func(c *config) bool { return c.socket.Discovery == transport.DiscoverMaybe }},
		{local + "--mtu-disc yes --proto tcp-server", func(c *config) bool { return c.socket.Discovery == transport.DiscoverYes }},
		{local + "--cipher none --auth NONE --mode p2p --bind", func(*config) bool { return true }},
	} {
		args, _ := argsOf(c.words)
		got, err := parse(args, "")
		if err != nil {
			t.Errorf("%s: %v", c.words, err)
		} else if !c.check(got) {
			t.Errorf("%s: %+v", c.words, got)
		}
	}
}

func TestFaultsAreToldAtTheirWord(t *testing.T) {
	for _, c := range []struct {
		words  string
		faults []string // "column: part of the message"
	}{
		{"--dev tap", []string{"t:9:9: --local is missing"}},
		{"--local", []string{"t:1:1: --local wants HOST"}},
		{"--local 10.0.0.256", []string{`t:1:9: --local: "10.0.0.256" is not an IPv4 address`}},
		{"--local 10::g", []string{`t:1:9: --local: "10::g" is not an IPv6 address`}},
		{"--local 10.0.0.1 --locla x", []string{`t:1:18: unknown option "--locla"; did you mean --local`}},
		{"--local 10.0.0.1 --dev tun0", []string{"t:1:18: --dev: \"tun0\" is not a TAP"}},
		{"--local 10.0.0.1 --dev blue", []string{"t:1:18: --dev:"}},
		{"--local 10.0.0.1 --dev tap --dev-type tun", []string{"t:1:28: --dev-type:"}},
		{"--local 10.0.0.1 --proto tcp", []string{"t:1:26: --proto: \"tcp\" leaves open"}},
		{"--local 10.0.0.1 --proto udp5", []string{"t:1:26: --proto: there is no protocol \"udp5\"; it is udp, tcp-server or tcp-client; did you mean"}},
		{"--local 10.0.0.1 --proto ipx --float", []string{`t:1:26: --proto: there is no protocol "ipx"`}},
		{"--local 10.0.0.1 --proto tcp-client", []string{"t:1:18: --proto: a tcp-client needs a --remote"}},
		{"--local 10.0.0.1 --proto tcp-server --remote a --remote b", []string{"t:1:57: --remote: a tcp-server has one peer"}},
		{"--local 10.0.0.1 --proto tcp-server --float", []string{"t:1:37: --float: a TCP connection cannot float"}},
		{"--local 10.0.0.1 --proto udp6", []string{"t:1:1: --local: 10.0.0.1 is not an IPv6 address"}},
		{"--local ::1 --remote 10.0.0.1", []string{"t:1:22: --remote: 10.0.0.1 cannot be reached from ::1"}},
		{"--nobind --proto udp4 --remote ::1", []string{"t:1:32: --remote: ::1 is not an IPv4 address"}},
		{"--local 10.0.0.1 --remote a 1 udp --remote b 1 tcp-server", []string{"t:1:44: --remote: a tcp-server has one peer, and no other way to it"}},
		{"--nobind --remote a --proto-force tcp", []string{"t:1:21: --proto-force: there is no way of this protocol"}},
		{"--nobind --remote a --proto-force ipx", []string{`t:1:35: --proto-force: "ipx" is neither`}},
		{"--nobind --connection --remote a", []string{"t:1:10: --connection wants OPTION…"}},
		{"--local 10.0.0.1 --remote 10.0.0.1", []string{"t:1:27: --remote: 10.0.0.1 port 1194 is the link's own end"}},
		{"--local 10.0.0.1 --remote a 0", []string{"t:1:29: --remote: \"0\" is not a number from 1 to 65535"}},
		{"--local 10.0.0.1 --remote a/b 70000 ipx", []string{"t:1:27: --remote:", "t:1:31: --remote:", "t:1:37: --remote:"}},
		{"--local fe80::1", []string{"t:1:1: --local: fe80::1 is on every link; write its interface behind it: fe80::1%eth0"}},
		{"--nobind --remote fe80::2", []string{"t:1:19: --remote: fe80::2 is on every link"}},
		{"--local :: --remote fe80::2", []string{"t:1:21: --remote: fe80::2 is on every link"}},
		{"--nobind", []string{"t:1:1: --nobind: without --remote"}},
		{"--nobind --local 10.0.0.1 --remote a", []string{"t:1:1: --nobind: it contradicts --local"}},
		{"--nobind --lport 5 --remote a", []string{"t:1:1: --nobind: it contradicts --lport"}},
		{"--nobind --bind --remote a", []string{"t:1:1: --nobind: it contradicts --bind"}},
		{"--nobind --proto tcp-server --remote a", []string{"t:1:1: --nobind: a tcp-server must be bound"}},
		{"--local 10.0.0.1 --keepalive 10 19", []string{"t:1:33: --keepalive: the timeout"}},
		{"--local 10.0.0.1 --keepalive 0 0", []string{"t:1:32: --keepalive: the timeout"}},
		{"--local 10.0.0.1 --keepalive 10 60 --ping 5", []string{"t:1:36: --ping: it contradicts --keepalive"}},
		{"--local 10.0.0.1 --tun-mtu 99", []string{"t:1:28: --tun-mtu:"}},
		{"--local 10.0.0.1 --tun-mtu 65486", []string{"t:1:28: --tun-mtu:"}},
		{"--local 10.0.0.1 --mssfix 153", []string{"t:1:27: --mssfix: 153 is too small"}},
		{"--local 10.0.0.1 --mssfix 1400 mut", []string{`t:1:32: --mssfix: "mut" is neither mtu nor fixed`}},
		{"--local 10.0.0.1 --offload no", []string{`t:1:28: --offload: "no" is neither on nor off`}},
		{"--local 10.0.0.1 --local 10.0.0.2", []string{"t:1:18: --local is given twice"}},
		{"--local 10.0.0.1 --cipher AES-256-CBC --secret no/static.key 1 --passtos", []string{"t:1:48: --secret: read no/static.key: no such file", "t:1:64: --passtos: it changes"}},
		{"--local 10.0.0.1 --fragment 67", []string{`t:1:29: --fragment: "67" is not a number from 68 to 65535`}},
		{"--local 10.0.0.1 --fragment 1300 mut", []string{`t:1:34: --fragment: "mut" is not mtu`}},
		{"--local 10.0.0.1 --fragment 79 mtu", []string{"t:1:18: --fragment: 79 is too small: a frame goes in 32 packets at the most, for which --tun-mtu 1500 and the keys need 80"}},
		{"--local ::1 --fragment 99 mtu", []string{"t:1:13: --fragment: 99 is too small: a frame goes in 32 packets at the most, for which --tun-mtu 1500 and the keys need 100"}},
		{"--local 10.0.0.1 --fragment 287 --tun-mtu 9000", []string{"t:1:18: --fragment: 287 is too small: a frame goes in 32 packets at the most, for which --tun-mtu 9000 and the keys need 288"}},
		{"--local 10.0.0.1 --proto tcp-server --fragment 1300 --mtu-test", []string{"t:1:37: --fragment: TCP cuts and joins by itself", "t:1:53: --mtu-test: over TCP every packet arrives"}},
		{"--local 10.0.0.1 --mtu-disc on", []string{`t:1:29: --mtu-disc: "on" is none of no, maybe, yes`}},
		{"--local 10.0.0.1 --mtu-dynamic 1300", []string{"t:1:18: --mtu-dynamic: OpenVPN has given it up; use --fragment"}},
		{"--local 10.0.0.1 --cipher AES-256-GCM", []string{"t:1:18: --cipher: without keys a link speaks in the clear"}},
		{"--local 10.0.0.1 --keepalive 10 60 --ping-exit 5", []string{"t:1:36: --ping-exit: it contradicts --keepalive"}},
		{"--local 10.0.0.1 --ping-exit 10 --ping-restart 5", []string{"t:1:18: --ping-exit: it contradicts --ping-restart"}},
		{"--local 10.0.0.1 --ping-exit x", []string{`t:1:30: --ping-exit: "x" is not a number`}},
		{"--local 10.0.0.1 --inactive 10 x", []string{`t:1:32: --inactive: "x" is not a number`}},
		{"--local 10.0.0.1 --explicit-exit-notify 6", []string{`t:1:41: --explicit-exit-notify: "6" is not a number from 0 to 5`}},
		{"--local 10.0.0.1 --proto tcp-server --explicit-exit-notify", []string{"t:1:37: --explicit-exit-notify: over TCP the peer notices anyway"}},
		{"--local 10.0.0.1 --shaper 99", []string{`t:1:27: --shaper: "99" is not a number from 100 to 100000000`}},
		{"--local 10.0.0.1 --mode server", []string{"t:1:25: --mode: only p2p"}},
		{"--local 10.0.0.1 --socket-flags TCP_CORK", []string{"t:1:33: --socket-flags:"}},
		{"--local 10.0.0.1 stray", []string{`t:1:18: unknown option "stray"`}},
	} {
		args, _ := argsOf(c.words)
		_, err := parse(args, "")
		var faults tmesh.Faults
		faults.Add(args.Pos, err)
		faults.Sort()
		if len(faults) != len(c.faults) {
			t.Errorf("%s: %d faults, want %d:\n%v", c.words, len(faults), len(c.faults), faults)
			continue
		}
		for i, want := range c.faults {
			if !strings.HasPrefix(faults[i].Error(), want) {
				t.Errorf("%s:\n got %s\nwant %s", c.words, faults[i], want)
			}
		}
	}
}

func TestOptionsWithoutEffectAreListed(t *testing.T) {
	for text, want := range map[string]string{
		"--local 10.0.0.1 --verb 4 --persist-tun --txqueuelen 100 --script-security 2 --mute":                "--verb --persist-tun --txqueuelen --script-security --mute",
		"--local 10.0.0.1 --float --rport 5 --connect-timeout 5":                                             "--connect-timeout --float --rport",
		"--local 10.0.0.1 --float --rport 5 --remote a":                                                      "",
		"--local 10.0.0.1 --ping-timer-rem --ping-exit 5":                                                    "",
		"--local 10.0.0.1 --ping-timer-rem":                                                                  "--ping-timer-rem",
		"--local 10.0.0.1 --remote a --ping-timer-rem --ping-restart 5":                                      "--ping-timer-rem",
		"--local 10.0.0.1 --proto tcp-server --ping-timer-rem --keepalive 1 5":                               "--ping-timer-rem",
		"--local 10.0.0.1 --proto tcp-client --remote a --connect-timeout 5 --setenv X a b c --verb --mlock": "--setenv --verb --mlock",
	} {
		args, idle := argsOf(text)
		if _, err := parse(args, ""); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		var got []string
		for _, w := range *idle {
			got = append(got, w.Text)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
	}
}

func TestEveryOptionIsDocumentedOnce(t *testing.T) {
	typ, ok := element.Lookup("nme/host/openvpn/socket/link")
	if !ok || typ.Summary == "" || typ.Doc == "" || typ.Example == "" || typ.MaxConnections != 1 {
		t.Fatalf("the type is not described: %+v", typ)
	}
	var names []string
	for _, o := range typ.Options {
		if slices.Contains(names, o.Name) {
			t.Errorf("%s is there twice", o.Name)
		}
		names = append(names, o.Name)
		if !strings.HasPrefix(o.Name, "--") || o.Doc == "" || !strings.HasSuffix(o.Doc, ".") {
			t.Errorf("%s is not documented: %q", o.Name, o.Doc)
		}
	}
	if len(names) < 200 {
		t.Errorf("%d options; OpenVPN has more", len(names))
	}
}

func TestTheSeedsLinksAreGood(t *testing.T) {
	for _, text := range []string{
		"--dev tap --local 10.0.0.1 --remote 10.0.0.2 --proto tcp-server",
		"--dev tap --local 10.0.0.1 --lport 1195 --remote 10.0.0.3",
		"--dev tap --local 10.0.0.2 --remote 10.0.0.1 --proto tcp-client",
		"--dev tap --local 10.0.0.3 --remote 10.0.0.1 1195",
	} {
		args, idle := argsOf(text)
		if _, err := parse(args, ""); err != nil || len(*idle) > 0 {
			t.Errorf("%s: %v, without effect %v", text, err, *idle)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add("--dev tap --local 10.0.0.1 --remote 10.0.0.2 1194 udp --ping 5")
	f.Add("--nobind --remote ::1 --proto tcp6-client --connect-retry 1 2")
	f.Add("--keepalive 10 60 --tun-mtu 0x5dc --ifconfig 1.2.3.4 0xffffff00")
	f.Add("--secret a b --local --local")
	f.Fuzz(func(t *testing.T, text string) {
		args, _ := argsOf(text)
		c, err := parse(args, "")
		if err == nil {
			if c.mtu < minMTU || c.mtu > maxMTU || !c.nobind && c.local == "" || c.mode() == "" {
				t.Fatalf("%q gives %+v", text, c)
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
		if c != nil || len(faults) == 0 || errors.Is(err, nil) {
			t.Fatalf("%q: %v, %v", text, c, err)
		}
	})
}
