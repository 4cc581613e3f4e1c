package transport

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tmelink/internal/ethernet"
)

// UDPConfig is what a UDP Conn is made of.
type UDPConfig struct {
	Socket
	Local netip.AddrPort // not valid: any; port 0: any
	// Remotes are the peer's addresses, the first of which is written to until
	// another one is heard. None: whoever sends is the peer.
	Remotes []netip.AddrPort
	// Float lets the peer change its address: whoever sends is the peer.
	Float     bool
	MaxPacket int  // bytes: longer datagrams are dropped
	Plain     bool // each packet is a datagram to the kernel, too (no UDP_SEGMENT, no UDP_GRO)
	Counters  *ethernet.Counters
	Log       *slog.Logger
}

// UDP is a Conn over a UDP socket.
type UDP struct {
	config UDPConfig
	conn   *net.UDPConn
	raw    syscall.RawConn
	local  netip.AddrPort
	peer   atomic.Pointer[udpPeer]
	rx     receiver
	tx     sender

	joined    bool         // datagrams may come joined
	settled   bool         // settle was called; the reader's
	connected atomic.Bool  // the kernel knows the peer
	pathMTU   atomic.Int32 // bytes of an IP packet; 0: not known
	reporting sync.Mutex
	reports   occasion // under reporting

	dropping sync.Mutex // held while the kernel is asked what it has dropped
	dropped  uint32     // what it said last

	strangers, changes occasion // the reader's
	failures           occasion // the writer's
}

// OpenUDP opens and binds a socket. Its error is a *BindError.
func OpenUDP(ctx context.Context, c UDPConfig) (*UDP, error) {
	net4or6 := network("udp", c.Local.Addr())
	address := c.Local.String()
	if !c.Local.IsValid() {
		net4or6, address = network("udp", c.Remotes[0].Addr()), ":0"
	}
	lc := net.ListenConfig{Control: c.control(false)}
	conn, err := lc.ListenPacket(ctx, net4or6, address)
	if err != nil {
		bind, _ := asBindError("listen on udp", c.Local, err)
		return nil, bind
	}
	u := &UDP{
		config: c, conn: conn.(*net.UDPConn),
		strangers: occasion{lines: 3, period: time.Minute},
		changes:   occasion{lines: 6, period: 10 * time.Second},
		failures:  occasion{lines: 1, period: time.Minute},
		reports:   occasion{lines: 1, period: time.Minute},
	}
	if local, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		p := local.AddrPort()
		u.local = netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	if u.raw, err = u.conn.SyscallConn(); err != nil {
		conn.Close()
		return nil, err
	}
	if len(c.Remotes) > 0 {
		u.peer.Store(u.newPeer(c.Remotes[0]))
	}
	u.tune()
	u.rx.init(u)
	u.tx.init(u)
	return u, nil
}

// ReadPackets waits for datagrams of the peer.
func (u *UDP) ReadPackets() ([][]byte, error) {
	for {
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
	sent, refused, why, err := u.tx.send(packets, peer)
	if err != nil {
		u.config.Counters.Write.Add(ethernet.Disconnected, len(packets)-sent-refused)
	}
	if refused > 0 {
		u.config.Counters.Write.Add(ethernet.SendFailed, refused)
		if n := u.failures.due(time.Now()); n > 0 {
			u.config.Log.Warn("the kernel refuses to send", "peer", peer.addr, "err", why, "times", n)
		}
	}
	return closed(err)
}

// Send sends a packet to the peer.
func (u *UDP) Send(packet []byte) error {
	peer := u.peer.Load()
	if peer == nil {
		return ErrNoPeer
	}
	_, err := u.conn.WriteToUDPAddrPort(packet, peer.addr)
	return closed(err)
}

func (u *UDP) Local() netip.AddrPort { return u.local }

func (u *UDP) Peer() netip.AddrPort {
	if peer := u.peer.Load(); peer != nil {
		return peer.addr
	}
	return netip.AddrPort{}
}

// Close counts what the kernel has dropped until now and closes the socket.
func (u *UDP) Close() error {
	u.CountDropped()
	return u.conn.Close()
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
// and makes it the peer; n is how many datagrams it has sent.
func (u *UDP) admits(from netip.AddrPort, n int) bool {
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	old := u.peer.Load()
	if old != nil && old.addr == from {
		u.settle(old)
		return true
	}
	if len(u.config.Remotes) > 0 && !u.config.Float && !u.isRemote(from) {
		u.config.Counters.Read.Add(ethernet.Stranger, n)
		if n := u.strangers.due(time.Now()); n > 0 {
			u.config.Log.Warn("dropped what another than the peer sent", "peer", u.Peer(), "from", from, "times", n)
		}
		return false
	}
	u.peer.Store(u.newPeer(from))
	if old != nil && old.addr.Port() == from.Port() && Matches(old.addr.Addr(), from.Addr()) {
		return true // and now its zone is known
	}
	if n := u.changes.due(time.Now()); n == 0 {
		return true
	} else if old == nil {
		u.config.Log.Info("peer heard", "peer", from)
	} else {
		u.config.Log.Info("peer has changed", "peer", from, "before", old.addr, "times", n)
	}
	return true
}

func (u *UDP) isRemote(from netip.AddrPort) bool {
	return slices.ContainsFunc(u.config.Remotes, func(r netip.AddrPort) bool {
		return r.Port() == from.Port() && Matches(r.Addr(), from.Addr())
	})
}
