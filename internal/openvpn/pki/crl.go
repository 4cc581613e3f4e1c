package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"time"
)

// maxCRL bounds a file of revocation lists, in bytes: some million certificates.
const maxCRL = 64 << 20

// removeFromCRL is the reason code of an entry that takes a revocation back
// (RFC 5280, 5.3.1).
const removeFromCRL = 8

// The critical extensions of a list that do not change what its entries mean to us
// (RFC 5280, 5.2).
var (
	oidAuthorityKey = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidCRLNumber    = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidDistribution = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// ParseCRL reads the lists of a file of --crl-verify, in PEM, at least one. A list
// that names only what has changed, or certificates of other issuers, is refused:
// taken alone it would not say who is revoked.
func ParseCRL(data []byte) ([]*x509.RevocationList, error) {
	if len(data) > maxCRL {
		return nil, tooLong(data, maxCRL)
	}
	var lists []*x509.RevocationList
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != labelCRL {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("revocation list %d of the file cannot be read (%s): fetch it anew from its CA", len(lists)+1, reason(err))
		}
		if !complete(list) {
			return nil, fmt.Errorf("the revocation list of %s is not complete in itself (a delta or indirect list): fetch the CA's full list", issuerOf(list))
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 {
		return nil, fmt.Errorf("there is no revocation list in the file: %s", stranger(data))
	}
	return lists, nil
}

// complete says whether a list can be understood without the critical extensions
// that it has.
func complete(list *x509.RevocationList) bool {
	if critical(list.Extensions, oidAuthorityKey, oidCRLNumber, oidDistribution) {
		return false
	}
	for i := range list.RevokedCertificateEntries {
		if critical(list.RevokedCertificateEntries[i].Extensions) {
			return false
		}
	}
	return true
}

// critical says whether there is a critical extension that is not among the known.
func critical(extensions []pkix.Extension, known ...asn1.ObjectIdentifier) bool {
next:
	for _, e := range extensions {
		if !e.Critical {
			continue
		}
		for _, k := range known {
			if e.Id.Equal(k) {
				continue next
			}
		}
		return true
	}
	return false
}

func issuerOf(list *x509.RevocationList) string {
	return printable(distinguishedName(list.RawIssuer))
}

// checkRevoked looks for every certificate of a chain in the lists of its issuer, as
// OpenSSL does under X509_V_FLAG_CRL_CHECK_ALL. As in OpenVPN, an issuer without a
// list is no error, and a list that is out of date is. Stricter than OpenSSL: being
// in any of several lists of one issuer is enough, where it looks into one; and a list
// in the issuer's name by another key is an error also where its key identifier tells
// the two apart, for such a list was given by mistake.
func (p *Peer) checkRevoked(chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain {
		signer := chain[min(i+1, len(chain)-1)]
		if err := p.checkLists(c, signer, now); err != nil {
			return err
		}
	}
	return nil
}

func (p *Peer) checkLists(c, signer *x509.Certificate, now time.Time) error {
	var stale, foreign *x509.RevocationList
	current := false
	for _, list := range p.CRLs {
		// The name of an issuer can be encoded in several ways, its key cannot.
		if list.CheckSignatureFrom(signer) != nil {
			if bytes.Equal(list.RawIssuer, c.RawIssuer) {
				foreign = list
			}
			continue
		}
		if err := listed(c, list); err != nil {
			return err
		}
		if now.Before(list.ThisUpdate) || !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
			stale = list
		} else {
			current = true
		}
	}
	switch {
	case current:
		return nil
	case stale != nil && now.Before(stale.ThisUpdate):
		return refuse(BadCRL, "the revocation list of %s (--crl-verify of this host) is of %s and not valid before: this host's clock (%s) is behind, or the CA's was ahead", issuerOf(stale), moment(stale.ThisUpdate), moment(now))
	case stale != nil:
		return refuse(BadCRL, "the revocation list of %s (--crl-verify of this host) expired on %s: this host must fetch the CA's new list, or its clock (%s) is wrong", issuerOf(stale), moment(stale.NextUpdate), moment(now))
	case foreign != nil:
		return refuse(BadCRL, "the revocation list of %s (--crl-verify of this host) is not signed by that CA as --ca has it: this host must fetch the list of the same CA", issuerOf(foreign))
	}
	return nil
}

// checkPinned looks for a certificate that is known by its fingerprint in the lists
// of its issuer. With no CA nobody can say whether a list is genuine, and OpenVPN
// does not look at it; but it is this host's own file, and can only refuse.
func (p *Peer) checkPinned(leaf *x509.Certificate) error {
	for _, list := range p.CRLs {
		if bytes.Equal(list.RawIssuer, leaf.RawIssuer) {
			if err := listed(leaf, list); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed is the error of a certificate that a list of its issuer has revoked.
func listed(c *x509.Certificate, list *x509.RevocationList) error {
	for i := range list.RevokedCertificateEntries {
		e := &list.RevokedCertificateEntries[i]
		if e.ReasonCode != removeFromCRL && e.SerialNumber.Cmp(c.SerialNumber) == 0 {
			return refuse(Revoked, "the certificate %s (serial number %s) was revoked by %s on %s: the peer must get a new certificate from its CA", short(c), printable(c.SerialNumber.String()), issuerOf(list), moment(e.RevocationTime))
		}
	}
	return nil
}
