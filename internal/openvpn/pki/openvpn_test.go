package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
	"tmelink/internal/openvpn/keys"
)

// TestNamesAreOpenVPNs lets the installed OpenVPN compare the names that it reads in
// certificates with those that this package does.
func TestNamesAreOpenVPNs(t *testing.T) {
	nstest.NeedPrograms(t, "openvpn")
	atPresent(t)
	for _, n := range names() {
		if n.ours {
			continue
		}
		t.Run(n.subject, func(t *testing.T) {
			e := issue(t, nil, x509.Certificate{RawSubject: marshal(t, n.name)})
			pinned := keys.Fingerprint(e.cert.Raw)
			for _, name := range [][]string{{n.subject, "subject"}, {n.common, "name"}} {
				options := append([]string{"--peer-fingerprint", pinned, "--verify-x509-name"}, name...)
				if believed, said := judge(t, options, true, e); !believed {
					t.Errorf("%q is not what OpenVPN reads:\n%s", name, said)
				}
			}
		})
	}
}

// TestVerdictsAreOpenVPNs asks the installed OpenVPN and a Peer the same questions.
func TestVerdictsAreOpenVPNs(t *testing.T) {
	nstest.NeedPrograms(t, "openvpn")
	atPresent(t)
	const server, client = x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	root := issue(t, nil, ca("root"))
	namesake, stranger := issue(t, nil, ca("root")), issue(t, nil, ca("stranger"))
	between := issue(t, root, ca("between"))
	narrow := ca("narrow")
	narrow.ExtKeyUsage = []x509.ExtKeyUsage{client}
	forClients := issue(t, root, narrow)
	revokedCA := issue(t, root, ca("revoked CA"))
	good, deep := issue(t, root, host("b", server)), issue(t, between, host("deep", server))
	self := issue(t, nil, host("self", server, client))
	netscape, noSign := host("b"), host("b", server)
	netscape.ExtraExtensions = []pkix.Extension{{Id: oidNetscapeType, Value: []byte{3, 2, 7, 0x80}}}
	noSign.KeyUsage = x509.KeyUsageCRLSign
	past, month := now.AddDate(-1, 0, 0), now.AddDate(0, -1, 0)
	old := x509.RevocationList{ThisUpdate: past, NextUpdate: month}
	late, clients := issue(t, root, dated(host("b"), past, month)), issue(t, root, host("b", client))
	type of = []*entity
	one := func(template x509.Certificate) of { return of{issue(t, root, template)} }

	for name, c := range map[string]struct {
		Peer
		chain of
		kind  Kind
	}{
		"good":                {Peer{Roots: certificates(root)}, of{good}, 0},
		"no usages":           {Peer{Roots: certificates(root)}, one(x509.Certificate{Subject: pkix.Name{CommonName: "bare"}}), 0},
		"sent with between":   {Peer{Roots: certificates(root)}, of{deep, between}, 0},
		"between in --ca":     {Peer{Roots: certificates(root, between)}, of{deep}, 0},
		"between missing":     {Peer{Roots: certificates(root)}, of{deep}, UnknownCA},
		"between alone":       {Peer{Roots: certificates(between)}, of{deep}, UnknownCA},
		"self-signed in --ca": {Peer{Roots: certificates(self)}, of{self}, 0},
		"leaf alone in --ca":  {Peer{Roots: certificates(good)}, of{good}, UnknownCA},
		"namesake":            {Peer{Roots: certificates(namesake)}, of{good}, UnknownCA},
		"expired":             {Peer{Roots: certificates(root)}, one(dated(host("b"), past, month)), Expired},
		"future":              {Peer{Roots: certificates(root)}, one(dated(host("b"), now.AddDate(0, 1, 0), now.AddDate(1, 0, 0))), NotYetValid},
		"client's":            {Peer{Roots: certificates(root)}, one(host("b", client)), WrongPurpose},
		"any usage":           {Peer{Roots: certificates(root)}, one(host("b", x509.ExtKeyUsageAny)), WrongPurpose},
		"key usage":           {Peer{Roots: certificates(root)}, one(noSign), WrongPurpose},
		"nsCertType":          {Peer{Roots: certificates(root)}, one(netscape), WrongPurpose},
		"CA for clients only": {Peer{Roots: certificates(root)}, of{issue(t, forClients, host("b", server)), forClients}, WrongPurpose},
		"pinned, expired":     {Peer{Fingerprints: [][32]byte{fingerprint(late)}}, of{late}, 0},
		"pinned, purpose":     {Peer{Fingerprints: [][32]byte{fingerprint(clients)}}, of{clients}, 0},
		"not pinned":          {Peer{Fingerprints: [][32]byte{fingerprint(self)}}, of{good}, WrongFingerprint},
		"pinned, not known":   {Peer{Fingerprints: [][32]byte{fingerprint(good)}, Roots: certificates(namesake)}, of{good}, UnknownCA},
		"known, not pinned":   {Peer{Fingerprints: [][32]byte{fingerprint(self)}, Roots: certificates(root)}, of{good}, WrongFingerprint},
		"revoked":             {Peer{Roots: certificates(root), CRLs: []*x509.RevocationList{crl(t, root, x509.RevocationList{}, good)}}, of{good}, Revoked},
		"not revoked":         {Peer{Roots: certificates(root), CRLs: []*x509.RevocationList{crl(t, root, x509.RevocationList{}, self)}}, of{good}, 0},
		"revoked CA":          {Peer{Roots: certificates(root), CRLs: []*x509.RevocationList{crl(t, root, x509.RevocationList{}, revokedCA)}}, of{issue(t, revokedCA, host("b")), revokedCA}, Revoked},
		"no list of that CA":  {Peer{Roots: certificates(root), CRLs: []*x509.RevocationList{crl(t, stranger, x509.RevocationList{}, good)}}, of{good}, 0},
		"list expired":        {Peer{Roots: certificates(root), CRLs: []*x509.RevocationList{crl(t, root, old)}}, of{good}, BadCRL},
		"list of the future":  {Peer{Roots: certificates(root), CRLs: []*x509.RevocationList{crl(t, root, x509.RevocationList{ThisUpdate: now.AddDate(0, 0, 1)})}}, of{good}, BadCRL},
		"usage":               {Peer{Roots: certificates(root), KeyUsage: "server"}, of{good}, 0},
		"usage missing":       {Peer{Roots: certificates(root), KeyUsage: "server"}, one(x509.Certificate{Subject: pkix.Name{CommonName: "bare"}}), LacksUsage},
		"extended missing":    {Peer{Roots: certificates(root), KeyUsage: "server"}, one(host("b")), LacksUsage},
		"prefix":              {Peer{Roots: certificates(root), Name: "de", NameType: NamePrefix}, of{deep, between}, 0},
		"prefix, not":         {Peer{Roots: certificates(root), Name: "ee", NameType: NamePrefix}, of{deep, between}, WrongName},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.Peer
			p.Server = true
			checkVerdict(t, &p, certificates(c.chain...), c.kind, "")
			if believed, said := judge(t, optionsOf(t, &p), true, c.chain...); believed != (c.kind == 0) {
				t.Errorf("OpenVPN believes: %v, want kind %d\n%s", believed, c.kind, said)
			}
		})
	}
	// The peer as a client.
	for name, c := range map[string]struct {
		chain of
		kind  Kind
	}{
		"client, client's":   {one(host("b", client)), 0},
		"client, server's":   {of{good}, WrongPurpose},
		"client, nsCertType": {one(netscape), 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := Peer{Roots: certificates(root)}
			checkVerdict(t, &p, certificates(c.chain...), c.kind, "")
			if believed, said := judge(t, optionsOf(t, &p), false, c.chain...); believed != (c.kind == 0) {
				t.Errorf("OpenVPN believes: %v, want kind %d\n%s", believed, c.kind, said)
			}
		})
	}
}

