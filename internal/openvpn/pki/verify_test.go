package pki

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"tmelink/internal/openvpn/keys"
)

func TestVerify(t *testing.T) {
	const server, client = x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	root := issue(t, nil, ca("root"))
	stranger := issue(t, nil, ca("stranger"))
	namesake := issue(t, nil, ca("root"))
	between := issue(t, root, ca("between"))
	late := issue(t, root, dated(ca("late"), now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0)))
	narrow := ca("narrow")
	narrow.ExtKeyUsage = []x509.ExtKeyUsage{client}
	forClients := issue(t, root, narrow)
	noCA := issue(t, root, host("no CA"))
	bare := x509.Certificate{Subject: pkix.Name{CommonName: "bare"}}
	noSign := host("b", server)
	noSign.KeyUsage = x509.KeyUsageCRLSign
	netscape := host("b")
	netscape.ExtraExtensions = []pkix.Extension{{Id: oidNetscapeType, Value: []byte{3, 2, 7, 0x80}}} // SSL client
	self := issue(t, nil, host("self", server, client))
	selfLate := issue(t, nil, dated(host("self"), now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0)))

	good := issue(t, root, host("b", server))
	deep := issue(t, between, host("deep", server))
	revokedCA := issue(t, root, ca("revoked CA"))
	underRevoked := issue(t, revokedCA, host("b", server))
	list := crl(t, root, x509.RevocationList{}, good, revokedCA)
	taken := x509.RevocationList{RevokedCertificateEntries: []x509.RevocationListEntry{
		{SerialNumber: good.cert.SerialNumber, RevocationTime: now, ReasonCode: removeFromCRL},
	}}

	trust := func(roots ...*entity) Peer { return Peer{Roots: certificates(roots...), Server: true} }
	with := func(p Peer, change func(*Peer)) Peer { change(&p); return p }
	pin := func(entities ...*entity) Peer {
		p := Peer{Server: true}
		for _, e := range entities {
			p.Fingerprints = append(p.Fingerprints, fingerprint(e))
		}
		return p
	}
	crls := func(lists ...*x509.RevocationList) Peer {
		return with(trust(root), func(p *Peer) { p.CRLs = lists })
	}
	type of = []*entity
	one := func(template x509.Certificate) of { return of{issue(t, root, template)} }

	for name, c := range map[string]struct {
		peer  Peer
		chain of
		kind  Kind   // 0: believed
		want  string // in the error
	}{
		"none":    {trust(root), nil, NoCertificate, "showed no certificate: it must give its own with --cert"},
		"nothing": {Peer{}, of{good}, UnknownCA, "give its CA with --ca, or its fingerprint " + keys.Fingerprint(good.cert.Raw)},

		"good":                    {trust(root), of{good}, 0, ""},
		"with its root":           {trust(root), of{good, root}, 0, ""},
		"one of two":              {trust(stranger, root), of{good}, 0, ""},
		"namesakes":               {trust(namesake, root), of{good}, 0, ""},
		"no usages":               {trust(root), one(bare), 0, ""},
		"both usages":             {trust(root), one(host("b", client, server)), 0, ""},
		"sent with between":       {trust(root), of{deep, between}, 0, ""},
		"sent in disorder":        {trust(root), of{deep, good, root, between}, 0, ""},
		"between in --ca":         {trust(root, between), of{deep}, 0, ""},
		"between in --extra":      {with(trust(root), func(p *Peer) { p.Intermediates = certificates(between) }), of{deep}, 0, ""},
		"self-signed in --ca":     {trust(self), of{self}, 0, ""},
		"unknown":                 {trust(stranger), of{good}, UnknownCA, "rests on the CA CN=root, which this host does not know: give that CA with --ca"},
		"unknown, sent":           {trust(stranger), of{good, root}, UnknownCA, "rests on the CA CN=root"},
		"another of that name":    {trust(namesake), of{good}, UnknownCA, "another of the same name"},
		"another of it, sent":     {trust(namesake), of{good, root}, UnknownCA, "another of the same name"},
		"between missing":         {trust(root), of{deep}, UnknownCA, "rests on the CA CN=between, which this host does not know: give that CA with --ca (or, if it is one between, the peer must send it"},
		"between alone":           {trust(between), of{deep}, UnknownCA, "rests on the CA CN=root"},
		"self-signed":             {trust(root), of{self}, UnknownCA, "self-signed and not in --ca"},
		"leaf alone in --ca":      {trust(good), of{good}, UnknownCA, "CN=root"},
		"issued by a host":        {trust(root), of{issue(t, noCA, host("b", server)), noCA}, UnknownCA, "CN=no CA"},
		"chain too long":          {trust(root), of{good, root, root, root, root, root, root, root, root, root, root, root, root, root, root, root, root}, BadChain, "17 certificates"},
		"expired":                 {trust(root), one(dated(host("b"), now.AddDate(-1, 0, 0), now.Add(-time.Second))), Expired, "the peer's certificate (CN=b) expired on 2026-06-01 11:59 UTC: the peer must renew it, or this host's clock (2026-06-01 12:00 UTC) is wrong"},
		"last second":             {trust(root), one(dated(host("b"), now.AddDate(-1, 0, 0), now)), 0, ""},
		"future":                  {trust(root), one(dated(host("b"), now.Add(time.Second), now.AddDate(1, 0, 0))), NotYetValid, "is not valid before 2026-06-01 12:00 UTC: this host's clock (2026-06-01 12:00 UTC) is behind, or the peer must renew it"},
		"expired CA, sent":        {trust(root), of{issue(t, late, host("b")), late}, Expired, "the CA certificate (CN=late) expired on 2025-06-01 12:00 UTC: the peer must send a new one"},
		"expired CA, here":        {trust(root, late), of{issue(t, late, host("b"))}, Expired, "this host must give a new one with --ca"},
		"expired root":            {trust(expiredRoot(t)), of{issue(t, expiredRoot(t), host("b"))}, Expired, "the CA certificate (CN=late root) expired"},
		"weak":                    {trust(root), of{withSHA1(t, root)}, Weak, "signed with ECDSA-SHA1, which can be forged"},
		"client's":                {trust(root), one(host("b", client)), WrongPurpose, "not for a TLS server (its extended key usage is clientAuth, not serverAuth)"},
		"server's as client":      {with(trust(root), func(p *Peer) { p.Server = false }), of{good}, WrongPurpose, "not for a TLS client (its extended key usage is serverAuth"},
		"any usage is not enough": {trust(root), one(host("b", x509.ExtKeyUsageAny)), WrongPurpose, "its extended key usage is anyExtendedKeyUsage"},
		"key usage":               {trust(root), one(noSign), WrongPurpose, "no digitalSignature"},
		"nsCertType":              {trust(root), one(netscape), WrongPurpose, "nsCertType"},
		"nsCertType, client":      {with(trust(root), func(p *Peer) { p.Server = false }), one(netscape), 0, ""},
		"CA for clients only":     {trust(root), of{issue(t, forClients, host("b", server)), forClients}, WrongPurpose, "a CA of the peer's certificate (CN=b) may not issue"},

		"pinned":                 {pin(self), of{self}, 0, ""},
		"pinned, second":         {pin(good, self), of{self}, 0, ""},
		"pinned, no chain":       {pin(good), of{good}, 0, ""},
		"pinned, expired":        {pin(selfLate), of{selfLate}, 0, ""},
		"pinned, a client's":     {with(pin(good), func(p *Peer) { p.Server = false }), of{good}, 0, ""},
		"not pinned":             {pin(self), of{good}, WrongFingerprint, "has the fingerprint " + keys.Fingerprint(good.cert.Raw) + ", which is not in --peer-fingerprint of this host: if it is the right peer, add it"},
		"only its CA is pinned":  {pin(root), of{good, root}, WrongFingerprint, "--peer-fingerprint"},
		"pinned and known":       {with(pin(good), func(p *Peer) { p.Roots = certificates(root) }), of{good}, 0, ""},
		"pinned and not known":   {with(pin(good), func(p *Peer) { p.Roots = certificates(stranger) }), of{good}, UnknownCA, "CN=root"},
		"known and not pinned":   {with(pin(self), func(p *Peer) { p.Roots = certificates(root) }), of{good}, WrongFingerprint, ""},
		"pinned, on the list":    {with(pin(good), func(p *Peer) { p.CRLs = []*x509.RevocationList{list} }), of{good}, Revoked, "(CN=b) (serial number "},
		"pinned, not on a list":  {with(pin(deep), func(p *Peer) { p.CRLs = []*x509.RevocationList{list} }), of{deep}, 0, ""},
		"revoked":                {crls(list), of{good}, Revoked, "was revoked by CN=root on 2026-05-12 12:00 UTC: the peer must get a new certificate"},
		"not revoked":            {crls(list), one(host("b", server)), 0, ""},
		"revoked CA":             {crls(list), of{underRevoked, revokedCA}, Revoked, "(CN=revoked CA)"},
		"in the second list":     {crls(crl(t, root, x509.RevocationList{}), list), of{good}, Revoked, ""},
		"taken back":             {crls(crl(t, root, taken)), of{good}, 0, ""},
		"no list of that CA":     {crls(crl(t, stranger, x509.RevocationList{}, good)), of{good}, 0, ""},
		"a namesake's list":      {crls(crl(t, namesake, x509.RevocationList{})), of{good}, BadCRL, "not signed by that CA"},
		"both lists":             {crls(crl(t, namesake, x509.RevocationList{}, good), crl(t, root, x509.RevocationList{})), of{good}, 0, ""},
		"list expired":           {crls(crl(t, root, x509.RevocationList{ThisUpdate: now.AddDate(0, -2, 0), NextUpdate: now.AddDate(0, -1, 0)})), of{good}, BadCRL, "expired on 2026-05-01 12:00 UTC: this host must fetch the CA's new list, or its clock (2026-06-01 12:00 UTC) is wrong"},
		"list of the future":     {crls(crl(t, root, x509.RevocationList{ThisUpdate: now.AddDate(0, 0, 1)})), of{good}, BadCRL, "this host's clock (2026-06-01 12:00 UTC) is behind"},
		"revoked, list expired":  {crls(crl(t, root, x509.RevocationList{ThisUpdate: now.AddDate(0, -2, 0), NextUpdate: now.AddDate(0, -1, 0)}, good)), of{good}, Revoked, ""},
		"list expired, new one":  {crls(crl(t, root, x509.RevocationList{ThisUpdate: now.AddDate(0, -2, 0), NextUpdate: now.AddDate(0, -1, 0)}), crl(t, root, x509.RevocationList{})), of{good}, 0, ""},
		"usage":                  {with(trust(root), func(p *Peer) { p.KeyUsage = "server" }), of{good}, 0, ""},
		"usage of a client":      {with(trust(root), func(p *Peer) { p.KeyUsage, p.Server = "client", false }), one(host("b", client)), 0, ""},
		"usage missing":          {with(trust(root), func(p *Peer) { p.KeyUsage = "server" }), one(bare), LacksUsage, "has no key usage, which --remote-cert-tls server"},
		"extended usage missing": {with(trust(root), func(p *Peer) { p.KeyUsage = "server" }), one(host("b")), LacksUsage, "has no extended key usage serverAuth"},
		"usage, pinned":          {with(pin(good), func(p *Peer) { p.KeyUsage = "client" }), of{good}, LacksUsage, "has no extended key usage clientAuth, which --remote-cert-tls client"},
		"usage misspelt":         {with(trust(root), func(p *Peer) { p.KeyUsage = "Server" }), of{good}, LacksUsage, "must be server or client"},
		"subject":                {with(trust(root), func(p *Peer) { p.Name = "CN=b" }), of{good}, 0, ""},
		"subject, not":           {with(trust(root), func(p *Peer) { p.Name = "b" }), of{good}, WrongName, `has the subject "CN=b", and --verify-x509-name of this host wants "b"`},
		"name":                   {with(trust(root), func(p *Peer) { p.Name, p.NameType = "deep", NameCommon }), of{deep, between}, 0, ""},
		"name, not":              {with(trust(root), func(p *Peer) { p.Name, p.NameType = "dee", NameCommon }), of{deep, between}, WrongName, `the common name "deep", and --verify-x509-name of this host wants "dee"`},
		"prefix":                 {with(trust(root), func(p *Peer) { p.Name, p.NameType = "dee", NamePrefix }), of{deep, between}, 0, ""},
		"prefix, not":            {with(trust(root), func(p *Peer) { p.Name, p.NameType = "eep", NamePrefix }), of{deep, between}, WrongName, `one that begins with "eep"`},
		"prefix, no name":        {with(trust(root), func(p *Peer) { p.Name, p.NameType = "x", NamePrefix }), one(x509.Certificate{}), WrongName, ""},
		"name type":              {with(trust(root), func(p *Peer) { p.Name, p.NameType = "b", 9 }), of{good}, WrongName, ""},
		"name, pinned":           {with(pin(good), func(p *Peer) { p.Name, p.NameType = "c", NameCommon }), of{good}, WrongName, ""},
	} {
		t.Run(name, func(t *testing.T) { checkVerdict(t, &c.peer, certificates(c.chain...), c.kind, c.want) })
	}
}

