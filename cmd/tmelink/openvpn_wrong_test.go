//go:build unix

package main

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// wrongCase is a mistake in how the two ends of a link are set up.
type wrongCase struct {
	name   string
	ours   string   // words of tmelink, and
	theirs string   // of OpenVPN
	want   []string // what one line of tmelink says together
}

// Words of the two ends.
const (
	ownServer  = "--tls-server --cert server.crt --key server.key "
	ownClient  = "--tls-client --cert client.crt --key client.key "
	caServer   = "--tls-server --ca ca.crt --cert ca-server.crt --key ca-server.key "
	caClient   = "--tls-client --ca ca.crt --cert ca-client.crt --key ca-client.key "
	theyServer = "--dh none "
)

// silent is what is said of an OpenVPN that does not believe us, which tells only its
// own log.
const silent = "the peer has begun to agree on keys and not come to an end within 3s (--hand-window): its log says why; if it says nothing of its own, its --ca or --peer-fingerprint must know this host's certificate"

// wrongCases are the mistakes, and what tmelink says to each. FPC and FPS stand for
// --peer-fingerprint of the client and the server.
var wrongCases = []wrongCase{
	{name: "static keys differ", ours: "--secret secret --cipher AES-256-CBC", theirs: "--secret other --cipher AES-256-CBC --ping 1",
		want: []string{"not sealed with this link's key", "the ends have different keys, ciphers or digests"}},
	{name: "ciphers differ with a static key", ours: "--secret secret --cipher AES-256-CBC", theirs: "--secret secret --cipher AES-128-CBC --ping 1",
		want: []string{"different keys, ciphers or digests"}},
	{name: "digests differ with a static key", ours: "--secret secret --cipher AES-256-CBC --auth SHA256", theirs: "--secret secret --cipher AES-256-CBC --ping 1",
		want: []string{"different keys, ciphers or digests"}},
	{name: "directions are the same", ours: "--secret secret 0 --cipher AES-256-CBC", theirs: "--secret secret 0 --cipher AES-256-CBC --ping 1",
		want: []string{"different keys, ciphers or digests"}},
	{name: "tls-crypt keys differ, server", ours: ownServer + "FPC --tls-crypt tc", theirs: ownClient + "FPS --tls-crypt other",
		want: []string{"not made with this link's --tls-auth or --tls-crypt key"}},
	{name: "tls-crypt keys differ, client", ours: ownClient + "FPS --tls-crypt tc --hand-window 3", theirs: theyServer + ownServer + "FPC --tls-crypt other",
		want: []string{"has not agreed on keys within 3s (--hand-window)"}},
	{name: "tls-crypt at one end", ours: ownServer + "FPC --tls-crypt tc", theirs: ownClient + "FPS",
		want: []string{"not made with this link's --tls-auth or --tls-crypt key"}},
	{name: "tls-crypt-v2 at the client alone", ours: ownServer + "FPC", theirs: ownClient + "FPS --tls-crypt-v2 v2-client",
		want: []string{"no server key", "give one with --tls-crypt-v2, or take it from the peer"}},
	{name: "tls-crypt-v2 of another server", ours: ownServer + "FPC --tls-crypt-v2 openvpn-v2-server", theirs: ownClient + "FPS --tls-crypt-v2 v2-client",
		want: []string{"tls-crypt-v2"}},
	{name: "fingerprint, not ours, server", ours: ownServer + "FPS", theirs: ownClient + "FPS",
		want: []string{"the peer's certificate", "is not in --peer-fingerprint of this host: if it is the right peer, add it there"}},
	{name: "fingerprint, not ours, client", ours: ownClient + "FPC", theirs: theyServer + ownServer + "FPC",
		want: []string{"is not in --peer-fingerprint of this host"}},
	{name: "fingerprint, not theirs, server", ours: ownServer + "FPC --hand-window 3", theirs: ownClient + "FPC",
		want: []string{silent}},
	{name: "fingerprint, not theirs, client", ours: ownClient + "FPS --hand-window 3", theirs: theyServer + ownServer + "FPS",
		want: []string{silent}},
	{name: "CA, not ours", ours: strings.Replace(caServer, "ca.crt", "other-ca.crt", 1), theirs: caClient,
		want: []string{"rests on the CA", "which this host does not know: give that CA with --ca"}},
	{name: "CA, not theirs", ours: caServer + "--hand-window 3", theirs: strings.Replace(caClient, "ca.crt", "other-ca.crt", 1),
		want: []string{silent}},
	{name: "expired, theirs", ours: caServer, theirs: strings.ReplaceAll(caClient, "ca-client", "ca-expired"),
		want: []string{"the peer's certificate", "expired on", "the peer must renew it, or this host's clock"}},
	{name: "expired, ours", ours: strings.ReplaceAll(caClient, "ca-client", "ca-expired") + "--hand-window 3", theirs: theyServer + caServer,
		want: []string{silent}},
	{name: "revoked, theirs", ours: caServer + "--crl-verify crl.pem", theirs: strings.ReplaceAll(caClient, "ca-client", "ca-revoked"),
		want: []string{"was revoked by CN=Test CA", "the peer must get a new certificate from its CA"}},
	{name: "revoked, ours", ours: strings.ReplaceAll(caClient, "ca-client", "ca-revoked") + "--hand-window 3", theirs: theyServer + caServer + "--crl-verify crl.pem",
		want: []string{silent}},
	{name: "wrong name", ours: caServer + "--verify-x509-name somebody name", theirs: caClient,
		want: []string{"--verify-x509-name of this host wants", "if it is the right peer, correct the option"}},
	{name: "wrong role", ours: caServer + "--remote-cert-tls server", theirs: caClient,
		want: []string{"--remote-cert-tls"}},
	{name: "two clients", ours: ownClient + "FPC --hand-window 3", theirs: ownClient + "FPC",
		want: []string{"the peer is a tls-client like this end; make one of them the --tls-server"}},
	{name: "two servers", ours: ownServer + "FPS", theirs: theyServer + ownServer + "FPS",
		want: []string{"the peer is a tls-server like this end; make one of them the --tls-client"}},
	{name: "no cipher in common, server", ours: ownServer + "FPC --data-ciphers AES-256-GCM", theirs: ownClient + "FPS --data-ciphers CHACHA20-POLY1305",
		want: []string{"no cipher in common: this one takes AES-256-GCM, the peer CHACHA20-POLY1305; make --data-ciphers overlap at both ends"}},
	{name: "no cipher in common, client", ours: ownClient + "FPS --data-ciphers AES-256-GCM", theirs: theyServer + ownServer + "FPC --data-ciphers CHACHA20-POLY1305",
		want: []string{"no cipher in common: this one takes AES-256-GCM, the peer CHACHA20-POLY1305; make --data-ciphers overlap at both ends"}},
	{name: "nobody there", ours: ownClient + "FPS --hand-window 3",
		want: []string{"has not agreed on keys within 3s (--hand-window): is it running"}},
}

