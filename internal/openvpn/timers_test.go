package openvpn

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn/controlchannel"
)

func at(sec int) time.Time { return start.Add(time.Duration(sec) * time.Second) }

// expectOver fails the test unless a session is over by an option, or is to be asked
// again after so long a time where that is "".
func (s *Session) expectOver(t *testing.T, when, option string, again time.Duration, now time.Time) {
	t.Helper()
	got, err := s.Over(true, now)
	var timeout *TimeoutError
	switch {
	case option == "" && (err != nil || got != again):
		t.Errorf("%s: %v, %v, want %v", when, got, err, again)
	case option != "" && (!errors.As(err, &timeout) || timeout.Option != option || timeout.Final != (option != "--ping-restart")):
		t.Errorf("%s: %v, want the end by %s", when, err, option)
	}
}

func TestSilence(t *testing.T) {
	for _, ends := range []bool{false, true} {
		option := map[bool]string{false: "--ping-restart", true: "--ping-exit"}[ends]
		timers := Timers{Silence: 5 * time.Second, SilenceEnds: ends}
		s, _ := newSession(Config{Timers: timers})
		s.expectOver(t, "nobody is heard for 2 s", "", 3*time.Second, at(2))
		s.expectOver(t, "nobody is heard for 5 s", option, 0, at(5))
		for _, packet := range [][]byte{pingMessage, occ(occExit, ""), {1}, make([]byte, 60), make([]byte, 3000)} {
			s, _ := newSession(Config{Timers: timers})
			if s.Spoken() {
				t.Fatal("spoken before any packet")
			}
			s.Decode(nil, [][]byte{packet}, peerAddr, at(3))
			s.expectOver(t, "4 s after a packet", "", time.Second, at(7))
			if !s.Spoken() {
				t.Error("not spoken after a packet")
			}
			s.Encode(nil, []ethernet.Frame{{Data: make([]byte, 60)}}, at(7)) // sending is not hearing
			s.expectOver(t, "5 s after a packet", option, 0, at(8))
		}
	}
	s, _ := newSession(Config{})
	s.expectOver(t, "without timers", "", 0, at(1<<20))
}

// With --ping-timer-rem silence counts only where there is a peer.
func TestSilenceOfNobody(t *testing.T) {
	s, _ := newSession(Config{Timers: Timers{Silence: 5 * time.Second, KnownOnly: true}})
	if again, err := s.Over(false, at(100)); err != nil || again != unknownPoll {
		t.Errorf("without a peer: %v, %v", again, err)
	}
	s.Decode(nil, [][]byte{pingMessage}, peerAddr, at(100))
	s.expectOver(t, "a peer that was heard 2 s ago", "", 3*time.Second, at(102))
	s.expectOver(t, "a peer that was heard 5 s ago", "--ping-restart", 0, at(105))
	s, _ = newSession(Config{Timers: Timers{Silence: 5 * time.Second}})
	if _, err := s.Over(false, at(5)); err == nil {
		t.Error("without --ping-timer-rem it waits for a peer")
	}
}

