package main

import (
	"fmt"
	"slices"
)

// goal is what a subject is to reach, as a ratio to another of the same run, or as
// it is, in the figure's unit, where there is no other.
type goal struct {
	what    string
	subject string
	base    string
	figure  string
	want    float64
	atMost  bool // of what should be little
}

var goals = []goal{
	{"UDP link, TCP stream →", "tmelink-udp", "openvpn-udp", tcpForward, 7, false},
	{"UDP link, TCP stream ←", "tmelink-udp", "openvpn-udp", tcpBack, 7, false},
	{"TCP link, TCP stream →", "tmelink-tcp", "openvpn-tcp", tcpForward, 12, false},
	{"TCP link, TCP stream ←", "tmelink-tcp", "openvpn-tcp", tcpBack, 12, false},
	{"UDP link, 64-byte datagrams received", "tmelink-udp", "openvpn-udp", floodRate, 4, false},
	{"UDP link, ping", "tmelink-udp", "openvpn-udp", pingTime, 0.9, true},
	{"UDP link, processor time a gigabyte", "tmelink-udp", "openvpn-udp", cpuTime, 1.0 / 6, true},
	{"AES-256-GCM over UDP, TCP stream →", "tmelink-udp-gcm", "openvpn-udp-gcm", tcpForward, 5, false},
	{"AES-256-GCM over UDP, TCP stream ←", "tmelink-udp-gcm", "openvpn-udp-gcm", tcpBack, 5, false},
	{"AES-256-GCM over UDP, 64-byte datagrams received", "tmelink-udp-gcm", "openvpn-udp-gcm", floodRate, 4, false},
	{"AES-256-GCM over UDP, handshake", "tmelink-udp-gcm", "", handshake, 30, true},
	{"CHACHA20-POLY1305 over UDP, TCP stream →", "tmelink-udp-chacha", "openvpn-udp-chacha", tcpForward, 4, false},
	{"CHACHA20-POLY1305 over UDP, TCP stream ←", "tmelink-udp-chacha", "openvpn-udp-chacha", tcpBack, 4, false},
	{"AES-256-GCM over TCP, TCP stream →", "tmelink-tcp-gcm", "openvpn-tcp-gcm", tcpForward, 8, false},
	{"AES-256-GCM over TCP, TCP stream ←", "tmelink-tcp-gcm", "openvpn-tcp-gcm", tcpBack, 8, false},
	{"Switch, TCP stream →", "tmelink-switch", "bridge", tcpForward, 0.6, false},
	{"Switch, TCP stream ←", "tmelink-switch", "bridge", tcpBack, 0.6, false},
	{"VDE switch, 64-byte datagrams received", "tmelink-vde", "vde_switch", floodRate, 1, false},
	{"User-mode NAT, TCP stream →", "tmelink-nat", "slirp4netns", tcpForward, 1, false},
	{"User-mode NAT, TCP stream ←", "tmelink-nat", "slirp4netns", tcpBack, 1, false},
	{"Packet socket to link, TCP stream →", "tmelink-bpf", "tmelink-udp", tcpForward, 0.5, false},
	{"Packet socket to link, TCP stream ←", "tmelink-bpf", "tmelink-udp", tcpBack, 0.5, false},
}

// reached is a goal and what came of it.
type reached struct {
	goal
	value    float64 // a ratio or, without a base, the figure
	measured bool
	met      bool
}

func (r *Result) reached() []reached {
	var all []reached
	for _, g := range goals {
		value, ok := r.ratio(g.subject, g.base, g.figure)
		if g.base == "" {
			value, ok = r.value(g.subject, g.figure)
		}
		met := ok && value >= g.want
		if g.atMost {
			met = ok && value <= g.want
		}
		all = append(all, reached{g, value, ok, met})
	}
	return all
}

func (g goal) wanted() string {
	if g.atMost {
		return "≤ " + g.format(g.want)
	}
	return "≥ " + g.format(g.want)
}

// format writes what the goal is about, a ratio or a figure with its unit.
func (g goal) format(v float64) string {
	if g.base != "" {
		return formatRatio(v)
	}
	i := slices.IndexFunc(figures, func(f figure) bool { return f.key == g.figure })
	return figures[i].format(v) + " " + figures[i].unit
}

func (g reached) verdict() string {
	switch {
	case !g.measured:
		return "not measured"
	case g.met:
		return "met"
	default:
		return "MISSED"
	}
}

func (g reached) got() string {
	if !g.measured {
		return "–"
	}
	return g.format(g.value)
}

// formatRatio shows about two digits, and no rounding that would hide a miss.
func formatRatio(r float64) string {
	switch {
	case r >= 9.995:
		return fmt.Sprintf("%.1f×", r)
	case r >= 0.995:
		return fmt.Sprintf("%.2f×", r)
	default:
		return fmt.Sprintf("%.3f×", r)
	}
}
