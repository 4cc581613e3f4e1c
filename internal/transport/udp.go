package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/occasion"
)

// UDPConfig is what a UDP Conn is made of.
type UDPConfig struct {
	Socket
	Local netip.AddrPort // not valid: any; port 0: any
	// Remotes are the peer's addresses, the first of which is written to until
	// another one is heard. None: whoever sends is the peer.
	Remotes []netip.AddrPort
	// Float lets the peer change its address: whoever sends is the peer.
	Float bool
	// Introduce, where set, is asked about each datagram of somebody who may be the
	// peer by its address but is not the one known: whether it proves that its
	// sender is. If not, the datagram is not given to the reader. It is called by
	// the reader.
	Introduce func(packet []byte, from netip.AddrPort) bool
	// Recognize, where set, says whether a packet is the peer's, wherever it comes
	// from. It is called while the port is shared, by other goroutines than the
	// reader, and changes nothing.
	Recognize func(packet []byte) bool
	// TooLong, where set, is told of a packet that is not sent because it is longer
	// than the path takes, both in bytes and with the headers of IP and UDP; mtu is 0
	// if that is not known. It is called by the writer, once for each mtu.
	TooLong   func(packet, mtu int)
	MaxPacket int  // bytes: longer datagrams are dropped
	Plain     bool // each packet is a datagram to the kernel, too (no UDP_SEGMENT, no UDP_GRO)
	Counters  *ethernet.Counters
	Log       *slog.Logger
}

// UDP is a Conn over a UDP socket, which several may share; see udpPort.
type UDP struct {
	config UDPConfig
	conn   *net.UDPConn
	raw    syscall.RawConn
	local  netip.AddrPort
	peer   atomic.Pointer[udpPeer]
	rx     receiver
	tx     sender

	port        *udpPort               // nil: nobody can ask for its port by number
	shared      atomic.Pointer[member] // of the port, once others have joined
	left        atomic.Bool            // Close was called
	interrupted atomic.Bool            // the reader is to return
	receiving   sync.Mutex             // held by the reader of a socket that is not shared
	writing     sync.RWMutex           // held, to read, by who sends

	joined    bool         // datagrams may come joined
	settled   bool         // settle was called; the reader's
	connected atomic.Bool  // the kernel knows the peer
	pathMTU   atomic.Int32 // bytes of an IP packet; 0: not known
	reporting sync.Mutex
	reports   occasion.Occasion // under reporting

	drops *kernelDrops // of the socket

	strangers occasion.Occasion // the reader's
	oversized occasion.Occasion // the reader's
	failures  occasion.Occasion // the writer's
	toldMTU   int               // of which TooLong was told last, -1: of none; the writer's
	changing  sync.Mutex
	changes   occasion.Occasion // under changing
}

// OpenUDP opens and binds a socket, or joins those of this process that have it
// open with the same options. Its error is a *BindError.
func OpenUDP(ctx context.Context, c UDPConfig) (*UDP, error) {
	ports.Lock()
	defer ports.Unlock()
	net4or6, address := network("udp", c.Local.Addr()), c.Local.String()
	if !c.Local.IsValid() {
		net4or6, address = c.anyNetwork(), ":0"
	}
	lc := net.ListenConfig{Control: c.control(false)}
	conn, err := lc.ListenPacket(ctx, net4or6, address)
	if err != nil {
		bind, _ := asBindError("listen on udp", c.Local, err)
		if p := ports.open[keyOf(&c)]; p != nil && errors.Is(bind, errInUse) {
			return p.join(c)
		}
		return nil, bind
	}
	u := newUDP(c, conn.(*net.UDPConn))
	if u.raw, err = u.conn.SyscallConn(); err != nil {
		conn.Close()
		return nil, err
	}
	u.tune()
	u.begin()
	if c.Local.Port() != 0 {
		openPort(u)
	}
	return u, nil
}

// newUDP makes a Conn over a socket.
func newUDP(c UDPConfig, conn *net.UDPConn) *UDP {
	u := &UDP{
		config: c, conn: conn, drops: new(kernelDrops),
		strangers: occasion.New(3, time.Minute),
		oversized: occasion.New(1, time.Hour),
		toldMTU:   -1,
		changes:   occasion.New(6, 10*time.Second),
		failures:  occasion.New(1, time.Minute),
		reports:   occasion.New(1, time.Minute),
	}
	if local, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		p := local.AddrPort()
		u.local = netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return u
}

