package element

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

// Values are the words behind an option. The methods that read one return a
// *tmesh.Fault at the word if it is not of that kind.
type Values struct {
	Name  tmesh.Word
	Words []tmesh.Word
	shape []string
}

// Has says whether there is a value i.
func (v Values) Has(i int) bool { return i < len(v.Words) }

// Text is value i as it stands, "" where it is missing.
func (v Values) Text(i int) string {
	if !v.Has(i) {
		return ""
	}
	return v.Words[i].Text
}

// Faultf makes a fault at value i.
func (v Values) Faultf(i int, format string, args ...any) *tmesh.Fault {
	f := tmesh.Faultf(v.pos(i), format, args...)
	f.Msg = v.Name.Text + ": " + f.Msg
	return f
}

func (v Values) pos(i int) tmesh.Pos {
	if v.Has(i) {
		return v.Words[i].Pos
	}
	return v.Name.Pos
}

// OnOff reads on or off.
func (v Values) OnOff(i int) (on bool, err error) {
	switch v.Text(i) {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, v.Faultf(i, "%q is neither on nor off", v.Text(i))
}

// Int is a decimal or 0x number from low to high.
func (v Values) Int(i, low, high int) (int, error) {
	text, base := v.Text(i), 10
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		text, base = digits, 16
	}
	n, err := strconv.ParseInt(text, base, 64)
	if err != nil || n < int64(low) || n > int64(high) {
		return 0, v.Faultf(i, "%q is not a number from %d to %d", v.Text(i), low, high)
	}
	return int(n), nil
}

// Port is a TCP or UDP port number.
func (v Values) Port(i int) (uint16, error) {
	n, err := v.Int(i, 1, 65535)
	return uint16(n), err
}

// Seconds is a whole number of seconds, at most a day.
func (v Values) Seconds(i int) (time.Duration, error) {
	n, err := v.Int(i, 0, 86400)
	return time.Duration(n) * time.Second, err
}

// Addr4 is an IPv4 address.
func (v Values) Addr4(i int) (netip.Addr, error) {
	a, err := netip.ParseAddr(v.Text(i))
	if err != nil || !a.Is4() {
		return netip.Addr{}, v.Faultf(i, "%q is not an IPv4 address", v.Text(i))
	}
	return a, nil
}

// Addr is an IPv4 or IPv6 address.
func (v Values) Addr(i int) (netip.Addr, error) {
	a, err := netip.ParseAddr(v.Text(i))
	if err != nil {
		return netip.Addr{}, v.Faultf(i, "%q is not an IP address", v.Text(i))
	}
	return a, nil
}

// Netmask is an IPv4 netmask, dotted or as hexadecimal 0xffffff00, given as its
// number of leading ones.
func (v Values) Netmask(i int) (int, error) {
	var mask uint32
	if n, err := strconv.ParseUint(v.Text(i), 0, 32); err == nil && strings.HasPrefix(v.Text(i), "0x") {
		mask = uint32(n)
	} else {
		a, err := v.Addr4(i)
		if err != nil {
			return 0, v.Faultf(i, "%q is not a netmask such as 255.255.255.0", v.Text(i))
		}
		b := a.As4()
		mask = uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	for ones := 0; ones <= 32; ones++ {
		if mask == uint32(0xffffffff)<<(32-ones) {
			return ones, nil
		}
	}
	return 0, v.Faultf(i, "%q is not a netmask: its ones are not all in front", v.Text(i))
}

// Prefix6 is an IPv6 address with its prefix length, ADDR/LEN.
func (v Values) Prefix6(i int) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v.Text(i))
	if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() {
		return netip.Prefix{}, v.Faultf(i, "%q is not an IPv6 address with its prefix length such as fd00::1/64", v.Text(i))
	}
	return p, nil
}

// HardwareAddr is a station's hardware address: a group's is refused.
func (v Values) HardwareAddr(i int) (ethernet.Addr, error) {
	a, err := ethernet.ParseAddr(v.Text(i))
	if err != nil {
		return a, v.Faultf(i, "%v", err)
	}
	if a.IsGroup() || a == (ethernet.Addr{}) {
		return a, v.Faultf(i, "%s is not the hardware address of one station", a)
	}
	return a, nil
}

// InterfaceName is a name that an interface of the host can have.
func (v Values) InterfaceName(i int) (string, error) {
	s := v.Text(i)
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t%") {
		return "", v.Faultf(i, "%q cannot be an interface's name (1 to 15 characters, no / or colon)", s)
	}
	return s, nil
}
