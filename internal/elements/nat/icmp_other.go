//go:build !linux

package nat

// These need Linux. Elsewhere a socket tells only of the errors that end what it
// does, and the host fragments what is too long, whatever its sender asked for.
func wantErrors(s socket, is6 bool)        {}
func forgetErrors(s socket)                {}
func setWhole(s socket, is6, whole bool)   {}
func pathMTU(s socket, is6 bool) (mtu int) { return 0 }
