//go:build !linux

package nat

import (
	"errors"
	"net/netip"
)

// openPing needs Linux's ping sockets.
func openPing(netip.Addr) (socket, error) {
	return nil, errors.New("pings of guests to the outside are carried on Linux only; TCP and UDP are carried here too")
}