// begin makes the Conn ready once it is known what the socket can do.
func (u *UDP) begin() {
	if len(u.config.Remotes) > 0 {
		u.peer.Store(u.newPeer(u.config.Remotes[0]))
	}
	u.rx.init(u)
	u.tx.init(u)
}

// anyNetwork is the network of a socket that is not bound: of both families where the
// peer has addresses of both.
func (c *UDPConfig) anyNetwork() string {
	first := network("udp", c.Remotes[0].Addr())
	for _, r := range c.Remotes[1:] {
		if network("udp", r.Addr()) != first {
			return "udp"
		}
	}
	return first
}

// ReadPackets waits for datagrams of the peer.
func (u *UDP) ReadPackets() ([][]byte, error) {
	for {
		if u.interrupted.CompareAndSwap(true, false) {
			return nil, ErrInterrupted
		}
		packets, err := u.rx.receive()
		if err != nil || len(packets) > 0 {
			return packets, closed(err)
		}
	}
}

// WritePackets sends each packet in a datagram to the peer. A datagram that the
// kernel refuses is counted and left out.
func (u *UDP) WritePackets(packets [][]byte) error {
	peer := u.peer.Load()
	if peer == nil {
		u.config.Counters.Write.Add(ethernet.NoPeer, len(packets))
		return nil
	}
	sent, refused, err := u.tx.send(packets, peer)
	if err != nil {
		u.config.Counters.Write.Add(ethernet.Disconnected, len(packets)-sent-refused.packets-refused.tooLong)
	}
	if refused.tooLong > 0 {
		u.config.Counters.Write.Add(ethernet.TooLong, refused.tooLong)
		u.tellTooLong(refused.longest)
	}
	if refused.packets > 0 {
		u.config.Counters.Write.Add(ethernet.SendFailed, refused.packets)
		if n := u.failures.Due(time.Now()); n > 0 {
			u.config.Log.Warn("the kernel refuses to send", "peer", peer.addr, "err", refused.why, "times", n)
		}
	}
	return closed(err)
}

// refusal is what the kernel refused to send: packets that were tooLong, the longest of
// them in bytes, and how many others, and why the last of these.
type refusal struct {
	tooLong, longest int
	packets          int
	why              error
}

// note adds packets that are all of a length.
func (r *refusal) note(d Discovery, why error, packets, length int) {
	if d == DiscoverYes && IsTooLong(why) {
		r.tooLong += packets
		r.longest = max(r.longest, length)
		return
	}
	r.packets += packets
	r.why = why
}

// tellTooLong tells of a packet of a length, once for each MTU of the path.
func (u *UDP) tellTooLong(length int) {
	mtu := u.PathMTU()
	if u.config.TooLong != nil && mtu != u.toldMTU {
		u.toldMTU = mtu
		u.config.TooLong(length+u.Overhead(), mtu)
	}
}

// dropOversize counts a packet that is longer than most, and tells of it now and then.
func (u *UDP) dropOversize(length, most int) {
	u.config.Counters.Read.Add(ethernet.Oversize, 1)
	if n := u.oversized.Due(time.Now()); n > 0 {
		u.config.Log.Warn("dropped a packet that is longer than --tun-mtu allows: give both ends the same --tun-mtu",
			"peer", u.Peer(), "bytes", length, "most", most, "times", n)
	}
}

// Send sends a packet to an address, or to the peer.
func (u *UDP) Send(packet []byte, to netip.AddrPort) error {
	peer := u.peer.Load()
	switch {
	case peer == nil && !to.IsValid():
		return ErrNoPeer
	case !to.IsValid():
		to = peer.addr
	}
	return closed(u.writeTo(packet, to))
}

