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
	descriptionLen = 128

	// struct sockaddr_un of Linux: the family, and a path that ends with a NUL.
	sockaddrLen = 110
	familyUnix  = 1
)

// plugRequest asks a switch for a port (0: any), to which the socket at local
// belongs.
func plugRequest(port int, local, description string) []byte {
	var b []byte
	for _, n := range []uint32{switchMagic, switchVersion, requestPort | uint32(port)<<8} {
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	address := make([]byte, sockaddrLen)
	binary.NativeEndian.PutUint16(address, familyUnix)
	copy(address[2:sockaddrLen-1], local)
	b = append(b, address...)
	for len(description) >= descriptionLen {
		_, size := utf8.DecodeLastRuneInString(description)
		description = description[:len(description)-size]
	}
	return append(b, description...)
}

// plugAnswer reads the path of the switch's own socket out of its answer.
func plugAnswer(answer []byte) (string, error) {
	if len(answer) != sockaddrLen {
		return "", fmt.Errorf("the answer has %d bytes, not %d", len(answer), sockaddrLen)
	}
	if family := binary.NativeEndian.Uint16(answer); family != familyUnix {
		return "", fmt.Errorf("the answer is no address of a Unix socket (family %d)", family)
	}
	path, _, ended := bytes.Cut(answer[2:], []byte{0})
	if len(path) == 0 || !ended {
		return "", errors.New("the answer holds no path")
	}
	return string(path), nil
}
