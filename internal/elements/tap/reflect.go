package tap

import "tmelink/internal/ethernet"

// Reflection
//
// A frame that a packet socket sends by a TAP interface goes where the host's
// own frames go: to the device's owner, and as a copy to every other packet
// socket; the host's IP stack never sees it. On a wire that other stations share
// by packet sockets the owner therefore writes back to the device what is for the
// host: what goes to the interface's own address or to a group and does not come
// from the interface's own address.
//
// Not so while the interface is a bridge's port. Then every station behind the
// bridge sends by it with an address of its own, and a frame that came back
// would teach the bridge that the station is on this side.

// host is the host's station on the wire.
type host struct {
	addr ethernet.Addr
	// enslaved says that the interface is a port of a bridge or the like and
	// has no station behind it.
	enslaved bool
}

// judge says of a frame that the device gave out whether it is to be written
// back for the host, and whether it goes on to the other end of the connection.
func (h *host) judge(frame []byte) (back, on bool) {
	dst := ethernet.Dst(frame)
	switch {
	case h.enslaved || ethernet.Src(frame) == h.addr:
		return false, true
	case dst == h.addr:
		return true, false
	}
	return dst.IsGroup(), true
}