// Frames of the bytes that --inactive asks for begin the time anew, in either
// direction, and nothing else does.
func TestInactive(t *testing.T) {
	out := func(s *Session, size int, now time.Time) {
		s.Encode(nil, []ethernet.Frame{{Data: make([]byte, size)}}, now)
	}
	in := func(s *Session, size int, now time.Time) {
		s.Decode(nil, [][]byte{make([]byte, size)}, peerAddr, now)
	}
	s, _ := newSession(Config{Timers: Timers{Inactive: 10 * time.Second, Ping: time.Second}})
	s.expectOver(t, "at the beginning", "", 10*time.Second, start)
	out(s, 60, at(3))
	s.expectOver(t, "after a frame sent", "", 10*time.Second, at(3))
	in(s, 14, at(5))
	s.expectOver(t, "after a frame received", "", 10*time.Second, at(5))
	s.Decode(nil, [][]byte{pingMessage, occ(occRequest, ""), {1}, make([]byte, 3000)}, peerAddr, at(6))
	for range 2 { // an answer and a ping
		if packet, _ := s.Message(at(8)); packet == nil {
			s.Message(at(9))
		}
	}
	s.expectOver(t, "after what is no frame", "", 6*time.Second, at(9))
	s.expectOver(t, "10 s after the last frame", "--inactive", 0, at(15))

	s, _ = newSession(Config{Timers: Timers{Inactive: 10 * time.Second, InactiveBytes: 1000}})
	out(s, 600, at(2))
	s.expectOver(t, "after 600 bytes", "", 8*time.Second, at(2))
	in(s, 399, at(4))
	s.expectOver(t, "after 999 bytes", "", 6*time.Second, at(4))
	in(s, 14, at(5))
	s.expectOver(t, "after 1013 bytes", "", 10*time.Second, at(5))
	out(s, 999, at(14))
	s.expectOver(t, "999 bytes later", "--inactive", 0, at(15))
}

func TestSessionTimeout(t *testing.T) {
	s, _ := newSession(Config{Timers: Timers{Whole: 10 * time.Second, Silence: 8 * time.Second, Inactive: 9 * time.Second}})
	s.expectOver(t, "silence comes first", "", 8*time.Second, start)
	s.Decode(nil, [][]byte{make([]byte, 60)}, peerAddr, at(7))
	s.expectOver(t, "now the session's end does", "", 3*time.Second, at(7))
	s.expectOver(t, "after 10 s", "--session-timeout", 0, at(10))
}

// What a server says is in the place of what the client's words say, and counts from
// then on.
func TestTimersOfTheServer(t *testing.T) {
	nothing := controlchannel.Settings{Ping: -1, Silence: -1, Inactive: -1, SessionTimeout: -1, ExitNotify: -1}
	config := Config{Timers: Timers{Ping: 7 * time.Second, Silence: 120 * time.Second}, Goodbyes: 1}
	said := nothing
	s, _ := newSession(config)
	s.obey(&said, at(50))
	if got := *s.timers.Load(); got != config.Timers || s.Goodbyes() != 1 {
		t.Errorf("nothing was said, and they are %+v, goodbyes %d", got, s.Goodbyes())
	}
	s.expectOver(t, "nothing was said", "", 70*time.Second, at(50))

	said.Ping, said.Silence, said.SilenceEnds, said.ExitNotify = 10*time.Second, 30*time.Second, true, 1000
	said.Inactive, said.InactiveBytes, said.SessionTimeout, said.KnownOnly = 40*time.Second, 500, 20*time.Second, true
	s.obey(&said, at(50))
	if got, want := *s.timers.Load(), (Timers{
		Ping: 10 * time.Second, Silence: 30 * time.Second, SilenceEnds: true, KnownOnly: true,
		Inactive: 40 * time.Second, InactiveBytes: 500, Whole: 20 * time.Second,
	}); got != want || s.Goodbyes() != MaxGoodbyes {
		t.Errorf("they are %+v, goodbyes %d; want %+v", got, s.Goodbyes(), want)
	}
	s.expectOver(t, "at once", "", 20*time.Second, at(50))
	if p, again := s.Message(at(50)); !bytes.Equal(p, pingMessage) || again != 10*time.Second {
		t.Errorf("no ping is due at once, but %x, %v", p, again)
	}
	s.expectOver(t, "20 s later", "--session-timeout", 0, at(70))

	said = nothing
	said.Silence = 0
	s, _ = newSession(Config{Timers: Timers{Silence: time.Second}})
	s.obey(&said, start)
	s.expectOver(t, "ping-restart 0", "", 0, at(1000))

	said = nothing
	said.ExitNotify = 2
	s, _ = newSession(Config{Options: Options{MTU: 1500, Proto: TCPClient}})
	s.obey(&said, start)
	if s.Goodbyes() != 0 {
		t.Error("a goodbye over TCP")
	}
}
