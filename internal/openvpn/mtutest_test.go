package openvpn

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"
)

// The messages and their times are OpenVPN's.
func TestMTUTestAsks(t *testing.T) {
	s, _ := newSession(Config{MTUTest: true})
	for at := start; at.Before(start.Add(time.Minute)); at = at.Add(time.Second) {
		if p, again := s.Message(at); p != nil || again <= 0 || again > mtuTestEvery {
			t.Fatalf("without a peer: %x, again in %v", p, again)
		}
	}
	s.Decode(nil, [][]byte{pingMessage}, peerAddr, start.Add(time.Minute))
	var got, want []int
	now := start.Add(time.Minute + time.Second)
	var last time.Time
	for range 400 {
		p, again := s.Message(now)
		if p == nil {
			if again == 0 {
				break
			}
			now = now.Add(again)
			continue
		}
		if !last.IsZero() && now.Sub(last) != mtuTestEvery {
			t.Errorf("%v between two messages", now.Sub(last))
		}
		last = now
		switch p[16] {
		case occMTULoadRequest:
			got = append(got, int(binary.BigEndian.Uint16(p[17:])))
		case occMTULoad:
			got = append(got, -len(p))
		case occMTURequest:
			got = append(got, 0)
		default:
			t.Fatalf("it says %x", p)
		}
	}
	for _, less := range []int{1000, 750, 500, 400, 300, 200, 150, 100, 50, 0} {
		for range 3 {
			want = append(want, 1540-less, -(1532 - less))
		}
	}
	want = append(want, make([]int, 10)...)
	if !slices.Equal(got, want) {
		t.Errorf("it says\n%v, want\n%v", got, want)
	}
}

// Both ends test a path that takes packets of no more than 1400 bytes one way.
func TestMTUTest(t *testing.T) {
	for name, pair := range fragmentedPairs {
		w := newWorld(t, 1)
		client, server := pair(w)
		client.config.MTUTest, server.config.MTUTest = true, true
		client.config.Ping, server.config.Ping = time.Second, time.Second
		client.begin()
		server.begin()
		w.path("client", "server").refuse = func(p []byte) bool { return len(p) > 1400 }
		w.run(5*time.Minute, nil)
		for _, e := range []*end{client, server} {
			if !e.logged("the MTU test begins", "the MTU test is done", "packets of full length do not arrive") {
				t.Errorf("%s, %s has not told:\n%s", name, e.name, e.log)
			}
		}
		// In the clear all lengths are known: 1540-150-8 comes through and 1540-100-8 does not.
		if name == "in the clear" && (!client.logged("tried=1532 arrived=1382 peer-tried=1532 peer-arrived=1532", "longest=1382") || !server.logged("tried=1532 arrived=1532 peer-tried=1532 peer-arrived=1382")) {
			t.Errorf("client says %s, server %s", client.log, server.log)
		}
		w.close()
	}
}

func TestMTUTestWithoutAnswer(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.unkeyed()
	client.config.MTUTest, server.config.Ping = true, time.Second
	client.begin()
	server.begin()
	w.path("client", "server").refuse = func([]byte) bool { return true }
	if !w.run(5*time.Minute, func() bool { return client.logged("the MTU test has failed") }) {
		t.Errorf("it has not told:\n%s", client.log)
	}
	w.run(5*time.Minute, nil)
	if client.unasked != mtuTestLoads+mtuTestAsks {
		t.Errorf("%d messages", client.unasked)
	}
}
