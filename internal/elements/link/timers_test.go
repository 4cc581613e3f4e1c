package link

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
)

var occExit = occRequest[:16] + "\x06"

// expectEnd waits until a link has ended as an option asks for.
func (l *testLink) expectEnd(option string) {
	l.t.Helper()
	eventually(l.t, "the end by "+option, func() bool { return l.ended() != nil })
	var timeout *openvpn.TimeoutError
	if err := l.ended(); !errors.Is(err, element.ErrEnded) || !errors.As(err, &timeout) || timeout.Option != option {
		l.t.Errorf("it ends with %v, want the end by %s", err, option)
	}
	if log := l.log.String(); !strings.Contains(log, "level=INFO msg=\"link has ended\"") || strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN msg=\"link is lost\"") {
		l.t.Errorf("the log does not say that it has ended well:\n%s", log)
	}
	if err := l.port.WriteFrames(nil); err == nil || !strings.HasPrefix(l.status(), "ended for") {
		l.t.Errorf("after its end: %v, status %q", err, l.status())
	}
}

// TestEndings: a link ends for good, whether the peer was never there, or was and is
// silent, or says nothing but pings.
func TestEndings(t *testing.T) {
	for words, option := range map[string]string{
		"--ping-exit 1":                     "--ping-exit",
		"--inactive 1":                      "--inactive",
		"--inactive 1 1000 --keepalive 1 9": "--inactive",
		"--session-timeout 1 --ping-exit 5": "--session-timeout",
	} {
		t.Run(words, func(t *testing.T) {
			alone := start(t, "--local 127.0.0.1 --lport 0 "+words)
			l, peer := toSocket(t, words)
			peer.WriteToUDP([]byte(ping), net.UDPAddrFromAddrPort(l.local()))
			s := start(t, server+" "+words)
			dial(t, s, "127.0.0.1")
			for _, l := range []*testLink{alone, l, s} {
				l.expectEnd(option)
			}
		})
	}
}

// What is heard, and frames, put off the end that comes of their lack.
func TestEndingsArePutOff(t *testing.T) {
	l, peer := toSocket(t, "--ping-exit 4")
	active, other := toSocket(t, "--inactive 4")
	to := net.UDPAddrFromAddrPort(l.local())
	for begun := time.Now(); time.Since(begun) < 5*time.Second; time.Sleep(50 * time.Millisecond) {
		peer.WriteToUDP([]byte(ping), to)
		active.write(numbered(0))
		receive(other, patience)
	}
	for _, l := range []*testLink{l, active} {
		if err := l.ended(); err != nil {
			t.Errorf("it has ended: %v", err)
		}
	}
	l.expectEnd("--ping-exit")
	active.expectEnd("--inactive")
}

// Without --ping-timer-rem who has no peer begins again and again, as OpenVPN does;
// with it he waits.
func TestPingTimerRem(t *testing.T) {
	const words = "--local 127.0.0.1 --lport 0 --ping-restart 1 --connect-retry 0"
	l := start(t, words+" --ping-timer-rem")
	again := start(t, words)
	eventually(t, "three restarts without a peer", func() bool { return strings.Contains(again.status(), "restarts 3") })
	if !strings.Contains(l.status(), "restarts 0") {
		t.Fatalf("it has no peer, and status %q", l.status())
	}
	peer := socket(t, "127.0.0.1:0")
	peer.WriteToUDP([]byte(ping), net.UDPAddrFromAddrPort(l.local()))
	eventually(t, "a restart after the peer's silence", func() bool { return strings.Contains(l.status(), "restarts 1") })
}

// A client over UDP misses its server although its words do not say so.
func TestSilenceBeforeTheServerSpeaks(t *testing.T) {
	dir := keyFolder(t)
	const client = "--nobind --remote 10.0.0.2 --client --ca crt --cert crt --key key "
	for words, want := range map[string]openvpn.Timers{
		client:                        {Silence: 120 * time.Second},
		client + "--ping-restart 0":   {},
		client + "--ping-exit 30":     {Silence: 30 * time.Second, SilenceEnds: true},
		client + "--keepalive 10 60":  {Ping: 10 * time.Second, Silence: time.Minute},
		client + "--proto tcp-client": {},
		strings.Replace(client, "--client", "--tls-client", 1): {},
	} {
		args, _ := argsOf(words)
		c, err := parse(args, dir)
		if err != nil || c.timers != want {
			t.Errorf("%s: %+v, %v; want %+v", words, c.timers, err, want)
		}
	}
}

// TestGoodbyeInTheClear: it is said as often as asked for, a second apart, at Close
// and at an end that the words ask for; and it is believed by who says it himself.
func TestGoodbyeInTheClear(t *testing.T) {
	l, peer := toSocket(t, "--explicit-exit-notify 2")
	begun := time.Now()
	go l.elem.Close()
	for range 2 {
		if got := receive(peer, patience); got != occExit {
			t.Fatalf("it says %x", got)
		}
	}
	if took := time.Since(begun); took < time.Second {
		t.Errorf("twice within %v", took)
	}
	if got := receive(peer, 1500*time.Millisecond); got != "" {
		t.Errorf("and a third time: %x", got)
	}

	l, peer = toSocket(t, "--explicit-exit-notify --inactive 1")
	if got := receive(peer, patience); got != occExit {
		t.Fatalf("at --inactive it says %x", got)
	}
	l.expectEnd("--inactive")

	l, peer = toSocket(t, "")
	l.elem.Close()
	if got := receive(peer, 500*time.Millisecond); got != "" {
		t.Errorf("it says %x unasked", got)
	}
}

func TestGoodbyeInTheClearIsHeard(t *testing.T) {
	for _, asked := range []bool{true, false} {
		words := map[bool]string{true: "--explicit-exit-notify --connect-retry 0", false: "--connect-retry 0"}[asked]
		l, peer := toSocket(t, words)
		to := net.UDPAddrFromAddrPort(l.local())
		peer.WriteToUDP([]byte(occExit), to)
		if asked {
			eventually(t, "a restart", func() bool { return strings.Contains(l.status(), "restarts 1") })
			if !strings.Contains(l.log.String(), openvpn.ErrExit.Error()) {
				t.Errorf("the log does not say why:\n%s", l.log)
			}
			continue
		}
		peer.WriteToUDP(numbered(0), to)
		l.expectSeries(1)
		if got := l.status(); !strings.Contains(got, "restarts 0") {
			t.Errorf("it obeys what anybody can forge: %s", got)
		}
	}
}