func checkVerdict(t *testing.T, p *Peer, chain []*x509.Certificate, kind Kind, want string) {
	t.Helper()
	err := p.Verify(chain, now)
	if kind == 0 {
		if err != nil {
			t.Error(err)
		}
		return
	}
	var e *VerifyError
	if !errors.As(err, &e) {
		t.Fatalf("%v, want kind %d", err, kind)
	}
	if e.Kind != kind || !strings.Contains(e.Error(), want) {
		t.Errorf("kind %d: %v\nwant kind %d, %q", e.Kind, e, kind, want)
	}
}

var lateRoot *entity

// expiredRoot is a root that has expired, always the same one.
func expiredRoot(t *testing.T) *entity {
	t.Helper()
	if lateRoot == nil {
		lateRoot = issue(t, nil, dated(ca("late root"), now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0)))
	}
	return lateRoot
}

func TestVerifyEveryKindOfKey(t *testing.T) {
	root := issue(t, nil, ca("root"))
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*entity{
		issueFor(t, root, host("rsa"), long), issueFor(t, root, host("ed25519"), edwards), issue(t, root, host("ecdsa")),
	} {
		self := issueFor(t, nil, ca("self"), e.key)
		under := issue(t, self, host("under"))
		for _, p := range []struct {
			Peer
			leaf *entity
		}{
			{Peer{Roots: certificates(root)}, e},
			{Peer{Roots: certificates(self)}, under},
			{Peer{Fingerprints: [][32]byte{fingerprint(e)}}, e},
		} {
			if err := p.Verify(certificates(p.leaf), now); err != nil {
				t.Errorf("%T: %v", e.key, err)
			}
		}
	}
}

