package main

import "fmt"

// goal is what a subject is to reach, as a ratio to another of the same run.
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
	{"Switch, TCP stream →", "tmelink-switch", "bridge", tcpForward, 0.6, false},
	{"Switch, TCP stream ←", "tmelink-switch", "bridge", tcpBack, 0.6, false},
	{"Packet socket to link, TCP stream →", "tmelink-bpf", "tmelink-udp", tcpForward, 0.5, false},
	{"Packet socket to link, TCP stream ←", "tmelink-bpf", "tmelink-udp", tcpBack, 0.5, false},
}

// reached is a goal and what came of it.
type reached struct {
	goal
	ratio    float64
	measured bool
	met      bool
}

func (r *Result) reached() []reached {
	var all []reached
	for _, g := range goals {
		ratio, ok := r.ratio(g.subject, g.base, g.figure)
		met := ok && ratio >= g.want
		if g.atMost {
			met = ok && ratio <= g.want
		}
		all = append(all, reached{g, ratio, ok, met})
	}
	return all
}

func (g goal) wanted() string {
	if g.atMost {
		return "≤ " + formatRatio(g.want)
	}
	return "≥ " + formatRatio(g.want)
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
	return formatRatio(g.ratio)
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
