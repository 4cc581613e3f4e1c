package bpf

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	insn "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// device is a packet socket (packet(7)) on one interface, read and written in
// batches through Go's poller.
type device struct {
	iface    string
	index    int
	mtu      int
	file     *os.File
	raw      syscall.RawConn
	log      *slog.Logger
	counters *ethernet.Counters
	closed   atomic.Bool
	// down: the interface is down as far as the reader knows.
	down     atomic.Bool
	askDrops func(fd uintptr) // addDrops, made once: asking does not allocate
	lookUp   func(index int) (*net.Interface, error)

	rx receiver // of the goroutine that reads
	tx sender   // of the goroutine that writes
}

// offloads: whatever the card behind the interface can do, the kernel finishes
// what it cannot. The header has a word for UDP since Linux 6.2 (
// 860b7f27b8f7, "linux/virtio_net.h: Support USO offload in vnet header").
var offloads = offloadsOf(kernelRelease())

func offloadsOf(release string) ethernet.Offloads {
	var major, minor int
	fmt.Sscanf(release, "%d.%d", &major, &minor)
	if major < 6 || major == 6 && minor < 2 {
		return ethernet.Checksum | ethernet.TSO4 | ethernet.TSO6
	}
	return ethernet.Checksum | ethernet.Segmentation
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// receiveBuffer is what data-plane measurements found to carry bursts of small frames.
const receiveBuffer = 7 << 20

// lookAgain is how often a reader looks at an interface that is down: the
// kernel tells of its removal only while it is up.
const lookAgain = 200 * time.Millisecond

var errPrivilege = errors.New("packet sockets need privilege: run it with sudo, or once give the program the right: sudo setcap cap_net_raw,cap_net_admin+ep PROGRAM")

// allowed says why packet sockets cannot be opened at all, or nil.
func allowed() error {
	fd, err := packetSocket()
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// packetSocket makes a socket that receives nothing yet: its protocol is 0
// until it is bound, so that no frame of another interface gets into its queue
// (packet(7)).
func packetSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	switch {
	case err == unix.EPERM || err == unix.EACCES:
		return -1, errPrivilege
	case err == unix.EAFNOSUPPORT:
		return -1, errors.New("this kernel has no packet sockets (CONFIG_PACKET); use a link or a TAP instead")
	case err != nil:
		return -1, fmt.Errorf("make a packet socket: %w", err)
	}
	return fd, nil
}

func openDevice(ifi *net.Interface, conf config, filter []insn.RawInstruction, log *slog.Logger, counters *ethernet.Counters) (*device, error) {
	fd, err := packetSocket()
	if err != nil {
		return nil, err
	}
	if err := configure(fd, ifi, conf, filter); err != nil {
		unix.Close(fd)
		return nil, err
	}
	d := &device{
		iface: ifi.Name, index: ifi.Index, mtu: ifi.MTU, log: log, counters: counters,
		file: os.NewFile(uintptr(fd), "packet socket on "+ifi.Name),
	}
	if d.raw, err = d.file.SyscallConn(); err != nil {
		d.file.Close()
		return nil, fmt.Errorf("poll the packet socket: %w", err)
	}
	d.askDrops, d.lookUp = d.addDrops, net.InterfaceByIndex
	d.rx.init()
	d.tx.init()
	return d, nil
}

// configure sets up a socket, and binds it last.
func configure(fd int, ifi *net.Interface, conf config, filter []insn.RawInstruction) error {
	if err := attach(fd, filter); err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	size := conf.buffer
	if size == 0 {
		size = receiveBuffer
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
		// Without CAP_NET_ADMIN the kernel gives what net.core.rmem_max allows.
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	}
	for _, o := range []struct {
		name string
		opt  int
	}{
		{"PACKET_AUXDATA", unix.PACKET_AUXDATA},
		// What the host sends is seen before its network card has cut it
		// into segments and put its checksum in, and what a card received
		// after the kernel has joined it: the header tells what is missing.
		{"PACKET_VNET_HDR", unix.PACKET_VNET_HDR},
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, o.opt, 1); err != nil {
			return fmt.Errorf("set %s: %w", o.name, err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian16(unix.ETH_P_ALL), Ifindex: ifi.Index}); err != nil {
		return fmt.Errorf("bind the packet socket: %w", err)
	}
	if err := mustBeEthernet(fd); err != nil {
		return err
	}
	mreq := unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
		return fmt.Errorf("make it promiscuous: %w", err)
	}
	return nil
}

