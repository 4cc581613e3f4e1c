package pki

import (
	"crypto/tls"
	"errors"
	"net"
)

// The alerts with which a peer says that it does not believe us or cannot agree with
// us (RFC 8446, section 6.2; RFC 5246, section 7.2.2). An OpenVPN that does not like
// a fingerprint or name sends what its OpenSSL makes of that, such as "unknown CA" for
// a self-signed certificate; 2.6 mostly sends nothing and lets the handshake time out.
var alertHints = map[tls.AlertError]string{
	40:  "the peer ended the handshake without saying why: its log has the reason; its --ca or --peer-fingerprint must know this host's certificate, and the two sides must have a cipher in common",
	42:  "the peer refused this host's certificate: its --ca or --peer-fingerprint must know it, its --verify-x509-name and --remote-cert-tls must fit it, and its clock must be right",
	43:  "the peer cannot use this host's certificate, or not in this role: give one with another --cert, made for that role, or exchange --tls-server and --tls-client",
	44:  "the peer has this host's certificate in its --crl-verify: this host needs a new certificate",
	45:  "the peer finds this host's certificate expired, or not valid yet: renew it with --cert, or the peer must set its clock",
	46:  "the peer refused this host's certificate for a reason of its own, which is in its log: its --peer-fingerprint, --verify-x509-name or --remote-cert-tls must fit it",
	48:  "the peer does not know the CA of this host's certificate: it must be in the peer's --ca, or this certificate's fingerprint in its --peer-fingerprint",
	49:  "the peer knows this host's certificate and lets it not in: the peer must allow it",
	51:  "the peer could not verify what this host signed: --key and --cert of both sides must fit, or something on the way alters packets",
	70:  "the peer allows no TLS version that this host has: --tls-version-min of one side must be lower",
	71:  "the peer finds this host's certificate or ciphers too weak: give a stronger --cert, or the peer must lower its --tls-cert-profile",
	80:  "the peer failed, or refused this host without saying why: its log has the reason; its --peer-fingerprint, --verify-x509-name or --remote-cert-tls must fit this host's certificate",
	116: "the peer wants a certificate and this host showed none: give --cert and --key, or --pkcs12",
}

// TLSAlertHint says for an error of crypto/tls by which the peer refused us what the
// other side must change, or this one; "" if the error is not of that sort, such as
// one that says why we refused the peer.
func TLSAlertHint(err error) string {
	var e *net.OpError
	if !errors.As(err, &e) || e.Op != "remote error" || e.Err == nil {
		return ""
	}
	// The alert in it has a type of crypto/tls' own, and the text of AlertError.
	for alert, hint := range alertHints {
		if e.Err.Error() == alert.Error() {
			return hint
		}
	}
	return ""
}
