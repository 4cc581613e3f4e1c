package emulator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// What a plug and a vde_switch tell each other over DIR/ctl, in the byte order
// of the host (struct request_v3 of vde2's src/vde_switch/datasock.c).
const (
	switchMagic    = 0xfeedface
	switchVersion  = 3
	requestPort    = 0 // a port's number stands above its 8 bits; 0: any port
	requestPort0   = 1 // the same, as old clients ask
	descriptionLen = 128
	requestLen     = 3*4 + sockaddrLen // without the description

	// struct sockaddr_un of Linux: the family, and a path that ends with a NUL.
	sockaddrLen = 110
	familyUnix  = 1

	maxPort = 65535 // that a plug may ask for
)

// plugRequest asks a switch for a port (0: any), to which the socket at local
// belongs.
func plugRequest(port int, local, description string) []byte {
	var b []byte
	for _, n := range []uint32{switchMagic, switchVersion, requestPort | uint32(port)<<8} {
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	b = append(b, address(local)...)
	for len(description) >= descriptionLen {
		_, size := utf8.DecodeLastRuneInString(description)
		description = description[:len(description)-size]
	}
	return append(b, description...)
}

// address is the address of the socket at a path.
func address(path string) []byte {
	b := make([]byte, sockaddrLen)
	binary.NativeEndian.PutUint16(b, familyUnix)
	copy(b[2:sockaddrLen-1], path)
	return b
}

// parseRequest reads what a plug asks a switch for: a port's number, 0 for any,
// and the path of the plug's socket. What stands behind is its description.
func parseRequest(b []byte) (port int, local string, err error) {
	if len(b) < requestLen {
		return 0, "", fmt.Errorf("the request has %d bytes, not %d", len(b), requestLen)
	}
	magic, version, kind := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:])
	switch {
	case magic != switchMagic:
		return 0, "", errors.New("what it sends is no request of VDE's")
	case version != switchVersion:
		return 0, "", fmt.Errorf("it speaks version %d of VDE's requests, not %d", version, switchVersion)
	case kind&0xff != requestPort && kind&0xff != requestPort0:
		return 0, "", fmt.Errorf("its request %d is unknown", kind&0xff)
	}
	if port = int(kind >> 8); port > maxPort {
		return 0, "", fmt.Errorf("there is no port %d", port)
	}
	local, err = plugAnswer(b[12:requestLen])
	if err == nil && local[0] != '/' {
		err = fmt.Errorf("its socket's path %q does not begin with /", local)
	}
	return port, local, err
}

// plugAnswer reads the path of the switch's own socket out of its answer.
func plugAnswer(answer []byte) (string, error) {
	if len(answer) != sockaddrLen {
		return "", fmt.Errorf("the address has %d bytes, not %d", len(answer), sockaddrLen)
	}
	if family := binary.NativeEndian.Uint16(answer); family != familyUnix {
		return "", fmt.Errorf("that is no address of a Unix socket (family %d)", family)
	}
	path, _, ended := bytes.Cut(answer[2:], []byte{0})
	if len(path) == 0 || !ended {
		return "", errors.New("the address holds no path")
	}
	return string(path), nil
}