// TestOpenVPNAndMistakes sets links up wrongly, with the real OpenVPN at the other
// end: one line of tmelink's log says which side has to change what.
func TestOpenVPNAndMistakes(t *testing.T) {
	nstest.Need(t, "openvpn")
	t.Parallel()
	keys := keyset(t)
	host := nstest.New(t, "h")
	put := strings.NewReplacer("FPC", "--peer-fingerprint "+fingerprint(t, keys, "client"), "FPS", "--peer-fingerprint "+fingerprint(t, keys, "server"))
	e := &duo{keys: keys, hosts: [2]*nstest.Host{host, host}}
	var lines []string
	for i, c := range wrongCases {
		here, there := loopback(i, 1), loopback(i, 2)
		lines = append(lines, "le"+strconv.Itoa(i)+": tme/ic/am7990 inet 10.0.0.1 netmask 255.255.255.0",
			"link"+strconv.Itoa(i)+" at le"+strconv.Itoa(i)+": tme/host/openvpn/socket/link --dev tap --local "+here+" --remote "+there+" "+put.Replace(c.ours))
		if c.theirs != "" {
			host.Start("openvpn", append([]string{"--cd", keys, "--dev", "null", "--local", there, "--remote", here, "--verb", "3"},
				strings.Fields(put.Replace(c.theirs))...)...)
		}
	}
	ours := host.Start("tmelink", "run", e.description(t, lines...))
	for i, c := range wrongCases {
		t.Run(c.name, func(t *testing.T) {
			told := func() []string { return faults(ours.Output(), "link"+strconv.Itoa(i)) }
			isSaid := func() bool {
				return slices.ContainsFunc(told(), func(line string) bool { return containsAll(line, c.want) })
			}
			if !nstest.Eventually(25*time.Second, isSaid) {
				t.Errorf("no line has %q; there are:\n%s", c.want, strings.Join(told(), "\n"))
			}
			for _, line := range told() {
				if strings.Contains(line, "link is lost") {
					t.Errorf("a second line for the same: %s", line)
				}
			}
		})
	}
}

// loopback is an address of this host, another for each case and end.
func loopback(i, end int) string { return "127.0." + strconv.Itoa(i+1) + "." + strconv.Itoa(end) }

// faults are the warnings and errors of an element in a log.
func faults(log, element string) (lines []string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, " element="+element+" ") && (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
