package link

import (
	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/transport"
)

// mssfix is how long the packets of a link may become that carry TCP: the
// connections inside the frames are told to send no longer segments (OpenVPN's
// --mssfix). The zero mssfix sets no bound.
type mssfix struct {
	bytes int
	what  mssMode
}

type mssMode int

const (
	mssPacket mssMode = iota // bytes counts the packet of the link, without IP and UDP around it
	mssMTU                   // bytes counts these too
	mssFixed                 // bytes counts the IP packet inside the frame
)

// mssDefault is OpenVPN's bound where the MTU is 1500 (MSSFIX_DEFAULT, mtu.h), and
// mssLeast the least that it takes (TLS_CHANNEL_MTU_MIN).
const (
	mssDefault = 1492
	mssLeast   = 154
)

func (c *config) setMSSFix(v element.Values) error {
	c.mssfix, c.mssfixGiven = mssfix{}, v.Has(0)
	if !v.Has(0) {
		return nil
	}
	n, err := v.Int(0, 0, 65535)
	if err != nil {
		return err
	}
	if n != 0 && n < mssLeast {
		return v.Faultf(0, "%d is too small; it is 0 for no bound, or %d to 65535", n, mssLeast)
	}
	c.mssfix.bytes = n
	if v.Has(1) {
		switch v.Text(1) {
		case "mtu":
			c.mssfix.what = mssMTU
		case "fixed":
			c.mssfix.what = mssFixed
		default:
			return v.Faultf(1, "%q is neither mtu nor fixed", v.Text(1))
		}
	}
	return nil
}

// mssfixOrDefault is the bound that was given, or OpenVPN's default: that of --fragment,
// with the headers of IP and UDP in it, whether they count there or not; or with another
// --tun-mtu than 1500 it takes that for chosen with care, and sees to no more than
// that TCP keeps to it (options_postprocess_mutate_ce in its options.c).
func (c *config) mssfixOrDefault() mssfix {
	switch {
	case c.mssfixGiven:
		return c.mssfix
	case c.fragment.bytes != 0:
		return mssfix{c.fragment.bytes, mssMTU}
	case c.mtu == ethernet.MTU:
		return mssfix{mssDefault, mssMTU}
	}
	return mssfix{c.mtu, mssFixed}
}

// limit is how long a frame of TCP may be that goes over conn, 0 for no bound. A
// path that is known to take less than asked for lowers it. sealing is how much
// longer a packet is than its frame.
func (m mssfix) limit(conn transport.Conn, sealing int) int {
	if m.bytes == 0 {
		return 0
	}
	var frame int
	switch m.what {
	case mssPacket:
		frame = m.bytes - conn.Framing() - sealing
	case mssMTU:
		frame = m.bytes - conn.Overhead() - sealing
	case mssFixed:
		frame = m.bytes + ethernet.HeaderLen
	}
	if mtu := conn.PathMTU(); mtu != 0 {
		frame = min(frame, mtu-conn.Overhead()-sealing)
	}
	return frame
}
