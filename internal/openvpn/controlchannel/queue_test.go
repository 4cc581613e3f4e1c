package controlchannel

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"
)

// The vector for the PRF of TLS 1.0 that was sent to the IETF's TLS working group.
func TestPRF(t *testing.T) {
	secret, seed := slices.Repeat([]byte{0xab}, 48), slices.Repeat([]byte{0xcd}, 64)
	want := strings.ReplaceAll(`d3d4d1e349b5d515044666d51de32bab258cb521b6b053463e354832fd976754
		443bcf9a296519bc289abcbc1187e4ebd31e602353776c408aafb74cbc85eff6
		9255f9788faa184cbb957a9819d84a5d7eb006eb459d3ae8de9810454b8b2d8f
		1afbc655a8c9a013`, "\n\t\t", "")
	out := make([]byte, 104)
	prf(out, secret, "PRF Testvector", seed)
	if got := hex.EncodeToString(out); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	// A secret of odd length shares its middle byte, and seeds are one behind the other.
	a, b := make([]byte, 32), make([]byte, 32)
	prf(a, []byte{1, 2, 3}, "x", []byte("one"), []byte("two"))
	prf(b, []byte{1, 2, 3}, "xo", []byte("netwo"))
	if string(a) != string(b) {
		t.Error("seeds are not joined")
	}
}

func TestExpand(t *testing.T) {
	client, server := &source{}, &source{}
	for i := range client.preMaster {
		client.preMaster[i] = byte(i)
	}
	client.random1[0], client.random2[0], server.random1[0], server.random2[0] = 1, 2, 3, 4
	one := expand(client, server, sessionID{1}, sessionID{2})
	if *one != *expand(client, server, sessionID{1}, sessionID{2}) {
		t.Error("it differs from itself")
	}
	if one.Halves[0] == one.Halves[1] {
		t.Error("both halves are one")
	}
	for i, change := range []func(){
		func() { client.random1[0]++ }, func() { client.random2[0]++ }, func() { server.random1[0]++ }, func() { server.random2[0]++ }, func() { client.preMaster[47]++ },
	} {
		if change(); *expand(client, server, sessionID{1}, sessionID{2}) == *one {
			t.Errorf("change %d makes no difference", i)
		}
	}
}

func TestAcks(t *testing.T) {
	var a acks
	take := func(most int, want ...uint32) {
		t.Helper()
		if got := a.take(most); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	take(8)
	a.add(1)
	a.add(1)
	a.add(2)
	take(8, 1, 2)
	take(4, 1, 2) // again, because the packet may be lost
	if len(a.due) != 0 {
		t.Fatal("they are still due")
	}
	for id := uint32(3); id < 9; id++ {
		a.add(id)
	}
	take(4, 3, 4, 5, 6)
	take(8, 7, 8, 3, 4, 5, 6, 1, 2)
	a.add(7)
	take(4, 7, 8, 3, 4)
	for id := uint32(20); id < 50; id++ {
		a.add(id)
	}
	if len(a.due) != maxAcks || len(a.recent) > maxAcks {
		t.Errorf("%d are kept, and %d recent ones", len(a.due), len(a.recent))
	}
}

func TestSendQueue(t *testing.T) {
	now := epoch
	q := sendQueue{timeout: 2 * time.Second}
	due := func(want int) {
		t.Helper()
		got := -1
		if p := q.due(now); p != nil {
			got = int(p.id)
		}
		if got != want {
			t.Fatalf("at %v packet %d, want %d", now.Sub(epoch), got, want)
		}
	}
	due(-1)
	if !q.wake().IsZero() || !q.empty() || q.room() != sendWindow {
		t.Fatal("a new queue is not empty")
	}
	for range sendWindow {
		q.add(opControl, nil)
	}
	if q.room() != 0 {
		t.Fatalf("room for %d more", q.room())
	}
	q.acknowledge([]uint32{3}, now) // which was not sent
	if len(q.packets) != sendWindow {
		t.Fatal("what was not sent is acknowledged")
	}
	for id := range sendWindow {
		due(id)
	}
	due(-1)
	if at := q.wake(); !at.Equal(now.Add(time.Second)) {
		t.Fatalf("it wakes at %v", at.Sub(now))
	}
	now = now.Add(100 * time.Millisecond)
	q.acknowledge([]uint32{1, 2}, now)
	due(-1)
	q.acknowledge([]uint32{3, 9, 77}, now) // the third behind 0: it must be lost
	due(0)
	due(-1)
	if q.trip != 100*time.Millisecond || q.room() != 0 {
		t.Fatalf("a trip of %v, room for %d", q.trip, q.room())
	}
	now = now.Add(50 * time.Millisecond)
	q.acknowledge([]uint32{0}, now)
	if q.trip != 100*time.Millisecond {
		t.Fatal("the trip is learned from a packet that was sent twice")
	}
	if q.room() != 4 || q.empty() {
		t.Fatalf("room for %d", q.room())
	}
	q.add(opControl, nil)
	due(6)
	if at := q.wake(); !at.Equal(now.Add(300 * time.Millisecond)) {
		t.Fatalf("it wakes after %v, and a trip takes 100 ms", at.Sub(now))
	}
	var waits []time.Duration
	for last := now; len(waits) < 7; {
		now = q.wake()
		for p := q.due(now); p != nil; p = q.due(now) {
			if p.id == 6 {
				waits = append(waits, now.Sub(last))
				last = now
			}
		}
	}
	want := []time.Duration{300 * time.Millisecond, 600 * time.Millisecond, 1200 * time.Millisecond, 2400 * time.Millisecond, 4 * time.Second, 4 * time.Second, 4 * time.Second}
	if !slices.Equal(waits, want) {
		t.Errorf("it is sent again after %v, want %v", waits, want)
	}
	q.hurry(now)
	for _, id := range []int{4, 5, 6} {
		due(id)
	}
	due(-1)
	if !q.wake().After(now) {
		t.Error("who hurries never rests")
	}
}

func TestReceiveQueue(t *testing.T) {
	var q receiveQueue
	take := func(want string) {
		t.Helper()
		p, ok := q.take()
		if got := string(p.payload); got != want || ok != (want != "") {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	add := func(id uint32, payload string, want bool) {
		t.Helper()
		if got := q.add(opControl, id, []byte(payload)); got != want {
			t.Fatalf("%d is acknowledged: %v", id, got)
		}
	}
	take("")
	add(1, "b", true)
	take("")
	add(0, "a", true)
	add(0, "other", true)
	take("a")
	take("b")
	add(0, "again", true)
	add(1, "again", true)
	take("")
	add(2+receiveWindow, "far", false)
	add(2+receiveWindow-1, "last", true)
	add(1<<31+1, "far", false)
	add(1<<31+2, "far behind", true)
	add(0xffffffff, "behind", true)
	if len(q.packets) != 1 {
		t.Errorf("%d packets are kept", len(q.packets))
	}
	take("")
	payload := []byte("c")
	q.add(opControl, 2, payload)
	payload[0] = 'x'
	take("c")
}
