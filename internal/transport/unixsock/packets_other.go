//go:build !linux

package unixsock

import (
	"errors"
	"net"
	"runtime"
)

var errNoPackets = errors.New("tmelink has sockets of SOCK_SEQPACKET only on Linux, not on " + runtime.GOOS + "; use tme/host/qemu/stream")

func newPackets(conn *net.UnixConn, _ Config) (Conn, error) {
	conn.Close()
	return nil, errNoPackets
}
