package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
)

var (
	oidKeyUsage     = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidNetscapeType = asn1.ObjectIdentifier{2, 16, 840, 1, 113730, 1, 1}
)

// role is what a certificate must allow in one role of the TLS handshake, as
// OpenSSL's X509_PURPOSE_SSL_SERVER and _CLIENT have it (v3_purp.c).
type role struct {
	name     string
	extended x509.ExtKeyUsage
	oidName  string
	usage    x509.KeyUsage // one of these
	netscape int           // the bit of nsCertType, counted from the left
}

var (
	serverRole = role{
		name: "server", extended: x509.ExtKeyUsageServerAuth, oidName: "serverAuth",
		usage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement,
		netscape: 1,
	}
	clientRole = role{
		name: "client", extended: x509.ExtKeyUsageClientAuth, oidName: "clientAuth",
		usage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement,
		netscape: 0,
	}
)

func (p *Peer) role() role {
	if p.Server {
		return serverRole
	}
	return clientRole
}

// checkPurpose refuses a certificate that says it is for something else. One that
// says nothing is for everything; that it is for any extended usage is, as in
// OpenSSL, not enough.
func (r role) checkPurpose(leaf *x509.Certificate) error {
	var has string
	switch {
	case len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, r.extended):
		has = "its extended key usage is " + extendedNames(leaf) + ", not " + r.oidName
	case hasExtension(leaf, oidKeyUsage) && leaf.KeyUsage&r.usage == 0:
		has = "its key usage has no digitalSignature"
	case !r.netscapeAllows(leaf):
		has = "its nsCertType is for another role"
	default:
		return nil
	}
	return refuse(WrongPurpose, "the peer's certificate %s is not for a TLS %s (%s): the peer must get one that is, or the two sides must exchange --tls-server and --tls-client", short(leaf), r.name, has)
}

func (r role) netscapeAllows(leaf *x509.Certificate) bool {
	for _, e := range leaf.Extensions {
		if e.Id.Equal(oidNetscapeType) {
			var bits asn1.BitString
			_, err := asn1.Unmarshal(e.Value, &bits)
			return err == nil && bits.At(r.netscape) == 1
		}
	}
	return true
}

// checkUsage is --remote-cert-tls: there must be a key usage, whose value is
// checkPurpose's matter, and the extended usage of the role (options.c;
// x509_verify_cert_ku and _eku in ssl_verify_openssl.c).
func (p *Peer) checkUsage(leaf *x509.Certificate) error {
	var r role
	switch p.KeyUsage {
	case "":
		return nil
	case "server":
		r = serverRole
	case "client":
		r = clientRole
	default:
		return refuse(LacksUsage, "--remote-cert-tls of this host is %q: it must be server or client", printable(p.KeyUsage))
	}
	var lacks string
	switch {
	case !hasExtension(leaf, oidKeyUsage):
		lacks = "has no key usage"
	case !slices.Contains(leaf.ExtKeyUsage, r.extended):
		lacks = "has no extended key usage " + r.oidName
	default:
		return nil
	}
	return refuse(LacksUsage, "the peer's certificate %s %s, which --remote-cert-tls %s of this host wants: the peer must get a certificate made for a TLS %s", short(leaf), lacks, r.name, r.name)
}

func hasExtension(c *x509.Certificate, oid asn1.ObjectIdentifier) bool {
	for _, e := range c.Extensions {
		if e.Id.Equal(oid) {
			return true
		}
	}
	return false
}

func extendedNames(c *x509.Certificate) string {
	var names []string
	for _, u := range c.ExtKeyUsage {
		names = append(names, u.String())
	}
	for _, u := range c.UnknownExtKeyUsage {
		names = append(names, u.String())
	}
	return printable(strings.Join(names, ", "))
}
