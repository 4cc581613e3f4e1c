package nic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/netstack"
)

const (
	pingValues = "ADDR|NAME [count N] [interval SECONDS] [size BYTES] [timeout SECONDS]"
	pingDoc    = "Send N echo requests (4) with so many bytes of payload (56), one every interval (1), and print what comes back, until timeout (5) after the last one. It succeeds if one answer came."
)

// ping is one run of the command, with the times in the order of the words.
type ping struct {
	target            string
	count, size       int
	interval, timeout time.Duration
}

func (i *Interface) preparePing(args element.Args) (element.Command, error) {
	p := ping{count: 4, size: 56, interval: time.Second, timeout: 5 * time.Second}
	err := args.Parse([]element.Option{
		{Name: "ping", Values: "ADDR|NAME", Set: func(v element.Values) error {
			p.target = v.Text(0)
			return i.checkTarget(v, p.target)
		}},
		{Name: "count", Values: "N", Set: func(v element.Values) (err error) {
			p.count, err = v.Int(0, 1, 1_000_000)
			return err
		}},
		{Name: "interval", Values: "SECONDS", Set: func(v element.Values) (err error) {
			p.interval, err = decimalSeconds(v)
			return err
		}},
		{Name: "size", Values: "BYTES", Set: func(v element.Values) (err error) {
			p.size, err = v.Int(0, 0, netstack.MaxEcho)
			return err
		}},
		{Name: "timeout", Values: "SECONDS", Set: func(v element.Values) (err error) {
			p.timeout, err = decimalSeconds(v)
			return err
		}},
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, out io.Writer) error {
		if err := i.awaitAddress(ctx); err != nil {
			return fmt.Errorf("ping %s: %w", p.target, err)
		}
		return p.run(ctx, i.host, out)
	}, nil
}

// checkTarget says whether a target, which value 0 names, can ever be reached: an
// address of a family that the host has, or a name where it has a name server.
// A link may yet bring it either.
func (i *Interface) checkTarget(v element.Values, target string) error {
	guided := i.guided()
	a, err := netip.ParseAddr(target)
	if err != nil {
		if len(i.host.Nameservers()) == 0 && !guided {
			return v.Faultf(0, "%q is not an IP address, and without dns ADDR the built-in host resolves no names", target)
		}
		return nil
	}
	has4 := slices.ContainsFunc(i.host.Addrs(), func(p netip.Prefix) bool { return p.Addr().Is4() })
	has6 := slices.ContainsFunc(i.host.Addrs(), func(p netip.Prefix) bool { return p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast() })
	switch a = a.Unmap(); {
	case a.IsUnspecified() || a.IsLoopback():
		return v.Faultf(0, "%s is no address of a station on the wire", a)
	case guided:
	case a.Is4() && !has4:
		return v.Faultf(0, "%s has no IPv4 address: give it inet ADDR", i.env.Name)
	case a.Is6() && !has6 && !a.IsLinkLocalUnicast() && !a.IsMulticast():
		return v.Faultf(0, "%s has no IPv6 address but a link-local one: give it inet6 ADDR/LEN", i.env.Name)
	}
	return nil
}

// decimalSeconds is a number of seconds from 0.01 to a day, such as 0.2.
func decimalSeconds(v element.Values) (time.Duration, error) {
	s, err := strconv.ParseFloat(v.Text(0), 64)
	if err != nil || !(s >= 0.01 && s <= 86400) {
		return 0, v.Faultf(0, "%q is not a number of seconds from 0.01 to 86400", v.Text(0))
	}
	return time.Duration(s * float64(time.Second)), nil
}

// run sends the requests and prints like the ordinary ping.
func (p *ping) run(ctx context.Context, h *netstack.Host, out io.Writer) error {
	addrs, err := h.Resolve(ctx, p.target)
	if err != nil {
		return err
	}
	e, err := h.OpenEcho(addrs[0])
	if err != nil {
		return fmt.Errorf("ping %s: %w", p.target, err)
	}
	defer e.Close()
	fmt.Fprintf(out, "PING %s (%s): %d data bytes\n", p.target, addrs[0], p.size)
	var t tally
	err = p.exchange(ctx, e, &t, out)
	t.print(out, p.target)
	switch {
	case err != nil:
		return fmt.Errorf("ping %s: %w", p.target, err)
	case t.received == 0:
		return fmt.Errorf("ping %s: no answer to %d requests", p.target, t.sent)
	}
	return nil
}

// exchange sends the requests at their times and takes what comes back, until
// all are answered or the last one's time is over.
func (p *ping) exchange(ctx context.Context, e *netstack.Echo, t *tally, out io.Writer) error {
	payload := make([]byte, p.size)
	for i := range payload {
		payload[i] = byte(i)
	}
	ticker := time.NewTicker(p.interval)
	defer ticker.Stop()
	tick := ticker.C
	var over <-chan time.Time
	for due := true; ; {
		if due {
			t.sent++
			if err := e.Send(uint16(t.sent), payload); err != nil {
				fmt.Fprintf(out, "ping: sendto: %v\n", err)
				t.failed++
			}
			if due = false; t.sent == p.count {
				tick, over = nil, time.After(p.timeout)
			}
		}
		if t.sent == p.count && t.received+t.failed >= t.sent {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			return nil
		case <-tick:
			due = true
		case a := <-e.Answers():
			t.take(a, e, out)
		}
	}
}

// tally counts what came back.
type tally struct {
	sent, received, failed, dups int
	min, max, sum                time.Duration
}

func (t *tally) take(a netstack.Answer, e *netstack.Echo, out io.Writer) {
	switch {
	case errors.Is(a.Err, netstack.ErrHostUnreachable):
		t.failed++
		fmt.Fprintf(out, "From %s: icmp_seq=%d Destination Host Unreachable\n", e.Local(), a.Seq)
	case errors.Is(a.Err, netstack.ErrNetUnreachable):
		t.failed++
		fmt.Fprintf(out, "From %s: icmp_seq=%d Destination Net Unreachable\n", e.Local(), a.Seq)
	case a.Err != nil:
		t.failed++
		fmt.Fprintf(out, "From %s: icmp_seq=%d %v\n", e.Local(), a.Seq, a.Err)
	case a.Dup:
		t.dups++
		fmt.Fprintf(out, "%d bytes from %s: icmp_seq=%d ttl=%d (DUP!)\n", a.Size, a.From, a.Seq, a.TTL)
	default:
		if t.received == 0 || a.RTT < t.min {
			t.min = a.RTT
		}
		t.received++
		t.max, t.sum = max(t.max, a.RTT), t.sum+a.RTT
		fmt.Fprintf(out, "%d bytes from %s: icmp_seq=%d ttl=%d time=%.3f ms\n", a.Size, a.From, a.Seq, a.TTL, milliseconds(a.RTT))
	}
}

func (t *tally) print(out io.Writer, target string) {
	fmt.Fprintf(out, "--- %s ping statistics ---\n%d packets transmitted, %d packets received, ", target, t.sent, t.received)
	if t.dups > 0 {
		fmt.Fprintf(out, "+%d duplicates, ", t.dups)
	}
	fmt.Fprintf(out, "%.1f%% packet loss\n", 100*float64(t.sent-t.received)/float64(max(t.sent, 1)))
	if t.received > 0 {
		fmt.Fprintf(out, "round-trip min/avg/max = %.3f/%.3f/%.3f ms\n",
			milliseconds(t.min), milliseconds(t.sum/time.Duration(t.received)), milliseconds(t.max))
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
