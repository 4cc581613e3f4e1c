package generic

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// vlans is which VLANs a port carries: one without tags, and others with.
type vlans struct {
	untagged uint16   // 0: none, frames without tag are not taken
	tagged   *vlanSet // nil: none
}

// defaultVLAN is that of a port whose words name none, in a switch that has VLANs
// (IEEE 802.1Q-2022, table 9-2).
const defaultVLAN = 1

// outside is the VLAN of a frame that its port does not take. 802.1Q reserves the
// number, so that no VLAN has it.
const outside = 4095

func (v *vlans) carries(vlan uint16) bool {
	return vlan == v.untagged || v.tagged != nil && v.tagged.has(vlan)
}

// admit gives the VLAN of a frame that comes in, outside where the port does not
// take it, and then why. The number is written into a tag that has only a priority.
func (v *vlans) admit(f *ethernet.Frame) (vlan uint16, why ethernet.Reason) {
	vlan = v.untagged
	if ethernet.IsTagged(f.Data) {
		n, err := ethernet.VLAN(f.Data)
		switch {
		case err != nil:
			return outside, ethernet.Malformed
		case n != 0:
			vlan = n
		default:
			ethernet.SetVLAN(f.Data, vlan)
		}
	}
	if vlan == 0 || !v.carries(vlan) {
		return outside, ethernet.OtherVLAN
	}
	return vlan, 0
}

// retag is what becomes of a frame's tag where it goes out: the number of the VLAN
// whose tag it gets, or one of these.
type retag int

const (
	asItCame retag = 0
	takeOff  retag = -1
)

// release says how a frame of a VLAN that the port carries goes out. It is false
// where what is behind its tag would be taken for one: whoever is in one VLAN must
// not get frames into another by that.
func (v *vlans) release(f *ethernet.Frame, vlan uint16) (retag, bool) {
	tagged := ethernet.IsTagged(f.Data)
	switch {
	case vlan != v.untagged && !tagged:
		return retag(vlan), true
	case vlan == v.untagged && tagged:
		return takeOff, !ethernet.IsTagged(f.Data[ethernet.VLANLen:])
	}
	return asItCame, true
}

// vlanSet is a set of VLANs, a bit for each.
type vlanSet [(ethernet.MaxVLAN + 64) / 64]uint64

func (s *vlanSet) has(vlan uint16) bool {
	return int(vlan/64) < len(s) && s[vlan/64]>>(vlan%64)&1 != 0
}

func (s *vlanSet) add(from, to int) {
	for n := from; n <= to; n++ {
		s[n/64] |= 1 << (n % 64)
	}
}

// allVLANs is what a trunk carries that does not say which.
func allVLANs() *vlanSet {
	s := &vlanSet{}
	s.add(1, ethernet.MaxVLAN)
	return s
}

// parseVLANs reads numbers and ranges: "10,20,30-40".
func parseVLANs(v element.Values) (*vlanSet, error) {
	s := &vlanSet{}
	for part := range strings.SplitSeq(v.Text(0), ",") {
		low, high, isRange := strings.Cut(part, "-")
		from, okFrom := vlanNumber(low)
		to := from
		okTo := true
		if isRange {
			to, okTo = vlanNumber(high)
		}
		if !okFrom || !okTo || from > to {
			return nil, v.Faultf(0, "%.40q is neither a VLAN from 1 to %d nor a range of them: write them as in 10,20,30-40, without blanks", part, ethernet.MaxVLAN)
		}
		s.add(from, to)
	}
	return s, nil
}

func vlanNumber(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return int(n), err == nil && n >= 1 && n <= ethernet.MaxVLAN
}

// String writes the set as parseVLANs reads it, and all VLANs as "".
func (s *vlanSet) String() string {
	size := 0
	for _, word := range s {
		size += bits.OnesCount64(word)
	}
	if size == ethernet.MaxVLAN {
		return ""
	}
	var parts []string
	for n := 1; n <= ethernet.MaxVLAN; n++ {
		if !s.has(uint16(n)) {
			continue
		}
		first := n
		for n < ethernet.MaxVLAN && s.has(uint16(n+1)) {
			n++
		}
		if n == first {
			parts = append(parts, strconv.Itoa(n))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", first, n))
		}
	}
	return strings.Join(parts, ",")
}