// writeTo sends a datagram. The time limit that may stop it is another link's end; see
// udpPort.leave.
func (u *UDP) writeTo(packet []byte, to netip.AddrPort) error {
	u.writing.RLock()
	defer u.writing.RUnlock()
	for {
		if u.left.Load() {
			return net.ErrClosed
		}
		if _, err := u.conn.WriteToUDPAddrPort(packet, to); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// SetPeer makes an address the peer's.
func (u *UDP) SetPeer(addr netip.AddrPort) {
	if u.Peer() != addr {
		u.setPeer(addr)
	}
}

// Interrupt has the reader return ErrInterrupted.
func (u *UDP) Interrupt() {
	u.interrupted.Store(true)
	if u.shared.Load() == nil {
		u.conn.SetReadDeadline(longAgo)
	}
	if m := u.shared.Load(); m != nil { // perhaps only now
		m.wake()
	}
}

// woken is what the reader does when its time limit has passed: it is interrupted, or
// the port is shared from now on.
func (u *UDP) woken() {
	if u.shared.Load() == nil {
		u.conn.SetReadDeadline(time.Time{})
	}
}

func (u *UDP) Local() netip.AddrPort { return u.local }

func (u *UDP) Peer() netip.AddrPort {
	if peer := u.peer.Load(); peer != nil {
		return peer.addr
	}
	return netip.AddrPort{}
}

// Close counts what the kernel has dropped until now and closes the socket, unless
// others share it.
func (u *UDP) Close() error {
	u.CountDropped()
	if u.port != nil {
		return u.port.leave(u)
	}
	return u.conn.Close()
}

// kernelDrops is what the kernel has dropped at a socket.
type kernelDrops struct {
	mu   sync.Mutex // held while it is asked
	last uint32     // what it said last
}

// PathMTU is what ICMP has told.
func (u *UDP) PathMTU() int { return int(u.pathMTU.Load()) }

// Framing: a datagram is a packet.
func (u *UDP) Framing() int { return 0 }

func (u *UDP) Overhead() int {
	if peer := u.peer.Load(); peer != nil {
		return ipHeader(peer.addr.Addr()) + udpHeader
	}
	return ipHeader(u.local.Addr()) + udpHeader
}

// admits decides on a sender that is not the one of the last datagram let in,
// and makes it the peer; data is what it has sent, in datagrams of a size.
func (u *UDP) admits(from netip.AddrPort, data []byte, size int) bool {
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	old := u.peer.Load()
	if old != nil && old.addr == from {
		u.settle(old)
		return true
	}
	if len(u.config.Remotes) > 0 && !u.config.Float && !u.isRemote(from) {
		u.config.Counters.Read.Add(ethernet.Stranger, (len(data)+size-1)/size)
		if n := u.strangers.Due(time.Now()); n > 0 {
			u.config.Log.Warn("dropped what another than the peer sent", "peer", u.Peer(), "from", from, "times", n)
		}
		return false
	}
	if !u.introduced(from, data, size) {
		return false
	}
	u.setPeer(from)
	return true
}

// introduced says whether one of a sender's datagrams proves that it is the peer.
func (u *UDP) introduced(from netip.AddrPort, data []byte, size int) bool {
	if u.config.Introduce == nil {
		return true
	}
	proved := false
	for p := range slices.Chunk(data, size) {
		proved = u.config.Introduce(p, from) || proved
	}
	return proved
}

func (u *UDP) setPeer(addr netip.AddrPort) {
	old := u.peer.Load()
	u.peer.Store(u.newPeer(addr))
	if m := u.shared.Load(); m != nil {
		u.port.moved()
	}
	if old != nil && old.addr.Port() == addr.Port() && Matches(old.addr.Addr(), addr.Addr()) {
		return // and now its zone is known
	}
	u.changing.Lock()
	n := u.changes.Due(time.Now())
	u.changing.Unlock()
	switch {
	case n == 0:
	case old == nil:
		u.config.Log.Info("peer heard", "peer", addr)
	default:
		u.config.Log.Info("peer has changed", "peer", addr, "before", old.addr, "times", n)
	}
}

func (u *UDP) isRemote(from netip.AddrPort) bool {
	return slices.ContainsFunc(u.config.Remotes, func(r netip.AddrPort) bool {
		return r.Port() == from.Port() && Matches(r.Addr(), from.Addr())
	})
}
