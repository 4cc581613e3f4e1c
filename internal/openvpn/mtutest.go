package openvpn

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// mtuTestEvery is the time between two messages of the MTU test
// (OCC_MTU_LOAD_INTERVAL_SECONDS in OpenVPN's occ.h).
const mtuTestEvery = 3 * time.Second

// How much shorter than the longest packet those of the test are, and how often the
// peer is asked for one of a size, and sent one of it (mtu_load_test_sequence in
// occ.c); how often it is then asked what has come.
var mtuTestSteps = [...]int{1000, 750, 500, 400, 300, 200, 150, 100, 50, 0}

const (
	mtuTestTimes = 3
	mtuTestLoads = 2 * mtuTestTimes * len(mtuTestSteps)
	mtuTestAsks  = 10
)

// mtuTest is how far the test has come that --mtu-test asks for: packets of growing
// size are sent both ways, then each end knows the longest that it got and that it
// sent.
type mtuTest struct {
	over atomic.Bool // the reader's to set, too
	step int
	next int64 // nanoseconds: when the next message is due
}

// testMTU gives the message of the test that is due at a time, 0 for none. Without a
// peer the test does not begin.
func (s *Session) testMTU(at int64) request {
	t := &s.test
	if !s.config.MTUTest || t.over.Load() || at < t.next {
		return 0
	}
	t.next = at + int64(mtuTestEvery)
	if !s.Spoken() {
		return 0
	}
	step := t.step
	t.step++
	if step == 0 {
		s.config.Log.Info("the MTU test begins; it takes three to four minutes")
	}
	if step >= mtuTestLoads+mtuTestAsks {
		t.over.Store(true)
		s.config.Log.Warn("the MTU test has failed: the peer does not answer; it must be a tmelink or OpenVPN that answers OCC messages")
		return 0
	}
	if step >= mtuTestLoads {
		return newRequest(occMTURequest, 0)
	}
	longest := s.config.MTU + tapExtra + s.loadOverhead()
	size := min(max(longest-mtuTestSteps[step/(2*mtuTestTimes)], 0), 0xffff)
	if step%2 == 0 {
		return newRequest(occMTULoadRequest, size)
	}
	return newRequest(occMTULoad, size)
}

// untilTest is how long after at the next message of the test is due, 0 where none is.
func (s *Session) untilTest(at int64) time.Duration {
	if !s.config.MTUTest || s.test.over.Load() {
		return 0
	}
	return max(time.Duration(s.test.next-at), 1)
}

// hearMTUReply takes up what the peer says of the longest packets, which ends the test.
func (s *Session) hearMTUReply(message []byte) {
	body := message[len(occMagic):]
	if len(body) < 5 || body[0] != occMTUReply || !s.config.MTUTest || s.test.over.Load() {
		return
	}
	arrived, peerTried := int(binary.BigEndian.Uint16(body[1:])), int(binary.BigEndian.Uint16(body[3:]))
	if arrived == 0 || peerTried == 0 || s.test.over.Swap(true) {
		return
	}
	tried, peerArrived := int(s.largestSent.Load()), int(s.largestHeard.Load())
	s.config.Log.Info("the MTU test is done: the longest packets in bytes, without IP and UDP",
		"tried", tried, "arrived", arrived, "peer-tried", peerTried, "peer-arrived", peerArrived)
	if !s.config.Fragments && (arrived < tried || peerArrived < peerTried) {
		s.config.Log.Warn("packets of full length do not arrive: --fragment at both ends carries long frames in pieces; if only TCP makes them, --mssfix keeps them short",
			"longest", min(arrived, peerArrived))
	}
}
