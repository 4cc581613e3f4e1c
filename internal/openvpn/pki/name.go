package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// commonName is the object identifier of CN.
const commonName = "2.5.4.3"

// shortNames is how OpenSSL calls the attributes of a name (objects.txt); one that
// is not here is written as its number.
var shortNames = map[string]string{
	commonName: "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C",
	"2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "street", "2.5.4.10": "O",
	"2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description",
	"2.5.4.15": "businessCategory", "2.5.4.16": "postalAddress", "2.5.4.17": "postalCode",
	"2.5.4.18": "postOfficeBox", "2.5.4.19": "physicalDeliveryOfficeName",
	"2.5.4.20": "telephoneNumber", "2.5.4.41": "name", "2.5.4.42": "GN",
	"2.5.4.43": "initials", "2.5.4.44": "generationQualifier", "2.5.4.45": "x500UniqueIdentifier",
	"2.5.4.46": "dnQualifier", "2.5.4.51": "houseIdentifier", "2.5.4.65": "pseudonym",
	"2.5.4.72": "role", "2.5.4.97": "organizationIdentifier",
	"1.2.840.113549.1.9.1":       "emailAddress",
	"1.2.840.113549.1.9.2":       "unstructuredName",
	"1.2.840.113549.1.9.7":       "challengePassword",
	"1.2.840.113549.1.9.8":       "unstructuredAddress",
	"0.9.2342.19200300.100.1.1":  "UID",
	"0.9.2342.19200300.100.1.3":  "mail",
	"0.9.2342.19200300.100.1.25": "DC",
	"0.9.2342.19200300.100.1.44": "uid",
	"1.3.6.1.4.1.311.60.2.1.1":   "jurisdictionL",
	"1.3.6.1.4.1.311.60.2.1.2":   "jurisdictionST",
	"1.3.6.1.4.1.311.60.2.1.3":   "jurisdictionC",
	"1.2.643.3.131.1.1":          "INN",
	"1.2.643.100.1":              "OGRN",
	"1.2.643.100.3":              "SNILS",
}

// attribute is one type and value of a name. joined says that it belongs to the one
// before it (a relative name of several values).
type attribute struct {
	oid, value string
	joined     bool
}

// Subject writes whom a certificate is for as OpenVPN does in its log, in tls_id_0
// and for --verify-x509-name: "C=KG, ST=NA, CN=x, emailAddress=…" (x509_get_subject
// in ssl_verify_openssl.c, then the remapping in ssl_verify.c's verify_cert). Of a
// peer's certificate it can have some kilobytes; it has no character in it that a
// terminal would act on.
func Subject(c *x509.Certificate) string {
	s := distinguishedName(c.RawSubject)
	kept := strings.TrimLeft(s, "-") // not to be taken for an option by a script
	return strings.Repeat("_", len(s)-len(kept)) + kept
}

// CommonName is the last CN of a certificate's subject, as OpenVPN takes it for the
// names of --verify-x509-name and for common_name; empty if there is none.
func CommonName(c *x509.Certificate) string {
	name := ""
	for _, a := range attributes(c.RawSubject) {
		if a.oid == commonName {
			name = a.value
		}
	}
	return remap(name)
}

func distinguishedName(raw []byte) string {
	var b strings.Builder
	for i, a := range attributes(raw) {
		switch {
		case i == 0:
		case a.joined:
			b.WriteString(" + ")
		default:
			b.WriteString(", ")
		}
		name := shortNames[a.oid]
		if name == "" {
			name = a.oid
		}
		b.WriteString(name)
		b.WriteByte('=')
		escape(&b, a.value)
	}
	return remap(b.String())
}

// escape writes a value as OpenSSL does under ASN1_STRFLGS_ESC_CTRL: control
// characters as two hex digits after a backslash, and the backslash twice.
func escape(b *strings.Builder, value string) {
	for i := range len(value) {
		switch c := value[i]; {
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(b, `\%02X`, c)
		case c == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteByte(c)
		}
	}
}

// remap puts an underline in the place of what must not reach a log or a script.
// OpenVPN's string_mod_remap_name does it for ASCII; the control and direction
// characters of Unicode are ours.
func remap(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '_'
		}
		return r
	}, s)
}

// printable is a text of the peer, or about it, short enough for an error.
func printable(s string) string {
	const most = 160 // bytes
	s = remap(s)
	if len(s) <= most {
		return s
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// attributes takes a name of X.501 apart, in its order. One with a fault in it,
// which crypto/x509 lets through no certificate with, gives none: a part of a name
// must not pass for the whole.
func attributes(raw []byte) []attribute {
	var all []attribute
	var name cryptobyte.String
	input := cryptobyte.String(raw)
	if !input.ReadASN1(&name, cryptobyte_asn1.SEQUENCE) {
		return nil
	}
	for !name.Empty() {
		var set cryptobyte.String
		if !name.ReadASN1(&set, cryptobyte_asn1.SET) {
			return nil
		}
		for joined := false; !set.Empty(); joined = true {
			var pair, value cryptobyte.String
			var oid asn1.ObjectIdentifier
			var tag cryptobyte_asn1.Tag
			if !set.ReadASN1(&pair, cryptobyte_asn1.SEQUENCE) || !pair.ReadASN1ObjectIdentifier(&oid) || !pair.ReadAnyASN1(&value, &tag) || !pair.Empty() {
				return nil
			}
			all = append(all, attribute{oid: oid.String(), value: text(tag, value), joined: joined})
		}
	}
	return all
}

// text is a string of ASN.1 in UTF-8. As in OpenSSL, a type that has no character
// set of its own is taken for Latin-1.
func text(tag cryptobyte_asn1.Tag, value []byte) string {
	width := 1
	switch tag {
	case asn1.TagUTF8String:
		return strings.ToValidUTF8(string(value), "\uFFFD")
	case asn1.TagBMPString:
		width = 2
	case universalString:
		width = 4
	}
	var b strings.Builder
	for ; len(value) >= width; value = value[width:] {
		r := rune(0)
		for _, c := range value[:width] {
			r = r<<8 | rune(c)
		}
		b.WriteRune(r) // U+FFFD for what is no character
	}
	return b.String()
}

const universalString = 28 // a tag that encoding/asn1 has no name for
