package controlchannel

import (
	"slices"
	"time"
)

// The sizes of OpenVPN's queues, in packets (ssl_common.h): an end must not send
// more ahead than the other keeps.
const (
	sendWindow    = 6
	receiveWindow = 12
)

// leastRetry is the shortest time after which a packet is sent again.
const leastRetry = 250 * time.Millisecond

// acksBehind is how many acknowledgements of later packets tell that a packet is
// lost, before its time is up (N_ACK_RETRANSMIT in reliable.h).
const acksBehind = 3

// sendQueue holds the packets that the peer has not acknowledged. Unlike OpenVPN,
// which repeats after --tls-timeout, it learns how long the peer takes.
type sendQueue struct {
	next    uint32 // the id of the next packet
	packets []sending
	timeout time.Duration // of --tls-timeout
	trip    time.Duration // how long an acknowledgement takes; 0: not known
}

type sending struct {
	op      byte
	id      uint32
	payload []byte
	sent    time.Time // last; zero: not yet
	again   time.Time
	wait    time.Duration
	times   int
	behind  int // later packets that were acknowledged
}

// room is how many more packets may be on their way.
func (q *sendQueue) room() int {
	if len(q.packets) == 0 {
		return sendWindow
	}
	return sendWindow - int(q.next-q.packets[0].id)
}

func (q *sendQueue) empty() bool { return len(q.packets) == 0 }

// add puts a packet at the end.
func (q *sendQueue) add(op byte, payload []byte) {
	q.packets = append(q.packets, sending{op: op, id: q.next, payload: payload})
	q.next++
}

// due gives the packet that has to be sent now, nil for none.
func (q *sendQueue) due(now time.Time) *sending {
	for i := range q.packets {
		p := &q.packets[i]
		if p.sent.IsZero() || p.behind >= acksBehind || !now.Before(p.again) {
			if p.times++; p.behind < acksBehind {
				p.wait = max(q.retry(), min(2*p.wait, 2*q.timeout))
			}
			p.sent, p.again, p.behind = now, now.Add(p.wait), 0
			return p
		}
	}
	return nil
}

// retry is after how long a time a packet is sent again.
func (q *sendQueue) retry() time.Duration {
	if q.trip == 0 {
		return min(q.timeout, time.Second)
	}
	return min(q.timeout, max(leastRetry, 3*q.trip))
}

// wake is when due will have something, at the earliest; zero: not by itself.
func (q *sendQueue) wake() (at time.Time) {
	for i := range q.packets {
		p := &q.packets[i]
		if p.sent.IsZero() {
			return time.Unix(0, 1)
		}
		if at.IsZero() || p.again.Before(at) {
			at = p.again
		}
	}
	return at
}

// hurry sends what is on its way again as soon as it is asked: the peer is there
// now.
func (q *sendQueue) hurry(now time.Time) {
	for i := range q.packets {
		q.packets[i].again = now
		q.packets[i].wait = 0
	}
}

// acknowledge takes out what the peer has.
func (q *sendQueue) acknowledge(ids []uint32, now time.Time) {
	for _, id := range ids {
		at := slices.IndexFunc(q.packets, func(p sending) bool { return p.id == id })
		if at < 0 || q.packets[at].sent.IsZero() {
			continue
		}
		if p := q.packets[at]; p.times == 1 { // of one sent again it is not known which was heard
			q.trip = max(time.Millisecond, now.Sub(p.sent))
		}
		for i := range q.packets[:at] {
			q.packets[i].behind++
		}
		q.packets = slices.Delete(q.packets, at, at+1)
	}
}

// receiveQueue brings the peer's packets into their order.
type receiveQueue struct {
	next    uint32
	packets map[uint32]received
}

type received struct {
	op      byte
	payload []byte
}

// add keeps a packet and says whether it is to be acknowledged: also one that has
// come before is, because the acknowledgement may have been lost.
func (q *receiveQueue) add(op byte, id uint32, payload []byte) bool {
	if int32(id-q.next) >= receiveWindow {
		return false
	}
	if int32(id-q.next) >= 0 {
		if q.packets == nil {
			q.packets = map[uint32]received{}
		}
		if _, have := q.packets[id]; !have {
			q.packets[id] = received{op, slices.Clone(payload)}
		}
	}
	return true
}

// take gives the next packet in order.
func (q *receiveQueue) take() (received, bool) {
	p, ok := q.packets[q.next]
	if ok {
		delete(q.packets, q.next)
		q.next++
	}
	return p, ok
}