// atPresent makes the test's certificates valid for programs that have a clock.
func atPresent(t *testing.T) {
	before := now
	now = time.Now().Truncate(time.Second)
	t.Cleanup(func() { now = before })
}

// optionsOf writes a Peer as OpenVPN's options.
func optionsOf(t *testing.T, p *Peer) []string {
	t.Helper()
	dir := t.TempDir()
	var options []string
	if len(p.Roots) > 0 {
		var text []byte
		for _, c := range p.Roots {
			text = append(text, certPEM(&entity{cert: c})...)
		}
		options = append(options, "--ca", write(t, dir, "ca.crt", text))
	}
	for _, f := range p.Fingerprints {
		options = append(options, "--peer-fingerprint", strings.ReplaceAll(fmt.Sprintf("% X", f[:]), " ", ":"))
	}
	for _, list := range p.CRLs {
		options = append(options, "--crl-verify", write(t, dir, "list.crl", pemCRL(list)))
	}
	if p.KeyUsage != "" {
		options = append(options, "--remote-cert-tls", p.KeyUsage)
	}
	if p.Name != "" {
		options = append(options, "--verify-x509-name", p.Name, []string{"subject", "name", "name-prefix"}[p.NameType])
	}
	return options
}

// judge lets an OpenVPN with the options, whose peer is a server or client with that
// chain, say whether it believes the peer, and gives what it said.
func judge(t *testing.T, options []string, server bool, chain ...*entity) (believed bool, said string) {
	t.Helper()
	dir := t.TempDir()
	own := issue(t, nil, host("judge"))
	identity := func(name string, chain ...*entity) []string {
		return []string{"--cert", write(t, dir, name+".crt", certPEM(chain...)), "--key", write(t, dir, name+".key", keyPEM(t, chain[0]))}
	}
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(free.LocalAddr().(*net.UDPAddr).Port)
	free.Close()
	asServer := []string{"--tls-server", "--dh", "none", "--local", "127.0.0.1", "--port", port}
	asClient := []string{"--tls-client", "--remote", "127.0.0.1", port, "--nobind"}
	peer := append(identity("peer", chain...), "--peer-fingerprint", keys.Fingerprint(own.cert.Raw))
	options = append(options, identity("judge", own)...)
	if server {
		peer, options = append(peer, asServer...), append(options, asClient...)
	} else {
		peer, options = append(peer, asClient...), append(options, asServer...)
	}
	start := func(options []string) *nstest.Process {
		return nstest.Start(t, "openvpn", append([]string{"--dev", "null", "--proto", "udp4", "--verb", "4"}, options...)...)
	}
	var judging *nstest.Process
	for _, of := range []bool{server, !server} { // the server first, or the client waits a second
		if of {
			other := start(peer)
			defer other.Stop()
			other.Expect(t, "UDPv4 link local", 30*time.Second)
		} else {
			judging = start(options)
			defer judging.Stop()
			judging.Expect(t, "UDPv4 link local", 30*time.Second)
		}
	}
	const yes, no = "Peer Connection Initiated with", "TLS handshake failed"
	if !nstest.Eventually(30*time.Second, func() bool {
		said = judging.Output()
		return strings.Contains(said, yes) || strings.Contains(said, no)
	}) {
		t.Fatalf("OpenVPN came to no verdict:\n%s", said)
	}
	return strings.Contains(said, yes), said
}

func write(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