func TestShortKeysAreRefused(t *testing.T) {
	root := issue(t, nil, ca("root"))
	short := *issue(t, root, host("short")).cert
	short.PublicKey = &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), minRSA-2), E: 65537}
	checkVerdict(t, &Peer{Roots: certificates(root)}, []*x509.Certificate{&short}, Weak, "RSA key of 1023 bits")
}

// withSHA1 is a certificate signed with SHA-1, as far as the code under test sees:
// crypto/x509 makes none.
func withSHA1(t *testing.T, root *entity) *entity {
	t.Helper()
	e := issue(t, root, host("weak", x509.ExtKeyUsageServerAuth))
	c := *e.cert
	c.SignatureAlgorithm = x509.ECDSAWithSHA1
	return &entity{&c, e.key}
}

func TestParseCRLRefusesWhatIsNotComplete(t *testing.T) {
	root := issue(t, nil, ca("root"))
	delta := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}
	distribution := pkix.Extension{Id: oidDistribution, Critical: true, Value: []byte{0x30, 0}}
	indirect := x509.RevocationListEntry{SerialNumber: big.NewInt(1), RevocationTime: now, ExtraExtensions: []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}},
	}}
	for name, c := range map[string]struct {
		template x509.RevocationList
		refused  bool
	}{
		"delta":    {x509.RevocationList{ExtraExtensions: []pkix.Extension{delta}}, true},
		"indirect": {x509.RevocationList{RevokedCertificateEntries: []x509.RevocationListEntry{indirect}}, true},
		"point":    {x509.RevocationList{ExtraExtensions: []pkix.Extension{distribution}}, false},
	} {
		_, err := ParseCRL(pemCRL(crl(t, root, c.template)))
		if c.refused {
			wantError(t, name, err, "the revocation list of CN=root is not complete in itself")
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func pemCRL(list *x509.RevocationList) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: labelCRL, Bytes: list.Raw})
}
