//go:build !linux

package nat

// setWhole and pathMTU need Linux: elsewhere the host fragments what is too long,
// whatever its sender asked for.
func setWhole(s socket, is6, whole bool)   {}
func pathMTU(s socket, is6 bool) (mtu int) { return 0 }
