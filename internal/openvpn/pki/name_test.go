package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"maps"
	"slices"
	"strings"
	"testing"
)

// value is one attribute of a name, of any type and string type.
func value(oid string, tag int, text string) pkix.AttributeTypeAndValue {
	var id asn1.ObjectIdentifier
	n := 0
	for _, c := range oid + "." {
		if c == '.' {
			id, n = append(id, n), 0
		} else {
			n = n*10 + int(c-'0')
		}
	}
	return pkix.AttributeTypeAndValue{Type: id, Value: asn1.RawValue{Tag: tag, Bytes: []byte(text)}}
}

func cn(text string) pkix.RelativeDistinguishedNameSET {
	return pkix.RelativeDistinguishedNameSET{value(commonName, asn1.TagUTF8String, text)}
}

// shortNamed are names that have every attribute of shortNames, ten in each: an
// option of OpenVPN has 255 bytes.
func shortNamed() (all []named) {
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(shortNames)), 10) {
		var n named
		for _, oid := range chunk {
			n.name = append(n.name, pkix.RelativeDistinguishedNameSET{value(oid, asn1.TagUTF8String, "v")})
			n.subject += shortNames[oid] + "=v, "
		}
		n.name = append(n.name, cn("x"))
		n.subject, n.common = n.subject+"CN=x", "x"
		all = append(all, n)
	}
	return all
}

// named is a name, what Subject and CommonName make of it, and whether OpenVPN makes
// something else of it.
type named struct {
	name    pkix.RDNSequence
	subject string
	common  string
	ours    bool
}

func names() []named {
	type set = pkix.RelativeDistinguishedNameSET
	return append(shortNamed(), []named{
		{pkix.RDNSequence{
			{value("2.5.4.6", asn1.TagPrintableString, "KG")}, {value("2.5.4.8", asn1.TagPrintableString, "NA")},
			cn("x"), {value("1.2.840.113549.1.9.1", asn1.TagIA5String, "me@myhost.mydomain")},
		}, "C=KG, ST=NA, CN=x, emailAddress=me@myhost.mydomain", "x", false},
		{pkix.RDNSequence{cn("first"), cn("last")}, "CN=first, CN=last", "last", false},
		{pkix.RDNSequence{set{value("2.5.4.10", asn1.TagUTF8String, "o"), value("2.5.4.11", asn1.TagUTF8String, "u")}, cn("x")}, "O=o + OU=u, CN=x", "x", false},
		{pkix.RDNSequence{cn(`a,b+c"d;e<f>g=h#i`)}, `CN=a,b+c"d;e<f>g=h#i`, `a,b+c"d;e<f>g=h#i`, false},
		{pkix.RDNSequence{cn(" #x ")}, "CN= #x ", " #x ", false},
		{pkix.RDNSequence{cn(`a\b`)}, `CN=a\\b`, `a\b`, false},
		{pkix.RDNSequence{cn("a\r\nb\tc\x1b[31md\x7fe")}, `CN=a\0D\0Ab\09c\1B[31md\7Fe`, "a__b_c_[31md_e", false},
		{pkix.RDNSequence{cn("größe")}, "CN=größe", "größe", false},
		{pkix.RDNSequence{set{value(commonName, asn1.TagBMPString, "\x00g\x00r\x00\xf6\x20\xac")}}, "CN=grö€", "grö€", false},
		{pkix.RDNSequence{set{value(commonName, asn1.TagT61String, "gr\xf6")}}, "CN=grö", "grö", false},
		{pkix.RDNSequence{set{value("2.5.4.55", asn1.TagUTF8String, "odd")}, cn("x")}, "2.5.4.55=odd, CN=x", "x", false},
		{pkix.RDNSequence{set{value("1.3.6.1.4.1.99999.1", asn1.TagUTF8String, "odd")}, cn("-x")}, "1.3.6.1.4.1.99999.1=odd, CN=-x", "-x", false},
		// OpenVPN takes the CN as a string of C, and so "good".
		{pkix.RDNSequence{cn("good\x00.evil")}, `CN=good\00.evil`, "good_.evil", true},
		// OpenVPN lets these through to the terminal, and refuses who has no CN.
		{pkix.RDNSequence{cn("a\u009b31mb\u202ec\u2028d")}, "CN=a_31mb_c_d", "a_31mb_c_d", true},
		{pkix.RDNSequence{set{value("2.5.4.10", asn1.TagUTF8String, "o")}}, "O=o", "", true},
		{nil, "", "", true},
	}...)
}

func TestNames(t *testing.T) {
	for _, n := range names() {
		c := issue(t, nil, x509.Certificate{RawSubject: marshal(t, n.name)}).cert
		if got := Subject(c); got != n.subject {
			t.Errorf("Subject %q, want %q", got, n.subject)
		}
		if got := CommonName(c); got != n.common {
			t.Errorf("CommonName of %q is %q, want %q", n.subject, got, n.common)
		}
	}
}

// TestFaultyNamesAreNone makes sure that no part of a name passes for all of it.
func TestFaultyNamesAreNone(t *testing.T) {
	raw := marshal(t, pkix.RDNSequence{cn("good"), cn("x")})
	for i := range raw {
		c := &x509.Certificate{RawSubject: raw[:i]}
		if Subject(c) != "" || CommonName(c) != "" {
			t.Errorf("the first %d bytes are %q", i, Subject(c))
		}
	}
	raw[len(raw)-3] = 0x30 // the last string is a sequence of too many bytes
	raw[2] = 0x30          // and the first set a sequence
	if c := (&x509.Certificate{RawSubject: raw}); Subject(c) != "" {
		t.Errorf("%q", Subject(c))
	}
}

// TestErrorsShowNothingRaw makes sure that a peer's name cannot write a line of its
// own, or a long one, into a log.
func TestErrorsShowNothingRaw(t *testing.T) {
	evil := strings.Repeat("\n\x1b]0;x\a\u202e\x00é", 500)
	raw := marshal(t, pkix.RDNSequence{cn(evil)})
	root := issue(t, nil, x509.Certificate{RawSubject: raw, IsCA: true, BasicConstraintsValid: true})
	leaf := issue(t, root, x509.Certificate{RawSubject: raw[:len(raw):len(raw)], NotAfter: now.AddDate(0, 0, -1)})
	good := issue(t, nil, ca("good"))
	for name, p := range map[string]*Peer{
		"nobody":      {},
		"expired":     {Roots: certificates(root)},
		"unknown":     {Roots: certificates(good)},
		"fingerprint": {Fingerprints: [][32]byte{{}}},
		"name":        {Fingerprints: [][32]byte{fingerprint(leaf)}, Name: evil, NameType: NamePrefix},
		"revoked":     {Fingerprints: [][32]byte{fingerprint(leaf)}, CRLs: []*x509.RevocationList{{RawIssuer: leaf.cert.RawIssuer, RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: leaf.cert.SerialNumber}}}}},
		"usage":       {Fingerprints: [][32]byte{fingerprint(leaf)}, KeyUsage: evil},
	} {
		err := p.Verify(certificates(leaf), now)
		if err == nil || remap(err.Error()) != err.Error() || len(err.Error()) > 1000 {
			t.Errorf("%s: %q", name, err)
		}
	}
}

func marshal(t testing.TB, name pkix.RDNSequence) []byte {
	t.Helper()
	raw, err := asn1.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
