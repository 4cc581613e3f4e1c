package openvpn

import (
	"encoding/binary"
	"time"

	"tmelink/internal/ethernet"
)

// Theory of operation: with --fragment every payload, be it frame, ping or OCC
// message, has a header of four bytes before it, inside of what is sealed. A payload
// that is too long for one packet is cut into fragments of one size, of which the last
// may be shorter; they share a sequence number. The header's 32 bits are, from the
// lowest on: the kind (2), the sequence number (8), the fragment's number (5) and, in
// the last one only, the size of the others in units of four bytes (14). All others are
// as long as they are (fragment.h of OpenVPN).

// Sizes and bounds of OpenVPN's (fragment.h).
const (
	fragmentHeader = 4                // bytes
	maxFragments   = 32               // of one payload
	fragmentLife   = 10 * time.Second // for which a payload waits for another of its fragments
	assemblies     = 25               // payloads that wait at one time
)

// The kinds of fragments.
const (
	fragmentWhole = 0 // no fragment: all of a payload
	fragmentMore  = 1 // others follow
	fragmentLast  = 2
)

// Places in the header.
const (
	sequenceShift = 2
	numberShift   = 10
	sizeShift     = 15
	sizeUnit      = 4 // bytes
)

// leastFragment is what the shortest fragments hold at the least, in bytes: a ping or a
// goodbye.
const leastFragment = 20

// LeastPacket is how long packets must be allowed to become, at the least, for frames
// of an MTU to be carried in fragments, of which there may be 32. overhead is how much
// sealing adds to a packet.
func LeastPacket(mtu, overhead int) int {
	piece := (ethernet.FrameLen(mtu) + maxFragments - 1) / maxFragments
	return overhead + fragmentHeader + max(leastFragment, roundUp(piece))
}

// roundUp gives the next size that a header can tell.
func roundUp(n int) int { return (n + sizeUnit - 1) / sizeUnit * sizeUnit }

// fragments are those of one payload that have still to be made.
type fragments struct {
	rest   []byte
	left   int    // how many
	size   int    // of each but the last, without header
	header uint32 // of the next one that is not the last
}

// fragmenter cuts payloads. The zero fragmenter is ready.
type fragmenter struct {
	sequence uint8 // of the last payload that was cut
}

// pieces is into how many fragments, and of what size, a payload of length bytes is to
// be cut so that none is longer than most with its header; 0: there would be too many.
// They are as few as can be, and of about the same size.
func pieces(length, most int) (n, size int) {
	most -= fragmentHeader
	if length <= most {
		return 1, length
	}
	most = most / sizeUnit * sizeUnit
	if most <= 0 {
		return 0, 0
	}
	if n = (length + most - 1) / most; n > maxFragments {
		return 0, 0
	}
	size = roundUp((length + n - 1) / n)
	return (length + size - 1) / size, size
}

// cut begins to make n fragments of a size.
func (f *fragmenter) cut(payload []byte, n, size int) fragments {
	if n <= 1 {
		return fragments{rest: payload, left: n, size: size, header: fragmentWhole}
	}
	f.sequence++
	return fragments{rest: payload, left: n, size: size, header: fragmentMore | uint32(f.sequence)<<sequenceShift}
}

// next appends the next fragment, with its header.
func (f *fragments) next(dst []byte) []byte {
	header := f.header
	n := min(f.size, len(f.rest))
	if f.left == 1 && header != fragmentWhole {
		header += fragmentLast - fragmentMore + uint32(f.size/sizeUnit)<<sizeShift
	}
	dst = binary.BigEndian.AppendUint32(dst, header)
	dst = append(dst, f.rest[:n]...)
	f.rest = f.rest[n:]
	f.left--
	f.header += 1 << numberShift
	return dst
}

// fragment is one that has come.
type fragment struct {
	kind     uint32
	sequence uint8
	number   int
	size     int // of each fragment of its payload but the last
	body     []byte
}

// parseFragment takes a fragment apart, and says why it is none: Runt or Malformed.
func parseFragment(p []byte) (f fragment, reason ethernet.Reason, ok bool) {
	if len(p) <= fragmentHeader {
		return f, ethernet.Runt, false
	}
	header := binary.BigEndian.Uint32(p)
	f = fragment{
		kind: header & 3, sequence: uint8(header >> sequenceShift), number: int(header >> numberShift & 31),
		body: p[fragmentHeader:],
	}
	f.size = len(f.body)
	switch f.kind {
	case fragmentWhole:
		return f, ethernet.Malformed, f.sequence == 0 && f.number == 0
	case fragmentMore:
		return f, ethernet.Malformed, f.size%sizeUnit == 0 && f.number < maxFragments-1
	case fragmentLast:
		f.size = int(header>>sizeShift&0x3fff) * sizeUnit
		return f, ethernet.Malformed, len(f.body) <= f.size
	}
	return f, ethernet.Malformed, false
}

