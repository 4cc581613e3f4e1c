package transport

import (
	"context"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSocketOptionsAreSet(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: SO_MARK needs root")
	}
	const size = 300000
	s := Socket{SendBuffer: size, ReceiveBuffer: size, Mark: 77, Device: "lo"}
	u, _, _ := openUDP(t, UDPConfig{Socket: s})
	err := u.raw.Control(func(fd uintptr) {
		for name, c := range map[string]struct{ option, want int }{
			"SO_SNDBUF": {unix.SO_SNDBUF, 2 * size}, // the kernel doubles it, socket(7)
			"SO_RCVBUF": {unix.SO_RCVBUF, 2 * size},
			"SO_MARK":   {unix.SO_MARK, 77},
		} {
			if got, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, c.option); err != nil || got != c.want {
				t.Errorf("%s is %d, want %d; %v", name, got, c.want, err)
			}
		}
		if got, err := unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE); err != nil || got != "lo" {
			t.Errorf("SO_BINDTODEVICE is %q, %v", got, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSocketOptionsThatFailAreNamed(t *testing.T) {
	_, err := OpenUDP(context.Background(), UDPConfig{Socket: Socket{Device: "none7"}, Local: loopback, MaxPacket: 100})
	if err == nil || !strings.Contains(err.Error(), "bind to interface none7") {
		t.Errorf("got %v", err)
	}
}