// mustBeEthernet refuses an interface whose frames have another header than
// Ethernet's. The loopback interface has Ethernet's.
func mustBeEthernet(fd int) error {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("ask for its hardware type: %w", err)
	}
	ll, ok := sa.(*unix.SockaddrLinklayer)
	if !ok || ll.Hatype != unix.ARPHRD_ETHER && ll.Hatype != unix.ARPHRD_LOOPBACK {
		return errors.New("it carries no Ethernet frames (a tun, ppp, wireguard or other layer-3 interface?); name an Ethernet interface or a TAP")
	}
	return nil
}

func attach(fd int, filter []insn.RawInstruction) error {
	prog := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		prog[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}

// setFilter replaces the kernel's filter; between the old and the new one there
// is no gap.
func (d *device) setFilter(filter []insn.RawInstruction) error {
	return d.control(func(fd int) error { return attach(fd, filter) })
}

// countDropped counts what the kernel has dropped since it was last asked.
func (d *device) countDropped() { d.raw.Control(d.askDrops) }

// addDrops is countDropped on the descriptor: PACKET_STATISTICS counts from 0
// again after each time.
func (d *device) addDrops(fd uintptr) {
	var stats unix.TpacketStats
	size := uint32(unix.SizeofTpacketStats)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_PACKET, unix.PACKET_STATISTICS,
		uintptr(unsafe.Pointer(&stats)), uintptr(unsafe.Pointer(&size)), 0)
	if errno == 0 {
		d.counters.Read.Add(ethernet.KernelDrop, int(stats.Drops))
	}
}

func (d *device) control(f func(fd int) error) error {
	var err error
	if e := d.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// close wakes the reader and the writer.
func (d *device) close() error {
	d.closed.Store(true)
	return d.file.Close()
}

// look finds out why the socket brings nothing. A socket whose interface is
// gone is bound to none any more, and brings nothing ever again.
func (d *device) look() error {
	gone := false
	if err := d.control(func(fd int) error {
		sa, err := unix.Getsockname(fd)
		if ll, ok := sa.(*unix.SockaddrLinklayer); ok {
			gone = ll.Ifindex <= 0
		}
		return err
	}); err != nil {
		return d.lost(err)
	}
	if gone {
		return fmt.Errorf("interface %q is gone: it was removed, or moved to another network namespace", d.iface)
	}
	ifi, err := d.lookUp(d.index)
	if err != nil || ifi.Flags&net.FlagUp == 0 {
		if !d.down.Swap(true) {
			d.log.Warn("interface " + d.iface + " is down; waiting until it is up")
		}
		return d.lookAt(time.Now().Add(lookAgain))
	}
	if d.down.Swap(false) {
		d.log.Info("interface " + d.iface + " is up")
	}
	return d.lookAt(time.Time{})
}

// lookAt has the reader look at the interface at a time; never at the zero time.
func (d *device) lookAt(at time.Time) error {
	if err := d.file.SetReadDeadline(at); err != nil {
		return d.lost(err)
	}
	return nil
}

// lost makes of a failure of the socket what a Port returns: after close that
// it is closed.
func (d *device) lost(err error) error {
	if d.closed.Load() {
		return net.ErrClosed
	}
	return fmt.Errorf("packet socket on interface %q: %w", d.iface, err)
}

func bigEndian16(v uint16) uint16 {
	b := [2]byte{byte(v >> 8), byte(v)}
	return nativeEndian.Uint16(b[:])
}