// assembly is a payload of which fragments have come.
type assembly struct {
	begun bool
	at    time.Time // of the last fragment
	size  int       // of each but the last
	have  uint32    // bit n: fragment n is there
	last  int       // the number of the last one, -1: it is not there
	bytes []byte    // nil until it is needed first
	len   int       // of the payload, once the last one is there
}

// fits says whether a fragment can be of the same payload as those that are there.
func (a *assembly) fits(f *fragment) bool {
	switch {
	case f.size != a.size:
		return false
	case f.kind == fragmentLast:
		return a.have>>f.number>>1 == 0 && (a.last < 0 || a.last == f.number)
	}
	return a.last < 0 || f.number < a.last
}

// complete says whether every fragment is there.
func (a *assembly) complete() bool {
	return a.last >= 0 && uint64(a.have) == 1<<(a.last+1)-1
}

// reassembler puts payloads together; the reader's. It holds 25 payloads at the most
// that are not complete, the newest by their sequence numbers.
type reassembler struct {
	most    int // bytes of a payload
	dropped *ethernet.Drops
	newest  uint8 // sequence number
	index   int   // of its assembly
	waiting [assemblies]assembly

	lent []*[]byte // for what was put together
	room []byte    // of the last one
}

// add takes up a fragment and gives the payload that it makes complete, nil for none.
// The payload is in the fragment's own memory, or borrowed until rest.
func (r *reassembler) add(p []byte, now time.Time) []byte {
	f, reason, ok := parseFragment(p)
	begin := f.number * f.size
	switch {
	case !ok:
		r.dropped.Add(reason, 1)
		return nil
	case f.kind == fragmentWhole, f.kind == fragmentLast && f.number == 0:
		return f.body
	case begin+len(f.body) > r.most:
		r.dropped.Add(ethernet.Oversize, 1)
		return nil
	}
	a := r.assembly(f.sequence)
	if a.begun && (now.Sub(a.at) >= fragmentLife || !a.fits(&f)) {
		r.forget(a)
	}
	if !a.begun {
		a.begun, a.size, a.have, a.last = true, f.size, 0, -1
		if a.bytes == nil {
			a.bytes = make([]byte, r.most)
		}
	}
	if a.have>>f.number&1 != 0 {
		r.dropped.Add(ethernet.Replayed, 1)
		return nil
	}
	a.at = now
	a.have |= 1 << f.number
	copy(a.bytes[begin:], f.body)
	if f.kind == fragmentLast {
		a.last, a.len = f.number, begin+len(f.body)
	}
	if !a.complete() {
		return nil
	}
	a.begun = false
	return r.lend(a.bytes[:a.len])
}

// assembly finds the place for a payload by its sequence number. One that is newer than
// all makes others go that are too old then; one from further away begins them all anew
// (fragment_list_get_buf in fragment.c).
func (r *reassembler) assembly(sequence uint8) *assembly {
	ahead := int(int8(sequence - r.newest))
	if ahead >= assemblies || ahead <= -assemblies {
		for i := range r.waiting {
			r.forget(&r.waiting[i])
		}
		r.newest, r.index, ahead = sequence, 0, 0
	}
	for ; ahead > 0; ahead-- {
		r.newest++
		r.index = (r.index + 1) % assemblies
		r.forget(&r.waiting[r.index])
	}
	return &r.waiting[(r.index+assemblies+ahead)%assemblies]
}

// forget gives a payload up.
func (r *reassembler) forget(a *assembly) {
	if a.begun {
		r.dropped.Add(ethernet.Incomplete, 1)
		a.begun = false
	}
}

// lend copies a payload, because the next one may need its place before it is used.
func (r *reassembler) lend(payload []byte) []byte {
	n := len(payload)
	if n > len(r.room) {
		b := buffers.Take()
		r.lent = append(r.lent, b)
		r.room = *b
	}
	out := r.room[:n:n]
	r.room = r.room[n:]
	copy(out, payload)
	return out
}

// rest says that what was lent is used no more.
func (r *reassembler) rest() {
	for _, b := range r.lent {
		buffers.Give(b)
	}
	clear(r.lent)
	r.lent, r.room = r.lent[:0], nil
}
