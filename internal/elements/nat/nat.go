// Package nat is the element type tme/host/nat: the gateway of a network of
// guests, which reach the outside through ordinary sockets of an ordinary user.
//
// Guests' frames end in a user-space IP stack (internal/netstack) that takes what
// is for any address. Each TCP connection, UDP flow and ping of a guest becomes a
// socket of this process, and bytes are copied between the two; no packet of a
// guest's goes out as it is, and nothing of the host is changed.
//
// nat.go is the element, options*.go its words and policy.go what guests may reach.
// tcp.go joins connections, and conns.go holds them; flow.go, datagram.go and echo.go
// carry UDP and pings, each flow with a socket of its own; unreachable.go passes on
// why something cannot be reached. forward.go leads ports of this computer to guests.
// dns.go asks this computer's name servers for guests. frames.go serves those that
// have no address yet: dhcp.go and pool.go give addresses, in messages of bootp.go,
// or by rarp.go; radvert.go lets them make their own in IPv6. tftp.go gives them
// files. socket_*.go is how sockets are read without holding memory, and icmp_*.go
// what is asked of them besides.
//
// Everything is bounded: connections, attempts, flows, and what each of them
// holds. What is beyond the bounds is dropped, counted, and told once in a while.
package nat

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/netstack"
	"tmelink/internal/occasion"
)

// NAT is the element.
type NAT struct {
	env    element.Env
	config config
	host   *netstack.Host
	policy policy
	dhcp   *dhcp // nil: it gives no addresses
	tftp   *tftp // nil: it gives no files
	began  time.Time

	conns conns // TCP connections
	flows flows // UDP and ping

	queries         atomic.Int64  // that wait for an answer
	denied, dropped atomic.Uint64 // attempts and datagrams: by the rules, by a bound

	opened   []io.Closer // of forwards, and the folder of tftp
	inbounds []*inbound  // the UDP ones of them

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	told   map[string]*occasion.Occasion // of complaints, by their text
	icmp   occasion.Occasion             // of errors that guests are sent
}

func newNAT(env element.Env, c config) *NAT {
	n := &NAT{env: env, config: c, began: time.Now(), told: map[string]*occasion.Occasion{}, icmp: occasion.New(errorsPerSecond, time.Second)}
	n.policy = newPolicy(&n.config)
	n.dhcp = newDHCP(&n.config)
	n.conns.init(maxConns)
	n.flows.init(n)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.host = netstack.New(netstack.Config{
		HardwareAddr: c.hwaddr,
		MTU:          c.mtu,
		Addrs:        c.addrs(),
		Forwarding: &netstack.Forwarding{
			Frame:    n.frame,
			Connect:  n.connect,
			Attempts: maxAttempts,
			Overflow: func() { n.drop("too many connections are being made at one time") },
			Datagram: n.datagram,
			Echo:     n.echo,
		},
	})
	return n
}

// Attach gives the only port. Its side of a connection has no arguments.
func (n *NAT) Attach(args element.Args) (ethernet.Port, error) {
	return n.host.Port(), args.Parse(nil)
}

// Start brings the gateway up.
func (n *NAT) Start(ctx context.Context) error {
	if err := n.host.Start(); err != nil {
		return err
	}
	if n.config.tftpDir != "" {
		root, err := os.OpenRoot(n.config.tftpDir)
		if err != nil {
			return fmt.Errorf("tftp: %w", err)
		}
		n.tftp = &tftp{root: root, busy: map[netip.AddrPort]bool{}}
		n.opened = append(n.opened, root)
	}
	for _, f := range n.config.forwards {
		if err := n.openForward(ctx, f); err != nil {
			return err
		}
	}
	n.spawn(n.sweep)
	if n.config.net6.IsValid() {
		n.spawn(n.advertise)
	}
	n.env.Log.Info("NAT is up", "addrs", n.config.addrs(), "hwaddr", n.config.hwaddr)
	return nil
}

// Close ends every connection and flow, and returns when their goroutines have
// ended.
func (n *NAT) Close() error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	for _, l := range n.opened {
		l.Close()
	}
	for _, in := range n.inbounds {
		in.close()
	}
	err := n.host.Close()
	n.conns.each(func(c *conn) { c.abort() })
	n.flows.close()
	n.running.Wait()
	return err
}

// enter counts the calling goroutine in what Close waits for; it says no when it
// is too late. Each goroutine that was let in calls running.Done.
func (n *NAT) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.running.Add(1)
	return true
}

// spawn calls f in a goroutine that Close waits for, or not at all.
func (n *NAT) spawn(f func()) bool {
	if !n.enter() {
		return false
	}
	go func() {
		defer n.running.Done()
		f()
	}()
	return true
}

// now is the gateway's clock, which begins at 0.
func (n *NAT) now() time.Duration { return time.Since(n.began) }

// sweepEvery is how exactly idle connections and flows end.
const sweepEvery = 10 * time.Second

// sweep ends what has been idle for too long.
func (n *NAT) sweep() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
			n.sweepOnce(n.now())
		}
	}
}

func (n *NAT) sweepOnce(now time.Duration) {
	n.conns.each(func(c *conn) {
		if now-time.Duration(c.last.Load()) > idleTCP {
			c.abort()
		}
	})
	n.flows.sweep(now)
	for _, in := range n.inbounds {
		in.sweep(now)
	}
}

// drop counts something that a bound forbids, and tells of it.
func (n *NAT) drop(why string) {
	n.dropped.Add(1)
	n.complain(why, nil)
}

// complain logs a trouble that guests can bring about as often as they like: the
// same one once in ten minutes.
func (n *NAT) complain(what string, err error) {
	n.mu.Lock()
	o := n.told[what]
	if o == nil {
		fresh := occasion.New(1, 10*time.Minute)
		o = &fresh
		n.told[what] = o
	}
	times := o.Due(time.Now())
	n.mu.Unlock()
	if times == 0 {
		return
	}
	args := []any{"times", times}
	if err != nil {
		args = append(args, "err", err)
	}
	n.env.Log.Warn(what, args...)
}

// isGuest says whether an address can be one of the guests'.
func (n *NAT) isGuest(a netip.Addr) bool {
	return !n.isGateway(a) && (n.config.net4.Contains(a) || n.config.net6.Contains(a))
}

func (n *NAT) isGateway(a netip.Addr) bool {
	return a == n.config.net4.Addr() || a == n.config.net6.Addr()
}

// gatewayFor is the gateway's address that a guest's address is in a network with.
func (n *NAT) gatewayFor(guest netip.Addr) netip.Addr {
	if guest.Is4() {
		return n.config.net4.Addr()
	}
	return n.config.net6.Addr()
}

// Status gives the addresses and what there is and was.
func (n *NAT) Status() string {
	var words []string
	for _, a := range n.config.addrs() {
		words = append(words, a.String())
	}
	udp, echo := n.flows.count()
	status := fmt.Sprintf("%s, tcp %d, udp %d, ping %d", strings.Join(words, " "), n.conns.count(), udp, echo)
	if n.dhcp != nil {
		status += fmt.Sprintf(", leases %d", n.dhcp.pool.held.Load())
	}
	return status + fmt.Sprintf(", denied %d, dropped %d", n.denied.Load(), n.dropped.Load())
}
