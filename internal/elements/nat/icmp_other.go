//go:build !linux

package nat

import "net/netip"

// These need Linux. Elsewhere guests are not told what ICMP says of their datagrams,
// and the host fragments what is too long, whatever its sender asked for.
func wantErrors(s socket, is6 bool)      {}
func setWhole(s socket, is6, whole bool) {}

func readErrors(s socket, tell func(to netip.AddrPort, why error, mtu int)) (told int) { return 0 }
