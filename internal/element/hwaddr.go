package element

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"

	"tmelink/internal/ethernet"
)

// HardwareAddr makes up the hardware address of an element with such IP addresses,
// locally administered. It is always the same for the same element, and another one
// for the same file on another computer as long as it gives the element another IP
// address. Where it gives none, the computer's name tells them apart: several
// clients of a server may have one file.
func (e Env) HardwareAddr(addrs []netip.Prefix) ethernet.Addr {
	made := fmt.Appendf(nil, "%q %q %v", e.Machine, e.Name, addrs)
	if len(addrs) == 0 {
		computer, _ := os.Hostname()
		made = append(made, computer...)
	}
	sum := sha256.Sum256(made)
	a := ethernet.Addr(sum[:6])
	a[0] = a[0]&^1 | 2
	return a
}
