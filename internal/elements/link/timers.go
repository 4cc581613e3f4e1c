package link

import (
	"errors"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
	"tmelink/internal/openvpn/controlchannel"
)

// timerOptions are the words that say when a link pings, restarts and ends, and how
// fast it sends.
func (c *config) timerOptions() []element.Option {
	t := &c.timers
	silence := func(ends bool) func(element.Values) error {
		return func(v element.Values) error {
			t.SilenceEnds = ends
			return timeInto(&t.Silence)(v)
		}
	}
	return []element.Option{
		{Name: "--ping", Values: "SECONDS", Doc: "Send a ping after so many seconds in which nothing was sent.", Set: timeInto(&t.Ping)},
		{Name: "--ping-restart", Values: "SECONDS", Doc: "Start again with the next address of the peer after so many seconds in which nothing was heard from it. 0 is never. A client of an OpenVPN in server mode over UDP does so after 120 seconds, until the server says another time.",
			Set: silence(false)},
		{Name: "--ping-exit", Values: "SECONDS", Doc: "In place of --ping-restart: end the link after so many seconds in which nothing was heard from the peer, whether it was there before or not. 0 is never.",
			Set: silence(true)},
		{Name: "--keepalive", Values: "INTERVAL TIMEOUT", Doc: "Short for --ping INTERVAL --ping-restart TIMEOUT, both in seconds.",
			Set: c.setKeepalive},
		{Name: "--ping-timer-rem", Doc: "Have --ping-restart and --ping-exit wait until there is a peer. It matters where there is no --remote, over UDP.",
			Set: func(element.Values) error { t.KnownOnly = true; return nil }},
		{Name: "--inactive", Values: "SECONDS [BYTES]", Doc: "End the link after so many seconds in which no frames were carried, or frames of less than BYTES in both directions together. Pings are no frames. The time counts from the last restart.",
			Set: c.setInactive},
		{Name: "--session-timeout", Values: "SECONDS", Doc: "End the link when so many seconds have gone by since it began, or was restarted.", Set: timeInto(&t.Whole)},
		{Name: "--explicit-exit-notify", Values: "[ATTEMPTS]", Doc: "Tell the peer at the end, so that it need not wait for its --ping-restart. UDP only; the peer is told at most 5 times, one second apart, once if not given. Without keys a peer that says so is believed only if this is given, because anybody on the way can forge it: the link then starts again, as after --ping-restart.",
			Set: func(v element.Values) (err error) {
				c.exitNotify = 1
				if v.Has(0) {
					c.exitNotify, err = v.Int(0, 0, openvpn.MaxGoodbyes)
				}
				return err
			}},
		{Name: "--shaper", Values: "BYTES-PER-SECOND", Doc: "Send no more than so many bytes a second, 100 to 100000000: of all packets, with the headers of IP and UDP or TCP, none counted for less than 100 bytes. Frames wait for their turn. What goes at once after a pause is what 5 milliseconds carry, and one packet.",
			Set: func(v element.Values) (err error) {
				c.shaper, err = v.Int(0, controlchannel.MinShaper, controlchannel.MaxShaper)
				return err
			}},
	}
}

// timeInto reads whole seconds, as many as fit OpenVPN's int.
func timeInto(to *time.Duration) func(element.Values) error {
	return func(v element.Values) error {
		n, err := v.Int(0, 0, 1<<31-1)
		*to = time.Duration(n) * time.Second
		return err
	}
}

func (c *config) setKeepalive(v element.Values) error {
	t := &c.timers
	var errPing, errRestart error
	t.Ping, errPing = v.Seconds(0)
	t.Silence, errRestart = v.Seconds(1)
	if err := errors.Join(errPing, errRestart); err != nil {
		return err
	}
	if t.Ping == 0 || t.Silence < 2*t.Ping {
		return v.Faultf(1, "the timeout must be at least twice the interval, and that at least 1")
	}
	return nil
}

func (c *config) setInactive(v element.Values) error {
	if err := timeInto(&c.timers.Inactive)(v); err != nil || !v.Has(1) {
		return err
	}
	n, err := v.Int(1, 0, 1<<62)
	c.timers.InactiveBytes = uint64(n)
	return err
}

// prePullSilence is after how long a time a client starts again that has not heard of
// its server, as long as neither end says another
// (PRE_PULL_INITIAL_PING_RESTART in OpenVPN's ping.h).
const prePullSilence = 120 * time.Second

// checkTimers finds contradictions between the timers, and sets the default of those
// that were not given.
func (c *config) checkTimers() error {
	var faults []error
	for _, other := range []string{"--ping", "--ping-restart", "--ping-exit"} {
		if c.has("--keepalive") && c.has(other) {
			faults = append(faults, c.at(other, "it contradicts --keepalive, which sets --ping and --ping-restart; leave one of them out"))
			break
		}
	}
	if c.has("--ping-exit") && c.has("--ping-restart") {
		faults = append(faults, c.at("--ping-exit", "it contradicts --ping-restart: a silent peer ends the link or restarts it; leave one of them out"))
	}
	if c.has("--explicit-exit-notify") && c.tcp() {
		faults = append(faults, c.at("--explicit-exit-notify", "over TCP the peer notices anyway; leave it out"))
	}
	if c.security.pull && !c.tcp() && !c.has("--keepalive") && !c.has("--ping-restart") && !c.has("--ping-exit") {
		c.timers.Silence = prePullSilence
	}
	return errors.Join(faults...)
}
