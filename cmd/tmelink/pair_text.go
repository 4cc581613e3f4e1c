package main

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"tmelink/internal/openvpn/profile"
	"tmelink/internal/tmesh"
)

// pairEnd is one end of a pair. Its options are OpenVPN's, for a description and a
// profile alike.
type pairEnd struct {
	*pair
	host, peer       string
	server           bool
	isOpenVPN        bool
	certificate, key []byte // PEM
	tlsCrypt         []byte
	peerFingerprint  string
}

// The network that is inside the link, as in the README.
const (
	insideServer = "10.0.77.1"
	insideClient = "10.0.77.2"
	insideMask   = "255.255.255.0"
)

// inside gives the addresses of this end and of the other.
func (e *pairEnd) inside() (own, peer string) {
	if e.server {
		return insideServer, insideClient
	}
	return insideClient, insideServer
}

// file is the name of the end's file.
func (e *pairEnd) file() string {
	if e.isOpenVPN {
		return fileName(e.host) + ".ovpn"
	}
	return fileName(e.host) + ".tme"
}

func (e *pairEnd) text() []byte {
	if e.isOpenVPN {
		return e.profile()
	}
	return e.description()
}

// options are what the end's link, or OpenVPN, is told.
func (e *pairEnd) options() []profile.Directive {
	var all []profile.Directive
	say := func(name string, values ...string) {
		all = append(all, profile.Directive{Name: name, Values: values})
	}
	say("dev", "tap")
	port := strconv.Itoa(e.port)
	switch {
	case e.proto == "udp":
		say("proto", "udp")
		say("local", e.local())
		say("lport", port)
		say("remote", e.peer, port)
	case e.server:
		say("proto", "tcp-server")
		say("local", e.local())
		say("lport", port)
		say("remote", e.peer)
	default:
		say("proto", "tcp-client")
		if local := e.local(); local == e.host { // from where the server lets it in
			say("local", local)
			say("lport", "0")
		} else {
			say("nobind")
		}
		say("remote", e.peer, port)
	}
	if e.openvpn != "" { // OpenVPN compares it
		own, _ := e.inside()
		say("ifconfig", own, insideMask)
	}
	say("keepalive", "10", "60")
	if e.proto == "udp" {
		say("explicit-exit-notify")
	}
	if e.server {
		say("tls-server")
		say("dh", "none")
	} else {
		say("tls-client")
	}
	say("peer-fingerprint", e.peerFingerprint)
	for _, f := range []struct {
		name string
		text []byte
	}{{"cert", e.certificate}, {"key", e.key}, {"tls-crypt", e.tlsCrypt}} {
		all = append(all, profile.Directive{Name: f.name, Values: []string{string(f.text)}, Inline: true})
	}
	return all
}

// local is what the end binds: its address, or where its host has a name every
// address, of the family of its peer's.
func (e *pairEnd) local() string {
	if _, err := netip.ParseAddr(e.host); err == nil {
		return e.host
	}
	if a, err := netip.ParseAddr(e.peer); err == nil && a.Is6() {
		return "::"
	}
	return "0.0.0.0"
}

// description is the end in the language of descriptions, in its canonical form.
func (e *pairEnd) description() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# The end at %s of a private link with %s. It holds secret keys: whoever has this\n"+
		"# file can take the place of %s.\n\n", e.host, e.peer, e.host)
	own, peer := e.inside()
	builtIn := fmt.Sprintf("lan0: tme/ic/am7990 inet %s netmask %s\ncommand lan0 ping %s\n", own, insideMask, peer)
	tap := fmt.Sprintf("lan0: tme/host/tun/tap inet %s netmask %s nat none\n", own, insideMask)
	if e.tap {
		fmt.Fprintf(&b, "# This host itself is on the link, by a TAP, for which tmelink must run as root.\n%s"+
			"# In its place can be a host that is built into tmelink, and pings the other end:\n%s\n", tap, commentedOut(builtIn))
	} else {
		fmt.Fprintf(&b, "# A host that is built into tmelink is on the link, and pings the other end.\n%s"+
			"# In its place can be this host itself, by a TAP, for which tmelink must run as root:\n%s\n", builtIn, commentedOut(tap))
	}
	b.WriteString("link0 at lan0: tme/host/openvpn/socket/link")
	for _, d := range e.options() {
		b.WriteString(" \\\n   ")
		for i, w := range d.Words() {
			b.WriteByte(' ')
			if i == 0 {
				b.WriteString(w.Text)
			} else {
				b.WriteString(tmesh.Quote(w.Text))
			}
		}
	}
	b.WriteByte('\n')
	return []byte(b.String())
}

func commentedOut(lines string) string {
	return "# " + strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", "\n# ") + "\n"
}

// profile is the end as an OpenVPN profile.
func (e *pairEnd) profile() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# The end at %s of a private link with %s, for OpenVPN 2.6 or later. It holds secret\n"+
		"# keys: whoever has this file can take the place of %s.\n\n", e.host, e.peer, e.host)
	for _, d := range e.options() {
		fmt.Fprintln(&b, d)
	}
	return []byte(b.String())
}

// explain says what to do with the files.
func (p *pair) explain(out io.Writer, ends [2]*pairEnd) {
	a, b := ends[0], ends[1]
	fmt.Fprintf(out, "%s and %s are the two ends of a private link. They hold secret keys: bring each\n"+
		"to its host by a safe way (scp is one), and keep no copy where it is not needed.\n\n", a.path(), b.path())
	width := max(len(a.host), len(b.host))
	for _, e := range ends {
		fmt.Fprintf(out, "  on %-*s  %s\n", width, e.host, e.command())
	}
	way := fmt.Sprintf("UDP port %d must be open between the hosts, both ways.", p.port)
	if p.proto == "tcp" {
		way = fmt.Sprintf("TCP port %d of %s must be open to %s.", p.port, a.host, b.host)
	}
	fmt.Fprintf(out, "\n%s\nInside the link %s is %s, and %s is %s.\n", way, a.host, insideServer, b.host, insideClient)
}

// path is where the end's file was written.
func (e *pairEnd) path() string { return filepath.Join(e.out, e.file()) }

// command is how the end is run.
func (e *pairEnd) command() string {
	switch {
	case e.isOpenVPN:
		return "sudo openvpn --config " + e.file()
	case e.tap:
		return "sudo tmelink run " + e.file()
	}
	return "tmelink run " + e.file()
}
